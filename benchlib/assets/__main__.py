"""``python -m benchlib.assets NAME...``: fetch entries and print where each lies."""

from __future__ import annotations

import argparse
import sys

from benchlib.assets.catalogue import load_catalogue
from benchlib.assets.entry import Entry
from benchlib.assets.pinned import write_pins
from benchlib.assets.store import fetch
from benchlib.contracts import BenchError


def entry_line(entry: Entry) -> str:
    """One entry in one line of ``--list``."""
    number = ""
    if entry.files:
        number = f"{len(entry.files)} files"
    size = _size(entry)
    return (
        f"{entry.name:22} {entry.kind:10} {number:>9} {size:>9}  {entry.purpose} [{entry.licence}]"
    )


def _size(entry: Entry) -> str:
    total = entry.bytes or sum(file.bytes for file in entry.files)
    if total:
        return f"{total / 1e6:.1f} MB"
    if entry.manual:
        return "manual"
    return "unpinned"


def main(words: list[str] | None = None) -> int:
    """Fetch, list, or write the pins; 0 if all went well, else 1 with a line each on stderr."""
    parser = _parser()
    given = parser.parse_args(words)
    if given.list:
        for entry in load_catalogue().values():
            print(entry_line(entry))
        return 0
    if given.pins:
        return _write_pins(given.pins)
    if not given.names:
        parser.error("name what to fetch, or use --list")
    failed = 0
    for name in given.names:
        try:
            print(f"{name}: {fetch(name, cache=given.cache, mirror=given.mirror)}")
        except BenchError as error:
            failed = 1
            print(error, file=sys.stderr)
    return failed


def _write_pins(path: str) -> int:
    try:
        learnt = write_pins(load_catalogue(), path)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{path}: {len(learnt)} lines added or pinned {' '.join(learnt)}".rstrip())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchlib.assets", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--list", action="store_true", help="print the catalogue instead")
    parser.add_argument(
        "--pins",
        metavar="FILE",
        help="write every entry's name and hash to FILE instead (tests/golden/catalogue.csv)",
    )
    parser.add_argument(
        "--cache", help="where files live (default: BENCHLIB_CACHE, else the user's cache)"
    )
    parser.add_argument(
        "--mirror", help="folder or URL prefix laid out as host/path (default: BENCHLIB_MIRROR)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
