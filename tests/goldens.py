"""Goldens of official networks, and official weights where a mirror of them is at hand.

A golden stores names, inputs and outputs; the weights follow from a rule. One ``numpy.random.RandomState(seed)``, whose stream is frozen; for each entry in the golden's
order ``v = standard_normal(shape)``. Two dimensions and up: ``gain * v / sqrt(prod(shape[1:]))``;
``running_var``: ``1 + 0.1 |v|``; names that end in ``weight``: ``1 + 0.1 v``; the rest ``0.1 v``.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchlib.assets import load_weights

GOLDEN = Path(__file__).parent / "golden"
needs_mirror = pytest.mark.skipif(
    "BENCHLIB_TEST_MIRROR" not in os.environ,
    reason="needs BENCHLIB_TEST_MIRROR, a folder as wget -x makes",
)


def official(repository: str, path: str) -> dict[str, torch.Tensor]:
    """A repository's weights in the mirror, at the one commit that is there."""
    host = Path(os.environ["BENCHLIB_TEST_MIRROR"]) / "raw.githubusercontent.com"
    (commit,) = (host / repository).iterdir()
    return load_weights(commit / path)


def dark_photograph(name: str = "x") -> torch.Tensor:
    """The image of ``lowlight_real.npz``, ``(1,3,48,48)`` in [0,1]; ``high``: it, well lit."""
    pixels = read("lowlight_real")[name].astype(np.float32) / 255
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


def read(name: str) -> dict[str, np.ndarray]:
    """The arrays of a golden of networks."""
    with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as file:
        return dict(file)


def drawing(seed: int) -> Callable[..., torch.Tensor]:
    """A function: the next uniform numbers of a stream, as a leaf that takes a gradient."""
    random = np.random.RandomState(seed)

    def draw(*shape: int, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
        drawn = torch.from_numpy(random.uniform(low, high, shape).astype(np.float32))
        return drawn.requires_grad_()

    return draw


def tensors(golden: dict[str, np.ndarray], *names: str) -> list[torch.Tensor]:
    return [torch.from_numpy(golden[name]) for name in names]


def load(network: nn.Module, golden: dict[str, np.ndarray], part: str = "") -> nn.Module:
    """Put the rule's weights in, under the names of the official network, strictly; evaluate.

    part: of the golden's keys ``<part>names`` and so on, where it holds several networks.
    Whole numbers (counters of BatchNorm, a queue's pointer) are no weights and not in the golden.
    """
    about = json.loads(str(golden["about"]))
    state = weights(golden, about["seed"], about["gain"], part)
    for name, value in network.state_dict().items():
        if not value.is_floating_point():
            state[name] = value
    network.load_state_dict(state, strict=True)
    return network.eval()


def weights(
    golden: dict[str, np.ndarray], seed: int, gain: float, part: str = ""
) -> dict[str, torch.Tensor]:
    random, state = np.random.RandomState(seed), {}
    for name, written in zip(golden[f"{part}names"], golden[f"{part}shapes"], strict=True):
        shape = tuple(int(side) for side in str(written).split("x") if side)
        state[str(name)] = torch.from_numpy(_values(random, str(name), shape, gain))
    return state


def _values(
    random: np.random.RandomState, name: str, shape: tuple[int, ...], gain: float
) -> np.ndarray:
    drawn = random.standard_normal(shape)
    if len(shape) >= 2:
        values = gain * drawn / np.sqrt(np.prod(shape[1:]))
    elif name.endswith("running_var"):
        values = 1 + 0.1 * np.abs(drawn)
    elif name.endswith("weight"):
        values = 1 + 0.1 * drawn
    else:
        values = 0.1 * drawn
    return np.asarray(values, np.float32)
