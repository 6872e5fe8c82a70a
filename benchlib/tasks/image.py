"""One picture to one picture: deblurring, super-resolution, denoising, rain, haze, low light.

Images are ``(H,W,3)`` uint8 RGB, an lq also float32 where noise is not rounded; hq is lq's size
times a whole number, 1 but for super-resolution.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from benchlib.contracts import BenchError, Window, whole_scale
from benchlib.imageio import quantise, read_image, read_lq, to_tensor, write_png
from benchlib.records import Pair

if TYPE_CHECKING:
    import torch
    from torch import nn

VERSION = 2
Batch = dict[str, "torch.Tensor"]


@dataclass(frozen=True, eq=False)
class Item:
    """lq: ``(h,w,3)`` uint8, or float32 in about [0,1]. hq: ``(scale h,scale w,3)`` uint8."""

    lq: np.ndarray
    hq: np.ndarray

    @property
    def scale(self) -> int:
        """How many times larger hq is."""
        return self.hq.shape[0] // self.lq.shape[0]


@dataclass(frozen=True)
class Tiles:
    """Larger images are restored in overlapping tiles. side, overlap: pixels; None: never."""

    side: int | None
    overlap: int


WHOLE = Tiles(None, 0)


def read(pair: Pair) -> Item:
    """A pair's lq and hq.

    hq is a whole multiple of lq, after it is cut at the right and bottom to one, as MATLAB's
    scripts do (modcrop). Raises BenchError if it is none.
    """
    lq, hq = read_lq(pair.lq), read_image(pair.hq)
    h, w = lq.shape[:2]
    scale = whole_scale(lq.shape[:2], hq.shape[:2])
    if scale is None:
        raise BenchError(
            f"{pair.lq}: {lq.shape[:2]} pixels, but its reference {pair.hq} has {hq.shape[:2]}; "
            "expected the same size, or a whole multiple (super-resolution)"
        )
    return Item(lq, hq[: scale * h, : scale * w])


def size(item: Item) -> tuple[int, int]:
    """(H,W) of lq."""
    return item.lq.shape[0], item.lq.shape[1]


def nbytes(item: Item) -> int:
    """Bytes in memory."""
    return item.lq.nbytes + item.hq.nbytes


def crop(item: Item, window: Window) -> dict[str, torch.Tensor]:
    """ "lq" ``(3,h,w)`` and "hq" ``(3,scale h,scale w)``: uint8, or float32 where noise is."""
    return {"lq": _cut(item.lq, window, 1), "hq": _cut(item.hq, window, item.scale)}


def _cut(image: np.ndarray, window: Window, scale: int) -> torch.Tensor:
    """Turned by PyTorch: NumPy takes five times as long for three interleaved channels."""
    import torch

    straight = replace(window, flip_h=False, flip_v=False, transpose=False)
    tensor = torch.from_numpy(straight.cut(np.moveaxis(image, 2, 0), scale))
    if window.flip_h:
        tensor = tensor.flip(-1)
    if window.flip_v:
        tensor = tensor.flip(-2)
    if window.transpose:
        tensor = tensor.transpose(-1, -2)
    return tensor


def batch(item: Item) -> dict[str, torch.Tensor]:
    """ "lq" ``(1,3,H,W)``."""
    return {"lq": to_tensor(item.lq)[None]}


def tiled(item: Item, tiles: Tiles) -> bool:
    """Whether an image is restored in tiles."""
    return tiles.side is not None and max(size(item)) > tiles.side


def no_prior(window: Window) -> Batch:
    """Of a method that reads no prior."""
    return {}


def restore(
    model: nn.Module,
    batch: Batch,
    tiles: Tiles,
    device: torch.device,
    prior: Callable[[Window], Batch] = no_prior,
) -> np.ndarray:
    """The restored image, ``(scale H,scale W,3)`` uint8, whole or in overlapping tiles.

    batch: what :func:`batch` gives of one image. prior: the entries of its prior for a window of
    it: what is cut with the image, moved or left whole is for the prior's kind to say.
    """
    import torch

    height, width = batch["lq"].shape[-2:]
    with torch.inference_mode():
        if tiles.side is not None and max(height, width) > tiles.side:
            return quantise(_in_tiles(model, batch, tiles.side, tiles.overlap, device, prior))
        part = _part(batch, Window(0, 0, height, width), device, prior)
        return quantise(model(part)[0].float().cpu())


def _starts(length: int, tile: int, overlap: int) -> list[int]:
    """Where tiles begin: they cover ``length``, overlap by ``overlap`` or more, evenly spaced."""
    if length <= tile:
        return [0]
    count = -(-(length - overlap) // (tile - overlap))
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def _in_tiles(
    model: nn.Module,
    batch: Batch,
    tile: int,
    overlap: int,
    device: torch.device,
    prior: Callable[[Window], Batch] = no_prior,
) -> torch.Tensor:
    """Restore in tiles; where tiles overlap, their mean."""
    import torch

    height, width = batch["lq"].shape[-2:]
    total = count = torch.zeros(0)
    for top in _starts(height, tile, overlap):
        for left in _starts(width, tile, overlap):
            window = Window(top, left, min(tile, height), min(tile, width))
            part = _part(batch, window, device, prior)
            out = model(part)[0].float().cpu()
            scale = out.shape[-1] // min(tile, width)
            if not total.numel():
                total = torch.zeros(3, scale * height, scale * width)
                count = torch.zeros(1, scale * height, scale * width)
            rows = slice(scale * top, scale * (top + tile))
            columns = slice(scale * left, scale * (left + tile))
            total[:, rows, columns] += out
            count[:, rows, columns] += 1
    return total / count


def _part(
    batch: Batch, window: Window, device: torch.device, prior: Callable[[Window], Batch]
) -> Batch:
    """One window of an image, and what its prior says there."""
    part = {"lq": window.cut(batch["lq"])} | prior(window)
    return {name: value.to(device) for name, value in part.items()}


def views(item: Item, restored: np.ndarray) -> dict[str, np.ndarray]:
    """What metrics read, ``(H,W,3)`` uint8. "degraded" is not there where it has another size."""
    seen = {"restored": restored, "reference": item.hq}
    if item.scale == 1:
        seen["degraded"] = _to_8bit(item.lq)
    return seen


def _to_8bit(lq: np.ndarray) -> np.ndarray:
    """What 8 bits can show of an lq: noise is clipped and rounded."""
    if lq.dtype == np.uint8:
        return lq
    levels = np.rint(lq * np.float32(255))
    return np.clip(levels, 0, 255).astype(np.uint8)


def save(path: Path, restored: np.ndarray) -> Path:
    """Write ``<path>.png``."""
    file = path.with_name(f"{path.name}.png")
    write_png(file, restored)
    return file


def picture(item: Item) -> dict[str, np.ndarray]:
    """lq, enlarged by a bicubic kernel where it is smaller, and hq."""
    shown = Image.fromarray(_to_8bit(item.lq))
    height, width = item.hq.shape[:2]
    if item.scale > 1:
        shown = shown.resize((width, height), Image.Resampling.BICUBIC)
    return {"lq": np.array(shown), "hq": item.hq}
