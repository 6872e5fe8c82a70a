"""Noise of one of several levels, each as likely: what multiple-in-one networks are trained on.

PromptIR, AirNet and LMDIR train denoising at sigma 15, 25 and 50 as one task. With a set of each
level, ``mix: uniform`` would draw noise three times as often as rain. Here all levels are one set:
each copy of a photograph draws its level. The noise itself is ``airnet_noise``'s, which is how the
code of PromptIR, in whose framework LMDIR was trained, adds it in training too
(va1shn9v/PromptIR@49a78a38, ``utils/degradation_utils.py``: clipped and truncated to 8 bits).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from benchlib.degrade import airnet_noise
from benchlib.degrade._checks import check_sharp

VERSION = 1
USES = {"degrade/airnet_noise.py": 1}
NEEDS_REGION = False

Levels = Annotated[
    tuple[airnet_noise.Levels, ...], Field(strict=False, min_length=1, max_length=256)
]


@dataclass(frozen=True)
class Config:
    """sigmas: standard deviations in grey levels, white = 255."""

    sigmas: Levels = (15.0, 25.0, 50.0)


def multiple(config: Config) -> int:
    """hq is cut to a multiple of so many pixels."""
    return airnet_noise.MULTIPLE


def degrade(
    hq: np.ndarray, config: Config, rng: np.random.Generator, region: np.ndarray | None = None
) -> np.ndarray:
    """``(H,W,3)`` uint8 RGB -> the same size and type.

    Raises BenchError for another shape or type.
    """
    check_sharp(hq)
    sigma = config.sigmas[rng.integers(len(config.sigmas))]
    return airnet_noise.degrade(hq, airnet_noise.Config(sigma), rng)
