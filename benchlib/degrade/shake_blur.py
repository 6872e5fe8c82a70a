"""Camera shake, the in-distribution blur: sharp frames along a hand's tremor, averaged.

The GoPro recipe (Nah et al. 2017, section 2.1) with one photograph in place of a video: N sharp
frames, each shifted and slightly turned by the shake, are averaged in linear light and brought
back to 8 bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from benchlib.degrade import _motion
from benchlib.degrade._checks import Frames, Gamma, Pixels, Share, check_sharp

VERSION = 1
USES = {"degrade/_motion.py": 1}
NEEDS_REGION = False

Tremor = Annotated[float, Field(ge=0, le=20)]
Degrees = Annotated[float, Field(ge=0, le=10)]


@dataclass(frozen=True)
class Config:
    """How the hand shakes, and for how many frames."""

    frames: Frames = 32  # sharp frames averaged
    extent: Pixels = 16.0  # pixels; the longest shake, between its two remotest positions
    least: Share = 0.3  # the shortest shake, as a share of the longest
    tremor: Tremor = 3.0  # push relative to the first speed; 0: a straight line
    rotation: Degrees = 0.5  # degrees; the largest turn in the image plane, end to end
    gamma: Gamma = 2.2  # camera response x^(1/gamma)


def degrade(
    hq: np.ndarray, config: Config, rng: np.random.Generator, region: np.ndarray | None = None
) -> np.ndarray:
    """``(H,W,3)`` uint8 RGB, sharp -> the same size and type, shaken.

    Length, path and turn are drawn from ``rng``. Raises BenchError for another shape or type.
    """
    check_sharp(hq)
    extent = _motion.draw_length(rng, config.extent, config.least)
    path = _motion.random_walk(rng, config.frames, 2, config.tremor)
    path = _motion.centred_path(path, extent)
    turn = np.deg2rad(config.rotation) * rng.uniform()
    angle = _motion.random_walk(rng, config.frames, 1, config.tremor)
    angle = _motion.centred_path(angle, turn)[:, 0]
    light = _motion.to_linear(hq, config.gamma)
    if config.rotation:
        light = _motion.average_poses(light, path, angle, np.ones(config.frames))
    else:
        light = _motion.average_shifts(light, path)
    return _motion.to_8bit(light, config.gamma)
