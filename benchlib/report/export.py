"""Tables as files: tidy CSV, Markdown and LaTeX to read, and DVC's metrics. Floor 4."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from benchlib import papers
from benchlib.files import new_file
from benchlib.records import write_json
from benchlib.report import controls, convergence, published, tables
from benchlib.report.markup import latex, markdown

if TYPE_CHECKING:
    from benchlib.params import Suite

Part = tuple[pd.DataFrame, pd.DataFrame, str]  # a table of text, its bold cells, the line over it


def _part(table: pd.DataFrame, note: str) -> Part:
    return table, pd.DataFrame(False, table.index, table.columns), note


def _measured_parts(suite: Suite, rows: pd.DataFrame, collection: str) -> dict[str, list[Part]]:
    """The comparison and the differences of one test collection: the leading protocols, then the others."""
    own = tables.of(suite, rows, collection)
    main = tables.main_columns(own)
    rest = [column for column in tables.columns(own) if column not in main]
    several = len(tables.measured_collections(suite, rows)) > 1
    note = (f"Test collection {collection}. " if several else "") + tables.counts_note(suite, own, collection)
    parts: dict[str, list[Part]] = {"comparison": [], "differences": []}
    for which in [main, rest] if rest else [main]:
        at = (suite, own, which, collection)
        change = tables.differences(*at)
        flags = tables.gained(*at).reindex(index=change.index, columns=change.columns, fill_value=False)
        parts["comparison"].append(
            (tables.comparison(*at), tables.best(*at), f"Measured here. {note} Best in bold, chance or not.")
        )
        parts["differences"].append((change, flags, f"{AGAINST} {note}"))
    return parts


AGAINST = (
    "Differences to the run named under reference, paired by image, with 95 % intervals (scenes and seeds resampled; "
    "copies of a photograph and frames of a sequence are one scene). Bold: a gain whose interval excludes zero."
)


def make(suite: Suite) -> dict[str, Path]:
    """Write ``tables/{comparison,differences,published}.{csv,md,tex}`` and ``metrics.json`` under the suite's results;
    ``reproduction``, ``controls`` and ``convergence`` too where there is something to say.

    The CSV files are tidy and at full precision; Markdown and LaTeX (booktabs) are for reading, a part a test
    collection. Returns the paths by name ("comparison.csv", ..., "metrics.json"). Raises BenchError if no run has rows.
    """
    rows = tables.everything(suite)
    tidy = tables.cells(suite, rows)
    change = ["label", "collection", "reference", "difference", "low", "high", "p", "p_holm", "gain", "loss"]
    change += ["better", "worse", "paired", "scenes", "seeds"]
    frames = {
        "comparison": tidy,
        "differences": tidy.loc[tidy["reference"].notna(), [*tables.GROUP, *change]].rename(
            columns={"paired": "images"}
        ),
    }
    parts: dict[str, list[Part]] = {"comparison": [], "differences": []}
    for collection in tables.measured_collections(suite, rows):
        for name, group in _measured_parts(suite, rows, collection).items():
            parts[name] += group
    printed = published.of_suite(suite)
    parts["published"] = [(published.table(*at), published.best(*at), published.note(*at)) for at in printed]
    named = dict.fromkeys(paper for paper, _ in printed)
    frames["published"] = pd.concat([papers.published(p).drop(columns="printed") for p in named] or [pd.DataFrame()])
    beside = published.reproduction(suite, rows)
    if len(beside):
        frames["reproduction"] = beside
        parts["reproduction"] = [
            _part(published.reproduction_text(lines), published.reproduction_note(*at))
            for at, lines in beside.groupby(["paper", "table"], sort=False)
        ]
    steps = controls.every(suite, rows)
    if len(steps):
        frames["controls"] = steps
        parts["controls"] = [
            (*controls.text(lines), controls.note(suite, key)) for key, lines in steps.groupby("control", sort=False)
        ]
    soon = convergence.table(suite)
    if len(soon):
        frames["convergence"] = soon
        parts["convergence"] = [
            _part(convergence.text(lines), convergence.note(suite, group, lines))
            for group, lines in soon.groupby("group", sort=False)
        ]
    folder = suite.results / "tables"
    texts = {f"{name}.csv": frame.to_csv(index=False, lineterminator="\n") for name, frame in frames.items()}
    texts |= {f"{name}.md": "\n".join(markdown(*part) for part in group) for name, group in parts.items()}
    texts |= {f"{name}.tex": "\n".join(latex(*part) for part in group) for name, group in parts.items()}
    for name, text in texts.items():
        with new_file(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    write_json(suite.results / "metrics.json", tables.metrics(suite, rows))
    return {name: folder / name for name in texts} | {"metrics.json": suite.results / "metrics.json"}
