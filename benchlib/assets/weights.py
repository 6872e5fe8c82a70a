"""Read weights without running anything that came with them."""

from __future__ import annotations

import pickle
import re
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from benchlib.contracts import BenchError

if TYPE_CHECKING:
    from torch import Tensor

VERSION = 1

PARALLEL = "module."  # torch's DataParallel writes it before every name (IMDN's files)
WRAPPERS = ("params", "state_dict", "params_ema")  # BasicSR reads params where both are there


def load_weights(path: str | Path) -> dict[str, Tensor]:
    """The state dict in a ``.safetensors`` file or a PyTorch checkpoint, on the CPU.

    A dict under ``params``, ``state_dict`` or ``params_ema`` (the first of these) is unwrapped; of
    several networks under names of their own, each becomes ``<network>.<name>`` (URetinex-Net);
    ``module.`` before every name is taken off. PyTorch files are read with ``weights_only=True``;
    of what is no tensor, only a training script's options (``argparse.Namespace``) are let in,
    and left out.
    Raises BenchError for a file that is absent, empty, a web page, damaged, holds anything but
    tensors by name, or asks for code to be run.
    """
    path = Path(path)
    _look(path)
    try:
        loaded = _read(path)
    except pickle.UnpicklingError as error:
        raise BenchError(
            f"{path}: refused, it is no plain dict of tensors ({_wanted(error)}); get the weights "
            "alone, best as .safetensors"
        ) from None
    except MemoryError:
        raise
    except Exception as error:  # damage breaks the readers in many ways: IndexError, struct.error
        said = f"{type(error).__name__}: {error}".splitlines()[0]
        raise BenchError(
            f"{path}: damaged weights ({said}); delete it and fetch it again"
        ) from None
    return _tensors(path, _unwrapped(loaded))


def _read(path: Path) -> object:
    import torch
    from safetensors.torch import load_file

    if path.suffix == ".safetensors":
        return load_file(path)
    # a Namespace runs nothing: its attributes are set from plain values
    with torch.serialization.safe_globals([Namespace]):
        return torch.load(path, weights_only=True, map_location="cpu")


def _wanted(error: pickle.UnpicklingError) -> str:
    """What the file asked for; torch's own text goes on to advise weights_only=False."""
    pattern = r"unsupported (?:global: )?(?:global|operand) \S+"
    found = re.search(pattern, str(error), re.IGNORECASE)
    if found:
        return found[0]
    return "unreadable pickle"


def _look(path: Path) -> None:
    if not path.is_file():
        raise BenchError(f"{path}: no such file; expected weights (.safetensors, .pth, .pt)")
    with open(path, "rb") as file:
        start = file.read(512)
    if not start:
        raise BenchError(f"{path}: empty file; delete it and fetch it again")
    if re.match(rb"\s*<(!doctype|html|\?xml)", start, re.IGNORECASE):
        raise BenchError(
            f"{path}: a web page, not weights (drives answer so before a download); fetch it by "
            "hand"
        )


def _unwrapped(loaded: object) -> object:
    if isinstance(loaded, dict):
        for wrapper in WRAPPERS:
            if isinstance(loaded.get(wrapper), dict):
                return loaded[wrapper]
    return loaded


def _flat(loaded: dict[object, object]) -> dict[object, object]:
    """Several networks' tensors, a dict each, as one dict under ``<network>.<name>``."""
    flat: dict[object, object] = {}
    for network, tensors in loaded.items():
        if not isinstance(network, str) or not isinstance(tensors, dict):
            return loaded
        for name, tensor in tensors.items():
            if not isinstance(name, str):
                return loaded
            flat[f"{network}.{name}"] = tensor
    return flat


def _tensors(path: Path, loaded: object) -> dict[str, Tensor]:
    import torch

    if isinstance(loaded, dict):
        loaded = _flat(loaded)
    if not isinstance(loaded, dict) or not loaded:
        got = type(loaded).__name__
        raise BenchError(f"{path}: expected tensors by name, got {got} without any")
    for key, value in loaded.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            got = type(value).__name__
            raise BenchError(f"{path}: expected tensors by name, got {got} under '{key}'")
    if all(key.startswith(PARALLEL) for key in loaded):
        return {key.removeprefix(PARALLEL): value for key, value in loaded.items()}
    return dict(loaded)
