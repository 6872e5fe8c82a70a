"""NAFNet (Chen et al., "Simple Baselines for Image Restoration", ECCV 2022), and TLC.

Parameter names are those of megvii-research/NAFNet (``basicsr/models/archs/NAFNet_arch.py``), so
its checkpoints load strictly. spandrel has the network too and gives the same bits; it is written
here because importing spandrel loads all of its networks in every stage.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.functional import adaptive_avg_pool2d, pad

from benchlib.contracts import BenchError, pad_to

VERSION = 1

Levels = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(strict=False, min_length=1)]


@dataclass(frozen=True)
class Config:
    """width: channels at full size; encoder, middle, decoder: blocks a level.

    The defaults are NAFNet-GoPro-width32. Raises BenchError if encoder and decoder differ in depth.
    """

    width: Annotated[int, Field(ge=1)] = 32
    encoder: Levels = (1, 1, 1, 28)
    middle: Annotated[int, Field(ge=1)] = 1
    decoder: Levels = (1, 1, 1, 1)

    def __post_init__(self) -> None:
        if len(self.encoder) != len(self.decoder):
            raise BenchError(
                f"nafnet: {len(self.encoder)} encoder levels but {len(self.decoder)} decoder levels"
            )


class _ChannelNorm(Function):
    """Normalise each pixel over its channels; backward by hand, which needs less memory."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        centred = x - x.mean(1, keepdim=True)
        variance = centred.pow(2).mean(1, keepdim=True)
        normed = centred / (variance + eps).sqrt()
        ctx.eps = eps
        ctx.save_for_backward(normed, variance, weight)
        return weight.view(1, -1, 1, 1) * normed + bias.view(1, -1, 1, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        gradient = gradients[0]
        normed, variance, weight = ctx.saved_tensors
        scaled = gradient * weight.view(1, -1, 1, 1)
        along = (scaled * normed).mean(dim=1, keepdim=True)
        mean = scaled.mean(dim=1, keepdim=True)
        inner = 1.0 / torch.sqrt(variance + ctx.eps) * (scaled - normed * along - mean)
        # summed dimension by dimension, as the official code does: another order rounds otherwise
        to_weight = (gradient * normed).sum(dim=3).sum(dim=2).sum(dim=0)
        to_bias = gradient.sum(dim=3).sum(dim=2).sum(dim=0)
        return inner, to_weight, to_bias, None


class LayerNorm2d(nn.Module):
    """Layer normalisation of ``(B,C,H,W)`` over C, with a weight and a bias a channel."""

    def __init__(self, channels: int, eps: float = 1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return _ChannelNorm.apply(x, self.weight, self.bias, self.eps)


def _gate(x: Tensor) -> Tensor:
    """The simple gate in place of an activation: half of the channels times the other half."""
    first, second = x.chunk(2, dim=1)
    return first * second


class Block(nn.Module):
    """NAFNet's block, ``(B,C,H,W)`` to the same.

    Gated convolutions with channel attention, then a gated pointwise network; each is added with a
    weight a channel that is zero at the start.
    """

    def __init__(self, width: int):
        super().__init__()
        self.conv1 = nn.Conv2d(width, 2 * width, 1)
        self.conv2 = nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=2 * width)
        self.conv3 = nn.Conv2d(width, width, 1)
        self.sca = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, width, 1))
        self.conv4 = nn.Conv2d(width, 2 * width, 1)
        self.conv5 = nn.Conv2d(width, width, 1)
        self.norm1 = LayerNorm2d(width)
        self.norm2 = LayerNorm2d(width)
        self.beta = nn.Parameter(torch.zeros(1, width, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        inner = _gate(self.conv2(self.conv1(self.norm1(x))))
        inner = self.conv3(inner * self.sca(inner))
        x = x + inner * self.beta
        return x + self.conv5(_gate(self.conv4(self.norm2(x)))) * self.gamma


def _stage(width: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(Block(width) for _ in range(count)))


class NAFNet(nn.Module):
    """The U-Net: an encoder and a decoder of blocks, halved and doubled between levels.

    Adds its input to its output. With further input channels (a prior's) the sum is taken with
    zeros there: the first three channels of the output are the restored image, and the network
    stays as published.
    """

    def __init__(self, config: Config, in_channels: int):
        super().__init__()
        width, self.extra = config.width, in_channels - 3
        self.intro = nn.Conv2d(3, width, 3, padding=1)
        self.ending = nn.Conv2d(width, 3, 3, padding=1)
        self.encoders, self.decoders = nn.ModuleList(), nn.ModuleList()
        self.middle_blks = nn.Sequential()  # its place in the official order of parameters
        self.ups, self.downs = nn.ModuleList(), nn.ModuleList()
        for count in config.encoder:
            self.encoders.append(_stage(width, count))
            self.downs.append(nn.Conv2d(width, 2 * width, 2, 2))
            width *= 2
        self.middle_blks = _stage(width, config.middle)
        for count in config.decoder:
            double = nn.Conv2d(width, 2 * width, 1, bias=False)
            self.ups.append(nn.Sequential(double, nn.PixelShuffle(2)))
            width //= 2
            self.decoders.append(_stage(width, count))
        self.padder_size = 2 ** len(self.encoders)
        if self.extra:  # after all others, so that those begin as without a prior
            self.intro = nn.Conv2d(in_channels, config.width, 3, padding=1)
            self.ending = nn.Conv2d(config.width, 3, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        image = pad_to(image, self.padder_size)
        x = self.intro(image)
        skips = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            x = encoder(x)
            skips.append(x)
            x = down(x)
        x = self.middle_blks(x)
        for decoder, up in zip(self.decoders, self.ups, strict=True):
            x = decoder(up(x) + skips.pop())
        x = pad(self.ending(x), (0, 0, 0, 0, 0, self.extra)) + image
        return x[:, :, :height, :width]


def build(config: Config, in_channels: int = 3) -> nn.Module:
    """A network from ``(B,in_channels,H,W)`` float32 in [0,1] to the same shape, not clipped.

    The first three channels of its output are the restored image.
    """
    return NAFNet(config, in_channels)


def blocks(network: nn.Module) -> list[nn.Module]:
    """The building blocks, first to last: encoders, middle, decoders."""
    listed: list[nn.Module] = []
    for _, stage in _stages(network):
        listed += stage
    return listed


def _stages(network: Any) -> list[tuple[int, Any]]:
    """The encoders, the middle and the decoders in order, each with its level: 0 at full size."""
    depth = len(network.encoders)
    stages = [*enumerate(network.encoders), (depth, network.middle_blks)]
    for i, stage in enumerate(network.decoders):
        stages.append((depth - 1 - i, stage))
    return stages


class LocalPool(nn.Module):
    """Average over a window instead of the image.

    TLC: Chu et al., ECCV 2022; ``local_arch.py`` of NAFNet.

    kernel: window side in this level's pixels. Near the border the nearest whole window is used.
    """

    def __init__(self, kernel: int):
        super().__init__()
        self.kernel = kernel

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        if self.kernel >= height and self.kernel >= width:
            return adaptive_avg_pool2d(x, 1)
        k1, k2 = min(height, self.kernel), min(width, self.kernel)
        # double: single loses digits on large images
        total = pad(x.double().cumsum(-1).cumsum(-2), (1, 0, 1, 0))
        window = (
            total[..., k1:, k2:]
            - total[..., :-k1, k2:]
            - total[..., k1:, :-k2]
            + total[..., :-k1, :-k2]
        )
        mean = (window / (k1 * k2)).to(x.dtype)
        down, right = height - mean.shape[-2], width - mean.shape[-1]
        edges = (right // 2, right - right // 2, down // 2, down - down // 2)
        return pad(mean, edges, mode="replicate")


def tlc(network: nn.Module, crop: int) -> nn.Module:
    """Replace, in place, every global pooling by a window of 1.5 training crops, level by level.

    network: as :func:`build` makes it; where a method has one, its ``model.network``.
    crop: the training crops' side in pixels. Returns the network.

    As NAFNet's ``Local_Base.convert`` for a ``crop`` that is a multiple of 2^depth.
    """
    for level, stage in _stages(network):
        for block in stage:
            # as there: the window is 1.5 crops, then scaled by this level's side over the crop,
            # each rounded down
            block.sca[0] = LocalPool((crop >> level) * int(crop * 1.5) // crop)
    return network
