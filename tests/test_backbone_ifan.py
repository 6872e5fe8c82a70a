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
