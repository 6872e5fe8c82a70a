"""The contract of a prior: its settings, its record, and that its kind stores what it gives."""

from __future__ import annotations

import dataclasses
import json
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchlib import registry
from benchlib.conformance._subject import (
    Subject,
    Unavailable,
    expect,
    settings_are_frozen_and_typed,
    states_its_version_and_what_it_uses,
)
from benchlib.contracts import BenchError, Window
from benchlib.imageio import write_png
from benchlib.priors._loop import Provider, compute


def photograph() -> np.ndarray:
    """``(40,60,3)`` uint8 RGB."""
    from skimage import data

    return data.astronaut()[40:200:4, 100:340:4]


def names_its_kind(subject: Subject) -> None:
    """KIND is a kind that is there, every setting has a default, a vector has a size."""
    module = subject.module
    kinds = registry.names("priors/kinds")
    expect(module.KIND in kinds, f"KIND = {module.KIND!r}; may be {', '.join(kinds)}")
    expect(module.Config.__doc__, "Config has no docstring; say what its settings mean")
    module.Config()
    if module.KIND == "vector":
        expect(hasattr(module, "size"), "no size(config); a vector's length is known before")
        size = module.size(subject.config())
        expect(type(size) is int and size > 0, f"size(config) is {size!r}; expected a length")


def _provider(subject: Subject) -> Provider:
    return Provider(subject.name, subject.config(), device="cpu")


def _weights_at_hand(subject: Subject) -> dict[str, Any]:
    """What it says it is made by. Raises Unavailable where its weights are not at hand."""
    try:
        return _provider(subject).about()
    except BenchError as error:
        raise Unavailable(str(error)) from None


def its_record_is_plain_and_holds_its_settings(subject: Subject) -> None:
    """``record`` is JSON, and its "config" holds every setting: by it a finished prior is found."""
    about = _weights_at_hand(subject)
    said = json.loads(json.dumps(about))
    expect(said == about, "record(...) changes when written as JSON; use text, numbers and lists")
    settings = json.loads(json.dumps(dataclasses.asdict(subject.config())))
    found = said.get("config", {})
    expect(found == settings, f"record's config is {found}; expected {settings}")


def gives_what_its_kind_stores(subject: Subject) -> None:
    """One whole file an image, of its size, the same again byte for byte; the image stays as it
    was.
    """
    _weights_at_hand(subject)
    module, image = subject.module, photograph()
    kind: Any = registry.load("priors/kinds", module.KIND)
    before = image.copy()
    told = _provider(subject).told("out", "a")
    stored = module.open(subject.config(), "cpu")(image, *told)
    expect(np.array_equal(image, before), "it changes the image that it is given; copy it")
    if not kind.ENTRIES:
        expect(stored is None, f"kind {module.KIND} stores nothing, but it gives {stored!r}")
        return
    own = type(stored).__module__ == kind.__name__
    expect(own, f"it gives {type(stored).__name__}; expected the class of kind {module.KIND}")
    expect(kind.fits(stored, image.shape[:2]), "what it gives does not fit the image's size")
    entries = set(kind.crop(stored, Window(1, 2, 4, 5)))
    expect(entries == set(kind.ENTRIES), f"a crop of it has {entries}; expected {kind.ENTRIES}")
    if module.KIND == "vector":
        length, size = stored.values.shape, module.size(subject.config())
        expect(length == (size,), f"it gives {length}; size(config) says {size}")
    with TemporaryDirectory() as folder:
        _expect_same_file(subject, kind, stored, image, Path(folder))


def _expect_same_file(
    subject: Subject, kind: Any, stored: Any, image: np.ndarray, folder: Path
) -> None:
    """Through the loop of all priors the same file comes out, with its facts."""
    write_png(folder / "a.png", image)
    kind.save(folder / "own.npz", stored)
    with redirect_stderr(StringIO()):  # its line of progress
        (record,) = compute(_provider(subject), {"a": folder / "a.png"}, folder / "out")
    expect(record["refused"] is None, f"it refuses a photograph of 40x60: {record['refused']}")
    again = (folder / "out" / "a.npz").read_bytes()
    same = again == (folder / "own.npz").read_bytes()
    expect(same, "the same image gives other bytes the second time; fix its seed")
    for name, fact in kind.facts(stored).items():
        expect(record[name] == fact, f"{name}: {record[name]!r}, and {fact!r} the second time")


CHECKS = (
    states_its_version_and_what_it_uses,
    settings_are_frozen_and_typed,
    names_its_kind,
    its_record_is_plain_and_holds_its_settings,
    gives_what_its_kind_stores,
)
