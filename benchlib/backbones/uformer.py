"""Uformer (Wang et al., CVPR 2022), the network of spandrel.

Parameter names are those of ZhendongWang6/Uformer at 65fc970, so its checkpoints load strictly. The
defaults are Uformer-B, of denoising (SIDD) and deblurring (GoPro).

It takes squares alone, of a multiple of 128 pixels: an image stands in the middle of a black one,
as in the official tests. So a long image costs as much as a square, and memory grows with it:
``evaluation: {tile: ...}`` cuts images, which the official tests do not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import nn
from torch.nn.functional import pad

from benchlib.backbones._spandrel import Fitted, architecture
from benchlib.contracts import BenchError

VERSION = 1
USES = {"backbones/_spandrel.py": 1}

Count = Annotated[int, Field(ge=1)]
Nine = Annotated[tuple[Count, ...], Field(strict=False, min_length=9, max_length=9)]
HALVINGS = 16  # of the side, on the way down


@dataclass(frozen=True)
class Config:
    """The defaults are Uformer-B.

    width: channels at full size (``embed_dim``). depths, heads: blocks and attention heads of the
    four levels down, the lowest, and the four up. window: side of a window, pixels. modulator:
    each window of the way up has one. drop_path: greatest chance, in training, that a layer is left
    out for an image.
    Raises BenchError for heads that a level's channels cannot be shared among.
    """

    width: Count = 32
    depths: Nine = (1, 2, 8, 8, 2, 8, 8, 2, 1)
    heads: Nine = (1, 2, 4, 8, 16, 16, 8, 4, 2)
    window: Annotated[int, Field(ge=2)] = 8
    modulator: bool = True
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.1

    def __post_init__(self) -> None:
        for heads, growth in zip(self.heads, (1, 2, 4, 8, 16, 16, 8, 4, 2), strict=True):
            if self.width * growth % heads:
                raise BenchError(
                    f"uformer: heads: got {heads} for {self.width * growth} channels; expected a "
                    "divisor"
                )


def build(config: Config, in_channels: int = 3) -> nn.Module:
    """A network from ``(B,in_channels,H,W)`` float32 in [0,1] to ``(B,3,H,W)``, any size.

    The output is not clipped. Further channels are brought to three and added to the image.
    """
    official: Any = architecture("Uformer")

    class Network(Fitted, official):
        def restored(self, image: torch.Tensor) -> torch.Tensor:
            height, width = image.shape[-2:]
            multiple = HALVINGS * config.window
            side = -(-max(height, width) // multiple) * multiple
            top, left = (side - height) // 2, (side - width) // 2
            edges = (left, side - width - left, top, side - height - top)
            restored = super().restored(pad(image, edges))
            return restored[..., top : top + height, left : left + width]

    network: Any = Network(
        img_size=256,
        embed_dim=config.width,
        depths=list(config.depths),
        num_heads=list(config.heads),
        win_size=config.window,
        modulator=config.modulator,
        drop_path_rate=config.drop_path,
        token_projection="linear",
        token_mlp="leff",
    )
    network.read_further(in_channels - 3)
    return network


def blocks(network: nn.Module) -> list[nn.Module]:
    """The convolutions between the levels, four down and four up: a map each.

    Its transformer blocks give tokens without the map's size beside, which no plug-in can read.
    """
    parts: Any = network
    down = [parts.dowsample_0, parts.dowsample_1, parts.dowsample_2, parts.dowsample_3]
    up = [parts.upsample_0, parts.upsample_1, parts.upsample_2, parts.upsample_3]
    return [step.conv for step in down] + [step.deconv for step in up]
