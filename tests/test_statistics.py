"""Statistics against SciPy, hand-computed cases, and simulated experiments whose effect is known."""

import dataclasses
import time

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats
from statsmodels.stats.multitest import multipletests

from benchlib.contracts import BenchError
from benchlib.records import ROW
from benchlib.report.statistics import (
    compare,
    compare_all,
    differences,
    holm,
    interval,
    judge_all,
    wilcoxon,
)


def rows(
    values, run: str = "ours", seeds=None, dataset: str = "set", metric: str = "PSNR"
) -> pd.DataFrame:
    """Rows of ``values`` (images, seeds), every column of ROW there."""
    values = np.asarray(values, float)
    seeds = range(values.shape[1]) if seeds is None else seeds
    place = {"run": run, "dataset": dataset, "metric": metric, "protocol": "basicsr-y"}
    lines = [
        dict.fromkeys(ROW, "") | place | {"image": f"i{i}", "seed": seed, "value": values[i, j]}
        for i in range(len(values))
        for j, seed in enumerate(seeds)
    ]
    return pd.DataFrame(lines, columns=list(ROW))


def experiment(
    rng, images: int, seeds: int, of_image: float, of_seed: float, of_cell: float
) -> np.ndarray:
    """Differences of effect 0.1 with these standard deviations."""
    a, b, e = (rng.normal(size=shape) for shape in ((images, 1), (1, seeds), (images, seeds)))
    return 0.1 + of_image * a + of_seed * b + of_cell * e


@pytest.mark.parametrize(
    ("images", "seeds", "of_image", "of_seed", "of_cell"),
    [
        (30, 5, 1.0, 0.2, 0.5),
        (40, 3, 1.0, 0.1, 0.3),
        (60, 1, 1.0, 0.0, 0.3),
        (50, 4, 0.2, 1.0, 0.2),
        (6, 3, 1.0, 0.1, 0.3),
    ],
)
def test_interval_covers_the_true_effect_as_often_as_it_says(
    images, seeds, of_image, of_seed, of_cell
):
    rng = np.random.default_rng(images)
    hits = 0
    for _ in range(400):
        low, high = interval(
            experiment(rng, images, seeds, of_image, of_seed, of_cell), resamples=1000
        )
        hits += low <= 0.1 <= high
    assert 0.90 <= hits / 400 <= 0.98


def test_interval_covers_where_images_of_one_scene_are_alike_and_without_the_scenes_does_not():
    rng = np.random.default_rng(8)
    scene = np.repeat(np.arange(12), 4)
    hits = np.zeros(2)
    for _ in range(400):
        values = (
            experiment(rng, 12, 1, 1.0, 0.0, 0.0)[scene]
            + experiment(rng, 48, 3, 1.0, 0.1, 0.3)
            - 0.1
        )
        for i, given in enumerate((scene, None)):
            low, high = interval(values, given, resamples=1000)
            hits[i] += low <= 0.1 <= high
    covered, blind = hits / 400
    assert 0.90 <= covered <= 0.98
    assert blind < 0.85


def test_scenes_of_one_image_each_change_nothing_and_copies_of_an_image_add_nothing():
    values = np.random.default_rng(9).normal(size=(9, 2))
    assert interval(values, np.arange(9)[::-1]) == pytest.approx(interval(values), abs=0.05)
    assert interval(np.repeat(values, 5, axis=0), np.repeat(np.arange(9), 5)) == pytest.approx(
        interval(values)
    )
    assert np.isnan(interval(values, np.zeros(9))).all()


def test_interval_of_many_uneven_scenes_is_that_of_resampling_whole_scenes():
    rng = np.random.default_rng(10)
    scene = np.repeat(np.arange(200), rng.integers(1, 9, 200))
    values = rng.normal(size=200)[scene] + rng.normal(0, 0.5, len(scene))
    sums, counts = np.bincount(scene, values), np.bincount(scene)
    drawn = rng.integers(200, size=(10_000, 200))
    direct = np.quantile(sums[drawn].sum(1) / counts[drawn].sum(1), [0.025, 0.975])
    assert interval(values[:, None], scene) == pytest.approx(
        tuple(direct), abs=0.01
    )  # it is 0.31 wide


