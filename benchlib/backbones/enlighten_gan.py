"""EnlightenGAN's generator (Jiang et al., TIP 2021): a U-Net that looks at where it is dark.

Parameter names are those of VITA-Group/EnlightenGAN at b034984 (``models/networks.py``,
``Unet_resize_conv`` with the options of its ``scripts/script.py``), so its checkpoints load
strictly. A network starts as there: weights of standard deviation 0.02. The official network works
in [-1,1] and on an image that is mirrored up to multiples of 16, the smaller half on the left and
top; images wider than 2,200 pixels are restored at half their size. All that is inside here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import nn
from torch.nn.functional import avg_pool2d, interpolate, leaky_relu, max_pool2d

from benchlib.backbones._sizes import mirror

VERSION = 1
USES = {"backbones/_sizes.py": 1}

LEVELS = 5
WIDEST = 2200  # pixels


@dataclass(frozen=True)
class Config:
    """width: channels at full size, doubled at each of four levels. The default is official."""

    width: Annotated[int, Field(ge=1)] = 32


class EnlightenGAN(nn.Module):
    """``conv<n>_<i>`` and ``bn<n>_<i>``: 1 to 5 on the way down, 6 to 9 on the way up."""

    padder_size = 2 ** (LEVELS - 1)

    def __init__(self, config: Config, in_channels: int):
        super().__init__()
        inputs = in_channels + 1  # and how dark it is
        for level in range(LEVELS):
            width = config.width * 2**level
            self._add(level + 1, inputs, width)
            inputs = width
        for level in reversed(range(LEVELS - 1)):
            width = config.width * 2**level
            self.add_module(f"deconv{9 - level - 1}", _conv(2 * width, width))
            self._add(9 - level, 2 * width, width, last=level == 0)
        self.conv10 = nn.Conv2d(config.width, 3, 1)
        nn.init.normal_(self.conv10.weight, 0.0, 0.02)

    def _add(self, number: int, inputs: int, width: int, last: bool = False) -> None:
        self.add_module(f"conv{number}_1", _conv(inputs, width))
        self.add_module(f"bn{number}_1", _norm(width))
        self.add_module(f"conv{number}_2", _conv(width, width))
        if not last:
            self.add_module(f"bn{number}_2", _norm(width))

    def _layer(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """Convolution, activation, then normalisation: in this order, as there."""
        x = leaky_relu(self.get_submodule(f"conv{name}")(x), 0.2)
        if name == "9_2":
            return x
        return self.get_submodule(f"bn{name}")(x)

    def latent(self, image: torch.Tensor, dark: torch.Tensor) -> torch.Tensor:
        """What is added to the image, ``(B,3,H,W)``: in [-1,1], of sides that are multiples of 16.

        image: ``(B,C,H,W)`` in [-1,1]; dark: ``(B,1,H,W)``, 1 less the brightness.
        """
        levels = [dark]
        for _ in range(LEVELS - 1):
            levels.append(max_pool2d(levels[-1], 2))
        x, skips = torch.cat([image, dark], 1), []
        for level in range(LEVELS - 1):
            x = self._layer(f"{level + 1}_1", x)
            x = self._layer(f"{level + 1}_2", x)
            skips.append(x)
            x = max_pool2d(x, 2)
        x = self._layer("5_1", x) * levels[-1]
        x = self._layer("5_2", x)
        for level in reversed(range(LEVELS - 1)):
            x = interpolate(x, scale_factor=2, mode="bilinear")
            x = self.get_submodule(f"deconv{8 - level}")(x)
            x = torch.cat([x, skips[level] * levels[level]], 1)
            x = self._layer(f"{9 - level}_1", x)
            x = self._layer(f"{9 - level}_2", x)
        return self.conv10(x) * dark

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        size = image.shape[-2:]
        image = 2 * image - 1
        dark = darkness(image)
        if size[1] > WIDEST:
            image, dark = avg_pool2d(image, 2), avg_pool2d(dark, 2)
        height, width = image.shape[-2:]
        left, top = -width % 16 // 2, -height % 16 // 2
        edges = (left, -width % 16 - left, top, -height % 16 - top)
        image, dark = mirror(image, *edges), mirror(dark, *edges)
        restored = self.latent(image, dark) + image[:, :3]
        restored = restored[..., top : top + height, left : left + width]
        if size[1] > WIDEST:
            # the official code doubles, and so loses a last odd row or column
            restored = interpolate(restored, size=size, mode="bilinear")
        return (restored + 1) / 2


def darkness(image: torch.Tensor) -> torch.Tensor:
    """``(B,1,H,W)`` in [0,1] of an image in [-1,1]: 1 less its luma."""
    red, green, blue = (image[:, :3] + 1).split(1, 1)
    return 1 - (0.299 * red + 0.587 * green + 0.114 * blue) / 2


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, 3, padding=1)
    nn.init.normal_(conv.weight, 0.0, 0.02)
    return conv


def _norm(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels)
    nn.init.normal_(norm.weight, 1.0, 0.02)
    return norm


def build(config: Config, in_channels: int = 3) -> nn.Module:
    """A network from ``(B,in_channels,H,W)`` float32 in [0,1] to ``(B,3,H,W)``, any size.

    The output is not clipped. Further channels are read by the first convolution, with the image.
    """
    return EnlightenGAN(config, in_channels)


def blocks(network: nn.Module) -> list[nn.Module]:
    """Each level's second convolution but the last, down and then up; each gives a map."""
    return [network.get_submodule(f"conv{number}_2") for number in range(1, 10)]
