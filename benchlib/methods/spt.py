"""SPT: SAM prior tuning (Xiao et al., "A Dive into SAM Prior in Image Restoration").

Sections 4.1 and 4.2: a unit after each building block of a frozen, pre-trained network; the units
alone are trained. They attach to whatever ``backbone.blocks`` lists, so no network knows of them.

Where the paper leaves a choice, the default here and the other reading as an option:

- *What f shares.* f is "two convolution layers with a ReLU between", with weights of its own
  wherever it stands; within a unit the f(P) of the product and the f(P) of P_i+1 (equation 7) are
  one branch, as the two skip connections of Figure 3 suggest. ``share="none"`` gives P_i+1 an f of
  its own, ``share="units"`` one set of weights to all units.
- *Where P_i+1 goes*: to the next unit, as its P. ``chain=False``: every unit reads the P of
  equation 6.
- *How it starts.* The last convolutions of the merge (F') and of the feature branch are zero, so
  F_i^spt = 0 and a fresh network equals its backbone exactly; the prior branch is not, so
  gradients reach everything after one step. ``start="random"``: torch's defaults everywhere; the
  first iteration then is not the backbone.
- *Kernels* are 3x3. *Masks* beyond ``masks`` are cut, largest kept; the paper says "truncation",
  not which.
- *Networks whose blocks differ in width or size* (U-Nets; none in the paper): equation 6 is
  applied anew, with weights of its own, wherever the map changes; P is handed on between blocks of
  one shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import nn
from torch.nn.functional import avg_pool2d, pad

from benchlib.contracts import Backbone, Info, need, pad_to
from benchlib.methods._blocks import block_widths, changed_blocks, first_blocks

VERSION = 1
USES = {"methods/_blocks.py": 1}
INFO = Info(
    paper="spt", source="sections 4.1 and 4.2, equations 6 to 8", needs=("bits",), label="SPT"
)


@dataclass(frozen=True)
class Config:
    """Settings, and which reading.

    masks: channels of M_SAM (section 3.2). units: how many blocks, from the first, get one (None:
    all; Table 3). variant: Table 3. "spt-f": F' = f(M), without F_i; "spt-p": no P,
    F_spt = f(F') + F'; "spt-cat": F_spt = f([M, F, P]). alpha: equation 8, Table 4. tune: "units",
    or "all" for full fine-tuning (Table 5) of network and units together; the network alone is
    method ``none`` with the same ``init``.
    """

    masks: Annotated[int, Field(ge=1, le=1024)] = 64
    units: Annotated[int, Field(ge=1)] | None = None
    variant: Literal["spt", "spt-f", "spt-p", "spt-cat"] = "spt"
    alpha: Annotated[float, Field(gt=0)] = 1.0
    tune: Literal["units", "all"] = "units"
    share: Literal["branch", "none", "units"] = "branch"
    chain: bool = True
    start: Literal["identity", "random"] = "identity"


def two_convolutions(inputs: int, width: int, zero: bool = False) -> nn.Sequential:
    """f of equation 6: two 3x3 convolutions with a ReLU between, on maps ``(B,inputs,H,W)``.

    zero: it gives 0 until it is trained.
    """
    first = nn.Conv2d(inputs, width, 3, padding=1)
    second = nn.Conv2d(width, width, 3, padding=1)
    if zero:
        for weight in second.parameters():
            nn.init.zeros_(weight)
    return nn.Sequential(first, nn.ReLU(), second)


def unpack_masks(bits: torch.Tensor, masks: int, dtype: torch.dtype) -> torch.Tensor:
    """M_SAM of a batch: ``(B,P,H,W)`` int64 of packed masks -> ``(B,masks,H,W)`` of 0 and 1.

    Masks beyond ``masks`` are cut; what is missing is filled up with zeros.
    """
    planes = -(-masks // 64)
    shifts = torch.arange(64, device=bits.device)[:, None, None]
    dense = (bits[:, :planes, None] >> shifts) & 1
    dense = dense.flatten(1, 2)[:, :masks].to(dtype)
    return pad(dense, (0, 0, 0, 0, 0, masks - dense.shape[1]))


class Unit(nn.Module):
    """Equation 7: ``(F_i, M, P_i)``, maps of one size, -> ``(F_i^spt, P_i+1)``.

    The ``last`` unit makes no P_i+1 with weights of its own.
    """

    def __init__(self, width: int, config: Config, last: bool):
        super().__init__()
        zero = config.start == "identity"
        self.variant = config.variant
        inputs = config.masks + width
        if config.variant == "spt-f":
            inputs = config.masks
        elif config.variant == "spt-cat":
            inputs = config.masks + 2 * width
        self.merge = two_convolutions(inputs, width, zero)
        hands_on = config.chain and not last and config.variant != "spt-p"
        if config.variant != "spt-cat":
            self.feature = two_convolutions(width, width, zero)
        if config.variant in ("spt", "spt-f"):
            self.prior = two_convolutions(width, width)
        self.next: nn.Module | None = None
        if hands_on and (config.share == "none" or config.variant == "spt-cat"):
            self.next = two_convolutions(width, width)

    def forward(
        self, feature: torch.Tensor, masks: torch.Tensor, prior: Any
    ) -> tuple[torch.Tensor, Any]:
        if self.variant == "spt-cat":
            return self.merge(torch.cat([masks, feature, prior], 1)), self._next(prior, 0)
        merged = self.merge(masks if self.variant == "spt-f" else torch.cat([feature, masks], 1))
        if self.variant == "spt-p":
            return self.feature(merged) + merged, None
        branch = self.prior(prior)
        return self.feature(merged) * branch + merged, self._next(prior, branch)

    def _next(self, prior: torch.Tensor, branch: Any) -> torch.Tensor:
        if self.next is None:
            return prior + branch
        return prior + self.next(prior)


class SPT(nn.Module):
    def __init__(self, backbone: Backbone, config: Config):
        super().__init__()
        self.config = config
        self.network = backbone()
        self.network.requires_grad_(config.tune == "all")
        self.blocks_of = backbone.blocks
        widths = block_widths(self.network, self._blocks())
        self.names = []  # of the units, one a block
        units = nn.ModuleDict()
        for index, width in enumerate(widths):
            name = str(width if config.share == "units" else index)
            self.names.append(name)
            units[name] = Unit(width, config, last=index == len(widths) - 1)
        self.spt = nn.ModuleDict({"units": units})
        if config.variant != "spt-p":
            priors = nn.ModuleDict()
            for width in dict.fromkeys(widths):
                priors[str(width)] = two_convolutions(3 + config.masks, width)
            self.spt["prior"] = priors

    def _blocks(self) -> list[nn.Module]:
        return first_blocks(self.blocks_of(self.network), self.config.units, "spt: units")

    def train(self, mode: bool = True) -> SPT:
        """A frozen network stays in evaluation mode.

        Its dropout and statistics are part of what is frozen.
        """
        super().train(mode)
        if self.config.tune == "units":
            self.network.eval()
        return self

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        lq = batch["lq"]
        masks = unpack_masks(need("spt", batch, "bits"), self.config.masks, lq.dtype)
        # maps of a U-Net lie on the padded image
        multiple = getattr(self.network, "padder_size", 1)
        guide = pad_to(torch.cat([lq, masks], 1), multiple)
        units: Any = self.spt["units"]
        handed_on: torch.Tensor | None = None

        def tune(index: int, feature: torch.Tensor) -> torch.Tensor:
            """Equation 8, on what a block gives, by its unit."""
            nonlocal handed_on
            image = _fit(guide, feature)
            prior = self._prior(handed_on, image, feature)
            tuned, following = units[self.names[index]](feature, image[:, 3:], prior)
            handed_on = following if self.config.chain else prior
            return feature + self.config.alpha * tuned

        with changed_blocks(self._blocks(), tune):
            return self.network(lq)

    def _prior(
        self, handed_on: torch.Tensor | None, image: torch.Tensor, feature: torch.Tensor
    ) -> torch.Tensor | None:
        """P_i: what the unit before handed on if it is of this shape, else equation 6."""
        if self.config.variant == "spt-p":
            return None
        if handed_on is None or handed_on.shape != feature.shape:
            priors: Any = self.spt["prior"]
            return priors[str(feature.shape[1])](image)
        return handed_on


def _fit(guide: torch.Tensor, feature: torch.Tensor) -> torch.Tensor:
    """The image and its masks at a map's size.

    Averaged where the map is coarser, zeros where it is padded.
    """
    height, width = feature.shape[-2:]
    if guide.shape[-2] > height:
        guide = avg_pool2d(guide, guide.shape[-2] // height)
    return pad(guide, (0, width - guide.shape[-1], 0, height - guide.shape[-2]))


def build(backbone: Backbone, config: Config) -> nn.Module:
    """A module from ``lq`` and ``bits`` to ``(B,3,scale H,scale W)``.

    Raises BenchError if the network has fewer building blocks than ``config.units``.
    """
    return SPT(backbone, config)
