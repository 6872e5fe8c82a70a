"""U-Net (Ronneberger et al., MICCAI 2015): the plain one, for restoring.

Read of its paper: at each level two 3x3 convolutions with ReLU, halved by the maximum of 2x2,
doubled by a transposed convolution of 2x2, the level's own map beside, 64 channels at full size and
twice as many a level, four levels down. Chosen here, since it restores: convolutions are padded, so
that the image keeps its size; the last one gives three colours, which are added to the image
(``residual``). There are no official weights to restore by; parameters are named here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, cast

import torch
from pydantic import Field
from torch import nn
from torch.nn.functional import max_pool2d

from benchlib.backbones._sizes import mirror_to

VERSION = 1
USES = {"backbones/_sizes.py": 1}


@dataclass(frozen=True)
class Config:
    """width: channels at full size. levels: how often the image is halved. residual: what is
    restored is added to the image. The defaults are the paper's.
    """

    width: Annotated[int, Field(ge=1)] = 64
    levels: Annotated[int, Field(ge=1, le=8)] = 4
    residual: bool = True


def _double(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.ReLU(),
    )


class UNet(nn.Module):
    def __init__(self, config: Config, in_channels: int):
        super().__init__()
        self.residual = config.residual
        widths = [config.width * 2**level for level in range(config.levels + 1)]
        self.down = nn.ModuleList()
        self.grow = nn.ModuleList()
        self.up = nn.ModuleList()
        inputs = in_channels
        for width in widths[:-1]:
            self.down.append(_double(inputs, width))
            inputs = width
        self.lowest = _double(inputs, widths[-1])
        for width in reversed(widths[:-1]):
            self.grow.append(nn.ConvTranspose2d(2 * width, width, 2, 2))
            self.up.append(_double(2 * width, width))
        self.last = nn.Conv2d(config.width, 3, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        height, width = image.shape[-2:]
        x = mirror_to(image, 2 ** len(self.down))
        colours, kept = x[:, :3], []
        for step in self.down:
            x = step(x)
            kept.append(x)
            x = max_pool2d(x, 2)
        x = self.lowest(x)
        for grow, step in zip(self.grow, self.up, strict=True):
            x = step(torch.cat([kept.pop(), grow(x)], 1))
        x = self.last(x)
        if self.residual:
            x = x + colours
        return x[..., :height, :width]


def build(config: Config, in_channels: int = 3) -> nn.Module:
    """A network from ``(B,in_channels,H,W)`` float32 in [0,1] to ``(B,3,H,W)``, any size.

    The output is not clipped.
    """
    return UNet(config, in_channels)


def blocks(network: nn.Module) -> list[nn.Module]:
    """The pairs of convolutions on the way down, the lowest, and those on the way up."""
    unet = cast(UNet, network)
    return [*unet.down, unet.lowest, *unet.up]
