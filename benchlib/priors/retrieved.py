"""The photograph of a data set that is most like the image, by the features of a provider: what a
synthesised reference has to beat.

A reference that a diffusion model paints costs minutes; one that is looked up among the training
photographs costs nothing. With ``pick: another`` any photograph of the set is taken: the control
that shows what a reference as such is worth. A photograph that shows the image's own scene is never
taken, since it would be the answer.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from PIL import Image
from pydantic import Field

from benchlib import assets as catalogue
from benchlib import registry
from benchlib.assets.pinned import entry_hash
from benchlib.contracts import BenchError
from benchlib.imageio import read_image
from benchlib.params import configure
from benchlib.priors import _seen
from benchlib.priors.kinds.picture import Picture
from benchlib.seeding import name_seed

VERSION = 1
USES = {
    "priors/_seen.py": 1,
    "priors/blip2.py": 1,
    "priors/clip.py": 1,
    "priors/dinov2.py": 1,
    "priors/efficientnet_lite0.py": 1,
    "priors/restorer.py": 1,
    "priors/sam_embedding.py": 1,
    "priors/stable_diffusion.py": 1,
}
KIND = "picture"
SHOWN = "photographs looked up in a data set"
THUMBNAIL = 16  # pixels, of the test whether two images show the same scene
EXAMPLE = {
    "asset": "t91",
    "most": 4,
    "provider": {"name": "efficientnet_lite0", "weights": "random"},
}


def _provider() -> dict[str, Any]:
    return {"name": "efficientnet_lite0"}


@dataclass(frozen=True)
class Config:
    """asset: the catalogue's data set whose photographs are looked through; split: of a set of
    pairs, the sharp side of that split. provider: a prior of the kind vector, with its settings.
    pick: the nearest by the cosine of the vectors, or another, drawn by the image's pixels.
    most: photographs, the first. side: longer side of what is kept, pixels. square: the middle
    square alone is kept; else upright and broad photographs are stretched to one shape wherever
    they meet in a batch. same: from that correlation of two thumbnails on, they show one scene (-1
    to 1).
    """

    asset: str = ""
    split: str = ""
    provider: dict[str, Any] = field(default_factory=_provider)
    pick: Literal["nearest", "another"] = "nearest"
    most: Annotated[int, Field(ge=1, le=100_000)] = 1000
    side: Annotated[int, Field(ge=16, le=4096)] = 256
    square: bool = False
    same: Annotated[float, Field(ge=0, le=1)] = 0.9

    def __post_init__(self) -> None:
        if self.asset:
            catalogue.find(self.asset)
        if self.split == "test":
            raise BenchError("split: got 'test'; a reference is no test image")
        module, _ = configure("priors", self.provider, "provider")
        if module.KIND != "vector":
            raise BenchError(
                f"provider.name: {self.provider['name']} is of kind {module.KIND}; expected vector"
            )


def stands_in(config: Config) -> bool:
    """Whether it is a control in another prior's place."""
    module, provider = configure("priors", config.provider, "provider")
    drawn = hasattr(module, "stands_in") and module.stands_in(provider)
    return config.pick == "another" or drawn


def assets(config: Config) -> tuple[str, ...]:
    """The catalogue's entries that it fetches."""
    module, provider = configure("priors", config.provider, "provider")
    found: list[str] = []
    if config.asset:
        found.append(config.asset)
    if hasattr(module, "assets"):
        found += module.assets(provider)
    return tuple(found)


def drawn_from(config: Config) -> list[dict[str, Any]]:
    """The photographs that it looks among, as an entry of ``data`` would name them."""
    if not config.asset:
        return []
    if config.split:
        return [{"asset": config.asset, "split": config.split}]
    return [{"images": [config.asset]}]


class Shelf(NamedTuple):
    """The photographs: files, a unit vector each ``(n,d)``, a thumbnail each ``(n,256)``."""

    files: list[Path]
    vectors: np.ndarray
    thumbnails: np.ndarray


def open(config: Config, device: str) -> Callable[[np.ndarray], Picture]:
    """From an ``(H,W,3)`` uint8 RGB image to a photograph of the data set, not aligned with it.

    Raises BenchError if no data set is named, or it or the provider cannot be had.
    """
    return Librarian(config, device)


