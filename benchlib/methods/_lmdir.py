"""The blocks of LMDIR, equation by equation; ``lmdir.py`` puts them into Restormer.

He et al., "Training-Free Large Model Priors for Multiple-in-One Image Restoration" (arXiv
2407.13181), equations 1 to 29. Restormer's own transformer blocks keep their parameters: TSA is
``attn`` after ``norm1``, GFN is ``ffn`` after ``norm2``. ``docs/lmdir.md`` tells what the paper
leaves open and which setting is which reading.

A method that uses this file states it: ``USES = {"methods/_lmdir.py": 1}``.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import nn
from torch.nn.functional import interpolate, normalize, pad, relu, scaled_dot_product_attention

VERSION = 1

Start = Literal["zero", "one", "random"]
Six = tuple[torch.Tensor, ...]


def with_nothing(tokens: torch.Tensor, there: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """One token more, all zeros, that counts where an image has no other: of no words.

    tokens: ``(B,n,d)``, n may be 0. there: ``(B,n)`` bool. A softmax over nothing has no value.
    """
    nothing = ~there.any(1, keepdim=True)
    return pad(tokens, (0, 0, 0, 1)), torch.cat([there, nothing], 1)


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    there: torch.Tensor | None = None,
    scale: float | None = None,
) -> torch.Tensor:
    """softmax(Q K^T scale) V of ``(B,m,d)``, ``(B,n,d)`` and ``(B,n,e)``: ``(B,m,e)``.

    there: ``(B,n)`` bool, which keys count. scale: None is 1 / sqrt(d).
    """
    mask = None
    if there is not None:
        mask = there[:, None, :]
    return scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)


def _linear(inputs: int, outputs: int) -> nn.Linear:
    return nn.Linear(inputs, outputs, bias=False)


def _conv(inputs: int, outputs: int, kernel: int = 3) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)


class Residual(nn.Module):
    """Two convolutions around a ReLU, and a shortcut."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv2(relu(self.conv1(x)))


class ImageEncoder(nn.Module):
    """The degraded image ``(B,3,H,W)`` to I_d, ``(B,grid*grid,size)``: residual blocks and means.

    Each of three steps halves the sides. grid: 1 is the paper's one vector an image.
    """

    def __init__(self, size: int, width: int, grid: int):
        super().__init__()
        steps: list[nn.Module] = []
        inputs = 3
        for _ in range(3):
            steps += [nn.Conv2d(inputs, width, 3, stride=2, padding=1), Residual(width)]
            inputs = width
        self.body = nn.Sequential(*steps, nn.AdaptiveAvgPool2d(grid))
        self.project = nn.Linear(width, size)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.project(self.body(image).flatten(2).transpose(1, 2))


class PromptEncoder(nn.Module):
    """The query-based prompt encoder, equations 1 to 7.

    size: numbers in a token of e_d. channels: C of what comes out. queries: how many, N-hat.

    With one I_d an image its softmax has one entry, which is 1 whatever was asked: Z_image is
    I_d W_vi for every query, and W_ki would reach nothing. So it is there with a grid alone.
    """

    def __init__(self, size: int, channels: int, queries: int, width: int, grid: int):
        super().__init__()
        self.image = ImageEncoder(channels, width, grid)
        self.queries = nn.Parameter(torch.randn(queries, channels))
        self.w_query, self.w_key = _linear(channels, channels), _linear(channels, channels)
        self.w_value = _linear(channels, channels)
        self.w_qp = _linear(channels, channels)
        self.w_kd, self.w_vd = _linear(size, channels), _linear(size, channels)
        self.w_vi = _linear(channels, channels)
        self.w_ki: nn.Module | None = None
        if grid > 1:
            self.w_ki = _linear(channels, channels)
        self.ffn = nn.Sequential(
            nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels)
        )

    def forward(
        self, image: torch.Tensor, tokens: torch.Tensor, there: torch.Tensor
    ) -> torch.Tensor:
        """Z_d ``(B,queries,channels)`` of ``(B,3,H,W)``, ``(B,n,size)`` and ``(B,n)`` bool."""
        of_image = self.image(image)
        tokens, there = with_nothing(tokens, there)
        learned = self.queries.expand(len(image), -1, -1)
        own = attend(self.w_query(learned), self.w_key(learned), self.w_value(learned))  # 1
        query = self.w_qp(own)  # 2
        text = attend(query, self.w_kd(tokens), self.w_vd(tokens), there)  # 3, 5
        seen = self.w_vi(of_image)  # 4
        if self.w_ki is not None:
            seen = attend(query, self.w_ki(of_image), seen)  # 6
        return self.ffn(text + seen)  # 7


