"""IFAN against the official network, by random weights."""

import goldens
import pytest
import torch

from benchlib.backbones import ifan
from benchlib.contracts import BenchError

SMALL = ifan.Config(width=4, filters=3)


def test_names_and_outputs_are_the_official_ones():
    golden = goldens.read("ifan")
    network = goldens.load(ifan.build(SMALL), golden)
    x, filters, y = goldens.tensors(golden, "x", "filters", "y")
    with torch.no_grad():
        torch.testing.assert_close(network.predict(x)[1], filters, atol=1e-5, rtol=0)
        torch.testing.assert_close(network(x), y, atol=1e-5, rtol=1e-5)  # up to 14


def test_of_a_trainers_file_the_network_is_taken():
    """The official files: the trainer's state dict, its second network from training beside."""
    torch.manual_seed(0)
    network, other = ifan.build(SMALL), ifan.build(SMALL)
    state = {f"Network.{name}": value for name, value in network.state_dict().items()}
    other.load_state_dict(state | {"reblurNet.conv.weight": torch.zeros(1)}, strict=True)
    for name, value in network.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)
    del state["Network.conv1_1.0.weight"]
    with pytest.raises(RuntimeError, match=r"Missing key.*conv1_1\.0\.weight"):
        other.load_state_dict(state, strict=True)


def test_a_row_is_weighed_by_the_columns_kernel_as_the_checkpoints_expect():
    features = torch.rand(1, 1, 3, 3)
    column, row = torch.rand(3), torch.rand(3)
    kernels = torch.cat([column, row]).view(1, 6, 1, 1).expand(-1, -1, 3, 3)
    filters = torch.cat([kernels, torch.zeros(1, 1, 3, 3)], 1)
    expected = (features[0, 0] * column[:, None] * column).sum()
    assert float(ifan.apply_filters(features, filters, 1)[0, 0, 1, 1]) == pytest.approx(
        float(expected), rel=1e-5
    )


def test_a_dual_network_predicts_its_filters_from_the_two_views():
    torch.manual_seed(0)
    network = ifan.build(ifan.Config(width=2, filters=2, dual=True), in_channels=9)
    assert network.kconv1_1[0].in_channels == 6
    assert network.conv1_1[0].in_channels == 3
    assert network(torch.rand(1, 9, 9, 17)).shape == (1, 3, 9, 17)


def test_a_dual_network_without_views_is_refused():
    with pytest.raises(BenchError, match="ifan: dual: .* three channels; take a method"):
        ifan.build(ifan.Config(dual=True))
