"""Measured tables from rows, and the published ones, never in one body: CSV, Markdown, LaTeX, and DVC's metrics.

Floor 4. ``cells`` computes every figure once (one row a run, data set, metric and protocol); the tables, the plots and
the page only lay those figures out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from benchlib.contracts import BenchError, nearest
from benchlib.files import new_file
from benchlib.papers import published
from benchlib.records import read_rows, write_json

if TYPE_CHECKING:
    from benchlib.params import Suite

Column = tuple[str, str]  # metric as in the rows, protocol

METRICS = ("PSNR", "SSIM", "MC")  # what the tables show; the rows hold more (masks, coverage)
SHOWN = {"PSNR": "PSNR", "SSIM": "SSIM", "MC": "MCR"}  # MC is 0 or 1 an image, MCR its mean in percent
LOWER = ("MC", "MCR")  # lower is better
DIGITS = {"PSNR": 3, "SSIM": 4, "MC": 2}
GROUP = ["run", "dataset", "metric", "protocol"]


def compared(suite: Suite) -> list[str]:
    """The runs of the comparison, in params' order: those that share the most common test collection."""
    tests = Counter(run.test for run in suite.runs.values())
    common = tests.most_common(1)[0][0]
    return [key for key, run in suite.runs.items() if run.test == common]


def is_input(suite: Suite, run: str) -> bool:
    """Whether the run is the degraded input itself: a floor under the comparison, not a method."""
    return suite.run(run).method["name"] == "identity"


def has_prior(suite: Suite, run: str) -> bool:
    """Whether the run reads a prior at test time."""
    prior = suite.priors.get(suite.run(run).prior.test)
    return prior is not None and prior.prior["name"] != "none"


def baseline(suite: Suite) -> str | None:
    """The run that differences are taken to: the first compared one that restores and has no prior."""
    plain = [key for key in compared(suite) if not is_input(suite, key) and not has_prior(suite, key)]
    return plain[0] if plain else None


def label(suite: Suite, run: str) -> str:
    """The run's name in tables: its label if it has one, with the key where two runs share a label."""
    names = {key: other.label or key for key, other in suite.runs.items()}
    shared = list(names.values()).count(names[run]) > 1
    return f"{names[run]} ({run})" if shared else names[run]


def command(suite: Suite, run: str) -> str:
    """What to type in the project's folder to make the run's rows again."""
    folder = suite.folder.relative_to((suite.folder / suite.root).resolve())
    return f"dvc repro {'' if folder == Path('.') else f'{folder.as_posix()}/dvc.yaml:'}evaluate@{run}"


def measured(suite: Suite) -> pd.DataFrame:
    """The rows of the compared runs that have rows. Raises BenchError if none has."""
    present = [key for key in compared(suite) if (suite.results / "rows" / f"{key}.csv").exists()]
    if not present:
        raise BenchError(f"{suite.results}/rows: no compared run has rows; run `{command(suite, compared(suite)[0])}`")
    return read_rows(suite, present)


def columns(rows: pd.DataFrame) -> list[Column]:
    """The (metric, protocol) pairs of the rows, metric by metric, protocols in order of appearance."""
    pairs = rows[["metric", "protocol"]].drop_duplicates()
    return [(metric, protocol) for metric in METRICS for protocol in pairs.loc[pairs["metric"] == metric, "protocol"]]


def main_columns(rows: pd.DataFrame) -> list[Column]:
    """The first protocol of each metric: what the headline and the first table show."""
    first: dict[str, str] = {}
    for metric, protocol in columns(rows):
        first.setdefault(metric, protocol)
    return list(first.items())


def datasets(suite: Suite, rows: pd.DataFrame) -> list[str]:
    """The test sets that have rows, in params' order."""
    order = list(suite.collection(suite.run(compared(suite)[0]).test))
    seen = rows["dataset"].drop_duplicates().tolist()
    return [name for name in order if name in seen] + [name for name in seen if name not in order]


