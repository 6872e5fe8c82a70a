"""ART, the attention retractable transformer (Zhang et al., ICLR 2023, arXiv 2210.01427).

Parameter names are those of gladzhang/ART, so its checkpoints load strictly. They, and the order
of operations, were read from ``basicsr/archs/art_arch.py`` as it stands in XPixelGroup/BasicSR
(commit 64a6c1a), whose options load the official ``SR_ART_x4.pth`` into it strictly; the settings
from ``options/`` of gladzhang/ART (commit c4b5b92). No checkpoint was at hand, so a published row
has not been reproduced with this file.

- SR x2, x3, x4 (16.55 M at x4): the defaults with ``scale`` 2, 3, 4.
- ART-S (11.87 M at x4): ``interval`` (8, 8, 8, 8, 8, 8), ``mlp_ratio`` 2.
- Colour denoising (16.15 M): ``scale`` 1, ``interval`` (16, 16, 12, 12, 8, 8).

Two things differ from that code, neither in the result for a single image. There, a map as small
as the window turns a block to dense attention for good; here for that map only. There, padding is
masked by -1e6 in an ``(N,N)`` mask for every group; here by one more dimension of queries and
keys, so that the attention matrix need not exist.

The published tables come from images cut into sections where a side reaches 200 pixels, with a
tenth of a section of overlap on each inner side (``ARTModel.test``); the network here takes what
it is given whole.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn
from torch.nn.functional import pad, scaled_dot_product_attention
from torchvision.ops import stochastic_depth

from benchlib.contracts import BenchError

VERSION = 1

Groups = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(strict=False, min_length=1)]
Size = tuple[int, int]

MEAN = (0.4488, 0.4371, 0.4040)  # DIV2K's, taken from the input and given back to the output
FEATURES = 64  # channels while enlarging
# exp(-FAR / sqrt(channels of a head)) is 0 in every type, and FAR fits into half precision
FAR = 3e4


@dataclass(frozen=True)
class Config:
    """The defaults are SR x4.

    scale: 1 restores at the input's size. width: channels. depths, heads, interval: transformer
    blocks, attention heads and the spacing of sparse attention, one entry a residual group.
    window: side of dense attention's windows, in pixels. mlp_ratio: hidden over outer width of the
    MLPs. drop_path: in training, the chance that a sample skips the last block's branch, growing
    linearly from 0 at the first block. img_range: what the network sees as white; the official
    options have 255 for colour denoising at sigma 15 and 25, else 1.

    Raises BenchError for settings that do not go together.
    """

    scale: Literal[1, 2, 3, 4] = 4
    width: Annotated[int, Field(ge=16)] = 180
    depths: Groups = (6, 6, 6, 6, 6, 6)
    heads: Groups = (6, 6, 6, 6, 6, 6)
    interval: Groups = (4, 4, 4, 4, 4, 4)
    window: Annotated[int, Field(ge=1)] = 8
    mlp_ratio: Annotated[float, Field(gt=0)] = 4.0
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.1
    img_range: Annotated[float, Field(gt=0)] = 1.0

    def __post_init__(self) -> None:
        if not len(self.depths) == len(self.heads) == len(self.interval):
            raise BenchError(
                f"art: depths, heads and interval have {len(self.depths)}, {len(self.heads)} and "
                f"{len(self.interval)} entries; give each one entry a residual group"
            )
        for heads in self.heads:
            if self.width % heads:
                raise BenchError(
                    f"art: width {self.width} is no multiple of {heads}, an entry of heads "
                    f"{self.heads}; choose a common multiple"
                )


def scale(config: Config) -> int:
    """How many times larger the output's sides are."""
    return config.scale


def build(config: Config, in_channels: int = 3) -> nn.Module:
    """A network from ``(B,in_channels,h,w)`` RGB float32 in [0,1] to ``(B,3,h*scale,w*scale)``.

    Every size. Channels beyond the third go into the first convolution alone: the mean is taken
    from the first three, and with ``scale`` 1 the network's output is added to these.
    """
    return _ART(config, in_channels)


def blocks(network: nn.Module) -> list[nn.Module]:
    """The residual groups in order: each takes tokens ``(B,H*W,C)`` and ``(H,W)``, gives tokens."""
    return list(network.layers)  # type: ignore[arg-type]


