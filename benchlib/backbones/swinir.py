"""SwinIR (Liang et al., ICCV Workshops 2021), the network of spandrel, with more input channels.

Parameter names are those of JingyunLiang/SwinIR, so its checkpoints load strictly. Its networks
(``define_model`` of ``main_test_swinir.py``) are, beside the defaults:

- classical SR: another scale; training_size 48 where trained on DIV2K alone;
- light SR: another scale; upsampler "pixelshuffledirect", embed_dim 60, depths and num_heads four
  times 6;
- colour denoising: scale 1, upsampler "", training_size 128.

Sizes are filled up to whole windows at the right and bottom by reflection without the border
pixel, as ``check_image_size`` of its network does. Its test script reflects with the border pixel,
and adds a window even where none is missing, before the network sees the image: the paper's
figures can differ in the last digits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

import torch
from pydantic import Field
from spandrel.architectures.SwinIR import SwinIR
from torch import nn
from torch.nn.functional import pad

from benchlib.contracts import BenchError

VERSION = 1

Groups = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(strict=False, min_length=1)]


@dataclass(frozen=True)
class Config:
    """Defaults: classical SR x4, trained on DIV2K and Flickr2K.

    upsampler: "pixelshuffle" (classical SR), "pixelshuffledirect" (light SR), "" (scale 1: a
        residual is learned).
    embed_dim: channels; depths, num_heads: attention layers of each residual group, and heads of
        each layer.
    window_size: pixels; mlp_ratio: hidden channels over channels; img_range: 255 in the JPEG
        networks, else 1.
    resi_connection: convolutions that end a group.
    training_size: side in pixels of the low-quality crops it was trained on. It only fixes the
        shape of the checkpoint's buffers ``attn_mask``; images of any size are restored.
    drop_path: greatest chance, in training, that a layer is left out for an image (0.1 in the
        official code).

    Raises BenchError for settings that do not go together.
    """

    scale: Literal[1, 2, 3, 4] = 4
    upsampler: Literal["", "pixelshuffle", "pixelshuffledirect"] = "pixelshuffle"
    embed_dim: Annotated[int, Field(ge=4)] = 180
    depths: Groups = (6, 6, 6, 6, 6, 6)
    num_heads: Groups = (6, 6, 6, 6, 6, 6)
    window_size: Annotated[int, Field(ge=2)] = 8
    mlp_ratio: Annotated[float, Field(gt=0)] = 2.0
    resi_connection: Literal["1conv", "3conv"] = "1conv"
    img_range: Annotated[float, Field(gt=0)] = 1.0
    training_size: Annotated[int, Field(ge=4)] = 64
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.1

    def __post_init__(self) -> None:
        if (self.scale == 1) != (self.upsampler == ""):
            raise BenchError(
                f"swinir: scale {self.scale} with upsampler {self.upsampler!r}; "
                "'' is for scale 1, only"
            )
        if len(self.depths) != len(self.num_heads):
            raise BenchError(
                f"swinir: {len(self.depths)} depths but {len(self.num_heads)} num_heads; "
                "one each a group"
            )
        for heads in self.num_heads:
            if self.embed_dim % heads:
                raise BenchError(
                    f"swinir: embed_dim {self.embed_dim} cannot be shared among {heads} heads "
                    f"(num_heads {self.num_heads}); choose a multiple"
                )
        if self.training_size % self.window_size or self.training_size == self.window_size:
            raise BenchError(
                f"swinir: training_size {self.training_size}; "
                f"expected twice or more the window_size {self.window_size}"
            )


class Network(SwinIR):
    """spandrel's network, for images smaller than its reflection allows too.

    The output is the image alone.
    """

    def check_image_size(self, x: torch.Tensor) -> torch.Tensor:
        least = self.window_size // 2 + 1  # a side must be longer than what is reflected of it
        height, width = x.shape[-2:]
        if min(height, width) < least:
            x = pad(x, (0, max(0, least - width), 0, max(0, least - height)), mode="replicate")
        return super().check_image_size(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x)[:, :3]


def _filled(module: nn.Module, inputs: object, output: torch.Tensor, extra: int) -> torch.Tensor:
    return pad(output, (0, 0, 0, 0, 0, extra))


def build(config: Config, in_channels: int = 3) -> nn.Module:
    """A network from ``(B,in_channels,H,W)`` float32 in [0,1] to ``(B,3,H*scale,W*scale)``.

    The output is not clipped. Any size. Channels beyond the first three (a prior's) enter the
    first convolution as they are. The mean colour and, at scale 1, the image belong to the first
    three.
    """
    network = Network(
        upscale=config.scale,
        upsampler=config.upsampler,
        embed_dim=config.embed_dim,
        depths=list(config.depths),
        num_heads=list(config.num_heads),
        window_size=config.window_size,
        mlp_ratio=config.mlp_ratio,
        resi_connection=config.resi_connection,
        img_range=config.img_range,
        img_size=config.training_size,
        drop_path_rate=config.drop_path,
    )
    if in_channels > 3:
        # spandrel adds image and mean to the output: as many channels, the further ones zero, keep
        # that code in place
        extra = in_channels - 3
        network.conv_first = nn.Conv2d(in_channels, config.embed_dim, 3, padding=1)
        network.mean = pad(network.mean, (0, 0, 0, 0, 0, extra))
        direct = config.upsampler == "pixelshuffledirect"
        last = network.upsample if direct else network.conv_last
        last.register_forward_hook(partial(_filled, extra=extra))
    return network


def blocks(network: nn.Module) -> list[nn.Module]:
    """The residual groups, first to last.

    Each maps tokens ``(B,H*W,embed_dim)``, with ``(H,W)`` beside, to the same. ``(H,W)`` is the
    size of the input filled up to whole windows.
    """
    return list(network.layers)  # type: ignore[arg-type]


def scale(config: Config) -> int:
    """How many times higher and wider the output is."""
    return config.scale
