"""From a plan and weights to a restored image: what training and evaluation share. Layer 3."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from benchlib.contracts import Backbone, BenchError, Window
from benchlib.imageio import to_unit
from benchlib.own import refuse_changed
from benchlib.plan import RunPlan
from benchlib.priors._read import PriorSet
from benchlib.records import Pair

VERSION = 1


def device_at_hand() -> torch.device:
    """The accelerator if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def threads(number: int | None) -> Iterator[int]:
    """Let torch compute with so many threads in the block; yields their number.

    None: as many as torch chooses on this machine. Another number adds in another order, which
    moves the last digits.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield number or before
    finally:
        torch.set_num_threads(before)


def build_model(plan: RunPlan) -> nn.Module:
    """The run's network, freshly initialised from torch's global generator."""
    backbone = Backbone.from_module(plan.backbone, plan.backbone_config)
    return plan.method.build(backbone, plan.method_config)


def check_trained(plan: RunPlan, seed: int) -> None:
    """Raise BenchError if a seed of the run has not been trained."""
    path = plan.places.weights(seed)
    if not path.exists():
        raise BenchError(
            f"{path}: run '{plan.key}' has no weights of seed {seed}; run its train stage "
            f"(dvc repro train@{plan.key})"
        )


def load_model(plan: RunPlan, seed: int) -> nn.Module:
    """The trained network of one seed, in evaluation mode.

    Raises BenchError if it has not been trained, or its own file has changed since.
    """
    check_trained(plan, seed)
    path = plan.places.weights(seed)
    refuse_changed(plan)
    model = build_model(plan)
    model.load_state_dict(load_file(path), strict=True)
    return model.eval()


def uses_local_pooling(plan: RunPlan, dataset: str) -> bool:
    """Whether a test set is restored with local pooling (TLC)."""
    how = plan.how
    if how.tlc_crop is None or not plan.trains:
        return False
    return how.tlc_sets is None or dataset in how.tlc_sets


def with_local_pooling(plan: RunPlan, model: nn.Module) -> nn.Module:
    """The model with every global pooling of its network replaced, in place (TLC)."""
    if not hasattr(plan.backbone, "tlc"):
        name = plan.entry.backbone["name"]
        raise BenchError(f"runs.{plan.key}: evaluation.tlc_crop: {name} has no TLC; set null")
    plan.backbone.tlc(getattr(model, "network", model), plan.how.tlc_crop)
    return model


class Truncated(nn.Module):
    """A network whose image ``(B,3,H,W)`` is cut down to the grey level below each value.

    What ``astype("uint8")`` of 255 times an image does; rounding it afterwards changes nothing.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.network(batch).clamp(0, 1).mul(255).floor().div(255)


def truncates(plan: RunPlan) -> bool:
    """Whether restored images are truncated to 8 bits; an input that no network changes is not."""
    return plan.has_network and plan.how.quantise == "truncate"


def models_by_set(plan: RunPlan, model: Callable[[], nn.Module]) -> Callable[[str], nn.Module]:
    """dataset -> the model that restores it; ``model`` makes one, at most two are made."""

    @cache
    def made(local: bool) -> nn.Module:
        if local:
            return with_local_pooling(plan, model())
        return model()

    return lambda dataset: made(uses_local_pooling(plan, dataset))


def inference_mode(plan: RunPlan, dataset: str, item: Any) -> str:
    """How an item is restored, as its rows say it.

    ``global`` or ``tlc<crop>``, with ``+tile<side>/<overlap>`` if it is cut and ``+truncated`` if
    it is not rounded to 8 bits; ``none`` for a method without a network.
    """
    if not plan.has_network:
        return "none"
    mode = "global"
    if uses_local_pooling(plan, dataset):
        mode = f"tlc{plan.how.tlc_crop}"
    if plan.task.tiled(item, plan.tiles):
        mode += f"+tile{plan.how.tile}/{plan.how.overlap}"
    if truncates(plan):
        mode += "+truncated"
    return mode


def prior_at(
    plan: RunPlan, pair: Pair, item: Any, prior: PriorSet
) -> Callable[[Window], dict[str, torch.Tensor]]:
    """From a window of an item to its prior's batch entries there, with a first dimension of 1.

    Raises BenchError if the prior is missing or does not fit.
    """
    if not prior.needs:
        return lambda window: {}
    stored = prior.load(pair.dataset, pair.image, plan.task.size(item))
    return lambda window: prior.collate([prior.crop(stored, window)])


def with_truth(
    plan: RunPlan, item: Any, at: Callable[[Window], dict[str, torch.Tensor]]
) -> Callable[[Window], dict[str, torch.Tensor]]:
    """As ``at``, and the reference there: for a method that says so (``INFO.truth``) alone."""

    def truth(window: Window) -> torch.Tensor:
        return to_unit(plan.task.crop(item, window)["hq"][None])

    return lambda window: at(window) | {"truth": truth(window)}


def restore(
    plan: RunPlan,
    model: nn.Module,
    pair: Pair,
    item: Any,
    prior: PriorSet,
    device: torch.device,
    tiles: Any,
) -> np.ndarray:
    """One restored item, as it is measured and kept: for a picture ``(scale H,scale W,3)`` uint8.

    tiles: ``plan.tiles``, or the task's ``WHOLE``.
    """
    at = prior_at(plan, pair, item, prior)
    if plan.method.INFO.truth:
        at = with_truth(plan, item, at)
    return plan.task.restore(model, plan.task.batch(item), tiles, device, at)
