"""Noise as AirNet and PromptIR are tested with: of 8 bits, clipped, and truncated.

Both (XLearning-SCU/2022-CVPR-AirNet@bedea82f and va1shn9v/PromptIR@106159ab,
``utils/dataset_utils.py``, ``DenoiseTestDataset``) add sigma times normal noise to the 8-bit image,
clip to [0,255] and cut the fraction off, which darkens by half a level. Their generator starts at
seed 0 once; images take from it in the order in which the file system lists them, which is not
defined, and all of sigma 15 before sigma 25. So nobody can name the noise of one published image,
and here it is drawn from the image's name; the mean over a set is nearly theirs. ``drawn`` gives
their very noise of a known place.

They cut the image to a multiple of 16 about its middle; here it is cut at the right and bottom,
which is the same for the 481x321 pixels of CBSD68.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from benchlib.degrade._checks import check_sharp

VERSION = 1
NEEDS_REGION = False

SEED = 0  # of the official scripts, once
MULTIPLE = 16

Levels = Annotated[float, Field(gt=0, le=255)]
Count = Annotated[int, Field(ge=0, le=10**9)]


@dataclass(frozen=True)
class Config:
    """How strong the noise is, and where it comes from."""

    sigma: Levels = 25.0  # standard deviation in grey levels, white = 255
    # None: noise by the image's name. A number: the official generator's, after so many values
    # (3 x height x width of each image before this one, the smaller sigmas' images too).
    drawn: Count | None = None


def multiple(config: Config) -> int:
    """hq is cut to a multiple of so many pixels."""
    return MULTIPLE


def degrade(
    hq: np.ndarray, config: Config, rng: np.random.Generator, region: np.ndarray | None = None
) -> np.ndarray:
    """``(H,W,3)`` uint8 RGB -> the same size and type.

    Raises BenchError for another shape or type.
    """
    check_sharp(hq)
    if config.drawn is None:
        noise = rng.standard_normal(hq.shape)
    else:
        official = np.random.RandomState(SEED)
        _skip(official, config.drawn)
        noise = official.standard_normal(hq.shape)
    return np.clip(hq + noise * config.sigma, 0, 255).astype(np.uint8)


def _skip(generator: np.random.RandomState, count: int) -> None:
    """Draw so many normal values, a million at a time."""
    for start in range(0, count, 10**6):
        generator.standard_normal(min(10**6, count - start))
