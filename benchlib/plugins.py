"""Plug-ins: files of the registry's folders that lie outside the checkout. Layer 1.

    python -m benchlib.plugins [params.yaml]     lists a suite's plug-ins and makes their links

``params.yaml`` names them under ``plugins``, relative to itself: a folder laid out like the package
(``methods/x.py``, ``metrics/y.py``), or one file, whose folder is read from what it defines. An
installed package names its own by an entry point of the group ``benchlib.plugins``.

DVC depends on ``benchlib/methods/x.py``, whoever wrote it. So each plug-in gets a symbolic link of
that name, which DVC reads through. ``benchlib/.gitignore`` lists the links, suite by suite, and
itself: git sees neither, and the registry does not take them for the package's own.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from benchlib import registry
from benchlib.contracts import BenchError, nearest
from benchlib.files import new_file

if TYPE_CHECKING:
    from benchlib.params import Suite

GROUP = "benchlib.plugins"
# what tells a file's folder
MARKS = {
    "methods": {"INFO", "build"},
    "backbones": {"build", "blocks"},
    "priors": {"KIND", "open"},
    "priors/kinds": {"ENTRIES", "collate"},
    "datasets": {"DEGRADES", "pairs"},
    "degrade": {"NEEDS_REGION", "degrade"},
    "metrics": {"measure"},
    "tasks": {"restore", "views"},
}
HEADING = (
    "# Links to plug-ins (docs/plugins.md), so that DVC sees them: made and renewed by benchlib, "
    "suite by suite."
)


# --- finding --------------------------------------------------------------------------------------


def activate(entries: Iterable[str], folder: Path, where: str = "plugins") -> dict[str, Path]:
    """Make known what ``entries`` name, and what is installed; ``"methods/x.py"`` -> the file.

    folder: what relative paths begin at; where: begins an error's line.
    Raises BenchError for a path that is not there, a folder without plug-ins, a file of no clear
    folder, or a name that is taken. Nothing is imported.
    """
    found: dict[str, Path] = {}
    for entry in entries:
        found |= _known(resolved(entry, folder, where), f"{where}: {entry}")
    for place, path in installed():
        found |= _known(path, place)
    return found


def _known(path: Path, where: str) -> dict[str, Path]:
    found = find(path, where)
    for file, place in found.items():
        folder, _, name = file.removesuffix(".py").rpartition("/")
        registry.add(folder, name, place)
    return found


def resolved(entry: str, folder: Path, where: str) -> Path:
    """An entry of ``plugins`` as an absolute path; ``~`` is the user's home."""
    if not entry.strip():
        raise BenchError(f"{where}: got {entry!r}; name a folder or a .py file")
    try:
        return Path(os.path.abspath(folder / Path(entry).expanduser()))
    except (RuntimeError, ValueError) as error:  # no such user; a null character
        raise BenchError(f"{where}: got {entry!r}: {error}") from None


def find(path: Path, where: str) -> dict[str, Path]:
    """The plug-ins of a folder or of a file: ``"methods/x.py"`` -> the file."""
    try:
        if path.is_dir():
            return _in_folder(path, where)
        if not path.is_file():
            raise BenchError(f"{where}: {path} is not there; name a folder or a .py file")
    except OSError as error:
        raise BenchError(f"{where}: {path}: {error.strerror}") from None
    if path.suffix != ".py":
        raise BenchError(f"{where}: {path.name} is no Python file; expected a folder or a .py file")
    folder = role(path)
    found = {f"{folder}/{path.name}": path}
    if path.parent.name == Path(folder).name:
        for helper in path.parent.glob("_[!_]*.py"):
            found[f"{folder}/{helper.name}"] = helper
    return found


def _in_folder(path: Path, where: str) -> dict[str, Path]:
    found = {}
    for folder in registry.FOLDERS:
        for file in sorted((path / folder).glob("*.py")):
            if file.name == "__init__.py":
                continue
            if not file.exists():
                raise BenchError(f"{where}: {file} is a link to {os.readlink(file)}, not there")
            found[f"{folder}/{file.name}"] = file
    _check_spelling(path, where)
    if not found:
        said = ", ".join(f"{folder}/*.py" for folder in registry.FOLDERS)
        if path.name in registry.FOLDERS and list(path.glob("*.py")):
            said += f"; {path.name} is one of these: name the folder above it"
        raise BenchError(f"{where}: no plug-ins in {path}; expected {said}")
    return found


def _check_spelling(path: Path, where: str) -> None:
    """A folder of Python files whose name is nearly one of the registry's is a slip."""
    for folder in sorted(path.iterdir()):
        if folder.name in registry.FOLDERS or not list(folder.glob("*.py")):
            continue
        for known in registry.FOLDERS:
            if folder.name.rstrip("s").casefold() == known.rstrip("s"):
                raise BenchError(f"{where}: {folder.name}: {nearest(folder.name, [known])}")


def role(path: Path) -> str:
    """The registry's folder that a file belongs to, from the names that it defines.

    The file is read, not imported. Raises BenchError where none fits, or several do.
    """
    defined = set(_defined(registry.parsed(path, str(path)).body))
    fitting = [folder for folder, marks in MARKS.items() if marks <= defined]
    if len(fitting) == 1:
        return fitting[0]
    if path.parent.name in (fitting or registry.FOLDERS):
        return path.parent.name
    what = "fits no folder"
    if fitting:
        what = f"fits {' and '.join(fitting)}"
    told = [f"{folder} by {' and '.join(sorted(marks))}" for folder, marks in MARKS.items()]
    raise BenchError(
        f"{path}: {what}; a file is told by what it defines: {', '.join(told)} (docs/plugins.md); "
        "or put it into a folder of that name and name the folder above"
    )


