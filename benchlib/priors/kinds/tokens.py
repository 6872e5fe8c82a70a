"""Words about an image and their embedding: of CLIP's text encoder, BLIP-2, a multimodal model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchlib.contracts import Window
from benchlib.priors.kinds import _arrays

if TYPE_CHECKING:
    import torch

VERSION = 1
USES = {"priors/kinds/_arrays.py": 1}
ENTRIES = ("tokens", "tokens_mask")


@dataclass(frozen=True, eq=False)
class Tokens:
    """text: what was said. embedding: ``(n,d)`` float32, finite, a row a token; n may be 0."""

    text: str
    embedding: np.ndarray


def save(path: str | Path, stored: Tokens) -> None:
    """Write one .npz, whole or not at all. Raises BenchError for an embedding that is no matrix."""
    _check(path, stored.embedding)
    text = np.frombuffer(stored.text.encode(), np.uint8)
    _arrays.save_arrays(path, {"text": text, "embedding": stored.embedding})


def load(path: str | Path) -> Tokens:
    """Read what :func:`save` wrote. Raises BenchError, naming the file, for anything else."""
    found = _arrays.load_arrays(path, ["text", "embedding"], "text")
    _check(path, found["embedding"])
    if found["text"].dtype != np.uint8 or found["text"].ndim != 1:
        raise _arrays.unreadable(path, "text", "the text is not stored as bytes")
    try:
        return Tokens(found["text"].tobytes().decode(), found["embedding"])
    except UnicodeDecodeError as error:
        raise _arrays.unreadable(path, "text", error) from None


def _check(path: str | Path, embedding: np.ndarray) -> None:
    if embedding.ndim != 2 or embedding.dtype != np.float32:
        why = f"{embedding.shape} {embedding.dtype}, expected (n,d) float32"
        raise _arrays.unreadable(path, "text", why)
    if not np.isfinite(embedding).all():
        raise _arrays.unreadable(path, "text", "values that are not finite")


def fits(stored: Tokens, shape: tuple[int, ...]) -> bool:
    """Words have no place in the image: they fit every size."""
    return True


def crop(stored: Tokens, window: Window) -> dict[str, np.ndarray]:
    """ "tokens" ``(n,d)`` float32, and "tokens_mask" ``(n,)`` bool, true: of the whole image."""
    there = np.ones(len(stored.embedding), bool)
    return {"tokens": stored.embedding, "tokens_mask": there}


def collate(items: Sequence[dict[str, np.ndarray]]) -> dict[str, torch.Tensor]:
    """ "tokens" ``(B,n,d)``, shorter texts filled with zeros; "tokens_mask" ``(B,n)``, false
    there.
    """
    return {name: _arrays.padded(items, name) for name in ENTRIES}


def zeroed(stored: Tokens) -> Tokens:
    """Nothing said: the same number of tokens, all zeros."""
    return Tokens("", np.zeros_like(stored.embedding))


def resized(stored: Tokens, shape: tuple[int, int], turn: bool = False) -> Tokens:
    """The same for every size; turn: tokens, and the numbers of each, in the opposite order."""
    if turn:
        return Tokens(stored.text, stored.embedding[::-1, ::-1].copy())
    return stored


def facts(stored: Tokens) -> dict[str, Any]:
    """The text, and how many tokens of what length."""
    return {"text": stored.text, "tokens": len(stored.embedding), "size": stored.embedding.shape[1]}


def picture(stored: Tokens, image: np.ndarray) -> None:
    """Words are shown as words (``facts``)."""
