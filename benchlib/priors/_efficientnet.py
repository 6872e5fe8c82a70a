"""EfficientNet-Lite0's network (Tan and Le 2019; the Lite variant of tensorflow/tpu).

Names, padding and constants are those of the package efficientnet-lite-pytorch 0.1.0: ReLU6
without squeeze-and-excitation, batch normalisation with an epsilon of 0.001, and TensorFlow's
padding "SAME", which fills up the right and the bottom more than the left and the top.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import pad, relu6

VERSION = 1
FEATURES = 1280
CLASSES = 1000
EPSILON = 1e-3
STEM = 32  # channels

# Of each stage: how many blocks, kernel, stride of the first, expansion, channels.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class SameConv(nn.Conv2d):
    """A convolution without bias whose output has ``ceil(side / stride)`` places a side."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1):
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        top, bottom = _filling(x.shape[2], kernel, stride)
        left, right = _filling(x.shape[3], kernel, stride)
        return super().forward(pad(x, (left, right, top, bottom)))


def _filling(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """Pixels before and after, as TensorFlow's "SAME" puts them."""
    places = -(-side // stride)
    total = max(0, (places - 1) * stride + kernel - side)
    return total // 2, total - total // 2


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=EPSILON)


class Block(nn.Module):
    """An inverted bottleneck: expand, look around in each channel alone, project."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        wide = inputs * expansion
        self.expands = expansion > 1
        self.adds = stride == 1 and inputs == outputs
        if self.expands:
            self._expand_conv = SameConv(inputs, wide, 1)
            self._bn0 = _norm(wide)
        self._depthwise_conv = SameConv(wide, wide, kernel, stride, wide)
        self._bn1 = _norm(wide)
        self._project_conv = SameConv(wide, outputs, 1)
        self._bn2 = _norm(outputs)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = image
        if self.expands:
            x = relu6(self._bn0(self._expand_conv(x)))
        x = relu6(self._bn1(self._depthwise_conv(x)))
        x = self._bn2(self._project_conv(x))
        if self.adds:
            return x + image
        return x


class EfficientNetLite0(nn.Module):
    """From a normalised ``(B,3,H,W)`` to the features ``(B,1280,ceil(H/32),ceil(W/32))``.

    The classifier's own layer is there for its weights to load, and is not run.
    """

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SameConv(3, STEM, 3, 2)
        self._bn0 = _norm(STEM)
        blocks: list[nn.Module] = []
        channels = STEM
        for count, kernel, stride, expansion, outputs in STAGES:
            blocks.append(Block(channels, outputs, kernel, stride, expansion))
            for _ in range(count - 1):
                blocks.append(Block(outputs, outputs, kernel, 1, expansion))
            channels = outputs
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = SameConv(channels, FEATURES, 1)
        self._bn1 = _norm(FEATURES)
        self._fc = nn.Linear(FEATURES, CLASSES)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = relu6(self._bn0(self._conv_stem(image)))
        for block in self._blocks:
            x = block(x)
        return relu6(self._bn1(self._conv_head(x)))
