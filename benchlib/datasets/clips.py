"""Clips made here: folders of sharp frames, each degraded; for suites of ``task: video``.

Below ``path`` each folder that holds images is a clip (``000/00000000.png``; also deeper, as
Vimeo-90K has them: ``00001/0001/im1.png``). Its frames are the images in the order of their names,
read as numbers are where they hold some. A frame's source is its clip.

``asset`` takes the frames of a catalogue entry in their place (its ``images``), under the folders
that they have there: ``test_sharp/000_resized``.

Pairs that are published come by ``paired``, or lie in one's own ``folder``; there the folder of a
sequence is the source. A single clip of one's own is a ``path`` with its frames in one folder.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from benchlib import assets
from benchlib.contracts import BenchError, nearest
from benchlib.datasets import Maker, check_names, pair_record
from benchlib.files import check_file, progress, spread
from benchlib.imageio import SUFFIXES, no_images, read_image, write_lq, write_png
from benchlib.seeding import name_rng

VERSION = 1
USES = {"assets/contents.py": 1}  # which files a catalogue entry means, and their order
DEGRADES = True
CLIPS = True  # the pairs of one source are frames of one clip

Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class Config:
    """Where the clips lie, and which frames are taken.

    path: relative to params.yaml; or asset: a catalogue entry that has images. clips: their folders
    below it; []: all. start, frames: of each clip that many from the ``start``-th on, counted from
    0; None: to the end. seed: of the degradation, beside the names of the set and the frame.

    Raises BenchError for both or neither of path and asset.
    """

    path: str | None = None
    asset: str | None = None
    clips: list[str] = field(default_factory=list)
    start: Annotated[int, Field(ge=0)] = 0
    frames: Count | None = None
    seed: Annotated[int, Field(ge=0)] = 0

    def __post_init__(self) -> None:
        if (self.path is None) == (self.asset is None):
            raise BenchError("clips: give `path` or `asset`, one of them")


def pairs(config: Config, out: Path, make: Maker) -> list[dict[str, Any]]:
    """Write ``out/hq/<clip>-<frame>.png`` and ``out/lq/...``; return one record a frame, in order.

    Frames are cut at the right and bottom to ``make.multiple``. The generator of an lq is seeded by
    the set's name, the frame and ``config.seed``. source: the clip. copy: 0.
    Raises BenchError for a clip that is not there or too short, frames of two sizes in one clip,
    and two frames of one name.
    """
    found = _found(config)
    names = [name for name, _clip, _file in found]
    check_names(names, f"clips: {make.name}")
    sizes: dict[str, tuple[str, tuple[int, ...]]] = {}
    records = []
    for name, clip, file in progress(found, f"degrade {make.name}"):
        hq = _cut(read_image(file), make.multiple, file)
        first, size = sizes.setdefault(clip, (name, hq.shape[:2]))
        if hq.shape[:2] != size:
            raise BenchError(
                f"{file}: {hq.shape[:2]} pixels, but the clip's first frame ({first}) has {size}; "
                "expected frames of one size"
            )
        sharp = spread(out / "hq", f"{name}.png", len(found))
        write_png(sharp, hq)
        region = None
        if make.region:
            region = make.region(sharp)
        rng = name_rng(make.name, name, 0, config.seed)
        lq = write_lq(spread(out / "lq", name, len(found)), make.degrade(hq, rng, region))
        source = clip
        if config.asset is not None:
            source = f"{config.asset}/{clip}"
        records.append(pair_record(out, name, lq, sharp, source) | {"copy": 0})
    return records


def _cut(image: np.ndarray, multiple: int, file: Path) -> np.ndarray:
    height, width = image.shape[:2]
    cut = image[: height - height % multiple, : width - width % multiple]
    if not cut.size:
        raise BenchError(f"{file}: {height}x{width} pixels; expected {multiple} or more a side")
    return np.ascontiguousarray(cut)


def _found(config: Config) -> list[tuple[str, str, Path]]:
    """(name, clip, file) of every frame: the clips in order, the frames of each in order."""
    found = []
    for clip, files in _clips(config).items():
        stop = None
        if config.frames is not None:
            stop = config.start + config.frames
        chosen = files[config.start : stop]
        if not chosen or len(chosen) < (config.frames or 1):
            raise BenchError(
                f"{files[0].parent}: {len(files)} frames; expected {config.frames or 1} or more "
                f"from number {config.start} on; lower `start` or `frames`, or leave the clip out"
            )
        for file in chosen:
            found.append((f"{clip.replace('/', '-')}-{file.stem}", clip, file))
    return found


def _clips(config: Config) -> dict[str, list[Path]]:
    """clip -> its frames in order."""
    root, files = _files(config)
    there: dict[str, list[Path]] = {}
    for file in sorted(files, key=_in_order):
        clip = file.parent.relative_to(root).as_posix()
        if clip == ".":
            clip = root.name
        there.setdefault(clip, []).append(file)
    if not there:
        raise BenchError(f"{root}: {no_images(root)}; expected folders of frames, one a clip")
    for clip in config.clips:
        if clip not in there:
            raise BenchError(
                f"clips: got {clip!r}, no folder of frames below {root}; {nearest(clip, there)}"
            )
    return {clip: there[clip] for clip in config.clips or there}


def _files(config: Config) -> tuple[Path, list[Path]]:
    """The folder that clips lie below, and all frames."""
    if config.asset is not None:
        return assets.folder(config.asset), assets.images(config.asset)
    assert config.path is not None
    root = Path(config.path)
    found = []
    for file in root.rglob("*"):
        if file.suffix.lower() in SUFFIXES and not file.name.startswith("."):
            check_file(file)
            found.append(file)
    return root, found


def _in_order(path: Path) -> list[tuple[int, str]]:
    """What paths are sorted by: ``im2`` before ``im10``."""
    parts = re.split(r"(\d+)", path.as_posix())
    return [(int(part), "") if part.isdigit() else (0, part) for part in parts]
