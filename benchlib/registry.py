"""File names are registry keys: ``methods/map.py`` is ``map``, ``degrade/shake_blur.py`` is ``shake-blur``."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

from benchlib.contracts import BenchError, nearest

ROOMS = ("methods", "backbones", "priors", "datasets", "degrade")


def names(room: str) -> list[str]:
    """The keys of a room, from its file names alone (nothing is imported). Files that begin with ``_`` are no keys."""
    folder = Path(__file__).parent / room
    return sorted(p.stem.replace("_", "-") for p in folder.glob("*.py") if not p.stem.startswith("_"))


def load(room: str, name: str) -> ModuleType:
    """Import the one file that is named. Raises BenchError with the nearest name for an unknown one."""
    if name not in names(room):
        raise BenchError(f"{room}: no '{name}'; {nearest(name, names(room))}")
    return importlib.import_module(f"benchlib.{room}.{name.replace('-', '_')}")
