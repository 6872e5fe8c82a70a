"""Mean absolute error of values in [0,1], as the papers on defocus print it."""

from __future__ import annotations

import numpy as np

VERSION = 1
NAME = "MAE"
SHOWN = "MAE"
UNIT = ""
FACTOR = 1
LOWER_IS_BETTER = True
DIGITS = 4
RANGE = (0.0, 1.0)
READS = ("restored", "reference")
ASSETS = ()
PROTOCOLS = ("basicsr-rgb", "basicsr-y")


def measure(restored: np.ndarray, reference: np.ndarray) -> float:
    """Mean absolute error over 255 of ``(H,W,3)`` or ``(H,W)`` float64 in [0,255]."""
    return float(np.mean(np.abs(restored - reference)) / 255)
