"""Low light and rain are what their settings say, by light, variance, angle, length and number;
noise of published protocols is the official scripts' own, number by number.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from skimage.measure import label, regionprops

from benchlib.contracts import BenchError
from benchlib.degrade import (
    _light,
    airnet_noise,
    low_light,
    noise_levels,
    promptir_noise,
    rain,
    restormer_noise,
)
from benchlib.seeding import name_rng

GOLDEN = Path(__file__).parent / "golden"
CLEAN = {"least": 1, "full_well": 0}  # the exposure as it is written, no noise


def flat(level: int, side: int = 300) -> np.ndarray:
    return np.full((side, side, 3), level, np.uint8)


def darkened(hq: np.ndarray, seed: int = 0, **settings: float) -> np.ndarray:
    return low_light.degrade(hq, low_light.Config(**settings), name_rng(seed))


def rained(hq: np.ndarray, seed: int = 0, **settings: float) -> np.ndarray:
    return rain.degrade(hq, rain.Config(**{"spread": 0.0} | settings), name_rng("rain", seed))


# --- light -----------------------------------------------------------------------------------------


def test_srgb_is_the_standard_s_and_its_inverse_is_exact_for_all_levels():
    levels = np.arange(256, dtype=np.uint8)
    light = _light.to_linear(levels)
    assert np.allclose(
        light[[0, 10, 55, 188, 255]], [0, 0.003035, 0.038204, 0.502886, 1], atol=1e-6
    )
    assert np.array_equal(_light.to_8bit(_light.encode(light)), levels)
    assert np.allclose(_light.encode(np.array([-1.0, 0.5, 2.0])), [0, 0.735357, 1], atol=1e-6)


# --- low light -------------------------------------------------------------------------------------


def test_full_exposure_without_noise_and_curve_is_the_photograph():
    hq = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    assert np.array_equal(darkened(hq, exposure=1, **CLEAN), hq)


@pytest.mark.parametrize(
    ("exposure", "gamma", "level"),
    [(0.5, 1, 188), (0.5, 2, 138), (0.01, 1, 25)],  # 255 * 0.735357, that squared; 255 * 0.099853
)
def test_white_becomes_the_level_that_the_formula_gives(exposure, gamma, level):
    assert (darkened(flat(255, 4), exposure=exposure, gamma=gamma, **CLEAN) == level).all()


@pytest.mark.parametrize(("level", "exposure"), [(255, 0.3), (200, 0.5), (120, 0.9)])
def test_light_is_the_share_named_and_its_variance_that_of_electrons(level, exposure):
    """Variance = light / full well + (read / full well)^2, and that of rounding to 8 bits."""
    full_well, read = 400, 6
    light = float(_light.to_linear(np.array([level], np.uint8))[0] * exposure)
    noisy = darkened(flat(level), exposure=exposure, least=1, full_well=full_well, read=read)
    got = _light.to_linear(noisy)
    middle = np.clip(np.rint(255 * _light.encode(np.array([light]))), 1, 254).astype(np.uint8)
    step = float((_light.to_linear(middle + 1) - _light.to_linear(middle - 1))[0] / 2)
    expected = light / full_well + (read / full_well) ** 2 + step**2 / 12
    assert np.isclose(got.mean(), light, rtol=0.005)
    assert np.isclose(got.var(), expected, rtol=0.03)


def test_shot_noise_alone_grows_with_the_light_and_read_noise_alone_does_not():
    def spread(level: int, **settings: float) -> float:
        noisy = darkened(flat(level), exposure=1, least=1, **settings)
        return float(_light.to_linear(noisy).var())

    shot = spread(188, full_well=400, read=0) / spread(99, full_well=400, read=0)
    light = _light.to_linear(np.array([188, 99], np.uint8))
    assert np.isclose(shot, light[0] / light[1], rtol=0.05)
    assert np.isclose(spread(99, full_well=1e6, read=5e4), 0.05**2, rtol=0.05)


def test_exposures_are_drawn_between_the_least_and_the_most():
    drawn = []
    for seed in range(60):
        dark = darkened(flat(255, 4), seed, exposure=0.8, least=0.25, full_well=0)
        drawn.append(float(_light.to_linear(dark).mean()))
    assert 0.195 < min(drawn) < 0.25
    assert 0.75 < max(drawn) < 0.805
    assert np.isclose(np.mean(drawn), 0.5, atol=0.08)


# --- rain ------------------------------------------------------------------------------------------


def test_no_streaks_are_no_rain():
    hq = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    assert np.array_equal(rained(hq, density=0), hq)


def test_rain_lightens_what_is_darker_than_its_drops_and_dims_what_is_brighter():
    assert (rained(flat(40, 80)) >= 40).all()
    assert rained(flat(40, 80)).mean() > 45
    assert (rained(flat(255, 80), brightness=1) == 255).all()
    dimmed = rained(flat(255, 80), brightness=0.3)
    assert dimmed.min() < 240
    assert dimmed.max() == 255


def fall(image: np.ndarray) -> float:
    """Degrees from upright of the direction in which an image changes least: structure tensor."""
    grey = ndimage.gaussian_filter(image.mean(axis=2), 2.0)
    down, across = np.gradient(grey)
    inside = (slice(8, -8), slice(8, -8))
    tensor = np.zeros((2, 2))
    for i, one in enumerate((down, across)):
        for j, other in enumerate((down, across)):
            tensor[i, j] = (one[inside] * other[inside]).sum()
    dy, dx = np.linalg.eigh(tensor)[1][:, 0]
    return float(np.rad2deg(np.arctan(dx / dy)))


@pytest.mark.parametrize("angle", [-60, -30, 0, 15, 45])
def test_streaks_fall_at_the_angle_named(angle):
    """Above 0 the lower end lies further right."""
    assert abs(fall(rained(flat(20), angle=angle, length=40)) - angle) < 2


def test_a_picture_s_angle_is_drawn_within_its_spread():
    angles = []
    for seed in range(12):
        angles.append(fall(rained(flat(20, 200), seed, angle=10, spread=20, length=40)))
    assert -12 < min(angles) < 4
    assert 16 < max(angles) < 32


def streaks(settings: dict[str, float], side: int = 1000) -> list:
    """Each streak where it is at least half as opaque as at its middle, by region, of black."""
    light = _light.to_linear(rained(flat(0, side), brightness=1, **settings))[..., 0]
    found = []
    for region in regionprops(label(light > 0.005), intensity_image=light):
        if region.bbox[0] > 0 and region.bbox[2] < side:  # whole
            found.append(region)
    return found


def test_streaks_are_as_many_as_long_as_wide_and_as_opaque_as_named():
    settings = {"density": 0.0001, "length": 30, "least": 1, "width": 3, "opacity": 0.6}
    found = streaks(settings)
    assert np.isclose(len(found), 0.0001 * 1000 * 1000, rtol=0.25)  # some cross
    lengths, widths, peaks = [], [], []
    for region in found:
        values = region.image_intensity
        depth = -np.log(1 - values)
        across = depth[len(depth) // 2]
        lengths.append((depth.max(axis=1) > depth.max() / 2).sum())
        widths.append((across > across.max() / 2).sum())
        peaks.append(values.max())
    assert abs(np.median(lengths) - 30) <= 1.5
    assert abs(np.median(widths) - 3) <= 1
    assert 0.54 < np.percentile(peaks, 90) < 0.62
    assert np.percentile(peaks, 5) > 0.18  # the faintest: 1 - 0.4 ** 0.3 = 0.24


# --- noise of protocols ----------------------------------------------------------------------------


def golden(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


@pytest.mark.parametrize(("image", "sigma"), [("a", 15), ("b", 50)])
def test_restormer_s_noise_is_its_script_s(image, sigma):
    stored = golden("noise_restormer")
    config = restormer_noise.Config(sigma=sigma)
    got = restormer_noise.degrade(stored[f"image_{image}"], config, name_rng("any"))
    assert got.dtype == np.float32
    assert np.array_equal(got, stored[f"noisy_{image}_{sigma}"])
    assert got.min() < 0


def test_restormer_s_grey_noise_is_its_script_s_and_refuses_colours():
    stored = golden("noise_restormer")
    config = restormer_noise.Config(sigma=25, grey=True)
    hq = np.repeat(stored["grey_b"], 3, axis=2)
    got = restormer_noise.degrade(hq, config, name_rng("any"))
    for colour in range(3):
        assert np.array_equal(got[..., colour : colour + 1], stored["grey_noisy_b_25"])
    with pytest.raises(BenchError, match="grey: true, but the picture has colours"):
        restormer_noise.degrade(stored["image_b"], config, name_rng("any"))


@pytest.mark.parametrize("module", [airnet_noise, promptir_noise])
def test_airnet_s_and_promptir_s_noise_is_their_scripts_in_its_place(module):
    """One generator for all images in their order, the golden's ``order``."""
    stored = golden("noise_airnet")
    drawn = 0
    for key in stored["order"]:
        image, sigma = key.split("_")
        clean = stored[f"clean_{image}"]
        config = module.Config(sigma=float(sigma), drawn=drawn)
        got = module.degrade(clean, config, name_rng("any"))
        assert np.array_equal(got, stored[f"noisy_{key}"])
        drawn += clean.size
    assert drawn == 3 * (48 * 64 + 32 * 64) * 3


