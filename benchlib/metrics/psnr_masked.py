"""Peak signal-to-noise ratio over the pixels that both images have after they were aligned.

Restormer's ``Motion_Deblurring/evaluate_realblur.py`` (df766d5): the sum of squared errors over the
sum of the mask.
"""

from __future__ import annotations

import numpy as np

VERSION = 1
NAME = "PSNR"
SHOWN = "PSNR"
VARIANT = "over the pixels that both images have"
UNIT = "dB"
FACTOR = 1
LOWER_IS_BETTER = False
DIGITS = 3
RANGE = (0.0, None)
READS = ("restored", "reference", "mask")
ASSETS = ()


def measure(restored: np.ndarray, reference: np.ndarray, mask: np.ndarray) -> float:
    """PSNR in dB of ``(H,W,3)`` float64 in [0,255] that are 0 where ``mask`` is; else it is 1."""
    error = float(np.sum((restored - reference) ** 2) / np.sum(mask))
    if error == 0:
        return float("inf")
    return float(10 * np.log10(255**2 / error))
