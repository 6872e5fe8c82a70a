"""The reference itself, as a run: so that a prior can be made of what no restoration has.

A prior whose ``images`` are ``restored/<this run>`` is then one of the true images. Of training
images it may be read by any run: training knows them. A run that reads one of its *test* images is
told the truth, and refused unless its method says so (``sources.check_told``). This run itself is
no row of a comparison.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from benchlib.contracts import Backbone, Info, need

VERSION = 1
INFO = Info(
    paper="", source="the reference", needs=(), label="the truth itself", trains=False, truth=True
)
BACKBONES = ("nafnet",)


@dataclass(frozen=True)
class Config:
    """No settings."""


class Truth(nn.Module):
    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return need("truth", batch, "truth")


def build(backbone: Backbone, config: Config) -> nn.Module:
    """A module without parameters, from ``truth`` to itself, ``(B,3,scale H,scale W)``."""
    return Truth()
