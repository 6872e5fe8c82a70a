"""The first command of every stage of dvc.yaml, and the first stage: is a name only a name?

    python -m benchlib.names            # reads ./params.yaml; refuses in one line, exit code 2
    python -m benchlib.names --out FILE # and writes FILE if all is well

Layer 0. DVC writes ``root``, ``suite`` and the names of ``params.yaml`` into paths and into a
shell's command, before benchlib has read them. So this command has no data in it, and what it lets
through means nothing to a shell and leads to no other folder. DVC deletes a stage's outputs before
it runs the stage's commands: hence a stage of its own too, which every other stage waits for.

It runs before each command, so it imports little: a few hundredths of a second. A file that has
passed, letter for letter, is not read again by them; the stage of its own reads it each time.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import reprlib
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchlib.contracts import BenchError

PASSED = Path(__file__).resolve().parent.parent / "work" / ".passed"
LONGEST = 64  # characters: a name is part of a file's name, with others, and a line of a table
DEEPEST = 50  # levels of lists and mappings
LARGEST = 1_000_000  # values in a file

# No dot: DVC parts a parameter's path there. No dash first: a command would take it for an option.
NAME = rf"[A-Za-z0-9][A-Za-z0-9_-]{{0,{LONGEST - 1}}}"
MEMBER = f"{NAME}/{NAME}"
ROOT = r"(\.\./){0,20}"

SAYS = f"letters, digits, - and _, no other characters, {LONGEST} at most"
NAMED = {
    NAME: f"a name has {SAYS}",
    MEMBER: f"expected <collection>/<set>: {SAYS} in each",
    f"{NAME}(/{NAME})?": f"a name has {SAYS}, or is <bundle>/<part>",
    f"(data|restored)/{NAME}": "expected data/<collection> or restored/<run>",
    f"(weights|runs)/{NAME}": "expected weights/<key> or runs/<run>",
    ROOT: "expected nothing, or the way up to the project: ../../",
}
# What dvc.yaml's templates read: of the whole file, and of each entry of a section.
FIELDS = {"root": ROOT, "suite": NAME, "task": NAME}
SECTIONS = {
    "data": (MEMBER, {"name": NAME, "degrade.name": NAME}),
    "weights": (NAME, {}),
    "priors": (
        f"{NAME}(/{NAME})?",
        {"kind": NAME, "prior.name": NAME, "images": f"(data|restored)/{NAME}"},
    ),
    "runs": (
        NAME,
        {
            "method.name": NAME,
            "backbone.name": NAME,
            "images.train": NAME,
            "images.test": NAME,
            "prior.train": NAME,
            "prior.test": NAME,
            "init": f"(weights|runs)/{NAME}",
        },
    ),
}


def read_yaml(path: Path) -> Any:
    """What a YAML file holds, read as DVC reads it (ruamel, YAML 1.2).

    Raises BenchError for a file that is absent, no UTF-8 text, no YAML (a key twice is none), or
    nested without end.
    """
    from ruamel.yaml import YAML  # it takes longer than all else here
    from ruamel.yaml.error import MarkedYAMLError

    text = _text(path)
    try:
        raw = YAML(typ="safe").load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = ""
        if mark is not None:
            line = f"line {mark.line + 1}: "
        said = error.problem or error.context or "it cannot be read"
        raise BenchError(f"{path}: {line}not YAML: {' '.join(str(said).split())}") from None
    except RecursionError:
        raise BenchError(f"{path}: not YAML: nested too deeply; write it flatter") from None
    except Exception as error:  # wrong dates, numbers and keys: ValueError, TypeError, ...
        said = " ".join(str(error).split())
        raise BenchError(f"{path}: not YAML: {said}; correct that value") from None
    if _size(path, raw, 0, {}) > LARGEST:
        raise BenchError(f"{path}: over {LARGEST} values; do aliases (*x) repeat each other?")
    return raw


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise BenchError(f"{path}: no such file; give a suite's params.yaml") from None
    except UnicodeDecodeError as error:
        raise BenchError(
            f"{path}: no UTF-8 text (byte {error.start}: {error.reason}); save it as UTF-8"
        ) from None
    except (OSError, ValueError) as error:  # a folder, no right to read it; a null in its name
        raise BenchError(f"{path}: cannot be read ({error}); give a params.yaml") from None


def _size(path: Path, value: Any, depth: int, known: dict[int, int]) -> int:
    """How many values stand in ``value``, those of its aliases counted each time.

    An alias may stand inside its own anchor, and aliases of aliases grow without bound.
    """
    if depth > DEEPEST:
        raise BenchError(
            f"{path}: lists and mappings stand in each other over {DEEPEST} deep; does an alias "
            "(*x) stand within its own anchor (&x)?"
        )
    items: list[Any] = []
    if isinstance(value, dict):
        items = [*value, *value.values()]
    elif isinstance(value, list | tuple | set):
        items = list(value)
    if id(value) not in known:
        known[id(value)] = 1 + sum(_size(path, item, depth + 1, known) for item in items)
    return known[id(value)]


def check_names(raw: Any, path: Path) -> None:
    """Raise BenchError for the first value that DVC would put into a path or a command wrongly.

    raw: what ``params.yaml`` holds. A key that is absent is left to others, who say what is
    missing.
    """
    if not isinstance(raw, dict):
        raise BenchError(f"{path}: got {shown(raw)}; expected a mapping: suite, data, runs, ...")
    for where, got, pattern in _parts(raw, path):
        if not isinstance(got, str):
            raise BenchError(f"{path}: {where}: got {shown(got)}; expected text, in quotes")
        if not re.fullmatch(pattern, got):
            raise BenchError(f"{path}: {where}: got {shown(got)}; {NAMED[pattern]}")


def _parts(raw: dict[Any, Any], path: Path) -> Iterator[tuple[str, Any, str]]:
    """(where it stands, what stands there, what it must match)."""
    yield from _fields(raw, FIELDS, "", path)
    metrics = raw.get("metrics", [])
    if not isinstance(metrics, list):
        raise BenchError(f"{path}: metrics: got {shown(metrics)}; expected a list: [psnr, ssim]")
    for name in metrics:
        yield "metrics", name, NAME
    for section, (pattern, fields) in SECTIONS.items():
        entries = _mapping(raw.get(section, {}), section, path)
        for key, entry in entries.items():
            where = f"{section}.{_step(key)}"
            yield where, key, pattern
            yield from _fields(_mapping(entry, where, path), fields, f"{where}.", path)


def _fields(
    here: dict[Any, Any], fields: dict[str, str], where: str, path: Path
) -> Iterator[tuple[str, Any, str]]:
    for field, pattern in fields.items():
        outer, _, inner = field.rpartition(".")
        values = here
        if outer:
            values = _mapping(here.get(outer, {}), f"{where}{outer}", path)
        if inner in values:
            yield f"{where}{field}", values[inner], pattern


def _mapping(value: Any, where: str, path: Path) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise BenchError(f"{path}: {where}: got {shown(value)}; expected a mapping: {{key: value}}")
    return value


def shown(value: Any) -> str:
    """A value as an error shows it: one line, not long.

    >>> shown(["a", 1]), shown("a;b")
    ("['a', 1]", "'a;b'")
    """
    short = reprlib.Repr()
    short.maxlist = short.maxdict = 4
    short.maxlevel = 3
    short.maxstring = short.maxother = short.maxlong = LONGEST
    return " ".join(short.repr(value).split())


def _step(key: Any) -> str:
    """A key as a step of a path; quoted where it is no plain word."""
    if isinstance(key, str) and key.isprintable() and 0 < len(key) <= 2 * LONGEST:
        return key
    return shown(key)


def _mark(path: Path) -> Path | None:
    """The file that says that these very letters have passed this very check; None without any."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    try:
        digest.update(path.read_bytes())
    except OSError:  # who reads it says what is wrong
        return None
    return PASSED / f"names-{digest.hexdigest()}"


def _check_once(path: Path) -> None:
    """Check a file that has not passed before, and note that it has.

    Where nothing can be written, it is checked again next time.
    """
    mark = _mark(path)
    if mark is not None and mark.exists():
        return
    check_names(read_yaml(path), path)
    if mark is not None and mark == _mark(path):  # nobody has changed it meanwhile
        with suppress(OSError):
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()


def main(words: list[str] | None = None) -> int:
    """Check ./params.yaml: 0, or 2 with a line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m benchlib.names", description=__doc__)
    parser.add_argument("--out", type=Path, help="written if all is well; nothing else is")
    options = parser.parse_args(words)
    path = Path("params.yaml")
    try:
        if options.out:
            check_names(read_yaml(path), path)
            options.out.write_text("params.yaml: names are names\n", encoding="utf-8")
        else:
            _check_once(path)
    except BenchError as error:
        print(f"names: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"names: {options.out}: cannot be written ({error})", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