class Adapter(nn.Module):
    """The degradation embedding adapter, equations 8 and 11 to 13.

    pool: Z_d's rows become one by their "mean", or stand "beside" each other. start: at first the
    gates are 0 ("zero"), or 1 ("one": Restormer's own block), with scales 1 and shifts 0; or all is
    "random", as torch begins.
    """

    def __init__(self, channels: int, queries: int, dim: int, pool: str, start: Start):
        super().__init__()
        self.pool = pool
        inputs = channels
        if pool == "beside":
            inputs = queries * channels
        self.adapt, self.linear = nn.Linear(inputs, dim), nn.Linear(dim, 6 * dim)
        if start != "random":
            nn.init.zeros_(self.linear.weight)
            gate = float(start == "one")
            first = torch.tensor([gate, gate, 1.0, 0.0, 1.0, 0.0])
            with torch.no_grad():
                self.linear.bias.copy_(first.repeat_interleave(dim))

    def forward(self, z: torch.Tensor) -> Six:
        """Gates of TSA and GFN, then scale and shift of each, ``(B,dim,1,1)``."""
        row = z.mean(1)
        if self.pool == "beside":
            row = z.flatten(1)
        adapted = nn.functional.silu(self.adapt(row))
        return self.linear(adapted)[:, :, None, None].chunk(6, 1)


def degradation_aware(block: Any, x: torch.Tensor, six: Six, modulate: str) -> torch.Tensor:
    """Equations 9 and 10 on a block of Restormer; x: ``(B,dim,H,W)``.

    modulate: scale and shift stand "after" the layer norm, or "before" it.
    """
    gate_a, gate_f, scale_a, shift_a, scale_f, shift_f = six
    if modulate == "before":
        x = gate_a * block.attn(block.norm1(scale_a * x + shift_a)) + x
        return gate_f * block.ffn(block.norm2(scale_f * x + shift_f)) + x
    x = gate_a * block.attn(scale_a * block.norm1(x) + shift_a) + x
    return gate_f * block.ffn(scale_f * block.norm2(x) + shift_f) + x


