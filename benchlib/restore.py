"""From a run's parameters and weights to a restored image: what training and evaluation share. Floor 3."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from benchlib import registry
from benchlib.contracts import Backbone, BenchError, reads
from benchlib.imageio import quantise, read_image, read_lq, to_tensor
from benchlib.params import Evaluation, Suite, configure
from benchlib.records import Pair


def build_model(suite: Suite, key: str) -> nn.Module:
    """The run's network, freshly initialised from torch's global generator."""
    run = suite.run(key)
    backbone, shape = configure("backbones", run.backbone, f"runs.{key}.backbone")
    method, settings = configure("methods", run.method, f"runs.{key}.method")
    return method.build(Backbone.of(backbone, shape), settings)


def load_model(suite: Suite, key: str, seed: int) -> nn.Module:
    """The trained network of one run and seed, in evaluation mode. Raises BenchError if it has not been trained."""
    path = suite.work / "runs" / key / f"seed{seed}.safetensors"
    if not path.exists():
        raise BenchError(
            f"{path}: run '{key}' has no weights of seed {seed}; run its train stage (dvc repro train@{key})"
        )
    model = build_model(suite, key)
    model.load_state_dict(load_file(path), strict=True)
    return model.eval()


def needs_of(suite: Suite, key: str) -> tuple[str, ...]:
    """The batch entries that the run's method reads."""
    method, settings = configure("methods", suite.run(key).method, f"runs.{key}.method")
    return reads(method, settings)


class Priors:
    """What a prior gives for one image, by ``<set>/<image>``; nothing where the prior is ``none``."""

    def __init__(self, suite: Suite, key: str):
        self.name = suite.prior(key).prior["name"]  # not the module: loading processes get a copy of this object
        self.folder = suite.work / "priors" / key
        self.gives: tuple[str, ...] = registry.load("priors", self.name).ENTRIES

    def load(self, pair: Pair, shape: tuple[int, ...]) -> Any:
        """The whole prior of an image of that ``(H,W)``. Raises BenchError if it is of another size or not there."""
        file = self.folder / pair.dataset / f"{pair.image}.npz"
        stored = registry.load("priors", self.name).load(file)
        if stored.labels.shape != tuple(shape):
            raise BenchError(
                f"{file}: a prior of {stored.labels.shape} pixels for an image of {tuple(shape)}; make it anew"
            )
        return stored

    def crop(self, stored: Any, *where: int, **flips: bool) -> dict[str, np.ndarray]:
        """Its entries for one crop, see the room's contract; {} where there is no prior."""
        return registry.load("priors", self.name).crop(stored, *where, **flips) if self.gives else {}


def read_pair(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """Its lq ``(h,w,3)`` (uint8, or float32 where noise is not rounded) and its hq ``(H,W,3)`` uint8.

    hq is a whole multiple of lq, after it is cut at the right and bottom to one, as MATLAB's scripts do (modcrop).
    Raises BenchError if it is none.
    """
    lq, hq = read_lq(pair.lq), read_image(pair.hq)
    (h, w), (height, width) = lq.shape[:2], hq.shape[:2]
    scale = height // h
    if scale < 1 or scale != width // w or height - scale * h >= scale or width - scale * w >= scale:
        raise BenchError(
            f"{pair.lq}: {lq.shape[:2]} pixels, but its reference {pair.hq} has {hq.shape[:2]}; expected the same "
            "size, or a whole multiple (super-resolution)"
        )
    return lq, hq[: scale * h, : scale * w]


def in_tiles(how: Evaluation, shape: tuple[int, ...]) -> bool:
    """Whether an image of that ``(H,W)`` is restored in tiles."""
    return how.tile is not None and max(shape[:2]) > how.tile


def device_at_hand() -> torch.device:
    """The accelerator if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def restore(
    model: nn.Module,
    pair: Pair,
    priors: Priors,
    needs: tuple[str, ...],
    device: torch.device,
    how: Evaluation | None = None,
) -> np.ndarray:
    """One restored image, ``(scale H,scale W,3)`` uint8, whole or in overlapping tiles as ``how`` says.

    Raises BenchError if the pair's prior does not fit its image.
    """
    lq = read_lq(pair.lq)
    height, width = lq.shape[:2]
    batch = {"lq": to_tensor(lq)[None]}
    if needs:
        entries = priors.crop(priors.load(pair, (height, width)), 0, 0, height, width)
        batch |= {name: torch.from_numpy(np.ascontiguousarray(entries[name]))[None] for name in needs}
    with torch.inference_mode():
        if how and how.tile and in_tiles(how, (height, width)):
            return quantise(_tiled(model, batch, how.tile, how.overlap, device))
        return quantise(model({k: v.to(device) for k, v in batch.items()})[0].float().cpu())


def _starts(length: int, tile: int, overlap: int) -> list[int]:
    """Where tiles begin so that they cover ``length`` and overlap by at least ``overlap``, spaced evenly."""
    if length <= tile:
        return [0]
    count = -(-(length - overlap) // (tile - overlap))
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def _tiled(
    model: nn.Module, batch: dict[str, torch.Tensor], tile: int, overlap: int, device: torch.device
) -> torch.Tensor:
    """Restore in tiles; where tiles overlap, their mean."""
    height, width = batch["lq"].shape[-2:]
    total = count = torch.zeros(0)
    for top in _starts(height, tile, overlap):
        for left in _starts(width, tile, overlap):
            window = (..., slice(top, top + tile), slice(left, left + tile))
            out = model({k: v[window].to(device) for k, v in batch.items()})[0].float().cpu()
            scale = out.shape[-1] // min(tile, width)
            if not total.numel():
                total, count = (torch.zeros(n, scale * height, scale * width) for n in (3, 1))
            rows, columns = (slice(scale * first, scale * (first + tile)) for first in (top, left))
            total[:, rows, columns] += out
            count[:, rows, columns] += 1
    return total / count
