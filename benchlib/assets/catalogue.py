"""The catalogue: what can be fetched, from where, with which hash, under which licence."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
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


class Globs(BaseModel):
    """A split whose pairs are found by name: what the ``*`` of one pattern matched fills the ``*`` of the other."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    blurred: str
    sharp: str

    @model_validator(mode="after")
    def _same_stars(self) -> Globs:
        if self.blurred.count("*") != self.sharp.count("*"):
            raise ValueError(f"'{self.blurred}' and '{self.sharp}' must have as many '*' as each other")
        return self

    def __str__(self) -> str:
        return f"{self.blurred} <-> {self.sharp}"


class Listing(BaseModel):
    """A split that its authors publish as a text file: one line a pair, "sharp blurred", relative to the folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    list: str

    def __str__(self) -> str:
        return f"{self.list} and the files it lists"


class Entry(BaseModel):
    """One thing that can be fetched.

    source: where from, tried in this order (see ``FORMS``).
    sha256, bytes: of the file; both null if nobody here has seen it (it is then pinned on the first fetch).
    get: for ``manual``, where a person gets it.  file: for ``manual``, the name of the one file.
    layout, counts: for a data set, how its pairs lie in the folder, and how many each split has.
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
    file: str | None = None
    layout: dict[str, Globs | Listing] = Field(default_factory=dict)
    counts: dict[str, int] = Field(default_factory=dict)
    archive: bool = False

    @field_validator("source", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _agrees(self) -> Entry:
        for source in self.source:
            if not any(re.fullmatch(form, source) for form in SOURCES.values()):
                raise ValueError(f"source '{source}' is none of: {FORMS}")
            if source.startswith("http:") and self.sha256 is None:
                raise ValueError(f"source '{source}' is not encrypted and needs a sha256")
        if (self.sha256 is None) != (self.bytes is None):
            raise ValueError("sha256 and bytes belong together: give both, or null for both")
        if self.manual and (len(self.source) > 1 or not self.get or bool(self.file) == bool(self.layout)):
            raise ValueError("a manual source stands alone, and needs 'get' and either 'file' or 'layout'")
        if self.counts.keys() != self.layout.keys():
            raise ValueError(f"counts has {sorted(self.counts)}, layout has {sorted(self.layout)}")
        return self

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
    or a value that is not allowed.
    """
    path = Path(path or CATALOGUE)
    try:
        with open(path, encoding="utf-8") as file:
            raw = YAML(typ="safe").load(file)
    except (OSError, YAMLError) as error:
        raise BenchError(f"{path}: not a readable catalogue ({' '.join(str(error).split())})") from None
    if not isinstance(raw, dict) or not all(isinstance(value, dict) for value in raw.values()):
        raise BenchError(f"{path}: expected a mapping of names to entries")
    return {name: _entry(path, str(name), value) for name, value in raw.items()}


def _entry(path: Path, name: str, raw: dict[str, Any]) -> Entry:
    try:
        return Entry(**(raw | {"name": name}))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join([name, *map(str, first["loc"])])
        said = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            said = f"unknown key; {nearest(str(first['loc'][-1]), set(Entry.model_fields) - {'name'})}"
        raise BenchError(f"{path.name}: {where}: {said}") from None


def find(name: str, catalogue: str | Path | None = None) -> Entry:
    """The entry of that name. Raises BenchError with the nearest name for an unknown one."""
    entries = load_catalogue(catalogue)
    if name not in entries:
        raise BenchError(f"assets: no '{name}' in the catalogue; {nearest(name, entries)}")
    return entries[name]
