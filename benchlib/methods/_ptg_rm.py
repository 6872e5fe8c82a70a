"""R of PTG-RM: what refines a restored image, or a feature, guided by a vector.

Xu et al., "Boosting Image Restoration via Priors from Pre-trained Models" (CVPR 2024), equations 1
to 7, and class ``refinement2`` of xiaogang00/pretrain_model_boost_restoration@68dd0351. Parameters
have the official names, so that its state dict loads strictly. ``ptg_rm.py`` is the method.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import nn
from torch.nn.functional import (
    adaptive_avg_pool2d,
    avg_pool2d,
    gelu,
    interpolate,
    leaky_relu,
    normalize,
    pad,
    pixel_shuffle,
    relu,
)
from torch.utils.checkpoint import checkpoint

from benchlib.contracts import BenchError

VERSION = 1

LIMIT = 1_000_000  # parameters: the paper's "< 1M"
CODE = 64  # numbers that T_m and T_c give
HIDDEN = 256  # numbers between their two layers, in the official code
NARROWEST = 16  # what HIDDEN is halved to at most, for long vectors
GRID = (4, 8, 8)  # channels, rows and columns of the prior as a map
KERNEL = 3  # side of C_p
LAYERS = 4  # Restormer's blocks in R_l
NUMBERS = 2**22  # in the kernels of a strip: 16 MB
LEAST = 4  # pixels: the least side of what is encoded

Guided = Literal["prior", "features", "none"]

act = partial(leaky_relu, negative_slope=0.1)


@dataclass(frozen=True)
class Settings:
    """What R is; ``ptg_rm.Config`` says what each means.

    Raises BenchError for settings that do not go together.
    """

    size: Annotated[int, Field(ge=1)] = 256
    reading: Literal["paper", "released"] = "paper"
    ranges: Literal["prior", "sum", "snr"] = "prior"
    channel: Guided = "prior"
    spatial: Guided = "prior"
    position: bool = True
    prior: Literal["guide", "concat-1d", "concat-2d"] = "guide"
    width: Annotated[int, Field(ge=1, le=256)] = 16
    hidden: Annotated[int, Field(ge=1)] | None = None
    normalise: bool = True
    mask: Literal["any", "unit"] = "any"
    mask_channels: Literal[1, 3] = 1
    start: Literal["identity", "random"] = "identity"

    def __post_init__(self) -> None:
        chosen = (self.mask, self.mask_channels)
        if self.reading == "released" and chosen != ("any", 1):
            raise BenchError(
                f"ptg_rm: mask, mask_channels: got {self.mask!r}, {self.mask_channels}; the "
                "released reading has no mask I_m; leave them out, or set reading: paper"
            )
        if self.mask == "unit" and self.start == "identity":
            raise BenchError(
                "ptg_rm: mask: got 'unit' with start 'identity'; a sigmoid is never 1; "
                "set start: random, or mask: any"
            )

    @property
    def guides(self) -> bool:
        """Whether the components read the vector, rather than features that it was put into."""
        return self.prior == "guide"

    @property
    def attends(self) -> bool:
        """Whether channel or spatial attention reads the vector (T_c)."""
        return self.guides and "prior" in (self.channel, self.spatial)

    @property
    def reads_vector(self) -> bool:
        """Whether anything reads the vector."""
        return not self.guides or self.ranges == "prior" or self.attends


# --- parts ---------------------------------------------------------------------------------------


class Affine(nn.Module):
    """A weight and a bias a channel."""

    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))


class ChannelNorm(nn.Module):
    """Restormer's LayerNorm with bias: each location over its channels."""

    def __init__(self, width: int):
        super().__init__()
        self.body = Affine(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # step by step as there, not nn.functional.layer_norm: that rounds otherwise
        last = x.movedim(1, -1)
        mean = last.mean(-1, keepdim=True)
        variance = last.var(-1, keepdim=True, unbiased=False)
        normed = (last - mean) / (variance + 1e-5).sqrt() * self.body.weight + self.body.bias
        return normed.movedim(-1, 1)


class ChannelAttention(nn.Module):
    """Restormer's attention between channels, with one head: its cost grows with the pixels."""

    def __init__(self, width: int):
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(1, 1, 1))
        self.qkv = nn.Conv2d(width, 3 * width, 1, bias=False)
        self.qkv_dwconv = depthwise(3 * width)
        self.project_out = nn.Conv2d(width, width, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = self.qkv_dwconv(self.qkv(x)).flatten(2).chunk(3, 1)
        likeness = normalize(query, dim=2) @ normalize(key, dim=2).transpose(1, 2)
        weights = (likeness * self.temperature).softmax(2)
        return self.project_out((weights @ value).reshape(x.shape))


class GatedNetwork(nn.Module):
    """Restormer's feed-forward network: one half gates the other."""

    def __init__(self, width: int):
        super().__init__()
        inner = int(2.66 * width)
        self.project_in = nn.Conv2d(width, 2 * inner, 1, bias=False)
        self.dwconv = depthwise(2 * inner)
        self.project_out = nn.Conv2d(inner, width, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate, value = self.dwconv(self.project_in(x)).chunk(2, 1)
        return self.project_out(gelu(gate) * value)


class LongRange(nn.Module):
    """One block of Restormer, ``(B,c,h,w)`` to the same."""

    def __init__(self, width: int):
        super().__init__()
        self.norm1, self.attn = ChannelNorm(width), ChannelAttention(width)
        self.norm2, self.ffn = ChannelNorm(width), GatedNetwork(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.ffn(self.norm2(x))


class ShortRange(nn.Module):
    """R_s: a residual block, ``(B,c,h,w)`` to the same."""

    def __init__(self, width: int):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv2(relu(self.conv1(x)))


def depthwise(width: int) -> nn.Conv2d:
    """A 3x3 convolution of each channel by itself."""
    return nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)


def plain(inputs: int, outputs: int, side: int = 3, stride: int = 1) -> nn.Conv2d:
    """A convolution without bias that keeps the size, but for its stride."""
    return nn.Conv2d(inputs, outputs, side, stride, side // 2, bias=False)


# --- where and how well --------------------------------------------------------------------------


def coordinates(feature: torch.Tensor) -> torch.Tensor:
    """S of a map ``(B,c,h,w)``: row and column of each location, -1 to 1, as ``(B,2,h,w)``."""
    count, _, height, width = feature.shape
    rows = torch.linspace(-1, 1, height, device=feature.device, dtype=feature.dtype)
    columns = torch.linspace(-1, 1, width, device=feature.device, dtype=feature.dtype)
    grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))
    return grid.expand(count, -1, -1, -1)


def snr_map(image: torch.Tensor) -> torch.Tensor:
    """SNR-Aware's map of an image ``(B,3,H,W)``: ``(B,1,H,W)`` in [0,1], 1 where it is clean.

    Luma of the image blurred by a 5x5 box, over what the blur took off, over the image's largest
    (Xu et al., CVPR 2022; ``Video_base_model4_m.py`` of dvlab-research's repository, @1113144c).
    """
    mode = "reflect"
    if min(image.shape[-2:]) < 3:  # a border of two needs three pixels
        mode = "replicate"
    blurred = avg_pool2d(pad(image, (2, 2, 2, 2), mode=mode), 5, 1)
    return signal_to_noise(luma(image), luma(blurred))


def luma(image: torch.Tensor) -> torch.Tensor:
    """BT.601: ``(B,3,H,W)`` -> ``(B,1,H,W)``."""
    red, green, blue = image.split(1, 1)
    return red * 0.299 + green * 0.587 + blue * 0.114


def signal_to_noise(dark: torch.Tensor, light: torch.Tensor) -> torch.Tensor:
    """Of the luma of an image and of its blurred copy, ``(B,1,H,W)`` each: the same in [0,1]."""
    ratio = light / ((dark - light).abs() + 1e-4)
    return (ratio / (ratio.amax((2, 3), keepdim=True) + 1e-4)).clamp(0, 1)


# --- one kernel a location -----------------------------------------------------------------------


def filtered(feature: torch.Tensor, kernels: torch.Tensor) -> torch.Tensor:
    """f * C_p of equation 6: each location and channel by a 3x3 kernel of its own.

    feature: ``(B,c,h + 2,w + 2)``, with its border. kernels: ``(B,9 c,h,w)``, channel
    ``9 c + 3 dy + dx``. Returns ``(B,c,h,w)``: a sum over taps, which unfolds nothing.
    """
    height, width = kernels.shape[-2:]
    taps = kernels.unflatten(1, (-1, KERNEL**2))
    total = torch.zeros_like(taps[:, :, 0])
    for tap in range(KERNEL**2):
        down, right = divmod(tap, KERNEL)
        moved = feature[:, :, down : down + height, right : right + width]
        total = total + moved * taps[:, :, tap]
    return total


def in_strips(
    work: Callable[[int, int], torch.Tensor], height: int, width: int, locations: int
) -> torch.Tensor:
    """``work(top, bottom)`` of strips of rows, put together: ``(B,c,height,width)``.

    A strip has at most ``locations``, or one row. What it computes on the way is computed again
    for the gradient rather than kept, so that one strip's is held at a time.
    """
    rows = max(1, locations // width)
    if rows >= height:
        return work(0, height)
    strips = []
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        if torch.is_grad_enabled():
            strips.append(checkpoint(work, top, bottom, use_reentrant=False))
        else:
            strips.append(work(top, bottom))
    return torch.cat(strips, 2)


# --- the module ----------------------------------------------------------------------------------


class Refinement(nn.Module):
    """R: ``(image, restored, vector)`` -> the refined ``restored``, of any size.

    on_image: False where it refines a feature: there is no degraded counterpart of it, so that
    I_d of equation 1 is zero. channels: of what it refines. halvings: how often the encoder
    halves it (0 to 2).

    Raises BenchError if it has a million parameters or more while it reads a vector.
    """

    def __init__(
        self, settings: Settings, channels: int = 3, on_image: bool = True, halvings: int = 2
    ):
        super().__init__()
        self.settings, self.on_image, self.channels = settings, on_image, channels
        self.halvings = halvings
        width = settings.width
        self._encoder(3 + channels, width)
        self._enhancement(width)
        self._attention(width)
        self._decoder(width)
        self._projections()

    def _encoder(self, inputs: int, width: int) -> None:
        self.r1 = plain(inputs, width)
        self.r1norm = nn.InstanceNorm2d(width, affine=True)
        self.r2 = plain(width, width, stride=1 + (self.halvings > 0))
        self.r2norm = nn.InstanceNorm2d(width, affine=True)
        self.r22 = plain(width, width, stride=1 + (self.halvings > 1))

    def _enhancement(self, width: int) -> None:
        self.transformer = nn.Sequential(*[LongRange(width) for _ in range(LAYERS)])
        self.resnet = ShortRange(width)
        if self.settings.ranges == "prior":
            self.r1_mask = plain(self._inputs("prior"), width)
            self.r2_mask = plain(width, 1)
            if self._placed("prior"):
                self.mapp_position1, self.mapp_position2 = plain(2, width), plain(width, width, 1)

    def _attention(self, width: int) -> None:
        settings = self.settings
        if settings.channel != "none":
            code = CODE * self._reads(settings.channel)
            self.mapping11 = nn.Linear(width + code, width, bias=False)
            self.mapping12 = nn.Linear(width, width, bias=False)
        if settings.spatial != "none":
            kernels = KERNEL**2 * width
            self.mapp11 = plain(self._inputs(settings.spatial), kernels)
            self.mapp12 = plain(kernels, kernels)
            self.mapp1 = plain(width, 1)
            if self._placed(settings.spatial):
                self.mapp_position11 = plain(2, width)
                self.mapp_position22 = plain(width, width, 1)
        branches = 2 - [settings.channel, settings.spatial].count("none")
        if branches:
            self.refine11 = plain(branches * width, width, 1)

    def _decoder(self, width: int) -> None:
        self.r1_decoder = plain(width, width * 4 ** (self.halvings > 0))
        self.r2_decoder = plain(width, width * 4 ** (self.halvings > 1))
        self.conv_last2 = nn.Conv2d(width, width, 3, padding=1)
        outputs = self.channels
        if self.settings.reading == "paper":
            outputs += self.settings.mask_channels
        self.conv_last3 = nn.Conv2d(width, outputs, 3, padding=1)
        if self.settings.start == "identity":
            nn.init.zeros_(self.conv_last3.weight)
            nn.init.zeros_(self.conv_last3.bias)  # type: ignore[arg-type]

    def _projections(self) -> None:
        """T_m and T_c, last: their width is what a million parameters leave."""
        settings, code = self.settings, CODE
        if settings.prior == "concat-2d":
            code = GRID[0] * GRID[1] * GRID[2]
        both = {
            "m": not settings.guides or settings.ranges == "prior",
            "c": settings.attends,
        }
        if not settings.guides:
            channels = GRID[0] if settings.prior == "concat-2d" else CODE
            self.concat = plain(settings.width + channels, settings.width, 1)
        hidden = self._hidden(sum(both.values()), code)
        if both["m"]:
            self.mapp_space1 = nn.Linear(settings.size, hidden, bias=False)
            self.mapp_space2 = nn.Linear(hidden, code, bias=False)
        if both["c"]:
            self.mapp_space11 = nn.Linear(settings.size, hidden, bias=False)
            self.mapp_space22 = nn.Linear(hidden, code, bias=False)

    def _hidden(self, projections: int, code: int) -> int:
        """The numbers between a projection's two layers; halved until a long vector fits."""
        settings = self.settings
        others = sum(parameter.numel() for parameter in self.parameters())
        hidden = settings.hidden or HIDDEN
        while projections:
            total = others + projections * hidden * (settings.size + code)
            if total < LIMIT:
                break
            hidden //= 2
            if settings.hidden or hidden < NARROWEST:
                raise BenchError(
                    f"ptg_rm: {total:,} parameters with size {settings.size}, width "
                    f"{settings.width}, hidden {settings.hidden or 2 * hidden}; expected fewer "
                    f"than {LIMIT:,}, as the paper says; lower hidden or width"
                )
        return hidden

    def _reads(self, how: Guided) -> bool:
        return self.settings.guides and how == "prior"

    def _placed(self, how: Guided) -> bool:
        """Whether a component reads a position too: it says where the vector applies."""
        return self.settings.position and self._reads(how)

    def _inputs(self, how: Guided) -> int:
        """Channels of f, of T(g) and of S, as far as a component reads them."""
        width = self.settings.width
        return width + CODE * self._reads(how) + width * self._placed(how)

    # --- what it does ---

    def forward(
        self, image: torch.Tensor, restored: torch.Tensor, vector: torch.Tensor | None
    ) -> torch.Tensor:
        """Equation 1, or what the official code has in its place.

        image: ``(B,3,H,W)``, the degraded one; resized where ``restored`` is larger or smaller.
        restored: ``(B,channels,H',W')``, what F gives, not clipped. vector: ``(B,size)``, or None
        where nothing reads it. Returns the shape of ``restored``, not clipped.
        """
        whole, image = image, resized(image, restored)
        height, width = restored.shape[-2:]
        missing = (0, max(0, LEAST - width), 0, max(0, LEAST - height))
        first = pad(torch.cat([restored, image], 1), missing, mode="replicate")
        if self.settings.normalise and vector is not None:
            vector = normalize(vector, dim=1)
        feature = self.encode(first)
        if not self.settings.guides:
            assert vector is not None
            feature = self._concatenated(feature, vector)
        feature = self.enhance(feature, vector, whole)
        given = self.decode(self.attend(feature, vector))[:, :, :height, :width]
        residual = given[:, : self.channels]
        if self.settings.reading == "released":
            if self.on_image:
                restored = restored.clamp(0, 1)
            return restored + residual
        mask = 1 + given[:, self.channels :]
        if self.settings.mask == "unit":
            mask = torch.sigmoid(mask - 1)
        if not self.on_image:
            return restored * mask + residual
        return image + (restored - image) * mask + residual

    def encode(self, first: torch.Tensor) -> torch.Tensor:
        """R_e: ``(B,channels + 3,H,W)`` -> f, ``(B,c,h,w)``."""
        inner = act(self.r1norm(self.r1(first)))
        return self.r22(self.r2norm(self.r2(inner)))

    def _concatenated(self, feature: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
        """The ablations that put the prior beside f, and one 1x1 convolution over both."""
        code = self.mapp_space2(act(self.mapp_space1(vector)))
        if self.settings.prior == "concat-1d":
            beside = spread(code, feature)
        else:
            grid = code.unflatten(1, GRID)
            beside = interpolate(grid, feature.shape[-2:], mode="bilinear", align_corners=False)
        return self.concat(torch.cat([feature, beside], 1))

    def enhance(
        self, feature: torch.Tensor, vector: torch.Tensor | None, image: torch.Tensor
    ) -> torch.Tensor:
        """PTG-SVE, equations 2 and 3: f -> f-hat."""
        long, short = self.transformer(feature), self.resnet(feature)
        if self.settings.ranges == "sum":
            return long + short
        if self.settings.ranges == "snr":
            where = interpolate(snr_map(image), feature.shape[-2:], mode="nearest")
            return where * short + (1 - where) * long
        where = self.range_scores(feature, vector)
        if self.settings.reading == "released":
            return where * long + (1 - where) * short
        return where * short + (1 - where) * long

    def range_scores(self, feature: torch.Tensor, vector: torch.Tensor | None) -> torch.Tensor:
        """M of equation 2, ``(B,1,h,w)`` in [0,1]."""
        read = [feature]
        if self._reads("prior"):
            assert vector is not None
            read.append(spread(self.mapp_space2(act(self.mapp_space1(vector))), feature))
        if self._placed("prior"):
            read.append(self.mapp_position2(act(self.mapp_position1(coordinates(feature)))))
        return torch.sigmoid(self.r2_mask(act(self.r1_mask(torch.cat(read, 1)))))

    def attend(self, feature: torch.Tensor, vector: torch.Tensor | None) -> torch.Tensor:
        """PTG-CSA, equations 4 to 7: f-hat -> f-bar."""
        settings, code = self.settings, None
        if settings.attends:
            assert vector is not None
            code = self.mapp_space22(act(self.mapp_space11(vector)))
        branches = []
        if settings.channel != "none":
            branches.append(feature * self.channel_attention(feature, code))
        if settings.spatial != "none":
            branches.append(feature * self.spatial_attention(feature, code))
        if not branches:
            return feature
        merged = self.refine11(torch.cat(branches, 1))
        if settings.reading == "released":
            return merged + feature
        return merged

    def channel_attention(self, feature: torch.Tensor, code: torch.Tensor | None) -> torch.Tensor:
        """M_c of equation 4, ``(B,c,1,1)`` in [0,1]."""
        pooled = feature.mean((2, 3))
        if self._reads(self.settings.channel):
            assert code is not None
            pooled = torch.cat([pooled, code], 1)
        return torch.sigmoid(self.mapping12(act(self.mapping11(pooled))))[:, :, None, None]

    def spatial_attention(self, feature: torch.Tensor, code: torch.Tensor | None) -> torch.Tensor:
        """M_s of equations 5 and 6, ``(B,1,h,w)`` in [0,1].

        C_p has nine numbers a location and channel: it is made and used in strips of rows.
        """
        place = None
        if self._placed(self.settings.spatial):
            place = self.mapp_position22(act(self.mapp_position11(coordinates(feature))))
        bordered = pad(feature, (1, 1, 1, 1), mode="replicate")
        work = partial(self._strip, feature, bordered, code, place)
        locations = NUMBERS // (KERNEL**2 * self.settings.width)
        height, width = feature.shape[-2:]
        return torch.sigmoid(self.mapp1(act(in_strips(work, height, width, locations))))

    def _strip(
        self,
        feature: torch.Tensor,
        bordered: torch.Tensor,
        code: torch.Tensor | None,
        place: torch.Tensor | None,
        top: int,
        bottom: int,
    ) -> torch.Tensor:
        """f-hat * C_p in the rows from ``top`` to ``bottom``.

        R_p's two convolutions see two rows beyond them, zeros beyond the map as everywhere.
        """
        first, last = max(0, top - 2), min(feature.shape[2], bottom + 2)
        rows = feature[:, :, first:last]
        read = [rows]
        if self._reads(self.settings.spatial):
            assert code is not None
            read.append(spread(code, rows))
        if place is not None:
            read.append(place[:, :, first:last])
        kernels = self.mapp12(act(self.mapp11(torch.cat(read, 1))))
        kernels = kernels[:, :, top - first : bottom - first]
        return filtered(bordered[:, :, top : bottom + 2], kernels)

    def decode(self, feature: torch.Tensor) -> torch.Tensor:
        """R_d: f-bar -> I_r and, where there is one, I_m, at four times the size or a little
        more.
        """
        inner = act(pixel_shuffle(self.r1_decoder(feature), 1 + (self.halvings > 0)))
        inner = act(pixel_shuffle(self.r2_decoder(inner), 1 + (self.halvings > 1)))
        return self.conv_last3(act(self.conv_last2(inner)))


def spread(code: torch.Tensor, feature: torch.Tensor) -> torch.Tensor:
    """T(g) ``(B,d)`` as a map ``(B,d,h,w)``, the same everywhere."""
    return code[:, :, None, None].expand(-1, -1, *feature.shape[-2:])


def resized(image: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The degraded image at another map's size: bicubic where that is larger, else averaged."""
    size: Any = like.shape[-2:]
    if image.shape[-2:] == size:
        return image
    if image.shape[-2] < size[0]:
        # torch's kernel is MATLAB's only with antialias, which does nothing else when enlarging
        return interpolate(image, size, mode="bicubic", antialias=True)
    return adaptive_avg_pool2d(image, size)
