"""The promise of the catalogue: an entry's bytes never change under its name.

No stage depends on the catalogue, so nothing would be made again if they did. A committed list
holds every name with its hash; other bytes get another name.
"""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

from benchlib.assets.entry import Entry, Table, list_digest
from benchlib.contracts import BenchError
from benchlib.files import new_file

COLUMNS = ["name", "sha256"]
UNPINNED = "unpinned"


def entry_hash(entry: Entry) -> str:
    """The SHA-256 of the entry's file, or of its list of many files; "unpinned" if unknown.

    Tables of pairs count too: they say how files are turned.
    """
    known = entry.sha256 or UNPINNED
    if entry.files:
        known = list_digest(entry.files)
    lines = [known]
    for split, layout in sorted(entry.layout.items()):
        if isinstance(layout, Table):
            lines += [f"{split} {' '.join(map(str, row))}" for row in layout.table]
    if len(lines) == 1:
        return known
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def read_pins(path: str | Path) -> dict[str, str]:
    """The hash, or "unpinned", by name, of a list of the columns name and sha256; {} if absent.

    Raises BenchError for a file of another form.
    """
    path = Path(path)
    if not path.exists():
        return {}
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    if rows[:1] != [COLUMNS] or not all(len(row) == len(COLUMNS) for row in rows):
        raise BenchError(f"{path}: expected the columns {','.join(COLUMNS)}; restore it")
    return dict(rows[1:])


def check_pins(entries: dict[str, Entry], pins: dict[str, str]) -> None:
    """Raise BenchError for the first entry whose hash is another than the list's.

    An entry that is not in the list, or unpinned there, may have any.
    """
    for name, entry in entries.items():
        known = pins.get(name, UNPINNED)
        if known not in (UNPINNED, entry_hash(entry)):
            raise BenchError(
                f"catalogue: {name} is {entry_hash(entry)}, and was {known}; give the new bytes a "
                "new name"
            )


def write_pins(entries: dict[str, Entry], path: str | Path) -> list[str]:
    """Bring the list at ``path`` up to date, sorted by name; return the names that it learnt.

    A name that has left the catalogue stays, so that no other bytes come back under it.
    Raises BenchError, and writes nothing, if an entry's bytes have changed.
    """
    pins = read_pins(path)
    check_pins(entries, pins)
    now = dict(pins)
    for name, entry in entries.items():
        now[name] = entry_hash(entry)
    with new_file(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(sorted(now.items()))
    return [name for name in now if now[name] != pins.get(name)]
