"""Networks that spandrel has written, as backbones: any size, further channels, official names.

spandrel takes seconds to import, so it is imported when a network is built. The package
``spandrel_extra_arches`` holds networks whose licences are more restrictive; it is an extra of its
own (``pip install 'benchlib[extra-arches]'``).

A backbone that uses this file states it: ``USES = {"backbones/_spandrel.py": 1}``.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from benchlib.backbones._sizes import mirror_to
from benchlib.contracts import BenchError

VERSION = 1
USES = {"backbones/_sizes.py": 1}
EXTRA = "spandrel_extra_arches"


class Fitted(nn.Module):
    """What stands before a network of spandrel in a class: ``class Network(Fitted, Official)``.

    multiple: pixels; other sizes are mirrored at the right and bottom up to it. Further channels
    are brought to three by a convolution of one pixel, and added to the image that the network
    sees.
    """

    multiple = 1
    further = 0
    extra_in: nn.Module

    def read_further(self, channels: int) -> None:
        """Let the network read so many channels after the image's three."""
        self.further = channels
        if channels:
            self.extra_in = nn.Conv2d(channels, 3, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        height, width = image.shape[-2:]
        restored = self.restored(mirror_to(self.seen(image), self.multiple))
        return restored[..., :height, :width]

    def seen(self, image: torch.Tensor) -> torch.Tensor:
        """What the official network reads of an image with its further channels."""
        if not self.further:
            return image
        return image[:, :3] + self.extra_in(image[:, 3:])

    def restored(self, image: torch.Tensor) -> torch.Tensor:
        """The official network's image of one whose size it takes."""
        official: Any = super()
        return official.forward(image)


def by_channels(network: Any, image: torch.Tensor, channels: int) -> torch.Tensor:
    """``network`` of each so many ``channels`` of an image; of 1: of each colour by itself."""
    return torch.cat([network(part) for part in image.split(channels, 1)], 1)


def architecture(name: str, package: str = "spandrel") -> Any:
    """The class of a network, ``<package>.architectures.<name>.<name>``.

    Raises BenchError where the package is not installed.
    """
    check_installed(name, package)
    return getattr(import_module(f"{package}.architectures.{name}"), name)


def check_installed(name: str, package: str) -> None:
    """Raise BenchError where the package of a network is not installed; nothing is imported."""
    if find_spec(package) is None:
        raise BenchError(
            f"{name}: the package {package} is not installed; its networks have licences of their "
            "own, so it is an extra: uv sync --extra extra-arches, or pip install -r "
            "requirements-extra-arches.txt"
        )
