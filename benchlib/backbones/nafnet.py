"""NAFNet (Chen et al., ECCV 2022), the network of spandrel, with more input channels and TLC.

Parameter names are those of megvii-research/NAFNet, so its checkpoints load strictly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from spandrel.architectures.NAFNet import NAFNet
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d, pad

from benchlib.contracts import BenchError

Levels = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(strict=False, min_length=1)]


@dataclass(frozen=True)
class Config:
    """width: channels at full size; encoder, middle, decoder: blocks a level. Defaults: NAFNet-GoPro-width32."""

    width: Annotated[int, Field(ge=1)] = 32
    encoder: Levels = (1, 1, 1, 28)
    middle: Annotated[int, Field(ge=1)] = 1
    decoder: Levels = (1, 1, 1, 1)

    def __post_init__(self) -> None:
        if len(self.encoder) != len(self.decoder):
            raise BenchError(f"nafnet: {len(self.encoder)} encoder levels but {len(self.decoder)} decoder levels")


class _Ending(nn.Conv2d):
    """The last convolution; its output is filled up with zero channels to the input's number.

    NAFNet adds its input to its output. With further input channels (a prior's) the sum still fits, the first three
    channels of it are the restored image, and the network itself stays as published.
    """

    extra = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return pad(super().forward(x), (0, 0, 0, 0, 0, self.extra))


def build(config: Config, in_channels: int = 3) -> nn.Module:
    """A network from ``(B,in_channels,H,W)`` to the same shape; its first three channels are the restored image."""
    network = NAFNet(
        img_channel=3,
        width=config.width,
        middle_blk_num=config.middle,
        enc_blk_nums=list(config.encoder),
        dec_blk_nums=list(config.decoder),
    )
    if in_channels > 3:
        network.intro = nn.Conv2d(in_channels, config.width, 3, padding=1)
        network.ending = _Ending(config.width, 3, 3, padding=1)
        network.ending.extra = in_channels - 3
    return network


def blocks(network: nn.Module) -> list[nn.Module]:
    """The building blocks, first to last: encoders, middle, decoders."""
    stages = [*network.encoders, network.middle_blks, *network.decoders]  # type: ignore[misc, union-attr]
    return [block for stage in stages for block in stage]


class LocalPool(nn.Module):
    """Average over a window instead of the image (TLC: Chu et al., ECCV 2022; ``local_arch.py`` of NAFNet).

    kernel: window side in this level's pixels. Near the border the nearest whole window is used.
    """

    def __init__(self, kernel: int):
        super().__init__()
        self.kernel = kernel

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[-2:]
        if self.kernel >= height and self.kernel >= width:
            return adaptive_avg_pool2d(x, 1)
        k1, k2 = min(height, self.kernel), min(width, self.kernel)
        total = pad(x.double().cumsum(-1).cumsum(-2), (1, 0, 1, 0))  # double: single loses digits on large images
        window = total[..., k1:, k2:] - total[..., :-k1, k2:] - total[..., k1:, :-k2] + total[..., :-k1, :-k2]
        mean = (window / (k1 * k2)).to(x.dtype)
        down, right = height - mean.shape[-2], width - mean.shape[-1]
        return pad(mean, (right // 2, right - right // 2, down // 2, down - down // 2), mode="replicate")


def tlc(network: nn.Module, crop: int) -> nn.Module:
    """Replace, in place, every global pooling by a window of 1.5 training crops (``crop`` pixels), level by level.

    As NAFNet's ``Local_Base.convert`` for a ``crop`` that is a multiple of 2^depth.

    ``network``: a NAFNet or a method that carries one's parts (``encoders``, ``middle_blks``, ``decoders``).
    """
    depth = len(network.encoders)  # type: ignore[arg-type]
    levels = [*enumerate(network.encoders), (depth, network.middle_blks)]  # type: ignore[arg-type]
    levels += [(depth - 1 - i, stage) for i, stage in enumerate(network.decoders)]  # type: ignore[arg-type]
    for level, stage in levels:
        for block in stage:  # type: ignore[union-attr]
            # as there: the window is 1.5 crops, then scaled by this level's side over the crop, each rounded down
            block.sca[0] = LocalPool((crop >> level) * int(crop * 1.5) // crop)
    return network
