"""Zero-DCE against the official network, with random weights and with the official ones."""

import goldens
import torch
from goldens import needs_mirror

from benchlib.backbones import zero_dce


def test_names_and_outputs_are_the_official_ones():
    golden = goldens.read("zero_dce")
    network = goldens.load(zero_dce.build(zero_dce.Config()), golden)
    x, mid, y, curves = goldens.tensors(golden, "x", "mid", "y", "curves")
    with torch.no_grad():
        torch.testing.assert_close(network.curves(x), curves, atol=1e-6, rtol=0)
        torch.testing.assert_close(zero_dce.enhance(x, curves[:, :12]), mid, atol=1e-6, rtol=0)
        torch.testing.assert_close(network(x), y, atol=1e-6, rtol=0)


def test_further_channels_are_read_but_not_curved():
    torch.manual_seed(0)
    network = zero_dce.build(zero_dce.Config(width=4), in_channels=5)
    image = torch.rand(1, 5, 8, 9)
    first = network(image)
    assert first.shape == (1, 3, 8, 9)
    assert not torch.equal(network(image + torch.tensor([0, 0, 0, 1, 0]).view(1, 5, 1, 1)), first)


@needs_mirror
def test_official_weights_give_the_official_image():
    network = zero_dce.build(zero_dce.Config())
    weights = goldens.official("Li-Chongyi/Zero-DCE", "Zero-DCE_code/snapshots/Epoch99.pth")
    network.load_state_dict(weights, strict=True)
    expected = goldens.tensors(goldens.read("lowlight_real"), "zero_dce")[0]
    with torch.no_grad():
        restored = network(goldens.dark_photograph())[0]
    torch.testing.assert_close(restored, expected, atol=1e-5, rtol=0)
