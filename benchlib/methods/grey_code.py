"""Grey coding: the number of each pixel's segment as one grey channel beside the image's three.

Jin et al., "Let Segment Anything Help Image Dehaze" (arXiv 2306.15870), as the survey's section
3.1.2 tells it: not colours but a number a segment, as a fourth input channel of a small network.
Its three variants are a setting and two priors: the hazy image's own grey value (``reads: image``,
the control of the channel), masks of the hazy image, and masks of an image that a first run has
restored (``images: restored/<run>``). Masks of superpixels, zeroed and shuffled are priors too.

The paper's code is not published. Read of it: up to about 130 segments on the scale from 0 to 255,
brighter where there are more. Chosen here: segments count from the largest, which is the order of
every provider of masks here (equal areas in the generator's order), so that small things are bright
and the code does not depend on the order in which SAM found them; a step of the scale is the same
in every image; what no segment covers is black.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn

from benchlib.contracts import Backbone, Info, need

VERSION = 1
INFO = Info(
    paper="survey", source="section 3.1.2 [11]", needs=("labels",), label="grey coding of segments"
)
LUMA = (0.299, 0.587, 0.114)  # of ITU-R BT.601, on encoded values


@dataclass(frozen=True)
class Config:
    """What the fourth channel is.

    reads: "masks" of the run's prior, or the hazy "image" itself, which needs none. segments: the
    number of the segment that is white; so are all that follow.
    """

    reads: Literal["masks", "image"] = "masks"
    segments: Annotated[int, Field(ge=1, le=65535)] = 130


def needs(config: Config) -> tuple[str, ...]:
    """The batch entries that it reads besides ``lq``."""
    if config.reads == "image":
        return ()
    return INFO.needs


def grey_code(labels: torch.Tensor, segments: int) -> torch.Tensor:
    """``(B,H,W)`` labels -> ``(B,1,H,W)`` float32 in [0,1], in steps of 1/255: 0 = no mask."""
    level = (255 * labels.clamp(max=segments).float() / segments).round()
    return level.unsqueeze(1) / 255


def grey_value(image: torch.Tensor) -> torch.Tensor:
    """``(B,3,H,W)`` RGB -> ``(B,1,H,W)``: its luma, in its own range."""
    weights = image.new_tensor(LUMA).view(1, 3, 1, 1)
    return (image * weights).sum(1, keepdim=True)


class GreyCode(nn.Module):
    def __init__(self, network: nn.Module, config: Config):
        super().__init__()
        self.network = network
        self.config = config

    def channel(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """The fourth channel, ``(B,1,H,W)``."""
        if self.config.reads == "image":
            return grey_value(batch["lq"])
        labels = need("grey_code", batch, "labels")
        return grey_code(labels, self.config.segments).to(batch["lq"].dtype)

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.network(torch.cat([batch["lq"], self.channel(batch)], 1))[:, :3]


def build(backbone: Backbone, config: Config) -> nn.Module:
    """A module from ``lq``, and ``labels`` where it reads masks, to ``(B,3,scale H,scale W)``."""
    return GreyCode(backbone(in_channels=4), config)
