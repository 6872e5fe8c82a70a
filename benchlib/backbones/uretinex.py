"""URetinex-Net (Wu et al., CVPR 2022): Retinex unfolded into three rounds, then brightened.

Parameter names are those of AndersonYong/URetinex-Net at 7ee2196 (``network/``), as its
``ckpt/L_adjust.pth`` holds all of them: ``model_decom``, ``model_R``, ``model_L`` and ``model_A``
(the first three are bit for bit those of ``init_low.pth`` and ``unfolding.pth``). Weights of the
penalties (0.1 and 0.5, 0.05 more a round) are the options pickled into ``unfolding.pth``.

How bright the result becomes is a number, ``ratio``: 5 in the official ``test.py``. Its
``evaluate.py``, which gives the paper's figures, takes the ratio of each image from its *reference
photograph*: :func:`reference_ratio`, by a :class:`ReferenceLight` with the weights of
``init_high.pth``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import nn
from torch.nn.functional import leaky_relu

VERSION = 1

GAMMA, LAMBDA, MORE = 0.1, 0.5, 0.05  # of the penalties on P and Q, and what a round adds


@dataclass(frozen=True)
class Config:
    """ratio: how much brighter; its authors recommend 3 to 5. rounds: of the unfolding."""

    ratio: Annotated[float, Field(gt=0)] = 5.0
    rounds: Annotated[int, Field(ge=1)] = 3


def _conv(inputs: int, outputs: int, kernel: int = 3) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)


class Decomposition(nn.Module):
    """First reflectance ``(B,3,H,W)`` and illumination ``(B,1,H,W)`` of an image; none below 0."""

    def __init__(self, in_channels: int = 3):
        super().__init__()
        self.decom = nn.Sequential(
            _conv(in_channels, 32),
            nn.LeakyReLU(0.2, inplace=True),
            _conv(32, 32),
            nn.LeakyReLU(0.2, inplace=True),
            _conv(32, 32),
            nn.LeakyReLU(0.2, inplace=True),
            _conv(32, 4),
            nn.ReLU(),
        )

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        both = self.decom(image)
        return both[:, :3], both[:, 3:]


class SqueezeExcite(nn.Module):
    """Weigh each channel of ``(B,C,H,W)`` by what the channels are on average."""

    def __init__(self, channels: int):
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(channels, channels // 16, bias=False),
            nn.ReLU(),
            nn.Linear(channels // 16, channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.fc(x.mean((2, 3)))[:, :, None, None]


class Reflectance(nn.Module):
    """R from P and Q: the ``HalfDnCNNSE`` of the official code, illumination concatenated."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = _conv(3, 32), _conv(1, 32)
        self.se_layer = SqueezeExcite(64)
        self.conv3, self.conv4 = _conv(64, 64), _conv(64, 64)
        self.conv5, self.conv6 = _conv(64, 64), _conv(64, 64)
        self.conv7, self.conv8 = _conv(64, 64), _conv(64, 3)

    def forward(self, p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        x = torch.cat([self.conv1(p).relu(), self.conv2(q).relu()], 1)
        x = self.se_layer(x)
        for conv in (self.conv3, self.conv4, self.conv5, self.conv6, self.conv7):
            x = conv(x).relu()
        return p + self.conv8(x)


class Illumination(nn.Module):
    """L from Q, ``(B,1,H,W)`` both; none below 0."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = _conv(1, 32, 5), _conv(32, 32, 5)
        self.conv3, self.conv4 = _conv(32, 32, 5), _conv(32, 32, 5)
        self.conv5 = _conv(32, 1, 1)

    def forward(self, q: torch.Tensor) -> torch.Tensor:
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            q = leaky_relu(conv(q), 0.2)
        return self.conv5(q).relu()


class Adjustment(nn.Module):
    """The brighter illumination from L and the ratio, ``(B,1,H,W)`` all; none below 0."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = _conv(2, 32, 5), _conv(32, 32, 5)
        self.conv3, self.conv4 = _conv(32, 32, 5), _conv(32, 1, 5)

    def forward(self, illumination: torch.Tensor, ratio: torch.Tensor) -> torch.Tensor:
        x = torch.cat([illumination, ratio], 1)
        for conv in (self.conv1, self.conv2, self.conv3):
            x = leaky_relu(conv(x), 0.2)
        return self.conv4(x).relu()


class URetinex(nn.Module):
    def __init__(self, config: Config, in_channels: int):
        super().__init__()
        self.config = config
        self.model_decom = Decomposition(in_channels)
        self.model_R = Reflectance()
        self.model_L = Illumination()
        self.model_A = Adjustment()

    def unfold(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Reflectance ``(B,3,H,W)`` and illumination ``(B,1,H,W)`` after the last round.

        Each round solves ``|I - PQ|^2 + gamma |P - R|^2`` for P and the like for Q, in closed form.
        """
        p, q = self.model_decom(image)
        image = image[:, :3]
        r, light = self.model_R(p, q), self.model_L(q)
        for turn in range(1, self.config.rounds):
            gamma, penalty = GAMMA + MORE * turn, LAMBDA + MORE * turn
            p = (image * q + gamma * r) / (gamma + q * q)
            above = (image * p).sum(1, keepdim=True) + penalty * light
            q = above / ((p * p).sum(1, keepdim=True) + penalty)
            r, light = self.model_R(p, q), self.model_L(q)
        return r, light

    def brighten(
        self, reflectance: torch.Tensor, illumination: torch.Tensor, ratio: float | torch.Tensor
    ) -> torch.Tensor:
        """The restored image of what :meth:`unfold` gives; ratio: a number, or ``(B,)`` of them."""
        ratio = torch.as_tensor(ratio, dtype=illumination.dtype, device=illumination.device)
        ratios = torch.ones_like(illumination) * ratio.reshape(-1, 1, 1, 1)
        return self.model_A(illumination, ratios) * reflectance

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.brighten(*self.unfold(image), self.config.ratio)

    def as_bright_as(self, image: torch.Tensor, of_reference: torch.Tensor) -> torch.Tensor:
        """The image, restored by the ratio of its reference's light ``(B,1,H,W)``."""
        reflectance, illumination = self.unfold(image)
        ratio = reference_ratio(illumination, of_reference)
        return self.brighten(reflectance, illumination, ratio)

    @staticmethod
    def reference_light() -> nn.Module:
        """What takes that light, with random weights: a :class:`ReferenceLight`."""
        return ReferenceLight()


class ReferenceLight(nn.Module):
    """The illumination ``(B,1,H,W)`` of a well lit photograph; names as in ``init_high.pth``."""

    def __init__(self) -> None:
        super().__init__()
        self.model_R = Decomposition()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.model_R(image)[1]


def reference_ratio(illumination: torch.Tensor, of_reference: torch.Tensor) -> torch.Tensor:
    """How much brighter each reference photograph is, ``(B,)``, as ``evaluate.py`` takes it.

    illumination: L of the dark images, ``(B,1,H,W)``, by :meth:`URetinex.unfold`; of_reference:
    that of the references, by :class:`ReferenceLight`. To restore with it is to look at the truth:
    name such a row so.
    """
    darker = (illumination / (of_reference + 0.0001)).mean((1, 2, 3))
    return 1 / (darker + 0.0001)


def build(config: Config, in_channels: int = 3) -> nn.Module:
    """A network from ``(B,in_channels,H,W)`` float32 in [0,1] to ``(B,3,H,W)``, any size.

    The output is not clipped. Further channels are read by the first decomposition.
    """
    return URetinex(config, in_channels)


def blocks(network: nn.Module) -> list[nn.Module]:
    """The inner convolutions of decomposition and adjustment; each gives ``(B,32,H,W)``.

    Those of ``model_R`` and ``model_L``, which a forward pass calls once a round, are none.
    """
    parts: Any = network
    first, _, second, _, third, *_ = parts.model_decom.decom
    adjust = parts.model_A
    return [first, second, third, adjust.conv1, adjust.conv2, adjust.conv3]