class _PositionBias(nn.Sequential):
    """Attention's bias from the offset between query and key.

    An MLP: DPB of CrossFormer (arXiv 2108.00154).
    """

    def __init__(self, width: int, heads: int):
        def layer(out: int) -> nn.Sequential:
            return nn.Sequential(
                nn.LayerNorm(hidden), nn.ReLU(inplace=True), nn.Linear(hidden, out)
            )

        hidden = width // 16
        first = nn.Linear(2, hidden)
        super().__init__(
            OrderedDict(pos_proj=first, pos1=layer(hidden), pos2=layer(hidden), pos3=layer(heads))
        )

    def of_grid(self, height: int, width: int) -> torch.Tensor:
        """``(heads,N,N)``, [.., query, key], for a group of N = ``height`` x ``width`` tokens."""
        weight = next(self.parameters())  # for its device and type
        device = weight.device
        rows = torch.arange(height, device=device)
        columns = torch.arange(width, device=device)
        down = torch.arange(1 - height, height, device=device)
        right = torch.arange(1 - width, width, device=device)
        offsets = torch.stack(torch.meshgrid(down, right, indexing="ij"), -1).to(weight.dtype)
        table = self(offsets)  # (2*height-1, 2*width-1, heads)
        dy = rows[:, None] - rows + height - 1
        dx = columns[:, None] - columns + width - 1
        # (height, width, height, width, heads)
        bias = table[dy[:, None, :, None], dx[None, :, None, :]]
        return bias.flatten(2, 3).flatten(0, 1).permute(2, 0, 1)


