"""A run's side of a prior: loading it for an image, cropping and batching it, and its controls.

"zeroed" and "shuffled" stand in a prior's place for any kind, in training or in the test alone;
they are made on loading, so that nothing is computed or stored for them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from benchlib import registry
from benchlib.contracts import BenchError, Window, nearest
from benchlib.files import spread_file
from benchlib.seeding import name_rng

if TYPE_CHECKING:
    import numpy as np
    import torch

VERSION = 2
Stored = dict[str, Any]  # part -> what its kind stores
Cropped = dict[str, dict[str, Any]]  # part -> entry -> array


@dataclass(frozen=True)
class Part:
    """One prior of a bundle, or a prior by itself (name ""): where its files lie, of what kind."""

    name: str
    kind: str
    folder: Path

    def module(self) -> ModuleType:
        """The kind's file; not kept here, since loading processes get a copy of this object."""
        return registry.loaded("priors/kinds", self.kind)


@dataclass(frozen=True)
class PriorSet:
    """What a run names as its prior of one side, and the entries that its method reads of it.

    needs: entries, ``<entry>`` or ``<part>.<entry>``. swap: the control in its place.
    """

    parts: tuple[Part, ...]
    needs: tuple[str, ...]
    swap: str | None = None

    def swapped(self, control: str | None) -> PriorSet:
        """The same with another control in its place."""
        return replace(self, swap=control)

    def load(self, dataset: str, image: str, shape: tuple[int, ...]) -> Stored:
        """The prior of an image of ``(H,W)`` pixels, its parts that are read; {} where none is.

        Raises BenchError if it is not there, damaged or of another size.
        """
        height, width = shape[:2]
        return {
            part.name: self.load_part(part, dataset, image, (height, width)) for part in self.read()
        }

    def read(self) -> tuple[Part, ...]:
        """The parts that are loaded: those of which the method reads an entry."""
        found = []
        for part in self.parts:
            if self.entries(part) & set(part.module().ENTRIES):
                found.append(part)
        return tuple(found)

    def entries(self, part: Part) -> set[str]:
        """The entries of one part that the method reads."""
        found = set()
        for name in self.needs:
            owner, _, entry = name.rpartition(".")
            if owner in ("", part.name):
                found.add(entry)
        return found

    def load_part(self, part: Part, dataset: str, image: str, shape: tuple[int, int]) -> Any:
        """One part of the prior of an image of ``(H,W)`` pixels; of it what the method reads.

        Raises BenchError as ``load``.
        """
        kind = part.module()
        file, turn = self.file(part, dataset, image)
        if self._control(kind) == "shuffled":  # another size needs all that is there of it
            return kind.resized(kind.load(file), shape, turn=turn)
        stored = _load(kind, file, self.entries(part))
        if not kind.fits(stored, shape):
            raise BenchError(
                f"{file}: a prior of another size than the image's {shape} pixels; make it anew"
            )
        return kind.zeroed(stored) if self._control(kind) == "zeroed" else stored

    def file(self, part: Part, dataset: str, image: str) -> tuple[Path, bool]:
        """The file that an image's part is read from, and whether it is turned: a shuffled one's is
        its donor's, and turned where that shows the image's own scene.
        """
        folder = part.folder / dataset
        if self._control(part.module()) != "shuffled":
            return spread_file(folder, f"{image}.npz"), False
        donor, own = _donor(folder, image)
        return spread_file(folder, f"{donor}.npz"), own

    def _control(self, kind: ModuleType) -> str | None:
        """What stands in the place of a part of that kind: nothing does of what is no guidance."""
        if not getattr(kind, "SWAPS", True):
            return None
        return self.swap

    def crop(self, stored: Stored, window: Window) -> Cropped:
        """The entries of one crop, part by part."""
        return {
            part.name: part.module().crop(stored[part.name], window)
            for part in self.parts
            if part.name in stored
        }

    def collate(self, items: Sequence[Cropped]) -> dict[str, torch.Tensor]:
        """The entries that the method reads of several crops, as one batch.

        Raises BenchError for one that no part gives; what two parts give has its part's name alone.
        """
        found: dict[str, torch.Tensor] = {}
        alone: dict[str, list[torch.Tensor]] = {}
        for part in self.parts:
            if part.name not in items[0]:
                continue
            entries = part.module().collate([item[part.name] for item in items])
            for name, value in entries.items():
                found[f"{part.name}.{name}"] = value
                alone.setdefault(name, []).append(value)
        found |= {name: values[0] for name, values in alone.items() if len(values) == 1}
        for name in self.needs:
            if name not in found:
                raise BenchError(f"prior: gives no '{name}'; {nearest(name, found)}")
        return {name: found[name] for name in self.needs}

    def facts(self, stored: Stored) -> dict[str, float]:
        """What rows say of an image's prior: of each kind what its ``ROWS`` names."""
        said = {}
        for part in self.parts:
            if part.name not in stored:
                continue
            kind = part.module()
            facts = kind.facts(stored[part.name])
            for row, fact in getattr(kind, "ROWS", {}).items():
                name = f"{part.name}.{row}" if part.name else row
                said[name] = facts[fact]
        return said

    def picture(self, stored: Stored, image: np.ndarray) -> np.ndarray | None:
        """What the first part that shows anything shows, ``(H,W,3)`` uint8; None if none does."""
        for part in self.parts:
            if part.name in stored:
                shown = part.module().picture(stored[part.name], image)
                if shown is not None:
                    return shown
        return None


