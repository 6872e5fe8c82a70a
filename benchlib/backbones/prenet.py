"""PReNet (Ren et al., CVPR 2019): one small network that takes rain off in six turns.

Parameter names are those of csdwren/PReNet at 6d908d1 (``networks.py``, ``PReNet``), so its
checkpoints (``logs/*/PReNet6``) load strictly.
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
    """turns: how often the network is applied; width: channels. The defaults are PReNet6."""

    turns: Annotated[int, Field(ge=1)] = 6
    width: Annotated[int, Field(ge=1)] = 32


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def _residual(width: int) -> nn.Sequential:
    return nn.Sequential(_conv(width, width), nn.ReLU(), _conv(width, width), nn.ReLU())


class PReNet(nn.Module):
    def __init__(self, config: Config, in_channels: int):
        super().__init__()
        width = config.width
        self.width, self.turns = config.width, config.turns
        self.conv0 = nn.Sequential(_conv(in_channels + 3, width), nn.ReLU())
        self.res_conv1 = _residual(width)
        self.res_conv2 = _residual(width)
        self.res_conv3 = _residual(width)
        self.res_conv4 = _residual(width)
        self.res_conv5 = _residual(width)
        self.conv_i = nn.Sequential(_conv(2 * width, width), nn.Sigmoid())
        self.conv_f = nn.Sequential(_conv(2 * width, width), nn.Sigmoid())
        self.conv_g = nn.Sequential(_conv(2 * width, width), nn.Tanh())
        self.conv_o = nn.Sequential(_conv(2 * width, width), nn.Sigmoid())
        self.conv = nn.Sequential(_conv(width, 3))

    def steps(self, image: torch.Tensor) -> list[torch.Tensor]:
        """The image ``(B,3,H,W)`` after each turn; the last is the restored one."""
        lq, found = image[:, :3], []
        restored = lq
        hidden = cell = lq.new_zeros(len(lq), self.width, *lq.shape[-2:])
        for _ in range(self.turns):
            x = self.conv0(torch.cat([image, restored], 1))
            x = torch.cat([x, hidden], 1)
            cell = self.conv_f(x) * cell + self.conv_i(x) * self.conv_g(x)
            hidden = self.conv_o(x) * cell.tanh()
            x = hidden
            for block in blocks(self):
                x = (block(x) + x).relu()
            restored = self.conv(x) + lq
            found.append(restored)
        return found

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.steps(image)[-1]


def build(config: Config, in_channels: int = 3) -> nn.Module:
    """A network from ``(B,in_channels,H,W)`` float32 in [0,1] to ``(B,3,H,W)``, any size.

    The output is not clipped. Further channels are read at the start of each turn.
    """
    return PReNet(config, in_channels)


def blocks(network: nn.Module) -> list[nn.Module]:
    """The five residual parts, ``(B,width,H,W)`` each; every turn calls them again."""
    return [network.get_submodule(f"res_conv{i}") for i in range(1, 6)]
