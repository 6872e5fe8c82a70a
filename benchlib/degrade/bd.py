"""Blurred by a Gaussian, then every fourth pixel: "BD" of video super-resolution.

Two forms go by that name, and a network that learnt one reads the other as a shifted clip: official
BasicVSR, fed with the other form, reaches 20.2 dB on Vid4 (open-mmlab/mmagic issue 318; 27 to 28
are printed).

form:
    ``matlab``: BasicVSR's (ckkelvinchan/BasicVSR-IconVSR ``BD_degradation.m``, and RCAN's script
    that it follows): a kernel of ``2 ceil(3 sigma) + 2`` taps, 12, whose middle lies between two
    pixels; the border is repeated (``imfilter``, ``replicate``), and of the blurred image rows and
    columns 2, 6, 10, ... are taken. As the kernel's middle is half a pixel further, each lies in
    the middle of its block of 4x4 pixels, where a bicubic reduction has it too.
    ``duf``: DUF's (XPixelGroup/BasicSR at 8d56e3a, ``duf_downsample``): 13 taps, the border
    mirrored without its pixel, and pixels 1, 5, 9, ...: 1.5 pixels up and left of the blocks'
    middles.

The result is rounded to 8 bits, as files are; BasicSR's test with ``duf`` keeps the fractions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from benchlib.contracts import BenchError
from benchlib.degrade._checks import check_sharp

VERSION = 1
NEEDS_REGION = False
DUF_TAPS = 13


@dataclass(frozen=True)
class Config:
    """scale: how much smaller. sigma: of the Gaussian, in pixels of hq. form: whose."""

    scale: Literal[2, 4] = 4
    sigma: Annotated[float, Field(ge=0.1, le=10)] = 1.6
    form: Literal["matlab", "duf"] = "matlab"


def multiple(config: Config) -> int:
    """Both sides of hq must be a multiple of this many pixels."""
    return config.scale


def degrade(
    hq: np.ndarray, config: Config, rng: np.random.Generator, region: np.ndarray | None = None
) -> np.ndarray:
    """``(H,W,3)`` uint8 RGB -> ``(H/scale,W/scale,3)`` uint8 RGB; nothing is drawn from ``rng``.

    Raises BenchError for another shape or type, or a side that is no multiple of ``config.scale``.
    """
    check_sharp(hq)
    if hq.shape[0] % config.scale or hq.shape[1] % config.scale:
        raise BenchError(
            f"hq: {hq.shape[:2]} pixels; expected multiples of {config.scale}; "
            "crop it at the right and bottom"
        )
    levels = _sampled(_sampled(hq.astype(np.float64), 0, config), 1, config)
    return np.floor(np.clip(levels, 0, 255) + 0.5).astype(np.uint8)


def _sampled(image: np.ndarray, axis: int, config: Config) -> np.ndarray:
    """Blurred and sampled along one axis, which becomes ``scale`` times shorter."""
    taps = DUF_TAPS
    first = -(DUF_TAPS // 2)  # of the taps of the first sample, from the image's first pixel
    if config.form == "matlab":
        taps = 2 * math.ceil(3 * config.sigma) + 2
        first = config.scale // 2 - taps // 2
    weights = np.exp(-((np.arange(taps) - (taps - 1) / 2) ** 2) / (2 * config.sigma**2))
    weights /= weights.sum()
    image = np.moveaxis(image, axis, 0)
    length = len(image)
    places = first + np.arange(taps) + config.scale * np.arange(length // config.scale)[:, None]
    rows = image[_inside(places, length, config.form)]
    return np.moveaxis(np.einsum("nt...,t->n...", rows, weights), 0, axis)


def _inside(places: np.ndarray, length: int, form: str) -> np.ndarray:
    """The pixels that stand at places beyond the image: its border, or mirrored ones."""
    if form == "matlab" or length == 1:
        return np.clip(places, 0, length - 1)
    there = np.abs(places) % (2 * length - 2)
    return np.minimum(there, 2 * length - 2 - there)
