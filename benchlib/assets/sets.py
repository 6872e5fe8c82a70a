"""A data set by name: its folder, its pairs, its photographs; fetched first if need be."""

from __future__ import annotations

from pathlib import Path

from benchlib.assets.cache import cache_folder
from benchlib.assets.catalogue import find, load_catalogue
from benchlib.assets.contents import Pair, find_images, find_pairs, manual_folder
from benchlib.assets.entry import Entry
from benchlib.assets.many import was_verified
from benchlib.assets.store import fetch
from benchlib.contracts import BenchError


def folder(
    name: str, *, cache: str | Path | None = None, catalogue: str | Path | None = None
) -> Path:
    """Where a data set lies, without counting it: what ``pairs`` and ``images`` give lies below.

    Cheap once it was fetched (under 1 ms a call): of an entry of many files only the stamp is read.
    """
    entry, root = find(name, catalogue), cache_folder(cache)
    if entry.manual:
        return manual_folder(name, root)
    if entry.files and was_verified(entry, root / name):
        return root / name
    return fetch(name, cache=cache, catalogue=catalogue)


def pairs(
    name: str, split: str, *, cache: str | Path | None = None, catalogue: str | Path | None = None
) -> list[Pair]:
    """The (lq, hq) files of one split of a data set, by name; other splits need not be there.

    Raises BenchError if the data is absent, an lq image has no partner, or the number is not the
    published one.
    """
    entry = find(name, catalogue)
    if split not in entry.layout:
        allowed = ", ".join(entry.layout) or "none (it has no pairs)"
        raise BenchError(f"{name}: no split '{split}'; may be {allowed}")
    return find_pairs(entry, _fetched(entry, cache, catalogue), split)


def images(
    name: str, *, cache: str | Path | None = None, catalogue: str | Path | None = None
) -> list[Path]:
    """The plain photographs of an entry, ordered by their paths.

    They are a data set's ``images``, or a photograph's one file. Raises BenchError if the entry has
    none, or the data is absent or not as many as the catalogue says.
    """
    entry = find(name, catalogue)
    if entry.kind == "photograph":
        return [fetch(name, cache=cache, catalogue=catalogue)]
    if not entry.images:
        raise _without_images(name, catalogue)
    return find_images(entry, _fetched(entry, cache, catalogue))


def _without_images(name: str, catalogue: str | Path | None) -> BenchError:
    have = []
    for other in load_catalogue(catalogue).values():
        if other.images or other.kind == "photograph":
            have.append(other.name)
    return BenchError(f"{name}: has no images of its own; those that have: {', '.join(have)}")


def _fetched(entry: Entry, cache: str | Path | None, catalogue: str | Path | None) -> Path:
    """The folder, looked through; not a manual one, since its other splits need not be there."""
    if entry.manual:
        return manual_folder(entry.name, cache_folder(cache))
    return fetch(entry.name, cache=cache, catalogue=catalogue)
