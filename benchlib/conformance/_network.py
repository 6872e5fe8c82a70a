"""How a method on a network is tried: built, moved off its start, asked what reaches its output."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from benchlib.conformance._batch import SIZE, Batch, batch
from benchlib.conformance._subject import Subject
from benchlib.contracts import Backbone, entries_read

REACHES = 1e-4  # of the restored images' spread; rounding stays below a hundredth of it
VALIDITY = {"tokens_mask"}  # says which entries are there: nothing that has to reach the image
# settings that keep checks quick; without stochastic depth, which would leave a block without a
# gradient by chance
SMALL: dict[str, dict[str, Any]] = {
    "nafnet": {"width": 4, "encoder": (1, 1), "middle": 1, "decoder": (1, 1)},
    "imdn": {"modules": 2},
    "swinir": {
        "embed_dim": 8,
        "depths": (2, 2),
        "num_heads": (2, 2),
        "window_size": 4,
        "training_size": 8,
        "drop_path": 0.0,
    },
    "cat": {
        "width": 64,
        "heads": 2,
        "depth": 2,
        "split_0": (2, 4),
        "mlp_ratio": 2,
        "img_size": 8,
        "drop_path": 0.0,
    },
    "art": {
        "scale": 1,
        "width": 60,
        "depths": (2, 2),
        "heads": (2, 3),
        "interval": (4, 3),
        "mlp_ratio": 2.0,
        "drop_path": 0.0,
    },
    "zero_dce": {"width": 4, "curves": 2},
    "enlighten_gan": {"width": 2},
    "gcanet": {"width": 4},
    "unet": {"width": 4, "levels": 2},
    "mixdehazenet": {"width": 8, "depths": (1, 1, 1, 1, 1)},
    "edvr": {"width": 8, "frames": 3, "groups": 2, "extract": 1, "reconstruct": 1},
    "basicvsr": {"width": 4, "blocks": 1, "trained": 3},
    "prenet": {"turns": 2, "width": 4},
    "dncnn": {"width": 4, "depth": 4},
    "snr": {"width": 4, "light": 1},
    "uretinex": {"rounds": 1},
    "llformer": {"width": 2, "blocks": (1, 1, 1, 1), "heads": (1, 2, 2, 4), "refinement": 1},
    "hinet": {"width": 4, "depth": 3},
    "ifan": {"width": 2, "filters": 2},
    "restormer": {"dim": 4, "blocks": (1, 1, 1, 1), "heads": (1, 2, 2, 4), "refinement": 1},
    "promptir": {
        "dim": 4,
        "blocks": (1, 1, 1, 1),
        "heads": (1, 2, 2, 4),
        "refinement": 1,
        "prompts": (4, 4, 8),
        "sides": (4, 3, 2),
        "length": 2,
    },
    "airnet": {"width": 4, "groups": 2, "blocks": 1, "queue": 8},
    "mprnet": {"width": 16, "unet": 4, "full": 4, "cabs": 1},
    "drunet": {"widths": (4, 6, 8, 8), "residuals": 1},
    "uformer": {
        "width": 4,
        "depths": (1, 1, 1, 1, 1, 1, 1, 1, 1),
        "heads": (1, 2, 2, 4, 4, 4, 2, 2, 2),
        "window": 2,
        "drop_path": 0.0,
    },
    "grl": {
        "width": 12,
        "local": False,
        "depths": (2, 2),
        "heads": (2, 3),
        "window": 4,
        "stripes": (4, 8),
        "anchors": 2,
        "drop_path": 0.0,
    },
}
# the query and key of SNR-Aware: to it the images of these checks are one token, which is noise
ONE_TOKEN = ("slf_attn.w_qs.weight", "slf_attn.w_ks.weight")
# moved off their start, its weights give flows that lead out of the small images of these checks
LEADS_OUT = "spynet."
CLIP = 3  # frames of a clip, for a network that reads clips of any length


def frames_of(made_of: Backbone) -> int | None:
    """How many frames a backbone is tried with; None for one of single images."""
    if made_of.frames is None:
        return None
    return made_of.frames.window or CLIP


def some_input(made_of: Backbone, side: int, channels: int = 3) -> torch.Tensor:
    """What a backbone is tried with: ``(1,channels,side,side)``, or a clip of such frames."""
    count = frames_of(made_of)
    if count is None:
        return torch.rand(1, channels, side, side)
    return torch.rand(1, count, channels, side, side)


def small_backbone(name: str) -> Backbone:
    """A backbone of few parameters: the settings above, or a new file's own."""
    subject = Subject("backbones", name, SMALL.get(name))
    return Backbone.from_module(subject.module, subject.config())


@dataclass(frozen=True)
class Pair:
    """A method on a backbone; both as in ``params.yaml``."""

    method: Subject
    backbone: str

    @property
    def needs(self) -> tuple[str, ...]:
        """The batch entries that it reads besides ``lq``."""
        return tuple(entries_read(self.method.module, self.method.config()))

    def build(self) -> nn.Module:
        """The module, from the same seed each time."""
        torch.manual_seed(0)
        return self.method.module.build(small_backbone(self.backbone), self.method.config())

    def batch(self, height: int, width: int) -> Batch:
        """Two images or clips, and what it reads of them."""
        size = getattr(self.method.config(), "size", SIZE)
        if not isinstance(size, int):
            size = SIZE
        frames = frames_of(small_backbone(self.backbone))
        if frames is not None:
            made = batch(height, width, count=2 * frames, needs=self.needs, size=size)
            return {name: value.unflatten(0, (2, frames)) for name, value in made.items()}
        made = batch(height, width, needs=self.needs, size=size)
        if getattr(self.method.module.INFO, "truth", False):
            made["truth"] = made["lq"].flip(3).sqrt()
        if getattr(self.method.module.INFO, "unpaired", False):
            made["unpaired"] = made["lq"].flip(2).sqrt()
        return made


def moved(model: nn.Module) -> nn.Module:
    """A copy whose parameters have left their start: a start at the identity hides every prior."""
    model = copy.deepcopy(model).eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


@torch.no_grad()
def reaches(model: nn.Module, batch: Batch, entries: tuple[str, ...]) -> dict[str, float]:
    """How far each entry of a batch reaches into the restored images.

    The largest change of a pixel when that entry is zero or another image's, in standard
    deviations of the restored images; an entry reaches them where that is more than ``REACHES``.
    """
    model, largest = moved(model), {}
    restored = model(batch)
    for name in entries:
        changes = []
        for other in (torch.zeros_like(batch[name]), batch[name].roll(1, 0)):
            changes.append((model(batch | {name: other}) - restored).abs().max() / restored.std())
        largest[name] = float(torch.stack(changes).max())
    return largest


def without_gradient(model: nn.Module, batch: Batch) -> set[str]:
    """The method's own parameters, outside its network, that do not move the restored images."""
    model = moved(model)
    model(batch).square().mean().backward()
    largest, own = 0.0, {}
    for name, parameter in model.named_parameters():
        size = 0.0
        if parameter.grad is not None:
            size = float(parameter.grad.abs().max())
        largest = max(largest, size)
        if not name.startswith("network.") and parameter.requires_grad:
            own[name] = size
    return {name for name, size in own.items() if not size > 1e-8 * largest}
