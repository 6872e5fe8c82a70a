"""The deepest map of a restoration network, averaged over the image: what a network that was
trained to restore knows of it.

PTG-RM's "-r" (Xu et al. 2024) takes a restoration network in the place of CLIP. Here it is any
backbone with its official weights, of the catalogue or of a file; the map is that of the last of
the building blocks with the coarsest map. With ``weights: random`` the same network has learnt
nothing: the control.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from benchlib.contracts import BenchError
from benchlib.priors import _features
from benchlib.priors.kinds.vector import Vector

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

VERSION = 1
USES = {
    "priors/_features.py": 1,
    "priors/_deepest.py": 1,
    "backbones/art.py": 1,
    "backbones/cat.py": 1,
    "backbones/dncnn.py": 1,
    "backbones/enlighten_gan.py": 1,
    "backbones/hinet.py": 1,
    "backbones/ifan.py": 1,
    "backbones/imdn.py": 1,
    "backbones/llformer.py": 1,
    "backbones/nafnet.py": 1,
    "backbones/prenet.py": 1,
    "backbones/ruas.py": 1,
    "backbones/sci.py": 1,
    "backbones/snr.py": 1,
    "backbones/swinir.py": 1,
    "backbones/uretinex.py": 1,
    "backbones/zero_dce.py": 1,
}
KIND = "vector"
SHOWN = "a restorer's features"
PATHS = ("file",)
RANDOM, FILE = "random", "file"
SIDE = 64  # pixels: of the pictures on which a random network's batch normalisation is set


def _zero_dce() -> dict[str, Any]:
    return {"name": "zero_dce"}


@dataclass(frozen=True)
class Config:
    """Which network, and where its weights come from.

    backbone: as a run names it, with its settings: ``{name: imdn, scale: 4}``. weights: an entry of
    the catalogue; "random", drawn by ``seed``: the control; or "file", with ``file`` (relative to
    params.yaml, ``~`` is the home folder) and its ``sha256``, so that another file of that name is
    noticed. A run's weights are such a file.
    Raises BenchError for settings that do not go together, and unknown entries.
    """

    backbone: dict[str, Any] = field(default_factory=_zero_dce)
    weights: str = "zero-dce"
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    file: str | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None

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
        f"then set weights: file, file: <its seed0.safetensors>, sha256: <that file's>"
    )


def _check_entry(name: str) -> None:
    from benchlib.assets import find

    entry = find(name)
    if entry.kind != "weights":
        raise BenchError(f"weights: {name} is a {entry.kind} of the catalogue; expected weights")


def stands_in(config: Config) -> bool:
    """Whether it is a control in another prior's place."""
    return config.weights == RANDOM


def size(config: Config) -> int:
    """Length of the vector: the channels of the deepest map.

    Raises BenchError for an unknown backbone, or one without building blocks.
    """
    from benchlib.priors import _deepest

    return _deepest.place(json.dumps(config.backbone))[1]


def assets(config: Config) -> tuple[str, ...]:
    """The catalogue's entries that it fetches."""
    if config.weights in (RANDOM, FILE):
        return ()
    return (config.weights,)


def open(config: Config, device: str) -> Callable[[np.ndarray], Vector]:
    """From an ``(H,W,3)`` uint8 RGB image to its vector, ``(channels,)`` float32.

    Raises BenchError if the weights cannot be had, do not fit the backbone, or are another file's.
    """
    network = build(config).to(device)
    return partial(features, network=network, backbone=config.backbone, device=device)


def record(config: Config, device: str) -> dict[str, Any]:
    """Settings, the weights' SHA-256, which block is read, versions."""
    from benchlib import registry
    from benchlib.priors import _deepest

    index, channels = _deepest.place(json.dumps(config.backbone))
    name = config.backbone["name"]
    return {
        "config": dataclasses.asdict(config),
        "model": name,
        "weights": _hashes(config),
        "layer": f"building block {index}, {channels} channels, mean over all places",
        "input": "whole image at its own size",
        "normalisation": "RGB in [0,1]",
        "versions": {f"backbones/{name}.py": registry.version(f"backbones/{name}.py")}
        | _features.packages(),
    }


def _hashes(config: Config) -> dict[str, str]:
    from benchlib.files import sha256

    if config.weights == RANDOM:
        return {f"random, seed {config.seed}": _features.digest(build(config))}
    if config.weights == FILE:
        return {FILE: sha256(_own_file(config))}
    return {config.weights: sha256(_fetched(config))}


def _fetched(config: Config) -> Path:
    from benchlib import assets

    return assets.fetch(config.weights)


def _own_file(config: Config) -> Path:
    """The file that the settings name. Raises BenchError if it is absent, or another."""
    from pathlib import Path

    from benchlib.files import sha256

    path = Path(config.file or "").expanduser()
    if not path.is_file():
        raise BenchError(f"restorer: file: {path}: no such file; expected weights")
    got = sha256(path)
    if got != config.sha256:
        raise BenchError(
            f"restorer: {path}: SHA-256 expected {config.sha256}, got {got}; write that one into "
            "sha256 if the new file is meant"
        )
    return path


def build(config: Config) -> nn.Module:
    """The network with its weights, in evaluation mode.

    Raises BenchError if they cannot be had, do not fit the backbone, or are another file's.
    """
    import torch

    from benchlib.priors import _deepest

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = _deepest.build(config.backbone).requires_grad_(False)
    what = f"restorer: backbone {config.backbone['name']}"
    if config.weights == RANDOM:
        pictures = (0.5 + _features.pictures(SIDE, config.seed) / 4).clamp(0, 1)
        return _features.randomise(network, config.seed, pictures)
    if config.weights == FILE:
        return _features.load_any(network, _own_file(config), what)
    return _features.load_file(network, _fetched(config), what)


def features(
    image: np.ndarray, network: nn.Module, backbone: dict[str, Any], device: str
) -> Vector:
    """The vector of an image: ``(channels,)`` float32."""
    import torch

    from benchlib.priors import _deepest

    pixels = torch.from_numpy(image).to(device).permute(2, 0, 1)[None].float() / 255
    return Vector(_deepest.pooled(backbone, network, pixels).cpu().numpy())
