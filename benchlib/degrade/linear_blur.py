"""Linear motion with saturated lights and sensor noise: out of distribution as RealBlur-J is (real, dim, clipped).

hq stays the photograph as it is. Its lights are brighter in the scene than 8 bits can say: before the blur they are
raised above 1, and the sensor clips afterwards, so that they leave bright, clipped streaks in lq only. This is the
saturation step of Rim et al., "Realistic blur synthesis for learning image deblurring" (ECCV 2022), with a soft
threshold for their mask of saturated pixels. Then shot and read noise, in linear light.
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
    extent: _motion.Pixels = 16.0  # pixels; the longest motion
    least: _motion.Share = 0.4  # the shortest motion, as a share of the longest
    gain: Annotated[float, Field(ge=1, le=20)] = 3.0  # brightness of a saturated light, white = 1; 1: no saturation
    lights: Annotated[float, Field(ge=0, lt=1)] = 0.93  # 8-bit luma (BT.601) / 255 from which a pixel is a light
    full_well: Annotated[float, Field(ge=0)] = 2000.0  # electrons at white: shot noise; 0: none
    read: Annotated[float, Field(ge=0, le=1)] = 0.0005  # standard deviation in linear light, white = 1
    gamma: _motion.Gamma = 2.2  # camera response x^(1/gamma)


def degrade(hq: np.ndarray, config: Config, rng: np.random.Generator, region: np.ndarray | None = None) -> np.ndarray:
    """``(H,W,3)`` uint8 RGB, sharp -> the same, moved along a line, clipped and noisy."""
    _motion.check(hq)
    extent = _motion.draw(rng, config.extent, config.least)
    path = _motion.line(rng, int(4 * extent) + 2, extent)  # four positions a pixel: no gaps
    luma = (hq @ np.array([0.299, 0.587, 0.114]))[..., None] / 255.0
    raised = 1.0 + (config.gain - 1.0) * np.clip((luma - config.lights) / (1.0 - config.lights), 0.0, 1.0) ** 2
    light = np.clip(_motion.average(_motion.to_linear(hq, config.gamma) * raised, path), 0.0, 1.0)
    if config.full_well:
        light = rng.poisson(light * config.full_well) / config.full_well
    return _motion.to_8bit(light + rng.normal(scale=config.read, size=light.shape), config.gamma)
