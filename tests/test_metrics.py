"""Metrics, one file at a time: what every file promises, and values by other implementations."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import expect_contract, name_of
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import correlate1d
from scipy.signal import convolve2d
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

from benchlib import assets, registry
from benchlib.conformance import Subject
from benchlib.conformance import metrics as contract
from benchlib.contracts import BenchError
from benchlib.metrics import load_metric, ssim_3d
from benchlib.metrics._ssim import blur

GOLDEN = Path(__file__).parent / "golden"
METRICS = registry.names("metrics")
SHIPPED = {
    "dists",
    "lpips_alex",
    "lpips_vgg",
    "mae",
    "max_error",
    "mc",
    "psnr",
    "psnr_masked",
    "psnr_single",
    "ssim",
    "ssim_3d",
    "ssim_3d_separable",
    "ssim_masked",
    "ssim_padded",
    "ssim_range2",
    "ssim_uniform",
}
sizes = st.integers(11, 40)
seeds = st.integers(0, 2**32 - 1)


def picture(height: int = 48, width: int = 56) -> np.ndarray:
    """A photograph's detail: ``(H,W,3)`` float64, whole numbers in [0,255]."""
    pair = np.load(GOLDEN / "pair_astronaut_blur.npz")
    return pair["reference"][60 : 60 + height, 200 : 200 + width].astype(np.float64)


def noisy(image: np.ndarray, sigma: float) -> np.ndarray:
    noise = np.random.default_rng(7).normal(0, sigma, image.shape)
    return np.clip(np.rint(image + noise), 0, 255)


