"""Pairs made here: photographs of the catalogue, cut into tiles and degraded with a seed."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from PIL import Image
from pydantic import Field

from benchlib.assets import fetch
from benchlib.contracts import BenchError
from benchlib.files import progress, sha256
from benchlib.imageio import read_image, write_png
from benchlib.seeding import name_rng

Degrade = Callable[[np.ndarray, np.random.Generator, np.ndarray | None], np.ndarray]
Region = Callable[[Path], np.ndarray]


@dataclass(frozen=True)
class Config:
    images: Annotated[list[str], Field(min_length=1)]  # catalogue names
    degrade: dict[str, Any]  # `name` of a file in benchlib/degrade, and its settings
    tile: Annotated[int, Field(ge=16)] | None = None  # pixels; cut into tiles of at least this side; None: whole
    copies: Annotated[int, Field(ge=1)] = 1  # independent degradations of each
    long_side: Annotated[int, Field(ge=16)] | None = None  # pixels; longer photographs are reduced to it first
    shrink_jpeg: Annotated[int, Field(ge=1, le=8)] = 2  # reduction of sources stored as JPEG: hides their artefacts
    seed: Annotated[int, Field(ge=0)] = 0


def images(config: Config) -> list[tuple[str, Path]]:
    """(catalogue name, file as its source ships it), in the order given. Raises BenchError for a name given twice."""
    twice = sorted({name for name in config.images if config.images.count(name) > 1})
    if twice:
        raise BenchError(f"photographs: {', '.join(twice)} given twice; use `copies` for several degradations")
    return [(name, fetch(name)) for name in config.images]


def pairs(config: Config, out: Path, name: str, degrade: Degrade, region: Region | None = None) -> list[dict[str, Any]]:
    """Write ``out/hq/<tile>.png`` and ``out/lq/<image>.png`` (8-bit RGB); return one record a pair.

    name: of the set; with the tile, the copy and ``config.seed`` it seeds the generator that ``degrade`` is given.
    degrade: ``(hq (H,W,3) uint8, generator, region or None) -> lq`` of the same shape and type.
    region: gives the ``(H,W)`` bool mask of what moves in a sharp file; called once a tile, all copies share it.
    Record: image (``coffee``, with tiles ``coffee-0``; further copies ``coffee_c1``), lq, hq, asset (empty),
    sha256_lq, sha256_hq, source (catalogue name), copy. Copies share their sharp file.
    """
    todo = [(source, *tile) for source, path in images(config) for tile in _tiles(config, source, path)]
    records = []
    for source, tile, hq in progress(todo, f"degrade {name}"):
        sharp = Path("hq") / f"{tile}.png"
        write_png(out / sharp, hq)
        mask = region(out / sharp) if region else None
        for copy in range(config.copies):
            image = f"{tile}_c{copy}" if copy else tile
            lq = degrade(hq, name_rng(name, tile, copy, config.seed), mask)
            blurred = Path("lq") / f"{image}.png"
            write_png(out / blurred, lq)
            records.append(
                {
                    "image": image,
                    "lq": blurred.as_posix(),
                    "hq": sharp.as_posix(),
                    "asset": "",
                    "sha256_lq": sha256(out / blurred),
                    "sha256_hq": sha256(out / sharp),
                    "source": source,
                    "copy": copy,
                }
            )
    return records


def grid(length: int, tile: int | None) -> list[tuple[int, int]]:
    """Cut ``length`` pixels into as many near-equal stretches of at least ``tile`` as fit (one, if it is shorter).

    >>> grid(400, 128)
    [(0, 133), (133, 267), (267, 400)]
    """
    count = max(1, length // tile) if tile else 1
    edges = [round(i * length / count) for i in range(count + 1)]
    return list(itertools.pairwise(edges))


def _tiles(config: Config, source: str, path: Path) -> list[tuple[str, np.ndarray]]:
    image = _reduced(config, read_image(path), path)
    cuts = [(y, x) for y in grid(image.shape[0], config.tile) for x in grid(image.shape[1], config.tile)]
    names = [source] if config.tile is None else [f"{source}-{i}" for i in range(len(cuts))]
    return [(n, image[y[0] : y[1], x[0] : x[1]].copy()) for n, (y, x) in zip(names, cuts, strict=True)]


def _reduced(config: Config, image: np.ndarray, path: Path) -> np.ndarray:
    """Smaller by ``shrink_jpeg`` if it is a JPEG, and within ``long_side``; bicubic with antialiasing, as one step."""
    height, width = image.shape[:2]
    factor = float(config.shrink_jpeg if path.suffix.lower() in (".jpg", ".jpeg") else 1)
    if config.long_side:
        factor = max(factor, max(height, width) / config.long_side)
    if factor == 1:
        return image
    size = (max(1, round(width / factor)), max(1, round(height / factor)))
    return np.array(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
