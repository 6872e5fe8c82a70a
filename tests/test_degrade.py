"""The degradations: what all must keep to, what a blur keeps (light, place, what does not move) and
is, against SciPy, and that noise is the noise it names. A new file is tested unasked.

Bicubic has a file of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import expect_contract, name_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import TypeAdapter, ValidationError
from scipy import ndimage, stats
from scipy.spatial import distance
from skimage import data
from skimage.registration import phase_cross_correlation

from benchlib import registry
from benchlib.conformance import Subject
from benchlib.conformance import degrade as contract
from benchlib.conformance._subject import imported
from benchlib.conformance.degrade import region_of
from benchlib.contracts import BenchError
from benchlib.degrade import (
    _motion,
    frame_blur,
    gaussian_noise,
    linear_blur,
    local_blur,
    shake_blur,
)
from benchlib.seeding import name_rng

NAMES = registry.names("degrade")
# Nothing but blur: no noise, no saturation, the mildest compression.
PLAIN = {
    "shake_blur": shake_blur.Config(),
    "linear_blur": linear_blur.Config(gain=1, full_well=0, read=0),
    "frame_blur": frame_blur.Config(quality=95),
    "local_blur": local_blur.Config(),
}
SHIPPED = [*PLAIN, "bicubic", "gaussian_noise", "none"]
DARK_RAINY_NOISY = ["low_light", "rain", "restormer_noise", "airnet_noise", "promptir_noise"]
DARK_RAINY_NOISY += ["noise_levels", "bd"]
OUT_OF_RANGE = [
    *((name, {"extent": 0}) for name in PLAIN),
    *((name, {"gamma": 0.5}) for name in PLAIN),
    ("bicubic", {"scale": 5}),
    ("bicubic", {"between": "16-bit"}),
    ("bicubic", {"border": "wrap"}),
    ("gaussian_noise", {"sigma": 0}),
    ("gaussian_noise", {"sigma": -1}),
    ("gaussian_noise", {"clip": "maybe"}),
    ("low_light", {"exposure": 0}),
    ("low_light", {"exposure": 1.5}),
    ("low_light", {"read": -1}),
    ("rain", {"density": 0.5}),
    ("rain", {"opacity": 1}),
    ("rain", {"angle": 90}),
    ("restormer_noise", {"sigma": 0}),
    ("airnet_noise", {"drawn": -1}),
    ("promptir_noise", {"drawn": "all"}),
    ("noise_levels", {"sigmas": []}),
    ("noise_levels", {"sigmas": [15.0, 0.0]}),
    ("bd", {"scale": 3}),
    ("bd", {"sigma": 0}),
    ("bd", {"form": "bicubic"}),
]
every_degradation = pytest.mark.parametrize("name", NAMES)
every_blur = pytest.mark.parametrize("name", PLAIN)
quick = settings(max_examples=25, deadline=None)


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    return data.coffee()[100:260, 200:400]


def module_of(name: str) -> Any:
    """The file; its name and the versions that it pins are checked by the way."""
    return registry.load("degrade", name)


def run_with(
    rng: np.random.Generator, name: str, hq: np.ndarray, config: object = None
) -> np.ndarray:
    module = module_of(name)
    region = None
    if module.NEEDS_REGION:
        region = region_of(hq)
    return module.degrade(hq, config or module.Config(), rng, region)


def run(name: str, hq: np.ndarray, config: object = None, *seed: str | int) -> np.ndarray:
    return run_with(name_rng(name, *(seed or (0,))), name, hq, config)


# --- what every file keeps to --------------------------------------------------------------------


def test_the_folder_holds_the_four_blurs_bicubic_noise_and_none():
    assert set(SHIPPED) <= set(NAMES)


@every_degradation
@pytest.mark.parametrize("check", contract.CHECKS, ids=name_of)
def test_every_degradation_keeps_the_contract(check, name):
    expect_contract(check, Subject("degrade", name))


def test_the_test_of_uses_sees_the_motion_that_the_blurs_share():
    assert imported(Subject("degrade", "shake_blur")) == {"degrade/_motion.py"}
    assert imported(Subject("degrade", "bicubic")) == set()


def test_local_blur_s_region_is_one_of_sam_s_masks_and_it_says_so():
    stated = registry.uses("degrade/local_blur.py")
    assert {"priors/sam.py", "priors/kinds/masks.py"} <= stated.keys()


@every_degradation
@quick
@given(shape=st.tuples(st.integers(1, 40), st.integers(1, 40)), seed=st.integers(0, 99))
def test_any_size_becomes_an_image_of_that_size_or_a_whole_factor_less(name, shape, seed):
    expect_contract(contract.keeps_the_size, Subject("degrade", name), shape, seed)


@pytest.mark.parametrize("name", SHIPPED)
def test_lq_looks_like_hq(name):
    """A wrong range, colour order or place is further off than any of these degradations."""
    lq, hq = contract.compared(Subject("degrade", name))
    error = np.sqrt(np.mean((lq - hq) ** 2))
    assert error < 0.12
    for wrong in (hq[..., ::-1], hq[::-1], hq[:, ::-1]):
        assert np.sqrt(np.mean((lq - wrong) ** 2)) > 1.5 * error


@pytest.mark.parametrize(("name", "setting"), OUT_OF_RANGE)
def test_settings_out_of_range_are_refused(name, setting):
    with pytest.raises(ValidationError):
        TypeAdapter(module_of(name).Config).validate_python(setting)


def test_none_gives_the_photograph_back_and_draws_nothing(photograph):
    rng = name_rng("none")
    before = rng.bit_generator.state
    assert np.array_equal(run_with(rng, "none", photograph), photograph)
    assert rng.bit_generator.state == before


# --- versions ------------------------------------------------------------------------------------


def pattern() -> np.ndarray:
    """A picture that anyone can make again: waves of three lengths, one a colour."""
    y, x, c = np.ogrid[:24, :24, :3]
    waves = np.sin(x / (2 + c)) + np.cos(y / (3 + c))
    return np.rint(127.5 + 63.75 * waves).astype(np.uint8)


GOLDEN = {
    ("shake_blur", 1): [136.149, 200.0, 33.0, 192.0],
    ("linear_blur", 1): [142.142, 193.0, 65.0, 172.0],
    ("frame_blur", 1): [140.066, 232.0, 66.0, 215.0],
    ("local_blur", 2): [132.979, 191.0, 79.0, 203.0],
    ("bicubic", 1): [132.278, 214.0, 6.0, 226.0],
    ("gaussian_noise", 1): [132.063, 186.879, 8.421, 184.278],
    ("none", 1): [132.309, 191.0, 16.0, 203.0],
    ("low_light", 1): [23.625, 35.0, 3.0, 38.0],
    ("rain", 1): [134.477, 191.0, 16.0, 203.0],
    ("restormer_noise", 1): [132.057, 201.004, -1.086, 210.978],
    ("airnet_noise", 1): [131.872, 189.0, 0.0, 190.0],
    ("promptir_noise", 1): [132.771, 187.0, 8.0, 241.0],
    ("noise_levels", 1): [131.819, 185.0, 0.0, 242.0],
    ("bd", 1): [132.361, 212.0, 16.0, 216.0],
}


@pytest.mark.parametrize("name", [*SHIPPED, *DARK_RAINY_NOISY])
def test_numbers_change_with_the_version_alone(name):
    """The mean and three pixels of the green plane, in grey levels; one level is for rounding."""
    lq = run(name, pattern())
    if lq.dtype == np.float32:
        lq = lq * 255.0
    green = lq[..., 1].astype(float)
    middle = len(green) // 2
    chosen = [green.mean(), green[0, 0], green[middle, middle], green[-1, 1]]
    got = np.round(chosen, 3).tolist()
    version = registry.version(f"degrade/{name}.py")
    said = f"degrade/{name}.py: other numbers under version {version}; raise it, and pin {got}"
    assert (name, version) in GOLDEN, said
    expected = GOLDEN[name, version]
    assert abs(got[0] - expected[0]) < 0.02, said
    assert np.abs(np.subtract(got, expected)).max() <= 1.001, said


# --- what a blur keeps ---------------------------------------------------------------------------


@every_blur
@pytest.mark.parametrize("grey", [0, 1, 60, 200, 255])
def test_flat_image_stays_flat(name, grey):
    hq = np.full((37, 41, 3), grey, np.uint8)
    assert np.array_equal(run(name, hq, PLAIN[name]), hq)


@every_blur
def test_mean_light_is_kept(name, photograph):
    before = _motion.to_linear(photograph, 2.2).mean(axis=(0, 1))
    after = np.zeros(3)
    for seed in range(4):
        lq = run(name, photograph, PLAIN[name], seed)
        after += _motion.to_linear(lq, 2.2).mean(axis=(0, 1)) / 4
    assert np.allclose(after, before, rtol=0.01)  # what crosses the border; colour by colour


@every_blur
def test_blur_lowers_the_gradient_energy(name, photograph):
    where = region_of(photograph)  # all that moves in local blur

    def energy(image: np.ndarray) -> float:
        down, across = np.gradient(image.astype(float), axis=(0, 1))
        return float((down[where] ** 2).sum() + (across[where] ** 2).sum())

    assert energy(run(name, photograph, PLAIN[name])) < 0.8 * energy(photograph)


@every_blur
def test_blurred_lies_on_sharp(name):
    hq = data.coffee()[::2, ::2]

    def grey(image: np.ndarray) -> np.ndarray:
        return image.mean(axis=2) - image.mean()

    shifts = []
    for seed in range(8):
        blurred = grey(run(name, hq, PLAIN[name], seed))
        shift, *_ = phase_cross_correlation(
            grey(hq), blurred, upsample_factor=10, normalization=None
        )
        shifts.append(shift)
    assert np.abs(np.mean(shifts, axis=0)).max() < 0.5  # pixels; no bias
    assert np.linalg.norm(shifts, axis=1).mean() < 1


@every_blur
def test_default_strength_on_a_photograph(name):
    """22-28 dB for blurs of the whole picture, 28-38 for the local one (means of three, coffee)."""
    hq = data.coffee()
    values = []
    for seed in range(3):
        error = run(name, hq, None, seed) / 255.0 - hq / 255.0
        values.append(-10 * np.log10(np.mean(error**2)))
    low, high = 22, 28
    if name == "local_blur":
        low, high = 28, 38
    assert low < np.mean(values) < high


# --- light, paths, exposures ---------------------------------------------------------------------


@pytest.mark.parametrize("gamma", [1.0, 2.2, 4.0])
def test_linear_light_and_back_is_exact_for_all_8_bit_values(gamma):
    values = np.arange(256, dtype=np.uint8)
    assert np.array_equal(_motion.to_8bit(_motion.to_linear(values, gamma), gamma), values)


def test_linear_light_is_nah_et_al_s():
    assert np.isclose(_motion.to_linear(np.array([128], np.uint8), 2.2), (128 / 255) ** 2.2)
    levels = _motion.to_8bit(np.array([0.5, 2.0, -1.0]), 2.2)
    assert levels.tolist() == [186, 255, 0]  # 255 * 0.5^(1/2.2) = 186.08


@quick
@given(
    seed=st.integers(0, 999),
    frames=st.integers(2, 60),
    extent=st.floats(0.1, 100),
    bend=st.floats(-1, 1),
)
def test_paths_are_centred_and_as_long_as_asked(seed, frames, extent, bend):
    rng = np.random.default_rng(seed)
    for path in (
        _motion.line_path(rng, frames, extent, bend),
        _motion.centred_path(_motion.random_walk(rng, frames, 2, 3.0), extent),
    ):
        assert np.allclose(path.mean(axis=0), 0, atol=1e-9 * extent)
        assert np.isclose(distance.pdist(path).max(), extent)


def test_walk_without_tremor_is_straight_and_with_it_is_not():
    def second_over_first(tremor: float) -> float:
        values = np.linalg.svd(
            _motion.random_walk(np.random.default_rng(0), 64, 2, tremor), compute_uv=False
        )
        return float(values[1] / values[0])

    assert second_over_first(0.0) < 1e-12
    assert second_over_first(3.0) > 0.05


def kernel_by_scipy(path: np.ndarray) -> np.ndarray:
    """The point spread function drawn another way: a point, shifted by SciPy along the path."""
    radius = int(np.ceil(np.abs(path).max())) + 2
    point = np.zeros((2 * radius + 1, 2 * radius + 1))
    point[radius, radius] = 1.0
    kernel = np.zeros_like(point)
    for offset in path:
        kernel += ndimage.shift(point, offset, order=1) / len(path)
    return kernel


def convolved_by_scipy(hq: np.ndarray, path: np.ndarray, gamma: float = 2.2) -> np.ndarray:
    """The blur of a pure translation, in linear light."""
    kernel = kernel_by_scipy(path)[..., None]  # one colour at a time
    return ndimage.convolve((hq / 255.0) ** gamma, kernel, mode="reflect")


@quick
@given(
    path=hnp.arrays(float, st.tuples(st.integers(1, 6), st.just(2)), elements=st.floats(-7, 7)),
    shape=st.tuples(st.integers(1, 20), st.integers(1, 20)),
)
def test_average_of_shifted_frames_is_scipy_s_convolution(path, shape):
    hq = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    light = _motion.to_linear(hq, 2.2)
    expected = convolved_by_scipy(hq, path)
    assert np.allclose(_motion.average_shifts(light, path), expected, atol=1e-9)
    still = np.zeros(len(path))
    assert np.allclose(_motion.average_poses(light, path, still, still + 1), expected, atol=1e-9)


def test_a_quarter_turn_and_a_doubling_are_what_they_say():
    light = np.random.default_rng(0).random((9, 9, 3))
    origin = np.zeros((1, 2))
    turned = _motion.average_poses(light, origin, np.array([np.pi / 2]), np.ones(1))
    assert np.allclose(turned, np.rot90(light)) or np.allclose(turned, np.rot90(light, -1))
    doubled = _motion.average_poses(light, origin, np.zeros(1), np.array([2.0]))
    assert np.allclose(doubled[::2, ::2], light[2:7, 2:7])


def eight_bit_equal(got: np.ndarray, light: np.ndarray, gamma: float = 2.2) -> bool:
    expected = np.rint(255 * np.clip(light, 0, 1) ** (1 / gamma))
    return (
        np.abs(got - expected).max() <= 1 and np.mean(got != expected) < 1e-4
    )  # a sum on the edge of rounding


def test_shake_without_rotation_is_a_convolution(photograph):
    config = shake_blur.Config(rotation=0)
    rng = name_rng("shake")
    extent = _motion.draw_length(rng, config.extent, config.least)
    path = _motion.centred_path(_motion.random_walk(rng, config.frames, 2, config.tremor), extent)
    got = shake_blur.degrade(photograph, config, name_rng("shake"))
    assert eight_bit_equal(got, convolved_by_scipy(photograph, path))


def test_linear_blur_without_its_sensor_is_a_convolution(photograph):
    config = linear_blur.Config(gain=1, full_well=0, read=0)
    rng = name_rng("line")
    extent = _motion.draw_length(rng, config.extent, config.least)
    path = _motion.line_path(rng, int(4 * extent) + 2, extent)
    assert np.linalg.matrix_rank(path, tol=1e-9) == 1
    got = linear_blur.degrade(photograph, config, name_rng("line"))
    assert eight_bit_equal(got, convolved_by_scipy(photograph, path))


# --- what each one adds --------------------------------------------------------------------------


def test_shake_turns_the_corners_more_than_the_centre():
    hq = np.random.default_rng(0).integers(0, 256, (101, 101, 3), dtype=np.uint8)
    config = shake_blur.Config(extent=0.01, rotation=10, tremor=0)
    difference = np.abs(shake_blur.degrade(hq, config, name_rng(3)).astype(float) - hq).mean(axis=2)
    assert difference[48:53, 48:53].mean() < 0.5 * difference[:8, :8].mean()


def test_lights_leave_longer_brighter_streaks_when_saturated():
    hq = np.full((41, 41, 3), 20, np.uint8)
    hq[19:22, 19:22] = 255
    dim, bright = (
        linear_blur.degrade(hq, linear_blur.Config(gain=gain, full_well=0, read=0), name_rng(0))
        for gain in (1, 3)
    )
    assert (bright == 255).sum() > (dim == 255).sum()
    assert (bright >= dim).all()
    assert np.array_equal(bright[:5], dim[:5])  # and nothing else changes


def test_sensor_noise_has_the_variance_it_names():
    """Variance = light / full well + read^2, and 1/12 of a level for rounding.

    gamma 1, so that values are linear.
    """
    hq = np.full((300, 300, 3), 128, np.uint8)
    noisy = linear_blur.degrade(
        hq, linear_blur.Config(gain=1, full_well=500, read=0.02, gamma=1), name_rng(0)
    )
    expected = 255**2 * (128 / 255 / 500 + 0.02**2) + 1 / 12
    assert np.isclose(noisy.astype(float).var(), expected, rtol=0.02)
    assert abs(noisy.mean() - 128) < 0.1


def test_few_frames_leave_as_many_ghosts():
    hq = np.zeros((81, 81, 3), np.uint8)
    hq[39:42, 39:42] = 255
    config = frame_blur.Config(frames=4, extent=45, least=1, bend=0, zoom=0, quality=95)
    assert ndimage.label(frame_blur.degrade(hq, config, name_rng(1)).mean(axis=2) > 70)[1] == 4


def test_compression_is_pillow_s_jpeg_and_stronger_at_lower_quality(photograph):
    def error(quality: int) -> float:
        still = frame_blur.Config(extent=0.001, zoom=0, quality=quality)
        return float(
            np.abs(
                frame_blur.degrade(photograph, still, name_rng(0)).astype(float) - photograph
            ).mean()
        )

    assert 0 < error(95) < error(50) < error(10)


def test_pixels_the_region_never_reaches_are_untouched(photograph):
    region = region_of(photograph)
    config = local_blur.Config()
    away = ndimage.distance_transform_edt(~region)
    for seed in range(5):
        lq = local_blur.degrade(photograph, config, name_rng(seed), region)
        assert np.array_equal(lq[away > config.extent], photograph[away > config.extent])
        assert (lq[region] != photograph[region]).any(axis=1).mean() > 0.5


def test_deep_inside_the_region_local_blur_is_a_plain_blur(photograph):
    region = region_of(photograph)
    config = local_blur.Config(extent=10)
    rng = name_rng(7)
    extent = _motion.draw_length(rng, config.extent, config.least)
    path = _motion.line_path(rng, int(4 * extent) + 2, extent, config.bend * rng.uniform(-1, 1))
    inside = ndimage.distance_transform_edt(region) > 12
    got = local_blur.degrade(photograph, config, name_rng(7), region)
    assert inside.sum() > 1000
    assert eight_bit_equal(got[inside], convolved_by_scipy(photograph, path)[inside])
    everything = local_blur.degrade(photograph, config, name_rng(7), np.ones_like(region))
    assert eight_bit_equal(everything, convolved_by_scipy(photograph, path))


def test_soft_edge_lies_between_object_and_background():
    hq = np.full((60, 60, 3), 50, np.uint8)
    region = np.zeros((60, 60), bool)
    region[20:40, 20:40] = True
    hq[region] = 200
    row = local_blur.degrade(hq, local_blur.Config(), name_rng(0), region)
    assert row.min() == 50
    assert row.max() == 200
    assert ((row > 60) & (row < 190)).any()


@pytest.mark.parametrize(
    ("region", "said"),
    [
        (None, "needs the region"),
        (np.zeros((5, 6), bool), "no pixel"),
        (np.ones((6, 5), bool), r"expected \(5, 6\) bool"),
        (np.ones((5, 6), np.uint8), "bool"),
    ],
)
def test_local_blur_refuses_a_wrong_region(region, said):
    with pytest.raises(BenchError, match=said):
        local_blur.degrade(np.zeros((5, 6, 3), np.uint8), local_blur.Config(), name_rng(0), region)


# --- noise ---------------------------------------------------------------------------------------


def noise(hq: np.ndarray, sigma: float, clip: bool = False, *seed: str | int) -> np.ndarray:
    return gaussian_noise.degrade(hq, gaussian_noise.Config(sigma, clip), name_rng("noise", *seed))


@pytest.mark.parametrize("sigma", [0.5, 15.0, 25.0, 50.0])
def test_noise_is_white_gaussian_and_as_strong_as_it_says(sigma):
    """Five standard errors wide where it is an estimate; the seed is fixed."""
    hq = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    lq = noise(hq, sigma)
    assert lq.dtype == np.float32
    z = (lq.astype(float) * 255 - hq) / sigma
    count = z.size
    assert abs(z.mean()) < 5 / np.sqrt(count)
    assert abs(z.std() - 1) < 5 / np.sqrt(2 * count)
    assert stats.kstest(z.ravel(), "norm").statistic < 1.95 / np.sqrt(count)  # 0.1 % level
    pairs = [
        (z[1:], z[:-1]),
        (z[:, 1:], z[:, :-1]),
        (z[..., 0], z[..., 1]),
        (z[..., 1], z[..., 2]),
        (z, hq),
    ]
    for one, other in pairs:
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 5 / np.sqrt(one.size)


def test_noise_leaves_0_to_1_and_is_not_rounded_unless_clipped():
    hq = np.zeros((64, 64, 3), np.uint8)
    hq[32:] = 255
    lq = noise(hq, 25.0)
    assert 0.45 < np.mean(lq[:32] < 0) < 0.55
    assert 0.45 < np.mean(lq[32:] > 1) < 0.55
    assert np.abs(lq * 255 - np.rint(lq * 255)).mean() > 0.2


def test_clipped_noise_is_the_same_noise_rounded_and_clipped_to_8_bits(photograph):
    free, held = noise(photograph, 50.0), noise(photograph, 50.0, True)
    assert held.dtype == np.uint8
    assert np.abs(np.clip(free.astype(float) * 255, 0, 255) - held).max() <= 0.5 + 1e-4  # float32
    assert (held == 0).any() and (held == 255).any()


def test_noise_of_one_name_scales_with_sigma():
    hq = np.full((16, 16, 3), 128, np.uint8)
    weak, strong = (noise(hq, sigma).astype(float) - 128 / 255 for sigma in (15.0, 50.0))
    assert np.allclose(strong, weak * 50 / 15, atol=1e-6)
