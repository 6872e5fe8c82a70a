"""Restormer, MPRNet, DRUNet, Uformer, GRL and MixDehazeNet: official names and sizes, and what stands before them.

spandrel reads a network's settings off its weights: that it finds those that were asked for
shows that names and shapes are the official ones. The counts are what the official settings
give here, to hold them still; they are no published figures.
"""

import sys

import pytest
import torch
from conftest import make_inputs, run, small_params, write_params
from torch.nn.functional import pad

from benchlib import registry
from benchlib.assets import load_weights
from benchlib.backbones import _spandrel
from benchlib.checks import check_choices
from benchlib.conformance._network import SMALL, moved, small_backbone
from benchlib.contracts import Backbone, BenchError, load_weights_into
from benchlib.evaluate import evaluate
from benchlib.methods import ptg_rm
from benchlib.params import configure, load_params
from benchlib.plan import open_run
from benchlib.train.record import train

CLASSES = {
    "restormer": ("spandrel_extra_arches", "Restormer"),
    "mprnet": ("spandrel_extra_arches", "MPRNet"),
    "drunet": ("spandrel", "DRUNet"),
    "uformer": ("spandrel", "Uformer"),
    "grl": ("spandrel", "GRL"),
    "mixdehazenet": ("spandrel", "MixDehazeNet"),
}
NAMES = sorted(CLASSES)
each_name = pytest.mark.parametrize("name", NAMES)
# what cannot be read off weights: spandrel guesses it
GUESSED = {
    "grl": {"img_size", "window_size", "stripe_size", "anchor_window_down_factor"},
    "uformer": set(),
    "mixdehazenet": set(),
    "drunet": set(),
    "mprnet": set(),
    "restormer": set(),
}


def made(name: str, in_channels: int = 3, **settings) -> torch.nn.Module:
    module, config = configure("backbones", {"name": name} | settings)
    torch.manual_seed(0)
    return module.build(config, in_channels=in_channels).eval()


def small(name: str, in_channels: int = 3, **settings) -> torch.nn.Module:
    return moved(made(name, in_channels, **(SMALL[name] | settings)))


def official(name: str, network: torch.nn.Module) -> torch.nn.Module:
    """The bare class of spandrel, with the settings and the weights of a backbone."""
    package, title = CLASSES[name]
    bare = _spandrel.architecture(title, package)(**network.hyperparameters)
    bare.load_state_dict(network.state_dict(), strict=True)
    return bare.eval()


@pytest.mark.parametrize(
    ("name", "settings", "millions"),
    [
        ("restormer", {}, 26.127),
        ("restormer", {"norm": "BiasFree"}, 26.112),
        ("restormer", {"norm": "BiasFree", "channels": 1}, 26.109),
        ("mprnet", {}, 3.637),
        ("mprnet", {"width": 96, "unet": 48, "full": 32}, 20.127),
        ("mprnet", {"width": 80, "unet": 48, "full": 32}, 15.741),
        ("drunet", {}, 32.641),
        ("drunet", {"channels": 1}, 32.639),
        ("uformer", {}, 50.881),
        ("grl", {}, 19.805),
        ("grl", {"channels": 1}, 19.799),
        ("mixdehazenet", {}, 1.623),
    ],
)
def test_official_settings_are_found_again_in_the_weights(name, settings, millions):
    network = made(name, **settings)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.001)
    package, title = CLASSES[name]
    arch = getattr(sys.modules[f"{package}.architectures.{title}"], f"{title}Arch")()
    state = {key: value.clone() for key, value in network.state_dict().items()}
    assert arch.detect(state)
    found = arch.load(state).model.hyperparameters
    for key, value in network.hyperparameters.items():
        if key not in GUESSED[name]:
            assert found[key] == value, key


def test_a_grey_grl_restores_each_colour_by_itself():
    network, image = small("grl", channels=1), torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        each = [official("grl", network)(image[:, i : i + 1]) for i in range(3)]
        torch.testing.assert_close(network(image), torch.cat(each, 1))


