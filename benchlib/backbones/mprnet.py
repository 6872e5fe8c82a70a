"""MPRNet (Zamir et al., CVPR 2021), the network of spandrel_extra_arches.

Parameter names are those of swz30/MPRNet at 43feb2a, so its checkpoints load strictly. Its networks
are, beside the defaults (deraining),

- deblurring: ``width: 96, unet: 48, full: 32``;
- denoising: ``width: 80, unet: 48, full: 32``.

The restored image is the third stage's; the official training adds the losses of all three, the
training loop here that of the one. Sizes that are no multiples of 8 are mirrored up to them. The
package is an extra of its own, for its licences: ``requirements-extra-arches.txt``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import nn

from benchlib.backbones._spandrel import EXTRA, Fitted, architecture, check_installed

VERSION = 1
USES = {"backbones/_spandrel.py": 1}


@dataclass(frozen=True)
class Config:
    """The defaults are the official network for rain.

    width: channels (``n_feat``). unet: how many more each coarser level of the first two stages has
    (``scale_unetfeats``). full: how many more the third stage has, which works at full size
    (``scale_orsnetfeats``). cabs: channel attention blocks in each of its three parts.
    """

    width: Annotated[int, Field(ge=4)] = 40
    unet: Annotated[int, Field(ge=0)] = 20
    full: Annotated[int, Field(ge=0)] = 16
    cabs: Annotated[int, Field(ge=1)] = 8


def check(config: Config) -> None:
    """Raise BenchError where the package is missing."""
    check_installed("MPRNet", EXTRA)


def build(config: Config, in_channels: int = 3) -> nn.Module:
    """A network from ``(B,in_channels,H,W)`` float32 in [0,1] to ``(B,3,H,W)``, any size.

    The output is not clipped. Further channels are brought to three and added to the image.
    Raises BenchError where the package is missing.
    """
    official: Any = architecture("MPRNet", EXTRA)

    class Network(Fitted, official):
        multiple = 8

        def restored(self, image: torch.Tensor) -> torch.Tensor:
            return super().restored(image)[0]

    network: Any = Network(
        n_feat=config.width,
        scale_unetfeats=config.unet,
        scale_orsnetfeats=config.full,
        num_cab=config.cabs,
    )
    network.read_further(in_channels - 3)
    return network


def blocks(network: nn.Module) -> list[nn.Module]:
    """The channel attention blocks of the third stage: ``(B,width + full,H,W)`` each.

    Those of the first two, which are called once for each part of the image, are none.
    """
    parts: Any = network
    stage, found = parts.stage3_orsnet, []
    for part in (stage.orb1, stage.orb2, stage.orb3):
        found += list(part.body)[:-1]
    return found
