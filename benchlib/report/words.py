"""What priors of words say of the test images: texts and their doubts, from the priors' records. Layer 4."""

from __future__ import annotations

from typing import Any

import pandas as pd

from benchlib.params import Choice, Suite
from benchlib.records import read_json

COLUMNS = ("prior", "dataset", "image", "text", "note")
IMAGES = 4  # of each set of each prior: the first


def said(suite: Suite) -> pd.DataFrame:
    """A line an image, the first few of each set: what each prior that a run reads at test time says of it.

    Empty where no prior says anything. note: why an answer is in doubt, the prompts of a painted picture and
    the like. The texts are others' words: who shows them escapes them.
    """
    lines = []
    for key in _read_at_test(suite):
        file = suite.work / "priors" / key / "prior.json"
        if not file.exists():
            continue
        counted: dict[str, int] = {}
        for one in read_json(file, ["images"])["images"]:
            counted[one["dataset"]] = counted.get(one["dataset"], 0) + 1
            if counted[one["dataset"]] <= IMAGES and _speaks(one):
                text = one.get("text", one.get("content", ""))
                lines.append((key, one["dataset"], one["image"], text, _note(one)))
    return pd.DataFrame(lines, columns=COLUMNS)


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
