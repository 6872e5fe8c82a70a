"""What is wrong with an image, told by the set that it is in: a control, since no model looked.

With the right names it is what a perfect observer would say in one word, the most that words about
the degradation can give; with ``wrong`` each image is told another set's, so that a network which
reads its words must do worse.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchlib.contracts import BenchError
from benchlib.priors import _words
from benchlib.priors._words import Said, Speaker, Words
from benchlib.priors.kinds.tokens import Tokens

VERSION = 1
USES = {"priors/_words.py": 1}
KIND = "tokens"
SHOWN = "names of the true degradations"
CONTROL = True
PATHS = ("file",)
# the set that the contract's own try puts its image in
EXAMPLE = {"sets": {"out": "noise", "other": "rain"}, "weights": "random"}


@dataclass(frozen=True)
class Config(_words.Encoded):
    """sets: a set's name -> what is wrong with its images. wrong: tell another set's instead.

    The wrong one of a name is the next in the order of ``sets``, and the first of the last.
    """

    sets: dict[str, str] = field(default_factory=dict)
    wrong: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.wrong and len(_names(self)) < 2:
            raise BenchError("wrong: needs two names in sets that differ")


def _names(config: Config) -> list[str]:
    return list(dict.fromkeys(config.sets.values()))


def assets(config: Config) -> tuple[str, ...]:
    """The catalogue's entries that it fetches."""
    return _words.entries(config)


def told(config: Config, dataset: str, image: str) -> dict[str, Any]:
    """The name for the image's set. Raises BenchError for a set that is not named."""
    if dataset not in config.sets:
        known = ", ".join(config.sets) or "none"
        raise BenchError(f"sets: no name for the set {dataset} (there: {known}); add one")
    name, names = config.sets[dataset], _names(config)
    if config.wrong:
        name = names[(names.index(name) + 1) % len(names)]
    return {"text": _words.one_line(name)}


def open(config: Config, device: str) -> Callable[..., Tokens]:
    """From an ``(H,W,3)`` uint8 RGB image, and its set's name, to tokens.

    Raises BenchError if no set is named, or the encoder cannot be had.
    """
    return Speaker(words(config, device), config, device)


def words(config: Config, device: str) -> Words:
    """From an image, and the name, to the name. Raises BenchError if no set is named."""
    if not config.sets:
        raise BenchError("named_degradation: no set named; write sets: {noise: noise, ...}")
    return _say


def _say(image: np.ndarray, told: dict[str, Any]) -> Said:
    return Said(told["text"])


def record(config: Config, device: str) -> dict[str, Any]:
    """Settings and the encoder. Each name stands with its image."""
    return {"config": dataclasses.asdict(config)} | _words.record(config)
