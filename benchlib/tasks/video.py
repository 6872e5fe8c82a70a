"""Frames of a clip, in order: super-resolution and deblurring that look at a frame's neighbours.

An item is one frame, read, cropped, measured, saved and shown as a picture is. What differs is what
the network sees beside it. The lines of a manifest that follow each other and name one source are
the frames of one clip (``in_clips``). A network of clips says how many it sees
(``contracts.Frames``): a window around the frame, or the whole clip, each frame of which it
restores. Another network restores each frame by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from benchlib.contracts import BenchError, Frames, Window
from benchlib.imageio import quantise, read_lq, to_tensor
from benchlib.records import Pair
from benchlib.tasks.image import (
    WHOLE,
    Batch,
    Item,
    Tiles,
    batch,
    crop,
    nbytes,
    no_prior,
    picture,
    read,
    restore,
    save,
    size,
    tiled,
    views,
)

if TYPE_CHECKING:
    import torch
    from torch import nn

VERSION = 1
USES = {"tasks/image.py": 2}
CLIPS = True
__all__ = [
    "CLIPS",
    "WHOLE",
    "Item",
    "Tiles",
    "batch",
    "clip_of",
    "crop",
    "drawn",
    "in_clips",
    "joined",
    "nbytes",
    "no_prior",
    "picture",
    "read",
    "restore",
    "restore_clip",
    "save",
    "size",
    "tiled",
    "together",
    "views",
    "window",
]


def in_clips(pairs: Sequence[Pair]) -> list[Pair]:
    """The same frames, each with its clip: those of one set and scene that follow each other.

    A frame without a scene is a clip of its own.
    """
    found: list[Pair] = []
    for (_dataset, scene), group in groupby(pairs, key=_same_clip):
        frames = tuple(group)
        if not scene:
            found += frames
            continue
        for place, frame in enumerate(frames):
            found.append(replace(frame, clip=frames, place=place))
    return found


def _same_clip(pair: Pair) -> tuple[str, str]:
    return pair.dataset, pair.scene


def clip_of(pair: Pair) -> tuple[Pair, ...]:
    """The frames of a frame's clip, in order; itself alone where it has none."""
    return pair.clip or (pair,)


def window(pair: Pair, frames: Frames) -> list[Pair]:
    """The frames that a network sees at once to restore one: its neighbours, or the whole clip.

    Beyond the clip's ends stand frames as ``frames.padding`` says, in BasicSR's words and way
    (``basicsr/data/data_util.py`` at 8d56e3a). A clip that is too short to be mirrored so has its
    first or last frame there.
    """
    clip = clip_of(pair)
    if frames.window is None:
        return list(clip)
    half = frames.window // 2
    seen = []
    for place in range(pair.place - half, pair.place + half + 1):
        inside = _inside(place, pair.place, len(clip) - 1, frames)
        seen.append(clip[min(max(inside, 0), len(clip) - 1)])
    return seen


def _inside(place: int, middle: int, last: int, frames: Frames) -> int:
    """Which frame stands at a place of a window around ``middle``; ``last``: the clip's."""
    if 0 <= place <= last:
        return place
    assert frames.window is not None
    half = frames.window // 2
    before = place < 0
    if frames.padding == "replicate":
        return 0 if before else last
    if frames.padding == "reflection":
        return -place if before else 2 * last - place
    if frames.padding == "reflection_circle":
        return middle + half - place if before else middle - half - (place - last)
    return frames.window + place if before else place - frames.window


def drawn(pair: Pair, frames: Frames, rng: np.random.Generator) -> list[int]:
    """The places in its clip that a training crop of a frame shows: as many as are trained on.

    Of a window those around the frame, of whole clips those from it on. Where they lie beyond the
    clip's ends, chance puts them elsewhere in it, as BasicSR's data sets of REDS do.
    Raises BenchError for a clip that is too short.
    """
    length, count = len(clip_of(pair)), frames.trained
    check_length(pair, frames)
    first = pair.place
    if frames.window is not None:
        first -= count // 2
    if not 0 <= first <= length - count:
        first = int(rng.integers(length - count + 1))
    return list(range(first, first + count))


def check_length(pair: Pair, frames: Frames) -> None:
    """Raise BenchError if a clip has fewer frames than a training crop."""
    length = len(clip_of(pair))
    if length < frames.trained:
        raise BenchError(
            f"training: {pair.key}: its clip has {length} frames, too few for crops of "
            f"{frames.trained}; leave it out, or let the backbone train on fewer (the lines of a "
            "manifest that name one source are a clip)"
        )


def joined(crops: Sequence[Batch], frames: Frames) -> Batch:
    """Frames' crops as one: "lq" ``(T,3,h,w)``, and "hq" of all, or of a window's middle frame."""
    import torch

    found = {name: torch.stack([one[name] for one in crops]) for name in crops[0]}
    if frames.window is not None:
        found["hq"] = found["hq"][len(crops) // 2]
    return found


def together(pairs: Sequence[Pair]) -> Batch:
    """The batch entries of frames that are seen at once: "lq" ``(1,T,3,H,W)``.

    Raises BenchError for frames of two sizes.
    """
    import torch

    clip = torch.zeros(0)
    for place, pair in enumerate(pairs):
        frame = to_tensor(read_lq(pair.lq))
        if not place:
            clip = frame.new_empty(len(pairs), *frame.shape)
        if frame.shape != clip.shape[1:]:
            (height, width), (high, wide) = frame.shape[1:], clip.shape[2:]
            raise BenchError(
                f"{pair.lq}: {height}x{width} pixels, but {pairs[0].lq} of the same clip has "
                f"{high}x{wide}; expected frames of one size"
            )
        clip[place] = frame
    return {"lq": clip[None]}


def restore_clip(
    model: nn.Module,
    leaving: nn.Module,
    batch: Batch,
    device: torch.device,
    keep: Callable[[int, np.ndarray], None],
    prior: Callable[[Window], Batch] = no_prior,
    finish: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> None:
    """Restore every frame of a clip; ``keep`` gets each, its place and ``(sH,sW,3)`` uint8.

    One by one, as they leave the network (``leaving``, a module that it calls with each frame and
    its place): no more than one is held. batch: what :func:`together` gives of the clip. finish:
    what is done to each ``(1,3,sH,sW)`` before it is rounded.
    Raises BenchError for a method that changes images after its network.
    """
    import torch

    height, width = batch["lq"].shape[-2:]
    entries = batch | prior(Window(0, 0, height, width))
    part = {name: value.to(device) for name, value in entries.items()}

    def take(
        module: nn.Module, given: tuple[torch.Tensor, int], image: torch.Tensor
    ) -> torch.Tensor:
        if finish is not None:
            image = finish(image)
        keep(given[1], quantise(image[0].float().cpu()))
        return image.new_empty(*image.shape[:2], 0, 0)  # no view of the frame, which would keep it

    hook = leaving.register_forward_hook(take)
    try:
        with torch.inference_mode():
            rest = model(part)
    finally:
        hook.remove()
    if rest.numel():
        raise BenchError(
            "video: the method changes images after its network, which gives them one by one; "
            "take a network of windows"
        )