def per_image(rows: pd.DataFrame) -> pd.DataFrame:
    """One value an image (mean over seeds): columns run, dataset, metric, protocol, image, value, seeds.

    Raises BenchError if a run measured one image twice under one protocol and seed (two inference modes are two runs).
    """
    keys = [*GROUP, "image"]
    repeated = rows[rows.duplicated([*keys, "seed"])]
    if len(repeated):
        first = repeated.iloc[0]
        raise BenchError(
            f"rows of run '{first['run']}': {first['dataset']}/{first['image']} has two values of {first['metric']} "
            f"{first['protocol']}, seed {first['seed']}; expected one; rerun its evaluate stage"
        )
    groups = rows.groupby(keys, sort=False)
    return groups.agg(value=("value", "mean"), seeds=("seed", "nunique")).reset_index()


def paired(suite: Suite, rows: pd.DataFrame) -> pd.DataFrame:
    """``per_image`` with ``reference``, the no-prior run's value of the same image, and ``difference`` to it.

    Both are NaN where that run has no value of the image, and everywhere if the suite has no such run.
    """
    values = per_image(rows)
    keys = ["dataset", "metric", "protocol", "image"]
    reference = values.loc[values["run"] == baseline(suite), [*keys, "value"]].rename(columns={"value": "reference"})
    values = values.merge(reference, on=keys, how="left")
    return values.assign(difference=values["value"] - values["reference"])


def cells(suite: Suite, rows: pd.DataFrame) -> pd.DataFrame:
    """Every figure of the tables, one row a (run, dataset, metric, protocol).

    value: mean over images of the mean over seeds (dB, SSIM, or MCR in percent). images, seeds: how many.
    numerator, denominator: of MCR, counted over images and seeds. difference: mean over the images shared with the
    no-prior run, run minus no-prior (MCR: percentage points). better, worse, paired: on how many of those images the
    run is better or worse than no-prior. best: the best of its column, as displayed; none where all are the same;
    the degraded input takes no part in MCR, which it defines.
    """
    rows = rows[rows["metric"].isin(METRICS)]
    values = paired(suite, rows)
    sign = values["metric"].map(lambda metric: -1 if metric in LOWER else 1)
    values = values.assign(better=sign * values["difference"] > 0, worse=sign * values["difference"] < 0)
    table = (
        values.groupby(GROUP, sort=False)
        .agg(
            value=("value", "mean"),
            images=("image", "size"),
            seeds=("seeds", "max"),
            difference=("difference", "mean"),
            better=("better", "sum"),
            worse=("worse", "sum"),
            paired=("difference", "count"),
        )
        .reset_index()
    )
    collapses = rows[rows["metric"] == "MC"].groupby(GROUP, sort=False)["value"]
    counts = collapses.agg(numerator="sum", denominator="size").astype("Int64").reset_index()
    table = table.merge(counts, on=GROUP, how="left")
    table.loc[table["metric"] == "MC", ["value", "difference"]] *= 100
    table.insert(1, "label", [label(suite, run) for run in table["run"]])
    return table.assign(best=_best(suite, table))


def _best(suite: Suite, table: pd.DataFrame) -> pd.Series:
    shown = pd.Series([round(v, DIGITS[m]) for v, m in zip(table["value"], table["metric"], strict=True)], table.index)
    takes_part = ~((table["metric"] == "MC") & table["run"].map(lambda run: is_input(suite, run)))
    best = pd.Series(False, table.index)
    for (_, metric, _), column in shown[takes_part].groupby([table[name] for name in GROUP[1:]]):
        if column.nunique() > 1:
            best[column.index] = column == (column.min() if metric in LOWER else column.max())
    return best


def value_text(cell: Any) -> str:
    """A figure as shown: "27.314", "0.8412", "6.25% (1/16)"."""
    text = f"{cell.value:.{DIGITS[cell.metric]}f}"
    return f"{text}% ({cell.numerator}/{cell.denominator})" if cell.metric == "MC" else text


def difference_text(cell: Any) -> str:
    """A difference as shown, with its sign: "+0.042", "-6.25 pp" (percentage points); "-" without a reference."""
    if pd.isna(cell.difference):
        return "-"
    text = f"{cell.difference:+.{DIGITS[cell.metric]}f}"
    text = text.replace("-", "+") if float(text) == 0 else text
    return f"{text} pp" if cell.metric == "MC" else text


