"""Noise as Restormer and DRUNet are tested with: one field for all images of a size, not clipped.

Restormer (swz30/Restormer@df766d55, ``Denoising/test_gaussian_color_denoising.py`` and
``_gray_``) restarts NumPy's legacy generator at seed 0 for every image and adds normal noise of
float64 to the float32 image in [0,1]; DRUNet's test in KAIR does the same. So the noise is part of
the protocol: nothing is drawn from ``rng``, and neither the set's name nor a copy's number changes
it. For other noise in every image: ``gaussian_noise``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from benchlib.contracts import BenchError
from benchlib.degrade._checks import check_sharp

VERSION = 1
NEEDS_REGION = False

SEED = 0  # of the official scripts, before every image

Levels = Annotated[float, Field(gt=0, le=255)]


@dataclass(frozen=True)
class Config:
    """How strong the noise is, and whether colours have noise of their own."""

    sigma: Levels = 25.0  # standard deviation in grey levels, white = 255
    grey: bool = False  # True: the grey script; one field for all three (equal) colours


def degrade(
    hq: np.ndarray, config: Config, rng: np.random.Generator, region: np.ndarray | None = None
) -> np.ndarray:
    """``(H,W,3)`` uint8 RGB -> ``(H,W,3)`` float32, ``hq/255`` plus noise, not clipped.

    Raises BenchError for another shape or type, and for colours where ``grey`` is asked for.
    """
    check_sharp(hq)
    if config.grey and not (hq == hq[..., :1]).all():
        raise BenchError(
            "restormer_noise: grey: true, but the picture has colours; name grey photographs, or "
            "leave grey out"
        )
    shape = hq.shape
    if config.grey:
        shape = (*hq.shape[:2], 1)
    noisy = hq.astype(np.float32) / 255
    noisy += np.random.RandomState(SEED).normal(0, config.sigma / 255, shape)
    return noisy
