"""How far the restored image moves when the prior does: what each prior's *reach* is. Layer 4.

Evaluation restores a run with a prior again with a control in the prior's place (zeroed, or another
image's), without training (``evaluation.swap``). A prior of no reach cannot have helped, whatever
the tables say; a published system of that kind exists.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from benchlib.records import ROW
from benchlib.report import statistics, tables

if TYPE_CHECKING:
    from benchlib.params import Suite

VERSION = 1
COLUMNS = (
    "run", "label", "collection", "swap", "metric", "protocol", "reach", "most", "images",
    "scenes", "seed", "difference", "low", "high", "p", "gain", "loss", "note",
)  # fmt: skip
PSNR = "PSNR"
UNREACHED = "the prior does not reach the output"
NOT_ASKED = "not measured: evaluation.swap is empty"
CONTROLS = {"zeroed": "prior zeroed", "shuffled": "another image's prior"}


def reach_lines(suite: Suite, rows: pd.DataFrame | None = None) -> pd.DataFrame:
    """One line a run with a prior and control at test time, tidy; of the shown test collections.

    swap: the control. reach, most: by how many 8-bit levels the restored image moves under it, mean
    over values and images, and most of any value. difference: PSNR (dB, ``protocol``, the
    collection's first) under the control minus that with the prior itself, mean over all images of
    the collection, paired by image, first seed; low, high: its 95 % interval over scenes; p:
    Wilcoxon's, not corrected; gain, loss: the interval excludes zero. note: plain words where
    nothing moves, or where a run has one line without numbers because nothing was measured.
    rows: ``tables.everything_restored``, which is read if none is given.
    """
    if rows is None:
        rows = _read(suite)
    moved = _moved(suite, rows)
    there = set(rows["run"].unique())
    lines: list[dict[str, Any]] = []
    for collection, runs in tables.collections(suite).items():
        for run in runs:
            if tables.has_prior(suite, run):
                about = {"run": run, "label": tables.run_label(suite, run)}
                for line in _of_run(suite, run, run in there, moved.get(run, [])):
                    lines.append(about | {"collection": collection} | line)
    return pd.DataFrame(lines, columns=list(COLUMNS))


def _read(suite: Suite) -> pd.DataFrame:
    """``tables.everything_restored``; none where no run was evaluated."""
    folder = suite.results / "rows"
    if any((folder / f"{run}.csv").exists() for run in suite.runs):
        return tables.everything_restored(suite)
    return pd.DataFrame(columns=list(ROW))


def unreached(lines: pd.DataFrame) -> list[str]:
    """The runs whose output no control moves by a single level."""
    return list(dict.fromkeys(lines.loc[lines["note"] == UNREACHED, "run"]))


def _of_run(
    suite: Suite, run: str, evaluated: bool, lines: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """A run's lines: one a control that it was restored with, or one that says why not."""
    swap = suite.run(run).prior.swap
    if swap:
        return [_unmeasured(f"not measured: trained with a control in the prior's place ({swap})")]
    if not evaluated:
        return [_unmeasured(f"not run: {tables.command(suite, run)}")]
    if not lines and not suite.evaluation_of(run).swap:
        return [_unmeasured(NOT_ASKED)]
    if not lines:
        said = f"not measured: no rows of evaluation.swap; run `{tables.command(suite, run)}`"
        return [_unmeasured(said)]
    note = ""
    if all(line["most"] == 0 for line in lines):
        note = UNREACHED
    return [line | {"note": note} for line in lines]


def _unmeasured(note: str) -> dict[str, Any]:
    unknown = {"swap": "", "metric": PSNR, "protocol": "", "gain": False, "loss": False}
    return unknown | {"note": note}


def _moved(suite: Suite, rows: pd.DataFrame) -> dict[str, list[dict[str, Any]]]:
    """Each run's lines with numbers, one a control that it was restored with.

    Rows are laid out once for all runs: a pivot each took most of the time of many.
    """
    own = tables.of_the_prior(rows)
    protocols = _protocols(suite, own)
    found: dict[str, list[dict[str, Any]]] = {}
    for control in CONTROLS:
        swapped = rows[rows["swap"] == control]
        seeds = swapped.drop_duplicates("run").set_index("run")["seed"].to_dict()
        ours = statistics.sheets(_psnr(swapped, protocols, seeds))
        theirs = statistics.sheets(_psnr(own, protocols, seeds))
        levels, changes = _levels(swapped), _changes(ours, theirs)
        for run, seed in seeds.items():
            about = {"swap": control, "metric": PSNR, "protocol": protocols.get(run, "")}
            line = about | {"seed": seed} | levels[run] | changes.get(run, UNCHANGED)
            found.setdefault(run, []).append(line)
    return found


def _protocols(suite: Suite, rows: pd.DataFrame) -> dict[str, str]:
    """The first protocol of PSNR of each run; none where the suite does not measure PSNR."""
    if PSNR not in tables.measures(suite):
        return {}
    first = rows[rows["metric"] == PSNR].drop_duplicates("run")
    return first.set_index("run")["protocol"].to_dict()


def _psnr(rows: pd.DataFrame, protocols: dict[str, str], seeds: dict[str, str]) -> pd.DataFrame:
    """PSNR of each run under its protocol and of its seed, all sets taken as one."""
    own = rows[rows["metric"] == PSNR]
    own = own[own["protocol"] == own["run"].map(protocols)]
    own = own[own["seed"] == own["run"].map(seeds)]
    own = own.assign(scene=statistics.scene_names(own))  # before its set has another name
    return tables.as_average(own)


def _levels(swapped: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """By how many levels each run's images move: mean, most, and of how many images."""
    from benchlib.evaluate import REACH, REACH_MOST

    found: dict[str, dict[str, Any]] = {}
    for run in swapped["run"].drop_duplicates():
        found[run] = {"reach": math.nan, "most": math.nan, "images": 0}
    for run, values in swapped[swapped["metric"] == REACH].groupby("run", sort=False)["value"]:
        found[str(run)] |= {"reach": values.mean(), "images": len(values)}
    most = swapped[swapped["metric"] == REACH_MOST].groupby("run", sort=False)["value"].max()
    for run, value in most.items():
        found[str(run)]["most"] = value
    return found


UNCHANGED = dict.fromkeys(("difference", "low", "high", "p"), math.nan) | {
    "scenes": 0,
    "gain": False,
    "loss": False,
}  # of a run without PSNR on either side


def _changes(
    swapped: dict[tuple[str, ...], statistics.Sheet], own: dict[tuple[str, ...], statistics.Sheet]
) -> dict[str, dict[str, Any]]:
    """What a control changes of each run's PSNR against the prior itself, on the same images."""
    both = [place for place in swapped if place in own]
    changes = []
    for place in both:
        change = statistics.minus(swapped[place], own[place])
        changes.append((change.values, change.scene))
    found = {}
    for (run, *_), one in zip(both, statistics.judge_all(changes), strict=True):
        found[run] = {
            "scenes": one.scenes,
            "difference": one.mean,
            "low": one.low,
            "high": one.high,
            "p": one.p,
            "gain": one.low > 0,
            "loss": one.high < 0,
        }
    return found


def table_text(suite: Suite, lines: pd.DataFrame) -> pd.DataFrame:
    """``reach_lines`` (of one collection) as text, a line a run; no index.

    Three columns a control: mean reach, largest change, and the PSNR change with its interval.
    """
    controls = [control for control in CONTROLS if control in set(lines["swap"])]
    shown = []
    for own in tables.lines_by_run(lines).values():
        by_control = {line.swap: line for line in own}
        one: dict[str, str] = {"run": own[0].label}
        for control in controls:
            texts = cell_texts(suite, by_control.get(control))
            one |= {f"{CONTROLS[control]}: {name}": text for name, text in texts.items()}
        shown.append(one | {"note": own[0].note})
    table = pd.DataFrame(shown, dtype=object)
    if (table["note"] == "").all():
        return table.drop(columns="note")
    return table


def cell_texts(suite: Suite, line: Any) -> dict[str, str]:
    """A line's figures as shown: "reach", "largest", "PSNR"; "-" each where there is no line."""
    if line is None:
        return dict.fromkeys(("reach", "largest", "PSNR"), "-")
    change = tables.interval_text(suite, line)
    return {"reach": f"{line.reach:.3f}", "largest": f"{line.most:.0f}", "PSNR": change}


def note(collection: str, lines: pd.DataFrame) -> str:
    """The line that stands over the table of one collection."""
    done = lines[lines["swap"] != ""]
    where = f"On {collection}. "
    if len(done):
        counted = tables.images_text(done["images"].max(), done["scenes"].max())
        where = f"On {collection} ({counted}), first seed, without new training. "
    protocols = ", ".join(dict.fromkeys(done["protocol"]))
    return (
        f"{where}Reach: how far the restored image moves when its prior does, in 8-bit levels: "
        "mean over values and images, and the largest change of any value. PSNR: with the control "
        f"minus with the prior itself, in dB ({protocols or 'not measured'}), paired by image, "
        "with its 95 % interval over scenes. A prior of no reach cannot have helped."
    )
