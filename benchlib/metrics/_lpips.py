"""LPIPS v0.1 (Zhang et al. 2018): how far apart a trained network sees two images.

As richzhang/PerceptualSimilarity's ``lpips/lpips.py`` (package lpips 0.1.4): features of unit
length, their squared differences weighted by a learnt head, meaned over the image, summed over the
taps. The heads lie in the package torchmetrics, byte by byte those of lpips 0.1.4.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from benchlib import assets
from benchlib.assets.trunks import Trunk, as_tensor, tapped, trunk_layers

if TYPE_CHECKING:
    import torch
    from torch import nn

VERSION = 1
USES = {"assets/weights.py": 1, "assets/trunks.py": 1}
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


def lpips(restored: np.ndarray, reference: np.ndarray, trunk: Trunk, heads: str) -> float:
    """LPIPS of two ``(H,W,3)`` RGB float64 images in [0,255].

    heads: the catalogue's entry. Raises BenchError for an image that is grey or too small, or
    weights that cannot be fetched.
    """
    return distance(restored, reference, trunk, trunk_layers(trunk), head_weights(heads))


def distance(
    restored: np.ndarray,
    reference: np.ndarray,
    trunk: Trunk,
    layers: nn.Sequential,
    heads: list[torch.Tensor],
) -> float:
    """The same with the networks given. heads: ``(1,C,1,1)``, one a tap."""
    import torch

    with torch.inference_mode():
        seen = [tapped(trunk, layers, _normalised(image)) for image in (restored, reference)]
        total = torch.zeros(())
        for first, second, head in zip(*seen, heads, strict=True):
            apart = (_unit(first) - _unit(second)) ** 2
            total = total + torch.nn.functional.conv2d(apart, head).mean()
    return float(total)


@cache
def head_weights(asset: str) -> list[torch.Tensor]:
    """The weights of a head's five layers, in the taps' order."""
    weights = assets.load_weights(assets.fetch(asset))
    return [weights[f"lin{tap}.model.1.weight"] for tap in range(5)]


def _normalised(image: np.ndarray) -> torch.Tensor:
    """[0,255] -> [-1,1] -> shifted and scaled, float32."""
    import torch

    unit = as_tensor(image).float() / 127.5 - 1
    shift = torch.tensor(SHIFT)[:, None, None]
    return (unit - shift) / torch.tensor(SCALE)[:, None, None]


def _unit(features: torch.Tensor) -> torch.Tensor:
    """Of length 1 at every pixel."""
    length = (features**2).sum(dim=1, keepdim=True).sqrt()
    return features / (length + 1e-10)
