"""An image as it is: what a run has restored, handed on to a method that refines it.

With ``images: restored/<run>`` it makes of any run, one's own checkpoint or folder of pictures
among them, the input of another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchlib.priors.kinds.restored import Restored

VERSION = 1
KIND = "restored"
ON_CPU = True


@dataclass(frozen=True)
class Config:
    """No settings."""


def open(config: Config, device: str) -> Callable[[np.ndarray], Restored]:
    """From an ``(H,W,3)`` uint8 RGB image to itself."""
    return Restored


def record(config: Config, device: str) -> dict[str, Any]:
    """Nothing but the file's version decides its values."""
    return {"config": {}}
