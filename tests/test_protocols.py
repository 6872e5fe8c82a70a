"""Protocols against values of the official implementations, and what a protocol promises.

``golden/metrics.json``: BasicSR and NAFNet. ``golden/protocol_metrics.json``: the evaluation
scripts of ten repositories; its notes say which file of which commit.
"""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import convolve2d
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from benchlib import papers, registry
from benchlib.contracts import BenchError
from benchlib.metrics import load_metric, metrics_of, names, protocol, psnr_masked, ssim_masked
from benchlib.metrics._align import aligned
from benchlib.metrics._brightness import to_grey
from benchlib.metrics._prepare import COLOURS, CUTS, to_y_exchanged, to_y_full, to_y_rounded

ROOT = Path(__file__).parent.parent
GOLDEN = Path(__file__).parent / "golden"
OFFICIAL = json.loads((GOLDEN / "metrics.json").read_text())
SCRIPTS = json.loads((GOLDEN / "protocol_metrics.json").read_text())["pairs"]
LEDGER = Path(papers.__file__).parent / "ledger" / "protocols.csv"
by_pair = pytest.mark.parametrize("official", OFFICIAL, ids=lambda o: o["pair"])
by_script_pair = pytest.mark.parametrize("official", SCRIPTS, ids=lambda o: o["pair"])

# protocol, its SSIM, keys of the official values
READINGS = [
    ("basicsr-rgb", "ssim", "basicsr_psnr_rgb_crop0", "basicsr_ssim_rgb_crop0"),
    ("basicsr-rgb@4", "ssim", "basicsr_psnr_rgb_crop4", "basicsr_ssim_rgb_crop4"),
    ("basicsr-y", "ssim", "basicsr_psnr_y_crop0", "basicsr_ssim_y_crop0"),
    ("basicsr-y@4", "ssim", "basicsr_psnr_y_crop4", "basicsr_ssim_y_crop4"),
    ("nafnet-ssim3d", "ssim_3d", "nafnet_psnr_rgb_crop0", "nafnet_ssim3d_rgb_crop0"),
    ("nafnet-y", "ssim_padded", "basicsr_psnr_y_crop0", "nafnet_ssim_y_replicate_crop0"),
]
DB, SINGLE, EXACT = 1e-6, 2e-6, 1e-12  # tolerances: PSNR; SSIM of float32 images; of uint8 ones
# protocol, metric, key, tolerance; pixels cut from the pair's end first
READ = [
    ("airnet-promptir", "psnr", "airnet_promptir_psnr", DB, (0, 0)),
    ("airnet-promptir", "ssim_uniform", "airnet_promptir_ssim", SINGLE, (0, 0)),
    ("airnet-promptir-crop16", "psnr", "airnet_promptir_crop16_psnr", DB, (12, 27)),
    ("airnet-promptir-crop16", "ssim_uniform", "airnet_promptir_crop16_ssim", SINGLE, (12, 27)),
    ("enlighten-anything", "psnr", "enlighten_anything_psnr_y", DB, (0, 0)),
    ("enlighten-anything", "ssim_uniform", "enlighten_anything_ssim_y", EXACT, (0, 0)),
    ("hinet-rgb", "psnr", "hinet_psnr_rgb", DB, (0, 0)),
    ("hinet-rgb", "ssim_3d", "hinet_ssim_rgb", SINGLE, (0, 0)),
    ("hinet-y", "psnr_single", "hinet_psnr_y", DB, (0, 0)),
    ("hinet-y", "ssim_padded", "hinet_ssim_y", SINGLE, (0, 0)),
    ("ifan", "psnr", "ifan_width_minus3_psnr", DB, (0, 3)),
    ("ifan", "ssim_uniform", "ifan_width_minus3_ssim", SINGLE, (0, 3)),
    ("ifan", "mae", "ifan_width_minus3_mae", 2e-7, (0, 3)),
    ("llformer", "psnr", "llformer_psnr", DB, (0, 0)),
    ("llformer", "ssim_uniform", "llformer_ssim", EXACT, (0, 0)),
    ("ptgrm", "psnr", "ptgrm_psnr", DB, (0, 0)),
    ("ptgrm", "ssim", "ptgrm_ssim", EXACT, (0, 0)),
    ("restormer-defocus", "psnr", "restormer_defocus_psnr", DB, (0, 0)),
    ("restormer-defocus", "ssim_uniform", "restormer_defocus_ssim", SINGLE, (0, 0)),
    ("restormer-defocus", "mae", "restormer_defocus_mae", 2e-7, (0, 0)),
    ("restormer-gaussian", "psnr", "restormer_gaussian_psnr", DB, (0, 0)),
    ("restormer-gaussian", "ssim", "restormer_gaussian_ssim", EXACT, (0, 0)),
    ("snr", "psnr", "snr_psnr", DB, (0, 0)),
    ("snr", "ssim", "snr_ssim", EXACT, (0, 0)),
    ("uformer-gopro", "psnr", "uformer_gopro_psnr", DB, (0, 0)),
    ("uformer-gopro", "ssim_range2", "uformer_gopro_ssim_data_range_2", SINGLE, (0, 0)),
]
ALIGNED = {"psnr": 0.005, "ssim": 2e-4}  # OpenCV 4.8 against 5.0
ALIGNED_5 = {"psnr": DB, "ssim": SINGLE}  # OpenCV 5.0, with which the values were made


