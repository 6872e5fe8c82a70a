"""``benchlib merge``: what another checkout has computed comes into this one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchlib import fanout, hosts
from benchlib.cli._say import say, warn
from benchlib.cli._suites import complete_suite, name_of, open_suite, spoken
from benchlib.cli.running import environment
from benchlib.contracts import BenchError, nearest


def merge(
    other: Annotated[
        Path,
        typer.Argument(
            metavar="OTHER", help="The folder of another checkout, or a copy of it (rsync -a)."
        ),
    ],
    suite: Annotated[
        str | None,
        typer.Argument(
            metavar="[SUITE]", help="Default: the folder you are in.", autocompletion=complete_suite
        ),
    ] = None,
    runs: Annotated[
        list[str] | None,
        typer.Option("--run", help="A run to merge, with what it needs; may be given often."),
    ] = None,
    dry: Annotated[bool, typer.Option("--dry", help="Compare, and say what would come.")] = False,
) -> int:
    """Bring what another machine's checkout has computed of a suite into this one.

    Every stage that is finished there, and not here, is compared with what would be made here: its
    command, parameters, versions and code, and the numbers that it was made from. Where one does
    not fit, a line says why and nothing is merged.

    Example: benchlib merge /mnt/other/benchlib spt --dry
    """
    from benchlib import merging

    opened = open_suite(suite)
    for run in runs or []:
        if run not in opened.runs:
            raise BenchError(f"{opened.suite}: --run {run}: {nearest(run, opened.runs)}")
    sides = merging.open_sides(opened, other)
    plan = merging.plan_merge(sides, fanout.graph(opened), runs or [])
    for line in plan.misfits:
        warn(line)
    if plan.misfits:
        warn(f"{opened.suite}: nothing was merged; what does not fit stands above")
        return 1
    if plan.brought and not dry:
        hosts.claim(opened.work.parent)
        merging.bring(sides, plan, environment())
    came = "would come" if dry else "came"
    said = ", ".join(plan.brought) or "nothing"
    say(f"{opened.suite}: from {spoken(sides.there)} {came}: {said}")
    say(f"{len(plan.kept)} stages are done here already")
    if plan.absent:
        say(f"not finished there, or without what they were made from: {', '.join(plan.absent)}")
    if not dry:
        say(f"tables and page of all: benchlib run {name_of(opened)}")
    return 0
