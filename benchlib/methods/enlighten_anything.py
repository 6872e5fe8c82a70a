"""Enlighten Anything: SCI, with a picture of an image's masks fused into its first feature.

Zhao et al., "Enlighten-anything: When Segment Anything Model Meets Low-light Image Enhancement"
(arXiv 2306.10286), the survey's section 3.1.4, as released: QihanZhao/enlighten-anything@b3bef40.
The network, and why the released one cannot see the picture, is ``_enlighten_anything.py``; the
picture is a prior of that kind (``priors/painted_masks.py``). It is trained by SCI's losses, which
read no reference: neither ``hq`` nor the loss that the run names is looked at.
``docs/enlighten_anything.md`` has the readings and the official settings.
"""

from __future__ import annotations

import torch
from torch import nn

from benchlib.contracts import Backbone, Info
from benchlib.methods import _enlighten_anything
from benchlib.methods._enlighten_anything import Batch, Config, EnlightenAnything, Loss

__all__ = ["Config"]

VERSION = 1
USES = {"methods/_enlighten_anything.py": 1}
INFO = Info(
    paper="survey",
    source="model.py and fuse_block.py of QihanZhao/enlighten-anything@b3bef40",
    needs=("picture",),
    label="Enlighten Anything",
)
BACKBONES = ("sci",)


def objective(model: nn.Module, batch: Batch, loss: Loss) -> tuple[torch.Tensor, torch.Tensor]:
    """SCI's losses, summed over its stages, and the restored images."""
    return model(batch, learns=True)


def added(model: nn.Module) -> nn.Module:
    """The fusion."""
    return model.get_submodule("enhance.fusion")


def check_network(config: Config, backbone: Backbone) -> None:
    """Raise BenchError for a network that is not SCI."""
    _enlighten_anything.check_network("enlighten_anything", backbone)


def build(backbone: Backbone, config: Config) -> nn.Module:
    """A module from ``lq`` and ``picture`` ``(B,3,H,W)`` float32 in [0,1] to ``(B,3,H,W)``.

    Raises BenchError for a network that is not SCI.
    """
    network = _enlighten_anything.check_network("enlighten_anything", backbone)
    return EnlightenAnything(network, config, "enlighten_anything")
