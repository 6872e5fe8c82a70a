"""Structural similarity over a Gaussian across height, width *and colour* (11x11x11).

NAFNet's, HINet's and SAM-Deblur's SSIM of colour (``basicsr/metrics/psnr_ssim.py``, ``_ssim_3d``).
Red and blue are repeated outwards, so channels mix: it reads far higher than
:mod:`benchlib.metrics.ssim` on noise. Single precision as there; in double precision the same
formula reads up to 5e-5 lower (:mod:`benchlib.metrics.ssim_3d_separable`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from benchlib.metrics._ssim import RADIUS, similarity, window

if TYPE_CHECKING:
    import torch

VERSION = 1
USES = {"metrics/_ssim.py": 1}
NAME = "SSIM"
SHOWN = "SSIM"
VARIANT = "3-D Gaussian window across colour"
UNIT = ""
FACTOR = 1
LOWER_IS_BETTER = False
DIGITS = 4
RANGE = (-1.0, 1.0)
READS = ("restored", "reference")
ASSETS = ()
COLUMNS = (
    5  # of one colour that come out together: with three colours, a vector of 16 is nearly full
)


def measure(restored: np.ndarray, reference: np.ndarray) -> float:
    """SSIM of ``(H,W,3)`` float64 in [0,255]; all three borders are repeated."""
    import torch

    a, b = torch.from_numpy(restored).float(), torch.from_numpy(reference).float()
    blur = fastest_blur()
    means, squares = (blur(a), blur(b)), (blur(a * a), blur(b * b))
    return float(similarity(*means, *squares, blur(a * b)).mean())


@cache
def fastest_blur() -> Callable[[torch.Tensor], torch.Tensor]:
    """``blur_2d`` where this machine adds as ``blur_3d`` does, which is compared once, else that.

    Both add the products of one pixel in one order: row, column, colour. That rests on how oneDNN
    arranges a convolution on a CPU of this kind, and no one promises it.
    """
    import torch

    values = torch.arange(3 * 47 * 61, dtype=torch.float32).mul(7919).remainder(256)
    image = values.reshape(47, 61, 3)
    for seen in (image, image * image):
        if not torch.equal(blur_2d(seen), blur_3d(seen)):
            return blur_3d
    return blur_2d


def blur_3d(image: torch.Tensor) -> torch.Tensor:
    """``(H,W,3)`` float32 under the 3-D Gaussian, as the official code does it: one channel."""
    from torch.nn.functional import conv3d, pad

    padded = pad(image[None, None], (RADIUS,) * 6, mode="replicate")
    return conv3d(padded, _kernel_3d()[None, None])[0, 0]


def blur_2d(image: torch.Tensor) -> torch.Tensor:
    """The same sums nine times as fast: thirteen colours in, three times five columns out."""
    from torch.nn.functional import conv2d, pad

    height, width, _ = image.shape
    beyond = -width % COLUMNS
    colours = image.permute(2, 0, 1)[None]
    colours = pad(colours, (RADIUS, RADIUS + beyond, RADIUS, RADIUS), mode="replicate")
    repeated = [0] * RADIUS + [0, 1, 2] + [2] * RADIUS
    out = conv2d(colours[:, repeated], _kernel_2d(), stride=(1, COLUMNS))
    out = out.reshape(3, COLUMNS, height, -1).permute(2, 3, 1, 0)
    return out.reshape(height, width + beyond, 3)[:, :width].contiguous()


@cache
def _kernel_3d() -> torch.Tensor:
    """``(11,11,11)`` float32: row, column, colour."""
    import torch

    g = window()
    return torch.from_numpy(g[:, None, None] * g[None, :, None] * g[None, None, :]).float()


@cache
def _kernel_2d() -> torch.Tensor:
    """``(15,13,11,15)``: the same weights for each colour and column, among zeros."""
    import torch

    size = 2 * RADIUS + 1
    kernel = torch.zeros(3, COLUMNS, size + 2, size, size + COLUMNS - 1)
    weights = _kernel_3d().permute(2, 0, 1)
    for colour in range(3):
        for column in range(COLUMNS):
            kernel[colour, column, colour : colour + size, :, column : column + size] = weights
    return kernel.reshape(3 * COLUMNS, size + 2, size, size + COLUMNS - 1)
