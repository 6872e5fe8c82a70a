"""What is checked, what a check finds, and the checks that are the same for every folder."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from pydantic import TypeAdapter, ValidationError

from benchlib import registry
from benchlib.contracts import BenchError

SEEN_BY_DVC = {"metrics/__init__.py", "priors/_loop.py", "priors/_read.py"}


class Unmet(BenchError):
    """The contract is not met: what was expected, and what was found."""


class Unavailable(BenchError):
    """A check that cannot be tried here: weights that are not at hand, an example that is not
    given.
    """


@dataclass(frozen=True)
class Result:
    """What one check found: of which file (``methods/map``), in words, "ok", "failed" or
    "skipped", and why.
    """

    file: str
    check: str
    state: str
    why: str = ""

    def line(self) -> str:
        """As it is printed."""
        said = f"{self.state:7} {self.file}: {self.check}"
        if self.why:
            said += f": {self.why}"
        return said


@dataclass(frozen=True)
class Subject:
    """One file under check: ``folder/name``.

    settings: of its Config, where its own ``EXAMPLE`` or its defaults would take too long.
    example: what its own function ``example`` gives, where it has none: of a source of data
    ``(folder) -> Config``, of a kind of prior ``(height, width, seed) -> stored``.
    """

    folder: str
    name: str
    settings: dict[str, Any] | None = None
    example: Callable[..., Any] | None = field(default=None, compare=False)

    @property
    def key(self) -> str:
        return f"{self.folder}/{self.name}"

    @property
    def file(self) -> str:
        return f"{self.key}.py"

    @property
    def module(self) -> ModuleType:
        return registry.load(self.folder, self.name)

    def config(self) -> Any:
        """Its settings for a quick try. Raises Unmet if there are none without a choice."""
        chosen = self.settings
        if chosen is None:
            chosen = getattr(self.module, "EXAMPLE", {})
        try:
            return self.module.Config(**chosen)
        except TypeError as error:
            raise Unmet(
                f"Config({chosen}) cannot be made: {error}; give every setting a default, or write "
                "EXAMPLE = {...}, settings for a quick try"
            ) from None

    def given(self) -> Callable[..., Any]:
        """Its ``example``. Raises Unavailable where there is none."""
        found = self.example or getattr(self.module, "example", None)
        if found is None:
            raise Unavailable(
                "write a function `example` into the file to have this checked (docs/plugins.md)"
            )
        return found


def expect(truth: object, said: str) -> None:
    """Raise Unmet with ``said`` unless ``truth``."""
    if not truth:
        raise Unmet(said)


# --- every folder ---------------------------------------------------------------------------------


def states_its_version_and_what_it_uses(subject: Subject) -> None:
    """It has a docstring and a VERSION, and USES names the versioned files that it imports."""
    expect(subject.module.__doc__, "no docstring; its first sentence says what it is")
    stated = registry.version(subject.file)
    expect(stated >= 1, f"VERSION = {stated}; expected 1 or more, raised when its numbers change")
    registry.check_uses(subject.file)
    missing = sorted(imported(subject) - all_uses(subject.file))
    said = ", ".join(f'"{file}": {registry.version(file)}' for file in missing)
    expect(not missing, f"it imports files that USES does not name; add {said}")


def imported(subject: Subject) -> set[str]:
    """The versioned files of layer 2 that a file imports and that DVC does not see."""
    tree = registry.parsed(registry.path_of(subject.file), registry.shown(subject.file))
    package = f"benchlib.{subject.folder.replace('/', '.')}"
    found = set()
    for node in ast.walk(tree):
        for module in _modules(node, package):
            parts = module.split(".")[1:]
            found |= {f"{'/'.join(parts)}.py", f"{'/'.join(parts)}/__init__.py"}
    kind = getattr(subject.module, "KIND", "")
    found -= SEEN_BY_DVC | {f"priors/kinds/{kind}.py", subject.file}
    return {file for file in found if _is_versioned(file)}


def _modules(node: ast.AST, package: str) -> list[str]:
    """The modules of benchlib that a statement may import."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names if alias.name.startswith("benchlib.")]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = node.module or ""
    if node.level:
        above = package.split(".")[: len(package.split(".")) + 1 - node.level]
        base = ".".join([*above, *filter(None, [node.module])])
    if not base.startswith("benchlib"):
        return []
    return [base, *(f"{base}.{alias.name}" for alias in node.names)]


def _is_versioned(file: str) -> bool:
    folder = file.rpartition("/")[0]
    if folder not in registry.FOLDERS or not registry.path_of(file).is_file():
        return False
    return "VERSION" in registry.constants(file)


def all_uses(file: str) -> set[str]:
    """What a file uses, and what that uses."""
    found = set(registry.uses(file))
    for used in registry.uses(file):
        found |= all_uses(used)
    return found


def settings_are_frozen_and_typed(subject: Subject) -> None:
    """Config is a frozen dataclass whose defaults are settings that it takes."""
    config = subject.module.Config
    expect(
        dataclasses.is_dataclass(config), "Config is no dataclass; write @dataclass(frozen=True)"
    )
    frozen = config.__dataclass_params__.frozen
    expect(frozen, "Config can be changed after it is made; write @dataclass(frozen=True)")
    clash = {field.name for field in dataclasses.fields(config)} & {"name"}
    expect(not clash, "Config has a setting `name`; that is the file's own key: rename it")
    try:
        TypeAdapter(config)
    except Exception as error:
        said = " ".join(str(error).split())
        raise Unmet(f"Config has a type that cannot be checked: {said}") from None


def every_setting_has_a_default_in_range(subject: Subject) -> None:
    """Every setting has a default that it takes itself, every number a range."""
    config = subject.module.Config
    adapter = TypeAdapter(config)
    try:
        made = adapter.validate_python({})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise Unmet(f"Config: {where}: {first['msg'].lower()}; give it a default") from None
    expect(made == config(), "Config() and the checked Config() differ")
    for name, schema in adapter.json_schema().get("properties", {}).items():
        if schema.get("type") in ("number", "integer"):
            limits = {"minimum", "exclusiveMinimum", "maximum", "enum", "const"}
            expect(
                schema.keys() & limits, f"Config.{name}: a number without a range; use Field(ge=)"
            )
