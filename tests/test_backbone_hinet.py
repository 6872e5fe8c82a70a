"""HINet against the official network, by random weights."""

import goldens
import pytest
import torch

from benchlib.backbones import hinet
from benchlib.contracts import BenchError


def test_names_and_outputs_of_both_stages_are_the_official_ones():
    golden = goldens.read("hinet")
    config = hinet.Config(width=8, depth=4, norm_first=1, norm_last=2)
    network = goldens.load(hinet.build(config), golden)
    x, first, y = goldens.tensors(golden, "x", "first", "y")
    with torch.no_grad():
        torch.testing.assert_close(network.stages(x)[0], first, atol=1e-5, rtol=0)
        torch.testing.assert_close(network(x), y, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(16, 16), (1, 2), (17, 33)])
def test_the_default_depth_restores_images_of_any_size(size):
    """The deepest of five levels has one pixel of an image of 16 x 16: nothing to normalise by."""
    network = hinet.build(hinet.Config(width=2)).eval()
    with torch.no_grad():
        restored = network(torch.rand(1, 3, *size))
    assert restored.shape[2:] == size
    assert torch.isfinite(restored).all()


def test_a_first_level_after_the_last_is_refused():
    with pytest.raises(BenchError, match="hinet: norm_first is 4, after norm_last, 3"):
        hinet.Config(norm_first=4, norm_last=3)
