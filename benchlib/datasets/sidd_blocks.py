"""SIDD's validation blocks: real noise of smartphones, as two MATLAB files hold it.

``ValidationNoisyBlocksSrgb.mat`` and ``ValidationGtBlocksSrgb.mat``, each an array of its file's
name: photographs, blocks of each, height, width, colours (40, 32, 256, 256, 3), uint8 RGB. The
1,280 blocks are what MPRNet, Restormer and Uformer print for SIDD (swz30/Restormer@df766d55,
``Denoising/test_real_denoising_sidd.py``, whose file names the images here have).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from benchlib import assets
from benchlib.contracts import BenchError
from benchlib.datasets import Maker, pair_record
from benchlib.files import check_file, progress
from benchlib.imageio import pixels_digest, write_png

VERSION = 1
USES = {"assets/contents.py": 1}  # where the two files lie
DEGRADES = False

SPLIT = "validation"  # the only one whose references are published
NOISY = "ValidationNoisyBlocksSrgb"
CLEAN = "ValidationGtBlocksSrgb"
# What SciPy raises for files of another kind, of version 7.3 (HDF5), or cut off.
UNREADABLE = (MatReadError, NotImplementedError, ValueError, TypeError, OSError, zlib.error)


@dataclass(frozen=True)
class Config:
    """Which two files."""

    path: str | None = None  # of their folder, relative to params.yaml; null: the catalogue's
    asset: str = "sidd-validation"  # catalogue name


def pairs(config: Config, out: Path, make: Maker) -> list[dict[str, Any]]:
    """Write every block as ``out/lq`` and ``out/hq``, PNG; return one record a block.

    image: photograph and block, counted from one (``0001_01``). source: the photograph.
    Raises BenchError for a file that is absent or no MATLAB file of version 7 or less, lacks its
    array, or holds one of another type or shape than its partner.
    """
    noisy_file, clean_file = _files(config)
    noisy, clean = _blocks(noisy_file, NOISY), _blocks(clean_file, CLEAN)
    if noisy.shape != clean.shape:
        raise BenchError(
            f"{noisy_file}: {noisy.shape}, but its reference {clean_file} has {clean.shape}; "
            "expected the same"
        )
    records = []
    for number in progress(range(len(noisy)), "write SIDD's blocks"):
        records += _written(out, f"{number + 1:04d}", noisy[number], clean[number])
    return records


def _written(out: Path, name: str, noisy: np.ndarray, clean: np.ndarray) -> list[dict[str, Any]]:
    """Write the ``(blocks, H, W, 3)`` blocks of one photograph; their records.

    All have the photograph's digest, that of its blocks one below the other.
    """
    pixels = pixels_digest(np.concatenate(list(clean)))
    records = []
    for number, (degraded, reference) in enumerate(zip(noisy, clean, strict=True), 1):
        image = f"{name}_{number:02d}"
        lq, hq = out / "lq" / f"{image}.png", out / "hq" / f"{image}.png"
        write_png(lq, np.ascontiguousarray(degraded))
        write_png(hq, np.ascontiguousarray(reference))
        records.append(pair_record(out, image, lq, hq, f"sidd/{name}", pixels=pixels))
    return records


def _files(config: Config) -> tuple[Path, Path]:
    if config.path:
        folder = Path(config.path)
        return folder / f"{NOISY}.mat", folder / f"{CLEAN}.mat"
    ((noisy, clean),) = assets.pairs(config.asset, SPLIT)
    return noisy, clean


def _blocks(file: Path, name: str) -> np.ndarray:
    """``(photographs, blocks, H, W, 3)`` uint8 of one file."""
    check_file(file)
    if not file.exists():
        raise BenchError(f"{file}: not there; put SIDD's {name}.mat there")
    try:
        found = loadmat(file, variable_names=[name])
    except UNREADABLE as error:
        said = " ".join(str(error).split())
        raise BenchError(f"{file}: no whole MATLAB file of version 7 or less ({said})") from None
    array = found.get(name)
    if array is None:
        raise BenchError(f"{file}: holds no array {name}; take SIDD's own file")
    if array.ndim != 5 or array.shape[4] != 3 or array.dtype != np.uint8:
        raise BenchError(
            f"{file}: {name} is {array.shape} {array.dtype}; expected (photographs, blocks, "
            "height, width, 3) uint8"
        )
    return array


def example(folder: Path) -> Config:
    """Two photographs of three blocks each to try it on, for the contract tests."""
    from scipy.io import savemat

    rng = np.random.default_rng(0)
    for name in (NOISY, CLEAN):
        blocks = rng.integers(0, 256, (2, 3, 8, 6, 3), np.uint8)
        savemat(folder / f"{name}.mat", {name: blocks})
    return Config(path=str(folder))
