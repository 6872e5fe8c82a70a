"""What the SSIM metrics share: the Gaussian window, the blur by it, and SSIM's map from moments."""

from __future__ import annotations

from typing import Any

import numpy as np

VERSION = 1
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2  # Wang et al. 2004: K = (0.01, 0.03), L = 255
RADIUS = 5
STRIP = 1 << 15  # values: the arrays of a strip stay in a processor's second cache


def window() -> np.ndarray:
    """The Gaussian of sigma 1.5 at -5..5, ``(11,)`` float64 of sum 1."""
    weights = np.exp(-(np.arange(-RADIUS, RADIUS + 1) ** 2) / (2 * 1.5**2))
    return weights / weights.sum()


def blur(image: np.ndarray) -> np.ndarray:
    """Means under the 11x11 Gaussian where it lies inside: ``(H-10,W-10)`` of ``(H,W)`` float64.

    Down the columns, then along the rows, the taps added in the order of SciPy's ``correlate1d``:
    on a processor that does not fuse multiplication and addition in SciPy, equal to it bit by bit.
    """
    height, width = image.shape
    blurred = np.empty((height - 2 * RADIUS, width - 2 * RADIUS))
    rows = max(1, STRIP // width)
    for top in range(0, len(blurred), rows):
        strip = image[top : top + rows + 2 * RADIUS]
        columns = _weighted([strip[i : len(strip) - 2 * RADIUS + i] for i in range(11)])
        parts = [columns[:, i : width - 2 * RADIUS + i] for i in range(11)]
        blurred[top : top + rows] = _weighted(parts)
    return blurred


def _weighted(shifted: list[np.ndarray]) -> np.ndarray:
    """The sum of eleven arrays by the window's weights; it is symmetric, so by pairs."""
    weights = window()
    total = shifted[RADIUS] * weights[RADIUS]
    pair = np.empty_like(total)
    for i in range(RADIUS):
        np.add(shifted[i], shifted[-1 - i], out=pair)
        np.multiply(pair, weights[i], out=pair)
        np.add(total, pair, out=total)
    return total


def gaussian_map(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """SSIM where the window lies inside: ``(H-10,W-10)`` of two ``(H,W)`` float64 in [0,255].

    So that means over it add in scikit-image's order too, the map is the middle of an array of the
    images' size.
    """
    inner = np.empty(first.shape)[RADIUS:-RADIUS, RADIUS:-RADIUS]
    rows = max(1, STRIP // first.shape[1])
    for top in range(0, len(inner), rows):
        strip = slice(top, top + rows + 2 * RADIUS)
        inner[top : top + rows] = _strip_map(first[strip], second[strip])
    return inner


def _strip_map(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The same of a few rows, in scikit-image's order of operations."""
    mean1, mean2 = blur(first), blur(second)
    spread1 = blur(first * first) - mean1 * mean1
    spread2 = blur(second * second) - mean2 * mean2
    common = blur(first * second) - mean1 * mean2
    above = (2 * mean1 * mean2 + C1) * (2 * common + C2)
    below = (mean1**2 + mean2**2 + C1) * (spread1 + spread2 + C2)
    return above / below


def similarity(mean1: Any, mean2: Any, square1: Any, square2: Any, product: Any) -> Any:
    """SSIM's map from local moments, arrays or tensors: Wang et al. 2004, equation 13.

    NAFNet's metrics here have always multiplied in this order; another moves the last bit.
    """
    contrast = (2 * (product - mean1 * mean2) + C2) / (
        (square1 - mean1**2) + (square2 - mean2**2) + C2
    )
    return (2 * mean1 * mean2 + C1) / (mean1**2 + mean2**2 + C1) * contrast


def channels(image: np.ndarray) -> list[np.ndarray]:
    """The ``(H,W)`` channels of ``(H,W,3)``, each contiguous; of ``(H,W)``, the image alone."""
    if image.ndim == 2:
        return [image]
    return list(np.ascontiguousarray(np.moveaxis(image, 2, 0)))
