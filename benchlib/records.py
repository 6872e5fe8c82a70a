"""Rows, run records and pairs: plain tables on disk, each whole or not there.

Layer 1. A row is one number of one image; everything in a table or a plot is computed from rows.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import chain, groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchlib import assets
from benchlib.contracts import BenchError, nearest
from benchlib.files import new_file, refusal

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from benchlib.params import Suite

VERSION = 1
ROW = (
    "suite",
    "run",
    "paper",
    "table",
    "method",
    "backbone",
    "prior",
    "problem",
    "setting",
    "dataset",
    "image",
    "scene",
    "metric",
    "protocol",
    "inference",
    "swap",
    "seed",
    "value",
    "version",
    "revision",
    "hardware",
)
# What is the same in all rows of a run stands once, in its record, under "row".
OF_THE_RUN = (*ROW[: ROW.index("dataset")], "revision", "hardware")
LOG = ("seed", "iteration", "loss", "lr", "validation_psnr")  # of a loss file
PAIR = ("image", "lq", "hq", "asset", "source")  # what is read of a manifest
RUN = "run"  # the file of a training's folder that says which run it is of
WHOLE = ("seed", "iteration")  # columns of whole numbers


# the last four are the full-width signs
FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
NO_FORMULA = re.compile(r"[+-]?(\d+\.?\d*(e[+-]?\d+)?|inf|-)?", re.IGNORECASE)  # "-", "-0.5"


@dataclass(frozen=True)
class ImageSets:
    """A collection as it lies on disk: its folder, and its sets in the order of ``params.yaml``."""

    folder: Path
    sets: tuple[str, ...]

    def only(self, sets: Iterable[str]) -> ImageSets:
        """Some of its sets, in its own order."""
        wanted = set(sets)
        return ImageSets(self.folder, tuple(name for name in self.sets if name in wanted))


@dataclass(frozen=True)
class Pair:
    """One degraded image and its reference, as files. ``key`` is ``<set>/<image>``, unique in a
    collection.

    scene: what was photographed; copies of one photograph and frames of one sequence share it ("":
    its own). sha256: of both files, as the manifest notes them ("": it does not). clip, place: of a
    frame, where the task is ``video``, all frames of its clip in order, and which one it is.
    """

    dataset: str
    image: str
    lq: Path
    hq: Path
    scene: str = ""
    sha256: tuple[str, str] = ("", "")
    clip: tuple[Pair, ...] = field(default=(), compare=False, repr=False)
    place: int = field(default=0, compare=False)

    @property
    def key(self) -> str:
        return f"{self.dataset}/{self.image}"


def write_table(
    path: Path,
    columns: Iterable[str],
    rows: Iterable[dict[str, Any]],
    for_people: bool = False,
) -> None:
    """Write dictionaries as CSV, whole or not at all; a key that is no column raises ValueError.

    for_people: a table that is opened in a spreadsheet; no text of it is a formula there. What
    programs read holds its text letter for letter. Raises BenchError if the disk refuses.
    """
    if for_people:
        rows = [{name: as_text(cell) for name, cell in row.items()} for row in rows]
    with new_file(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def as_text(value: Any) -> Any:
    """A cell that a spreadsheet takes for text: with an apostrophe if it begins like a formula.

    >>> as_text("=1+1"), as_text("-0.5"), as_text("MAP")
    ("'=1+1", '-0.5', 'MAP')
    """
    if not isinstance(value, str):
        return value
    shown = value.replace("\r", " ") if "\r" in value else value  # it would end the line
    if FORMULA.match(value) and not NO_FORMULA.fullmatch(value):
        return "'" + shown
    return shown


def read_table(path: Path, columns: Iterable[str] = ()) -> list[dict[str, str]]:
    """Read a CSV as dictionaries of text, whatever its cells look like.

    columns: those that must be there; others may be. Raises BenchError, naming the file and what
    makes it, if it is not there, lacks a column or is damaged.
    """
    return parse_table(_text(path), str(path), _again(path), columns)


def parse_table(
    text: str, where: str, again: str, columns: Iterable[str] = ()
) -> list[dict[str, str]]:
    """The same of a CSV's text. where, again: how its errors begin and end."""
    names, *rows = _each_line(io.StringIO(text, newline=""), where, again, columns)
    return [dict(zip(names, row, strict=True)) for row in rows]


