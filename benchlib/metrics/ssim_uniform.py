"""Structural similarity over a uniform 7x7 window, sample covariance: scikit-image's default.

What the scripts of AirNet, PromptIR, LLFormer, IFAN, Enlighten Anything and Restormer (defocus)
call.
"""

from __future__ import annotations

import numpy as np

VERSION = 1
NAME = "SSIM"
SHOWN = "SSIM"
VARIANT = "uniform 7x7 window per channel, sample covariance"
UNIT = ""
FACTOR = 1
LOWER_IS_BETTER = False
DIGITS = 4
RANGE = (-1.0, 1.0)
READS = ("restored", "reference")
ASSETS = ()


def measure(restored: np.ndarray, reference: np.ndarray) -> float:
    """SSIM of ``(H,W,3)`` or ``(H,W)`` float64 in [0,255]; channels averaged."""
    return uniform(restored, reference, 255.0)


def uniform(restored: np.ndarray, reference: np.ndarray, data_range: float) -> float:
    """The same under the data range that scikit-image was given, or took by itself."""
    from skimage.metrics import structural_similarity

    axis = None
    if restored.ndim == 3:
        axis = -1
    return float(
        structural_similarity(restored, reference, data_range=data_range, channel_axis=axis)
    )
