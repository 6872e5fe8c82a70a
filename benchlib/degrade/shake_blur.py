"""Camera shake, the in-distribution blur: sharp frames along a hand's tremor, averaged in linear light.

The GoPro recipe (Nah et al. 2017, section 2.1) with one photograph in place of a video: N sharp frames, each shifted
and slightly turned by the shake, are averaged in linear light and brought back to 8 bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from benchlib.degrade import _motion

NEEDS_REGION = False


@dataclass(frozen=True)
class Config:
    frames: _motion.Frames = 32  # sharp frames averaged
    extent: _motion.Pixels = 16.0  # pixels; the longest shake, between its two remotest positions
    least: _motion.Share = 0.3  # the shortest shake, as a share of the longest
    tremor: Annotated[float, Field(ge=0, le=20)] = 3.0  # push relative to the initial speed; 0: a straight line
    rotation: Annotated[float, Field(ge=0, le=10)] = 0.5  # degrees; the largest turn in the image plane, end to end
    gamma: _motion.Gamma = 2.2  # camera response x^(1/gamma)


def degrade(hq: np.ndarray, config: Config, rng: np.random.Generator, region: np.ndarray | None = None) -> np.ndarray:
    """``(H,W,3)`` uint8 RGB, sharp -> the same, shaken; length, path and turn are drawn from ``rng``."""
    _motion.check(hq)
    extent = _motion.draw(rng, config.extent, config.least)
    path = _motion.centred(_motion.walk(rng, config.frames, 2, config.tremor), extent)
    turn = np.deg2rad(config.rotation) * rng.uniform()
    angle = _motion.centred(_motion.walk(rng, config.frames, 1, config.tremor), turn)[:, 0]
    light = _motion.to_linear(hq, config.gamma)
    if config.rotation:
        light = _motion.average_poses(light, path, angle, np.ones(config.frames))
    else:
        light = _motion.average(light, path)
    return _motion.to_8bit(light, config.gamma)
