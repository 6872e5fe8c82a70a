"""URetinex-Net as its authors evaluate it: how bright a result becomes is taken from the truth.

``evaluate.py`` of AndersonYong/URetinex-Net@7ee2196 takes the ratio of each test image from its
*reference photograph*. The paper's figures come from that, and cannot be had without a reference:
such a row says how the network restores when it is told the answer's brightness.

The backbone, with its official weights, is the run's; what takes the light of a reference has
weights of its own, ``light``, and stays as it is. An image that is cut into tiles has a ratio a
tile; the authors restore whole images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from benchlib.assets import fetch, find, load_weights
from benchlib.contracts import Backbone, BenchError, Info

VERSION = 1
USES = {"assets/weights.py": 1}
INFO = Info(
    paper="",
    source="evaluate.py of AndersonYong/URetinex-Net@7ee2196",
    needs=(),
    label="told the brightness of the truth",
    truth=True,
)
BACKBONES = ("uretinex",)
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Config:
    """light: the catalogue's entry of weights that take the light of a reference; "": random."""

    light: str = "uretinex-reference"


class ToldTheBrightness(nn.Module):
    def __init__(self, network: Any, config: Config):
        super().__init__()
        self.network = network
        self.light = network.reference_light()
        if config.light:
            weights = load_weights(fetch(config.light))
            self.light.load_state_dict(weights, strict=True)
        self.light.requires_grad_(False)

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        if "truth" not in batch:
            raise BenchError(
                "uretinex_reference: an image without its reference; this method is told the "
                "reference's brightness: take method none, whose ratio is the backbone's setting"
            )
        network: Any = self.network
        return network.as_bright_as(batch["lq"], self.light(batch["truth"]))


def assets(config: Config) -> tuple[str, ...]:
    """The catalogue's entries that :func:`build` fetches."""
    if config.light:
        return (config.light,)
    return ()


def objective(
    model: nn.Module, batch: dict[str, torch.Tensor], loss: Loss
) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss that the run names, of what is restored to the reference's brightness."""
    restored = model(batch | {"truth": batch["hq"]})
    return loss(restored, batch["hq"]), restored


def check_network(config: Config, backbone: Backbone) -> None:
    """Raise BenchError for a network that takes no ratio, or weights that are in no catalogue."""
    _taking_ratios(backbone)
    for entry in assets(config):
        find(entry)


def _taking_ratios(backbone: Backbone) -> nn.Module:
    network = backbone()
    if not hasattr(network, "as_bright_as"):
        raise BenchError(
            "uretinex_reference: the network takes no ratio; take the backbone uretinex"
        )
    return network


def build(backbone: Backbone, config: Config) -> nn.Module:
    """A module from ``lq`` and ``truth``, ``(B,3,H,W)`` float32 in [0,1], to ``(B,3,H,W)``.

    Raises BenchError for a network that takes no ratio, or weights that cannot be fetched.
    """
    return ToldTheBrightness(_taking_ratios(backbone), config)
