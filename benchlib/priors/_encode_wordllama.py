"""WordLlama's token embeddings: of each token of a text a fixed vector, whatever stands around it.

WordLlama (Miller 2024) took the first layer of large language models and trained it until the mean
over a text's tokens told what the text is about: 32,000 tokens, 256 numbers each. It is no CLIP and
has seen no image. Two files of the package are read; its own loader, which asks the Hub, is not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchlib import assets
from benchlib.contracts import BenchError
from benchlib.files import sha256
from benchlib.priors import _weights

VERSION = 1
USES = {"priors/_weights.py": 1}
WEIGHTS = "wordllama-256"
TOKENIZER = "wordllama-tokenizer"
TENSOR = "embedding.weight"
SIZE = 256  # numbers a token
TOKENS = 32000  # of the tokenizer


def entries(config: Any) -> tuple[str, ...]:
    """The catalogue's entries that it fetches."""
    return (*_weights.entries(config), TOKENIZER)


def open(config: Any, device: str) -> Callable[[str], np.ndarray]:
    """From a text to ``(n,256)`` float32, a row a token; an empty text has one row of zeros.

    Raises BenchError if the weights or the tokenizer cannot be had, or are others'.
    """
    from tokenizers import Tokenizer

    table = _table(config)
    tokenizer = Tokenizer.from_file(str(assets.fetch(TOKENIZER)))

    def encode(text: str) -> np.ndarray:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        if not ids:
            return np.zeros((1, table.shape[1]), np.float32)
        return table[ids].astype(np.float32)

    return encode


def pooled(tokens: np.ndarray) -> np.ndarray:
    """``(1,d)``: the mean over the tokens, as WordLlama compares texts."""
    return tokens.mean(0, keepdims=True)


def _table(config: Any) -> np.ndarray:
    """``(32000,d)``, a row a token: as published, a file's, or drawn by ``seed``."""
    if config.weights == _weights.RANDOM:
        drawn = np.random.default_rng(config.seed)
        return drawn.standard_normal((TOKENS, SIZE), dtype=np.float32)
    path = _weights.path_of(config)
    found = assets.load_weights(path).get(TENSOR)
    if found is None or found.ndim != 2 or len(found) != TOKENS:
        raise BenchError(f"wordllama: {path}: no {TENSOR} of {TOKENS} rows; not its weights")
    return found.numpy()


def record(config: Any) -> dict[str, Any]:
    """The weights' and the tokenizer's SHA-256, versions."""
    from importlib.metadata import version

    weights = {config.weights: _hash(config), TOKENIZER: sha256(Path(assets.fetch(TOKENIZER)))}
    return {
        "model": "WordLlama, l2_supercat",
        "weights": weights,
        "versions": {"tokenizers": version("tokenizers"), "numpy": version("numpy")},
    }


def _hash(config: Any) -> str:
    if config.weights == _weights.RANDOM:
        return hashlib.sha256(_table(config).tobytes()).hexdigest()
    return sha256(_weights.path_of(config))
