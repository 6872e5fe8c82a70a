"""What EnlightenGAN judges images by: discriminators without normalisation.

VITA-Group/EnlightenGAN at b034984, ``NoNormDiscriminator`` of ``models/networks.py``. Parameter
names are the official ones.

A method that uses this file states it: ``USES = {"methods/_discriminators.py": 1}``.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.func import functional_call

VERSION = 1

KERNEL, PADDING = 4, 2
WIDEST = 8  # times the first layer's channels


class Discriminator(nn.Module):
    """Scores ``(B,1,h,w)`` of images ``(B,3,H,W)`` in [-1,1]: one for each region, not bounded.

    width: channels of the first layer. layers: how often the sides are halved.
    """

    def __init__(self, width: int, layers: int):
        super().__init__()
        parts: list[nn.Module] = []
        inputs = 3
        for level in range(layers + 1):
            outputs = width * min(2**level, WIDEST)
            stride = 1 + int(level < layers)
            parts += [_conv(inputs, outputs, stride), nn.LeakyReLU(0.2)]
            inputs = outputs
        self.model = nn.Sequential(*parts, _conv(inputs, 1, 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.model(image)


def _conv(inputs: int, outputs: int, stride: int) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, KERNEL, stride, PADDING)
    nn.init.normal_(conv.weight, 0.0, 0.02)
    return conv


def judged(critic: nn.Module, image: torch.Tensor) -> torch.Tensor:
    """The same scores; their gradient reaches the image and not the critic's weights."""
    weights = {name: value.detach() for name, value in critic.named_parameters()}
    return functional_call(critic, weights, (image,))