def heading(metric: str, protocol: str) -> str:
    """A column's header: the measure and its protocol."""
    return f"{SHOWN.get(metric, metric)} {protocol}"


def comparison(suite: Suite, rows: pd.DataFrame, which: Iterable[Column] | None = None) -> pd.DataFrame:
    """Method x (data set, measure and protocol), as text; ``which`` limits the measures (default: all).

    The columns under "run" say how: inference mode and seeds. A cell over fewer images than its column's others says
    so. A compared run without rows is a row too: "not run: evaluate@<run>".
    """
    table = cells(suite, rows)
    images = table.groupby("dataset")["images"].max()

    def show(cell: Any) -> str:
        of = images[cell.dataset]
        return value_text(cell) + (f" [{cell.images} of {of} images]" if cell.images < of else "")

    return _lay_out(suite, rows, table, which, show)


def differences(suite: Suite, rows: pd.DataFrame, which: Iterable[Column] | None = None) -> pd.DataFrame:
    """Laid out as ``comparison``: the difference to the no-prior run, and on how many shared images it is better."""

    def show(cell: Any) -> str:
        return f"{difference_text(cell)} ({cell.better}/{cell.paired} better)" if cell.paired else "-"

    table = _lay_out(suite, rows, cells(suite, rows), which, show)
    no_prior = baseline(suite)
    return table.drop(index=label(suite, no_prior)) if no_prior else table


def best(suite: Suite, rows: pd.DataFrame, which: Iterable[Column] | None = None) -> pd.DataFrame:
    """True where ``comparison`` holds the best of its column (see ``cells``)."""
    return _lay_out(suite, rows, cells(suite, rows), which, lambda cell: cell.best).map(lambda flag: flag is True)


def _lay_out(
    suite: Suite,
    rows: pd.DataFrame,
    table: pd.DataFrame,
    which: Iterable[Column] | None,
    show: Callable[[Any], Any],
) -> pd.DataFrame:
    which = columns(rows) if which is None else list(which)
    header = [("run", "inference"), ("run", "seeds")]
    header += [(name, heading(*column)) for name in datasets(suite, rows) for column in which]
    lines: dict[str, dict[Column, Any]] = {}
    for run in compared(suite):
        line = dict.fromkeys(header, "-")
        line[header[0]] = inference(rows, run) or f"not run: evaluate@{run}"
        line[header[1]] = str(seeds(rows, run)) if run in set(rows["run"]) else "-"
        for cell in table[table["run"] == run].itertuples():
            if (cell.metric, cell.protocol) in which:
                line[(cell.dataset, heading(cell.metric, cell.protocol))] = show(cell)
        lines[label(suite, run)] = line
    frame = pd.DataFrame.from_dict(lines, orient="index", dtype=object)
    frame = frame.reindex(columns=pd.MultiIndex.from_tuples(header, names=["dataset", "measure"]))
    return frame.rename_axis("method")


def published_cells(paper: str, table: str, reference: str = "") -> pd.DataFrame:
    """The numbers of one of a paper's tables, with ``text`` as printed and a ``difference``.

    difference: to the same column of the row ``reference``; computed here, NaN without such a row.
    Raises BenchError, with the nearest name, for an unknown paper or table.
    """
    numbers = published(paper)
    if table not in set(numbers["table"]):
        raise BenchError(f"papers: {paper} has no table '{table}'; {nearest(table, set(numbers['table']))}")
    numbers = numbers[numbers["table"] == table]
    keys = ["dataset", "metric"]
    base = numbers.loc[numbers["row"] == reference, [*keys, "value"]].rename(columns={"value": "reference"})
    numbers = numbers.merge(base, on=keys, how="left")
    text = numbers["printed"] + numbers["unit"].where(numbers["unit"] == "%", "")
    text = text.where(numbers["printed"] != "", "?")  # garbled in the text conversion: its note says so
    return numbers.assign(difference=numbers["value"] - numbers["reference"], text=text)


