"""AirNet (Li et al., CVPR 2022): what degrades an image, learned by contrast, steers its restorer.

Parameter names are those of XLearning-SCU/2022-CVPR-AirNet at bedea82 (``net``), so its checkpoints
load strictly. ``E`` holds an encoder that is trained (``encoder_q``), one that follows it slowly
(``encoder_k``) and a queue of what the latter gave (MoCo). ``R`` restores: 25 blocks whose
deformable convolutions and whose scales and shifts follow the first map of ``encoder_q``.

Of ``E`` that first block alone (``encoder_q.E_pre``) reaches the restored image; the rest serves
the contrast. So the rest is frozen here, and method ``airnet`` trains it; with any other method
AirNet is trained by the restored image alone. The official deformable convolution is mmcv's; here
it is torchvision's, which reads offsets in the same order. There is no shortcut from the image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import nn
from torch.nn.functional import normalize

VERSION = 1
SLOPE = 0.1  # of the activation below zero
MOMENTUM, TEMPERATURE = 0.999, 0.07  # of the key encoder, of the contrast

Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class Config:
    """The defaults are the official network.

    width: channels of the restorer, and of the map that steers it. groups, blocks: of it, and of
    each group. queue: keys that the contrast is against; officially 256 times the batch of 5.
    """

    width: Count = 64
    groups: Count = 5
    blocks: Count = 5
    queue: Annotated[int, Field(ge=1, le=2**20)] = 1280


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    """Without a bias: of the encoder."""
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)


class ResBlock(nn.Module):
    """Two convolutions and a shortcut, each with its batch norm."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.backbone = nn.Sequential(
            _conv(inputs, outputs, stride=stride),
            nn.BatchNorm2d(outputs),
            nn.LeakyReLU(SLOPE),
            _conv(outputs, outputs),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = nn.Sequential(
            _conv(inputs, outputs, kernel=1, stride=stride), nn.BatchNorm2d(outputs)
        )
        self.active = nn.LeakyReLU(SLOPE)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.active(self.backbone(x) + self.shortcut(x))


class Encoder(nn.Module):
    """An image ``(B,3,H,W)`` to its map at full size, and to what the contrast compares."""

    def __init__(self, width: int):
        super().__init__()
        self.E_pre = ResBlock(3, width)
        self.E = nn.Sequential(
            ResBlock(width, 2 * width, stride=2),
            ResBlock(2 * width, 4 * width, stride=2),
            nn.AdaptiveAvgPool2d(1),
        )
        self.mlp = nn.Sequential(
            nn.Linear(4 * width, 4 * width), nn.LeakyReLU(SLOPE), nn.Linear(4 * width, 4 * width)
        )

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The embedding ``(B,4 width)``, its projection (the same), the map ``(B,width,H,W)``."""
        steering = self.E_pre(image)
        embedding = self.E(steering).flatten(1)
        return embedding, self.mlp(embedding), steering


class MoCo(nn.Module):
    """Two encoders and the queue of the second's last keys (He et al., CVPR 2020)."""

    queue: torch.Tensor
    queue_ptr: torch.Tensor

    def __init__(self, width: int, length: int):
        super().__init__()
        self.encoder_q, self.encoder_k = Encoder(width), Encoder(width)
        self.encoder_k.load_state_dict(self.encoder_q.state_dict())
        self.encoder_k.requires_grad_(False)
        self.register_buffer("queue", normalize(torch.randn(4 * width, length), dim=0))
        self.register_buffer("queue_ptr", torch.zeros(1, dtype=torch.long))

    def contrast(
        self, query: torch.Tensor, key: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """One step of the contrast between two views ``(B,3,H,W)`` of the same images.

        Returns the embedding ``(B,4 width)``, the logits ``(B,1+queue)``, whose first is the right
        one, and the map ``(B,width,H,W)``. The key encoder moves, and the queue takes the keys.
        """
        embedding, asked, steering = self.encoder_q(query)
        asked = normalize(asked, dim=1)
        with torch.no_grad():
            self._follow()
            keys = normalize(self.encoder_k(key)[1], dim=1)
        right = (asked * keys).sum(1, keepdim=True)
        others = asked @ self.queue.clone()
        self._remember(keys)
        return embedding, torch.cat([right, others], 1) / TEMPERATURE, steering

    @torch.no_grad()
    def _follow(self) -> None:
        """The key encoder's weights, not its statistics, go a thousandth of the way."""
        pairs = zip(self.encoder_q.parameters(), self.encoder_k.parameters(), strict=True)
        for ahead, behind in pairs:
            behind.mul_(MOMENTUM).add_(ahead, alpha=1 - MOMENTUM)

    @torch.no_grad()
    def _remember(self, keys: torch.Tensor) -> None:
        """The oldest keys of the ring give place; a batch may go over its end."""
        length = self.queue.shape[1]
        keys = keys[-length:].to(self.queue.dtype)
        places = torch.arange(len(keys), device=keys.device)
        places = (self.queue_ptr + places) % length
        self.queue[:, places] = keys.T
        self.queue_ptr.copy_((self.queue_ptr + len(keys)) % length)


class CBDE(nn.Module):
    """The name under which the official parameters have the encoders."""

    def __init__(self, width: int, length: int):
        super().__init__()
        self.E = MoCo(width, length)


class DeformableConv(nn.Module):
    """A convolution of 3x3 whose taps are moved and weighed, pixel by pixel, as the map says."""

    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, width, 3, 3))
        self.conv_offset_mask = nn.Conv2d(2 * width, 27, 3, padding=1)
        bound = 1 / math.sqrt(9 * width)
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.zeros_(self.conv_offset_mask.weight)
        nn.init.zeros_(self.conv_offset_mask.bias)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor, steering: torch.Tensor) -> torch.Tensor:
        from torchvision.ops import deform_conv2d

        moves, weights = self.conv_offset_mask(torch.cat([x, steering], 1)).split([18, 9], 1)
        x = x.contiguous()
        return deform_conv2d(x, moves.contiguous(), self.weight, padding=1, mask=weights.sigmoid())


