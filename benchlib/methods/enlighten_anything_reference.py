"""Enlighten Anything told the masks of the truth, as its authors validate it.

The released ``train.py`` (QihanZhao/enlighten-anything@b3bef40) takes its validation's picture from
``high_semantic``: SAM's masks of the *reference photographs*. Such a row is no restoration; it says
what masks would be worth that nobody has at test time. Its prior is made of what a run of method
``truth`` "restores". All else is method ``enlighten_anything``: settings, weights, training.
"""

from __future__ import annotations

import torch
from torch import nn

from benchlib.contracts import Backbone, BenchError, Info
from benchlib.methods import _enlighten_anything
from benchlib.methods._enlighten_anything import Batch, Config, EnlightenAnything, Loss

__all__ = ["Config"]

VERSION = 1
USES = {"methods/_enlighten_anything.py": 1}
NAME = "enlighten_anything_reference"
INFO = Info(
    paper="survey",
    source="the validation of train.py, QihanZhao/enlighten-anything@b3bef40",
    needs=("picture",),
    label="Enlighten Anything, told the masks of the truth",
    truth=True,
)
BACKBONES = ("sci",)


class ToldTheMasks(EnlightenAnything):
    """The same network, which restores no image without a reference."""

    def forward(
        self, batch: Batch, learns: bool = False
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        if not learns and "truth" not in batch:
            raise BenchError(
                f"{NAME}: an image without its reference; this method is told the reference's "
                "masks: take method enlighten_anything"
            )
        return super().forward(batch, learns)


def objective(model: nn.Module, batch: Batch, loss: Loss) -> tuple[torch.Tensor, torch.Tensor]:
    """SCI's losses, summed over its stages, and the restored images."""
    return model(batch, learns=True)


def added(model: nn.Module) -> nn.Module:
    """The fusion."""
    return model.get_submodule("enhance.fusion")


def check_network(config: Config, backbone: Backbone) -> None:
    """Raise BenchError for a network that is not SCI."""
    _enlighten_anything.check_network(NAME, backbone)


def build(backbone: Backbone, config: Config) -> nn.Module:
    """A module from ``lq``, ``picture`` and ``truth`` ``(B,3,H,W)`` to ``(B,3,H,W)``.

    Raises BenchError for a network that is not SCI.
    """
    return ToldTheMasks(_enlighten_anything.check_network(NAME, backbone), config, NAME)
