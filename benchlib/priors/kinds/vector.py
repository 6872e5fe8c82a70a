"""A vector that describes a whole image: of CLIP, BLIP-2, a diffusion model, DINO or SAM's
encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchlib.contracts import Window
from benchlib.priors.kinds import _arrays

if TYPE_CHECKING:
    import torch

VERSION = 1
USES = {"priors/kinds/_arrays.py": 1}
ENTRIES = ("vector",)
SHOWN = "pre-trained features"
ROWS = {"norm": "norm"}  # row of an image -> its fact


@dataclass(frozen=True, eq=False)
class Vector:
    """values: ``(d,)`` float32, finite, d of 2 or more; whatever range the provider gives.

    One number alone could not be made another for the control of a lone photograph.
    """

    values: np.ndarray


def save(path: str | Path, stored: Vector) -> None:
    """Write one .npz, whole or not at all. Raises BenchError for what is no finite vector."""
    _check(path, stored.values)
    _arrays.save_arrays(path, {"values": stored.values})


def load(path: str | Path) -> Vector:
    """Read what :func:`save` wrote. Raises BenchError, naming the file, for anything else."""
    values = _arrays.load_arrays(path, ["values"], "vector")["values"]
    _check(path, values)
    return Vector(values)


def _check(path: str | Path, values: np.ndarray) -> None:
    if values.ndim != 1 or values.dtype != np.float32 or len(values) < 2:
        why = f"{values.shape} {values.dtype}, expected (d,) float32, d of 2 or more"
        raise _arrays.unreadable(path, "vector", why)
    if not np.isfinite(values).all():
        raise _arrays.unreadable(path, "vector", "values that are not finite")


def fits(stored: Vector, shape: tuple[int, ...]) -> bool:
    """A vector has no place in the image: it fits every size."""
    return True


def crop(stored: Vector, window: Window) -> dict[str, np.ndarray]:
    """ "vector" ``(d,)`` float32: of the whole image, whatever the crop."""
    return {"vector": stored.values}


def collate(items: Sequence[dict[str, np.ndarray]]) -> dict[str, torch.Tensor]:
    """ "vector" ``(B,d)`` float32."""
    return {"vector": _arrays.stacked(items, "vector")}


def zeroed(stored: Vector) -> Vector:
    """Zeros."""
    return Vector(np.zeros_like(stored.values))


def resized(stored: Vector, shape: tuple[int, int], turn: bool = False) -> Vector:
    """The same for every size; turn: its numbers in the opposite order, so that none is in
    place.
    """
    if turn:
        return Vector(stored.values[::-1].copy())
    return stored


def facts(stored: Vector) -> dict[str, Any]:
    """Its length, norm and mean."""
    values = stored.values.astype(np.float64)
    return {
        "size": len(values),
        "norm": float(np.sqrt(np.square(values).sum())),
        "mean": float(values.mean()),
    }


def picture(stored: Vector, image: np.ndarray) -> np.ndarray:
    """``(h,w,3)`` uint8: a bar a number over a grey ground, zero in the middle, largest at the
    edge.
    """
    height, width = image.shape[:2]
    values = np.interp(
        np.linspace(0, len(stored.values) - 1, width), np.arange(len(stored.values)), stored.values
    )
    largest = float(np.abs(values).max()) or 1.0
    ends = np.rint((1 - values / largest) * (height - 1) / 2).astype(int)
    rows = np.arange(height)[:, None]
    middle = (height - 1) // 2
    bars = (rows >= np.minimum(ends, middle)) & (rows <= np.maximum(ends, middle))
    drawn = np.full((height, width, 3), 235, np.uint8)
    drawn[bars] = (60, 90, 160)
    return drawn
