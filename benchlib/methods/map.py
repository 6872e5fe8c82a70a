"""MAP: mask average pooling of SAM-Deblur, with or without mask dropout (Algorithm 1; ``SegNAFNet_arch.py`` there)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from benchlib.contracts import Backbone, Info, adopt, need, pad_to
from benchlib.methods._pooling import average_by_bits, average_by_label

INFO = Info(paper="sam-deblur", source="Algorithm 1, section 3.2", needs=("labels",), label="MAP")


@dataclass(frozen=True)
class Config:
    """channels: of the encoder (S; the official code has 2). dropout: the share of masks dropped in training.

    overlapping: sum the averages of all masks over a pixel (Algorithm 1 as printed) instead of one mask a pixel (the
    official data).
    """

    channels: Annotated[int, Field(ge=1)] = 2
    dropout: Annotated[float, Field(ge=0, le=1)] = 0.5
    overlapping: bool = False


def needs(config: Config) -> tuple[str, ...]:
    """Which form of the masks the batch must hold: packed bits where they may overlap, else a label map."""
    return ("bits",) if config.overlapping else ("labels",)


class MaskAveragePooling(nn.Module):
    network: nn.Module

    def __init__(self, network: nn.Module, scale: int, config: Config):
        super().__init__()
        self.config, self.scale = config, scale
        self.pre_seg = nn.Conv2d(3, config.channels, 3, padding=1)  # the official names: their checkpoints load
        self.pre_seg_in = nn.Conv2d(config.channels, config.channels, 1)
        adopt(self, network)

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        """I_enc: ``(B,3,H,W)`` -> ``(B,S,H,W)``."""
        return self.pre_seg_in(self.pre_seg(image))

    def pool(self, encoded: torch.Tensor, batch: dict[str, torch.Tensor], multiple: int = 1) -> torch.Tensor:
        """I_MAP: each pixel's average over its mask; what no mask covers, padding included, is one region more."""
        dropout = self.config.dropout if self.training else 0.0
        if self.config.overlapping:
            return average_by_bits(encoded, pad_to(need("map", batch, "bits"), multiple), dropout)
        return average_by_label(encoded, pad_to(need("map", batch, "labels"), multiple), dropout)

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        height, width = batch["lq"].shape[-2:]
        multiple = getattr(self.network, "padder_size", 1)  # so that the padding is a part of the uncovered rest
        image = pad_to(batch["lq"], multiple)
        pooled = self.pool(self.encode(image), batch, multiple)
        restored = self.network(torch.cat([image, pooled], 1))
        return restored[:, :3, : self.scale * height, : self.scale * width]


def build(backbone: Backbone, config: Config) -> nn.Module:
    return MaskAveragePooling(backbone(in_channels=3 + config.channels), backbone.scale, config)
