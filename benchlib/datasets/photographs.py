"""Pairs made here: photographs of the catalogue, cut into tiles and degraded with a seed."""

from __future__ import annotations

import itertools
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from PIL import Image
from pydantic import Field

from benchlib import assets
from benchlib.contracts import BenchError
from benchlib.datasets import Maker, check_names, pair_record, same_name
from benchlib.files import progress, sha256, spread
from benchlib.imageio import (
    image_files,
    image_size,
    no_images,
    pixels_digest,
    read_image,
    write_lq,
    write_png,
)
from benchlib.seeding import name_rng, name_seed

VERSION = 1
USES = {"assets/contents.py": 1}  # which files a catalogue entry means, and their order
DEGRADES = True

Position = Annotated[int, Field(ge=0)]
Part = Annotated[list[Position], Field(min_length=2, max_length=2)]
Count = Annotated[int, Field(ge=1)]
Side = Annotated[int, Field(ge=16)]
Shrink = Annotated[int, Field(ge=1, le=8)]


@dataclass(frozen=True)
class Config:
    """Which photographs, and how they are cut before they are degraded.

    images: catalogue names, of single photographs or of whole sets.
    path: in their place, a folder of one's own photographs; relative to params.yaml.
    part: [start, stop): these positions of all the photographs in a fixed, shuffled order.
    min_side: pixels; smaller photographs of a set are left out before ``part`` counts.
    tile: pixels; photographs are cut into tiles of at least this side; None: they stay whole.
    copies: independent degradations of each.
    long_side: pixels; longer photographs are reduced to it first.
    shrink_jpeg: reduction of sources stored as JPEG, which hides their artefacts.
    seed: of the degradations, beside the names of the set and the image.

    Raises BenchError for a name given twice, and for no images at all.
    """

    images: list[str] = field(default_factory=list)
    path: str | None = None
    part: Part | None = None
    min_side: Count = 1
    tile: Side | None = None
    copies: Count = 1
    long_side: Side | None = None
    shrink_jpeg: Shrink = 2
    seed: Position = 0

    def __post_init__(self) -> None:
        _check_named_once(self)


class Photograph(NamedTuple):
    """One photograph of a set.

    image: unique in the list and safe as a file name: the catalogue name, or in a set its stem.
    source: the catalogue name, or in a set ``name/stem``.
    path: the file as its source ships it.
    """

    image: str
    source: str
    path: Path


def pairs(config: Config, out: Path, make: Maker) -> list[dict[str, Any]]:
    """Write ``out/hq/<tile>.png`` and ``out/lq/<image>.png|npy``; return one record a pair.

    The generator of an lq is seeded by the set's name, the tile, the copy and ``config.seed``.
    The region of a tile is asked for once; all copies share it and their sharp file.
    image: ``coffee``, with tiles ``coffee-0``; further copies ``coffee_c1``.
    source: the catalogue name; of a set with ``/`` and the file's stem. copy: its number.
    Raises BenchError for a photograph smaller than ``make.multiple``, and for two images of one
    name (a photograph called like another one's tile or copy).
    """
    found = list_photographs(config)
    records: list[dict[str, Any]] = []
    _check_copies(config, found, make.name)
    _say_repeated(config)
    number = _number_of_images(config, found)
    for photograph in progress(found, f"degrade {make.name}"):
        whole = read_image(photograph.path)
        pixels = pixels_digest(whole)
        for tile, hq in _tiles(config, photograph, whole, make.multiple):
            records += _degraded(config, out, make, tile, hq, photograph.source, pixels, number)
    return records


def _check_copies(config: Config, photographs: list[Photograph], name: str) -> None:
    """A photograph is not called like another one's copy. With tiles, names end with a number."""
    if config.tile is not None:
        return
    images = []
    for photograph in photographs:
        images += [_copy_name(photograph.image, copy) for copy in range(config.copies)]
    check_names(images, f"photographs: {name}")


