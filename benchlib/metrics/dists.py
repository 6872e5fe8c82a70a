"""Deep image structure and texture similarity (DISTS) by VGG16: 0 for equal images.

Ding et al., Image Quality Assessment: Unifying Structure and Texture Similarity, TPAMI 2022,
equations 4 to 6, with the weights of its authors' code (dingkeyan93/DISTS), which lie in the
package torchmetrics. Images are not resized.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from benchlib import assets
from benchlib.assets.trunks import VGG16, as_tensor, check_size, trunk_layers

if TYPE_CHECKING:
    import torch
    from torch import nn

VERSION = 1
USES = {"assets/weights.py": 1, "assets/trunks.py": 1}
NAME = "DISTS"
SHOWN = "DISTS"
UNIT = ""
FACTOR = 1
LOWER_IS_BETTER = True
DIGITS = 4
RANGE = (0.0, None)
READS = ("restored", "reference")
SMALLEST = 16  # pixels on each side, that every layer may have one
ASSETS = ("vgg16", "dists")
PROTOCOLS = ("basicsr-rgb",)
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's
SMALL = 1e-6  # keeps quotients finite: the paper's c1 and c2
CHANNELS = (3, 64, 128, 256, 512, 512)  # of the image itself and of the trunk's taps


def measure(restored: np.ndarray, reference: np.ndarray) -> float:
    """DISTS of ``(H,W,3)`` RGB float64 in [0,255], 16 pixels or more.

    Raises BenchError for a grey or too small image, or weights that cannot be fetched.
    """
    return distance(restored, reference, trunk_layers(VGG16), *mixing_weights())


@cache
def mixing_weights() -> tuple[torch.Tensor, torch.Tensor]:
    """alpha (of textures: means) and beta (of structures: correlations), ``(1475,)`` each."""
    weights = assets.load_weights(assets.fetch("dists"))
    return weights["alpha"].flatten(), weights["beta"].flatten()


def distance(
    restored: np.ndarray,
    reference: np.ndarray,
    layers: nn.Sequential,
    alpha: torch.Tensor,
    beta: torch.Tensor,
) -> float:
    """The same with the network and the weights given."""
    import torch

    with torch.inference_mode():
        seen = [
            _features(layers, as_tensor(image).float() / 255) for image in (restored, reference)
        ]
        total = alpha.sum() + beta.sum()
        parts = zip(*seen, alpha.split(CHANNELS), beta.split(CHANNELS), strict=True)
        similar = torch.zeros(())
        for first, second, of_means, of_structure in parts:
            means, structure = _similarities(first, second)
            similar = similar + (of_means / total * means).sum()
            similar = similar + (of_structure / total * structure).sum()
    return float(1 - similar)


def _similarities(first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the channels' means and of their variations: the paper's equations 4 and 5."""
    first, second = first[0].flatten(1), second[0].flatten(1)
    mean1, mean2 = first.mean(1), second.mean(1)
    spread1 = ((first - mean1[:, None]) ** 2).mean(1)
    spread2 = ((second - mean2[:, None]) ** 2).mean(1)
    common = (first * second).mean(1) - mean1 * mean2
    means = (2 * mean1 * mean2 + SMALL) / (mean1**2 + mean2**2 + SMALL)
    return means, (2 * common + SMALL) / (spread1 + spread2 + SMALL)


def _features(layers: nn.Sequential, image: torch.Tensor) -> list[torch.Tensor]:
    """The image in [0,1] and the trunk's taps, with a smooth pooling for each maximum."""
    import torch
    from torch import nn

    check_size(VGG16, image)
    mean = torch.tensor(MEAN)[:, None, None]
    seen, now = [image], (image - mean) / torch.tensor(DEVIATION)[:, None, None]
    for number, layer in enumerate(layers):
        step: Callable[[torch.Tensor], torch.Tensor] = layer
        if isinstance(layer, nn.MaxPool2d):
            step = _pooled
        now = step(now)
        if number in VGG16.taps:
            seen.append(now)
    return seen


def _pooled(image: torch.Tensor) -> torch.Tensor:
    """The root of the local mean of squares, under a Hann window, at every second pixel."""
    import torch
    from torch.nn.functional import conv2d

    row = torch.from_numpy(np.hanning(5)[1:-1])
    window = (row[:, None] * row[None, :]).float()
    kernel = (window / window.sum()).expand(image.shape[1], 1, 3, 3)
    return (conv2d(image**2, kernel, stride=2, padding=1, groups=len(kernel)) + 1e-12).sqrt()
