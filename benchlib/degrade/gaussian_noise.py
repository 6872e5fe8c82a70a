"""White Gaussian noise, independent in every pixel and colour: the colour denoising benchmarks.

``clip: false`` is how the networks are trained and tested, with values outside [0,1] and no
rounding: DnCNN (cszn/DnCNN, ``Demo_test_CDnCNN_Specific.m``), FFDNet (cszn/FFDNet,
``Demo_AWGN_Color.m``), SwinIR (JingyunLiang/SwinIR, ``main_test_swinir.py``, ``color_dn``) and ART
(gladzhang/ART, ``basicsr/data/paired_image_dataset.py``, ``denoising_color``). They restart their
generator at seed 0 for every image, so images of one size share one noise; here it is drawn from
the image's name, so a single image's PSNR is not theirs, the mean over a set nearly is.

``clip: true`` is what a file or a camera can hold: clipped to [0,255] and rounded. Zhang et al.
2018 (FFDNet, "AWGN with clipping", ``Demo_AWGN_Color_Clip.m``) test that apart, with weights of
its own: the noise is no longer white.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from benchlib.degrade._checks import check_sharp

VERSION = 1
NEEDS_REGION = False

Levels = Annotated[float, Field(gt=0, le=255)]


@dataclass(frozen=True)
class Config:
    """How strong the noise is, and what holds it."""

    sigma: Levels = 25.0  # standard deviation in grey levels, white = 255
    clip: bool = False  # True: rounded and clipped to 8 bits


def degrade(
    hq: np.ndarray, config: Config, rng: np.random.Generator, region: np.ndarray | None = None
) -> np.ndarray:
    """``(H,W,3)`` uint8 RGB -> ``(H,W,3)`` float32, ``hq/255`` plus noise, not clipped.

    uint8 with ``config.clip``. Raises BenchError for another shape or type.
    """
    check_sharp(hq)
    noisy = rng.standard_normal(hq.shape, dtype=np.float32)
    noisy *= np.float32(config.sigma)
    noisy += hq
    if config.clip:
        return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    noisy /= np.float32(255)
    return noisy
