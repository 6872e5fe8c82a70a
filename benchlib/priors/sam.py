"""Masks of the Segment Anything Model (Kirillov et al. 2023), by the package's own generator."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import numpy as np
from PIL import Image
from pydantic import Field

from benchlib.priors import _sam
from benchlib.priors.kinds.masks import MaskSet, mask_set

if TYPE_CHECKING:
    from segment_anything import SamAutomaticMaskGenerator

VERSION = 2
USES = {"priors/_sam.py": 1, "priors/_amg.py": 2}
KIND = "masks"
SHOWN = "SAM's masks"
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


@dataclass(frozen=True)
class Config:
    """Which SAM, and how densely it is asked. Defaults are the package's, but for the grid (32).

    points_per_side: a grid of that many points squared prompts the model; three masks a point, then
    filtered. pred_iou_thresh, stability_score_thresh: masks that score less are dropped.
    box_nms_thresh: of two masks whose boxes overlap by a larger IoU, the one that scores less is
    dropped. crop_n_layers: also look at 4**i crops.
    long_side: a larger image is shrunk so that its long side, in pixels, is this; its masks are
    brought back to full size by nearest pixel. null: never (memory grows with the pixels, though
    SAM itself sees 1024).
    min_area: masks of fewer pixels are dropped. This is not the package's
    ``min_mask_region_area``, which needs OpenCV and removes small islands and holes within a mask.
    points_per_batch: points decoded at once; null: 64 (the package's) on a GPU, 4 on a CPU, where
    that spares memory. The masks are the same to rounding.
    """

    model: _sam.Model = "mobilesam"
    points_per_side: Annotated[int, Field(ge=1, le=256)] = 8
    pred_iou_thresh: Fraction = 0.88
    stability_score_thresh: Fraction = 0.95
    box_nms_thresh: Fraction = 0.7
    crop_n_layers: Annotated[int, Field(ge=0, le=4)] = 0
    long_side: Annotated[int, Field(ge=64)] | None = 2048
    min_area: Annotated[int, Field(ge=1)] = 1
    points_per_batch: Annotated[int, Field(ge=1)] | None = None


class Generator(Protocol):
    """What :func:`masks_of` needs of ``SamAutomaticMaskGenerator``."""

    def generate(self, image: np.ndarray) -> list[dict[str, Any]]: ...


def open(config: Config, device: str) -> Callable[[np.ndarray], MaskSet]:
    """From an ``(H,W,3)`` uint8 RGB image to its masks. Raises BenchError if weights are
    missing.
    """
    return partial(masks_of, generator=build(config, device), config=config)


def assets(config: Config) -> tuple[str, ...]:
    """The catalogue's entries that it fetches."""
    return _sam.ASSETS[config.model]


def record(config: Config, device: str) -> dict[str, Any]:
    """Settings, the weights' SHA-256, versions."""
    return {"config": dataclasses.asdict(config)} | _sam.sam_record(config.model)


def build(config: Config, device: str) -> SamAutomaticMaskGenerator:
    """The package's generator; its ``generate`` gives masks as uncompressed run lengths."""
    from benchlib.priors._amg import MaskGenerator

    small = 4 if device == "cpu" else 64
    return MaskGenerator(
        _sam.load_sam(config.model, device),
        points_per_side=config.points_per_side,
        points_per_batch=config.points_per_batch or small,
        pred_iou_thresh=config.pred_iou_thresh,
        stability_score_thresh=config.stability_score_thresh,
        box_nms_thresh=config.box_nms_thresh,
        crop_n_layers=config.crop_n_layers,
        output_mode="uncompressed_rle",
    )


def masks_of(image: np.ndarray, generator: Generator, config: Config) -> MaskSet:
    """The masks of an (H,W,3) uint8 RGB image, largest first; equal areas in the generator's order.

    Raises BenchError for an image that is too narrow for SAM.
    """
    import torch
    from segment_anything.utils.amg import rle_to_mask

    shape = image.shape[:2]
    small = _shrink(image, config.long_side)
    advice = f"crop the image, or set long_side to at most {2 * _sam.SIDE}"
    _sam.check_size(small, advice)
    with torch.inference_mode():
        found = generator.generate(small)
    rows = _nearest_index(shape[0], small.shape[0])
    columns = _nearest_index(shape[1], small.shape[1])

    def mask(i: int) -> np.ndarray:  # decoded anew each time: one mask at a time is in memory
        return rle_to_mask(found[i]["segmentation"])[rows[:, None], columns]

    areas = [int(mask(i).sum()) for i in range(len(found))]
    keep = []
    for i, area in enumerate(areas):
        if area >= config.min_area and np.isfinite(found[i]["stability_score"]):
            keep.append(i)
    keep.sort(key=lambda i: -areas[i])
    iou = np.array([found[i]["predicted_iou"] for i in keep])
    stability = np.array([found[i]["stability_score"] for i in keep])
    return mask_set((mask(i) for i in keep), shape, iou, stability)


def _shrink(image: np.ndarray, long_side: int | None) -> np.ndarray:
    """The image, resized (antialiased) if its long side is over ``long_side``."""
    height, width = image.shape[:2]
    if long_side is None or max(height, width) <= long_side:
        return image
    scale = long_side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.array(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))


def _nearest_index(full: int, part: int) -> np.ndarray:
    """For every pixel centre of ``full`` the pixel of ``part`` it falls in."""
    return (2 * np.arange(full) + 1) * part // (2 * full)