def each_row(path: Path, columns: Iterable[str] = ()) -> Iterator[dict[str, str]]:
    """The rows of ``read_table``, one at a time: a file of millions needs no memory.

    Raises BenchError as ``read_table``, at the row where something is wrong.
    """
    if not path.exists():
        raise BenchError(f"{path}: not there; run the stage that makes it (dvc repro)")
    try:
        with open(path, encoding="utf-8", newline="") as file:
            lines = _each_line(file, str(path), _again(path), columns)
            names = next(lines)
            for row in lines:
                yield dict(zip(names, row, strict=True))
    except UnicodeDecodeError:
        raise BenchError(f"{path}: is damaged (no UTF-8 text); {_again(path)}") from None
    except OSError as error:
        said = refusal(error, path) or f"{path}: cannot be read ({error.strerror})"
        raise BenchError(said) from None


def _each_line(
    lines: Iterable[str], where: str, again: str, columns: Iterable[str]
) -> Iterator[list[str]]:
    """The columns' names, then the cells of each line; an empty line is none."""
    try:
        reader = csv.reader(lines, strict=True)
        names = next(reader, [])
        missing = [name for name in columns if name not in names]
        if not names:
            raise BenchError(f"{where}: is empty; {again}")
        if missing:
            raise BenchError(f"{where}: has no column {', '.join(missing)}; {again}")
        yield names
        for row in reader:
            if len(row) == len(names):
                yield row
            elif row:
                raise BenchError(
                    f"{where}: line {reader.line_num} has not the {len(names)} cells of its "
                    f"columns; {again}"
                )
    except csv.Error as error:
        raise BenchError(f"{where}: is damaged ({error}); {again}") from None


def _columns(names: list[str], rows: list[list[str]]) -> dict[str, list[str]]:
    """The cells of each column: a frame is made of them faster than of dictionaries."""
    if not rows:
        return {name: [] for name in names}
    found = {}
    for name, cells in zip(names, zip(*rows, strict=True), strict=True):
        # one object for a word that stands in many rows: less memory, and pandas compares faster
        found[name] = list(map(sys.intern, cells))
    return found


def read_frame(path: Path, numbers: Iterable[str] = (), columns: Iterable[str] = ()) -> Any:
    """Read a CSV as a data frame: text, but for the columns ``numbers``.

    Those must be there: whole numbers where all are, else floats; an empty cell is NaN. columns:
    others that must be there. Raises BenchError as ``read_table``, and for a cell that is no
    number.
    """
    wanted = [*numbers, *columns]
    lines = io.StringIO(_text(path), newline="")
    names, *rows = _each_line(lines, str(path), _again(path), wanted)
    if not rows:
        names = wanted
    return _frame(names, rows, numbers, str(path), _again(path))


def _frame(
    names: list[str], rows: list[list[str]], numbers: Iterable[str], where: str, again: str
) -> pd.DataFrame:
    import pandas as pd

    cells = _columns(names, rows)
    frame = pd.DataFrame(cells, dtype=str)
    for name in numbers:
        frame[name] = _numbers(cells.get(name, []), name, where, again)
    return frame


def _numbers(cells: list[str], name: str, where: str, again: str) -> np.ndarray:
    """A column's numbers: whole if it is one of WHOLE and all are, else floats; empty: NaN."""
    import numpy as np

    found = []
    for line, cell in enumerate(cells, start=2):
        try:
            found.append(float(cell or math.nan))
        except ValueError:
            said = f"{where}: line {line}, column {name}: {cell!r} is no number; {again}"
            raise BenchError(said) from None
    numbers = np.array(found, float)
    whole = np.isfinite(numbers).all() and (numbers % 1 == 0).all()
    if name in WHOLE and len(numbers) and whole:
        return numbers.astype(int)
    return numbers


