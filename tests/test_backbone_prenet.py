"""PReNet against the official network, by random weights; the official ones load strictly."""

import goldens
import pytest
import torch
from goldens import needs_mirror

from benchlib.backbones import prenet
from benchlib.contracts import Backbone
from benchlib.methods._blocks import block_widths


def test_names_and_outputs_are_the_official_ones():
    golden = goldens.read("prenet")
    network = goldens.load(prenet.build(prenet.Config()), golden)
    x, first, y = goldens.tensors(golden, "x", "first", "y")
    with torch.no_grad():
        steps = network.steps(x)
        torch.testing.assert_close(steps[0], first, atol=1e-6, rtol=0)
        torch.testing.assert_close(network(x), y, atol=1e-5, rtol=0)
    assert len(steps) == 6


def test_a_plug_in_has_one_unit_a_block_however_many_the_turns():
    backbone = Backbone.from_module(prenet, prenet.Config(turns=3, width=4))
    network = backbone()
    assert block_widths(network, backbone.blocks(network)) == 5 * [4]


@needs_mirror
@pytest.mark.parametrize("rain", ["Rain100H", "Rain100L"])
def test_official_weights_load_strictly(rain):
    weights = goldens.official("csdwren/PReNet", f"logs/{rain}/PReNet6/net_latest.pth")
    prenet.build(prenet.Config()).load_state_dict(weights, strict=True)
    assert len(weights) == 32
