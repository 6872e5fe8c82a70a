"""The contract of a kind of prior, as far as it can be checked without knowing the kind.

``tests/test_kinds.py`` compares the package's own kinds with plain implementations besides.
"""

from __future__ import annotations

import dataclasses
import json
import pickle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchlib import registry
from benchlib.conformance._subject import (
    Subject,
    Unmet,
    expect,
    states_its_version_and_what_it_uses,
)
from benchlib.contracts import BenchError, Window

FUNCTIONS = tuple(name for name in registry.REQUIRED["priors/kinds"] if name.islower())
SHAPE = (20, 30)


def fields_of(stored: Any) -> dict[str, Any]:
    """What a stored prior holds."""
    if stored is None:
        return {}
    return {field.name: getattr(stored, field.name) for field in dataclasses.fields(stored)}


def whole(shape: tuple[int, int]) -> Window:
    """All of an image."""
    return Window(0, 0, *shape)


def expect_equal(got: dict[str, Any], expected: dict[str, Any], where: str) -> None:
    """Raise Unmet unless both hold the same: types, shapes, values."""
    other = sorted(got.keys() ^ expected.keys())
    expect(not other, f"{where}: {', '.join(other)}: there on one side alone")
    for name, value in expected.items():
        if isinstance(value, np.ndarray):
            kind = f"{got[name].shape} {got[name].dtype}"
            right = kind == f"{value.shape} {value.dtype}"
            expect(right, f"{where}: {name} is {kind}; expected {value.shape} {value.dtype}")
            expect(np.array_equal(got[name], value), f"{where}: {name} has other values")
        else:
            same = type(got[name]) is type(value) and got[name] == value
            expect(same, f"{where}: {name} is {got[name]!r}; expected {value!r}")


def has_what_the_contract_names(subject: Subject) -> None:
    """ENTRIES is a tuple of names that no other kind gives; every function is there."""
    module = subject.module
    expect(isinstance(module.ENTRIES, tuple), f"ENTRIES = {module.ENTRIES!r}; expected a tuple")
    for name in FUNCTIONS:
        expect(callable(getattr(module, name)), f"{name} is no function")
    for other in registry.names("priors/kinds"):
        if other == subject.name:
            continue
        both = sorted(set(module.ENTRIES) & set(registry.load("priors/kinds", other).ENTRIES))
        expect(not both, f"kind {other} gives {', '.join(both)} too; rename the entry")


def a_file_gives_back_what_was_saved(subject: Subject) -> None:
    """What is saved is loaded again, the same bytes each time, by a frozen dataclass."""
    module, stored = subject.module, subject.given()(*SHAPE, 0)
    if not module.ENTRIES:
        return
    expect(dataclasses.is_dataclass(stored), f"it stores {type(stored).__name__}, no dataclass")
    frozen = type(stored).__dataclass_params__.frozen
    expect(frozen, f"{type(stored).__name__} can be changed; write frozen=True")
    with TemporaryDirectory() as folder:
        first, second = Path(folder) / "a.npz", Path(folder) / "b.npz"
        module.save(first, stored)
        module.save(second, stored)
        expect(first.read_bytes() == second.read_bytes(), "saved twice, the files differ")
        expect_equal(fields_of(module.load(first)), fields_of(stored), "loaded")
    expect_equal(fields_of(pickle.loads(pickle.dumps(stored))), fields_of(stored), "pickled")


