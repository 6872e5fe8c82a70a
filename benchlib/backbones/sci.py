"""SCI (Ma et al., CVPR 2022): an illumination by three convolutions, learnt with more stages.

Parameter names are those of vis-opt-group/SCI at 9d28a3f (``model.py``), so its checkpoints
(easy, medium, difficult) load strictly. Each of them holds the convolutions that its stages share
twice, under ``conv`` (``convs``) and under ``blocks``; they are one here, and a checkpoint where
the two differ is refused. A network starts as the official training script starts it.

The stages after the first, and the ``calibrate`` network between them, are there for training
alone: the official test, like ``forward`` here, runs the first stage.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import nn

from benchlib.contracts import BenchError

VERSION = 1


@dataclass(frozen=True)
class Config:
    """stages: 1, all that restoring needs; more (officially 3) to train by SCI's own losses.

    With one stage there is no ``calibrate`` network, and a checkpoint's is left out.
    """

    stages: Annotated[int, Field(ge=1)] = 1


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, 3, padding=1)
    nn.init.normal_(conv.weight, 0.0, 0.02)
    nn.init.zeros_(conv.get_parameter("bias"))
    return conv


def _norm(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels)
    nn.init.normal_(norm.weight, 1.0, 0.02)
    return norm


def _merge_shared(state: dict[str, Any], prefix: str, shared: str) -> None:
    """Take the copies ``blocks.<n>.<rest>`` of ``<shared>.<rest>`` out of a state dict.

    Raises BenchError if a copy differs.
    """
    start = f"{prefix}blocks."
    for name in [name for name in state if name.startswith(start)]:
        rest = name.removeprefix(start).partition(".")[2]
        copy, original = state.pop(name), state.get(f"{prefix}{shared}.{rest}")
        if original is None or not torch.equal(copy, original):
            raise BenchError(
                f"sci: {name} differs from {prefix}{shared}.{rest}; the two are one in SCI: "
                "take an official checkpoint"
            )


class Enhance(nn.Module):
    """The illumination ``(B,3,H,W)`` of an image, within [0.0001,1]."""

    def __init__(self, in_channels: int):
        super().__init__()
        self.in_conv = nn.Sequential(_conv(in_channels, 3), nn.ReLU())
        self.conv = nn.Sequential(_conv(3, 3), _norm(3), nn.ReLU())
        self.out_conv = nn.Sequential(_conv(3, 3), nn.Sigmoid())
        self.register_load_state_dict_pre_hook(_merge_conv)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.in_conv(image)
        x = self.out_conv(x + self.conv(x))
        return (x + image[:, :3]).clamp(0.0001, 1)


class Calibrate(nn.Module):
    """What the next stage's input differs by from the image: ``(B,3,H,W)`` from the same."""

    def __init__(self, width: int = 16, layers: int = 3):
        super().__init__()
        self.layers = layers
        self.in_conv = nn.Sequential(_conv(3, width), _norm(width), nn.ReLU())
        first = (_conv(width, width), _norm(width), nn.ReLU())
        second = (_conv(width, width), _norm(width), nn.ReLU())
        self.convs = nn.Sequential(*first, *second)
        self.out_conv = nn.Sequential(_conv(width, 3), nn.Sigmoid())
        self.register_load_state_dict_pre_hook(_merge_convs)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.in_conv(image)
        for _ in range(self.layers):
            x = x + self.convs(x)
        return image - self.out_conv(x)


def _merge_conv(_: nn.Module, state: dict[str, Any], prefix: str, *rest: Any) -> None:
    _merge_shared(state, prefix, "conv")


def _merge_convs(_: nn.Module, state: dict[str, Any], prefix: str, *rest: Any) -> None:
    _merge_shared(state, prefix, "convs")


def _leave_out_calibrate(_: nn.Module, state: dict[str, Any], prefix: str, *rest: Any) -> None:
    for name in [name for name in state if name.startswith(f"{prefix}calibrate.")]:
        del state[name]


class SCI(nn.Module):
    def __init__(self, config: Config, in_channels: int):
        super().__init__()
        self.enhance = Enhance(in_channels)
        self.count = config.stages
        if config.stages > 1:
            self.calibrate = Calibrate()
        else:
            self.register_load_state_dict_pre_hook(_leave_out_calibrate)

    def brighten(self, image: torch.Tensor, illumination: torch.Tensor) -> torch.Tensor:
        """The restored image of the first stage's illumination."""
        return reflectance(image, illumination)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.brighten(image, self.enhance(image))

    def stages(self, image: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Each stage's input and illumination, ``(B,3,H,W)`` both: what SCI's losses read.

        The loss of an image is the sum of ``sci_loss(stage_input, illumination)`` over them.
        """
        found, extra, step = [], image[:, 3:], image[:, :3]
        for index in range(self.count):
            illumination = self.enhance(torch.cat([step, extra], 1))
            found.append((step, illumination))
            if index < self.count - 1:
                step = image[:, :3] + self.calibrate(reflectance(image, illumination))
        return found


def reflectance(image: torch.Tensor, illumination: torch.Tensor) -> torch.Tensor:
    """The image ``(B,3,H,W)`` over its illumination, within [0,1]."""
    return (image[:, :3] / illumination).clamp(0, 1)


def build(config: Config, in_channels: int = 3) -> nn.Module:
    """A network from ``(B,in_channels,H,W)`` float32 in [0,1] to ``(B,3,H,W)``, any size.

    The output is within [0,1]. Further channels are read where the illumination is estimated.
    """
    return SCI(config, in_channels)


def blocks(network: nn.Module) -> list[nn.Module]:
    """The two inner convolutions; each gives ``(B,3,H,W)``."""
    enhance: Any = network.enhance
    return [enhance.in_conv, enhance.conv]
