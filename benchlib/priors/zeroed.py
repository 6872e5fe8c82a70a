"""The control "prior zeroed": the same network reads the same entries, and there is not one mask in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchlib.imageio import read_image
from benchlib.priors._store import crop, load_masks, mask_record, mask_set, save_masks

__all__ = ["ENTRIES", "Config", "compute", "crop", "load", "record"]

ENTRIES = ("labels", "bits")
load = load_masks


@dataclass(frozen=True)
class Config:
    """Nothing to set."""


def compute(
    images: dict[str, Path], out: Path, config: Config, *, device: str = "auto", resume: Path | None = None
) -> list[dict]:
    """Write ``out/<name>.npz`` without masks for every image; one record an image."""
    records = []
    for name, path in images.items():
        empty = mask_set([], read_image(path).shape[:2], np.zeros(0), np.zeros(0))
        save_masks(out / f"{name}.npz", empty)
        records.append({"image": name, "refused": None} | mask_record(empty))
    return records


def record(config: Config, device: str = "auto") -> dict:
    """What ``prior.json`` says."""
    return {"prior": "zeroed"}
