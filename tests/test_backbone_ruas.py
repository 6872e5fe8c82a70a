"""RUAS against the official network, with random weights and with the official ones."""

import goldens
import pytest
import torch
from goldens import needs_mirror

from benchlib.backbones import ruas


def test_names_and_outputs_of_all_steps_are_the_official_ones():
    golden = goldens.read("ruas")
    network = goldens.load(ruas.build(ruas.Config()), golden)
    x, expected, expected_t = goldens.tensors(golden, "x", "u", "t")
    with torch.no_grad():
        images, illuminations = network.enhance(x)
        denoised = network(x)
    for step in range(3):
        torch.testing.assert_close(images[step], expected[step], atol=1e-5, rtol=0)
        torch.testing.assert_close(illuminations[step], expected_t[step], atol=1e-6, rtol=0)
    torch.testing.assert_close(denoised, expected[3], atol=1e-4, rtol=1e-5)  # up to 66


def test_without_the_denoiser_the_same_file_gives_the_brighter_image():
    golden = goldens.read("ruas")
    network = goldens.load(ruas.build(ruas.Config(denoise=False)), golden)
    assert not hasattr(network, "denoise_net")
    x, expected = goldens.tensors(golden, "x", "u")
    with torch.no_grad():
        torch.testing.assert_close(network(x), expected[2], atol=1e-5, rtol=0)


def test_further_channels_change_the_illumination():
    torch.manual_seed(0)
    network = ruas.build(ruas.Config(denoise=False), in_channels=4)
    image = torch.rand(1, 4, 8, 9) * 0.3
    shown = network.enhance(image)[1][-1]
    assert shown.shape == (1, 3, 8, 9)
    image[:, 3] += 1
    assert not torch.equal(network.enhance(image)[1][-1], shown)


@needs_mirror
@pytest.mark.parametrize("variant", ["lol", "upe", "dark"])
def test_official_weights_give_the_official_image(variant):
    network = ruas.build(ruas.Config(denoise=variant == "lol"))
    weights = goldens.official("KarelZhang/RUAS", f"ckpt/{variant}.pt")
    network.load_state_dict(weights, strict=True)
    expected = goldens.tensors(goldens.read("lowlight_real"), f"ruas/{variant}")[0]
    with torch.no_grad():
        restored = network(goldens.dark_photograph())[0]
    torch.testing.assert_close(restored, expected, atol=1e-5, rtol=0)
