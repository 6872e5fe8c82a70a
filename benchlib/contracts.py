"""The words every folder shares: the error a user reads, an image, what a method says of itself.

Layer 0: imports nothing of benchlib.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch
    from torch import nn

VERSION = 1


class BenchError(Exception):
    """An error a user can act on: one line that says what, where, what was expected, what to do."""


@dataclass(frozen=True)
class Info:
    """What a method's file says of itself.

    paper: key of a file in ``benchlib/papers`` (empty for a baseline of nobody's).
    source: equation, section or repository the code follows.
    needs: the batch entries it reads besides ``lq`` ("labels": a label map, "vector": a vector).
    label: the row's name in tables.
    trains: False for a method with nothing to train.
    truth: it is told each test image's reference, as the batch's "truth": not what restoring is.
    unpaired: its training batches have "unpaired" too: the hq of other pairs of the training set.
    clips: it knows networks of clips, and priors of each frame. One that reads no prior, and has no
        objective of its own, needs not.
    own: what it brings instead of a backbone: a "network", or restored "pictures". Its runs name
        the backbone ``none``, and start from no weights.
    """

    paper: str
    source: str
    needs: tuple[str, ...]
    label: str
    trains: bool = True
    truth: bool = False
    unpaired: bool = False
    clips: bool = False
    own: Literal["", "network", "pictures"] = ""


@dataclass(frozen=True)
class Window:
    """A crop of an image, and how it is turned: in BasicSR's order, after it is cut out.

    top, left, height, width: pixels. flip_h: mirrored left-right; flip_v: then top-bottom;
    transpose: then rows and columns change places.
    """

    top: int
    left: int
    height: int
    width: int
    flip_h: bool = False
    flip_v: bool = False
    transpose: bool = False

    def cut(self, array: Any, scale: int = 1) -> Any:
        """The crop of an array ``(...,H,W)``, a view; ``scale``: of one so much larger."""
        top, left = scale * self.top, scale * self.left
        bottom, right = top + scale * self.height, left + scale * self.width
        array = array[..., top:bottom, left:right]
        if self.flip_h:
            array = array[..., ::-1]
        if self.flip_v:
            array = array[..., ::-1, :]
        if self.transpose:
            array = array.swapaxes(-1, -2)
        return array


def whole_scale(small: tuple[int, ...], large: tuple[int, ...]) -> int | None:
    """How many times an hq of ``(H,W)`` is as large as its lq: one whole number for both sides.

    What is left over at the right and bottom is less than that number of pixels: MATLAB's scripts
    cut it off (modcrop). None where there is no such number.
    """
    scale = large[0] // small[0]
    rest = (large[0] - scale * small[0], large[1] - scale * small[1])
    if scale < 1 or min(rest) < 0 or max(rest) >= scale:
        return None
    return scale


# What stands beyond a clip's ends in a window of five around its first frame, 0: the frames
# [0,0,0,1,2], [2,1,0,1,2], [4,3,0,1,2] or [3,4,0,1,2]. The words are BasicSR's.
Padding = Literal["replicate", "reflection", "reflection_circle", "circle"]


@dataclass(frozen=True)
class Frames:
    """How a network of clips reads time; a network without it reads single images.

    window: frames that it sees at once, the middle one of which it restores; None: it sees whole
    clips, and restores every frame. trained: frames of a training crop. padding: of windows.
    """

    window: int | None
    trained: int
    padding: Padding = "reflection_circle"


@dataclass(frozen=True)
class Backbone:
    """A run's network as its method sees it.

    build: makes it. blocks: its building blocks in order. scale: how much it enlarges. frames: how
    it reads time, of a network of clips.
    """

    build: Callable[..., nn.Module]
    blocks: Callable[[nn.Module], list[nn.Module]]
    scale: int = 1
    frames: Frames | None = None

    @classmethod
    def from_module(cls, module: Any, config: Any) -> Backbone:
        """The network that a file of ``backbones`` makes of its ``config``."""
        scale = module.scale(config) if hasattr(module, "scale") else 1
        frames = module.frames(config) if hasattr(module, "frames") else None
        return cls(partial(module.build, config), module.blocks, scale, frames)

    def __call__(self, in_channels: int = 3) -> nn.Module:
        """A fresh network from ``(B,in_channels,H,W)`` to ``(B,3,scale H,scale W)``.

        Of clips: from ``(B,T,in_channels,H,W)`` to the middle frame, or to all of them.
        """
        return self.build(in_channels=in_channels)


def entries_read(method: Any, config: Any) -> tuple[str, ...]:
    """The batch entries, besides ``lq``, that a file of ``methods`` reads under that ``config``."""
    if hasattr(method, "needs"):
        return method.needs(config)
    return method.INFO.needs


LONGEST = 1000  # letters of a list of names in an error


def nearest(got: str, allowed: Iterable[str]) -> str:
    """The end of a one-line error: what is allowed, and the nearest name if one is near.

    >>> nearest("mpa", ["none", "cat", "map"])
    'may be cat, map, none; did you mean map?'
    """
    allowed = sorted(allowed)
    said = f"may be {', '.join(allowed)}"
    if len(said) > LONGEST:
        said = f"may be {allowed[0]}, {allowed[1]} ... {allowed[-1]}, {len(allowed)} in all"
    close = difflib.get_close_matches(got, allowed, n=1, cutoff=0.5)
    if close:
        said += f"; did you mean {close[0]}?"
    return said


def shortened(text: str, longest: int) -> str:
    """``text`` in one line; where it is longer, its beginning and its end, which has the cause.

    >>> shortened("one two\\n three four five six", 21)
    'one two t ... ive six'
    """
    text = " ".join(text.split())
    if len(text) <= longest:
        return text
    end = longest // 3
    return f"{text[: longest - end - 5]} ... {text[-end:]}"


def check_image(
    name: str, image: torch.Tensor, channels: int = 3, bounded: bool = True
) -> torch.Tensor:
    """Return ``image`` if it is ``(B,channels,H,W)`` float32 in [0,1].

    bounded: False for noise, which leaves [0,1]; the values need only be finite then.
    Raises BenchError naming the argument, its shape and type, or its actual minimum and maximum.
    """
    import torch

    if image.ndim != 4 or image.shape[1] != channels:
        raise BenchError(f"{name}: expected (B,{channels},H,W), got {tuple(image.shape)}")
    if image.dtype != torch.float32:
        got = str(image.dtype).removeprefix("torch.")
        raise BenchError(f"{name}: expected float32, got {got}")
    low, high = float(image.min()), float(image.max())
    if not bounded and low - low == high - high == 0:
        return image
    if not (low >= 0.0 and high <= 1.0):
        raise BenchError(
            f"{name}: expected values in [0,1], got [{low:g}, {high:g}]; divide 8-bit images by 255"
        )
    return image


def need(method: str, batch: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    """The batch's entry ``name``.

    Raises BenchError that says which prior is missing and which stage makes it.
    """
    if name not in batch:
        there = ", ".join(sorted(batch))
        raise BenchError(
            f"method {method}: the batch has no '{name}' (it has {there}); run the priors stage"
        )
    return batch[name]


NETWORK = "network."  # a method keeps its backbone as ``self.network``


def load_weights_into(model: nn.Module, weights: dict[str, torch.Tensor], where: str) -> None:
    """Load a state dict strictly into a method's module, whichever of three names its keys have.

    The model's own; official ones of the whole method, where the backbone's parts have no
    ``network.`` before their names (SAM-Deblur's checkpoints), and may hold what the backbone
    leaves out (Enlighten Anything's); or those of the backbone alone, as its authors or a run of
    method ``none`` save them.
    Raises BenchError, beginning with ``where``, if they fit none.
    """
    own = {name.removeprefix(NETWORK): name for name in model.state_dict()}
    given = {name.removeprefix(NETWORK): value for name, value in weights.items()}
    added = {name for name, full in own.items() if name == full}
    part = getattr(model, "network", model)
    if given.keys() == own.keys() or (added and added <= given.keys()):
        part = model
        given = {own.get(name, f"{NETWORK}{name}"): value for name, value in given.items()}
    try:
        part.load_state_dict(given, strict=True)
    except RuntimeError as error:
        said = shortened(str(error), 900)
        raise BenchError(f"{where}: {said}") from None


def pad_to(image: torch.Tensor, multiple: int) -> torch.Tensor:
    """Zeros on the right and bottom of ``(...,H,W)`` up to a multiple of ``multiple`` pixels."""
    from torch.nn.functional import pad

    height, width = image.shape[-2:]
    return pad(image, (0, -width % multiple, 0, -height % multiple))
