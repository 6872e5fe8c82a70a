"""EDVR (Wang et al., CVPRW 2019): a window of frames, aligned by deformable convolutions, fused.

Parameter names and operations are those of XPixelGroup/BasicSR at 8d56e3a
(``basicsr/archs/edvr_arch.py``), where the deformable convolution is torchvision's too. It restores
the window's middle frame, four times as large, or at its own size with ``full_size``.

Sizes that are no multiples of 4 (16 with ``full_size``), which the official code refuses, are
mirrored up to them. ``center_frame_idx`` other than the middle, which no published model has, is
left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import nn
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d
from torchvision.ops import deform_conv2d

from benchlib.backbones._clips import (
    Residual,
    Seam,
    add_enlargement,
    by_4,
    conv,
    enlarged,
    lrelu,
    residuals,
)
from benchlib.backbones._sizes import mirror_to
from benchlib.contracts import BenchError, Frames, Padding

VERSION = 1
USES = {"backbones/_clips.py": 1, "backbones/_sizes.py": 1}

Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class Config:
    """The defaults are EDVR-M; ``{width: 128, reconstruct: 40}`` is EDVR-L.

    width: channels. frames: of the window, an odd number. groups: of deformable convolutions.
    extract, reconstruct: residual blocks before and after the fusion. full_size: blurred frames at
    their own size, not enlarged. predeblur: a pyramid that deblurs before features are taken.
    tsa: frames are fused by temporal and spatial attention; else by one convolution. padding: what
    stands beyond a clip's ends: officially "reflection_circle", with ``predeblur`` "replicate".

    Raises BenchError for settings that do not go together.
    """

    width: Count = 64
    frames: Annotated[int, Field(ge=1, le=99)] = 5
    groups: Count = 8
    extract: Count = 5
    reconstruct: Count = 10
    full_size: bool = False
    predeblur: bool = False
    tsa: bool = True
    padding: Padding = "reflection_circle"

    def __post_init__(self) -> None:
        if self.frames % 2 == 0:
            raise BenchError(f"edvr: frames: got {self.frames}; expected an odd number")
        if self.width % self.groups:
            raise BenchError(
                f"edvr: groups: got {self.groups} for a width of {self.width}; expected a divisor"
            )
        if self.full_size and not self.predeblur:
            raise BenchError(
                "edvr: full_size: got true without predeblur, whose strides it takes; set both"
            )


class Deformed(nn.Module):
    """A 3x3 convolution whose taps lie, and weigh, where another map says (DCNv2)."""

    def __init__(self, width: int, groups: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, width, 3, 3))
        self.bias = nn.Parameter(torch.zeros(width))
        self.conv_offset = conv(width, 3 * 9 * groups)
        bound = (9 * width) ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)
        for weight in self.conv_offset.parameters():
            nn.init.zeros_(weight)

    def forward(self, x: torch.Tensor, guide: torch.Tensor) -> torch.Tensor:
        first, second, mask = self.conv_offset(guide).chunk(3, 1)
        offset = torch.cat([first, second], 1)
        return deform_conv2d(x, offset, self.weight, self.bias, padding=1, mask=mask.sigmoid())


def _twice(x: torch.Tensor) -> torch.Tensor:
    return interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class Alignment(nn.Module):
    """PCD: a frame's features moved onto the middle frame's, from coarse to fine, and once more."""

    def __init__(self, width: int, groups: int):
        super().__init__()
        levels = ("l3", "l2", "l1")
        self.offset_conv1 = nn.ModuleDict({level: conv(2 * width, width) for level in levels})
        self.offset_conv2 = nn.ModuleDict({"l3": conv(width, width)})
        self.offset_conv3 = nn.ModuleDict()
        self.dcn_pack = nn.ModuleDict({level: Deformed(width, groups) for level in levels})
        self.feat_conv = nn.ModuleDict()
        for level in levels[1:]:
            self.offset_conv2[level] = conv(2 * width, width)
            self.offset_conv3[level] = conv(width, width)
            self.feat_conv[level] = conv(2 * width, width)
        self.cas_offset_conv1 = conv(2 * width, width)
        self.cas_offset_conv2 = conv(width, width)
        self.cas_dcnpack = Deformed(width, groups)

    def forward(self, moved: list[torch.Tensor], fixed: list[torch.Tensor]) -> torch.Tensor:
        """Levels 1 to 3 of both, ``(B,C,H,W)`` and halves of it, to ``(B,C,H,W)``."""
        offset, x = self._coarsest(moved[2], fixed[2])
        for number in (2, 1):
            level = f"l{number}"
            here = moved[number - 1]
            both = torch.cat([here, fixed[number - 1]], 1)
            finer = lrelu(self.offset_conv1[level](both))
            # an offset is twice as long where pixels are half as large
            finer = lrelu(self.offset_conv2[level](torch.cat([finer, 2 * _twice(offset)], 1)))
            offset = lrelu(self.offset_conv3[level](finer))
            aligned = self.dcn_pack[level](here, offset)
            x = self.feat_conv[level](torch.cat([aligned, _twice(x)], 1))
            if number > 1:
                x = lrelu(x)
        offset = lrelu(self.cas_offset_conv1(torch.cat([x, fixed[0]], 1)))
        offset = lrelu(self.cas_offset_conv2(offset))
        return lrelu(self.cas_dcnpack(x, offset))

    def _coarsest(
        self, moved: torch.Tensor, fixed: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        offset = lrelu(self.offset_conv1["l3"](torch.cat([moved, fixed], 1)))
        offset = lrelu(self.offset_conv2["l3"](offset))
        return offset, lrelu(self.dcn_pack["l3"](moved, offset))


class Attention(nn.Module):
    """TSA: frames weighed by how like the middle one they are, then each place of their fusion."""

    def __init__(self, width: int, frames: int):
        super().__init__()
        self.temporal_attn1 = conv(width, width)
        self.temporal_attn2 = conv(width, width)
        self.feat_fusion = nn.Conv2d(frames * width, width, 1)
        self.spatial_attn1 = nn.Conv2d(frames * width, width, 1)
        self.spatial_attn2 = nn.Conv2d(2 * width, width, 1)
        self.spatial_attn3 = conv(width, width)
        self.spatial_attn4 = nn.Conv2d(width, width, 1)
        self.spatial_attn5 = conv(width, width)
        self.spatial_attn_l1 = nn.Conv2d(width, width, 1)
        self.spatial_attn_l2 = conv(2 * width, width)
        self.spatial_attn_l3 = conv(width, width)
        self.spatial_attn_add1 = nn.Conv2d(width, width, 1)
        self.spatial_attn_add2 = nn.Conv2d(width, width, 1)

    def forward(self, aligned: torch.Tensor) -> torch.Tensor:
        """``(B,T,C,H,W)`` to ``(B,C,H,W)``."""
        count = aligned.shape[1]
        middle = self.temporal_attn1(aligned[:, count // 2])
        each = self.temporal_attn2(aligned.flatten(0, 1)).unflatten(0, (-1, count))
        likeness = (each * middle[:, None]).sum(2, keepdim=True).sigmoid()
        weighed = (aligned * likeness).flatten(1, 2)
        fused = lrelu(self.feat_fusion(weighed))
        attention, more = self._over_places(weighed)
        return fused * attention.sigmoid() * 2 + more

    def _over_places(self, weighed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        half = lrelu(self.spatial_attn1(weighed))
        half = lrelu(self.spatial_attn2(_pooled(half)))
        quarter = lrelu(self.spatial_attn_l1(half))
        quarter = lrelu(self.spatial_attn_l2(_pooled(quarter)))
        quarter = lrelu(self.spatial_attn_l3(quarter))
        half = lrelu(self.spatial_attn3(half)) + _twice(quarter)
        whole = self.spatial_attn5(_twice(lrelu(self.spatial_attn4(half))))
        return whole, self.spatial_attn_add2(lrelu(self.spatial_attn_add1(whole)))


def _pooled(x: torch.Tensor) -> torch.Tensor:
    """The largest and the mean of 3x3 places, at half the size: ``(B,2C,H/2,W/2)``."""
    return torch.cat([max_pool2d(x, 3, 2, 1), avg_pool2d(x, 3, 2, 1)], 1)


class Predeblur(nn.Module):
    """A pyramid of three levels; with ``full_size`` it begins at a quarter of the size."""

    def __init__(self, in_channels: int, width: int, full_size: bool):
        super().__init__()
        self.full_size = full_size
        self.conv_first = conv(in_channels, width)
        if full_size:
            self.stride_conv_hr1 = conv(width, width, 2)
            self.stride_conv_hr2 = conv(width, width, 2)
        self.stride_conv_l2 = conv(width, width, 2)
        self.stride_conv_l3 = conv(width, width, 2)
        self.resblock_l3 = Residual(width)
        self.resblock_l2_1 = Residual(width)
        self.resblock_l2_2 = Residual(width)
        self.resblock_l1 = residuals(5, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = lrelu(self.conv_first(x))
        if self.full_size:
            x = lrelu(self.stride_conv_hr1(x))
            x = lrelu(self.stride_conv_hr2(x))
        half = lrelu(self.stride_conv_l2(x))
        quarter = lrelu(self.stride_conv_l3(half))
        half = self.resblock_l2_1(half) + _twice(self.resblock_l3(quarter))
        x = self.resblock_l1[:2](x) + _twice(self.resblock_l2_2(half))
        return self.resblock_l1[2:](x)


class EDVR(nn.Module):
    def __init__(self, config: Config, in_channels: int):
        super().__init__()
        width = config.width
        self.config = config
        self.padder_size = 16 if config.full_size else 4
        if config.predeblur:
            self.predeblur = Predeblur(in_channels, width, config.full_size)
            self.conv_1x1 = nn.Conv2d(width, width, 1)
        else:
            self.conv_first = conv(in_channels, width)
        self.feature_extraction = residuals(config.extract, width)
        self.conv_l2_1 = conv(width, width, 2)
        self.conv_l2_2 = conv(width, width)
        self.conv_l3_1 = conv(width, width, 2)
        self.conv_l3_2 = conv(width, width)
        self.pcd_align = Alignment(width, config.groups)
        self.fusion: nn.Module = nn.Conv2d(config.frames * width, width, 1)
        if config.tsa:
            self.fusion = Attention(width, config.frames)
        self.reconstruction = residuals(config.reconstruct, width)
        add_enlargement(self, width)
        self.seam = Seam()
        self.fused_seam = Seam()

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        """A window ``(B,frames,C,H,W)`` to its middle frame ``(B,3,scale H,scale W)``.

        Raises BenchError for another number of frames.
        """
        _check_window(clip, self.config.frames)
        count, middle = self.config.frames, self.config.frames // 2
        height, width = clip.shape[-2:]
        frames = mirror_to(clip.flatten(0, 1), self.padder_size)
        levels = self._levels(frames, count)
        fixed = [level[:, middle] for level in levels]
        aligned = []
        for place in range(count):
            aligned.append(self.pcd_align([level[:, place] for level in levels], fixed))
        x = torch.stack(aligned, 1)
        if not self.config.tsa:
            x = x.flatten(1, 2)
        x = self.fused_seam(self.fusion(x), middle)
        image = frames.unflatten(0, (-1, count))[:, middle, :3]
        restored = enlarged(self, self.reconstruction(x))
        if self.config.full_size:
            return (restored + image)[..., :height, :width]
        return (restored + by_4(image))[..., : 4 * height, : 4 * width]

    def _levels(self, frames: torch.Tensor, count: int) -> list[torch.Tensor]:
        """The features of every frame, ``(B,T,C,H,W)``, at three sizes."""
        if self.config.predeblur:
            first = self.conv_1x1(self.predeblur(frames))
        else:
            first = lrelu(self.conv_first(frames))
        each = self.feature_extraction(first).unflatten(0, (-1, count))
        seen = [self.seam(each[:, place], place) for place in range(count)]
        first = torch.stack(seen, 1).flatten(0, 1)
        second = lrelu(self.conv_l2_2(lrelu(self.conv_l2_1(first))))
        third = lrelu(self.conv_l3_2(lrelu(self.conv_l3_1(second))))
        return [level.unflatten(0, (-1, count)) for level in (first, second, third)]


def _check_window(clip: torch.Tensor, frames: int) -> None:
    if clip.ndim != 5 or clip.shape[1] != frames:
        raise BenchError(
            f"edvr: expected a window (B,{frames},C,H,W), got {tuple(clip.shape)}; its suite is of "
            "task video, and `frames` what the network was made for"
        )


def build(config: Config, in_channels: int = 3) -> nn.Module:
    """A network from ``(B,frames,in_channels,H,W)`` float32 in [0,1] to ``(B,3,scale H,scale W)``.

    Any size. The output is not clipped.
    """
    return EDVR(config, in_channels)


def blocks(network: nn.Module) -> list[nn.Module]:
    """The residual blocks before the alignment, which see all frames as one batch, and after it."""
    parts: Any = network
    return [*parts.feature_extraction, *parts.reconstruction]


def scale(config: Config) -> int:
    """4; 1 where frames are restored at their own size."""
    if config.full_size:
        return 1
    return 4


def frames(config: Config) -> Frames:
    """Windows of ``frames``, whose middle frame comes out."""
    return Frames(window=config.frames, trained=config.frames, padding=config.padding)
