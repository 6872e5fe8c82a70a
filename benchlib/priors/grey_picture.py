"""A picture of one grey, the same for every image: a control in a reference's place.

A run's ``swap: zeroed`` makes all parts of its bundle say nothing. This says nothing in one part
alone: a method that reads words and a reference keeps its words and its parameters.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from benchlib.priors.kinds.picture import GREY, Picture

VERSION = 1
USES = {"priors/kinds/picture.py": 1}
KIND = "picture"
ON_CPU = True
SHOWN = "grey pictures"
CONTROL = True


@dataclass(frozen=True)
class Config:
    """side: of the picture, pixels. level: its grey, 0 to 255."""

    side: Annotated[int, Field(ge=1, le=4096)] = 256
    level: Annotated[int, Field(ge=0, le=255)] = GREY


def open(config: Config, device: str) -> Callable[[np.ndarray], Picture]:
    """From an ``(H,W,3)`` uint8 RGB image to a square of one grey, not aligned with it."""
    grey = np.full((config.side, config.side, 3), config.level, np.uint8)

    def give(image: np.ndarray) -> Picture:
        return Picture(grey.copy(), aligned=False)

    return give


def record(config: Config, device: str) -> dict[str, Any]:
    """Settings."""
    return {"config": dataclasses.asdict(config)}
