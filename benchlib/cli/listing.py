"""``benchlib ls``: what there is, a line each."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from benchlib import registry
from benchlib.cli._say import WrongUsage, say, say_columns, say_json
from benchlib.cli._suites import SUITE_HELP, complete_suite, open_suite, suites
from benchlib.contracts import nearest

Line = dict[str, Any]
FOLDERS = {
    "methods": "methods",
    "backbones": "backbones",
    "priors": "priors",
    "kinds": "priors/kinds",
    "degradations": "degrade",
    "data": "datasets",
    "metrics": "metrics",
    "tasks": "tasks",
}
FEW = 6  # names shown of a kind


def ls(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="[KIND]",
            help="suites, runs, methods, backbones, priors, kinds (of prior), degradations, data "
            "(sources), metrics, protocols, tasks, papers, assets; none: all kinds in short.",
            autocompletion=lambda incomplete: [
                name for name in KINDS if name.startswith(incomplete)
            ],
        ),
    ] = "",
    suite: Annotated[
        str | None,
        typer.Option("--suite", help=f"Whose runs. {SUITE_HELP}", autocompletion=complete_suite),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON: names, words, facts.")] = False,
) -> None:
    """List what there is: every name that params.yaml or a command takes, and what it is.

    Example: benchlib ls methods
    """
    if kind:
        lines = listed(kind, suite)
        if as_json:
            say_json(lines)
            return
        say_columns([[line["name"], line["about"]] for line in lines])
        return
    if suite:
        raise WrongUsage("--suite: belongs to `benchlib ls runs --suite NAME`")
    found = {name: listed(name, None) for name in KINDS if name != "runs"}
    if as_json:
        say_json(found)
        return
    say_columns([_short(name, lines) for name, lines in found.items()], right=(1,))
    say(
        "\nbenchlib ls KIND tells what each is; benchlib ls runs --suite NAME lists a suite's runs."
    )


def listed(kind: str, suite: str | None) -> list[Line]:
    """``name``, ``about`` (one sentence) and more of everything of a kind.

    Raises WrongUsage, with the nearest, for an unknown kind.
    """
    if kind not in KINDS:
        raise WrongUsage(f"ls: no '{kind}'; {nearest(kind, KINDS)}")
    if kind == "runs":
        return _runs(suite)
    if suite:
        raise WrongUsage(f"--suite: {kind} are no suite's own; expected: benchlib ls runs --suite")
    if kind in FOLDERS:
        return _files(FOLDERS[kind])
    return KINDS[kind]()


def _short(kind: str, lines: list[Line]) -> list[str]:
    names = [line["name"] for line in lines]
    said = ", ".join(names[:FEW])
    if len(names) > FEW:
        said += "..."
    return [kind, str(len(names)), said]


def first_sentence(text: str | None) -> str:
    """The first sentence of a docstring, on one line.

    >>> first_sentence("What it is: one thing. Then more.")
    'What it is: one thing.'
    """
    paragraph, _, _ = (text or "").strip().partition("\n\n")
    words = " ".join(paragraph.split())
    ending = re.search(r"(?<!al)(?<!e\.g)(?<!i\.e)[.?!](?=\s+[A-Z`])", words)
    return words[: ending.end()] if ending else words


def _files(folder: str) -> list[Line]:
    """The files of one of the registry's folders; none is imported."""
    lines = []
    for name in registry.names(folder):
        path = registry.PACKAGE / folder / f"{name}.py"
        if path.is_file():
            words = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        else:  # from outside the checkout
            words = registry.load(folder, name).__doc__
        lines.append({"name": name, "about": first_sentence(words)})
    return lines


def _suites() -> list[Line]:
    """The first sentence of each params.yaml's comment."""
    return [
        {"name": name, "about": _comment(path), "path": str(path)}
        for name, path in suites().items()
    ]


def _comment(path: Path) -> str:
    words = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# yaml-language-server"):
            continue
        if not line.startswith("# "):
            break
        words.append(line.removeprefix("# "))
    return first_sentence(" ".join(words))


def _runs(given: str | None) -> list[Line]:
    suite = open_suite(given)
    lines = []
    for key, run in suite.runs.items():
        what = f"{run.method['name']} on {run.backbone['name']}"
        prior = run.prior.test
        if run.prior.swap:
            prior += f", {run.prior.swap}"
        about = f"{run.label or key}: {what}; prior: {prior}; tested on {run.images.test}"
        facts = {"method": run.method["name"], "backbone": run.backbone["name"], "prior": prior}
        lines.append({"name": key, "about": about, "suite": suite.suite} | facts)
    return lines


def _protocols() -> list[Line]:
    from benchlib.metrics import listed as listed_metrics
    from benchlib.metrics import names, protocol

    lines = []
    for name in names():
        one = protocol(name)
        about = one.meaning.partition(";")[0]
        own = listed_metrics(name)
        others = [metric for metric in one.metrics if metric not in own]
        said = f"{about}; {', '.join(own)}"
        if others:
            said += f" (also {', '.join(others)})"
        lines.append({"name": name, "about": said, "metrics": [*own], "also": others})
    return lines


def _papers() -> list[Line]:
    from benchlib.papers import bibtex, papers

    lines = []
    for name in papers():
        title = re.search(r"title\s*=\s*\{(.*)\},?\s*$", bibtex(name), re.MULTILINE)
        words = title[1] if title else ""
        lines.append({"name": name, "about": re.sub(r"[{}]", "", words)})
    return lines


def _assets() -> list[Line]:
    from benchlib.assets import load_catalogue

    lines = []
    for entry in load_catalogue().values():
        size = entry.bytes or sum(file.bytes for file in entry.files)
        said = "not seen yet, pinned on its first fetch"
        if entry.manual:
            said = "by hand"
        if size:
            said = f"{size / 1e6:.1f} MB"
        what: str = entry.kind
        if entry.files:
            what += f", {len(entry.files)} files"
        about = f"{what}, {said}: {entry.purpose} [{entry.licence}]"
        facts = {"kind": entry.kind, "bytes": size or None, "by_hand": entry.manual}
        more = {"licence": entry.licence, "citation": entry.citation, "source": [*entry.source]}
        lines.append({"name": entry.name, "about": about} | facts | more)
    return lines


KINDS: dict[str, Callable[..., list[Line]]] = {
    "suites": _suites,
    "runs": _runs,
    **dict.fromkeys(FOLDERS, _files),
    "protocols": _protocols,
    "papers": _papers,
    "assets": _assets,
}