def _load(kind: ModuleType, file: Path, entries: set[str]) -> Any:
    """What is stored in a file; where its kind can, without what no entry is made of."""
    if hasattr(kind, "load_entries"):
        return kind.load_entries(file, entries)
    return kind.load(file)


def _donor(folder: Path, image: str) -> tuple[str, bool]:
    """Whose prior an image gets, and whether that shows the image's own scene."""
    given: dict[str, tuple[str, bool]] = {}
    if folder.is_dir():
        record = folder.parent / "prior.json"
        changed = record.stat().st_mtime_ns if record.exists() else 0
        given = _donors_of(folder, folder.stat().st_mtime_ns, changed)
    if image not in given:
        raise BenchError(f"{folder / image}.npz: not there; run the priors stage again")
    return given[image]


@cache
def _donors_of(folder: Path, changed: int, recorded: int) -> dict[str, tuple[str, bool]]:
    """``donors`` of the images that have a prior in a folder, as it was when it last changed."""
    known = _scenes(folder)
    scenes = {}
    for file in folder.rglob("*.npz"):
        scenes[file.stem] = known.get(file.stem) or file.stem
    given = donors(scenes)
    return {name: (donor, scenes[name] == scenes[donor]) for name, donor in given.items()}


def _scenes(folder: Path) -> dict[str, str]:
    """image -> what it shows, of one set, as the manifest told whoever computed the priors."""
    record = folder.parent / "prior.json"
    if not record.exists():
        return {}
    found = {}
    for one in json.loads(record.read_text(encoding="utf-8"))["images"]:
        if one["dataset"] == folder.name:
            found[one["image"]] = one.get("scene", "")
    return found


def donors(scenes: Mapping[str, str]) -> dict[str, str]:
    """image -> the image whose prior it gets: a fixed derangement of the scenes.

    scenes: image -> what it shows, as its manifest says; nothing is read out of a name. Copies and
    tiles of one photograph, and frames of one sequence, all get those of one other. A set of a
    single scene has no other: there every image is its own donor, and its prior is turned (see the
    kinds' ``resized``).
    """
    together: dict[str, list[str]] = {}
    for name in sorted(scenes):
        together.setdefault(scenes[name], []).append(name)
    groups = {names[0]: names for names in together.values()}
    ordered = sorted(groups)
    order = [ordered[i] for i in name_rng("shuffled", *ordered).permutation(len(ordered))]
    given = {}
    for own, other in zip(order, order[1:] + order[:1], strict=True):  # a cycle: no fixed point
        for i, name in enumerate(groups[own]):
            given[name] = groups[other][i % len(groups[other])]
    return given
