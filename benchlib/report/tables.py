"""Measured tables from rows, and the published ones, never in one body: CSV, Markdown, LaTeX, and DVC's metrics.

Floor 4. ``cells`` computes every figure once (one row a run, data set, metric and protocol); the tables, the plots and
the page only lay those figures out. Runs are compared within a test collection; a function that takes an optional
``collection`` takes the first of ``collections`` if none is given.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from benchlib.contracts import BenchError, nearest
from benchlib.files import new_file
from benchlib.papers import published
from benchlib.records import read_json, read_rows, write_json
from benchlib.report import statistics

if TYPE_CHECKING:
    from benchlib.params import Suite

Column = tuple[str, str]  # metric as in the rows, protocol

METRICS = ("PSNR", "SSIM", "MC")  # what the tables show; the rows hold more (masks, coverage)
SHOWN = {"PSNR": "PSNR", "SSIM": "SSIM", "MC": "MCR"}  # MC is 0 or 1 an image, MCR its mean in percent
STAND_INS = ("zeroed", "shuffled", "superpixels")  # priors that are controls of another
LOWER = ("MC", "MCR")  # lower is better
DIGITS = {"PSNR": 3, "SSIM": 4, "MC": 2}
GROUP = ["run", "dataset", "metric", "protocol"]
AVERAGE = "Average"  # the data set that is all images of a test collection; papers print it under that name


def collections(suite: Suite) -> dict[str, list[str]]:
    """The test collections that are shown and their runs, in params' order; the most common collection comes first.

    One that a run trains on (where the masks' images are restored, say) is not shown, unless there is no other.
    """
    tests = Counter(run.test for run in suite.runs.values())
    trained = {run.train for run in suite.runs.values()}
    shown = [name for name in suite.data if name in tests and name not in trained]
    shown = shown or [name for name in suite.data if name in tests]
    first = max(shown, key=lambda name: tests[name])
    return {name: compared(suite, name) for name in [first, *(name for name in shown if name != first)]}


def compared(suite: Suite, collection: str | None = None) -> list[str]:
    """The runs of the comparison, in params' order: those that share a test collection."""
    collection = next(iter(collections(suite))) if collection is None else collection
    return [key for key, run in suite.runs.items() if run.test == collection]


def controlling(suite: Suite) -> set[str]:
    """The runs that stand in a prior's place: named by an entry of ``controls``, or with a control for a prior."""
    named = [(c.trained, c.zeroed, c.segmentation, *c.others) for c in suite.controls.values()]
    stand_ins = [run for run in suite.runs if prior_of(suite, run) in STAND_INS]
    return {run for runs in named for run in runs if run} | set(stand_ins)


def prior_of(suite: Suite, run: str) -> str:
    """The name of the prior that a run has at test time."""
    prior = suite.priors.get(suite.run(run).prior.test)
    return prior.prior["name"] if prior else "none"


def is_input(suite: Suite, run: str) -> bool:
    """Whether the run is the degraded input itself: a floor under the comparison, not a method."""
    return suite.run(run).method["name"] == "identity"


def has_prior(suite: Suite, run: str) -> bool:
    """Whether the run reads a prior at test time."""
    return prior_of(suite, run) != "none"


def baseline(suite: Suite, collection: str | None = None) -> str | None:
    """The first run of a test collection that restores and has no prior."""
    plain = [key for key in compared(suite, collection) if not is_input(suite, key) and not has_prior(suite, key)]
    return plain[0] if plain else None


def reference(suite: Suite, run: str) -> str | None:
    """The run that differences of ``run`` are taken to: the one it names, else the baseline; None for itself.

    Raises BenchError if the two test on different collections: their images would be paired by name alone.
    """
    own = suite.run(run)
    other = own.reference or baseline(suite, own.test)
    if other and suite.run(other).test != own.test:
        raise BenchError(
            f"runs.{run}.reference: got {other!r}, which tests on {suite.run(other).test!r}, not on {own.test!r}; "
            "name a run of the same test collection"
        )
    return None if other == run else other


def label(suite: Suite, run: str) -> str:
    """The run's name in tables: its label if it has one, with the key where two of a collection share a label."""
    names = {key: suite.run(key).label or key for key in compared(suite, suite.run(run).test)}
    shared = list(names.values()).count(names[run]) > 1
    return f"{names[run]} ({run})" if shared else names[run]


def command(suite: Suite, run: str) -> str:
    """What to type in the project's folder to make the run's rows again."""
    folder = suite.folder.relative_to((suite.folder / suite.root).resolve())
    return f"dvc repro {'' if folder == Path('.') else f'{folder.as_posix()}/dvc.yaml:'}evaluate@{run}"


def measured(suite: Suite, collection: str | None = None) -> pd.DataFrame:
    """The rows of a test collection's runs that have rows. Raises BenchError if none has."""
    return _read(suite, compared(suite, collection))


def everything(suite: Suite) -> pd.DataFrame:
    """The rows of all shown test collections' runs that have rows. Raises BenchError if none has."""
    return _read(suite, [run for runs in collections(suite).values() for run in runs])


def _read(suite: Suite, runs: list[str]) -> pd.DataFrame:
    present = [key for key in runs if (suite.results / "rows" / f"{key}.csv").exists()]
    if not present:
        raise BenchError(f"{suite.results}/rows: no compared run has rows; run `{command(suite, runs[0])}`")
    return read_rows(suite, present)


def of(suite: Suite, rows: pd.DataFrame, collection: str | None = None) -> pd.DataFrame:
    """Those of the rows whose runs belong to a test collection."""
    return rows[rows["run"].isin(compared(suite, collection))]


def measured_collections(suite: Suite, rows: pd.DataFrame) -> list[str]:
    """The shown test collections of which the rows hold something, in order."""
    seen = set(rows["run"])
    return [name for name, runs in collections(suite).items() if seen & set(runs)]


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


def datasets(suite: Suite, rows: pd.DataFrame, collection: str | None = None) -> list[str]:
    """The test sets that have rows, in params' order; see ``columns_of`` for the Average."""
    order = list(suite.collection(suite.run(compared(suite, collection)[0]).test))
    seen = of(suite, rows, collection)["dataset"].drop_duplicates().tolist()
    return [name for name in order if name in seen] + [name for name in seen if name not in order]


def averaged(suite: Suite, rows: pd.DataFrame, run: str) -> list[str]:
    """The test sets that a run's Average covers; empty where its evaluation asks for none or it has but one set."""
    sets = rows.loc[(rows["run"] == run) & rows["metric"].isin(METRICS), "dataset"].unique().tolist()
    return sets if suite.evaluation_of(run).average and len(sets) > 1 else []


def columns_of(suite: Suite, rows: pd.DataFrame, collection: str | None = None) -> list[str]:
    """The data sets as the tables show them: ``datasets``, and the Average if a run has one."""
    some = any(averaged(suite, rows, run) for run in compared(suite, collection))
    return datasets(suite, rows, collection) + [AVERAGE] * some


def pooled(suite: Suite, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows, and each run's once more under the data set Average where its evaluation asks for one.

    An image is called ``<set>/<image>`` there. A mean over those images weighs each set by its image count, as the
    averages of the SPT paper's Table 1 are.
    """
    copies = [rows]
    for run in rows["run"].unique():
        own = rows[(rows["run"] == run) & rows["dataset"].isin(averaged(suite, rows, run))]
        copies.append(own.assign(dataset=AVERAGE, image=own["dataset"] + "/" + own["image"]))
    return pd.concat(copies, ignore_index=True)


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
    """``per_image`` with each run's ``reference`` (None for a baseline) and the ``difference`` to it on the same image.

    Seeds are paired as ``statistics.differences`` says; the mean over them is NaN where the reference lacks the image.
    """
    values = per_image(rows)
    references = {run: reference(suite, run) for run in values["run"].unique()}
    parts = dict(iter(rows.groupby(GROUP, sort=False)))
    changes = [values.iloc[:0][[*GROUP, "image"]].assign(difference=0.0)]
    for (run, *place), part in parts.items():
        other = parts.get((references[run], *place))
        if other is not None:
            change = statistics.differences(part, other).mean(axis=1).rename("difference").reset_index()
            changes.append(change.assign(run=run, metric=place[1], protocol=place[2]))
    values = values.merge(pd.concat(changes), on=[*GROUP, "image"], how="left")
    return values.assign(reference=values["run"].map(references))


def cells(suite: Suite, rows: pd.DataFrame) -> pd.DataFrame:
    """Every figure of the tables, one row a (run, dataset, metric, protocol), the Average's among them.

    value: mean over images of the mean over seeds (dB, SSIM, or MCR in percent). images, seeds: how many.
    numerator, denominator: of MCR, counted over images and seeds. reference: the run that the difference is taken to;
    difference: mean over the images shared with it, run minus reference (MCR: percentage points), with low and high,
    the ends of its 95 % interval, p (Wilcoxon) and p_holm, corrected over all differences of one (collection, metric,
    protocol); see ``statistics``. gain, loss: the interval excludes zero and the run is better, or worse. better,
    worse, paired: on how many of the shared images the run is better or worse. best: the best of its column, as
    displayed; none where all are the same; the degraded input takes no part in MCR, which it defines.
    """
    tests = rows["run"].map(lambda run: suite.run(run).test)
    parts = [_kept_cells(suite, part) for _, part in rows.groupby(tests, sort=False)]
    return pd.concat(parts, ignore_index=True)


_KEPT: dict[bytes, pd.DataFrame] = {}  # the tables, plots and page ask for the same cells many times


def _kept_cells(suite: Suite, rows: pd.DataFrame) -> pd.DataFrame:
    """The cells of one test collection, computed once in a process."""
    key = hashlib.sha256(pd.util.hash_pandas_object(rows, index=False).to_numpy().tobytes())
    key.update(suite.model_dump_json().encode())
    if key.digest() not in _KEPT:
        while len(_KEPT) >= 16:
            _KEPT.pop(next(iter(_KEPT)))
        _KEPT[key.digest()] = _cells(suite, rows)
    return _KEPT[key.digest()]


def _cells(suite: Suite, rows: pd.DataFrame) -> pd.DataFrame:
    rows = pooled(suite, rows[rows["metric"].isin(METRICS)])
    values = paired(suite, rows)
    sign = values["metric"].map(lambda metric: -1 if metric in LOWER else 1)
    values = values.assign(better=sign * values["difference"] > 0, worse=sign * values["difference"] < 0)
    table = (
        values.groupby(GROUP, sort=False)
        .agg(
            value=("value", "mean"),
            images=("image", "size"),
            seeds=("seeds", "max"),
            better=("better", "sum"),
            worse=("worse", "sum"),
            paired=("difference", "count"),
        )
        .reset_index()
    )
    table.insert(1, "label", [label(suite, run) for run in table["run"]])
    table.insert(2, "collection", [suite.run(run).test for run in table["run"]])
    table["reference"] = [reference(suite, run) for run in table["run"]]
    table = table.merge(_chances(suite, rows), on=GROUP, how="left")
    collapses = rows[rows["metric"] == "MC"].groupby(GROUP, sort=False)["value"]
    counts = collapses.agg(numerator="sum", denominator="size").astype("Int64").reset_index()
    table = table.merge(counts, on=GROUP, how="left")
    table.loc[table["metric"] == "MC", ["value", "difference", "low", "high"]] *= 100
    lower = table["metric"].isin(LOWER)
    table["gain"] = (table["high"] < 0).where(lower, table["low"] > 0)
    table["loss"] = (table["low"] > 0).where(lower, table["high"] < 0)
    return table.assign(best=_best(suite, table))


def _chances(suite: Suite, rows: pd.DataFrame) -> pd.DataFrame:
    """GROUP, difference, low, high, p and p_holm of the runs whose reference has rows too."""
    references = {run: other for run in rows["run"].unique() if (other := reference(suite, run))}
    table = statistics.compare_all(rows, references)  # one collection: a family is a measure under a protocol
    return table.rename(columns={"mean": "difference"})[[*GROUP, "difference", "low", "high", "p", "p_holm"]]


def _best(suite: Suite, table: pd.DataFrame) -> pd.Series:
    shown = pd.Series([round(v, DIGITS[m]) for v, m in zip(table["value"], table["metric"], strict=True)], table.index)
    takes_part = ~((table["metric"] == "MC") & table["run"].map(lambda run: is_input(suite, run)))
    best = pd.Series(False, table.index)
    keys = ["collection", "metric", "dataset", "protocol"]
    for (_, metric, *_), column in shown[takes_part].groupby([table[name] for name in keys]):
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


def interval_text(cell: Any) -> str:
    """A difference with its 95 % interval: "+0.042 [+0.010, +0.073]"; alone where there is none, or all images tie."""
    text = difference_text(cell)
    if pd.isna(cell.difference) or pd.isna(cell.low) or cell.low == cell.high == 0:
        return text
    number, _, unit = text.partition(" ")
    digits = DIGITS[cell.metric]
    return f"{number} [{cell.low:+.{digits}f}, {cell.high:+.{digits}f}] {unit}".rstrip()


def heading(metric: str, protocol: str) -> str:
    """A column's header: the measure and its protocol."""
    return f"{SHOWN.get(metric, metric)} {protocol}"


def comparison(
    suite: Suite, rows: pd.DataFrame, which: Iterable[Column] | None = None, collection: str | None = None
) -> pd.DataFrame:
    """Method x (data set, measure and protocol), as text; ``which`` limits the measures (default: all).

    The columns under "run" say how: inference mode and seeds. A cell over fewer images than its column's others says
    so. A compared run without rows is a row too: "not run: evaluate@<run>".
    """
    table = cells(suite, of(suite, rows, collection))
    images = table.groupby("dataset")["images"].max()

    def show(cell: Any) -> str:
        most = images[cell.dataset]
        return value_text(cell) + (f" [{cell.images} of {most} images]" if cell.images < most else "")

    return _lay_out(suite, rows, table, which, show, collection)


def differences(
    suite: Suite, rows: pd.DataFrame, which: Iterable[Column] | None = None, collection: str | None = None
) -> pd.DataFrame:
    """Laid out as ``comparison``: each difference with its 95 % interval, and on how many shared images it is better.

    What it is a difference to stands under "run", "reference"; a run without a reference has no line.
    """

    def show(cell: Any) -> str:
        return f"{interval_text(cell)} ({cell.better}/{cell.paired} better)" if cell.paired else "-"

    table = _lay_out(suite, rows, cells(suite, of(suite, rows, collection)), which, show, collection)
    to = [reference(suite, run) for run in compared(suite, collection)]
    table.insert(2, ("run", "reference"), [label(suite, run) if run else "-" for run in to])
    return table[[run is not None for run in to]]


def best(
    suite: Suite, rows: pd.DataFrame, which: Iterable[Column] | None = None, collection: str | None = None
) -> pd.DataFrame:
    """True where ``comparison`` holds the best of its column (see ``cells``)."""
    table = cells(suite, of(suite, rows, collection))
    return _lay_out(suite, rows, table, which, lambda cell: cell.best, collection).map(lambda flag: flag is True)


def gained(
    suite: Suite, rows: pd.DataFrame, which: Iterable[Column] | None = None, collection: str | None = None
) -> pd.DataFrame:
    """True where ``differences`` holds a gain: better than the reference, by an interval that excludes zero."""
    table = cells(suite, of(suite, rows, collection))
    return _lay_out(suite, rows, table, which, lambda cell: cell.gain, collection).map(lambda flag: flag is True)


def _lay_out(
    suite: Suite,
    rows: pd.DataFrame,
    table: pd.DataFrame,
    which: Iterable[Column] | None,
    show: Callable[[Any], Any],
    collection: str | None,
) -> pd.DataFrame:
    rows = of(suite, rows, collection)
    which = columns(rows) if which is None else list(which)
    header = [("run", "inference"), ("run", "seeds")]
    header += [(name, heading(*column)) for name in columns_of(suite, rows, collection) for column in which]
    lines: dict[str, dict[Column, Any]] = {}
    for run in compared(suite, collection):
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

    dataset: with its setting ("BSD68, sigma 15") where a row prints that data set under several.
    difference: to the same column of the row ``reference``; computed here, NaN without such a row.
    Raises BenchError, with the nearest name, for an unknown paper or table.
    """
    numbers = _printed(paper, table)
    numbers["dataset"] = _places(numbers)
    keys = ["dataset", "metric"]
    base = numbers.loc[numbers["row"] == reference, [*keys, "value"]].rename(columns={"value": "reference"})
    numbers = numbers.merge(base, on=keys, how="left")
    text = numbers["printed"] + numbers["unit"].where(numbers["unit"] == "%", "")
    text = text.where(numbers["printed"] != "", "?")  # garbled in the text conversion: its note says so
    return numbers.assign(difference=numbers["value"] - numbers["reference"], text=text)


def _printed(paper: str, table: str) -> pd.DataFrame:
    numbers = published(paper)
    if table not in set(numbers["table"]):
        raise BenchError(f"papers: {paper} has no table '{table}'; {nearest(table, set(numbers['table']))}")
    return numbers[numbers["table"] == table].reset_index(drop=True)


def _places(numbers: pd.DataFrame) -> list[str]:
    """Each number's data set and, where a row has several settings of it, those words of the setting that differ."""
    settings = numbers.groupby(["row", "dataset", "metric"])["setting"].transform("nunique")
    several = numbers[numbers["dataset"].isin(numbers.loc[settings > 1, "dataset"])]
    shared = {
        name: set.intersection(*(set(text.split("; ")) for text in texts))
        for name, texts in several.groupby("dataset")["setting"].unique().items()
    }
    places = []
    for name, setting in zip(numbers["dataset"], numbers["setting"], strict=True):
        own = [words for words in setting.split("; ") if words not in shared[name]] if name in shared else []
        places.append(", ".join([name, *own]))
    return places


def published_table(paper: str, table: str) -> pd.DataFrame:
    """A paper's table in the shape of ``comparison``, digits as printed. Measured on other data than the suite's."""
    numbers = published_cells(paper, table)
    return _published(numbers, numbers["text"]).fillna("-")


def published_best(paper: str, table: str) -> pd.DataFrame:
    """True where ``published_table`` is printed in bold."""
    numbers = published_cells(paper, table)
    return _published(numbers, numbers["bold"]).map(lambda flag: flag is True)


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
    names = ", ".join(_printed(paper, table)["dataset"].drop_duplicates())
    other = f"measured on other data ({names})"
    return f"Published ({paper}, Table {table}), {other}; not to be read cell by cell against ours."


def suite_tables(suite: Suite) -> list[tuple[str, str]]:
    """The published tables, as (paper, table), that the shown runs name."""
    runs = [suite.run(key) for keys in collections(suite).values() for key in keys]
    return list(dict.fromkeys((run.paper, run.table) for run in runs if run.paper and run.table))


def counts_note(suite: Suite, rows: pd.DataFrame, collection: str | None = None) -> str:
    """How many images and seeds stand behind the figures, and what an Average covers."""
    rows = of(suite, rows, collection)
    scores = rows[rows["metric"].isin(METRICS)]
    images = scores.groupby(["run", "dataset"])["image"].nunique().groupby("dataset").max()
    counts = ", ".join(f"{name} {images[name]}" for name in datasets(suite, scores, collection))
    note = f"Images: {counts}. {seeds_text(rows)}. Mean over images of the mean over seeds."
    covered = next((sets for run in compared(suite, collection) if (sets := averaged(suite, rows, run))), [])
    return note + (f" {AVERAGE}: all images of {', '.join(covered)}, so weighted by their counts." if covered else "")


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
    main = {name: main_columns(of(suite, rows, name)) for name in measured_collections(suite, rows)}
    numbers: dict[str, dict[str, dict[str, float]]] = {}
    for cell in cells(suite, rows).itertuples():
        if (cell.metric, cell.protocol) in main.get(cell.collection, []):
            numbers.setdefault(cell.run, {}).setdefault(cell.dataset, {})[SHOWN[cell.metric]] = round(cell.value, 6)
    return numbers


BESIDE = (
    "run", "label", "paper", "table", "row", "collection", "dataset", "setting", "metric", "protocol", "published",
    "ours", "difference", "reference", "published_gain", "gain", "low", "high", "images", "seeds", "iterations", "kept",
    "note",
)  # fmt: skip


def reproduction(suite: Suite, rows: pd.DataFrame) -> pd.DataFrame:
    """Published and ours, tidy: a line a (run, data set, metric, protocol) of each run that names a published row.

    published: text, the digits as printed. ours: over the run's whole results; NaN, with the note "not measured",
    where there is none. difference: ours minus published. published_gain: the printed value minus the printed value
    of the reference's row, where that is in the same table; gain, low, high: ours, and its 95 % interval.
    iterations, kept: of our training, as its record has them.
    Data sets are compared by name, under one of several printed settings only if the run names it; the published
    Average only if the run's covers just the sets that the row prints. A paper is left out while its runs have
    measured none of its data sets.
    """
    named = [key for key, run in suite.runs.items() if run.paper and run.table and run.row]
    ours = cells(suite, rows)
    lines: list[dict[str, Any]] = []
    for paper in dict.fromkeys(suite.run(key).paper for key in named):
        numbers = published(paper)
        numbers = numbers[numbers["metric"].isin(["PSNR", "SSIM"])]
        keys = [key for key in named if suite.run(key).paper == paper]
        own = {key: ours[ours["run"] == key] for key in keys}
        if any(set(_row(suite, numbers, key)["dataset"]) & set(own[key]["dataset"]) - {AVERAGE} for key in keys):
            for key in keys:
                covered = averaged(suite, rows, key)
                lines += _beside(suite, numbers, key, own[key], covered)
    return pd.DataFrame(lines, columns=list(BESIDE))


def _row(suite: Suite, numbers: pd.DataFrame, key: str) -> pd.DataFrame:
    """The printed numbers that a run stands beside."""
    run = suite.run(key)
    return numbers[(numbers["paper"] == run.paper) & (numbers["table"] == run.table) & (numbers["row"] == run.row)]


def _beside(
    suite: Suite, numbers: pd.DataFrame, key: str, own: pd.DataFrame, covered: list[str]
) -> list[dict[str, Any]]:
    run, to, lines = suite.run(key), reference(suite, key), []
    theirs = _row(suite, numbers, key)
    base = _row(suite, numbers, to) if to and suite.run(to).table == run.table else theirs.iloc[:0]
    names = ("run", "label", "paper", "table", "row", "collection", "reference")
    about = dict(zip(names, (key, label(suite, key), run.paper, run.table, run.row, run.test, to), strict=True))
    about |= _budget(suite, key)
    for number in theirs.itertuples():
        here = theirs[(theirs["dataset"] == number.dataset) & (theirs["metric"] == number.metric)]
        fits = here["setting"].nunique() == 1 or run.setting in number.setting.split("; ")
        if number.dataset == AVERAGE:
            printed = theirs.loc[theirs["metric"] == number.metric, "dataset"]
            fits = printed.is_unique and set(covered) == set(printed) - {AVERAGE}
        found = own[(own["dataset"] == number.dataset) & (own["metric"] == number.metric) & fits]
        same = base[(base["dataset"] == number.dataset) & (base["metric"] == number.metric)]
        same = same if len(same) == 1 else same[same["setting"] == number.setting]
        gain = number.value - same["value"].iloc[0] if len(same) == 1 else float("nan")
        line = about | {"dataset": number.dataset, "setting": number.setting, "metric": number.metric}
        line |= {"published": number.printed or "?", "published_gain": gain, "note": ""}
        for cell in found.itertuples():
            change = {"difference": cell.value - number.value, "gain": cell.difference}
            ours = {"protocol": cell.protocol, "ours": cell.value, "low": cell.low, "high": cell.high}
            lines.append(line | ours | change | {"images": cell.images, "seeds": cell.seeds})
        if found.empty:
            lines.append(line | {"note": "not measured"})
    return lines


def _budget(suite: Suite, key: str) -> dict[str, Any]:
    """Iterations of a run's training and those whose weights were kept, a seed each; nothing without a record."""
    path = suite.results / "records" / f"{key}.json"
    record = read_json(path) if path.exists() else {}
    iterations = record.get("training", {}).get("iterations")
    if record and not record.get("trained_parameters", record.get("parameters")):
        iterations = 0  # the budget of a run with nothing to train is not spent
    kept = [str(one["iteration"]) for one in record.get("kept", {}).values()]
    return {"iterations": iterations, "kept": ", ".join(kept)}


def reproduction_text(frame: pd.DataFrame) -> pd.DataFrame:
    """``reproduction`` (of one table) as text: published and ours apart, digits as printed."""
    lines = []
    for line in frame.itertuples():
        digits = len(line.published.partition(".")[2]) or DIGITS[line.metric]

        def signed(number: float, digits: int = digits) -> str:
            return "-" if pd.isna(number) else f"{number:+.{digits}f}"

        gain = signed(line.gain) + ("" if pd.isna(line.low) else f" [{signed(line.low)}, {signed(line.high)}]")
        kept = f" (kept: {line.kept})" if line.kept and line.kept != str(line.iterations) else ""
        lines.append(
            {
                "row": line.row,
                "run": line.label,
                "data set": line.dataset,
                "measure": heading(line.metric, "" if line.note else line.protocol).strip(),
                "published": line.published,
                "ours": line.note or f"{line.ours:.{digits}f}",
                "difference": signed(line.difference),
                "published gain": signed(line.published_gain),
                "our gain": gain,
                "images": "-" if line.note else f"{line.images:.0f}",
                "seeds": "-" if line.note else f"{line.seeds:.0f}",
                "iterations": "-" if pd.isna(line.iterations) else f"{line.iterations:.0f}{kept}",
            }
        )
    return pd.DataFrame(lines, dtype=object)


def reproduction_note(paper: str, table: str) -> str:
    """The line that stands over published and ours."""
    numbers = published(paper)
    budgets = numbers[numbers["metric"] == "iterations"]
    said = ", ".join(f"{cell.row} {float(cell.printed):,.0f}" for cell in budgets.itertuples() if cell.printed)
    return (
        f"{paper}, Table {table}: published, and measured here on the data sets of the same name. Difference: ours "
        "minus published. Gain: to the reference run, published and ours, ours with its 95 % interval."
    ) + (f" Iterations are ours; the paper's (its Table {budgets['table'].iloc[0]}): {said}." if said else "")


Part = tuple[pd.DataFrame, pd.DataFrame, str]  # a table of text, its bold cells, the line over it


def _part(table: pd.DataFrame, note: str) -> Part:
    return table, pd.DataFrame(False, table.index, table.columns), note


def _measured_parts(suite: Suite, rows: pd.DataFrame, collection: str) -> dict[str, list[Part]]:
    """The comparison and the differences of one test collection: the leading protocols, then the others."""
    own = of(suite, rows, collection)
    main = main_columns(own)
    rest = [column for column in columns(own) if column not in main]
    several = len(measured_collections(suite, rows)) > 1
    note = (f"Test collection {collection}. " if several else "") + counts_note(suite, own, collection)
    parts: dict[str, list[Part]] = {"comparison": [], "differences": []}
    for which in [main, rest] if rest else [main]:
        at = (suite, own, which, collection)
        change = differences(*at)
        flags = gained(*at).reindex(index=change.index, columns=change.columns, fill_value=False)
        parts["comparison"].append((comparison(*at), best(*at), f"Measured here. {note} Best in bold, chance or not."))
        parts["differences"].append((change, flags, f"{AGAINST} {note}"))
    return parts


AGAINST = (
    "Differences to the run named under reference, paired by image, with 95 % intervals (images and seeds resampled). "
    "Bold: a gain whose interval excludes zero."
)


def make(suite: Suite) -> dict[str, Path]:
    """Write ``tables/{comparison,differences,published}.{csv,md,tex}`` and ``metrics.json`` under the suite's results;
    ``reproduction``, ``controls`` and ``convergence`` too where there is something to say.

    The CSV files are tidy and at full precision; Markdown and LaTeX (booktabs) are for reading, a part a test
    collection. Returns the paths by name ("comparison.csv", ..., "metrics.json"). Raises BenchError if no run has rows.
    """
    rows = everything(suite)
    tidy = cells(suite, rows)
    change = ["label", "collection", "reference", "difference", "low", "high", "p", "p_holm", "gain", "loss"]
    change += ["better", "worse", "paired", "seeds"]
    frames = {
        "comparison": tidy,
        "differences": tidy.loc[tidy["reference"].notna(), [*GROUP, *change]].rename(columns={"paired": "images"}),
    }
    parts: dict[str, list[Part]] = {"comparison": [], "differences": []}
    for collection in measured_collections(suite, rows):
        for name, group in _measured_parts(suite, rows, collection).items():
            parts[name] += group
    printed = suite_tables(suite)
    parts["published"] = [(published_table(*at), published_best(*at), published_note(*at)) for at in printed]
    papers = dict.fromkeys(paper for paper, _ in printed)
    frames["published"] = pd.concat([published(p).drop(columns="printed") for p in papers] or [pd.DataFrame()])
    beside = reproduction(suite, rows)
    if len(beside):
        frames["reproduction"] = beside
        parts["reproduction"] = [
            _part(reproduction_text(lines), reproduction_note(*at))
            for at, lines in beside.groupby(["paper", "table"], sort=False)
        ]
    from benchlib.report import controls, convergence  # controls reads cells

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
    return re.sub(r"(?<![\w}])-(?=\d)", "$-$", text.translate(_LATEX))


def markdown(table: pd.DataFrame, bold: pd.DataFrame, note: str) -> str:
    """A table of text as GitHub Markdown under its note; what comes from data is escaped, ``bold`` cells are bold.

    A header of two lines (data set, measure) has the index as its first column; one of one line has no index.
    """
    flat = table.columns.nlevels == 1
    header = list(table.columns) if flat else ["method", *(b if a == "run" else f"{a}: {b}" for a, b in table.columns)]
    lines = [[_plain(cell) for cell in header], ["---"] * len(header)]
    for name, values, flags in zip(table.index, table.to_numpy(), bold.to_numpy(), strict=True):
        shown = [f"**{_plain(value)}**" if flag else _plain(value) for value, flag in zip(values, flags, strict=True)]
        lines.append(shown if flat else [_plain(name), *shown])
    return "\n".join([_plain(note), "", *("| " + " | ".join(line) + " |" for line in lines), ""])


def latex(table: pd.DataFrame, bold: pd.DataFrame, note: str) -> str:
    """A table of text as a LaTeX ``table*`` (package booktabs); escaped, ``bold`` cells are bold."""
    flat = table.columns.nlevels == 1
    style = table.rename_axis(index=None, columns=None if flat else [None, None]).style
    style = style.format(_tex).format_index(_tex, axis=1)
    style = style.hide(axis=0) if flat else style.format_index(_tex, axis=0)
    flags = bold.set_axis(style.index).set_axis(style.columns, axis=1)
    style = style.apply(lambda _: flags.replace({True: "textbf:--rwrap", False: ""}), axis=None)
    layout = "l" * (table.shape[1] + (not flat))
    return style.to_latex(
        hrules=True, multicol_align="c", column_format=layout, environment="table*", caption=_tex(note)
    )
