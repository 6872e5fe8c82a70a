"""EnlightenGAN's training: its discriminators, its one objective for three optimisers, its runs."""

import copy

import goldens
import numpy as np
import pytest
import torch
from conftest import make_inputs, run, small_params, write_params
from safetensors.torch import load_file

from benchlib.assets import trunks
from benchlib.backbones import enlighten_gan as generator
from benchlib.checks import check_choices
from benchlib.cli.fetching import needed
from benchlib.contracts import Backbone, BenchError
from benchlib.evaluate import evaluate
from benchlib.methods import _discriminators as judges
from benchlib.methods import _features as features
from benchlib.methods import enlighten_gan
from benchlib.params import load_params
from benchlib.plan import open_run
from benchlib.train import record
from benchlib.train.data import Crops, crops_of

SMALL = {"name": "enlighten_gan", "width": 2}
QUICK = {"features": "none", "width": 2, "patch": 16, "patches": 2}


def test_a_discriminator_is_the_official_one():
    golden = goldens.read("enlighten_gan_discriminator")
    critic = judges.Discriminator(4, 5)
    names = [name.removeprefix("sd/") for name in golden if name.startswith("sd/")]
    weights = goldens.tensors(golden, *[f"sd/{name}" for name in names])
    critic.load_state_dict(dict(zip(names, weights, strict=True)), strict=True)
    x, y = goldens.tensors(golden, "x", "y")
    scores = critic(x)
    torch.testing.assert_close(scores, y, atol=1e-6, rtol=0)
    torch.testing.assert_close(judges.judged(critic, x), scores)
    scores.square().mean().backward()
    gradients = [
        float(critic.get_parameter(str(name)).grad.norm()) for name in golden["grad/names"]
    ]
    np.testing.assert_allclose(gradients, golden["grad/l2"], rtol=1e-4)


def test_the_sizes_are_those_of_the_official_options():
    both = enlighten_gan.critics(enlighten_gan.Config())
    widths = [part.out_channels for part in both["whole"].model if hasattr(part, "stride")]
    assert widths == [64, 128, 256, 512, 512, 512, 1]
    widths = [part.out_channels for part in both["patch"].model if hasattr(part, "stride")]
    assert widths == [64, 128, 256, 512, 512, 1]
    strides = [part.stride for part in both["patch"].model if hasattr(part, "stride")]
    assert strides == [(2, 2)] * 4 + [(1, 1)] * 2


# --- the objective -------------------------------------------------------------------------------


def made(**settings) -> torch.nn.Module:
    torch.manual_seed(0)
    config = enlighten_gan.Config(**(QUICK | settings))
    network = Backbone.from_module(generator, generator.Config(width=2))
    model = enlighten_gan.build(network, config)
    model.critics = enlighten_gan.critics(config)
    return model.train()


def dark_batch(number: int = 0, side: int = 32) -> dict[str, torch.Tensor]:
    """Two dark images, other bright ones; references that nothing may read."""
    random = torch.Generator().manual_seed(number)
    lq = 0.2 * torch.rand(2, 3, side, side, generator=random)
    bright = torch.rand(2, 3, side, side, generator=random)
    return {"lq": lq, "unpaired": bright, "hq": torch.full_like(lq, torch.nan)}


def no_loss(*_: torch.Tensor) -> torch.Tensor:
    raise AssertionError("the loss that the run names is not read")


def least_squares(scores: torch.Tensor, target: float) -> torch.Tensor:
    return torch.nn.functional.mse_loss(scores, torch.full_like(scores, target))


def official_step(model: torch.nn.Module, optimisers: list, number: int) -> None:
    """One step as the official code takes it: three optimisers in turn, by hand."""
    for_network, for_whole, for_patch = optimisers
    whole, patch = model.critics["whole"], model.critics["patch"]
    batch = dark_batch(number)
    torch.manual_seed(number)
    fake = 2 * model({"lq": enlighten_gan.darkened(batch["lq"])}) - 1
    windows = enlighten_gan.drawn_windows(model.config, 32, 32)
    real = 2 * batch["unpaired"] - 1
    of_real, of_fake = whole(real), whole(fake)
    loss = least_squares(of_real - of_fake.mean(), 0.0) + least_squares(
        of_fake - of_real.mean(), 1.0
    )
    patches = [least_squares(patch(window.cut(fake)), 1.0) for window in windows]
    for_network.zero_grad()
    (loss / 2 + sum(patches) / len(patches)).backward()
    for_network.step()
    for_whole.zero_grad()
    of_real, of_fake = whole(real), whole(fake.detach())
    loss = least_squares(of_real - of_fake.mean(), 1.0) + least_squares(
        of_fake - of_real.mean(), 0.0
    )
    (loss / 2).backward()
    for_patch.zero_grad()
    for window in windows:
        wrong = least_squares(patch(window.cut(real)), 1.0)
        wrong = wrong + least_squares(patch(window.cut(fake).detach()), 0.0)
        (wrong / 2 / len(windows)).backward()
    for_whole.step()
    for_patch.step()


