"""How soon each way of training gets to one validation PSNR (SPT's Table 5: iterations; here time as well). Layer 4.

Runs are comparable that start from the same weights and are watched on the same photographs. What they are asked to
reach is the best validation PSNR of the worst of them, so every one of them gets there.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from benchlib.contracts import BenchError
from benchlib.records import read_json, read_losses

if TYPE_CHECKING:
    from benchlib.params import Suite

VERSION = 1
Curve = dict[int, list[tuple[float, float]]]  # seed -> iteration and validation PSNR, as watched
COLUMNS = (
    "group", "run", "label", "seed", "target", "iterations", "seconds", "best", "best_iteration", "trained_parameters",
)  # fmt: skip


def table(suite: Suite) -> pd.DataFrame:
    """One row a run and seed of every group of two or more runs; columns as COLUMNS.

    target, best: validation PSNR in dB (the protocol is the budget's ``watch``). iterations, seconds: until the target
    was first reached, as precisely as training was validated; seconds are the seed's training time, validation
    included, in proportion. hardware stands in the run's record.
    """
    curves: dict[str, Curve] = {}
    for key in suite.runs:
        curve = _curve(suite, key)
        if curve:
            curves[key] = curve
    groups: dict[str, list[str]] = {}
    for key in curves:
        run = suite.run(key)
        groups.setdefault(f"{run.init}, {run.images.train}/{run.validation}", []).append(key)
    lines = []
    for group, keys in groups.items():
        if len(keys) < 2:
            continue
        target = math.inf
        for key in keys:
            best = [max(psnr for _, psnr in watched) for watched in curves[key].values()]
            target = min(target, *best)
        for key in keys:
            lines += _lines(suite, group, key, curves[key], target)
    return pd.DataFrame(lines, columns=list(COLUMNS))


def _curve(suite: Suite, key: str) -> Curve:
    """The validated rows of a run's loss file; empty if it was not trained or not validated."""
    path = suite.results / "loss" / f"{key}.csv"
    if suite.run(key).validation is None or not path.exists():
        return {}
    rows = read_losses(path)
    found: Curve = {}
    columns = [rows[name].tolist() for name in ("seed", "iteration", "validation_psnr")]
    for seed, iteration, psnr in zip(*columns, strict=True):
        if not math.isnan(psnr):
            found.setdefault(seed, []).append((iteration, psnr))
    return dict(sorted(found.items()))


def _lines(suite: Suite, group: str, key: str, curve: Curve, target: float) -> list[dict]:
    record = _record(suite, key)
    iterations, seconds_of = record["training"].get("iterations"), record["seed_seconds"]
    lines = []
    for seed, watched in curve.items():
        if not iterations or f"seed{seed}" not in seconds_of:
            raise BenchError(
                f"{suite.results}/records/{key}.json: has no seconds of seed {seed}, which the loss file has; run "
                f"dvc repro -f train@{key}"
            )
        best_iteration, best = max(watched, key=lambda one: one[1])  # the first of several
        reached = min(int(iteration) for iteration, psnr in watched if psnr >= target)
        share = reached / iterations
        seconds = round(share * seconds_of[f"seed{seed}"], 1)
        when = (target, reached, seconds, best, int(best_iteration))
        facts = (group, key, record["label"], seed, *when, record["trained_parameters"])
        lines.append(dict(zip(COLUMNS, facts, strict=True)))
    return lines


def _record(suite: Suite, key: str) -> dict[str, Any]:
    """A run's record, with what a line needs. Raises BenchError if it is not there or lacks it."""
    path = suite.results / "records" / f"{key}.json"
    return read_json(path, ["label", "training", "seed_seconds", "trained_parameters", "hardware"])


def table_text(lines: pd.DataFrame) -> pd.DataFrame:
    """One group as a table of text, a row a run and seed."""
    shown = pd.DataFrame(
        {
            ("validation", "target, dB"): lines["target"].map(_db),
            ("to the target", "iterations"): lines["iterations"].map("{:,}".format),
            ("to the target", "seconds"): lines["seconds"].map("{:.0f}".format),
            ("validation", "best, dB"): lines["best"].map(_db),
            ("validation", "at iteration"): lines["best_iteration"].map("{:,}".format),
            ("run", "trained parameters"): lines["trained_parameters"].map("{:,}".format),
        }
    )
    several = lines["seed"].nunique() > 1
    names = [
        f"{label}, seed {seed}" if several else label
        for label, seed in zip(lines["label"], lines["seed"], strict=True)
    ]
    return shown.set_axis(names).rename_axis("method")


def _db(psnr: float) -> str:
    return "exact" if math.isinf(psnr) else f"{psnr:.3f}"


def note(suite: Suite, group: str, lines: pd.DataFrame) -> str:
    """What stands over a group's table."""
    record = _record(suite, lines["run"].iloc[0])
    start = group.split(",")[0]
    return (
        f"Until one validation PSNR ({record['training'].get('watch', 'basicsr-rgb')}) is reached, from {start}; "
        f"validated every {record['training']['validate_every']} iterations; {record['hardware']}."
    )
