"""PromptIR (Potlapalli et al., NeurIPS 2023): Restormer whose decoder mixes learned prompts.

Parameter names are those of va1shn9v/PromptIR at 106159a (``net/model.py``), built as its training
and its test build it, with ``decoder=True``; the constructor's default leaves the prompts out, and
then its layers do not fit each other. Its checkpoints carry ``net.`` before each name. Six 1x1
convolutions reach nothing in the official code and nothing here (``chnl_reduce1`` to ``3``,
``reduce_noise_channel_1`` to ``3``): they are kept, frozen.

The official file has the prompts' widths as numbers that fit 48 channels alone; here they follow
from the settings. Sizes that are no multiples of 8 are mirrored up to them; the official test cuts
images to multiples of 16. Each prompt is weighed by a mean over the whole image, so that an image
restored in pieces becomes another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import nn
from torch.nn.functional import gelu, interpolate, normalize

from benchlib.backbones._sizes import mirror_to
from benchlib.contracts import BenchError

VERSION = 1
USES = {"backbones/_sizes.py": 1}

Count = Annotated[int, Field(ge=1)]
Three = Annotated[tuple[Count, Count, Count], Field(strict=False)]
Four = Annotated[tuple[Count, Count, Count, Count], Field(strict=False)]
EPSILON = 1e-5  # of the layer norm


@dataclass(frozen=True)
class Config:
    """The defaults are the official network.

    dim: channels at full size. blocks, heads: transformer blocks and attention heads of each level.
    refinement: blocks after them. expansion: of the feed-forward network. prompts: channels of the
    prompts at full, half and a quarter of the size (of the way up: after decoder levels 2, 3, and
    the deepest). sides: pixels a side of each as it is learned. length: prompts that are mixed.

    Raises BenchError for heads that do not divide the channels.
    """

    dim: Annotated[int, Field(ge=2, multiple_of=2)] = 48
    blocks: Four = (4, 6, 6, 8)
    heads: Four = (1, 2, 4, 8)
    refinement: Count = 4
    expansion: Annotated[float, Field(gt=0)] = 2.66
    prompts: Three = (64, 128, 320)
    sides: Three = (64, 32, 16)
    length: Count = 5

    def __post_init__(self) -> None:
        for level, heads in enumerate(self.heads):
            _check_heads("heads", self.dim * 2**level, heads)
        for number, width in enumerate(self.mixed, start=1):
            _check_heads(f"prompts: level {number}: heads[2]", width, self.heads[2])

    @property
    def mixed(self) -> tuple[int, int, int]:
        """Channels where a prompt stands beside the features, from level 1 down."""
        first, second, third = self.prompts
        return 2 * self.dim + first, 4 * self.dim + second, 8 * self.dim + third


def _check_heads(setting: str, channels: int, heads: int) -> None:
    if channels % heads:
        raise BenchError(
            f"promptir: {setting}: got {heads} for {channels} channels; expected a divisor"
        )


def _pointwise(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 1, bias=False)


def _depthwise(channels: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)


class OverChannels(nn.Module):
    """Each pixel's channels, normalised: of maps ``(B,C,H,W)``."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # in the official order of steps, so that rounding is the same
        pixels = x.permute(0, 2, 3, 1)
        variance = pixels.var(-1, keepdim=True, correction=0)
        normal = (pixels - pixels.mean(-1, keepdim=True)) / (variance + EPSILON).sqrt()
        return (normal * self.weight + self.bias).permute(0, 3, 1, 2)


