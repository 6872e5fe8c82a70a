"""Answers of a language model: kept by what was asked of which image, so that nothing is asked
twice; and looked at before anyone reads them.

They lie in ``answers`` of the cache (BENCHLIB_CACHE), a file an answer, and outlive every suite.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchlib.assets import cache_folder
from benchlib.contracts import BenchError
from benchlib.files import new_file
from benchlib.priors import _words

VERSION = 1
USES = {"priors/_words.py": 1}
# beginnings of words that name what may be wrong with a photograph, and of "nothing is"
STARTS = re.compile(
    r"\b(nois|grain|blur|rain|streak|dark|low.?light|underexpos|dim|haz|fog|smok|snow|compress|"
    r"artifact|artefact|block|jpeg|overexpos|washed|contrast|low.?resolution|pixelat|defocus|motion|"
    r"none|clean|no degradation)"
)
ENGLISH = re.compile(r"\b(the|a|an|of|and|in|on|with|is|no|at|to|by)\b")
OBEYED = re.compile(
    r"\bignore\b.{0,40}\b(image|instruction|prompt|above|previous)|system prompt|"
    r"\bas an ai\b|\bi('m| am) sorry\b|\bi can(no|')?t\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Answer:
    """What a model answered.

    text: in one line, no longer than a text may be. model: as it names itself. tokens_in,
    tokens_out: as it counts them, 0 where it does not. finished: why it stopped, in its word.
    """

    text: str
    model: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    finished: str = ""


def key_of(image: np.ndarray, asked: dict[str, Any]) -> str:
    """What an answer is kept by: the pixels, and all that was asked of them. 64 digits."""
    pixels = hashlib.sha256(str(image.shape).encode() + image.tobytes()).hexdigest()
    return hashlib.sha256(json.dumps([pixels, asked], sort_keys=True).encode()).hexdigest()


def kept(key: str) -> Answer | None:
    """The answer kept under that key; None if there is none, or the file is damaged."""
    try:
        found = json.loads(_place(key).read_text(encoding="utf-8"))
        return Answer(**found["answer"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep(key: str, answer: Answer, asked: dict[str, Any]) -> None:
    """Write an answer, with what was asked, whole or not at all."""
    with new_file(_place(key)) as temporary:
        said = json.dumps({"asked": asked, "answer": asdict(answer)}, indent=1)
        temporary.write_text(said, encoding="utf-8")


def _place(key: str) -> Path:
    return cache_folder() / "answers" / key[:2] / f"{key}.json"


def readable(text: str) -> str:
    """A model's answer as it is kept: one line (``_words.one_line``), its beginning if it is long.

    Raises BenchError for an answer without any words.
    """
    line = _words.one_line(text[: _words.LONGEST])
    if not line:
        raise BenchError("the answer has no words")
    return line


def doubt(answer: Answer, degradation: bool) -> str:
    """Why an answer may not be what was asked for; "" where nothing speaks against it.

    degradation: whether it was asked what is wrong with the image. It is kept either way: a text is
    read as a text, whatever it says, and obeyed by nobody.
    """
    text, reasons = answer.text, []
    if answer.finished == "length" or len(text) >= _words.LONGEST:
        reasons.append("is cut off")
    if OBEYED.search(text):
        reasons.append("reads like a refusal or an instruction")
    if not _is_english(text):
        reasons.append("may not be English")
    elif degradation and not STARTS.search(text.lower()):
        reasons.append("names no degradation known here")
    if not reasons:
        return ""
    return f"the answer {' and '.join(reasons)}: {text[:80]!r}"


def _is_english(text: str) -> bool:
    """Latin letters mostly; of a sentence, one of the most frequent words."""
    letters = [letter for letter in text if letter.isalpha()]
    latin = [letter for letter in letters if letter.isascii()]
    if len(latin) < 0.8 * len(letters) or not letters:
        return False
    return len(text.split()) < 6 or bool(ENGLISH.search(text.lower()))
