"""A map inside Stable Diffusion's U-Net (Rombach et al. 2022), averaged over the image: what a
network that learnt to draw pictures from noise knows of this one.

One of the models of PTG-RM's tables, which do not say which layer or step. The image is encoded,
noise of one time step is added, and the U-Net runs once. The defaults are DIFT's (Tang et al.,
NeurIPS 2023), whose features of that layer and step tell best what a place of a picture shows. No
words are given: zeros stand in the text's place, so that no text encoder is needed.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from benchlib.contracts import BenchError
from benchlib.priors import _features, _weights
from benchlib.priors.kinds.vector import Vector

if TYPE_CHECKING:
    import torch

VERSION = 1
USES = {"priors/_features.py": 1, "priors/_weights.py": 1}
KIND = "vector"
SHOWN = "Stable Diffusion's features"
PATHS = ("folder",)
PARTS = ("unet", "vae")
WIDTHS = (320, 640, 1280, 1280)  # of the U-Net of Stable Diffusion 1 and 2, fine to coarse
HALF = (0.5, 0.5, 0.5)  # mean and deviation: the encoder reads [-1,1]
# diffusers' default "scaled linear" schedule of Stable Diffusion
STEPS, FIRST, LAST = 1000, 0.00085, 0.012
Layer = Literal[
    "down_blocks.0",
    "down_blocks.1",
    "down_blocks.2",
    "down_blocks.3",
    "mid_block",
    "up_blocks.0",
    "up_blocks.1",
    "up_blocks.2",
    "up_blocks.3",
]


@dataclass(frozen=True)
class Config(_weights.Folder):
    """folder, sha256: a Stable Diffusion of diffusers (``_weights.Folder``; of it ``unet`` and
    ``vae`` are read).

    layer: whose output is read, diffusers' names. timestep: how much noise, of 1,000 steps. side:
    pixels that the image is resized to. draws: over how many noises the vector is averaged. seed:
    of the noise.
    """

    layer: Layer = "up_blocks.1"
    timestep: Annotated[int, Field(ge=0, lt=STEPS)] = 261
    side: Annotated[int, Field(ge=64, le=1024, multiple_of=64)] = 512
    draws: Annotated[int, Field(ge=1, le=64)] = 1
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0


class Parts(NamedTuple):
    """The two networks of diffusers, in evaluation mode."""

    unet: Any
    vae: Any


def size(config: Config) -> int:
    """Length of the vector: the layer's channels, of Stable Diffusion 1 and 2 where no folder is.

    Raises BenchError for a layer that the folder's U-Net does not have.
    """
    widths = list(WIDTHS)
    if config.folder is not None:
        file = Path(config.folder).expanduser() / "unet" / "config.json"
        if file.is_file():
            widths = json.loads(file.read_text(encoding="utf-8"))["block_out_channels"]
    kind, _, number = config.layer.partition(".")
    if number and int(number) >= len(widths):
        raise BenchError(
            f"stable_diffusion: layer: got {config.layer}; this U-Net has {len(widths)} {kind}"
        )
    if kind == "up_blocks":
        return int(widths[-1 - int(number)])
    return int(widths[int(number or -1)])


def open(config: Config, device: str) -> Callable[[np.ndarray], Vector]:
    """From an ``(H,W,3)`` uint8 RGB image to its vector, float32.

    Raises BenchError without diffusers or the folder, or if it holds other weights.
    """
    found = build(config)
    networks = Parts(found.unet.to(device), found.vae.to(device))
    return partial(features, networks=networks, config=config, device=device)


def record(config: Config, device: str) -> dict[str, Any]:
    """Settings, the weights' SHA-256, what is read where, versions."""
    folder = _weights.folder_of(config, "stable_diffusion", PARTS)
    _weights.extra("diffusers", "stable_diffusion")
    return {
        "config": dataclasses.asdict(config),
        "model": "Stable Diffusion",
        "weights": {"unet and vae": _weights.folder_hash(folder, PARTS)},
        "layer": f"{config.layer} at step {config.timestep}, mean over all places and draws",
        "input": {"side": config.side, "resized": "whole image, bicubic"},
        "normalisation": "RGB in [-1,1]",
        "versions": _features.packages("diffusers"),
    }


def build(config: Config) -> Parts:
    """U-Net and image encoder of the folder. Raises BenchError if they cannot be had."""
    folder = _weights.folder_of(config, "stable_diffusion", PARTS)
    diffusers = _weights.extra("diffusers", "stable_diffusion")
    unet = diffusers.UNet2DConditionModel.from_pretrained(folder / "unet", use_safetensors=True)
    vae = diffusers.AutoencoderKL.from_pretrained(folder / "vae", use_safetensors=True)
    return Parts(unet.float().eval(), vae.float().eval())


def features(image: np.ndarray, networks: Parts, config: Config, device: str) -> Vector:
    """The vector of an image, float32: the same noise for every image."""
    import torch

    pixels = _features.network_input(image, config.side, HALF, HALF).to(device)
    generator = torch.Generator().manual_seed(config.seed)
    with torch.inference_mode():
        latent = networks.vae.encode(pixels).latent_dist.mean
        latent = latent * networks.vae.config.scaling_factor
        total = torch.zeros(size(config))
        for _ in range(config.draws):
            noise = torch.randn(latent.shape, generator=generator).to(device)
            total += _inside(networks.unet, noised(latent, noise, config.timestep), config)
    return Vector((total / config.draws).numpy())


def noised(latent: torch.Tensor, noise: torch.Tensor, timestep: int) -> torch.Tensor:
    """The latent image at a step: ``sqrt(a) latent + sqrt(1 - a) noise``.

    a: the product of 1 - beta up to that step, whose roots rise evenly from FIRST's to LAST's.
    """
    roots = np.linspace(FIRST**0.5, LAST**0.5, STEPS)
    kept = float(np.prod(1 - roots[: timestep + 1] ** 2))
    return kept**0.5 * latent + (1 - kept) ** 0.5 * noise


def _inside(unet: Any, latent: torch.Tensor, config: Config) -> torch.Tensor:
    """The mean of the layer's map over all places, ``(channels,)`` on the CPU."""
    import torch

    found: list[torch.Tensor] = []

    def look(layer: Any, inputs: Any, output: Any) -> None:
        feature = output
        if isinstance(output, tuple):  # down blocks give what their layers passed on too
            feature = output[0]
        found.append(feature[0].float().mean((1, 2)).cpu())

    hook = unet.get_submodule(config.layer).register_forward_hook(look)
    words = torch.zeros(1, 77, unet.config.cross_attention_dim, device=latent.device)
    try:
        unet(latent, config.timestep, encoder_hidden_states=words)
    finally:
        hook.remove()
    return found[-1]
