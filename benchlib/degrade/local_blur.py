"""One region moves, the rest stands still: out of distribution as ReLoBlur is (local motion).

The region is a layer that moves over the background during the exposure; both are averaged in linear light with the
layer's coverage, which is soft where it passes only for a while. Behind the layer lies the nearest background pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from benchlib.contracts import BenchError
from benchlib.degrade import _motion

NEEDS_REGION = True


@dataclass(frozen=True)
class Config:
    extent: _motion.Pixels = 20.0  # pixels; the longest motion
    least: _motion.Share = 0.5  # the shortest motion, as a share of the longest
    bend: _motion.Share = 0.2  # the largest sagitta of the motion's arc, as a share of its length
    gamma: _motion.Gamma = 2.2  # camera response x^(1/gamma)


def degrade(hq: np.ndarray, config: Config, rng: np.random.Generator, region: np.ndarray | None = None) -> np.ndarray:
    """``(H,W,3)`` uint8 RGB and the ``(H,W)`` bool region that moves -> the same image with that region blurred.

    Pixels that the region never reaches (further from it than ``extent`` + 2 pixels at the most) are hq's own.
    Raises BenchError without a region, or for one that is empty or of another size.
    """
    if region is None:
        raise BenchError("local-blur: needs the region that moves; give a (H,W) bool mask")
    _motion.check(hq, region)
    extent = _motion.draw(rng, config.extent, config.least)
    path = _motion.line(rng, int(4 * extent) + 2, extent, config.bend * rng.uniform(-1.0, 1.0))
    scene = _motion.to_linear(hq, config.gamma)
    layer = np.concatenate([scene, np.ones_like(scene[..., :1])], axis=2) * region[..., None]
    moved = _motion.average(layer, path)
    light, coverage = moved[..., :3], moved[..., 3:]
    mixed = _motion.to_8bit(light + (1.0 - coverage) * _behind(scene, region), config.gamma)
    return np.where(coverage > 0.0, mixed, hq)


def _behind(scene: np.ndarray, region: np.ndarray) -> np.ndarray:
    """The scene with the region replaced by the nearest pixel outside it (the scene itself if there is no outside)."""
    if region.all():
        return scene
    y, x = ndimage.distance_transform_edt(region, return_distances=False, return_indices=True)
    return scene[y, x]
