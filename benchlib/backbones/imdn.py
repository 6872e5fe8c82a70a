"""IMDN (Hui et al., ACM MM 2019): light super-resolution by information multi-distillation.

Parameter names are those of Zheng222/IMDN (``model/architecture.py``, ``model/block.py``), so its
checkpoints load strictly; they were saved from ``DataParallel``, so in the files a ``module.``
stands before each name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn

VERSION = 1


@dataclass(frozen=True)
class Config:
    """scale: enlargement; width: channels of the features; modules: building blocks.

    The defaults are IMDN x4.
    """

    scale: Literal[2, 3, 4] = 4
    width: Annotated[int, Field(ge=16, multiple_of=4)] = 64
    modules: Annotated[int, Field(ge=1)] = 6


def _conv(inputs: int, outputs: int, kernel: int = 3) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)


class ContrastAttention(nn.Module):
    """Weigh each channel of ``(B,C,H,W)`` by its standard deviation plus its mean.

    The paper's CCA layer.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv_du = nn.Sequential(
            _conv(channels, channels // 16, 1),
            nn.ReLU(inplace=True),
            _conv(channels // 16, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = x.mean((2, 3), keepdim=True)
        variance = (x - mean).square().mean((2, 3), keepdim=True)  # over all pixels, not one less
        # the least matters for a flat channel only: there the root's slope is infinite and its
        # gradient not a number
        return x * self.conv_du(variance.clamp_min(1e-20).sqrt() + mean)


class Distillation(nn.Module):
    """One building block (the paper's IMDB), ``(B,C,H,W)`` to the same.

    Three times a quarter of the channels is kept and the rest refined further.
    """

    def __init__(self, width: int):
        super().__init__()
        kept = width // 4
        self.parts = [kept, width - kept]
        self.c1 = _conv(width, width)
        self.c2 = _conv(width - kept, width)
        self.c3 = _conv(width - kept, width)
        self.c4 = _conv(width - kept, kept)
        self.act = nn.LeakyReLU(0.05, inplace=True)
        self.c5 = _conv(width, width, 1)
        self.cca = ContrastAttention(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, rest = self.act(self.c1(x)).split(self.parts, 1)
        second, rest = self.act(self.c2(rest)).split(self.parts, 1)
        third, rest = self.act(self.c3(rest)).split(self.parts, 1)
        return self.c5(self.cca(torch.cat([first, second, third, self.c4(rest)], 1))) + x


class IMDN(nn.Module):
    def __init__(self, config: Config, in_channels: int):
        super().__init__()
        width = config.width
        self.fea_conv = _conv(in_channels, width)
        self.names = [f"IMDB{i}" for i in range(1, config.modules + 1)]
        for name in self.names:
            self.add_module(name, Distillation(width))
        self.c = nn.Sequential(
            _conv(width * config.modules, width, 1), nn.LeakyReLU(0.05, inplace=True)
        )
        self.LR_conv = _conv(width, width)
        self.upsampler = nn.Sequential(
            _conv(width, 3 * config.scale**2), nn.PixelShuffle(config.scale)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        start = x = self.fea_conv(x)
        features = []
        for name in self.names:
            x = self.get_submodule(name)(x)
            features.append(x)
        return self.upsampler(self.LR_conv(self.c(torch.cat(features, 1))) + start)


def build(config: Config, in_channels: int = 3) -> nn.Module:
    """A network from ``(B,in_channels,H,W)`` float32 in [0,1] to ``(B,3,H*scale,W*scale)``.

    The output is not clipped. Any size.
    """
    return IMDN(config, in_channels)


def blocks(network: nn.Module) -> list[nn.Module]:
    """The building blocks, first to last; each maps ``(B,width,H,W)`` to the same."""
    return [child for child in network.children() if isinstance(child, Distillation)]


def scale(config: Config) -> int:
    """How many times higher and wider the output is."""
    return config.scale
