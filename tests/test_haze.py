"""Haze is the scattering model's, number by number; distances come from maps and disparities."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import small_params, write_params
from skimage import data

from benchlib.checks import check_choices
from benchlib.contracts import BenchError
from benchlib.datasets import Maker
from benchlib.datasets import photographs_with_depth as source
from benchlib.degrade import _light, haze
from benchlib.imageio import read_image, write_png
from benchlib.params import configure, load_params
from benchlib.seeding import name_rng

STEREO = {"maps": "disparity", "offset": 31.086, "baseline": 994.978 * 0.193001}


def hazed(hq: np.ndarray, depth: np.ndarray | None = None, seed: int = 0, **settings) -> np.ndarray:
    return haze.degrade(hq, haze.Config(**settings), name_rng("haze", seed), depth=depth)


def noise(height: int = 12, width: int = 10) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


# --- the model -----------------------------------------------------------------------------------


def test_it_is_the_scattering_model_in_linear_light():
    hq, depth = noise(), np.random.default_rng(1).uniform(0.5, 4, (12, 10))
    given = {"beta": (0.7, 0.7), "airlight": (0.8, 0.8), "scene": "map", "relative": False}
    lq = hazed(hq, depth, **given)
    for row, column in ((0, 0), (5, 7), (11, 9)):
        share = np.exp(-0.7 * depth[row, column])
        light = _light.to_linear(hq[row, column]) * share + 0.8 * (1 - share)
        assert np.array_equal(lq[row, column], _light.to_8bit(_light.encode(light)))


def test_a_relative_map_has_distance_one_at_its_farthest_pixel():
    hq, depth = noise(), np.random.default_rng(1).uniform(1, 4, (12, 10))
    given = {"beta": (1, 1), "airlight": (1, 1), "scene": "map"}
    same = hazed(hq, depth / depth.max(), relative=False, **given)
    assert np.array_equal(hazed(hq, depth, **given), same)
    assert np.array_equal(hazed(hq, 1000 * depth, **given), same)


def test_no_extinction_is_no_haze_and_much_of_it_leaves_the_air_alone():
    hq = noise()
    assert np.array_equal(hazed(hq, beta=(0, 0)), hq)
    thick = hazed(hq, np.full((12, 10), 9.0), beta=(100, 100), airlight=(0.5, 0.5), scene="map")
    assert (thick == 188).all()  # half of white's light


def test_a_ramp_is_hazier_from_row_to_row_towards_the_top():
    lq = hazed(np.zeros((40, 4, 3), np.uint8), beta=(1, 1)).astype(int)
    assert (np.diff(lq[:, 0, 0]) <= 0).all() and lq[0, 0, 0] > lq[-1, 0, 0] + 50


def test_each_image_draws_its_own_values_within_the_range():
    hq, depth = np.zeros((2, 2, 3), np.uint8), np.ones((2, 2))
    given = {"beta": (0.5, 1.5), "airlight": (0.6, 0.9), "scene": "map"}
    light = []
    for seed in range(200):
        light.append(_light.to_linear(hazed(hq, depth, seed, **given))[0, 0, 0])
    low, high = 0.6 * (1 - np.exp(-0.5)), 0.9 * (1 - np.exp(-1.5))
    assert low - 0.01 < min(light) < low + 0.08 and high - 0.08 < max(light) < high + 0.01


@pytest.mark.parametrize(
    ("depth", "said"),
    [
        (None, "haze: scene: map: these pairs come without distances"),
        (np.ones((10, 12)), r"depth: \(10, 12\) float64; expected \(12, 10\), finite, above 0"),
        (np.zeros((12, 10)), "expected .* above 0"),
        (np.full((12, 10), np.nan), "finite"),
    ],
)
def test_a_map_that_does_not_fit_is_refused(depth, said):
    with pytest.raises(BenchError, match=said):
        hazed(noise(), depth, scene="map")


def test_a_range_that_is_turned_round_is_refused():
    with pytest.raises(BenchError, match=r"haze: beta: got \[2, 1\]; expected the least value"):
        configure("degrade", {"name": "haze", "beta": [2, 1]})


# --- distances -----------------------------------------------------------------------------------


def asked_for_depth(seen: list[np.ndarray]) -> Maker:
    """A maker that keeps the distances that it is given."""

    def degrade(hq, rng, region, depth):
        seen.append(depth)
        return hq.copy()

    return Maker("hazy", degrade, needs_depth=True)


def depth_of(folder: Path, **settings) -> np.ndarray:
    seen: list[np.ndarray] = []
    source.pairs(source.Config(path=str(folder), **settings), folder / "out", asked_for_depth(seen))
    return seen[0]


def own(folder: Path, depth: np.ndarray, name: str = "a.npy") -> Path:
    write_png(folder / "hq/a.png", noise(*depth.shape))
    (folder / "depth").mkdir()
    if name.endswith(".npz"):
        np.savez(folder / "depth" / name, depth)
    else:
        np.save(folder / "depth" / name, depth)
    return folder


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_a_map_of_one_s_own_is_what_the_degradation_reads(tmp_path, name):
    depth = np.random.default_rng(0).uniform(1, 5, (12, 10)).astype(np.float32)
    assert np.array_equal(depth_of(own(tmp_path, depth, name)), depth)


def test_a_pixel_without_a_distance_gets_its_nearest_neighbour_s(tmp_path):
    depth = np.full((6, 8), 2.0)
    depth[:, 4:] = 7
    depth[1, 1], depth[2, 6], depth[5, 7] = np.nan, np.inf, 0
    found = depth_of(own(tmp_path, depth))
    assert (found[:, :4] == 2).all() and (found[:, 4:] == 7).all()


def test_a_disparity_becomes_a_distance(tmp_path):
    found = depth_of(own(tmp_path, np.full((4, 5), 10.0)), maps="disparity", offset=2, baseline=24)
    assert np.allclose(found, 2)


def test_photograph_and_map_are_reduced_and_cut_together(tmp_path):
    depth = np.repeat(np.arange(1.0, 41)[:, None], 60, axis=1)
    folder, seen = own(tmp_path, depth), []
    maker = asked_for_depth(seen)
    config = source.Config(path=str(folder), long_side=31)
    made = source.pairs(config, folder / "out", Maker("m", maker.degrade, None, 4, True))
    assert (made[0]["height"], made[0]["width"]) == (20, 28) == seen[0].shape
    assert (np.diff(seen[0][:, 0]) > 0).all() and seen[0][-1, 0] >= 38


def test_the_stereo_photograph_stands_two_to_six_metres_away(tmp_path):
    settings = {"images": ["motorcycle"], "depths": ["motorcycle-disparity"], "long_side": 185}
    config = source.Config(**settings, **STEREO)
    seen: list[np.ndarray] = []
    source.pairs(config, tmp_path / "seen", asked_for_depth(seen))
    made = Maker.from_module("hazy", haze, haze.Config(beta=(2, 2), scene="map"))
    (record,) = source.pairs(config, tmp_path, made)
    assert record["image"] == record["source"] == "motorcycle" and record["width"] == 185
    assert 2 < seen[0].min() < 2.3 and 4.5 < seen[0].max() < 6
    near, far = seen[0] < np.quantile(seen[0], 0.2), seen[0] > np.quantile(seen[0], 0.8)
    hq = _light.to_linear(read_image(tmp_path / record["hq"]))
    lq = _light.to_linear(read_image(tmp_path / record["lq"]))
    kept = {"near": lq[near].std() / hq[near].std(), "far": lq[far].std() / hq[far].std()}
    assert kept["far"] < 0.25 < 0.35 < kept["near"], kept


def test_other_degradations_take_the_photographs_without_their_maps(tmp_path):
    folder = own(tmp_path, np.ones((6, 8)))
    seen = []

    def degrade(hq, rng, region):
        seen.append(region)
        return hq.copy()

    source.pairs(source.Config(path=str(folder)), folder / "out", Maker("plain", degrade))
    assert seen == [None]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.unlink(), "0 maps of its distances; expected one"),
        (lambda path: path.write_bytes(b"no"), "a.npy: no map of distances"),
        (lambda path: np.save(path, np.ones((3, 3))), r"a.npy: \(3, 3\); expected \(6, 8\)"),
        (lambda path: np.save(path, np.zeros((6, 8))), "no pixel has a distance"),
        (lambda path: np.save(path, np.ones((2, 2)).astype(object)), "no map of distances"),
    ],
)
def test_a_map_that_is_none_is_named(tmp_path, spoil, said):
    folder = own(tmp_path, np.ones((6, 8)))
    spoil(folder / "depth/a.npy")
    with pytest.raises(BenchError, match=said):
        depth_of(folder)


def test_images_and_depths_belong_together():
    with pytest.raises(BenchError, match="1 images and 0 depths"):
        source.Config(images=["motorcycle"])
    with pytest.raises(BenchError, match="give `images` and `depths`"):
        source.Config()


def test_scikit_image_s_map_is_what_the_catalogue_names():
    from benchlib import assets

    left, _, disparity = data.stereo_motorcycle()
    read = source._read_map(assets.fetch("motorcycle-disparity"))
    assert np.array_equal(read, disparity.astype(np.float64), equal_nan=True)
    assert np.array_equal(read_image(assets.fetch("motorcycle")), left)


def test_a_source_without_distances_is_refused_before_any_work(tmp_path):
    params = small_params()
    key = next(key for key in params["data"] if "images" in params["data"][key])
    params["data"][key]["degrade"] = {"name": "haze", "scene": "map"}
    suite = load_params(write_params(tmp_path, params))
    said = f"data.{key}.degrade: haze, so set, reads the distance of each pixel"
    with pytest.raises(BenchError, match=said):
        check_choices(suite, tmp_path / "params.yaml")
