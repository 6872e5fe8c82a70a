"""LLFormer against the official network, by random weights."""

import goldens
import pytest
import torch

from benchlib.backbones import llformer
from benchlib.contracts import BenchError

SMALL = llformer.Config(width=8, blocks=(1, 2, 1, 1), refinement=1)


def test_names_and_outputs_are_the_official_ones():
    golden = goldens.read("llformer")
    network = goldens.load(llformer.build(SMALL), golden)
    x, y = goldens.tensors(golden, "x", "y")
    with torch.no_grad():
        torch.testing.assert_close(network(x), y, atol=1e-5, rtol=0)


def test_the_papers_network_has_as_many_parameters_as_the_official_one():
    network = llformer.build(llformer.Config())
    assert sum(p.numel() for p in network.parameters()) == 24_549_014


def test_an_image_of_another_size_is_mirrored_on_the_right_and_bottom():
    torch.manual_seed(0)
    network = llformer.build(SMALL).eval()
    image = torch.rand(1, 3, 20, 16)
    padded = torch.nn.functional.pad(image, (0, 0, 0, 12), mode="reflect")
    with torch.no_grad():
        assert torch.equal(network(image), network(padded)[:, :, :20])


def test_two_parameters_that_reach_nothing_are_frozen():
    frozen = set()
    for name, parameter in llformer.build(SMALL).named_parameters():
        if not parameter.requires_grad:
            frozen.add(name)
    assert frozen == {"coefficient", "skip_2_1.weight"}


def test_heads_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(BenchError, match=r"llformer: heads\[1\]: 3 do not divide 32 channels"):
        llformer.Config(heads=(1, 3, 4, 8))
