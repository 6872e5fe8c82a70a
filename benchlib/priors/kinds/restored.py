"""What a run has restored, for a method that goes on from there (PTG-RM's refinement).

It is no guidance, but the very thing to be refined: no control stands in its place (``SWAPS``),
so that "zeroed" and "shuffled" say what the guidance beside it does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchlib.contracts import Window
from benchlib.priors.kinds import picture as pictures

if TYPE_CHECKING:
    import torch

VERSION = 1
USES = {"priors/kinds/picture.py": 1}
ENTRIES = ("restored",)
SWAPS = False


@dataclass(frozen=True, eq=False)
class Restored:
    """pixels: ``(H,W,3)`` uint8 RGB, of the degraded image's size."""

    pixels: np.ndarray


def save(path: str | Path, stored: Restored) -> None:
    """Write one .npz, whole or not at all. Raises BenchError for what is no 8-bit picture."""
    pictures.save(path, _picture(stored))


def load(path: str | Path) -> Restored:
    """Read what :func:`save` wrote. Raises BenchError, naming the file, for anything else."""
    return Restored(pictures.load(path).pixels)


def _picture(stored: Restored) -> pictures.Picture:
    return pictures.Picture(stored.pixels, aligned=True)


def fits(stored: Restored, shape: tuple[int, ...]) -> bool:
    """Whether it has the image's size: what a run has enlarged cannot be refined so."""
    return pictures.fits(_picture(stored), shape)


def crop(stored: Restored, window: Window) -> dict[str, np.ndarray]:
    """ "restored" ``(3,h,w)`` float32 in [0,1]: cut and turned as the image."""
    return {"restored": pictures.crop(_picture(stored), window)["picture"]}


def collate(items: Sequence[dict[str, np.ndarray]]) -> dict[str, torch.Tensor]:
    """ "restored" ``(B,3,h,w)`` float32."""
    crops = [{"picture": item["restored"]} for item in items]
    return {"restored": pictures.collate(crops)["picture"]}


def zeroed(stored: Restored) -> Restored:
    """Mid-grey; no control asks for it."""
    return Restored(pictures.zeroed(_picture(stored)).pixels)


def resized(stored: Restored, shape: tuple[int, int], turn: bool = False) -> Restored:
    """At another ``(H,W)``, bicubic; turn: by 180 degrees as well. No control asks for it."""
    return Restored(pictures.resized(_picture(stored), shape, turn).pixels)


def facts(stored: Restored) -> dict[str, Any]:
    """Its size."""
    height, width = stored.pixels.shape[:2]
    return {"height": height, "width": width}


def picture(stored: Restored, image: np.ndarray) -> None:
    """None: the page shows what the run restored already."""
    return
