"""What a user asks for in words ("remove the noise"), in the place of what a run's prior says of an image.

Layer 4. ``explore.restore_folder`` and ``mixed`` restore with it; ``benchlib restore --say`` is the command.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchlib.contracts import BenchError, nearest
from benchlib.params import configure, located

if TYPE_CHECKING:
    from benchlib.params import Suite
    from benchlib.plan import RunPlan
    from benchlib.priors._read import Part
    from benchlib.priors.kinds.tokens import Tokens

USUAL = "degradation"  # the part that an instruction is for, where a run reads words in several


@dataclass(frozen=True)
class Told:
    """What is said to a run instead of its own words: part (of its prior; "" of one that is no bundle), and image -> words."""

    part: str
    words: Mapping[str, Tokens]

    def write(self, part: Part, dataset: str, images: Iterable[str]) -> None:
        """The words as the prior of every image named, where that part of it lies."""
        for image in images:
            part.module().save(part.folder / dataset / f"{image}.npz", self.words[image])


def parts_of_words(suite: Suite, plan: RunPlan) -> dict[str, Any]:
    """The parts of a run's test prior that are words and that its method reads: part -> the prior's settings."""
    bundle, found = suite.bundle(plan.entry.prior.test), {}
    for part in plan.test_prior.parts:
        module, config = configure("priors", bundle[part.name].prior)
        read = plan.test_prior.entries(part) & set(part.module().ENTRIES)
        if hasattr(module, "words") and read:
            found[part.name] = located(module, config, suite.folder)
    return found


def part_of(suite: Suite, plan: RunPlan, part: str = "") -> str:
    """The part whose place an instruction takes: the one named, the only one of words, or ``degradation``.

    Raises BenchError where the run reads no words, reads several and none is named, or has a control in its prior's
    place, which no words would reach.
    """
    known = parts_of_words(suite, plan)
    run, prior = f"runs.{plan.key}", plan.entry.prior
    if not known:
        raise BenchError(
            f"{run}: reads no words (its prior is {prior.test}), so that nothing can be said to it; take a run whose "
            "prior has words, such as one of method lmdir"
        )
    if prior.swap is not None:
        raise BenchError(
            f"{run}: its prior is {prior.swap} (swap), which words would not reach; take the run without the swap"
        )
    if part and part not in known:
        raise BenchError(f"{run}: --part {part}: no words there; {nearest(part, known)}")
    if part or len(known) == 1:
        return part or next(iter(known))
    if USUAL not in known:
        raise BenchError(
            f"{run}: reads words in several parts ({', '.join(known)}); name one by --part"
        )
    return USUAL


def words_of(suite: Suite, plan: RunPlan, text: str, part: str = "") -> Tokens:
    """An instruction, by the encoder and with the settings of the run's own words in that part.

    Raises BenchError as ``part_of``, for a text without words or one that is too long, and if the encoder cannot be had.
    """
    from benchlib.priors._loop import device_name
    from benchlib.priors._words import instruction

    config = parts_of_words(suite, plan)[part_of(suite, plan, part)]
    return instruction(config, text, device_name())


def sentence(part: str, words: Tokens) -> str:
    """What is said, for the user to read."""
    where = f" as {part}" if part else ""
    rows = len(words.embedding)
    return f'said{where}: "{words.text}" ({rows} token{"" if rows == 1 else "s"})'
