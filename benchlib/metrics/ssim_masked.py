"""Structural similarity over the pixels that both images have after they were aligned.

Restormer's ``Motion_Deblurring/evaluate_realblur.py`` (df766d5): the map of
:mod:`benchlib.metrics.ssim` (Gaussian, population covariance), its mean under the mask per channel.
"""

from __future__ import annotations

import numpy as np

from benchlib.metrics._ssim import RADIUS, channels, gaussian_map

VERSION = 1
USES = {"metrics/_ssim.py": 1}
NAME = "SSIM"
SHOWN = "SSIM"
VARIANT = "2-D Gaussian window per channel, over the pixels that both images have"
UNIT = ""
FACTOR = 1
LOWER_IS_BETTER = False
DIGITS = 4
RANGE = (-1.0, 1.0)
READS = ("restored", "reference", "mask")
ASSETS = ()


def measure(restored: np.ndarray, reference: np.ndarray, mask: np.ndarray) -> float:
    """SSIM of ``(H,W,3)`` float64 in [0,255] that are 0 where ``mask`` is; else it is 1."""
    values = []
    for first, second, counted in zip(
        channels(restored), channels(reference), channels(mask), strict=True
    ):
        inner = counted[RADIUS:-RADIUS, RADIUS:-RADIUS]
        values.append((gaussian_map(first, second) * inner).sum() / inner.sum())
    return float(np.mean(values))
