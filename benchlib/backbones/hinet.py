"""HINet (Chen et al., CVPR Workshops 2021): two U-Nets, half of whose channels are normalised.

Parameter names are those of megvii-model/HINet at 4e72315 (``basicsr/models/archs/hinet_arch.py``),
so its checkpoints load strictly. Instance normalisation takes its statistics from the whole image:
an image restored in pieces (the official test of deraining cuts squares of 256) becomes another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import nn
from torch.nn.functional import leaky_relu

from benchlib.backbones._sizes import mirror_to
from benchlib.contracts import BenchError

VERSION = 1
USES = {"backbones/_sizes.py": 1}


@dataclass(frozen=True)
class Config:
    """width: channels at full size. depth: levels. slope: of the activation below zero.

    norm_first, norm_last: the levels on the way down, 0 at full size, that are half normalised.
    The defaults are the official network of deraining and denoising; its deblurring has 3 and 4.
    Raises BenchError if the first comes after the last.
    """

    width: Annotated[int, Field(ge=2, multiple_of=2)] = 64
    depth: Annotated[int, Field(ge=2)] = 5
    slope: Annotated[float, Field(ge=0, le=1)] = 0.2
    norm_first: Annotated[int, Field(ge=0)] = 0
    norm_last: Annotated[int, Field(ge=0)] = 4

    def __post_init__(self) -> None:
        if self.norm_first > self.norm_last:
            raise BenchError(
                f"hinet: norm_first is {self.norm_first}, after norm_last, {self.norm_last}; "
                "exchange them"
            )


def _conv(inputs: int, outputs: int, kernel: int = 3) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)


class Attention(nn.Module):
    """The supervised attention between the U-Nets: features, and the image restored so far."""

    def __init__(self, width: int):
        super().__init__()
        self.conv1, self.conv2, self.conv3 = _conv(width, width), _conv(width, 3), _conv(3, width)

    def forward(self, x: torch.Tensor, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        restored = self.conv2(x) + image
        return self.conv1(x) * self.conv3(restored).sigmoid() + x, restored


class Block(nn.Module):
    """Two convolutions and a shortcut: ``(B,inputs,H,W)`` to ``(B,outputs,H,W)``.

    Where features of the first U-Net are given (of its way down and of its way up), they are added.
    """

    def __init__(self, inputs: int, outputs: int, slope: float, norm: bool, fused: bool = False):
        super().__init__()
        self.slope, self.fused = slope, fused
        self.identity = _conv(inputs, outputs, 1)
        self.conv_1, self.conv_2 = _conv(inputs, outputs), _conv(outputs, outputs)
        if fused:
            self.csff_enc, self.csff_dec = _conv(outputs, outputs), _conv(outputs, outputs)
        self.norm: nn.Module | None = None
        if norm:
            self.norm = nn.InstanceNorm2d(outputs // 2, affine=True)

    def forward(
        self,
        x: torch.Tensor,
        encoded: torch.Tensor | None = None,
        decoded: torch.Tensor | None = None,
    ) -> torch.Tensor:
        inner = self.conv_1(x)
        if self.norm is not None:
            first, second = inner.chunk(2, 1)
            inner = torch.cat([self.norm(first), second], 1)
        inner = self.conv_2(leaky_relu(inner, self.slope))
        x = leaky_relu(inner, self.slope) + self.identity(x)
        if encoded is not None and decoded is not None:
            x = x + self.csff_enc(encoded) + self.csff_dec(decoded)
        return x


class Down(Block):
    """A block of the way down, above the deepest: it owns the convolution that halves."""

    def __init__(self, inputs: int, outputs: int, slope: float, norm: bool, fused: bool):
        super().__init__(inputs, outputs, slope, norm, fused)
        self.downsample = nn.Conv2d(outputs, outputs, 4, stride=2, padding=1, bias=False)


class Up(nn.Module):
    """A level of the way up: doubled, joined with what came down here, and a block."""

    def __init__(self, inputs: int, outputs: int, slope: float):
        super().__init__()
        self.up = nn.ConvTranspose2d(inputs, outputs, 2, stride=2)
        self.conv_block = Block(inputs, outputs, slope, norm=False)

    def forward(self, x: torch.Tensor, bridge: torch.Tensor) -> torch.Tensor:
        return self.conv_block(torch.cat([self.up(x), bridge], 1))


class HINet(nn.Module):
    def __init__(self, config: Config, in_channels: int):
        super().__init__()
        width = config.width
        self.padder_size = 2 ** (config.depth - 1)
        self.conv_01, self.conv_02 = _conv(in_channels, width), _conv(in_channels, width)
        self.down_path_1, self.down_path_2 = _ways_down(config)
        self.up_path_1, self.skip_conv_1 = _way_up(config)
        self.up_path_2, self.skip_conv_2 = _way_up(config)
        self.sam12 = Attention(width)
        self.cat12 = _conv(2 * width, width, 1)
        self.last = _conv(width, 3)

    def stages(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The image ``(B,3,H,W)`` that each U-Net restores; the official loss is of both."""
        height, width = image.shape[-2:]
        # the deepest level needs more than one pixel to be normalised
        image = mirror_to(image, self.padder_size, 2 * self.padder_size)
        encoded: list[torch.Tensor] = []
        x = self.conv_01(image)
        for block in self._downs(self.down_path_1):
            encoded.append(block(x))
            x = block.downsample(encoded[-1])
        x = self.down_path_1[-1](x)
        decoded: list[torch.Tensor] = []
        ways = zip(self.up_path_1, self.skip_conv_1, reversed(encoded), strict=True)
        for up, skip, below in ways:
            x = up(x, skip(below))
            decoded.append(x)
        features, first = self.sam12(x, image[:, :3])
        x = self.cat12(torch.cat([self.conv_02(image), features], 1))
        skips: list[torch.Tensor] = []
        down = zip(self._downs(self.down_path_2), encoded, reversed(decoded), strict=True)
        for block, before, after in down:
            skips.append(block(x, before, after))
            x = block.downsample(skips[-1])
        x = self.down_path_2[-1](x)
        for up, skip, below in zip(self.up_path_2, self.skip_conv_2, reversed(skips), strict=True):
            x = up(x, skip(below))
        second = self.last(x) + image[:, :3]
        return first[..., :height, :width], second[..., :height, :width]

    def _downs(self, path: nn.ModuleList) -> list[Any]:
        return list(path)[:-1]

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.stages(image)[1]


