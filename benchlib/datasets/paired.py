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

Where the catalogue has a table of pairs, images and sources are called as the table says. Files
that it says are stored turned are turned back, copied, and counted in one line: 34 pairs of
Rain100L as Nealgo/DerainSys@d332525a holds them. Networks that learnt rain that falls take less of
it off where it flies sideways: as stored, PReNet reaches 33.9 dB there, upright 37.5.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchlib import assets
from benchlib.assets.entry import Table
from benchlib.datasets import Maker, check_names, pair_record
from benchlib.files import progress
from benchlib.imageio import read_image, read_lq, write_lq, write_png

VERSION = 1
USES = {"assets/contents.py": 1}  # which files a catalogue entry means, and their order
DEGRADES = False


@dataclass(frozen=True)
class Config:
    """Which published pairs."""

    asset: str  # catalogue name
    split: str  # "train", "test" or "val", as the catalogue's layout has it


class Found(NamedTuple):
    """A pair's files, what it shows, and the quarter turns by which both files are stored."""

    source: str
    lq: Path
    hq: Path
    turned: int = 0


def pairs(config: Config, out: Path, make: Maker) -> list[dict[str, Any]]:
    """One record a pair, relative to the folder of ``asset``; nothing is made.

    Nothing is copied either, but for pairs that are stored turned: those are turned back into
    ``out/lq`` and ``out/hq``, and one line says how many they are.
    image: the lq file's path below what all share (``GOPR0384_11_00-blur-000001``, ``babyx4``), or
    as the table of pairs calls it.
    source: the folder of the sequence or scene that it lies in; "" where all lie in one; of pairs
    that share their hq, its name; or as the table says.
    Raises BenchError if the data is absent, incomplete or not as many as published (it says what
    to do), or if two images would get one name.
    """
    folder = assets.folder(config.asset)
    records = []
    turned = 0
    for image, found in progress(_found(config).items(), f"hash {config.asset}"):
        if found.turned:
            records.append(_turned_back(config.asset, out, image, found))
            turned += 1
        else:
            record = pair_record(folder, image, found.lq, found.hq, found.source, config.asset)
            records.append(record)
    if turned:
        print(
            f"{config.asset}, {config.split}: {turned} of {len(records)} pairs are stored turned "
            "and were turned back"
        )
    return records


def _turned_back(asset: str, out: Path, image: str, found: Found) -> dict[str, Any]:
    """The record of a pair that is stored turned, after writing it upright."""
    upright = np.rot90(read_lq(found.lq), -found.turned)
    lq = write_lq(out / "lq" / image, np.ascontiguousarray(upright))
    hq = out / "hq" / f"{image}.png"
    write_png(hq, np.ascontiguousarray(np.rot90(read_image(found.hq), -found.turned)))
    source = ""
    if found.source:
        source = f"{asset}/{found.source}"  # as those that lie in the entry's folder are called
    return pair_record(out, image, lq, hq, source)


def _found(config: Config) -> dict[str, Found]:
    """The pairs by the name of their image."""
    files = assets.pairs(config.asset, config.split)
    layout = assets.find(config.asset).layout[config.split]
    if isinstance(layout, Table):
        rows = zip(layout.table, files, strict=True)
        return {row.image: Found(row.source, *pair, row.turned) for row, pair in rows}
    shared = os.path.commonpath([lq.parent for lq, _ in files])
    found: dict[str, Found] = {}
    names = ["-".join(_below(lq, shared)) for lq, _ in files]
    check_names(names, f"{config.asset}: split {config.split}")
    several = len({hq for _, hq in files}) < len(files)
    for image, (lq, hq) in zip(names, files, strict=True):
        below = _below(lq, shared)
        source = ""
        if several:
            source = hq.stem
        elif len(below) > 1:
            source = below[0]
        found[image] = Found(source, lq, hq)
    return found


def _below(file: Path, folder: str) -> tuple[str, ...]:
    """The parts of a file's path below a folder, without its suffix."""
    return file.relative_to(folder).with_suffix("").parts
