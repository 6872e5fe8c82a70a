"""Losses that are chosen by name; a method's own ``objective`` may build on the one that is."""

from __future__ import annotations

import math

import torch

VERSION = 1


def psnr_loss(restored: torch.Tensor, hq: torch.Tensor) -> torch.Tensor:
    """Minus the mean PSNR of a batch in [0,1] images, dB.

    With NAFNet's 1e-8 under the logarithm (its ``PSNRLoss``).
    """
    error = (restored.float() - hq).square()
    error = error.flatten(0, -4).mean((1, 2, 3))  # of clips, each frame is an image
    return 10 / math.log(10) * torch.log(error + 1e-8).mean()


def l1_loss(restored: torch.Tensor, hq: torch.Tensor) -> torch.Tensor:
    """The mean absolute difference of a batch in [0,1]: what IMDN, SwinIR, ART and CAT train
    with.
    """
    return (restored.float() - hq).abs().mean()


def charbonnier_loss(restored: torch.Tensor, hq: torch.Tensor) -> torch.Tensor:
    """The mean of the root of squared difference plus 1e-12, in [0,1]: EDVR's and BasicVSR's.

    BasicSR sums for EDVR, which Adam does not see.
    """
    return ((restored.float() - hq).square() + 1e-12).sqrt().mean()


LOSSES = {"psnr": psnr_loss, "l1": l1_loss, "charbonnier": charbonnier_loss}
