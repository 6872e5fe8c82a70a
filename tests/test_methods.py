"""The contract of every method and backbone, by file name: a new file is tested unasked.

The checks stand in ``benchlib/conformance``, for plug-ins too; here is what they must find.
"""

import importlib
import sys
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
import torch
from conftest import expect_contract, name_of
from safetensors.torch import save_file
from torch import nn

from benchlib import registry
from benchlib.conformance import backbones as backbone_contract
from benchlib.conformance import methods as method_contract
from benchlib.conformance._batch import batch
from benchlib.conformance._network import (
    REACHES,
    Pair,
    moved,
    reaches,
    small_backbone,
    without_gradient,
)
from benchlib.conformance._subject import Subject
from benchlib.conformance.methods import ON_A_NETWORK

__all__ = ["batch", "moved", "small_backbone"]  # other test files take them from here

METHOD_CHECKS = method_contract.ALONE
BACKBONE_CHECKS = backbone_contract.ALONE
METHODS = registry.names("methods")
BACKBONES = [name for name in registry.names("backbones") if name != "none"]


@cache
def own_file() -> str:
    """A file of weights for the method that reads one: the small NAFNet's."""
    torch.manual_seed(3)
    file = Path(mkdtemp()) / "own.safetensors"
    save_file(small_backbone("nafnet")().state_dict(), file)
    return str(file)


def method_subject(method: str) -> Subject:
    """A method with its defaults, and what has none."""
    if method == "checkpoint":
        return Subject("methods", method, {"file": own_file()})
    if method == "uretinex_reference":
        return Subject("methods", method, {"light": ""})
    return Subject("methods", method)


class ChannelAttention(nn.Module):
    """A prior's channels ask, an image's answer, head by head: as Enlighten Anything does.

    With as many heads as channels each softmax has one entry, which is 1 whatever was asked.
    """

    def __init__(self, heads: int):
        super().__init__()
        self.heads = heads
        self.network = nn.Conv2d(3, 3, 3, padding=1)
        self.query, self.key = nn.Conv2d(1, 3, 1), nn.Conv2d(3, 3, 1)

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        restored = self.network(batch["lq"])
        asked = self.query(batch["labels"][:, None] / 5.0)
        query, key, value = map(self.split, (asked, self.key(restored), restored))
        weights = (query @ key.transpose(2, 3) / query.shape[3]).softmax(3)
        return (weights @ value).reshape(restored.shape)

    def split(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(len(x), self.heads, 3 // self.heads, -1)


class NormalisedAway(nn.Module):
    """A prior's number is added to a whole channel, and a normalisation takes it off again."""

    def __init__(self):
        super().__init__()
        self.network = nn.Conv2d(3, 3, 3, padding=1)
        self.shift = nn.Linear(256, 3)

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        shifted = self.network(batch["lq"]) + self.shift(batch["vector"])[:, :, None, None]
        return nn.functional.instance_norm(shifted)


def test_a_prior_behind_a_softmax_of_one_entry_does_not_reach_the_image():
    torch.manual_seed(0)
    data, trap = batch(16, 16), ChannelAttention(heads=3)
    assert reaches(trap, data, ("labels",)) == {"labels": 0.0}
    branch = {"query.weight", "query.bias", "key.weight", "key.bias"}
    assert without_gradient(trap, data) == branch
    sound = ChannelAttention(heads=1)
    assert reaches(sound, data, ("labels",))["labels"] > REACHES
    assert without_gradient(sound, data) == set()


def test_a_prior_that_a_normalisation_takes_off_again_does_not_reach_the_image():
    """Rounding lets something through here, so that a bare comparison would see a difference."""
    torch.manual_seed(0)
    change = reaches(NormalisedAway(), batch(16, 16), ("vector",))["vector"]
    assert 0 < change < REACHES


# --- every method --------------------------------------------------------------------------------


# its image is a product of two branches: with SPT's random units in both, single precision loses
# the gradient of the last biases beside the others
PLUG_IN = {"uretinex": "film"}


def pairs() -> list[tuple[str, str]]:
    """Every method on a U-Net and on a network that enlarges; every backbone with two methods.

    The two: without a prior, and one that changes its blocks. One more does on networks whose
    blocks give tokens, or are called in several turns. A method that brings a network has that one;
    one that brings pictures restores nothing.
    """
    found = []
    for method in METHODS:
        networks = method_contract.networks(method_subject(method))
        found += [(method, backbone) for backbone in networks]
    restoring = [method for method, _ in found]
    assert "checkpoint" in restoring and "images" not in restoring
    for backbone in BACKBONES:
        found.append(("none", backbone))
        if small_backbone(backbone).frames is None:
            found.append((PLUG_IN.get(backbone, "spt"), backbone))
    for backbone in ("art", "cat", "swinir", "prenet"):
        found.append(("film", backbone))
    return list(dict.fromkeys(found))


each_pair = pytest.mark.parametrize(("method", "backbone"), pairs())


@pytest.mark.parametrize("check", METHOD_CHECKS, ids=name_of)
@pytest.mark.parametrize("method", METHODS)
def test_a_method_says_what_it_is(check, method):
    expect_contract(check, Subject("methods", method))


@pytest.mark.parametrize("check", BACKBONE_CHECKS, ids=name_of)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_backbone_says_what_it_is_and_shows_its_blocks(check, backbone):
    expect_contract(check, Subject("backbones", backbone))


@pytest.mark.parametrize("check", ON_A_NETWORK, ids=name_of)
@each_pair
def test_every_method_keeps_the_contract_on_every_network(check, method, backbone):
    expect_contract(check, Pair(method_subject(method), backbone))


@pytest.fixture
def example(tmp_path, monkeypatch):
    """The first block of code in ``docs/methods.md``, imported as the file that it describes."""
    page = (Path(__file__).parent.parent / "docs" / "methods.md").read_text(encoding="utf-8")
    file = tmp_path / "vector_channels.py"
    file.write_text(page.split("```python\n")[1].split("```")[0], encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("vector_channels")
    del sys.modules["vector_channels"]


@pytest.mark.parametrize("backbone", ["nafnet", "imdn"])
def test_the_example_in_the_docs_is_a_method(example, backbone):
    model, data = example.build(small_backbone(backbone), example.Config()), batch(17, 23)
    scale = small_backbone(backbone).scale
    assert model(data).shape == (2, 3, 17 * scale, 23 * scale)
    assert reaches(model, data, example.INFO.needs)["vector"] > REACHES
    assert without_gradient(model, data) == set()
