"""AOD-Net (Li et al., ICCV 2017): five convolutions that estimate how haze changes each value.

Its one unknown K stands for transmission and airlight together: ``J = K I - K + 1``, so that what
is white stays white. Parameter names are those of MayankSingal/PyTorch-Image-Dehazing at dc26717
(``net.py``), a third party's network and weights (the authors' are in Caffe); its checkpoint loads
strictly. A network starts as its training script starts it: weights of standard deviation 0.02.
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
    """width: channels of the four inner maps. The default is the published network."""

    width: Annotated[int, Field(ge=1)] = 3


def _conv(inputs: int, outputs: int, side: int) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, side, padding=side // 2)
    nn.init.normal_(conv.weight, 0.0, 0.02)
    return conv


class AODNet(nn.Module):
    def __init__(self, config: Config, in_channels: int):
        super().__init__()
        width = config.width
        self.e_conv1 = _conv(in_channels, width, 1)
        self.e_conv2 = _conv(width, width, 3)
        self.e_conv3 = _conv(2 * width, width, 5)
        self.e_conv4 = _conv(2 * width, width, 7)
        self.e_conv5 = _conv(4 * width, 3, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        first = self.e_conv1(image).relu()
        second = self.e_conv2(first).relu()
        third = self.e_conv3(torch.cat([first, second], 1)).relu()
        fourth = self.e_conv4(torch.cat([second, third], 1)).relu()
        k = self.e_conv5(torch.cat([first, second, third, fourth], 1)).relu()
        return (k * image[:, :3] - k + 1).relu()


def build(config: Config, in_channels: int = 3) -> nn.Module:
    """A network from ``(B,in_channels,H,W)`` float32 in [0,1] to ``(B,3,H,W)``, any size.

    The output is not below 0, and not clipped at 1. Further channels are read by the first
    convolution.
    """
    return AODNet(config, in_channels)


def blocks(network: nn.Module) -> list[nn.Module]:
    """The four convolutions before the estimate, ``(B,width,H,W)`` each."""
    return list(network.children())[:-1]