def test_grl_reads_files_with_a_word_before_every_name():
    network, other = small("grl"), small("grl")
    with torch.no_grad():
        network.conv_first.weight.mul_(2)
    state = {f"model.{name}": value for name, value in network.state_dict().items()}
    other.load_state_dict(state, strict=True)
    assert torch.equal(other.conv_first.weight, network.conv_first.weight)


@each_name
def test_of_a_size_that_it_takes_it_gives_what_the_official_network_gives(name):
    network = small(name)
    side = {"uformer": 32, "mixdehazenet": 44}.get(name, 16)
    image = torch.rand(2, 3, side, side)
    seen = image
    if name == "mixdehazenet":
        seen = 2 * image - 1
    if name == "drunet":
        seen = torch.cat([image, torch.full((2, 1, side, side), 25 / 255)], 1)
    with torch.no_grad():
        expected = official(name, network)(seen)
        if name == "mprnet":
            expected = expected[0]
        if name == "mixdehazenet":
            expected = expected / 2 + 0.5
        assert torch.equal(network(image), expected)


@pytest.mark.parametrize("name", ["restormer", "mprnet", "drunet"])
def test_other_sizes_are_mirrored_up_and_cut_again(name):
    network, image = small(name), torch.rand(1, 3, 13, 22)
    with torch.no_grad():
        expected = network(pad(image, (0, 2, 0, 3), mode="reflect"))[..., :13, :22]
        torch.testing.assert_close(network(image), expected, atol=1e-6, rtol=1e-5)


def test_uformer_sees_an_image_in_the_middle_of_a_black_square():
    network, image = small("uformer"), torch.rand(1, 3, 20, 37)
    with torch.no_grad():
        square = torch.zeros(1, 3, 64, 64)
        square[..., 22:42, 13:50] = image
        expected = official("uformer", network)(square)[..., 22:42, 13:50]
        torch.testing.assert_close(network(image), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("size", [(16, 24), (5, 30), (3, 3)])
def test_grl_fills_up_by_itself(size):
    network, image = small("grl"), torch.rand(1, 3, *size)
    with torch.no_grad():
        assert torch.equal(network(image), official("grl", network)(image))


def test_grl_with_its_convolutions_and_the_tables_that_some_files_hold():
    network = small("grl", width=24, local=True)
    tables = dict(network.named_buffers())
    assert any(key.startswith("table_") for key in tables)
    other = small("grl", width=24, local=True)
    other.load_state_dict(network.state_dict() | tables, strict=True)
    image = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(other(image), network(image))


@pytest.mark.parametrize("name", ["restormer", "drunet"])
def test_a_grey_network_restores_each_colour_by_itself(name):
    network, image = small(name, channels=1), torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        restored = network(image)
        for colour in range(3):
            grey = image[:, colour : colour + 1].expand(-1, 3, -1, -1)
            torch.testing.assert_close(restored[:, colour], network(grey)[:, 0])


def test_drunet_is_told_the_noise():
    one, other = small("drunet", sigma=15), small("drunet", sigma=50)
    image = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        noise = torch.full((1, 1, 16, 16), 15 / 255)
        assert torch.equal(one(image), official("drunet", one)(torch.cat([image, noise], 1)))
        assert not torch.allclose(one(image), other(image))


def test_a_dual_restormer_reads_the_left_view_and_the_right_one():
    network = small("restormer", in_channels=9, dual=True)
    views = torch.rand(1, 9, 16, 16)
    with torch.no_grad():
        left_right = torch.cat([views[:, 6:], views[:, 3:6]], 1)
        expected = official("restormer", network)(left_right)
        assert torch.equal(network(views), expected) and expected.shape == (1, 3, 16, 16)
        other = torch.cat([torch.rand(1, 3, 16, 16), views[:, 3:]], 1)
        assert torch.equal(network(other), expected)
    with pytest.raises(BenchError, match=r"^restormer: dual: .* but gets 3 channels;"):
        made("restormer", dual=True)


@each_name
def test_further_channels_are_added_to_what_it_sees(name):
    torch.manual_seed(1)
    network, plain = small(name, in_channels=5), small(name)
    extra = network.extra_in
    state = {k: v for k, v in network.state_dict().items() if not k.startswith("extra_in")}
    plain.load_state_dict(state, strict=True)
    image = torch.rand(1, 5, 16, 16)
    with torch.no_grad():
        expected = plain(image[:, :3] + extra(image[:, 3:]))
        torch.testing.assert_close(network(image), expected)


@each_name
def test_files_as_their_authors_save_them_load_strictly(name, tmp_path):
    network = small(name)
    state = network.state_dict()
    parallel = {f"module.{key}": value for key, value in state.items()}
    for number, saved in enumerate([{"params": state}, {"state_dict": parallel}, state]):
        file = tmp_path / f"{number}.pth"
        torch.save(saved, file)
        other = made(name, **SMALL[name])
        load_weights_into(other, load_weights(file), "official")
        assert all(torch.equal(value, state[key]) for key, value in other.state_dict().items())


@pytest.mark.parametrize("refine", ["image", "feature"])
@each_name
def test_ptg_rm_refines_it(name, refine):
    torch.manual_seed(0)
    config = ptg_rm.Config(size=6, refine=refine, start="random")
    model = ptg_rm.build(small_backbone(name), config)
    batch = {"lq": torch.rand(1, 3, 18, 23), "vector": torch.rand(1, 6)}
    refined = model(batch)
    assert refined.shape == (1, 3, 18, 23)
    refined.square().mean().backward()
    gradient = torch.stack([p.grad.abs().sum() for p in model.refinement11.parameters()])
    assert (gradient > 0).all()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"name": "grl", "width": 12}, "its attention squeezes channels by 18"),
        ({"name": "grl", "window": 7}, "the longest side must be a multiple"),
        ({"name": "grl", "width": 100}, "expected a multiple of 6"),
        ({"name": "uformer", "heads": [1, 2, 4, 8, 16, 16, 8, 4, 3]}, "heads: got 3 for 64"),
        ({"name": "restormer", "heads": [1, 2, 4, 9]}, "heads: got 9 for 384 channels"),
        ({"name": "restormer", "dual": True, "channels": 1}, "two views have colours"),
    ],
)
def test_settings_that_do_not_go_together_are_one_line(settings, said):
    with pytest.raises(BenchError) as error:
        configure("backbones", settings, "runs.x.backbone")
    assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["restormer", "mprnet"])
