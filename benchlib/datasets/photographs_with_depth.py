"""Photographs and the distance of each of their pixels, for what depends on it: haze.

Distances are the catalogue's (``depths``), or lie beside photographs of one's own, as
``path/hq/<name>.png`` and ``path/depth/<name>.npy``: an array ``(H,W)`` (``.npy``, or ``.npz`` that
holds one), or a PNG of 16 bits. What is known of a stereo pair is the disparity, by which a pixel
moves from one view to the other: ``maps: disparity`` makes distances of that.

A pixel without a distance (no number, infinite, not above 0) gets that of the nearest one that has.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from PIL import Image
from pydantic import Field
from scipy.ndimage import distance_transform_edt

from benchlib import assets
from benchlib.contracts import BenchError
from benchlib.datasets import Maker, check_names, pair_record
from benchlib.files import check_file, progress
from benchlib.imageio import (
    image_files,
    no_images,
    pixels_digest,
    read_image,
    read_lq,
    write_lq,
    write_png,
)
from benchlib.seeding import name_rng

VERSION = 1
DEGRADES = True
GIVES_DEPTH = True
MAPS = (".npy", ".npz", ".png")

Count = Annotated[int, Field(ge=1)]
Side = Annotated[int, Field(ge=16)]
Seed = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]


@dataclass(frozen=True)
class Config:
    """Which photographs, and what their maps say.

    images, depths: catalogue names, a map for each photograph. path: in their place, a folder of
    one's own with ``hq/`` and ``depth/``; relative to params.yaml. maps: what a map holds. offset:
    pixels added to each disparity (the distance of the two views' principal points). baseline: of
    the stereo pair in metres, times its focal length in pixels; a distance is that by the disparity
    and so in metres (1: in no unit). long_side: pixels; larger photographs are reduced to it.
    copies: independent degradations of each. seed: of these, beside the names of set and image.
    Raises BenchError for neither or both of ``images`` and ``path``, and where maps lack.
    """

    images: list[str] = field(default_factory=list)
    depths: list[str] = field(default_factory=list)
    path: str | None = None
    maps: Literal["distance", "disparity"] = "distance"
    offset: Annotated[float, Field(ge=0)] = 0.0
    baseline: Positive = 1.0
    long_side: Side | None = None
    copies: Count = 1
    seed: Seed = 0

    def __post_init__(self) -> None:
        if bool(self.images) == bool(self.path):
            raise BenchError(
                "photographs_with_depth: give `images` and `depths`, names of the catalogue, or "
                "`path`, a folder of your own"
            )
        if len(self.images) != len(self.depths):
            raise BenchError(
                f"photographs_with_depth: {len(self.images)} images and {len(self.depths)} depths; "
                "expected one map for each image, in their order"
            )


class Scene(NamedTuple):
    """One photograph and its map. image: its name; source: what it shows."""

    image: str
    source: str
    photograph: Path
    depth: Path


def pairs(config: Config, out: Path, make: Maker) -> list[dict[str, Any]]:
    """Write ``out/hq/<image>.png`` and ``out/lq/<image>.png|npy``; return one record a pair.

    image: ``motorcycle``, further copies ``motorcycle_c1``. copy: its number.
    Raises BenchError for a photograph without a map, a map of another size, or one that has no
    distance at all.
    """
    scenes = _scenes(config)
    check_names(list(_image_names(scenes, config.copies)), f"photographs_with_depth: {make.name}")
    records: list[dict[str, Any]] = []
    for scene in progress(scenes, f"degrade {make.name}"):
        records += _degraded(config, out, make, scene)
    return records


def _image_names(scenes: list[Scene], copies: int) -> Iterator[str]:
    for scene in scenes:
        for copy in range(copies):
            yield _copy_name(scene.image, copy)


def _copy_name(image: str, copy: int) -> str:
    if copy:
        return f"{image}_c{copy}"
    return image


def _degraded(config: Config, out: Path, make: Maker, scene: Scene) -> Iterator[dict[str, Any]]:
    whole = read_image(scene.photograph)
    depth = _distances(config, scene, whole.shape)
    hq, depth = _fitted(whole, depth, config.long_side, make.multiple)
    sharp = out / "hq" / f"{scene.image}.png"
    write_png(sharp, hq)
    region = None
    if make.region:
        region = make.region(sharp)
    for copy in range(config.copies):
        image = _copy_name(scene.image, copy)
        rng = name_rng(make.name, scene.image, copy, config.seed)
        if make.needs_depth:
            lq = make.degrade(hq, rng, region, depth)
        else:
            lq = make.degrade(hq, rng, region)
        file = write_lq(out / "lq" / image, lq)
        pixels = pixels_digest(whole)
        yield pair_record(out, image, file, sharp, scene.source, pixels=pixels) | {"copy": copy}


def _fitted(
    image: np.ndarray, depth: np.ndarray, long_side: int | None, multiple: int
) -> tuple[np.ndarray, np.ndarray]:
    """Both within ``long_side``, and cut at the right and bottom to a multiple of pixels.

    The photograph is reduced bicubically with antialiasing; the map by nearest pixel, since between
    two things at an edge there is nothing.
    """
    height, width = image.shape[:2]
    factor = max(1.0, max(height, width) / (long_side or max(height, width)))
    if factor > 1:
        size = (max(1, round(width / factor)), max(1, round(height / factor)))
        image = np.array(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
        depth = np.array(Image.fromarray(depth).resize(size, Image.Resampling.NEAREST))
        width, height = size
    height -= height % multiple
    width -= width % multiple
    return image[:height, :width].copy(), depth[:height, :width].copy()


def _scenes(config: Config) -> list[Scene]:
    if config.path:
        return list(_own(Path(config.path)))
    scenes = []
    for name, depth in zip(config.images, config.depths, strict=True):
        files = assets.images(name)
        if len(files) != 1:
            raise BenchError(
                f"photographs_with_depth: images: {name} has {len(files)} photographs; name single "
                "ones, or a folder of your own (`path`)"
            )
        scenes.append(Scene(name, name, files[0], assets.fetch(depth)))
    return scenes


def _own(folder: Path) -> Iterator[Scene]:
    files = image_files(folder / "hq")
    if not files:
        raise BenchError(f"{folder / 'hq'}: {no_images(folder / 'hq')}")
    for file in files:
        named = [folder / "depth" / f"{file.stem}{suffix}" for suffix in MAPS]
        there = [path for path in named if path.exists()]
        if len(there) != 1:
            raise BenchError(
                f"{file}: {len(there)} maps of its distances; expected one, "
                f"{folder / 'depth' / file.stem} with {', '.join(MAPS)}"
            )
        yield Scene(file.stem, file.stem, file, there[0])


def _distances(config: Config, scene: Scene, shape: tuple[int, ...]) -> np.ndarray:
    """``(H,W)`` float32: the distance of each pixel of a photograph."""
    found = _read_map(scene.depth)
    if found.shape != shape[:2]:
        raise BenchError(
            f"{scene.depth}: {found.shape}; expected {shape[:2]}, as {scene.photograph} has"
        )
    known = np.isfinite(found) & (found > 0)
    if not known.any():
        raise BenchError(f"{scene.depth}: no pixel has a distance; expected numbers above 0")
    if not known.all():
        nearest = distance_transform_edt(~known, return_distances=False, return_indices=True)
        found = found[tuple(nearest)]
    if config.maps == "disparity":
        return (config.baseline / (found + config.offset)).astype(np.float32)
    return found.astype(np.float32)


def _read_map(path: Path) -> np.ndarray:
    """What a file holds, ``(H,W)`` float64. Raises BenchError, naming it, for anything else."""
    check_file(path)
    if path.suffix == ".png":
        return read_lq(path)[..., 0].astype(np.float64)
    try:
        read = np.load(path, allow_pickle=False)
        if isinstance(read, np.lib.npyio.NpzFile):
            with read:
                (name,) = read.files
                read = read[name]
        return read.astype(np.float64)
    except (OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise BenchError(
            f"{path}: no map of distances ({error}); expected one array (H,W) of numbers"
        ) from None


def example(folder: Path) -> Config:
    """Two photographs of one's own with maps, for the contract tests."""
    for name in ("a", "b"):
        write_png(folder / "hq" / f"{name}.png", np.full((5, 6, 3), 90, np.uint8))
        (folder / "depth").mkdir(exist_ok=True)
        np.save(folder / "depth" / f"{name}.npy", np.ones((5, 6), np.float32))
    return Config(path=str(folder))
