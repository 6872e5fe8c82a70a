"""``python -m benchlib.assets NAME...``: fetch entries of the catalogue and print where each lies."""

from __future__ import annotations

import argparse
import sys

from benchlib.assets.catalogue import Entry, load_catalogue
from benchlib.assets.store import fetch
from benchlib.contracts import BenchError


def line(entry: Entry) -> str:
    """One entry in one line of ``--list``."""
    total = entry.bytes or sum(file.bytes for file in entry.files)
    size = f"{total / 1e6:.1f} MB" if total else "manual" if entry.manual else "unpinned"
    number = f"{len(entry.files)} files" if entry.files else ""
    return f"{entry.name:22} {entry.kind:10} {number:>9} {size:>9}  {entry.purpose} [{entry.licence}]"


def main(argv: list[str] | None = None) -> int:
    """Fetch, or list; 0 if all went well, else 1 with one line an entry on stderr."""
    parser = argparse.ArgumentParser(prog="python -m benchlib.assets", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--list", action="store_true", help="print the catalogue instead")
    parser.add_argument("--cache", help="where files live (default: BENCHLIB_CACHE, else the user's cache)")
    parser.add_argument("--mirror", help="folder or URL prefix laid out as host/path (default: BENCHLIB_MIRROR)")
    arguments = parser.parse_args(argv)
    if not arguments.list and not arguments.names:
        parser.error("name what to fetch, or use --list")
    if arguments.list:
        print("\n".join(line(entry) for entry in load_catalogue().values()))
        return 0
    failed = 0
    for name in arguments.names:
        try:
            print(f"{name}: {fetch(name, cache=arguments.cache, mirror=arguments.mirror)}")
        except BenchError as error:
            failed = 1
            print(error, file=sys.stderr)
    return failed


if __name__ == "__main__":
    sys.exit(main())