def _copy_name(tile: str, copy: int) -> str:
    if copy:
        return f"{tile}_c{copy}"
    return tile


def _degraded(
    config: Config,
    out: Path,
    make: Maker,
    tile: str,
    hq: np.ndarray,
    source: str,
    pixels: str,
    number: int,
) -> Iterator[dict[str, Any]]:
    """Write a tile and its degraded copies; their records. number: of all images of the set."""
    sharp = spread(out / "hq", f"{tile}.png", number)
    write_png(sharp, hq)
    region = None
    if make.region:
        region = make.region(sharp)
    for copy in range(config.copies):
        image = _copy_name(tile, copy)
        rng = name_rng(make.name, tile, copy, config.seed)
        lq = write_lq(spread(out / "lq", image, number), make.degrade(hq, rng, region))
        record = pair_record(out, image, lq, sharp, source, pixels=pixels)
        yield record | {"copy": copy}


def list_photographs(config: Config) -> list[Photograph]:
    """The photographs in the order given, a set's in the set's order; ``part`` shuffles them first.

    The shuffled order depends on the photographs' names alone. So every prefix is a fair sample,
    parts that do not overlap share no photograph, and the settings that follow change none.
    A stem that an earlier photograph of the list has gets its set's name before it. A set's file
    that is another's copy (T91 has a pair) is left out, so that no photograph stands in two parts.
    Raises BenchError for a part that is empty or out of range.
    """
    found: dict[str, Photograph] = {}
    for name, files in _file_lists(config):
        for stem, source, path in _named_files(config, name, files):
            image = _free_name(found, stem, name)
            found[same_name(image)] = Photograph(image, source, path)
    if not found:
        raise BenchError(f"photographs: {_why_none(config)}")
    if config.part is None:
        return list(found.values())
    return _shuffled_part(list(found.values()), config.part)


def _why_none(config: Config) -> str:
    if config.path and not image_files(config.path):
        return f"{config.path}: {no_images(config.path)}"
    where = config.path or ", ".join(config.images)
    return f"{where}: no image of at least {config.min_side} pixels; add some"


def _check_named_once(config: Config) -> None:
    if bool(config.images) == bool(config.path):
        raise BenchError(
            "photographs: give `images`, names of the catalogue, or `path`, a folder of your own"
        )
    for name, count in Counter(config.images).items():
        if count > 1:
            raise BenchError(
                f"photographs: {name} given twice; use `copies` for several degradations"
            )


def _file_lists(config: Config) -> Iterator[tuple[str, list[Path]]]:
    """Each name and its files: one for a single photograph, those of a set or a folder."""
    if config.path:
        yield os.path.basename(os.path.abspath(config.path)), image_files(config.path)
    for name in config.images:
        yield name, assets.images(name)


def _named_files(config: Config, name: str, files: list[Path]) -> Iterator[tuple[str, str, Path]]:
    """(name wished for, source, file) of each photograph that ``name`` stands for."""
    if len(files) == 1 and not config.path:
        yield name, name, files[0]
        return
    for path in _distinct(files, config.min_side):
        yield path.stem, f"{name}/{path.stem}", path


def _distinct(files: list[Path], min_side: int) -> list[Path]:
    """A set's files without those that repeat an earlier one's bytes, and without small ones."""
    sizes = Counter(path.stat().st_size for path in files)
    seen: set[str] = set()
    kept = []
    for path in files:
        if sizes[path.stat().st_size] > 1:  # only files of one size can be of the same bytes
            digest = sha256(path)
            if digest in seen:
                continue
            seen.add(digest)
        if min(image_size(path)) >= min_side:
            kept.append(path)
    return kept


def _say_repeated(config: Config) -> None:
    """A line for each file of one's own folder that is left out: an earlier one has its bytes."""
    if not config.path:
        return
    files = image_files(config.path)
    kept = set(_distinct(files, 0))
    for path in files:
        if path not in kept:
            print(f"left out: {path.name}: the same bytes as another file of its folder")


