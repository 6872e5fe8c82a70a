"""CAT, the Cross Aggregation Transformer (Chen et al., NeurIPS 2022, arXiv 2211.13654).

CAT-A, CAT-R and the rest. No relation to the method of the same name in
``benchlib/methods/cat.py``, which concatenates a prior to the input.

Parameter names are those of zhengchen1999/CAT (``basicsr/archs/cat_arch.py``), so its checkpoints
(the entry ``params`` of the file) load strictly. They hold the attention masks of the training
size ``img_size`` and, for regular windows, the tables of relative positions; so does this network.
Padding is that of ``basicsr/models/cat_model.py`` without ``use_chop``. Published models, from the
repository's ``options``:

    CAT-A    the defaults, ``scale`` 2, 3, 4
    CAT-A-2  ``split_0=(4,) * 6``
    CAT-R    ``split_0=(4,) * 6, split_1=16``
    CAT-R-2  ``split_0=(4,) * 6, split_1=16, mlp_ratio=2``
    CAT for JPEG artefacts  ``scale=1, img_size=128, img_range=255``, with one channel (grey)

The U-shaped CAT for real noise (``cat_unet_arch.py``) is another network and is not here. No
published weights were at hand: names, shapes, counts and arithmetic are checked against the
official code, not against its checkpoints' PSNR.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from torchvision.ops import StochasticDepth

from benchlib.contracts import BenchError

VERSION = 1

Sides = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(strict=False, min_length=1)]
Pair = tuple[int, int]
MEAN = (0.4488, 0.4371, 0.4040)  # of DIV2K, subtracted from RGB; a grey image is taken as it is


@dataclass(frozen=True)
class Config:
    """Defaults: CAT-A x4.

    scale: enlargement; 1 is the network for artefacts or noise, which adds its output to its
    input. width: channels (``embed_dim``). heads: attention heads, one half along each direction.
    depth: attention blocks in a residual group; every other one has shifted windows. split_0:
    window side, one entry a residual group. split_1: the other side; 0: the whole height or width
    (axial). img_size: side in pixels of the training input, whose attention masks are kept with
    the weights. img_range: what [0,1] is multiplied by on the way in. drop_path: greatest
    stochastic depth, in training only.

    Raises BenchError for settings that do not go together.
    """

    scale: Literal[1, 2, 3, 4] = 4
    width: Annotated[int, Field(ge=32)] = 180
    heads: Annotated[int, Field(ge=2)] = 6
    depth: Annotated[int, Field(ge=1)] = 6
    split_0: Sides = (2, 2, 2, 4, 4, 4)
    split_1: Annotated[int, Field(ge=0)] = 0
    mlp_ratio: Annotated[float, Field(gt=0)] = 4.0
    img_size: Annotated[int, Field(ge=1)] = 64
    img_range: Annotated[float, Field(gt=0)] = 1.0
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.1

    def __post_init__(self) -> None:
        if self.heads % 2 or self.width % self.heads:
            raise BenchError(
                f"cat: heads must be even and divide width {self.width}, got {self.heads}"
            )
        unit = max(*self.split_0, self.split_1)
        left_over = self.img_size % unit
        for side in (*self.split_0, self.split_1 or 1):
            left_over += unit % side
        if left_over:
            raise BenchError(
                f"cat: img_size {self.img_size} must be a multiple of the largest window side and "
                f"that of every other; split_0 is {self.split_0}, split_1 is {self.split_1}"
            )


def _to_windows(x: torch.Tensor, window: Pair) -> torch.Tensor:
    """``(B,H,W,C)`` to ``(B*windows, pixels of a window, C)``, both in reading order."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // window[0], window[0], width // window[1], window[1], channels)
    return x.transpose(2, 3).reshape(-1, window[0] * window[1], channels)


