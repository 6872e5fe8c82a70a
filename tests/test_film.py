"""FiLM against its equation written out, and its promises: a fresh network is its backbone."""

import copy

import pytest
import torch
from test_methods import BACKBONES, batch, moved, small_backbone
from torch import nn

from benchlib.backbones import imdn
from benchlib.contracts import Backbone, BenchError
from benchlib.methods import film
from benchlib.methods._blocks import changed_blocks

PICTURES = [name for name in BACKBONES if small_backbone(name).frames is None]  # none of clips
TWO = imdn.Config(scale=2, width=16, modules=2)


def made(config: film.Config, backbone: Backbone | None = None) -> film.FiLM:
    torch.manual_seed(0)
    return film.build(backbone or Backbone.from_module(imdn, TWO), config).eval()


@torch.no_grad()
@pytest.mark.parametrize("backbone", PICTURES)
@pytest.mark.parametrize("tune", ["all", "units"])
def test_a_fresh_network_is_its_backbone_to_the_last_bit(backbone, tune):
    model, data = made(film.Config(tune=tune), small_backbone(backbone)), batch(17, 23)
    assert torch.equal(model(data), model.network(data["lq"]))
    model = moved(model)
    assert not torch.allclose(model(data), model.network(data["lq"]), rtol=0, atol=1e-3)


def scaled(feature: torch.Tensor, unit: nn.Linear, vector: torch.Tensor) -> torch.Tensor:
    """Equations 1 and 2 number by number, on a map ``(B,C,H,W)``; gamma counts from 1."""
    result = torch.empty_like(feature)
    for image in range(feature.shape[0]):
        for channel in range(feature.shape[1]):
            gamma = 1 + unit.weight[channel] @ vector[image] + unit.bias[channel]
            row = feature.shape[1] + channel
            beta = unit.weight[row] @ vector[image] + unit.bias[row]
            result[image, channel] = gamma * feature[image, channel] + beta
    return result


@torch.no_grad()
def test_each_block_of_a_network_of_maps_is_scaled_and_shifted():
    """IMDN's own steps with the equations after each block, no hooks."""
    model, data = moved(made(film.Config())), batch(9, 7)
    net = model.network
    feature = first = net.fea_conv(data["lq"])
    outputs = []
    for block, unit in zip((net.IMDB1, net.IMDB2), model.film, strict=True):
        feature = scaled(block(feature), unit, data["vector"])
        outputs.append(feature)
    expected = net.upsampler(net.LR_conv(net.c(torch.cat(outputs, 1))) + first)
    torch.testing.assert_close(model(data), expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_each_block_of_a_network_of_tokens_is_scaled_and_shifted():
    """ART's groups give tokens ``(B,HW,C)``: the same numbers, channel by channel."""
    model, data = moved(made(film.Config(), small_backbone("art"))), batch(6, 5)
    before, after = [], []
    for group in model.network.layers:
        group.register_forward_hook(lambda _, args, out: before.append(out))
    for part in (model.network.layers[1], model.network.norm):  # what reads the groups' output
        part.register_forward_pre_hook(lambda _, args: after.append(args[0]))
    model(data)
    for own, read, unit in zip(before, after, model.film, strict=True):
        expected = scaled(own.transpose(1, 2)[..., None], unit, data["vector"])
        expected = expected[..., 0].transpose(1, 2)
        torch.testing.assert_close(read, expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_each_image_of_a_batch_has_its_own_vector():
    model, data = moved(made(film.Config())), batch(8, 8)
    before = model(data)
    data["vector"][1] += 1.0
    changed = (model(data) - before).abs().amax((1, 2, 3))
    assert changed[0] == 0 and changed[1] > 1e-3


@pytest.mark.parametrize(("tune", "backbones"), [("all", True), ("units", False)])
def test_what_trains(tune, backbones):
    model = made(film.Config(tune=tune)).train()
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (backbones or name.startswith("film."))
    assert model.network.training == backbones
    assert model.film.training


def test_one_step_moves_every_number_of_the_units_that_may_move():
    """They start at zero: gamma's gradient is the block's output, which is not."""
    model, data = made(film.Config(tune="units")).train(), batch(8, 8)
    model(data).square().sum().backward()
    for parameter in model.film.parameters():
        assert (parameter.grad != 0).all()


def test_units_stand_after_the_first_blocks_only():
    assert len(made(film.Config(blocks=1)).film) == 1
    with pytest.raises(BenchError, match=r"^film: blocks: got 3; the network has 2 building"):
        made(film.Config(blocks=3))


@pytest.mark.parametrize("shape", [(2, 512), (2, 1, 256), (1, 256), (256,)])
def test_a_vector_of_another_shape_is_refused_in_one_line(shape):
    with pytest.raises(BenchError, match=r"^film: vector: expected \(2, 256\), got") as error:
        made(film.Config())(batch(8, 8) | {"vector": torch.zeros(shape)})
    assert "\n" not in str(error.value)
    data = batch(8, 8) | {"vector": torch.zeros(2, 512)}
    assert made(film.Config(size=512))(data).shape == (2, 3, 16, 16)


# --- blocks changed by hooks ---------------------------------------------------------------------


@torch.no_grad()
def test_hooks_are_gone_after_a_call_and_after_one_that_fails():
    model, data = moved(made(film.Config())), batch(8, 8)
    alone, tuned = model.network(data["lq"]), model(data)
    hook = model.network.LR_conv.register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model(data)
    hook.remove()
    assert torch.equal(model.network(data["lq"]), alone)
    assert torch.equal(model(data), tuned)


@torch.no_grad()
def test_two_copies_do_not_change_each_other():
    model, data = moved(made(film.Config())), batch(8, 8)
    other, before = copy.deepcopy(model), model(data)
    for parameter in other.film.parameters():
        parameter.zero_()
    seen = []
    hook = model.network.c.register_forward_pre_hook(lambda *_: seen.append(other(data)))
    assert torch.equal(model(data), before)  # the copy is called while the first one runs
    hook.remove()
    assert torch.equal(seen[0], model.network(data["lq"]))


@torch.no_grad()
def test_a_change_sees_maps_of_the_right_size_in_the_blocks_order():
    for name, shape in (("nafnet", (2, 4, 12, 20)), ("swinir", (2, 8, 12, 20))):
        backbone, seen = small_backbone(name), []
        network = backbone()

        def look(index, feature, seen=seen):
            seen.append((index, tuple(feature.shape)))
            return feature

        with changed_blocks(backbone.blocks(network), look):
            network(torch.rand(2, 3, 10, 17))
        assert [index for index, _ in seen] == list(range(len(seen)))
        assert seen[0][1] == shape
