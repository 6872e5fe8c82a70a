"""CLIP's image embedding (Radford et al. 2021): one vector that a network learnt to match with the
caption of a photograph.

It is what PTG-RM guides with first, there of ViT-B/32. The network is open_clip's, any of its
models by name. The vector is not divided by its norm here; a method does that where it wants it.
With ``weights: random`` the same network has learnt nothing: the control.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchlib.contracts import BenchError
from benchlib.priors import _features, _weights
from benchlib.priors.kinds.vector import Vector

if TYPE_CHECKING:
    from torch import nn

VERSION = 1
USES = {"priors/_features.py": 1, "priors/_weights.py": 1}
KIND = "vector"
SHOWN = "CLIP's image embeddings"
PATHS = ("file",)
PACKAGE = "open_clip"
EXAMPLE = {"model": "ViT-S-32-alt", "weights": "random"}


@dataclass(frozen=True)
class Config(_weights.Weights):
    """Which CLIP, and where its weights come from (``_weights.Weights``).

    model: open_clip's name of the network. OpenAI's weights need one that ends with -quickgelu:
    they were trained with another activation than open_clip's own.
    """

    weights: str = "clip-vit-b-32-openai"
    model: str = "ViT-B-32-quickgelu"


def stands_in(config: Config) -> bool:
    """Whether it is a control in another prior's place."""
    return config.weights == _weights.RANDOM


def size(config: Config) -> int:
    """Length of the vector: 512 for ViT-B/32.

    Raises BenchError without open_clip, and for a model that it does not have.
    """
    found = find_spec(PACKAGE)  # read, not imported: that takes seconds
    if found is None or not found.submodule_search_locations:
        raise BenchError(f"clip: no Python package {PACKAGE} installed; {_weights.EXTRA}")
    folder = Path(found.submodule_search_locations[0]) / "model_configs"
    models = {file.stem: file for file in folder.glob("*.json")}
    if config.model not in models:
        near = get_close_matches(config.model, models, n=3, cutoff=0.0)
        raise BenchError(
            f"clip: model: got {config.model!r}; open_clip has none of that name; near: "
            f"{', '.join(near)}"
        )
    return int(json.loads(models[config.model].read_text(encoding="utf-8"))["embed_dim"])


def assets(config: Config) -> tuple[str, ...]:
    """The catalogue's entries that it fetches."""
    return _weights.entries(config)


def open(config: Config, device: str) -> Callable[[np.ndarray], Vector]:
    """From an ``(H,W,3)`` uint8 RGB image to its vector, float32.

    Raises BenchError without open_clip, or if the weights cannot be had or do not fit.
    """
    network = build(config).to(device)
    return partial(features, network=network, device=device)


def record(config: Config, device: str) -> dict[str, Any]:
    """Settings, the weights' SHA-256, what is read where, versions."""
    size(config)  # the model's name, before anything is fetched
    hashes = _weights.hashes(config, build)
    visual: Any = bare(config).visual
    return {
        "config": dataclasses.asdict(config),
        "model": config.model,
        "weights": hashes,
        "layer": "image embedding after its projection",
        "input": {"side": _side(visual), "resized": "whole image, bicubic"},
        "normalisation": {"mean": list(visual.image_mean), "std": list(visual.image_std)},
        "versions": _features.packages("open-clip-torch"),
    }


def build(config: Config) -> nn.Module:
    """open_clip's network with its weights, in evaluation mode; its ``visual`` part is used."""
    network = bare(config)
    if config.weights == _weights.RANDOM:
        return _features.randomise(network, config.seed, None)
    return _weights.load(network, config, f"clip: model {config.model}")


def bare(config: Config) -> nn.Module:
    """The same as open_clip starts it, by ``seed``."""
    import torch

    open_clip = _weights.extra(PACKAGE, "clip")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        logging.disable(logging.WARNING)  # it would warn that no weights are loaded
        try:
            network = open_clip.create_model(config.model, load_weights=False)
        finally:
            logging.disable(logging.NOTSET)
    return network.eval().requires_grad_(False)


def features(image: np.ndarray, network: Any, device: str) -> Vector:
    """The vector of an image, float32. Raises BenchError for a network of oblong input."""
    import torch

    visual = network.visual
    pixels = _features.network_input(image, _side(visual), visual.image_mean, visual.image_std)
    with torch.inference_mode():
        given = network.encode_image(pixels.to(device))
    return Vector(given[0].float().cpu().numpy())


def _side(visual: Any) -> int:
    height, width = visual.image_size
    if height != width:
        raise BenchError(f"clip: a model of {height}x{width} pixels; expected a square input")
    return int(height)
