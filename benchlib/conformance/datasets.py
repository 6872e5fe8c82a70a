"""The contract of a source of pairs: how it is called, names, files, sizes, who degrades."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchlib import assets
from benchlib.conformance._subject import (
    Subject,
    expect,
    settings_are_frozen_and_typed,
    states_its_version_and_what_it_uses,
)
from benchlib.datasets import Maker
from benchlib.files import sha256
from benchlib.imageio import read_image, read_lq

KEYS = {"image", "lq", "hq", "asset", "sha256_lq", "sha256_hq", "source", "pixels"}
KEYS |= {"height", "width", "scale"}
SAFE = r"[A-Za-z0-9_-][A-Za-z0-9_.-]*"


def noisy(hq: np.ndarray, rng: np.random.Generator, region: np.ndarray | None) -> np.ndarray:
    """A degradation one can follow: the generator's first numbers in a corner, the region black."""
    lq = hq.copy()
    lq[0, 0] = rng.integers(0, 256, 3)
    if region is not None:
        lq[region] = 0
    return lq


def files_below(folder: Path) -> set[str]:
    """The files of a folder, relative to it."""
    found = set()
    for path in folder.rglob("*"):
        if path.is_file():
            found.add(path.relative_to(folder).as_posix())
    return found


def pairs_of(subject: Subject, folder: Path, make: Maker) -> list[dict[str, Any]]:
    """The records of its example, made anew below ``folder/out``."""
    sample = folder / "sample"
    if not sample.exists():
        sample.mkdir(parents=True)
    config = subject.given()(sample)
    return subject.module.pairs(config, folder / "out", make)


def says_whether_it_degrades(subject: Subject) -> None:
    """DEGRADES is True or False, ``pairs`` has a docstring and takes config, out, make."""
    module = subject.module
    plain = isinstance(module.DEGRADES, bool)
    expect(plain, f"DEGRADES = {module.DEGRADES!r}; expected True or False")
    expect(module.pairs.__doc__, "pairs has no docstring; say what it reads and raises")
    taken = list(inspect.signature(module.pairs).parameters)
    expect(taken == ["config", "out", "make"], f"pairs takes {taken}; expected config, out, make")


def leaves_the_sets_own_words_alone(subject: Subject) -> None:
    """Config has no ``name`` and no ``degrade``: those are the set's own, in params.yaml."""
    fields = {field.name for field in dataclasses.fields(subject.module.Config)}
    both = sorted(fields & {"name", "degrade"})
    expect(not both, f"Config has {', '.join(both)}: the set's own, in params.yaml; rename it")


def records_unique_safe_names_and_the_files_that_are_there(subject: Subject) -> None:
    """Each pair has a unique safe name, files with their hashes, and sizes of a whole factor."""
    with TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        records = pairs_of(subject, Path(folder), Maker("shaken", noisy))
        expect(records, "no pairs of the example")
        named = {record["image"].lower() for record in records}
        expect(len(named) == len(records), "two pairs have one name")
        written = set()
        for record in records:
            _expect_keys(record)
            root = out
            if record["asset"]:
                root = assets.folder(record["asset"])
            else:
                written |= {record["lq"], record["hq"]}
            _expect_files(record, root)
        strange = sorted(files_below(out) ^ written)
        expect(not strange, f"{', '.join(strange)}: recorded or written, not both")


def _expect_keys(record: dict[str, Any]) -> None:
    other = sorted((record.keys() - {"copy"}) ^ KEYS)
    expect(not other, f"a record lacks or adds {', '.join(other)}; make it by pair_record")
    name = record["image"]
    expect(re.fullmatch(SAFE, name), f"{name!r} is no safe name: letters, digits, -, _ and .")


def _expect_files(record: dict[str, Any], root: Path) -> None:
    for side in ("lq", "hq"):
        file = root / record[side]
        right = file.is_file() and sha256(file) == record[f"sha256_{side}"]
        expect(right, f"{record[side]} is not there, or not as recorded")
    small, large = read_lq(root / record["lq"]), read_image(root / record["hq"])
    rows, columns = large.shape[0] / small.shape[0], large.shape[1] / small.shape[1]
    whole = rows == columns and rows == int(rows) >= 1
    said = f"{record['image']}: lq {small.shape}, hq {large.shape}; expected a whole factor"
    expect(whole, said)


def gives_the_same_pairs_again(subject: Subject) -> None:
    """A second time it gives the same records."""
    with TemporaryDirectory() as first, TemporaryDirectory() as second:
        make = Maker("shaken", noisy)
        one = pairs_of(subject, Path(first), make)
        other = pairs_of(subject, Path(second), make)
    expect(one == other, "two calls give other records; take all chance from names")


def degrades_if_and_only_if_it_says_so(subject: Subject) -> None:
    """``make.degrade`` is called if DEGRADES is True, and else never."""
    asked = []

    def asking(hq: np.ndarray, *_: object) -> np.ndarray:
        asked.append(hq.shape)
        return hq.copy()

    with TemporaryDirectory() as folder:
        pairs_of(subject, Path(folder), Maker("asked", asking))
    said = f"DEGRADES is {subject.module.DEGRADES}, but make.degrade was called {len(asked)} times"
    expect(bool(asked) == subject.module.DEGRADES, said)


CHECKS = (
    states_its_version_and_what_it_uses,
    settings_are_frozen_and_typed,
    says_whether_it_degrades,
    leaves_the_sets_own_words_alone,
    records_unique_safe_names_and_the_files_that_are_there,
    gives_the_same_pairs_again,
    degrades_if_and_only_if_it_says_so,
)