def test_a_missing_package_is_one_line_before_any_work(name, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "spandrel_extra_arches", None)  # as if it were not installed
    with pytest.raises(BenchError, match="spandrel_extra_arches is not installed"):
        made(name)
    params = small_params()
    params["runs"]["no-prior"]["backbone"] = {"name": name}
    suite = load_params(write_params(tmp_path, params))
    with pytest.raises(BenchError) as error:
        check_choices(suite, tmp_path / "params.yaml")
    said = str(error.value)
    assert "runs.no-prior.backbone: " in said and "\n" not in said
    assert "spandrel_extra_arches is not installed" in said
    assert "requirements-extra-arches.txt" in said


@pytest.mark.parametrize("name", ["restormer", "mprnet"])
def test_a_run_trains_it_and_ptg_rm_on_top(name, tmp_path):
    backbone = {"name": name} | SMALL[name]
    params = small_params()
    params["training"]["iterations"] = 2
    params["priors"] = {"none": params["priors"]["none"]}
    plain = {"name": "ptg_rm", "ranges": "sum", "channel": "features", "spatial": "features"}
    params["runs"] = {
        "alone": run({"name": "none"}) | {"backbone": backbone},
        "refined": run(plain) | {"backbone": backbone, "init": "runs/alone"},
    }
    suite = load_params(write_params(tmp_path, params))
    check_choices(suite, tmp_path / "params.yaml")
    make_inputs(suite)
    for key in suite.runs:
        plan = open_run(suite, key)
        assert train(plan)["trained_parameters"] > 0
        assert evaluate(plan)


def test_backbones_know_their_classes():
    assert set(CLASSES) <= set(registry.names("backbones"))
    assert all(isinstance(small_backbone(name), Backbone) for name in NAMES)
