"""Texts that somebody has written about images: in a folder of files, in a table, one for each set,
or one for all, such as what a user asks to be removed.

They stand in the place of a language model where there is none, and show what its words are worth
against a person's. A text encoder makes tokens of them (``_words.py``).
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from benchlib.contracts import BenchError
from benchlib.priors import _words
from benchlib.priors._words import Said, Speaker, Words
from benchlib.priors.kinds.tokens import Tokens

VERSION = 1
USES = {"priors/_words.py": 1}
KIND = "tokens"
SHOWN = "written texts"
PATHS = ("file", "folder", "table")
SOURCES = ("folder", "table", "sets", "text")
COLUMNS = ("set", "image", "text")
EXAMPLE = {"text": "a noisy photograph", "weights": "random"}


@dataclass(frozen=True)
class Config(_words.Encoded):
    """Where the texts are, one of four, and how they become tokens (``_words.Encoded``).

    folder: files ``<set>/<image>.txt``, or ``<image>.txt`` for every set. table: a CSV with the
    columns set, image, text; an empty set means every one. sets: a set's name -> the text of all
    its images. text: of all images. Files are UTF-8; paths are relative to params.yaml.
    """

    folder: str | None = None
    table: str | None = None
    sets: dict[str, str] = field(default_factory=dict)
    text: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(_given(self)) > 1:
            raise BenchError(f"got {' and '.join(_given(self))}; give one of {', '.join(SOURCES)}")


def _given(config: Config) -> list[str]:
    return [name for name in SOURCES if getattr(config, name) not in (None, {})]


def stands_in(config: Config) -> bool:
    """Whether it is a control in another prior's place: an encoder that has learnt nothing."""
    return _words.stands_in(config)


def assets(config: Config) -> tuple[str, ...]:
    """The catalogue's entries that it fetches."""
    return _words.entries(config)


def told(config: Config, dataset: str, image: str) -> dict[str, Any]:
    """The text of an image. Raises BenchError where there is none, naming what was looked for."""
    return {"text": _words.one_line(_found(config, dataset, image))}


def open(config: Config, device: str) -> Callable[..., Tokens]:
    """From an ``(H,W,3)`` uint8 RGB image, and its text, to tokens.

    Raises BenchError if no source of texts is named, or the encoder cannot be had.
    """
    return Speaker(words(config, device), config, device)


def words(config: Config, device: str) -> Words:
    """From an image, and its text, to that text. Raises BenchError if no source is named."""
    if not _given(config):
        raise BenchError(f"written: no texts named; give one of {', '.join(SOURCES)}")
    return _say


def _say(image: np.ndarray, told: dict[str, Any]) -> Said:
    return Said(told["text"])


def record(config: Config, device: str) -> dict[str, Any]:
    """Settings and the encoder. Each text stands with its image."""
    return {"config": dataclasses.asdict(config)} | _words.record(config)


# --- looking a text up ----------------------------------------------------------------------------


def _found(config: Config, dataset: str, image: str) -> str:
    if config.text is not None:
        return config.text
    if config.folder is not None:
        return _of_folder(Path(config.folder).expanduser(), dataset, image)
    if config.table is not None:
        path = Path(config.table).expanduser()
        lines = _lines(path, _changed(path))
        for key in ((dataset, image), ("", image)):
            if key in lines:
                return lines[key]
        raise BenchError(f"{path}: no line for the image {image} of the set {dataset}; add one")
    if dataset not in config.sets:
        known = ", ".join(config.sets) or "none"
        raise BenchError(f"sets: no text for the set {dataset} (there: {known}); add one")
    return config.sets[dataset]


def _of_folder(folder: Path, dataset: str, image: str) -> str:
    own, common = folder / dataset / f"{image}.txt", folder / f"{image}.txt"
    for path in (own, common):
        if path.is_file():
            return _read(path)
    raise BenchError(f"{own}: no such file, nor {common}; write the image's text into one")


def _read(path: Path) -> str:
    """A text file, with or without the mark that some editors begin one with."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BenchError(f"{path}: not a readable text ({error}); save it as UTF-8") from None


def _changed(path: Path) -> int:
    if not path.is_file():
        raise BenchError(f"{path}: no such file; expected a CSV of {','.join(COLUMNS)}")
    return path.stat().st_mtime_ns


@lru_cache(maxsize=4)  # asked for once an image
def _lines(path: Path, changed: int) -> dict[tuple[str, str], str]:
    """(set, image) -> text. Raises BenchError for other columns, or an image that stands twice."""
    rows = list(csv.reader(_read(path).splitlines(keepends=True)))
    if not rows or tuple(rows[0]) != COLUMNS:
        raise BenchError(f"{path}: expected the columns {','.join(COLUMNS)}, in this order")
    found: dict[tuple[str, str], str] = {}
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(COLUMNS):
            raise BenchError(f"{path}: row {number}: {len(row)} columns; expected {len(COLUMNS)}")
        key = (row[0], row[1])
        if key in found:
            raise BenchError(f"{path}: row {number}: {'/'.join(key)} stands there twice")
        found[key] = row[2]
    return found
