"""Losses of networks that brighten images without references, as their official code has them.

Zero-DCE: Li-Chongyi/Zero-DCE at e0f4adc (``Myloss.py``, ``lowlight_train.py``). SCI:
vis-opt-group/SCI at 9d28a3f (``loss.py``). RUAS: KarelZhang/RUAS at f621bb1 (``model.py``).
EnlightenGAN: VITA-Group/EnlightenGAN at b034984 (``models/single_model.py``).
What looks like a slip there is kept, and said where it stands: published weights come from it.

Images are ``(B,3,H,W)`` float32 in [0,1]; each loss is a number, to be minimised.
A method that uses this file states it: ``USES = {"methods/_unsupervised.py": 1}``.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch.nn.functional import avg_pool2d, mse_loss, pad

VERSION = 1

Colours = Literal["reshaped", "pixels"]

# rows are R, G, B; columns Y, Cb, Cr
YCBCR = ((0.257, -0.148, 0.439), (0.564, -0.291, -0.368), (0.098, 0.439, -0.071))
YCBCR_OFFSET = (16 / 255, 128 / 255, 128 / 255)
EXPOSED = 16  # pixels: the side of a region whose exposure Zero-DCE measures
# half of the 24 neighbours of a pixel, as (rows, columns); the other half are the same pairs again
NEIGHBOURS = (
    (1, 0),
    (0, 1),
    (1, 1),
    (1, -1),
    (2, 0),
    (0, 2),
    (2, 1),
    (2, -1),
    (1, 2),
    (1, -2),
    (2, 2),
    (2, -2),
)


# --- Zero-DCE ------------------------------------------------------------------------------------


def zerodce_terms(
    image: torch.Tensor, enhanced: torch.Tensor, curves: torch.Tensor
) -> dict[str, torch.Tensor]:
    """The four terms of Zero-DCE's loss, weighted, by name: their sum is the loss.

    image, enhanced: ``(B,3,H,W)``, at least 16 pixels high and wide; curves: ``(B,3n,H,W)``.
    """
    return {
        "tv": 200 * curve_smoothness(curves),
        "spa": spatial_consistency(image, enhanced),
        "color": 5 * colour_constancy(enhanced),
        "exposure": 10 * exposure(enhanced),
    }


def zerodce_loss(image: torch.Tensor, enhanced: torch.Tensor, curves: torch.Tensor) -> torch.Tensor:
    """Zero-DCE's loss of images, what it makes of them, and the curves that it applies."""
    return torch.stack(list(zerodce_terms(image, enhanced, curves).values())).sum()


def curve_smoothness(curves: torch.Tensor) -> torch.Tensor:
    """Squared differences of neighbours: summed over channels, divided by one channel's count.

    So its weight grows with the number of curves.
    """
    batch, _, height, width = curves.shape
    down = curves.diff(dim=2).square().sum() / ((height - 1) * width)
    right = curves.diff(dim=3).square().sum() / (height * (width - 1))
    return 2 * (down + right) / batch


def spatial_consistency(image: torch.Tensor, enhanced: torch.Tensor) -> torch.Tensor:
    """How much the differences of neighbouring 4x4 regions change; beyond the border lies 0."""
    change = avg_pool2d(enhanced.mean(1, keepdim=True) - image.mean(1, keepdim=True), 4)
    around = pad(change, (1, 1, 1, 1))
    left = change - around[..., 1:-1, :-2]
    right = change - around[..., 1:-1, 2:]
    up = change - around[..., :-2, 1:-1]
    down = change - around[..., 2:, 1:-1]
    return (left.square() + right.square() + up.square() + down.square()).mean()


def colour_constancy(enhanced: torch.Tensor) -> torch.Tensor:
    """How far the colours' means are apart: the root of *fourth* powers, mean over images.

    Its gradient is not a number where the three means are equal, as there.
    """
    red, green, blue = enhanced.mean((2, 3)).unbind(1)
    fourth = (red - green) ** 4 + (red - blue) ** 4 + (blue - green) ** 4
    return fourth.sqrt().mean()


def exposure(enhanced: torch.Tensor, level: float = 0.6, region: int = EXPOSED) -> torch.Tensor:
    """Squared distance of each region's mean brightness from ``level``."""
    return (avg_pool2d(enhanced.mean(1, keepdim=True), region) - level).square().mean()


# --- SCI and RUAS --------------------------------------------------------------------------------


def sci_loss(
    stage_input: torch.Tensor, illumination: torch.Tensor, colours: Colours = "reshaped"
) -> torch.Tensor:
    """SCI's loss of one stage; a network's is the sum over its stages.

    colours: of the image, by which it is told where it is smooth.
    """
    fidelity = mse_loss(illumination, stage_input)
    return 1.5 * fidelity + sci_smoothness(stage_input, illumination, colours)


