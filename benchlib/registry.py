"""File names are registry keys, letter for letter: ``methods/map.py`` is the method ``map``.

A file may also lie outside the package: a plug-in (``plugins.py`` finds them, ``add`` makes one
known). It is imported as ``benchlib.<folder>.<name>`` like any other, in processes that this one
starts too: they inherit the list in an environment variable.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.util
import json
import os
import re
import sys
import traceback
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

from benchlib.contracts import BenchError, nearest

# folder -> what each of its files defines; its docs page or the folder's docstring says more
REQUIRED = {
    "methods": ("VERSION", "INFO", "Config", "build"),
    "backbones": ("VERSION", "Config", "build", "blocks"),
    "priors": ("VERSION", "KIND", "Config", "open", "record"),
    "priors/kinds": (
        "VERSION",
        "ENTRIES",
        "save",
        "load",
        "fits",
        "crop",
        "collate",
        "zeroed",
        "resized",
        "facts",
        "picture",
    ),
    "datasets": ("VERSION", "DEGRADES", "Config", "pairs"),
    "degrade": ("VERSION", "NEEDS_REGION", "Config", "degrade"),
    "metrics": (
        "VERSION",
        "NAME",
        "SHOWN",
        "UNIT",
        "FACTOR",
        "LOWER_IS_BETTER",
        "DIGITS",
        "RANGE",
        "READS",
        "ASSETS",
        "measure",
    ),
    "tasks": (
        "VERSION",
        "WHOLE",
        "read",
        "size",
        "nbytes",
        "crop",
        "batch",
        "restore",
        "tiled",
        "views",
        "save",
        "picture",
    ),
}
FOLDERS = tuple(REQUIRED)
PACKAGE = Path(__file__).parent
INHERITED = "BENCHLIB_PLUGIN_FILES"  # JSON: "methods/x.py" -> the file outside
LINKS = ".gitignore"  # beside this file: the links to plug-ins that ``plugins.link`` has made


# --- plug-ins -------------------------------------------------------------------------------------


def add(folder: str, name: str, path: Path) -> None:
    """Make a file outside the package known as ``folder/name.py``; adding it again does nothing.

    Raises BenchError for a name that is no module's, that the package has, or that another plug-in
    has. A name that begins with ``_`` is a helper: plug-ins may import it, it is no key.
    """
    file = f"{folder}/{name}.py"
    loaded.cache_clear()
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise BenchError(
            f"{path}: the name becomes a Python module and a key: letters, digits and _, no digit "
            "first; rename the file"
        )
    for key in _own(folder, "*.py"):
        place = PACKAGE / folder / f"{key}.py"
        if key.casefold() == name.casefold() and not _leads_to(place, path):
            raise BenchError(
                f"{path}: the package has benchlib/{folder}/{key}.py already{_told(place)}; rename "
                "the plug-in"
            )
    known = outside()
    for other, place in known.items():
        if other.casefold() != file.casefold():
            continue
        if os.path.realpath(place) == os.path.realpath(path):
            return
        raise BenchError(
            f"{path}: another plug-in is called {folder}/{name} too: {place}; rename one (after a "
            "move, start Python anew)"
        )
    listed = {key: str(place) for key, place in known.items()} | {file: os.path.abspath(path)}
    os.environ[INHERITED] = json.dumps(listed)
    version.cache_clear()
    constants.cache_clear()


def _leads_to(place: Path, path: Path) -> bool:
    """Whether a file of the package is a link to that very plug-in (whose list was lost)."""
    return place.is_symlink() and os.path.realpath(place) == os.path.realpath(path)


def _told(place: Path) -> str:
    if place.is_symlink():
        return f", a link to {os.readlink(place)} (remove it if it is an old one)"
    return ""


def outside() -> dict[str, Path]:
    """The plug-ins that are known: ``"methods/x.py"`` -> the file."""
    return _listed(os.environ.get(INHERITED) or "{}")


@cache
def _listed(text: str) -> dict[str, Path]:
    try:
        return {file: Path(path) for file, path in json.loads(text).items()}
    except (ValueError, AttributeError, TypeError):
        raise BenchError(
            f"{INHERITED}: not a list of plug-ins; unset it, benchlib sets it itself"
        ) from None


def fingerprints(files: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Of the plug-ins among ``files`` and what those use: VERSION and SHA-256, by name.

    The git revision of the package says nothing of them.
    """
    from benchlib.files import sha256

    found: dict[str, dict[str, Any]] = {}
    waiting = list(files)
    while waiting:
        file = waiting.pop()
        path = outside().get(file)
        if path is None or file in found:
            continue
        found[file] = {"version": version(file), "sha256": sha256(path)}
        waiting += uses(file)
    return dict(sorted(found.items()))


