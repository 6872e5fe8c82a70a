"""The contract of every file of layer 2, as checks that need no test runner. Layer 3.

    benchlib check my_method.py

``check_file`` puts one file, inside the package or outside it, to the contract of its folder: each
check says what it expected and what it found. The project's tests call the same checks for every
file of the package: one contract, two callers. ``docs/plugins.md`` shows how to use it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchlib import plugins, registry
from benchlib.conformance._subject import Result, Subject, Unavailable, Unmet
from benchlib.contracts import BenchError

__all__ = ["Result", "Subject", "Unavailable", "Unmet", "check_file", "checks", "results", "run"]

MODULES = {
    "methods": "methods",
    "backbones": "backbones",
    "priors": "priors",
    "priors/kinds": "kinds",
    "datasets": "datasets",
    "degrade": "degrade",
    "metrics": "metrics",
    "tasks": "tasks",
}
Check = Callable[[Any], None]


def checks(folder: str) -> tuple[Check, ...]:
    """What every file of a folder is put to: functions of one :class:`Subject`.

    Each raises :class:`Unmet` with what it expected and found, or :class:`Unavailable` where it
    cannot be tried here. Its docstring's first paragraph says what it checks.
    """
    return importlib.import_module(f"benchlib.conformance.{MODULES[folder]}").CHECKS


def check_file(path: str | Path) -> list[Result]:
    """Put one file, or every file of a folder laid out like the package, to its contract.

    Raises BenchError if there is nothing to check: no such file, no clear folder, a name that is
    taken.
    """
    return list(results(path))


def results(path: str | Path) -> Iterator[Result]:
    """The same, one after another as they come."""
    place = plugins.resolved(str(path), Path(), "check")
    plugins.activate([], Path())  # those of installed packages
    for folder, name in _keys(place):
        yield from _results(Subject(folder, name))


def _keys(place: Path) -> list[tuple[str, str]]:
    """(folder, name) of what lies at a path; what is no file of the package becomes a plug-in."""
    inside = registry.PACKAGE.resolve()
    if place.is_file() and place.resolve().is_relative_to(inside):
        file = place.resolve().relative_to(inside)
        folder = file.parent.as_posix()
        if folder not in registry.FOLDERS:
            said = ", ".join(registry.FOLDERS)
            raise BenchError(f"check: {place}: no file of {said}: no contract to keep")
        return [(folder, file.stem)]
    keys = []
    found = plugins.find(place, "check")
    for key, where in found.items():
        folder, _, name = key.removesuffix(".py").rpartition("/")
        registry.add(folder, name, where)
        if not name.startswith("_"):
            keys.append((folder, name))
    return keys


def _results(subject: Subject) -> Iterator[Result]:
    words = "it can be imported and defines what it must"
    try:
        registry.load(subject.folder, subject.name)
        tried = checks(subject.folder)
    except BenchError as error:
        yield Result(subject.key, words, "failed", str(error))
        return
    yield Result(subject.key, words, "ok")
    for check in tried:
        yield run(check, subject)


def run(check: Check, subject: Subject) -> Result:
    """Try one check; whatever it ends in is a result."""
    words = " ".join((check.__doc__ or check.__name__).partition("\n\n")[0].split())
    words = words.rstrip(".").replace("``", "`")
    try:
        check(subject)
    except Unavailable as error:
        return Result(subject.key, words, "skipped", str(error))
    except BenchError as error:
        return Result(subject.key, words, "failed", str(error))
    except (Exception, SystemExit) as error:
        return Result(subject.key, words, "failed", registry.why(subject.file, error))
    return Result(subject.key, words, "ok")
