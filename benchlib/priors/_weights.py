"""Where a provider's weights come from: the catalogue, the user's file or folder, or a draw."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from benchlib import assets
from benchlib.assets.weights import read_checkpoint
from benchlib.contracts import BenchError, shortened
from benchlib.files import sha256

if TYPE_CHECKING:
    import torch
    from torch import nn

VERSION = 1
USES = {"assets/weights.py": 1}
RANDOM, FILE, FOLDER = "random", "file", "folder"
RUN_PREFIX = "network."  # of a run's weights, of method none
WEIGHTS = "*.safetensors"
EXTRA = "pip install benchlib[features], or uv sync --extra features"
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


@dataclass(frozen=True)
class Weights:
    """Settings of a provider whose weights are one file.

    weights: an entry of the catalogue; "random", drawn by ``seed``: the control; or "file", with
    ``file`` (relative to params.yaml, ``~`` is the home folder) and its ``sha256``, so that another
    file of that name is noticed.
    Raises BenchError for settings that do not go together, and unknown entries.
    """

    weights: str = RANDOM
    seed: Seed = 0
    file: str | None = None
    sha256: Hash | None = None

    def __post_init__(self) -> None:
        if self.weights.startswith(("runs/", "weights/")):
            raise BenchError(_refused(self.weights))
        given = [self.file is not None, self.sha256 is not None]
        if self.weights == FILE and not all(given):
            raise BenchError("weights: got 'file'; name the file and its sha256 beside it")
        if self.weights != FILE and any(given):
            raise BenchError(
                f"weights: got {self.weights!r} beside file or sha256; set weights: file, or leave "
                "them out"
            )
        if self.weights not in (RANDOM, FILE):
            _check_entry(self.weights)


def _refused(weights: str) -> str:
    """Why a stage's output is no source of weights here, and what is."""
    kind, _, key = weights.partition("/")
    if kind == "weights":
        return f"weights: got {weights!r}; name the catalogue's entry that weights.{key} has"
    return (
        f"weights: got {weights!r}; a prior's stage does not wait for a run. Train {key} first, "
        "then set weights: file, file: <its seed0.safetensors>, sha256: <that file's>"
    )


def _check_entry(name: str) -> None:
    entry = assets.find(name)
    if entry.kind != "weights":
        raise BenchError(f"weights: {name} is a {entry.kind} of the catalogue; expected weights")


def entries(config: Weights) -> tuple[str, ...]:
    """The catalogue's entries that are fetched."""
    if config.weights in (RANDOM, FILE):
        return ()
    return (config.weights,)


def path_of(config: Weights) -> Path:
    """Where the weights lie. Raises BenchError if they cannot be had, or the file is another."""
    if config.weights != FILE:
        return assets.fetch(config.weights)
    path = Path(config.file or "").expanduser()
    if not path.is_file():
        raise BenchError(f"file: {path}: no such file; expected weights")
    _expect(path, config.sha256, sha256(path))
    return path


def _expect(path: Path, expected: str | None, got: str) -> None:
    if got != expected:
        raise BenchError(
            f"{path}: SHA-256 expected {expected}, got {got}; write that one into sha256 if the "
            "new weights are meant"
        )


def hashes(config: Weights, build: Callable[[Any], nn.Module]) -> dict[str, str]:
    """For a record: what the weights are called -> their SHA-256. ``build`` draws random ones."""
    if config.weights == RANDOM:
        return {f"random, seed {config.seed}": digest(build(config))}
    return {config.weights: sha256(path_of(config))}


def load(network: nn.Module, config: Weights, what: str) -> nn.Module:
    """The network with its weights, strictly; in evaluation mode.

    what: begins the error of weights that do not fit. Of a file, wrappers and prefixes of names are
    taken off. Raises BenchError if the weights cannot be had, or do not fit.
    """
    path = path_of(config)
    problem = _problem(network, assets.load_weights(path))
    if not problem:
        return network.eval()
    for reading in read_checkpoint(path):
        for prefix in ("", RUN_PREFIX):
            weights = {}
            for name, value in reading.weights.items():
                weights[name.removeprefix(prefix)] = value
            if not _problem(network, weights):
                return network.eval()
    raise BenchError(f"{what}: {path}: not the weights of this network ({problem})")


def _problem(network: nn.Module, weights: dict[str, torch.Tensor]) -> str:
    """Load them strictly; "", or why they do not fit."""
    try:
        network.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        return shortened(str(error), 600)
    return ""


def digest(network: nn.Module) -> str:
    """SHA-256 of a network's weights, names and values: 64 hexadecimal digits."""
    found = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


# --- folders of the libraries transformers and diffusers ------------------------------------------


@dataclass(frozen=True)
class Folder:
    """Settings of a provider whose model is a folder, as ``hf download OWNER/NAME`` brings it.

    folder: relative to params.yaml, ``~`` is the home folder. sha256: of the weights in it, so that
    other weights there are noticed; a wrong one is refused with the right one.
    Raises BenchError where one is given without the other.
    """

    folder: str | None = None
    sha256: Hash | None = None

    def __post_init__(self) -> None:
        if (self.folder is None) != (self.sha256 is None):
            raise BenchError("folder and sha256 belong together: give both")


def folder_of(config: Folder, what: str, parts: tuple[str, ...]) -> Path:
    """The folder that the settings name, its weights in ``parts`` compared with their SHA-256.

    Raises BenchError if it is not named, absent, or holds other weights; the advice names ``what``.
    """
    if config.folder is None:
        raise BenchError(
            f"{what}: no folder named; bring the model with `hf download`, and set folder and "
            "sha256 (docs/providers.md)"
        )
    folder = Path(config.folder).expanduser()
    for part in parts:
        if not (folder / part / "config.json").is_file():
            raise BenchError(f"{what}: {folder / part}: no config.json; expected {what}'s folder")
    _expect(folder, config.sha256, folder_hash(folder, parts))
    return folder


def folder_hash(folder: Path, parts: tuple[str, ...]) -> str:
    """SHA-256 over the weights (``*.safetensors``) and configurations in the parts of a folder.

    Raises BenchError for a part without weights.
    """
    found = hashlib.sha256()
    for part in parts:
        files = sorted((folder / part).glob(WEIGHTS))
        if not files:
            raise BenchError(f"{folder / part}: no {WEIGHTS}; weights as pickles are not read")
        for file in [folder / part / "config.json", *files]:
            found.update(f"{sha256(file)} {part}/{file.name}\n".encode())
    return found.hexdigest()


def extra(module: str, what: str) -> Any:
    """A package of the extra ``features``. Raises BenchError if it is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        raise BenchError(f"{what}: no Python package {module} installed; {EXTRA}") from None
