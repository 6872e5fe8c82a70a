"""Pairs as their authors publish them, used where they lie: blurred and sharp, low and high resolution, rainy and dry.

The layouts and the published counts stand in the catalogue (``benchlib/assets/catalogue.yaml``). An lq may be smaller
than its hq; who reads the pair cuts an hq that is no whole multiple at the right and bottom (``restore.read_pair``), as
the authors' test code does (IMDN's Set5 has 512 pixels beside 170 at x3). Where the deblurring layouts come from:

gopro: ``train|test/<sequence>/blur|blur_gamma|sharp/*.png``. Deblurring papers since MPRNet, NAFNet among them, use
    ``blur`` (frames averaged without inverse gamma), not ``blur_gamma``; for NAFNet that is inferred, not verified
    (megvii-model/HINet issue 28: its copy is MPRNet's).
realblur-j: one line "sharp blurred" a pair in ``RealBlur_J_test_list.txt`` (seen in rimchang/RSBlur, ``datalist/``).
reds: ``val/val_blur|val_sharp/<clip>/<frame>.png``, 30 clips of 100 frames. SAM-Deblur tests on 3,000 images: all of
    val; NAFNet's own REDS result is on 300 of the JPEG variant. Not verified: that SAM-Deblur took ``val_blur`` and
    not ``val_blur_jpeg`` (its prepared copy is renamed, and the paper does not say).
reloblur: ``test/<scene>/<take>/<n>_blur.png`` beside ``<n>_sharp.png`` (LeiaLi/ReLoBlur, ``dataset.py``).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchlib import assets
from benchlib.contracts import BenchError
from benchlib.files import progress, sha256


@dataclass(frozen=True)
class Config:
    asset: str  # catalogue name
    split: str  # "train", "test" or "val", as the catalogue's layout has it


def pairs(config: Config, *_: Any) -> list[dict[str, Any]]:
    """One record a pair: image, lq and hq (relative to the folder of ``asset``), asset, source; nothing is copied.

    source: the folder of the sequence or scene that the images lie in; "" where all lie in one.

    Raises BenchError if the data is absent, incomplete or not as many as published (it says what to do).
    """
    found = _found(config)
    folder = assets.folder(config.asset)
    return [
        {
            "image": image,
            "lq": lq.relative_to(folder).as_posix(),
            "hq": hq.relative_to(folder).as_posix(),
            "asset": config.asset,
            "sha256_lq": sha256(lq),
            "sha256_hq": sha256(hq),
            "source": scene,
        }
        for image, scene, lq, hq in progress(found, f"hash {config.asset}")
    ]


def _found(config: Config) -> list[tuple[str, str, Path, Path]]:
    """(image, scene, lq, hq); image: the lq file's path below what all share (``GOPR0384_11_00-blur-000001``,
    ``babyx4``); scene: the first folder of that path.
    """
    files = assets.pairs(config.asset, config.split)
    shared = Path(os.path.commonpath([lq.parent for lq, _ in files]))
    below = [lq.relative_to(shared).with_suffix("").parts for lq, _ in files]
    named = [("-".join(parts), "/".join(parts[:-1][:1]), lq, hq) for parts, (lq, hq) in zip(below, files, strict=True)]
    if len({image for image, *_ in named}) < len(named):
        raise BenchError(f"{config.asset}: two images of {config.split} get one name; rename a folder")
    return named
