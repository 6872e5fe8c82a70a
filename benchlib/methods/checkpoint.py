"""Any network that spandrel recognises, from a file of weights; nothing is trained.

Architecture, scale and channels are read from the weights. The file may be what a trainer saves:
averaged weights are taken before plain ones, and wrappers and prefixes of names are taken off
(``assets/weights.py``); the run's record says which.

A network of one channel restores red, green and blue one after another, each as a grey picture.
Papers that restore luma alone and enlarge colour by a bicubic kernel come close to that under the
protocols on luma, and not under those on RGB.

Pictures are filled up at the right and bottom, as spandrel does (by reflection), where the network
takes only some sizes, and cut again; what leaves [0,1] is clipped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from benchlib.assets.weights import Reading, read_checkpoint
from benchlib.contracts import Backbone, BenchError, Info

if TYPE_CHECKING:
    from spandrel import ImageModelDescriptor, ModelDescriptor

VERSION = 1
USES = {"assets/weights.py": 1}
INFO = Info(
    paper="",
    source="a file of weights, its network as spandrel has it",
    needs=(),
    label="own checkpoint",
    trains=False,
    own="network",
)
PATHS = ("file",)
SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin")
SHOWN = 3  # names of tensors in an error


@dataclass(frozen=True)
class Config:
    """file: of weights; relative to params.yaml, ``~`` is the home folder."""

    file: str


@dataclass(frozen=True)
class Opened:
    """A file's network, and how its weights were read."""

    network: ImageModelDescriptor
    reading: Reading


class Checkpoint(nn.Module):
    def __init__(self, descriptor: ImageModelDescriptor):
        super().__init__()
        self.descriptor = descriptor
        self.network = descriptor.model.requires_grad_(False)

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        restored = [self._restored(image[None]) for image in batch["lq"]]
        return torch.cat(restored)

    def _restored(self, image: torch.Tensor) -> torch.Tensor:
        """One image ``(1,3,H,W)`` -> ``(1,3,scale H,scale W)`` in [0,1]."""
        if self.descriptor.input_channels == 3:
            return self.descriptor(image)
        colours = [self.descriptor(colour) for colour in image.split(1, dim=1)]
        return torch.cat(colours, dim=1)


def build(backbone: Backbone, config: Config) -> nn.Module:
    """The file's network, from a batch's ``lq`` ``(B,3,H,W)`` to ``(B,3,scale H,scale W)``.

    Its parameters are frozen. Raises BenchError for a file that cannot be read, or that spandrel
    does not know.
    """
    return Checkpoint(opened(config.file).network).eval()


def check(config: Config) -> None:
    """Raise BenchError for a file that is absent, unreadable, or no network from image to image."""
    opened(config.file)


def scale(config: Config) -> int:
    """How many times higher and wider the network makes an image."""
    return opened(config.file).network.scale


def facts(config: Config) -> dict[str, Any]:
    """What a run's record says of the network: JSON values.

    taken: wrappers and prefixes, from the outside in; left: other weights in the file. tiling:
    whether spandrel advises against cutting images: "supported", "discouraged" or "internal".
    """
    found = opened(config.file)
    network = found.network
    return {
        "architecture": network.architecture.name,
        "tags": network.tags,
        "purpose": network.purpose,
        "scale": network.scale,
        "channels": network.input_channels,
        "taken": list(found.reading.taken),
        "left": list(found.reading.left),
        "tiling": network.tiling.name.lower(),
        "spandrel": version("spandrel"),
    }


def opened(file: str) -> Opened:
    """Read a file of weights into the network that its names and shapes show.

    Raises BenchError, in one line that begins with the file, if that cannot be done.
    """
    from spandrel import MAIN_REGISTRY  # loads all of its networks: when one is asked for

    path = Path(file)
    if path.is_dir():
        raise BenchError(f"{path}: a folder; name the file of weights in it")
    if path.exists() and path.suffix.lower() not in SUFFIXES:
        raise BenchError(f"{path}: expected weights that end with {', '.join(SUFFIXES)}")
    readings = read_checkpoint(path)
    for reading in readings:
        for support in MAIN_REGISTRY.architectures("detection"):
            if support.detect(reading.weights):
                network = _load(path, support.architecture, reading)
                return Opened(_usable(path, network), reading)
    raise BenchError(_unknown(path, readings[-1].weights))


def _load(path: Path, architecture: Any, reading: Reading) -> ModelDescriptor:
    """The network with the weights in it; its kind is known."""
    for name, value in reading.weights.items():
        if not torch.isfinite(value).all():
            raise BenchError(f"{path}: '{name}' holds values that are not finite; save it again")
    try:
        return architecture.load(dict(reading.weights))
    except Exception as error:  # spandrel's own, torch's, or what odd shapes lead to
        said = " ".join(str(error).split())
        raise BenchError(
            f"{path}: its names are those of {architecture.name}, but its weights do not fit that "
            f"network as spandrel has it ({type(error).__name__}: {said})"
        ) from None


def _usable(path: Path, network: ModelDescriptor) -> ImageModelDescriptor:
    """The network, if it makes of a colour or grey picture one of the same kind."""
    from spandrel import ImageModelDescriptor

    name = network.architecture.name
    if not isinstance(network, ImageModelDescriptor):
        raise BenchError(f"{path}: {name} fills holes and needs a mask; expected image to image")
    channels = (network.input_channels, network.output_channels)
    if channels not in ((3, 3), (1, 1)):
        raise BenchError(
            f"{path}: {name} takes {channels[0]} channels and gives {channels[1]}; expected 3 "
            "(colour) or 1 (grey) on both sides"
        )
    return network


def _unknown(path: Path, weights: Mapping[str, torch.Tensor]) -> str:
    """What is wrong with weights that spandrel does not know: what they look like."""
    names = list(weights)
    shown = ", ".join(names[:SHOWN])
    if len(names) > SHOWN:
        shown += f", ... {names[-1]}"
    said = f"{path}: spandrel {version('spandrel')} knows no network of its {len(names)} tensors"
    said += f" ({shown})"
    last = [name for name, value in weights.items() if value.ndim == 2]
    if last and last[-1] in names[-2:]:
        classes = len(weights[last[-1]])
        return said + f"; it ends in {classes} numbers, as a classifier does; expected a restorer"
    return said + "; see spandrel's list of architectures, or bring the pictures (method images)"
