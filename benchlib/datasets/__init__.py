"""Where pairs come from: one file is one kind of source, and its name is the file's stem.

Every file (``photographs.py``, ``folder.py``) holds::

    VERSION = 1       # raised when the pairs that it gives change
    DEGRADES = True   # False: its pairs are finished, and `degrade` must be {name: none}
    USES = {...}      # may be absent: other versioned files that its pairs pass through
    GIVES_DEPTH = True  # may be absent: it hands each pixel's distance to what reads it (haze)
    CLIPS = False     # may be absent; True: pairs of one source are frames of one clip, in order

    @dataclass(frozen=True)
    class Config: ...                         # the set's settings, all but `degrade`
    def pairs(config, out, make) -> list      # one record a pair, see :func:`pair_record`

config: a relative ``path`` in it was joined to the folder of ``params.yaml`` before.
out: the set's own folder; a source may write there, below ``lq`` and ``hq``, and nowhere else.
make: how an lq is made of an hq, see :class:`Maker`.
An unknown image, an empty list or a missing file raises BenchError.

To add a source of pairs, add a file: ``docs/data.md`` takes ten minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchlib.contracts import BenchError, whole_scale
from benchlib.files import composed, sha256
from benchlib.imageio import image_size, pixels_digest, read_image

Degrade = Callable[..., np.ndarray]
Region = Callable[[Path], np.ndarray]


@dataclass(frozen=True)
class Maker:
    """How one set makes an lq of an hq: its degradation, ready to be called.

    name: the set's; it seeds the generators that ``degrade`` is given.
    degrade: ``(hq (H,W,3) uint8, generator, region or None) -> lq``, see ``benchlib/degrade``; with
        ``needs_depth``, ``(hq, generator, region or None, depth (H,W) float)``.
    region: gives the ``(H,W)`` bool mask of what moves in a sharp file; None: nothing does.
    multiple: hq is cut at the right and bottom to a multiple of so many pixels.
    needs_depth: whether ``degrade`` reads each pixel's distance, which a source that states
        ``GIVES_DEPTH`` gives.
    """

    name: str
    degrade: Degrade
    region: Region | None = None
    multiple: int = 1
    needs_depth: bool = False

    @classmethod
    def from_module(
        cls, name: str, module: Any, config: Any, region: Region | None = None
    ) -> Maker:
        """What a file of ``degrade`` with its ``config`` makes in the set ``name``.

        region: asked only where the degradation needs one.
        """

        def degrade(
            hq: np.ndarray,
            rng: np.random.Generator,
            mask: np.ndarray | None,
            *depth: np.ndarray,
        ) -> np.ndarray:
            return module.degrade(hq, config, rng, mask, *depth)

        multiple = 1
        if hasattr(module, "multiple"):
            multiple = module.multiple(config)
        deep = reads_depth(module, config)
        if not module.NEEDS_REGION:
            return cls(name, degrade, None, multiple, deep)
        return cls(name, degrade, region, multiple, deep)


def reads_depth(degradation: Any, config: Any) -> bool:
    """Whether a file of ``degrade`` so set is given the distance of each pixel."""
    return hasattr(degradation, "needs_depth") and degradation.needs_depth(config)


def same_name(name: str) -> str:
    """What two names share that some file system takes for one: however accents and case are."""
    return composed(composed(name).casefold())


def check_names(names: Iterable[str], where: str) -> None:
    """Raise BenchError, beginning with ``where``, for two images that would be one file somewhere.

    ``A`` beside ``a``, an accent written in two ways, or the same name twice.
    """
    seen: dict[str, str] = {}
    for name in names:
        key = same_name(name)
        if key in seen:
            raise BenchError(
                f"{where}: {_two_images(seen[key], name)}; rename one, or put it into another set"
            )
        seen[key] = name


def _two_images(one: str, other: str) -> str:
    if one == other:
        return f"two images of the name '{one}'"
    if composed(one) == composed(other):
        return f"two images of the name '{composed(one)}', its accents written in two ways"
    return f"two images of the names '{one}' and '{other}', which some systems take for one"


def pair_record(
    folder: Path,
    image: str,
    lq: Path,
    hq: Path,
    source: str,
    asset: str = "",
    pixels: str | None = None,
) -> dict[str, Any]:
    """One pair as a line of the set's manifest, with the SHA-256 of both files and their sizes.

    folder: what ``lq`` and ``hq`` are recorded relative to: the set's own, where ``asset`` is
        empty (the source wrote the files), or that of the catalogue entry ``asset`` (it did not).
    image: unique in the set, whatever the case of its letters, and safe as a file name.
    lq: as large as hq, or smaller (super-resolution); an 8-bit picture, or an ``.npy`` file that
        ``imageio.write_lq`` wrote.
    source: what was photographed; images of one source are no independent witnesses.
    pixels: ``imageio.pixels_digest`` of the picture that hq was cut from; None: hq is that whole.
    Raises BenchError for a file that is no image, or sizes of which hq's is no whole multiple.
    """
    if pixels is None:
        pixels = pixels_digest(read_image(hq))
    small, large = image_size(lq), image_size(hq)
    scale = whole_scale(small, large)
    if scale is None:
        raise BenchError(
            f"{lq}: {small} pixels, but its reference {hq} has {large}; expected the same size, or "
            "a whole multiple (super-resolution)"
        )
    return {
        "image": image,
        "lq": lq.relative_to(folder).as_posix(),
        "hq": hq.relative_to(folder).as_posix(),
        "asset": asset,
        "sha256_lq": sha256(lq),
        "sha256_hq": sha256(hq),
        "source": source,
        "pixels": pixels,
        "height": small[0],
        "width": small[1],
        "scale": scale,
    }