class Librarian:
    """Looks photographs up; ``notes``: of the last one."""

    def __init__(self, config: Config, device: str) -> None:
        module, provider = configure("priors", config.provider, "provider")
        self.config = config
        self.give = module.open(provider, device)
        self.shelf = _shelf(config, self.give, device)
        self.found: dict[str, Any] = {}

    def __call__(self, image: np.ndarray) -> Picture:
        shelf = self.shelf
        alike = shelf.thumbnails @ thumbnail(image)
        allowed = np.flatnonzero(alike < self.config.same)
        if not len(allowed):
            raise BenchError(
                f"every photograph of {self.config.asset} looks like this image; raise same, or "
                "take another data set"
            )
        cosines = shelf.vectors[allowed] @ unit(self.give(image).values)
        place = int(cosines.argmax())
        if self.config.pick == "another":
            pixels = hashlib.sha256(image.tobytes()).hexdigest()
            place = name_seed("retrieved", pixels) % len(allowed)
        file = shelf.files[allowed[place]]
        self.found = {"photograph": file.name, "cosine": round(float(cosines[place]), 4)}
        photograph = read_image(file)
        if self.config.square:
            photograph = middle(photograph)
        return Picture(smaller(photograph, self.config.side), aligned=False)

    def notes(self) -> dict[str, Any]:
        """Which photograph, and the cosine of its vector and the image's."""
        return self.found


def _photographs(config: Config) -> list[Path]:
    """Raises BenchError if no data set is named, or it cannot be had."""
    if not config.asset:
        raise BenchError("retrieved: no data set named; set asset to one of `benchlib ls assets`")
    if config.split:
        return [hq for _, hq in catalogue.pairs(config.asset, config.split)[: config.most]]
    return catalogue.images(config.asset)[: config.most]


def _shelf(config: Config, give: Callable[[np.ndarray], Any], device: str) -> Shelf:
    """The photographs as the provider sees them; what it has seen before is kept."""
    files = _photographs(config)

    def see(image: np.ndarray) -> dict[str, np.ndarray]:
        return {"vector": unit(give(image).values), "thumbnail": thumbnail(image)}

    made_from = {"prior": "retrieved", "version": VERSION, "device": device}
    made_from["provider"] = _provider_record(config, device)
    seen = _seen.look(files, see, ("vector", "thumbnail"), made_from, f"look at {config.asset}")
    vectors = np.stack([one["vector"] for one in seen])
    return Shelf(files, vectors, np.stack([one["thumbnail"] for one in seen]))


def unit(vector: np.ndarray) -> np.ndarray:
    """A vector divided by its norm; zeros stay zeros."""
    return vector / max(float(np.linalg.norm(vector)), 1e-12)


def thumbnail(image: np.ndarray) -> np.ndarray:
    """``(256,)``: a grey thumbnail of mean 0 and norm 1, so that a product is a correlation.

    Brightness and contrast do not change it: a photograph taken in the dark is the same scene.
    """
    size = (THUMBNAIL, THUMBNAIL)
    small = Image.fromarray(image).convert("L").resize(size, Image.Resampling.BOX)
    values = np.asarray(small, np.float64).ravel()
    return unit(values - values.mean())


def middle(image: np.ndarray) -> np.ndarray:
    """The largest square about the middle of an ``(H,W,3)`` image."""
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]


def smaller(image: np.ndarray, side: int) -> np.ndarray:
    """The image, its longer side of at most ``side`` pixels (bicubic, antialiased)."""
    small = Image.fromarray(image)
    small.thumbnail((side, side), Image.Resampling.BICUBIC)
    return np.array(small)


def record(config: Config, device: str) -> dict[str, Any]:
    """Settings, the data set's hash, what the provider says of itself."""
    _photographs(config)
    return {
        "config": dataclasses.asdict(config),
        "photographs": {config.asset: entry_hash(catalogue.find(config.asset))},
        "provider": _provider_record(config, device),
    }


def _provider_record(config: Config, device: str) -> dict[str, Any]:
    """What the provider says of itself, and its version."""
    module, provider = configure("priors", config.provider, "provider")
    file = f"priors/{config.provider['name']}.py"
    return {"version": registry.version(file)} | module.record(provider, device)
