"""MixDehazeNet (Lu et al., IJCNN 2024), the network of spandrel: haze.

Parameter names are those of AmeryXiong/MixDehazeNet at 90a0474 (``models/MixDehazeNet.py``), so its
checkpoints load strictly. As its loader and its tests do, the network is given values from -1 to 1,
and what it gives is brought back from there.

Its attention weighs channels by means over the image: one that is restored in tiles is another
image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import nn

from benchlib.backbones._sizes import mirror_to
from benchlib.backbones._spandrel import Fitted, architecture

VERSION = 1
USES = {"backbones/_spandrel.py": 1, "backbones/_sizes.py": 1}
LEAST = 40  # pixels: at a quarter of the size a kernel of 19 is mirrored at the edge

Count = Annotated[int, Field(ge=1)]
Five = Annotated[tuple[Count, Count, Count, Count, Count], Field(strict=False)]


@dataclass(frozen=True)
class Config:
    """The defaults are MixDehazeNet-t; -s, -b and -l have twice, four times and eight times its
    ``depths``.

    width: channels at full size. depths: blocks of the two levels down, the lowest, the two up.
    """

    width: Annotated[int, Field(ge=8)] = 24
    depths: Five = (1, 1, 2, 1, 1)


def build(config: Config, in_channels: int = 3) -> nn.Module:
    """A network from ``(B,in_channels,H,W)`` float32 in [0,1] to ``(B,3,H,W)``, any size.

    The output is not clipped. Images below 40 pixels, which the official code cannot take, are
    mirrored up to it. Further channels are brought to three and added to the image.
    """
    official: Any = architecture("MixDehazeNet")

    class Network(Fitted, official):
        def restored(self, image: torch.Tensor) -> torch.Tensor:
            height, width = image.shape[-2:]
            found = super().restored(mirror_to(2 * image - 1, 4, LEAST))
            return found[..., :height, :width] / 2 + 0.5

    network: Any = Network(
        in_chans=3,
        out_chans=4,
        embed_dims=[
            config.width,
            2 * config.width,
            4 * config.width,
            2 * config.width,
            config.width,
        ],
        depths=list(config.depths),
    )
    network.read_further(in_channels - 3)
    return network


def blocks(network: nn.Module) -> list[nn.Module]:
    """The two levels down, the lowest, and the two up: a map each."""
    return [network.get_submodule(f"layer{i}") for i in range(1, 6)]