def _pointwise(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, width, 1, bias=False),
        nn.LeakyReLU(SLOPE),
        nn.Conv2d(width, width, 1, bias=False),
    )


class ScaleAndShift(nn.Module):
    """The spatial feature transform: both are functions of the steering map."""

    def __init__(self, width: int):
        super().__init__()
        self.conv_gamma, self.conv_beta = _pointwise(width), _pointwise(width)

    def forward(self, x: torch.Tensor, steering: torch.Tensor) -> torch.Tensor:
        return x * self.conv_gamma(steering) + self.conv_beta(steering)


class Guided(nn.Module):
    """The degradation-guided module: both of them, added to what it is given."""

    def __init__(self, width: int):
        super().__init__()
        self.dcn, self.sft = DeformableConv(width), ScaleAndShift(width)

    def forward(self, x: torch.Tensor, steering: torch.Tensor) -> torch.Tensor:
        return x + (self.dcn(x, steering) + self.sft(x, steering))


class Block(nn.Module):
    """The degradation-guided block: a map ``(B,width,H,W)``, and the one that steers."""

    def __init__(self, width: int):
        super().__init__()
        self.dgm1, self.dgm2 = Guided(width), Guided(width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.active = nn.LeakyReLU(SLOPE)

    def forward(self, x: torch.Tensor, steering: torch.Tensor) -> torch.Tensor:
        inner = self.active(self.dgm1(x, steering))
        inner = self.active(self.conv1(inner))
        inner = self.active(self.dgm2(inner, steering))
        return self.conv2(inner) + x


class Group(nn.Module):
    """Blocks, a convolution and a shortcut."""

    def __init__(self, width: int, count: int):
        super().__init__()
        body: list[nn.Module] = [Block(width) for _ in range(count)]
        body.append(nn.Conv2d(width, width, 3, padding=1))
        self.body = nn.ModuleList(body)

    def forward(self, x: torch.Tensor, steering: torch.Tensor) -> torch.Tensor:
        inner = x
        for block in list(self.body)[:-1]:
            inner = block(inner, steering)
        return self.body[-1](inner) + x


class Restorer(nn.Module):
    """The degradation-guided restoration network (DGRN)."""

    def __init__(self, config: Config, in_channels: int):
        super().__init__()
        width = config.width
        self.head = nn.Sequential(nn.Conv2d(in_channels, width, 3, padding=1))
        body: list[nn.Module] = [Group(width, config.blocks) for _ in range(config.groups)]
        body.append(nn.Conv2d(width, width, 3, padding=1))
        self.body = nn.ModuleList(body)
        self.tail = nn.Sequential(nn.Conv2d(width, 3, 3, padding=1))

    def forward(self, image: torch.Tensor, steering: torch.Tensor) -> torch.Tensor:
        first = self.head(image)
        x = first
        for group in list(self.body)[:-1]:
            x = group(x, steering)
        return self.tail(self.body[-1](x) + first)


class AirNet(nn.Module):
    def __init__(self, config: Config, in_channels: int):
        super().__init__()
        self.R = Restorer(config, in_channels)
        self.E = CBDE(config.width, config.queue)
        # these reach the contrast alone; method airnet trains them
        self.E.E.encoder_q.E.requires_grad_(False)
        self.E.E.encoder_q.mlp.requires_grad_(False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.R(image, self.E.E.encoder_q.E_pre(image[:, :3]))

    def contrast(
        self, query: torch.Tensor, key: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """As ``MoCo.contrast``, of the encoders."""
        return self.E.E.contrast(query, key)


def build(config: Config, in_channels: int = 3) -> nn.Module:
    """A network from ``(B,in_channels,H,W)`` float32 in [0,1] to ``(B,3,H,W)``, any size.

    The output is not clipped. Further channels are read by the restorer, not by the encoder.
    """
    return AirNet(config, in_channels)


def blocks(network: nn.Module) -> list[nn.Module]:
    """The degradation-guided blocks, group by group; a map ``(B,width,H,W)`` each."""
    restorer: Any = network.get_submodule("R")
    found: list[nn.Module] = []
    for group in list(restorer.body)[:-1]:
        found += list(group.body)[:-1]
    return found