def test_airnet_s_noise_by_name_is_truncated_and_differs_by_name():
    hq = flat(128)
    one = airnet_noise.degrade(hq, airnet_noise.Config(), name_rng("one"))
    other = airnet_noise.degrade(hq, airnet_noise.Config(), name_rng("other"))
    assert not np.array_equal(one, other)
    assert np.isclose(one.mean(), 127.5, atol=0.2)  # half a level is cut off
    assert np.isclose(one.std(), 25, rtol=0.01)


def test_airnet_s_images_are_cut_to_sixteen():
    assert airnet_noise.multiple(airnet_noise.Config()) == promptir_noise.multiple(None) == 16


def test_noise_levels_is_airnets_noise_at_each_level_as_often():
    hq, found = flat(128, 64), []
    for number in range(60):
        lq = noise_levels.degrade(hq, noise_levels.Config(), name_rng("levels", number))
        spread = (lq.astype(float) - hq).std()
        level = min((15, 25, 50), key=lambda sigma: abs(sigma - spread))
        assert abs(level - spread) < 2
        found.append(level)
        rng = name_rng("levels", number)
        rng.integers(3)
        assert np.array_equal(lq, airnet_noise.degrade(hq, airnet_noise.Config(float(level)), rng))
    assert min(found.count(level) for level in (15, 25, 50)) > 10
