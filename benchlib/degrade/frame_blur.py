"""A few frames of a panning and zooming camera, averaged, then compressed.

Out of distribution as REDS is: it averages interpolated frames of a moving camera and has a
compressed variant (Nah et al. 2019). Here the frames are few, so that edges leave separate ghosts,
the zoom makes the blur grow towards the corners, and JPEG stands in for the video codec.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from PIL import Image
from pydantic import Field

from benchlib.degrade import _motion
from benchlib.degrade._checks import Frames, Gamma, Pixels, Share, check_sharp

VERSION = 1
USES = {"degrade/_motion.py": 1}
NEEDS_REGION = False

Zoom = Annotated[float, Field(ge=0, le=0.5)]
Quality = Annotated[int, Field(ge=1, le=95)]


@dataclass(frozen=True)
class Config:
    """How the camera pans and zooms, and how strongly the picture is compressed."""

    frames: Frames = 5  # frames averaged
    extent: Pixels = 14.0  # pixels; the longest pan at the image's centre
    least: Share = 0.4  # the shortest pan, as a share of the longest
    bend: Share = 0.15  # the largest sagitta of the pan's arc, as a share of its length
    zoom: Zoom = 0.02  # the largest change of magnification over the exposure
    quality: Quality = 50  # JPEG quality (Pillow; chroma halved)
    gamma: Gamma = 2.2  # camera response x^(1/gamma)


def degrade(
    hq: np.ndarray, config: Config, rng: np.random.Generator, region: np.ndarray | None = None
) -> np.ndarray:
    """``(H,W,3)`` uint8 RGB, sharp -> the same size and type, panned over and compressed.

    Raises BenchError for another shape or type.
    """
    check_sharp(hq)
    extent = _motion.draw_length(rng, config.extent, config.least)
    bend = config.bend * rng.uniform(-1.0, 1.0)
    path = _motion.line_path(rng, config.frames, extent, bend)
    zoom = 1.0 + config.zoom * rng.uniform(-1.0, 1.0) * np.linspace(-0.5, 0.5, config.frames)
    light = _motion.to_linear(hq, config.gamma)
    light = _motion.average_poses(light, path, np.zeros(config.frames), zoom)
    return _compressed(_motion.to_8bit(light, config.gamma), config.quality)


def _compressed(image: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="JPEG", quality=quality, subsampling="4:2:0")
    return np.array(Image.open(file).convert("RGB"))
