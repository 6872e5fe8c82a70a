"""BLIP-2's query features (Li et al. 2023), averaged: what a transformer that learnt to hand a
picture over to a language model asks of it.

One of the models of PTG-RM's tables. The image encoder and the Q-Former are transformers' own; the
language model, most of the parameters, is neither loaded nor run. The Q-Former answers 32 learnt
queries by a vector each; their mean is the prior.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchlib.contracts import BenchError, shortened
from benchlib.priors import _features, _weights
from benchlib.priors.kinds.vector import Vector

if TYPE_CHECKING:
    import torch
    from torch import nn

VERSION = 1
USES = {"priors/_features.py": 1, "priors/_weights.py": 1}
KIND = "vector"
SHOWN = "BLIP-2's features"
PATHS = ("folder",)
PARTS = ("",)  # of the folder: itself
WIDTH = 768  # of the Q-Former of every published BLIP-2
QUERIES = "query_tokens"
MEAN = (0.48145466, 0.4578275, 0.40821073)  # transformers' OPENAI_CLIP_MEAN: Blip2Processor's
STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Config(_weights.Folder):
    """folder, sha256: a BLIP-2 of transformers, its weights as .safetensors (``_weights.Folder``).

    A public revision: ``hf download Salesforce/blip2-opt-2.7b --revision
    51572668da0eb669e01a189dc22abe6088589a24``.
    """


def size(config: Config) -> int:
    """Length of the vector: the width of the Q-Former, 768 where no folder is there to ask."""
    if config.folder is None:
        return WIDTH
    file = Path(config.folder).expanduser() / "config.json"
    if not file.is_file():
        return WIDTH
    stated = json.loads(file.read_text(encoding="utf-8"))
    return int(stated.get("qformer_config", {}).get("hidden_size", WIDTH))


def open(config: Config, device: str) -> Callable[[np.ndarray], Vector]:
    """From an ``(H,W,3)`` uint8 RGB image to its vector, float32.

    Raises BenchError without transformers or the folder, or if it holds other weights.
    """
    return partial(features, network=build(config).to(device), device=device)


def record(config: Config, device: str) -> dict[str, Any]:
    """Settings, the weights' SHA-256, what is read where, versions."""
    folder = _weights.folder_of(config, "blip2", PARTS)
    _weights.extra("transformers", "blip2")
    side = _stated(folder).vision_config.image_size
    return {
        "config": dataclasses.asdict(config),
        "model": "BLIP-2",
        "weights": {"folder": _weights.folder_hash(folder, PARTS)},
        "layer": "last layer of the Q-Former, mean over its queries",
        "input": {"side": side, "resized": "whole image, bicubic"},
        "normalisation": {"mean": list(MEAN), "std": list(STD)},
        "versions": _features.packages("transformers"),
    }


def build(config: Config) -> nn.Module:
    """Image encoder, Q-Former and queries of the folder, in evaluation mode.

    Raises BenchError if they cannot be had, or do not fit the folder's own configuration.
    """
    folder = _weights.folder_of(config, "blip2", PARTS)
    _weights.extra("transformers", "blip2")
    network = parts(_stated(folder))
    kept: dict[str, torch.Tensor] = {}
    for file in sorted(folder.glob(_weights.WEIGHTS)):
        kept |= _read(file)
    try:
        network.load_state_dict(kept, strict=True)
    except RuntimeError as error:
        raise BenchError(f"blip2: {folder}: {shortened(str(error), 600)}") from None
    return network.eval().requires_grad_(False)


def _stated(folder: Path) -> Any:
    """The folder's configuration. Raises BenchError for another model's."""
    from transformers import Blip2Config

    kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    if kind != "blip-2":
        raise BenchError(f"blip2: {folder}: its config.json says {kind!r}; expected 'blip-2'")
    return Blip2Config.from_pretrained(folder)


def parts(stated: Any) -> nn.Module:
    """The parts under their names in a checkpoint; their weights are random."""
    import torch
    from torch import nn
    from transformers import Blip2QFormerModel, Blip2VisionModel

    network = nn.Module()
    network.vision_model = Blip2VisionModel(stated.vision_config)
    network.qformer = Blip2QFormerModel(stated.qformer_config)
    shape = (1, stated.num_query_tokens, stated.qformer_config.hidden_size)
    network.register_parameter(QUERIES, nn.Parameter(torch.zeros(shape)))
    return network


def _read(file: Path) -> dict[str, torch.Tensor]:
    """The tensors of those parts in one file of a checkpoint, as float32; no other is read."""
    from safetensors import safe_open

    found = {}
    with safe_open(file, framework="pt") as opened:
        for name in list(opened.keys()):
            own = name.removeprefix("model.")
            if own.startswith(("vision_model.", "qformer.")) or own == QUERIES:
                found[own] = opened.get_tensor(name).float()
    return found


def features(image: np.ndarray, network: Any, device: str) -> Vector:
    """The vector of an image, float32."""
    import torch

    side = network.vision_model.config.image_size
    pixels = _features.network_input(image, side, MEAN, STD)
    with torch.inference_mode():
        seen = network.vision_model(pixels.to(device)).last_hidden_state
        asked = network.qformer(
            query_embeds=network.query_tokens, encoder_hidden_states=seen
        ).last_hidden_state
    return Vector(asked[0].mean(0).float().cpu().numpy())
