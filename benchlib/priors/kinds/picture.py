"""Another picture that guides the restoration: a synthesised reference, a neighbouring frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from benchlib.contracts import Window
from benchlib.priors.kinds import _arrays

if TYPE_CHECKING:
    import torch

VERSION = 1
USES = {"priors/kinds/_arrays.py": 1}
ENTRIES = ("picture",)
GREY = 128


@dataclass(frozen=True, eq=False)
class Picture:
    """pixels: ``(H,W,3)`` uint8 RGB.

    aligned: whether it lies on the image pixel by pixel, and so is cut and turned with it; else the
    whole of it goes into every batch, upright.
    """

    pixels: np.ndarray
    aligned: bool


def save(path: str | Path, stored: Picture) -> None:
    """Write one .npz, whole or not at all. Raises BenchError for what is no 8-bit picture."""
    _check(path, stored.pixels)
    _arrays.save_arrays(path, {"pixels": stored.pixels, "aligned": np.array(stored.aligned)})


def load(path: str | Path) -> Picture:
    """Read what :func:`save` wrote. Raises BenchError, naming the file, for anything else."""
    found = _arrays.load_arrays(path, ["pixels", "aligned"], "picture")
    _check(path, found["pixels"])
    if found["aligned"].shape != () or found["aligned"].dtype != bool:
        raise _arrays.unreadable(path, "picture", "`aligned` is neither true nor false")
    return Picture(found["pixels"], bool(found["aligned"]))


def _check(path: str | Path, pixels: np.ndarray) -> None:
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
        why = f"{pixels.shape} {pixels.dtype}, expected (H,W,3) uint8"
        raise _arrays.unreadable(path, "picture", why)


def fits(stored: Picture, shape: tuple[int, ...]) -> bool:
    """An aligned one is as large as its image; another one may have any size."""
    return not stored.aligned or stored.pixels.shape[:2] == tuple(shape)


def crop(stored: Picture, window: Window) -> dict[str, np.ndarray]:
    """ "picture" ``(3,h,w)`` float32 in [0,1]: cut and turned as the image, or whole."""
    pixels = np.moveaxis(stored.pixels, 2, 0)
    if stored.aligned:
        pixels = window.cut(pixels)
    return {"picture": pixels.astype(np.float32, order="C") / np.float32(255)}


def collate(items: Sequence[dict[str, np.ndarray]]) -> dict[str, torch.Tensor]:
    """ "picture" ``(B,3,h,w)`` float32 in [0,1]; those of several sizes all at the largest height
    and width.

    They are stretched, as methods do with one that is not as large as its image. Filled up, a
    network would see edges and a black that no picture has.
    """
    shapes = [item["picture"].shape[1:] for item in items]
    height, width = (int(side) for side in np.max(shapes, axis=0))
    stretched = [{"picture": _stretched(item["picture"], (height, width))} for item in items]
    return {"picture": _arrays.stacked(stretched, "picture")}


def _stretched(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture ``(3,h,w)`` at another size: bilinear, antialiased; itself where it has that."""
    if picture.shape[1:] == size:
        return picture
    import torch
    from torch.nn.functional import interpolate

    pixels = torch.from_numpy(np.ascontiguousarray(picture))[None]
    return interpolate(pixels, size, mode="bilinear", antialias=True)[0].clamp(0, 1).numpy()


def zeroed(stored: Picture) -> Picture:
    """Mid-grey."""
    return Picture(np.full_like(stored.pixels, GREY), stored.aligned)


def resized(stored: Picture, shape: tuple[int, int], turn: bool = False) -> Picture:
    """An aligned one at another ``(H,W)``, bicubic; turn: by 180 degrees as well."""
    pixels = stored.pixels
    if stored.aligned and pixels.shape[:2] != tuple(shape):
        height, width = shape
        image = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
        pixels = np.array(image)
    if turn:
        pixels = np.ascontiguousarray(pixels[::-1, ::-1])
    return Picture(pixels, stored.aligned)


def facts(stored: Picture) -> dict[str, Any]:
    """Its size."""
    height, width = stored.pixels.shape[:2]
    return {"height": height, "width": width, "aligned": stored.aligned}


def picture(stored: Picture, image: np.ndarray) -> np.ndarray:
    """Itself."""
    return stored.pixels
