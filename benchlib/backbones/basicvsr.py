"""BasicVSR (Chan et al., CVPR 2021): features carried through a clip, backwards and forwards.

Parameter names and operations are those of XPixelGroup/BasicSR at 8d56e3a
(``basicsr/archs/basicvsr_arch.py``). Frames come out four times as large.

The official code keeps the backward features of all frames: 1.5 GB for 100 frames of 180x320. Here,
where no gradient is wanted, those of every k-th frame are kept, and the k - 1 between them computed
again when the forward pass comes there; k is the root of the clip's length. The numbers are the
same; each frame costs one of its two trunks twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import nn

from benchlib.backbones._clips import (
    SLOPE,
    Restored,
    Seam,
    SPyNet,
    add_enlargement,
    by_4,
    conv,
    enlarged,
    lrelu,
    residuals,
    warp,
)
from benchlib.contracts import BenchError, Frames

VERSION = 1
USES = {"backbones/_clips.py": 1}

Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class Config:
    """The defaults are the published network.

    width: channels. blocks: residual blocks of each direction. trained: frames of a training crop
    (15 on REDS, 14 on Vimeo-90K). flip: where no gradient is wanted, the clip is followed by itself
    reversed, and each frame is the mean of both, as the published test on Vimeo-90K does.
    """

    width: Count = 64
    blocks: Count = 30
    trained: Annotated[int, Field(ge=2, le=1000)] = 15
    flip: bool = False


class Trunk(nn.Module):
    """A frame and what is carried to it, ``(B,C+width,H,W)``, to the frame's features."""

    def __init__(self, inputs: int, width: int, blocks: int):
        super().__init__()
        self.main = nn.Sequential(
            conv(inputs, width), nn.LeakyReLU(SLOPE, inplace=True), residuals(blocks, width)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.main(x)


class BasicVSR(nn.Module):
    def __init__(self, config: Config, in_channels: int):
        super().__init__()
        self.config = config
        inputs = in_channels + config.width
        self.spynet = SPyNet()
        self.backward_trunk = Trunk(inputs, config.width, config.blocks)
        self.forward_trunk = Trunk(inputs, config.width, config.blocks)
        self.fusion = nn.Conv2d(2 * config.width, config.width, 1)
        add_enlargement(self, config.width)
        self.seam = Seam()
        self.fused_seam = Seam()
        self.restored = Restored()

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        """A clip ``(B,T,C,H,W)`` of any length to ``(B,T,3,4H,4W)``.

        Raises BenchError for another shape.
        """
        if clip.ndim != 5:
            raise BenchError(
                f"basicvsr: expected a clip (B,T,C,H,W), got {tuple(clip.shape)}; its suite is of "
                "task video"
            )
        if self.config.flip and not torch.is_grad_enabled():
            return torch.stack(self._both_ways(clip), 1)
        restored = []
        for place, image in enumerate(self._frames(clip)):
            restored.append(self.restored(image, place))
        return torch.stack(restored, 1)

    def _both_ways(self, clip: torch.Tensor) -> list[torch.Tensor]:
        """Each frame's mean over the clip and the reversed one that follows it."""
        length = clip.shape[1]
        there: list[torch.Tensor] = []
        for place, image in enumerate(self._frames(torch.cat([clip, clip.flip(1)], 1))):
            if place < length:
                there.append(image)
            else:
                same = 2 * length - 1 - place
                there[same] = self.restored(0.5 * (there[same] + image), same)
        return there

    def _frames(self, clip: torch.Tensor) -> Iterator[torch.Tensor]:
        """The restored frames in order, ``(B,3,4H,4W)``."""
        carried = None
        for place, later in enumerate(self._later(clip)):
            carried = self._step(clip, place, place - 1, carried, self.forward_trunk)
            both = torch.cat([later, carried], 1)
            x = self.fused_seam(lrelu(self.fusion(both)), place)
            yield enlarged(self, x) + by_4(clip[:, place, :3])

    def _later(self, clip: torch.Tensor) -> Iterator[torch.Tensor]:
        """What each frame learns from those after it, ``(B,width,H,W)``, first frame first."""
        length = clip.shape[1]
        size = length
        if not torch.is_grad_enabled():
            size = math.isqrt(length - 1) + 1
        kept: dict[int, torch.Tensor] = {}
        carried = None
        for place in range(length - 1, -1, -1):
            carried = self._step(clip, place, place + 1, carried, self.backward_trunk)
            if place % size == 0 or place < size:
                kept[place] = carried
        for first in range(0, length, size):
            last = min(first + size, length) - 1
            if first:
                kept |= self._between(clip, first, last, kept.get(last + 1))
            for place in range(first, last + 1):
                yield kept.pop(place)

    def _between(
        self, clip: torch.Tensor, first: int, last: int, carried: torch.Tensor | None
    ) -> dict[int, torch.Tensor]:
        """The backward features from frame ``last`` down to that after ``first``, once more."""
        found = {}
        for place in range(last, first, -1):
            carried = self._step(clip, place, place + 1, carried, self.backward_trunk)
            found[place] = carried
        return found

    def _step(
        self,
        clip: torch.Tensor,
        place: int,
        other: int,
        carried: torch.Tensor | None,
        trunk: nn.Module,
    ) -> torch.Tensor:
        """A frame's features in one direction; carried: those of the frame before, ``other``."""
        image = clip[:, place]
        if carried is None:
            carried = image.new_zeros(len(image), self.config.width, *image.shape[-2:])
        else:
            carried = warp(carried, self.spynet(image[:, :3], clip[:, other, :3]))
        return self.seam(trunk(torch.cat([image, carried], 1)), place)


def build(config: Config, in_channels: int = 3) -> nn.Module:
    """A network from ``(B,T,in_channels,H,W)`` float32 in [0,1] to ``(B,T,3,4H,4W)``.

    Any size. The output is not clipped. SPyNet starts at random, where no weights say otherwise.
    """
    return BasicVSR(config, in_channels)


def blocks(network: nn.Module) -> list[nn.Module]:
    """The residual blocks: of the backward direction, which is run first, then of the forward one.

    Each is called once a frame, or twice where no gradient is wanted.
    """
    parts: Any = network
    return [*parts.backward_trunk.main[2], *parts.forward_trunk.main[2]]


def scale(config: Config) -> int:
    """4."""
    return 4


def frames(config: Config) -> Frames:
    """Whole clips, each frame of which comes out."""
    return Frames(window=None, trained=config.trained)