def _defined(body: list[ast.stmt]) -> Iterator[str]:
    """The names that statements define, also below a top-level ``if``, ``try`` or ``with``."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                yield from _names_in(target)
        elif isinstance(node, ast.AnnAssign):
            yield from _names_in(node.target)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name
        elif isinstance(node, ast.If | ast.Try | ast.With):
            for part in ("body", "orelse", "finalbody"):
                yield from _defined(getattr(node, part, []))


def _names_in(target: ast.expr) -> Iterator[str]:
    for node in ast.walk(target):
        if isinstance(node, ast.Name):
            yield node.id


def installed() -> list[tuple[str, Path]]:
    """(where it is named, folder or file) of the plug-ins of installed packages.

    Raises BenchError, naming the package, for an entry point that leads nowhere.
    """
    found = []
    for point in entry_points(group=GROUP):
        package = point.dist.name if point.dist else "?"
        where = f"entry point {GROUP} {point.name!r} of package {package}"
        try:
            spec = importlib.util.find_spec(point.module)
        except Exception as error:  # the package's own, when it is imported
            said = " ".join(str(error).split())
            raise BenchError(f"{where}: {type(error).__name__}: {said}") from error
        if spec and spec.submodule_search_locations:
            found.append((where, Path(next(iter(spec.submodule_search_locations)))))
        elif spec and spec.origin:
            found.append((where, Path(spec.origin)))
        else:
            raise BenchError(
                f"{where}: no module {point.module!r}; reinstall or remove the package"
            )
    return found


# --- links for DVC --------------------------------------------------------------------------------


def link(suite: Suite) -> list[Path]:
    """Make or renew the links of a suite's plug-ins in its checkout's ``benchlib``; the links.

    Links that no suite names any more go. A suite whose ``root`` is no checkout needs none.
    Raises BenchError for a link that another hand made, or where links cannot be made.
    """
    package = (suite.folder / suite.root / "benchlib").resolve()
    if not (package / "registry.py").is_file():
        return []
    wanted = {}
    for file, path in activate(suite.plugins, suite.folder).items():
        if not Path(file).name.startswith("_"):  # a helper: DVC reads none
            wanted[file] = path
    sections = _sections(package)
    if not wanted and not sections:
        return []
    try:
        for file, path in wanted.items():
            _link(package / file, path, file in registry.links(package))
        before = registry.links(package)
        _write_sections(package, sections | {suite.suite: sorted(wanted)})
        for file in before - registry.links(package):
            if (package / file).is_symlink():
                (package / file).unlink()
    except OSError as error:
        raise BenchError(
            f"{package}: a link to a plug-in cannot be made: {error.strerror}; DVC needs it"
        ) from None
    return [package / file for file in sorted(wanted)]


def _link(place: Path, path: Path, ours: bool) -> None:
    if os.path.lexists(place):
        if place.is_symlink() and os.readlink(place) == str(path):
            return
        if not (ours and place.is_symlink()):
            what = "a file"
            if place.is_symlink():
                what = f"a link to {os.readlink(place)}"
            raise BenchError(
                f"{place}: {what} that benchlib did not make, where the plug-in {path} has its "
                "link; remove or rename one"
            )
    with tempfile.TemporaryDirectory(prefix=".new-", dir=place.parent) as folder:
        made = Path(folder) / place.name
        made.symlink_to(path)
        os.replace(made, place)


def _sections(package: Path) -> dict[str, list[str]]:
    """suite -> the links that it had made."""
    sections: dict[str, list[str]] = {}
    ledger, here = package / registry.LINKS, ""
    if not ledger.exists():
        return {}
    for line in ledger.read_text(encoding="utf-8").splitlines():
        if line.startswith("# suite "):
            here = line.removeprefix("# suite ")
        elif line.endswith(".py"):
            sections.setdefault(here, []).append(line.removeprefix("/"))
    return sections


def _write_sections(package: Path, sections: dict[str, list[str]]) -> None:
    ledger = package / registry.LINKS
    lines = [HEADING, f"/{registry.LINKS}"]
    for suite, files in sorted(sections.items()):
        if files:
            lines.append(f"# suite {suite}")
        lines += [f"/{file}" for file in files]
    text = "\n".join(lines) + "\n"
    if len(lines) == 2:
        ledger.unlink(missing_ok=True)
    elif not ledger.exists() or ledger.read_text(encoding="utf-8") != text:
        with new_file(ledger) as temporary:
            temporary.write_text(text, encoding="utf-8")


def main(words: list[str]) -> int:
    """List a suite's plug-ins and make their links; the exit status."""
    from benchlib.params import load_params

    try:
        suite = load_params(*words[:1])
        found = activate(suite.plugins, suite.folder)
        link(suite)
    except BenchError as error:
        print(f"plugins: {error}", file=sys.stderr)
        return 1
    for file, path in sorted(found.items()):
        print(f"{file.removesuffix('.py')}: {path}")
    if not found:
        print(f"{suite.suite}: no plug-ins")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
