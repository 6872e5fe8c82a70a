"""The degraded image itself, as a run: what every restoration must beat.

It is also the reference of mode collapse. On a network that enlarges, the image is enlarged by a
bicubic kernel (a = -0.5, MATLAB's).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import interpolate

from benchlib.contracts import Backbone, Info

VERSION = 1
INFO = Info(paper="", source="the input", needs=(), label="degraded input", trains=False)


@dataclass(frozen=True)
class Config:
    """No settings."""


class Identity(nn.Module):
    def __init__(self, scale: int):
        super().__init__()
        self.scale = scale

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        if self.scale == 1:
            return batch["lq"]
        # torch's kernel has a = -0.5 only with antialias, which does nothing else when enlarging
        return interpolate(batch["lq"], scale_factor=self.scale, mode="bicubic", antialias=True)


def build(backbone: Backbone, config: Config) -> nn.Module:
    """A module without parameters, from ``lq`` ``(B,3,H,W)`` to ``(B,3,scale H,scale W)``."""
    return Identity(backbone.scale)