class _Attention(nn.Module):
    """Multi-head self-attention within groups of tokens."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.pos = _PositionBias(width, heads)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: torch.Tensor, size: Size, inside: torch.Tensor) -> torch.Tensor:
        """``x``: groups ``(G,N,C)`` of tokens on a grid of ``size``, and so is the result.

        inside: ``(G,N)``, 0 for padding, else 1.
        """
        groups, n, width = x.shape
        each = width // self.heads
        q, k, v = self.qkv(x).view(groups, n, 3, self.heads, each).permute(2, 0, 3, 1, 4)
        # to a multiple of 8, which the kernels that never hold the attention matrix ask for
        more = 8 - each % 8
        q, k, v = pad(q, (0, more), value=1.0), pad(k, (0, more)), pad(v, (0, more))
        # times the query's 1: padding is out of sight as a key
        k[..., each] = (inside[:, None] - 1) * FAR
        bias = self.pos.of_grid(*size)[None]
        out = scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=each**-0.5)
        return self.proj(out[..., :each].transpose(1, 2).reshape(groups, n, width))


class _Block(nn.Module):
    """Attention and MLP.

    Dense: within windows of ``step`` pixels. Sparse: among pixels ``step`` apart.
    """

    def __init__(self, config: Config, heads: int, interval: int, sparse: bool, drop: float):
        super().__init__()
        width, hidden = config.width, int(config.width * config.mlp_ratio)
        self.window, self.interval, self.sparse, self.drop = config.window, interval, sparse, drop
        self.norm1 = nn.LayerNorm(width)
        self.attn = _Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            OrderedDict(fc1=nn.Linear(width, hidden), act=nn.GELU(), fc2=nn.Linear(hidden, width))
        )

    def forward(self, x: torch.Tensor, size: Size) -> torch.Tensor:
        attended = self._attend(self.norm1(x).unflatten(1, size)).flatten(1, 2)
        x = x + stochastic_depth(attended, self.drop, "row", self.training)
        return x + stochastic_depth(self.mlp(self.norm2(x)), self.drop, "row", self.training)

    def _attend(self, x: torch.Tensor) -> torch.Tensor:
        """A map ``(B,H,W,C)`` through attention.

        Zeros fill it up to whole groups and are cut off again.
        """
        height, width = x.shape[1:3]
        sparse = self.sparse and min(height, width) > self.window
        step = self.interval if sparse else min(self.window, height, width)
        inside = x.new_ones(len(x), height, width, 1)
        edges = (0, 0, 0, -width % step, 0, -height % step)
        x = _split(pad(x, edges), step, sparse)  # (B, groups in 2-D, tokens in 2-D, C)
        inside = _split(pad(inside, edges), step, sparse)
        groups, kept = x.flatten(3, 4).flatten(0, 2), inside.flatten(3).flatten(0, 2)
        out = self.attn(groups, (x.shape[3], x.shape[4]), kept)
        return _merge(out.view(x.shape), sparse)[:, :height, :width]


def _split(x: torch.Tensor, step: int, sparse: bool) -> torch.Tensor:
    """``(B,H,W,C)`` to ``(B,group row,group column,row,column,C)``."""
    count, height, width, channels = x.shape
    x = x.reshape(count, height // step, step, width // step, step, channels)
    if sparse:
        return x.permute(0, 2, 4, 1, 3, 5)
    return x.permute(0, 1, 3, 2, 4, 5)


def _merge(x: torch.Tensor, sparse: bool) -> torch.Tensor:
    """The inverse of `_split`."""
    order = (0, 3, 1, 4, 2, 5) if sparse else (0, 1, 3, 2, 4, 5)
    return x.permute(*order).flatten(3, 4).flatten(1, 2)


class _Group(nn.Module):
    """Residual group: blocks, dense and sparse by turns, a convolution and a skip."""

    def __init__(self, config: Config, heads: int, interval: int, drops: list[float]):
        super().__init__()
        stack = nn.ModuleList()
        for i, drop in enumerate(drops):
            stack.append(_Block(config, heads, interval, sparse=i % 2 == 1, drop=drop))
        self.residual_group = nn.ModuleDict({"blocks": stack})
        self.conv = nn.Conv2d(config.width, config.width, 3, padding=1)

    def forward(self, x: torch.Tensor, size: Size) -> torch.Tensor:
        """Tokens ``(B,H*W,C)`` of a map of ``size`` (H,W) to such tokens."""
        y = x
        for block in self.residual_group["blocks"]:  # type: ignore[attr-defined]
            y = block(y, size)
        return _tokens(self.conv(_map(y, size))) + x


def _tokens(x: torch.Tensor) -> torch.Tensor:
    return x.flatten(2).transpose(1, 2)


def _map(x: torch.Tensor, size: Size) -> torch.Tensor:
    return x.transpose(1, 2).unflatten(2, size)


class _ART(nn.Module):
    def __init__(self, config: Config, in_channels: int):
        super().__init__()
        width, self.scale, self.range = config.width, config.scale, config.img_range
        self.conv_first = nn.Conv2d(in_channels, width, 3, padding=1)
        self.patch_embed = nn.Sequential(OrderedDict(norm=nn.LayerNorm(width)))
        last = max(sum(config.depths) - 1, 1)
        drops = [config.drop_path * i / last for i in range(last + 1)]
        self.layers = nn.ModuleList()
        groups = zip(config.depths, config.heads, config.interval, strict=True)
        for depth, heads, interval in groups:
            self.layers.append(_Group(config, heads, interval, drops[:depth]))
            drops = drops[depth:]
        self.norm = nn.LayerNorm(width)
        self.conv_after_body = nn.Conv2d(width, width, 3, padding=1)
        if self.scale > 1:
            before = nn.Conv2d(width, FEATURES, 3, padding=1)
            self.conv_before_upsample = nn.Sequential(before, nn.LeakyReLU())
            self.upsample = nn.Sequential(*_enlarging(self.scale))
            width = FEATURES
        self.conv_last = nn.Conv2d(width, 3, 3, padding=1)
        self.apply(_initialise)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = x.new_tensor(MEAN).view(1, 3, 1, 1)
        image = (x[:, :3] - mean) * self.range
        shallow = self.conv_first(torch.cat([image, x[:, 3:]], 1))
        size = (x.shape[2], x.shape[3])
        deep = self.patch_embed(_tokens(shallow))
        for group in self.layers:
            deep = group(deep, size)
        features = self.conv_after_body(_map(self.norm(deep), size)) + shallow
        if self.scale > 1:
            enlarged = self.upsample(self.conv_before_upsample(features))
            return self.conv_last(enlarged) / self.range + mean
        return (image + self.conv_last(features)) / self.range + mean


def _enlarging(factor: int) -> list[nn.Module]:
    """Sub-pixel convolutions: one by 3, or one by 2 for each factor of 2."""
    by, times = (3, 1) if factor == 3 else (2, factor.bit_length() - 1)
    parts: list[nn.Module] = []
    for _ in range(times):
        parts += [nn.Conv2d(FEATURES, by * by * FEATURES, 3, padding=1), nn.PixelShuffle(by)]
    return parts


def _initialise(part: nn.Module) -> None:
    if isinstance(part, nn.Linear):
        nn.init.trunc_normal_(part.weight, std=0.02)
        nn.init.zeros_(part.bias)
