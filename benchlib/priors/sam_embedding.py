"""SAM's image embedding, pooled: one vector of the image that its encoder computes for masks
anyway.

The encoder gives ``(256,64,64)`` of the image resized to a long side of 1024 pixels and padded at
the right and bottom; the mean is over the places that hold the image, not over the padding.
Pre-trained features pooled to one vector are what PTG-RM (Xu et al., section 3.1) guides with,
there of CLIP, BLIP-2 and others; SAM's is not among its rows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from benchlib.priors import _sam
from benchlib.priors._weights import RANDOM, Seed
from benchlib.priors.kinds.vector import Vector

VERSION = 1
USES = {"priors/_sam.py": 1, "priors/_weights.py": 1}
KIND = "vector"
SHOWN = "SAM's pooled features"
CHANNELS = 256
STRIDE = 16  # pixels of the resized image under one place of the embedding


@dataclass(frozen=True)
class Config:
    """model: which SAM. weights: its own, or "random" ones drawn by ``seed``: the control."""

    model: _sam.Model = "mobilesam"
    weights: Literal["official", "random"] = "official"
    seed: Seed = 0


def stands_in(config: Config) -> bool:
    """Whether it is a control in another prior's place."""
    return config.weights == RANDOM


def size(config: Config) -> int:
    """Length of the vector: the same for every SAM."""
    return CHANNELS


def open(config: Config, device: str) -> Callable[[np.ndarray], Vector]:
    """From an ``(H,W,3)`` uint8 RGB image to its vector."""
    if config.weights == RANDOM:
        sam, _ = _sam.random_sam(config.model, config.seed, device)
    else:
        sam = _sam.load_sam(config.model, device)
    return partial(embedding, sam=sam, device=device)


def assets(config: Config) -> tuple[str, ...]:
    """The catalogue's entries that it fetches."""
    if config.weights == RANDOM and config.model == "mobilesam":
        return _sam.ASSETS[config.model][:1]  # its graph; the weights in it are not read
    if config.weights == RANDOM:
        return ()
    return _sam.ASSETS[config.model]


def record(config: Config, device: str) -> dict[str, Any]:
    """Settings, the weights' SHA-256, versions."""
    said = {"config": dataclasses.asdict(config)}
    if config.weights != RANDOM:
        return said | _sam.sam_record(config.model)
    _, drawn = _sam.random_sam(config.model, config.seed, "cpu")
    return said | {
        "weights": {f"random, seed {config.seed}": drawn},
        "versions": _sam.versions(),
    }


def embedding(image: np.ndarray, sam: Any, device: str) -> Vector:
    """The mean of SAM's embedding over the image: ``(256,)`` float32.

    Raises BenchError for an image that is too narrow for SAM.
    """
    import torch
    from segment_anything.utils.transforms import ResizeLongestSide

    _sam.check_size(image, "crop the image")
    resized = ResizeLongestSide(_sam.SIDE).apply_image(image)
    height, width = resized.shape[:2]
    pixels = torch.from_numpy(resized).permute(2, 0, 1)[None].to(device)
    with torch.inference_mode():
        features = sam.image_encoder(sam.preprocess(pixels))
    inside = features[0, :, : -(-height // STRIDE), : -(-width // STRIDE)]
    return Vector(inside.float().mean((1, 2)).cpu().numpy())
