"""Metrics against values computed by the official BasicSR and NAFNet implementations (tests/golden/metrics.json)."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio

from benchlib.contracts import BenchError
from benchlib.metrics import collapsed, protocol

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
