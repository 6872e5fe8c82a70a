"""PTG-RM: what a network restored, refined by a small module that a pre-trained vector guides.

Xu et al., "Boosting Image Restoration via Priors from Pre-trained Models" (CVPR 2024). F is the
backbone, R the module, g the prior's vector of the degraded image I_d. R encodes F's output beside
I_d at a fourth of the size. PTG-SVE mixes a residual block (short range) and four blocks of
Restormer (long range) by a map M that the vector helps to draw; PTG-CSA weighs channels and
locations, the latter by a kernel for each location that the vector helps to make. A decoder gives a
correction mask I_m and a residual I_r: I_d + (F(I_d) - I_d) I_m + I_r (equation 1).

The official code (xiaogang00/pretrain_model_boost_restoration@68dd0351) departs from the paper in
three places: ``reading``. Sizes of layers, kernels of 3x3 and slopes are the code's in both; its
module has 671,735 parameters with a vector of 512, and its state dict loads by its own names.

Where paper and code leave a choice, the default here and the other reading as an option:

- *I_m* is one map, 1 + what the decoder gives: F's output passes where that is 0. ``mask: unit``
  keeps it in [0,1] by a sigmoid, ``mask_channels: 3`` gives one a colour.
- *How it starts.* The last convolution is zero, so that a fresh network gives what F gives.
  ``start: random``: torch's own, as the official code.
- *Without SP, CA or SA* (Table 3): short and long range are summed, attention reads "only the
  features themselves", as section 4.2 says; ``none`` takes an attention away.
- *The SNR map as mask* weighs the short range, as in SNR-Aware, in both readings.
- *Concatenated priors*: T(g) stands beside f, spread over all locations (1-D) or as a map of 4
  channels on a grid of 8x8 (2-D), and a 1x1 convolution mixes them; the components read what it
  gives, and the vector no more. The paper's maps are the pre-trained model's own, before pooling,
  which a vector does not hold.
- *On a feature* (-f): R reads the deepest building block's map, the last of the coarsest, beside
  I_d averaged to its size, and works at a fourth of the image's size, or at the map's own where
  that is coarser. A map has no degraded counterpart: it becomes map x I_m + I_r.
- *Long vectors.* The paper promises fewer than a million parameters, and the code's projections
  (512 to 256 to 64) would break that beyond 1,152 numbers: there 256 is halved until it holds.
  More is refused wherever the module reads a vector.
- *Vectors of any norm* are divided by it, as the code does with CLIP's (``normalise``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import nn
from torch.nn.functional import pad

from benchlib.contracts import Backbone, BenchError, Info, need
from benchlib.methods._blocks import changed_blocks
from benchlib.methods._own_losses import own_loss
from benchlib.methods._ptg_rm import Refinement, Settings

VERSION = 1
USES = {"methods/_blocks.py": 1, "methods/_own_losses.py": 1, "methods/_ptg_rm.py": 1}
INFO = Info(paper="ptg-rm", source="section 3, equations 1 to 8", needs=("vector",), label="PTG-RM")
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
PROBE = 32  # pixels a side: the image on which the deepest block is found


@dataclass(frozen=True)
class Config(Settings):
    """Settings, and which reading. The inherited ones say what R is, the last four how it is used.

    size: numbers in the prior's vector (256: SAM's pooled embedding; CLIP ViT-B/32 has 512).
    reading: "paper" (equations 1 to 8); "released": no I_m, but F's output, clipped to [0,1], plus
    I_r; M weighs the long range and 1 - M the short; R_f's output is added to f-hat.
    ranges: what mixes short and long range: "prior" (M), "sum" (w/o SP), "snr" (SNR value as mask).
    channel, spatial: what the attention reads: "prior", "features" (w/o CA, w/o SA), or "none" of
    it. position: False is "w/o Position Embedding". prior: "guide", "concat-1d", "concat-2d".
    width: channels of f; 64 with ranges "sum", channel and spatial "features" is "Large R w/o
    SP/CA/SA". hidden: numbers between the two layers of T (None: 256, fewer for long vectors).
    normalise: divide the vector by its norm. mask, mask_channels, start: see above.

    refine: the "image" that F gives, its deepest "feature" (-f), or what another run has
    "restored" (F is that run, then; the backbone is none, and tune "module"). tune: "all" trains F
    and R by equation 8, "module" R alone, with F frozen. weight: lambda of equation 8. loss: "run"
    is the loss that the run names, "charbonnier" the code's sum of sqrt(x^2 + 1e-6) in its place,
    "own" F's own loss without references (Table 4), of Zero-DCE, SCI or RUAS.
    Raises BenchError for settings that do not go together.
    """

    refine: Literal["image", "feature", "restored"] = "image"
    tune: Literal["all", "module"] = "all"
    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    loss: Literal["run", "charbonnier", "own"] = "run"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.refine == "feature" and self.mask_channels != 1:
            raise BenchError(
                f"ptg_rm: mask_channels: got {self.mask_channels} with refine 'feature'; "
                "a feature has no colours; expected 1"
            )
        if self.refine == "restored" and self.tune != "module":
            raise BenchError(
                f"ptg_rm: tune: got {self.tune!r} with refine 'restored'; what a run has restored "
                "cannot be tuned; set tune: module"
            )
        if self.loss == "own" and self.refine != "image":
            raise BenchError(
                f"ptg_rm: loss: got 'own' with refine {self.refine!r}; F's own loss is known of "
                "images that F gives; set refine: image"
            )
        if self.tune == "module" and self.weight != 1:
            raise BenchError(
                f"ptg_rm: weight: got {self.weight:g} with tune 'module'; "
                "with F frozen there is one loss; leave it out, or set tune: all"
            )


def needs(config: Config) -> tuple[str, ...]:
    """The vector, unless an ablation leaves nothing that reads it; and what is refined."""
    entries = []
    if config.reads_vector:
        entries.append("vector")
    if config.refine == "restored":
        entries.append("restored")
    return tuple(entries)


def takes_network(config: Config) -> bool:
    """Not where another run has restored."""
    return config.refine != "restored"


def charbonnier(restored: torch.Tensor, hq: torch.Tensor) -> torch.Tensor:
    """The official code's loss between ``(B,3,H,W)``: a sum over everything."""
    return ((restored.float() - hq).square() + 1e-6).sqrt().sum()


