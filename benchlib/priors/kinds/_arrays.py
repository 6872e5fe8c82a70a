"""Arrays of one image in one file, and tensors of several: what most kinds share."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchlib.contracts import BenchError
from benchlib.files import check_file, new_file

if TYPE_CHECKING:
    import torch

VERSION = 1
DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    zipfile.BadZipFile,
    zlib.error,
)


def save_arrays(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write one ``.npz``, whole or not at all; the same arrays give the same bytes."""
    with new_file(path) as temporary:
        np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]


def load_arrays(path: str | Path, names: Sequence[str], what: str) -> dict[str, np.ndarray]:
    """The named arrays of a file, read without pickle.

    Raises BenchError, naming the file, if it is not there, damaged or holds something else.
    """
    check_file(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in names}
    except DAMAGE as error:
        raise unreadable(path, what, error) from None


def unreadable(path: str | Path, what: str, why: object) -> BenchError:
    """The error for a file that is no prior of its kind."""
    return BenchError(f"{path}: {what} cannot be read ({why}); run the priors stage again")


def stacked(items: Sequence[Mapping[str, Any]], name: str) -> torch.Tensor:
    """One entry of several crops, all of one shape, as ``(B,...)``."""
    import torch

    return torch.stack([torch.from_numpy(np.ascontiguousarray(item[name])) for item in items])


def padded(items: Sequence[Mapping[str, Any]], name: str) -> torch.Tensor:
    """One entry of several crops, ``(n,...)`` with another n each, as ``(B,largest n,...)``.

    The rest is zeros.
    """
    import torch

    tensors = [torch.from_numpy(np.ascontiguousarray(item[name])) for item in items]
    most = max(len(tensor) for tensor in tensors)
    filled = []
    for tensor in tensors:
        rest = tensor.new_zeros(most - len(tensor), *tensor.shape[1:])
        filled.append(torch.cat([tensor, rest]))
    return torch.stack(filled)
