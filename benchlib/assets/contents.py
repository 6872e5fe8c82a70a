"""What lies in a data set's folder, found and counted; and what a person must fetch, explained."""

from __future__ import annotations

import os
import re
from pathlib import Path

from benchlib.assets.entry import Entry, Globs, Listing, Table
from benchlib.contracts import BenchError

VERSION = 1

RAW = (".ARW", ".RAF")  # raw files of SID's cameras, which nothing here reads
Pair = tuple[Path, Path]  # lq, hq


def manual_folder(name: str, cache: Path) -> Path:
    """``$BENCHLIB_DATA/<name>``, or ``<cache>/manual/<name>`` where that is not set."""
    root = os.environ.get("BENCHLIB_DATA")
    if root:
        return Path(root).expanduser() / name
    return cache / "manual" / name


def not_found(entry: Entry, folder: Path) -> BenchError:
    """The one line that says where to get it, where to put it, and what must then lie there."""
    wanted = []
    for split, layout in entry.layout.items():
        wanted.append(f"{split}: {layout} ({_number(entry.counts[split])} pairs)")
    if entry.images:
        wanted.append(
            f"images: {', '.join(entry.images)} ({_number(entry.counts['images'])} files)"
        )
    return BenchError(
        f"{entry.name}: not found in {folder}; get it: {entry.get}; put it into {folder} so that "
        f"it holds {entry.file or '; '.join(wanted)}; or set BENCHLIB_DATA to the folder that "
        f"holds {entry.name}/"
    )


def _number(count: int | None) -> str:
    if count is None:
        return "any number of"
    return str(count)


def find_images(entry: Entry, folder: Path) -> list[Path]:
    """The images below ``folder``, ordered by their paths.

    Raises BenchError if they are absent, or not as many as the catalogue says.
    """
    matched: set[Path] = set()
    for pattern in entry.images:
        matched.update(folder.glob(pattern))
    files = [path for path in matched if path.is_file() and not path.name.startswith(".")]
    found = sorted(files, key=Path.as_posix)
    if not found and entry.manual:
        raise not_found(entry, folder)
    if entry.counts["images"] not in (None, len(found)):
        raise BenchError(
            f"{entry.name}: found {len(found)} images, expected {entry.counts['images']}, in "
            f"{folder} ({', '.join(entry.images)}); complete it: {_where_from(entry)}"
        )
    return found


def find_pairs(entry: Entry, folder: Path, split: str) -> list[Pair]:
    """The (lq, hq) pairs of ``split`` below ``folder``, by name.

    Raises BenchError if they are absent, an lq image has no partner, or they are not as many as
    the catalogue says.
    """
    layout = entry.layout[split]
    if isinstance(layout, Listing):
        found = _listed(entry, folder, layout)
    elif isinstance(layout, Table):
        found = [(folder / row.lq, folder / row.hq) for row in layout.table]
    else:
        found = _globbed(folder, layout)
    if not found and entry.manual:
        raise not_found(entry, folder)
    for pair in found:
        for path in pair:
            if not path.is_file():
                raise BenchError(
                    f"{entry.name}: {path} is absent, a pair lacks it{_beside(path)}; expected "
                    f"{layout} in {folder}"
                )
    if entry.counts[split] not in (None, len(found)):
        raise BenchError(
            f"{entry.name}: split {split}: found {len(found)} pairs, expected "
            f"{entry.counts[split]}, in {folder} ({layout}); complete it: {_where_from(entry)}"
        )
    return found


def _beside(path: Path) -> str:
    """In words, a camera's raw file that lies where a converted one is expected; "" for none."""
    for suffix in RAW:
        raw = path.with_suffix(suffix)
        if raw.is_file():
            return f" (there is {raw.name}, a raw file: convert it, 8 or 16 bits, by rawpy)"
    return ""


def _where_from(entry: Entry) -> str:
    return entry.get or ", ".join(entry.source)


def _globbed(folder: Path, layout: Globs) -> list[Pair]:
    pattern = re.compile(re.escape(layout.lq).replace(r"\*", "([^/]*)"))
    found = []
    for lq in sorted(folder.glob(layout.lq)):
        match = pattern.fullmatch(lq.relative_to(folder).as_posix())
        if match and not lq.name.startswith("."):  # macOS leaves ._name beside name
            found.append((lq, folder / _filled(layout.hq, match.groups())))
    return found


def _filled(pattern: str, stars: tuple[str, ...]) -> str:
    """``pattern`` with each ``*`` replaced by what another pattern's first ones matched."""
    first, *rest = pattern.split("*")
    filled = first
    for star, after in zip(stars[: len(rest)], rest, strict=True):
        filled += star + after
    return filled


def _listed(entry: Entry, folder: Path, layout: Listing) -> list[Pair]:
    path = folder / layout.list
    if not path.is_file():
        raise not_found(entry, folder)
    text = path.read_text(encoding="utf-8")
    lines = [line.split() for line in text.splitlines() if line.strip()]
    found = []
    for number, line in enumerate(lines, 1):
        if len(line) != 2:
            raise BenchError(
                f"{entry.name}: {path} line {number}: expected 'hq lq', got {len(line)} words"
            )
        hq, lq = line
        found.append((folder / lq, folder / hq))
    return sorted(found)
