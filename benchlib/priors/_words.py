"""Words about an image as tokens: what every prior of words shares, whoever says them.

A prior of words has ``words(config, device)``: a callable from an image, and what the prior is told
of it by name, to what is said (``Said``). Here a text encoder makes tokens of it. The encoders keep
one contract: ``open``, ``entries``, ``record``; each has its own name in ``encoder``.
"""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from benchlib.contracts import BenchError
from benchlib.priors import _encode_open_clip, _encode_wordllama, _weights
from benchlib.priors.kinds.tokens import Tokens

VERSION = 1
USES = {
    "priors/_encode_open_clip.py": 1,
    "priors/_encode_wordllama.py": 1,
    "priors/_weights.py": 1,
}
USUAL = "usual"
LONGEST = 4000  # characters of one text; nothing about a picture needs more
CLIP_READS = 77  # tokens; what is longer is cut off by its tokenizer
ENCODERS: dict[str, ModuleType] = {
    "open_clip": _encode_open_clip,
    "wordllama": _encode_wordllama,
}
Words = Callable[..., "Said"]


@dataclass(frozen=True)
class Encoded(_weights.Weights):
    """Settings of a prior of words: how a text becomes tokens.

    encoder: "wordllama" (256 numbers a token) or "open_clip" (CLIP's; the extra ``features``).
    weights: of the encoder; "usual" are its published ones; "random", an entry of the catalogue or
    "file" as ``_weights.Weights`` says. model: open_clip's name of one; "" is ViT-B-32-quickgelu.
    read: "tokens", a row a token; or "pooled", one row. longest: more rows than that are cut off.
    Raises BenchError for settings that do not go together.
    """

    weights: str = USUAL
    encoder: Literal["wordllama", "open_clip"] = "wordllama"
    model: str = ""
    read: Literal["tokens", "pooled"] = "tokens"
    longest: Annotated[int, Field(ge=1, le=1024)] = 77

    def __post_init__(self) -> None:
        if self.model and self.encoder != "open_clip":
            raise BenchError(f"model: got {self.model!r} beside encoder: {self.encoder}; leave out")
        _weights.Weights(**_fields_of_weights(self, ENCODERS[self.encoder].WEIGHTS))


def _fields_of_weights(config: Encoded, usual: str) -> dict[str, Any]:
    names = [one.name for one in dataclasses.fields(_weights.Weights)]
    given = {name: getattr(config, name) for name in names}
    if config.weights == USUAL:
        given["weights"] = usual
    return given


def resolved(config: Encoded) -> Encoded:
    """The settings with the encoder's published weights by their name."""
    if config.weights != USUAL:
        return config
    return dataclasses.replace(config, weights=ENCODERS[config.encoder].WEIGHTS)


def entries(config: Encoded) -> tuple[str, ...]:
    """The catalogue's entries that the encoder fetches."""
    return ENCODERS[config.encoder].entries(resolved(config))


def stands_in(config: Encoded) -> bool:
    """Whether the encoder has learnt nothing: a control."""
    return config.weights == _weights.RANDOM


def record(config: Encoded) -> dict[str, Any]:
    """For a prior's record: which encoder, its weights, what is read of it."""
    about = ENCODERS[config.encoder].record(resolved(config))
    return {"encoder": config.encoder, "read": config.read, "longest": config.longest} | about


def encoder(config: Encoded, device: str) -> Callable[[str], np.ndarray]:
    """From a text to all its rows, ``(n,d)`` float32, before any are cut off.

    Raises BenchError if the encoder cannot be had.
    """
    give = ENCODERS[config.encoder].open(resolved(config), device)
    if config.encoder == "open_clip":
        place = ("tokens", "pooled").index(config.read)
        return lambda text: give(text)[place]
    if config.read == "pooled":
        return lambda text: _encode_wordllama.pooled(give(text))
    return give


# --- what is said ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Said:
    """What was said of one image.

    text: in one line. notes: plain facts of it for the record (numbers, texts).
    """

    text: str
    notes: dict[str, Any] = field(default_factory=dict)


class Speaker:
    """From an image to the tokens of what is said of it; ``notes``: of the last image."""

    def __init__(self, words: Words, config: Encoded, device: str) -> None:
        self.words = words
        self.longest = config.longest
        self.encode = encoder(config, device)
        self.said = Said("")
        self.rows = 0

    def __call__(self, image: np.ndarray, *told: dict[str, Any]) -> Tokens:
        self.said = self.words(image, *told)
        rows = self.encode(self.said.text)
        self.rows = len(rows)
        return Tokens(self.said.text, np.ascontiguousarray(rows[: self.longest]))

    def notes(self) -> dict[str, Any]:
        """Of the last image; ``tokens_said``: its tokens before any were cut off."""
        return {"tokens_said": self.rows} | self.said.notes


def instruction(config: Encoded, text: str, device: str) -> Tokens:
    """The tokens of what a user asks for, as a prior of words with these settings makes them.

    Nothing of it is cut off: raises BenchError for a text without words, for one of more tokens
    than ``longest`` or than CLIP reads, and if the encoder cannot be had.
    """
    line = one_line(text)
    if not line:
        raise BenchError("say: the text has no words; say what to remove, such as 'the noise'")
    rows = encoder(dataclasses.replace(config, read="tokens"), device)(line)
    if config.encoder == "open_clip" and len(rows) >= CLIP_READS:
        raise BenchError(
            f"say: the text fills the {CLIP_READS} tokens that CLIP reads at the most, its start "
            "and end among them; say it in fewer words"
        )
    if config.read == "pooled":
        return Tokens(line, encoder(config, device)(line))
    if len(rows) > config.longest:
        raise BenchError(
            f"say: the text has {len(rows)} tokens, of which the run's prior keeps "
            f"{config.longest} (longest); say it in fewer words"
        )
    return Tokens(line, rows)


def one_line(text: str) -> str:
    """A text as it is kept: one line, without control characters, spaces at its ends and the like.

    A terminal's commands, marks that turn the direction of what follows, and lone surrogates are
    taken out; nothing else is changed. Raises BenchError for one of more than 4,000 characters.
    """
    kept = []
    for letter in text:
        if letter.isspace():
            kept.append(" ")
        elif unicodedata.category(letter) not in ("Cc", "Cf", "Cs"):
            kept.append(letter)
    line = " ".join("".join(kept).split())
    if len(line) > LONGEST:
        raise BenchError(f"a text of {len(line):,} characters; expected at most {LONGEST:,}")
    return line
