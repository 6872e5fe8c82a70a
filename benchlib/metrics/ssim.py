"""Structural similarity (SSIM, Wang et al. 2004): 1 for equal images; the protocol says over which
window.

Here it is BasicSR's and MATLAB's: an 11x11 Gaussian of sigma 1.5 per channel, only where it lies
inside the image. Equal to scikit-image's ``structural_similarity`` with that window, and faster.
"""

from __future__ import annotations

import numpy as np

from benchlib.metrics._ssim import channels, gaussian_map

VERSION = 1
USES = {"metrics/_ssim.py": 1}
NAME = "SSIM"
SHOWN = "SSIM"
VARIANT = "2-D Gaussian window per channel, windows inside the image only"
UNIT = ""
FACTOR = 1
LOWER_IS_BETTER = False
DIGITS = 4
RANGE = (-1.0, 1.0)
READS = ("restored", "reference")
ASSETS = ()


def measure(restored: np.ndarray, reference: np.ndarray) -> float:
    """SSIM of ``(H,W,3)`` or ``(H,W)`` float64 in [0,255], 11 pixels or more; channels averaged."""
    pairs = zip(channels(restored), channels(reference), strict=True)
    return float(np.mean([gaussian_map(first, second).mean() for first, second in pairs]))
