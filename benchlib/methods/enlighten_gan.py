"""EnlightenGAN's training: dark images, and bright photographs of something else (Jiang et al.).

As VITA-Group/EnlightenGAN at b034984 trains (``models/single_model.py``, with the options of
``scripts/script.py``): one discriminator judges whole images, relative to bright photographs; a
second one judges patches; and what VGG16 sees in an image should stay. No image is compared with
its own reference: the bright photographs are the ``hq`` of *other* pairs of the training set.

The official code steps three optimisers in turn, but all their gradients are taken at the same
weights and of the same restored images. So it is one step of one objective, in which the
discriminators' scores of the restored images reach the network by one term, and the
discriminators by another. Adam's steps are taken number by number, so that one Adam is as good as
three. ``docs/backbones.md`` has the official settings, and what is done otherwise.

The network is any that keeps the image's size. The discriminators are no part of the run's
weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import nn

from benchlib.contracts import Backbone, BenchError, Info, Window, need
from benchlib.methods._discriminators import Discriminator, judged
from benchlib.methods._features import enlighten_gan_apart
from benchlib.methods._unsupervised import (
    lsgan_loss,
    ragan_discriminator_loss,
    ragan_generator_loss,
)

VERSION = 1
USES = {
    "methods/_discriminators.py": 1,
    "methods/_features.py": 1,
    "methods/_unsupervised.py": 1,
}
INFO = Info(
    paper="",
    source="models/single_model.py of VITA-Group/EnlightenGAN@b034984",
    needs=(),
    label="no prior, unpaired references",
    unpaired=True,
)
BACKBONES = ("enlighten_gan",)
EXAMPLE = {"features": "random", "width": 4, "patch": 16, "patches": 2}

WHOLE_LAYERS, PATCH_LAYERS = 5, 4  # of the two discriminators
LEAST, MOST = 200, 400  # hundredths: what a darkened image is divided by
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Batch = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Config:
    """Of training; the defaults are official.

    features: VGG16's weights, "vgg16" of the catalogue (torchvision's), "random", or "none": that
    term is left out. width: channels of the discriminators' first layer. patch: side of a patch,
    pixels; patches: how many an image has. darken: every second image is shown two to four times
    darker than it is.
    """

    features: Literal["vgg16", "random", "none"] = "vgg16"
    width: Annotated[int, Field(ge=1)] = 64
    patch: Annotated[int, Field(ge=16)] = 32
    patches: Annotated[int, Field(ge=1)] = 6
    darken: bool = True


class Unpaired(nn.Module):
    def __init__(self, network: nn.Module, config: Config):
        super().__init__()
        self.network = network
        self.config = config

    def forward(self, batch: Batch) -> torch.Tensor:
        return self.network(batch["lq"])


def critics(config: Config) -> nn.Module:
    """Both discriminators: ``whole`` and ``patch``."""
    whole = Discriminator(config.width, WHOLE_LAYERS)
    return nn.ModuleDict({"whole": whole, "patch": Discriminator(config.width, PATCH_LAYERS)})


def objective(model: Any, batch: Batch, loss: Loss) -> tuple[torch.Tensor, torch.Tensor]:
    """The sum of :func:`terms`; neither ``hq`` nor the loss that the run names is read."""
    config = model.config
    dark, bright = batch["lq"], need("enlighten_gan", batch, "unpaired")
    if min(dark.shape[-2:]) < config.patch:
        raise BenchError(
            f"enlighten_gan: images of {min(dark.shape[-2:])} pixels a side, patches of "
            f"{config.patch}; set training.crop to {config.patch} or more"
        )
    shown = dark
    if config.darken:
        shown = darkened(dark)
    restored = model({"lq": shown})
    windows = drawn_windows(config, dark.shape[-2], dark.shape[-1])
    values = list(terms(model, dark, restored, bright, windows).values())
    return torch.stack(values).sum(), restored


def terms(
    model: Any,
    dark: torch.Tensor,
    restored: torch.Tensor,
    bright: torch.Tensor,
    windows: list[Window],
) -> dict[str, torch.Tensor]:
    """Five numbers by name, all ``(B,3,H,W)`` in [0,1]; gradients of the first three are the
    network's.

    whole, patch: what the discriminators say of the restored images. features: how far what VGG16
    sees moved from the dark image, which was not darkened further. critic_whole, critic_patch: how
    wrong the discriminators are.
    """
    whole, features = model.critics["whole"], model.config.features
    fake, real = 2 * restored - 1, 2 * bright - 1
    found = {
        "whole": ragan_generator_loss(judged(whole, real), judged(whole, fake)),
        "critic_whole": ragan_discriminator_loss(whole(real), whole(fake.detach())),
    }
    found |= _of_patches(model.critics["patch"], fake, real, windows)
    if features != "none":
        apart = []
        for window in windows:
            apart.append(enlighten_gan_apart(window.cut(restored), window.cut(dark), features))
        whole_apart = enlighten_gan_apart(restored, dark, features)
        found["features"] = torch.stack(apart).mean() + whole_apart
    return found


def _of_patches(
    critic: nn.Module, fake: torch.Tensor, real: torch.Tensor, windows: list[Window]
) -> dict[str, torch.Tensor]:
    """ "patch" and "critic_patch": means over the windows. Images ``(B,3,H,W)`` in [-1,1]."""
    fooled, wrong = [], []
    for window in windows:
        restored, bright = window.cut(fake), window.cut(real)
        fooled.append(lsgan_loss(judged(critic, restored), real=True))
        missed = lsgan_loss(critic(bright), real=True)
        taken_in = lsgan_loss(critic(restored.detach()), real=False)
        wrong.append((missed + taken_in) / 2)
    return {"patch": torch.stack(fooled).mean(), "critic_patch": torch.stack(wrong).mean()}


def darkened(image: torch.Tensor) -> torch.Tensor:
    """Each image of a batch, or it divided by 2 to 4, in hundredths: as likely."""
    count = len(image)
    by = torch.randint(LEAST, MOST + 1, (count,)) / 100
    kept = torch.rand(count) < 0.5
    by[kept] = 1.0
    return image / by.to(image)[:, None, None, None]


def drawn_windows(config: Config, height: int, width: int) -> list[Window]:
    """Where the patches are, the same places in all images; never at the last row or column."""
    found, side = [], config.patch
    for _ in range(config.patches):
        left = int(torch.randint(max(1, width - side), ()))
        top = int(torch.randint(max(1, height - side), ()))
        found.append(Window(top, left, side, side))
    return found


def assets(config: Config) -> tuple[str, ...]:
    """The catalogue's entries that training fetches."""
    if config.features == "vgg16":
        return (config.features,)
    return ()


def check_network(config: Config, backbone: Backbone) -> None:
    """Raise BenchError for a network that enlarges."""
    if backbone.scale != 1:
        raise BenchError(
            f"enlighten_gan: the network enlarges {backbone.scale} times; expected one that keeps "
            "the size, as the backbone enlighten_gan"
        )


def build(backbone: Backbone, config: Config) -> nn.Module:
    """The network, from a batch's ``lq`` ``(B,3,H,W)`` to ``(B,3,H,W)``.

    Raises BenchError for a network that enlarges.
    """
    check_network(config, backbone)
    return Unpaired(backbone(), config)