class Norm(nn.Module):
    """The layer norm, one name deeper, as the official parameters have it."""

    def __init__(self, channels: int):
        super().__init__()
        self.body = OverChannels(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


class Attention(nn.Module):
    """Channels attend to channels (MDTA of Restormer)."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = _pointwise(channels, 3 * channels)
        self.qkv_dwconv = _depthwise(3 * channels)
        self.project_out = _pointwise(channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = map(self._split, self.qkv_dwconv(self.qkv(x)).chunk(3, 1))
        query, key = normalize(query, dim=-1), normalize(key, dim=-1)
        weights = (query @ key.transpose(-2, -1) * self.temperature).softmax(-1)
        return self.project_out((weights @ value).reshape(x.shape))

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        """``(B,C,H,W)`` to ``(B,heads,C/heads,HW)``."""
        return x.unflatten(1, (self.heads, -1)).flatten(3)


class FeedForward(nn.Module):
    """One half gates the other (GDFN of Restormer)."""

    def __init__(self, channels: int, expansion: float):
        super().__init__()
        hidden = int(channels * expansion)
        self.project_in = _pointwise(channels, 2 * hidden)
        self.dwconv = _depthwise(2 * hidden)
        self.project_out = _pointwise(hidden, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate, value = self.dwconv(self.project_in(x)).chunk(2, 1)
        return self.project_out(gelu(gate) * value)


class Block(nn.Module):
    """A transformer block of Restormer, ``(B,C,H,W)`` to the same."""

    def __init__(self, channels: int, heads: int, expansion: float):
        super().__init__()
        self.norm1, self.attn = Norm(channels), Attention(channels, heads)
        self.norm2, self.ffn = Norm(channels), FeedForward(channels, expansion)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.ffn(self.norm2(x))


class Resized(nn.Module):
    """A convolution to ``outputs`` channels, and what moves pixels into channels or back."""

    def __init__(self, inputs: int, outputs: int, shuffle: nn.Module):
        super().__init__()
        conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.body = nn.Sequential(conv, shuffle)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


def _down(channels: int) -> Resized:
    """``(B,C,H,W)`` to ``(B,2C,H/2,W/2)``."""
    return Resized(channels, channels // 2, nn.PixelUnshuffle(2))


def _up(channels: int) -> Resized:
    """``(B,C,H,W)`` to ``(B,C/2,2H,2W)``."""
    return Resized(channels, 2 * channels, nn.PixelShuffle(2))


class PatchEmbed(nn.Module):
    def __init__(self, in_channels: int, dim: int):
        super().__init__()
        self.proj = nn.Conv2d(in_channels, dim, 3, padding=1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.proj(x)


class Prompt(nn.Module):
    """Learned maps, mixed by weights that the features' means give."""

    def __init__(self, features: int, channels: int, side: int, length: int):
        super().__init__()
        self.prompt_param = nn.Parameter(torch.rand(1, length, channels, side, side))
        self.linear_layer = nn.Linear(features, length)
        self.conv3x3 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Prompt:
        """Move and convert the maps as ``(length,channels,side,side)``.

        Training asks for channels last, which knows no fifth dimension.
        """

        def by_map(tensor: torch.Tensor) -> torch.Tensor:
            if tensor.ndim == 5:
                return fn(tensor[0])[None]
            return fn(tensor)

        return super()._apply(by_map, recurse)

    def weights(self, x: torch.Tensor) -> torch.Tensor:
        """Of each prompt for features ``(B,features,H,W)``: ``(B,length)``, their sum 1."""
        return self.linear_layer(x.mean((2, 3))).softmax(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B,channels,H,W)``, as large as the features ``(B,features,H,W)``."""
        mixed = (self.weights(x)[:, :, None, None, None] * self.prompt_param).sum(1)
        return self.conv3x3(interpolate(mixed, x.shape[-2:], mode="bilinear"))


class PromptIR(nn.Module):
    padder_size = 8

    def __init__(self, config: Config, in_channels: int):
        super().__init__()
        dim, heads = config.dim, config.heads
        first, second, third = config.prompts
        half, quarter, eighth = 2 * dim, 4 * dim, 8 * dim
        mixed1, mixed2, mixed3 = config.mixed

        def blocks(count: int, channels: int, heads: int) -> nn.Sequential:
            made = (Block(channels, heads, config.expansion) for _ in range(count))
            return nn.Sequential(*made)

        def prompt(level: int, features: int) -> Prompt:
            channels, side = config.prompts[level], config.sides[level]
            return Prompt(features, channels, side, config.length)

        self.patch_embed = PatchEmbed(in_channels, dim)
        self.prompt1, self.prompt2, self.prompt3 = (
            prompt(0, half),
            prompt(1, quarter),
            prompt(2, eighth),
        )
        # these six reach nothing
        self.chnl_reduce1 = _pointwise(first, first).requires_grad_(False)
        self.chnl_reduce2 = _pointwise(second, second).requires_grad_(False)
        self.chnl_reduce3 = _pointwise(third, 2 * second).requires_grad_(False)
        self.reduce_noise_channel_1 = _pointwise(dim + first, dim).requires_grad_(False)
        self.reduce_noise_channel_2 = _pointwise(half + second, half).requires_grad_(False)
        self.reduce_noise_channel_3 = _pointwise(quarter + 2 * second, quarter)
        self.reduce_noise_channel_3.requires_grad_(False)

        self.encoder_level1 = blocks(config.blocks[0], dim, heads[0])
        self.down1_2 = _down(dim)
        self.encoder_level2 = blocks(config.blocks[1], half, heads[1])
        self.down2_3 = _down(half)
        self.encoder_level3 = blocks(config.blocks[2], quarter, heads[2])
        self.down3_4 = _down(quarter)
        self.latent = blocks(config.blocks[3], eighth, heads[3])
        self.noise_level3 = Block(mixed3, heads[2], config.expansion)
        self.reduce_noise_level3 = _pointwise(mixed3, quarter)
        self.up4_3 = _up(quarter)
        self.reduce_chan_level3 = _pointwise(half + quarter, quarter)
        self.decoder_level3 = blocks(config.blocks[2], quarter, heads[2])
        self.noise_level2 = Block(mixed2, heads[2], config.expansion)
        self.reduce_noise_level2 = _pointwise(mixed2, quarter)
        self.up3_2 = _up(quarter)
        self.reduce_chan_level2 = _pointwise(quarter, half)
        self.decoder_level2 = blocks(config.blocks[1], half, heads[1])
        self.noise_level1 = Block(mixed1, heads[2], config.expansion)
        self.reduce_noise_level1 = _pointwise(mixed1, half)
        self.up2_1 = _up(half)
        self.decoder_level1 = blocks(config.blocks[0], half, heads[0])
        self.refinement = blocks(config.refinement, half, heads[0])
        self.output = nn.Conv2d(half, 3, 3, padding=1, bias=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        parts: Any = self  # by the names of __init__
        height, width = image.shape[-2:]
        image = mirror_to(image, self.padder_size)
        full = parts.encoder_level1(parts.patch_embed(image))
        half = parts.encoder_level2(parts.down1_2(full))
        quarter = parts.encoder_level3(parts.down2_3(half))
        x = parts.latent(parts.down3_4(quarter))
        x = parts.noise_level3(torch.cat([x, parts.prompt3(x)], 1))
        x = parts.up4_3(parts.reduce_noise_level3(x))
        x = parts.decoder_level3(parts.reduce_chan_level3(torch.cat([x, quarter], 1)))
        x = parts.noise_level2(torch.cat([x, parts.prompt2(x)], 1))
        x = parts.up3_2(parts.reduce_noise_level2(x))
        x = parts.decoder_level2(parts.reduce_chan_level2(torch.cat([x, half], 1)))
        x = parts.noise_level1(torch.cat([x, parts.prompt1(x)], 1))
        x = parts.up2_1(parts.reduce_noise_level1(x))
        x = parts.decoder_level1(torch.cat([x, full], 1))
        x = parts.output(parts.refinement(x)) + image[:, :3]
        return x[..., :height, :width]


# what has transformer blocks, in the order in which it is called
LEVELS = (
    "encoder_level1",
    "encoder_level2",
    "encoder_level3",
    "latent",
    "noise_level3",
    "decoder_level3",
    "noise_level2",
    "decoder_level2",
    "noise_level1",
    "decoder_level1",
    "refinement",
)


def build(config: Config, in_channels: int = 3) -> nn.Module:
    """A network from ``(B,in_channels,H,W)`` float32 in [0,1] to ``(B,3,H,W)``, any size.

    The output is not clipped.
    """
    return PromptIR(config, in_channels)


def blocks(network: nn.Module) -> list[nn.Module]:
    """The transformer blocks in the order in which they are called; a map ``(B,C,H,W)`` each.

    Those that mix a prompt in are among them: their maps are wider than their neighbours'.
    """
    found: list[nn.Module] = []
    for name in LEVELS:
        level = network.get_submodule(name)
        found += [level] if isinstance(level, Block) else list(level.children())
    return found
