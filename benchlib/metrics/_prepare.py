"""From 8-bit RGB images to what metrics measure: cut, border, colour, alignment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from benchlib.contracts import BenchError, nearest
from benchlib.metrics._brightness import MATCHES

VERSION = 1
USES = {"metrics/_brightness.py": 1}
IMAGES = ("restored", "reference", "degraded")
SMALLEST = 11  # pixels: SSIM's window

Images = dict[str, np.ndarray]


@dataclass(frozen=True)
class Step:
    """One named step of a protocol. apply: on one image. words: what it does, for the report."""

    apply: Callable[[np.ndarray], np.ndarray]
    words: str


def to_float(image: np.ndarray) -> np.ndarray:
    """``(H,W,3)`` uint8 as float64 in [0,255]."""
    return image.astype(np.float64)


def to_y(image: np.ndarray) -> np.ndarray:
    """BT.601 luma of ``(H,W,3)`` RGB in [0,255]: ``(H,W)`` float64 in [16,235], not rounded.

    MATLAB's rgb2ycbcr of an image in doubles, and BasicSR's.
    """
    return image.astype(np.float64) @ np.array([65.481, 128.553, 24.966]) / 255 + 16


def to_y_rounded(image: np.ndarray) -> np.ndarray:
    """:func:`to_y` in whole numbers, half upwards, as MATLAB's rgb2ycbcr of a uint8 image gives it.

    ``image`` holds whole numbers. Computed exactly: the luma is a whole number of 1/255000. MATLAB
    adds products of doubles, so on the about 12 of a million colours whose luma is exactly a half
    it may round the other way.
    """
    thousandths = image.astype(np.int64) @ np.array([65481, 128553, 24966])
    return (thousandths + 127500) // 255000 + 16.0


def to_y_full(image: np.ndarray) -> np.ndarray:
    """JPEG's luma of ``(H,W,3)`` uint8 RGB, ``(H,W)`` float64, whole numbers in [0,255].

    As OpenCV's 8-bit YCrCb has it: weights of 0.299, 0.587, 0.114 in units of 2**-14, half upwards.
    """
    weighted = image.astype(np.int64) @ np.array([4899, 9617, 1868])
    return ((weighted + (1 << 13)) >> 14).astype(np.float64)


def to_y_exchanged(image: np.ndarray) -> np.ndarray:
    """BT.601 luma with red and blue exchanged, ``(H,W)`` float64 of single-precision values.

    What HINet's ``basicsr/metrics/metric_util.py`` makes of RGB: it expects BGR, which is what
    HINet's own tests hand it. The order of divisions and roundings is that file's.
    """
    unit = image.astype(np.float32) / np.float32(255)
    luma = unit @ np.array([24.966, 128.553, 65.481]) + 16.0
    single = (luma / 255).astype(np.float32) * np.float32(255)
    return single.astype(np.float64)


def as_it_is(image: np.ndarray) -> np.ndarray:
    """The image."""
    return image


def cut_end(image: np.ndarray, multiple: int) -> np.ndarray:
    """Rows and columns cut off at the bottom and right, so that a multiple of pixels is left."""
    height, width = image.shape[:2]
    return image[: height - height % multiple, : width - width % multiple]


def cut_around(image: np.ndarray, multiple: int) -> np.ndarray:
    """The middle of a multiple of pixels; an odd row or column more is cut at the end."""
    height, width = image.shape[:2]
    top, left = height % multiple // 2, width % multiple // 2
    bottom, right = top + height - height % multiple, left + width - width % multiple
    return image[top:bottom, left:right]


COLOURS = {
    "rgb": Step(to_float, "RGB"),
    "y": Step(to_y, "BT.601 luma, not rounded"),
    "y-rounded": Step(to_y_rounded, "BT.601 luma rounded to whole numbers"),
    "y-full": Step(to_y_full, "luma in [0,255] rounded to whole numbers"),
    "y-exchanged": Step(
        to_y_exchanged, "BT.601 luma in single precision, weights of red and blue exchanged"
    ),
}
CUTS = {
    "none": Step(as_it_is, ""),
    "end-4": Step(partial(cut_end, multiple=4), "cut at the end to a multiple of 4 px"),
    "end-8": Step(partial(cut_end, multiple=8), "cut at the end to a multiple of 8 px"),
    "around-16": Step(partial(cut_around, multiple=16), "the middle, a multiple of 16 px"),
}


def check_images(protocol: str, images: Images) -> None:
    """Raise BenchError unless images are ``(H,W,3)`` uint8 under known names, one "restored".

    The reference has the restored image's size; the degraded image may have another.
    """
    for name, image in images.items():
        if name not in IMAGES:
            raise BenchError(f"{protocol}: images: got '{name}'; {nearest(name, IMAGES)}")
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise BenchError(
                f"{protocol}: {name}: expected (H,W,3) uint8, got {image.shape} {image.dtype}; "
                "quantise first"
            )
    if "restored" not in images:
        raise BenchError(f"{protocol}: images: no 'restored' among {', '.join(images) or 'none'}")
    size = images["restored"].shape
    if images.get("reference", images["restored"]).shape != size:
        raise BenchError(
            f"{protocol}: restored is {size} and reference {images['reference'].shape}; expected "
            "one size"
        )


def prepared(
    protocol: str, images: Images, colour: str, cut: str, border: int, match: str = "none"
) -> Images:
    """The images of the restored one's size as metrics read them, float64 in [0,255].

    Cut first, then the border, then the brightness (match: a key of ``MATCHES``), then the colour.
    Raises BenchError if under 11 pixels are left.
    """
    inner = _inner(protocol, images, cut, border)
    if "reference" in inner:
        inner["restored"] = MATCHES[match].apply(inner["restored"], inner["reference"])
    ready = {}
    for name, image in inner.items():
        ready[name] = COLOURS[colour].apply(image)
    return ready


def _inner(protocol: str, images: Images, cut: str, border: int) -> Images:
    """The images of the restored one's size without what is cut off."""
    left = {}
    for name, image in images.items():
        if image.shape != images["restored"].shape:
            continue
        inner = CUTS[cut].apply(image)
        height, width = inner.shape[:2]
        if min(height, width) - 2 * border < SMALLEST:
            raise BenchError(
                f"{protocol}: an image of {image.shape[0]}x{image.shape[1]} leaves under "
                f"{SMALLEST} pixels, SSIM's window; use larger images or a smaller border"
            )
        left[name] = inner[border : height - border, border : width - border]
    return left
