"""The degraded image itself, as a run: the floor under every comparison, and the reference of mode collapse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from benchlib.contracts import Info

INFO = Info(paper="", source="the input", needs=(), label="degraded input", trains=False)


@dataclass(frozen=True)
class Config:
    """No settings."""


class Identity(nn.Module):
    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return batch["lq"]


def build(backbone: Callable[..., nn.Module], config: Config) -> nn.Module:
    return Identity()