def _text(path: Path) -> str:
    """A text file of ours. Raises BenchError if it is not there or cannot be read as such."""
    if not path.exists():
        raise BenchError(f"{path}: not there; run the stage that makes it (dvc repro)")
    try:
        with open(path, encoding="utf-8", newline="") as file:
            text = file.read()
    except UnicodeDecodeError:
        raise BenchError(f"{path}: is damaged (no UTF-8 text); {_again(path)}") from None
    except OSError as error:
        said = refusal(error, path) or f"{path}: cannot be read ({error.strerror})"
        raise BenchError(said) from None
    if "\0" in text:
        raise BenchError(f"{path}: is damaged (zero bytes); {_again(path)}")
    return text


# the folder of an artefact -> the stage that makes it
STAGES = {
    "data": "fetch",
    "weights": "weights",
    "metrics": "metrics",
    "priors": "priors",
    "runs": "train",
    "loss": "train",
    "rows": "evaluate",
    "records": "evaluate",
    "tables": "tables",
}
PLACES = ("work", "results")


def _again(path: Path) -> str:
    """What to do about a damaged file of ours: the command that makes it again.

    ``work/<suite>/<folder>/<key>/<file>`` or ``results/<suite>/<folder>/<key>.csv``.
    """
    parts = path.with_suffix("").parts
    for i in range(len(parts) - 3, -1, -1):
        stage = STAGES.get(parts[i + 2])
        if parts[i] not in PLACES or stage is None:
            continue
        key = "/".join(parts[i + 3 :])
        if parts[i] == "work":
            key = "/".join(parts[i + 3 : -1])
        if stage == "tables":
            return "make it again: dvc repro -f tables"
        return f"make it again: dvc repro -f {stage}@{key}"
    return "make it again (dvc repro -f)"


def write_json(path: Path, record: Any) -> None:
    """Write JSON with sorted keys, whole or not at all.

    JSON has no numbers that are not finite: those become "inf", "-inf" and "nan". Raises
    BenchError if the disk refuses.
    """
    words = json.dumps(in_json(record), indent=1, sort_keys=True, default=str, allow_nan=False)
    with new_file(path) as temporary:
        temporary.write_text(words + "\n", encoding="utf-8")


