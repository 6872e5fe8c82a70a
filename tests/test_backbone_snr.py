"""SNR-Aware against the official network (39 M parameters, random) and its map and test of LOL."""

import goldens
import pytest
import torch

from benchlib.backbones import snr


def test_names_and_outputs_are_the_official_ones():
    golden = goldens.read("snr")
    network = goldens.load(snr.build(snr.Config()), golden)
    assert sum(p.numel() for p in network.parameters()) == 39_124_099
    x, mask, y = goldens.tensors(golden, "x", "mask", "y")
    assert 0 < (mask > 0.5).float().mean() < 1
    with torch.no_grad():
        torch.testing.assert_close(network.restore(x, mask), y, atol=2e-5, rtol=0)


def test_the_map_is_what_the_official_test_hands_over():
    x, mask = goldens.tensors(goldens.read("snr_map"), "x", "mask")
    torch.testing.assert_close(snr.snr_map(x), mask, atol=1e-5, rtol=0)


def test_each_image_has_a_map_of_its_own():
    images = torch.rand(2, 3, 9, 12) * torch.tensor([1.0, 0.1]).view(2, 1, 1, 1)
    torch.testing.assert_close(snr.snr_map(images)[1:], snr.snr_map(images[1:]))


def test_resized_as_in_the_official_test_of_lol(monkeypatch):
    """The golden has a stand-in for the network: half of the image, and the map."""
    network = snr.build(snr.Config(width=1, resize=(400, 608)))
    monkeypatch.setattr(network, "restore", lambda image, clean: image * 0.5 + clean)
    x, expected = goldens.tensors(goldens.read("snr_map"), "x4", "fake_H4")
    torch.testing.assert_close(network(x), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(1, 2), (17, 33)])
def test_any_size(size):
    network = snr.build(snr.Config(width=1)).eval()
    with torch.no_grad():
        restored = network(torch.rand(1, 3, *size))
    assert restored.shape[2:] == size
    assert torch.isfinite(restored).all()
