"""The backbone alone, without a prior: every method's baseline.

It is "w/o SAM" in SAM-Deblur's Table 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from benchlib.contracts import Backbone, Info

VERSION = 1
INFO = Info(paper="", source="the backbone as published", needs=(), label="no prior")


@dataclass(frozen=True)
class Config:
    """No settings."""


class NoPrior(nn.Module):
    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.network(batch["lq"])


def build(backbone: Backbone, config: Config) -> nn.Module:
    """The network, from a batch's ``lq`` ``(B,3,H,W)`` to ``(B,3,scale H,scale W)``."""
    return NoPrior(backbone())
