"""RUAS (Liu et al., CVPR 2021): Retinex unrolled, in cells that were found by search.

Parameter names are those of KarelZhang/RUAS at f621bb1 (``model.py``, ``operations.py``,
``genotypes.py``), so its checkpoints (lol, upe, dark) load strictly. Three steps of illumination
(``enhance_net``), then a denoiser (``denoise_net``). The official test saves the denoised image
for lol and the enhanced one for upe and dark: ``denoise`` is the setting.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.functional import leaky_relu, max_pool2d, pad

VERSION = 1

STEPS = 3  # of illumination, and cells of the denoiser


@dataclass(frozen=True)
class Config:
    """denoise: restore by ``denoise_net`` at last (lol), or stop before it (upe, dark).

    Without it there is no such network, and a checkpoint's is left out.
    """

    denoise: bool = True


class Conv(nn.Module):
    """One operation of a cell: a convolution, its input added where ``residual``."""

    def __init__(self, channels: int, kernel: int, dilation: int = 1, residual: bool = False):
        super().__init__()
        padding = kernel // 2 * dilation
        self.op = nn.Conv2d(channels, channels, kernel, padding=padding, dilation=dilation)
        self.residual = residual

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.residual:
            return self.op(x) + x
        return self.op(x)


class Cell(nn.Module):
    """A searched block, ``(B,C,H,W)`` to the same: what is distilled thrice, and the rest."""

    c1_d: nn.Module
    c1_r: nn.Module
    c2_d: nn.Module
    c2_r: nn.Module
    c3_d: nn.Module
    c3_r: nn.Module
    c4: nn.Module

    def __init__(self, channels: int):
        super().__init__()
        self.c5 = nn.Conv2d(4 * channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = _act(self.c1_d(x))
        x = _act(self.c1_r(x) + x)
        second = _act(self.c2_d(x))
        x = _act(self.c2_r(x) + x)
        third = _act(self.c3_d(x))
        x = _act(self.c3_r(x) + x)
        return self.c5(torch.cat([first, second, third, _act(self.c4(x))], 1))


def _act(x: torch.Tensor) -> torch.Tensor:
    return leaky_relu(x, 0.05)


def illumination_cell(channels: int) -> Cell:
    """A cell by the genotype ``IEM``."""
    cell = Cell(channels)
    cell.c1_d = nn.Identity()
    cell.c1_r = Conv(channels, 1, residual=True)
    cell.c2_d = Conv(channels, 3, dilation=2, residual=True)
    cell.c2_r = Conv(channels, 3)
    cell.c3_d = Conv(channels, 3)
    cell.c3_r = nn.Identity()
    cell.c4 = Conv(channels, 3)
    return cell


def noise_cell(channels: int) -> Cell:
    """A cell by the genotype ``NRM``."""
    cell = Cell(channels)
    cell.c1_d = Conv(channels, 1, residual=True)
    cell.c1_r = Conv(channels, 1, residual=True)
    cell.c2_d = Conv(channels, 3, dilation=2, residual=True)
    cell.c2_r = nn.Identity()
    cell.c3_d = Conv(channels, 1, residual=True)
    cell.c3_r = Conv(channels, 1, residual=True)
    cell.c4 = nn.Identity()
    return cell


def brightest(x: torch.Tensor) -> torch.Tensor:
    """The largest of a pixel and those to the right and below; beyond the border lies 0."""
    return max_pool2d(pad(x, (0, 1, 0, 1)), 2, stride=1)


class Illumination(nn.Module):
    """A step: from the image and what the step before gave, the brighter image and ``t``."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = illumination_cell(3)

    def forward(
        self, image: torch.Tensor, brighter: torch.Tensor | None, extra: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if brighter is None:
            guess = brightest(image)
        else:
            guess = brightest(brighter) - 0.5 * (brighter - image)
        if extra is not None:
            guess = guess + extra
        illumination = self.cell(guess).sigmoid().clamp(0.001, 1.0)
        return (image / illumination).clamp(0.0, 1.0), illumination


class EnhanceNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.iems = nn.ModuleList()
        for _ in range(STEPS):
            self.iems.append(Illumination())


class DenoiseNet(nn.Module):
    """The image less its noise, ``(B,3,H,W)`` from the same."""

    def __init__(self, width: int = 6):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.nrms = nn.ModuleList()
        for _ in range(STEPS):
            self.nrms.append(noise_cell(width))
        self.activate = nn.Sequential(nn.Conv2d(width, 3, 3, padding=1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.stem(image)
        for cell in self.nrms:
            x = cell(x)
        return image - self.activate(x)


def _leave_out_denoiser(_: nn.Module, state: dict[str, Any], prefix: str, *rest: Any) -> None:
    for name in [name for name in state if name.startswith(f"{prefix}denoise_net.")]:
        del state[name]


class RUAS(nn.Module):
    def __init__(self, config: Config, in_channels: int):
        super().__init__()
        self.enhance_net = EnhanceNet()
        self.denoise = config.denoise
        if config.denoise:
            self.denoise_net = DenoiseNet()
        else:
            self.register_load_state_dict_pre_hook(_leave_out_denoiser)
        self.extra = in_channels - 3
        if self.extra:
            self.extra_in = nn.Conv2d(self.extra, 3, 1)

    def enhance(self, image: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Each step's brighter image, in [0,1], and illumination, in [0.001,1]: ``(B,3,H,W)``.

        The last of both are what RUAS's losses read.
        """
        extra = None
        if self.extra:
            extra = self.extra_in(image[:, 3:])
        image = image[:, :3]
        images: list[torch.Tensor] = []
        illuminations: list[torch.Tensor] = []
        brighter: torch.Tensor | None = None
        for step in self.enhance_net.iems:
            brighter, illumination = step(image, brighter, extra)
            images.append(brighter)
            illuminations.append(illumination)
        return images, illuminations

    def finish(self, brighter: torch.Tensor) -> torch.Tensor:
        """The restored image of the last step's brighter one."""
        if self.denoise:
            return self.denoise_net(brighter)
        return brighter

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.finish(self.enhance(image)[0][-1])


def build(config: Config, in_channels: int = 3) -> nn.Module:
    """A network from ``(B,in_channels,H,W)`` float32 in [0,1] to ``(B,3,H,W)``, any size.

    Not clipped where it denoises. RUAS reads three channels: further ones are brought to three by
    a convolution of one pixel and added to each step's first guess of the illumination.
    """
    return RUAS(config, in_channels)


def blocks(network: nn.Module) -> list[nn.Module]:
    """The cells, first to last: ``(B,3,H,W)`` of each step, ``(B,6,H,W)`` of the denoiser."""
    parts: Any = network
    cells = [step.cell for step in parts.enhance_net.iems]
    if parts.denoise:
        cells += list(parts.denoise_net.nrms)
    return cells
