"""What every degradation asks of its input, and the ranges of settings that several share.

No number passes through here, so that this file has no version.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from benchlib.contracts import BenchError

Gamma = Annotated[float, Field(ge=1, le=4)]
Share = Annotated[float, Field(ge=0, le=1)]
Frames = Annotated[int, Field(ge=2, le=512)]
Pixels = Annotated[float, Field(gt=0, le=200)]


def check_sharp(hq: np.ndarray) -> None:
    """Raise BenchError if ``hq`` is no ``(H,W,3)`` uint8 image with a pixel in it."""
    if hq.ndim != 3 or hq.shape[2] != 3 or hq.dtype != np.uint8 or 0 in hq.shape:
        raise BenchError(
            f"hq: expected (H,W,3) uint8 with a pixel in it, got {hq.shape} {hq.dtype}"
        )


def check_region(region: np.ndarray, hq: np.ndarray) -> None:
    """Raise BenchError if ``region`` is not bool, not as large as ``hq``, or empty."""
    size = hq.shape[:2]
    if region.shape != size or region.dtype != bool:
        raise BenchError(
            f"region: expected {size} bool like the image, got {region.shape} {region.dtype}"
        )
    if not region.any():
        raise BenchError("region: has no pixel; give one that covers something")
