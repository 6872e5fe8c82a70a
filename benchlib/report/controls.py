"""What does the prior itself add? The total gain of a run over its base, split into steps between runs of its controls.

Layer 4. A step is the paired difference between two neighbours of the chain base -> trained -> zeroed -> segmentation
(of a vector: random) -> prior; all steps are taken over the same images and seeds, so they add up to the total.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from benchlib.contracts import BenchError
from benchlib.report import statistics, tables

if TYPE_CHECKING:
    from benchlib.params import Control, Suite

VERSION = 2
COLUMNS = (
    "control", "collection", "dataset", "metric", "protocol", "kind", "step", "reference", "run", "difference", "low",
    "high", "p", "gain", "loss", "images", "apart", "scenes", "seeds", "value",
)  # fmt: skip
TOTAL = "total"
BOTH = "further training and extra parameters"
STEPS = ("further training", "extra parameters")
STAND_IN = {"segmentation": "any segmentation", "random": "any network's features"}
# and the last is called as the prior is


def chain(suite: Suite, control: Control) -> list[tuple[str, str]]:
    """(step, the run it leads to) from the base, whose step is empty, to the prior."""
    stand_in = "random" if control.random else "segmentation"
    runs = (
        control.base,
        control.trained,
        control.zeroed,
        getattr(control, stand_in),
        control.prior,
    )
    steps = ["", *STEPS, STAND_IN[stand_in], _last(suite, control)]
    if not control.trained and suite.run(control.prior).init == f"runs/{control.base}":
        steps[2] = BOTH  # trained on from the base, and no run tells that apart
    return [(step, run) for step, run in zip(steps, runs, strict=True) if run]


def _last(suite: Suite, control: Control) -> str:
    """What the step to the prior is called."""
    before = control.random or control.segmentation or control.zeroed
    name = tables.prior_words(suite, control.prior, before)
    if control.segmentation or set(tables.prior_kinds(suite, control.prior)) != {"masks"}:
        return name
    return f"segmentation by {name}"


def split(suite: Suite, rows: pd.DataFrame, control: str) -> pd.DataFrame:
    """The steps of one control, tidy: PSNR (dB) of the first protocol, for each data set and the Average if any.

    kind "step": from ``reference`` to ``run``, in order; "total": from the base to the prior, over the same images and
    seeds, so that the steps add up to it; "other": a run shown beside, against the zeroed one. difference with low and
    high, its paired 95 % interval, p (not corrected); gain, loss: the interval excludes zero. value: mean of ``run``.
    apart: images left out of all steps, since one of the runs restores them exactly (an infinite PSNR).
    Raises BenchError if a run of the chain has no rows, or one of them no seed in common with the others.
    """
    names = suite.controls[control]
    steps = chain(suite, names)
    runs, collection = [run for _, run in steps], suite.run(names.prior).images.test
    there = set(rows["run"].unique())
    missing = [run for run in runs if run not in there]
    if missing:
        raise BenchError(
            f"controls.{control}: no rows of {missing[0]!r}; run `{tables.command(suite, missing[0])}`"
        )
    own = tables.rows_of(suite, rows, collection)
    protocol = dict(tables.main_columns(suite, own)).get("PSNR")
    own = own[(own["metric"] == "PSNR") & (own["protocol"] == protocol)]
    return tables.kept(_split, suite, own, control, str(protocol))


def _split(suite: Suite, own: pd.DataFrame, control: str, protocol: str) -> pd.DataFrame:
    """``split`` of the rows of PSNR under one protocol of one test collection."""
    names = suite.controls[control]
    steps = chain(suite, names)
    runs, collection = [run for _, run in steps], suite.run(names.prior).images.test
    needed = own[own["run"].isin({*runs, *names.others, names.zeroed})]
    sets, own = tables.columns_of(suite, own, collection), tables.pooled(suite, needed)
    about = {"control": control, "collection": collection, "metric": "PSNR", "protocol": protocol}
    asked = []
    for dataset in sets:
        part = own[own["dataset"] == dataset]
        shared = _shared(control, {run: part[part["run"] == run] for run in runs})
        shared, apart = _finite(shared)
        if shared[runs[0]].empty:  # no image that all have
            continue
        place = about | {"dataset": dataset, "apart": apart}
        for (_, before), (step, run) in pairwise(steps):
            asked.append((place | _step("step", step, before, run), shared))
        asked.append((place | _step("total", TOTAL, runs[0], runs[-1]), shared))
        for run in names.others:
            pair = {key: part[part["run"] == key] for key in (names.zeroed, run)}
            pair, apart = _finite(pair)
            if len(pair[run]):
                beside = _step("other", tables.run_label(suite, run), names.zeroed, run)
                asked.append((place | beside | {"apart": apart}, pair))
    return pd.DataFrame(_measured(asked), columns=list(COLUMNS))


def _shared(control: str, runs: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The rows of the images that all runs have, and of the seeds that all runs with several have."""
    images = set.intersection(*(set(part["image"]) for part in runs.values()))
    several = [set(part["seed"]) for part in runs.values() if part["seed"].nunique() > 1]
    seeds = set.intersection(*several) if several else set()
    if several and not seeds:
        raise BenchError(
            f"controls.{control}: its runs {', '.join(runs)} have no seed in common; give them the same"
        )
    return {
        run: part[
            part["image"].isin(images) & (part["seed"].isin(seeds) | (part["seed"].nunique() == 1))
        ]
        for run, part in runs.items()
    }


