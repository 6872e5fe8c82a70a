"""The catalogue: what can be fetched, from where, with which hash, under which licence."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from benchlib.contracts import BenchError, nearest

CATALOGUE = Path(__file__).with_name("catalogue.yaml")
SOURCES = {
    "https": r"https?://[^/\s]+/\S*[^/\s]",
    "npm": r"npm:(@[\w.-]+/)?[\w.-]+@[\w.+-]+#\S+",
    "python": r"python:[\w.-]+#\S+",
    "manual": r"manual",
}
FORMS = "https://host/path, npm:package@version#path, python:package#path, manual"
PREFIX = r"https?://[^/\s]+/(\S*/)?"  # of an entry of many files
LISTS = Path(__file__).with_name("lists")
COLUMNS = ["path", "sha256", "bytes"]


def _inside(path: str) -> str:
    """``path`` if it stays below its folder on every system, and names none of the hidden files that are kept there."""
    if not path.isprintable() or re.search(r"[\\:]", path) or any(part[:1] in ("", ".") for part in path.split("/")):
        raise ValueError(
            f"{path!r} could land outside its folder; expected a relative path with '/', and no part of it empty, "
            "hidden or '..'"
        )
    return path


Inside = Annotated[str, AfterValidator(_inside)]


class File(NamedTuple):
    """One of an entry's many files: its path below the source's URL and below the entry's folder, its hash and size."""

    path: str
    sha256: str
    bytes: int


class Globs(BaseModel):
    """A split whose pairs are found by name: what the ``*`` of one pattern matched fills the ``*`` of the other."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    lq: Inside
    hq: Inside

    @model_validator(mode="after")
    def _same_stars(self) -> Globs:
        if self.lq.count("*") != self.hq.count("*"):
            raise ValueError(f"'{self.lq}' and '{self.hq}' must have as many '*' as each other")
        return self

    def __str__(self) -> str:
        return f"{self.lq} <-> {self.hq}"


class Listing(BaseModel):
    """A split that its authors publish as a text file: one line a pair, "hq lq", relative to the folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    list: Inside

    def __str__(self) -> str:
        return f"{self.list} and the files it lists"


class Entry(BaseModel):
    """One thing that can be fetched.

    source: where from, tried in this order (see ``FORMS``).
    sha256, bytes: of the file; both null if nobody here has seen it (it is then pinned on the first fetch).
    files: of a data set published as many single files; in the catalogue the name of a CSV in ``lists/`` (beside the
        catalogue, else this package's; columns path, sha256, bytes). Each source is then what their URLs begin with,
        up to a '/', and sha256 and bytes stand in the list alone.
    get: for ``manual``, where a person gets it.  file: for ``manual``, the name of the one file.
    layout: for a data set, how the pairs of each split lie in the folder.
    images: for a data set, its plain photographs: a glob or several, joined.
    counts: how many pairs each split has, and how many files ``images``.
    archive: the file is a zip or tar to be unpacked; ``fetch`` returns the folder.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    kind: Literal["weights", "photograph", "dataset"]
    source: tuple[str, ...] = Field(min_length=1)
    sha256: str | None = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int | None = Field(gt=0)
    licence: str = Field(min_length=1)
    citation: str = Field(min_length=1)
    purpose: str = Field(min_length=1)
    get: str | None = None
    file: Inside | None = None
    files: tuple[File, ...] = ()
    images: tuple[Inside, ...] = ()
    layout: dict[str, Globs | Listing] = Field(default_factory=dict)
    counts: dict[str, int] = Field(default_factory=dict)
    archive: bool = False

    @field_validator("source", "images", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _agrees(self) -> Entry:
        for source in self.source:
            if self.files and not re.fullmatch(PREFIX, source):
                raise ValueError(f"source '{source}' of many files is not https://host/path/ with a '/' at its end")
            if not self.files and not any(re.fullmatch(form, source) for form in SOURCES.values()):
                raise ValueError(f"source '{source}' is none of: {FORMS}")
            if source.startswith("http:") and self.sha256 is None and not self.files:
                raise ValueError(f"source '{source}' is not encrypted and needs a sha256")
        if (self.sha256 is None) != (self.bytes is None):
            raise ValueError("sha256 and bytes belong together: give both, or null for both")
        if self.files and (self.sha256 or self.archive or self.file or self.get):
            raise ValueError("files stand alone: no sha256 and bytes (they are in the list), archive, file or get")
        if self.manual and (len(self.source) > 1 or not self.get or bool(self.file) == self.inner):
            raise ValueError("a manual source stands alone, and needs 'get' and either 'file' or 'layout' or 'images'")
        if self.inner and not (self.files or self.archive or self.manual):
            raise ValueError("layout and images need a folder: files, an archive or a manual source")
        counted = {*self.layout, *(["images"] if self.images else [])}
        if "images" in self.layout or self.counts.keys() != counted:
            raise ValueError(f"counts has {sorted(self.counts)}, layout and images have {sorted(counted)}")
        return self

    @property
    def inner(self) -> bool:
        """Whether the entry says what lies in its folder."""
        return bool(self.layout or self.images)

    @property
    def manual(self) -> bool:
        return "manual" in self.source

    @property
    def filename(self) -> str:
        """The file's own name, as its source calls it."""
        return self.file or re.split(r"[/#]", self.source[0])[-1]


