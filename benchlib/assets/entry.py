"""One entry of the catalogue: its fields, and what they must agree on."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import Annotated, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

SOURCES = {
    "https": r"https?://[^/\s]+/\S*[^/\s]",
    "npm": r"npm:(@[\w.-]+/)?[\w.-]+@[\w.+-]+#\S+",
    "pypi": r"pypi:[\w.-]+@[\w.+-]+#\S+",
    "hf": r"hf:[\w.-]+/[\w.-]+@[0-9a-f]{40}#\S+",
    "python": r"python:[\w.-]+#\S+",
    "manual": r"manual",
}
FORMS = (
    "https://host/path, npm:package@version#path, pypi:package@version#path, "
    "hf:owner/name@revision#path, python:package#path, manual"
)
PREFIX = r"https?://[^/\s]+/(\S*/)?"  # of an entry of many files


def check_inside(path: str) -> str:
    """Return ``path`` if it stays below its folder on every system and names no hidden file.

    Hidden files are the lock and the stamp, which are kept in that folder.
    Raises ValueError for any other path.
    """
    inside = path.isprintable() and not re.search(r"[\\:]", path)
    for part in path.split("/"):
        if part[:1] in ("", "."):
            inside = False
    if not inside:
        raise ValueError(
            f"{path!r} could land outside its folder; expected a relative path with '/', and no "
            "part of it empty, hidden or '..'"
        )
    return path


Inside = Annotated[str, AfterValidator(check_inside)]


class File(NamedTuple):
    """One of an entry's many files.

    path: below the source's URL and below the entry's folder. sha256: 64 digits. bytes: its size.
    """

    path: str
    sha256: str
    bytes: int


class Row(NamedTuple):
    """One pair of a table.

    image: its name, unique in the table. lq, hq: files, below the entry's folder. source: what was
    photographed, shared by pairs of one photograph. turned: by how many quarters of a turn,
    counter-clockwise, both files are stored; who reads them turns them back.
    """

    image: str
    lq: str
    hq: str
    source: str
    turned: int


class Table(BaseModel):
    """A split whose pairs stand one by one in a CSV of ``lists/`` (columns as in :class:`Row`).

    For a split of chosen pairs, pairs of one photograph, and files that are stored turned.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    table: tuple[Row, ...]

    def __str__(self) -> str:
        return f"{self.table[0].lq} <-> {self.table[0].hq} and so on"


class Globs(BaseModel):
    """A split whose pairs are found by name.

    What the ``*`` of one pattern matched fills the ``*`` of the other. An hq that several lq share
    has fewer, the first ones: ``hazy/*_*.png`` and ``clear/*.png``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    lq: Inside
    hq: Inside

    @model_validator(mode="after")
    def _stars_are_filled(self) -> Globs:
        lq, hq = self.lq.count("*"), self.hq.count("*")
        if hq > lq or (lq and not hq):
            raise ValueError(
                f"'{self.hq}' must have as many '*' as '{self.lq}', or the first of them"
            )
        return self

    def __str__(self) -> str:
        return f"{self.lq} <-> {self.hq}"


class Listing(BaseModel):
    """A split that its authors publish as a text file: one line a pair, "hq lq".

    Both names are relative to the folder.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    list: Inside

    def __str__(self) -> str:
        return f"{self.list} and the files it lists"


class Entry(BaseModel):
    """One thing that can be fetched.

    source: where from, tried in this order (see ``FORMS``).
    sha256, bytes: of the file; both null if nobody here has seen the file, which is then pinned
        on its first fetch.
    files: of a data set published as many single files; in the catalogue the name of a CSV in
        ``lists/`` (beside the catalogue, else this package's; columns path, sha256, bytes). Each
        source is then what their URLs begin with, up to a '/', and sha256 and bytes stand in the
        list alone.
    get: for ``manual``, where a person gets it. file: for ``manual``, the name of the one file.
    layout: for a data set, how the pairs of each split lie in the folder.
    images: for a data set, its plain photographs: a glob or several, joined.
    counts: how many pairs each split has, and how many files ``images``; null for a split where
        nobody here has seen a number, which is then not checked.
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
    layout: dict[str, Globs | Listing | Table] = Field(default_factory=dict)
    counts: dict[str, int | None] = Field(default_factory=dict)
    archive: bool = False

    @field_validator("source", "images", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        if isinstance(value, str):
            return (value,)
        return value

    @model_validator(mode="after")
    def _agrees(self) -> Entry:
        for source in self.source:
            _check_source(self, source)
        _check_bytes(self)
        _check_folder(self)
        return self

    @property
    def inner(self) -> bool:
        """Whether the entry says what lies in its folder."""
        return bool(self.layout or self.images)

    @property
    def manual(self) -> bool:
        """Whether a person must fetch it."""
        return "manual" in self.source

    @property
    def filename(self) -> str:
        """The file's own name, as its source calls it."""
        return self.file or re.split(r"[/#]", self.source[0])[-1]


def _check_source(entry: Entry, source: str) -> None:
    if entry.files and not re.fullmatch(PREFIX, source):
        raise ValueError(
            f"source '{source}' of many files is not https://host/path/ with a '/' at its end"
        )
    if not entry.files and not any(re.fullmatch(form, source) for form in SOURCES.values()):
        raise ValueError(f"source '{source}' is none of: {FORMS}")
    if source.startswith("http:") and entry.sha256 is None and not entry.files:
        raise ValueError(f"source '{source}' is not encrypted and needs a sha256")


def _check_bytes(entry: Entry) -> None:
    if (entry.sha256 is None) != (entry.bytes is None):
        raise ValueError("sha256 and bytes belong together: give both, or null for both")
    if entry.files and (entry.sha256 or entry.archive or entry.file or entry.get):
        raise ValueError(
            "files stand alone: no sha256 and bytes (they are in the list), archive, file or get"
        )
    if entry.manual and (len(entry.source) > 1 or not entry.get or bool(entry.file) == entry.inner):
        raise ValueError(
            "a manual source stands alone, and needs 'get' and either 'file' or 'layout' or "
            "'images'"
        )


def _check_folder(entry: Entry) -> None:
    if entry.inner and not (entry.files or entry.archive or entry.manual):
        raise ValueError("layout and images need a folder: files, an archive or a manual source")
    counted = set(entry.layout)
    if entry.images:
        counted.add("images")
    if "images" in entry.layout or entry.counts.keys() != counted:
        raise ValueError(
            f"counts has {sorted(entry.counts)}, layout and images have {sorted(counted)}"
        )
    for split, layout in entry.layout.items():
        if isinstance(layout, Table) and len(layout.table) != entry.counts[split]:
            raise ValueError(
                f"counts.{split} is {entry.counts[split]}, its table has {len(layout.table)} pairs"
            )


@lru_cache(maxsize=64)  # asked for once a pair
def list_digest(files: tuple[File, ...]) -> str:
    """SHA-256 of the hashes and paths of many files, in their order: 64 hexadecimal digits."""
    lines = [f"{file.sha256} {file.path}" for file in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
