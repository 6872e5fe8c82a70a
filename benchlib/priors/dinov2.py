"""DINOv2's class token (Oquab et al. 2024): one vector that a vision transformer learnt from
photographs alone, without labels or captions.

The network is timm's. With ``weights: random`` the same network has learnt nothing: the control.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from benchlib.contracts import BenchError
from benchlib.priors import _features, _weights
from benchlib.priors.kinds.vector import Vector

if TYPE_CHECKING:
    from torch import nn

VERSION = 1
USES = {"priors/_features.py": 1, "priors/_weights.py": 1}
KIND = "vector"
SHOWN = "DINOv2's features"
PATHS = ("file",)
PATCH = 14  # pixels
EXAMPLE = {"weights": "random", "side": 56}
WIDTHS = {
    "vit_small_patch14_dinov2": 384,
    "vit_base_patch14_dinov2": 768,
    "vit_large_patch14_dinov2": 1024,
    "vit_giant_patch14_dinov2": 1536,
    "vit_small_patch14_reg4_dinov2": 384,
    "vit_base_patch14_reg4_dinov2": 768,
    "vit_large_patch14_reg4_dinov2": 1024,
    "vit_giant_patch14_reg4_dinov2": 1536,
}
Model = Literal[
    "vit_small_patch14_dinov2",
    "vit_base_patch14_dinov2",
    "vit_large_patch14_dinov2",
    "vit_giant_patch14_dinov2",
    "vit_small_patch14_reg4_dinov2",
    "vit_base_patch14_reg4_dinov2",
    "vit_large_patch14_reg4_dinov2",
    "vit_giant_patch14_reg4_dinov2",
]


@dataclass(frozen=True)
class Config(_weights.Weights):
    """Which DINOv2, and where its weights come from (``_weights.Weights``).

    model: timm's name of the network. side: pixels that the image is resized to, a multiple of 14;
    224 as in DINOv2's evaluations (its last training stage saw 518), where positions are
    interpolated. read: the class "token", or the "mean" over all places.
    """

    weights: str = "dinov2-vit-s-14"
    model: Model = "vit_small_patch14_dinov2"
    side: Annotated[int, Field(ge=PATCH, le=1036, multiple_of=PATCH)] = 224
    read: Literal["token", "mean"] = "token"


def stands_in(config: Config) -> bool:
    """Whether it is a control in another prior's place."""
    return config.weights == _weights.RANDOM


def size(config: Config) -> int:
    """Length of the vector."""
    return WIDTHS[config.model]


def assets(config: Config) -> tuple[str, ...]:
    """The catalogue's entries that it fetches."""
    return _weights.entries(config)


def open(config: Config, device: str) -> Callable[[np.ndarray], Vector]:
    """From an ``(H,W,3)`` uint8 RGB image to its vector, float32.

    Raises BenchError without timm, or if the weights cannot be had or do not fit.
    """
    return partial(features, network=build(config).to(device), config=config, device=device)


def record(config: Config, device: str) -> dict[str, Any]:
    """Settings, the weights' SHA-256, what is read where, versions."""
    hashes = _weights.hashes(config, build)
    _weights.extra("timm", "dinov2")
    return {
        "config": dataclasses.asdict(config),
        "model": config.model,
        "weights": hashes,
        "layer": f"{config.read} after the last layer normalisation",
        "input": {"side": config.side, "resized": "whole image, bicubic"},
        "normalisation": {
            "mean": list(_features.IMAGENET_MEAN),
            "std": list(_features.IMAGENET_STD),
        },
        "versions": _features.packages("timm"),
    }


def build(config: Config) -> nn.Module:
    """timm's network with its weights, in evaluation mode.

    Raises BenchError without timm, or if the weights cannot be had or do not fit.
    """
    import torch

    timm = _weights.extra("timm", "dinov2")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = timm.create_model(
            config.model, pretrained=False, num_classes=0, img_size=config.side
        )
    network.eval().requires_grad_(False)
    if config.weights == _weights.RANDOM:
        _open_layers(network)
        return _features.randomise(network, config.seed, None)
    return loaded(network, config)


def _open_layers(network: nn.Module) -> None:
    """Let every layer count fully, as after training.

    A fresh network scales what its layers add by 0.00001, so that the class token would be the same
    for every image.
    """
    import torch

    for name, value in network.named_parameters():
        if name.endswith(".gamma"):
            torch.nn.init.ones_(value)


def loaded(network: Any, config: Config) -> nn.Module:
    """The network with published weights: timm renames the official file's and fits positions.

    Raises BenchError for weights that do not fit.
    """
    from timm.models.vision_transformer import checkpoint_filter_fn

    from benchlib.assets import load_weights

    path = _weights.path_of(config)
    weights = load_weights(path)
    weights.pop("mask_token", None)  # of training alone
    try:
        network.load_state_dict(checkpoint_filter_fn(weights, network), strict=True)
    except (RuntimeError, KeyError) as error:
        said = " ".join(str(error).split())[:600]
        raise BenchError(f"dinov2: {path}: not the weights of {config.model} ({said})") from None
    return network.eval()


def features(image: np.ndarray, network: Any, config: Config, device: str) -> Vector:
    """The vector of an image, float32."""
    import torch

    pixels = _features.network_input(
        image, config.side, _features.IMAGENET_MEAN, _features.IMAGENET_STD
    )
    with torch.inference_mode():
        tokens = network.forward_features(pixels.to(device))[0]
    if config.read == "token":
        return Vector(tokens[0].float().cpu().numpy())
    return Vector(tokens[network.num_prefix_tokens :].float().mean(0).cpu().numpy())
