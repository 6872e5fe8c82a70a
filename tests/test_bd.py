"""Blurred and sampled ("BD"), in both forms, beside scipy's filters."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage import data

from benchlib.contracts import BenchError
from benchlib.degrade import bd

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    return data.coffee()[100:164, 200:296]


def gaussian(taps: int, sigma: float) -> np.ndarray:
    """MATLAB's ``fspecial("gaussian", taps, sigma)``."""
    places = np.arange(taps) - (taps - 1) / 2
    kernel = np.exp(-(places[:, None] ** 2 + places**2) / (2 * sigma**2))
    return kernel / kernel.sum()


@pytest.mark.parametrize(("scale", "sigma", "taps"), [(4, 1.6, 12), (2, 0.8, 8)])
def test_as_the_script_of_basicvsr_does_it(photograph, scale, sigma, taps):
    """``imfilter`` with an even kernel looks one pixel further down and right than up and left."""
    expected = []
    for channel in photograph.transpose(2, 0, 1).astype(float):
        blurred = ndimage.correlate(channel, gaussian(taps, sigma), mode="nearest", origin=-1)
        expected.append(blurred[scale // 2 - 1 :: scale, scale // 2 - 1 :: scale])
    lq = bd.degrade(photograph, bd.Config(scale=scale, sigma=sigma), RNG)
    assert lq.shape == (64 // scale, 96 // scale, 3)
    assert np.abs(lq - np.stack(expected, 2)).max() <= 0.5 + 1e-9


def test_as_duf_does_it(photograph):
    expected = []
    for channel in photograph.transpose(2, 0, 1).astype(float):
        expected.append(ndimage.gaussian_filter(channel, 1.6, mode="mirror", radius=6)[::4, ::4])
    lq = bd.degrade(photograph, bd.Config(form="duf"), RNG)
    assert np.abs(lq - np.stack(expected, 2)).max() <= 0.5 + 1e-9


def test_the_forms_lie_a_pixel_and_a_half_apart():
    """A slope shows where a sample was taken: in its block's middle, or at its first pixel."""
    slope = np.broadcast_to(np.arange(0, 160, 2, dtype=np.uint8)[None, :, None], (80, 80, 3))
    middle = bd.degrade(slope, bd.Config(), RNG)[10, 10, 0]
    first = bd.degrade(slope, bd.Config(form="duf"), RNG)[10, 10, 0]
    assert (middle, first) == (2 * 40 + 3, 2 * 40)


def test_a_side_that_is_no_multiple_is_refused(photograph):
    with pytest.raises(BenchError, match=r"hq: \(63, 96\) pixels; expected multiples of 4"):
        bd.degrade(photograph[1:], bd.Config(), RNG)