def test_one_step_of_one_objective_is_the_official_steps_of_three_optimisers():
    ours, theirs = made(), made()
    settings = {"lr": 1e-3, "betas": (0.5, 0.999)}
    one = torch.optim.AdamW(ours.parameters(), **settings, weight_decay=0.0)
    parts = [theirs.network, theirs.critics["whole"], theirs.critics["patch"]]
    three = [torch.optim.Adam(part.parameters(), **settings) for part in parts]
    start = copy.deepcopy(ours.state_dict())
    for number in range(3):
        torch.manual_seed(number)
        value, restored = enlighten_gan.objective(ours, dark_batch(number), no_loss)
        assert torch.isfinite(value) and restored.shape == (2, 3, 32, 32)
        one.zero_grad()
        value.backward()
        one.step()
        official_step(theirs, three, number)
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, atol=2e-5, rtol=1e-3)
        assert not torch.equal(start[name], value), name


def test_each_term_reaches_its_own_part_alone():
    model, batch = made(features="random"), dark_batch()
    restored = model(batch)
    windows = enlighten_gan.drawn_windows(model.config, 32, 32)
    found = enlighten_gan.terms(model, batch["lq"], restored, batch["unpaired"], windows)
    parts = {
        "whole": "network",
        "patch": "network",
        "features": "network",
        "critic_whole": "critics.whole",
        "critic_patch": "critics.patch",
    }
    assert found.keys() == parts.keys()
    for name, part in parts.items():
        model.zero_grad(set_to_none=True)
        found[name].backward(retain_graph=True)
        reached = [key for key, value in model.named_parameters() if value.grad is not None]
        assert reached and all(key.startswith(part) for key in reached), name


def test_half_of_the_images_are_darkened_by_two_to_four():
    torch.manual_seed(0)
    image = torch.ones(400, 3, 2, 2)
    by = 1 / enlighten_gan.darkened(image)[:, 0, 0, 0]
    changed = by > 1
    assert 150 < int(changed.sum()) < 250
    assert 2 <= float(by[changed].min()) < 2.1 and 3.9 < float(by[changed].max()) <= 4.0001
    torch.manual_seed(0)
    other = enlighten_gan.objective(made(darken=False), dark_batch(), no_loss)[1]
    torch.testing.assert_close(other, made(darken=False)(dark_batch()))


def test_features_stay_where_only_contrast_changed_and_move_with_what_is_seen():
    torch.manual_seed(1)
    image = torch.rand(2, 3, 32, 48)
    apart = features.enlighten_gan_apart
    assert float(apart(image, image, "random")) == 0
    assert float(apart(image, torch.rand(2, 3, 32, 48), "random")) > 0.1
    assert float(features.uretinex_apart(image, image, "random")) == 0
    assert float(features.uretinex_apart(image, 1 - image, "random")) > 0
    layers = features.vgg16_layers("random")
    kinds = [type(layer).__name__ for layer in layers]
    assert kinds.count("Conv2d") == 11 and kinds.count("MaxPool2d") == 4 and kinds[-1] == "ReLU"
    assert kinds[features.POOL_4] == "MaxPool2d"
    assert [kinds[tap] for tap in features.RELUS.taps] == ["ReLU"] * 5
    assert [layers[tap - 1].out_channels for tap in features.RELUS.taps] == [64, 128, 256, 512, 512]


def test_the_catalogues_vgg16_is_taken_or_refused_by_name(monkeypatch, tmp_path):
    features.vgg16_layers.cache_clear()
    trunks.trunk_layers.cache_clear()
    monkeypatch.setenv("BENCHLIB_OFFLINE", "1")
    monkeypatch.setenv("BENCHLIB_CACHE", str(tmp_path))
    with pytest.raises(BenchError, match="vgg16") as error:
        enlighten_gan.objective(made(features="vgg16"), dark_batch(), no_loss)
    assert "\n" not in str(error.value)
    taken = trunks.bare_layers(trunks.VGG16)
    monkeypatch.setattr(features, "trunk_layers", lambda trunk: taken)
    layers = features.vgg16_layers("vgg16")
    features.vgg16_layers.cache_clear()
    assert layers[0] is taken[0] and layers[-1] is taken[25]


def test_crops_that_hold_no_patch_are_refused():
    with pytest.raises(BenchError, match=r"16 pixels a side, patches of 32; set training.crop to"):
        enlighten_gan.objective(made(patch=32), dark_batch(side=16), no_loss)


