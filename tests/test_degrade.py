"""The degradations: what all must keep to, what a blur keeps (light, place, what does not move) and is, against SciPy,
and that noise is the noise it names. Bicubic has a file of its own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import TypeAdapter, ValidationError
from scipy import ndimage, stats
from skimage import data
from skimage.registration import phase_cross_correlation

from benchlib import registry
from benchlib.contracts import BenchError
from benchlib.degrade import _motion, frame_blur, gaussian_noise, linear_blur, local_blur, shake_blur
from benchlib.seeding import name_rng

MODULES = {name: registry.load("degrade", name) for name in registry.names("degrade")}
# Nothing but blur: no noise, no saturation, the mildest compression.
PLAIN = {
    "shake-blur": shake_blur.Config(),
    "linear-blur": linear_blur.Config(gain=1, full_well=0, read=0),
    "frame-blur": frame_blur.Config(quality=95),
    "local-blur": local_blur.Config(),
}
every = pytest.mark.parametrize("name", MODULES)
every_blur = pytest.mark.parametrize("name", PLAIN)
DRAWS_NOTHING = ("bicubic",)
OUT_OF_RANGE = {  # what a file refuses besides; a blur by default
    "bicubic": ({"scale": 5}, {"between": "16-bit"}, {"border": "wrap"}),
    "gaussian-noise": ({"sigma": 0}, {"sigma": -1}, {"clip": "maybe"}),
}
quick = settings(max_examples=25, deadline=None)


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    return data.coffee()[100:260, 200:400]


def region_of(hq: np.ndarray) -> np.ndarray:
    """A disc about the centre, a quarter of the short side in radius."""
    height, width = hq.shape[:2]
    y, x = np.ogrid[:height, :width]
    return (y - height // 2) ** 2 + (x - width // 2) ** 2 <= (min(height, width) / 4) ** 2


def multiple(name: str, config: object = None) -> int:
    module = MODULES[name]
    return module.multiple(config or module.Config()) if hasattr(module, "multiple") else 1


def run(name: str, hq: np.ndarray, config: object = None, *seed: str | int) -> np.ndarray:
    module = MODULES[name]
    rng = name_rng(name, *(seed or (0,)))
    return module.degrade(hq, config or module.Config(), rng, region_of(hq) if module.NEEDS_REGION else None)


def test_the_room_holds_the_four_blurs_bicubic_and_noise():
    assert sorted(MODULES) == sorted([*PLAIN, "bicubic", "gaussian-noise"])


@every
def test_same_seed_same_image_other_name_other_image(name, photograph):
    first = run(name, photograph, None, "coffee", 0)
    assert np.array_equal(first, run(name, photograph, None, "coffee", 0))
    for other in (("chelsea", 0), ("coffee", 1)):
        assert np.array_equal(first, run(name, photograph, None, *other)) == (name in DRAWS_NOTHING)


@every
@quick
@given(shape=st.tuples(st.integers(1, 40), st.integers(1, 40)), seed=st.integers(0, 99))
def test_any_size_becomes_an_image_of_that_size_or_a_whole_factor_less_and_keeps_its_input(name, shape, seed):
    step = multiple(name)
    height, width = (-(-side // step) * step for side in shape)
    hq = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    before = hq.copy()
    lq = run(name, hq, None, seed)
    factor = height // lq.shape[0]
    assert lq.shape == (height // factor, width // factor, 3)
    assert step % factor == 0
    assert height % factor == width % factor == 0
    assert lq.dtype == np.uint8 or (lq.dtype == np.float32 and np.isfinite(lq).all())
    assert np.array_equal(hq, before)
    assert not np.shares_memory(hq, lq)


@every
def test_lq_looks_like_hq(name, photograph):
    """In units of [0,1]: a wrong range, colour order or place is further off than any of the degradations."""
    lq = run(name, photograph)
    lq = lq / 255.0 if lq.dtype == np.uint8 else lq
    factor = photograph.shape[0] // lq.shape[0]
    height, width = lq.shape[:2]
    hq = photograph.reshape(height, factor, width, factor, 3).mean(axis=(1, 3)) / 255.0
    error = np.sqrt(np.mean((lq - hq) ** 2))
    assert error < 0.12
    for wrong in (hq[..., ::-1], hq[::-1], hq[:, ::-1]):
        assert np.sqrt(np.mean((lq - wrong) ** 2)) > 1.5 * error


@every_blur
@pytest.mark.parametrize("grey", [0, 1, 60, 200, 255])
def test_flat_image_stays_flat(name, grey):
    hq = np.full((37, 41, 3), grey, np.uint8)
    assert np.array_equal(run(name, hq, PLAIN[name]), hq)


@every_blur
def test_mean_light_is_kept(name, photograph):
    before = _motion.to_linear(photograph, 2.2).mean(axis=(0, 1))
    after = np.mean(
        [_motion.to_linear(run(name, photograph, PLAIN[name], i), 2.2).mean(axis=(0, 1)) for i in range(4)], axis=0
    )
    assert np.allclose(after, before, rtol=0.01)  # what enters and leaves at the border; colour by colour


@every_blur
def test_blur_lowers_the_gradient_energy(name, photograph):
    where = region_of(photograph)  # all that moves in local blur

    def energy(image: np.ndarray) -> float:
        return sum(float((g[where] ** 2).sum()) for g in np.gradient(image.astype(float), axis=(0, 1)))

    assert energy(run(name, photograph, PLAIN[name])) < 0.8 * energy(photograph)


@every_blur
def test_blurred_lies_on_sharp(name):
    hq = data.coffee()[::2, ::2]
    shifts = [
        phase_cross_correlation(
            *(image.mean(axis=2) - image.mean() for image in (hq, run(name, hq, PLAIN[name], i))),
            upsample_factor=10,
            normalization=None,
        )[0]
        for i in range(8)
    ]
    assert np.abs(np.mean(shifts, axis=0)).max() < 0.5  # pixels; no bias
    assert np.linalg.norm(shifts, axis=1).mean() < 1


@every_blur
def test_default_strength_on_a_photograph(name):
    """22-28 dB for the blurs of the whole picture, 28-38 for the local one (means of three, on coffee)."""
    hq = data.coffee()
    values = [-10 * np.log10(np.mean((run(name, hq, None, i) / 255.0 - hq / 255.0) ** 2)) for i in range(3)]
    low, high = (28, 38) if name == "local-blur" else (22, 28)
    assert low < np.mean(values) < high


@every
@pytest.mark.parametrize(("shape", "dtype"), [((4, 4), "uint8"), ((4, 4, 3), "float32"), ((0, 4, 3), "uint8")])
def test_what_is_no_image_is_refused(name, shape, dtype):
    bad = np.zeros(shape, dtype)
    with pytest.raises(BenchError, match=r"hq: expected \(H,W,3\) uint8"):
        MODULES[name].degrade(bad, MODULES[name].Config(), name_rng(0), np.ones(bad.shape[:2], bool))


@every
def test_settings_out_of_range_are_refused(name):
    check = TypeAdapter(MODULES[name].Config)
    assert check.validate_python({}) == MODULES[name].Config()
    for setting in OUT_OF_RANGE.get(name, ({"extent": 0}, {"gamma": 0.5})):
        with pytest.raises(ValidationError):
            check.validate_python(setting)


# --- light, paths, exposures ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("gamma", [1.0, 2.2, 4.0])
def test_linear_light_and_back_is_exact_for_all_8_bit_values(gamma):
    values = np.arange(256, dtype=np.uint8)
    assert np.array_equal(_motion.to_8bit(_motion.to_linear(values, gamma), gamma), values)


def test_linear_light_is_nah_et_al_s():
    assert np.isclose(_motion.to_linear(np.array([128], np.uint8), 2.2), (128 / 255) ** 2.2)
    assert _motion.to_8bit(np.array([0.5, 2.0, -1.0]), 2.2).tolist() == [186, 255, 0]  # 255 * 0.5^(1/2.2) = 186.08


@quick
@given(seed=st.integers(0, 999), frames=st.integers(2, 60), extent=st.floats(0.1, 100), bend=st.floats(-1, 1))
def test_paths_are_centred_and_as_long_as_asked(seed, frames, extent, bend):
    rng = np.random.default_rng(seed)
    for path in (
        _motion.line(rng, frames, extent, bend),
        _motion.centred(_motion.walk(rng, frames, 2, 3.0), extent),
    ):
        assert np.allclose(path.mean(axis=0), 0, atol=1e-9 * extent)
        apart = max(np.linalg.norm(a - b) for a in path for b in path)
        assert np.isclose(apart, extent)


def test_walk_without_tremor_is_straight_and_with_it_is_not():
    def second_over_first(tremor: float) -> float:
        values = np.linalg.svd(_motion.walk(np.random.default_rng(0), 64, 2, tremor), compute_uv=False)
        return float(values[1] / values[0])

    assert second_over_first(0.0) < 1e-12
    assert second_over_first(3.0) > 0.05


def kernel_by_scipy(path: np.ndarray) -> np.ndarray:
    """The point spread function drawn another way: a point, shifted by SciPy to every position of the path."""
    radius = int(np.ceil(np.abs(path).max())) + 2
    point = np.zeros((2 * radius + 1, 2 * radius + 1))
    point[radius, radius] = 1.0
    return np.mean([ndimage.shift(point, offset, order=1) for offset in path], axis=0)


def convolved_by_scipy(hq: np.ndarray, path: np.ndarray, gamma: float = 2.2) -> np.ndarray:
    """The blur of a pure translation, in linear light."""
    light, spread = (hq / 255.0) ** gamma, kernel_by_scipy(path)
    return np.stack([ndimage.convolve(light[..., c], spread, mode="reflect") for c in range(3)], axis=2)


@quick
@given(
    path=hnp.arrays(float, st.tuples(st.integers(1, 6), st.just(2)), elements=st.floats(-7, 7)),
    shape=st.tuples(st.integers(1, 20), st.integers(1, 20)),
)
def test_average_of_shifted_frames_is_scipy_s_convolution(path, shape):
    hq = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    light = _motion.to_linear(hq, 2.2)
    expected = convolved_by_scipy(hq, path)
    assert np.allclose(_motion.average(light, path), expected, atol=1e-9)
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
    return np.abs(got - expected).max() <= 1 and np.mean(got != expected) < 1e-4  # a sum on the edge of rounding


def test_shake_without_rotation_is_a_convolution(photograph):
    config = shake_blur.Config(rotation=0)
    rng = name_rng("shake")
    extent = _motion.draw(rng, config.extent, config.least)
    path = _motion.centred(_motion.walk(rng, config.frames, 2, config.tremor), extent)
    got = shake_blur.degrade(photograph, config, name_rng("shake"))
    assert eight_bit_equal(got, convolved_by_scipy(photograph, path))


def test_linear_blur_without_its_sensor_is_a_convolution(photograph):
    config = linear_blur.Config(gain=1, full_well=0, read=0)
    rng = name_rng("line")
    extent = _motion.draw(rng, config.extent, config.least)
    path = _motion.line(rng, int(4 * extent) + 2, extent)
    assert np.linalg.matrix_rank(path, tol=1e-9) == 1
    got = linear_blur.degrade(photograph, config, name_rng("line"))
    assert eight_bit_equal(got, convolved_by_scipy(photograph, path))


# --- what each one adds --------------------------------------------------------------------------------------------


def test_shake_turns_the_corners_more_than_the_centre():
    hq = np.random.default_rng(0).integers(0, 256, (101, 101, 3), dtype=np.uint8)
    config = shake_blur.Config(extent=0.01, rotation=10, tremor=0)
    difference = np.abs(shake_blur.degrade(hq, config, name_rng(3)).astype(float) - hq).mean(axis=2)
    assert difference[48:53, 48:53].mean() < 0.5 * difference[:8, :8].mean()


def test_lights_leave_longer_brighter_streaks_when_saturated():
    hq = np.full((41, 41, 3), 20, np.uint8)
    hq[19:22, 19:22] = 255
    dim, bright = (
        linear_blur.degrade(hq, linear_blur.Config(gain=gain, full_well=0, read=0), name_rng(0)) for gain in (1, 3)
    )
    assert (bright == 255).sum() > (dim == 255).sum()
    assert (bright >= dim).all()
    assert np.array_equal(bright[:5], dim[:5])  # and nothing else changes


def test_sensor_noise_has_the_variance_it_names():
    """gamma 1, so that values are linear: variance = light / full well + read^2, and 1/12 of a level for rounding."""
    hq = np.full((300, 300, 3), 128, np.uint8)
    noisy = linear_blur.degrade(hq, linear_blur.Config(gain=1, full_well=500, read=0.02, gamma=1), name_rng(0))
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
        return float(np.abs(frame_blur.degrade(photograph, still, name_rng(0)).astype(float) - photograph).mean())

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
    extent = _motion.draw(rng, config.extent, config.least)
    path = _motion.line(rng, int(4 * extent) + 2, extent, config.bend * rng.uniform(-1, 1))
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


# --- noise ---------------------------------------------------------------------------------------------------------


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
    pairs = [(z[1:], z[:-1]), (z[:, 1:], z[:, :-1]), (z[..., 0], z[..., 1]), (z[..., 1], z[..., 2]), (z, hq)]
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
