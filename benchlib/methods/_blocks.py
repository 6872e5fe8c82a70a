"""A backbone's building blocks as a plug-in sees them: each gives a map ``(B,C,H,W)``.

Blocks of transformers give tokens ``(B,HW,C)`` and have the map's ``(H,W)`` as second argument
(``benchlib/backbones``); they are read as maps here and written back as tokens. A method that
uses this file states it: ``USES = {"methods/_blocks.py": 1}``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from benchlib.contracts import BenchError

VERSION = 1

Change = Callable[[int, torch.Tensor], torch.Tensor]


def first_blocks(blocks: list[nn.Module], count: int | None, where: str) -> list[nn.Module]:
    """The first ``count`` of a network's building blocks, or all of them if it is None.

    Raises BenchError, beginning with ``where`` (the setting's name), if there are fewer.
    """
    if count is None:
        return blocks
    if count > len(blocks):
        raise BenchError(f"{where}: got {count}; the network has {len(blocks)} building blocks")
    return blocks[:count]


def block_widths(network: nn.Module, blocks: list[nn.Module]) -> list[int]:
    """The channels that each block gives, seen on a small black image.

    The network is in training mode afterwards, as it was built. A recurrent network, which calls
    its blocks several times, has each of them once here.
    """
    seen: dict[int, int] = {}

    def look(index: int, feature: torch.Tensor) -> torch.Tensor:
        seen[index] = feature.shape[1]
        return feature

    network.eval()
    with torch.no_grad(), changed_blocks(blocks, look):
        network(torch.zeros(1, 3, 16, 16))
    network.train()
    return [seen[index] for index in range(len(blocks))]


@contextmanager
def changed_blocks(blocks: list[nn.Module], change: Change) -> Iterator[None]:
    """Within it, block ``i`` gives ``change(i, feature)`` in place of its own ``feature``.

    feature: a map ``(B,C,H,W)``; what ``change`` gives has its shape.

    The hooks that do so are gone when it is left, by an error too: a method holds nothing between
    two calls, and its network used by itself is the network. One model must not be called by two
    threads at once.
    """
    hooks = []
    for index, block in enumerate(blocks):
        hooks.append(block.register_forward_hook(partial(_replace, change, index)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _replace(
    change: Change, index: int, block: nn.Module, inputs: tuple[Any, ...], output: torch.Tensor
) -> torch.Tensor:
    """What a block gives instead of its ``output``; the arguments are those of a forward hook."""
    if output.ndim == 4:
        return change(index, output)
    feature = output.transpose(1, 2).unflatten(2, tuple(inputs[1]))
    return change(index, feature).flatten(2).transpose(1, 2)
