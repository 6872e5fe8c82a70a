"""Is a run better than its reference? Paired differences, an interval over images and seeds, Wilcoxon, Holm. Layer 4.

Images of one scene (copies of one photograph, frames of one sequence) are alike and no independent witnesses: they are
resampled together. The interval is a bootstrap in which scenes and seeds are resampled independently. Plain
percentiles of it are too narrow where there are few seeds or scenes (with three seeds that differ more than the images
do, a nominal 95 % covers 75 %), so it is widened by the standard corrections; see ``interval`` for what was measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from benchlib.contracts import BenchError

if TYPE_CHECKING:
    import pandas as pd

VERSION = 2
CHUNK = 2**17  # places drawn at a time: a mebibyte, which a processor's cache holds
KEPT = 2**21  # draws of as few places as this are kept: the next difference has as many scenes
TOGETHER = 64  # differences whose resamples are held at a time, 80 KB each
RANKED = 50  # values up to which their ranks' p is kept
PLACE = ["dataset", "image"]


@dataclass(frozen=True)
class Paired:
    """A run minus its reference, in the metric's unit; for PSNR dB.

    images, scenes, seeds: how many stand behind it. mean: over images of the mean over seeds.
    low, high: 95 % interval (see ``interval``), NaN for one scene. significant: the interval excludes zero.
    p: Wilcoxon signed-rank over the scenes' means, two-sided, not corrected.
    apart: images left out of all that, since their difference is not a finite number: restored exactly by one of the
    two (an infinite PSNR), or without a value (NaN).
    """

    images: int
    scenes: int
    seeds: int
    mean: float
    low: float
    high: float
    significant: bool
    p: float
    apart: int = 0


def compare(run: pd.DataFrame, reference: pd.DataFrame) -> Paired:
    """Statistics of a run against its reference; rows (``records.ROW``) of one metric and protocol each.

    Pairs as ``differences`` says, and raises what it raises. No image in common, or none whose difference is a finite
    number: 0 images and NaN.
    """
    every = differences(run, reference)
    return judge(every.to_numpy(), scenes(run).reindex(every.index).to_numpy())


def judge(every: np.ndarray, scene: np.ndarray) -> Paired:
    """What differences ``(images, seeds)`` say; scene: of each image, names or their codes."""
    return judge_all([(every, scene)])[0]


def judge_all(changes: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[Paired]:
    """``judge`` of many: draws are made once for all that have as many scenes and seeds."""
    kept = []
    for every, scene in changes:
        finite = np.isfinite(every).all(axis=1)
        # a sum's last digit depends on its order: by columns, as pandas lays a frame out
        kept.append((np.asfortranarray(every[finite]), scene[finite]))
    found = []
    for (every, _), (values, scene), ends in zip(changes, kept, intervals(kept), strict=True):
        found.append(_paired(values, scene, ends, len(every)))
    return found


def _paired(values: np.ndarray, scene: np.ndarray, ends: tuple[float, float], every: int) -> Paired:
    """What finite differences say; ends: of their interval, every: images with those left out."""
    import pandas as pd

    low, high = ends
    mean = float(values.mean()) if values.size else float("nan")
    means = values.mean(1)
    count = len(np.unique(scene))
    if count < len(scene):
        means = pd.Series(means).groupby(scene, sort=False).mean().to_numpy()
    images, seeds = values.shape
    significant = bool(low > 0 or high < 0)
    apart = every - images
    return Paired(images, count, seeds, mean, low, high, significant, wilcoxon(means), apart)


def scenes(rows: pd.DataFrame) -> pd.Series:
    """The scene of each image (index dataset, image); an image without one, or of rows without scenes, is its own."""
    table = rows[PLACE].astype(str).assign(scene=scene_names(rows))
    return table.drop_duplicates(PLACE).set_index(PLACE)["scene"]


def scene_names(rows: pd.DataFrame) -> pd.Series:
    """The scene of each row; an image without one, or of rows without scenes, is its own."""
    own = rows["dataset"].astype(str) + "/" + rows["image"].astype(str)
    if "scene" not in rows:
        return own
    named = rows["scene"].astype(str)
    return named.where(named != "", own)


def compare_all(
    rows: pd.DataFrame, references: dict[str, str], family: Sequence[str] = ("metric", "protocol")
) -> pd.DataFrame:
    """``compare`` for every run of ``references`` (run -> its reference), data set, metric and protocol of ``rows``.

    One row each: run, reference, dataset, metric, protocol, the fields of ``Paired``, and ``p_holm``, corrected over
    the family: all rows that agree in the columns ``family`` (default: every run and data set under one measure).
    Data sets that only one of the two has are left out.
    """
    import pandas as pd

    keys = ["dataset", "metric", "protocol"]
    parts = sheets(rows)
    places, changes = [], []
    for (name, *place), part in parts.items():
        other = parts.get((references.get(name, ""), *place))
        if other is not None:
            line = {"run": name, "reference": references[name]}
            places.append(line | dict(zip(keys, place, strict=True)))
            change = minus(part, other)
            changes.append((change.values, change.scene))
    lines = []
    for line, found in zip(places, judge_all(changes), strict=True):
        lines.append(line | vars(found))
    fields = [*Paired.__dataclass_fields__]
    table = pd.DataFrame(lines, columns=["run", "reference", *keys, *fields])
    return table.assign(p_holm=table.groupby(list(family))["p"].transform(holm))


@dataclass(frozen=True)
class Sheet:
    """One run's values of a data set under a metric and protocol: a line an image, a column a seed.

    values: ``(images, seeds)`` float, in order of appearance. images: their names. scene: codes in
    the order of the scenes' names. seeds: as text. whole: each image has one value of each seed.
    table, at: the rows that it was laid out from.
    """

    values: np.ndarray
    images: np.ndarray
    scene: np.ndarray
    seeds: tuple[str, ...]
    whole: bool
    table: pd.DataFrame
    at: np.ndarray


@dataclass(frozen=True)
class Change:
    """Differences of two sheets, ``(images, seeds)``, with the names and scenes of the images."""

    values: np.ndarray
    images: np.ndarray
    scene: np.ndarray


def sheets(rows: pd.DataFrame) -> dict[tuple[str, ...], Sheet]:
    """(run, dataset, metric, protocol) -> its sheet, in order of appearance.

    Rows are laid out once for all: a pivot of each comparison's two sides took most of the time
    where there are many runs.
    """
    import pandas as pd

    keys = ["run", "dataset", "metric", "protocol"]
    number = rows.groupby(keys, sort=False).ngroup().to_numpy()
    order = np.argsort(number, kind="stable")
    order = order[np.searchsorted(number[order], 0) :]  # a row without a key is in no group
    if not len(order):
        return {}
    starts = np.flatnonzero(np.diff(number[order], prepend=-1))
    names = [rows[name].to_numpy()[order[starts]] for name in keys]
    images = rows["image"].astype(str).to_numpy(object)
    scene = pd.factorize(scene_names(rows).to_numpy(object), sort=True)[0]
    seed, seeds = pd.factorize(rows["seed"].astype(str).to_numpy(object))
    values = rows["value"].to_numpy(float)
    found = {}
    for key, at in zip(zip(*names, strict=True), np.split(order, starts[1:]), strict=True):
        line, first = _places(images[at])
        column, own_seeds = pd.factorize(seed[at])
        wide = np.full((len(first), len(own_seeds)), np.nan)
        wide[line, column] = values[at]
        once = len(np.unique(line * len(own_seeds) + column)) == len(at)
        whole = once and wide.size == len(at)
        first = at[first]
        texts = tuple(seeds[own_seeds])
        found[key] = Sheet(wide, images[first], scene[first], texts, whole, rows, at)
    return found


def _places(names: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The line of each name, numbered in order of appearance, and where each first appears."""
    import pandas as pd

    line, _ = pd.factorize(names)
    _, first = np.unique(line, return_index=True)
    return line, first


