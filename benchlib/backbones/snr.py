"""SNR-Aware (Xu et al., CVPR 2022): attention where an image is noisy, convolutions where not.

Parameter names are those of dvlab-research/SNR-Aware-Low-Light-Enhance at 1113144
(``models/archs/low_light_transformer.py``), so its checkpoints load strictly. The map of the signal
to noise ratio is taken of the image itself, as in ``models/Video_base_model4_m.py``; ``resize`` is
what the official test of LOL does to every image. The code makes coordinates for its tokens and
never reads them: there are none here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import nn
from torch.nn.functional import avg_pool2d, fold, interpolate, leaky_relu, pixel_shuffle, unfold

from benchlib.backbones._sizes import mirror, mirror_to

VERSION = 1
USES = {"backbones/_sizes.py": 1}

HEADS, HEAD_WIDTH, LAYERS = 8, 64, 6
PATCH = 4  # side of a token, in pixels of the map at a quarter of the size
Sides = Annotated[
    tuple[Annotated[int, Field(ge=16, multiple_of=16)], ...],
    Field(strict=False, min_length=2, max_length=2),
]


@dataclass(frozen=True)
class Config:
    """width: channels. front, light, back: residual blocks before, beside, after the attention.

    resize: (height, width) that images are restored at, and resized back (bilinear): (400, 608) is
    how the official figures of LOL were made. None: at their own size, mirrored up to multiples
    of 16. The defaults are the official network.
    """

    width: Annotated[int, Field(ge=1)] = 64
    front: Annotated[int, Field(ge=1)] = 1
    light: Annotated[int, Field(ge=1)] = 6
    back: Annotated[int, Field(ge=1)] = 1
    resize: Sides | None = None


def snr_map(image: torch.Tensor) -> torch.Tensor:
    """How clean each pixel of an RGB image ``(B,3,H,W)`` is: ``(B,1,H,W)`` in [0,1].

    Luma of the image blurred by 5x5, over how far the image is from that, over the largest of it.
    """
    # in the steps of the official code, which blurs grey levels and adds them in double precision:
    # where an image is flat, the ratio is of what rounding leaves
    levels = mirror(image * 255, 2, 2, 2, 2).double()
    smooth = avg_pool2d(levels, 5, stride=1).to(image.dtype) / 255
    light = _luma(smooth)
    ratio = light / ((_luma(image) - light).abs() + 0.0001)
    largest = ratio.amax((1, 2, 3), keepdim=True)
    return (ratio / (largest + 0.0001)).clamp(0, 1)


def _luma(image: torch.Tensor) -> torch.Tensor:
    red, green, blue = image.split(1, 1)
    return red * 0.299 + green * 0.587 + blue * 0.114


class Residual(nn.Module):
    """Two convolutions, added to their input: ``(B,C,H,W)`` to the same."""

    def __init__(self, width: int):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        for conv in (self.conv1, self.conv2):
            nn.init.kaiming_normal_(conv.weight)
            conv.weight.data *= 0.1
            nn.init.zeros_(conv.get_parameter("bias"))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv2(self.conv1(x).relu())


class SelfAttention(nn.Module):
    """Tokens ``(B,T,C)`` to the same; clean: ``(B,1,T)``, zero for tokens that none attends to."""

    def __init__(self, width: int):
        super().__init__()
        inner = HEADS * HEAD_WIDTH
        self.w_qs = nn.Linear(width, inner, bias=False)
        self.w_ks = nn.Linear(width, inner, bias=False)
        self.w_vs = nn.Linear(width, inner, bias=False)
        self.fc = nn.Linear(inner, width, bias=False)
        self.layer_norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, tokens: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
        x = self.layer_norm(tokens)
        query = self._split(self.w_qs(x)) / HEAD_WIDTH**0.5
        key, value = self._split(self.w_ks(x)), self._split(self.w_vs(x))
        scores = query @ key.transpose(2, 3)
        weights = scores.masked_fill(clean[:, None] == 0, -1e9).softmax(-1)
        return self.fc((weights @ value).transpose(1, 2).flatten(2)) + tokens

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(2, (HEADS, HEAD_WIDTH)).transpose(1, 2)


class FeedForward(nn.Module):
    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.w_1, self.w_2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.layer_norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.w_2(self.w_1(self.layer_norm(x)).relu()) + x


class Layer(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.slf_attn, self.pos_ffn = SelfAttention(width), FeedForward(width, 2 * width)

    def forward(self, tokens: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
        return self.pos_ffn(self.slf_attn(tokens, clean))


class Encoder(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.layer_stack = nn.ModuleList()
        for _ in range(LAYERS):
            self.layer_stack.append(Layer(width))

    def forward(self, tokens: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
        for layer in self.layer_stack:
            tokens = layer(tokens, clean)
        return tokens


def _residuals(width: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(Residual(width) for _ in range(count)))


class SNR(nn.Module):
    padder_size = 4 * PATCH

    def __init__(self, config: Config, in_channels: int):
        super().__init__()
        width, self.resize = config.width, config.resize
        self.conv_first_1 = nn.Conv2d(in_channels, width, 3, padding=1)
        self.conv_first_2 = nn.Conv2d(width, width, 3, stride=2, padding=1)
        self.conv_first_3 = nn.Conv2d(width, width, 3, stride=2, padding=1)
        self.feature_extraction = _residuals(width, config.front)
        self.recon_trunk = _residuals(width, config.back)
        self.upconv1 = nn.Conv2d(2 * width, 4 * width, 3, padding=1)
        self.upconv2 = nn.Conv2d(2 * width, 4 * width, 3, padding=1)
        self.HRconv = nn.Conv2d(2 * width, width, 3, padding=1)
        self.conv_last = nn.Conv2d(width, 3, 3, padding=1)
        self.transformer = Encoder(PATCH * PATCH * width)
        self.recon_trunk_light = _residuals(width, config.light)

    def restore(self, image: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
        """The image ``(B,3,H,W)`` by its map ``(B,1,H,W)``; sides that are multiples of 16."""
        full = _act(self.conv_first_1(image))
        half = _act(self.conv_first_2(full))
        quarter = _act(self.conv_first_3(half))
        features = self.feature_extraction(quarter)
        near = self.recon_trunk_light(features)
        clean = interpolate(clean, size=features.shape[-2:], mode="nearest")
        far = self._attend(features, clean)
        x = self.recon_trunk(far * (1 - clean) + near * clean)
        x = _act(pixel_shuffle(self.upconv1(torch.cat([x, quarter], 1)), 2))
        x = _act(pixel_shuffle(self.upconv2(torch.cat([x, half], 1)), 2))
        x = _act(self.HRconv(torch.cat([x, full], 1)))
        return self.conv_last(x) + image[:, :3]

    def _attend(self, features: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
        """Attention between patches; none looks at a patch that is clean by half or less."""
        tokens = unfold(features, PATCH, stride=PATCH).transpose(1, 2)
        share = unfold(clean, PATCH, stride=PATCH).mean(1, keepdim=True)
        tokens = self.transformer(tokens, (share > 0.5).to(share.dtype))
        return fold(tokens.transpose(1, 2), features.shape[-2:], PATCH, stride=PATCH)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        height, width = image.shape[-2:]
        clean = snr_map(image[:, :3])
        if self.resize is not None:
            size = list(self.resize)
            image = interpolate(image, size=size, mode="bilinear")
            clean = interpolate(clean, size=size, mode="bilinear")
            restored = self.restore(image, clean)
            return interpolate(restored, size=[height, width], mode="bilinear")
        image = mirror_to(image, self.padder_size)
        clean = mirror_to(clean, self.padder_size)
        return self.restore(image, clean)[..., :height, :width]


def _act(x: torch.Tensor) -> torch.Tensor:
    return leaky_relu(x, 0.1)


def build(config: Config, in_channels: int = 3) -> nn.Module:
    """A network from ``(B,in_channels,H,W)`` float32 in [0,1] to ``(B,3,H,W)``, any size.

    The output is not clipped. Memory grows with the square of the pixels: attention is between all
    patches of 16x16 pixels.
    """
    return SNR(config, in_channels)


def blocks(network: nn.Module) -> list[nn.Module]:
    """The residual blocks, first to last: ``(B,width,H/4,W/4)`` each."""
    parts: Any = network
    return [*parts.feature_extraction, *parts.recon_trunk_light, *parts.recon_trunk]
