"""The backbone alone, trained by its own loss: it sees dark images and no reference.

For the networks that the PTG-RM paper calls unsupervised (Table 4), as far as their losses are in
``_own_losses.py``: Zero-DCE, SCI and RUAS. ``docs/methods.md`` has the official settings of each,
and what the training loop does otherwise. The references of the training pairs are never read;
those of a validation are, by what chooses.

RUAS trains its denoiser by a loss of its own, at every fiftieth step, twenty times slower and from
weights made before. Here it stays as it begins, or is trained at every step (``denoiser``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from benchlib.contracts import Backbone, BenchError, Info
from benchlib.methods._own_losses import own_loss
from benchlib.methods._unsupervised import ruas_denoise_loss

VERSION = 1
USES = {"methods/_own_losses.py": 1, "methods/_unsupervised.py": 1}
INFO = Info(
    paper="",
    source="the losses of Zero-DCE, SCI and RUAS as published",
    needs=(),
    label="no prior, no references",
)
BACKBONES = ("zero_dce", "sci", "ruas")
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Config:
    """denoiser: train RUAS's denoiser too, by total variation."""

    denoiser: bool = False


class Unsupervised(nn.Module):
    def __init__(self, network: nn.Module, config: Config):
        super().__init__()
        self.network = network
        self.own_loss = own_loss("unsupervised", network)
        self.denoiser = config.denoiser
        if hasattr(network, "denoise_net"):
            network.denoise_net.requires_grad_(config.denoiser)  # type: ignore[union-attr]
        elif config.denoiser:
            raise BenchError(
                "unsupervised: denoiser: got true, but the network has none; leave it out, or "
                "take the backbone ruas with denoise: true"
            )

    def forward(
        self, batch: dict[str, torch.Tensor], learns: bool = False
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """The restored images; with ``learns`` the loss, a number, before them."""
        network: Any = self.network
        if not learns:
            return network(batch["lq"])
        own = self.own_loss(network, batch["lq"])
        value = own.value
        if self.denoiser:
            with torch.no_grad():
                brighter = network.enhance(batch["lq"])[0][-1]
            value = value + ruas_denoise_loss(network.finish(brighter), brighter)
        return value, own.restored


def objective(
    model: nn.Module, batch: dict[str, torch.Tensor], loss: Loss
) -> tuple[torch.Tensor, torch.Tensor]:
    """The network's own loss: neither ``hq`` nor the loss that the run names is read."""
    return model(batch, learns=True)


def check_network(config: Config, backbone: Backbone) -> None:
    """Raise BenchError for a network whose own loss is not known, or that has no denoiser."""
    Unsupervised(backbone(), config)


def build(backbone: Backbone, config: Config) -> nn.Module:
    """The network, from a batch's ``lq`` ``(B,3,H,W)`` to ``(B,3,H,W)``.

    Raises BenchError for a network whose own loss is not known, or that has no denoiser to train.
    """
    return Unsupervised(backbone(), config)
