"""Masks of one image, packed: one bit a mask and pixel, and a label map; never a dense stack.

Bit ``i % 64`` of plane ``i // 64`` of ``bits`` is mask ``i``; masks may overlap there. ``labels`` is the disjoint
form: 0 is uncovered, ``i + 1`` is mask ``i``; where masks overlap the one of smallest area wins (a part over its
whole), among equal areas the one of lower index.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from benchlib.contracts import BenchError
from benchlib.files import new_file

WORD = 64  # masks in one plane
MOST = 2**16 - 1  # labels are uint16
DAMAGE = (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True, eq=False)
class MaskSet:
    """The N masks of one (H,W) image.

    bits: (ceil(N/64),H,W) uint64. labels: (H,W) uint16 in 0..N. area: (N,) int64, pixels. predicted_iou, stability:
    (N,) float32, SAM's own scores in about [0,1]. bbox: (N,4) int32, left, top, width, height in pixels; a box of
    one pixel has width 1.
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
    masks: Iterable[np.ndarray], shape: tuple[int, int], predicted_iou: np.ndarray, stability: np.ndarray
) -> MaskSet:
    """Pack (H,W) bool masks, read one at a time, with their (N,) scores. The order of the masks is kept.

    Raises BenchError for a mask of another shape, an empty mask, more than 65535 masks, or scores of another number.
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
            raise BenchError(f"more than {MOST} masks in one image; raise the thresholds or min_area")
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
        raise BenchError(f"{len(areas)} masks, but {len(predicted_iou)} predicted IoU and {len(stability)} stability")
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


def mask_record(masks: MaskSet) -> dict[str, Any]:
    """What a prior's record says of one image's masks: size, how many, areas in pixels, coverage in [0,1]."""
    area = masks.area
    return {
        "height": masks.labels.shape[0],
        "width": masks.labels.shape[1],
        "n_masks": len(masks),
        "regions": regions(masks),
        "area_min": int(area.min()) if len(area) else None,
        "area_median": float(np.median(area)) if len(area) else None,
        "area_max": int(area.max()) if len(area) else None,
        "coverage": float(np.count_nonzero(masks.labels) / masks.labels.size),
    }


def save_masks(path: str | Path, masks: MaskSet) -> None:
    """Write one .npz, whole or not at all; the same masks give the same bytes."""
    with new_file(path) as temporary:
        np.savez_compressed(temporary, **{field.name: getattr(masks, field.name) for field in fields(MaskSet)})


def load_masks(path: str | Path) -> MaskSet:
    """Read what :func:`save_masks` wrote. Raises BenchError naming a file that is absent, corrupt or something else."""
    try:
        with np.load(path, allow_pickle=False) as file:
            masks = MaskSet(**{field.name: file[field.name] for field in fields(MaskSet)})
        _check(masks)
    except DAMAGE as error:
        what = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise BenchError(f"{path}: no readable mask file ({what}); remove it and rerun the priors stage") from None
    return masks


def _check(masks: MaskSet) -> None:
    n, shape = masks.area.size, masks.labels.shape
    expected = {
        "bits": (np.uint64, (-(-n // WORD), *shape)),
        "labels": (np.uint16, shape),
        "area": (np.int64, (n,)),
        "predicted_iou": (np.float32, (n,)),
        "stability": (np.float32, (n,)),
        "bbox": (np.int32, (n, 4)),
    }
    for name, (dtype, size) in expected.items():
        got = getattr(masks, name)
        if got.dtype != dtype or got.shape != size or len(shape) != 2:
            raise ValueError(f"{name} is {got.shape} {got.dtype}, expected {size} {np.dtype(dtype)}")
    if masks.labels.size and masks.labels.max() > n:
        raise ValueError(f"label {masks.labels.max()} of {n} masks")


def crop(
    masks: MaskSet,
    top: int,
    left: int,
    height: int,
    width: int,
    flip_h: bool = False,
    flip_v: bool = False,
    transpose: bool = False,
) -> dict[str, np.ndarray]:
    """A crop, augmented in BasicSR's order: mirrored left-right, then top-bottom, then rows and columns swapped.

    Returns contiguous "labels" (h,w) int64 and "bits" (P,h,w) int64 (the uint64 words, since torch counts in int64;
    mask 63 is the sign bit), where (h,w) is (height,width), or (width,height) if transposed.
    Raises BenchError for a crop that leaves the image.
    """
    full = masks.labels.shape
    if min(top, left) < 0 or min(height, width) < 1 or top + height > full[0] or left + width > full[1]:
        raise BenchError(f"crop of {height}x{width} at row {top}, column {left} leaves the {full[0]}x{full[1]} masks")

    def cut(array: np.ndarray) -> np.ndarray:
        array = array[..., top : top + height, left : left + width]
        array = array[..., :: -1 if flip_v else 1, :: -1 if flip_h else 1]
        return array.swapaxes(-1, -2) if transpose else array

    return {
        "labels": cut(masks.labels).astype(np.int64, order="C"),
        "bits": cut(masks.bits).copy(order="C").view(np.int64),
    }


def key_of(made_from: dict[str, Any], image: np.ndarray) -> tuple[str, str]:
    """Under what an image's masks are kept: a hash of settings, code and pixels; and the SHA-256 of its pixels."""
    pixels = hashlib.sha256(str(image.shape).encode() + image.tobytes()).hexdigest()
    return hashlib.sha256(json.dumps([made_from, pixels], sort_keys=True).encode()).hexdigest(), pixels


def from_cache(folder: Path | None, key: str, file: Path) -> dict | None:
    """The facts of an image made before, its masks copied to ``file``; None if it was not, or is damaged."""
    if folder is None or not (folder / f"{key}.json").exists():
        return None
    try:
        load_masks(folder / f"{key}.npz")
        facts = json.loads((folder / f"{key}.json").read_text())
    except (BenchError, ValueError):
        return None
    with new_file(file) as temporary:
        shutil.copyfile(folder / f"{key}.npz", temporary)
    return facts


def to_cache(folder: Path | None, key: str, file: Path, facts: dict) -> None:
    """Keep an image's masks and facts in ``folder`` (None: not at all) for ``from_cache``."""
    if folder is None:
        return
    with new_file(folder / f"{key}.npz") as temporary:
        shutil.copyfile(file, temporary)
    with new_file(folder / f"{key}.json") as temporary:  # last: its presence says that the masks are there
        temporary.write_text(json.dumps(facts))


def code_of(*files: Path) -> str:
    """A hash of what turns an image into stored masks: another code makes them anew."""
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