class ChannelNorm(nn.Module):
    """A layer norm over the channels of ``(B,C,H,W)``."""

    def __init__(self, dim: int):
        super().__init__()
        self.body = nn.LayerNorm(dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class TokenReference(nn.Module):
    """The reference attention of the content-aware block, equations 17 to 20.

    size: numbers in a token of e_c. scaled: by 1 / sqrt(dim); equation 19 has no scale. Unless the
    start is "random", the values are zero at first: nothing is added.
    """

    def __init__(self, size: int, dim: int, scaled: bool, start: Start):
        super().__init__()
        self.scale = None if scaled else 1.0
        self.mlp = nn.Sequential(nn.Linear(size, dim), nn.GELU(), nn.Linear(dim, dim))
        self.norm = ChannelNorm(dim)
        self.w_q, self.w_k, self.w_v = _linear(dim, dim), _linear(dim, dim), _linear(dim, dim)
        if start != "random":
            nn.init.zeros_(self.w_v.weight)

    def forward(self, x: torch.Tensor, tokens: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """RA of ``(B,dim,H,W)`` to ``(B,n,size)``, of which ``there`` ``(B,n)`` counts."""
        tokens, there = with_nothing(tokens, there)
        reference = self.mlp(tokens)
        query = self.w_q(self.norm(x).flatten(2).transpose(1, 2))
        found = attend(query, self.w_k(reference), self.w_v(reference), there, self.scale)
        return found.transpose(1, 2).reshape(x.shape)


def content_aware(
    block: Any,
    x: torch.Tensor,
    reference: TokenReference,
    tokens: torch.Tensor,
    there: torch.Tensor,
    residual: bool,
) -> torch.Tensor:
    """Equations 14 to 16 on a block of Restormer; residual: False is equation 16 as written."""
    x = x + block.attn(block.norm1(x))
    x = x + reference(x, tokens, there)
    refined = block.ffn(block.norm2(x))
    if residual:
        return x + refined
    return refined


class GlobalReference(nn.Module):
    """GRA: transposed attention whose keys and values are the reference's (equation 24)."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.q, self.kv = _conv(dim, dim, 1), _conv(dim, 2 * dim, 1)
        self.q_dwconv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim, bias=False)
        self.kv_dwconv = nn.Conv2d(2 * dim, 2 * dim, 3, padding=1, groups=2 * dim, bias=False)
        self.project_out = _conv(dim, dim, 1)

    def forward(self, x: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        query = self._split(self.q_dwconv(self.q(x)))
        key, value = map(self._split, self.kv_dwconv(self.kv(reference)).chunk(2, 1))
        query, key = normalize(query, dim=-1), normalize(key, dim=-1)
        weights = (query @ key.transpose(-2, -1) * self.temperature).softmax(-1)
        return self.project_out((weights @ value).reshape(x.shape))

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        """``(B,C,H,W)`` to ``(B,heads,C/heads,HW)``."""
        return x.unflatten(1, (self.heads, -1)).flatten(3)


class LocalReference(nn.Module):
    """LRA, equations 26 to 29; one W_1 and one W_2 read the features and the reference.

    softmax: over the "channels" of each pixel, or over the "pixels" of each channel.
    """

    def __init__(self, dim: int, softmax: str):
        super().__init__()
        self.softmax = softmax
        self.w1, self.w2, self.wa = _conv(dim, dim), _conv(dim, dim), _conv(dim, dim)

    def forward(self, x: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        own = self.w2(relu(self.w1(x)))  # 26
        other = self.w2(relu(self.w1(reference)))  # 27
        likeness = self.wa(own + other)  # 28
        if self.softmax == "channels":
            weights = likeness.softmax(1)
        else:
            weights = likeness.flatten(2).softmax(2).reshape(likeness.shape)
        return own + weights * other  # 29


class PictureReference(nn.Module):
    """What equation 24 adds to the features: local and global attention to the reference picture.

    scale: the picture's side over the map's. phi is one convolution whose stride is that. Unless
    the start is "random", Theta is zero at first: nothing is added.
    """

    def __init__(self, dim: int, heads: int, scale: int, softmax: str, start: Start):
        super().__init__()
        half = dim // 2
        self.phi = nn.Conv2d(3, half, scale + 2, stride=scale, padding=1, bias=False)
        self.norm = ChannelNorm(dim)
        self.local_attention = LocalReference(half, softmax)
        self.global_attention = GlobalReference(half, heads)
        self.theta = _conv(dim, dim, 1)
        if start != "random":
            nn.init.zeros_(self.theta.weight)

    def forward(self, x: torch.Tensor, picture: torch.Tensor) -> torch.Tensor:
        """Of ``(B,dim,H,W)`` and ``(B,3,scale H,scale W)``."""
        reference = self.phi(picture)  # 21
        first, second = self.norm(x).chunk(2, 1)  # 23
        found = [
            self.local_attention(first, reference),
            self.global_attention(second, reference),
        ]
        return self.theta(torch.cat(found, 1))  # 24


def reference_based(
    block: Any, x: torch.Tensor, reference: PictureReference, picture: torch.Tensor
) -> torch.Tensor:
    """Equations 22 to 25 on a block of Restormer; picture: ``(B,3,scale H,scale W)``."""
    x = x + block.attn(block.norm1(x))
    x = x + reference(x, picture)
    return x + block.ffn(block.norm2(x))


def mirrored(image: torch.Tensor, multiple: int) -> torch.Tensor:
    """``(B,C,H,W)`` mirrored on the right and bottom up to a multiple, as backbone restormer is.

    An edge is repeated where an image is too small to be mirrored so far.
    """
    height, width = image.shape[-2:]
    down, right = -height % multiple, -width % multiple
    image = _widened(image, (0, right, 0, 0), right < width)
    return _widened(image, (0, 0, 0, down), down < height)


def _widened(image: torch.Tensor, edges: tuple[int, ...], fits: bool) -> torch.Tensor:
    if not any(edges):
        return image
    return pad(image, edges, mode="reflect" if fits else "replicate")


def as_large_as(picture: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """A picture ``(B,3,h,w)`` at the image's ``(H,W)``: bilinear, unless it has them already."""
    if picture.shape[-2:] == image.shape[-2:]:
        return picture
    return interpolate(picture, image.shape[-2:], mode="bilinear", antialias=True)
