"""CLIP's text encoder (Radford et al. 2021), by open_clip: what LMDIR reads its texts with.

LMDIR (He et al. 2024) names neither the model nor what is read of it. ``tokens`` are the rows after
the last normalisation, from the start of the text to its end; ``pooled`` is the one that CLIP
matches with images, after its projection. Neither is divided by its norm here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchlib.contracts import BenchError
from benchlib.priors import _features, _weights, clip

VERSION = 1
USES = {"priors/_features.py": 1, "priors/_weights.py": 1, "priors/clip.py": 1}
WEIGHTS = "clip-vit-b-32-openai"
MODEL = "ViT-B-32-quickgelu"
LAST = ("ln_final", "text.ln_final")  # open_clip's two ways to lay a model out


def entries(config: Any) -> tuple[str, ...]:
    """The catalogue's entries that it fetches."""
    return _weights.entries(config)


def of_clip(config: Any) -> clip.Config:
    """The settings of the prior ``clip`` that name the same model. Raises BenchError as it does."""
    return clip.Config(
        config.weights, config.seed, config.file, config.sha256, config.model or MODEL
    )


def open(config: Any, device: str) -> Callable[[str], tuple[np.ndarray, np.ndarray]]:
    """From a text to its rows, ``(n,w)``, and the pooled one, ``(1,d)``, both float32.

    n: tokens with the start and the end; what is longer than the model's context is cut off.
    Raises BenchError without open_clip, if the weights cannot be had or do not fit, and for a model
    whose tokenizer is not open_clip's own.
    """
    import torch

    own = of_clip(config)
    clip.size(own)  # the model's name, before anything is fetched
    network: Any = clip.build(own).to(device)
    tokenizer = _tokenizer(own.model)
    last = _last(network, own.model)

    def encode(text: str) -> tuple[np.ndarray, np.ndarray]:
        ids = tokenizer([text])
        found: list[torch.Tensor] = []
        hook = last.register_forward_hook(lambda *seen: found.append(seen[2]))
        try:
            with torch.inference_mode():
                whole = network.encode_text(ids.to(device))
        finally:
            hook.remove()
        end = int(ids[0].argmax()) + 1  # the end of the text has the largest number
        rows = found[-1][0, :end]
        return rows.float().cpu().numpy(), whole.float().cpu().numpy()

    return encode


def _tokenizer(model: str) -> Any:
    """open_clip's own. Raises BenchError for a model with another's, which the Hub holds."""
    open_clip = _weights.extra("open_clip", "open_clip")
    text = open_clip.get_model_config(model)["text_cfg"]
    if "hf_tokenizer_name" in text or "hf_model_name" in text:
        raise BenchError(
            f"open_clip: model {model}: its tokenizer is on the Hugging Face Hub; take one with "
            "open_clip's own, such as ViT-B-32-quickgelu or ViT-L-14"
        )
    return open_clip.get_tokenizer(model)


def _last(network: Any, model: str) -> Any:
    names = dict(network.named_modules())
    for name in LAST:
        if name in names:
            return names[name]
    raise BenchError(f"open_clip: model {model}: no last normalisation of its text; take another")


def record(config: Any) -> dict[str, Any]:
    """The model, its weights' SHA-256, versions."""
    own = of_clip(config)
    clip.size(own)
    return {
        "model": own.model,
        "weights": _weights.hashes(own, clip.build),
        "versions": _features.packages("open-clip-torch"),
    }
