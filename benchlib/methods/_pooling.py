"""Averages over mask regions in O(pixels), for disjoint labels and for overlapping packed masks."""

from __future__ import annotations

import torch
from torch.autograd import Function


def drop_labels(labels: torch.Tensor, dropout: float) -> torch.Tensor:
    """Mask dropout: of the masks in each image's ``(H,W)`` labels the share ``dropout``, rounded down, become 0.

    Which ones is drawn from torch's global generator. As the official code: exactly int(dropout * M) of M masks.
    """
    if dropout == 0:
        return labels
    kept = []
    for image in labels:
        present = torch.unique(image)
        present = present[present > 0]
        keep = torch.arange(int(image.max()) + 1, device=image.device)
        keep[present[torch.randperm(len(present))[: int(dropout * len(present))].to(image.device)]] = 0
        kept.append(keep[image])
    return torch.stack(kept)


class _Average(Function):
    """Replace each pixel by its region's mean. The map is its own adjoint, so backward is the same pooling."""

    @staticmethod
    def forward(ctx, values: torch.Tensor, region: torch.Tensor, count: torch.Tensor) -> torch.Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(region, count)
        return _mean(values, region, count)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor):  # type: ignore[no-untyped-def]
        return _mean(gradient, *ctx.saved_tensors), None, None


def _mean(values: torch.Tensor, region: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    means = (_sums(values, region, len(count)) / count[:, None]).to(values.dtype)
    columns = means.shape[1]
    pixels = means.T.contiguous().gather(1, region.flatten().expand(columns, -1))
    return pixels.reshape(columns, *region.shape).transpose(0, 1)


def _sums(values: torch.Tensor, region: torch.Tensor, regions: int) -> torch.Tensor:
    """``(B,S,H,W)`` values, ``(B,H,W)`` region ids unique over the batch -> ``(regions,S)`` sums, in float64."""
    flat, columns = region.flatten(), values.movedim(1, -1).flatten(0, -2)
    if values.device.type == "cpu":  # bincount sums in double precision and is the fastest there
        return torch.stack([torch.bincount(flat, c, regions) for c in columns.double().unbind(1)], 1)
    return torch.zeros(regions, columns.shape[1], dtype=torch.float64, device=values.device).index_add_(
        0, flat, columns.double()
    )


def average_by_label(values: torch.Tensor, labels: torch.Tensor, dropout: float = 0.0) -> torch.Tensor:
    """Mean of ``values`` ``(B,S,H,W)`` over each region of ``labels`` ``(B,H,W)`` int64; 0, what no mask covers, is a
    region too. Same shape. ``dropout``: see :func:`drop_labels`. Algorithm 1 of SAM-Deblur for disjoint masks.
    """
    labels = drop_labels(labels, dropout)
    each = int(labels.max()) + 1
    region = labels + each * torch.arange(len(labels), device=labels.device)[:, None, None]
    count = torch.bincount(region.flatten(), minlength=each * len(labels)).clamp(min=1)
    return _Average.apply(values, region, count)


def average_by_bits(values: torch.Tensor, bits: torch.Tensor, dropout: float = 0.0) -> torch.Tensor:
    """Algorithm 1 of SAM-Deblur for overlapping masks: at each pixel the *sum* of the means of the masks that cover
    it; where none does, the mean over all such pixels.

    values: ``(B,S,H,W)``; bits: ``(B,P,H,W)`` int64, mask i is bit ``i % 64`` of plane ``i // 64``. Pixels with the
    same bits are one cell; sums over masks are sums over cells, so the cost is O(pixels + cells x masks).
    """
    return torch.cat([_overlapping(v[None], b, dropout) for v, b in zip(values, bits, strict=True)])


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
    shifts = torch.arange(64, device=bits.device)
    member = ((patterns[:, :, None] >> shifts) & 1).flatten(1).double()  # (cells, 64 P)
    member = member[:, member.any(0)]
    masks = member.shape[1]
    member = member[:, torch.randperm(masks)[int(dropout * masks) :].sort().values.to(bits.device)]
    member = torch.cat([member, (member.sum(1, keepdim=True) == 0).double()], 1)  # what no mask covers
    pixels = torch.bincount(cell, minlength=len(member)).double()
    flat = values[0].flatten(1).T.double()
    sums = torch.zeros(len(member), flat.shape[1], dtype=torch.float64, device=bits.device).index_add(0, cell, flat)
    means = (member.T @ sums) / (member.T @ pixels).clamp(min=1)[:, None]
    return (member @ means)[cell].T.reshape(values.shape).to(values.dtype)
