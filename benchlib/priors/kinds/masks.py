"""Masks of one image, packed: one bit a mask and pixel, and a label map; never a dense stack.

Bit ``i % 64`` of plane ``i // 64`` of ``bits`` is mask ``i``; masks may overlap there. ``labels``
is the disjoint form: 0 is uncovered, ``i + 1`` is mask ``i``; where masks overlap the one of
smallest area wins (a part over its whole), among equal areas the one of lower index.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchlib.contracts import BenchError, Window
from benchlib.priors.kinds import _arrays

if TYPE_CHECKING:
    import torch

VERSION = 1
USES = {"priors/kinds/_arrays.py": 1}
ENTRIES = ("labels", "bits")
ROWS = {"masks": "n_masks", "coverage": "coverage"}  # row of an image -> its fact
WORD = 64  # masks in one plane
MOST = 2**16 - 1  # labels are uint16


@dataclass(frozen=True, eq=False)
class MaskSet:
    """The N masks of one (H,W) image.

    bits: (ceil(N/64),H,W) uint64. labels: (H,W) uint16 in 0..N. area: (N,) int64, pixels.
    predicted_iou, stability: (N,) float32, SAM's own scores in about [0,1]. bbox: (N,4) int32,
    left, top, width, height in pixels; a box of one pixel has width 1.
    """

    bits: np.ndarray
    labels: np.ndarray
    area: np.ndarray
    predicted_iou: np.ndarray
    stability: np.ndarray
    bbox: np.ndarray

    def __len__(self) -> int:
        return len(self.area)


def mask_set(
    masks: Iterable[np.ndarray],
    shape: tuple[int, int],
    predicted_iou: np.ndarray,
    stability: np.ndarray,
) -> MaskSet:
    """Pack (H,W) bool masks, read one at a time, with their (N,) scores; their order is kept.

    Raises BenchError for a mask of another shape, an empty mask, more than 65535 masks, or scores
    of another number.
    """
    planes: list[np.ndarray] = []
    labels = np.zeros(shape, np.uint16)
    owner = np.full(shape, np.iinfo(np.int64).max)  # area of the mask that owns the pixel
    areas: list[int] = []
    boxes: list[tuple[int, int, int, int]] = []
    for i, mask in enumerate(masks):
        if mask.shape != shape or mask.dtype != bool:
            raise BenchError(f"mask {i}: expected {shape} bool, got {mask.shape} {mask.dtype}")
        if i >= MOST:
            raise BenchError(
                f"more than {MOST} masks in one image; raise the thresholds or min_area"
            )
        area = int(mask.sum())
        if area == 0:
            raise BenchError(f"mask {i}: covers no pixel; drop it before packing")
        if i % WORD == 0:
            planes.append(np.zeros(shape, np.uint64))
        planes[-1][mask] |= np.uint64(1 << (i % WORD))
        wins = mask & (area < owner)
        labels[wins] = i + 1
        owner[wins] = area
        areas.append(area)
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        boxes.append((columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1))
    if not len(areas) == len(predicted_iou) == len(stability):
        raise BenchError(
            f"{len(areas)} masks, but {len(predicted_iou)} predicted IoU and {len(stability)} "
            "stability"
        )
    return MaskSet(
        bits=np.stack(planes) if planes else np.zeros((0, *shape), np.uint64),
        labels=labels,
        area=np.array(areas, np.int64),
        predicted_iou=np.asarray(predicted_iou, np.float32),
        stability=np.asarray(stability, np.float32),
        bbox=np.array(boxes, np.int32).reshape(-1, 4),
    )


def unpack(bits: np.ndarray, n: int) -> np.ndarray:
    """(P,H,W) uint64 -> (N,H,W) bool, the dense stack: for plots and tests, and for crops."""
    dense = np.empty((n, *bits.shape[1:]), bool)
    for i in range(n):
        dense[i] = (bits[i // WORD] >> np.uint64(i % WORD)) & np.uint64(1)
    return dense


def regions(masks: MaskSet) -> int:
    """How many masks own a pixel of the label map; the others lie wholly under smaller ones."""
    return int(np.count_nonzero(np.unique(masks.labels)))


def save(path: str | Path, masks: MaskSet) -> None:
    """Write one .npz, whole or not at all; the same masks give the same bytes."""
    arrays = {field.name: getattr(masks, field.name) for field in fields(MaskSet)}
    _arrays.save_arrays(path, arrays)


def load(path: str | Path) -> MaskSet:
    """Read what :func:`save` wrote.

    Raises BenchError naming a file that is absent, damaged or something else.
    """
    return load_entries(path, ENTRIES)


def load_entries(path: str | Path, entries: Collection[str]) -> MaskSet:
    """The same, without planes of ``bits`` where the entries have none: most of the time is theirs.

    Raises BenchError as :func:`load`.
    """
    whole = "bits" in entries
    names = [field.name for field in fields(MaskSet) if whole or field.name != "bits"]
    found = _arrays.load_arrays(path, names, "mask")
    if not whole:
        found["bits"] = np.zeros((0, *found["labels"].shape), np.uint64)
    masks = MaskSet(**found)
    _check(path, masks, whole)
    return masks


def _check(path: str | Path, masks: MaskSet, whole: bool) -> None:
    n, shape = masks.area.size, masks.labels.shape
    planes = -(-n // WORD) if whole else 0
    expected: dict[str, tuple[Any, tuple[int, ...]]] = {
        "bits": (np.uint64, (planes, *shape)),
        "labels": (np.uint16, shape),
        "area": (np.int64, (n,)),
        "predicted_iou": (np.float32, (n,)),
        "stability": (np.float32, (n,)),
        "bbox": (np.int32, (n, 4)),
    }
    for name, (dtype, size) in expected.items():
        got = getattr(masks, name)
        if got.dtype != dtype or got.shape != size or len(shape) != 2:
            why = f"{name} is {got.shape} {got.dtype}, expected {size} {np.dtype(dtype)}"
            raise _arrays.unreadable(path, "mask", why)
    if masks.labels.size and masks.labels.max() > n:
        raise _arrays.unreadable(path, "mask", f"label {masks.labels.max()} of {n} masks")


def fits(masks: MaskSet, shape: tuple[int, ...]) -> bool:
    """Whether the masks are of an image of that ``(H,W)``."""
    return masks.labels.shape == tuple(shape)


def crop(masks: MaskSet, window: Window) -> dict[str, np.ndarray]:
    """A crop, augmented as the image is.

    Returns contiguous "labels" (h,w) int64 and "bits" (P,h,w) int64 (the uint64 words, since torch
    counts in int64; mask 63 is the sign bit), where (h,w) is (height,width), or (width,height) if
    transposed. Raises BenchError for a crop that leaves the image.
    """
    full = masks.labels.shape
    below, right = window.top + window.height, window.left + window.width
    inside = min(window.top, window.left) >= 0 and min(window.height, window.width) >= 1
    if not inside or below > full[0] or right > full[1]:
        raise BenchError(
            f"crop of {window.height}x{window.width} at row {window.top}, column {window.left} "
            f"leaves the {full[0]}x{full[1]} masks"
        )
    return {
        "labels": window.cut(masks.labels).astype(np.int64, order="C"),
        "bits": window.cut(masks.bits).copy(order="C").view(np.int64),
    }


def collate(items: Sequence[dict[str, np.ndarray]]) -> dict[str, torch.Tensor]:
    """Labels ``(B,h,w)``, and bits ``(B,P,h,w)``: images with fewer masks get empty planes."""
    return {"labels": _arrays.stacked(items, "labels"), "bits": _arrays.padded(items, "bits")}


def zeroed(masks: MaskSet) -> MaskSet:
    """No mask."""
    return mask_set([], masks.labels.shape, np.zeros(0), np.zeros(0))


def resized(masks: MaskSet, shape: tuple[int, int], turn: bool = False) -> MaskSet:
    """The masks at another ``(H,W)``, by nearest pixel; those that lose their last one are dropped.

    turn: by 180 degrees as well.
    """
    rows, columns = (
        (2 * np.arange(new) + 1) * old // (2 * new)
        for new, old in zip(shape, masks.labels.shape, strict=True)
    )
    if turn:
        rows, columns = rows[::-1], columns[::-1]
    dense = unpack(masks.bits[:, rows[:, None], columns], len(masks))
    keep = np.flatnonzero(dense.any((1, 2)))
    kept = (dense[i] for i in keep)
    return mask_set(kept, shape, masks.predicted_iou[keep], masks.stability[keep])


def facts(masks: MaskSet) -> dict[str, Any]:
    """Size, how many, coverage in [0,1]; where there are masks, areas in pixels and mean scores."""
    area = masks.area
    said: dict[str, Any] = {
        "height": masks.labels.shape[0],
        "width": masks.labels.shape[1],
        "n_masks": len(masks),
        "regions": regions(masks),
        "coverage": float(np.count_nonzero(masks.labels) / masks.labels.size),
    }
    if len(area):
        said["area_min"] = int(area.min())
        said["area_median"] = float(np.median(area))
        said["area_max"] = int(area.max())
        said["predicted_iou"] = float(masks.predicted_iou.mean())
        said["stability"] = float(masks.stability.mean())
    return said


def picture(masks: MaskSet, image: np.ndarray) -> np.ndarray:
    """The ``(H,W,3)`` uint8 image under its masks' colours."""
    return with_masks(image, masks.labels)


def mask_colours(labels: np.ndarray, alpha: float = 0.42) -> np.ndarray:
    """``(H,W)`` labels as ``(H,W,4)`` uint8: a colour a mask, its borders opaque white.

    Label 0 is transparent.
    """
    from matplotlib.colors import hsv_to_rgb
    from skimage.segmentation import find_boundaries

    count = int(labels.max()) + 1
    steps = np.arange(count)
    hue, saturation = (steps * 0.618034) % 1, 0.55 + 0.3 * (steps % 2)
    hues = np.stack([hue, saturation, 0.95 - 0.2 * (steps % 3) / 2], axis=1)
    palette = np.zeros((count, 4), np.uint8)
    palette[:, :3] = np.rint(255 * hsv_to_rgb(hues))
    palette[1:, 3] = round(255 * alpha)
    colours = palette[labels]
    colours[find_boundaries(labels, mode="inner") & (labels > 0)] = (255, 255, 255, 200)
    return colours


def with_masks(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The image under its masks' colours."""
    colours = mask_colours(labels).astype(np.float32)
    alpha = colours[..., 3:] / 255
    return np.rint(image * (1 - alpha) + colours[..., :3] * alpha).astype(np.uint8)
