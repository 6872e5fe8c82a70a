"""GCANet (Chen et al., WACV 2019): smoothed dilated convolutions and a gate, for haze and rain.

Parameter names are those of cddlyf/GCANet at 23846ff (``GCANet.py``), so its checkpoints load
strictly. As its ``test.py`` does, the network is given levels from 0 to 255 less 128 and, beside
the colours, how much neighbouring pixels differ (``edges``); what it gives is a residual to be
added to the levels (haze), or the levels themselves (rain: ``residual: false``).

It normalises over the image: one that is restored in tiles is another image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import nn
from torch.nn.functional import conv2d

from benchlib.backbones._sizes import mirror_to

VERSION = 1
USES = {"backbones/_sizes.py": 1}
MIDDLE = 128  # taken off levels before the network
DILATIONS = (2, 2, 2, 4, 4, 4)


@dataclass(frozen=True)
class Config:
    """width: channels. residual: what is restored is added to the image. The defaults are those of
    haze; those of rain are ``residual: false``.
    """

    width: Annotated[int, Field(ge=1)] = 64
    residual: bool = True


def edges(levels: torch.Tensor) -> torch.Tensor:
    """``(B,3,H,W)`` -> ``(B,1,H,W)``: the mean over colours of a pixel's differences to its four
    neighbours; at the border of those that are there, divided by four as well.
    """
    across = (levels[..., 1:] - levels[..., :-1]).abs()
    down = (levels[..., 1:, :] - levels[..., :-1, :]).abs()
    found = torch.zeros_like(levels)
    found[..., 1:] += across
    found[..., :-1] += across
    found[..., 1:, :] += down
    found[..., :-1, :] += down
    return found.sum(1, keepdim=True) / 3 / 4


class Smoothing(nn.Module):
    """One small kernel for all channels, at first that which changes nothing.

    It mixes what the dilated convolution after it would otherwise read from separate grids.
    """

    def __init__(self, side: int):
        super().__init__()
        weight = torch.zeros(1, 1, side, side)
        weight[0, 0, side // 2, side // 2] = 1
        self.weight = nn.Parameter(weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        channels, side = x.shape[1], self.weight.shape[-1]
        kernel = self.weight.expand(channels, -1, -1, -1)
        return conv2d(x, kernel, padding=side // 2, groups=channels)


def _dilated(width: int, dilation: int) -> nn.Conv2d:
    return nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, bias=False)


class Residual(nn.Module):
    """Two convolutions and their input; dilated ones have a smoothing before them."""

    def __init__(self, width: int, dilation: int):
        super().__init__()
        self.pre_conv1: nn.Module = nn.Identity()
        self.pre_conv2: nn.Module = nn.Identity()
        if dilation > 1:
            self.pre_conv1 = Smoothing(2 * dilation - 1)
            self.pre_conv2 = Smoothing(2 * dilation - 1)
        self.conv1 = _dilated(width, dilation)
        self.norm1 = nn.InstanceNorm2d(width, affine=True)
        self.conv2 = _dilated(width, dilation)
        self.norm2 = nn.InstanceNorm2d(width, affine=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm1(self.conv1(self.pre_conv1(x))).relu()
        return (x + self.norm2(self.conv2(self.pre_conv2(y)))).relu()


class GCANet(nn.Module):
    def __init__(self, config: Config, in_channels: int):
        super().__init__()
        width = config.width
        self.residual = config.residual
        self.conv1 = nn.Conv2d(in_channels + 1, width, 3, padding=1, bias=False)
        self.norm1 = nn.InstanceNorm2d(width, affine=True)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.InstanceNorm2d(width, affine=True)
        self.conv3 = nn.Conv2d(width, width, 3, 2, 1, bias=False)
        self.norm3 = nn.InstanceNorm2d(width, affine=True)
        for i, dilation in enumerate(DILATIONS, 1):
            self.add_module(f"res{i}", Residual(width, dilation))
        self.res7 = Residual(width, 1)
        self.gate = nn.Conv2d(3 * width, 3, 3, padding=1)
        self.deconv3 = nn.ConvTranspose2d(width, width, 4, 2, 1)
        self.norm4 = nn.InstanceNorm2d(width, affine=True)
        self.deconv2 = nn.Conv2d(width, width, 3, padding=1)
        self.norm5 = nn.InstanceNorm2d(width, affine=True)
        self.deconv1 = nn.Conv2d(width, 3, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        height, width = image.shape[-2:]
        levels = 255 * mirror_to(image, 2)
        colours, further = levels[:, :3], levels[:, 3:]
        seen = torch.cat([colours, edges(colours), further], 1)
        found = self.estimate(seen - MIDDLE)
        found = found + colours if self.residual else found.relu()
        return found[..., :height, :width] / 255

    def estimate(self, x: torch.Tensor) -> torch.Tensor:
        """The official network, of ``(B,4,H,W)`` about 0: ``(B,3,H,W)`` in levels."""
        x = self.norm1(self.conv1(x)).relu()
        x = self.norm2(self.conv2(x)).relu()
        first = self.norm3(self.conv3(x)).relu()
        x = first
        kept = [first]
        for i, block in enumerate(blocks(self), 1):
            x = block(x)
            if i in (4, 7):
                kept.append(x)
        gates = self.gate(torch.cat(kept, 1)).split(1, 1)
        x = kept[0] * gates[0] + kept[1] * gates[1] + kept[2] * gates[2]
        x = self.norm4(self.deconv3(x)).relu()
        x = self.norm5(self.deconv2(x)).relu()
        return self.deconv1(x)


def build(config: Config, in_channels: int = 3) -> nn.Module:
    """A network from ``(B,in_channels,H,W)`` float32 in [0,1] to ``(B,3,H,W)``, any size.

    The output is not clipped. An odd side is mirrored by one pixel, which the official code cannot
    take. Further channels are read beside the edges, on the colours' scale.
    """
    return GCANet(config, in_channels)


def blocks(network: nn.Module) -> list[nn.Module]:
    """The seven residual blocks, ``(B,width,H/2,W/2)`` each."""
    return [network.get_submodule(f"res{i}") for i in range(1, len(DILATIONS) + 2)]
