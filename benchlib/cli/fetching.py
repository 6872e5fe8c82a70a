"""``benchlib fetch``: entries of the catalogue, by name or all that a suite needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchlib.cli._say import WrongUsage, say, warn
from benchlib.cli._suites import SUITE_HELP, complete_suite, find_suite, open_suite
from benchlib.contracts import BenchError

if TYPE_CHECKING:
    from benchlib.params import Suite


def _complete(incomplete: str) -> list[str]:
    from benchlib.assets import load_catalogue

    return [name for name in load_catalogue() if name.startswith(incomplete)]


def fetch(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...",
            help="Entries of the catalogue: benchlib ls assets.",
            autocompletion=_complete,
        ),
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(
            "--suite",
            help=f"All that a suite's data, weights, priors and metrics need. {SUITE_HELP}",
            autocompletion=complete_suite,
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            "--cache", help="Where files live (default: BENCHLIB_CACHE, else the user's cache)."
        ),
    ] = None,
    mirror: Annotated[
        str | None,
        typer.Option(
            "--mirror",
            help="Folder or URL laid out as host/path, tried first (default: BENCHLIB_MIRROR).",
        ),
    ] = None,
    pins: Annotated[
        Path | None,
        typer.Option(
            "--pins",
            help="For developers: write every entry's name and hash to this file, nothing else.",
        ),
    ] = None,
) -> int:
    """Fetch data and weights, verified, and print where each lies.

    What its authors give out by hand is named: where to get it, where to put it.

    Example: benchlib fetch --suite spt-small
    """
    from benchlib import assets

    if pins is not None:
        return _write_pins(pins)
    wanted = list(names or [])
    if suite is not None:
        wanted += _needed_by(suite)
    elif not wanted:
        raise WrongUsage("fetch: nothing named; name entries (benchlib ls assets) or --suite NAME")
    failed = 0
    for name in dict.fromkeys(wanted):
        try:
            say(f"{name}: {assets.fetch(name, cache=cache, mirror=mirror)}")
        except BenchError as error:
            failed = 1
            warn(str(error))
    return failed


def _write_pins(path: Path) -> int:
    from benchlib.assets import load_catalogue
    from benchlib.assets.pinned import write_pins

    learnt = write_pins(load_catalogue(), str(path))
    say(f"{path}: {len(learnt)} lines added or pinned {' '.join(learnt)}".rstrip())
    return 0


def _needed_by(name: str) -> list[str]:
    from benchlib.checks import check_choices

    suite = open_suite(name)
    check_choices(suite, find_suite(name))
    return needed(suite)


def needed(suite: Suite) -> list[str]:
    """The catalogue's entries that a checked suite needs, each once."""
    from benchlib import registry
    from benchlib.params import configure

    names: list[str] = []
    sam = registry.load("priors", "sam")  # what finds the region that moves
    for choice in suite.data.values():
        names += choice.get("images") or []
        names += choice.get("depths") or []
        if "asset" in choice:
            names.append(choice["asset"])
        if registry.load("degrade", choice["degrade"]["name"]).NEEDS_REGION:
            names += sam.assets(sam.Config())
    names += [start.asset for start in suite.weights.values() if start.asset]
    for key, prior in suite.priors.items():
        module, config = configure("priors", prior.prior, f"priors.{key}.prior")
        if hasattr(module, "assets"):
            names += module.assets(config)
    for key, run in suite.runs.items():
        module, config = configure("methods", run.method, f"runs.{key}.method")
        if hasattr(module, "assets"):
            names += module.assets(config)
    for metric in suite.metrics:
        names += registry.load("metrics", metric).ASSETS
    return list(dict.fromkeys(names))
