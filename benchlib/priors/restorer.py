"""The deepest map of a restoration network, averaged over the image: what a network that was
trained to restore knows of it.

PTG-RM's "-r" (Xu et al. 2024) takes a restoration network in the place of CLIP. Here it is any
backbone with its official weights, of the catalogue or of a file; the map is that of the last of
the building blocks with the coarsest map. With ``weights: random`` the same network has learnt
nothing: the control.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from benchlib.priors import _features, _weights
from benchlib.priors.kinds.vector import Vector

if TYPE_CHECKING:
    from torch import nn

VERSION = 1
USES = {
    "priors/_features.py": 1,
    "priors/_deepest.py": 1,
    "priors/_weights.py": 1,
}
USES_EACH_OF = ("backbones",)  # a setting names which
KIND = "vector"
SHOWN = "a restorer's features"
PATHS = ("file",)
SIDE = 64  # pixels: of the pictures on which a random network's batch normalisation is set


def _zero_dce() -> dict[str, Any]:
    return {"name": "zero_dce"}


@dataclass(frozen=True)
class Config(_weights.Weights):
    """Which network, and where its weights come from (``_weights.Weights``; a run's are a file).

    backbone: as a run names it, with its settings: ``{name: imdn, scale: 4}``.
    """

    weights: str = "zero-dce"
    backbone: dict[str, Any] = field(default_factory=_zero_dce)


def stands_in(config: Config) -> bool:
    """Whether it is a control in another prior's place."""
    return config.weights == _weights.RANDOM


def size(config: Config) -> int:
    """Length of the vector: the channels of the deepest map.

    Raises BenchError for an unknown backbone, or one without building blocks.
    """
    from benchlib.priors import _deepest

    return _deepest.place(json.dumps(config.backbone))[1]


def assets(config: Config) -> tuple[str, ...]:
    """The catalogue's entries that it fetches."""
    return _weights.entries(config)


def open(config: Config, device: str) -> Callable[[np.ndarray], Vector]:
    """From an ``(H,W,3)`` uint8 RGB image to its vector, ``(channels,)`` float32.

    Raises BenchError if the weights cannot be had, do not fit the backbone, or are another file's.
    """
    network = build(config).to(device)
    return partial(features, network=network, backbone=config.backbone, device=device)


def record(config: Config, device: str) -> dict[str, Any]:
    """Settings, the weights' SHA-256, which block is read, versions."""
    from benchlib import registry
    from benchlib.priors import _deepest

    index, channels = _deepest.place(json.dumps(config.backbone))
    name = config.backbone["name"]
    return {
        "config": dataclasses.asdict(config),
        "model": name,
        "weights": _weights.hashes(config, build),
        "layer": f"building block {index}, {channels} channels, mean over all places",
        "input": "whole image at its own size",
        "normalisation": "RGB in [0,1]",
        "versions": {f"backbones/{name}.py": registry.version(f"backbones/{name}.py")}
        | _features.packages(),
    }


def build(config: Config) -> nn.Module:
    """The network with its weights, in evaluation mode.

    Raises BenchError if they cannot be had, do not fit the backbone, or are another file's.
    """
    import torch

    from benchlib.priors import _deepest

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = _deepest.build(config.backbone).requires_grad_(False)
    what = f"restorer: backbone {config.backbone['name']}"
    if config.weights == _weights.RANDOM:
        pictures = (0.5 + _features.pictures(SIDE, config.seed) / 4).clamp(0, 1)
        return _features.randomise(network, config.seed, pictures)
    return _weights.load(network, config, what)


def features(
    image: np.ndarray, network: nn.Module, backbone: dict[str, Any], device: str
) -> Vector:
    """The vector of an image: ``(channels,)`` float32."""
    import torch

    from benchlib.priors import _deepest

    pixels = torch.from_numpy(image).to(device).permute(2, 0, 1)[None].float() / 255
    return Vector(_deepest.pooled(backbone, network, pixels).cpu().numpy())
