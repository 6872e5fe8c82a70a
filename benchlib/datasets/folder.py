"""One's own pairs: a folder with ``lq/`` and ``hq/``, the two files of a pair under one name.

For super-resolution an hq is larger than its lq by a whole factor, the same on both sides.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchlib.contracts import BenchError
from benchlib.files import progress, sha256
from benchlib.imageio import image_files, read_image, write_png


@dataclass(frozen=True)
class Config:
    path: str  # of the folder; relative to params.yaml


def pairs(config: Config, out: Path, *_: Any) -> list[dict[str, Any]]:
    """Copy every pair to ``out/lq`` and ``out/hq`` as 8-bit RGB PNG; return one record a pair.

    Raises BenchError for an image without a partner, two of one name, an hq whose size is no whole multiple of its
    lq's, or a file that is no image.
    """
    records = []
    for lq, hq in progress(_found(config), f"copy {config.path}"):
        record: dict[str, Any] = {"image": hq.stem, "asset": "", "source": hq.stem, "copy": 0}
        first, second = read_image(lq), read_image(hq)
        small, large = first.shape[:2], second.shape[:2]
        scale = large[0] // small[0]
        if scale < 1 or large != (scale * small[0], scale * small[1]):
            raise BenchError(
                f"{lq}: {small} pixels, but its reference {hq} has {large}; expected the same, or a whole multiple "
                "(super-resolution): crop the reference at the right and bottom"
            )
        for side, image in (("lq", first), ("hq", second)):
            file = Path(side) / f"{hq.stem}.png"
            write_png(out / file, image)
            record |= {side: file.as_posix(), f"sha256_{side}": sha256(out / file)}
        records.append(record)
    return records


def _found(config: Config) -> list[tuple[Path, Path]]:
    sides = {side: image_files(Path(config.path) / side) for side in ("lq", "hq")}
    named = {side: {file.stem: file for file in files} for side, files in sides.items()}
    for side, files in sides.items():
        if len(named[side]) < len(files):
            raise BenchError(f"{config.path}/{side}: two images of one name; rename one")
    alone = sorted(named["lq"].keys() ^ named["hq"].keys())
    if alone or not named["lq"]:
        what = f"'{alone[0]}' has no partner" if alone else "no images"
        raise BenchError(f"{config.path}: {what}; expected lq/ and hq/ with files of the same names")
    return [(file, named["hq"][name]) for name, file in named["lq"].items()]
