"""URetinex-Net's training, in its authors' three stages; each is a run that begins with the last.

1. ``decompose``: what takes reflectance and illumination of a dark image, and another network that
   takes those of a well lit photograph.
2. ``unfold``: the two networks of the rounds. The reflectance of the reference is the target.
3. ``adjust``: what brightens the illumination, by the ratio of the reference's to it.

What trains in a stage is free there, all else frozen. A run's weights hold the network of well lit
photographs too (``light``), by the names of the method ``uretinex_reference``, which can begin with
them. An image is restored by the backbone's own ratio, without a reference; before the third stage
that is no picture.

Only the successor's training was published (``_uretinex_losses.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from benchlib.assets import fetch, find, load_weights
from benchlib.contracts import Backbone, BenchError, Info
from benchlib.methods import _uretinex_losses as losses

VERSION = 1
USES = {"assets/weights.py": 1, "methods/_uretinex_losses.py": 1}
INFO = Info(
    paper="",
    source="model.py of AndersonYong/URetinex-Net-PLUS@94926c2",
    needs=(),
    label="a stage of URetinex-Net",
)
BACKBONES = ("uretinex",)
EXAMPLE = {"stage": "unfold", "light": "", "features": "none"}

Batch = dict[str, torch.Tensor]
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
# Where a part ends in ReLU, its last bias begins at this, so that some output is above 0 and has a
# gradient. The official start is 0 or drawn: dead from the first step, by chance.
ALIVE = 0.1
TRAINED = {  # stage -> parts that are free; the others are frozen
    "decompose": ("network.model_decom", "light"),
    "unfold": ("network.model_R", "network.model_L"),
    "adjust": ("network.model_A",),
}


@dataclass(frozen=True)
class Config:
    """stage: which of the three.

    light: the catalogue's entry of the network of well lit photographs, for stages after the
    first; "": none is fetched, and the run that this one begins with brings it. features: of the
    second stage: VGG16's weights, "vgg16" of the catalogue, "random", or "none": that term is left
    out.
    """

    stage: Literal["decompose", "unfold", "adjust"]
    light: str = "uretinex-reference"
    features: Literal["vgg16", "random", "none"] = "vgg16"


class Stage(nn.Module):
    def __init__(self, network: Any, config: Config):
        super().__init__()
        self.network = network
        self.config = config
        self.light = network.reference_light()
        for part in (network.model_R, network.model_L):
            part.apply(_as_the_rounds_begin)
        network.model_A.apply(_as_the_adjustment_begins)
        ends = (network.model_L.conv5, network.model_A.conv4)
        for last in (*ends, network.model_decom.decom[-2], self.light.model_R.decom[-2]):
            nn.init.constant_(last.bias, ALIVE)
        if assets_of_light(config):
            self.light.load_state_dict(load_weights(fetch(config.light)), strict=True)
        self.requires_grad_(False)
        for name in TRAINED[config.stage]:
            self.get_submodule(name).requires_grad_(True)

    def forward(self, batch: Batch) -> torch.Tensor:
        return self.network(batch["lq"])


def _as_the_rounds_begin(layer: nn.Module) -> None:
    if isinstance(layer, nn.Conv2d | nn.Linear):
        nn.init.normal_(layer.weight, 0.0, 0.02)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def _as_the_adjustment_begins(layer: nn.Module) -> None:
    if isinstance(layer, nn.Conv2d):
        nn.init.xavier_normal_(layer.weight, gain=0.02)


# --- the objectives ------------------------------------------------------------------------------


def objective(model: Any, batch: Batch, loss: Loss) -> tuple[torch.Tensor, torch.Tensor]:
    """The stage's own loss; the one that the run names is not read."""
    value, reflectance, light = OBJECTIVES[model.config.stage](model, batch["lq"], batch["hq"])
    ratio = model.network.config.ratio
    with torch.no_grad():
        restored = model.network.brighten(reflectance, light, ratio)
    return value, restored


def _decompose(
    model: Any, dark: torch.Tensor, reference: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    parts = model.network.model_decom(dark)
    value = losses.dark_decomposition_loss(dark[:, :3], parts)
    of_reference = model.light.model_R(reference)
    return value + losses.bright_decomposition_loss(reference, of_reference), *parts


def _unfold(
    model: Any, dark: torch.Tensor, reference: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rounds = rounds_of(model.network, dark)
    target, _ = model.light.model_R(reference)
    terms = losses.unfolding_terms(rounds, target, model.config.features)
    _, _, reflectance, light = rounds[-1]
    return torch.stack(list(terms.values())).sum(), reflectance, light


def _adjust(
    model: Any, dark: torch.Tensor, reference: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    network = model.network
    with torch.no_grad():
        reflectance, light = network.unfold(dark)
        ratio = losses.light_ratio(light, model.light(reference))
    ratios = torch.ones_like(light) * ratio[:, None, None, None]
    brighter = network.model_A(light, ratios)
    terms = losses.adjustment_terms(brighter * reflectance, reference, light, brighter)
    return torch.stack(list(terms.values())).sum(), reflectance, light


OBJECTIVES = {"decompose": _decompose, "unfold": _unfold, "adjust": _adjust}


def rounds_of(network: Any, image: torch.Tensor) -> losses.Rounds:
    """P, Q, R and L of every round of ``network.unfold(image)``, which gives the last alone."""
    of_reflectance: list[tuple[torch.Tensor, ...]] = []
    lights: list[torch.Tensor] = []

    def keep_reflectance(part: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        of_reflectance.append((*inputs, output))

    def keep_light(part: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        lights.append(output)

    hooks = [
        network.model_R.register_forward_hook(keep_reflectance),
        network.model_L.register_forward_hook(keep_light),
    ]
    try:
        network.unfold(image)
    finally:
        for hook in hooks:
            hook.remove()
    found: losses.Rounds = []
    for (p, q, r), light in zip(of_reflectance, lights, strict=True):
        found.append((p, q, r, light))
    return found


# --- what a run asks -----------------------------------------------------------------------------


def assets_of_light(config: Config) -> tuple[str, ...]:
    """The entry of the network of well lit photographs, where one is fetched."""
    if config.light and config.stage != "decompose":
        return (config.light,)
    return ()


def assets(config: Config) -> tuple[str, ...]:
    """The catalogue's entries that are fetched."""
    found = assets_of_light(config)
    if config.stage == "unfold" and config.features == "vgg16":
        found += (config.features,)
    return found


def check_network(config: Config, backbone: Backbone) -> None:
    """Raise BenchError for another network, or weights that are in no catalogue."""
    _unfolding(backbone)
    for entry in assets(config):
        find(entry)


def _unfolding(backbone: Backbone) -> nn.Module:
    network = backbone()
    if not callable(getattr(type(network), "unfold", None)):
        raise BenchError("uretinex_stages: the network has no rounds; take the backbone uretinex")
    return network


def build(backbone: Backbone, config: Config) -> nn.Module:
    """The network, from a batch's ``lq`` ``(B,3,H,W)`` to ``(B,3,H,W)``; a stage's part is free.

    Raises BenchError for another network, or weights that cannot be fetched.
    """
    return Stage(_unfolding(backbone), config)
