"""GCANet and AOD-Net against their official arithmetic, and official weights on public pairs; U-Net
and MixDehazeNet as their papers and their loader have them.

Weights are random here unless a mirror is at hand; then real hazy pairs are restored as the official
scripts do it. The figures were measured here: they hold networks and weights still, and are no
published ones, which are means over SOTS-indoor's 500.
"""

from __future__ import annotations

import os
from pathlib import Path

import goldens
import numpy as np
import pytest
import torch
from goldens import needs_mirror
from torch.nn.functional import conv2d

from benchlib.backbones import aodnet, gcanet, mixdehazenet, unet
from benchlib.conformance._network import moved
from benchlib.imageio import quantise, read_image, to_tensor

PAIRS = "square-moon/haze/89a4fc1786d2209ac49b20f7b8eab769acf8ddc8/data/RESIDE-IN/test"
FIRST = ("1400_1", "1403_10", "1406_2", "1409_3", "1412_4")
FIRST += ("1415_5", "1418_6", "1421_7", "1424_8", "1427_9")


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    error = np.square(one.astype(np.float64) - other).mean()
    return float(10 * np.log10(255**2 / error))


def restored(network: torch.nn.Module, names: tuple[str, ...]) -> tuple[float, float]:
    """Mean PSNR over 8-bit images, RGB: of the hazy images, and of what a network makes of them."""
    folder = Path(os.environ["BENCHLIB_TEST_MIRROR"]) / "raw.githubusercontent.com" / PAIRS
    before, after = [], []
    for name in names:
        hazy = read_image(folder / "hazy" / f"{name}.png")
        clear = read_image(folder / "GT" / f"{name.split('_')[0]}_1.png")
        with torch.no_grad():
            found = quantise(network(to_tensor(hazy)[None])[0])
        before.append(psnr(hazy, clear))
        after.append(psnr(found, clear))
    return float(np.mean(before)), float(np.mean(after))


# --- GCANet --------------------------------------------------------------------------------------


def test_gcanet_sees_levels_less_128_and_a_quarter_of_the_differences():
    network = moved(gcanet.build(gcanet.Config(width=4)))
    seen = []
    network.conv1.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    levels = torch.tensor([[10.0, 30, 60, 60], [10, 30, 60, 60]])
    image = (levels / 255).expand(1, 3, 2, 4)
    with torch.no_grad():
        network(image)
    torch.testing.assert_close(seen[0][0, :3], levels.expand(3, 2, 4) - 128)
    across = torch.tensor([[20.0, 50, 30, 0], [20, 50, 30, 0]]) / 4
    torch.testing.assert_close(seen[0][0, 3], across - 128)


@pytest.mark.parametrize("residual", [True, False])
def test_gcanet_gives_a_residual_of_levels_or_the_levels(residual):
    network = moved(gcanet.build(gcanet.Config(width=4, residual=residual)))
    image = torch.rand(1, 3, 8, 10)
    levels = 255 * image
    with torch.no_grad():
        given = network.estimate(torch.cat([levels, gcanet.edges(levels)], 1) - 128)
        expected = given.relu() / 255
        if residual:
            expected = image + given / 255
        torch.testing.assert_close(network(image), expected)


def test_gcanet_s_smoothing_is_one_kernel_for_all_channels():
    smoothing = gcanet.Smoothing(3)
    x = torch.rand(2, 5, 6, 7)
    assert torch.equal(smoothing(x), x)
    with torch.no_grad():
        smoothing.weight.copy_(torch.rand(1, 1, 3, 3))
        for channel in range(5):
            alone = conv2d(x[:, channel : channel + 1], smoothing.weight, padding=1)
            torch.testing.assert_close(smoothing(x)[:, channel : channel + 1], alone)


def test_gcanet_has_the_official_names():
    names = gcanet.build(gcanet.Config()).state_dict()
    assert len(names) == 75 and sum(value.numel() for value in names.values()) == 702818
    assert names["res6.pre_conv2.weight"].shape == (1, 1, 7, 7)
    assert "res7.pre_conv1.weight" not in names and names["gate.weight"].shape == (3, 192, 3, 3)


@needs_mirror
def test_gcanet_s_official_weights_take_haze_off_sots():
    network = gcanet.build(gcanet.Config()).eval()
    network.load_state_dict(goldens.official("cddlyf/GCANet", "models/wacv_gcanet_dehaze.pth"))
    before, after = restored(network, FIRST[:1])  # a second or more an image
    assert before == pytest.approx(14.785, abs=1e-3)
    assert after == pytest.approx(27.101, abs=2e-3)


@needs_mirror
def test_gcanet_s_weights_of_rain_load_strictly():
    weights = goldens.official("cddlyf/GCANet", "models/wacv_gcanet_derain.pth")
    gcanet.build(gcanet.Config(residual=False)).load_state_dict(weights, strict=True)
    assert len(weights) == 75


# --- AOD-Net -------------------------------------------------------------------------------------


def test_aod_net_leaves_white_white_and_has_the_published_parameters():
    network = moved(aodnet.build(aodnet.Config()))
    assert sum(value.numel() for value in network.parameters()) == 1761
    image = torch.rand(1, 3, 9, 7)
    image[..., 4, 3] = 1
    with torch.no_grad():
        found = network(image)
    assert torch.equal(found[..., 4, 3], torch.ones(1, 3)) and (found >= 0).all()


@needs_mirror
def test_aod_net_s_weights_take_haze_off_sots():
    network = aodnet.build(aodnet.Config()).eval()
    repository = "MayankSingal/PyTorch-Image-Dehazing"
    network.load_state_dict(goldens.official(repository, "snapshots/dehazer.pth"))
    before, after = restored(network, FIRST)
    assert before == pytest.approx(12.533, abs=1e-3)
    assert after == pytest.approx(19.419, abs=2e-3)


# --- U-Net and MixDehazeNet ----------------------------------------------------------------------


def test_u_net_has_the_paper_s_channels_and_adds_to_the_image():
    network = unet.build(unet.Config())
    widths = [step[2].out_channels for step in (*network.down, network.lowest, *network.up)]
    assert widths == [64, 128, 256, 512, 1024, 512, 256, 128, 64]
    small = unet.build(unet.Config(width=4, levels=2)).eval()
    image = torch.rand(1, 3, 13, 18)
    with torch.no_grad():
        small.last.weight.zero_()
        small.last.bias.copy_(torch.tensor([0.1, 0.2, 0.3]))
        torch.testing.assert_close(small(image), image + small.last.bias.view(1, 3, 1, 1))
        plain = unet.build(unet.Config(width=4, levels=2, residual=False))
        plain.load_state_dict(small.state_dict())
        torch.testing.assert_close(plain(image), small(image) - image)


def test_mixdehazenet_sees_values_from_minus_one_to_one():
    from benchlib.backbones._spandrel import architecture

    network = moved(mixdehazenet.build(mixdehazenet.Config(width=8, depths=(1, 1, 1, 1, 1))))
    official = architecture("MixDehazeNet")(**network.hyperparameters)
    official.load_state_dict(network.state_dict(), strict=True)
    image = torch.rand(1, 3, 41, 46)
    with torch.no_grad():
        expected = official.eval()(2 * image - 1) * 0.5 + 0.5
        torch.testing.assert_close(network(image), expected, atol=1e-5, rtol=1e-5)
        assert network(image[..., :7, :5]).shape == (1, 3, 7, 5)
