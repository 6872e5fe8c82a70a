"""IMDN: the official names and counts.

And, where the official weights are at hand, the published figures.
"""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from benchlib.assets import load_weights
from benchlib.backbones import imdn
from benchlib.degrade import bicubic
from benchlib.imageio import quantise, read_image, to_tensor
from benchlib.metrics import protocol
from benchlib.seeding import name_rng

HOST = "raw.githubusercontent.com"
needs_mirror = pytest.mark.skipif(
    "BENCHLIB_TEST_MIRROR" not in os.environ,
    reason="needs BENCHLIB_TEST_MIRROR, a folder as wget -x makes",
)


def official_shapes(scale: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of Zheng222/IMDN's ``checkpoints/IMDN_x*.pth``."""
    weights = {"fea_conv": (64, 3, 3, 3), "c.0": (64, 384, 1, 1), "LR_conv": (64, 64, 3, 3)}
    weights["upsampler.0"] = (3 * scale**2, 64, 3, 3)
    for i in range(1, 7):
        weights |= {
            f"IMDB{i}.c1": (64, 64, 3, 3),
            f"IMDB{i}.c2": (64, 48, 3, 3),
            f"IMDB{i}.c3": (64, 48, 3, 3),
            f"IMDB{i}.c4": (16, 48, 3, 3),
            f"IMDB{i}.c5": (64, 64, 1, 1),
            f"IMDB{i}.cca.conv_du.0": (4, 64, 1, 1),
            f"IMDB{i}.cca.conv_du.2": (64, 4, 1, 1),
        }
    shapes = {}
    for name, shape in weights.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return shapes


@pytest.mark.parametrize(("scale", "count"), [(2, 694_404), (3, 703_059), (4, 715_176)])
def test_names_shapes_and_count_are_the_official_ones(scale, count):
    """694K, 703K and 715K in the paper's table of benchmark results.

    Exactly as many as here in the official files.
    """
    network = imdn.build(imdn.Config(scale=scale))
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert shapes == official_shapes(scale)
    assert sum(p.numel() for p in network.parameters()) == count


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("channels", [3, 5])
def test_any_size_is_enlarged_and_the_output_has_three_channels(scale, channels):
    config = imdn.Config(scale=scale, width=16, modules=2)
    network = imdn.build(config, in_channels=channels).eval()
    for height, width in [(16, 16), (17, 23), (33, 8), (1, 2)]:
        with torch.no_grad():
            out = network(torch.rand(1, channels, height, width))
        assert out.shape == (1, 3, height * imdn.scale(config), width * imdn.scale(config))
        assert torch.isfinite(out).all()


def test_a_building_block_computes_what_the_paper_says():
    """Section 3.2 written out.

    Standard deviation over all pixels, slope 0.05, the last part not activated.
    """
    torch.manual_seed(0)
    block = imdn.Distillation(16).double()
    x = torch.randn(2, 16, 5, 7, dtype=torch.float64)
    kept, rest = [], x
    for conv in (block.c1, block.c2, block.c3):
        refined = conv(rest)
        refined = torch.where(refined > 0, refined, 0.05 * refined)
        kept, rest = [*kept, refined[:, :4]], refined[:, 4:]
    joined = torch.cat([*kept, block.c4(rest)], 1)
    contrast = joined.flatten(2).std(2, correction=0) + joined.flatten(2).mean(2)
    squeeze, _, excite, _ = block.cca.conv_du
    hidden = (contrast @ squeeze.weight[:, :, 0, 0].T + squeeze.bias).relu()
    weights = torch.sigmoid(hidden @ excite.weight[:, :, 0, 0].T + excite.bias)
    expected = block.c5(joined * weights[:, :, None, None]) + x
    torch.testing.assert_close(block(x), expected, rtol=1e-12, atol=1e-12)


def test_a_flat_channel_gives_finite_gradients():
    """The root of a variance of zero has an infinite slope."""
    network = imdn.build(imdn.Config(width=16, modules=1))
    torch.nn.init.zeros_(network.IMDB1.c4.weight)
    network(torch.rand(1, 3, 8, 8)).sum().backward()
    for parameter in network.parameters():
        assert torch.isfinite(parameter.grad).all()


def test_twelve_modules_are_in_order_and_get_each_others_output():
    network = imdn.build(imdn.Config(width=16, modules=12))
    blocks, seen = imdn.blocks(network), []
    for i, block in enumerate(blocks):
        block.register_forward_hook(
            lambda _, inputs, output, i=i: seen.append((i, inputs[0], output))
        )
    with torch.no_grad():
        network(torch.rand(1, 3, 9, 6))
    assert [i for i, *_ in seen] == list(range(12))
    for before, after in pairwise(seen):
        assert after[1] is before[2]
    for i, block in enumerate(blocks, start=1):
        assert block is network.get_submodule(f"IMDB{i}")


# --- published figures, from the official weights ------------------------------------------------


def repository(name: str) -> Path:
    """A repository's folder in the mirror, at the one commit that is there."""
    (folder,) = (Path(os.environ["BENCHLIB_TEST_MIRROR"]) / HOST / name).iterdir()
    return folder


def set5(scale: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(low, high resolution) as IMDN's authors publish them."""
    folder = repository("Zheng222/IMDN") / "Test_Datasets"
    pairs = []
    for name in ("baby", "bird", "butterfly", "head", "woman"):
        low = read_image(folder / f"Set5_LR/x{scale}/{name}x{scale}.bmp")
        pairs.append((low, read_image(folder / f"Set5/{name}.bmp")))
    return pairs


def psnr(pairs: list[tuple[np.ndarray, np.ndarray]], scale: int, kind: str) -> float:
    network = imdn.build(imdn.Config(scale=scale)).eval()
    weights = load_weights(repository("Zheng222/IMDN") / f"checkpoints/IMDN_x{scale}.pth")
    network.load_state_dict(weights, strict=True)
    values = []
    for low, high in pairs:
        with torch.inference_mode():
            restored = quantise(network(to_tensor(low)[None])[0])
        height, width = restored.shape[:2]
        values.append(protocol(f"{kind}@{scale}").psnr(restored, high[:height, :width]))
    return float(np.mean(values))


@needs_mirror
@pytest.mark.parametrize(("scale", "published"), [(2, 37.9105), (3, 34.3233), (4, 32.1867)])
def test_set5_is_what_the_spt_paper_prints_for_imdn(scale, published):
    """SPT, Table 1, rows IMDN: luma in whole numbers, on the official low-resolution files."""
    ours = psnr(set5(scale), scale, "matlab-y-rounded")
    assert ours == pytest.approx(published, abs=2e-4)  # four digits printed


@needs_mirror
def test_set5_x4_shows_which_border_its_low_resolution_images_were_made_with():
    """With the border pixel repeated 32.2114 dB; mirrored, as in IMDN's own files, 32.2096 dB."""
    repeated = bicubic.Config(scale=4, between="8-bit", border="replicate")
    pairs = set5(4)
    assert psnr(pairs, 4, "basicsr-y") == pytest.approx(32.2096, abs=1e-3)
    again = [(bicubic.degrade(high, repeated, name_rng("unused")), high) for _, high in pairs]
    assert psnr(again, 4, "basicsr-y") == pytest.approx(32.2114, abs=1e-3)


@needs_mirror
def test_set14_x4_is_28_5869_db_on_the_files_of_selfexsr():
    folder = repository("jbhuang0604/SelfExSR") / "data/Set14/image_SRF_4"
    pairs = []
    for i in range(1, 15):
        low = read_image(folder / f"img_{i:03d}_SRF_4_LR.png")
        pairs.append((low, read_image(folder / f"img_{i:03d}_SRF_4_HR.png")))
    assert psnr(pairs, 4, "basicsr-y") == pytest.approx(28.5869, abs=1e-3)
