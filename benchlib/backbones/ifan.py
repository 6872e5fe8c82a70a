"""IFAN (Lee et al., CVPR 2021): defocus is taken off by filters that are predicted for each place.

Parameter names are those of codeslake/IFAN at 66bf136 (``models/archs/IFAN.py``, ``IFAN_dual.py``),
so its checkpoints load strictly. A filter is a column and a row; the official code multiplies by
the column's kernel twice and never reads the row's, which its author confirms (issue 13) and its
checkpoints depend on: so it is here. Networks start as PyTorch starts them, not as the official
training does. Its files hold the whole trainer (``models/trainers/trainer.py``): the network by the
name ``Network`` and, from training, one that blurs again, which is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import nn
from torch.nn.functional import leaky_relu, pad

from benchlib.backbones._sizes import mirror_to
from benchlib.contracts import BenchError

VERSION = 1
USES = {"backbones/_sizes.py": 1}
TRAINER = "Network."  # before the names in the official files


@dataclass(frozen=True)
class Config:
    """width: channels at full size. filters: how many, one after the other. size: of each.

    residuals: in each block of what predicts. dual: the filters are predicted from further
    channels, the right and the left view of a dual-pixel sensor (six), not from the image.
    The defaults are the official network.
    """

    width: Annotated[int, Field(ge=1)] = 32
    filters: Annotated[int, Field(ge=1)] = 17
    size: Annotated[int, Field(ge=1)] = 3
    residuals: Annotated[int, Field(ge=1)] = 2
    dual: bool = False


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)
    return nn.Sequential(conv, nn.LeakyReLU(0.1))


def _up(inputs: int, outputs: int) -> nn.Sequential:
    conv = nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1)
    return nn.Sequential(conv, nn.LeakyReLU(0.1))


class Residual(nn.Module):
    """So many residual steps, and a shortcut around them where they are several."""

    def __init__(self, width: int, count: int = 1):
        super().__init__()
        self.stem = nn.ModuleList()
        for _ in range(count):
            first = nn.Conv2d(width, width, 3, padding=1)
            second = nn.Conv2d(width, width, 3, padding=1)
            self.stem.append(nn.Sequential(first, nn.LeakyReLU(0.1), second))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        start = x
        for step in self.stem:
            x = leaky_relu(x + step(x), 0.1)
        if len(self.stem) > 1:
            x = x + start
        return x


def apply_filters(features: torch.Tensor, filters: torch.Tensor, count: int) -> torch.Tensor:
    """``count`` separable filters in turn, each pixel and channel of ``(B,C,H,W)`` by its own.

    filters: ``(B,count (2 C k + C),H,W)``: the columns' and rows' kernels of all, then the biases.
    """
    channels = features.shape[1]
    kernels, biases = filters.split([filters.shape[1] - count * channels, count * channels], 1)
    for kernel, bias in zip(kernels.chunk(count, 1), biases.chunk(count, 1), strict=True):
        column = kernel.chunk(2, 1)[0].unflatten(1, (channels, -1))
        reach = column.shape[2] // 2
        features = _weigh(features, column, (0, 0, reach, reach), 2)
        features = _weigh(features, column, (reach, reach, 0, 0), 3)
        features = leaky_relu(features + bias, 0.1)
    return features


def _weigh(
    x: torch.Tensor, kernel: torch.Tensor, edges: tuple[int, int, int, int], dim: int
) -> torch.Tensor:
    """Neighbours along one side, weighted and added; kernel: ``(B,C,k,H,W)``."""
    near = pad(x, edges, mode="replicate").unfold(dim, kernel.shape[2], 1)
    return (near * kernel.permute(0, 1, 3, 4, 2)).sum(-1)


class IFAN(nn.Module):
    padder_size = 8

    def __init__(self, config: Config, in_channels: int):
        super().__init__()
        self.dual, self.filters = config.dual, config.filters
        width, deep, count = config.width, 4 * config.width, config.residuals
        seen, of_filters = in_channels, in_channels
        if config.dual:
            seen, of_filters = 3, in_channels - 3
        self._encoder("conv", seen, width)
        self._encoder("kconv", of_filters, width)
        self.conv4_4 = _predictor(2 * deep, deep, count, _conv(deep, deep))
        self.conv_res = nn.Sequential(_conv(deep, deep), Residual(deep, 3), _conv(deep, deep))
        for level, (inputs, outputs) in ((3, (4, 4)), (2, (4, 2)), (1, (2, 1))):
            self.add_module(f"upconv{level}_u", _up(inputs * width, outputs * width))
            self.add_module(f"upconv{level}_1", Residual(outputs * width))
            self.add_module(f"upconv{level}_2", Residual(outputs * width))
        self.out_res = _conv(width, 3)
        self.DME = _predictor(deep, deep, count, nn.Conv2d(deep, 1, 3, padding=1))
        self.conv_DME = _conv(1, deep)
        numbers = config.filters * deep * (2 * config.size + 1)
        self.F = _predictor(deep, deep, count, nn.Conv2d(deep, numbers, 1))

    def _encoder(self, name: str, inputs: int, width: int) -> None:
        """Four levels of three convolutions, ``<name><level>_<i>``."""
        for level, growth in ((1, 1), (2, 2), (3, 4), (4, 4)):
            outputs = growth * width
            self.add_module(f"{name}{level}_1", _conv(inputs, outputs, 1 + (level > 1)))
            self.add_module(f"{name}{level}_2", _conv(outputs, outputs))
            self.add_module(f"{name}{level}_3", _conv(outputs, outputs))
            inputs = outputs

    def _encode(self, name: str, x: torch.Tensor) -> list[torch.Tensor]:
        """The map of each level, full size first."""
        found = []
        for level in range(1, 5):
            for i in range(1, 4):
                x = self.get_submodule(f"{name}{level}_{i}")(x)
            found.append(x)
        return found

    def predict(self, seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Disparity ``(B,1,H/8,W/8)`` and filters, of what the filters are predicted from."""
        features = self._encode("kconv", seen)[-1]
        disparity = self.DME(features)
        joined = torch.cat([features, self.conv_DME(disparity)], 1)
        return disparity, self.F(self.conv4_4(joined))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        height, width = image.shape[-2:]
        image = mirror_to(image, self.padder_size)
        shown, seen = image, image
        if self.dual:
            shown, seen = image[:, :3], image[:, 3:]
        *maps, deepest = self._encode("conv", shown)
        filters = self.predict(seen)[1]
        x = self.conv_res(apply_filters(deepest, filters, self.filters))
        for level in (3, 2, 1):
            x = self.get_submodule(f"upconv{level}_u")(x) + maps[level - 1]
            x = self.get_submodule(f"upconv{level}_1")(x)
            x = self.get_submodule(f"upconv{level}_2")(x)
        restored = self.out_res(x) + image[:, :3]
        return restored[..., :height, :width]


