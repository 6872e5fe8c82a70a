"""The two views of a dual-pixel sensor, handed to a network that restores by them.

The network gets the image, the right view and the left view, as nine channels: as the backbones
``ifan`` and ``restormer`` read them with ``dual: true``. Any other network that takes further
channels can be trained on them.

The views are two priors of a bundle, of the kind ``picture``, with the parts ``right`` and ``left``
(``priors/dual_pixel_view.py``).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from benchlib.contracts import Backbone, BenchError, Info, need

VERSION = 1
VIEWS = ("right.picture", "left.picture")
INFO = Info(
    paper="",
    source="the inputs of codeslake/IFAN@66bf136, models/archs/IFAN_dual.py",
    needs=VIEWS,
    label="two dual-pixel views",
)
BACKBONES = ("ifan",)


@dataclass(frozen=True)
class Config:
    """No settings."""


class Views(nn.Module):
    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        lq = batch["lq"]
        views = [need("views", batch, name) for name in VIEWS]
        for name, view in zip(VIEWS, views, strict=True):
            if view.shape != lq.shape:
                raise BenchError(
                    f"method views: {name} is {tuple(view.shape)}, the images are "
                    f"{tuple(lq.shape)}; expected views that lie on the image, pixel by pixel"
                )
        return self.network(torch.cat([lq, *views], 1))[:, :3]


def build(backbone: Backbone, config: Config) -> nn.Module:
    """A module from ``lq``, ``right.picture`` and ``left.picture`` ``(B,3,H,W)`` to ``(B,3,H,W)``.

    Raises BenchError for a network that takes no further channels.
    """
    return Views(backbone(in_channels=9))
