"""A network's own loss, which reads no reference: of what it restores, and of what refines that.

Which loss it is follows from what the network gives: ``curves`` (Zero-DCE), ``stages`` (SCI) or
``enhance`` (RUAS). The losses stand in ``_unsupervised.py``.

PTG-RM's paper trains its module by "the same" loss as the network (section 4.2, Table 4) and leaves
open what that loss reads of an image that no curve and no illumination gave. The reading here:

- *Zero-DCE*: colour, exposure and spatial consistency of the refined image; the smoothness is that
  of the network's curves.
- *SCI, RUAS*: likeness and smoothness of the illumination that the refined image implies: the
  degraded image over the refined one, within the network's own bounds. Of what these networks
  brighten themselves that is the illumination that they found, wherever nothing was clipped.

A method that uses this file states it: ``USES = {"methods/_own_losses.py": 1}``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from benchlib.contracts import BenchError
from benchlib.methods._unsupervised import EXPOSED, ruas_loss, sci_loss, zerodce_loss

VERSION = 1
USES = {"methods/_unsupervised.py": 1}
# the least illumination that each network gives
SCI_LEAST, RUAS_LEAST = 0.0001, 0.001


@dataclass(frozen=True)
class Own:
    """A network's loss of a batch of images ``(B,3,H,W)`` float32 in [0,1].

    restored: ``(B,3,H,W)``, what the network gives. value: its loss, a number to be minimised.
    of: the loss of other images of that shape in the restored ones' place.
    """

    restored: torch.Tensor
    value: torch.Tensor
    of: Callable[[torch.Tensor], torch.Tensor]


def _zero_dce(network: Any, image: torch.Tensor) -> Own:
    shown, curves = image[:, :3], network.curves(image)
    side = min(image.shape[-2:])
    if side < EXPOSED:
        raise BenchError(
            f"Zero-DCE's loss: images of {side} pixels a side; it measures the exposure of "
            f"{EXPOSED}x{EXPOSED} regions: set training.crop to {EXPOSED} or more"
        )

    def of(brighter: torch.Tensor) -> torch.Tensor:
        return zerodce_loss(shown, brighter, curves)

    restored = network.brighten(image, curves)
    return Own(restored, of(restored), of)


def _sci(network: Any, image: torch.Tensor) -> Own:
    shown, stages = image[:, :3], network.stages(image)
    value = torch.stack([sci_loss(*stage) for stage in stages]).sum()

    def of(brighter: torch.Tensor) -> torch.Tensor:
        return sci_loss(shown, implied(shown, brighter, SCI_LEAST))

    return Own(network.brighten(image, stages[0][1]), value, of)


def _ruas(network: Any, image: torch.Tensor) -> Own:
    shown = image[:, :3]
    images, illuminations = network.enhance(image)

    def of(brighter: torch.Tensor) -> torch.Tensor:
        return ruas_loss(shown, implied(shown, brighter, RUAS_LEAST))

    restored = network.finish(images[-1])
    return Own(restored, ruas_loss(shown, illuminations[-1]), of)


LOSSES = {"curves": _zero_dce, "stages": _sci, "enhance": _ruas}


def implied(image: torch.Tensor, brighter: torch.Tensor, least: float) -> torch.Tensor:
    """The illumination ``(B,3,H,W)`` in [least,1] that makes the one image of the other."""
    return (image / brighter.clamp(min=least)).clamp(least, 1)


def own_loss(method: str, network: nn.Module) -> Callable[[Any, torch.Tensor], Own]:
    """The function that gives a network's own loss of ``(B,in_channels,H,W)``.

    Raises BenchError, beginning with ``method``, for a network whose loss is not known here.
    """
    for gives, loss in LOSSES.items():
        # of the class: a part of a network may have such a name too
        if callable(getattr(type(network), gives, None)):
            return loss
    raise BenchError(
        f"{method}: the network gives none of {', '.join(LOSSES)}, one of which its own loss "
        "reads; take the backbone zero_dce, sci or ruas"
    )
