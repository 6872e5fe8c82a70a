"""Peak signal-to-noise ratio computed in single precision throughout; infinite for equal images.

HINet's ``basicsr/metrics/psnr_ssim.py`` (4e72315) does so once its luma is single precision. It is
up to 2e-6 dB off :mod:`benchlib.metrics.psnr` of the same images.
"""

from __future__ import annotations

import numpy as np

VERSION = 1
NAME = "PSNR"
SHOWN = "PSNR"
VARIANT = "in single precision"
UNIT = "dB"
FACTOR = 1
LOWER_IS_BETTER = False
DIGITS = 3
RANGE = (0.0, None)
READS = ("restored", "reference")
ASSETS = ()


def measure(restored: np.ndarray, reference: np.ndarray) -> float:
    """PSNR in dB of ``(H,W,3)`` or ``(H,W)`` float64 in [0,255] that float32 holds exactly."""
    first, second = restored.astype(np.float32), reference.astype(np.float32)
    error = np.mean((first - second) ** 2)
    if error == 0:
        return float("inf")
    return float(np.float32(20) * np.log10(np.float32(255) / np.sqrt(error)))