def _from_windows(x: torch.Tensor, window: Pair, size: Pair) -> torch.Tensor:
    """The inverse of ``_to_windows``; ``size`` is (H, W)."""
    (high, wide), (height, width) = window, size
    x = x.reshape(-1, height // high, width // wide, high, wide, x.shape[-1])
    return x.transpose(2, 3).reshape(-1, height, width, x.shape[-1])


def _shift_mask(
    size: Pair, window: Pair, shift: Pair, device: torch.device | None = None
) -> torch.Tensor:
    """What is added to the attention of shifted windows: ``(windows, pixels, pixels)``, 0 or -100.

    A shift wraps pixels round to the far edge; in the last windows they must not see the pixels
    they landed beside.
    """
    labels = []
    for length, side, by in zip(size, window, shift, strict=True):
        label = torch.zeros(length, dtype=torch.int64, device=device)
        if by:
            label[-side:], label[-by:] = 1, 2
        labels.append(label)
    regions = _to_windows((3 * labels[0][:, None] + labels[1])[None, :, :, None], window)[..., 0]
    apart = regions[:, :, None] != regions[:, None, :]
    return torch.zeros(apart.shape, device=device).masked_fill(apart, -100.0)


def _positions(
    window: Pair, device: torch.device | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """All offsets (down, right) within a window, and which one joins two of its pixels.

    The first is ``(offsets,2)`` float32. The second is ``(pixels,pixels)`` int64: row the one that
    asks, column the one that answers.
    """
    height, width = window
    down = torch.arange(1 - height, height, device=device)
    right = torch.arange(1 - width, width, device=device)
    offsets = torch.cartesian_prod(down, right).float()
    rows = torch.arange(height, device=device).repeat_interleave(width)
    columns = torch.arange(width, device=device).repeat(height)
    dy = rows[:, None] - rows + height - 1
    dx = columns[:, None] - columns + width - 1
    return offsets, dy * (2 * width - 1) + dx


def _position_bias(dim: int, heads: int) -> nn.Sequential:
    """From an offset to one number a head: CrossFormer's DynamicPosBias, without its residual."""

    def layer(out: int) -> nn.Sequential:
        return nn.Sequential(nn.LayerNorm(dim), nn.ReLU(), nn.Linear(dim, out))

    parts = [
        ("pos_proj", nn.Linear(2, dim)),
        ("pos1", layer(dim)),
        ("pos2", layer(dim)),
        ("pos3", layer(heads)),
    ]
    return nn.Sequential(OrderedDict(parts))


class RwinAttention(nn.Module):
    """Self-attention inside rectangular windows, moved by ``shift``: half of a block's heads.

    window: height, width; 0 stands for the whole height or width of the map. shift: down, right.
    """

    rpe_biases: torch.Tensor
    relative_position_index: torch.Tensor

    def __init__(self, dim: int, heads: int, window: Pair, shift: Pair):
        super().__init__()
        self.heads, self.window, self.shift = heads, window, shift
        self.pos = _position_bias(dim // 16, heads)
        if 0 not in window:
            offsets, index = _positions(window)
            self.register_buffer("rpe_biases", offsets)
            self.register_buffer("relative_position_index", index)

    def mask(self, size: Pair, device: torch.device | None = None) -> torch.Tensor | None:
        """The mask of a map of ``size``; None where windows are not shifted."""
        if not any(self.shift):
            return None
        return _shift_mask(size, self._window(size), self.shift, device)

    def _window(self, size: Pair) -> Pair:
        return self.window[0] or size[0], self.window[1] or size[1]

    def _bias(self, window: Pair, device: torch.device) -> torch.Tensor:
        """``(1,heads,pixels,pixels)``."""
        if 0 in self.window:
            offsets, index = _positions(window, device)
        else:
            offsets, index = self.rpe_biases, self.relative_position_index
        return self.pos(offsets.to(next(self.pos.parameters()).dtype))[index].permute(2, 0, 1)[None]

    def forward(self, qkv: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Queries, keys and values ``(3,B,H,W,C)`` to ``(B,H,W,C)``."""
        batch, *size = qkv.shape[1:4]
        window = self._window((size[0], size[1]))
        moved = torch.roll(qkv, (-self.shift[0], -self.shift[1]), (2, 3)).flatten(0, 1)
        parts = _to_windows(moved, window).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        q, k, v = parts.chunk(3)
        bias = self._bias(window, qkv.device).to(q.dtype)
        if mask is not None:
            bias = (bias + mask[:, None].to(q.dtype)).expand(batch, -1, -1, -1, -1).flatten(0, 1)
        x = scaled_dot_product_attention(q, k, v, attn_mask=bias)
        x = _from_windows(x.transpose(1, 2).flatten(2), window, (size[0], size[1]))
        return torch.roll(x, self.shift, (1, 2))


class CATB(nn.Module):
    """A cross aggregation block.

    Attention in both directions plus a 3x3 convolution of the values, then an MLP.
    """

    attn_mask_0: torch.Tensor | None
    attn_mask_1: torch.Tensor | None

    def __init__(self, config: Config, split: int, shifted: bool, drop: float):
        super().__init__()
        dim, other = config.width, config.split_1
        self.img_size = config.img_size
        self.qkv = nn.Linear(dim, 3 * dim)
        self.norm1 = nn.LayerNorm(dim)
        self.proj = nn.Linear(dim, dim)
        # upright windows first where they are axial, lying ones first where they are regular
        windows = [(0, split), (split, 0)]
        if other:
            windows = [(split, other), (other, split)]
        self.attns = nn.ModuleList()
        for window in windows:
            shift = (window[0] // 2, window[1] // 2) if shifted else (0, 0)
            self.attns.append(RwinAttention(dim // 2, config.heads // 2, window, shift))
        hidden = int(dim * config.mlp_ratio)
        layers = [
            ("fc1", nn.Linear(dim, hidden)),
            ("act", nn.GELU()),
            ("fc2", nn.Linear(hidden, dim)),
        ]
        self.mlp = nn.Sequential(OrderedDict(layers))
        self.norm2 = nn.LayerNorm(dim)
        # the locality complementary module
        self.get_v = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.drop_path = StochasticDepth(drop, "row")
        for i, mask in enumerate(self._masks((config.img_size, config.img_size))):
            self.register_buffer(f"attn_mask_{i}", mask)

    def _masks(self, size: Pair, device: torch.device | None = None) -> list[torch.Tensor | None]:
        return [attention.mask(size, device) for attention in self.attns]  # type: ignore[operator]

    def forward(self, x: torch.Tensor, size: Pair) -> torch.Tensor:
        """Tokens ``(B,H*W,C)`` and (H, W) to tokens."""
        qkv = self.qkv(self.norm1(x)).unflatten(1, size).unflatten(-1, (3, -1)).movedim(-2, 0)
        masks = [self.attn_mask_0, self.attn_mask_1]
        if size != (self.img_size, self.img_size):
            masks = self._masks(size, x.device)
        seen = []
        for attention, half, mask in zip(self.attns, qkv.chunk(2, -1), masks, strict=True):
            seen.append(attention(half, mask))
        attended = torch.cat(seen, -1)
        local = self.get_v(qkv[2].permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        x = x + self.drop_path(self.proj((attended + local).flatten(1, 2)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class ResidualGroup(nn.Module):
    """Blocks, a 3x3 convolution, and the input added: what ``blocks`` lists."""

    def __init__(self, config: Config, split: int, drops: list[float]):
        super().__init__()
        self.blocks = nn.ModuleList()
        for i, drop in enumerate(drops):
            self.blocks.append(CATB(config, split, shifted=i % 2 == 1, drop=drop))
        self.conv = nn.Conv2d(config.width, config.width, 3, padding=1)

    def forward(self, x: torch.Tensor, size: Pair) -> torch.Tensor:
        """Tokens ``(B,H*W,C)`` and (H, W) to tokens."""
        y = x
        for block in self.blocks:
            y = block(y, size)
        return x + self.conv(y.transpose(1, 2).unflatten(2, size)).flatten(2).transpose(1, 2)


def _upsample(scale: int, channels: int) -> nn.Sequential:
    parts: list[nn.Module] = []
    for step in {2: [2], 3: [3], 4: [2, 2]}[scale]:
        parts += [
            nn.Conv2d(channels, step * step * channels, 3, padding=1),
            nn.PixelShuffle(step),
        ]
    return nn.Sequential(*parts)


def _mirror(x: torch.Tensor, multiple: int) -> torch.Tensor:
    """Continue ``(...,H,W)`` to the right and down up to a multiple of pixels.

    By its mirror image, border pixel first.
    """
    for axis in (-2, -1):
        length = x.shape[axis]
        if length % multiple:
            index = torch.arange(length + -length % multiple, device=x.device) % (2 * length)
            x = x.index_select(axis, torch.minimum(index, 2 * length - 1 - index))
    return x


class CAT(nn.Module):
    def __init__(self, config: Config, in_channels: int):
        super().__init__()
        width, features = config.width, 64
        self.scale, self.range = config.scale, config.img_range
        self.multiple = max(*config.split_0, config.split_1)
        self.mean: tuple[float, ...] = (0.0,)
        if in_channels > 1:
            self.mean = MEAN + (0.0,) * (in_channels - 3)
        self.channels = min(in_channels, 3)
        self.conv_first = nn.Conv2d(in_channels, width, 3, padding=1)
        # entry 0 there turns a map into tokens
        self.before_RG = nn.Sequential(nn.Identity(), nn.LayerNorm(width))
        count = len(config.split_0) * config.depth
        drops = [config.drop_path * i / max(count - 1, 1) for i in range(count)]
        self.layers = nn.ModuleList()
        for split in config.split_0:
            self.layers.append(ResidualGroup(config, split, drops[: config.depth]))
            drops = drops[config.depth :]
        self.norm = nn.LayerNorm(width)
        self.conv_after_body = nn.Conv2d(width, width, 3, padding=1)
        if config.scale > 1:
            before = nn.Conv2d(width, features, 3, padding=1)
            self.conv_before_upsample = nn.Sequential(before, nn.LeakyReLU())
            self.upsample = _upsample(config.scale, features)
            width = features
        self.conv_last = nn.Conv2d(width, self.channels, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def _features(self, x: torch.Tensor) -> torch.Tensor:
        size = (x.shape[2], x.shape[3])
        x = self.before_RG(x.flatten(2).transpose(1, 2))
        for layer in self.layers:
            x = layer(x, size)
        return self.norm(x).transpose(1, 2).unflatten(2, size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[-2:]
        mean = x.new_tensor(self.mean).view(1, -1, 1, 1)
        x = (_mirror(x, self.multiple) - mean) * self.range
        first = self.conv_first(x)
        deep = self.conv_after_body(self._features(first)) + first
        if self.scale > 1:
            out = self.conv_last(self.upsample(self.conv_before_upsample(deep)))
        else:
            out = x[:, : self.channels] + self.conv_last(deep)
        out = out / self.range + mean[:, : self.channels]
        return out[..., : height * self.scale, : width * self.scale]


def build(config: Config, in_channels: int = 3) -> nn.Module:
    """A network from ``(B,in_channels,H,W)`` float32 to ``(B,3,H*scale,W*scale)``, any H and W.

    The first three channels are RGB in [0,1]. One channel (grey, ``(B,1,H,W)`` out) is for the
    official networks that remove JPEG artefacts. Raises BenchError for two channels or none.
    """
    if in_channels < 1 or in_channels == 2:
        raise BenchError(
            f"cat: in_channels must be 1 (grey), or 3 (RGB) or more, got {in_channels}"
        )
    return CAT(config, in_channels)


def blocks(network: nn.Module) -> list[nn.Module]:
    """The residual groups, first to last: tokens ``(B,H*W,C)`` and (H, W) to tokens."""
    return list(network.layers)  # type: ignore[arg-type]


def scale(config: Config) -> int:
    """How many times larger the output is."""
    return config.scale
