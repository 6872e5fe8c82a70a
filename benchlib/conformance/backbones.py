"""The contract of a backbone: its blocks, and methods on it that read no prior or change them."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

import torch

from benchlib.conformance import methods
from benchlib.conformance._network import Pair, small_backbone, some_input
from benchlib.conformance._subject import (
    Subject,
    Unmet,
    expect,
    settings_are_frozen_and_typed,
    states_its_version_and_what_it_uses,
)

METHODS: tuple[str, ...] = ("none", "spt", "film")
OF_CLIPS = ("none",)  # what changes blocks knows no frames


def shows_its_blocks_in_order(subject: Subject) -> None:
    """``blocks(network)`` lists two or more blocks, in the order in which they run."""
    made_of = small_backbone(subject.name)
    network, seen = made_of().eval(), []
    blocks = made_of.blocks(network)
    for i, block in enumerate(blocks):
        block.register_forward_hook(lambda *_, i=i: seen.append(i))
    with torch.no_grad():
        network(some_input(made_of, 16))
    expect(len(blocks) > 1, f"{len(blocks)} blocks; expected two or more")
    if made_of.frames is not None:  # frame by frame, in one direction after the other
        seen = list(dict.fromkeys(seen))
    turns = len(seen) // len(blocks)  # more than one in a recurrent network
    in_order = turns and seen == turns * list(range(len(blocks)))
    expect(in_order, f"they run in the order {seen}")


def takes_further_channels(subject: Subject) -> None:
    """``build(config, in_channels=5)`` takes five channels; its first three are the image."""
    made_of = small_backbone(subject.name)
    with torch.no_grad():
        restored = made_of(in_channels=5).eval()(some_input(made_of, 16, channels=5))
    side, found = 16 * made_of.scale, tuple(restored.shape)
    right = found[-2:] == (side, side) and found[-3] >= 3
    expect(right, f"of five channels, 16x16, came {found}; expected (1,3 or more,{side},{side})")


def under_methods(check: Callable[[Pair], None]) -> Callable[[Subject], None]:
    """A check of a pair as one of the backbone: under each of ``METHODS``."""

    @wraps(check)
    def tried(subject: Subject) -> None:
        methods_tried = METHODS
        if small_backbone(subject.name).frames is not None:
            methods_tried = OF_CLIPS
        for method in methods_tried:
            try:
                check(Pair(Subject("methods", method), subject.name))
            except Unmet as error:
                raise Unmet(f"under method {method}: {error}") from None

    return tried


ALONE = (
    states_its_version_and_what_it_uses,
    settings_are_frozen_and_typed,
    shows_its_blocks_in_order,
    takes_further_channels,
)
CHECKS = (*ALONE, *map(under_methods, methods.ON_A_NETWORK))
