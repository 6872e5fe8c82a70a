"""``benchlib check`` and ``benchlib schema``: is params.yaml, or a file of one's own, right?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from benchlib import registry
from benchlib.cli._say import say, say_json, warn
from benchlib.cli._suites import PARAMS, complete_suite, find_suite, open_suite, suites
from benchlib.contracts import BenchError


def check(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SUITE, FILE.py or FOLDER]...",
            help="Suites, or a file or plug-in folder of your own; default: this folder's suite.",
            autocompletion=complete_suite,
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every suite of the checkout.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON: what, ok, error.")] = False,
) -> int:
    """Check a suite's params.yaml, every setting of it, or a method (prior, metric...) of your own.

    Nothing runs and nothing is fetched.

    Example: benchlib check demo
    """
    names: list[str | None] = [*(what or [])]
    if every:
        names += suites()
    results: list[dict[str, Any]] = []
    for name in names or [None]:
        if name is not None and (name.endswith(".py") or _is_plugin_folder(name)):
            results += _check_file(Path(name).expanduser())
        else:
            results.append(_check_suite(name))
    failed = [one for one in results if not one["ok"]]
    if as_json:
        say_json(results)
        return bool(failed)
    for one in results:
        if one["ok"]:
            say(f"{one['what']}: {one['said']}")
        else:
            warn(one["error"])
    return bool(failed)


def _check_suite(name: str | None) -> dict[str, Any]:
    from benchlib.checks import check_choices
    from benchlib.params import load_params

    found: dict[str, Any] = {"what": name or ".", "ok": False}
    try:
        path = find_suite(name)
        suite = load_params(path)
        check_choices(suite, path)
    except BenchError as error:
        return found | {"error": str(error)}
    said = f"fine: {len(suite.runs)} runs, {len(suite.data)} sets, {len(suite.priors)} priors"
    return found | {"what": suite.suite, "ok": True, "said": said}


def _is_plugin_folder(name: str) -> bool:
    """Whether a word names a folder laid out like the package, and no suite or its folder."""
    folder = Path(name).expanduser()
    if name in suites() or not folder.is_dir() or (folder / PARAMS).exists():
        return False
    return any((folder / kind).is_dir() for kind in registry.FOLDERS)


def _check_file(path: Path) -> list[dict[str, Any]]:
    """The contract tests of a file, or of each in a folder: one result a test, with ``ok``."""
    if not path.exists():
        raise BenchError(f"{path}: no such file; expected a method, prior, metric... of your own")
    from benchlib import conformance

    results = []
    for one in conformance.check_file(path):
        fine = one.state != "failed"
        what = path.name
        if path.is_dir():
            what = one.file
        line = {"what": what, "ok": fine}
        line["said" if fine else "error"] = one.line()
        results.append(line)
    return results


def schema(
    suite: Annotated[
        str | None,
        typer.Argument(
            metavar="[SUITE]",
            help="A suite whose plug-ins the schema is to know; default: none.",
            autocompletion=complete_suite,
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="A file to write, instead of printing it.")
    ] = None,
) -> None:
    """Print the JSON schema of params.yaml, for an editor that completes and checks it.

    The checkout holds it as params.schema.json. In an editor with a YAML language server, begin a
    params.yaml with the line: # yaml-language-server: $schema=../../params.schema.json

    Example: benchlib schema --out params.schema.json
    """
    from benchlib.schema import params_schema

    if suite is not None:
        open_suite(suite)  # its plug-ins are known from then on
    text = json.dumps(params_schema(), indent=1, ensure_ascii=False, allow_nan=False)
    if out is None:
        say(text)
        return
    from benchlib.files import new_file

    with new_file(out) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    say(str(out))