def test_images_of_one_scene_are_one_witness():
    """Six images of three photographs: the p and the interval are those of three."""
    six, three = rows([[1.0], [1.0], [2.0], [2.0], [3.0], [3.0]]), rows([[1.0], [2.0], [3.0]])
    six["scene"] = ["cat", "cat", "dog", "dog", "rose", "rose"]
    found = compare(six, rows(np.zeros((6, 1))))
    alone = compare(three, rows(np.zeros((3, 1))))
    assert (found.images, found.scenes, alone.images, alone.scenes) == (6, 3, 3, 3)
    assert (found.mean, found.low, found.high, found.p) == (
        alone.mean,
        alone.low,
        alone.high,
        alone.p,
    )
    assert (
        compare(six.drop(columns="scene"), rows(np.zeros((6, 1)))).scenes == 6
    )  # rows of an earlier revision


def test_interval_of_many_images_and_one_seed_is_scipys_bootstrap_and_the_t_interval():
    values = experiment(np.random.default_rng(5), 400, 1, 1.0, 0.0, 0.0)
    found = np.array(interval(values))
    t = stats.t.interval(0.95, 399, values.mean(), values.std(ddof=1) / 20)
    scipy = stats.bootstrap(
        (values[:, 0],), np.mean, method="percentile", n_resamples=10_000, rng=1, batch=1000
    )
    assert found == pytest.approx(t, abs=0.004)  # the interval is 0.2 wide
    assert found == pytest.approx(tuple(scipy.confidence_interval), abs=0.006)


def test_seeds_that_differ_widen_the_interval_and_the_same_call_gives_the_same_interval():
    rng = np.random.default_rng(2)
    images = rng.normal(size=(50, 1))
    same, apart = images + np.zeros((1, 3)), images + np.array([[-1.0, 0.0, 1.0]])
    (low, high), (wide_low, wide_high) = interval(same), interval(apart)
    assert wide_high - wide_low > 2 * (high - low)
    assert interval(same) == (low, high)
    assert (low, high) == pytest.approx(
        interval(images), abs=0.02
    )  # three equal seeds say what one says


def test_hundred_images_and_three_seeds_take_under_fifty_milliseconds():
    values = experiment(np.random.default_rng(0), 100, 3, 1, 1, 1)
    took = []
    for _ in range(8):
        begun = time.process_time()
        interval(values)
        took.append(time.process_time() - begun)
    assert min(took) < 0.05


def test_interval_of_one_image_is_not_a_number_and_of_equal_differences_a_point():
    assert np.isnan(interval(np.ones((1, 3)))).all()
    assert np.isnan(interval(np.array([[np.inf], [1.0]]))).all()
    assert interval(np.full((4, 2), 0.5)) == (0.5, 0.5)


def test_run_is_compared_on_shared_images_and_seeds():
    ours = rows(
        [[1.0, 2.0, 9.0], [3.0, 4.0, 9.0], [5.0, 7.0, 9.0], [50.0, 60.0, 9.0]], seeds=[0, 1, 7]
    )
    theirs = rows(
        [[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]], "theirs", seeds=["1", "0"]
    )  # text, as in a frame of many runs
    frame = differences(ours, theirs)
    assert frame.columns.tolist() == ["0", "1"]
    assert frame.to_numpy().tolist() == [[0, 1], [2, 3], [4, 6]]
    found = compare(ours, theirs)
    assert (found.images, found.seeds, found.mean) == (3, 2, pytest.approx(16 / 6))
    assert found.p == stats.wilcoxon([0.5, 2.5, 5.0]).pvalue


def test_single_seed_is_paired_with_every_seed_of_the_other_side():
    one, three = rows([[1.0], [2.0]], seeds=[0]), rows([[2.0, 3.0, 4.0], [2.0, 2.0, 2.0]])
    assert differences(three, one).to_numpy().tolist() == [[1, 2, 3], [0, 0, 0]]
    assert differences(one, three).to_numpy().tolist() == [[-1, -2, -3], [0, 0, 0]]
    assert differences(one, rows([[1.0], [4.0]], seeds=[5])).to_numpy().tolist() == [[0], [-2]]


def test_images_of_one_name_in_two_sets_are_two_images():
    ours = pd.concat([rows([[1.0]], dataset="a"), rows([[5.0]], dataset="b")])
    theirs = pd.concat([rows([[2.0]], dataset="b"), rows([[2.0]], dataset="a")])
    assert differences(ours, theirs).to_dict()["0"] == {("a", "i0"): -1.0, ("b", "i0"): 3.0}