def _finite(runs: dict[str, pd.DataFrame]) -> tuple[dict[str, pd.DataFrame], int]:
    """The rows of the images whose values are finite in all runs, and how many images are not."""
    odd: set[str] = set()
    for part in runs.values():
        odd |= set(part.loc[~np.isfinite(part["value"]), "image"])
    return {run: part[~part["image"].isin(odd)] for run, part in runs.items()}, len(odd)


def _step(kind: str, step: str, reference: str, run: str) -> dict[str, Any]:
    return {"kind": kind, "step": step, "reference": reference, "run": run}


def _measured(asked: list[tuple[dict[str, Any], dict[str, pd.DataFrame]]]) -> list[dict[str, Any]]:
    """Steps, each with the rows that its two runs are compared on, as lines with figures."""
    pairs = [(rows[step["run"]], rows[step["reference"]]) for step, rows in asked]
    lines = []
    for (step, rows), found in zip(asked, statistics.compare_each(pairs), strict=True):
        line = step | {"difference": found.mean, "low": found.low, "high": found.high}
        line |= {"p": found.p, "images": found.images, "scenes": found.scenes, "seeds": found.seeds}
        value = rows[step["run"]].groupby("image")["value"].mean().mean()
        lines.append(line | {"gain": found.low > 0, "loss": found.high < 0, "value": value})
    return lines


def all_steps(suite: Suite, rows: pd.DataFrame) -> pd.DataFrame:
    """``split`` of all controls, one below the other; one whose runs are not all there is left out, and says why."""
    parts = []
    for control in suite.controls:
        try:
            parts.append(split(suite, rows, control))
        except BenchError as error:
            print(f"controls {control}: skipped: {error}")
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COLUMNS))


def steps_text(suite: Suite, lines: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One control's steps as text, a line a step and a column a data set; and where an interval is above zero."""
    names = lines["step"].where(
        lines["kind"] != "other", "beside: " + lines["step"] + " against zeroed"
    )
    lines = lines.assign(name=names, metric="PSNR")
    lines["shown"] = [tables.interval_text(suite, line) for line in lines.itertuples()]
    chained = lines[lines["kind"] != "other"]
    most = chained.groupby("dataset")[["images", "scenes", "apart"]].max()
    said = {name: tables.images_text(most.images[name], most.scenes[name]) for name in most.index}
    for name in most.index[most["apart"] > 0]:
        said[name] += f", {most.apart[name]} exact left out"
    order = {name: f"{name} ({said[name]})" for name in lines["dataset"].drop_duplicates()}
    wide = {}
    for value in ("shown", "gain"):
        table = lines.pivot_table(
            index="name", columns="dataset", values=value, aggfunc="first", sort=False
        )
        wide[value] = table.reindex(columns=list(order)).rename(columns=order).astype(object)
    shown = wide["shown"].fillna("-").rename_axis(columns=None).reset_index(names="step")
    seeds = lines.groupby("name", sort=False)["seeds"].max().reindex(shown["step"])
    shown.insert(1, "seeds", seeds.astype(str).to_numpy())
    flags = pd.DataFrame(False, shown.index, shown.columns)
    flags.iloc[:, 2:] = wide["gain"].eq(True).to_numpy()
    return shown.astype(object), flags


def note(suite: Suite, control: str) -> str:
    """The line that stands over a control's steps."""
    one = suite.controls[control]
    runs = "; ".join(tables.run_label(suite, run) for _, run in chain(suite, one))
    return (
        f"{one.label}: what the prior itself adds. PSNR in dB, first protocol; each step leads to the next of: {runs}. "
        "95 % intervals, paired by image; the steps add up to the total. Bold: a gain whose interval excludes "
        "zero."
    )
