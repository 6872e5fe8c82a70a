"""Enlighten Anything's network: SCI, with a picture of masks fused into its first feature.

QihanZhao/enlighten-anything at b3bef40 (``model.py``, ``fuse_block.py``). What SCI's first
convolution gives is a feature of three channels; a block as Restormer's is added to it, whose
queries come from the picture (``enhance.fusion``), once in each of SCI's stages. The network with
calibration is SCI with ``stages: 3``, the one without, by which it is tested, SCI with ``stages:
1``. Losses are SCI's.

As released the attention has three heads for three channels. So a head weighs one channel by a
softmax over one number, which is 1: *no picture can change the restored image*, and what reads the
picture gets no gradient. With one head the three channels are weighed against each other, by nine
numbers an image: that is all that a picture can say, and no place of it can speak for itself.

A method that uses this file states it: ``USES = {"methods/_enlighten_anything.py": 1}``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.functional import interpolate, normalize

from benchlib.contracts import Backbone, BenchError, need
from benchlib.methods._blocks import changed_blocks
from benchlib.methods._ptg_rm import ChannelNorm, GatedNetwork, depthwise
from benchlib.methods._unsupervised import Colours, sci_loss

VERSION = 1
USES = {"methods/_blocks.py": 1, "methods/_ptg_rm.py": 1, "methods/_unsupervised.py": 1}
CHANNELS = 3  # of SCI's features, and of the picture
Batch = dict[str, torch.Tensor]
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Config:
    """heads: of the attention: 3 is the official reading, 1 the one that reads the picture.

    ycbcr: by which colours SCI's loss tells where an image is smooth: "reshaped", as coded, or
    "pixels", as meant (``_unsupervised.sci_smoothness``). tune: "all" trains SCI and the fusion,
    as released; "fusion" the fusion alone, with SCI frozen (``--frozen Enl`` there).
    """

    heads: Literal[1, 3] = 1
    ycbcr: Colours = "reshaped"
    tune: Literal["all", "fusion"] = "all"


class CrossAttention(nn.Module):
    """Between channels: queries of one map, keys and values of another, ``(B,3,H,W)`` both."""

    def __init__(self, heads: int):
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.kv = nn.Conv2d(CHANNELS, 2 * CHANNELS, 1, bias=False)
        self.kv_dwconv = depthwise(2 * CHANNELS)
        self.q = nn.Conv2d(CHANNELS, CHANNELS, 1, bias=False)
        # each of its channels sees all three, as there
        self.q_dwconv = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False)
        self.project_out = nn.Conv2d(CHANNELS, CHANNELS, 1, bias=False)

    def forward(self, feature: torch.Tensor, asks: torch.Tensor) -> torch.Tensor:
        key, value = self.kv_dwconv(self.kv(feature)).chunk(2, 1)
        query = self.q_dwconv(self.q(asks))
        query, key, value = map(self._split, (query, key, value))
        likeness = normalize(query, dim=3) @ normalize(key, dim=3).transpose(2, 3)
        weights = (likeness * self.temperature).softmax(3)
        return self.project_out((weights @ value).reshape(feature.shape))

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        """``(B,3,H,W)`` -> ``(B,heads,channels,HW)``."""
        return x.reshape(len(x), self.heads, CHANNELS // self.heads, -1)


class Fusion(nn.Module):
    """What is added to a feature ``(B,3,H,W)``: of it and a picture ``(B,3,h,w)``, the same size.

    A picture of another size is brought to the feature's by nearest pixel. The residual begins
    with the *normed* feature, as there, so that a fresh block is not the identity.
    """

    def __init__(self, heads: int):
        super().__init__()
        self.conv1 = nn.Conv2d(CHANNELS, CHANNELS, 1)
        self.norm1, self.norm2 = ChannelNorm(CHANNELS), ChannelNorm(CHANNELS)
        self.attn = CrossAttention(heads)
        self.ffn = GatedNetwork(CHANNELS)

    def forward(self, feature: torch.Tensor, picture: torch.Tensor) -> torch.Tensor:
        asks = self.norm1(self.conv1(interpolate(picture, feature.shape[-2:])))
        normed = self.norm1(feature)
        x = normed + self.attn(normed, asks)
        return x + self.ffn(self.norm2(x))


class EnlightenAnything(nn.Module):
    """SCI with the fusion. method: the name that errors begin with.

    Without ``network.`` before them, names are those of the official code's checkpoints; SCI's own
    are loaded by the network alone.
    """

    def __init__(self, network: nn.Module, config: Config, method: str):
        super().__init__()
        self.network, self.config, self.method = network, config, method
        self.enhance = nn.ModuleDict({"fusion": Fusion(config.heads)})
        if config.tune == "fusion":
            network.requires_grad_(False)

    def train(self, mode: bool = True) -> EnlightenAnything:
        """A frozen network stays in evaluation mode."""
        super().train(mode)
        if self.config.tune == "fusion":
            self.network.eval()
        return self

    def forward(
        self, batch: Batch, learns: bool = False
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """The restored images ``(B,3,H,W)``; with ``learns`` the loss, a number, before them."""
        network: Any = self.network
        image, picture = batch["lq"], need(self.method, batch, "picture")

        def fuse(_: int, feature: torch.Tensor) -> torch.Tensor:
            return feature + self.enhance["fusion"](feature, picture)

        with changed_blocks([network.enhance.in_conv], fuse):
            if not learns:
                return network(image)
            stages = network.stages(image)
        losses = []
        for stage_input, illumination in stages:
            losses.append(sci_loss(stage_input, illumination, self.config.ycbcr))
        return torch.stack(losses).sum(), network.brighten(image, stages[0][1])


def check_network(method: str, backbone: Backbone) -> nn.Module:
    """A fresh network. Raises BenchError, beginning with ``method``, if it is not SCI."""
    network = backbone()
    if not callable(getattr(type(network), "stages", None)):
        raise BenchError(
            f"{method}: the network has no stages of an illumination, into which a picture is "
            "fused; take the backbone sci"
        )
    return network
