"""What lies in a data set's folder, found and counted; and what a person must fetch (a form, a drive), explained."""

from __future__ import annotations

import os
import re
from pathlib import Path

from benchlib.assets.catalogue import Entry, Globs, Listing, find, load_catalogue
from benchlib.contracts import BenchError

Pair = tuple[Path, Path]


def folder_of(name: str, cache: Path) -> Path:
    """``$BENCHLIB_DATA/<name>``, or ``<cache>/manual/<name>`` where that is not set."""
    root = os.environ.get("BENCHLIB_DATA")
    return (Path(root).expanduser() if root else cache / "manual") / name


def folder(name: str, *, cache: str | Path | None = None, catalogue: str | Path | None = None) -> Path:
    """Where a data set lies, without counting it: what ``pairs`` and ``images`` give lies below.

    Cheap once it was fetched (under 1 ms a call): of an entry of many files only the stamp is read.
    """
    from benchlib.assets import many
    from benchlib.assets.store import cache_folder, fetch

    entry, root = find(name, catalogue), cache_folder(cache)
    if entry.manual:
        return folder_of(name, root)
    if entry.files and many.stamped(entry, root / name):
        return root / name
    return fetch(name, cache=cache, catalogue=catalogue)


def _fetched(entry: Entry, cache: str | Path | None, catalogue: str | Path | None) -> Path:
    """The folder, looked through; a manual one is not, since its other splits need not be there."""
    from benchlib.assets.store import cache_folder, fetch

    if entry.manual:
        return folder_of(entry.name, cache_folder(cache))
    return fetch(entry.name, cache=cache, catalogue=catalogue)


def absent(entry: Entry, folder: Path) -> BenchError:
    """The one line that says where to get it, where to put it, and what must then lie there."""
    wanted = [f"{split}: {layout} ({entry.counts[split]} pairs)" for split, layout in entry.layout.items()]
    if entry.images:
        wanted.append(f"images: {', '.join(entry.images)} ({entry.counts['images']} files)")
    return BenchError(
        f"{entry.name}: not found in {folder}; get it: {entry.get}; put it into {folder} so that it holds "
        f"{entry.file or '; '.join(wanted)}; or set BENCHLIB_DATA to the folder that holds {entry.name}/"
    )


def pairs(name: str, split: str, *, cache: str | Path | None = None, catalogue: str | Path | None = None) -> list[Pair]:
    """The (lq, hq) files of one split of a data set, by name; other splits need not be there.

    Raises BenchError if the data is absent, an lq image has no partner, or the number is not the published one.
    """
    entry = find(name, catalogue)
    if split not in entry.layout:
        raise BenchError(f"{name}: no split '{split}'; may be {', '.join(entry.layout) or 'none (it has no pairs)'}")
    return check(entry, _fetched(entry, cache, catalogue), split)


def images(name: str, *, cache: str | Path | None = None, catalogue: str | Path | None = None) -> list[Path]:
    """The plain photographs of an entry, ordered by their paths: a data set's ``images``, a photograph's one file.

    Raises BenchError if the entry has none, or the data is absent or not as many as the catalogue says.
    """
    entry = find(name, catalogue)
    if entry.kind == "photograph":
        from benchlib.assets.store import fetch

        return [fetch(name, cache=cache, catalogue=catalogue)]
    if not entry.images:
        have = [other for other, e in load_catalogue(catalogue).items() if e.images or e.kind == "photograph"]
        raise BenchError(f"{name}: has no images of its own; those that have: {', '.join(have)}")
    return check_images(entry, _fetched(entry, cache, catalogue))


def check_images(entry: Entry, folder: Path) -> list[Path]:
    """The images below ``folder``, counted against the entry (raises as ``images`` does)."""
    every = {path for pattern in entry.images for path in folder.glob(pattern)}
    found = sorted((p for p in every if p.is_file() and not p.name.startswith(".")), key=lambda path: path.as_posix())
    if not found and entry.manual:
        raise absent(entry, folder)
    if len(found) != entry.counts["images"]:
        raise BenchError(
            f"{entry.name}: found {len(found)} images, expected {entry.counts['images']}, in {folder} "
            f"({', '.join(entry.images)}); complete it: {entry.get or ', '.join(entry.source)}"
        )
    return found


def check(entry: Entry, folder: Path, split: str) -> list[Pair]:
    """The pairs of ``split`` below ``folder``, counted against the entry (raises as ``pairs`` does)."""
    layout = entry.layout[split]
    found = _listed(entry, folder, layout) if isinstance(layout, Listing) else _globbed(folder, layout)
    if not found and entry.manual:
        raise absent(entry, folder)
    for pair in found:
        for path in pair:
            if not path.is_file():
                raise BenchError(f"{entry.name}: {path} is absent, a pair lacks it; expected {layout} in {folder}")
    if len(found) != entry.counts[split]:
        raise BenchError(
            f"{entry.name}: split {split}: found {len(found)} pairs, expected {entry.counts[split]}, in {folder} "
            f"({layout}); complete it: {entry.get or ', '.join(entry.source)}"
        )
    return found


def _globbed(folder: Path, layout: Globs) -> list[Pair]:
    pattern = re.compile(re.escape(layout.lq).replace(r"\*", "([^/]*)"))
    found = []
    for lq in sorted(folder.glob(layout.lq)):
        match = pattern.fullmatch(lq.relative_to(folder).as_posix())
        if match and not lq.name.startswith("."):  # macOS leaves ._name beside name
            first, *rest = layout.hq.split("*")
            filled = first + "".join(star + text for star, text in zip(match.groups(), rest, strict=True))
            found.append((lq, folder / filled))
    return found


def _listed(entry: Entry, folder: Path, layout: Listing) -> list[Pair]:
    path = folder / layout.list
    if not path.is_file():
        raise absent(entry, folder)
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    for number, line in enumerate(lines, 1):
        if len(line) != 2:
            raise BenchError(f"{entry.name}: {path} line {number}: expected 'hq lq', got {len(line)} words")
    return sorted((folder / lq, folder / hq) for hq, lq in lines)
