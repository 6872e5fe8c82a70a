"""Learned perceptual image patch similarity (LPIPS v0.1) by VGG16: 0 for equal images.

Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, CVPR 2018.
"""

from __future__ import annotations

import numpy as np

from benchlib.assets.trunks import VGG16
from benchlib.metrics._lpips import lpips

VERSION = 1
USES = {"metrics/_lpips.py": 1, "assets/trunks.py": 1}
NAME = "LPIPS-vgg-0.1"
SHOWN = "LPIPS-vgg-0.1"
UNIT = ""
FACTOR = 1
LOWER_IS_BETTER = True
DIGITS = 4
RANGE = (0.0, None)
READS = ("restored", "reference")
SMALLEST = 16  # pixels on each side, that every layer may have one
ASSETS = ("vgg16", "lpips-vgg")
PROTOCOLS = ("basicsr-rgb",)


def measure(restored: np.ndarray, reference: np.ndarray) -> float:
    """LPIPS of ``(H,W,3)`` RGB float64 in [0,255], 16 pixels or more."""
    return lpips(restored, reference, VGG16, "lpips-vgg")
