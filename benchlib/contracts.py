"""The words every room shares: the error a user reads, what an image is, what a method says of itself.

Floor 0: imports nothing of benchlib.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn


class BenchError(Exception):
    """An error a user can act on: one line that says what, where, what was expected and what to do."""


@dataclass(frozen=True)
class Info:
    """What a method's file says of itself.

    paper: key of a file in ``benchlib/papers`` (empty for a baseline of nobody's).
    source: equation, section or repository the code follows.
    needs: the batch entries it reads besides ``lq`` ("labels": a label map, "bits": packed masks).
    label: the row's name in tables.
    trains: False for a method with nothing to train.
    """

    paper: str
    source: str
    needs: tuple[str, ...]
    label: str
    trains: bool = True


@dataclass(frozen=True)
class Backbone:
    """A run's network as its method sees it: built when called, its blocks in order, how much it enlarges."""

    build: Callable[..., nn.Module]
    blocks: Callable[[nn.Module], list[nn.Module]]
    scale: int = 1

    @classmethod
    def of(cls, room: Any, config: Any) -> Backbone:
        """The network that a file of ``backbones`` makes of its ``config``."""
        return cls(partial(room.build, config), room.blocks, room.scale(config) if hasattr(room, "scale") else 1)

    def __call__(self, in_channels: int = 3) -> nn.Module:
        """A network from ``(B,in_channels,H,W)`` to ``(B,3,scale H,scale W)``, freshly initialised."""
        return self.build(in_channels=in_channels)


def reads(method: Any, config: Any) -> tuple[str, ...]:
    """The batch entries, besides ``lq``, that a file of ``methods`` reads under that ``config``."""
    return method.needs(config) if hasattr(method, "needs") else method.INFO.needs


def nearest(got: str, allowed: Iterable[str]) -> str:
    """The end of a one-line error: what is allowed, and the nearest name if one is near.

    >>> nearest("mpa", ["none", "cat", "map"])
    'may be cat, map, none; did you mean map?'
    """
    allowed = sorted(allowed)
    close = difflib.get_close_matches(got, allowed, n=1, cutoff=0.5)
    return f"may be {', '.join(allowed)}" + (f"; did you mean {close[0]}?" if close else "")


def check_image(name: str, image: torch.Tensor, channels: int = 3, bounded: bool = True) -> torch.Tensor:
    """Return ``image`` if it is ``(B,channels,H,W)`` float32 in [0,1].

    bounded: False for noise, which leaves [0,1]; the values need only be finite then.
    Raises BenchError naming the argument, its shape and type, or its actual minimum and maximum.
    """
    import torch

    if image.ndim != 4 or image.shape[1] != channels:
        raise BenchError(f"{name}: expected (B,{channels},H,W), got {tuple(image.shape)}")
    if image.dtype != torch.float32:
        raise BenchError(f"{name}: expected float32, got {str(image.dtype).removeprefix('torch.')}")
    low, high = float(image.min()), float(image.max())
    if not bounded and low - low == high - high == 0:
        return image
    if not (low >= 0.0 and high <= 1.0):
        raise BenchError(f"{name}: expected values in [0,1], got [{low:g}, {high:g}]; divide 8-bit images by 255")
    return image


def need(method: str, batch: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    """The batch's entry ``name``; raises BenchError that says which prior is missing and which stage makes it."""
    if name not in batch:
        raise BenchError(
            f"method {method}: the batch has no '{name}' (it has {', '.join(sorted(batch))}); run the priors stage"
        )
    return batch[name]


def adopt(wrapper: nn.Module, network: nn.Module) -> None:
    """Put ``network``'s parts into ``wrapper`` under their own names, so that official checkpoints load into it.

    The network itself stays usable as ``wrapper.network`` but is no child: its parameters are listed once.
    """
    if network._parameters or network._buffers:
        raise BenchError(f"{type(network).__name__}: parameters of its own, outside its parts, cannot be adopted")
    wrapper.__dict__["network"] = network
    for name, child in network.named_children():
        wrapper.add_module(name, child)


def pad_to(image: torch.Tensor, multiple: int) -> torch.Tensor:
    """Zeros on the right and bottom of ``(...,H,W)`` up to a multiple of ``multiple`` pixels."""
    from torch.nn.functional import pad

    height, width = image.shape[-2:]
    return pad(image, (0, -width % multiple, 0, -height % multiple))
