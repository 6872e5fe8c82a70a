"""Rows, run records and pairs: plain tables on disk, each whole or not there.

Layer 1. A row is one number of one image; everything in a table or a plot is computed from rows.
"""

from __future__ import annotations

import csv
import json
import platform
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchlib import assets
from benchlib.contracts import BenchError, nearest
from benchlib.files import new_file

if TYPE_CHECKING:
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
# columns that may look like numbers
TEXT = dict.fromkeys(("image", "scene", "setting", "table", "seed", "swap", "version"), str)


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
    its own).
    """

    dataset: str
    image: str
    lq: Path
    hq: Path
    scene: str = ""

    @property
    def key(self) -> str:
        return f"{self.dataset}/{self.image}"


def write_table(path: Path, columns: Iterable[str], rows: Iterable[dict[str, Any]]) -> None:
    """Write dictionaries as CSV, whole or not at all; a key that is no column raises ValueError."""
    with new_file(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_table(path: Path) -> list[dict[str, str]]:
    """Read a CSV as dictionaries of text. Raises BenchError if it is not there."""
    if not path.exists():
        raise BenchError(f"{path}: not there; run the stage that makes it (dvc repro)")
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_json(path: Path, record: Any) -> None:
    """Write JSON with sorted keys, whole or not at all."""
    with new_file(path) as temporary:
        temporary.write_text(
            json.dumps(record, indent=1, sort_keys=True, default=str) + "\n", encoding="utf-8"
        )


def read_json(path: Path) -> Any:
    """Read JSON. Raises BenchError if it is not there."""
    if not path.exists():
        raise BenchError(f"{path}: not there; run the stage that makes it (dvc repro)")
    return json.loads(path.read_text(encoding="utf-8"))


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows (see ROW) as CSV."""
    write_table(path, ROW, rows)


def read_rows(suite: Suite, runs: Iterable[str] | None = None, swap: str = "") -> pd.DataFrame:
    """All rows of a suite, or of the runs named, in params' order.

    Columns as ROW, ``value`` float, the rest text. swap: rows restored with that control in the
    prior's place at test time; "": those of the prior itself.
    """
    import pandas as pd

    frames = []
    for run in suite.runs if runs is None else runs:
        if run not in suite.runs:
            raise BenchError(f"{suite.suite}: no run '{run}'; {nearest(run, suite.runs)}")
        path = suite.results / "rows" / f"{run}.csv"
        if not path.exists():
            raise BenchError(f"{path}: no rows of run '{run}'; run its evaluate stage (dvc repro)")
        frames.append(pd.read_csv(path, keep_default_na=False, dtype=TEXT))
    rows = pd.concat(frames, ignore_index=True)
    return rows[rows["swap"] == swap].reset_index(drop=True)


def image_sets(suite: Suite, collection: str) -> ImageSets:
    """A collection's place. Raises BenchError for one that the parameters do not name."""
    sets = tuple(suite.collection(collection))
    return ImageSets(suite.work / "data" / collection, sets)


def read_pairs(images: ImageSets) -> list[Pair]:
    """The pairs of a collection, from its sets' manifests, in order.

    Files of an asset are found where that asset is kept. Raises BenchError for a missing manifest.
    """
    pairs = []
    for name in images.sets:
        folder = images.folder / name
        for row in read_table(folder / "manifest.csv"):
            root = folder
            if row["asset"]:
                root = assets.folder(row["asset"])
            lq, hq = root / row["lq"], root / row["hq"]
            pairs.append(Pair(name, row["image"], lq, hq, row["source"]))
    return pairs


def revision(folder: Path) -> str:
    """Short git revision of the checkout, with ``+`` if tracked files of benchlib or notebooks
    differ from it.
    """

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words],
            cwd=folder,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=True,
        ).stdout.strip()

    try:
        changed = git(
            "status", "--porcelain", "--untracked-files=no", "--", ":/benchlib", ":/notebooks"
        )
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "no-git"


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
