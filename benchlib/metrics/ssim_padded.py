"""Structural similarity over a Gaussian window, the image's border repeated: every pixel counts.

NAFNet's and HINet's SSIM of one channel (``basicsr/metrics/psnr_ssim.py``, ``_ssim_cly``).
"""

from __future__ import annotations

import numpy as np

from benchlib.metrics._ssim import RADIUS, blur, channels, similarity

VERSION = 1
USES = {"metrics/_ssim.py": 1}
NAME = "SSIM"
SHOWN = "SSIM"
VARIANT = "2-D Gaussian window, borders replicated"
UNIT = ""
FACTOR = 1
LOWER_IS_BETTER = False
DIGITS = 4
RANGE = (-1.0, 1.0)
READS = ("restored", "reference")
ASSETS = ()


def measure(restored: np.ndarray, reference: np.ndarray) -> float:
    """SSIM of ``(H,W)`` float64 in [0,255]; of ``(H,W,3)``, the mean of the channels'."""
    pairs = zip(channels(restored), channels(reference), strict=True)
    return float(np.mean([_channel(first, second) for first, second in pairs]))


def _channel(first: np.ndarray, second: np.ndarray) -> float:
    first, second = np.pad(first, RADIUS, mode="edge"), np.pad(second, RADIUS, mode="edge")
    means, squares = (blur(first), blur(second)), (blur(first**2), blur(second**2))
    return float(similarity(*means, *squares, blur(first * second)).mean())
