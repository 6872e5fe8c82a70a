"""A restored image made as bright as its reference before it is measured ("GT-mean").

Several low-light papers measure so, others do not; figures of the two cannot be compared. All of
it looks at the reference: no method could do it on a photograph of one's own. An image that is
black everywhere stays black.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

VERSION = 1


@dataclass(frozen=True)
class Match:
    """apply: (restored, reference), ``(H,W,3)`` uint8 -> restored. words: for the report."""

    apply: Callable[[np.ndarray, np.ndarray], np.ndarray]
    words: str


def to_grey(image: np.ndarray) -> np.ndarray:
    """Grey of ``(H,W,3)`` RGB in whole numbers of [0,255], ``(H,W)`` float64 of whole numbers.

    As OpenCV's 8-bit RGB2GRAY has it: weights of 0.299, 0.587, 0.114 in units of 2**-15, half
    upwards. ``to_y_full`` of ``_prepare.py`` (units of 2**-14) differs on 3 pixels of 1,000.
    """
    weighted = image.astype(np.int64) @ np.array([9798, 19235, 3735])
    return ((weighted + (1 << 14)) >> 15).astype(np.float64)


def unchanged(restored: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The restored image."""
    return restored


def by_grey(restored: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Scaled to the reference's mean grey, float64 in [0,255], not rounded.

    Fediory/HVI-CIDNet at 50f65f4, ``measure.py --use_GT_mean``.
    """
    own = to_grey(restored).mean()
    if own == 0:
        return restored
    return np.clip(restored * (to_grey(reference).mean() / own), 0, 255)


def by_colours(restored: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Scaled to the mean of the reference's values of all colours, truncated to uint8.

    limuloo/PyDIff at 4144b89, ``pydiff_model.py``, ``use_kind_align``: multiplied first, then
    divided, so an image of the right mean may lose a level where that is not exact.
    """
    own = restored.mean()
    if own == 0:
        return restored
    return np.clip(restored * reference.mean() / own, 0, 255).astype(np.uint8)


def by_grey_over_colours(restored: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Scaled by the reference's mean grey over the restored image's mean of all colours, truncated.

    wyf0912/LLFlow at 194df82, ``code/test.py``. Its grey weighs red as blue and blue as red, since
    OpenCV is told that RGB is BGR. There the restored image is neither clipped nor rounded before.
    """
    own = np.float32(restored.mean() / 255)
    if own == 0:
        return restored
    grey = reference.astype(np.float64) @ np.array([0.114, 0.587, 0.299])
    ratio = np.float32(grey.mean() / 255) / own
    unit = restored.astype(np.float32) / np.float32(255)
    return (np.clip(unit * ratio, 0, 1) * np.float32(255)).astype(np.uint8)


MATCHES = {
    "none": Match(unchanged, ""),
    "grey": Match(by_grey, "scaled to the reference's mean grey, not rounded (GT-mean)"),
    "colours": Match(
        by_colours, "scaled to the reference's mean of all colours, truncated (GT-mean)"
    ),
    "grey-over-colours": Match(
        by_grey_over_colours,
        "scaled by the reference's mean grey (red and blue exchanged) over the restored image's "
        "mean of all colours, truncated (GT-mean)",
    ),
}