def images_of(official: dict, cut: tuple[int, int] = (0, 0)) -> dict[str, np.ndarray]:
    pair = np.load(GOLDEN / official["pair"])
    height, width = pair["reference"].shape[:2]
    part = slice(0, height - cut[0]), slice(0, width - cut[1])
    return {"restored": pair["distorted"][part], "reference": pair["reference"][part]}


def random_images(seed: int, height: int, width: int) -> dict[str, np.ndarray]:
    draws = np.random.default_rng(seed).integers(0, 256, (3, height, width, 3), dtype=np.uint8)
    return dict(zip(("restored", "reference", "degraded"), draws, strict=True))


# --- official values ------------------------------------------------------------------------------


@by_pair
@pytest.mark.parametrize(("name", "ssim", "psnr_key", "ssim_key"), READINGS)
def test_protocol_matches_the_official_implementation(official, name, ssim, psnr_key, ssim_key):
    measured = protocol(name).measure(images_of(official), ["psnr", ssim])
    assert measured["psnr"] == pytest.approx(official[psnr_key], abs=1e-6)
    tolerance = 2e-6 if "3d" in name else 1e-8
    assert measured[ssim] == pytest.approx(official[ssim_key], abs=tolerance)


@by_script_pair
@pytest.mark.parametrize(("name", "metric", "key", "tolerance", "cut"), READ)
def test_protocol_matches_the_official_script(official, name, metric, key, tolerance, cut):
    measured = protocol(name).measure(images_of(official, cut), [metric])
    assert measured[metric] == pytest.approx(official[key], abs=tolerance)


@by_script_pair
def test_alignment_matches_the_official_script(official):
    cv2 = pytest.importorskip("cv2")
    tolerance = ALIGNED_5 if cv2.__version__.startswith("5.0") else ALIGNED
    measured = protocol("restormer-realblur").measure(images_of(official))
    assert set(measured) == {"psnr_masked", "ssim_masked"}
    for word in ("psnr", "ssim"):
        expected = official[f"restormer_realblur_{word}"]
        assert measured[f"{word}_masked"] == pytest.approx(expected, abs=tolerance[word])


@by_script_pair
def test_alignment_of_a_moved_and_darkened_image_matches_the_official_script(official):
    """Moved two rows down and a column left, times 0.9: no 8-bit image, so below the protocol."""
    cv2 = pytest.importorskip("cv2")
    tolerance = ALIGNED_5 if cv2.__version__.startswith("5.0") else ALIGNED
    images = images_of(official)
    moved = np.roll(images["restored"], (2, -1), (0, 1)).astype(np.float32) / 255
    darker = moved * np.float32(0.9) * 255
    restored, reference, mask = aligned("x", darker, images["reference"].astype(float))
    assert 0.99 < mask.mean() < 1
    values = {
        "psnr": psnr_masked.measure(restored, reference, mask),
        "ssim": ssim_masked.measure(restored, reference, mask),
    }
    for word, value in values.items():
        expected = official[f"restormer_realblur_shifted_{word}"]
        assert value == pytest.approx(expected, abs=tolerance[word])


@by_pair
def test_separable_windows_read_what_double_precision_does(official):
    """The official value is off by its single precision; by how much is in the file's words."""
    images = images_of(official)
    value = protocol("nafnet-ssim3d-separable").measure(images)["ssim_3d_separable"]
    assert 1e-6 < abs(official["nafnet_ssim3d_rgb_crop0"] - value) < 6e-5


# --- colours and cuts -----------------------------------------------------------------------------


