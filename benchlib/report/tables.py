"""Measured figures from rows, and the tables that lay them out as text.

Layer 4. ``cells`` computes every figure once (one row a run, data set, metric and protocol); the tables, the plots and
the page only lay those figures out. Runs are compared within a test collection; a function that takes an optional
``collection`` takes the first of ``collections`` if none is given.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from benchlib import registry
from benchlib.contracts import BenchError
from benchlib.params import COLUMNS, configure
from benchlib.records import read_rows
from benchlib.report import statistics
from benchlib.report.known import latest, once
from benchlib.report.measures import PERCENT, Measure, measures_of

if TYPE_CHECKING:
    from types import ModuleType

    from benchlib.params import Choice, Prior, Run, Suite

VERSION = 2
Column = tuple[str, str]  # metric as in the rows, protocol
NO_PRIOR = "none"
GROUP = ["run", "dataset", "metric", "protocol"]
READ = [*GROUP, "image", "scene", "seed", "value"]  # columns that ``cells`` are computed from
LEFT_OUT = ("exact", "undefined")  # columns of ``cells``: images that its means leave out
AVERAGE = "Average"  # the data set that is all images of a test collection; papers print it under that name


@once
def collections(suite: Suite) -> dict[str, list[str]]:
    """The test collections that are shown and their runs, in params' order; the most common collection comes first.

    One that a run trains on (where the masks' images are restored, say) is not shown, unless there is no other.
    """
    tests = _runs_of(suite)
    trained = {run.images.train for run in suite.runs.values() if _trains(run)}
    there = [name for name in suite.collections if name in tests]
    shown = [name for name in there if name not in trained] or there
    first = max(shown, key=lambda name: len(tests[name]))
    return {
        name: compared(suite, name) for name in [first, *(name for name in shown if name != first)]
    }


def _trains(run: Run) -> bool:
    """Whether a run learns from its training images: the input itself, or one's own pictures, do not."""
    return registry.load("methods", run.method["name"]).INFO.trains


def compared(suite: Suite, collection: str | None = None) -> list[str]:
    """The runs of the comparison, in params' order: those that share a test collection."""
    if collection is None:
        collection = next(iter(collections(suite)))
    return list(_runs_of(suite).get(collection, []))


@once
def _runs_of(suite: Suite) -> dict[str, list[str]]:
    """Each test collection's runs, in params' order, without the truth itself, which masks are made of."""
    found: dict[str, list[str]] = {}
    for key, run in suite.runs.items():
        if not _is_the_truth(run):
            found.setdefault(run.images.test, []).append(key)
    return found


def _is_the_truth(run: Run) -> bool:
    """Whether a run gives each image's reference: it is told it, and nothing restores."""
    info = registry.load("methods", run.method["name"]).INFO
    return info.truth and not info.trains


def measures(suite: Suite) -> dict[str, Measure]:
    """What the tables show of the rows, in params' order; the rows hold more (a prior's facts)."""
    return measures_of(suite.metrics)


def scored(suite: Suite, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the suite's metrics."""
    return rows[rows["metric"].isin(list(measures(suite)))]


@once
def controlling(suite: Suite) -> set[str]:
    """The runs that stand in a prior's place: named by an entry of ``controls``, or by themselves."""
    found = set()
    stand_ins: dict[str, bool] = {}  # prior -> whether it is one: many runs read the same
    for key, run in suite.runs.items():
        prior = run.prior.test
        if prior not in stand_ins:
            stand_ins[prior] = _reads_stand_ins(suite, key)
        if run.prior.swap or stand_ins[prior]:
            found.add(key)
    for one in suite.controls.values():
        found |= {key for key in (one.trained, one.zeroed, one.segmentation, one.random) if key}
        found |= set(one.others)
    return found


def is_control(suite: Suite, run: str) -> bool:
    """Whether a run has a control in its prior's place: by ``prior.swap``, or a prior that is one."""
    return bool(suite.run(run).prior.swap) or _reads_stand_ins(suite, run)


def _reads_stand_ins(suite: Suite, run: str) -> bool:
    """Whether all that a run reads at test time stands in a prior's place."""
    choices = _prior_choices(suite, run)
    return bool(choices) and all(_stands_in(choice) for choice in choices)


def _stands_in(choice: Choice) -> bool:
    """Whether a prior says that it stands in another's place: superpixels, a network of random weights."""
    module, config = configure("priors", choice)
    if hasattr(module, "stands_in"):
        return module.stands_in(config)
    return getattr(module, "CONTROL", False)


def _prior_choices(suite: Suite, run: str) -> list[Choice]:
    """What a run reads at test time, with its settings: several in a bundle, none without one."""
    return [part.prior for part in _guides(suite, run)]


def shown_as(prior: str) -> str | None:
    """What a prior's file calls it in a sentence, many things ("SAM's masks"); None where it says nothing."""
    return getattr(registry.load("priors", prior), "SHOWN", None)


def prior_words(suite: Suite, run: str, other: str) -> str:
    """What a step from another run to this is called by its priors: "SAM" of masks, else in their files' own words."""
    names = own_priors(suite, run, other)
    if set(prior_kinds(suite, run)) == {"masks"}:
        return " + ".join(names).upper()
    return " + ".join(shown_as(name) or name.upper() for name in names)


def prior_kinds(suite: Suite, run: str) -> list[str]:
    """The kinds of the priors that a run has at test time."""
    return [part.kind for part in _guides(suite, run)]


@once
def _guides(suite: Suite, run: str) -> list[Prior]:
    """The priors that guide a run at test time: not what it refines."""
    parts = suite.bundles.get(suite.run(run).prior.test, {}).values()
    guides = [part for part in parts if getattr(kind_of(part), "SWAPS", True)]
    return [part for part in guides if part.prior["name"] != NO_PRIOR]


def kind_of(part: Prior) -> ModuleType:
    """The file of ``priors/kinds`` that says how a prior is stored."""
    return registry.load("priors/kinds", part.kind)


def prior_names(suite: Suite, run: str) -> list[str]:
    """The files of ``priors`` that a run has at test time: several in a bundle, none without one."""
    return [choice["name"] for choice in _prior_choices(suite, run)]


def own_priors(suite: Suite, run: str, other: str) -> list[str]:
    """``prior_names`` without those that another run reads as well: a bundle's parts that the two share."""
    if suite.run(other).prior.swap:  # it reads nothing of them, or another image's
        return prior_names(suite, run)
    shared = _prior_choices(suite, other)
    own = [choice["name"] for choice in _prior_choices(suite, run) if choice not in shared]
    return own or prior_names(suite, run)


def is_input(suite: Suite, run: str) -> bool:
    """Whether the run is the degraded input itself: the least of the comparison, not a method."""
    return suite.run(run).method["name"] == "identity"


def has_prior(suite: Suite, run: str) -> bool:
    """Whether the run reads a prior at test time."""
    return bool(prior_names(suite, run))


@once
def baseline(suite: Suite, collection: str | None = None) -> str | None:
    """The first run of a test collection that restores and has no prior."""
    for key in compared(suite, collection):
        if not is_input(suite, key) and not has_prior(suite, key):
            return key
    return None


@once
def reference(suite: Suite, run: str) -> str | None:
    """The run that differences of ``run`` are taken to: the one it names, else the baseline; None for itself.

    Raises BenchError if the two test on different collections: their images would be paired by name alone.
    """
    own = suite.run(run)
    test = own.images.test
    other = own.reference or baseline(suite, test)
    if other and suite.run(other).images.test != test:
        raise BenchError(
            f"runs.{run}.reference: got {other!r}, which tests on "
            f"{suite.run(other).images.test!r}, not on {test!r}; name a run of the same test "
            "collection"
        )
    return None if other == run else other


def run_label(suite: Suite, run: str) -> str:
    """The run's name in tables: its label if it has one, with the key where two of a collection share a label."""
    name = suite.run(run).label or run
    if _labels(suite, suite.run(run).images.test)[name] > 1:
        return f"{name} ({run})"
    return name


@once
def _labels(suite: Suite, collection: str) -> Counter[str]:
    """How many runs of a test collection have each name."""
    return Counter(suite.runs[key].label or key for key in compared(suite, collection))


def command(suite: Suite, run: str) -> str:
    """What to type in the project's folder to make the run's rows again."""
    folder = suite.folder.relative_to((suite.folder / suite.root).resolve())
    return (
        f"dvc repro {'' if folder == Path('.') else f'{folder.as_posix()}/dvc.yaml:'}evaluate@{run}"
    )


def measured(suite: Suite, collection: str | None = None) -> pd.DataFrame:
    """The rows of a test collection's runs that have rows. Raises BenchError if none has."""
    return _read(suite, compared(suite, collection))


def everything(suite: Suite) -> pd.DataFrame:
    """The rows of all shown test collections' runs that have rows. Raises BenchError if none has."""
    return of_the_prior(everything_restored(suite))


def everything_restored(suite: Suite) -> pd.DataFrame:
    """``everything``, and the rows restored with a control in the prior's place (``evaluation.swap``)."""
    return _read(suite, [run for runs in collections(suite).values() for run in runs], swap=None)


def of_the_prior(rows: pd.DataFrame) -> pd.DataFrame:
    """Those of the rows that were restored with the prior itself."""
    return rows[rows["swap"] == ""].reset_index(drop=True)


def _read(suite: Suite, runs: list[str], swap: str | None = "") -> pd.DataFrame:
    present = [key for key in runs if (suite.results / "rows" / f"{key}.csv").exists()]
    if not present:
        raise BenchError(
            f"{suite.results}/rows: no compared run has rows; run `{command(suite, runs[0])}`"
        )
    rows = _read_once(suite, tuple(present), _stamps(suite, present))
    if swap is None:
        return rows.copy(deep=False)  # a column that is set in it is not set in what is kept
    return rows[rows["swap"] == swap].reset_index(drop=True)


def _stamps(suite: Suite, runs: list[str]) -> tuple[tuple[int, int], ...]:
    """When the files that rows are read from were written, in nanoseconds, and their bytes."""
    stamps = []
    for key in runs:
        for path in (
            suite.results / "rows" / f"{key}.csv",
            suite.results / "records" / f"{key}.json",
        ):
            if path.exists():
                stamps.append((path.stat().st_mtime_ns, path.stat().st_size))
    return tuple(stamps)


@latest
def _read_once(
    suite: Suite, runs: tuple[str, ...], stamps: tuple[tuple[int, int], ...]
) -> pd.DataFrame:
    """All rows of runs, kept while their files are those: tables and plots read them in turn.

    stamps: as ``_stamps`` gives them.
    """
    return read_rows(suite, runs, swap=None)


def rows_of(suite: Suite, rows: pd.DataFrame, collection: str | None = None) -> pd.DataFrame:
    """Those of the rows whose runs belong to a test collection."""
    own = rows["run"].isin(compared(suite, collection))
    if own.all():  # no copy of so many rows
        return rows
    return rows[own]


def rows_by_run(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Each run's rows, in order of appearance: taken apart once, not searched for each run."""
    return {str(run): own for run, own in rows.groupby("run", sort=False)}


def lines_by_run(table: pd.DataFrame) -> dict[str, list[Any]]:
    """Each run's lines (``tuples``): a frame of a few lines for each run takes a hundred times as long."""
    found: dict[str, list[Any]] = {}
    for line in tuples(table):
        found.setdefault(line.run, []).append(line)
    return found


def measured_collections(suite: Suite, rows: pd.DataFrame) -> list[str]:
    """The shown test collections of which the rows hold something, in order."""
    seen = set(rows["run"].unique())
    return [name for name, runs in collections(suite).items() if seen & set(runs)]


def columns(suite: Suite, rows: pd.DataFrame) -> list[Column]:
    """The (metric, protocol) pairs of the rows, metric by metric, protocols in order of appearance."""
    pairs = rows[["metric", "protocol"]].drop_duplicates()
    found = []
    for metric in measures(suite):
        for protocol in pairs.loc[pairs["metric"] == metric, "protocol"]:
            found.append((metric, protocol))
    return found


def protocols(suite: Suite, rows: pd.DataFrame) -> dict[str, list[str]]:
    """The protocols of each run's ``columns``, each once."""
    found: dict[str, dict[str, list[str]]] = {}
    for run, metric, name in rows[["run", "metric", "protocol"]].drop_duplicates().to_numpy(object):
        found.setdefault(run, {}).setdefault(metric, []).append(name)
    names = {}
    for run, own in found.items():
        measured = [name for metric in measures(suite) for name in own.get(metric, [])]
        names[run] = list(dict.fromkeys(measured))
    return names


def main_columns(suite: Suite, rows: pd.DataFrame) -> list[Column]:
    """The first protocol of each metric: what the headline and the first table show."""
    first: dict[str, str] = {}
    for metric, protocol in columns(suite, rows):
        first.setdefault(metric, protocol)
    return list(first.items())


def datasets(suite: Suite, rows: pd.DataFrame, collection: str | None = None) -> list[str]:
    """The test sets that have rows, in params' order; see ``columns_of`` for the Average."""
    order = list(suite.collection(suite.run(compared(suite, collection)[0]).images.test))
    seen = rows_of(suite, rows, collection)["dataset"].drop_duplicates().tolist()
    return [name for name in order if name in seen] + [name for name in seen if name not in order]


def averaged(suite: Suite, rows: pd.DataFrame, run: str) -> list[str]:
    """The test sets that a run's Average covers; empty where its evaluation asks for none or it has but one set."""
    return averages(suite, rows[rows["run"] == run]).get(run, [])


def averages(suite: Suite, rows: pd.DataFrame) -> dict[str, list[str]]:
    """``averaged`` of all runs of the rows that have an Average."""
    places = scored(suite, rows)[["run", "dataset"]].drop_duplicates()
    found: dict[str, list[str]] = {}
    for run, name in places.to_numpy(object):
        found.setdefault(run, []).append(name)
    return {run: sets for run, sets in found.items() if len(sets) > 1 and _asks_average(suite, run)}


@once
def _asks_average(suite: Suite, run: str) -> bool:
    return bool(suite.evaluation_of(run).average)


def columns_of(suite: Suite, rows: pd.DataFrame, collection: str | None = None) -> list[str]:
    """The data sets as the tables show them: ``datasets``, and the Average if a run has one."""
    covered = averages(suite, rows)
    some = any(run in covered for run in compared(suite, collection))
    return datasets(suite, rows, collection) + [AVERAGE] * some


def pooled(suite: Suite, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows, and each run's once more under the data set Average where its evaluation asks for one.

    An image is called ``<set>/<image>`` there. A mean over those images weighs each set by its image count, as the
    averages of the SPT paper's Table 1 are; or, with ``average: columns``, each set alike, as LMDIR's are.
    """
    covered = set()
    for run, sets in averages(suite, rows).items():
        covered |= {(run, name) for name in sets}
    places = zip(rows["run"].tolist(), rows["dataset"].tolist(), strict=True)
    own = rows[np.fromiter((place in covered for place in places), bool, len(rows))]
    # run by run, as a sum's last digit depends on its order
    own = own.iloc[np.argsort(pd.factorize(own["run"])[0], kind="stable")]
    runs = {run for run, _name in covered}
    alike = {run for run in runs if suite.evaluation_of(run).average == COLUMNS}
    if alike:
        own = _weighed_alike(own, own["run"].isin(alike))
    return pd.concat([rows, as_average(own)], ignore_index=True)


def average_rows(rows: pd.DataFrame, sets: list[str], alike: bool = False) -> pd.DataFrame:
    """A run's rows of some sets as those of the data set Average. alike: each set weighs the same."""
    own = rows[rows["dataset"].isin(sets)]
    if alike:
        own = _weighed_alike(own, pd.Series(True, own.index))
    return as_average(own)


def _weighed_alike(rows: pd.DataFrame, which: pd.Series) -> pd.DataFrame:
    """Rows of averaged sets, the values of some of them so that each set weighs the same in a run's mean.

    Each value is multiplied by the run's number of images over that of its sets and of the own set's images, so that a
    mean, or a difference of means, over all images is the plain mean of the sets' own. The factors are about 1, and
    the same for all runs that are measured on these images.
    """
    images = rows[which].groupby(["run", "dataset"])["image"].nunique()
    of_run = images.groupby(level="run")
    factors = of_run.transform("sum") / of_run.transform("count") / images
    places = pd.MultiIndex.from_frame(rows[["run", "dataset"]])
    found = factors.reindex(places).to_numpy()
    return rows.assign(value=rows["value"] * np.where(which, found, 1.0))


def as_average(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of several sets as those of one, the Average."""
    return rows.assign(dataset=AVERAGE, image=rows["dataset"] + "/" + rows["image"])


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

    Seeds are paired as ``statistics.differences`` says; the mean over them is NaN where the reference lacks the image,
    infinite where one of the two restores it exactly.
    """
    references = _references(suite, rows)
    changes = statistics.changes(statistics.sheets(rows), references)
    return _with_changes(per_image(rows), changes, references)


def _references(suite: Suite, rows: pd.DataFrame) -> dict[str, str]:
    """The ``reference`` of each run of the rows that has one."""
    found = {}
    for run in rows["run"].unique():
        other = reference(suite, run)
        if other:
            found[run] = other
    return found


def _with_changes(
    values: pd.DataFrame,
    changes: dict[statistics.Place, statistics.Change],
    references: dict[str, str],
) -> pd.DataFrame:
    """``paired`` of the values of ``per_image`` and the changes of the same rows."""
    found = values.iloc[:0][[*GROUP, "image"]].assign(difference=0.0)
    if changes:
        counts = [len(change.images) for change in changes.values()]
        of_group = zip(GROUP, zip(*changes, strict=True), strict=True)
        columns = {name: np.repeat(np.array(own, object), counts) for name, own in of_group}
        columns["image"] = np.concatenate([change.images for change in changes.values()])
        means = [_seed_means(change.values) for change in changes.values()]
        columns["difference"] = np.concatenate(means)
        found = pd.DataFrame(columns)
    values = values.merge(found, on=[*GROUP, "image"], how="left")
    return values.assign(reference=values["run"].map(references))


def _seed_means(changes: np.ndarray) -> np.ndarray:
    """The mean of each line over its seeds that have a value; NaN without one."""
    missing = np.isnan(changes)
    sums = np.asfortranarray(np.where(missing, 0, changes)).sum(1)
    with np.errstate(invalid="ignore"):
        return sums / (~missing).sum(1)


def cells(suite: Suite, rows: pd.DataFrame) -> pd.DataFrame:
    """Every figure of the tables, one row a (run, dataset, metric, protocol), the Average's among them.

    value: mean over images of the mean over seeds (dB, SSIM, or MCR in percent), of those whose value is a finite
    number; NaN without one. images, seeds: how many; exact: of these images those restored without error (an infinite
    PSNR), undefined: those whose value is no number, both left out of the mean. scenes: of the images that the
    difference is taken over; apart: those left out of it and its interval, where it is not finite.
    numerator, denominator: of MCR, counted over images and seeds. reference: the run that the difference is taken to;
    difference: mean over the images shared with it, run minus reference (MCR: percentage points), with low and high,
    the ends of its 95 % interval, p (Wilcoxon) and p_holm, corrected over all differences of one (collection, metric,
    protocol); see ``statistics``. gain, loss: the interval excludes zero and the run is better, or worse. better,
    worse, paired: on how many of the shared images the run is better or worse, exact ones among them. best: the best
    of its column, as displayed; none where all are the same, or where means leave out different numbers of images; the
    degraded input takes no part in MCR, which it defines.
    """
    tests = rows["run"].map(tests_of(suite, rows))
    parts = [_kept_cells(suite, part) for _, part in rows.groupby(tests, sort=False)]
    return pd.concat(parts, ignore_index=True)


def tests_of(suite: Suite, rows: pd.DataFrame) -> dict[str, str]:
    """The test collection of each run of the rows."""
    return {run: suite.run(run).images.test for run in rows["run"].unique()}


_KEPT: dict[bytes, pd.DataFrame] = {}  # tables, plots and page ask for the same many times


def _kept_cells(suite: Suite, rows: pd.DataFrame) -> pd.DataFrame:
    """The cells of one test collection, computed once in a process."""
    return kept(_cells, suite, rows)


def kept(
    work: Callable[..., pd.DataFrame], suite: Suite, rows: pd.DataFrame, *names: str
) -> pd.DataFrame:
    """``work(suite, rows, *names)``, computed once in a process for the same rows (READ) and names.

    The frame is shared: who gets it only reads it.
    """
    read = rows[[name for name in READ if name in rows]]
    key = hashlib.sha256(pd.util.hash_pandas_object(read, index=False).to_numpy().tobytes())
    key.update(repr((work.__module__, work.__name__, names)).encode())
    key.update(_as_json(suite))
    if key.digest() not in _KEPT:
        while len(_KEPT) >= 16:
            _KEPT.pop(next(iter(_KEPT)))
        _KEPT[key.digest()] = work(suite, rows, *names)
    return _KEPT[key.digest()]


@once
def _as_json(suite: Suite) -> bytes:
    return suite.model_dump_json().encode()


def _cells(suite: Suite, rows: pd.DataFrame) -> pd.DataFrame:
    rows = pooled(suite, scored(suite, rows))
    values = per_image(rows)
    references = _references(suite, rows)
    changes = statistics.changes(statistics.sheets(rows), references)
    values = _with_changes(values, changes, references)
    known = measures(suite)
    sign = values["metric"].map({name: -1 if one.lower else 1 for name, one in known.items()})
    values = values.assign(
        better=sign * values["difference"] > 0,
        worse=sign * values["difference"] < 0,
        finite=values["value"].where(np.isfinite(values["value"])),
        exact=sign * values["value"] == np.inf,
    )
    values = values.assign(undefined=values["finite"].isna() & ~values["exact"])
    table = (
        values.groupby(GROUP, sort=False)
        .agg(
            value=("finite", "mean"),
            images=("image", "size"),
            exact=("exact", "sum"),
            undefined=("undefined", "sum"),
            seeds=("seeds", "max"),
            better=("better", "sum"),
            worse=("worse", "sum"),
            paired=("difference", "count"),
        )
        .reset_index()
    )
    runs = table["run"].unique()
    table.insert(1, "label", table["run"].map({run: run_label(suite, run) for run in runs}))
    table.insert(2, "collection", table["run"].map(tests_of(suite, table)))
    table["reference"] = [references.get(run) for run in table["run"]]
    chances = _chances(changes, references)
    table = table.merge(chances, on=GROUP, how="left").astype({"scenes": "Int64"})
    table["apart"] = table["apart"].fillna(0).astype(int)
    table = table.merge(_counts(suite, rows), on=GROUP, how="left")
    for name, one in known.items():
        if one.factor != 1:
            table.loc[table["metric"] == name, ["value", "difference", "low", "high"]] *= one.factor
    lower = table["metric"].isin([name for name, one in known.items() if one.lower])
    table["gain"] = (table["high"] < 0).where(lower, table["low"] > 0)
    table["loss"] = (table["low"] > 0).where(lower, table["high"] < 0)
    return table.assign(best=_best(suite, table))


def _counts(suite: Suite, rows: pd.DataFrame) -> pd.DataFrame:
    """GROUP, numerator and denominator of the measures in percent whose rows say yes or no."""
    percent = [name for name, one in measures(suite).items() if one.is_percent]
    values = rows[rows["metric"].isin(percent)]
    values = values.assign(plain=values["value"].isin([0, 1]))
    groups = values.groupby(GROUP, sort=False)
    counts = groups["value"].agg(numerator="sum", denominator="size")
    return counts[groups["plain"].all()].astype("Int64").reset_index()


def _chances(
    changes: dict[statistics.Place, statistics.Change], references: dict[str, str]
) -> pd.DataFrame:
    """GROUP, difference with what ``statistics.Paired`` says of it, of the runs whose reference has rows too."""
    # one collection: a family is a measure under a protocol
    table = statistics.judged_table(changes, references).rename(columns={"mean": "difference"})
    return table[[*GROUP, "scenes", "apart", "difference", "low", "high", "p", "p_holm"]]


def _best(suite: Suite, table: pd.DataFrame) -> pd.Series:
    known = measures(suite)
    against = [name for name, one in known.items() if one.judges_input]
    inputs = table["run"].map({run: is_input(suite, run) for run in table["run"].unique()})
    takes_part = table[~(table["metric"].isin(against) & inputs)]
    best = pd.Series(False, table.index)
    keys = ["collection", "metric", "dataset", "protocol"]
    for _, column in takes_part.groupby(keys):
        best[column.index] = best_of(suite, column)
    return best


def best_of(suite: Suite, column: pd.DataFrame) -> pd.Series:
    """Which cells of one measure and data set are the best, as displayed; none where all are the same.

    None either where means leave out different numbers of images, but a run that restores all images exactly.
    """
    none = pd.Series(False, column.index)
    shown = pd.Series([_rank(suite, cell) for cell in tuples(column)], column.index)
    if shown.nunique() < 2:
        return none
    first = shown.max()
    if measures(suite)[column["metric"].iloc[0]].lower:
        first = shown.min()
    alike = len(column[[*LEFT_OUT]].drop_duplicates()) == 1
    return shown == first if alike or np.isinf(first) else none


def _rank(suite: Suite, cell: Any) -> float:
    """What a cell is ranked by: its value as displayed; where all images are exact, no value is better."""
    one = measures(suite)[cell.metric]
    if cell.exact == cell.images:
        return -math.inf if one.lower else math.inf
    return round(cell.value, one.digits)


def value_text(suite: Suite, cell: Any) -> str:
    """A figure as shown: "27.314", "0.8412", "6.25% (1/16)"; "27.314 (+1 exact)" with an exact image beside the mean."""
    one = measures(suite)[cell.metric]
    left_out = [f"{getattr(cell, word)} {word}" for word in LEFT_OUT if getattr(cell, word)]
    beside = ", ".join(left_out)
    if beside and pd.isna(cell.value):
        return beside
    text = f"{cell.value:.{one.digits}f}"
    if one.is_percent:
        text += PERCENT
        if not pd.isna(cell.numerator):
            text += f" ({cell.numerator}/{cell.denominator})"
    return f"{text} (+{beside})" if beside else text


def difference_text(suite: Suite, cell: Any) -> str:
    """A difference as shown, with its sign: "+0.042", "-6.25 pp" (percentage points); "-" without a reference."""
    if pd.isna(cell.difference):
        return "-"
    one = measures(suite)[cell.metric]
    text = f"{cell.difference:+.{one.digits}f}"
    text = text.replace("-", "+") if float(text) == 0 else text
    return f"{text} pp" if one.is_percent else text


def interval_text(suite: Suite, cell: Any) -> str:
    """A difference with its 95 % interval: "+0.042 [+0.010, +0.073]"; alone where there is none, or all images tie."""
    text = difference_text(suite, cell)
    if pd.isna(cell.difference) or pd.isna(cell.low) or cell.low == cell.high == 0:
        return text
    number, _, unit = text.partition(" ")
    digits = measures(suite)[cell.metric].digits
    return f"{number} [{cell.low:+.{digits}f}, {cell.high:+.{digits}f}] {unit}".rstrip()


def heading(suite: Suite, metric: str, protocol: str) -> str:
    """A column's header: the measure and its protocol."""
    return f"{measures(suite)[metric].shown} {protocol}"


def comparison(
    suite: Suite,
    rows: pd.DataFrame,
    which: Iterable[Column] | None = None,
    collection: str | None = None,
) -> pd.DataFrame:
    """Method x (data set, measure and protocol), as text; ``which`` limits the measures (default: all).

    The columns under "run" say how: inference mode and seeds. A cell over fewer images than its column's others says
    so. A compared run without rows is a row too: "not run: evaluate@<run>".
    """
    return laid_out(suite, rows, which, collection).comparison


def differences(
    suite: Suite,
    rows: pd.DataFrame,
    which: Iterable[Column] | None = None,
    collection: str | None = None,
) -> pd.DataFrame:
    """Laid out as ``comparison``: each difference with its 95 % interval, and on how many shared images it is better.

    What it is a difference to stands under "run", "reference"; a run without a reference has no line.
    """
    return laid_out(suite, rows, which, collection).differences


def best(
    suite: Suite,
    rows: pd.DataFrame,
    which: Iterable[Column] | None = None,
    collection: str | None = None,
) -> pd.DataFrame:
    """True where ``comparison`` holds the best of its column (see ``cells``)."""
    return laid_out(suite, rows, which, collection).best


def gained(
    suite: Suite,
    rows: pd.DataFrame,
    which: Iterable[Column] | None = None,
    collection: str | None = None,
) -> pd.DataFrame:
    """True where ``differences`` holds a gain: better than the reference, by an interval that excludes zero."""
    return laid_out(suite, rows, which, collection).gained


@dataclass(frozen=True)
class LaidOut:
    """The tables of one test collection that share their lines and columns: see the functions of these names."""

    comparison: pd.DataFrame
    best: pd.DataFrame
    differences: pd.DataFrame
    gained: pd.DataFrame


def laid_out(
    suite: Suite,
    rows: pd.DataFrame,
    which: Iterable[Column] | None = None,
    collection: str | None = None,
) -> LaidOut:
    """``comparison``, ``best``, ``differences`` and ``gained`` of a test collection, in one go.

    Raises BenchError as ``reference``.
    """
    rows = rows_of(suite, rows, collection)
    which = columns(suite, rows) if which is None else list(which)
    names = {column: heading(suite, *column) for column in which}
    header = [("run", "inference"), ("run", "seeds")]
    for name in columns_of(suite, rows, collection):
        header += [(name, shown) for shown in names.values()]
    table = cells(suite, rows)
    images = table.groupby("dataset")["images"].max().to_dict()
    values, changes = _how(suite, rows, header, collection), {}
    for run, line in values.items():
        changes[run] = dict(line)
    best: dict[str, set[Column]] = {run: set() for run in values}
    gains: dict[str, set[Column]] = {run: set() for run in values}
    for cell in tuples(table):
        if (cell.metric, cell.protocol) not in names:
            continue
        at = (cell.dataset, names[cell.metric, cell.protocol])
        values[cell.run][at] = _counted_text(suite, cell, images[cell.dataset])
        changes[cell.run][at] = _better_text(suite, cell)
        if cell.best:
            best[cell.run].add(at)
        if cell.gain:
            gains[cell.run].add(at)
    shown, against = _frame(suite, values, header), _frame(suite, changes, header)
    to = [reference(suite, run) for run in values]
    labels = ["-" if run is None else run_label(suite, run) for run in to]
    against.insert(2, ("run", "reference"), labels)
    against = against[[run is not None for run in to]]
    return LaidOut(shown, _flags(shown, best), against, _flags(shown, gains))


def tuples(table: pd.DataFrame) -> Iterable[Any]:
    """``table.itertuples()``; pandas takes one cell after the other out of columns of text, slowly."""
    return table.astype(object).itertuples()


def _how(
    suite: Suite, rows: pd.DataFrame, header: list[Column], collection: str | None
) -> dict[str, dict[Column, str]]:
    """A line a compared run: its inference mode and seeds, and a dash in each other column."""
    modes, counts = inferences(rows), seed_counts(rows)
    lines = {}
    for run in compared(suite, collection):
        line = dict.fromkeys(header, "-")
        line[header[0]] = modes.get(run) or f"not run: evaluate@{run}"
        line[header[1]] = str(counts.get(run, "-"))
        lines[run] = line
    return lines


def _counted_text(suite: Suite, cell: Any, most: int) -> str:
    """A figure as shown, with its images where its column's others have more."""
    text = value_text(suite, cell)
    if cell.images < most:
        text += f" [{cell.images} of {most} images]"
    return text


def _better_text(suite: Suite, cell: Any) -> str:
    """A difference as shown, and on how many shared images it is better."""
    if not cell.paired and not cell.apart:
        return "-"
    left_out = f"; {cell.apart} left out" if cell.apart else ""
    return f"{interval_text(suite, cell)} ({cell.better}/{cell.paired} better{left_out})"


def _frame(suite: Suite, lines: dict[str, dict[Column, str]], header: list[Column]) -> pd.DataFrame:
    """Lines under their runs' labels, columns in the header's order."""
    labels = [run_label(suite, run) for run in lines]
    texts = [[line[column] for column in header] for line in lines.values()]
    columns = pd.MultiIndex.from_tuples(header, names=["dataset", "measure"])
    frame = pd.DataFrame(texts, index=labels, columns=columns, dtype=object)
    return frame.rename_axis("method")


def _flags(shown: pd.DataFrame, marked: dict[str, set[Column]]) -> pd.DataFrame:
    """True at the marked columns of each line of a table."""
    flags = []
    for own in marked.values():
        flags.append([column in own for column in shown.columns])
    return pd.DataFrame(flags, shown.index, shown.columns)


def counts_note(suite: Suite, rows: pd.DataFrame, collection: str | None = None) -> str:
    """How many images and seeds stand behind the figures, and what an Average covers."""
    rows = rows_of(suite, rows, collection)
    scores = scored(suite, rows)
    images = scores.groupby(["run", "dataset"])["image"].nunique().groupby("dataset").max()
    seen = statistics.scenes(scores).groupby("dataset").nunique()
    counts = ", ".join(
        f"{name} ({images_text(images[name], seen[name])})"
        for name in datasets(suite, scores, collection)
    )
    note = f"On {counts}. {seeds_text(rows)}. Mean over images of the mean over seeds."
    if _leaves_out(scores):
        note += f" {LEFT_OUT_NOTE}"
    found = averages(suite, rows)
    there = [run for run in compared(suite, collection) if found.get(run)]
    if not there:
        return note
    covered = ", ".join(found[there[0]])
    if suite.evaluation_of(there[0]).average == COLUMNS:
        return f"{note} {AVERAGE}: the plain mean of the sets' means, {covered}."
    return f"{note} {AVERAGE}: all images of {covered}, so weighted by their counts."


LEFT_OUT_NOTE = (
    "Exact: restored without error, an infinite PSNR; undefined: a value that is no number. Such images are counted "
    "beside, and left out of means, differences and intervals."
)


def _leaves_out(rows: pd.DataFrame) -> bool:
    """Whether a value of the rows is not a finite number."""
    return not np.isfinite(rows["value"]).all()


def images_text(images: int, scenes: int) -> str:
    """ "14 images"; where several are of one scene "6 images of 3 scenes"."""
    said = f"{images:.0f} image{'' if images == 1 else 's'}"
    return said if scenes == images else f"{said} of {scenes:.0f} scene{'' if scenes == 1 else 's'}"


def seeds(rows: pd.DataFrame, run: str) -> int:
    """How many seeds a run was measured with (rows of its prior's facts have none)."""
    return seed_counts(rows[rows["run"] == run]).get(run, 0)


def seed_counts(rows: pd.DataFrame) -> dict[str, int]:
    """``seeds`` of all runs of the rows."""
    places = rows[["run", "seed"]].drop_duplicates().astype(str).drop_duplicates()
    counts = dict.fromkeys(places["run"], 0)
    for run in places.loc[places["seed"] != "", "run"]:
        counts[run] += 1
    return counts


def inference(rows: pd.DataFrame, run: str) -> str:
    """A run's inference mode; where it differs between test sets, each mode with its sets. Empty for a run not run."""
    return inferences(rows[rows["run"] == run]).get(run, "")


def inferences(rows: pd.DataFrame) -> dict[str, str]:
    """``inference`` of all runs of the rows that have one."""
    places = rows.loc[rows["inference"] != "", ["run", "inference", "dataset"]].drop_duplicates()
    found: dict[str, dict[str, list[str]]] = {}
    for run, mode, name in places.to_numpy(object):
        found.setdefault(run, {}).setdefault(mode, []).append(name)
    return {run: _mode_text(modes) for run, modes in found.items()}


def _mode_text(modes: dict[str, list[str]]) -> str:
    """The modes of a run, each with its sets where there are several."""
    if len(modes) == 1:
        return next(iter(modes))
    return ", ".join(f"{mode} ({', '.join(sets)})" for mode, sets in modes.items())


def seeds_text(rows: pd.DataFrame) -> str:
    """How many seeds: "One seed a run", "3 seeds a run" or "1 to 3 seeds a run"."""
    counts = seed_counts(rows).values()
    low, high = min(counts), max(counts)
    if low == high:
        return "One seed a run" if low == 1 else f"{low} seeds a run"
    return f"{low} to {high} seeds a run"


def metrics(suite: Suite, rows: pd.DataFrame) -> dict[str, dict[str, dict[str, float | None]]]:
    """The headline numbers for ``dvc metrics``: {run: {data set: {PSNR, SSIM, MCR}}}; MCR in percent.

    Where images are left out of a mean "PSNR exact" and "PSNR undefined" say how many; a mean of none is None.
    """
    main = {
        name: main_columns(suite, rows_of(suite, rows, name))
        for name in measured_collections(suite, rows)
    }
    known = measures(suite)
    numbers: dict[str, dict[str, dict[str, float | None]]] = {}
    for cell in tuples(cells(suite, rows)):
        if (cell.metric, cell.protocol) in main.get(cell.collection, []):
            of_set = numbers.setdefault(cell.run, {}).setdefault(cell.dataset, {})
            name = known[cell.metric].shown
            of_set[name] = None if pd.isna(cell.value) else round(cell.value, 6)
            for word in LEFT_OUT:
                if getattr(cell, word):
                    of_set[f"{name} {word}"] = int(getattr(cell, word))
    return numbers
