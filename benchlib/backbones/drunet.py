"""DRUNet (Zhang et al., TPAMI 2021), the network of spandrel: a denoiser that is told the noise.

Parameter names are those of cszn/DPIR at 15bca3f (``models/network_unet.py``), so its checkpoints
load strictly: ``drunet_color``, and ``drunet_gray`` with ``channels: 1``. The noise's standard
deviation is one further channel, the same everywhere: ``sigma``.

Sizes that are no multiples of 8 are mirrored up to them. The official test restores every image in
four overlapping quarters, which can move the last digits of its figures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import nn

from benchlib.backbones._spandrel import Fitted, architecture, by_channels

VERSION = 1
USES = {"backbones/_spandrel.py": 1}

Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class Config:
    """The defaults are the official network of colour images.

    sigma: of the noise that is taken off, in 8-bit levels; the official one was trained on 0 to 50.
    channels: 1 for a network of grey images, which restores each colour by itself. widths: channels
    of each level. residuals: blocks of each level on its way down and up.
    """

    sigma: Annotated[float, Field(ge=0, le=255)] = 25.0
    channels: Literal[1, 3] = 3
    widths: Annotated[tuple[Count, Count, Count, Count], Field(strict=False)] = (64, 128, 256, 512)
    residuals: Count = 4


def build(config: Config, in_channels: int = 3) -> nn.Module:
    """A network from ``(B,in_channels,H,W)`` float32 in [0,1] to ``(B,3,H,W)``, any size.

    The output is not clipped. Further channels are brought to three and added to the image.
    """
    official: Any = architecture("DRUNet")

    class Network(Fitted, official):
        multiple = 8

        def restored(self, image: torch.Tensor) -> torch.Tensor:
            return by_channels(self._denoised, image, config.channels)

        def _denoised(self, image: torch.Tensor) -> torch.Tensor:
            noise = torch.full_like(image[:, :1], config.sigma / 255)
            return super().restored(torch.cat([image, noise], 1))

    network: Any = Network(
        in_nc=config.channels + 1,
        out_nc=config.channels,
        nc=list(config.widths),
        nb=config.residuals,
    )
    network.read_further(in_channels - 3)
    return network


def blocks(network: nn.Module) -> list[nn.Module]:
    """The levels on the way down, the lowest, and those on the way up: a map each.

    A grey network calls them once a colour.
    """
    parts: Any = network
    down = [parts.m_down1, parts.m_down2, parts.m_down3]
    return [*down, parts.m_body, parts.m_up3, parts.m_up2, parts.m_up1]
