"""AirNet's own training: the encoder learns by contrast what degrades an image, then both learn.

Two views of one image, which one degradation made, are to look alike to the encoder, and unlike the
last images' views. As in XLearning-SCU/2022-CVPR-AirNet at bedea82 (``train.py``), stage
``encoder`` is the contrast alone (officially 100 epochs, Adam at 1e-3, a tenth of it from epoch 60
on), and stage ``joint`` the loss that the run names (officially L1) plus a tenth of the contrast
(1e-4, halved every 125 epochs). Two runs do so: the second starts from the first, ``init:
runs/<run>``, which hands on the key encoder and the queue.

Here a view of the key is a part of the training crop, turned at random; officially both views are
crops of the whole image. So the larger ``training.crop``, the nearer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import nn
from torch.nn.functional import cross_entropy

from benchlib.contracts import Backbone, BenchError, Info

VERSION = 1
INFO = Info(
    paper="",
    source="Li et al., CVPR 2022; train.py of XLearning-SCU/2022-CVPR-AirNet@bedea82",
    needs=(),
    label="AirNet, by contrast",
)
BACKBONES = ("airnet",)
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Config:
    """stage: "encoder" trains that alone, with the restorer frozen; "joint" both.

    weight: of the contrast in stage "joint". view: the key's side, as a share of the crop's.
    """

    stage: Literal["encoder", "joint"] = "joint"
    weight: Annotated[float, Field(gt=0, le=1e6)] = 0.1
    view: Annotated[float, Field(gt=0, lt=1)] = 0.5


class ByContrast(nn.Module):
    def __init__(self, network: nn.Module, config: Config):
        super().__init__()
        if not callable(getattr(type(network), "contrast", None)):
            raise BenchError(
                "airnet: the network has no encoder that learns by contrast; take the backbone "
                "airnet, or method none"
            )
        self.network, self.config = network, config
        network.get_submodule("E.E.encoder_q").requires_grad_(True)
        network.get_submodule("R").requires_grad_(config.stage == "joint")

    def forward(
        self, batch: dict[str, torch.Tensor], learns: bool = False
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """The restored images; with ``learns`` the contrast, a number, before them.

        In stage "encoder" nothing is restored while it learns: the degraded images come back.
        """
        network: Any = self.network
        lq = batch["lq"]
        if not learns:
            return network(lq)
        _, logits, steering = network.contrast(lq, view_of(lq, self.config.view))
        right = torch.zeros(len(lq), dtype=torch.long, device=lq.device)
        contrast = cross_entropy(logits, right)
        if self.config.stage == "encoder":
            return contrast, lq
        return contrast, network.R(lq, steering)


def view_of(images: torch.Tensor, share: float) -> torch.Tensor:
    """A square of each of ``(B,C,H,W)``, at a random place, turned at random: ``(B,C,h,h)``.

    h: ``share`` of the shorter side. Chance is torch's own, which the training loop seeds.
    """
    side = max(1, round(share * min(images.shape[-2:])))
    views = []
    for image in images:
        top = int(torch.randint(image.shape[1] - side + 1, ()))
        left = int(torch.randint(image.shape[2] - side + 1, ()))
        view = image[:, top : top + side, left : left + side]
        quarter, mirrored = torch.randint(4, ()), torch.randint(2, ())
        view = view.rot90(int(quarter), (1, 2))
        if mirrored:
            view = view.flip(2)
        views.append(view)
    return torch.stack(views)


def objective(
    model: nn.Module, batch: dict[str, torch.Tensor], loss: Loss
) -> tuple[torch.Tensor, torch.Tensor]:
    """The contrast, or the run's loss of what is restored plus ``weight`` times the contrast."""
    config: Any = getattr(model, "module", model).config  # several devices wrap it
    contrast, restored = model(batch, learns=True)
    if config.stage == "encoder":
        return contrast, restored
    return loss(restored, batch["hq"]) + config.weight * contrast, restored


def check_network(config: Config, backbone: Backbone) -> None:
    """Raise BenchError for a network without an encoder that learns by contrast."""
    ByContrast(backbone(), config)


def build(backbone: Backbone, config: Config) -> nn.Module:
    """The network, from a batch's ``lq`` ``(B,3,H,W)`` to ``(B,3,H,W)``.

    Raises BenchError for a network without an encoder that learns by contrast.
    """
    return ByContrast(backbone(), config)
