"""MATLAB's bicubic: against its own algorithm in fractions, PyTorch's, and published LR images."""

from __future__ import annotations

import itertools
import os
from fractions import Fraction
from math import ceil, floor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from benchlib.contracts import BenchError
from benchlib.degrade import bicubic
from benchlib.imageio import read_image
from benchlib.seeding import name_rng

SCALES = (2, 3, 4)
FORMS = list(itertools.product(("8-bit", "float"), ("symmetric", "replicate")))
quick = settings(max_examples=25, deadline=None)
every_scale = pytest.mark.parametrize("scale", SCALES)
every_form = pytest.mark.parametrize(("between", "border"), FORMS)


def down(
    hq: np.ndarray, scale: int = 4, between: str = "8-bit", border: str = "symmetric"
) -> np.ndarray:
    return bicubic.degrade(hq, bicubic.Config(scale, between, border), name_rng("unused"))


def pattern(side: int = 24) -> np.ndarray:
    """A picture that anyone can make again, with overshoot at both ends.

    No two of its rows, columns or colours are alike.
    """
    y, x, c = np.ogrid[:side, :side, :3]
    return ((37 * y * y + 101 * x + 53 * x * y + 71 * c * (x + 1)) % 256).astype(np.uint8)


# --- the algorithm, slowly: MATLAB's `contributions`, one dimension after the other, in fractions


def cubic(x: Fraction) -> Fraction:
    x = abs(x)
    if x <= 1:
        return Fraction(3, 2) * x**3 - Fraction(5, 2) * x**2 + 1
    if x <= 2:
        return -(x**3) / 2 + Fraction(5, 2) * x**2 - 4 * x + 2
    return Fraction(0)


def place_in_line(index: int, length: int, border: str) -> int:
    """Which of the pixels 1 to ``length`` stands at ``index``, which may lie beyond them."""
    if border == "replicate":
        return min(max(index, 1), length)
    mirrored = [*range(1, length + 1), *range(length, 0, -1)]
    return mirrored[(index - 1) % (2 * length)]


def line_by_matlab(values: list, scale: int, border: str) -> list[Fraction]:
    length, width = len(values), 4 * scale
    out = []
    for k in range(1, length // scale + 1):
        u = k * scale + Fraction(1, 2) * (1 - scale)
        left = floor(u - Fraction(width, 2))
        total, weights = Fraction(0), Fraction(0)
        for i in range(left, left + ceil(width) + 2):
            weight = cubic((u - i) / scale) / scale
            total += weight * values[place_in_line(i, length, border) - 1]
            weights += weight
        out.append(total / weights)
    return out


def to_8bit(value: Fraction) -> int:
    away = floor(abs(value) + Fraction(1, 2))  # half away from zero
    if value < 0:
        away = -away
    return min(max(away, 0), 255)


def plane_by_matlab(plane: np.ndarray, scale: int, between: str, border: str) -> list[list[int]]:
    columns = []
    for x in range(plane.shape[1]):
        column = line_by_matlab(plane[:, x].tolist(), scale, border)
        if between == "8-bit":
            column = list(map(to_8bit, column))
        columns.append(column)
    out = []
    for row in zip(*columns, strict=True):
        out.append(list(map(to_8bit, line_by_matlab(list(row), scale, border))))
    return out


def by_matlab(hq: np.ndarray, scale: int, between: str, border: str) -> np.ndarray:
    planes = [plane_by_matlab(hq[..., c], scale, between, border) for c in range(3)]
    return np.moveaxis(np.array(planes, np.uint8), 0, 2)


@every_scale
@every_form
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 9999), rows=st.integers(1, 4), columns=st.integers(1, 4))
def test_is_matlab_s_algorithm_in_fractions(scale, between, border, seed, rows, columns):
    """Also where the kernel is wider than the image, and on black and white, mostly clipped."""
    rng = np.random.default_rng(seed)
    hq = rng.integers(0, 256, (rows * scale, columns * scale, 3), dtype=np.uint8)
    hq[..., 0] = np.where(hq[..., 0] < 128, 0, 255)
    assert np.array_equal(down(hq, scale, between, border), by_matlab(hq, scale, between, border))


