"""One view of a dual-pixel sensor: a photograph taken with the image, through half of the lens.

It is no model's output: it is looked up in the catalogue's data set by the pixels of the whole
picture, whose split the images must be of. So a run names its images as any other does, and reads
the views as two priors of a bundle. Views of 16 bits are rounded to 8, as IFAN's own data is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchlib import assets as catalogue
from benchlib.contracts import BenchError
from benchlib.files import progress, sha256
from benchlib.imageio import pixels_digest, read_image
from benchlib.priors.kinds.picture import Picture

VERSION = 1
USES = {"assets/contents.py": 1}  # which files a catalogue entry means, and their order
KIND = "picture"
ON_CPU = True
SHOWN = "a dual-pixel view"


@dataclass(frozen=True)
class Config:
    """asset: a data set of the catalogue. pictures: its split that the run's images are.

    view: its split of the same length, in the same order, whose lq are the views.
    """

    asset: str = "dpdd"
    pictures: str = "test"
    view: str = "test-right"


def open(config: Config, device: str) -> Callable[[np.ndarray], Picture]:
    """From an ``(H,W,3)`` uint8 RGB image to its view, as large.

    Raises BenchError if the data set is not at hand, or its splits are not of one length.
    """
    index: dict[str, Path] = {}
    pictures = [lq for lq, _ in catalogue.pairs(config.asset, config.pictures)]
    views = _views(config)
    if len(pictures) != len(views):
        raise BenchError(
            f"dual_pixel_view: {config.asset}: split {config.pictures} has {len(pictures)} "
            f"pictures, split {config.view} {len(views)} views; expected as many"
        )
    files = list(zip(pictures, views, strict=True))
    for picture, view in progress(files, f"read {config.asset}", total=len(files)):
        index[pixels_digest(read_image(picture))] = view
    return partial(view_of, index=index, config=config)


def _views(config: Config) -> list[Path]:
    return [lq for lq, _ in catalogue.pairs(config.asset, config.view)]


def view_of(image: np.ndarray, index: dict[str, Path], config: Config) -> Picture:
    """The view of a picture. index: digest of a picture's pixels -> the view's file.

    Raises BenchError for an image that is none of the pictures, or a view of another size.
    """
    file = index.get(pixels_digest(image))
    if file is None:
        raise BenchError(
            f"dual_pixel_view: no picture of {config.asset}, split {config.pictures}, has these "
            "pixels; set pictures to the split that the images are, and use them as they are"
        )
    view = read_image(file)
    if view.shape != image.shape:
        raise BenchError(
            f"{file}: {view.shape[:2]} pixels, its whole picture has {image.shape[:2]}; expected "
            "the same"
        )
    return Picture(view, aligned=True)


def assets(config: Config) -> tuple[str, ...]:
    """The catalogue's entries that it reads."""
    return (config.asset,)


def record(config: Config, device: str) -> dict[str, Any]:
    """Settings, and the SHA-256 of the views by name.

    Raises BenchError if the data set is not at hand.
    """
    hashes = {file.name: sha256(file) for file in _views(config)}
    return {"config": dataclasses.asdict(config), "views": hashes}
