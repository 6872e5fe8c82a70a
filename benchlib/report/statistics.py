"""Is a run better than its reference? Paired differences, an interval over images and seeds, Wilcoxon, Holm. Layer 4.

Images of one scene (copies of one photograph, frames of one sequence) are alike and no independent witnesses: they are
resampled together. The interval is a bootstrap in which scenes and seeds are resampled independently. Plain
percentiles of it are too narrow where there are few seeds or scenes (with three seeds that differ more than the images
do, a nominal 95 % covers 75 %), so it is widened by the standard corrections; see ``interval`` for what was measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from benchlib.contracts import BenchError

if TYPE_CHECKING:
    import pandas as pd

VERSION = 2
CHUNK = 2**17  # places drawn at a time: a mebibyte, which a processor's cache holds
KEPT = 2**26  # draws of as few places as this are kept: the next difference has as many scenes
TOGETHER = 64  # differences whose resamples are held at a time, 80 KB each
EXACT = 50  # images up to which SciPy's rank test is exact where none ties
FLIPPED = 13  # images up to which it goes through all signs where some tie
PLACE = ["dataset", "image"]
Place = tuple[str, ...]  # run, dataset, metric, protocol
Draw = tuple[int, int, np.ndarray]  # which size, the first resample, places ``(some, size)``


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
    return compare_each([(run, reference)])[0]


def compare_each(pairs: Iterable[tuple[pd.DataFrame, pd.DataFrame]]) -> list[Paired]:
    """``compare`` of many pairs of a run and its reference."""
    changes = []
    for run, reference in pairs:
        every = differences(run, reference)
        changes.append((every.to_numpy(), scenes(run).reindex(every.index).to_numpy()))
    return judge_all(changes)


def judge_all(changes: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[Paired]:
    """What differences ``(images, seeds)`` say; beside each the scene of its images: names or codes.

    Those of the same shape and scenes are worked out together: a call each takes minutes where
    there are hundreds of runs.
    """
    alike: dict[tuple[Any, ...], list[int]] = {}
    kept = []
    for i, (every, scene) in enumerate(changes):
        finite = np.isfinite(every).all(axis=1)
        kept.append(np.ascontiguousarray(every[finite].T))
        shared = tuple(scene[finite].tolist())
        alike.setdefault((kept[i].shape, shared), []).append(i)
    found: dict[int, Paired] = {}
    for (_, shared), group in alike.items():
        apart = [len(changes[i][0]) - len(shared) for i in group]
        judged = _judged(np.stack([kept[i] for i in group]), np.array(shared), apart)
        found |= zip(group, judged, strict=True)
    return [found[i] for i in range(len(changes))]


def _judged(values: np.ndarray, scene: np.ndarray, apart: Sequence[int]) -> list[Paired]:
    """What finite differences ``(parts, seeds, images)`` of the same images say.

    apart: how many images each part has left out. A sum's last digit depends on its order: seed by
    seed, as pandas lays a frame out.
    """
    import pandas as pd

    parts, seeds, images = values.shape
    nan = float("nan")
    if not images:
        return [Paired(0, 0, seeds, nan, nan, nan, False, nan, left) for left in apart]
    ends = _intervals(values, scene)
    means = values.mean(1)
    count = len(np.unique(scene))
    if count < images:
        means = pd.DataFrame(means.T).groupby(scene, sort=False).mean().to_numpy().T
    whole = values.reshape(parts, -1).mean(1)
    found = []
    for mean, (low, high), p, left in zip(whole, ends, _wilcoxon(means), apart, strict=True):
        significant = bool(low > 0 or high < 0)
        figures = (float(mean), float(low), float(high), significant, float(p))
        found.append(Paired(images, count, seeds, *figures, left))
    return found


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
    return judged_table(changes(sheets(rows), references), references, family)


def judged_table(
    found: dict[Place, Change],
    references: dict[str, str],
    family: Sequence[str] = ("metric", "protocol"),
) -> pd.DataFrame:
    """``compare_all`` of what ``changes`` found."""
    import pandas as pd

    judged = judge_all([(change.values, change.scene) for change in found.values()])
    lines = []
    for place, one in zip(found, judged, strict=True):
        lines.append((place[0], references[place[0]], *place[1:], *vars(one).values()))
    fields = [*Paired.__dataclass_fields__]
    columns = ["run", "reference", "dataset", "metric", "protocol", *fields]
    table = pd.DataFrame(lines, columns=columns)
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


def sheets(rows: pd.DataFrame) -> dict[Place, Sheet]:
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
    number = number[order]
    starts = np.flatnonzero(np.diff(number, prepend=-1))
    names = [rows[name].to_numpy()[order[starts]] for name in keys]
    images = rows["image"].astype(str).to_numpy(object)
    scene = pd.factorize(scene_names(rows).to_numpy(object), sort=True)[0]
    seed, seeds = pd.factorize(rows["seed"].astype(str).to_numpy(object))
    values = rows["value"].to_numpy(float)[order]
    line = _places(number, starts, pd.factorize(images)[0][order])
    column = _places(number, starts, seed[order])
    cell = pd.Series(line * (column.max() + 1) + column)
    again = cell.groupby(number).transform("nunique").to_numpy() < np.bincount(number)[number]
    ends = [*starts[1:], len(order)]
    found = {}
    for key, begin, end in zip(zip(*names, strict=True), starts, ends, strict=True):
        at = slice(begin, end)
        wide = np.full((line[at].max() + 1, column[at].max() + 1), np.nan)
        wide[line[at], column[at]] = values[at]
        whole = wide.size == end - begin and not again[begin]
        first = order[at][_first(line[at])]
        own_seeds = seeds[seed[order[at][_first(column[at])]]]
        found[key] = Sheet(
            wide, images[first], scene[first], tuple(own_seeds), whole, rows, order[at]
        )
    return found


def _places(number: np.ndarray, starts: np.ndarray, code: np.ndarray) -> np.ndarray:
    """Each code's place within its group, in order of appearance.

    number: each row's group, one after the other; starts: where each begins.
    """
    import pandas as pd

    place = pd.factorize(number * (code.max() + 1) + code)[0]
    return place - place[starts][number]


def _first(place: np.ndarray) -> np.ndarray:
    """Where each place first appears."""
    return np.flatnonzero(np.diff(np.maximum.accumulate(place), prepend=-1))


def changes(parts: dict[Place, Sheet], references: dict[str, str]) -> dict[Place, Change]:
    """``minus`` of each sheet whose run's reference has one beside it."""
    found = {}
    for place, part in parts.items():
        other = parts.get((references.get(place[0], ""), *place[1:]))
        if other is not None:
            found[place] = minus(part, other)
    return found


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
    if scenes is None:
        scenes = np.arange(len(values))
    if not np.isfinite(values).all():
        return float("nan"), float("nan")
    one = np.ascontiguousarray(values.T[None])
    low, high = _intervals(one, scenes, level=level, resamples=resamples, seed=seed)[0]
    return float(low), float(high)


