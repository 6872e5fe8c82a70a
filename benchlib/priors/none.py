"""No prior: nothing is computed, stored or put in the batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

VERSION = 1
KIND = "none"
ON_CPU = True


@dataclass(frozen=True)
class Config:
    """Nothing to set."""


def open(config: Config, device: str) -> Callable[[Any], None]:
    """What gives nothing."""
    return lambda image: None


def record(config: Config, device: str) -> dict[str, Any]:
    """Nothing to say."""
    return {}
