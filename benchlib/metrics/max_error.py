"""The largest absolute error of a value, in 8-bit levels: what no mean shows."""

from __future__ import annotations

import numpy as np

VERSION = 1
NAME = "max error"
SHOWN = "max error"
UNIT = "levels"
FACTOR = 1
LOWER_IS_BETTER = True
DIGITS = 1
RANGE = (0.0, 255.0)
READS = ("restored", "reference")
ASSETS = ()
PROTOCOLS = ("basicsr-rgb", "basicsr-y")


def measure(restored: np.ndarray, reference: np.ndarray) -> float:
    """Largest absolute difference of ``(H,W,3)`` or ``(H,W)`` float64 in [0,255]."""
    return float(np.max(np.abs(restored - reference)))