def published_table(paper: str, table: str) -> pd.DataFrame:
    """A paper's table in the shape of ``comparison``, digits as printed. Measured on other data than the suite's."""
    numbers = published_cells(paper, table)
    return _published(numbers, numbers["text"])


def published_best(paper: str, table: str) -> pd.DataFrame:
    """True where ``published_table`` is printed in bold."""
    numbers = published_cells(paper, table)
    return _published(numbers, numbers["bold"])


def _published(table: pd.DataFrame, values: pd.Series) -> pd.DataFrame:
    measures = [heading(metric, "as published") for metric in table["metric"]]
    header = list(zip(table["dataset"], measures, strict=True))
    lines: dict[str, dict[Column, Any]] = {}
    for row, column, value in zip(table["row"], header, values, strict=True):
        lines.setdefault(row, {})[column] = value
    frame = pd.DataFrame.from_dict(lines, orient="index", dtype=object)
    names = ["dataset", "measure"]
    return frame.reindex(columns=pd.MultiIndex.from_tuples(dict.fromkeys(header), names=names)).rename_axis("method")


def published_note(paper: str, table: str) -> str:
    """The line that stands over a published table."""
    numbers = published_cells(paper, table)
    names = ", ".join(numbers["dataset"].drop_duplicates())
    other = f"measured on other data ({names})"
    return f"Published ({paper}, Table {table}), {other}; not to be read cell by cell against ours."


def suite_tables(suite: Suite) -> list[tuple[str, str]]:
    """The published tables, as (paper, table), that the compared runs name."""
    runs = [suite.run(key) for key in compared(suite)]
    return list(dict.fromkeys((run.paper, run.table) for run in runs if run.paper and run.table))


def counts_note(suite: Suite, rows: pd.DataFrame) -> str:
    """How many images and seeds stand behind the figures."""
    table = cells(suite, rows)
    images = table.groupby("dataset")["images"].max()
    sets = ", ".join(f"{name} {images[name]}" for name in datasets(suite, rows))
    return f"Images: {sets}. {seeds_text(rows)}. Mean over images of the mean over seeds."


def seeds(rows: pd.DataFrame, run: str) -> int:
    """How many seeds a run was measured with (rows of masks have none)."""
    return int(rows.loc[(rows["run"] == run) & rows["metric"].isin(METRICS), "seed"].nunique())


def inference(rows: pd.DataFrame, run: str) -> str:
    """A run's inference mode; where it differs between test sets, each mode with its sets. Empty for a run not run."""
    own = rows[(rows["run"] == run) & rows["metric"].isin(METRICS)]
    modes = own.groupby("inference", sort=False)["dataset"].unique()
    if len(modes) == 1:
        return str(modes.index[0])
    return ", ".join(f"{mode} ({', '.join(sets)})" for mode, sets in modes.items())


def seeds_text(rows: pd.DataFrame) -> str:
    """How many seeds: "One seed a run", "3 seeds a run" or "1 to 3 seeds a run"."""
    counts = [seeds(rows, run) for run in rows["run"].unique()]
    low, high = min(counts), max(counts)
    if low == high:
        return "One seed a run" if low == 1 else f"{low} seeds a run"
    return f"{low} to {high} seeds a run"


def metrics(suite: Suite, rows: pd.DataFrame) -> dict[str, dict[str, dict[str, float]]]:
    """The headline numbers for ``dvc metrics``: {run: {data set: {PSNR, SSIM, MCR}}}; MCR in percent."""
    main = main_columns(rows)
    numbers: dict[str, dict[str, dict[str, float]]] = {}
    for cell in cells(suite, rows).itertuples():
        if (cell.metric, cell.protocol) in main:
            numbers.setdefault(cell.run, {}).setdefault(cell.dataset, {})[SHOWN[cell.metric]] = round(cell.value, 6)
    return numbers


