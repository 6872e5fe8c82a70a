"""No prior: nothing is stored and nothing comes into the batch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchlib.contracts import Window

VERSION = 1
ENTRIES: tuple[str, ...] = ()


def save(path: str | Path, stored: None) -> None:
    """Nothing to write."""


def load(path: str | Path) -> None:
    """Nothing to read."""


def fits(stored: None, shape: tuple[int, ...]) -> bool:
    """Nothing fits every image."""
    return True


def crop(stored: None, window: Window) -> dict[str, Any]:
    """No entries."""
    return {}


def collate(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """No entries."""
    return {}


def zeroed(stored: None) -> None:
    """Less than nothing is nothing."""


def resized(stored: None, shape: tuple[int, int], turn: bool = False) -> None:
    """Nothing has no size."""


def facts(stored: None) -> dict[str, Any]:
    """Nothing to say."""
    return {}


def picture(stored: None, image: Any) -> None:
    """Nothing to show."""
