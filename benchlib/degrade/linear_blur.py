"""Linear motion with saturated lights and sensor noise.

Out of distribution as RealBlur-J is (real, dim, clipped). hq stays the photograph as it is. Its
lights are brighter in the scene than 8 bits can say: before the blur they are raised above 1, and
the sensor clips afterwards, so that they leave bright, clipped streaks in lq only. This is the
saturation step of Rim et al., "Realistic blur synthesis for learning image deblurring" (ECCV
2022), with a soft threshold for their mask of saturated pixels. Then shot and read noise, in
linear light.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from benchlib.degrade import _motion
from benchlib.degrade._checks import Gamma, Pixels, Share, check_sharp

VERSION = 1
USES = {"degrade/_motion.py": 1}
NEEDS_REGION = False

LUMA = np.array([0.299, 0.587, 0.114])  # BT.601

Gain = Annotated[float, Field(ge=1, le=20)]
Threshold = Annotated[float, Field(ge=0, lt=1)]
Electrons = Annotated[float, Field(ge=0)]


@dataclass(frozen=True)
class Config:
    """How far the scene moves, how bright its lights are, and how noisy the sensor is."""

    extent: Pixels = 16.0  # pixels; the longest motion
    least: Share = 0.4  # the shortest motion, as a share of the longest
    gain: Gain = 3.0  # brightness of a saturated light, white = 1; 1: no saturation
    lights: Threshold = 0.93  # 8-bit luma (BT.601) / 255 from which a pixel is a light
    full_well: Electrons = 2000.0  # electrons at white: shot noise; 0: none
    read: Share = 0.0005  # standard deviation of the read noise in linear light, white = 1
    gamma: Gamma = 2.2  # camera response x^(1/gamma)


def degrade(
    hq: np.ndarray, config: Config, rng: np.random.Generator, region: np.ndarray | None = None
) -> np.ndarray:
    """``(H,W,3)`` uint8 RGB, sharp -> the same size and type, moved along a line, clipped, noisy.

    Raises BenchError for another shape or type.
    """
    check_sharp(hq)
    extent = _motion.draw_length(rng, config.extent, config.least)
    path = _motion.line_path(rng, int(4 * extent) + 2, extent)  # four positions a pixel: no gaps
    light = _motion.to_linear(hq, config.gamma) * _raised_lights(hq, config)
    light = np.clip(_motion.average_shifts(light, path), 0.0, 1.0)
    if config.full_well:
        light = rng.poisson(light * config.full_well) / config.full_well
    return _motion.to_8bit(light + rng.normal(scale=config.read, size=light.shape), config.gamma)


def _raised_lights(hq: np.ndarray, config: Config) -> np.ndarray:
    """``(H,W,1)`` float64: how much brighter than its 8 bits each pixel is; 1 to ``gain``."""
    luma = (hq @ LUMA)[..., None] / 255.0
    above = np.clip((luma - config.lights) / (1.0 - config.lights), 0.0, 1.0)
    return 1.0 + (config.gain - 1.0) * above**2
