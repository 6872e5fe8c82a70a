"""Pairs made here: photographs of the catalogue, cut into tiles and degraded with a seed."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from PIL import Image
from pydantic import Field

from benchlib import assets
from benchlib.contracts import BenchError
from benchlib.files import progress, sha256
from benchlib.imageio import image_files, read_image, write_lq, write_png
from benchlib.seeding import name_rng, name_seed

Degrade = Callable[[np.ndarray, np.random.Generator, np.ndarray | None], np.ndarray]
Region = Callable[[Path], np.ndarray]
Part = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=2, max_length=2)]


@dataclass(frozen=True)
class Config:
    degrade: dict[str, Any]  # `name` of a file in benchlib/degrade, and its settings
    images: list[str] = field(default_factory=list)  # catalogue names, of single photographs or of whole sets
    path: str | None = None  # in their place, a folder of one's own photographs; relative to params.yaml
    part: Part | None = None  # [start, stop): these positions of all the photographs in a fixed, shuffled order
    min_side: Annotated[int, Field(ge=1)] = 1  # pixels; smaller ones of a set are left out before `part` counts
    tile: Annotated[int, Field(ge=16)] | None = None  # pixels; cut into tiles of at least this side; None: whole
    copies: Annotated[int, Field(ge=1)] = 1  # independent degradations of each
    long_side: Annotated[int, Field(ge=16)] | None = None  # pixels; longer photographs are reduced to it first
    shrink_jpeg: Annotated[int, Field(ge=1, le=8)] = 2  # reduction of sources stored as JPEG: hides their artefacts
    seed: Annotated[int, Field(ge=0)] = 0


class Photograph(NamedTuple):
    image: str  # unique in the list, safe as a file name: the catalogue name, or in a set the file's stem
    source: str  # the catalogue name, or in a set ``name/stem``
    path: Path  # the file as its source ships it


def images(config: Config) -> list[Photograph]:
    """The photographs: in the order given, a set's in the set's order; with ``part`` those of the shuffled list.

    That order depends on the photographs' names alone. So every prefix is a fair sample, parts that do not overlap
    share no photograph, and the settings that follow change none. A stem that an earlier photograph of the list has
    gets its set's name before it. A set's file that is another's copy (T91 has a pair) is left out, so that no
    photograph stands in two parts. Raises BenchError for a name given twice or a part that is empty or out of range.
    """
    if bool(config.images) == bool(config.path):
        raise BenchError("photographs: give `images`, names of the catalogue, or `path`, a folder of your own")
    twice = sorted({name for name in config.images if config.images.count(name) > 1})
    if twice:
        raise BenchError(f"photographs: {', '.join(twice)} given twice; use `copies` for several degradations")
    found: dict[str, Photograph] = {}
    lists = [(name, assets.images(name)) for name in config.images]
    if config.path:
        lists = [(Path(config.path).name, image_files(config.path))]
    for name, files in lists:
        single = len(files) == 1 and not config.path
        for path in files if single else _distinct(files, config.min_side):
            source = name if single else f"{name}/{path.stem}"
            image = _free(found, name if single else path.stem, name)
            found[image.lower()] = Photograph(image, source, path)
    if not found:
        raise BenchError(f"photographs: {config.path}: no image of at least {config.min_side} pixels; add some")
    if config.part is None:
        return list(found.values())
    start, stop = config.part
    if not start < stop <= len(found):
        raise BenchError(
            f"photographs: part [{start}, {stop}]; expected 0 <= start < stop <= {len(found)}, their number"
        )
    return sorted(found.values(), key=lambda photograph: name_seed("part", photograph.image))[start:stop]


def _distinct(files: list[Path], min_side: int) -> list[Path]:
    """A set's files without those that repeat an earlier one's bytes, and those whose shorter side is less."""
    sizes = Counter(path.stat().st_size for path in files)
    seen: dict[str, Path] = {}
    kept = []
    for path in files:
        if sizes[path.stat().st_size] > 1 and seen.setdefault(sha256(path), path) != path:
            continue
        with Image.open(path) as image:
            if min(image.size) >= min_side:
                kept.append(path)
    return kept


def _free(taken: dict[str, Photograph], stem: str, name: str) -> str:
    """A file name that differs from those taken by more than the case of its letters."""
    stem = re.sub(r"[^\w.-]|^\.", "_", stem, flags=re.ASCII)
    wishes = itertools.chain([stem, f"{name}-{stem}"], (f"{name}-{stem}-{i}" for i in itertools.count(2)))
    return next(wish for wish in wishes if wish.lower() not in taken)


def pairs(
    config: Config, out: Path, name: str, degrade: Degrade, region: Region | None = None, multiple: int = 1
) -> list[dict[str, Any]]:
    """Write ``out/hq/<tile>.png`` and ``out/lq/<image>.png|npy`` (``imageio.write_lq``); return one record a pair.

    name: of the set; with the tile, the copy and ``config.seed`` it seeds the generator that ``degrade`` is given.
    degrade: ``(hq (H,W,3) uint8, generator, region or None) -> lq``, see ``benchlib/degrade``.
    region: gives the ``(H,W)`` bool mask of what moves in a sharp file; called once a tile, all copies share it.
    multiple: hq is cut at the right and bottom to a multiple of it (the degradation's ``multiple(config)``).
    Record: image (``coffee``, with tiles ``coffee-0``; further copies ``coffee_c1``), lq, hq, asset (empty),
    sha256_lq, sha256_hq, source (catalogue name; of a set with ``/`` and the file's stem), copy. Copies share their
    sharp file. Raises BenchError for a photograph smaller than ``multiple``, and for two images of one name.
    """
    records: list[dict[str, Any]] = []
    for photograph in progress(images(config), f"degrade {name}"):
        for tile, hq in _tiles(config, photograph, multiple):
            sharp = Path("hq") / f"{tile}.png"
            write_png(out / sharp, hq)
            mask = region(out / sharp) if region else None
            for copy in range(config.copies):
                image = f"{tile}_c{copy}" if copy else tile
                lq = write_lq(out / "lq" / image, degrade(hq, name_rng(name, tile, copy, config.seed), mask))
                records.append(
                    {
                        "image": image,
                        "lq": lq.relative_to(out).as_posix(),
                        "hq": sharp.as_posix(),
                        "asset": "",
                        "sha256_lq": sha256(lq),
                        "sha256_hq": sha256(out / sharp),
                        "source": photograph.source,
                        "copy": copy,
                    }
                )
    names = [record["image"] for record in records]
    if len(set(names)) < len(names):  # a photograph called like another one's tile or copy
        twice = next(image for image in names if names.count(image) > 1)
        raise BenchError(f"photographs: two images of {name} get the name {twice}; put one of them into another set")
    return records


def grid(length: int, tile: int | None) -> list[tuple[int, int]]:
    """Cut ``length`` pixels into as many near-equal stretches of at least ``tile`` as fit (one, if it is shorter).

    >>> grid(400, 128)
    [(0, 133), (133, 267), (267, 400)]
    """
    count = max(1, length // tile) if tile else 1
    edges = [round(i * length / count) for i in range(count + 1)]
    return list(itertools.pairwise(edges))


def _tiles(config: Config, photograph: Photograph, multiple: int) -> Iterator[tuple[str, np.ndarray]]:
    image = _reduced(config, read_image(photograph.path), photograph.path)
    cuts = [(y, x) for y in grid(image.shape[0], config.tile) for x in grid(image.shape[1], config.tile)]
    for i, ((top, bottom), (left, right)) in enumerate(cuts):
        hq = image[top : bottom - (bottom - top) % multiple, left : right - (right - left) % multiple].copy()
        if not hq.size:
            raise BenchError(f"{photograph.path}: {image.shape[:2]} pixels; expected at least {multiple} on each side")
        yield photograph.image if config.tile is None else f"{photograph.image}-{i}", hq


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
