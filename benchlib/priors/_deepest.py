"""The deepest map of a restoration network: what its building blocks know at their coarsest.

The same block as PTG-RM's -f refines: of the building blocks with the coarsest map, the last. A
recurrent network (PReNet) calls its blocks in turns; the last turn counts.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from torch import nn

from benchlib import registry
from benchlib.contracts import BenchError
from benchlib.params import configure

VERSION = 1
PROBE = 32  # pixels a side: the image on which the deepest block is found
Look = Callable[[int, tuple[int, ...], torch.Tensor], None]


def build(choice: dict[str, Any]) -> nn.Module:
    """A backbone as ``params.yaml`` names it, ``{name: imdn, scale: 4}``, from RGB.

    Raises BenchError for an unknown one or a wrong setting.
    """
    module, config = configure("backbones", choice, "backbone")
    return module.build(config, 3)


@cache
def place(choice: str) -> tuple[int, int]:
    """Which of a backbone's blocks is the deepest, and how many channels its map has.

    choice: as for ``build``, as JSON. Raises BenchError for a network without building blocks.
    """
    named = json.loads(choice)
    with torch.random.fork_rng(devices=[]):
        network = build(named).eval()
    sides: dict[int, int] = {}
    channels: dict[int, int] = {}

    def look(index: int, shape: tuple[int, ...], feature: torch.Tensor) -> None:
        sides[index] = shape[0]
        channels[index] = feature.shape[1]

    _seen(network, _blocks(named, network), look, torch.zeros(1, 3, PROBE, PROBE))
    if not sides:
        raise BenchError(f"backbone {named['name']}: no building blocks; take another")
    coarsest = min(sides.values())
    index = max(block for block, side in sides.items() if side == coarsest)
    return index, channels[index]


def pooled(choice: dict[str, Any], network: nn.Module, image: torch.Tensor) -> torch.Tensor:
    """The mean of the deepest map over all places: ``(C,)`` float32 of an image ``(1,3,H,W)``."""
    index, _ = place(json.dumps(choice))
    found: dict[str, torch.Tensor] = {}

    def look(_: int, shape: tuple[int, ...], feature: torch.Tensor) -> None:
        found["last"] = feature[0].flatten(1).float().mean(1)

    _seen(network, [_blocks(choice, network)[index]], look, image)
    return found["last"]


def _blocks(choice: dict[str, Any], network: nn.Module) -> list[nn.Module]:
    return registry.load("backbones", choice["name"]).blocks(network)


def _seen(network: nn.Module, blocks: list[nn.Module], look: Look, image: torch.Tensor) -> None:
    """Run the network; ``look(index, (H,W), map (1,C,...))`` is called with what each block gives.

    Blocks of transformers give tokens ``(B,HW,C)`` and have the map's ``(H,W)`` as second argument.
    """
    hooks = []
    for index, block in enumerate(blocks):
        hooks.append(block.register_forward_hook(partial(_look_at, look, index)))
    try:
        with torch.inference_mode():
            network(image)
    finally:
        for hook in hooks:
            hook.remove()


def _look_at(
    look: Look, index: int, block: nn.Module, inputs: tuple[Any, ...], output: torch.Tensor
) -> None:
    """The arguments after ``look`` and ``index`` are those of a forward hook."""
    if output.ndim == 4:
        look(index, tuple(output.shape[2:]), output)
    else:
        look(index, tuple(inputs[1]), output.transpose(1, 2))
