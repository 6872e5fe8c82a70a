"""``benchlib shard``: one prior, or one evaluation, by several workers."""

from __future__ import annotations

from typing import Annotated

import typer

from benchlib import fanout
from benchlib.cli._say import WrongUsage, say, warn
from benchlib.cli._suites import complete_suite, name_of, open_suite, spoken
from benchlib.cli.running import check_target, environment, split_words


def shard(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[SUITE] STAGE@KEY",
            help="A suite (default: this folder's), and one stage of it: priors@sam-test, "
            "evaluate@map.",
            autocompletion=complete_suite,
        ),
    ],
    number: Annotated[
        int, typer.Option("--number", "-n", min=1, max=100_000, help="How many shards there are.")
    ],
    index: Annotated[
        int | None,
        typer.Option("--index", help="Do this one alone, here: 0 to N-1. Default: all, at once."),
    ] = None,
    gpus: Annotated[
        str | None,
        typer.Option("--gpus", help="Devices to give out in turn: 0,1. Default: all there are."),
    ] = None,
) -> int:
    """Compute the images of one prior, or of one evaluation, by several workers.

    A shard is every N-th image. Afterwards the ordinary stage finds them made: benchlib run.
    Without --index, all shards run here, side by side. With it, one runs: from a Slurm array, say,
    of hosts that share this folder. What is finished is never done again.

    Example: benchlib shard spt priors@sam-train -n 8
    """
    from benchlib import shards

    path, targets = split_words(words)
    if len(targets) != 1:
        raise WrongUsage("name one stage with its key: benchlib shard [SUITE] priors@KEY -n 4")
    suite = open_suite(str(path))
    check_target(suite, targets[0])
    stage, _, key = targets[0].partition("@")
    shards.check_stage(suite, stage, key)
    then = f"benchlib run {name_of(suite)} {targets[0]}"
    if index is not None:
        done = shards.run_shard(suite, stage, key, index, number)
        say(f"{targets[0]}: shard {index} of {number}: {done} images; when all are done: {then}")
        return 0
    devices = fanout.devices_at_hand()
    if gpus is not None:
        devices = fanout.read_devices(gpus)
    end = shards.run_all(suite, stage, key, fanout.make_slots(number, devices), environment())
    if end.signum:
        return 128 + end.signum
    for name in end.failed:
        log = suite.work / "logs" / "shards" / f"{name}.log"
        warn(f"{suite.suite}: {name} failed; what it said: {spoken(log)}")
    if end.failed:
        return 1
    say(f"{targets[0]}: all {number} shards are done; now: {then}")
    return 0