def rounded_luma(image: np.ndarray) -> np.ndarray:
    """scikit-image's rgb2ycbcr, rounded; 1e-9 lifts exact halves, which doubles put either side."""
    return np.floor(rgb2ycbcr(image)[..., 0] + 0.5 + 1e-9)


def wang_ssim(first: np.ndarray, second: np.ndarray) -> float:
    """SSIM as in Wang's ssim_index.m: a dense 11x11 window, valid places only."""
    row = np.exp(-(np.arange(-5, 6) ** 2) / 4.5)
    window = np.outer(row, row) / row.sum() ** 2

    def mean(image: np.ndarray) -> np.ndarray:
        return convolve2d(image, window, mode="valid")

    m1, m2, c1, c2 = mean(first), mean(second), 2.55**2, 7.65**2
    v1, v2, v12 = mean(first**2) - m1**2, mean(second**2) - m2**2, mean(first * second) - m1 * m2
    ratio = (2 * m1 * m2 + c1) * (2 * v12 + c2) / ((m1**2 + m2**2 + c1) * (v1 + v2 + c2))
    return float(ratio.mean())


@pytest.mark.parametrize("border", [0, 3])
@by_pair
def test_rounded_luma_matches_scikit_image_and_wangs_ssim(official, border):
    images = images_of(official)
    height, width = images["reference"].shape[:2]
    inner = slice(border, height - border), slice(border, width - border)
    first, second = (rounded_luma(image[inner]) for image in images.values())
    suffix = f"@{border}" if border else ""
    measured = protocol(f"matlab-y-rounded{suffix}").measure(images)
    official_psnr = peak_signal_noise_ratio(second, first, data_range=255)
    assert measured["psnr"] == pytest.approx(official_psnr, abs=1e-9)
    assert measured["ssim"] == pytest.approx(wang_ssim(first, second), abs=1e-9)
    unrounded = protocol(f"basicsr-y{suffix}").psnr(*images.values())
    assert abs(measured["psnr"] - unrounded) > 1e-4  # rounding is not nothing


def test_luma_is_rounded_half_upwards_where_doubles_would_not_tell():
    colours = np.array(
        [[[0, 0, 0], [255, 255, 255], [0, 204, 68], [0, 204, 67], [5, 65, 25]]], np.uint8
    )
    # 0,204,68 is 125.5 and 5,65,25 is 52.5 exactly; 0,204,67 is 125.402
    assert to_y_rounded(colours).tolist() == [[16, 235, 126, 125, 53]]


def every_third_colour() -> np.ndarray:
    grey = np.arange(0, 256, 3, dtype=np.uint8)
    return np.stack(np.meshgrid(grey, grey, grey, indexing="ij"), -1).reshape(1, -1, 3)


def test_every_colour_but_exact_halves_rounds_as_in_doubles():
    colours = every_third_colour()
    exact = rgb2ycbcr(colours)[..., 0]
    clear = np.abs(exact % 1 - 0.5) > 1e-9
    assert np.array_equal(to_y_rounded(colours)[clear], np.rint(exact)[clear])


def test_full_luma_is_opencvs():
    cv2 = pytest.importorskip("cv2")
    colours = every_third_colour()
    theirs = cv2.cvtColor(np.ascontiguousarray(colours[..., ::-1]), cv2.COLOR_BGR2YCR_CB)
    assert np.array_equal(to_y_full(colours), theirs[..., 0])


def test_exchanged_luma_is_luma_of_bgr_to_single_precision():
    colours = every_third_colour()
    values = to_y_exchanged(colours)
    assert np.array_equal(values, values.astype(np.float32))
    np.testing.assert_allclose(values, rgb2ycbcr(colours[..., ::-1])[..., 0], atol=2e-5)


@pytest.mark.parametrize(
    ("cut", "rows", "columns"),
    [
        ("none", (0, 37), (0, 43)),
        ("end-4", (0, 36), (0, 40)),
        ("end-8", (0, 32), (0, 40)),
        ("around-16", (2, 34), (5, 37)),
    ],
)
def test_a_cut_leaves_the_pixels_that_the_script_keeps(cut, rows, columns):
    image = np.arange(37 * 43 * 3).reshape(37, 43, 3)
    assert np.array_equal(CUTS[cut].apply(image), image[slice(*rows), slice(*columns)])


