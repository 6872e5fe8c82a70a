"""Metrics against values computed by the official BasicSR and NAFNet implementations (tests/golden/metrics.json)."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import convolve2d
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio

from benchlib.contracts import BenchError
from benchlib.metrics import collapsed, protocol
from benchlib.metrics.measures import to_y_rounded

GOLDEN = Path(__file__).parent / "golden"
OFFICIAL = json.loads((GOLDEN / "metrics.json").read_text())
READINGS = [
    ("basicsr-rgb", "basicsr_psnr_rgb_crop0", "basicsr_ssim_rgb_crop0"),
    ("basicsr-rgb@4", "basicsr_psnr_rgb_crop4", "basicsr_ssim_rgb_crop4"),
    ("basicsr-y", "basicsr_psnr_y_crop0", "basicsr_ssim_y_crop0"),
    ("basicsr-y@4", "basicsr_psnr_y_crop4", "basicsr_ssim_y_crop4"),
    ("nafnet-ssim3d", "nafnet_psnr_rgb_crop0", "nafnet_ssim3d_rgb_crop0"),
    ("nafnet-y", "basicsr_psnr_y_crop0", "nafnet_ssim_y_replicate_crop0"),
]


@pytest.mark.parametrize("official", OFFICIAL, ids=lambda o: o["pair"])
@pytest.mark.parametrize(("name", "psnr_key", "ssim_key"), READINGS)
def test_protocol_matches_the_official_implementation(official, name, psnr_key, ssim_key):
    pair = np.load(GOLDEN / official["pair"])
    measured = protocol(name).measure(pair["distorted"], pair["reference"])
    assert measured["PSNR"] == pytest.approx(official[psnr_key], abs=1e-6)
    assert measured["SSIM"] == pytest.approx(official[ssim_key], abs=2e-6 if "3d" in name else 1e-8)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(11, 40), st.integers(11, 40))
def test_psnr_matches_scikit_image_and_is_symmetric(seed, height, width):
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    both = protocol("basicsr-rgb").measure(first, second)
    assert both["PSNR"] == pytest.approx(peak_signal_noise_ratio(second, first, data_range=255), abs=1e-9)
    assert both == pytest.approx(protocol("basicsr-rgb").measure(second, first))
    assert protocol("basicsr-rgb").measure(first, first) == {"PSNR": float("inf"), "SSIM": pytest.approx(1.0)}


def rounded_luma(image: np.ndarray) -> np.ndarray:
    """scikit-image's rgb2ycbcr, rounded; 1e-9 lifts exact halves, which doubles put on either side."""
    return np.floor(rgb2ycbcr(image)[..., 0] + 0.5 + 1e-9)


def wang_ssim(first: np.ndarray, second: np.ndarray) -> float:
    """SSIM as in Wang's ssim_index.m: a dense 11x11 window, valid positions only, K = (0.01, 0.03), L = 255."""
    row = np.exp(-(np.arange(-5, 6) ** 2) / 4.5)
    window = np.outer(row, row) / row.sum() ** 2

    def mean(image: np.ndarray) -> np.ndarray:
        return convolve2d(image, window, mode="valid")

    m1, m2, c1, c2 = mean(first), mean(second), 2.55**2, 7.65**2
    v1, v2, v12 = mean(first**2) - m1**2, mean(second**2) - m2**2, mean(first * second) - m1 * m2
    return float(((2 * m1 * m2 + c1) * (2 * v12 + c2) / ((m1**2 + m2**2 + c1) * (v1 + v2 + c2))).mean())


@pytest.mark.parametrize("border", [0, 3])
@pytest.mark.parametrize("official", OFFICIAL, ids=lambda o: o["pair"])
def test_rounded_luma_matches_scikit_image_and_wangs_ssim(official, border):
    pair = np.load(GOLDEN / official["pair"])
    images = [pair[key] for key in ("distorted", "reference")]
    inner = [image[border : len(image) - border, border : image.shape[1] - border] for image in images]
    first, second = map(rounded_luma, inner)
    measured = protocol(f"matlab-y-rounded@{border}").measure(*images)
    assert measured["PSNR"] == pytest.approx(peak_signal_noise_ratio(second, first, data_range=255), abs=1e-9)
    assert measured["SSIM"] == pytest.approx(wang_ssim(first, second), abs=1e-9)
    assert abs(measured["PSNR"] - protocol(f"basicsr-y@{border}").psnr(*images)) > 1e-4  # rounding is not nothing


def test_luma_is_rounded_half_upwards_where_doubles_would_not_tell():
    colours = np.array([[[0, 0, 0], [255, 255, 255], [0, 204, 68], [0, 204, 67], [5, 65, 25]]], np.uint8)
    # 0,204,68 is 125.5 and 5,65,25 is 52.5 exactly; 0,204,67 is 125.402
    assert to_y_rounded(colours).tolist() == [[16, 235, 126, 125, 53]]


def test_every_colour_but_exact_halves_rounds_as_in_doubles():
    grey = np.arange(0, 256, 3, dtype=np.uint8)
    colours = np.stack(np.meshgrid(grey, grey, grey, indexing="ij"), -1).reshape(1, -1, 3)
    exact = rgb2ycbcr(colours)[..., 0]
    clear = np.abs(exact % 1 - 0.5) > 1e-9
    assert np.array_equal(to_y_rounded(colours)[clear], np.rint(exact)[clear])


def test_collapse_is_a_drop_of_more_than_three_decibels():
    assert collapsed(25.0, 21.9)
    assert not collapsed(25.0, 22.0)


@pytest.mark.parametrize("bad", ["basicsr-rbg", "basicsr-y@x", ""])
def test_unknown_protocol_is_refused_by_name(bad):
    with pytest.raises(BenchError, match="evaluation.protocols"):
        protocol(bad)


def test_shapes_types_and_borders_are_refused():
    image = np.zeros((20, 20, 3), np.uint8)
    for first, second, name in [
        (image, image[:-1], "basicsr-y"),
        (image / 255, image, "basicsr-y"),
        (image, image, "basicsr-y@5"),
    ]:
        with pytest.raises(BenchError):
            protocol(name).measure(first, second)
