"""File names are registry keys, letter for letter: ``methods/map.py`` is the method ``map``."""

from __future__ import annotations

import ast
import importlib
from functools import cache
from pathlib import Path
from types import ModuleType

from benchlib.contracts import BenchError, nearest

FOLDERS = (
    "methods",
    "backbones",
    "priors",
    "priors/kinds",
    "datasets",
    "degrade",
    "metrics",
    "tasks",
)
PACKAGE = Path(__file__).parent


def names(folder: str) -> list[str]:
    """The keys of a folder, from its file names alone; files that begin with ``_`` are no keys."""
    files = (PACKAGE / folder).glob("[!_]*.py")
    return sorted(file.stem for file in files)


def load(folder: str, name: str) -> ModuleType:
    """Import the one file that is named.

    Raises BenchError with the nearest name for an unknown one.
    Raises BenchError too if a version that the file pins in ``USES`` has risen since.
    """
    if name not in names(folder):
        raise BenchError(f"{folder}: no '{name}'; {nearest(name, names(folder))}")
    check_uses(f"{folder}/{name}.py")
    return importlib.import_module(f"benchlib.{folder.replace('/', '.')}.{name}")


@cache
def version(file: str) -> int:
    """The VERSION that a file of the package states (``"train/loop.py"``): read, not imported.

    Raises BenchError for a file that is not there or states none.
    """
    stated = _constants(file).get("VERSION")
    if not isinstance(stated, int):
        raise BenchError(f"benchlib/{file}: no VERSION; write `VERSION = 1` after its docstring")
    return stated


def uses(file: str) -> dict[str, int]:
    """The files whose numbers pass through ``file`` unseen by DVC, and their versions then.

    DVC reads the versions of what the parameters name. What a named file uses in turn stands in
    its ``USES``, so that a version that rises there cannot be forgotten here.
    """
    stated = _constants(file).get("USES", {})
    assert isinstance(stated, dict)
    return stated


def check_uses(file: str) -> None:
    """Raise BenchError if ``file`` uses another version of a file than it says."""
    for used, expected in uses(file).items():
        now = version(used)
        if now != expected:
            raise BenchError(
                f"benchlib/{file}: USES {used} version {expected}, but that is {now} now; "
                f"raise VERSION in {file} too and write {now} there"
            )
        check_uses(used)


@cache
def _constants(file: str) -> dict[str, object]:
    """Literals that a file assigns at its top level."""
    path = PACKAGE / file
    if not path.exists():
        raise BenchError(f"benchlib/{file}: no such file")
    found = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name):
            continue
        try:
            found[node.targets[0].id] = ast.literal_eval(node.value)
        except ValueError:
            continue  # not a literal
    return found
