"""Which pair a crop is of: by size as ever, and the three ways of multiple-in-one restoration."""

from collections import Counter
from pathlib import Path

import pytest
from conftest import small_params, write_params

from benchlib.contracts import BenchError
from benchlib.params import load_params
from benchlib.priors._read import PriorSet
from benchlib.records import Pair
from benchlib.seeding import name_rng
from benchlib.train.data import Crops

SIZES = {"noise": 8, "rain": 2, "dark": 3}


def pairs() -> list[Pair]:
    found = []
    for dataset, count in SIZES.items():
        for number in range(count):
            found.append(Pair(dataset, str(number), Path("lq.png"), Path("hq.png")))
    return found


def crops(mix: str = "size", repeats: dict[str, int] | None = None, seed: int = 3) -> Crops:
    return Crops("image", pairs(), PriorSet((), ()), 8, seed, mix=mix, repeats=repeats)


def drawn(source: Crops, numbers: range) -> list[tuple[str, str]]:
    found = []
    for n in numbers:
        pair = source.pairs[source.pair_of(n)]
        found.append((pair.dataset, pair.image))
    return found


def sets_of(found: list[tuple[str, str]]) -> Counter:
    return Counter(dataset for dataset, _ in found)


def test_by_size_is_what_it_always_was():
    """Written out as the loader had it before there was a choice: committed runs depend on it."""
    source = crops()
    for n in (0, 5, 12, 13, 40):
        epoch, place = divmod(n, 13)
        order = name_rng("order", 3, epoch).permutation(13)
        assert source.pair_of(n) == order[place]
    for epoch in range(3):
        assert len(set(drawn(source, range(13 * epoch, 13 * epoch + 13)))) == 13


def test_repeats_count_pairs_more_often_in_an_epoch():
    """PromptIR: 8 + 2 x 4 + 3 crops are an epoch."""
    found = drawn(crops(repeats={"rain": 4}), range(19, 38))
    assert sets_of(found) == {"noise": 8, "rain": 8, "dark": 3}
    assert set(Counter(found).values()) == {1, 4}
    assert drawn(crops(repeats={"rain": 1}), range(26)) == drawn(crops(), range(26))


def test_uniform_draws_each_set_as_often_whatever_its_size():
    """LMDIR: 3,000 crops are 1,000 of each set, give or take five standard deviations of 26."""
    source = crops("uniform")
    found = drawn(source, range(3000))
    assert all(abs(count - 1000) < 130 for count in sets_of(found).values())
    rain = [image for dataset, image in found if dataset == "rain"]
    assert abs(rain.count("0") / len(rain) - 0.5) < 0.08
    assert set(found) == {(pair.dataset, pair.image) for pair in source.pairs}


def test_cycle_puts_one_of_each_set_into_a_batch():
    """AirNet: and each set's pairs come once each in an epoch of its own."""
    source = crops("cycle")
    found = drawn(source, range(24))
    for n in range(0, 24, 3):
        assert [dataset for dataset, _ in found[n : n + 3]] == list(SIZES)
    for dataset, size in SIZES.items():
        images = [image for name, image in found if name == dataset]
        for first in range(0, len(images) - size + 1, size):
            assert len(set(images[first : first + size])) == size


@pytest.mark.parametrize("mix", ["size", "uniform", "cycle"])
def test_a_crop_depends_on_the_seed_and_its_number_alone(mix):
    late = crops(mix).pair_of(17)
    source = crops(mix)
    in_order = [source.pair_of(n) for n in range(18)]
    assert in_order[17] == late
    assert [crops(mix, seed=4).pair_of(n) for n in range(18)] != in_order


def expect_refused(small, said: str, **training) -> None:
    params = small_params()
    params["runs"]["no-prior"]["training"] = training
    with pytest.raises(BenchError, match=said):
        load_params(write_params(small.folder, params))


def test_a_mistake_is_one_line_before_any_work(small):
    expect_refused(small, r"training\.repeats: got 'rian'", repeats={"rian": 2})
    expect_refused(small, "repeats: given with mix 'cycle'", mix="cycle", repeats={"shake-blur": 2})
    expect_refused(small, "mix: got 'uniformly'", mix="uniformly")
    expect_refused(small, "greater than or equal to 1", repeats={"shake-blur": 0})
