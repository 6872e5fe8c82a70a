"""Pictures that were restored elsewhere, as a run: nothing is trained, nothing is restored here.

A test image's picture is found by name, whatever its image suffix:
``<folder>/<set>/<image>.png``, or ``<folder>/<image>.png`` where no other set has that name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from benchlib.contracts import Backbone, BenchError, Info
from benchlib.files import composed
from benchlib.imageio import SUFFIXES, image_files

VERSION = 1
INFO = Info(
    paper="",
    source="pictures restored elsewhere",
    needs=(),
    label="own pictures",
    trains=False,
    own="pictures",
)
PATHS = ("folder",)
SHOWN = 5  # names in an error
Image = tuple[str, str]  # set, image
Named = dict[str, list[Path]]  # name without suffix -> files


@dataclass(frozen=True)
class Config:
    """folder: of restored pictures; relative to params.yaml, ``~`` is the home folder."""

    folder: str


class Pictures(nn.Module):
    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        raise BenchError(
            "method images: has pictures of its test images alone and restores no other; take a "
            "run with a network"
        )


def build(backbone: Backbone, config: Config) -> nn.Module:
    """A module without parameters, which refuses to restore."""
    return Pictures()


def check(config: Config) -> None:
    """Raise BenchError for a file in the folder's place; a folder may be made later."""
    folder = Path(config.folder)
    if folder.exists() and not folder.is_dir():
        raise BenchError(f"{folder}: a file; name the folder that it lies in")


def restored_files(config: Config, images: Sequence[Image]) -> dict[Image, Path]:
    """The picture of each test image.

    Pictures of no test image are named in a printed line. Raises BenchError, in one line, if the
    folder is not there, or if images have no picture, or several.
    """
    folder = Path(config.folder)
    if not folder.is_dir():
        raise BenchError(
            f"{folder}: no such folder; expected restored pictures in it: <set>/<image>.png"
        )
    flat = _pictures(folder)
    of_set = {dataset: _pictures(folder / dataset) for dataset, _ in images}
    sets = Counter(image for _, image in images)
    found: dict[Image, Path] = {}
    faults = []
    for dataset, image in images:
        name = composed(image)
        files = of_set[dataset].get(name) or flat.get(name, [])
        if len(files) == 1 and (files[0].parent != folder or sets[image] == 1):
            found[dataset, image] = files[0]
        else:
            faults.append(f"{dataset}/{image}{_why(files)}")
    extra = _extra([flat, *of_set.values()], found.values())
    extra += [f"{other.name}/" for other in _folders(folder) if other.name not in of_set]
    if faults:
        raise BenchError(_refusal(folder, faults, images, extra))
    if extra:
        print(f"{folder}: of no test image, not measured: {_shown(extra)}", flush=True)
    return found


def _pictures(folder: Path) -> Named:
    """Name without suffix, in composed letters -> the folder's image files of that name."""
    named: Named = {}
    if folder.is_dir():
        for file in image_files(folder):
            named.setdefault(composed(file.stem), []).append(file)
    return named


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir())


def _why(files: list[Path]) -> str:
    if len(files) > 1:
        return f" (several: {', '.join(file.name for file in files)})"
    if files:
        return f" ({files[0].name} could be another set's: put it into a folder of the set)"
    return ""


def _extra(folders: Iterable[Named], used: Iterable[Path]) -> list[str]:
    """The names of pictures that no image has."""
    taken = set(used)
    extra = []
    for named in folders:
        for files in named.values():
            extra += [file.name for file in files if file not in taken]
    return extra


def _shown(names: Sequence[str]) -> str:
    """The first of some names, and how many more."""
    said = ", ".join(names[:SHOWN])
    if len(names) > SHOWN:
        said += f" and {len(names) - SHOWN} more"
    return said


def _refusal(folder: Path, faults: list[str], images: Sequence[Image], extra: list[str]) -> str:
    dataset, image = images[0]
    said = f"{folder}: {len(faults)} of {len(images)} test images without one picture of their "
    said += f"name: {_shown(faults)}; expected {dataset}/{image}.png or {image}.png "
    said += f"(or {', '.join(SUFFIXES[1:])})"
    if extra:
        said += f"; there, of no test image: {_shown(extra)}"
    return said
