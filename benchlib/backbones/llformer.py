"""LLFormer (Wang et al., AAAI 2023): attention along rows and columns; "UHD" in PTG-RM's tables.

Parameter names are those of TaoWangzj/LLFormer at ed5e7bf (``model/LLFormer.py``), so its
checkpoints load strictly. Two of them reach nothing in the official code and nothing here:
``coefficient`` and ``skip_2_1`` (the level above is joined by ``skip_1_0``). They are kept, frozen.
As in its ``test.py``, images are mirrored up to multiples of 16 on the right and bottom.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import nn
from torch.nn.functional import gelu, normalize

from benchlib.backbones._sizes import mirror_to
from benchlib.contracts import BenchError

VERSION = 1
USES = {"backbones/_sizes.py": 1}

Four = Annotated[
    tuple[Annotated[int, Field(ge=1)], ...], Field(strict=False, min_length=4, max_length=4)
]


@dataclass(frozen=True)
class Config:
    """width: channels at full size. blocks: at full and half size, a quarter, an eighth, less.

    heads: likewise. refinement: blocks in each of three steps at the end. growth: of the channels
    inside a block. skip: add the image at last. The defaults are the official network of LOL.
    Raises BenchError if the heads do not divide the channels of their level.
    """

    width: Annotated[int, Field(ge=2, multiple_of=2)] = 16
    blocks: Four = (2, 4, 8, 16)
    refinement: Annotated[int, Field(ge=1)] = 2
    heads: Four = (1, 2, 4, 8)
    growth: Annotated[float, Field(gt=0)] = 2.66
    skip: bool = False

    def __post_init__(self) -> None:
        for level, heads in enumerate(self.heads):
            channels = self.width * 2**level
            if channels % heads:
                raise BenchError(
                    f"llformer: heads[{level}]: {heads} do not divide {channels} channels, "
                    f"width {self.width} times {2**level}; take a divisor"
                )


def _depthwise(channels: int, bias: bool) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=bias)


class Norm(nn.Module):
    """Layer normalisation of ``(B,C,H,W)`` over C; ``body`` is there for the names' sake."""

    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.LayerNorm(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class RowAttention(nn.Module):
    """Each pixel of ``(B,C,H,W)`` attends to those of its row."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q1 = nn.Conv2d(channels, 3 * channels, 1)
        self.q2, self.q3 = _depthwise(3 * channels, True), _depthwise(3 * channels, True)
        self.fac = nn.Parameter(torch.ones(1))
        self.fin = nn.Conv2d(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = map(self._split, self.q3(self.q2(self.q1(x))).chunk(3, 1))
        query, key = normalize(query, dim=-1), normalize(key, dim=-1)
        weights = (query @ key.transpose(-2, -1) * self.fac).softmax(-1)
        return self.fin((weights @ value).permute(0, 1, 4, 2, 3).flatten(1, 2))

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        """``(B,C,H,W)`` to ``(B,heads,H,W,C/heads)``."""
        return x.unflatten(1, (self.heads, -1)).permute(0, 1, 3, 4, 2)


class AxisAttention(nn.Module):
    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.row_att, self.col_att = RowAttention(channels, heads), RowAttention(channels, heads)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.col_att(self.row_att(x).transpose(-2, -1)).transpose(-2, -1)


class FeedForward(nn.Module):
    """Two halves, each gated by the other."""

    def __init__(self, channels: int, growth: float):
        super().__init__()
        hidden = int(channels * growth)
        self.project_in = nn.Conv2d(channels, 2 * hidden, 1, bias=False)
        self.dwconv = _depthwise(2 * hidden, False)
        self.project_out = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = self.dwconv(self.project_in(x)).chunk(2, 1)
        return self.project_out(gelu(second) * first + gelu(first) * second)


class Block(nn.Module):
    """A transformer block, ``(B,C,H,W)`` to the same."""

    def __init__(self, channels: int, heads: int, growth: float):
        super().__init__()
        self.norm1, self.attn = Norm(channels), AxisAttention(channels, heads)
        self.norm2, self.ffn = Norm(channels), FeedForward(channels, growth)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.ffn(self.norm2(x))


class LayerFusion(nn.Module):
    """Attention between layers' maps: ``(B,N,C,H,W)`` to ``(B,NC,H,W)``."""

    def __init__(self, channels: int):
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(1))
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.qkv_dwconv = _depthwise(3 * channels, True)
        self.project_out = nn.Conv2d(channels, channels, 1)

    def forward(self, layers: torch.Tensor) -> torch.Tensor:
        batch, count, _, height, width = layers.shape
        x = layers.flatten(1, 2)
        asked = self.qkv_dwconv(self.qkv(x)).reshape(batch, 3, count, -1)
        query, key, value = asked.unbind(1)
        query, key = normalize(query, dim=-1), normalize(key, dim=-1)
        weights = (query @ key.transpose(-2, -1) * self.temperature).softmax(-1)
        return self.project_out((weights @ value).reshape(batch, -1, height, width)) + x