def a_damaged_file_is_refused_by_name(subject: Subject) -> None:
    """A file that is absent, empty, cut off or something else raises BenchError that names it."""
    module, stored = subject.module, subject.given()(*SHAPE, 0)
    if not module.ENTRIES:
        return
    with TemporaryDirectory() as folder:
        path = Path(folder) / "coffee.npz"
        module.save(path, stored)
        good = path.read_bytes()
        for word, content in (("empty", b""), ("text", b"<html>"), ("cut", good[: len(good) // 2])):
            path.write_bytes(content)
            expect_refused(module, path, word)
        path.unlink()
        expect_refused(module, path, "absent")


def expect_refused(module: Any, path: Path, word: str) -> None:
    """Raise Unmet unless loading raises BenchError that begins with the file's path."""
    try:
        module.load(path)
    except BenchError as error:
        named = str(error).startswith(f"{path}: ") and "\n" not in str(error)
        expect(named, f"{word}: {error}; expected one line that begins with the file's path")
    except Exception as error:
        raise Unmet(f"{word}: {type(error).__name__}: {error}; raise BenchError") from None
    else:
        raise Unmet(f"{word}: loaded all the same; raise BenchError")


def it_fits_its_image_and_is_cut_and_batched(subject: Subject) -> None:
    """It fits its own image; a crop gives every entry, a batch stacks the crops."""
    module, make = subject.module, subject.given()
    crops = []
    for seed in (0, 1):
        stored = make(*SHAPE, seed)
        expect(module.fits(stored, SHAPE), f"it does not fit its own image, {SHAPE}")
        crops.append(module.crop(stored, Window(2, 3, 7, 6, flip_h=True, transpose=True)))
        found = set(crops[-1])
        expect(found == set(module.ENTRIES), f"a crop has {sorted(found)}, not {module.ENTRIES}")
    batch = module.collate(crops)
    found = set(batch)
    expect(found == set(module.ENTRIES), f"a batch has {sorted(found)}, not {module.ENTRIES}")
    for name, value in batch.items():
        expect(len(value) == 2, f"a batch of two crops has {len(value)} of {name}")


def its_controls_fit_and_differ(subject: Subject) -> None:
    """Zeroed it fits its image and says something else; resized it fits the other image."""
    module, stored = subject.module, subject.given()(*SHAPE, 3)
    before = module.crop(stored, whole(SHAPE))
    same = module.crop(module.resized(stored, SHAPE), whole(SHAPE))
    expect_equal(same, before, "resized to the same size")
    for turn in (False, True):
        moved = module.resized(stored, (7, 9), turn=turn)
        expect(module.fits(moved, (7, 9)), "resized to 7x9 it does not fit an image of that size")
        json.dumps(module.facts(moved), allow_nan=False)
    nothing = module.zeroed(stored)
    expect(module.fits(nothing, SHAPE), "zeroed it does not fit its image")
    after = module.crop(nothing, whole(SHAPE))
    expect(after.keys() == before.keys(), "zeroed it gives other entries")
    changed = [name for name in before if not np.array_equal(before[name], after[name])]
    expect(changed or not module.ENTRIES, "zeroed it says the same as before")


def facts_and_picture_are_plain(subject: Subject) -> None:
    """Its facts are JSON, ROWS numbers among them; its picture is uint8 of the image's size."""
    module, stored = subject.module, subject.given()(*SHAPE, 0)
    facts = module.facts(stored)
    said = json.loads(json.dumps(facts, allow_nan=False))
    expect(said == facts, "facts change when written as JSON")
    for fact in getattr(module, "ROWS", {}).values():
        expect(isinstance(facts.get(fact), int | float), f"ROWS: {fact} is no number of its facts")
    image = np.random.default_rng(0).integers(0, 256, (*SHAPE, 3), np.uint8)
    shown = module.picture(stored, image)
    if shown is not None:
        right = shown.dtype == np.uint8 and shown.shape == image.shape
        expect(right, f"its picture is {shown.shape} {shown.dtype}; expected {image.shape} uint8")


def nothing_is_written_into_what_was_given(subject: Subject) -> None:
    """It changes neither what is stored nor a crop."""
    module, stored = subject.module, subject.given()(*SHAPE, 5)
    before = pickle.dumps(fields_of(stored))
    crop = module.crop(stored, Window(1, 2, 8, 8, flip_h=True))
    module.collate([crop, crop])
    module.zeroed(stored)
    module.resized(stored, (7, 9), turn=True)
    module.facts(stored)
    expect(pickle.dumps(fields_of(stored)) == before, "what was stored has changed")


CHECKS = (
    states_its_version_and_what_it_uses,
    has_what_the_contract_names,
    a_file_gives_back_what_was_saved,
    a_damaged_file_is_refused_by_name,
    it_fits_its_image_and_is_cut_and_batched,
    its_controls_fit_and_differ,
    facts_and_picture_are_plain,
    nothing_is_written_into_what_was_given,
)
