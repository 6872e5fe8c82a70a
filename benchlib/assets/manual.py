"""Data sets that a person must fetch (they stand behind a form, or on a drive): found, counted, or explained."""

from __future__ import annotations

import os
import re
from pathlib import Path

from benchlib.assets.catalogue import Entry, Globs, Listing, find
from benchlib.contracts import BenchError

Pair = tuple[Path, Path]


def folder_of(name: str, cache: Path) -> Path:
    """``$BENCHLIB_DATA/<name>``, or ``<cache>/manual/<name>`` where that is not set."""
    root = os.environ.get("BENCHLIB_DATA")
    return (Path(root).expanduser() if root else cache / "manual") / name


def folder(name: str, *, cache: str | Path | None = None, catalogue: str | Path | None = None) -> Path:
    """Where a data set lies, without counting it: what ``pairs`` gives lies below."""
    from benchlib.assets.store import cache_folder, fetch

    entry = find(name, catalogue)
    return folder_of(name, cache_folder(cache)) if entry.manual else fetch(name, cache=cache, catalogue=catalogue)


def absent(entry: Entry, folder: Path) -> BenchError:
    """The one line that says where to get it, where to put it, and what must then lie there."""
    wanted = entry.file or "; ".join(
        f"{split}: {layout} ({entry.counts[split]} pairs)" for split, layout in entry.layout.items()
    )
    return BenchError(
        f"{entry.name}: not found in {folder}; get it: {entry.get}; put it into {folder} so that it holds {wanted}; "
        f"or set BENCHLIB_DATA to the folder that holds {entry.name}/"
    )


def pairs(name: str, split: str, *, cache: str | Path | None = None, catalogue: str | Path | None = None) -> list[Pair]:
    """The (blurred, sharp) files of one split of a data set, by name; other splits need not be there.

    Raises BenchError if the data is absent, a blurred image has no partner, or the number is not the published one.
    """
    entry = find(name, catalogue)
    if split not in entry.layout:
        raise BenchError(f"{name}: no split '{split}'; may be {', '.join(entry.layout) or 'none (it is no data set)'}")
    return check(entry, folder(name, cache=cache, catalogue=catalogue), split)


def check(entry: Entry, folder: Path, split: str) -> list[Pair]:
    """The pairs of ``split`` below ``folder``, counted against the entry (raises as ``pairs`` does)."""
    layout = entry.layout[split]
    found = _listed(entry, folder, layout) if isinstance(layout, Listing) else _globbed(folder, layout)
    if not found:
        raise absent(entry, folder)
    for blurred, sharp in found:
        for path in (blurred, sharp):
            if not path.is_file():
                raise BenchError(f"{entry.name}: {path} is absent, a pair lacks it; expected {layout} in {folder}")
    if len(found) != entry.counts[split]:
        raise BenchError(
            f"{entry.name}: split {split}: found {len(found)} pairs, expected {entry.counts[split]}, in {folder} "
            f"({layout}); complete it: {entry.get or ', '.join(entry.source)}"
        )
    return found


def _globbed(folder: Path, layout: Globs) -> list[Pair]:
    pattern = re.compile(re.escape(layout.blurred).replace(r"\*", "([^/]*)"))
    found = []
    for blurred in sorted(folder.glob(layout.blurred)):
        match = pattern.fullmatch(blurred.relative_to(folder).as_posix())
        if match and not blurred.name.startswith("."):  # macOS leaves ._name beside name
            first, *rest = layout.sharp.split("*")
            filled = first + "".join(star + text for star, text in zip(match.groups(), rest, strict=True))
            found.append((blurred, folder / filled))
    return found


def _listed(entry: Entry, folder: Path, layout: Listing) -> list[Pair]:
    path = folder / layout.list
    if not path.is_file():
        raise absent(entry, folder)
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    for number, line in enumerate(lines, 1):
        if len(line) != 2:
            raise BenchError(f"{entry.name}: {path} line {number}: expected 'sharp blurred', got {len(line)} words")
    return sorted((folder / blurred, folder / sharp) for sharp, blurred in lines)
