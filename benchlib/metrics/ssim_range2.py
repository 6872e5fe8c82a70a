"""Structural similarity over a uniform 7x7 window as if values reached from -1 to 1.

scikit-image up to 0.20 takes that range for floating-point images where a script names none, as
Uformer's ``test/test_gopro_hide.py`` does. It reads higher than the right range would.
"""

from __future__ import annotations

import numpy as np

from benchlib.metrics.ssim_uniform import uniform

VERSION = 1
USES = {"metrics/ssim_uniform.py": 1}
NAME = "SSIM"
SHOWN = "SSIM"
VARIANT = "uniform 7x7 window per channel, sample covariance, data range 2 for images in [0,1]"
UNIT = ""
FACTOR = 1
LOWER_IS_BETTER = False
DIGITS = 4
RANGE = (-1.0, 1.0)
READS = ("restored", "reference")
ASSETS = ()


def measure(restored: np.ndarray, reference: np.ndarray) -> float:
    """SSIM of ``(H,W,3)`` or ``(H,W)`` float64 in [0,255]; channels averaged."""
    return uniform(restored, reference, 2 * 255.0)
