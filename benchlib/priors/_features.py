"""What providers of feature vectors share: an image as a network's input, and random weights.

A network with random weights is the control of a provider: the same shape, the same length, nothing
learnt. Its convolutions and linear layers are drawn as He et al. (2015) propose, so that values
neither die out nor grow from layer to layer; batch normalisation gets the mean and variance that
its layer has on drawn pictures (with 0 and 1 in their place, deep networks give nearly the same
vector for every image). The pictures are noise of several scales, and no photograph is among them.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import nn

VERSION = 1
IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of RGB in [0,1], as torchvision's classifiers have it
IMAGENET_STD = (0.229, 0.224, 0.225)
PICTURES = 16  # on which batch normalisation is set
PACKAGES = ("torch", "pillow", "numpy")


def network_input(
    image: np.ndarray, side: int, mean: tuple[float, ...], std: tuple[float, ...]
) -> torch.Tensor:
    """``(1,3,side,side)`` float32, normalised, of an ``(H,W,3)`` uint8 RGB image.

    mean, std: of values in [0,1]. The whole image is resized (bicubic, antialiased) to a square, so
    that every part of it counts; its proportions are not kept.
    """
    import torch
    from PIL import Image

    small = Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)
    values = np.asarray(small, np.float32) / 255
    normal = (values - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
    return torch.from_numpy(normal).permute(2, 0, 1)[None]


def randomise(network: nn.Module, seed: int, inputs: torch.Tensor | None) -> nn.Module:
    """Draw the weights of a network's convolutions and linear layers; evaluation mode after.

    inputs: ``(B,3,h,w)``, on which batch normalisation is set; None for a network without. What is
    neither (positions, tokens) stays as the network has it. The same seed gives the same
    weights; torch's own generators stay as they were.
    """
    import torch
    from torch import nn

    generator = torch.Generator().manual_seed(seed)
    norms = []
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()
            norms.append((layer, layer.momentum))
            layer.momentum = None  # the plain mean over all batches: one
    if norms and inputs is not None:
        network.train()
        with torch.no_grad():
            network(inputs)
    for layer, momentum in norms:
        layer.momentum = momentum
    return network.eval()


def pictures(side: int, seed: int) -> torch.Tensor:
    """``(16,3,side,side)`` of noise: blotches from half the picture down to pixels.

    Each scale has the same share; the variance is near 1.
    """
    import torch
    from torch.nn.functional import interpolate

    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(PICTURES, 3, side, side)
    scales, grid = 0, 2
    while grid <= side:
        drawn = torch.randn(PICTURES, 3, grid, grid, generator=generator)
        total += interpolate(drawn, (side, side), mode="bilinear", align_corners=False)
        scales, grid = scales + 1, 2 * grid
    return total / scales**0.5


def packages(*more: str) -> dict[str, Any]:
    """The versions of the packages that a vector depends on."""
    return {name: version(name) for name in (*PACKAGES, *more)}
