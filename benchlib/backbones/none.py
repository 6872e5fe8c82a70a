"""No network: for methods that bring their own, and for those that need none.

A run names it where ``methods/checkpoint.py`` reads the network from a file, or where
``methods/images.py`` takes pictures that were restored elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from benchlib.contracts import BenchError

VERSION = 1


@dataclass(frozen=True)
class Config:
    """No settings."""


def build(config: Config, in_channels: int = 3) -> nn.Module:
    """Raises BenchError: there is no network to build."""
    raise BenchError("backbone none: no network; name one for a method that needs it")


def blocks(network: nn.Module) -> list[nn.Module]:
    """Nothing."""
    return []