def _intervals(
    values: np.ndarray,
    scenes: np.ndarray,
    *,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> np.ndarray:
    """``interval`` of each part of ``(parts, seeds, images)``, all of the same scenes: ``(parts, 2)``."""
    from scipy import special

    parts, seeds, images = values.shape
    names, code = np.unique(scenes, return_inverse=True)
    if len(names) < 2:
        return np.full((parts, 2), np.nan)
    mean = values.reshape(parts, -1).mean(1)
    by_image = values.mean(1) - mean[:, None]
    of_scene = np.stack([np.bincount(code, own) for own in by_image]) * (len(names) / images)
    effects = [of_scene]
    if seeds > 1:
        effects.append(values.mean(2) - mean[:, None])
    variances = np.stack([own.var(axis=1, ddof=1) / own.shape[1] for own in effects])
    ends = np.stack([mean, mean], axis=1)
    moved = np.flatnonzero(variances.sum(0))  # the others' images and seeds are all equal
    tail = (1 + level) / 2
    freedom = [_freedom(variances[:, i], effects) for i in moved]
    wider = special.stdtrit(freedom, tail)  # what stats.t.ppf and stats.norm.ppf call, slowly
    for begin in range(0, len(moved), TOGETHER):
        some = slice(begin, begin + TOGETHER)
        drawn = _percentiles([own[moved[some]] for own in effects], tail, resamples, seed)
        ends[moved[some]] += (drawn * wider[some] / special.ndtri(tail)).T
    return ends


def _freedom(variances: np.ndarray, effects: Sequence[np.ndarray]) -> float:
    """Welch and Satterthwaite's degrees of freedom of one part's variances."""
    total, parts = 0.0, 0.0
    for variance, own in zip(variances, effects, strict=True):
        total += variance
        parts += variance**2 / (own.shape[1] - 1)
    return total**2 / parts


def _percentiles(
    effects: Sequence[np.ndarray], tail: float, resamples: int, seed: int
) -> np.ndarray:
    """The lower and the upper percentile of what resamples deviate from each part's mean, ``(2, parts)``.

    effects: of the scenes, then of the seeds, ``(parts, size)`` each; those of a resample add up,
    and the same draws serve all parts. They are ``np.quantile`` of all resamples, to the last
    digit: a product of matrices tells nearly, and fast, where each resample lies, and the few about
    a percentile are then added up draw by draw.
    """
    parts = len(effects[0])
    near, slack = np.zeros((parts, resamples)), np.zeros(parts)
    for own in effects:
        size = own.shape[1]
        slack += 8 * (size + 2) * np.finfo(float).eps * _widened(size) * np.abs(own).max(1)
    columns = [np.ascontiguousarray(own.T) for own in effects]
    for at, begin, places in _drawn(effects, resamples, seed):
        size = places.shape[1]
        sums = _sums(columns[at], places)
        near[:, begin : begin + len(places)] += _widened(size) / size * sums
    place = (resamples - 1) * np.array([1 - tail, tail])
    below = np.floor(place).astype(int)
    above = np.minimum(below + 1, resamples - 1)
    ordered = np.partition(near, [*below, *above], axis=1).T
    least, most = ordered[below] - slack, ordered[above] + slack
    near = near[None]
    least, most = least[..., None], most[..., None]
    end, part, resample = np.nonzero((near >= least) & (near <= most))
    under = np.count_nonzero(near < least, axis=2)
    exact = _deviations(effects, part, resample, _drawn(effects, resamples, seed))
    asked = end * parts + part
    exact = exact[np.lexsort((exact, asked))]
    first = np.searchsorted(asked, np.arange(2 * parts)).reshape(2, parts) - under
    found = []
    for i in range(2):
        both = exact[np.stack([first[i] + below[i], first[i] + above[i]])]
        found.append(np.quantile(both, place[i] - below[i], axis=0))
    return np.stack(found)


def _widened(size: int) -> float:
    """What deviations are multiplied by, since those of few are too small."""
    return np.sqrt(size / (size - 1))


def _sums(effects: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Nearly the sum of what each resample draws of each part, ``(parts, resamples)``.

    effects: ``(size, parts)``.
    """
    from scipy import sparse

    resamples, size = places.shape
    each = np.arange(0, places.size + 1, size)
    once = (np.ones(places.size), places.ravel(), each)  # a place that is drawn twice counts twice
    return (sparse.csr_array(once, shape=(resamples, size)) @ effects).T


def _deviations(
    effects: Sequence[np.ndarray], part: np.ndarray, resample: np.ndarray, draws: Iterable[Draw]
) -> np.ndarray:
    """What single resamples deviate from the mean of a part, ``(pairs,)``, added up draw by draw."""
    order = np.argsort(resample, kind="stable")
    part, resample = part[order], resample[order]
    sums = np.zeros(len(order))
    for at, begin, places in draws:
        few = slice(*np.searchsorted(resample, [begin, begin + len(places)]))
        drawn = effects[at][part[few, None], places[resample[few] - begin]]
        sums[few] += _widened(places.shape[1]) * drawn.mean(1)
    deviations = np.empty(len(order))
    deviations[order] = sums
    return deviations


def _drawn(effects: Sequence[np.ndarray], resamples: int, seed: int) -> Iterable[Draw]:
    """``_draws`` of the effects' sizes; few are kept."""
    sizes = tuple(own.shape[1] for own in effects)
    if sum(sizes) * resamples <= KEPT:
        return _kept_draws(sizes, resamples, seed)
    return _draws(sizes, resamples, seed)


def _draws(sizes: tuple[int, ...], resamples: int, seed: int) -> Iterator[Draw]:
    """What resamples draw with replacement, size after size, some resamples at a time."""
    rng = np.random.default_rng(seed)
    for at, size in enumerate(sizes):
        step = max(1, CHUNK // size)
        small = np.min_scalar_type(size)  # two bytes a place, of at most 65,535 scenes
        for begin in range(0, resamples, step):
            places = rng.integers(size, size=(min(step, resamples - begin), size))
            yield at, begin, places.astype(small)


@lru_cache(maxsize=2)
def _kept_draws(sizes: tuple[int, ...], resamples: int, seed: int) -> tuple[Draw, ...]:
    return tuple(_draws(sizes, resamples, seed))


def wilcoxon(values: np.ndarray) -> float:
    """Two-sided p of Wilcoxon's signed-rank test that the images' differences lie symmetrically about zero.

    SciPy's ``wilcoxon``, zeros dropped; 1 if all are zero, NaN without images. Differences are rounded to 1e-9 first,
    so that equal ones tie. With n images p is at least 2^(1-n): five images cannot go below 0.0625.
    """
    return float(_wilcoxon(np.asarray(values)[None])[0])


def _wilcoxon(values: np.ndarray) -> np.ndarray:
    """``wilcoxon`` of each line of ``(parts, images)``."""
    from scipy import stats

    values = np.round(values, 9)
    parts, images = values.shape
    if not images:
        return np.full(parts, np.nan)
    found = np.ones(parts)
    moved = values.any(axis=1)
    if images > EXACT:
        if moved.any():
            found[moved] = stats.wilcoxon(values[moved], axis=1).pvalue
        return found
    signed = np.sign(values) * stats.rankdata(np.abs(values), axis=1)
    plain = (np.sort(np.abs(signed), axis=1) == np.arange(1, images + 1)).all(1)
    sums = signed[plain].clip(min=0).sum(1).astype(int)
    found[plain] = _wilcoxon_of_sums(images)[sums]
    for i in np.flatnonzero(moved & ~plain):
        found[i] = _wilcoxon_of_ranks(tuple(np.sort(signed[i])))
    return found


@lru_cache(maxsize=EXACT)
def _wilcoxon_of_sums(images: int) -> np.ndarray:
    """p for each sum of the positive ranks, where none ties and none is zero: the test knows no more.

    It is asked about the largest ranks that have the sum.
    """
    from scipy import stats

    left = np.arange(images * (images + 1) // 2 + 1)
    signed = np.zeros((len(left), images))
    for rank in range(images, 0, -1):
        positive = rank <= left
        left = left - rank * positive
        signed[:, rank - 1] = np.where(positive, rank, -rank)
    return stats.wilcoxon(signed, axis=1).pvalue


@lru_cache(maxsize=2**14)
def _wilcoxon_of_ranks(signed: tuple[float, ...]) -> float:
    """The test knows of its values their signs and ranks alone, so that many share one p.

    Where few images tie, SciPy goes through all their signs, and ranks them anew each time: ranks
    do not change with signs, so its test is given them.
    """
    from scipy import stats

    values = np.array(signed)
    if len(values) > FLIPPED:
        return float(stats.wilcoxon(values).pvalue)
    ranks = np.zeros(len(values))
    there = values != 0
    ranks[there] = np.sign(values[there]) * stats.rankdata(np.abs(values[there]))
    return float(stats.permutation_test((ranks,), _positive, permutation_type="samples").pvalue)


def _positive(ranks: np.ndarray, axis: int) -> np.ndarray:
    """The sum of the positive ranks."""
    return np.where(ranks > 0, ranks, 0).sum(axis)


def holm(p: Sequence[float]) -> np.ndarray:
    """p-values of one family corrected by Holm's step-down procedure; NaN is no test and stays NaN."""
    corrected = np.array(p, float)
    tested = ~np.isnan(corrected)
    order = np.argsort(corrected[tested])
    steps = corrected[tested][order] * np.arange(len(order), 0, -1)
    found = np.empty(len(order))
    found[order] = np.minimum(np.maximum.accumulate(steps), 1)
    corrected[tested] = found
    return corrected
