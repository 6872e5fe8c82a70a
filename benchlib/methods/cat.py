"""CAT: the masks as a grey-level id map, concatenated to the image as a fourth channel.

Jin et al., "Let Segment Anything Help Image Dehaze" (arXiv 2306.15870), as SAM-Deblur's Table 1
compares it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from benchlib.contracts import Backbone, Info, need

VERSION = 1
INFO = Info(paper="sam-deblur", source="section 4.2, row CAT [13]", needs=("labels",), label="CAT")


@dataclass(frozen=True)
class Config:
    """No settings."""


def grey_levels(labels: torch.Tensor) -> torch.Tensor:
    """``(B,H,W)`` labels -> ``(B,1,H,W)`` float32 in [0,1]: 0 = no mask, each mask its grey level.

    The first 127 ids take the even levels 2, 4 ... 254, the next the odd ones from the top (255,
    253 ...), as ``1_calculate_masks_with_sam.py`` of SAM-Deblur draws them; beyond 254 masks
    levels repeat. There masks are *summed*, so that overlapping ids collide; a label map has one
    id a pixel.
    """
    index = torch.where(labels > 0, (labels - 1) % 254 + 1, 0)
    level = torch.where(index <= 127, 2 * index, 2 * (255 - index) + 1)
    return level.unsqueeze(1).float() / 255


class Cat(nn.Module):
    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        lq, labels = batch["lq"], need("cat", batch, "labels")
        return self.network(torch.cat([lq, grey_levels(labels).to(lq.dtype)], 1))[:, :3]


def build(backbone: Backbone, config: Config) -> nn.Module:
    """A module from ``lq`` and ``labels`` to ``(B,3,scale H,scale W)``."""
    return Cat(backbone(in_channels=4))
