"""One region moves, the rest stands still: out of distribution as ReLoBlur is (local motion).

The region is a layer that moves over the background during the exposure; both are averaged in
linear light with the layer's coverage, which is soft where it passes only for a while. Behind the
layer lies the nearest background pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from benchlib.contracts import BenchError
from benchlib.degrade import _motion
from benchlib.degrade._checks import Gamma, Pixels, Share, check_region, check_sharp

VERSION = 2
# The caller gives one of MobileSAM's masks as the region (``prepare.moving_region``).
USES = {
    "degrade/_motion.py": 1,
    "priors/_loop.py": 1,
    "priors/sam.py": 2,
    "priors/kinds/masks.py": 1,
}
NEEDS_REGION = True


@dataclass(frozen=True)
class Config:
    """How far the region moves, and on which arc."""

    extent: Pixels = 20.0  # pixels; the longest motion
    least: Share = 0.5  # the shortest motion, as a share of the longest
    bend: Share = 0.2  # the largest sagitta of the motion's arc, as a share of its length
    gamma: Gamma = 2.2  # camera response x^(1/gamma)


def degrade(
    hq: np.ndarray, config: Config, rng: np.random.Generator, region: np.ndarray | None = None
) -> np.ndarray:
    """``(H,W,3)`` uint8 RGB -> the same size and type, its ``(H,W)`` bool region blurred.

    Pixels that the region never reaches (further from it than ``extent`` + 2 pixels at the most)
    are hq's own. Raises BenchError without a region, for one that is empty or of another size, or
    for an hq of another shape or type.
    """
    if region is None:
        raise BenchError("local_blur: needs the region that moves; give a (H,W) bool mask")
    check_sharp(hq)
    check_region(region, hq)
    extent = _motion.draw_length(rng, config.extent, config.least)
    bend = config.bend * rng.uniform(-1.0, 1.0)
    path = _motion.line_path(rng, int(4 * extent) + 2, extent, bend)
    scene = _motion.to_linear(hq, config.gamma)
    layer = np.concatenate([scene, np.ones_like(scene[..., :1])], axis=2) * region[..., None]
    moved = _motion.average_shifts(layer, path)
    light, coverage = moved[..., :3], moved[..., 3:]
    mixed = _motion.to_8bit(light + (1.0 - coverage) * _behind(scene, region), config.gamma)
    return np.where(coverage > 0.0, mixed, hq)


def _behind(scene: np.ndarray, region: np.ndarray) -> np.ndarray:
    """The scene with the nearest outside pixel in each of the region's; itself if all is region."""
    if region.all():
        return scene
    y, x = ndimage.distance_transform_edt(region, return_distances=False, return_indices=True)
    return scene[y, x]
