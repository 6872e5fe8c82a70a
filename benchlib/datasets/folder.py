"""One's own pairs: a folder with ``lq/`` and ``hq/``, the two files of a pair under one name.

For super-resolution an hq is larger than its lq by a whole factor, the same on both sides.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchlib.contracts import BenchError
from benchlib.datasets import Maker, check_names, pair_record
from benchlib.files import composed, progress, spread
from benchlib.imageio import image_files, no_images, read_image, read_lq, write_lq, write_png

VERSION = 2
DEGRADES = False


@dataclass(frozen=True)
class Config:
    """Where the pairs lie."""

    path: str  # of the folder; relative to params.yaml


def pairs(config: Config, out: Path, make: Maker) -> list[dict[str, Any]]:
    """Copy every pair to ``out/lq`` and ``out/hq`` as 8-bit RGB PNG; return one record a pair.

    An lq of 16 bits becomes an ``.npy`` that keeps every value; an hq is rounded to 8 bits, which
    is what protocols measure. Its source is the image itself, its copy 0. ``make`` is not asked:
    the pairs are finished. Names are compared, and written, with accents in one form (NFC).
    Raises BenchError for an image without a partner, two of one name, an hq whose size is no whole
    multiple of its lq's, or a file that is no image.
    """
    records = []
    found = _found(config)
    for name, (lq, hq) in progress(found.items(), f"copy {config.path}"):
        small, large = read_lq(lq), read_image(hq)
        if not _fits(small, large):
            raise BenchError(
                f"{lq}: {small.shape[:2]} pixels, but its reference {hq} has {large.shape[:2]}; "
                "expected the same, or a whole multiple (super-resolution): "
                "crop the reference at the right and bottom"
            )
        copied_lq = write_lq(spread(out / "lq", name, len(found)), small)
        copied_hq = spread(out / "hq", f"{name}.png", len(found))
        write_png(copied_hq, large)
        record = pair_record(out, name, copied_lq, copied_hq, source=name)
        records.append(record | {"copy": 0})
    return records


def _fits(small: np.ndarray, large: np.ndarray) -> bool:
    """Whether the second is so many times as high and as wide as the first, a whole number."""
    scale = large.shape[0] // small.shape[0]
    return scale >= 1 and large.shape[:2] == (scale * small.shape[0], scale * small.shape[1])


def _found(config: Config) -> dict[str, tuple[Path, Path]]:
    """name -> its lq and its hq, in the order of the lq files."""
    lq = _named(Path(config.path) / "lq")
    hq = _named(Path(config.path) / "hq")
    alone = sorted(lq.keys() ^ hq.keys())
    what = ""
    if alone:
        what = f"'{alone[0]}' has no partner"
    elif not lq:
        what = no_images(Path(config.path) / "lq")
    if what:
        raise BenchError(
            f"{config.path}: {what}; expected lq/ and hq/ with files of the same names"
        )
    return {name: (file, hq[name]) for name, file in lq.items()}


def _named(folder: Path) -> dict[str, Path]:
    files = image_files(folder)
    check_names([file.stem for file in files], str(folder))
    return {composed(file.stem): file for file in files}
