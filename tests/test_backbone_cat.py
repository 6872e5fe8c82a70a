"""CAT: names, shapes, counts, sizes and numbers of the official repository.

And its attention by its definition.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchlib.backbones import cat
from benchlib.contracts import BenchError

A = cat.Config()
R = cat.Config(split_0=(4,) * 6, split_1=16)
R2 = cat.Config(split_0=(4,) * 6, split_1=16, mlp_ratio=2)
A2 = cat.Config(split_0=(4,) * 6)
JPEG = cat.Config(scale=1, img_size=128, img_range=255)
SMALL = {"width": 128, "heads": 4, "depth": 2, "img_size": 16, "mlp_ratio": 2}
AXIAL = cat.Config(scale=2, split_0=(2, 4), **SMALL)
REGULAR = cat.Config(scale=3, split_0=(2, 4), split_1=8, **SMALL)
GREY = cat.Config(scale=1, split_0=(4,), img_range=255, **SMALL)
TINY = SMALL | {"width": 32, "heads": 2}


def empty(config: cat.Config, channels: int = 3) -> torch.nn.Module:
    """A network without numbers: nothing but names and shapes."""
    with torch.device("meta"):
        return cat.build(config, channels)


def filled(config: cat.Config, channels: int = 3) -> torch.nn.Module:
    """Parameters that any computer draws alike, large enough that every part matters."""
    network = cat.build(config, channels).double().eval()
    for i, (name, p) in enumerate(sorted(network.named_parameters())):
        noise = torch.from_numpy(np.random.default_rng(i).random(tuple(p.shape)) * 2 - 1)
        norm = ".norm" in "." + name and name.endswith("weight")
        if p.ndim > 1:
            p.data = noise * (3 / p[0].numel()) ** 0.5
        else:
            p.data = 0.2 * noise + float(norm)
    return network


@pytest.mark.parametrize(
    ("config", "channels", "millions"),
    [(R, 3, 16.60), (A, 3, 16.60), (R2, 3, 11.93), (A2, 3, 16.60), (JPEG, 1, 16.20)],
)
def test_parameter_counts_are_those_of_the_repositorys_readme(config, channels, millions):
    assert round(sum(p.numel() for p in empty(config, channels).parameters()) / 1e6, 2) == millions


@pytest.mark.parametrize(("config", "size"), [(A, 180251607), (R, 107286951), (R2, 88571431)])
def test_parameters_and_buffers_fill_the_official_checkpoint_files(config, size):
    # sizes: the git-lfs pointers of experiments/pretrained_models at
    # a950a87962c404b8e270318c607b98cc01b19ddc. A zip entry takes some hundreds of bytes; one
    # attention mask more or less would be 1 to 4 million.
    entries = empty(config).state_dict()
    assert 200 < (size - sum(t.nbytes for t in entries.values())) / len(entries) < 500


TOP = {
    "conv_first.weight": (180, 3, 3, 3),
    "conv_first.bias": (180,),
    "before_RG.1.weight": (180,),
    "before_RG.1.bias": (180,),
    "norm.weight": (180,),
    "norm.bias": (180,),
    "conv_after_body.weight": (180, 180, 3, 3),
    "conv_after_body.bias": (180,),
    "conv_before_upsample.0.weight": (64, 180, 3, 3),
    "conv_before_upsample.0.bias": (64,),
    "upsample.0.weight": (256, 64, 3, 3),
    "upsample.0.bias": (256,),
    "upsample.2.weight": (256, 64, 3, 3),
    "upsample.2.bias": (256,),
    "conv_last.weight": (3, 64, 3, 3),
    "conv_last.bias": (3,),
}
BLOCK = {
    "norm1.weight": (180,),
    "norm1.bias": (180,),
    "qkv.weight": (540, 180),
    "qkv.bias": (540,),
    "proj.weight": (180, 180),
    "proj.bias": (180,),
    "get_v.weight": (180, 1, 3, 3),
    "get_v.bias": (180,),
    "norm2.weight": (180,),
    "norm2.bias": (180,),
    "mlp.fc1.weight": (720, 180),
    "mlp.fc1.bias": (720,),
    "mlp.fc2.weight": (180, 720),
    "mlp.fc2.bias": (180,),
}
ATTENTION = {"pos.pos_proj.weight": (5, 2), "pos.pos_proj.bias": (5,)}
for step, out in (("pos1", 5), ("pos2", 5), ("pos3", 3)):
    ATTENTION |= {f"pos.{step}.0.weight": (5,), f"pos.{step}.0.bias": (5,)}
    ATTENTION |= {f"pos.{step}.2.weight": (out, 5), f"pos.{step}.2.bias": (out,)}
REGULAR_ONLY = {"rpe_biases": (7 * 31, 2), "relative_position_index": (64, 64)}


def prefixed(before: str, shapes: dict) -> dict:
    return {before + name: shape for name, shape in shapes.items()}


@pytest.mark.parametrize("config", [A, R])
def test_entries_are_those_of_the_official_state_dict(config):
    expected = dict(TOP)
    for group, split in enumerate(config.split_0):
        expected |= {
            f"layers.{group}.conv.weight": (180, 180, 3, 3),
            f"layers.{group}.conv.bias": (180,),
        }
        for block in range(6):
            here = f"layers.{group}.blocks.{block}."
            expected |= prefixed(here, BLOCK)
            for i in (0, 1):
                expected |= prefixed(f"{here}attns.{i}.", ATTENTION)
                if config.split_1:
                    expected |= prefixed(f"{here}attns.{i}.", REGULAR_ONLY)
                if block % 2:
                    pixels = split * (config.split_1 or 64)
                    expected[f"{here}attn_mask_{i}"] = (64 * 64 // pixels, pixels, pixels)
    assert {name: tuple(t.shape) for name, t in empty(config).state_dict().items()} == expected


# numbers from a transcription of basicsr/archs/cat_arch.py and the padding of
# basicsr/models/cat_model.py (zhengchen1999/CAT at 51ded02282b5b3b30a0e4fe48489bea5558543eb) in
# double precision, same parameters, same image
@pytest.mark.parametrize(
    ("config", "channels", "size", "std", "values"),
    [
        (
            AXIAL,
            3,
            (17, 23),
            0.7801713167423093,
            [0.83385953, 0.88255468, 1.17746808, 1.26499355, 0.50329727],
        ),
        (
            AXIAL,
            3,
            (16, 16),
            0.7318699238256574,
            [0.69022745, -0.74376285, 1.72169524, 0.64268595, -1.02060133],
        ),
        (
            REGULAR,
            3,
            (17, 23),
            0.8560868525951809,
            [0.21454094, 1.02625948, 1.904321, 1.01139788, 0.66449146],
        ),
        (
            REGULAR,
            3,
            (16, 16),
            0.7979428958631902,
            [0.48024837, -0.34731443, -1.16131905, 0.43118073, 0.08089064],
        ),
        (
            GREY,
            1,
            (17, 23),
            0.3836581031723354,
            [-0.12562969, 0.16845933, -0.22447704, -0.44604796, 0.49801794],
        ),
        (
            GREY,
            1,
            (16, 16),
            0.44469514678253036,
            [0.39670073, -0.10748924, -0.18448527, -0.38622713, 0.71774781],
        ),
    ],
)
def test_output_is_that_of_the_official_code(config, channels, size, std, values):
    image = torch.from_numpy(np.random.default_rng(0).random((2, channels, *size)))
    with torch.no_grad():
        out = filled(config, channels)(image)
    assert out.shape == (2, channels, size[0] * config.scale, size[1] * config.scale)
    assert out.std().item() == pytest.approx(std, abs=1e-7)
    assert out[1].flatten()[:: out[1].numel() // 5][:5].tolist() == pytest.approx(values, abs=1e-7)


def by_definition(
    attention: cat.RwinAttention, qkv: torch.Tensor, window: tuple[int, int]
) -> torch.Tensor:
    """Every pixel against every other.

    Near if moved into the same window, and neither wrapped without the other.
    """
    _, height, width, channels = qkv.shape
    rows, columns = np.indices((height, width)).reshape(2, -1)
    same, offset = np.ones((rows.size, rows.size), bool), []
    for place, length, side, by in zip(
        (rows, columns), (height, width), window, attention.shift, strict=True
    ):
        moved, wrapped = (place - by) % length, place < by
        key = 2 * (moved // side) + wrapped
        same &= key[:, None] == key
        offset.append(moved[:, None] - moved)
    bias = attention.pos(torch.from_numpy(np.stack(offset, -1)).double())
    q, k, v = qkv.reshape(3, rows.size, attention.heads, -1)
    logits = torch.einsum("qhd,khd->qkh", q, k) / q.shape[-1] ** 0.5 + bias
    weights = logits.masked_fill(~torch.from_numpy(same)[..., None], -torch.inf).softmax(1)
    return torch.einsum("qkh,khd->qhd", weights, v).reshape(height, width, channels)


@pytest.mark.parametrize("window", [(0, 2), (4, 0), (2, 4), (4, 2), (1, 4)])
@pytest.mark.parametrize("shifted", [False, True])
def test_attention_is_that_of_its_definition(window, shifted):
    torch.manual_seed(3)
    shift = (window[0] // 2, window[1] // 2) if shifted else (0, 0)
    attention = cat.RwinAttention(80, 2, window, shift).double()
    qkv = torch.randn(3, 2, 8, 12, 80, dtype=torch.float64)
    with torch.no_grad():
        got = attention(qkv, attention.mask((8, 12)))
        for i in range(2):
            expected = by_definition(attention, qkv[:, i], (window[0] or 8, window[1] or 12))
            torch.testing.assert_close(got[i], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "config",
    [
        cat.Config(split_0=(2, 4), **TINY),
        cat.Config(split_0=(2, 4), split_1=8, **(TINY | {"scale": 3})),
        cat.Config(split_0=(4,), **(TINY | {"scale": 1})),
    ],
)
@pytest.mark.parametrize("size", [(16, 16), (17, 23), (33, 8), (3, 1)])
def test_every_size_is_enlarged_exactly(config, size):
    network = cat.build(config, in_channels=5).eval()
    with torch.no_grad():
        out = network(torch.rand(1, 5, *size))
    assert out.shape == (1, 3, size[0] * config.scale, size[1] * config.scale)
    assert out.isfinite().all()


def test_padding_mirrors_with_the_border_pixel_first():
    x = torch.arange(3.0).view(1, 1, 1, 3)
    assert cat._mirror(x, 8)[0, 0, 0].tolist() == [0, 1, 2, 2, 1, 0, 0, 1]
    assert cat._mirror(x, 8).shape == (1, 1, 8, 8)


@pytest.mark.parametrize("config", [GREY, AXIAL])
def test_further_channels_with_zero_weights_change_nothing(config):
    plain, more = filled(config), cat.build(config, in_channels=6).double().eval()
    weights = plain.state_dict()
    first = weights["conv_first.weight"]
    weights["conv_first.weight"] = torch.cat([first, torch.zeros_like(first)], 1)
    more.load_state_dict(weights)
    x = torch.rand(1, 6, 12, 12, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(more(x), plain(x[:, :3]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("config", [AXIAL, REGULAR])
def test_blocks_are_the_residual_groups_called_in_order_on_tokens(config):
    network, seen = cat.build(config).eval(), []
    groups = cat.blocks(network)
    for i, group in enumerate(groups):
        group.register_forward_hook(
            lambda _, given, out, i=i: seen.append((i, given[0].shape, given[1], out.shape))
        )
    with torch.no_grad():
        network(torch.rand(1, 3, 9, 13))
    size = (12, 16) if config is AXIAL else (16, 16)
    shape = (1, size[0] * size[1], 128)
    assert seen == [(0, shape, size, shape), (1, shape, size, shape)]
    assert len(cat.blocks(empty(A))) == 6


def test_every_parameter_learns_and_evaluation_repeats_exactly():
    torch.manual_seed(0)
    network = cat.build(cat.Config(scale=2, split_0=(2, 4), **(SMALL | {"drop_path": 0.0})))
    x = torch.rand(2, 3, 12, 12)
    network(x).square().sum().backward()
    for name, parameter in network.named_parameters():
        # a number added to all of a head's attention is divided out by softmax: rounding is left
        if not name.endswith("pos3.2.bias"):
            assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
    network.eval()
    with torch.no_grad():
        assert torch.equal(network(x), network(x))


def test_stochastic_depth_rises_to_its_greatest_and_works_only_in_training():
    torch.manual_seed(0)
    network = cat.build(cat.Config(split_0=(4, 4), **(TINY | {"drop_path": 0.9})))
    drops = []
    for group in cat.blocks(network):
        drops += [block.drop_path.p for block in group.blocks]
    assert drops == pytest.approx([0.0, 0.3, 0.6, 0.9])
    x = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        assert not torch.equal(network.train()(x), network.eval()(x))


@pytest.mark.parametrize(
    "settings",
    [
        {"heads": 5},
        {"heads": 8},
        {"split_0": (3, 4)},
        {"split_0": (4,), "split_1": 6},
        {"img_size": 62},
    ],
)
def test_settings_that_do_not_fit_each_other_are_refused(settings):
    with pytest.raises(BenchError, match=r"^cat: "):
        cat.Config(**settings)


def test_two_channels_are_refused():
    with pytest.raises(BenchError, match="in_channels"):
        cat.build(AXIAL, in_channels=2)
