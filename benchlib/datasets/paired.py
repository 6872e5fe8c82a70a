"""Pairs as their authors publish them, used where they lie.

Blurred and sharp, low and high resolution, rainy and dry: the layouts and the published counts
stand in the catalogue (``benchlib/assets/catalogue.yaml``). An lq may be smaller than its hq; who
reads the pair cuts an hq that is no whole multiple at the right and bottom, as the authors' test
code does (IMDN's Set5 has 512 pixels beside 170 at x3). Where the deblurring layouts come from:

gopro: ``train|test/<sequence>/blur|blur_gamma|sharp/*.png``. Deblurring papers since MPRNet,
    NAFNet among them, use ``blur`` (frames averaged without inverse gamma), not ``blur_gamma``;
    for NAFNet that is inferred, not verified (megvii-model/HINet issue 28: its copy is MPRNet's).
realblur-j: one line "sharp blurred" a pair in ``RealBlur_J_test_list.txt`` (seen in
    rimchang/RSBlur, ``datalist/``).
reds: ``val/val_blur|val_sharp/<clip>/<frame>.png``, 30 clips of 100 frames. SAM-Deblur tests on
    3,000 images: all of val; NAFNet's own REDS result is on 300 of the JPEG variant. Not verified:
    that SAM-Deblur took ``val_blur`` and not ``val_blur_jpeg`` (its prepared copy is renamed, and
    the paper does not say).
reloblur: ``test/<scene>/<take>/<n>_blur.png`` beside ``<n>_sharp.png`` (LeiaLi/ReLoBlur,
    ``dataset.py``).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchlib import assets
from benchlib.datasets import Maker, check_names, pair_record
from benchlib.files import progress

VERSION = 1
USES = {"assets/contents.py": 1}  # which files a catalogue entry means, and their order
DEGRADES = False


@dataclass(frozen=True)
class Config:
    """Which published pairs."""

    asset: str  # catalogue name
    split: str  # "train", "test" or "val", as the catalogue's layout has it


def pairs(config: Config, out: Path, make: Maker) -> list[dict[str, Any]]:
    """One record a pair, relative to the folder of ``asset``; nothing is copied, nothing made.

    image: the lq file's path below what all share (``GOPR0384_11_00-blur-000001``, ``babyx4``).
    source: the folder of the sequence or scene that it lies in; "" where all lie in one.
    Raises BenchError if the data is absent, incomplete or not as many as published (it says what
    to do), or if two images would get one name.
    """
    folder = assets.folder(config.asset)
    records = []
    for image, (source, lq, hq) in progress(_found(config).items(), f"hash {config.asset}"):
        records.append(pair_record(folder, image, lq, hq, source, config.asset))
    return records


def _found(config: Config) -> dict[str, tuple[str, Path, Path]]:
    """image -> source, lq, hq."""
    files = assets.pairs(config.asset, config.split)
    shared = os.path.commonpath([lq.parent for lq, _ in files])
    found: dict[str, tuple[str, Path, Path]] = {}
    names = ["-".join(_below(lq, shared)) for lq, _ in files]
    check_names(names, f"{config.asset}: split {config.split}")
    for image, (lq, hq) in zip(names, files, strict=True):
        below = _below(lq, shared)
        source = ""
        if len(below) > 1:
            source = below[0]
        found[image] = (source, lq, hq)
    return found


def _below(file: Path, folder: str) -> tuple[str, ...]:
    """The parts of a file's path below a folder, without its suffix."""
    return file.relative_to(folder).with_suffix("").parts
