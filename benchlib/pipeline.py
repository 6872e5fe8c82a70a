"""The pipeline's steps by name, for notebooks: under DVC every input is there; opened alone, a notebook makes its own.

Floor 5. What DVC knows as dependencies between stages stands here once more in five lines, and a test holds the two
equal.
"""

from __future__ import annotations

import os
from pathlib import Path

from benchlib import prepare
from benchlib.params import Suite, load_params

Step = tuple[str, str]


def open_suite(params: str, stage: str, key: str = "") -> Suite:
    """Read a suite and make what ``stage`` of ``key`` needs and is not there yet (nothing, under DVC)."""
    suite = load_params(params)
    if suite.mirror:
        local = "" if "://" in suite.mirror else str(suite.folder / suite.mirror)
        os.environ.setdefault("BENCHLIB_MIRROR", local or suite.mirror)
    for step in inputs(suite, stage, key):
        _make(suite, *step)
    return suite


def inputs(suite: Suite, stage: str, key: str) -> list[Step]:
    """The steps whose results a step reads. Raises BenchError for a key that the parameters do not name."""
    if stage == "fetch":
        suite.collection(key)
        return []
    if stage == "weights":
        suite.start(key)
        return []
    if stage == "priors":
        kind, _, source = suite.prior(key).images.partition("/")
        return [("fetch" if kind == "data" else "evaluate", source)]
    if stage in ("train", "evaluate"):
        run = suite.run(key)
        side = "train" if stage == "train" else "test"
        steps = [("fetch", getattr(run, side)), ("priors", getattr(run.prior, side))]
        kind, _, source = run.init.partition("/")
        start = ("weights" if kind == "weights" else "train", source)
        return [*steps, start] if stage == "train" else [*steps, ("train", key)]
    return [("evaluate", run) for run in suite.runs] + ([("tables", "")] if stage == "report" else [])


def result(suite: Suite, stage: str, key: str) -> Path:
    """The file or folder whose presence says that a step is done.

    Of an evaluation that is its images: its rows may have come with a clone.
    """
    return {
        "fetch": suite.work / "data" / key / "manifest.csv",
        "weights": suite.work / "weights" / key / "weights.json",
        "priors": suite.work / "priors" / key / "prior.json",
        "train": suite.work / "runs" / key / "record.json",
        "evaluate": suite.work / "restored" / key,
        "tables": suite.results / "metrics.json",
    }[stage]


def _make(suite: Suite, stage: str, key: str) -> None:
    if result(suite, stage, key).exists():
        return
    for step in inputs(suite, stage, key):
        _make(suite, *step)
    print(f"{result(suite, stage, key).name} of {stage} {key} is not there yet: making it", flush=True)
    if stage == "fetch":
        prepare.make_data(suite, key)
    elif stage == "weights":
        prepare.make_weights(suite, key)
    elif stage == "priors":
        prepare.make_priors(suite, key)
    elif stage == "train":
        from benchlib.train import train

        train(suite, key)
    elif stage == "evaluate":
        from benchlib.evaluate import evaluate

        evaluate(suite, key)
    else:
        from benchlib.report import cost, export, plots

        export.make(suite)
        cost.make(suite)
        plots.make(suite)