def make(suite: Suite) -> dict[str, Path]:
    """Write ``tables/{comparison,differences,published}.{csv,md,tex}`` and ``metrics.json`` under the suite's results.

    The CSV files are tidy and at full precision; Markdown and LaTeX (booktabs) are for reading. Returns the paths by
    name ("comparison.csv", ..., "metrics.json"). Raises BenchError if no compared run has rows.
    """
    rows = measured(suite)
    main = main_columns(rows)
    rest = [column for column in columns(rows) if column not in main]
    note, no_prior = counts_note(suite, rows), baseline(suite)
    against = f"Difference to {label(suite, no_prior)!r}, paired by image. {note}" if no_prior else note
    parts: dict[str, list[tuple[pd.DataFrame, pd.DataFrame, str]]] = {"comparison": [], "differences": []}
    for which in [main, rest] if rest else [main]:
        table, change = comparison(suite, rows, which), differences(suite, rows, which)
        parts["comparison"].append((table, best(suite, rows, which), f"Measured here. {note} Best in bold."))
        parts["differences"].append((change, pd.DataFrame(False, change.index, change.columns), against))
    printed = suite_tables(suite)
    parts["published"] = [(published_table(*at), published_best(*at), published_note(*at)) for at in printed]

    tidy = cells(suite, rows)
    change = tidy.loc[~tidy["run"].isin([no_prior]), [*GROUP, "difference", "better", "worse", "paired", "seeds"]]
    frames = {"comparison": tidy, "differences": change.assign(reference=no_prior)}
    papers = dict.fromkeys(paper for paper, _ in printed)
    frames["published"] = pd.concat([published(p).drop(columns="printed") for p in papers] or [pd.DataFrame()])
    folder = suite.results / "tables"
    texts = {f"{name}.csv": frame.to_csv(index=False, lineterminator="\n") for name, frame in frames.items()}
    texts |= {f"{name}.md": "\n".join(markdown(*part) for part in group) for name, group in parts.items()}
    texts |= {f"{name}.tex": "\n".join(latex(*part) for part in group) for name, group in parts.items()}
    for name, text in texts.items():
        with new_file(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    write_json(suite.results / "metrics.json", metrics(suite, rows))
    return {name: folder / name for name in texts} | {"metrics.json": suite.results / "metrics.json"}


_MARKDOWN = str.maketrans({c: "\\" + c for c in "\\`*_[]|~"} | {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\n": " "})
_LATEX = str.maketrans(
    {c: "\\" + c for c in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\n": " "}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}"}
)


def _plain(text: str) -> str:
    return text.translate(_MARKDOWN)


def _tex(text: str) -> str:
    return re.sub(r"^-(?=\d)", "$-$", text.translate(_LATEX))


def markdown(table: pd.DataFrame, bold: pd.DataFrame, note: str) -> str:
    """A table of text as GitHub Markdown under its note; what comes from data is escaped, ``bold`` cells are bold."""
    header = ["method"] + [f"{a}: {b}" if a != "run" else b for a, b in table.columns]
    lines = [[_plain(cell) for cell in header], ["---"] * len(header)]
    for name, values, flags in zip(table.index, table.to_numpy(), bold.to_numpy(), strict=True):
        shown = [f"**{_plain(value)}**" if flag else _plain(value) for value, flag in zip(values, flags, strict=True)]
        lines.append([_plain(name), *shown])
    return "\n".join([_plain(note), "", *("| " + " | ".join(line) + " |" for line in lines), ""])


def latex(table: pd.DataFrame, bold: pd.DataFrame, note: str) -> str:
    """A table of text as a LaTeX ``table*`` (package booktabs); escaped, ``bold`` cells are bold."""
    style = table.rename_axis(index=None, columns=[None, None]).style
    style = style.format(_tex).format_index(_tex, axis=0).format_index(_tex, axis=1)
    flags = bold.set_axis(style.index).set_axis(style.columns, axis=1)
    style = style.apply(lambda _: flags.replace({True: "textbf:--rwrap", False: ""}), axis=None)
    layout = "l" + "l" * table.shape[1]
    return style.to_latex(
        hrules=True, multicol_align="c", column_format=layout, environment="table*", caption=_tex(note)
    )
