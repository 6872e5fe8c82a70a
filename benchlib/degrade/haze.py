"""Haze: the further away a thing is, the less of its light arrives, and the more of the air's.

The atmospheric scattering model: ``I = J t + A (1 - t)`` with ``t = exp(-beta d)``, where J is the
photograph, d the distance of each pixel, beta the air's extinction and A its own light. Light adds,
encoded values do not, so it is computed in linear light (sRGB undone, and encoded again).

Distances come with the pairs (``scene: map``; ``datasets/photographs_with_depth.py``), or are made
up (``scene: ramp``): a plane that rises from the bottom row to the top one, as no photograph does.
Made here, no published set: RESIDE's and others' figures are not to be expected on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from benchlib.contracts import BenchError
from benchlib.degrade import _light
from benchlib.degrade._checks import check_sharp

VERSION = 1
USES = {"degrade/_light.py": 1}
NEEDS_REGION = False
NEAREST = 0.1  # distance of a ramp's bottom row, as a share of its top row's

Extinction = Annotated[float, Field(ge=0, le=100)]
Light = Annotated[float, Field(ge=0, le=1)]
Extinctions = Annotated[tuple[Extinction, Extinction], Field(strict=False)]
Lights = Annotated[tuple[Light, Light], Field(strict=False)]


@dataclass(frozen=True)
class Config:
    """How thick the haze is, and how bright; each image draws its own values, by its name.

    beta: least and most extinction for each unit of distance; all between are equally likely. At
    distance 1, 0.5 leaves 61 % of the light, 2 leaves 14 %. airlight: least and most light of the
    air, linear, of white's; grey. scene: where distances come from. relative: the farthest pixel of
    a map is at distance 1, so that beta says how thick the haze is there; false: a map's own unit.
    Raises BenchError for a least value above its most.
    """

    beta: Extinctions = (0.6, 1.8)
    airlight: Lights = (0.7, 1.0)
    scene: Literal["ramp", "map"] = "ramp"
    relative: bool = True

    def __post_init__(self) -> None:
        for name in ("beta", "airlight"):
            least, most = getattr(self, name)
            if least > most:
                raise BenchError(
                    f"haze: {name}: got [{least:g}, {most:g}]; expected the least value first"
                )


def needs_depth(config: Config) -> bool:
    """Whether ``degrade`` is given the distance of each pixel."""
    return config.scene == "map"


def degrade(
    hq: np.ndarray,
    config: Config,
    rng: np.random.Generator,
    region: np.ndarray | None = None,
    depth: np.ndarray | None = None,
) -> np.ndarray:
    """``(H,W,3)`` uint8 RGB -> the same size and type, hazy.

    depth: ``(H,W)`` float, the distance of each pixel in any unit, above 0; read with
    ``scene: map`` alone. Raises BenchError for another shape or type, or where it is not there.
    """
    check_sharp(hq)
    beta = rng.uniform(*config.beta)
    air = rng.uniform(*config.airlight)
    share = np.exp(-beta * _distance(hq, config, depth))[..., None]
    return _light.to_8bit(_light.encode(_light.to_linear(hq) * share + air * (1 - share)))


def _distance(hq: np.ndarray, config: Config, depth: np.ndarray | None) -> np.ndarray:
    """``(H,W)`` float64, or ``(H,1)`` of a ramp, whose rows are each at one distance."""
    height, width = hq.shape[:2]
    if not needs_depth(config):
        return np.linspace(1.0, NEAREST, height)[:, None]
    if depth is None:
        raise BenchError(
            "haze: scene: map: these pairs come without distances; name a source that has them "
            "(photographs_with_depth), or scene: ramp"
        )
    whole = depth.shape == (height, width) and np.isfinite(depth).all() and (depth > 0).all()
    if not whole:
        raise BenchError(
            f"depth: {depth.shape} {depth.dtype}; expected ({height}, {width}), finite, above 0"
        )
    if config.relative:
        return depth / depth.max()
    return depth
