"""Zero-DCE (Guo et al., CVPR 2020): light curves for each pixel, learnt without reference images.

Parameter names are those of Li-Chongyi/Zero-DCE at e0f4adc (``Zero-DCE_code/model.py``), so its
checkpoint loads strictly. A network starts as its training script starts it: weights of standard
deviation 0.02.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import nn

VERSION = 1


@dataclass(frozen=True)
class Config:
    """width: channels of the features; curves: how often the image is curved, 3 channels each.

    The defaults are the official ones.
    """

    width: Annotated[int, Field(ge=1)] = 32
    curves: Annotated[int, Field(ge=1)] = 8


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, 3, padding=1)
    nn.init.normal_(conv.weight, 0.0, 0.02)
    return conv


class ZeroDCE(nn.Module):
    def __init__(self, config: Config, in_channels: int):
        super().__init__()
        width = config.width
        self.e_conv1 = _conv(in_channels, width)
        self.e_conv2 = _conv(width, width)
        self.e_conv3 = _conv(width, width)
        self.e_conv4 = _conv(width, width)
        self.e_conv5 = _conv(2 * width, width)
        self.e_conv6 = _conv(2 * width, width)
        self.e_conv7 = _conv(2 * width, 3 * config.curves)

    def curves(self, image: torch.Tensor) -> torch.Tensor:
        """The curves' parameters: ``(B,3 curves,H,W)`` in [-1,1]; Zero-DCE's losses read them."""
        first = self.e_conv1(image).relu()
        second = self.e_conv2(first).relu()
        third = self.e_conv3(second).relu()
        x = self.e_conv4(third).relu()
        x = self.e_conv5(torch.cat([third, x], 1)).relu()
        x = self.e_conv6(torch.cat([second, x], 1)).relu()
        return self.e_conv7(torch.cat([first, x], 1)).tanh()

    def brighten(self, image: torch.Tensor, curves: torch.Tensor) -> torch.Tensor:
        """The restored image of what :meth:`curves` gives."""
        return enhance(image[:, :3], curves)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.brighten(image, self.curves(image))


def enhance(image: torch.Tensor, curves: torch.Tensor) -> torch.Tensor:
    """The image ``(B,3,H,W)`` after each curve in turn: ``x + a (x^2 - x)``.

    curves: ``(B,3n,H,W)``, one ``a`` for each pixel, colour and curve. The result is not clipped.
    """
    for curve in curves.split(3, 1):
        image = image + curve * (image.square() - image)
    return image


def build(config: Config, in_channels: int = 3) -> nn.Module:
    """A network from ``(B,in_channels,H,W)`` float32 in [0,1] to ``(B,3,H,W)``, any size.

    The output is not clipped. Further channels are read where the curves are estimated.
    """
    return ZeroDCE(config, in_channels)


def blocks(network: nn.Module) -> list[nn.Module]:
    """The convolutions before the curves, first to last; each gives ``(B,width,H,W)``."""
    return list(network.children())[:-1]