# --- in a suite ----------------------------------------------------------------------------------


def suite_with(folder, training: dict | None = None, **method):
    params = small_params()
    named = {"name": "enlighten_gan"} | QUICK | method
    after = {"backbone": SMALL, "init": "runs/gan"}
    params["runs"] = {
        "gan": run(named, validation="held") | {"backbone": SMALL},
        "after": run({"name": "none"}, validation="held", training={"iterations": 0}) | after,
    }
    params["priors"] = {"none": params["priors"]["none"]}
    params["training"] |= {"grad_clip": None, "weight_decay": 0.0, "beta1": 0.5}
    params["runs"]["gan"]["training"] = training or {}
    return load_params(write_params(folder, params))


class Killed(RuntimeError):
    """Stands for a crash."""


def test_killed_and_resumed_is_the_straight_run_bit_for_bit(tmp_path, monkeypatch):
    suite = suite_with(tmp_path)
    check_choices(suite, tmp_path / "params.yaml")
    make_inputs(suite)
    plan = open_run(suite, "gan")
    made = record.train(plan)
    file = suite.work / "runs" / "gan" / "seed0.safetensors"
    straight, log = load_file(file), (suite.results / "loss" / "gan.csv").read_bytes()
    assert all(name.startswith("network.") for name in straight)
    assert made["parameters"] == made["trained_parameters"] < 50_000
    real, calls = enlighten_gan.terms, []

    def crash(*arguments):
        calls.append(1)
        if len(calls) == 4:
            raise Killed
        return real(*arguments)

    monkeypatch.setattr(enlighten_gan, "terms", crash)
    file.unlink()
    with pytest.raises(Killed):
        record.train(plan)
    record.train(plan)
    assert len(calls) == 4 + 3
    again = load_file(file)
    assert again.keys() == straight.keys()
    assert all(torch.equal(value, again[name]) for name, value in straight.items())
    assert (suite.results / "loss" / "gan.csv").read_bytes() == log
    assert evaluate(plan)
    record.train(open_run(suite, "after"))  # a plain run takes the weights over
    taken = load_file(suite.work / "runs" / "after" / "seed0.safetensors")
    assert all(torch.equal(value, taken[name]) for name, value in straight.items())


def test_the_best_so_far_is_kept_without_the_discriminators(tmp_path, monkeypatch):
    values = iter([10.0, 20.0, 10.0, 15.0])  # start, 2, 4, 6
    monkeypatch.setattr(record, "validation_psnr", lambda *_, **__: next(values))
    suite = suite_with(tmp_path, {"keep": "best", "validate_every": 2})
    make_inputs(suite)
    kept = record.train(open_run(suite, "gan"))["kept"]
    assert kept == {"seed0": {"iteration": 2, "validation": 20.0, "start": 10.0}}
    file = suite.work / "runs" / "gan" / "seed0.safetensors"
    assert all(name.startswith("network.") for name in load_file(file))


def test_the_bright_photographs_are_of_other_pairs_and_drawn_by_number(tmp_path):
    suite = suite_with(tmp_path)
    make_inputs(suite)
    plan = open_run(suite, "gan")
    crops, again = crops_of(plan), crops_of(plan)
    plain = crops_of(open_run(suite, "after"))
    assert len(crops.pairs) == 2 and "unpaired" not in plain[0]["item"]
    opened: list[int] = []
    real = Crops._open
    crops._open = lambda index: (opened.append(index), real(crops, index))[1]
    for number in range(6):
        item = crops[number]["item"]
        own, other = opened[-2:]
        assert own != other
        torch.testing.assert_close(item["lq"], plain[number]["item"]["lq"])
        torch.testing.assert_close(item["unpaired"], again[number]["item"]["unpaired"])
        assert item["unpaired"].shape == item["hq"].shape
    with pytest.raises(BenchError, match=r"one pair, and the method learns from the hq of other"):
        Crops("image", crops.pairs[:1], crops.prior, 16, 0, unpaired=True)


def test_its_weights_are_among_what_a_suite_needs_and_a_network_that_enlarges_is_refused(tmp_path):
    assert "vgg16" not in needed(suite_with(tmp_path))
    suite = suite_with(tmp_path, features="vgg16")
    assert "vgg16" in needed(suite)
    params = small_params()
    params["runs"]["no-prior"] |= {
        "method": {"name": "enlighten_gan"},
        "backbone": {"name": "imdn"},
    }
    suite = load_params(write_params(tmp_path, params))
    with pytest.raises(BenchError, match=r"runs.no-prior.method: .*enlarges 4 times; expected one"):
        check_choices(suite, tmp_path / "params.yaml")
