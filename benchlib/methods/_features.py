"""How far two images are apart for VGG16, as EnlightenGAN and URetinex-Net measure it in training.

Neither official network can be had here, and what stands in for it is said: EnlightenGAN
(VITA-Group/EnlightenGAN at b034984, ``PerceptualLoss`` of ``models/networks.py``) reads a VGG16
that was converted from Caffe, of BGR in [0,255]; URetinex-Net++ (AndersonYong/URetinex-Net-PLUS at
94926c2, ``loss/loss_function.py``) torchvision's VGG19. Both are torchvision's VGG16 here, whose
weights LPIPS brings.

Images are ``(B,3,H,W)`` float32 in [0,1], 16 pixels a side or more; weights: "vgg16", the
catalogue's, or "random", always the same ones. Each raises BenchError if the weights cannot be
fetched, or are others.
A method that uses this file states it: ``USES = {"methods/_features.py": 1}``.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import torch
from torch import nn
from torch.nn.functional import instance_norm, l1_loss, mse_loss

from benchlib.assets.trunks import VGG16, bare_layers, check_size, tapped, trunk_layers

VERSION = 1
USES = {"assets/trunks.py": 1}

POOL_4, RELU_5_1 = 23, 25  # of torchvision's VGG16
RELUS = replace(VGG16, taps=(1, 6, 11, 18, RELU_5_1))  # the first of each of the five sizes
WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)  # of those, in URetinex-Net
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # torchvision's, of RGB in [0,1]


@cache
def vgg16_layers(weights: str) -> list[nn.Module]:
    """VGG16 up to its ``relu5_1``, frozen, on the CPU."""
    if weights == VGG16.asset:
        return list(trunk_layers(VGG16))[: RELU_5_1 + 1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return list(bare_layers(VGG16))[: RELU_5_1 + 1]


def enlighten_gan_apart(image: torch.Tensor, other: torch.Tensor, weights: str) -> torch.Tensor:
    """Mean squared difference of ``relu5_1``: each map of each image has mean 0, deviation 1.

    VGG16 has no fourth pooling, as there. No gradient reaches ``other``.
    """
    check_size(VGG16, image)
    layers = vgg16_layers(weights)
    network = nn.Sequential(*layers[:POOL_4], *layers[POOL_4 + 1 :]).to(image.device)
    mean = image.new_tensor(MEAN)[:, None, None]
    std = image.new_tensor(STD)[:, None, None]
    first = instance_norm(network((image - mean) / std))
    with torch.no_grad():
        second = instance_norm(network((other - mean) / std))
    return mse_loss(first, second)


def uretinex_apart(image: torch.Tensor, other: torch.Tensor, weights: str) -> torch.Tensor:
    """Mean absolute differences after five layers, weighted by :data:`WEIGHTS` and added.

    VGG16 reads the images as they are, not normalised, as there. No gradient reaches ``other``.
    """
    network = nn.Sequential(*vgg16_layers(weights)).to(image.device)
    first = tapped(RELUS, network, image)
    with torch.no_grad():
        second = tapped(RELUS, network, other)
    total = image.new_zeros(())
    for one, two, weight in zip(first, second, WEIGHTS, strict=True):
        total = total + weight * l1_loss(one, two)
    return total
