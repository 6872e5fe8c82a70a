"""Tables as files: tidy CSV, Markdown and LaTeX to read, and DVC's metrics. Layer 4."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from benchlib import papers
from benchlib.files import new_file
from benchlib.records import left_over, write_json
from benchlib.report import (
    ablations,
    controls,
    convergence,
    cost,
    plots,
    published,
    reach,
    tables,
)
from benchlib.report.markup import csv, latex, markdown

if TYPE_CHECKING:
    from benchlib.params import Suite

VERSION = 2
Part = tuple[pd.DataFrame, pd.DataFrame, str]  # a table of text, its bold cells, the line over it


def _part(table: pd.DataFrame, note: str) -> Part:
    return table, pd.DataFrame(False, table.index, table.columns), note


def _measured_parts(suite: Suite, rows: pd.DataFrame, collection: str) -> dict[str, list[Part]]:
    """The comparison and the differences of one test collection: the leading protocols, then the others."""
    own = tables.rows_of(suite, rows, collection)
    main = tables.main_columns(suite, own)
    rest = [column for column in tables.columns(suite, own) if column not in main]
    several = len(tables.measured_collections(suite, rows)) > 1
    note = (f"Test collection {collection}. " if several else "") + tables.counts_note(
        suite, own, collection
    )
    parts: dict[str, list[Part]] = {"comparison": [], "differences": []}
    for which in [main, rest] if rest else [main]:
        shown = tables.laid_out(suite, own, which, collection)
        said = f"Measured here. {note} Best in bold, chance or not."
        parts["comparison"].append((shown.comparison, shown.best, said))
        change = shown.differences
        flags = shown.gained.reindex(index=change.index, columns=change.columns, fill_value=False)
        parts["differences"].append((change, flags, f"{AGAINST} {note}"))
    return parts


AGAINST = (
    "Differences to the run named under reference, paired by image, with 95 % intervals (scenes and seeds resampled; "
    "copies of a photograph and frames of a sequence are one scene). Bold: a gain whose interval excludes zero."
)


CHANGES = [
    "label", "collection", "reference", "difference", "low", "high", "p", "p_holm", "gain", "loss",
    "better", "worse", "paired", "apart", "scenes", "seeds",
]  # fmt: skip


def make_all(suite: Suite) -> dict[str, Path]:
    """Write all that the tables stage leaves: tables, cost and plots; the paths by name.

    Raises BenchError if no run has rows, or an input of the cost table is missing.
    """
    paths = make(suite) | cost.make(suite)
    for name, path in plots.make(suite).items():
        paths[f"{name}.png"] = path
    return paths


def make(suite: Suite) -> dict[str, Path]:
    """Write ``tables/{comparison,differences,published}.{csv,md,tex}`` and ``metrics.json``.

    Under the suite's results; ``reproduction``, ``controls``, ``reach``, ``ablations`` and
    ``convergence`` too where there is something to say. The CSV files are tidy and at full
    precision; Markdown and LaTeX (booktabs) are for reading, a part a test collection. Returns the
    paths by name ("comparison.csv", ..., "metrics.json"). Raises BenchError if no run has rows.
    """
    restored = tables.everything_restored(suite)
    rows = tables.of_the_prior(restored)
    _say_left_over(suite)
    frames, parts = _measured(suite, rows)
    for frame, part, name in (
        (*_published(suite), "published"),
        (*_reproduction(suite, rows), "reproduction"),
        (*_controls(suite, rows), "controls"),
        (*_reach(suite, restored), "reach"),
        (*_ablations(suite, rows), "ablations"),
        (*_convergence(suite), "convergence"),
    ):
        if part or name == "published":
            frames[name], parts[name] = frame, part
    paths = _write(suite.results / "tables", frames, parts)
    paths["metrics.json"] = suite.results / "metrics.json"
    write_json(paths["metrics.json"], tables.metrics(suite, rows))
    return paths


def _say_left_over(suite: Suite) -> None:
    """One line that names what lies there of runs, sets and priors that are no longer named."""
    names = [str(path) for path in left_over(suite)]
    if names:
        print(
            "left over of runs, sets or priors that params.yaml no longer names, and read nowhere; "
            f"delete what is not wanted: {', '.join(names)}"
        )


def _measured(
    suite: Suite, rows: pd.DataFrame
) -> tuple[dict[str, pd.DataFrame], dict[str, list[Part]]]:
    """The comparison and the differences: tidy, and as text."""
    tidy = tables.cells(suite, rows)
    change = tidy.loc[tidy["reference"].notna(), [*tables.GROUP, *CHANGES]]
    frames = {"comparison": tidy, "differences": change.rename(columns={"paired": "images"})}
    parts: dict[str, list[Part]] = {"comparison": [], "differences": []}
    for collection in tables.measured_collections(suite, rows):
        for name, group in _measured_parts(suite, rows, collection).items():
            parts[name] += group
    return frames, parts


def _published(suite: Suite) -> tuple[pd.DataFrame, list[Part]]:
    printed = published.tables_named(suite)
    parts = []
    for at in printed:
        parts.append((published.table(*at), published.best(*at), published.note(*at)))
    named = dict.fromkeys(paper for paper, _ in printed)
    frames = [papers.published(paper).drop(columns="printed") for paper in named]
    return pd.concat(frames or [pd.DataFrame()]), parts


def _reproduction(suite: Suite, rows: pd.DataFrame) -> tuple[pd.DataFrame, list[Part]]:
    beside = published.reproduction(suite, rows)
    parts = []
    for at, lines in beside.groupby(["paper", "table"], sort=False):
        text = published.reproduction_text(suite, lines)
        parts.append(_part(text, published.reproduction_note(*at)))
    return beside, parts


def _controls(suite: Suite, rows: pd.DataFrame) -> tuple[pd.DataFrame, list[Part]]:
    steps = controls.all_steps(suite, rows)
    parts = []
    for key, lines in steps.groupby("control", sort=False):
        parts.append((*controls.steps_text(suite, lines), controls.note(suite, key)))
    return steps, parts


def _reach(suite: Suite, rows: pd.DataFrame) -> tuple[pd.DataFrame, list[Part]]:
    found = reach.reach_lines(suite, rows)
    parts = []
    for collection, lines in found.groupby("collection", sort=False):
        parts.append(_part(reach.table_text(suite, lines), reach.note(str(collection), lines)))
    return found, parts


def _ablations(suite: Suite, rows: pd.DataFrame) -> tuple[pd.DataFrame, list[Part]]:
    found = ablations.all_ablations(suite, rows)
    parts = []
    for key, lines in found.groupby("ablation", sort=False):
        text = ablations.table_text(suite, lines)
        parts.append((*text, ablations.note(suite, str(key), lines)))
    return found, parts


def _convergence(suite: Suite) -> tuple[pd.DataFrame, list[Part]]:
    soon = convergence.table(suite)
    parts = []
    for group, lines in soon.groupby("group", sort=False):
        text = convergence.table_text(lines)
        parts.append(_part(text, convergence.note(suite, group, lines)))
    return soon, parts


def _write(
    folder: Path, frames: dict[str, pd.DataFrame], parts: dict[str, list[Part]]
) -> dict[str, Path]:
    texts = {}
    for name, frame in frames.items():
        texts[f"{name}.csv"] = csv(frame)
    for name, group in parts.items():
        texts[f"{name}.md"] = "\n".join(markdown(*part) for part in group)
    for name, group in parts.items():
        texts[f"{name}.tex"] = "\n".join(latex(*part) for part in group)
    for name, text in texts.items():
        with new_file(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return {name: folder / name for name in texts}
