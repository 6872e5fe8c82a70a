"""MAP: mask average pooling of SAM-Deblur, with or without mask dropout.

Algorithm 1 of the paper; ``SegNAFNet_arch.py`` of its code. The averages take O(pixels), for
disjoint labels and for overlapping packed masks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import nn
from torch.autograd import Function

from benchlib.contracts import Backbone, Info, need, pad_to

VERSION = 1
INFO = Info(paper="sam-deblur", source="Algorithm 1, section 3.2", needs=("labels",), label="MAP")


@dataclass(frozen=True)
class Config:
    """channels: of the encoder (S; the official code has 2).

    dropout: the share of masks dropped in training. overlapping: sum the averages of all masks
    over a pixel (Algorithm 1 as printed) instead of one mask a pixel (the official data).
    """

    channels: Annotated[int, Field(ge=1)] = 2
    dropout: Annotated[float, Field(ge=0, le=1)] = 0.5
    overlapping: bool = False


def needs(config: Config) -> tuple[str, ...]:
    """The form of the masks: packed bits where they may overlap, else a label map."""
    return ("bits",) if config.overlapping else ("labels",)


def drop_labels(labels: torch.Tensor, dropout: float) -> torch.Tensor:
    """Mask dropout: in each image's ``(H,W)`` labels a share of the masks becomes 0.

    As in the official code, exactly int(dropout * M) of M masks; which ones is drawn from torch's
    global generator. ``labels``: ``(B,H,W)`` int64, and so is the result.
    """
    if dropout == 0:
        return labels
    kept = []
    for image in labels:
        present = torch.unique(image)
        present = present[present > 0]
        drawn = torch.randperm(len(present))[: int(dropout * len(present))]
        keep = torch.arange(int(image.max()) + 1, device=image.device)
        keep[present[drawn.to(image.device)]] = 0
        kept.append(keep[image])
    return torch.stack(kept)


class _Average(Function):
    """Replace each pixel by its region's mean.

    The map is its own adjoint, so backward is the same pooling.
    """

    @staticmethod
    def forward(
        ctx: Any, values: torch.Tensor, region: torch.Tensor, count: torch.Tensor
    ) -> torch.Tensor:
        ctx.save_for_backward(region, count)
        return _means(values, region, count)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        return _means(gradients[0], *ctx.saved_tensors), None, None


def _means(values: torch.Tensor, region: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    means = (_sums(values, region, len(count)) / count[:, None]).to(values.dtype)
    columns = means.shape[1]
    pixels = means.T.contiguous().gather(1, region.flatten().expand(columns, -1))
    return pixels.reshape(columns, *region.shape).transpose(0, 1)


def _sums(values: torch.Tensor, region: torch.Tensor, regions: int) -> torch.Tensor:
    """``(B,S,H,W)`` values -> ``(regions,S)`` sums in float64.

    region: ``(B,H,W)`` ids, unique over the batch.
    """
    flat, columns = region.flatten(), values.movedim(1, -1).flatten(0, -2).double()
    if values.device.type == "cpu":  # bincount sums in double precision and is the fastest there
        return torch.stack([torch.bincount(flat, c, regions) for c in columns.unbind(1)], 1)
    sums = columns.new_zeros(regions, columns.shape[1])
    return sums.index_add_(0, flat, columns)


def average_by_label(
    values: torch.Tensor, labels: torch.Tensor, dropout: float = 0.0
) -> torch.Tensor:
    """Mean of ``values`` ``(B,S,H,W)`` over each region of ``labels`` ``(B,H,W)`` int64.

    Algorithm 1 of SAM-Deblur for disjoint masks. 0, what no mask covers, is a region too. Same
    shape. ``dropout``: see :func:`drop_labels`.
    """
    labels = drop_labels(labels, dropout)
    each = int(labels.max()) + 1
    region = labels + each * torch.arange(len(labels), device=labels.device)[:, None, None]
    count = torch.bincount(region.flatten(), minlength=each * len(labels)).clamp(min=1)
    return _Average.apply(values, region, count)


def average_by_bits(values: torch.Tensor, bits: torch.Tensor, dropout: float = 0.0) -> torch.Tensor:
    """Algorithm 1 of SAM-Deblur for overlapping masks.

    At each pixel the *sum* of the means of the masks that cover it; where none does, the mean over
    all such pixels.

    values: ``(B,S,H,W)``, and so is the result. bits: ``(B,P,H,W)`` int64, mask i is bit
    ``i % 64`` of plane ``i // 64``. dropout: as in :func:`drop_labels`. Pixels with the same bits
    are one cell; sums over masks are sums over cells, so the cost is O(pixels + cells x masks).
    """
    pairs = zip(values, bits, strict=True)
    return torch.cat([_overlapping(value[None], planes, dropout) for value, planes in pairs])


def _cells(bits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """``(P,N)`` int64 -> the distinct columns ``(cells,P)`` and each pixel's cell ``(N,)``.

    Plane by plane: sorting whole columns, ``torch.unique(dim=1)``, takes ten times as long.
    """
    if not len(bits):  # no mask at all: one cell of nothing
        bits = bits.new_zeros(1, bits.shape[1])
    _, cell = torch.unique(bits[0], return_inverse=True)
    for plane in bits[1:]:
        values, index = torch.unique(plane, return_inverse=True)
        _, cell = torch.unique(cell * len(values) + index, return_inverse=True)
    first = torch.empty(int(cell.max()) + 1, dtype=torch.int64, device=bits.device)
    first[cell] = torch.arange(len(cell), device=bits.device)
    return bits[:, first].T, cell


def _overlapping(values: torch.Tensor, bits: torch.Tensor, dropout: float) -> torch.Tensor:
    patterns, cell = _cells(bits.flatten(1))
    member = _membership(patterns, dropout)
    pixels = torch.bincount(cell, minlength=len(member)).double()
    flat = values[0].flatten(1).T.double()
    sums = flat.new_zeros(len(member), flat.shape[1]).index_add(0, cell, flat)
    means = (member.T @ sums) / (member.T @ pixels).clamp(min=1)[:, None]
    return (member @ means)[cell].T.reshape(values.shape).to(values.dtype)


def _membership(patterns: torch.Tensor, dropout: float) -> torch.Tensor:
    """Cells ``(cells,P)`` int64 -> ``(cells,masks + 1)`` float64: 1 where a mask covers a cell.

    Masks of no pixel are left out; the last column is what no mask covers.
    """
    shifts = torch.arange(64, device=patterns.device)
    member = ((patterns[:, :, None] >> shifts) & 1).flatten(1).double()
    member = member[:, member.any(0)]
    masks = member.shape[1]
    kept = torch.randperm(masks)[int(dropout * masks) :].sort().values
    member = member[:, kept.to(patterns.device)]
    uncovered = member.sum(1, keepdim=True) == 0
    return torch.cat([member, uncovered.double()], 1)


class MaskAveragePooling(nn.Module):
    def __init__(self, network: nn.Module, scale: int, config: Config):
        super().__init__()
        self.config, self.scale = config, scale
        # the official names: their checkpoints load
        self.pre_seg = nn.Conv2d(3, config.channels, 3, padding=1)
        self.pre_seg_in = nn.Conv2d(config.channels, config.channels, 1)
        self.network = network

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        """I_enc: ``(B,3,H,W)`` -> ``(B,S,H,W)``."""
        return self.pre_seg_in(self.pre_seg(image))

    def pool(
        self, encoded: torch.Tensor, batch: dict[str, torch.Tensor], multiple: int = 1
    ) -> torch.Tensor:
        """I_MAP: each pixel of ``encoded`` ``(B,S,H,W)`` becomes the average over its mask.

        What no mask covers is one region more, and so is what ``encoded`` was filled up with to a
        ``multiple`` of pixels.
        """
        dropout = self.config.dropout if self.training else 0.0
        if self.config.overlapping:
            return average_by_bits(encoded, pad_to(need("map", batch, "bits"), multiple), dropout)
        return average_by_label(encoded, pad_to(need("map", batch, "labels"), multiple), dropout)

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        height, width = batch["lq"].shape[-2:]
        # filled up here, so that the padding is a part of the uncovered rest
        multiple = getattr(self.network, "padder_size", 1)
        image = pad_to(batch["lq"], multiple)
        pooled = self.pool(self.encode(image), batch, multiple)
        restored = self.network(torch.cat([image, pooled], 1))
        return restored[:, :3, : self.scale * height, : self.scale * width]


def build(backbone: Backbone, config: Config) -> nn.Module:
    """A module from ``lq`` and ``labels`` or ``bits`` to ``(B,3,scale H,scale W)``."""
    return MaskAveragePooling(backbone(in_channels=3 + config.channels), backbone.scale, config)
