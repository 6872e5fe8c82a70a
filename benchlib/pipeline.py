"""The pipeline's steps by name, for notebooks: under DVC every input is there already.

Layer 5. A notebook that is opened alone makes what it needs. What DVC knows as dependencies between
stages stands here once more in a few lines, and a test holds the two equal.
"""

from __future__ import annotations

import os
from pathlib import Path

from benchlib import plan, prepare
from benchlib.params import Suite, load_params

Step = tuple[str, str]


def open_suite(params: str, stage: str, key: str = "") -> Suite:
    """Read a suite and make what ``stage`` of ``key`` needs and is not there yet."""
    suite = load_params(params)
    if suite.mirror:
        mirror = suite.mirror
        if "://" not in mirror:
            mirror = str(suite.located(mirror))
        os.environ.setdefault("BENCHLIB_MIRROR", mirror)
    for step in inputs(suite, stage, key):
        _make(suite, *step)
    return suite


def open_run(params: str, stage: str, key: str) -> plan.RunPlan:
    """The plan of one run, with what ``stage`` ("train" or "evaluate") needs made."""
    return plan.open_run(open_suite(params, stage, key), key)


def inputs(suite: Suite, stage: str, key: str) -> list[Step]:
    """The steps whose results a step reads.

    Raises BenchError for a key that the parameters do not name.
    """
    if stage == "fetch":
        suite.image_set(key)
        return []
    if stage == "weights":
        suite.start(key)
        return []
    if stage == "metrics":
        return []
    if stage == "priors":
        kind, _, source = suite.prior(key).images.partition("/")
        return _fetched(suite, source) if kind == "data" else [("evaluate", source)]
    if stage in ("train", "evaluate"):
        return _run_inputs(suite, stage, key)
    steps = [("evaluate", run) for run in suite.runs]
    if stage == "report":
        steps.append(("tables", ""))
    return steps


def _run_inputs(suite: Suite, stage: str, key: str) -> list[Step]:
    run = suite.run(key)
    side = "train" if stage == "train" else "test"
    steps = _fetched(suite, getattr(run.images, side))
    prior = getattr(run.prior, side)
    for part in suite.bundle(prior):
        steps.append(("priors", f"{prior}/{part}" if part else prior))
    if stage == "evaluate":
        return [*steps, *(("metrics", name) for name in suite.metrics), ("train", key)]
    kind, _, source = run.init.partition("/")
    return [*steps, ("weights" if kind == "weights" else "train", source)]


def _fetched(suite: Suite, collection: str) -> list[Step]:
    return [("fetch", f"{collection}/{name}") for name in suite.collection(collection)]


def result(suite: Suite, stage: str, key: str) -> Path:
    """The file or folder whose presence says that a step is done.

    Of an evaluation that is its images: its rows may have come with a clone.
    """
    return {
        "fetch": suite.work / "data" / key / "manifest.csv",
        "weights": suite.work / "weights" / key / "weights.json",
        "metrics": suite.work / "metrics" / key / "metric.json",
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
    name = result(suite, stage, key).name
    print(f"{name} of {stage} {key} is not there yet: making it", flush=True)
    if stage == "fetch":
        prepare.make_data(suite, key)
    elif stage == "weights":
        prepare.make_weights(suite, key)
    elif stage == "metrics":
        prepare.make_metric(suite, key)
    elif stage == "priors":
        prepare.make_priors(suite, key)
    elif stage == "tables":
        from benchlib.report import export

        export.make_all(suite)
    else:
        _make_run(suite, stage, key)


def _make_run(suite: Suite, stage: str, key: str) -> None:
    one = plan.open_run(suite, key)
    if stage == "train":
        from benchlib.train.record import train

        train(one)
    else:
        from benchlib.evaluate import evaluate

        evaluate(one)