def _free_name(taken: dict[str, Photograph], stem: str, name: str) -> str:
    """A file name that differs from those taken by more than the case of its letters."""
    stem = _safe(stem)
    if same_name(stem) not in taken:
        return stem
    wish = _safe(f"{name}-{stem}")
    for number in itertools.count(2):
        if same_name(wish) not in taken:
            break
        wish = _safe(f"{name}-{stem}-{number}")
    return wish


def _safe(name: str) -> str:
    return re.sub(r"[^\w.-]|^\.", "_", name, flags=re.ASCII)


def _shuffled_part(photographs: list[Photograph], part: list[int]) -> list[Photograph]:
    start, stop = part
    if not start < stop <= len(photographs):
        raise BenchError(
            f"photographs: part [{start}, {stop}]; "
            f"expected 0 <= start < stop <= {len(photographs)}, their number"
        )
    return sorted(photographs, key=_place_in_shuffle)[start:stop]


def _place_in_shuffle(photograph: Photograph) -> int:
    return name_seed("part", photograph.image)


def cut_evenly(length: int, tile: int | None) -> list[tuple[int, int]]:
    """Cut ``length`` pixels into as many near-equal stretches of at least ``tile`` as fit.

    One stretch if it is shorter, or if ``tile`` is None. Pairs of its first pixel and that after
    its last.

    >>> cut_evenly(400, 128)
    [(0, 133), (133, 267), (267, 400)]
    """
    count = 1
    if tile:
        count = max(1, length // tile)
    edges = [round(i * length / count) for i in range(count + 1)]
    return list(itertools.pairwise(edges))


def _tiles(
    config: Config, photograph: Photograph, whole: np.ndarray, multiple: int
) -> Iterator[tuple[str, np.ndarray]]:
    """Names and ``(H,W,3)`` uint8 tiles of a photograph, row by row, cut to ``multiple``."""
    image = _reduced(config, whole, photograph.path)
    height, width = image.shape[:2]
    cuts = itertools.product(cut_evenly(height, config.tile), cut_evenly(width, config.tile))
    for number, ((top, bottom), (left, right)) in enumerate(cuts):
        bottom -= (bottom - top) % multiple
        right -= (right - left) % multiple
        hq = image[top:bottom, left:right].copy()
        if not hq.size:
            raise BenchError(
                f"{photograph.path}: {image.shape[:2]} pixels; "
                f"expected at least {multiple} on each side"
            )
        name = photograph.image
        if config.tile is not None:
            name = f"{name}-{number}"
        yield name, hq


def _number_of_images(config: Config, photographs: list[Photograph]) -> int:
    """How many images a set will have. Raises BenchError for a file that is no image."""
    tiles = len(photographs)
    if config.tile is not None:
        tiles = 0
        for photograph in photographs:
            height, width = _reduced_size(config, image_size(photograph.path), photograph.path)
            tiles += len(cut_evenly(height, config.tile)) * len(cut_evenly(width, config.tile))
    return config.copies * tiles


def _reduced(config: Config, image: np.ndarray, path: Path) -> np.ndarray:
    """Smaller by ``shrink_jpeg`` if it is a JPEG, and within ``long_side``.

    Bicubic with antialiasing, as one step.
    """
    whole = (image.shape[0], image.shape[1])
    size = _reduced_size(config, whole, path)
    if size == whole:
        return image
    return np.array(Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC))


def _reduced_size(config: Config, size: tuple[int, int], path: Path) -> tuple[int, int]:
    """Height and width of what :func:`_reduced` makes of a picture of that size."""
    factor = 1.0
    if path.suffix.lower() in (".jpg", ".jpeg"):
        factor = float(config.shrink_jpeg)
    if config.long_side:
        factor = max(factor, max(size) / config.long_side)
    return max(1, round(size[0] / factor)), max(1, round(size[1] / factor))
