"""EnlightenGAN's generator against the official network, by random weights."""

import goldens
import pytest
import torch

from benchlib.backbones import enlighten_gan


def test_names_and_outputs_are_the_official_ones():
    """48 x 64 pixels; the official network works in [-1,1]."""
    golden = goldens.read("enlighten_gan")
    network = goldens.load(enlighten_gan.build(enlighten_gan.Config()), golden)
    x, gray, latent, y = goldens.tensors(golden, "x", "gray", "latent", "y")
    torch.testing.assert_close(enlighten_gan.darkness(x), gray, atol=1e-6, rtol=0)
    with torch.no_grad():
        torch.testing.assert_close(network.latent(x, gray), latent, atol=5e-6, rtol=0)
        restored = network((x + 1) / 2)
    torch.testing.assert_close(2 * restored - 1, y, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("height", "width"), [(17, 23), (16, 30), (3, 5)])
def test_the_smaller_half_is_mirrored_on_the_left_and_top(height, width):
    torch.manual_seed(0)
    network = enlighten_gan.build(enlighten_gan.Config(width=2)).eval()
    image, seen = torch.rand(1, 3, height, width), []
    network.conv1_1.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    with torch.no_grad():
        assert network(image).shape == image.shape
    padded = seen[0][:, :3]
    assert padded.shape[2] % 16 == padded.shape[3] % 16 == 0
    top, left = (padded.shape[2] - height) // 2, (padded.shape[3] - width) // 2
    inner = padded[..., top : top + height, left : left + width]
    torch.testing.assert_close(inner, 2 * image - 1)
    if left and left < width:
        torch.testing.assert_close(inner[..., 1], padded[..., top : top + height, left - 1])


def test_a_very_wide_image_is_restored_at_half_its_size_and_keeps_its_size():
    network = enlighten_gan.build(enlighten_gan.Config(width=1)).eval()
    seen = []
    network.conv1_1.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape[3]))
    with torch.no_grad():
        assert network(torch.rand(1, 3, 17, 2205)).shape == (1, 3, 17, 2205)
    assert seen == [1104]  # 1102, and up to a multiple of 16