class Down(nn.Module):
    """``(B,C,H,W)`` to ``(B,2C,H/2,W/2)``."""

    def __init__(self, channels: int):
        super().__init__()
        conv = nn.Conv2d(channels, channels // 2, 3, padding=1, bias=False)
        self.body = nn.Sequential(conv, nn.PixelUnshuffle(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


class Up(nn.Module):
    """``(B,C,H,W)`` to ``(B,C/2,2H,2W)``."""

    def __init__(self, channels: int):
        super().__init__()
        conv = nn.Conv2d(channels, 2 * channels, 3, padding=1, bias=False)
        self.body = nn.Sequential(conv, nn.PixelShuffle(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


class PatchEmbed(nn.Module):
    def __init__(self, in_channels: int, width: int):
        super().__init__()
        self.proj = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.proj(x)


# the steps at each level, 0 at full size, in the order in which they are called
STEPS = (
    ("encoder_1", 0),
    ("encoder_2", 0),
    ("encoder_3", 0),
    ("decoder_level1_0", 1),
    ("decoder_level2_0", 2),
    ("decoder_level3_0", 3),
    ("decoder_level4", 4),
    ("decoder_level3_1", 3),
    ("decoder_level2_1", 2),
    ("decoder_level1_1", 1),
    ("latent", 0),
    ("refinement_1", 0),
    ("refinement_2", 0),
    ("refinement_3", 0),
)


class LLFormer(nn.Module):
    padder_size = 16

    def __init__(self, config: Config, in_channels: int):
        super().__init__()
        width, self.skip = config.width, config.skip
        self.patch_embed = PatchEmbed(in_channels, width)
        for name, level in STEPS:
            self.add_module(name, _step(config, name, level))
        for level in range(1, 5):
            self.add_module(f"down_{level}", Down(width * 2 ** (level - 1)))
        for name, level in (("up4_3", 4), ("up3_2", 3), ("up2_1", 2), ("up2_0", 1)):
            self.add_module(name, Up(width * 2**level))
        for upper, channels in ((3, 8 * width), (2, 4 * width), (1, 2 * width), (0, width)):
            weights = nn.Parameter(torch.ones(2, channels))
            self.register_parameter(f"coefficient_{upper + 1}_{upper}", weights)
        self.skip_4_3 = nn.Conv2d(8 * width, 8 * width, 1, bias=False)
        self.skip_3_2 = nn.Conv2d(4 * width, 4 * width, 1, bias=False)
        self.skip_1_0 = nn.Conv2d(2 * width, 2 * width, 1, bias=False)
        self.layer_fussion = LayerFusion(3 * width)
        self.conv_fuss = nn.Conv2d(3 * width, width, 1, bias=False)
        self.layer_fussion_2 = LayerFusion(3 * width)
        self.conv_fuss_2 = nn.Conv2d(3 * width, width, 1, bias=False)
        self.output = nn.Conv2d(width, 3, 3, padding=1, bias=False)
        # these two reach nothing
        self.coefficient = nn.Parameter(torch.ones(4, 2, 8 * width), requires_grad=False)
        self.skip_2_1 = nn.Conv2d(2 * width, 2 * width, 1, bias=False).requires_grad_(False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        parts: Any = self  # by the names of __init__
        height, width = image.shape[-2:]
        image = mirror_to(image, self.padder_size)
        encoded = _in_turn(
            parts.patch_embed(image), parts.encoder_1, parts.encoder_2, parts.encoder_3
        )
        full = parts.conv_fuss(parts.layer_fussion(torch.stack(encoded, 1)))
        half = parts.decoder_level1_0(parts.down_1(full))
        quarter = parts.decoder_level2_0(parts.down_2(half))
        eighth = parts.decoder_level3_0(parts.down_3(quarter))
        x = parts.up4_3(parts.decoder_level4(parts.down_4(eighth)))
        x = parts.skip_4_3(_weighted(parts.coefficient_4_3, eighth, x))
        x = parts.up3_2(parts.decoder_level3_1(x))
        x = parts.skip_3_2(_weighted(parts.coefficient_3_2, quarter, x))
        x = parts.up2_1(parts.decoder_level2_1(x))
        x = parts.skip_1_0(_weighted(parts.coefficient_2_1, half, x))
        x = parts.up2_0(parts.decoder_level1_1(x))
        x = _weighted(parts.coefficient_1_0, parts.latent(full), x)
        refined = _in_turn(x, parts.refinement_1, parts.refinement_2, parts.refinement_3)
        x = parts.output(parts.conv_fuss_2(parts.layer_fussion_2(torch.stack(refined, 1))))
        if self.skip:
            x = x + image[:, :3]
        return x[..., :height, :width]


def _step(config: Config, name: str, level: int) -> nn.Sequential:
    """The blocks of one step. The counts are those of one level above, from half size on."""
    count = config.blocks[max(0, level - 1)]
    if name.startswith("refinement"):
        count = config.refinement
    heads = config.heads[min(3, level)]
    found = []
    for _ in range(count):
        found.append(Block(config.width * 2**level, heads, config.growth))
    return nn.Sequential(*found)


def _in_turn(x: torch.Tensor, *steps: nn.Module) -> list[torch.Tensor]:
    """What each step gives of what the step before it gave."""
    found = []
    for step in steps:
        x = step(x)
        found.append(x)
    return found


def _weighted(weights: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Two maps ``(B,C,H,W)`` added, each channel with its own two weights: ``(2,C)``."""
    of_first, of_second = weights[:, None, :, None, None]
    return of_first * first + of_second * second


def build(config: Config, in_channels: int = 3) -> nn.Module:
    """A network from ``(B,in_channels,H,W)`` float32 in [0,1] to ``(B,3,H,W)``, any size.

    The output is not clipped.
    """
    return LLFormer(config, in_channels)


def blocks(network: nn.Module) -> list[nn.Module]:
    """The transformer blocks in the order in which they are called; a map ``(B,C,H,W)`` each."""
    found: list[nn.Module] = []
    for name, _ in STEPS:
        found += list(network.get_submodule(name).children())
    return found