def load_catalogue(path: str | Path | None = None) -> dict[str, Entry]:
    """The entries of a catalogue file (default: this package's) by name.

    Raises BenchError, in one line with the key's path, for a name that stands twice, an unknown or missing key,
    a value that is not allowed, or a list of files that is absent or has a wrong line.
    """
    path = Path(path or CATALOGUE)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BenchError(f"{path}: not a readable catalogue ({error})") from None
    return dict(_parsed(path, text, _stamps({path.with_name("lists"), LISTS})))


def _stamps(folders: set[Path]) -> frozenset[tuple[str, int, int]]:
    """What changes when a list does."""
    found = [(file.path, file.stat()) for folder in folders if folder.is_dir() for file in os.scandir(folder)]
    return frozenset((file, stat.st_mtime_ns, stat.st_size) for file, stat in found)


@lru_cache(maxsize=4)  # an entry is looked up once a pair
def _parsed(path: Path, text: str, stamps: object) -> dict[str, Entry]:
    try:
        raw = YAML(typ="safe").load(text)
    except YAMLError as error:
        raise BenchError(f"{path}: not a readable catalogue ({' '.join(str(error).split())})") from None
    if not isinstance(raw, dict) or not all(isinstance(value, dict) for value in raw.values()):
        raise BenchError(f"{path}: expected a mapping of names to entries")
    return {str(name): _entry(path, str(name), value) for name, value in raw.items()}


def _entry(path: Path, name: str, raw: dict[str, Any]) -> Entry:
    if "files" in raw:
        raw = {"sha256": None, "bytes": None} | raw | {"files": _listed(path, name, raw["files"])}
    try:
        return Entry(**(raw | {"name": name}))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join([name, *map(str, first["loc"])])
        said = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            said = f"unknown key; {nearest(str(first['loc'][-1]), set(Entry.model_fields) - {'name'})}"
        raise BenchError(f"{path.name}: {where}: {said}") from None


def _listed(path: Path, name: str, named: object) -> tuple[File, ...]:
    """The list that an entry names, read."""
    if not isinstance(named, str) or not re.fullmatch(r"[\w-][\w.-]*\.csv", named):
        raise BenchError(f"{path.name}: {name}.files: expected the name of a CSV in lists/, got {named!r}")
    beside = path.with_name("lists") / named
    try:
        with open(beside if beside.exists() else LISTS / named, encoding="utf-8", newline="") as file:
            return _files(csv.reader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise BenchError(f"{path.name}: {name}.files: lists/{named}: {error}") from None


def _files(rows: Iterable[list[str]]) -> tuple[File, ...]:
    header, *lines = [*rows] or [[]]
    if header != COLUMNS or not lines:
        raise ValueError(f"expected the columns {','.join(COLUMNS)} and a line for each file")
    files = [_file(number, line) for number, line in enumerate(lines, 2)]
    seen: set[str] = set()
    for name in (file.path.casefold() for file in files):  # some file systems do not tell A from a
        if name in seen:
            raise ValueError(f"'{name}' stands there twice")
        seen.add(name)
    for name in seen:
        for parent in map(str, PurePosixPath(name).parents):
            if parent in seen:
                raise ValueError(f"'{parent}' is a file and a folder")
    return tuple(files)


def _file(number: int, line: list[str]) -> File:
    if len(line) != 3 or not re.fullmatch(r"[0-9a-f]{64}", line[1]) or not re.fullmatch(r"[1-9][0-9]*", line[2]):
        raise ValueError(f"line {number}: expected path,sha256 (64 hexadecimal digits),bytes; got {','.join(line)!r}")
    try:
        return File(_inside(line[0]), line[1], int(line[2]))
    except ValueError as error:
        raise ValueError(f"line {number}: {error}") from None


def find(name: str, catalogue: str | Path | None = None) -> Entry:
    """The entry of that name. Raises BenchError with the nearest name for an unknown one."""
    entries = load_catalogue(catalogue)
    if name not in entries:
        raise BenchError(f"assets: no '{name}' in the catalogue; {nearest(name, entries)}")
    return entries[name]