class _Outside:
    """Finds a plug-in by the module's name that it would have inside the package."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, rest = name.partition(".")
        if package != "benchlib" or not rest:
            return None
        file = outside().get(f"{rest.replace('.', '/')}.py")
        if file is None:
            return None
        return importlib.util.spec_from_file_location(name, file)


sys.meta_path.insert(0, _Outside)


# --- names ----------------------------------------------------------------------------------------


def names(folder: str) -> list[str]:
    """The keys of a folder, from its file names alone; files that begin with ``_`` are no keys."""
    found = set(_own(folder, "[!_]*.py"))
    for file in outside():
        place, _, name = file.rpartition("/")
        if place == folder and not name.startswith("_"):
            found.add(name.removesuffix(".py"))
    return sorted(found)


def _own(folder: str, pattern: str) -> list[str]:
    """The package's own files, without the links to plug-ins that some suite had made."""
    found = []
    for file in (PACKAGE / folder).glob(pattern):
        if not (file.is_symlink() and f"{folder}/{file.name}" in links(PACKAGE)):
            found.append(file.stem)
    return found


def links(package: Path) -> set[str]:
    """The files of a package's folder that are links to plug-ins: ``"methods/x.py"``."""
    try:
        lines = (package / LINKS).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return set()
    return {line.removeprefix("/") for line in lines if line.endswith(".py")}


def files() -> list[Path]:
    """Every file of the folders, and every plug-in. Raises BenchError for a broken link."""
    found = set(outside().values())
    for folder in FOLDERS:
        found |= {PACKAGE / folder / f"{name}.py" for name in _own(folder, "*.py")}
    for file in found:
        if not file.exists():
            raise BenchError(f"{file}: not there{_told(file)}")
    return sorted(found)


def shown(file: str) -> str:
    """A file as a person finds it: ``benchlib/methods/map.py``, or a plug-in's path."""
    return str(outside().get(file, f"benchlib/{file}"))


def path_of(file: str) -> Path:
    return outside().get(file, PACKAGE / file)


# --- loading --------------------------------------------------------------------------------------


def load(folder: str, name: str) -> ModuleType:
    """Import the one file that is named.

    Raises BenchError with the nearest name for an unknown one.
    Raises BenchError too if a version that the file pins in ``USES`` has risen since, if the file
    cannot be imported (its line is named), or lacks what a file of its folder defines.
    """
    if name not in names(folder):
        raise BenchError(f"{folder}: no '{name}'; {nearest(name, names(folder))}")
    file = f"{folder}/{name}.py"
    check_uses(file)
    module = _imported(file)
    missing = [word for word in REQUIRED[folder] if not hasattr(module, word)]
    if missing:
        raise BenchError(
            f"{shown(file)}: no {', '.join(missing)}; a file of {folder} defines "
            f"{', '.join(REQUIRED[folder])} (its docstring: benchlib/{folder}/__init__.py)"
        )
    if file in outside() and "Config" in REQUIRED[folder]:
        _check_config(file, module.Config)
    return module


@cache
def loaded(folder: str, name: str) -> ModuleType:
    """As ``load``, looked up once in a process: for what is asked for with every crop."""
    return load(folder, name)


def _check_config(file: str, config: Any) -> None:
    """A plug-in's settings can be checked, so that a wrong one stops before any work."""
    from pydantic import TypeAdapter

    stated = getattr(config, "__dataclass_params__", None)
    if not dataclasses.is_dataclass(config) or not stated.frozen:  # type: ignore[union-attr]
        raise BenchError(f"{shown(file)}: Config: put @dataclass(frozen=True) above the class")
    try:
        get_type_hints(config)  # pydantic would put an unknown name off until the first run
        TypeAdapter(config)
    except Exception as error:  # pydantic has several
        said = " ".join(str(error).split())
        raise BenchError(f"{shown(file)}: Config: {said}") from None


