"""Peak signal-to-noise ratio: how close an image is to the true one, value by value.

The peak is 255; two equal images have an infinite one.
"""

from __future__ import annotations

import numpy as np

VERSION = 1
NAME = "PSNR"
SHOWN = "PSNR"
UNIT = "dB"
FACTOR = 1
LOWER_IS_BETTER = False
DIGITS = 3
RANGE = (0.0, None)
READS = ("restored", "reference")
ASSETS = ()


def measure(restored: np.ndarray, reference: np.ndarray) -> float:
    """PSNR in dB of ``(H,W,3)`` or ``(H,W)`` float64 in [0,255]: of the error's mean over all."""
    error = float(np.mean((restored - reference) ** 2))
    if error == 0:
        return float("inf")
    return float(10 * np.log10(255**2 / error))