def test_equal_infinite_values_differ_by_nothing_and_one_infinite_is_left_out():
    inf = float("inf")
    assert compare(rows([[inf], [2.0], [3.0]]), rows([[inf], [1.0], [2.0]])).mean == pytest.approx(
        2 / 3
    )
    found = compare(rows([[inf], [2.0], [2.5], [3.0]]), rows([[1.0], [1.0], [1.0], [1.0]]))
    same = compare(rows([[2.0], [2.5], [3.0]]), rows([[1.0], [1.0], [1.0]]))
    assert found.apart == 1 and same.apart == 0
    assert dataclasses.replace(found, apart=0) == same, "as if the image were not there"
    nothing = compare(rows([[inf], [-inf]]), rows([[1.0], [1.0]]))
    assert (nothing.images, nothing.scenes, nothing.apart) == (0, 0, 2)
    assert np.isnan([nothing.mean, nothing.low, nothing.high, nothing.p]).all()
    assert not nothing.significant


def test_a_value_that_is_no_number_is_left_out_and_a_missing_one_is_refused():
    ours = rows([[float("nan"), 1.0], [2.0, 2.5]])
    found = compare(ours, rows([[1.0, 1.0], [1.0, 1.0]]))
    assert (found.images, found.apart, found.mean) == (1, 1, 1.25)
    with pytest.raises(BenchError, match="set/i0 lacks a value of some seed"):
        compare(ours.iloc[1:], rows([[1.0, 1.0], [1.0, 1.0]]))


def test_significant_is_an_interval_without_zero():
    rng = np.random.default_rng(1)
    base = rng.normal(30, 3, (40, 1))
    better = compare(rows(base + 0.1 + rng.normal(0, 0.05, (40, 3))), rows(base))
    assert better.significant and better.low > 0
    worse = compare(rows(base), rows(base + 0.1 + rng.normal(0, 0.05, (40, 3))))
    assert worse.significant and worse.high < 0
    neither = compare(rows(base + rng.normal(0, 1, (40, 3))), rows(base))
    assert not neither.significant and neither.low < 0 < neither.high
    same = compare(rows(base), rows(base))
    assert (same.mean, same.low, same.high, same.significant, same.p) == (0, 0, 0, False, 1)


def test_one_image_or_none_says_so():
    one = compare(rows([[3.0, 4.0]]), rows([[1.0, 1.0]]))
    assert (one.images, one.seeds, one.mean, one.p, one.significant) == (1, 2, 2.5, 1.0, False)
    assert np.isnan([one.low, one.high]).all()
    none = compare(rows([[3.0]], dataset="a"), rows([[3.0]], dataset="b"))
    assert (
        none.images == 0
        and np.isnan([none.mean, none.low, none.high, none.p]).all()
        and not none.significant
    )


@pytest.mark.parametrize("images", [1, 2, 5, 12, 13, 24, 50])
def test_wilcoxon_of_values_without_ties_is_scipys_to_the_bit(images):
    rng = np.random.default_rng(images)
    for _ in range(8):
        values = rng.normal(rng.normal(), 2, images)
        assert wilcoxon(values) == stats.wilcoxon(values).pvalue


def test_wilcoxon_is_scipys_but_for_rounding_noise_and_nothing_at_all():
    values = np.random.default_rng(3).normal(0.3, 1, 25)
    assert wilcoxon(values) == stats.wilcoxon(values).pvalue
    assert wilcoxon(np.array([0.1 + 0.2 - 0.3, 1.0, 2.0])) == stats.wilcoxon([0.0, 1.0, 2.0]).pvalue
    assert wilcoxon(np.arange(1.0, 6.0)) == 0.0625  # five of one sign: 2 / 2^5
    assert wilcoxon(np.zeros(7)) == 1.0
    assert np.isnan(wilcoxon(np.zeros(0)))


@pytest.mark.parametrize("images", [3, 11, 13])
def test_wilcoxon_of_few_images_that_tie_is_scipys_to_the_bit(images):
    rng = np.random.default_rng(images)
    values = rng.integers(-2, 3, images).astype(float)
    values[0] = 1.0  # not all are zero
    assert wilcoxon(values) == stats.wilcoxon(values).pvalue


