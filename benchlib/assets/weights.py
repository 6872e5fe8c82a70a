"""Read weights without running anything that came with them, and keep them as safetensors."""

from __future__ import annotations

import pickle
import re
import zipfile
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchlib.contracts import BenchError, shortened
from benchlib.files import check_file

if TYPE_CHECKING:
    from torch import Tensor

VERSION = 1

PARALLEL = "module."  # torch's DataParallel writes it before every name (IMDN's files)
WRAPPERS = ("params", "state_dict", "params_ema")  # BasicSR reads params where both are there

# Of a checkpoint that nobody described: what holds the weights, the averaged ones first, and what
# trainers write before every name.
NESTS = (
    "params_ema",
    "params-ema",
    "ema",
    "model_ema",
    "net_g_ema",
    "params",
    "state_dict",
    "model_state_dict",
    "model",
    "net_g",
    "netG",
    "generator",
    "net",
)
PREFIXES = ("module.", "_orig_mod.", "netG.", "net_g.", "generator.", "net.", "model.")
DEEPEST = 6  # dicts within dicts
AVERAGED = "n_averaged"  # a counter that torch's AveragedModel keeps beside the weights


@dataclass(frozen=True)
class Reading:
    """One way to read a checkpoint.

    weights: tensors by name, on the CPU. taken: the dicts they lay in and the prefixes taken off
    their names, from the outside in. left: other dicts of tensors that lay beside.
    """

    weights: dict[str, Tensor]
    taken: tuple[str, ...]
    left: tuple[str, ...]


def read_checkpoint(path: str | Path) -> list[Reading]:
    """Every way to read a checkpoint's names, the least changed first.

    Averaged weights (``params_ema``) are taken before plain ones. A prefix is only taken off where
    all names have it; which reading is right, the network that is to load it knows: there are
    networks whose own names begin with ``model.``.
    Raises BenchError as ``load_weights`` does.
    """
    path = Path(path)
    readings = [_unnested(path, _loaded(path), (), ())]
    while prefix := _common_prefix(readings[-1].weights):
        last = readings[-1]
        named = {name.removeprefix(prefix): value for name, value in last.weights.items()}
        readings.append(Reading(named, (*last.taken, prefix), last.left))
    return readings


def _unnested(path: Path, loaded: object, taken: tuple[str, ...], left: tuple[str, ...]) -> Reading:
    """The innermost dict of tensors."""
    nests = _nests(loaded)
    if not nests:
        weights = _named_tensors(path, loaded)
        weights.pop(AVERAGED, None)
        return Reading(weights, taken, left)
    if len(taken) == DEEPEST:
        raise BenchError(f"{path}: dicts in dicts without end; save the weights alone")
    known = [name for name in NESTS if name in nests]
    chosen = next(iter(known or nests))
    if not known and len(nests) > 1:
        raise BenchError(
            f"{path}: holds several networks ({', '.join(sorted(nests))}); save the weights of one"
        )
    beside = tuple(name for name in nests if name != chosen)
    return _unnested(path, nests[chosen], (*taken, chosen), (*left, *beside))


def _nests(loaded: object) -> dict[str, object]:
    """The dicts in a dict that hold tensors, directly or further in."""
    if not isinstance(loaded, dict):
        return {}
    found: dict[str, object] = {}
    for name, value in loaded.items():
        if isinstance(name, str) and isinstance(value, dict) and _holds_weights(value, DEEPEST):
            found[name] = value
    return found


def _holds_weights(loaded: dict, deepest: int) -> bool:
    """Whether a dict holds tensors by name; an optimiser's state holds them by number."""
    import torch

    if not deepest:
        return False
    for name, value in loaded.items():
        if not isinstance(name, str):
            continue
        if isinstance(value, torch.Tensor) and value.ndim:
            return True
        if isinstance(value, dict) and _holds_weights(value, deepest - 1):
            return True
    return False


def _common_prefix(weights: dict[str, Tensor]) -> str | None:
    for prefix in PREFIXES:
        if weights and all(name.startswith(prefix) and name != prefix for name in weights):
            return prefix
    return None


def save_weights(weights: dict[str, Tensor], path: str | Path) -> None:
    """Write a state dict as ``.safetensors``, every tensor under every name that it has.

    A network that uses one tensor twice names it twice; safetensors writes no two names into one
    memory, so a further name gets a copy. The network that loads the file ties them again.
    """
    from safetensors.torch import save_file

    apart, seen = {}, set()
    for name, tensor in weights.items():
        alone = tensor.contiguous()
        place = alone.untyped_storage().data_ptr()
        if place in seen:
            alone = alone.clone()
        seen.add(place)
        apart[name] = alone
    save_file(apart, path)


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
    return _tensors(path, _unwrapped(_loaded(path)))


def _loaded(path: Path) -> object:
    """What a file holds. Raises BenchError, naming it, for one that cannot be read safely."""
    _look(path)
    try:
        return _read(path)
    except pickle.UnpicklingError as error:
        raise BenchError(
            f"{path}: refused, it is no plain dict of tensors ({_wanted(error)}); get the weights "
            "alone, best as .safetensors"
        ) from None
    except MemoryError:
        raise
    except Exception as error:  # damage breaks the readers in many ways: IndexError, struct.error
        said = shortened(f"{type(error).__name__}: {error}", 600)
        raise BenchError(
            f"{path}: damaged weights ({said}); delete it and fetch it again"
        ) from None


def _read(path: Path) -> object:
    import torch

    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    # a Namespace runs nothing: its attributes are set from plain values
    with torch.serialization.safe_globals([Namespace]):
        return torch.load(path, weights_only=True, map_location="cpu")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors, those too that ``safetensors.torch.save_model`` left out because they are tied.

    Its metadata then says of each such name which one was kept.
    """
    from safetensors import safe_open
    from safetensors.torch import load_file

    weights = load_file(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
    for name, kept in metadata.items():
        if name not in weights and kept in weights:
            weights[name] = weights[kept]
    return weights


def _wanted(error: pickle.UnpicklingError) -> str:
    """What the file asked for; torch's own text goes on to advise weights_only=False."""
    pattern = r"unsupported (?:global: )?(?:global|operand) \S+"
    found = re.search(pattern, str(error), re.IGNORECASE)
    if found:
        return found[0]
    return "unreadable pickle"


def _look(path: Path) -> None:
    check_file(path)
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
    if start.startswith(b"PK") and _is_program(path):
        raise BenchError(
            f"{path}: a TorchScript program, which reading would run; save the network's "
            "state_dict() instead"
        )


def _is_program(path: Path) -> bool:
    """Whether a file is a TorchScript archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return False  # damaged: the reader says how
    return any(name.endswith("/constants.pkl") for name in names)


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
    weights = _named_tensors(path, loaded)
    if all(key.startswith(PARALLEL) for key in weights):
        return {key.removeprefix(PARALLEL): value for key, value in weights.items()}
    return weights


def _named_tensors(path: Path, loaded: object) -> dict[str, Tensor]:
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
    return dict(loaded)
