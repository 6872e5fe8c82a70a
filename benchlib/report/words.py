"""What priors of words say of the test images: texts and their doubts, from the priors' records. Layer 4."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from benchlib.params import Choice, Suite
from benchlib.records import read_json

COLUMNS = ("prior", "dataset", "image", "text", "note")
IMAGES = 4  # of each set of each prior: the first
DOUBTED = 8  # further ones of each prior: those whose words are in doubt


def said(suite: Suite) -> pd.DataFrame:
    """A line an image: what each prior that a run reads at test time says of it. The first few of each set, then those
    whose words are in doubt, up to DOUBTED a prior.

    Empty where no prior says anything. note: why an answer is in doubt, the prompts of a painted picture and
    the like. The texts are others' words: who shows them escapes them.
    """
    lines = []
    for key, images in _spoken(suite):
        counted: dict[str, int] = {}
        doubted = 0
        for one in images:
            counted[one["dataset"]] = counted.get(one["dataset"], 0) + 1
            if counted[one["dataset"]] > IMAGES:
                if not one.get("doubt") or doubted >= DOUBTED:
                    continue
                doubted += 1
            text = one.get("text", one.get("content", ""))
            lines.append((key, one["dataset"], one["image"], text, _note(one)))
    return pd.DataFrame(lines, columns=COLUMNS)


def doubts(suite: Suite) -> list[str]:
    """A sentence a prior of which not all words are beyond doubt: of how many images there are none, or doubtful ones."""
    sentences = []
    for key, images in _spoken(suite):
        missing = sum("missing" in one for one in images)
        doubted = sum("doubt" in one for one in images) - missing
        said = []
        if missing:
            said.append(f"{missing} got no answer (the network read an empty text)")
        if doubted:
            said.append(f"{doubted} an answer that is in doubt")
        if said:
            sentences.append(f"{key}: of {len(images)} images, {' and '.join(said)}.")
    return sentences


def _spoken(suite: Suite) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Each prior that a run reads at test time and that says something: its key, the records of its images."""
    for key in _read_at_test(suite):
        file = suite.work / "priors" / key / "prior.json"
        if file.exists():
            yield key, [one for one in read_json(file, ["images"])["images"] if _speaks(one)]


def _read_at_test(suite: Suite) -> list[str]:
    """The keys under ``priors`` that any run reads at test time; one prior in several bundles is named once."""
    bundles = dict.fromkeys(run.prior.test for run in suite.runs.values())
    found: list[str] = []
    seen: list[tuple[str, Choice]] = []
    for key, prior in suite.priors.items():
        same = (prior.images, prior.prior)
        if key.partition("/")[0] in bundles and same not in seen:
            found.append(key)
            seen.append(same)
    return found


def _speaks(record: dict[str, Any]) -> bool:
    return "text" in record or "content" in record


def _note(record: dict[str, Any]) -> str:
    notes = []
    if record.get("degradation"):
        notes.append(f"to be avoided: {record['degradation']}")
    if record.get("doubt"):
        notes.append(str(record["doubt"]))
    return "; ".join(notes)
