"""A photograph taken with too little light: underexposed, with the noise of few electrons.

Made here, no published recipe: a stand-in for LOL's short exposures, not LOL. What a sensor does,
in its order: the photograph's linear light (sRGB undone) is reduced to a share of the exposure;
each pixel and colour counts electrons (Poisson: shot noise) and is read out with an error (normal:
read noise); the sensor clips; the camera encodes by sRGB, darkens by a tone curve if it is asked
to, and rounds to 8 bits. The sensor has no colour filter: noise is independent in every pixel and
colour, as no demosaicing has spread it.

The default exposures span what LOL's short ones have: of 39 of its pairs, measured in linear light
by their means, a dark image has 0.9 to 7 % of its partner's light (10th to 90th percentile).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from benchlib.degrade import _light
from benchlib.degrade._checks import Gamma, Share, check_sharp

VERSION = 1
USES = {"degrade/_light.py": 1}
NEEDS_REGION = False

Exposure = Annotated[float, Field(gt=0, le=1)]
Electrons = Annotated[float, Field(ge=0, le=1e6)]


@dataclass(frozen=True)
class Config:
    """How dark it is, and how noisy the sensor."""

    exposure: Exposure = 0.07  # the most light that is left, as a share of the photograph's
    least: Share = 0.15  # the least light, as a share of the most; all between are equally likely
    gamma: Gamma = 1.0  # tone curve value^gamma after sRGB; 1: none, above 1: darker shadows
    full_well: Electrons = 5000.0  # electrons at white: shot noise; 0: no noise of either kind
    read: Electrons = 5.0  # electrons, standard deviation of the read noise; 0: none


def degrade(
    hq: np.ndarray, config: Config, rng: np.random.Generator, region: np.ndarray | None = None
) -> np.ndarray:
    """``(H,W,3)`` uint8 RGB -> the same size and type, darker and noisy.

    ``read`` is measured on the scale of ``full_well``, and needs one: without shot noise there is
    no read noise. Raises BenchError for another shape or type.
    """
    check_sharp(hq)
    exposure = config.exposure * rng.uniform(config.least, 1.0)
    light = _light.to_linear(hq) * exposure
    if config.full_well:
        electrons = rng.poisson(light * config.full_well)
        light = (electrons + rng.normal(scale=config.read, size=hq.shape)) / config.full_well
    return _light.to_8bit(_light.encode(light) ** config.gamma)
