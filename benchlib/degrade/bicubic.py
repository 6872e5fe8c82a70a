"""Smaller by a whole factor, as MATLAB's ``imresize(hq, 1/scale)`` does it.

The input of every bicubic super-resolution benchmark. Keys' cubic kernel with a = -0.5, stretched
by ``scale`` (antialiasing), first down the rows, then along the columns. Every weight is a whole
number over ``16 * scale**4``, so the sums here are exact; MATLAB's, in double precision, then
round the same way (at scales 2 and 4 its weights are exact too, at scale 3 no sum lies half-way
between two levels).

between:
    ``8-bit``: MATLAB on an 8-bit image. Each dimension's result is an 8-bit image: rounded half
    up and clipped.
    ``float``: rounded half up and clipped once, at the end; BasicSR
    (``basicsr/utils/matlab_functions.py``, its ``imresize`` on [0,1]) and the like. Their sums are
    float32: the same steps in float32 gave another grey level (by one) in 65 of the 719,946
    values of Set5's LR images; 64 lie exactly half-way, one within 2e-6 of it.
border:
    ``symmetric``: the image is mirrored at its border, each border pixel twice; today's MATLAB,
    and BasicSR.
    ``replicate``: the border pixel is repeated; older releases, whose ``contributions`` clamps
    the indices.

Checked with no pixel different (``tests/test_bicubic.py``): ``8-bit``, ``symmetric`` on all 15 LR
images of Zheng222/IMDN ``Test_Datasets/Set5_LR`` (x2, x3, x4); ``8-bit``, ``replicate`` on all 42
of jbhuang0604/SelfExSR ``data/Set14`` (x2, x3, x4) and the 100 of its ``data/BSD100/image_SRF_4``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from benchlib.contracts import BenchError
from benchlib.degrade._checks import check_sharp

VERSION = 1
NEEDS_REGION = False

Padding = Literal["symmetric", "edge"]
PADDING: dict[str, Padding] = {"symmetric": "symmetric", "replicate": "edge"}  # NumPy's words


@dataclass(frozen=True)
class Config:
    """How much smaller, and which of the forms in use."""

    scale: Literal[2, 3, 4] = 4
    between: Literal["8-bit", "float"] = "8-bit"  # what stands between the two dimensions
    border: Literal["symmetric", "replicate"] = "symmetric"  # what lies beyond the image


def multiple(config: Config) -> int:
    """Both sides of hq must be a multiple of this many pixels."""
    return config.scale


def degrade(
    hq: np.ndarray, config: Config, rng: np.random.Generator, region: np.ndarray | None = None
) -> np.ndarray:
    """``(H,W,3)`` uint8 RGB -> ``(H/scale,W/scale,3)`` uint8 RGB; nothing is drawn from ``rng``.

    Raises BenchError for another shape or type, or a side that is no multiple of ``config.scale``
    (published pairs crop hq at the right and bottom).
    """
    check_sharp(hq)
    scale = config.scale
    if hq.shape[0] % scale or hq.shape[1] % scale:
        raise BenchError(
            f"hq: {hq.shape[:2]} pixels; expected multiples of {scale}; "
            "crop it at the right and bottom"
        )
    unit = 16 * scale**4
    rows = _sums(hq, 0, scale, config.border)
    if config.between == "8-bit":
        return _to_8bit(_sums(_to_8bit(rows, unit), 1, scale, config.border), unit)
    return _to_8bit(_sums(rows, 1, scale, config.border), unit**2)


def _weights(scale: int) -> np.ndarray:
    """The kernel at the taps of one output pixel, times ``16 * scale**4``: whole numbers.

    n is a tap's distance to the output pixel's centre in half input pixels; below,
    x = n / (2 * scale) was put into 1.5x^3 - 2.5x^2 + 1 (x <= 1) and -0.5x^3 + 2.5x^2 - 4x + 2
    (Keys 1981, equation 15).
    """
    beyond = 3 * scale // 2  # taps on either side of the scale pixels that the output pixel covers
    n = np.abs(2 * np.arange(-beyond, scale + beyond) - (scale - 1))
    near = 3 * n**3 - 10 * scale * n**2 + 16 * scale**3
    far = -(n**3) + 10 * scale * n**2 - 32 * scale**2 * n + 32 * scale**3
    return np.where(n <= 2 * scale, near, far)


def _sums(image: np.ndarray, axis: int, scale: int, border: str) -> np.ndarray:
    """Weighted sums along one axis, which becomes ``scale`` times shorter.

    In units of 1 / (16 * scale**4) of the image's own.
    """
    weights = _weights(scale)
    beyond = (len(weights) - scale) // 2
    widths = [(0, 0)] * 3
    widths[axis] = (beyond, beyond)
    padded = np.moveaxis(np.pad(image, widths, mode=PADDING[border]), axis, 0)
    dtype: type[np.int32] | type[np.int64] = np.int64  # sums of sums need more than 32 bits
    if image.dtype == np.uint8:
        dtype = np.int32
    length = image.shape[axis]
    out = np.zeros((length // scale, *padded.shape[1:]), dtype)
    for tap, weight in enumerate(weights):
        out += np.multiply(padded[tap : tap + length : scale], weight, dtype=dtype)
    return np.moveaxis(out, 0, axis)


def _to_8bit(sums: np.ndarray, unit: int) -> np.ndarray:
    """``sums / unit`` as uint8: rounded half up, clipped.

    MATLAB rounds half away from zero, which is the same where it is not clipped.
    """
    return np.clip((2 * sums + unit) // (2 * unit), 0, 255).astype(np.uint8)
