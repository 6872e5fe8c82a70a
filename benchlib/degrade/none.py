"""Nothing is degraded: the pairs are as their authors publish them.

A source of finished pairs (``folder``, ``paired``) names it, since every set of ``params.yaml``
names a degradation. Of photographs it makes pairs of equal images, a control: what a method
changes there is what it changes without cause.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchlib.degrade._checks import check_sharp

VERSION = 1
NEEDS_REGION = False


@dataclass(frozen=True)
class Config:
    """Nothing to set."""


def degrade(
    hq: np.ndarray, config: Config, rng: np.random.Generator, region: np.ndarray | None = None
) -> np.ndarray:
    """``(H,W,3)`` uint8 RGB -> a copy of it; nothing is drawn from ``rng``.

    Raises BenchError for another shape or type.
    """
    check_sharp(hq)
    return hq.copy()
