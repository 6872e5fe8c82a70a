"""Linear light by the sRGB standard, for what happens to light before a camera encodes it."""

from __future__ import annotations

import numpy as np

VERSION = 1

# IEC 61966-2-1: linear up to an encoded value of KNEE, a power of 2.4 above it.
KNEE = 0.04045
SLOPE = 12.92
OFFSET = 0.055
POWER = 2.4


def to_linear(image: np.ndarray) -> np.ndarray:
    """sRGB of 8 bits -> linear light, float64 in [0,1], of the same shape."""
    value = image / 255.0
    return np.where(value <= KNEE, value / SLOPE, ((value + OFFSET) / (1 + OFFSET)) ** POWER)


def encode(light: np.ndarray) -> np.ndarray:
    """Linear light -> sRGB, float64 in [0,1]; clipped to [0,1] first, as a sensor saturates."""
    light = np.clip(light, 0.0, 1.0)
    above = (1 + OFFSET) * light ** (1 / POWER) - OFFSET
    return np.where(light <= KNEE / SLOPE, SLOPE * light, above)


def to_8bit(value: np.ndarray) -> np.ndarray:
    """Encoded values in [0,1] -> uint8, rounded to the nearest level."""
    return np.rint(255.0 * value).astype(np.uint8)