def minus(ours: Sheet, theirs: Sheet) -> Change:
    """``differences`` of two sheets of one data set, metric and protocol; raises what it raises."""
    single = 1 in (len(ours.seeds), len(theirs.seeds))
    alike = single or ours.seeds == theirs.seeds
    if alike and ours.whole and theirs.whole and np.array_equal(ours.images, theirs.images):
        return Change(_subtract(ours.values, theirs.values), ours.images, ours.scene)
    rows = ours.table.iloc[ours.at]
    every = differences(rows, theirs.table.iloc[theirs.at])
    scene = scenes(rows).reindex(every.index).to_numpy()
    return Change(every.to_numpy(), every.index.get_level_values("image").to_numpy(), scene)


def _subtract(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``a`` minus ``b``; equal values differ by 0, infinite too."""
    a, b = np.broadcast_arrays(a, b)
    return np.subtract(a, b, where=a != b, out=np.zeros(a.shape))


def differences(run: pd.DataFrame, reference: pd.DataFrame) -> pd.DataFrame:
    """Run minus reference: a line an image (index dataset, image) that both have, a column a pair of seeds.

    Seeds are paired by number where both have several, and those only one of them has are left out; a side with a
    single seed (an untuned network) is paired with every seed of the other. Equal values differ by 0, infinite too;
    a value that is NaN in the rows gives NaN. Raises BenchError for two values of one image and seed (rows of one metric and protocol are expected), for an image
    that lacks a seed, or where several seeds a side have none in common.
    """
    import pandas as pd

    ours, theirs = _by_seed(run), _by_seed(reference)
    if min(ours.shape[1], theirs.shape[1]) > 1:
        shared = [seed for seed in ours if seed in theirs]
        if not shared:
            raise BenchError(
                f"statistics: seeds {', '.join(ours)} against seeds {', '.join(theirs)}; expected seeds in common, or "
                "a single one on one side"
            )
        ours, theirs = ours[shared], theirs[shared]
    images = ours.index.intersection(theirs.index, sort=False)
    ours, theirs = ours.loc[images], theirs.loc[images]
    a, b = ours.to_numpy(), theirs.to_numpy()
    if np.isnan(a).any() or np.isnan(b).any():
        for rows, side in ((run, ours), (reference, theirs)):
            _check_complete(rows, side)
    wide = ours if ours.shape[1] >= theirs.shape[1] else theirs
    return pd.DataFrame(_subtract(a, b), images, wide.columns)


def _check_complete(rows: pd.DataFrame, table: pd.DataFrame) -> None:
    """Raise BenchError if an image lacks a seed of the table; a value that is NaN is there."""
    there = set(rows[[*PLACE, "seed"]].astype(str).itertuples(index=False, name=None))
    for place in table.index:
        for seed in table:
            if (*place, seed) not in there:
                raise BenchError(
                    f"statistics: {'/'.join(place)} lacks a value of some seed; rerun the run's evaluate stage"
                )


def _by_seed(rows: pd.DataFrame) -> pd.DataFrame:
    """Images x seeds, in order of appearance. Seeds and names as text: a frame of several runs may hold both types."""
    table = rows[[*PLACE, "seed"]].astype(str).assign(value=rows["value"].astype(float))
    if table.duplicated([*PLACE, "seed"]).any():
        dataset, image, seed, _ = table[table.duplicated([*PLACE, "seed"])].iloc[0]
        raise BenchError(
            f"statistics: {dataset}/{image} has two values of seed {seed}; expected the rows of one run, metric and "
            "protocol"
        )
    return table.set_index([*PLACE, "seed"])["value"].unstack("seed", sort=False)


def interval(
    values: np.ndarray,
    scenes: np.ndarray | None = None,
    *,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> tuple[float, float]:
    """Bootstrap interval of the mean of ``(images, seeds)`` differences; NaN for one scene or values not finite.

    scenes: which images belong together, ``(images,)``, any values; default: each is its own.
    A resample draws scenes and, independently, seeds with replacement. Its mean's deviation is that of the scenes' row
    means, weighted by their images (Davison and Hinkley 1997, section 3.8, on hierarchical data; linearised), plus that
    of the seeds' column means (Owen 2007, "The pigeonhole bootstrap", without the term of single cells, which the row
    and column means hold already). Two corrections for small samples: deviations times sqrt(n/(n-1))
    (Hesterberg 2015, "What teachers should know about the bootstrap", on narrowness bias), and the percentiles times
    t / z with Welch and Satterthwaite's degrees of freedom of the two variances. With a hundred images and one seed
    that is 1.02 times the plain percentile interval.

    Coverage measured of a nominal 95 %, 600 experiments each (plain percentiles in brackets): images differ most, 40
    images x 3 seeds 0.95 (0.93), 10 x 3 0.94 (0.89), 5 x 1 0.93 (0.82); images, seeds and single cells alike, 100 x 3
    0.92 (0.77), 10 x 3 0.94 (0.88); seeds differ most, 100 x 3 0.94 (0.75); long-tailed or skewed effects 0.93 to 0.96.
    Where single cells differ most it is too wide: 0.99. 12 scenes of 4 images that differ as much between scenes as
    within, 3 seeds: 0.95 (taken for 48 scenes: 0.79). With one seed it speaks of the images alone: how another
    training would come out is not in it.
    """
    part = (values, np.arange(len(values)) if scenes is None else scenes)
    return intervals([part], level=level, resamples=resamples, seed=seed)[0]


def intervals(
    parts: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> list[tuple[float, float]]:
    """``interval`` of many ``(values, scenes)``: what is drawn is the same for as many scenes."""
    found = [(float("nan"), float("nan"))] * len(parts)
    alike: dict[tuple[int, ...], list[int]] = {}
    effects: dict[int, list[np.ndarray]] = {}
    for i, (values, scenes) in enumerate(parts):
        names, code = np.unique(scenes, return_inverse=True)
        if len(names) < 2 or not np.isfinite(values).all():
            continue
        mean = float(values.mean())
        of_scene = np.bincount(code, values.mean(1) - mean) * (len(names) / len(values))
        own = [effect for effect in (of_scene, values.mean(0) - mean) if len(effect) > 1]
        effects[i] = own
        alike.setdefault(tuple(map(len, own)), []).append(i)
    for group in alike.values():
        for begin in range(0, len(group), TOGETHER):
            some = group[begin : begin + TOGETHER]
            drawn = _deviations([effects[i] for i in some], resamples, seed)
            for i, deviations in zip(some, drawn, strict=True):
                found[i] = _ends(float(parts[i][0].mean()), effects[i], deviations, level)
    return found


def _ends(
    mean: float, effects: Sequence[np.ndarray], deviations: np.ndarray, level: float
) -> tuple[float, float]:
    """The interval about a mean, from what resamples deviate from it."""
    from scipy import special

    variances = [(effect.var(ddof=1) / len(effect), len(effect) - 1) for effect in effects]
    total = sum(variance for variance, _ in variances)
    if total == 0:
        return mean, mean
    freedom = total**2 / sum(variance**2 / n for variance, n in variances)
    tail = (1 + level) / 2
    low, high = (
        np.quantile(deviations, [1 - tail, tail])
        * special.stdtrit(freedom, tail)  # what stats.t.ppf and stats.norm.ppf call, slowly
        / special.ndtri(tail)
    )
    return mean + float(low), mean + float(high)


def _deviations(
    parts: Sequence[Sequence[np.ndarray]], resamples: int, seed: int
) -> list[np.ndarray]:
    """What resamples of each part deviate from its mean, ``(resamples,)``; its effects added up.

    The parts' effects are of the same sizes, and the same draws serve all.
    """
    sizes = tuple(map(len, parts[0]))
    draws: Callable[..., Iterable[Iterable[np.ndarray]]] = _draws
    if sum(sizes) * resamples <= KEPT:
        draws = _kept_draws
    deviations = [np.zeros(resamples) for _ in parts]
    for at, chunks in enumerate(draws(sizes, resamples, seed)):
        n = sizes[at]
        begin = 0
        for places in chunks:
            end = begin + len(places)
            for effects, own in zip(parts, deviations, strict=True):
                own[begin:end] += np.sqrt(n / (n - 1)) * effects[at][places].mean(1)
            begin = end
    return deviations


def _draws(sizes: tuple[int, ...], resamples: int, seed: int) -> Iterator[Iterator[np.ndarray]]:
    """Per size, what resamples draw with replacement, ``(some resamples, size)`` at a time.

    One generator after the other: each must be used up before the next.
    """
    rng = np.random.default_rng(seed)
    for size in sizes:
        yield _chunks(rng, size, resamples)


def _chunks(rng: np.random.Generator, size: int, resamples: int) -> Iterator[np.ndarray]:
    step = max(1, CHUNK // size)
    for start in range(0, resamples, step):
        yield rng.integers(size, size=(min(step, resamples - start), size))


@lru_cache(maxsize=8)
def _kept_draws(
    sizes: tuple[int, ...], resamples: int, seed: int
) -> tuple[tuple[np.ndarray, ...], ...]:
    return tuple(tuple(chunks) for chunks in _draws(sizes, resamples, seed))


def wilcoxon(values: np.ndarray) -> float:
    """Two-sided p of Wilcoxon's signed-rank test that the images' differences lie symmetrically about zero.

    SciPy's ``wilcoxon``, zeros dropped; 1 if all are zero, NaN without images. Differences are rounded to 1e-9 first,
    so that equal ones tie. With n images p is at least 2^(1-n): five images cannot go below 0.0625.
    """
    from scipy import stats

    values = np.round(values, 9)
    if not len(values):
        return float("nan")
    if not np.any(values):
        return 1.0
    if len(values) > RANKED:
        return float(stats.wilcoxon(values).pvalue)
    signed = np.sign(values) * stats.rankdata(np.abs(values))
    if values.all() and len(np.unique(np.abs(signed))) == len(signed):
        return _wilcoxon_of_sum(len(signed), int(signed[signed > 0].sum()))
    return _wilcoxon_of_ranks(tuple(np.sort(signed)))


@lru_cache(maxsize=2**14)
def _wilcoxon_of_sum(number: int, positive: int) -> float:
    """The same where none ties and none is zero: the test then knows the sum of the positive ranks alone.

    It is asked about the largest ranks that have this sum.
    """
    from scipy import stats

    signed = []
    for rank in range(number, 0, -1):
        sign = -1
        if rank <= positive:
            sign = 1
            positive -= rank
        signed.append(sign * rank)
    return float(stats.wilcoxon(np.array(signed, float)).pvalue)


@lru_cache(maxsize=2**14)
def _wilcoxon_of_ranks(signed: tuple[float, ...]) -> float:
    """The test knows of its values their signs and ranks alone, so that many share one p.

    Where few images tie, SciPy goes through all their signs, a tenth of a second each time.
    """
    from scipy import stats

    return float(stats.wilcoxon(np.array(signed)).pvalue)


def holm(p: Sequence[float]) -> np.ndarray:
    """p-values of one family corrected by Holm's step-down procedure; NaN is no test and stays NaN."""
    from statsmodels.stats.multitest import multipletests

    corrected = np.array(p, float)
    tested = ~np.isnan(corrected)
    if tested.any():
        corrected[tested] = multipletests(corrected[tested], method="holm")[1]
    return corrected
