"""Mode collapse: the share of images that end more than 3 dB below their degraded input.

SAM-Deblur, section 4.2. Of one image it is 1 or 0. It is not measured where the degraded image has
another size than the reference (super-resolution).
"""

from __future__ import annotations

import numpy as np

from benchlib.metrics import psnr

VERSION = 1
USES = {"metrics/psnr.py": 1}
NAME = "MC"
SHOWN = "MCR"
UNIT = "%"
FACTOR = 100
LOWER_IS_BETTER = True
DIGITS = 2
RANGE = (0.0, 1.0)
READS = ("restored", "reference", "degraded")
ASSETS = ()
PROTOCOLS = (
    "basicsr-rgb",
    "basicsr-y",
    "matlab-y-rounded",
    "nafnet-ssim3d",
    "nafnet-ssim3d-separable",
    "nafnet-y",
)
DROP = 3.0  # dB, the paper's


def measure(restored: np.ndarray, reference: np.ndarray, degraded: np.ndarray) -> float:
    """1 if the PSNR of ``degraded`` is more than ``DROP`` dB above that of ``restored``, else 0.

    Three float64 arrays of one shape, ``(H,W,3)`` or ``(H,W)``, in [0,255].
    """
    before, after = psnr.measure(degraded, reference), psnr.measure(restored, reference)
    return int(before - after > DROP)
