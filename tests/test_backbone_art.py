"""ART: names and counts of the official code, and its attention by its definition."""

import pytest
import torch

from benchlib.backbones import art
from benchlib.contracts import BenchError

SMALL = {"width": 60, "depths": (2, 2), "heads": (2, 3), "interval": (4, 3), "mlp_ratio": 2.0}
DENOISING = {"scale": 1, "interval": (16, 16, 12, 12, 8, 8)}


def small(**settings) -> torch.nn.Module:
    """A small network in double precision whose every parameter matters.

    No zero biases, no unit scales.
    """
    torch.manual_seed(0)
    network = art.build(art.Config(**(SMALL | settings))).eval().double()
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return network


def image(height: int, width: int, count: int = 2, channels: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, channels, height, width, generator=generator, dtype=torch.double)


def tokens(height: int, width: int, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(count, height * width, 60, generator=generator, dtype=torch.double)


def shapes(config: art.Config) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        weights = art.build(config).state_dict()
    return {name: tuple(value.shape) for name, value in weights.items()}


@pytest.mark.parametrize(
    ("settings", "million"),
    [
        ({}, 16.55),
        ({"interval": (8,) * 6, "mlp_ratio": 2.0}, 11.87),
        (DENOISING, 16.15),
    ],
    ids=["sr-x4", "art-s-x4", "colour-denoising"],
)
def test_parameter_count_is_the_readmes(settings, million):
    """Printed in gladzhang/ART's README, section Models: 16.55, 11.87 and 16.15 M."""
    count = 0
    for shape in shapes(art.Config(**settings)).values():
        count += torch.Size(shape).numel()
    assert round(count / 1e6, 2) == million


def official() -> dict[str, tuple[int, ...]]:
    """What ``art_arch.py`` registers for ART SR x4, written out from its constructors."""
    names: dict[str, tuple[int, ...]] = {}

    def put(name: str, *weight: int) -> None:
        names[f"{name}.weight"], names[f"{name}.bias"] = weight, weight[:1]

    put("conv_first", 180, 3, 3, 3)
    put("patch_embed.norm", 180)
    for i in range(6):
        for j in range(6):
            block = f"layers.{i}.residual_group.blocks.{j}"
            put(f"{block}.norm1", 180)
            put(f"{block}.attn.pos.pos_proj", 11, 2)
            for k, out in ((1, 11), (2, 11), (3, 6)):
                put(f"{block}.attn.pos.pos{k}.0", 11)
                put(f"{block}.attn.pos.pos{k}.2", out, 11)
            put(f"{block}.attn.qkv", 540, 180)
            put(f"{block}.attn.proj", 180, 180)
            put(f"{block}.norm2", 180)
            put(f"{block}.mlp.fc1", 720, 180)
            put(f"{block}.mlp.fc2", 180, 720)
        put(f"layers.{i}.conv", 180, 180, 3, 3)
    put("norm", 180)
    put("conv_after_body", 180, 180, 3, 3)
    put("conv_before_upsample.0", 64, 180, 3, 3)
    put("upsample.0", 256, 64, 3, 3)
    put("upsample.2", 256, 64, 3, 3)
    put("conv_last", 3, 64, 3, 3)
    return names


def test_names_and_shapes_are_those_of_the_official_code():
    x4 = official()
    assert shapes(art.Config()) == x4
    upsample, last = (576, 64, 3, 3), (3, 180, 3, 3)
    x2 = without(x4, "upsample.2")
    assert shapes(art.Config(scale=2)) == x2
    x3 = x2 | {"upsample.0.weight": upsample, "upsample.0.bias": upsample[:1]}
    assert shapes(art.Config(scale=3)) == x3
    x1 = without(x2, "upsample") | {"conv_last.weight": last}
    assert shapes(art.Config(**DENOISING)) == x1


def without(names: dict, part: str) -> dict:
    return {name: shape for name, shape in names.items() if part not in name}


def by_pixel(
    block: torch.nn.Module, x: torch.Tensor, height: int, width: int, window: int, sparse: bool
):
    """One block on tokens ``(L,C)``: every pixel sees, of all pixels, those of its group.

    Dense: the same window of ``window`` pixels. Sparse: the same row and column modulo the
    interval; offsets then count in intervals. The bias is the MLP's value at (query - key).
    """
    y = block.norm1(x)
    rows = torch.arange(height).repeat_interleave(width)
    columns = torch.arange(width).repeat(height)
    step = block.interval if sparse else window
    group, place = (rows // step, columns // step), (rows, columns)
    if sparse:
        group, place = (rows % step, columns % step), group
    same = (group[0][:, None] == group[0]) & (group[1][:, None] == group[1])
    down, right = place[0][:, None] - place[0], place[1][:, None] - place[1]
    offset = torch.stack([down, right], -1).double()
    attn, heads = block.attn, block.attn.heads
    bias = attn.pos.pos3(attn.pos.pos2(attn.pos.pos1(attn.pos.pos_proj(offset))))
    seen = []
    for h, parts in enumerate(attn.qkv(y).unflatten(1, (3, heads, -1)).unbind(2)):
        q, k, v = parts.unbind(1)
        score = q @ k.T / q.shape[1] ** 0.5 + bias[..., h]
        seen.append(score.masked_fill(~same, -torch.inf).softmax(-1) @ v)
    x = x + attn.proj(torch.cat(seen, -1))
    return x + block.mlp.fc2(torch.nn.functional.gelu(block.mlp.fc1(block.norm2(x))))


@pytest.mark.parametrize("place", [0, 1], ids=["dense", "sparse"])
@pytest.mark.parametrize("size", [(16, 16), (9, 12), (10, 17), (33, 8), (5, 12)])
def test_a_block_is_attention_among_the_pixels_of_a_group(place, size):
    """Whole groups, groups cut by the border, and maps no larger than the window.

    In the last both kinds are dense.
    """
    network = small()
    block = network.layers[1].residual_group["blocks"][place]  # interval 3
    x = tokens(*size, 2)
    sparse = place == 1 and min(size) > 8
    with torch.no_grad():
        ours = block(x, size)
        window = min(8, *size)
        expected = torch.stack([by_pixel(block, one, *size, window, sparse) for one in x])
    torch.testing.assert_close(ours, expected, atol=1e-12, rtol=1e-12)


def test_an_interval_larger_than_the_map_leaves_each_pixel_to_itself():
    block = small(interval=(4, 16)).layers[1].residual_group["blocks"][1]
    x = tokens(9, 11, 1)
    with torch.no_grad():
        expected = by_pixel(block, x[0], 9, 11, 8, sparse=True)
        torch.testing.assert_close(block(x, (9, 11))[0], expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_the_network_is_its_parts_in_the_official_order(scale):
    """``ART.forward`` written out.

    Mean off, first convolution, groups, norm, convolution, skip, reconstruction, mean on.
    """
    network, x = small(scale=scale), image(12, 10)
    mean = torch.tensor([0.4488, 0.4371, 0.4040], dtype=torch.double).view(1, 3, 1, 1)
    with torch.no_grad():
        first = network.conv_first(x - mean)
        deep = network.patch_embed.norm(first.permute(0, 2, 3, 1).reshape(2, 120, 60))
        for layer in network.layers:
            inner = deep
            for block in layer.residual_group["blocks"]:
                inner = block(inner, (12, 10))
            inner = layer.conv(inner.reshape(2, 12, 10, 60).permute(0, 3, 1, 2))
            deep = deep + inner.permute(0, 2, 3, 1).reshape(2, 120, 60)
        y = (
            network.conv_after_body(network.norm(deep).reshape(2, 12, 10, 60).permute(0, 3, 1, 2))
            + first
        )
        if scale == 1:
            expected = x + network.conv_last(y)
        else:
            y = torch.nn.functional.leaky_relu(network.conv_before_upsample[0](y), 0.01)
            for conv in network.upsample[::2]:
                y = torch.nn.functional.pixel_shuffle(conv(y), 3 if scale == 3 else 2)
            expected = network.conv_last(y) + mean
        torch.testing.assert_close(network(x), expected, atol=1e-11, rtol=1e-11)
    assert expected.shape == (2, 3, 12 * scale, 10 * scale)
    assert art.scale(art.Config(scale=scale)) == scale


@pytest.mark.parametrize("size", [(16, 16), (17, 23), (33, 8), (1, 1)])
@pytest.mark.parametrize("scale", [1, 4])
def test_every_size_is_enlarged_and_an_image_does_not_depend_on_those_before(size, scale):
    """The official blocks stay dense after a map no larger than their window.

    Here only that map is.
    """
    network, x = small(scale=scale), image(12, 10)
    with torch.no_grad():
        before = network(x)
        out = network(image(*size))
        assert out.shape == (2, 3, size[0] * scale, size[1] * scale)
        assert torch.isfinite(out).all()
        assert torch.equal(network(x), before)
        torch.testing.assert_close(network(x[1:]), before[1:], atol=1e-11, rtol=1e-11)


def test_more_input_channels_change_the_first_convolution_alone():
    three = small(scale=1)
    five = art.build(art.Config(**SMALL, scale=1), in_channels=5).eval().double()
    weights = three.state_dict()
    weights["conv_first.weight"] = torch.cat(
        [weights["conv_first.weight"], torch.zeros(60, 2, 3, 3)], 1
    )
    five.load_state_dict(weights, strict=True)
    x = image(16, 20, channels=5)
    with torch.no_grad():
        torch.testing.assert_close(five(x), three(x[:, :3]), atol=1e-11, rtol=1e-11)
        five.conv_first.weight[:, 3:] = 1.0
        assert not torch.allclose(five(x), three(x[:, :3]), atol=1e-3)


def test_blocks_are_the_residual_groups_called_with_tokens_and_size():
    network = small()
    groups, seen = art.blocks(network), []
    for i, group in enumerate(groups):
        group.register_forward_hook(
            lambda _, args, out, i=i: seen.append((i, args[0].shape, args[1], out.shape))
        )
    with torch.no_grad():
        network(image(10, 13))
    assert seen == [(i, (2, 130, 60), (10, 13), (2, 130, 60)) for i in range(2)]
    with torch.device("meta"):
        assert len(art.blocks(art.build(art.Config()))) == 6


def test_drop_path_grows_to_its_rate_and_is_off_in_evaluation():
    with torch.device("meta"):
        network = art.build(art.Config())
    drops = []
    for group in art.blocks(network):
        drops += [block.drop for block in group.residual_group["blocks"]]
    assert drops == pytest.approx([0.1 * i / 35 for i in range(36)])
    network, x = small(drop_path=0.9), image(9, 9)
    with torch.no_grad():
        assert torch.equal(network(x), network(x))
        assert not torch.allclose(network.train()(x), network.eval()(x))


def test_gradients_reach_every_parameter():
    network = small().train()
    network(image(9, 10)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("wrong", [{"heads": (6, 6)}, {"width": 100}])
def test_a_configuration_that_does_not_fit_is_refused(wrong):
    with pytest.raises(BenchError, match="art: .*heads"):
        art.Config(**wrong)


@pytest.mark.parametrize("scale", [1, 2])
def test_the_range_is_what_the_network_sees_and_taken_back(scale):
    """It is the network of range 1 whose first and last convolution are scaled to match."""
    plain, ranged = small(scale=scale), small(scale=scale, img_range=255.0)
    with torch.no_grad():
        plain.conv_first.weight *= 255
        plain.conv_last.weight /= 255
        plain.conv_last.bias /= 255
    image = torch.rand(1, 3, 12, 9, dtype=torch.float64)
    with torch.no_grad():
        assert torch.allclose(plain(image), ranged(image), rtol=0, atol=1e-10)
