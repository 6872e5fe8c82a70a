"""Rain that falls through the picture: streaks of one direction, brighter than what they hide.

Made here, no published recipe: a stand-in for data sets of drawn rain, not one of them. A drop
that falls during the exposure shows a bright, wide part of the scene and hides little of what is
behind it, so that a pixel becomes (1 - share) of its own light and a share of the drop's (Garg and
Nayar, "Vision and Rain", IJCV 2007). Here a drop is a soft point, smeared along the fall; shares
of drops that cross add as optical depths do, and the sum is mixed in linear light (sRGB undone).
With ``brightness`` 1 that is what image editors call screen. There is no fog of far drops.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field
from scipy import ndimage

from benchlib.degrade import _light, _motion
from benchlib.degrade._checks import Pixels, Share, check_sharp

VERSION = 1
USES = {"degrade/_light.py": 1, "degrade/_motion.py": 1}
NEEDS_REGION = False

LAYERS = 4  # distances; each has drops of one length
FAINTEST = 0.3  # of the drops, in units of the strongest: far and out of focus

Density = Annotated[float, Field(ge=0, le=0.1)]
Width = Annotated[float, Field(ge=0.5, le=10)]
Lean = Annotated[float, Field(ge=-80, le=80)]
Degrees = Annotated[float, Field(ge=0, le=80)]
Opacity = Annotated[float, Field(gt=0, lt=1)]


@dataclass(frozen=True)
class Config:
    """How much it rains, and how streaks look."""

    density: Density = 0.003  # streaks a pixel; 0.003: three in a thousand pixels
    length: Pixels = 24.0  # pixels; the longest streaks
    least: Share = 0.4  # the shortest streaks, as a share of the longest
    width: Width = 1.6  # pixels; of a streak, between its half opacities
    angle: Lean = 0.0  # degrees from upright; above 0 the lower end lies further right
    spread: Degrees = 20.0  # degrees; a picture's angle differs from `angle` by so much at the most
    opacity: Opacity = 0.5  # of the strongest streak, at its middle
    brightness: Share = 0.9  # linear light of a drop, white = 1


def degrade(
    hq: np.ndarray, config: Config, rng: np.random.Generator, region: np.ndarray | None = None
) -> np.ndarray:
    """``(H,W,3)`` uint8 RGB -> the same size and type, behind rain.

    Raises BenchError for another shape or type.
    """
    check_sharp(hq)
    lean = np.deg2rad(config.angle + config.spread * rng.uniform(-1.0, 1.0))
    depth = np.zeros(hq.shape[:2])
    for longest in np.linspace(config.least, 1.0, LAYERS) * config.length:
        depth += _layer(hq.shape[:2], config, rng, lean, longest)
    share = 1.0 - np.exp(-depth[..., None])
    light = _light.to_linear(hq) * (1.0 - share) + config.brightness * share
    return _light.to_8bit(_light.encode(light))


def _layer(
    size: tuple[int, ...], config: Config, rng: np.random.Generator, lean: float, length: float
) -> np.ndarray:
    """``(H,W)`` float64: the optical depth of streaks of one length in pixels."""
    drops = rng.uniform(FAINTEST, 1.0, size) * (rng.random(size) < config.density / LAYERS)
    along = np.linspace(-0.5, 0.5, int(4 * length) + 2)[:, None]  # four positions a pixel: no gaps
    path = length * along * np.array([np.cos(lean), np.sin(lean)])
    smeared = _motion.average_shifts(drops[..., None], path)[..., 0]
    sigma = config.width / np.sqrt(8 * np.log(2))  # of a normal curve of that full width
    soft = ndimage.gaussian_filter(smeared, sigma, mode="reflect")
    # A point of weight 1 on a line has 1/length a pixel; softened, the line's middle has this.
    peak = 1.0 / (max(length, 1.0) * sigma * np.sqrt(2 * np.pi))
    return soft * (-np.log(1.0 - config.opacity) / peak)
