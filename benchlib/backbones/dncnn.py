"""DnCNN (Zhang et al., TIP 2017): a plain stack of convolutions that finds the noise.

Parameter names are those of cszn/KAIR at fc1732f (``models/network_dncnn.py``), so the checkpoints
of its ``model_zoo`` load strictly. The published networks are without batch normalisation: it was
merged into the convolutions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import nn

VERSION = 1


@dataclass(frozen=True)
class Config:
    """channels: 1 for a network of grey images, which restores each colour by itself; 3 for colour.

    width: channels of the features. depth: convolutions. norm: batch normalisation, as in the
    training that the paper describes. The defaults are ``dncnn_15``, ``_25`` and ``_50``;
    ``dncnn_gray_blind`` has a depth of 20, ``dncnn_color_blind`` that and three channels.
    """

    channels: Literal[1, 3] = 1
    width: Annotated[int, Field(ge=1)] = 64
    depth: Annotated[int, Field(ge=3)] = 17
    norm: bool = False


class DnCNN(nn.Module):
    def __init__(self, config: Config, in_channels: int):
        super().__init__()
        self.channels, width = config.channels, config.width
        inputs = config.channels + in_channels - 3
        layers: list[nn.Module] = [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU(inplace=True)]
        for _ in range(config.depth - 2):
            layers.append(nn.Conv2d(width, width, 3, padding=1))
            if config.norm:
                layers.append(nn.BatchNorm2d(width, momentum=0.9, eps=1e-4))
            layers.append(nn.ReLU(inplace=True))
        layers.append(nn.Conv2d(width, config.channels, 3, padding=1))
        self.model = nn.Sequential(*layers)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        restored, extra = [], image[:, 3:]
        for part in image[:, :3].split(self.channels, 1):
            restored.append(part - self.model(torch.cat([part, extra], 1)))
        return torch.cat(restored, 1)


def build(config: Config, in_channels: int = 3) -> nn.Module:
    """A network from ``(B,in_channels,H,W)`` float32 in [0,1] to ``(B,3,H,W)``, any size.

    The output is not clipped. A grey network is called once a colour: on a grey image, stored as
    three equal channels, it gives what the official network gives of it, thrice.
    """
    return DnCNN(config, in_channels)


def blocks(network: nn.Module) -> list[nn.Module]:
    """The inner convolutions, ``(B,width,H,W)`` each; a grey network calls them once a colour."""
    parts: Any = network
    found: list[nn.Module] = [layer for layer in parts.model if isinstance(layer, nn.Conv2d)]
    return found[1:-1]
