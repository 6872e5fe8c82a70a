"""GRL (Li et al., CVPR 2023), the network of spandrel: windows, stripes and anchors.

Parameter names are those of ofsoundof/GRL-Image-Restoration at 3123fca (``models/networks/grl.py``,
``config/``), so its checkpoints load strictly, once prefixes (``model.``) are taken off and the
tables that follow from the settings are left out. GRL-B's settings are, beside the defaults (motion
deblurring),

- defocus deblurring: ``window: 16``;
- denoising: ``window: 32, stripes: [64, 128]`` (its training file says 16; which one a checkpoint
  was trained with cannot be read off its weights); of grey images with ``channels: 1`` beside.

Sizes are filled up at the right and bottom to multiples of the longest window or stripe: by
reflection, or with black where an image is too small for that. The official tests of deblurring and
denoising cut images into tiles of 480 (overlap 48) and 256 (overlap 32): ``evaluation.tile``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import nn

from benchlib.backbones._spandrel import Fitted, architecture, by_channels
from benchlib.contracts import BenchError

VERSION = 1
USES = {"backbones/_spandrel.py": 1}

Count = Annotated[int, Field(ge=1)]
Side = Annotated[int, Field(ge=2)]
SQUEEZE = 18
TABLES = ("table_", "index_", "mask_")
TRAINER = "model."  # before the names in some official files


@dataclass(frozen=True)
class Config:
    """The defaults are GRL-B for motion blur.

    width: channels. depths: blocks of each stage. heads: of the windows and of the stripes, in
    every block. window: its side, pixels; stripes: both sides of one. anchors: how much smaller
    they are than the image. expansion: of the feed-forward network. local: the convolutions beside
    (GRL-B alone has them). drop_path: greatest chance, in training, that a layer is left out for an
    image. channels: 1 for a network of grey images, which restores each colour by itself.
    Raises BenchError for settings that do not go together.
    """

    width: Annotated[int, Field(ge=4)] = 180
    depths: Annotated[tuple[Count, ...], Field(strict=False, min_length=1)] = (4, 4, 8, 8, 8, 4, 4)
    heads: Annotated[tuple[Count, Count], Field(strict=False)] = (3, 3)
    window: Side = 12
    stripes: Annotated[tuple[Side, Side], Field(strict=False)] = (48, 96)
    anchors: Count = 4
    expansion: Annotated[float, Field(gt=0)] = 2.0
    local: bool = True
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.1
    channels: Literal[1, 3] = 3

    def __post_init__(self) -> None:
        for heads in self.heads:
            if self.width % (2 * heads):
                raise BenchError(
                    f"grl: width: got {self.width}; half of it is shared among {heads} heads: "
                    f"expected a multiple of {2 * heads}"
                )
        if self.local and self.width < SQUEEZE:
            raise BenchError(
                f"grl: width: got {self.width} with local; its attention squeezes channels by "
                f"{SQUEEZE}: expected {SQUEEZE} or more, or local: false"
            )
        longest = max(self.window, *self.stripes)
        for side in (self.window, *self.stripes):
            if longest % side or (side in self.stripes and side % self.anchors):
                raise BenchError(
                    f"grl: window {self.window}, stripes {self.stripes}, anchors {self.anchors}: "
                    "the longest side must be a multiple of the others, stripes of the anchors"
                )


def _take_network(_: nn.Module, state: dict[str, Any], prefix: str, *rest: Any) -> None:
    """Some official files have a word before every name."""
    for name in list(state):
        if name.startswith(prefix + TRAINER):
            state[prefix + name.removeprefix(prefix + TRAINER)] = state.pop(name)


def _leave_out_tables(_: nn.Module, state: dict[str, Any], prefix: str, *rest: Any) -> None:
    """What follows from the settings is in some official files, and in no other."""
    for name in list(state):
        if name.startswith(tuple(prefix + table for table in TABLES)):
            del state[name]


def build(config: Config, in_channels: int = 3) -> nn.Module:
    """A network from ``(B,in_channels,H,W)`` float32 in [0,1] to ``(B,3,H,W)``, any size.

    The output is not clipped. Further channels are brought to three and added to the image.
    """
    official: Any = architecture("GRL")

    class Network(Fitted, official):
        def restored(self, image: torch.Tensor) -> torch.Tensor:
            return by_channels(super().restored, image, config.channels)

    stages = len(config.depths)
    network: Any = Network(
        img_size=max(config.window, *config.stripes),
        in_channels=config.channels,
        out_channels=config.channels,
        embed_dim=config.width,
        upscale=1,
        upsampler="",
        depths=list(config.depths),
        num_heads_window=[config.heads[0]] * stages,
        num_heads_stripe=[config.heads[1]] * stages,
        window_size=config.window,
        stripe_size=list(config.stripes),
        stripe_groups=[None, None],
        stripe_shift=True,
        mlp_ratio=config.expansion,
        anchor_window_down_factor=config.anchors,
        local_connection=config.local,
        drop_path_rate=config.drop_path,
    )
    network.register_load_state_dict_pre_hook(_take_network)
    network.register_load_state_dict_pre_hook(_leave_out_tables)
    network.read_further(in_channels - 3)
    return network


def blocks(network: nn.Module) -> list[nn.Module]:
    """The stages, first to last: tokens ``(B,HW,width)`` each, with the map's ``(H,W)`` beside.

    A grey network calls them once a colour.
    """
    return list(network.layers)  # type: ignore[arg-type]
