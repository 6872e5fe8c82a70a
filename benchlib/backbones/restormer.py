"""Restormer (Zamir et al., CVPR 2022), the network of spandrel_extra_arches.

Parameter names are those of swz30/Restormer at df766d5, so its checkpoints load strictly. Beside
the defaults (deraining, motion and single-image defocus deblurring), its networks are

- denoising, Gaussian and real: ``norm: BiasFree``; of grey images ``channels: 1`` too;
- dual-pixel defocus deblurring: ``dual: true``.

Sizes that are no multiples of 8 are mirrored up to them, as its tests do. The package is an extra
of its own, for its licences: ``requirements-extra-arches.txt``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import nn

from benchlib.backbones._spandrel import EXTRA, Fitted, architecture, by_channels, check_installed
from benchlib.contracts import BenchError

VERSION = 1
USES = {"backbones/_spandrel.py": 1}

Count = Annotated[int, Field(ge=1)]
Counts = Annotated[tuple[Count, Count, Count, Count], Field(strict=False)]


@dataclass(frozen=True)
class Config:
    """The defaults are the official network.

    dim: channels at full size. blocks, heads: transformer blocks and attention heads of each level.
    refinement: blocks after them. expansion: of the feed-forward network. norm: "WithBias" or, for
    denoising, "BiasFree". channels: 1 for a network of grey images, which restores each colour by
    itself. dual: a right and a left view are read, which are the six further channels, and not the
    image (the order of backbone ifan).

    Raises BenchError for settings that do not go together.
    """

    dim: Count = 48
    blocks: Counts = (4, 6, 6, 8)
    heads: Counts = (1, 2, 4, 8)
    refinement: Count = 4
    expansion: Annotated[float, Field(gt=0)] = 2.66
    norm: Literal["WithBias", "BiasFree"] = "WithBias"
    channels: Literal[1, 3] = 3
    dual: bool = False

    def __post_init__(self) -> None:
        if self.dual and self.channels == 1:
            raise BenchError("restormer: channels: got 1 with dual; two views have colours: 3")
        for level, heads in enumerate(self.heads):
            width = self.dim * 2**level
            if width % heads or (level == 0 and 2 * width % heads):
                raise BenchError(
                    f"restormer: heads: got {heads} for {width} channels; expected a divisor"
                )


def check(config: Config) -> None:
    """Raise BenchError where the package is missing."""
    check_installed("Restormer", EXTRA)


def build(config: Config, in_channels: int = 3) -> nn.Module:
    """A network from ``(B,in_channels,H,W)`` float32 in [0,1] to ``(B,3,H,W)``, any size.

    The output is not clipped. Further channels are brought to three and added to the image; a dual
    network reads six of them alone.
    Raises BenchError where the package is missing, and for a dual network without its views.
    """
    if config.dual and in_channels != 9:
        raise BenchError(
            "restormer: dual: the network reads a right and a left view after the image, but gets "
            f"{in_channels} channels; take a method that hands them over, or dual: false"
        )
    official: Any = architecture("Restormer", EXTRA)
    inputs = 6 if config.dual else config.channels

    class Network(Fitted, official):
        multiple = 8

        def seen(self, image: torch.Tensor) -> torch.Tensor:
            if config.dual:
                return torch.cat([image[:, 6:], image[:, 3:6]], 1)  # left, right
            return super().seen(image)

        def restored(self, image: torch.Tensor) -> torch.Tensor:
            return by_channels(super().restored, image, inputs)

    network: Any = Network(
        inp_channels=inputs,
        out_channels=config.channels,
        dim=config.dim,
        num_blocks=list(config.blocks),
        num_refinement_blocks=config.refinement,
        heads=list(config.heads),
        ffn_expansion_factor=config.expansion,
        bias=False,
        LayerNorm_type=config.norm,
        dual_pixel_task=config.dual,
    )
    if not config.dual:
        network.read_further(in_channels - 3)
    return network


def blocks(network: nn.Module) -> list[nn.Module]:
    """The transformer blocks, from the first level down, up again and on: a map each.

    A grey network calls them once a colour.
    """
    parts: Any = network
    levels = [parts.encoder_level1, parts.encoder_level2, parts.encoder_level3, parts.latent]
    levels += [parts.decoder_level3, parts.decoder_level2, parts.decoder_level1, parts.refinement]
    found: list[nn.Module] = []
    for level in levels:
        found += list(level)
    return found