@pytest.mark.parametrize("name", names())
def test_a_border_is_cut_from_all_images(name):
    """As if the images had been that much smaller; a cut to a multiple comes before it."""
    if protocol(name).align:
        pytest.skip("noise cannot be aligned")
    images = random_images(1, 32, 48)
    inner = {word: image[3:-3, 3:-3] for word, image in images.items()}
    wanted = [metric for metric in metrics_of(name) if not load_metric(metric).ASSETS]
    if protocol(name).cut != "none":
        images = {word: image[:16, :32] for word, image in images.items()}
        inner = {word: image[1:-1, 1:-1] for word, image in images.items()}
        plain = dataclasses.replace(protocol(name), cut="none")
        assert protocol(f"{name}@1").measure(images, wanted) == plain.measure(inner, wanted)
        return
    assert protocol(f"{name}@3").measure(images, wanted) == protocol(name).measure(inner, wanted)


# --- GT-mean, and SSIM along columns --------------------------------------------------------------

GT_MEAN = ("hvi-cidnet-gt-mean", "pydiff-gt-mean", "llflow-gt-mean")


def darker(official: dict) -> dict[str, np.ndarray]:
    """A pair whose restored image is too dark, so that GT-mean has something to do."""
    images = images_of(official)
    return images | {"restored": (images["restored"] * 0.6).astype(np.uint8)}


def psnr_of(restored: np.ndarray, reference: np.ndarray) -> float:
    return float(peak_signal_noise_ratio(reference.astype(float), restored, data_range=255))


def test_grey_is_opencvs():
    cv2 = pytest.importorskip("cv2")
    colours = every_third_colour()
    assert np.array_equal(to_grey(colours), cv2.cvtColor(colours, cv2.COLOR_RGB2GRAY))
    assert not np.array_equal(to_grey(colours), to_y_full(colours))


@by_script_pair
def test_gt_mean_by_grey_is_that_of_hvi_cidnet(official):
    """Its operations in its order, and the measures of basicsr-rgb."""
    cv2 = pytest.importorskip("cv2")
    images = darker(official)
    own, truth = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).mean() for image in images.values())
    scaled = np.clip(images["restored"] * (truth / own), 0, 255)
    measured = protocol("hvi-cidnet-gt-mean").measure(images, ["psnr", "ssim"])
    assert measured["psnr"] == pytest.approx(psnr_of(scaled, images["reference"]), abs=1e-9)
    single = [image.astype(np.float32) for image in (scaled, images["reference"])]
    error = np.mean(np.square(single[0] - single[1])) + 1e-8
    assert measured["psnr"] == pytest.approx(10 * np.log10(255**2 / error), abs=1e-4)
    window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    theirs = structural_similarity(
        scaled, images["reference"].astype(float), data_range=255, channel_axis=-1, **window
    )
    assert measured["ssim"] == pytest.approx(theirs, abs=1e-9)
    plain = protocol("basicsr-rgb").psnr(images["restored"], images["reference"])
    assert measured["psnr"] > plain + 2


@by_script_pair
def test_gt_mean_by_colours_is_that_of_pydiff(official):
    images = darker(official)
    own, truth = (np.mean(image) for image in images.values())
    scaled = np.clip(images["restored"] * truth / own, 0, 255).astype("uint8")
    found = protocol("pydiff-gt-mean").psnr(**images)
    assert found == pytest.approx(psnr_of(scaled, images["reference"]), abs=1e-9)