# The red plane of pattern(24) at scale 4, by the algorithm above.
GOLDEN = {
    ("8-bit", "symmetric"): [
        [105, 131, 131, 136, 139, 135],
        [121, 119, 141, 127, 115, 136],
        [140, 137, 131, 137, 125, 116],
        [128, 120, 113, 120, 136, 87],
        [127, 109, 128, 128, 98, 120],
        [173, 137, 117, 114, 120, 146],
    ],
    ("8-bit", "replicate"): [
        [106, 129, 130, 135, 139, 137],
        [122, 119, 141, 127, 115, 139],
        [140, 137, 131, 137, 125, 117],
        [129, 120, 113, 120, 136, 88],
        [125, 109, 128, 127, 97, 118],
        [172, 136, 117, 115, 122, 144],
    ],
    ("float", "symmetric"): [
        [105, 131, 131, 136, 139, 135],
        [121, 119, 141, 127, 115, 136],
        [140, 137, 131, 137, 125, 116],
        [128, 120, 113, 120, 136, 88],
        [127, 109, 128, 128, 97, 120],
        [173, 137, 117, 114, 120, 146],
    ],
    ("float", "replicate"): [
        [106, 129, 130, 136, 139, 137],
        [122, 119, 141, 127, 115, 138],
        [139, 137, 131, 137, 125, 117],
        [129, 120, 113, 120, 136, 88],
        [125, 109, 128, 127, 97, 118],
        [172, 136, 117, 115, 122, 144],
    ],
}


@every_form
def test_golden_values(between, border):
    assert down(pattern(), 4, between, border)[..., 0].tolist() == GOLDEN[between, border]


# --- PyTorch's antialiased bicubic: the same kernel, another border ------------------------------


def line_by_torch(image: np.ndarray, scale: int, axis: int) -> np.ndarray:
    """One dimension in double precision.

    Padded by whole output pixels first, so that PyTorch's border is not seen.
    """
    widths = [(0, 0)] * 3
    widths[axis] = (3 * scale, 3 * scale)
    padded = np.pad(image, widths, mode="symmetric")
    size = list(padded.shape[:2])
    size[axis] //= scale
    tensor = torch.from_numpy(padded.astype(np.float64)).permute(2, 0, 1)[None]
    out = torch.nn.functional.interpolate(
        tensor, size=size, mode="bicubic", antialias=True, align_corners=False
    )
    return np.take(out[0].permute(1, 2, 0).numpy(), range(3, size[axis] - 3), axis=axis)


@every_scale
def test_both_forms_are_pytorch_s_antialiased_bicubic_rounded(scale):
    hq = pattern(36)
    rows = line_by_torch(hq, scale, 0)
    once = np.clip(line_by_torch(rows, scale, 1), 0, 255)
    assert np.abs(down(hq, scale, "float") - once).max() <= 0.5 + 1e-9
    rounded = np.clip(np.floor(rows + 0.5 + 1e-9), 0, 255)  # half up, PyTorch's error aside
    twice = np.clip(line_by_torch(rounded, scale, 1), 0, 255)
    assert np.abs(down(hq, scale, "8-bit") - twice).max() <= 0.5 + 1e-9


# --- what it keeps -------------------------------------------------------------------------------


@every_scale
@every_form
@pytest.mark.parametrize("grey", [0, 1, 127, 254, 255])
def test_a_flat_image_stays_flat(scale, between, border, grey):
    lq = down(np.full((5 * scale, 3 * scale, 3), grey, np.uint8), scale, between, border)
    assert lq.shape == (5, 3, 3)
    assert (lq == grey).all()


@every_scale
@every_form
@quick
@given(rows=st.integers(1, 9), columns=st.integers(1, 9), data=st.data())
def test_mirrored_and_recoloured_images_give_the_same_mirrored_and_recoloured(
    scale, between, border, rows, columns, data
):
    hq = data.draw(hnp.arrays(np.uint8, (rows * scale, columns * scale, 3)))
    lq = down(hq, scale, between, border)
    assert np.array_equal(down(hq[::-1, ::-1], scale, between, border), lq[::-1, ::-1])
    assert np.array_equal(down(hq[..., ::-1], scale, between, border), lq[..., ::-1])