def _imported(file: str) -> ModuleType:
    dotted = file.removesuffix(".py").replace("/", ".")
    try:
        return importlib.import_module(f"benchlib.{dotted}")
    except BenchError:
        raise
    except (Exception, SystemExit) as error:
        raise BenchError(why(file, error)) from error


def why(file: str, error: BaseException) -> str:
    """An exception at import in one line, with the file and the line where it arose."""
    where, line = shown(file), 0
    if isinstance(error, SyntaxError) and error.filename:
        if os.path.realpath(error.filename) != os.path.realpath(path_of(file)):
            where = error.filename
        line = error.lineno or 0
    for frame in traceback.extract_tb(error.__traceback__):
        if os.path.realpath(frame.filename) == os.path.realpath(path_of(file)):
            line = frame.lineno or 0
    if line:
        where = f"{where}, line {line}"
    text = " ".join(str(getattr(error, "msg", None) or error).split())
    said = f"{where}: {type(error).__name__}: {text}"
    if isinstance(error, ModuleNotFoundError):
        said += "; install it into this environment"
    return said


# --- versions -------------------------------------------------------------------------------------


@cache
def version(file: str) -> int:
    """The VERSION that a file of the package states (``"train/loop.py"``): read, not imported.

    Raises BenchError for a file that is not there or states none.
    """
    stated = constants(file).get("VERSION")
    if not isinstance(stated, int):
        raise BenchError(f"{shown(file)}: no VERSION; write `VERSION = 1` after its docstring")
    return stated


def uses(file: str) -> dict[str, int]:
    """The files whose numbers pass through ``file`` unseen by DVC, and their versions then.

    DVC reads the versions of what the parameters name. What a named file uses in turn stands in
    its ``USES``, so that a version that rises there cannot be forgotten here. A file whose settings
    name one of a folder says ``USES_EACH_OF = ("backbones",)``: the package's files there, of
    version 1 unless ``USES`` names them, so that a new one needs no line.
    Raises BenchError for another form than ``{"methods/_blocks.py": 1}``.
    """
    stated = constants(file).get("USES", {})
    if not isinstance(stated, dict):
        raise BenchError(
            f"{shown(file)}: USES: got {stated!r}; expected versions by file: "
            '{"methods/_blocks.py": 1}'
        )
    found = {}
    for folder in _each_of(file):
        for name in _own(folder, "[!_]*.py"):
            found[f"{folder}/{name}.py"] = 1
    return found | stated


def _each_of(file: str) -> tuple[str, ...]:
    stated = constants(file).get("USES_EACH_OF", ())
    if not isinstance(stated, tuple) or not set(stated) <= set(FOLDERS):
        raise BenchError(
            f'{shown(file)}: USES_EACH_OF: got {stated!r}; expected folders, as ("backbones",)'
        )
    return stated


def check_uses(file: str) -> None:
    """Raise BenchError if ``file`` uses another version of a file than it says."""
    for used, expected in uses(file).items():
        now = version(used)
        if now != expected:
            raise BenchError(
                f"{shown(file)}: USES {used} version {expected}, but that is {now} now; "
                f"raise VERSION in {file} too and write {now} there"
            )
        check_uses(used)


@cache
def constants(file: str) -> dict[str, object]:
    """Literals that a file assigns at its top level."""
    found = {}
    for node in parsed(path_of(file), shown(file)).body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
        if not isinstance(target, ast.Name):
            continue
        with suppress(ValueError):  # not a literal
            found[target.id] = ast.literal_eval(node.value)
    return found


def parsed(path: Path, where: str) -> ast.Module:
    """A file's syntax tree; nothing of it is run.

    Raises BenchError, beginning with ``where``, if it is not there, or is not Python.
    """
    try:
        return ast.parse(path.read_bytes())
    except FileNotFoundError:
        raise BenchError(f"{where}: no such file{_told(path)}") from None
    except OSError as error:
        raise BenchError(f"{where}: cannot be read: {error.strerror}") from None
    except SyntaxError as error:
        raise BenchError(f"{where}, line {error.lineno}: SyntaxError: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise BenchError(f"{where}: not Python: {error}") from None