def random_pair(seed: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.random.default_rng(seed).integers(0, 256, (2, height, width, 3))
    return first.astype(np.float64), second.astype(np.float64)


def views(sigma: float) -> dict[str, np.ndarray]:
    """All that a metric may read, the restored image with noise of ``sigma``."""
    sharp = picture()
    return {
        "restored": noisy(sharp, sigma),
        "reference": sharp,
        "degraded": noisy(sharp, 8.0),
        "mask": np.ones_like(sharp),
    }


def measured(name: str, images: dict[str, np.ndarray]) -> float:
    """A metric of images; skips where its weights are not at hand."""
    metric = load_metric(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCHLIB_OFFLINE", "1")
        for asset in metric.ASSETS:
            try:
                assets.fetch(asset)
            except BenchError as error:
                pytest.skip(str(error))
        return metric.measure(*[images[word] for word in metric.READS])


# --- what every file promises, new ones too -------------------------------------------------------


def test_all_metrics_are_shipped():
    assert set(METRICS) >= SHIPPED


@pytest.mark.parametrize("check", contract.CHECKS, ids=name_of)
@pytest.mark.parametrize("name", METRICS)
def test_every_metric_keeps_the_contract(check, name, monkeypatch):
    monkeypatch.setenv("BENCHLIB_OFFLINE", "1")
    expect_contract(check, Subject("metrics", name))


@pytest.mark.parametrize("name", METRICS)
def test_a_version_counts_for_every_shared_file_that_it_reads(name):
    """What the file imports of ``metrics`` stands in its ``USES``, so that no change is missed."""
    registry.check_uses(f"metrics/{name}.py")
    source = (registry.PACKAGE / "metrics" / f"{name}.py").read_text(encoding="utf-8")
    used = registry.uses(f"metrics/{name}.py")
    for other in [*METRICS, "_ssim", "_lpips"]:
        imported = f"from benchlib.metrics.{other} import" in source
        imported |= f"from benchlib.metrics import {other}\n" in source
        assert imported == (f"metrics/{other}.py" in used), other


@pytest.mark.parametrize("name", METRICS)
def test_a_grey_image_is_measured_or_refused_in_a_line(name):
    """A protocol of luma gives ``(H,W)``: no matter for networks, or for windows over colour."""
    images = {word: image.mean(axis=2) for word, image in views(10.0).items()}
    if load_metric(name).ASSETS:
        with pytest.raises(BenchError, match="expected \\(H,W,3\\)"):
            measured(name, images)
    elif "3d" not in name:
        assert math.isfinite(measured(name, images))


def test_importing_the_metrics_brings_no_heavy_library():
    code = (
        "import sys, benchlib.metrics as m; m.protocol('basicsr-rgb'); print(sorted(sys.modules))"
    )
    words = [sys.executable, "-c", code]
    loaded = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert "'numpy'" in loaded
    for heavy in ("torch", "torchvision", "torchmetrics", "skimage", "scipy", "cv2"):
        assert f"'{heavy}'" not in loaded, heavy


# --- PSNR, errors, collapse -----------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(seeds, sizes, sizes)
def test_psnr_is_scikit_images_and_symmetric(seed, height, width):
    first, second = random_pair(seed, height, width)
    value = load_metric("psnr").measure(first, second)
    official = peak_signal_noise_ratio(second, first, data_range=255)
    assert value == pytest.approx(official, abs=1e-9)
    assert value == load_metric("psnr").measure(second, first)


@settings(max_examples=25, deadline=None)
@given(seeds, sizes, sizes)
def test_single_precision_psnr_is_psnr_to_a_millionth(seed, height, width):
    first, second = random_pair(seed, height, width)
    single, double = load_metric("psnr_single"), load_metric("psnr")
    value = single.measure(first, second)
    assert value == pytest.approx(double.measure(first, second), abs=5e-6)
    assert value == np.float32(value)


@settings(max_examples=25, deadline=None)
@given(seeds, sizes, sizes)
def test_errors_are_numpys(seed, height, width):
    first, second = random_pair(seed, height, width)
    apart = np.abs(first - second)
    assert load_metric("mae").measure(first, second) == pytest.approx(apart.mean() / 255)
    assert load_metric("max_error").measure(first, second) == apart.max()


@settings(max_examples=25, deadline=None)
@given(seeds, st.integers(1, 8))
def test_masked_values_are_those_of_the_part_that_counts(seed, rows):
    """A mask that is a rectangle: as if the images were cut to it (SSIM: its windows reach out)."""
    first, second = random_pair(seed, 30, 35)
    mask = np.zeros_like(first)
    mask[rows:, 3:] = 1
    value = load_metric("psnr_masked").measure(first * mask, second * mask, mask)
    inside = load_metric("psnr").measure(first[rows:, 3:], second[rows:, 3:])
    assert value == pytest.approx(inside, abs=1e-9)
    whole = load_metric("ssim_masked").measure(first, second, np.ones_like(first))
    assert whole == pytest.approx(load_metric("ssim").measure(first, second), abs=1e-12)


def test_collapse_is_a_drop_of_more_than_three_decibels():
    """Squared errors whose ratio is 10**0.3 are 3 dB apart."""
    sharp = np.full((20, 20, 3), 100.0)
    degraded = sharp + 10
    collapse = load_metric("mc")
    assert collapse.measure(sharp + 10 * 10**0.1501, sharp, degraded) == 1
    assert collapse.measure(sharp + 10 * 10**0.1499, sharp, degraded) == 0
    assert collapse.measure(sharp, sharp, sharp) == 0
    assert (collapse.SHOWN, collapse.UNIT, collapse.FACTOR) == ("MCR", "%", 100)


# --- SSIM -----------------------------------------------------------------------------------------


def wang_ssim(first: np.ndarray, second: np.ndarray) -> float:
    """SSIM of one channel as in Wang's ssim_index.m: a dense 11x11 window, valid places only."""
    row = np.exp(-(np.arange(-5, 6) ** 2) / 4.5)
    window = np.outer(row, row) / row.sum() ** 2

    def mean(image: np.ndarray) -> np.ndarray:
        return convolve2d(image, window, mode="valid")

    m1, m2, c1, c2 = mean(first), mean(second), 2.55**2, 7.65**2
    v1, v2, v12 = mean(first**2) - m1**2, mean(second**2) - m2**2, mean(first * second) - m1 * m2
    return float(
        ((2 * m1 * m2 + c1) * (2 * v12 + c2) / ((m1**2 + m2**2 + c1) * (v1 + v2 + c2))).mean()
    )


@settings(max_examples=8, deadline=None)
@given(seeds, sizes, sizes)
def test_ssim_is_scikit_images_and_wangs(seed, height, width):
    first, second = random_pair(seed, height, width)
    value = load_metric("ssim").measure(first, second)
    how = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    official = structural_similarity(first, second, data_range=255, channel_axis=-1, **how)
    assert value == pytest.approx(official, abs=1e-13)
    by_channel = [wang_ssim(first[..., i], second[..., i]) for i in range(3)]
    assert value == pytest.approx(np.mean(by_channel), abs=1e-9)


@settings(max_examples=8, deadline=None)
@given(seeds, sizes, sizes)
def test_ssim_of_mirrored_borders_is_torchmetrics(seed, height, width):
    """torchmetrics mirrors the borders itself, and counts every pixel."""
    first, second = random_pair(seed, height, width)
    tensors = [torch.from_numpy(image).movedim(2, 0)[None] for image in (first, second)]
    other = structural_similarity_index_measure(*tensors, data_range=255.0, sigma=1.5)
    around = ((5, 5), (5, 5), (0, 0))
    mirrored = [np.pad(image, around, mode="reflect") for image in (first, second)]
    assert load_metric("ssim").measure(*mirrored) == pytest.approx(float(other), abs=1e-10)


@settings(max_examples=10, deadline=None)
@given(seeds, st.integers(11, 700), sizes)
def test_blurring_in_strips_is_scipys_correlation(seed, height, width):
    image = np.random.default_rng(seed).random((height, width)) * 255
    weights = np.exp(-(np.arange(-5, 6) ** 2) / 4.5)
    weights /= weights.sum()
    whole = correlate1d(correlate1d(image, weights, 0), weights, 1)
    np.testing.assert_allclose(blur(image), whole[5:-5, 5:-5], rtol=1e-14)


@settings(max_examples=8, deadline=None)
@given(seeds, sizes, sizes)
def test_uniform_ssim_is_its_definition(seed, height, width):
    """Means over 7x7 by a plain convolution; sample covariance has 48 degrees of freedom."""
    first, second = random_pair(seed, height, width)
    window = np.full((7, 7), 1 / 49)
    for name, data_range in (("ssim_uniform", 255), ("ssim_range2", 510)):
        c1, c2, values = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2, []
        for x, y in zip(np.moveaxis(first, 2, 0), np.moveaxis(second, 2, 0), strict=True):
            mx, my = convolve2d(x, window, "valid"), convolve2d(y, window, "valid")
            vx = (convolve2d(x * x, window, "valid") - mx**2) * 49 / 48
            vy = (convolve2d(y * y, window, "valid") - my**2) * 49 / 48
            vxy = (convolve2d(x * y, window, "valid") - mx * my) * 49 / 48
            above, below = (
                (2 * mx * my + c1) * (2 * vxy + c2),
                (mx**2 + my**2 + c1) * (vx + vy + c2),
            )
            values.append((above / below).mean())
        value = load_metric(name).measure(first, second)
        assert value == pytest.approx(np.mean(values), abs=1e-9)


def three_d_ssim(first: np.ndarray, second: np.ndarray, mode: str) -> float:
    """SSIM from means along all axes by SciPy, in double precision; of ``(H,W)`` along two."""
    weights = np.exp(-(np.arange(-5, 6) ** 2) / 4.5)

    def mean(image: np.ndarray) -> np.ndarray:
        for axis in range(image.ndim):
            image = correlate1d(image, weights / weights.sum(), axis, mode=mode)
        return image

    m1, m2, c1, c2 = mean(first), mean(second), 2.55**2, 7.65**2
    v1, v2, v12 = mean(first**2) - m1**2, mean(second**2) - m2**2, mean(first * second) - m1 * m2
    ratio = (2 * m1 * m2 + c1) * (2 * v12 + c2) / ((m1**2 + m2**2 + c1) * (v1 + v2 + c2))
    return float(ratio.mean())


@settings(max_examples=5, deadline=None)
@given(seeds, sizes, sizes)
def test_windows_over_repeated_borders_are_scipys(seed, height, width):
    first, second = random_pair(seed, height, width)
    separable = load_metric("ssim_3d_separable").measure(first, second)
    assert separable == pytest.approx(three_d_ssim(first, second, "nearest"), abs=1e-9)
    padded = load_metric("ssim_padded").measure(first[..., 0], second[..., 0])
    expected = three_d_ssim(first[..., 0], second[..., 0], "nearest")
    assert padded == pytest.approx(expected, abs=1e-9)
    single = load_metric("ssim_3d").measure(first, second)
    assert single == pytest.approx(separable, abs=1e-4)


@settings(max_examples=6, deadline=None)
@given(seeds, st.integers(1, 60), st.integers(1, 60))
def test_two_dimensions_add_as_three_do(seed, height, width):
    """Bit by bit, where one image says that they do; else the slow way is the one in use."""
    if ssim_3d.fastest_blur() is ssim_3d.blur_3d:
        pytest.skip("this machine adds in another order: the 3-D convolution is in use")
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3))
    image = torch.from_numpy(values).float()
    for seen in (image, image * image):
        fast, slow = ssim_3d.blur_2d(seen), ssim_3d.blur_3d(seen)
        assert torch.equal(fast, slow)
        assert fast.stride() == slow.stride()


def test_a_machine_that_adds_otherwise_gets_the_official_convolution(monkeypatch):
    real = ssim_3d.blur_2d
    monkeypatch.setattr(ssim_3d, "blur_2d", lambda image: real(image).nextafter(torch.tensor(9e9)))
    ssim_3d.fastest_blur.cache_clear()
    try:
        assert ssim_3d.fastest_blur() is ssim_3d.blur_3d
    finally:
        ssim_3d.fastest_blur.cache_clear()
