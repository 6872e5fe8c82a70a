"""SEEM: SAM's masks refine the features of frames (Lu et al., "Can SAM Boost Video
Super-Resolution?", arXiv 2305.06524), on networks of clips.

As the survey "How pre-trained large model can help, when SAM meets image restoration" gives it in
section 3.1.3 and equation 6; the paper itself and its code have not been seen. A frame and its
masks become R_SAM by two convolutions and a residual block; R_SAM and the network's feature of that
frame are mapped to F_m; channel attention gives F_a; and F_seem = F_m + F_a * F_m.

Where the words leave a choice, the default here and the other reading as a setting:

- *What is mapped to F_m* ("combines SAM prior with the features"): both side by side, or their sum
  (``merge: add``).
- *F_a* ("channel-wise attention features"): a factor of each channel, from its mean, by two
  convolutions of one pixel and a sigmoid; or what a channel attention block gives, two convolutions
  whose result is scaled so (``attention: block``).
- *Where* ("to enhance the alignment and fusion processes between frames"): each frame's feature
  before it is aligned (``where: frames``), the fused one (``fused``), or ``both``, with weights of
  their own. In BasicVSR a frame's features of both directions share theirs.
- *How it starts*: F_seem is added to the feature, and the last convolution of F_m is zero, so that
  a fresh network equals its backbone exactly. ``start: random``: F_seem takes the feature's place,
  as equation 6 alone would have it; the first iteration then is not the backbone.
- *Masks*: 64, SPT's number, by the same group; SEEM's is not written there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import nn
from torch.nn.functional import avg_pool2d, pad

from benchlib.contracts import Backbone, BenchError, Info, need, pad_to
from benchlib.methods.spt import unpack_masks

VERSION = 1
USES = {"methods/spt.py": 1}
BACKBONES = ("edvr", "basicvsr")  # what the contract tries it on
INFO = Info(
    paper="survey",
    source="section 3.1.3 and equation 6 of the survey",
    needs=("bits",),
    label="SEEM",
    clips=True,
)
SEAMS = {"frames": ("seam",), "fused": ("fused_seam",), "both": ("seam", "fused_seam")}
REDUCTION = 16  # of the channels between attention's two convolutions, as in RCAN


@dataclass(frozen=True)
class Config:
    """Settings, and which reading; ``tune``: "module" trains SEEM alone ("efficient"), or "all"."""

    masks: Annotated[int, Field(ge=1, le=1024)] = 64
    where: Literal["frames", "fused", "both"] = "frames"
    merge: Literal["concat", "add"] = "concat"
    attention: Literal["scale", "block"] = "scale"
    tune: Literal["module", "all"] = "module"
    start: Literal["identity", "random"] = "identity"


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


class Represented(nn.Module):
    """R_SAM: a frame and its masks, ``(B,3+masks,H,W)``, to ``(B,width,H,W)``."""

    def __init__(self, masks: int, width: int):
        super().__init__()
        self.first, self.second = _conv(3 + masks, width), _conv(width, width)
        self.block = nn.Sequential(_conv(width, width), nn.LeakyReLU(0.1), _conv(width, width))

    def forward(self, frame: torch.Tensor) -> torch.Tensor:
        x = self.second(nn.functional.leaky_relu(self.first(frame), 0.1))
        return x + self.block(x)


class Attended(nn.Module):
    """F_a of F_m: a factor of each channel ``(B,width,1,1)``, or a map ``(B,width,H,W)``."""

    def __init__(self, width: int, block: bool):
        super().__init__()
        hidden = max(1, width // REDUCTION)
        self.scale = nn.Sequential(
            nn.Conv2d(width, hidden, 1), nn.LeakyReLU(0.1), nn.Conv2d(hidden, width, 1)
        )
        self.body: nn.Module | None = None
        if block:
            self.body = nn.Sequential(_conv(width, width), nn.LeakyReLU(0.1), _conv(width, width))

    def forward(self, mapped: torch.Tensor) -> torch.Tensor:
        if self.body is None:
            return self.scale(mapped.mean((2, 3), keepdim=True)).sigmoid()
        x = self.body(mapped)
        return x * self.scale(x.mean((2, 3), keepdim=True)).sigmoid()


class Unit(nn.Module):
    """Equation 6 at one seam."""

    def __init__(self, width: int, config: Config):
        super().__init__()
        self.config = config
        self.represented = Represented(config.masks, width)
        inputs = width
        if config.merge == "concat":
            inputs = 2 * width
        self.mapped = _conv(inputs, width)
        self.attended = Attended(width, config.attention == "block")
        if config.start == "identity":
            for weight in self.mapped.parameters():
                nn.init.zeros_(weight)

    def forward(self, feature: torch.Tensor, frame: torch.Tensor) -> torch.Tensor:
        """A feature ``(B,width,h,w)`` and its frame with masks, as large, to the next feature."""
        represented = self.represented(frame)
        if self.config.merge == "concat":
            both = torch.cat([feature, represented], 1)
        else:
            both = feature + represented
        mapped = self.mapped(both)
        seem = mapped + self.attended(mapped) * mapped
        if self.config.start == "identity":
            return feature + seem
        return seem


class SEEM(nn.Module):
    def __init__(self, backbone: Backbone, config: Config):
        super().__init__()
        check_network(config, backbone)
        assert backbone.frames is not None
        self.config = config
        self.network = backbone()
        widths = _widths(self.network, backbone.frames.window or 2)
        self.network.requires_grad_(config.tune == "all")
        self.seem = nn.ModuleDict()
        for name in SEAMS[config.where]:
            self.seem[name] = Unit(widths[name], config)

    def train(self, mode: bool = True) -> SEEM:
        """A frozen network stays in evaluation mode."""
        super().train(mode)
        if self.config.tune == "module":
            self.network.eval()
        return self

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        lq, bits = batch["lq"], need("seem", batch, "bits")
        if bits.ndim != 5 or bits.shape[:2] != lq.shape[:2]:
            raise BenchError(
                f"seem: bits: got {tuple(bits.shape)} for frames {tuple(lq.shape)}; expected masks "
                "of each frame, (B,T,P,H,W)"
            )
        with self._refined(lq, bits):
            return self.network(lq)

    @contextmanager
    def _refined(self, lq: torch.Tensor, bits: torch.Tensor) -> Iterator[None]:
        """Within it each seam gives what SEEM makes of its feature; nothing is kept after it."""
        hooks = []
        for name, unit in self.seem.items():
            refine = partial(self._refine, unit, lq, bits)
            hooks.append(self.network.get_submodule(name).register_forward_hook(refine))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _refine(
        self,
        unit: nn.Module,
        lq: torch.Tensor,
        bits: torch.Tensor,
        seam: nn.Module,
        given: tuple[torch.Tensor, int],
        feature: torch.Tensor,
    ) -> torch.Tensor:
        """What a seam gives in the place of a frame's feature; the last three are a hook's."""
        return unit(feature, self._frame(lq, bits, given[1], feature))

    def _frame(
        self, lq: torch.Tensor, bits: torch.Tensor, place: int, feature: torch.Tensor
    ) -> torch.Tensor:
        """A frame and its masks at a feature's size.

        Zeros where the network has padded, averaged where its features are coarser.
        """
        image = lq[:, place, :3]
        frame = torch.cat([image, unpack_masks(bits[:, place], self.config.masks, lq.dtype)], 1)
        frame = pad_to(frame, getattr(self.network, "padder_size", 1))
        height, width = feature.shape[-2:]
        if frame.shape[-2] > height:
            frame = avg_pool2d(frame, frame.shape[-2] // height)
        return pad(frame, (0, width - frame.shape[-1], 0, height - frame.shape[-2]))


def _widths(network: nn.Module, frames: int) -> dict[str, int]:
    """The channels of the feature at each seam, seen on a small black clip."""
    seen: dict[str, int] = {}

    hooks = []
    for name in SEAMS["both"]:
        look = partial(_look, seen, name)
        hooks.append(network.get_submodule(name).register_forward_hook(look))
    network.eval()
    with torch.no_grad():
        network(torch.zeros(1, frames, 3, 16, 16))
    network.train()
    for hook in hooks:
        hook.remove()
    return seen


def _look(
    seen: dict[str, int],
    name: str,
    seam: nn.Module,
    given: tuple[Any, ...],
    feature: torch.Tensor,
) -> None:
    seen[name] = feature.shape[1]


def check_network(config: Config, backbone: Backbone) -> None:
    """Raise BenchError for a network of single images, which has no frames to refine."""
    if backbone.frames is None:
        raise BenchError(
            f"seem: the network reads single images; take one of clips: {', '.join(BACKBONES)}"
        )


def build(backbone: Backbone, config: Config) -> nn.Module:
    """A module from ``lq`` ``(B,T,3,H,W)`` and ``bits`` ``(B,T,P,H,W)`` to what its network gives.

    Raises BenchError for a network of single images.
    """
    return SEEM(backbone, config)
