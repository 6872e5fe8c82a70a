"""The losses of URetinex-Net's three stages, as far as its authors published them.

URetinex-Net's repository (AndersonYong/URetinex-Net at 7ee2196) has no training. That of its
successor has (AndersonYong/URetinex-Net-PLUS at 94926c2: ``model.py``, ``loss/``), for the same
parts, but another last one: the successor fuses the reflectances of all rounds. What stands here
is the successor's, with the weights of its scripts; ``docs/backbones.md`` says where that was a
choice.

Images and reflectances are ``(B,3,H,W)``, illuminations ``(B,1,H,W)``, float32, in [0,1] or near
it; each loss is a number, to be minimised.
A method that uses this file states it: ``USES = {"methods/_uretinex_losses.py": 1}``.
"""

from __future__ import annotations

import torch
from torch.nn.functional import avg_pool2d, conv2d, l1_loss, mse_loss

from benchlib.methods._features import uretinex_apart
from benchlib.methods._unsupervised import spatial_consistency

VERSION = 1
USES = {"methods/_features.py": 1, "methods/_unsupervised.py": 1}

GAMMA, LAMBDA, MORE = 0.1, 0.5, 0.05  # as the backbone has them: of the penalties, more a round
GREY = (0.2989, 0.5870, 0.1140)
WINDOW, SIGMA = 11, 1.5  # pixels: of SSIM
Parts = tuple[torch.Tensor, torch.Tensor]  # reflectance, illumination
Rounds = list[tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]]  # P, Q, R, L


# --- first stage ---------------------------------------------------------------------------------


def dark_decomposition_loss(image: torch.Tensor, parts: Parts) -> torch.Tensor:
    """Of the decomposition of dark images: their product is the image, the light its maximum."""
    reflectance, light = parts
    brightest = image.amax(1, keepdim=True)
    return l1_loss(reflectance * light, image) + 0.1 * mse_loss(light, brightest)


def bright_decomposition_loss(image: torch.Tensor, parts: Parts) -> torch.Tensor:
    """Of that of well lit photographs: the light is their maximum to the power 1/2.2, and smooth.

    It may change where the photograph does.
    """
    reflectance, light = parts
    brightest = image.amax(1, keepdim=True) ** (1 / 2.2)
    product = l1_loss(reflectance * light, image)
    return product + 0.1 * mse_loss(light, brightest) + 0.1 * _smooth_beside(light, image)


def _smooth_beside(light: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """Steps of the light, each weighed down by those of the image around it."""
    weights = image.new_tensor(GREY)[:, None, None]
    grey = (image * weights).sum(1, keepdim=True)
    total = light.new_zeros(())
    for side in (2, 3):
        around = avg_pool2d(grey.diff(dim=side).abs(), 3, 1, 1)
        total = total + (light.diff(dim=side).abs() * (-10 * around).exp()).mean()
    return total


# --- second stage --------------------------------------------------------------------------------


def unfolding_terms(rounds: Rounds, target: torch.Tensor, features: str) -> dict[str, torch.Tensor]:
    """The terms, weighted, by name: their sum is the loss.

    rounds: P, Q, R and L of each. target: the reflectance of the well lit photograph. features:
    VGG16's weights ("vgg16", "random"), or "none": that term is left out.
    """
    p_apart = q_apart = target.new_zeros(())
    for turn, (p, q, r, light) in enumerate(rounds):
        p_apart = p_apart + (GAMMA + MORE * turn) * mse_loss(p, r)
        q_apart = q_apart + (LAMBDA + MORE * turn) * mse_loss(q, light)
    _, _, r, light = rounds[-1]
    found = {
        "p": p_apart,
        "q": q_apart,
        "l2": mse_loss(r, target),
        "tv": 20 * variation(light),
        "ssim": 1 - ssim(r, target),
    }
    if features != "none":
        found["features"] = uretinex_apart(r, target, features)
    return found


def variation(light: torch.Tensor) -> torch.Tensor:
    """Mean squared step down, and to the right, of illuminations."""
    return light.diff(dim=2).square().mean() + light.diff(dim=3).square().mean()


def ssim(image: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Mean structural similarity for a range of 1; beyond the border lies 0, as there."""
    channels = image.shape[1]
    place = torch.arange(WINDOW, dtype=image.dtype, device=image.device) - WINDOW // 2
    line = (-(place**2) / (2 * SIGMA**2)).exp()
    line = line / line.sum()
    window = torch.outer(line, line).expand(channels, 1, WINDOW, WINDOW).contiguous()

    def blurred(values: torch.Tensor) -> torch.Tensor:
        return conv2d(values, window, padding=WINDOW // 2, groups=channels)

    mean, mean_of_other = blurred(image), blurred(other)
    variance = blurred(image * image) - mean**2
    variance_of_other = blurred(other * other) - mean_of_other**2
    shared = blurred(image * other) - mean * mean_of_other
    above = (2 * mean * mean_of_other + 0.01**2) * (2 * shared + 0.03**2)
    below = (mean**2 + mean_of_other**2 + 0.01**2) * (variance + variance_of_other + 0.03**2)
    return (above / below).mean()


# --- third stage ---------------------------------------------------------------------------------


def light_ratio(light: torch.Tensor, of_reference: torch.Tensor) -> torch.Tensor:
    """How much brighter each reference is in training, ``(B,)``, 1 or more.

    The official evaluation takes it otherwise (``backbones/uretinex.py``, ``reference_ratio``).
    """
    return (of_reference / (light + 0.0001)).mean((1, 2, 3)).clamp(min=1)


def adjustment_terms(
    restored: torch.Tensor, reference: torch.Tensor, light: torch.Tensor, brighter: torch.Tensor
) -> dict[str, torch.Tensor]:
    """The terms, weighted, by name: their sum is the loss.

    light, brighter: the illumination, before and after it is adjusted. Its steps should stay.
    """
    steps = light.new_zeros(())
    for side in (2, 3):
        steps = steps + l1_loss(light.diff(dim=side).abs(), brighter.diff(dim=side).abs())
    return {
        "l2": mse_loss(restored, reference),
        "steps": steps,
        "spatial": 10 * spatial_consistency(reference, restored),
    }