@by_script_pair
def test_gt_mean_and_ssim_of_llflow(official):
    """In torch as its script does; SSIM column by column, by its formula."""
    cv2 = pytest.importorskip("cv2")
    images = darker(official)
    restored = torch.from_numpy(images["restored"]).permute(2, 0, 1)[None] / 255
    mean_out = restored.reshape(1, -1).mean(dim=1)
    grey = cv2.cvtColor(images["reference"].astype(np.float32), cv2.COLOR_BGR2GRAY)
    bright = torch.clamp(restored * (grey.mean() / 255 / mean_out), 0, 1)
    scaled = (bright[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    measured = protocol("llflow-gt-mean").measure(images, ["psnr", "ssim_columns"])
    # a value within a rounding error of a whole number may be truncated to the one below
    assert measured["psnr"] == pytest.approx(psnr_of(scaled, images["reference"]), abs=2e-3)
    first, second = (to_grey(image) for image in (scaled, images["reference"]))
    assert measured["ssim_columns"] == pytest.approx(columns_ssim(first, second), abs=1e-4)


def columns_ssim(first: np.ndarray, second: np.ndarray) -> float:
    """SSIM of every 7 pixels in a column, sample covariance, by its definition."""
    one = np.lib.stride_tricks.sliding_window_view(first, 7, axis=0)
    two = np.lib.stride_tricks.sliding_window_view(second, 7, axis=0)
    m1, m2, c1, c2 = one.mean(-1), two.mean(-1), 2.55**2, 7.65**2
    both = ((one - m1[..., None]) * (two - m2[..., None])).sum(-1) / 6
    spread = one.var(-1, ddof=1) + two.var(-1, ddof=1)
    ratio = (2 * m1 * m2 + c1) * (2 * both + c2) / ((m1**2 + m2**2 + c1) * (spread + c2))
    return float(ratio.mean())


@by_script_pair
def test_ssim_along_columns_is_by_its_definition_and_no_square_windows(official):
    images = images_of(official)
    first, second = (to_grey(image) for image in images.values())
    value = load_metric("ssim_columns").measure(*images.values())
    assert value == pytest.approx(columns_ssim(first, second), abs=1e-12)
    assert abs(value - structural_similarity(first, second, data_range=255)) > 1e-3


@pytest.mark.parametrize("name", GT_MEAN)
def test_gt_mean_of_a_black_image_is_the_black_image(name):
    images = random_images(6, 24, 24)
    images["restored"] = np.zeros_like(images["restored"])
    plain = protocol("basicsr-rgb").psnr(images["restored"], images["reference"])
    assert protocol(name).measure(images, ["psnr"]) == {"psnr": plain}
    assert "GT-mean" in protocol(name).meaning


def test_scripts_whose_measure_has_another_name_too_give_its_numbers():
    images = random_images(7, 24, 24)
    for name, other in (
        ("restormer-derain", "matlab-y-rounded"),
        ("prenet", "basicsr-y"),
        ("mprnet-sidd", "nafnet-ssim3d"),
        ("restormer-gopro", "nafnet-ssim3d-separable"),
    ):
        wanted = protocol(name).metrics
        assert protocol(name).measure(images) == protocol(other).measure(images, wanted)


# --- what a protocol promises ---------------------------------------------------------------------


@pytest.mark.parametrize("name", names())
def test_a_protocol_measures_each_word_once(name):
    words = [load_metric(metric).NAME for metric in metrics_of(name)]
    assert len(words) == len(set(words))
    assert "PSNR" in words
    assert protocol(name).colour in COLOURS and protocol(name).cut in CUTS
    assert protocol(name).meaning.endswith(".")


def test_a_protocol_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        protocol("basicsr-rgb").border = 3


def test_a_protocol_says_itself_in_words():
    said = protocol("basicsr-y@4").meaning
    assert said.startswith("BT.601 luma, not rounded; 4 px cut off each side; SSIM: 2-D Gaussian")
    assert "aligned" in protocol("restormer-realblur").meaning


def test_metrics_beyond_the_list_come_from_their_own_files():
    assert metrics_of("basicsr-rgb")[:2] == ("psnr", "ssim")
    assert {"mc", "mae", "lpips_alex", "lpips_vgg", "dists"} <= set(metrics_of("basicsr-rgb@4"))
    assert metrics_of("snr") == ("psnr", "ssim")


def test_only_what_is_asked_for_is_measured_in_the_protocols_order():
    images = random_images(2, 20, 24)
    measured = protocol("basicsr-rgb").measure(images, {"mc", "ssim", "psnr", "ssim_3d"})
    assert list(measured) == ["psnr", "ssim", "mc"]
    assert protocol("basicsr-rgb").measure(images, []) == {}


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(11, 30), st.integers(11, 30))
def test_psnr_alone_is_the_psnr_that_is_measured(seed, height, width):
    images = random_images(seed, height, width)
    for name in ("basicsr-y", "hinet-y", "enlighten-anything"):
        if name == "enlighten-anything" and min(height, width) < 12:
            continue
        one = protocol(name)
        measured = one.measure(images, [m for m in one.metrics if load_metric(m).NAME == "PSNR"])
        assert list(measured.values()) == [one.psnr(images["restored"], images["reference"])]


def test_what_is_not_there_is_not_measured():
    """No degraded image, one of another size (super-resolution), no reference."""
    images = random_images(3, 24, 24)
    wanted = ["psnr", "mc"]
    assert set(protocol("basicsr-rgb").measure(images, wanted)) == {"psnr", "mc"}
    smaller = images | {"degraded": images["degraded"][::2, ::2]}
    assert set(protocol("basicsr-rgb").measure(smaller, wanted)) == {"psnr"}
    without = {word: images[word] for word in ("restored", "reference")}
    assert set(protocol("basicsr-rgb").measure(without, wanted)) == {"psnr"}
    assert protocol("basicsr-rgb").measure({"restored": images["restored"]}, wanted) == {}


def test_images_are_left_as_they_were():
    images = random_images(4, 33, 29)
    before = {word: image.copy() for word, image in images.items()}
    for name in ("basicsr-rgb@2", "basicsr-y", "nafnet-ssim3d", "hinet-y", "uformer-gopro"):
        protocol(name).measure(images, ["psnr", "psnr_single", "ssim", "ssim_3d", "ssim_range2"])
    for word, image in images.items():
        assert np.array_equal(image, before[word])


@pytest.mark.parametrize("bad", ["basicsr-rbg", "basicsr-y@x", "basicsr-y@", "", "@4"])
def test_unknown_protocol_is_refused_by_name(bad):
    with pytest.raises(BenchError, match="evaluation.protocols") as error:
        protocol(bad)
    assert "\n" not in str(error.value)


IMAGE = np.zeros((20, 20, 3), np.uint8)


@pytest.mark.parametrize(
    ("name", "images", "said"),
    [
        ("basicsr-y", {"restored": IMAGE, "reference": IMAGE[:-1]}, "expected one size"),
        ("basicsr-y", {"restored": IMAGE / 255, "reference": IMAGE}, "restored: expected .* uint8"),
        ("basicsr-y", {"restored": IMAGE[..., 0], "reference": IMAGE[..., 0]}, r"\(H,W,3\)"),
        ("basicsr-y", {"reference": IMAGE}, "no 'restored'"),
        ("basicsr-y", {"restored": IMAGE, "hq": IMAGE}, "got 'hq'; may be degraded"),
        ("basicsr-y@5", {"restored": IMAGE, "reference": IMAGE}, "leaves under 11 pixels"),
        ("airnet-promptir-crop16@3", {"restored": IMAGE, "reference": IMAGE}, "leaves under 11"),
    ],
)
def test_shapes_types_and_borders_are_refused(name, images, said):
    with pytest.raises(BenchError, match=said) as error:
        protocol(name).measure(images)
    assert "\n" not in str(error.value)


def test_flat_images_cannot_be_aligned():
    pytest.importorskip("cv2")
    flat = {"restored": np.full((64, 64, 3), 90, np.uint8)}
    flat["reference"] = np.full((64, 64, 3), 120, np.uint8)
    with pytest.raises(BenchError, match="no homography") as error:
        protocol("restormer-realblur").measure(flat)
    assert "\n" not in str(error.value)


def test_no_version_under_the_protocols_has_risen_unseen():
    registry.check_uses("metrics/__init__.py")
    assert registry.uses("metrics/__init__.py") == {"metrics/_protocols.py": 1}
    assert set(registry.uses("metrics/_protocols.py")) >= {"metrics/_prepare.py"}


# --- the ledger, and the page for newcomers -------------------------------------------------------


def test_every_protocol_has_its_line_in_the_ledger():
    lines = pd.read_csv(LEDGER, dtype=str, keep_default_na=False).set_index("protocol")
    assert sorted(lines.index) == names()
    assert (lines != "").all().all()
    for name, line in lines.iterrows():
        assert (
            line["metrics"].split() == list(protocol(name).metrics)[: len(line["metrics"].split())]
        )
        assert line["colour"] == COLOURS[protocol(name).colour].words, name


def test_the_page_for_newcomers_adds_a_metric_that_works(tmp_path):
    """The file that docs/metrics.md writes, in a copy of the package, is listed and measured."""
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    code = page.split("```python\n")[1].split("```")[0]
    name = page.split("`benchlib/metrics/")[1].split(".py`")[0]
    ignored = shutil.ignore_patterns("__pycache__", "report", "methods", "backbones")
    shutil.copytree(ROOT / "benchlib", tmp_path / "benchlib", ignore=ignored)
    (tmp_path / "benchlib" / "metrics" / f"{name}.py").write_text(code, encoding="utf-8")
    asked = (
        "import numpy as np; from benchlib.metrics import protocol, metrics_of, load_metric;"
        f"assert '{name}' in metrics_of('basicsr-rgb'), metrics_of('basicsr-rgb');"
        "image = np.zeros((16, 16, 3), np.uint8); other = image + np.uint8(51);"
        f"print(protocol('basicsr-rgb').measure(dict(restored=other, reference=image), ['{name}']))"
    )
    words = [sys.executable, "-c", asked]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{{'{name}': 51.0}}"
