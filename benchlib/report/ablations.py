"""Ablations: runs that change one thing each, as tables of their own. Layer 4."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from benchlib.contracts import BenchError
from benchlib.report import tables

if TYPE_CHECKING:
    from benchlib.params import Suite

VERSION = 2
COLUMNS = (
    "ablation", "run", "label", "is_reference", "collection", "dataset", "metric", "protocol",
    "value", "reference", "difference", "low", "high", "gain", "loss", "best", "images", "scenes",
    "exact", "undefined", "seeds", "paired", "apart", "numerator", "denominator",
)  # fmt: skip


def all_ablations(suite: Suite, rows: pd.DataFrame) -> pd.DataFrame:
    """``lines_of`` each of the suite's ablations, one below the other.

    One without rows is left out, and says why.
    """
    parts = [pd.DataFrame(columns=list(COLUMNS))]
    for key in suite.ablations:
        try:
            parts.append(lines_of(suite, rows, key))
        except BenchError as error:
            print(f"ablations {key}: skipped: {error}")
    if len(parts) == 1:
        return parts[0]
    return pd.concat(parts[1:], ignore_index=True)


def lines_of(suite: Suite, rows: pd.DataFrame, key: str) -> pd.DataFrame:
    """One ablation, tidy: a line a run and data set, the runs' references first.

    The figures are those of ``tables.cells`` under the collection's leading measure and protocol,
    the Average among the data sets: value; difference to the run's reference, paired by image, with
    low and high, its 95 % interval. best: of its data set among these lines, as displayed; none
    where all are the same. Raises BenchError if none of its runs has rows.
    """
    ablation = suite.ablations[key]
    runs = [*_references(suite, ablation.runs), *ablation.runs]
    own = rows[rows["run"].isin(runs)]
    if not set(own["run"]) & set(ablation.runs):
        raise BenchError(
            f"ablations.{key}: no rows; run `{tables.command(suite, ablation.runs[0])}`"
        )
    metric, protocol = tables.main_columns(suite, own)[0]
    table = tables.cells(suite, rows)
    table = table[(table["metric"] == metric) & (table["protocol"] == protocol)]
    places = {run: i for i, run in enumerate(runs)}
    lines = table[table["run"].isin(runs)].sort_values(
        "run", key=lambda names: names.map(places), kind="stable", ignore_index=True
    )
    lines = lines.assign(ablation=key, is_reference=~lines["run"].isin(ablation.runs))
    return lines.assign(best=_best(suite, lines))[list(COLUMNS)]


def _references(suite: Suite, runs: list[str]) -> list[str]:
    """What the runs are compared with, each once; not those that are lines themselves."""
    found: list[str] = []
    for run in runs:
        other = tables.reference(suite, run)
        if other and other not in [*runs, *found]:
            found.append(other)
    return found


def _best(suite: Suite, lines: pd.DataFrame) -> pd.Series:
    """The best line of each data set, as displayed."""
    best = pd.Series(False, lines.index)
    for _, column in lines.groupby(["metric", "dataset"]):
        best[column.index] = tables.best_of(suite, column)
    return best


def table_text(suite: Suite, lines: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One ablation as text, a line a run and two columns a data set; and which cells are best.

    A run without rows is a line too: "not run: evaluate@<run>".
    """
    ablation = suite.ablations[lines["ablation"].iloc[0]]
    shown: dict[str, dict[tables.Column, Any]] = {}
    bold: dict[str, dict[tables.Column, bool]] = {}
    heads = _heads(suite, lines)
    for run in dict.fromkeys([*lines["run"], *ablation.runs]):
        own = lines[lines["run"] == run]
        line: dict[tables.Column, Any] = dict.fromkeys(heads, "-")
        flags = dict.fromkeys(heads, False)
        line["run", "seeds"] = f"not run: evaluate@{run}"
        for cell in own.itertuples():
            line["run", "seeds"] = str(cell.seeds)
            value, change = _columns(suite, cell)
            line[value] = tables.value_text(suite, cell)
            line[change] = tables.interval_text(suite, cell)
            flags[value] = bool(cell.best)
        name = tables.run_label(suite, run)
        shown[name], bold[name] = line, flags
    columns = pd.MultiIndex.from_tuples(heads, names=["dataset", "measure"])
    table = pd.DataFrame.from_dict(shown, orient="index", dtype=object).reindex(columns=columns)
    flags_ = pd.DataFrame.from_dict(bold, orient="index").reindex(columns=columns)
    return table.rename_axis("method"), flags_.rename_axis("method")


def _heads(suite: Suite, lines: pd.DataFrame) -> list[tables.Column]:
    """The columns: seeds, then a value and a difference for each data set."""
    heads: list[tables.Column] = [("run", "seeds")]
    for cell in lines.drop_duplicates("dataset").itertuples():
        heads += _columns(suite, cell)
    return heads


def _columns(suite: Suite, cell: Any) -> tuple[tables.Column, tables.Column]:
    value = tables.heading(suite, cell.metric, cell.protocol)
    return (cell.dataset, value), (cell.dataset, "difference")


def note(suite: Suite, key: str, lines: pd.DataFrame) -> str:
    """The line that stands over one ablation's table."""
    ablation = suite.ablations[key]
    first = dict.fromkeys(lines.loc[lines["is_reference"], "label"])
    against = "their references"
    if first:
        against = "“" + "”, “".join(first) + "”"
    beside = ""
    if ablation.paper and ablation.table:
        beside = f" Beside {ablation.paper}, Table {ablation.table}."
    most = lines.groupby("dataset", sort=False)[["images", "scenes"]].max()
    counts = ", ".join(f"{name} ({most.images[name]:.0f} images)" for name in most.index)
    return (
        f"Ablation: {ablation.label}.{beside} On {counts}. Differences to {against}, paired by "
        "image, with 95 % intervals. Best in bold, chance or not."
    )