def deepest(network: nn.Module, blocks: list[nn.Module]) -> tuple[nn.Module, int, int]:
    """The last of the blocks with the coarsest map, its channels, and its side over the finest's.

    Raises BenchError for a network without building blocks. It is in training mode afterwards.
    """
    seen: dict[int, tuple[int, int]] = {}

    def look(index: int, feature: torch.Tensor) -> torch.Tensor:
        seen[index] = (feature.shape[2], feature.shape[1])
        return feature

    network.eval()
    with torch.no_grad(), changed_blocks(blocks, look):
        network(torch.zeros(1, 3, PROBE, PROBE))
    network.train()
    if not seen:
        raise BenchError(
            "ptg_rm: refine: got 'feature'; the network has no building blocks; set refine: image"
        )
    coarsest = min(side for side, _ in seen.values())
    finest = max(PROBE, *(side for side, _ in seen.values()))
    found = max(index for index, (side, _) in seen.items() if side == coarsest)
    return blocks[found], seen[found][1], finest // coarsest


class PTGRM(nn.Module):
    def __init__(self, backbone: Backbone, config: Config):
        super().__init__()
        self.config = config
        self.on_image = config.refine != "feature"
        if takes_network(config):
            self.network = backbone()
            self.network.requires_grad_(config.tune == "all")
            self.blocks_of = backbone.blocks
        if config.loss == "own":
            self.own_loss = own_loss("ptg_rm: loss: got 'own'", self.network)
        # index: of the block whose map is refined; ratio: the image's side over that map's
        self.index, self.ratio, channels, halvings = 0, 1, 3, 2
        if not self.on_image:
            blocks = backbone.blocks(self.network)
            block, channels, self.ratio = deepest(self.network, blocks)
            self.index = blocks.index(block)
            halvings = max(0, 3 - self.ratio.bit_length())  # f stands at a fourth of the image
        # by its official name
        self.refinement11 = Refinement(config, channels, self.on_image, halvings)

    def train(self, mode: bool = True) -> PTGRM:
        """A frozen network stays in evaluation mode."""
        super().train(mode)
        if self.config.tune == "module" and takes_network(self.config):
            self.network.eval()
        return self

    def forward(
        self, batch: dict[str, torch.Tensor], both: bool = False, own: bool = False
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """The refined images; with ``both`` also what F alone gives, as equation 8 needs.

        With ``own``: equation 8 by F's own loss, a number, and the refined images.
        """
        lq, vector = batch["lq"], None
        if self.config.reads_vector:
            vector = need("ptg_rm", batch, "vector")
        if own:
            return self._by_own_loss(lq, vector)
        if not self.on_image:
            refined = self._refined_inside(lq, vector)
            if not both:
                return refined
            return refined, self.network(lq)
        if takes_network(self.config):
            first = self.network(lq)
        else:
            first = need("ptg_rm", batch, "restored")
        refined = self.refine(lq, first, vector)
        if not both:
            return refined
        return refined, first

    def _by_own_loss(
        self, lq: torch.Tensor, vector: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        first = self.own_loss(self.network, lq)
        refined = self.refine(lq, first.restored, vector)
        value = self.config.weight * first.of(refined)
        if self.config.tune == "all":
            value = value + first.value
        return value, refined

    def refine(
        self, image: torch.Tensor, f_out: torch.Tensor, vector: torch.Tensor | None
    ) -> torch.Tensor:
        """R alone: what any network, run or folder has restored, refined.

        image: ``(B,3,H,W)`` float32 in [0,1], degraded. f_out: ``(B,3,scale H,scale W)``, restored,
        not clipped. vector: ``(B,size)`` float32, None where nothing reads it. Returns f_out's
        shape, not clipped. Raises BenchError for shapes that do not fit, or where R refines a
        feature.
        """
        if not self.on_image:
            raise BenchError("ptg_rm: refine: got 'feature'; images alone need refine: image")
        scale = f_out.shape[2] // max(1, image.shape[2])
        expected = (len(image), 3, scale * image.shape[2], scale * image.shape[3])
        if scale < 1 or f_out.shape != expected:
            raise BenchError(
                f"ptg_rm: restored images: got {tuple(f_out.shape)} of degraded ones "
                f"{tuple(image.shape)}; expected the same size, or a whole multiple"
            )
        self._check(vector, len(image))
        return self.refinement11(image, f_out, vector)

    def _refined_inside(self, lq: torch.Tensor, vector: torch.Tensor | None) -> torch.Tensor:
        self._check(vector, len(lq))
        block = self.blocks_of(self.network)[self.index]

        def change(index: int, feature: torch.Tensor) -> torch.Tensor:
            """The map may lie on an image that the network has filled up."""
            down = self.ratio * feature.shape[2] - lq.shape[2]
            right = self.ratio * feature.shape[3] - lq.shape[3]
            return self.refinement11(pad(lq, (0, right, 0, down)), feature, vector)

        with changed_blocks([block], change):
            return self.network(lq)

    def _check(self, vector: torch.Tensor | None, count: int) -> None:
        if not self.config.reads_vector:
            return
        expected = (count, self.config.size)
        if vector is None or vector.shape != expected:
            got = None if vector is None else tuple(vector.shape)
            raise BenchError(
                f"ptg_rm: vector: expected {expected}, got {got}; "
                "set the method's size to how many numbers the prior's vectors have"
            )


def objective(
    model: nn.Module, batch: dict[str, torch.Tensor], loss: Loss
) -> tuple[torch.Tensor, torch.Tensor]:
    """Equation 8: the loss of what F gives plus ``weight`` times that of what is refined.

    With F frozen, the latter alone. By F's own loss ``hq`` is not read.
    """
    config: Any = getattr(model, "module", model).config  # several devices wrap it
    if config.loss == "own":
        return model(batch, own=True)
    if config.loss == "charbonnier":
        loss = charbonnier
    if config.tune == "module":
        refined = model(batch)
        return loss(refined, batch["hq"]), refined
    refined, first = model(batch, both=True)
    return loss(first, batch["hq"]) + config.weight * loss(refined, batch["hq"]), refined


def check_network(config: Config, backbone: Backbone) -> None:
    """Raise BenchError for a network that has no loss of its own where one is asked for."""
    if config.loss == "own":
        own_loss("ptg_rm: loss: got 'own'", backbone())


def added(model: nn.Module) -> nn.Module:
    """R, whose parameters and memory the cost table shows by themselves."""
    return model.get_submodule("refinement11")


def build(backbone: Backbone, config: Config) -> nn.Module:
    """A module from ``lq`` and ``vector`` ``(B,size)`` float32 to ``(B,3,scale H,scale W)``.

    Raises BenchError if its own parts have a million parameters or more while they read a vector.
    """
    return PTGRM(backbone, config)
