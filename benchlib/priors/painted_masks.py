"""An image's masks painted as a picture: what Enlighten Anything is given of SAM's masks.

Its released ``sam.py`` (QihanZhao/enlighten-anything@b3bef40) paints the generator's masks one over
the other on white, each in a random colour; the alpha that it writes is dropped when the file is
read. Its colours are not seeded: every run of it paints another picture. Here they are drawn by the
image's name. ``colours: mean`` is another reading: each mask in its own mean colour of the image.

The masks are those of any prior of masks with its settings; of superpixels, the picture is a
control. The order is the generator's: predicted IoU, falling, so that the surest mask lies lowest.
Masks that score the same (superpixels all do) are painted as that prior orders them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from benchlib import registry
from benchlib.contracts import BenchError
from benchlib.params import configure
from benchlib.priors.kinds.masks import WORD, MaskSet
from benchlib.priors.kinds.picture import Picture
from benchlib.seeding import name_rng

VERSION = 1
USES = {"priors/kinds/masks.py": 1, "priors/sam.py": 2, "priors/superpixels.py": 1}
KIND = "picture"
SHOWN = "masks painted as a picture"
EXAMPLE = {"masks": {"name": "superpixels", "segments": 8}}
WHITE = 255


def _sam() -> dict[str, Any]:
    return {"name": "sam"}


@dataclass(frozen=True)
class Config:
    """masks: a prior of masks with its settings, as ``{name: sam, model: mobilesam}``.

    colours: "random", drawn by ``seed`` and the image's name, or "mean", the mask's own.
    Raises BenchError for what is no prior of masks, or not its settings.
    """

    masks: dict[str, Any] = field(default_factory=_sam)
    colours: Literal["random", "mean"] = "random"
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0

    def __post_init__(self) -> None:
        _masks_of(self)


def _masks_of(config: Config) -> tuple[Any, Any]:
    """(the file, its settings) of the prior whose masks are painted."""
    module, settings = configure("priors", config.masks, "masks")
    if module.KIND != "masks":
        raise BenchError(
            f"masks.name: {config.masks['name']} gives {module.KIND}; take a prior of masks, as sam"
        )
    return module, settings


def stands_in(config: Config) -> bool:
    """Whether its masks are a control in another prior's place."""
    module, settings = _masks_of(config)
    if hasattr(module, "stands_in"):
        return module.stands_in(settings)
    return getattr(module, "CONTROL", False)


def assets(config: Config) -> tuple[str, ...]:
    """The catalogue's entries that the masks' prior fetches."""
    module, settings = _masks_of(config)
    if hasattr(module, "assets"):
        return module.assets(settings)
    return ()


def told(config: Config, dataset: str, image: str) -> dict[str, Any]:
    """By which names an image's colours are drawn, and what its masks' prior is told of it."""
    module, settings = _masks_of(config)
    found: dict[str, Any] = {}
    if config.colours == "random":
        found["drawn_by"] = [config.seed, dataset, image]
    if hasattr(module, "told"):
        found["masks"] = module.told(settings, dataset, image)
    return found


def open(config: Config, device: str) -> Callable[..., Picture]:
    """From an ``(H,W,3)`` uint8 RGB image, and what is told of it, to its picture, as large.

    Raises BenchError as the masks' prior does.
    """
    return Painter(config, device)


class Painter:
    """Paints picture after picture; ``notes``: of the last one."""

    def __init__(self, config: Config, device: str) -> None:
        module, settings = _masks_of(config)
        self.config = config
        self.masks_of = module.open(settings, device)
        self.said: dict[str, Any] = {}

    def __call__(self, image: np.ndarray, told: dict[str, Any]) -> Picture:
        given = []
        if "masks" in told:
            given.append(told["masks"])
        masks: MaskSet = self.masks_of(image, *given)
        if self.config.colours == "mean":
            colours = mean_colours(masks, image)
        else:
            drawn = name_rng("painted_masks", *told["drawn_by"]).random((len(masks), 3))
            colours = (drawn * 255).astype(np.uint8)  # truncated, as there
        covered = float(np.count_nonzero(masks.labels) / masks.labels.size)
        self.said = {"n_masks": len(masks), "coverage": covered}
        return Picture(painted(masks, colours), aligned=True)

    def notes(self) -> dict[str, Any]:
        """How many masks, and the share of pixels that they cover."""
        return self.said


def painted(masks: MaskSet, colours: np.ndarray) -> np.ndarray:
    """``(H,W,3)`` uint8: masks over white in the generator's order.

    colours: ``(N,3)`` uint8, in the order in which the masks are painted.
    """
    picture = np.full((*masks.labels.shape, 3), WHITE, np.uint8)
    for index, colour in zip(painting_order(masks), colours, strict=True):
        picture[covers(masks, index)] = colour
    return picture


def painting_order(masks: MaskSet) -> np.ndarray:
    """``(N,)`` numbers of the masks by predicted IoU, falling: the package's after its NMS."""
    return np.argsort(-masks.predicted_iou, kind="stable")


def covers(masks: MaskSet, index: int) -> np.ndarray:
    """The ``(H,W)`` bool pixels of one mask; so many at a time are in memory."""
    plane, bit = divmod(int(index), WORD)
    return (masks.bits[plane] >> np.uint64(bit)) & np.uint64(1) != 0


def mean_colours(masks: MaskSet, image: np.ndarray) -> np.ndarray:
    """The image's mean over each mask, ``(N,3)`` uint8, in the order in which they are painted."""
    means = np.zeros((len(masks), 3))
    for place, index in enumerate(painting_order(masks)):
        means[place] = image[covers(masks, index)].mean(0)
    return np.rint(means).astype(np.uint8)


def record(config: Config, device: str) -> dict[str, Any]:
    """Settings, and what the masks are made by."""
    module, settings = _masks_of(config)
    version = registry.version(f"priors/{config.masks['name']}.py")
    return {
        "config": dataclasses.asdict(config),
        "masks": {"version": version} | module.record(settings, device),
    }