@every_scale
def test_float_form_knows_no_first_dimension_and_8_bit_does_rows_first(scale):
    hq = pattern()
    turned = hq.swapaxes(0, 1)
    assert np.array_equal(down(turned, scale, "float").swapaxes(0, 1), down(hq, scale, "float"))
    assert not np.array_equal(down(turned, scale, "8-bit").swapaxes(0, 1), down(hq, scale, "8-bit"))


def test_the_border_matters_only_near_the_border():
    hq = pattern(80)
    mirrored, repeated = down(hq, 4, border="symmetric"), down(hq, 4, border="replicate")
    assert np.array_equal(mirrored[2:-2, 2:-2], repeated[2:-2, 2:-2])
    assert not np.array_equal(mirrored, repeated)


@every_scale
def test_a_side_that_is_no_multiple_is_refused(scale):
    assert bicubic.multiple(bicubic.Config(scale)) == scale
    for shape in ((scale + 1, scale, 3), (scale, 2 * scale - 1, 3)):
        with pytest.raises(BenchError, match=f"expected multiples of {scale}; crop"):
            down(np.zeros(shape, np.uint8), scale)


# --- published LR images -------------------------------------------------------------------------

IMDN = "Zheng222/IMDN/8f158e6a5ac9db6e5857d9159fd4a6c4214da574/Test_Datasets"
SELFEXSR = "jbhuang0604/SelfExSR/8f6dd8c1d20cb7e8792a7177b4f6fd677633f598/data"
published = pytest.mark.skipif(
    "BENCHLIB_TEST_MIRROR" not in os.environ,
    reason="needs BENCHLIB_TEST_MIRROR, a folder as wget -x makes",
)


def mirror(folder: str) -> Path:
    return Path(os.environ["BENCHLIB_TEST_MIRROR"]) / "raw.githubusercontent.com" / folder


def cropped(hq: np.ndarray, scale: int) -> np.ndarray:
    return hq[: hq.shape[0] // scale * scale, : hq.shape[1] // scale * scale]


@published
@every_scale
def test_all_of_imdn_s_set5_lr_comes_out_with_no_pixel_different(scale):
    """At x3, 512 and 280 pixels are cropped to 510 and 279: MATLAB's modcrop, then imresize."""
    files = sorted(mirror(IMDN).glob("Set5/*.bmp"))
    assert [file.stem for file in files] == ["baby", "bird", "butterfly", "head", "woman"]
    for file in files:
        lq = read_image(mirror(IMDN) / f"Set5_LR/x{scale}/{file.stem}x{scale}.bmp")
        hq = cropped(read_image(file), scale)
        assert np.array_equal(down(hq, scale), lq), file.name
        apart = np.abs(down(hq, scale, "float").astype(int) - lq)
        # what the reimplementations' form does to it
        assert 0.09 < apart.mean() < 0.16 and apart.max() <= 2


@published
@pytest.mark.parametrize(
    ("folder", "count"),
    [
        ("Set14/image_SRF_2", 14),
        ("Set14/image_SRF_3", 14),
        ("Set14/image_SRF_4", 14),
        ("BSD100/image_SRF_4", 100),
    ],
)
def test_all_of_selfexsr_s_lr_comes_out_with_no_pixel_different_with_the_border_repeated(
    folder, count
):
    scale = int(folder[-1])
    files = sorted(mirror(SELFEXSR).glob(f"{folder}/*_HR.png"))
    assert len(files) == count
    apart = []
    for file in files:
        hq, lq = read_image(file), read_image(file.with_name(file.name.replace("_HR", "_LR")))
        assert np.array_equal(down(hq, scale, border="replicate"), lq), file.name
        apart.append(np.abs(down(hq, scale).astype(int) - lq)[4:-4, 4:-4].max())
    assert max(apart) == 0  # today's border changes nothing further in
