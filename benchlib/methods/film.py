"""FiLM: scale and shift of a backbone's features by a vector, the plainest way a vector can help.

Perez et al., "FiLM: Visual Reasoning with a General Conditioning Layer" (AAAI 2018, arXiv
1709.07871), equations 1 and 2: FiLM(F | gamma, beta) = gamma F + beta, channel by channel, where
gamma and beta are functions of what conditions. Theirs is a question; here it is a vector that a
large model gives of the image.

After each building block the map F becomes F (1 + gamma) + beta, where (gamma, beta) are one
linear function of the vector for each block. The official code counts gamma from 1 as well (its
scripts set ``gamma_baseline`` to 1). The linear functions are zero at the start, so that a fresh
network equals its backbone exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn

from benchlib.contracts import Backbone, BenchError, Info, need
from benchlib.methods._blocks import block_widths, changed_blocks, first_blocks

VERSION = 1
USES = {"methods/_blocks.py": 1}
INFO = Info(
    paper="",
    source="Perez et al., AAAI 2018, equations 1 and 2",
    needs=("vector",),
    label="FiLM",
)


@dataclass(frozen=True)
class Config:
    """size: numbers in the prior's vector (256: the pooled image embedding of SAM).

    tune: "all" trains network and units together; "units" the linear functions alone,
    with the network frozen. blocks: how many, from the first, get one (None: all).
    """

    size: Annotated[int, Field(ge=1)] = 256
    tune: Literal["all", "units"] = "all"
    blocks: Annotated[int, Field(ge=1)] | None = None


class FiLM(nn.Module):
    def __init__(self, backbone: Backbone, config: Config):
        super().__init__()
        self.config = config
        self.network = backbone()
        self.network.requires_grad_(config.tune == "all")
        self.blocks_of = backbone.blocks
        self.film = nn.ModuleList()
        for width in block_widths(self.network, self._blocks()):
            unit = nn.Linear(config.size, 2 * width)
            nn.init.zeros_(unit.weight)
            nn.init.zeros_(unit.bias)
            self.film.append(unit)

    def _blocks(self) -> list[nn.Module]:
        return first_blocks(self.blocks_of(self.network), self.config.blocks, "film: blocks")

    def train(self, mode: bool = True) -> FiLM:
        """A frozen network stays in evaluation mode."""
        super().train(mode)
        if self.config.tune == "units":
            self.network.eval()
        return self

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        lq, vector = batch["lq"], need("film", batch, "vector")
        expected = (len(lq), self.config.size)
        if vector.shape != expected:
            raise BenchError(
                f"film: vector: expected {expected}, got {tuple(vector.shape)}; "
                "set the method's size to how many numbers the prior's vectors have"
            )

        def modulate(index: int, feature: torch.Tensor) -> torch.Tensor:
            """Equation 2; one gamma and one beta for each image and channel."""
            gamma, beta = self.film[index](vector)[:, :, None, None].chunk(2, 1)
            return feature * (1 + gamma) + beta

        with changed_blocks(self._blocks(), modulate):
            return self.network(lq)


def build(backbone: Backbone, config: Config) -> nn.Module:
    """A module from ``lq`` and ``vector`` ``(B,size)`` float32 to ``(B,3,scale H,scale W)``.

    Raises BenchError if the network has fewer building blocks than ``config.blocks``.
    """
    return FiLM(backbone, config)
