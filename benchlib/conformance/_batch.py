"""A batch of images with everything that priors may give of them, for trying methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchlib import registry
from benchlib.conformance._subject import Unavailable
from benchlib.contracts import Window

Batch = dict[str, torch.Tensor]
SIZE = 256  # numbers of a vector or a token, where a method's Config has no ``size``


def masks(count: int, height: int, width: int, size: int, rng: torch.Generator) -> Batch:
    """``labels`` (B,H,W) int64 in 0..5 and ``bits`` (B,1,H,W) int64."""
    labels = torch.randint(0, 6, (count, height, width), generator=rng)
    bits = torch.where(labels > 0, 1 << (labels - 1).clamp(min=0), 0).unsqueeze(1)
    return {"labels": labels, "bits": bits}


def vector(count: int, height: int, width: int, size: int, rng: torch.Generator) -> Batch:
    """``vector`` (B,d) float32."""
    return {"vector": torch.randn(count, size, generator=rng)}


def tokens(count: int, height: int, width: int, size: int, rng: torch.Generator) -> Batch:
    """``tokens`` (B,4,d) float32, all there (``tokens_mask``)."""
    there = torch.ones(count, 4, dtype=torch.bool)
    return {"tokens": torch.randn(count, 4, size, generator=rng), "tokens_mask": there}


def picture(count: int, height: int, width: int, size: int, rng: torch.Generator) -> Batch:
    """``picture`` (B,3,H,W) float32 in [0,1]."""
    return {"picture": torch.rand(count, 3, height, width, generator=rng)}


def restored(count: int, height: int, width: int, size: int, rng: torch.Generator) -> Batch:
    """``restored`` (B,3,H,W) float32 in [0,1]."""
    return {"restored": torch.rand(count, 3, height, width, generator=rng)}


def points(count: int, height: int, width: int, size: int, rng: torch.Generator) -> Batch:
    """``points`` (B,3,2) float32 in pixels (x, y), ``points_label`` (B,3), ``boxes`` (B,1,4)."""
    sides = torch.tensor([width, height], dtype=torch.float32)
    places = torch.rand(count, 3, 2, generator=rng) * sides
    corners = torch.rand(count, 2, 2, generator=rng).sort(1).values * sides
    labels = torch.randint(0, 2, (count, 3), generator=rng)
    return {"points": places, "points_label": labels, "boxes": corners.reshape(count, 1, 4)}


KINDS: tuple[Callable[..., Batch], ...] = (masks, vector, tokens, picture, points, restored)


def batch(
    height: int, width: int, count: int = 2, needs: tuple[str, ...] = (), size: int = SIZE
) -> Batch:
    """``lq`` (B,3,H,W) float32 in [0,1], and what every kind of prior gives of it.

    needs: entries that must be there: of a kind that is a plug-in by its ``example``, and of a
    bundle's part under its name (``faces.vector``).
    Raises Unavailable for an entry that no kind gives here.
    """
    rng = torch.Generator().manual_seed(1)
    made = {"lq": torch.rand(count, 3, height, width, generator=rng)}
    for kind in KINDS:
        made |= kind(count, height, width, size, rng)
    for entry in needs:
        plain = entry.rpartition(".")[2]
        if plain not in made:
            made |= _by_example(plain, height, width, count)
        made.setdefault(entry, made[plain])
    return made


def _by_example(entry: str, height: int, width: int, count: int) -> Batch:
    for name in registry.names("priors/kinds"):
        kind: Any = registry.load("priors/kinds", name)
        if entry in kind.ENTRIES and hasattr(kind, "example"):
            whole = Window(0, 0, height, width)
            crops = []
            for seed in range(count):
                crops.append(kind.crop(kind.example(height, width, seed), whole))
            return kind.collate(crops)
    raise Unavailable(
        f"it reads {entry!r}, and no kind of prior gives that here; name the kind's file too, and "
        "write `example(height, width, seed)` into it"
    )


def as_bytes(value: torch.Tensor) -> bytes:
    """A tensor's values, to compare two of them bit by bit."""
    return np.ascontiguousarray(value.detach().numpy()).tobytes()