def write_listing(
    path: Path, record: Mapping[str, Any], name: str, entries: Iterable[Mapping[str, Any]]
) -> None:
    """Write a JSON object whose list ``name`` has a line an entry, whole or not at all.

    record: its other entries, one at least. Entries are written as they come: a list of millions
    needs no memory. Otherwise as ``write_json``.
    """
    lines = json.dumps(in_json(record), indent=1, sort_keys=True, default=str, allow_nan=False)
    opening = f"{{\n {json.dumps(name)}: ["
    between = "\n"
    with new_file(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write(opening)
        for entry in entries:
            words = json.dumps(in_json(entry), sort_keys=True, default=str, allow_nan=False)
            file.write(f"{between}  {words}")
            between = ",\n"
        file.write(f"\n ],{lines[1:]}\n")


def each_entry(path: Path, name: str) -> Iterator[dict[str, Any]]:
    """The entries of the list that ``write_listing`` wrote, one at a time.

    Another JSON file is read whole. Raises BenchError as ``read_json``.
    """
    if not path.exists():
        read_json(path)
    with open(path, encoding="utf-8") as file:
        if [next(file, ""), next(file, "")] == ["{\n", f" {json.dumps(name)}: [\n"]:
            first = next(file, "")
            if first.startswith((" ]", '  {"')):
                yield from _listed(chain([first], file), path)
                return
    yield from read_json(path, [name])[name]


def _listed(lines: Iterable[str], path: Path) -> Iterator[dict[str, Any]]:
    """The entries that stand in lines of their own, up to the list's end."""
    for line in lines:
        if line.startswith(" ]"):
            return
        try:
            yield json.loads(line.rstrip().rstrip(","))
        except ValueError as error:
            raise BenchError(f"{path}: is no whole JSON ({error}); {_again(path)}") from None


def in_json(value: Any) -> Any:
    """A value whose numbers JSON has: those that are not finite are text."""
    if isinstance(value, dict):
        return {key: in_json(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [in_json(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(float(value))
    return value


# what entries of our JSON files are, where they are there
FIELDS: dict[str, type | tuple[type, ...]] = {
    "choice": list,
    "hardware": str,
    "images": list,
    "kept": dict,
    "label": str,
    "parameters": int,
    "row": dict,
    "seed_seconds": dict,
    "seeds": list,
    "train_seconds": (int, float),
    "trained_parameters": int,
    "training": dict,
    "versions": dict,
    "weights": dict,
}


NUMBER = (int, float)
# what lies in them; ``*``: each of theirs
INSIDE: dict[str, type | tuple[type, ...]] = {
    "choice.*": dict,
    "images.*": dict,
    "kept.*": dict,
    "row.*": str,
    "seed_seconds.*": NUMBER,
    "training.batch": int,
    "training.crop": int,
    "training.iterations": int,
    "training.loss": str,
    "training.lr": NUMBER,
}


def read_json(path: Path, needed: Iterable[str] = ()) -> Any:
    """Read a JSON object of ours.

    needed: entries that must be there. Raises BenchError, naming the file and what makes it, if it
    is not there or damaged, lacks one, or an entry (FIELDS) is of another type.
    """
    try:
        record = json.loads(_text(path))
    except ValueError as error:
        raise BenchError(f"{path}: is no whole JSON ({error}); {_again(path)}") from None
    if not isinstance(record, dict):
        kind = type(record).__name__
        raise BenchError(f"{path}: holds a {kind}, not an object; {_again(path)}")
    for name in needed:
        if name not in record:
            raise BenchError(f"{path}: has no '{name}'; {_again(path)}")
    for name, kinds in FIELDS.items():
        if name in record and not isinstance(record[name], kinds):
            got = type(record[name]).__name__
            raise BenchError(f"{path}: '{name}' is of another type ({got}); {_again(path)}")
    for name, kinds in INSIDE.items():
        for entry, value in _entries(record, name):
            if not isinstance(value, kinds):
                got = type(value).__name__
                raise BenchError(f"{path}: '{entry}' is of another type ({got}); {_again(path)}")
    return record


def _entries(record: dict[str, Any], name: str) -> list[tuple[str, Any]]:
    """What lies under a name of INSIDE, with its own name: of ``*`` all there is."""
    outer, _, inner = name.partition(".")
    held = record.get(outer, {})
    if isinstance(held, list):
        held = dict(enumerate(held))
    if inner == "*":
        return [(f"{outer}.{key}", value) for key, value in held.items()]
    return [(name, held[inner])] if inner in held else []


def read_record(suite: Suite, run: str, needed: Iterable[str] = ()) -> dict[str, Any]:
    """A run's record as its evaluation left it; empty where the run was not evaluated.

    Raises BenchError as ``read_json``.
    """
    path = suite.results / "records" / f"{run}.json"
    if not path.exists():
        return {}
    return read_json(path, needed)


def read_losses(path: Path) -> pd.DataFrame:
    """A run's loss file, columns LOG; empty for a run with nothing to train."""
    return read_frame(path, numbers=LOG)


def shared_cells(rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Columns of OF_THE_RUN and what stands there in all rows; none of a column that varies.

    Rows of several workers may differ in ``hardware``.
    """
    shared = {}
    for column in OF_THE_RUN:
        found = {str(row.get(column, "")) for row in rows}
        if len(found) == 1:
            shared[column] = found.pop()
    return shared


def write_rows(
    path: Path, rows: Iterable[dict[str, Any]], in_record: Mapping[str, Any] | None = None
) -> None:
    """Write rows (see ROW) as CSV. in_record: columns that the run's record holds in their place.

    It holds them under "row", as ``shared_cells`` gives them.
    """
    left_out = in_record or {}
    columns = [name for name in ROW if name not in left_out]
    kept = [{name: cell for name, cell in row.items() if name not in left_out} for row in rows]
    write_table(path, columns, kept)


def read_rows(
    suite: Suite, runs: Iterable[str] | None = None, swap: str | None = ""
) -> pd.DataFrame:
    """All rows of a suite, or of the runs named, in params' order.

    Columns as ROW, ``value`` float, the rest text. swap: rows restored with that control in the
    prior's place at test time; "": those of the prior itself; None: all. Raises BenchError for an
    unknown run, and for a file that is not there, is empty or damaged or holds another run's rows.
    """
    import pandas as pd

    read = []
    for run in suite.runs if runs is None else runs:
        if run not in suite.runs:
            raise BenchError(f"{suite.suite}: no run '{run}'; {nearest(run, suite.runs)}")
        read.append(_read_run(suite.results / "rows" / f"{run}.csv", run))
    frames = []
    for _, alike in groupby(read, key=lambda part: list(part.cells)):
        frames.append(_one_frame(list(alike)))  # a frame of each file takes longer than its text
    rows = pd.concat(frames, ignore_index=True)
    if swap is None:
        return rows
    return rows[rows["swap"] == swap].reset_index(drop=True)


def rows_of_run(path: Path, run: str) -> pd.DataFrame:
    """One run's rows, those of ``evaluation.swap`` among them. Raises as ``read_rows``."""
    return _one_frame([_read_run(path, run)])


def parse_rows(
    text: str,
    where: str,
    again: str,
    columns: Iterable[str] = ROW,
    held: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Rows from a CSV's text: ``value`` float, the rest text.

    where, again: of its errors. columns: what must be there, in the text or in ``held``, what the
    run's record holds for all its rows ("row").
    """
    return _one_frame([_parse(text, where, again, columns, held or {})])


@dataclass(frozen=True)
class _Parsed:
    """A file of rows: each column's cells as text, and the numbers of the column ``value``."""

    cells: dict[str, list[str]]
    values: np.ndarray


def _read_run(path: Path, run: str) -> _Parsed:
    if not path.exists():
        raise BenchError(f"{path}: no rows of run '{run}'; run its evaluate stage (dvc repro)")
    again = _again(path)
    text = _text(path)
    held, names = {}, text.partition("\n")[0].split(",")
    if "value" in names and not set(OF_THE_RUN) <= set(names):
        held = read_json(path.parent.parent / "records" / f"{run}.json", ["row"])["row"]
    rows = _parse(text, str(path), again, ROW, held)
    if not len(rows.values):
        raise BenchError(f"{path}: holds no rows; {again}")
    others = set(rows.cells["run"]) - {run}
    if others:
        raise BenchError(f"{path}: holds rows of run '{min(others)}', not of '{run}'; {again}")
    return rows


def _parse(
    text: str, where: str, again: str, columns: Iterable[str], held: Mapping[str, str]
) -> _Parsed:
    if not text.endswith("\n"):
        raise BenchError(f"{where}: is cut off, its last line has no end; {again}")
    wanted = [name for name in columns if name not in held]
    names, *lines = _each_line(io.StringIO(text, newline=""), where, again, wanted)
    if not lines:
        names = list(columns)
    cells = _columns(names, lines)
    for number, value in enumerate(cells["value"], start=2):
        if not value:
            raise BenchError(f"{where}: line {number} has no value; {again}")
    values = _numbers(cells["value"], "value", where, again)
    added = {name: [cell] * len(lines) for name, cell in held.items() if name not in cells}
    if added:
        cells |= added
        order = [name for name in ROW if name in cells]
        cells = {name: cells[name] for name in dict.fromkeys([*order, *cells])}
    return _Parsed(cells, values)


def _one_frame(parts: list[_Parsed]) -> pd.DataFrame:
    """The rows of files of the same columns."""
    import numpy as np
    import pandas as pd

    cells = {}
    for name in parts[0].cells:
        cells[name] = list(chain.from_iterable(part.cells[name] for part in parts))
    frame = pd.DataFrame(cells, dtype=str)
    frame["value"] = np.concatenate([part.values for part in parts])
    return frame


def begun(resume: Path) -> dict[Path, str]:
    """The folders of trainings that are begun or finished, and the runs that they are of."""
    found = {}
    for note in sorted(resume.glob(f"*/{RUN}")):
        with suppress(OSError):
            found[note.parent] = note.read_text(encoding="utf-8", errors="replace")
    return found


def left_over(suite: Suite) -> list[Path]:
    """Files and folders of runs, sets and priors that the parameters no longer name.

    Nothing reads them.
    """
    named = {
        suite.results / "rows": {f"{run}.csv" for run in suite.runs},
        suite.results / "loss": {f"{run}.csv" for run in suite.runs},
        suite.results / "records": {f"{run}.json" for run in suite.runs},
        suite.work / "runs": set(suite.runs),
        suite.work / "restored": set(suite.runs),
        suite.work / "priors": set(suite.bundles),
        suite.work / "data": set(suite.collections),
    }
    for collection, sets in suite.collections.items():
        named[suite.work / "data" / collection] = set(sets)
    found = []
    for folder, names in named.items():
        for path in sorted(folder.glob("[!.]*")):
            if path.name not in names:
                found.append(path)
    for path, run in begun(suite.work / ".resume").items():
        if run not in suite.runs:
            found.append(path)
    return found


def image_sets(suite: Suite, collection: str) -> ImageSets:
    """A collection's place. Raises BenchError for one that the parameters do not name."""
    sets = tuple(suite.collection(collection))
    return ImageSets(suite.work / "data" / collection, sets)


def read_pairs(images: ImageSets) -> list[Pair]:
    """The pairs of a collection, from its sets' manifests, in order.

    Files of an asset are found where that asset is kept. Raises BenchError for a missing manifest.
    """
    pairs: list[Pair] = []
    for name in images.sets:
        pairs += each_pair(images, name)
    return pairs


def each_pair(images: ImageSets, name: str) -> Iterator[Pair]:
    """The pairs of one set, one at a time. Raises BenchError as ``read_pairs``."""
    folder = images.folder / name
    roots = {"": folder}
    for row in each_row(folder / "manifest.csv", PAIR):
        asset = row["asset"]
        if asset not in roots:
            roots[asset] = assets.folder(asset)
        lq, hq = roots[asset] / row["lq"], roots[asset] / row["hq"]
        digests = (row.get("sha256_lq", ""), row.get("sha256_hq", ""))
        yield Pair(name, row["image"], lq, hq, row["source"], digests)


def revision(folder: Path) -> str:
    """Short git revision of the checkout that tracks a folder, with ``+`` if tracked files of
    benchlib or notebooks differ from it; "no-git" where there is none, and a line that says why.
    """
    try:
        if not _git(folder, "ls-files", "--", "."):
            raise BenchError("no repository tracks it")
        commit = _git(folder, "rev-parse", "--verify", "--short=12", "HEAD")
        words = ("status", "--porcelain", "--untracked-files=no", "--", ":/benchlib", ":/notebooks")
        changed = _git(folder, *words)
    except BenchError as error:
        _say_once(f"{folder}: rows and records say no-git instead of a revision: {error}")
        return "no-git"
    return commit + ("+" if changed else "")


# A checkout that belongs to another user (a container's volume) is asked all the same: the question
# changes nothing, no hook of its settings runs, and its code is what runs here anyway.
ASK = (
    "git",
    "--no-optional-locks",
    "-c",
    "safe.directory=*",
    "-c",
    "core.fsmonitor=false",
)


def _git(folder: Path, *words: str) -> str:
    """What git answers. Raises BenchError in git's words, in the first line that says what."""
    kept = {name: value for name, value in os.environ.items() if name not in ELSEWHERE}
    try:
        done = subprocess.run(
            [*ASK, *words],
            cwd=folder,
            env=kept | {"LC_ALL": "C"},
            capture_output=True,
            encoding="utf-8",
            errors="replace",
        )
    except OSError as error:
        raise BenchError(f"git cannot be run ({error.strerror}); install it") from None
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["no answer"]
        raise BenchError(f"git {words[0]}: {said[0]}")
    return done.stdout.strip()


# what a hook or a script sets: of another repository than the one that the folder lies in
ELSEWHERE = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")


@cache
def _say_once(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # stdout may be JSON


def hardware(device: str = "cpu") -> str:
    """The machine in a few words: the accelerator's name, or the processor's name and its cores."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    import psutil

    return f"{_processor()}, {psutil.cpu_count(logical=True)} threads"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
