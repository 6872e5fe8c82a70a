"""Structural similarity of grey along each column alone, a uniform window of 7 pixels.

LLFlow's ``code/Measure.py`` hands a grey image to scikit-image 0.18 with ``multichannel=True``,
which takes its last axis, the columns, for channels: no window reaches sideways.
"""

from __future__ import annotations

import numpy as np

from benchlib.metrics._brightness import to_grey

VERSION = 1
USES = {"metrics/_brightness.py": 1}
NAME = "SSIM"
SHOWN = "SSIM"
VARIANT = "grey in whole numbers, uniform window of 7 pixels along each column alone"
UNIT = ""
FACTOR = 1
LOWER_IS_BETTER = False
DIGITS = 4
RANGE = (-1.0, 1.0)
READS = ("restored", "reference")
ASSETS = ()


def measure(restored: np.ndarray, reference: np.ndarray) -> float:
    """SSIM of ``(H,W,3)``, whole numbers in [0,255], or of ``(H,W)``; the mean of the columns'."""
    from skimage.metrics import structural_similarity

    first, second = _grey(restored), _grey(reference)
    return float(structural_similarity(first, second, data_range=255, channel_axis=-1))


def _grey(image: np.ndarray) -> np.ndarray:
    if image.ndim == 2:
        return image
    return to_grey(image)
