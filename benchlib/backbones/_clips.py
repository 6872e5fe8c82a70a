"""What networks of clips share: residual blocks, flow between frames, warping, enlargement by 4.

Names of parameters and the order of operations are those of XPixelGroup/BasicSR at 8d56e3a
(``basicsr/archs/arch_util.py``, ``spynet_arch.py``). A backbone that uses this file states it:
``USES = {"backbones/_clips.py": 1}``.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn.functional import avg_pool2d, grid_sample, interpolate, leaky_relu, pixel_shuffle

VERSION = 1
SLOPE = 0.1  # of every leaky ReLU in EDVR and BasicVSR
STRIP = 96  # rows of a map at twice the size
BESIDE = 2  # rows on either side that three convolutions see, the last two at four times the size
COARSEST = 32  # SPyNet's images are resized to multiples of so many pixels: six levels


def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """A convolution of 3x3 that keeps the size, or halves it by a stride of 2."""
    return nn.Conv2d(inputs, outputs, 3, stride, 1)


def lrelu(x: torch.Tensor) -> torch.Tensor:
    """The leaky ReLU of both networks; ``x`` is overwritten."""
    return leaky_relu(x, SLOPE, inplace=True)


class Residual(nn.Module):
    """x + conv(relu(conv(x))) of maps ``(B,C,H,W)``; it begins close to the identity."""

    def __init__(self, width: int):
        super().__init__()
        self.conv1 = conv(width, width)
        self.conv2 = conv(width, width)
        for layer in (self.conv1, self.conv2):
            nn.init.kaiming_normal_(layer.weight)
            layer.weight.data *= 0.1
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv2(self.conv1(x).relu_())


def residuals(count: int, width: int) -> nn.Sequential:
    """So many residual blocks."""
    made = [Residual(width) for _ in range(count)]
    return nn.Sequential(*made)


class Seam(nn.Module):
    """Where a plug-in attaches to one frame's map: ``(B,C,H,W)`` and the frame's place in the clip.

    It changes nothing. A forward hook on it may give another map of that shape.
    """

    def forward(self, feature: torch.Tensor, frame: int) -> torch.Tensor:
        return feature


class Restored(nn.Module):
    """Where each restored frame ``(B,3,H,W)`` leaves a network of whole clips, with its place.

    It changes nothing. Whoever has no memory for all of them takes them here, by a forward hook
    that gives an empty frame in their place.
    """

    def forward(self, image: torch.Tensor, frame: int) -> torch.Tensor:
        return image


def warp(x: torch.Tensor, flow: torch.Tensor, beyond: str = "zeros") -> torch.Tensor:
    """Maps ``(B,C,H,W)``, each pixel from where the flow ``(B,2,H,W)`` points: x first, in pixels.

    beyond: "zeros" or "border" (its nearest pixel), what lies outside.
    """
    height, width = x.shape[-2:]
    rows = torch.arange(height, dtype=x.dtype, device=x.device)[:, None]
    columns = torch.arange(width, dtype=x.dtype, device=x.device)
    places = torch.stack(
        [
            2 * (columns + flow[:, 0]) / max(width - 1, 1) - 1,
            2 * (rows + flow[:, 1]) / max(height - 1, 1) - 1,
        ],
        3,
    )
    return grid_sample(x, places.to(x.dtype), "bilinear", beyond, align_corners=True)


class Level(nn.Module):
    """One level of SPyNet: two images and a flow, ``(B,8,H,W)``, to what the flow lacks."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        widths = (8, 32, 64, 32, 16, 2)
        for inputs, outputs in pairwise(widths):
            layers += [nn.Conv2d(inputs, outputs, 7, padding=3), nn.ReLU()]
        self.basic_module = nn.Sequential(*layers[:-1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.basic_module(x)


class SPyNet(nn.Module):
    """SPyNet (Ranjan and Black, CVPR 2017): from coarse to fine, what a flow lacks at each level.

    The official code fails where a side has 32 pixels or fewer: its first flow has half the
    coarsest level's size, which is none there. It is zero whatever its size, so that here it has
    the level's own.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.basic_module = nn.ModuleList([Level() for _ in range(6)])
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Images ``(B,3,H,W)`` in [0,1] -> ``(B,2,H,W)``: where the second has the first's pixels.

        In pixels, x first: ``warp(second, flow)`` looks like the first.
        """
        height, width = first.shape[-2:]
        size = (height + -height % COARSEST, width + -width % COARSEST)
        flow = self._levels(self._pyramid(first, size), self._pyramid(second, size))
        flow = interpolate(flow, (height, width), mode="bilinear")
        ratio = torch.tensor([width / size[1], height / size[0]], device=flow.device)
        return flow * ratio.to(flow.dtype).view(1, 2, 1, 1)

    def _pyramid(self, image: torch.Tensor, size: tuple[int, int]) -> list[torch.Tensor]:
        """The image at ``size``, normalised, and five times halved; the smallest one first."""
        image = interpolate(image, size, mode="bilinear")
        levels = [(image - self.mean) / self.std]
        for _ in range(len(self.basic_module) - 1):
            levels.append(avg_pool2d(levels[-1], 2, count_include_pad=False))
        return levels[::-1]

    def _levels(self, first: list[torch.Tensor], second: list[torch.Tensor]) -> torch.Tensor:
        flow = first[0].new_zeros(len(first[0]), 2, *first[0].shape[-2:])
        for level, step in enumerate(self.basic_module):
            if level:
                flow = 2 * interpolate(flow, scale_factor=2, mode="bilinear", align_corners=True)
            moved = warp(second[level], flow, "border")
            flow = step(torch.cat([first[level], moved, flow], 1)) + flow
        return flow


def add_enlargement(network: Any, width: int) -> None:
    """The layers that enlarge by 4, under their official names on the network itself.

    The second half is 64 wide whatever ``width``, officially too.
    """
    network.upconv1 = conv(width, 4 * width)
    network.upconv2 = conv(width, 4 * 64)
    network.conv_hr = conv(64, 64)
    network.conv_last = conv(64, 3)


def enlarged(network: Any, x: torch.Tensor) -> torch.Tensor:
    """Maps ``(B,width,H,W)`` to ``(B,3,4H,4W)``, by the layers of ``add_enlargement``.

    Where no gradient is wanted, the second half is done in strips of rows: 64 channels of 720x1280
    pixels take 236 MB, several times over. A strip sees as many rows more as its convolutions do.
    """
    x = lrelu(pixel_shuffle(network.upconv1(x), 2))
    height = x.shape[-2]
    if torch.is_grad_enabled() or height <= STRIP:
        return _second_half(network, x)
    strips = []
    for top in range(0, height, STRIP):
        bottom = min(top + STRIP, height)
        first, last = max(top - BESIDE, 0), min(bottom + BESIDE, height)
        strip = _second_half(network, x[..., first:last, :])
        strips.append(strip[..., 2 * (top - first) : 2 * (bottom - first), :])
    return torch.cat(strips, -2)


def _second_half(network: Any, x: torch.Tensor) -> torch.Tensor:
    x = lrelu(pixel_shuffle(network.upconv2(x), 2))
    return network.conv_last(lrelu(network.conv_hr(x)))


def by_4(image: torch.Tensor) -> torch.Tensor:
    """``(B,3,H,W)`` enlarged by 4, bilinear: what both networks add to."""
    return interpolate(image, scale_factor=4, mode="bilinear", align_corners=False)
