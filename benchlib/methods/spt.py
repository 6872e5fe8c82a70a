"""SPT: SAM prior tuning (Xiao et al., "A Dive into SAM Prior in Image Restoration", sections 4.1 and 4.2).

A unit after each building block of a frozen, pre-trained network; the units alone are trained. They attach by hooks to
whatever ``backbone.blocks`` lists, so no network knows of them.

Where the paper leaves a choice, the default here and the other reading as an option:

- *What f shares.* f is "two convolution layers with a ReLU between", with weights of its own wherever it stands; within
  a unit the f(P) of the product and the f(P) of P_i+1 (equation 7) are one branch, as the two skip connections of
  Figure 3 suggest. ``share="none"`` gives P_i+1 an f of its own, ``share="units"`` one set of weights to all units.
- *Where P_i+1 goes*: to the next unit, as its P. ``chain=False``: every unit reads the P of equation 6.
- *How it starts.* The last convolutions of the merge (F') and of the feature branch are zero, so F_i^spt = 0 and a
  fresh network equals its backbone exactly; the prior branch is not, so gradients reach everything after one step.
  ``start="random"``: torch's defaults everywhere; the first iteration then is not the backbone.
- *Kernels* are 3x3. *Masks* beyond ``masks`` are cut, largest kept; the paper says "truncation", not which.
- *Networks whose blocks differ in width or size* (U-Nets; none in the paper): equation 6 is applied anew, with weights
  of its own, wherever the map changes; P is handed on between blocks of one shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import nn
from torch.nn.functional import avg_pool2d, pad

from benchlib.contracts import Backbone, BenchError, Info, adopt, need, pad_to

INFO = Info(paper="spt", source="sections 4.1 and 4.2, equations 6 to 8", needs=("bits",), label="SPT")


@dataclass(frozen=True)
class Config:
    """Settings, and which reading.

    masks: channels of M_SAM (section 3.2). units: how many blocks, from the first, get one (None: all; Table 3).
    variant: Table 3. "spt-f": F' = f(M), without F_i; "spt-p": no P, F_spt = f(F') + F'; "spt-cat":
    F_spt = f([M, F, P]). alpha: equation 8, Table 4. tune: "units", or "all" for full fine-tuning (Table 5) of network
    and units together; the network alone is method ``none`` with the same ``init``.
    """

    masks: Annotated[int, Field(ge=1, le=1024)] = 64
    units: Annotated[int, Field(ge=1)] | None = None
    variant: Literal["spt", "spt-f", "spt-p", "spt-cat"] = "spt"
    alpha: Annotated[float, Field(gt=0)] = 1.0
    tune: Literal["units", "all"] = "units"
    share: Literal["branch", "none", "units"] = "branch"
    chain: bool = True
    start: Literal["identity", "random"] = "identity"


def f(inputs: int, width: int, zero: bool = False) -> nn.Sequential:
    """f of equation 6: two convolutions with a ReLU between; ``zero``: it gives 0 until it is trained."""
    convolutions = nn.Conv2d(inputs, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
    if zero:
        nn.init.zeros_(convolutions[1].weight)
        nn.init.zeros_(convolutions[1].bias)  # type: ignore[arg-type]
    return nn.Sequential(convolutions[0], nn.ReLU(), convolutions[1])


def unpack(bits: torch.Tensor, masks: int, dtype: torch.dtype) -> torch.Tensor:
    """M_SAM of a batch: ``(B,P,H,W)`` int64 of packed masks -> ``(B,masks,H,W)`` of 0 and 1, zero-padded or cut."""
    shifts = torch.arange(64, device=bits.device)[:, None, None]
    dense = ((bits[:, : -(-masks // 64), None] >> shifts) & 1).flatten(1, 2)[:, :masks].to(dtype)
    return pad(dense, (0, 0, 0, 0, 0, masks - dense.shape[1]))


class Unit(nn.Module):
    """Equation 7: ``(F_i, M, P_i)``, all of one size, -> ``(F_i^spt, P_i+1)``; the ``last`` one makes no P_i+1."""

    def __init__(self, width: int, config: Config, last: bool):
        super().__init__()
        zero = config.start == "identity"
        self.variant = config.variant
        inputs = {"spt-f": config.masks, "spt-cat": config.masks + 2 * width}.get(config.variant, config.masks + width)
        self.merge = f(inputs, width, zero)
        hands_on = config.chain and not last and config.variant != "spt-p"
        if config.variant != "spt-cat":
            self.feature = f(width, width, zero)
        if config.variant in ("spt", "spt-f"):
            self.prior = f(width, width)
        if hands_on and (config.share == "none" or config.variant == "spt-cat"):
            self.next = f(width, width)

    def forward(self, feature: torch.Tensor, masks: torch.Tensor, prior: Any) -> tuple[torch.Tensor, Any]:
        if self.variant == "spt-cat":
            return self.merge(torch.cat([masks, feature, prior], 1)), self._next(prior, 0)
        merged = self.merge(masks if self.variant == "spt-f" else torch.cat([feature, masks], 1))
        if self.variant == "spt-p":
            return self.feature(merged) + merged, None
        branch = self.prior(prior)
        return self.feature(merged) * branch + merged, self._next(prior, branch)

    def _next(self, prior: torch.Tensor, branch: Any) -> torch.Tensor:
        return prior + (self.next(prior) if hasattr(self, "next") else branch)


class SPT(nn.Module):
    network: nn.Module

    def __init__(self, backbone: Backbone, config: Config):
        super().__init__()
        network = backbone()
        adopt(self, network)
        network.requires_grad_(config.tune == "all")
        self.config = config
        blocks = backbone.blocks(network)
        count = len(blocks) if config.units is None else config.units
        if count > len(blocks):
            raise BenchError(f"spt: units: got {count}; the network has {len(blocks)} building blocks")
        widths = _widths(network, blocks[:count])
        names = [str(w if config.share == "units" else i) for i, w in enumerate(widths)]
        units = {name: Unit(w, config, i == count - 1) for i, (name, w) in enumerate(zip(names, widths, strict=True))}
        self.spt = nn.ModuleDict({"units": nn.ModuleDict(units)})
        if config.variant != "spt-p":
            self.spt["prior"] = nn.ModuleDict({str(w): f(3 + config.masks, w) for w in dict.fromkeys(widths)})
        for name, block in zip(names, blocks, strict=False):
            block.register_forward_hook(partial(self._tune, name))
        self._guide: dict[str, Any] = {}

    def train(self, mode: bool = True) -> SPT:
        """A frozen network stays in evaluation mode: its dropout and statistics are part of what is frozen."""
        super().train(mode)
        if self.config.tune == "units":
            for part in self.network.children():
                part.eval()
        return self

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        lq, masks = batch["lq"], unpack(need("spt", batch, "bits"), self.config.masks, batch["lq"].dtype)
        multiple = getattr(self.network, "padder_size", 1)  # maps of a U-Net lie on the padded image
        self._guide = {"image": pad_to(torch.cat([lq, masks], 1), multiple), "prior": None}
        try:
            return self.network(lq)
        finally:
            self._guide = {}

    def _tune(self, name: str, block: nn.Module, inputs: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor | None:
        """Equation 8, on what a block gives, by the unit ``name``."""
        if not self._guide:  # the network used by itself
            return None
        tokens = output.ndim == 3
        feature = output.transpose(1, 2).unflatten(2, tuple(inputs[1])) if tokens else output
        image = _fit(self._guide["image"], feature)
        tuned, following = self.spt["units"][name](feature, image[:, 3:], self._prior(image, feature))  # type: ignore[index]
        if self.config.chain:
            self._guide["prior"] = following
        feature = feature + self.config.alpha * tuned
        return feature.flatten(2).transpose(1, 2) if tokens else feature

    def _prior(self, image: torch.Tensor, feature: torch.Tensor) -> torch.Tensor | None:
        """P_i: what the unit before handed on if it is of this shape, else equation 6."""
        if self.config.variant == "spt-p":
            return None
        prior = self._guide["prior"]
        if prior is None or prior.shape != feature.shape:
            prior = self._guide["prior"] = self.spt["prior"][str(feature.shape[1])](image)  # type: ignore[index]
        return prior


def _widths(network: nn.Module, blocks: list[nn.Module]) -> list[int]:
    """The channels that each block gives, seen on a small image."""
    seen: list[int] = []

    def look(block: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        seen.append(output.shape[2 if output.ndim == 3 else 1])

    hooks = [block.register_forward_hook(look) for block in blocks]
    network.eval()
    with torch.no_grad():
        network(torch.zeros(1, 3, 16, 16))
    for hook in hooks:
        hook.remove()
    network.train()
    return seen


def _fit(guide: torch.Tensor, feature: torch.Tensor) -> torch.Tensor:
    """The image and its masks at a map's size: averaged where the map is coarser, zeros where it is padded."""
    height, width = feature.shape[-2:]
    if guide.shape[-2] > height:
        guide = avg_pool2d(guide, guide.shape[-2] // height)
    return pad(guide, (0, width - guide.shape[-1], 0, height - guide.shape[-2]))


def build(backbone: Backbone, config: Config) -> nn.Module:
    return SPT(backbone, config)
