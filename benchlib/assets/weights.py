"""Read weights without running anything that came with them."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import TYPE_CHECKING

from benchlib.contracts import BenchError

if TYPE_CHECKING:
    from torch import Tensor

PARALLEL = "module."  # torch's DataParallel writes it before every name (IMDN's files)
WRAPPERS = ("params", "state_dict", "params_ema")  # BasicSR reads params where both are there


def load_weights(path: str | Path) -> dict[str, Tensor]:
    """The state dict in a ``.safetensors`` file or a PyTorch checkpoint, on the CPU.

    A dict under ``params``, ``state_dict`` or ``params_ema`` (the first of these) is unwrapped; ``module.``
    before every name is taken off. PyTorch files are
    read with ``weights_only=True``. Raises BenchError for a file that is absent, empty, a web page, damaged, holds
    anything but tensors by name, or asks for code to be run.
    """
    import torch
    from safetensors.torch import load_file

    path = Path(path)
    _look(path)
    try:
        if path.suffix == ".safetensors":
            loaded = load_file(path)
        else:
            loaded = torch.load(path, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        # torch's own text goes on to advise weights_only=False
        wants = re.search(r"unsupported (?:global: )?(?:global|operand) \S+", str(error), re.IGNORECASE)
        said = wants[0] if wants else "unreadable pickle"
        raise BenchError(
            f"{path}: refused, it is no plain dict of tensors ({said}); get the weights alone, best as .safetensors"
        ) from None
    except MemoryError:
        raise
    except Exception as error:  # damage breaks the readers in many ways (IndexError, AssertionError, struct.error)
        said = f"{type(error).__name__}: {error}".splitlines()[0]
        raise BenchError(f"{path}: damaged weights ({said}); delete it and fetch it again") from None
    return _tensors(path, loaded)


def _look(path: Path) -> None:
    if not path.is_file():
        raise BenchError(f"{path}: no such file; expected weights (.safetensors, .pth, .pt)")
    with open(path, "rb") as file:
        start = file.read(512)
    if not start:
        raise BenchError(f"{path}: empty file; delete it and fetch it again")
    if re.match(rb"\s*<(!doctype|html|\?xml)", start, re.IGNORECASE):
        raise BenchError(f"{path}: a web page, not weights (drives answer so before a download); fetch it by hand")


def _tensors(path: Path, loaded: object) -> dict[str, Tensor]:
    import torch

    if isinstance(loaded, dict):
        wrapper = next((key for key in WRAPPERS if isinstance(loaded.get(key), dict)), None)
        loaded = loaded[wrapper] if wrapper else loaded
    if not isinstance(loaded, dict) or not loaded:
        raise BenchError(f"{path}: expected tensors by name, got {type(loaded).__name__} without any")
    for key, value in loaded.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise BenchError(f"{path}: expected tensors by name, got {type(value).__name__} under '{key}'")
    if all(key.startswith(PARALLEL) for key in loaded):
        return {key.removeprefix(PARALLEL): value for key, value in loaded.items()}
    return dict(loaded)
