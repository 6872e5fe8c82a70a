"""Clicks and boxes of a person, or of a program that stands in for one, in pixels of the image."""

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
ENTRIES = ("points", "points_label", "boxes")
NOWHERE = -1  # label of a point that only fills up a batch, as in SAM's prompt encoder


@dataclass(frozen=True, eq=False)
class Points:
    """Where somebody pointed.

    size: (H,W) of the image. points: ``(n,2)`` float32, x and y in pixels, pixel centres at .5.
    labels: ``(n,)`` int64, 1 for "this", 0 for "not this". boxes: ``(m,4)`` float32, left, top,
    right, bottom in pixels.
    """

    size: tuple[int, int]
    points: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray


def save(path: str | Path, stored: Points) -> None:
    """Write one .npz, whole or not at all. Raises BenchError for points that lie elsewhere."""
    _check(path, stored)
    arrays = {"size": np.array(stored.size, np.int64), "points": stored.points}
    _arrays.save_arrays(path, arrays | {"labels": stored.labels, "boxes": stored.boxes})


def load(path: str | Path) -> Points:
    """Read what :func:`save` wrote. Raises BenchError, naming the file, for anything else."""
    found = _arrays.load_arrays(path, ["size", "points", "labels", "boxes"], "point")
    if found["size"].shape != (2,) or found["size"].dtype != np.int64:
        raise _arrays.unreadable(path, "point", "the image's size is not two whole numbers")
    height, width = found["size"].tolist()
    stored = Points((height, width), found["points"], found["labels"], found["boxes"])
    _check(path, stored)
    return stored


def _check(path: str | Path, stored: Points) -> None:
    n, m = len(stored.points), len(stored.boxes)
    expected: dict[str, tuple[Any, tuple[int, ...]]] = {
        "points": (np.float32, (n, 2)),
        "labels": (np.int64, (n,)),
        "boxes": (np.float32, (m, 4)),
    }
    for name, (dtype, shape) in expected.items():
        got = getattr(stored, name)
        if got.dtype != dtype or got.shape != shape:
            why = f"{name} is {got.shape} {got.dtype}, expected {shape} {np.dtype(dtype)}"
            raise _arrays.unreadable(path, "point", why)
    if not np.isin(stored.labels, (0, 1)).all():
        odd = stored.labels[~np.isin(stored.labels, (0, 1))][0]
        raise _arrays.unreadable(path, "point", f"label {odd}, expected 1 (this) or 0 (not this)")
    left, top, right, bottom = stored.boxes.T
    turned = (left > right) | (top > bottom)
    if turned.any():
        box = stored.boxes[turned][0].tolist()
        why = f"box {box}, expected left, top, right, bottom: left <= right, top <= bottom"
        raise _arrays.unreadable(path, "point", why)
    height, width = stored.size
    corners = np.concatenate([stored.points.reshape(-1, 2), stored.boxes.reshape(-1, 2)])
    inside = (corners >= 0) & (corners <= (width, height))
    if not inside.all():
        raise _arrays.unreadable(path, "point", f"one lies outside the {height}x{width} image")


def fits(stored: Points, shape: tuple[int, ...]) -> bool:
    """Whether they were set in an image of that ``(H,W)``."""
    return stored.size == tuple(shape)


def crop(stored: Points, window: Window) -> dict[str, np.ndarray]:
    """The points that lie in the crop and the boxes that reach into it, in the crop's pixels.

    "points" ``(n,2)`` float32, "points_label" ``(n,)`` int64, "boxes" ``(m,4)`` float32.
    """
    right, below = window.left + window.width, window.top + window.height
    x, y = stored.points[:, 0], stored.points[:, 1]
    kept = (x >= window.left) & (x < right) & (y >= window.top) & (y < below)
    corners = stored.boxes.reshape(-1, 2, 2)
    low, high = (window.left, window.top), (right, below)
    cut = np.clip(corners, low, high).astype(np.float32)
    left = (cut[:, 1] > cut[:, 0]).all(1)
    boxes = _turned(cut[left].reshape(-1, 2), window).reshape(-1, 2, 2)
    ordered = np.concatenate([boxes.min(1), boxes.max(1)], axis=1)
    return {
        "points": _turned(stored.points[kept], window),
        "points_label": stored.labels[kept],
        "boxes": ordered.astype(np.float32),
    }


def _turned(places: np.ndarray, window: Window) -> np.ndarray:
    """``(n,2)`` x and y in the image -> in the crop, mirrored and transposed as the crop is."""
    x = places[:, 0] - window.left
    y = places[:, 1] - window.top
    if window.flip_h:
        x = window.width - x
    if window.flip_v:
        y = window.height - y
    if window.transpose:
        x, y = y, x
    return np.stack([x, y], axis=1).astype(np.float32)


def collate(items: Sequence[dict[str, np.ndarray]]) -> dict[str, torch.Tensor]:
    """ "points" ``(B,n,2)``, "points_label" ``(B,n)``: -1 where a crop has fewer; "boxes"
    ``(B,m,4)``.
    """
    shifted = [{"points_label": item["points_label"] - NOWHERE} for item in items]
    return {
        "points": _arrays.padded(items, "points"),
        "points_label": _arrays.padded(shifted, "points_label") + NOWHERE,
        "boxes": _arrays.padded(items, "boxes"),
    }


def zeroed(stored: Points) -> Points:
    """Nobody pointed anywhere."""
    return Points(stored.size, stored.points[:0], stored.labels[:0], stored.boxes[:0])


def resized(stored: Points, shape: tuple[int, int], turn: bool = False) -> Points:
    """The same places in an image of another ``(H,W)``; turn: by 180 degrees as well."""
    height, width = shape
    factor = np.array([width / stored.size[1], height / stored.size[0]])
    points = stored.points * factor
    corners = stored.boxes.reshape(-1, 2, 2) * factor
    if turn:
        points = (width, height) - points
        corners = (width, height) - corners[:, ::-1]
    boxes = corners.reshape(-1, 4).astype(np.float32)
    return Points((height, width), points.astype(np.float32), stored.labels, boxes)


def facts(stored: Points) -> dict[str, Any]:
    """How many of each."""
    height, width = stored.size
    clicks = int(stored.labels.sum())
    return {
        "height": height,
        "width": width,
        "positive": clicks,
        "negative": len(stored.labels) - clicks,
        "boxes": len(stored.boxes),
    }


def picture(stored: Points, image: np.ndarray) -> np.ndarray:
    """The image with a green square at each "this", a red one at each "not this", and the boxes."""
    drawn = image.copy()
    for (x, y), label in zip(stored.points, stored.labels, strict=True):
        top, left = max(0, int(y) - 2), max(0, int(x) - 2)
        drawn[top : int(y) + 3, left : int(x) + 3] = (40, 200, 60) if label else (220, 40, 40)
    for left, top, right, bottom in stored.boxes.astype(int):
        rows, columns = slice(top, bottom), slice(left, right)
        for edge in (top, max(top, bottom - 1)):
            drawn[edge : edge + 1, columns] = (250, 200, 40)
        for edge in (left, max(left, right - 1)):
            drawn[rows, edge : edge + 1] = (250, 200, 40)
    return drawn
