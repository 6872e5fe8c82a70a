"""The control "prior of another image": each image gets the masks that belong to another photograph."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchlib.params import configure
from benchlib.priors._store import MaskSet, crop, load_masks, mask_record, mask_set, save_masks, unpack
from benchlib.seeding import name_rng

__all__ = ["ENTRIES", "Config", "compute", "crop", "donors", "load", "record"]

ENTRIES = ("labels", "bits")
load = load_masks


@dataclass(frozen=True)
class Config:
    """of: the prior whose masks change places, as ``params.yaml`` writes one: ``{name: sam, model: mobilesam}``."""

    of: dict[str, Any]


def _photograph(name: str) -> str:
    """What an image was made from: its name without tile and copy."""
    return re.sub(r"(_c\d+)$|(-\d+(_c\d+)?)$", "", name)


def donors(names: list[str]) -> dict[str, str]:
    """image -> the image whose masks it gets: a fixed derangement of the photographs.

    Copies and tiles of one photograph (``coffee``, ``coffee_c1``, ``coffee-3``) all get those of one other photograph.
    A set of a single photograph has no other: there every image is its own donor, and its masks are turned.
    """
    photographs: dict[str, list[str]] = {}
    for name in sorted(names):
        photographs.setdefault(_photograph(name), []).append(name)
    order = [sorted(photographs)[i] for i in name_rng("shuffled", *sorted(photographs)).permutation(len(photographs))]
    pairs = zip(order, [*order[1:], order[0]], strict=True)  # a cycle has no fixed point
    return {
        name: photographs[other][i % len(photographs[other])]
        for photograph, other in pairs
        for i, name in enumerate(photographs[photograph])
    }


def compute(
    images: dict[str, Path], out: Path, config: Config, *, device: str = "auto", resume: Path | None = None
) -> list[dict]:
    """Write ``out/<name>.npz``, the donor's masks at the image's size (nearest pixel); records name the ``donor``.

    Masks of an image that is its own donor are turned by 180 degrees, and its record says so.
    """
    module, settings = configure("priors", config.of, "prior.of")
    given = donors(list(images))
    with TemporaryDirectory() as folder:
        made = module.compute(images, Path(folder), settings, device=device, resume=resume)
        refused = [record for record in made if record["refused"]]
        if refused:
            return refused
        sizes = {record["image"]: (record["height"], record["width"]) for record in made}
        records = []
        for name, donor in given.items():
            own = _photograph(name) == _photograph(donor)
            masks = resized(load_masks(Path(folder) / f"{donor}.npz"), sizes[name], turn=own)
            save_masks(out / f"{name}.npz", masks)
            said = donor + (", turned" if own else "")
            records.append({"image": name, "donor": said, "refused": None} | mask_record(masks))
    return records


def resized(masks: MaskSet, shape: tuple[int, int], turn: bool = False) -> MaskSet:
    """The masks at another ``(H,W)``, by nearest pixel; those that lose their last pixel are dropped.

    turn: by 180 degrees as well.
    """
    rows, columns = (
        (2 * np.arange(new) + 1) * old // (2 * new) for new, old in zip(shape, masks.labels.shape, strict=True)
    )
    if turn:
        rows, columns = rows[::-1], columns[::-1]
    dense = unpack(masks.bits[:, rows[:, None], columns], len(masks))
    keep = np.flatnonzero(dense.any((1, 2)))
    return mask_set((dense[i] for i in keep), shape, masks.predicted_iou[keep], masks.stability[keep])


def record(config: Config, device: str = "auto") -> dict:
    """What ``prior.json`` says: that of the prior whose masks changed places, under its own name."""
    module, settings = configure("priors", config.of, "prior.of")
    return module.record(settings, device) | {"prior": "shuffled", "of": config.of}
