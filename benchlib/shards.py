"""One prior, or one evaluation, by several workers: what ``benchlib shard`` does.

Layer 5. A shard is every n-th image. It leaves what it has finished where the ordinary stage looks
for it, by what it was made from, and touches no output of a stage: DVC need not know of it. So
shards may run side by side, in any order, on several hosts that share the checkout, and again.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from benchlib import fanout
from benchlib.contracts import BenchError
from benchlib.finished import check_share

if TYPE_CHECKING:
    from benchlib.params import Suite

STAGES = ("priors", "evaluate")


def check_stage(suite: Suite, stage: str, key: str) -> None:
    """Raise BenchError for a stage without shards, and for one whose inputs are not there yet."""
    from benchlib import pipeline

    if stage not in STAGES or not key:
        raise BenchError(
            f"{stage}: has no shards; name one prior or one evaluation: priors@KEY, evaluate@KEY"
        )
    for step in pipeline.inputs(suite, stage, key):
        if not pipeline.result(suite, *step).exists():
            needed = "@".join(step)
            raise BenchError(
                f"{suite.suite}: {stage}@{key} reads the result of {needed}, which is not there; "
                f"run that first: benchlib run {suite.suite} {needed}"
            )


def run_shard(suite: Suite, stage: str, key: str, index: int, number: int) -> int:
    """Do one share here; how many images were done. Raises BenchError as the stage."""
    check_share(index, number)
    if stage == "priors":
        from benchlib.prepare import make_priors_shard

        return make_priors_shard(suite, key, index, number)
    from benchlib.evaluate import evaluate_shard
    from benchlib.plan import open_run

    return evaluate_shard(open_run(suite, key), index, number)


def run_all(
    suite: Suite, stage: str, key: str, slots: Sequence[fanout.Slot], env: Mapping[str, str]
) -> fanout.Outcome:
    """Do all shares side by side, each in a process and slot of its own; a line whenever one ends.

    env: of these processes; each slot adds its device and its share of the threads.
    """
    params = str(suite.folder / "params.yaml")
    commands = {}
    for index in range(len(slots)):
        words = ["-m", "benchlib", "shard", params, f"{stage}@{key}"]
        words += ["-n", str(len(slots)), "--index", str(index)]
        commands[f"{stage}@{key}.shard-{index}"] = [sys.executable, *words]
    place = fanout.Place(suite.folder, suite.work / "logs" / "shards", env, [], shards=commands)
    todo: fanout.Graph = {name: set() for name in commands}
    return fanout.run_stages(todo, slots, place)