def _predictor(inputs: int, width: int, count: int, last: nn.Module) -> nn.Sequential:
    first = _conv(inputs, width)
    return nn.Sequential(first, Residual(width, count), Residual(width, count), last)


def build(config: Config, in_channels: int = 3) -> nn.Module:
    """A network from ``(B,in_channels,H,W)`` float32 in [0,1] to ``(B,3,H,W)``, any size.

    The output is not clipped; the official test clips. Sizes that are no multiples of 8 are
    mirrored up to them; the official test crops.
    Raises BenchError for a dual network without further channels.
    """
    if config.dual and in_channels == 3:
        raise BenchError(
            "ifan: dual: the network reads a right and a left view after the image, but gets three "
            "channels; take a method that hands them over, or dual: false"
        )
    network = IFAN(config, in_channels)
    network.register_load_state_dict_pre_hook(_take_network)
    return network


def _take_network(_: nn.Module, state: dict[str, Any], prefix: str, *rest: Any) -> None:
    """Of a whole trainer's weights, those of the network alone."""
    inner = prefix + TRAINER
    if not any(name.startswith(inner) for name in state):
        return
    for name in list(state):
        value = state.pop(name)
        if name.startswith(inner):
            state[prefix + name.removeprefix(inner)] = value


def blocks(network: nn.Module) -> list[nn.Module]:
    """The residual parts after the filters, two at each level, up to full size: a map each."""
    found: list[nn.Module] = []
    for level in (3, 2, 1):
        for i in (1, 2):
            parts: Any = network.get_submodule(f"upconv{level}_{i}")
            found.append(parts)
    return found
