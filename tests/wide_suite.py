"""Suites of many runs or of many images, for tests and for timing of tables, plots and page.

``python tests/wide_suite.py <runs> <images>`` says what each part takes of the processor.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from report_suite import row

from benchlib import records
from benchlib.imageio import write_png
from benchlib.params import Suite
from benchlib.report import export, page, plots, tables

SETS = ("Set5", "Set14")
PROTOCOLS = ("basicsr-y@4", "basicsr-rgb", "matlab-y-rounded@4")
CURVE = range(100, 1100, 100)  # iterations of a loss file


def wide_suite(folder: Path, runs: int, average: bool = True) -> Suite:
    """A suite of ``runs`` runs: the input, a baseline and its controls, and methods with a prior.

    Every fifth method stands beside a row of a paper; ten runs, or all, are an ablation. folder:
    where params.yaml would stand.
    """
    keys = [f"method-{i}" for i in range(runs - 5)]
    entries = {
        "input": _run("identity"),
        "plain": _run("none", row="IMDN x4"),
        "further": _run("none"),
        "zeroed": _run("spt", "sam", swap="zeroed"),
        "prior": _run("spt", "sam", row="IMDN x4 + SPT"),
    }
    for i, key in enumerate(keys):
        entries[key] = _run("spt", "sam", row="IMDN x4 + SPT" if i % 5 == 0 else "")
    no_prior = {"kind": "none", "images": "data/train", "prior": {"name": "none"}}
    control = {"base": "plain", "trained": "further", "zeroed": "zeroed", "prior": "prior"}
    raw = {
        "suite": "wide",
        "task": "image",
        "metrics": ["psnr", "ssim", "mc"],
        "training": {"iterations": 1000},
        "evaluation": {"average": average},
        "data": {"train/T91": {"name": "folder"}}
        | {f"test/{name}": {"name": "paired"} for name in SETS},
        "weights": {"imdn": {"asset": None}},
        "priors": {
            "none": no_prior,
            "sam": {"kind": "masks", "images": "data/test", "prior": {"name": "sam"}},
        },
        "runs": entries,
        "controls": {"prior": {"label": "The prior"} | control},
        "ablations": {"some": {"label": "some methods", "runs": ["prior", *keys[:9]]}},
    }
    return Suite.model_validate(raw).model_copy(update={"folder": folder.resolve()})


def _run(method: str, prior: str = "none", row: str = "", swap: str | None = None) -> dict:
    return {
        "problem": "super-resolution",
        "paper": "spt" if row else "",
        "table": "1" if row else "",
        "row": row,
        "method": {"name": method},
        "backbone": {"name": "imdn", "scale": 4},
        "images": {"train": "train", "test": "test"},
        "validation": "T91",
        "prior": {"train": "none", "test": prior, "swap": swap},
        "init": "weights/imdn",
    }


def write_wide(suite: Suite, images: int, seeds: int = 1) -> Suite:
    """What the stages before write: rows, losses, records, and small pictures, all runs' the same.

    images: of all test sets together; eight numbers an image, a run with a prior reach too.
    """
    rng = np.random.default_rng(0)
    places = [(SETS[i % len(SETS)], f"i{i}") for i in range(images)]
    for number, run in enumerate(suite.runs):
        rows: list[dict[str, Any]] = []
        for dataset, image in places:
            for seed in range(seeds):
                psnr = float(rng.normal(28 + number / len(suite.runs), 1))
                rows += _measured(suite, run, dataset, image, psnr, seed)
            if tables.has_prior(suite, run):
                rows += _of_prior(suite, run, dataset, image, rng)
        records.write_rows(suite.results / "rows" / f"{run}.csv", rows)
        _write_training(suite, run, number, seeds)
    _write_pictures(suite, places)
    return suite


def _measured(
    suite: Suite, run: str, dataset: str, image: str, psnr: float, seed: int
) -> list[dict[str, Any]]:
    rows = []
    for i, protocol in enumerate(PROTOCOLS):
        numbers = {"PSNR": psnr + i, "SSIM": psnr / 40 + i / 100}
        if i == 0:
            numbers["MC"] = int(psnr < 26)
        for metric, value in numbers.items():
            place = {"protocol": protocol, "inference": "global", "hardware": "Some processor"}
            rows.append(row(suite, run, dataset, image, metric, value, seed, **place))
    return rows


def _of_prior(
    suite: Suite, run: str, dataset: str, image: str, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """How many masks the run read of an image, and how far they reach where it has no control."""
    count = int(rng.integers(1, 40))
    rows = [row(suite, run, dataset, image, "masks", count, seed="", inference="")]
    if suite.run(run).prior.swap:
        return rows
    place = {"swap": "zeroed", "inference": "global"}
    level = float(rng.normal(28, 1))
    rows.append(row(suite, run, dataset, image, "PSNR", level, protocol=PROTOCOLS[0], **place))
    for metric, value in {"reach": count / 10, "reach-most": count}.items():
        rows.append(row(suite, run, dataset, image, metric, value, protocol="", **place))
    return rows


def _write_training(suite: Suite, run: str, number: int, seeds: int) -> None:
    """A loss file and a record; of the input, empty and without a training."""
    curve = []
    trained = 0 if run == "input" else 1000
    for seed in range(seeds):
        for i in CURVE if trained else ():
            level = number / len(suite.runs) - math.exp(-i / 300)
            line = {"seed": seed, "iteration": i, "loss": -28 - level, "lr": 1e-3}
            curve.append(line | {"validation_psnr": 28 + level})
    records.write_table(suite.results / "loss" / f"{run}.csv", records.LOG, curve)
    record = {
        "run": run,
        "label": run,
        "hardware": "Some processor",
        "parameters": trained,
        "trained_parameters": trained,
        "training": {"iterations": trained, "validate_every": 100},
        "seed_seconds": {f"seed{seed}": 10.0 for seed in range(seeds)},
        "train_seconds": 10.0,
    }
    records.write_json(suite.results / "records" / f"{run}.json", record)


def _write_pictures(suite: Suite, places: list[tuple[str, str]]) -> None:
    """Pairs of 16 pixels; the first run's restorations are every other's through a link."""
    rng = np.random.default_rng(1)
    manifests: dict[str, list[dict[str, str]]] = {name: [] for name in SETS}
    data, restored = suite.work / "data" / "test", suite.work / "restored"
    first = next(iter(suite.runs))
    picture = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
    for dataset, image in places:
        for side in ("lq", "hq"):
            write_png(data / dataset / side / f"{image}.png", picture)
        write_png(restored / first / dataset / f"{image}.png", picture)
        line = {"image": image, "asset": "", "source": image, "dataset": dataset}
        manifests[dataset].append(line | {"lq": f"lq/{image}.png", "hq": f"hq/{image}.png"})
    for dataset, lines in manifests.items():
        columns = ("dataset", *records.PAIR)
        records.write_table(data / dataset / "manifest.csv", columns, lines)
    for run in suite.runs:
        if run != first:
            (restored / run).symlink_to(restored / first)
    _write_masks(suite, places)


def _write_masks(suite: Suite, places: list[tuple[str, str]]) -> None:
    from benchlib.priors.kinds import masks as kind

    left = np.arange(16)[None, :].repeat(16, axis=0) < 8
    score = np.ones(2, np.float32)
    stored = kind.mask_set([left, ~left], left.shape, score, score)
    for dataset, image in places:
        kind.save(suite.work / "priors" / "sam" / dataset / f"{image}.npz", stored)


def main() -> None:
    """Time the tables, the plots and the page of a suite of the sizes on the command line."""
    runs, images = map(int, sys.argv[1:3])
    with tempfile.TemporaryDirectory() as folder:
        suite = write_wide(wide_suite(Path(folder), runs), images)
        total = 0.0
        for name, part in {"tables": export.make, "plots": plots.make, "page": page.make}.items():
            begun = time.process_time()
            part(suite)
            spent = time.process_time() - begun
            total += spent
            print(f"{name}: {spent:.1f} s of the processor", flush=True)
        print(f"in all: {total:.1f} s", flush=True)


if __name__ == "__main__":
    main()