def _ways_down(config: Config) -> tuple[nn.ModuleList, nn.ModuleList]:
    """Those of both U-Nets; the second takes in the features of the first."""
    first, second, inputs = nn.ModuleList(), nn.ModuleList(), config.width
    for level in range(config.depth):
        width = config.width * 2**level
        norm = config.norm_first <= level <= config.norm_last
        if level < config.depth - 1:
            first.append(Down(inputs, width, config.slope, norm, fused=False))
            second.append(Down(inputs, width, config.slope, norm, fused=True))
        else:
            first.append(Block(inputs, width, config.slope, norm))
            second.append(Block(inputs, width, config.slope, norm))
        inputs = width
    return first, second


def _way_up(config: Config) -> tuple[nn.ModuleList, nn.ModuleList]:
    """A way up, and the convolutions of what it is joined with."""
    ups, skips = nn.ModuleList(), nn.ModuleList()
    for level in reversed(range(config.depth - 1)):
        width = config.width * 2**level
        ups.append(Up(2 * width, width, config.slope))
        skips.append(_conv(width, width))
    return ups, skips


def build(config: Config, in_channels: int = 3) -> nn.Module:
    """A network from ``(B,in_channels,H,W)`` float32 in [0,1] to ``(B,3,H,W)``, any size.

    The output is not clipped. Sizes that are no multiples of 2^(depth-1) are mirrored up to them.
    """
    return HINet(config, in_channels)


def blocks(network: nn.Module) -> list[nn.Module]:
    """Of each U-Net the deepest block, then those of the way up: a map ``(B,C,H,W)`` each."""
    parts: Any = network
    found: list[nn.Module] = []
    for down, ups in ((parts.down_path_1, parts.up_path_1), (parts.down_path_2, parts.up_path_2)):
        found.append(down[-1])
        found += [up.conv_block for up in ups]
    return found
