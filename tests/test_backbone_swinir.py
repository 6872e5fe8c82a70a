"""SwinIR: spandrel's network under the official configurations, wider inputs, and every size."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from benchlib.backbones import swinir
from benchlib.contracts import BenchError

LIGHT = {
    "upsampler": "pixelshuffledirect",
    "embed_dim": 60,
    "depths": (6,) * 4,
    "num_heads": (6,) * 4,
}
SMALL = {
    "embed_dim": 8,
    "depths": (2, 2),
    "num_heads": (2, 2),
    "window_size": 4,
    "training_size": 8,
}
TASKS = [(2, "pixelshuffle"), (3, "pixelshuffle"), (4, "pixelshuffledirect"), (1, "")]


def official_shapes(
    channels: int, groups: int, side: int, tail: dict[str, tuple[int, ...]]
) -> dict:
    """Names and shapes of the official checkpoints with windows of 8, 6 layers and 6 heads a group.

    As ``models/network_swinir.py`` of JingyunLiang/SwinIR registers them.
    """
    c = channels
    weights: dict[str, tuple[int, ...]] = {
        "conv_first": (c, 3, 3, 3),
        "patch_embed.norm": (c,),
        "norm": (c,),
    }
    weights |= {"conv_after_body": (c, c, 3, 3)} | tail
    shapes: dict[str, tuple[int, ...]] = {}
    for group in range(groups):
        weights[f"layers.{group}.conv"] = (c, c, 3, 3)
        for i in range(6):
            layer = f"layers.{group}.residual_group.blocks.{i}"
            weights |= {
                f"{layer}.norm1": (c,),
                f"{layer}.norm2": (c,),
                f"{layer}.mlp.fc1": (2 * c, c),
            }
            weights |= {
                f"{layer}.mlp.fc2": (c, 2 * c),
                f"{layer}.attn.qkv": (3 * c, c),
                f"{layer}.attn.proj": (c, c),
            }
            shapes[f"{layer}.attn.relative_position_bias_table"] = (15 * 15, 6)
            shapes[f"{layer}.attn.relative_position_index"] = (64, 64)
            if i % 2:
                shapes[f"{layer}.attn_mask"] = ((side // 8) ** 2, 64, 64)
    for name, shape in weights.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return shapes


def shapes_of(network: nn.Module) -> dict:
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def test_names_and_shapes_of_the_official_networks():
    tail = {"conv_before_upsample.0": (64, 180, 3, 3), "conv_last": (3, 64, 3, 3)}
    tail |= {"upsample.0": (256, 64, 3, 3), "upsample.2": (256, 64, 3, 3)}
    assert shapes_of(swinir.build(swinir.Config())) == official_shapes(180, 6, 64, tail)
    light = swinir.build(swinir.Config(scale=3, **LIGHT))
    assert shapes_of(light) == official_shapes(60, 4, 64, {"upsample.0": (27, 60, 3, 3)})
    denoiser = swinir.build(
        swinir.Config(scale=1, upsampler="", training_size=128, depths=(6,), num_heads=(6,))
    )
    assert shapes_of(denoiser) == official_shapes(180, 1, 128, {"conv_last": (3, 180, 3, 3)})


@pytest.mark.parametrize(("scale", "thousands"), [(2, 878), (3, 886), (4, 897)])
def test_light_networks_have_as_many_parameters_as_the_paper_prints(scale, thousands):
    """Table 3 of the paper, which leaves out the position biases (32 400 parameters)."""
    network = swinir.build(swinir.Config(scale=scale, **LIGHT))
    total, tables = 0, 0
    for name, parameter in network.named_parameters():
        total += parameter.numel()
        if name.endswith("relative_position_bias_table"):
            tables += parameter.numel()
    assert tables == 32_400
    assert round((total - tables) / 1000) == thousands


@pytest.mark.parametrize(("scale", "upsampler"), TASKS)
@pytest.mark.parametrize("channels", [3, 5])
@pytest.mark.parametrize("resi", ["1conv", "3conv"])
def test_any_size_is_enlarged_and_the_output_has_three_channels(scale, upsampler, channels, resi):
    config = swinir.Config(scale=scale, upsampler=upsampler, resi_connection=resi, **SMALL)
    network = swinir.build(config, in_channels=channels).eval()
    for height, width in [(16, 16), (17, 23), (33, 8), (1, 2)]:
        with torch.no_grad():
            out = network(torch.rand(1, channels, height, width))
        assert out.shape == (1, 3, height * swinir.scale(config), width * swinir.scale(config))
        assert torch.isfinite(out).all()


@pytest.mark.parametrize(("scale", "upsampler"), TASKS)
def test_further_channels_change_nothing_but_what_the_first_convolution_takes(scale, upsampler):
    """With the same weights, and none on them, the wide network is the official one."""
    config = swinir.Config(scale=scale, upsampler=upsampler, **SMALL)
    narrow, wide = swinir.build(config).eval(), swinir.build(config, in_channels=5).eval()
    state = narrow.state_dict()
    kernel = torch.zeros_like(wide.conv_first.weight)
    kernel[:, :3] = state["conv_first.weight"]
    wide.load_state_dict(state | {"conv_first.weight": kernel}, strict=True)
    x = torch.rand(2, 5, 9, 14)
    with torch.no_grad():
        torch.testing.assert_close(wide(x), narrow(x[:, :3]), rtol=0, atol=1e-6)
        kernel[:, 3:] = 1.0
        wide.load_state_dict(state | {"conv_first.weight": kernel}, strict=True)
        assert not torch.allclose(wide(x), narrow(x[:, :3]))


@pytest.mark.parametrize("channels", [3, 5])
def test_without_a_learned_residual_the_denoiser_returns_its_image(channels):
    network = swinir.build(
        swinir.Config(scale=1, upsampler="", **SMALL), in_channels=channels
    ).eval()
    nn.init.zeros_(network.conv_last.weight)
    nn.init.zeros_(network.conv_last.bias)
    x = torch.rand(1, channels, 7, 9)
    with torch.no_grad():
        torch.testing.assert_close(network(x), x[:, :3], rtol=0, atol=1e-6)


def test_sizes_are_filled_up_by_reflection_and_cut_again():
    network = swinir.build(swinir.Config(scale=2, **SMALL)).eval()
    x = torch.rand(1, 3, 6, 7)
    # 6 rows to 8 and 7 columns to 8: the border pixel stands once
    filled = torch.cat([x, x[:, :, [4, 3]]], 2)
    filled = torch.cat([filled, filled[..., [5]]], 3)
    with torch.no_grad():
        assert torch.equal(network(x), network(filled)[..., :12, :14])


def test_groups_are_blocks_in_order_and_know_the_size_of_their_map():
    network = swinir.build(swinir.Config(**SMALL | {"depths": (2, 1, 2), "num_heads": (2, 4, 2)}))
    blocks, seen = swinir.blocks(network), []
    for i, block in enumerate(blocks):
        block.register_forward_hook(
            lambda _, inputs, output, i=i: seen.append((i, *inputs, output))
        )
    with torch.no_grad():
        network(torch.rand(2, 3, 10, 5))
    assert [i for i, *_ in seen] == [0, 1, 2]
    for _, tokens, size, output in seen:
        assert tuple(size) == (12, 8)
        assert tokens.shape == output.shape == (2, 12 * 8, 8)
    for before, after in pairwise(seen):
        assert after[1] is before[3]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"scale": 1}, "upsampler 'pixelshuffle'"),
        ({"upsampler": ""}, "'' is for scale 1"),
        ({"depths": [6]}, "1 depths but 6 num_heads"),
        ({"embed_dim": 100}, "embed_dim 100 cannot be shared"),
        ({"training_size": 60}, "training_size 60"),
        ({"training_size": 8}, "training_size 8"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings, said):
    with pytest.raises(BenchError, match=said) as error:
        TypeAdapter(swinir.Config).validate_python(settings)
    assert "\n" not in str(error.value)