def sci_smoothness(
    image: torch.Tensor, illumination: torch.Tensor, colours: Colours = "reshaped"
) -> torch.Tensor:
    """Differences of the illumination between neighbours, less where the image differs too.

    Those of a pixel's three colours are added. colours: "reshaped", as coded, or YCbCr of the
    "pixels", as meant.
    """
    guide, total = _as_ycbcr(image), illumination.new_zeros(())
    if colours == "pixels":
        guide = ycbcr(image)
    for rows, columns in NEIGHBOURS:
        weight = _alikeness(guide, rows, columns, -1 / (2 * 10 * 10))
        step = _difference(illumination, rows, columns).abs().sum(1, keepdim=True)
        total = total + 2 * (weight * step).mean()
    return total


def ruas_loss(image: torch.Tensor, illumination: torch.Tensor) -> torch.Tensor:
    """RUAS's loss of the last illumination, for the network that brightens."""
    return 0.5 * mse_loss(illumination, image) + ruas_smoothness(image, illumination)


def ruas_smoothness(image: torch.Tensor, illumination: torch.Tensor) -> torch.Tensor:
    """As :func:`sci_smoothness`, with two slips of the official code.

    Its sigma of 0.1 enters as -0.005, where -50 is meant; and the mean of the weights multiplies
    the mean of the differences, so that no weight meets its pixel.
    """
    guide, total = _as_ycbcr(image), illumination.new_zeros(())
    for rows, columns in NEIGHBOURS:
        weight = _alikeness(guide, rows, columns, -0.1 * 0.1 / 2)
        step = _difference(illumination, rows, columns).abs()
        total = total + 2 * weight.mean() * step.mean()
    return total


def ruas_denoise_loss(denoised: torch.Tensor, brighter: torch.Tensor) -> torch.Tensor:
    """RUAS's loss of the denoiser, which is total variation: the likeness counts 1e-7."""
    variation = denoised.diff(dim=2).square().mean() + denoised.diff(dim=3).square().mean()
    # the official code divides its sums by one image's count, and by the number of images
    return 1e-7 * mse_loss(denoised, brighter) + 2 * variation


def ycbcr(image: torch.Tensor) -> torch.Tensor:
    """YCbCr of each pixel of ``(B,3,H,W)``, by their matrix: its 0.564 is 0.504 in BT.601."""
    return _converted(image.movedim(1, -1)).movedim(-1, 1)


def _as_ycbcr(image: torch.Tensor) -> torch.Tensor:
    """Not YCbCr, though meant to be: three neighbouring *numbers* are read as one pixel's colours.

    The official codes reshape ``(B,3,H,W)`` to ``(-1,3)`` without moving the channels last.
    """
    return _converted(image.reshape(-1, 3)).reshape(image.shape)


def _converted(colours: torch.Tensor) -> torch.Tensor:
    """``(...,3)`` R, G, B -> the same of Y, Cb, Cr."""
    matrix = torch.tensor(YCBCR, dtype=colours.dtype, device=colours.device)
    offset = torch.tensor(YCBCR_OFFSET, dtype=colours.dtype, device=colours.device)
    return colours @ matrix + offset


def _difference(image: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Each pixel's neighbour, so many rows below and columns to the right, less the pixel."""
    height, width = image.shape[-2:]
    left, right = max(0, -columns), width - max(0, columns)
    here = image[..., : height - rows, left:right]
    return image[..., rows:, left + columns : right + columns] - here


def _alikeness(guide: torch.Tensor, rows: int, columns: int, factor: float) -> torch.Tensor:
    squared = _difference(guide, rows, columns).square().sum(1, keepdim=True)
    return (squared * factor).exp()


# --- EnlightenGAN --------------------------------------------------------------------------------


def lsgan_loss(scores: torch.Tensor, real: bool) -> torch.Tensor:
    """Least squares: how far a discriminator's scores are from 1 (``real``) or from 0."""
    return (scores - float(real)).square().mean()


def ragan_generator_loss(of_real: torch.Tensor, of_fake: torch.Tensor) -> torch.Tensor:
    """The relativistic loss that EnlightenGAN's generator minimises on whole images.

    of_real, of_fake: the discriminator's scores of bright photographs and of brightened ones.
    """
    real = lsgan_loss(of_real - of_fake.mean(), real=False)
    return (real + lsgan_loss(of_fake - of_real.mean(), real=True)) / 2


def ragan_discriminator_loss(of_real: torch.Tensor, of_fake: torch.Tensor) -> torch.Tensor:
    """The relativistic loss that its discriminator of whole images minimises."""
    real = lsgan_loss(of_real - of_fake.mean(), real=True)
    return (real + lsgan_loss(of_fake - of_real.mean(), real=False)) / 2
