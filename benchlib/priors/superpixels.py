"""The control "any segmentation": superpixels of scikit-image in the place of SAM's masks."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from benchlib import imageio
from benchlib.files import progress
from benchlib.priors._meter import Meter
from benchlib.priors._store import (
    MaskSet,
    code_of,
    crop,
    from_cache,
    key_of,
    load_masks,
    mask_record,
    mask_set,
    save_masks,
    to_cache,
)

__all__ = ["ENTRIES", "Config", "compute", "crop", "load", "record", "segment"]

ENTRIES = ("labels", "bits")
load = load_masks


@dataclass(frozen=True)
class Config:
    """kind: "slic" (Achanta et al. 2012) or "felzenszwalb" (Felzenszwalb and Huttenlocher 2004).

    segments: at most so many regions; for felzenszwalb, whose number follows from the image, the largest are taken.
    compactness: of slic. scale, sigma: of felzenszwalb, scikit-image's meaning, for values in [0,1].
    """

    kind: Literal["slic", "felzenszwalb"] = "slic"
    segments: Annotated[int, Field(ge=1, le=1024)] = 64
    compactness: Annotated[float, Field(gt=0)] = 10.0
    scale: Annotated[float, Field(gt=0)] = 100.0
    sigma: Annotated[float, Field(ge=0)] = 0.8


def segment(image: np.ndarray, config: Config) -> MaskSet:
    """The regions of an ``(H,W,3)`` uint8 image as disjoint masks, largest first."""
    from skimage.segmentation import felzenszwalb, slic

    if config.kind == "slic":
        labels = slic(image, n_segments=config.segments, compactness=config.compactness, start_label=0)
    else:
        labels = felzenszwalb(image, scale=config.scale, sigma=config.sigma)
    area = np.bincount(labels.ravel())
    order = [i for i in np.argsort(-area, kind="stable")[: config.segments] if area[i]]
    ones = np.ones(len(order))  # superpixels have no scores of SAM's kind
    return mask_set((labels == i for i in order), image.shape[:2], ones, ones)


def compute(
    images: dict[str, Path], out: Path, config: Config, *, device: str = "auto", resume: Path | None = None
) -> list[dict]:
    """Write ``out/<name>.npz`` for every image (name -> file); one record an image.

    resume: as for ``sam``: a folder that keeps finished images by what they were made from.
    """
    import skimage.segmentation  # noqa: F401  (loaded before the meter is made, so that it is not counted)

    here = Path(__file__)
    made_from = record(config) | {"code": code_of(here, here.with_name("_store.py"), Path(imageio.__file__))}
    records, meter = [], Meter()
    for name, path in progress(images.items(), f"{config.kind} superpixels", total=len(images)):
        image, file = imageio.read_image(path), out / f"{name}.npz"
        key, _ = key_of(made_from, image)
        facts = from_cache(resume, key, file)
        if facts is None:
            with meter.image() as taken:
                masks = segment(image, config)
                save_masks(file, masks)
            facts = mask_record(masks) | taken
            to_cache(resume, key, file, facts)
        records.append({"image": name, "refused": None} | facts)
    return records


def record(config: Config, device: str = "auto") -> dict[str, Any]:
    """What ``prior.json`` says."""
    return {
        "prior": "superpixels",
        "config": dataclasses.asdict(config),
        "memory_by": "resident memory",
        "versions": {"scikit-image": version("scikit-image")},
    }
