"""The catalogue: what can be fetched, from where, with which hash, under which licence."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from benchlib.assets.entry import Entry, File, Row, check_inside
from benchlib.contracts import BenchError, nearest

CATALOGUE = Path(__file__).with_name("catalogue.yaml")
LISTS = Path(__file__).with_name("lists")
COLUMNS = ["path", "sha256", "bytes"]  # of a list
PAIRS = list(Row._fields)  # columns of a table of pairs
Lines = list[list[str]]  # of a CSV
T = TypeVar("T")


def load_catalogue(path: str | Path | None = None) -> dict[str, Entry]:
    """The entries of a catalogue file (default: this package's) by name.

    Raises BenchError, in one line with the key's path, for a name that stands twice, an unknown or
    missing key, a value that is not allowed, or a list of files that is absent or has a wrong line.
    """
    path = Path(path or CATALOGUE)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BenchError(f"{path}: not a readable catalogue ({error})") from None
    return dict(_parsed(path, text, _stamps({path.with_name("lists"), LISTS})))


def find(name: str, catalogue: str | Path | None = None) -> Entry:
    """The entry of that name. Raises BenchError with the nearest name for an unknown one."""
    entries = load_catalogue(catalogue)
    if name not in entries:
        raise BenchError(f"assets: no '{name}' in the catalogue; {nearest(name, entries)}")
    return entries[name]


def _stamps(folders: set[Path]) -> frozenset[tuple[str, int, int]]:
    """What changes when a list does."""
    found = set()
    for folder in folders:
        if not folder.is_dir():
            continue
        for file in os.scandir(folder):
            stat = file.stat()
            found.add((file.path, stat.st_mtime_ns, stat.st_size))
    return frozenset(found)


@lru_cache(maxsize=4)  # an entry is looked up once a pair
def _parsed(path: Path, text: str, stamps: object) -> dict[str, Entry]:
    try:
        raw = YAML(typ="safe").load(text)
    except YAMLError as error:
        said = " ".join(str(error).split())
        raise BenchError(f"{path}: not a readable catalogue ({said})") from None
    if not isinstance(raw, dict) or not all(isinstance(value, dict) for value in raw.values()):
        raise BenchError(f"{path}: expected a mapping of names to entries")
    return {str(name): _entry(path, str(name), value) for name, value in raw.items()}


def _entry(path: Path, name: str, raw: dict[str, Any]) -> Entry:
    fields = {**raw, "name": name}
    if "files" in raw:
        fields = {"sha256": None, "bytes": None, **fields}
        fields["files"] = tuple(_listed(path, f"{name}.files", raw["files"], _files))
    if isinstance(raw.get("layout"), dict):
        fields["layout"] = _with_tables(path, name, raw["layout"])
    try:
        return Entry.model_validate(fields)
    except ValidationError as error:
        raise BenchError(f"{path.name}: {_first_problem(name, error)}") from None


def _with_tables(path: Path, name: str, layout: dict[str, Any]) -> dict[str, Any]:
    """A layout whose tables of pairs are read."""
    found = dict(layout)
    for split, how in layout.items():
        if isinstance(how, dict) and "table" in how:
            rows = _listed(path, f"{name}.layout.{split}.table", how["table"], _rows)
            found[split] = how | {"table": tuple(rows)}
    return found


def _first_problem(name: str, error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join([name, *map(str, first["loc"])])
    if first["type"] == "extra_forbidden":
        allowed = set(Entry.model_fields) - {"name"}
        return f"{where}: unknown key; {nearest(str(first['loc'][-1]), allowed)}"
    return f"{where}: {first['msg'].removeprefix('Value error, ')}"


def _listed(path: Path, where: str, named: object, parse: Callable[[Lines], list[T]]) -> list[T]:
    """The list that an entry names, read.

    where: the key that names it. parse: what makes entries of its lines, or raises ValueError.
    """
    if not isinstance(named, str) or not re.fullmatch(r"[\w-][\w.-]*\.csv", named):
        raise BenchError(
            f"{path.name}: {where}: expected the name of a CSV in lists/, got {named!r}"
        )
    file = path.with_name("lists") / named
    if not file.exists():
        file = LISTS / named
    try:
        with open(file, encoding="utf-8", newline="") as opened:
            return parse(list(csv.reader(opened)))
    except (OSError, ValueError, csv.Error) as error:
        raise BenchError(f"{path.name}: {where}: lists/{named}: {error}") from None


def _files(rows: Lines) -> list[File]:
    if rows[:1] != [COLUMNS] or len(rows) == 1:
        raise ValueError(f"expected the columns {','.join(COLUMNS)} and a line for each file")
    files = [_file(number, line) for number, line in enumerate(rows[1:], 2)]
    _check_places(files)
    return files


def _rows(lines: Lines) -> list[Row]:
    """The pairs of a table. Raises ValueError for a wrong line, or an image named twice."""
    if lines[:1] != [PAIRS] or len(lines) == 1:
        raise ValueError(f"expected the columns {','.join(PAIRS)} and a line for each pair")
    rows = [_row(number, line) for number, line in enumerate(lines[1:], 2)]
    seen: set[str] = set()
    for row in rows:
        if row.image.casefold() in seen:
            raise ValueError(f"the image '{row.image}' stands there twice")
        seen.add(row.image.casefold())
    return rows


def _row(number: int, line: list[str]) -> Row:
    named = len(line) == len(PAIRS) and re.fullmatch(r"[\w-][\w.-]*", line[0], re.ASCII)
    if not named or not re.fullmatch("[0-3]", line[4]):
        raise ValueError(
            f"line {number}: expected image (letters, digits, -, _ and .),lq,hq,source,turned (0 "
            f"to 3 quarters of a turn); got {','.join(line)!r}"
        )
    try:
        return Row(line[0], check_inside(line[1]), check_inside(line[2]), line[3], int(line[4]))
    except ValueError as error:
        raise ValueError(f"line {number}: {error}") from None


def _file(number: int, line: list[str]) -> File:
    right = (
        len(line) == len(COLUMNS)
        and re.fullmatch(r"[0-9a-f]{64}", line[1])
        and re.fullmatch(r"[1-9][0-9]*", line[2])
    )
    if not right:
        raise ValueError(
            f"line {number}: expected path,sha256 (64 hexadecimal digits),bytes; "
            f"got {','.join(line)!r}"
        )
    try:
        return File(check_inside(line[0]), line[1], int(line[2]))
    except ValueError as error:
        raise ValueError(f"line {number}: {error}") from None


def _check_places(files: list[File]) -> None:
    """Raise ValueError if two files would lie at one place; some file systems read A as a."""
    seen: set[str] = set()
    for file in files:
        name = file.path.casefold()
        if name in seen:
            raise ValueError(f"'{name}' stands there twice")
        seen.add(name)
    for name in seen:
        for parent in PurePosixPath(name).parents:
            if str(parent) in seen:
                raise ValueError(f"'{parent}' is a file and a folder")