def test_holm_is_statsmodels_to_the_bit():
    rng = np.random.default_rng(0)
    for number in (1, 2, 7, 40):
        p = np.round(rng.random(number) ** 3, 2)  # some tie
        assert holm(p).tolist() == multipletests(p, method="holm")[1].tolist()


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("images", [2, 9, 300])
def test_percentiles_are_those_of_all_resamples_to_the_last_digit(images, seeds):
    rng = np.random.default_rng(images)
    smooth = rng.normal(0.2, 1, (images, seeds))
    for values in (smooth, np.round(smooth), (smooth > 1).astype(float)):  # some resamples tie
        values = np.asfortranarray(values)
        if not values.std():
            continue
        draw, every = np.random.default_rng(0), np.zeros(10_000)
        mean, variances = values.mean(), []
        for effect in (values.mean(1) - mean, values.mean(0) - mean)[: 1 + (seeds > 1)]:
            n = len(effect)
            places = draw.integers(n, size=(10_000, n))
            every += np.sqrt(n / (n - 1)) * effect[places].mean(1)
            variances.append((effect.var(ddof=1) / n, n - 1))
        total = sum(variance for variance, _ in variances)
        freedom = total**2 / sum(variance**2 / n for variance, n in variances)
        wider = special.stdtrit(freedom, 0.975)
        low, high = np.quantile(every, [1 - 0.975, 0.975]) * wider / special.ndtri(0.975)
        assert interval(values) == (mean + low, mean + high)


def test_differences_judged_together_are_judged_as_each_by_itself():
    rng = np.random.default_rng(1)
    changes = []
    for i in range(40):
        images, seeds = (6, 1, 9, 0)[i % 4], (1, 2)[i % 2]
        values = rng.normal(0, 1, (images, seeds))
        if i % 5 == 0 and images:
            values[0, 0] = np.inf
        changes.append((values, np.arange(images) // (1 + i % 3)))
    together = judge_all(changes)
    alone = [judge_all([change])[0] for change in changes]
    assert list(map(repr, together)) == list(map(repr, alone))


def test_holm_as_by_hand():
    # in order .005 .01 .03 .04: times 4, 3, 2, 1 = .02 .03 .06 .04, then never below the one before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == pytest.approx([1.0, 1.0])
    assert holm([0.02, np.nan, 0.03]) == pytest.approx([0.04, np.nan, 0.04], nan_ok=True)
    assert len(holm([])) == 0


def test_family_is_every_run_and_set_under_one_measure():
    rng = np.random.default_rng(4)
    parts = []
    for dataset in ("a", "b"):
        base = rng.normal(30, 1, (8, 1))
        for metric in ("PSNR", "SSIM"):
            parts.append(rows(base, "base", [0], dataset, metric))
            parts += [
                rows(base + rng.normal(0.3, 0.3, (8, 2)), run, None, dataset, metric)
                for run in ("x", "y")
            ]
    parts.append(rows([[1.0], [2.0]], "x", [0], "only-x"))
    table = compare_all(pd.concat(parts), {"x": "base", "y": "base", "absent": "base"})
    assert table[["run", "dataset"]].drop_duplicates().to_numpy().tolist() == [
        ["x", "a"], ["y", "a"], ["x", "b"], ["y", "b"],
    ]  # fmt: skip
    for _, family in table.groupby("metric"):
        assert len(family) == 4
        assert family["p_holm"].tolist() == holm(family["p"].tolist()).tolist()
    by_set = compare_all(
        pd.concat(parts), {"x": "base", "y": "base"}, family=("dataset", "metric", "protocol")
    )
    assert (by_set["p_holm"] <= table["p_holm"]).all() and (
        by_set["p_holm"] < table["p_holm"]
    ).any()
    assert compare_all(pd.concat(parts), {}).empty


def test_what_cannot_be_paired_is_refused():
    twice = pd.concat([rows([[1.0]]), rows([[1.0]])])
    with pytest.raises(BenchError, match="set/i0 has two values of seed 0"):
        compare(twice, rows([[1.0]]))
    with pytest.raises(BenchError, match="seeds 0, 1 against seeds 2, 3"):
        compare(rows([[1.0, 1.0]]), rows([[1.0, 1.0]], seeds=[2, 3]))
    holes = rows([[1.0, 1.0], [1.0, 1.0]]).iloc[:3]
    with pytest.raises(BenchError, match="set/i1 lacks a value"):
        compare(holes, rows([[1.0], [1.0]]))
