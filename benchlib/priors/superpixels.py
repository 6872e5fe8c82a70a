"""The control "any segmentation": superpixels of scikit-image in the place of SAM's masks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from benchlib.priors.kinds.masks import MaskSet, mask_set

VERSION = 1
KIND = "masks"
ON_CPU = True
CONTROL = True  # it stands in another prior's place: a run with it is no answer of its own


@dataclass(frozen=True)
class Config:
    """Which superpixels, and how many.

    kind: "slic" (Achanta et al. 2012) or "felzenszwalb" (Felzenszwalb and Huttenlocher 2004).
    segments: at most so many regions; for felzenszwalb, whose number follows from the image, the
    largest are taken. compactness: of slic. scale, sigma: of felzenszwalb, scikit-image's meaning,
    for values in [0,1].
    """

    kind: Literal["slic", "felzenszwalb"] = "slic"
    segments: Annotated[int, Field(ge=1, le=1024)] = 64
    compactness: Annotated[float, Field(gt=0)] = 10.0
    scale: Annotated[float, Field(gt=0)] = 100.0
    sigma: Annotated[float, Field(ge=0)] = 0.8


def open(config: Config, device: str) -> Callable[[np.ndarray], MaskSet]:
    """From an image to its regions; there is no model to load."""
    import skimage.segmentation  # noqa: F401  (so that loading it is not counted as the first image's)

    return partial(segment, config=config)


def segment(image: np.ndarray, config: Config) -> MaskSet:
    """The regions of an ``(H,W,3)`` uint8 image as disjoint masks, largest first."""
    from skimage.segmentation import felzenszwalb, slic

    if config.kind == "slic":
        labels = slic(
            image, n_segments=config.segments, compactness=config.compactness, start_label=0
        )
    else:
        labels = felzenszwalb(image, scale=config.scale, sigma=config.sigma)
    area = np.bincount(labels.ravel())
    largest = np.argsort(-area, kind="stable")[: config.segments]
    order = [i for i in largest if area[i]]
    ones = np.ones(len(order))  # superpixels have no scores of SAM's kind
    return mask_set((labels == i for i in order), image.shape[:2], ones, ones)


def record(config: Config, device: str) -> dict[str, Any]:
    """Settings and versions."""
    return {
        "config": dataclasses.asdict(config),
        "versions": {"scikit-image": version("scikit-image")},
    }
