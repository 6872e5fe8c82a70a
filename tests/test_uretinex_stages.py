"""URetinex-Net's three stages: losses against the published ones, what is free, a chain of runs."""

import goldens
import pytest
import torch
from conftest import make_inputs, run, small_params, write_params
from safetensors.torch import load_file

from benchlib.backbones import uretinex
from benchlib.checks import check_choices
from benchlib.cli.fetching import needed
from benchlib.contracts import Backbone, BenchError
from benchlib.evaluate import evaluate
from benchlib.methods import _uretinex_losses as losses
from benchlib.methods import uretinex_stages
from benchlib.params import load_params
from benchlib.plan import open_run
from benchlib.train.record import train

GOLDEN = goldens.read("uretinex_losses")
NETWORK = Backbone.from_module(uretinex, uretinex.Config())
STAGES = ("decompose", "unfold", "adjust")
each_stage = pytest.mark.parametrize("stage", STAGES)


def settings(stage: str) -> dict[str, str]:
    return {"stage": stage, "light": "", "features": "none"}


def made(stage: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return uretinex_stages.build(NETWORK, uretinex_stages.Config(**settings(stage)))


def batch() -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(3)
    hq = torch.rand(2, 3, 16, 20, generator=random)
    return {"lq": 0.2 * hq, "hq": hq}


def no_loss(*_: torch.Tensor) -> torch.Tensor:
    raise AssertionError("the loss that the run names is not read")


# --- losses --------------------------------------------------------------------------------------


def assert_same(got: torch.Tensor, name: str) -> None:
    torch.testing.assert_close(got, torch.from_numpy(GOLDEN[name]), rtol=1e-4, atol=1e-7)


def test_the_losses_are_the_published_ones():
    """In one test: the golden's inputs are one stream of random numbers."""
    draw = goldens.drawing(41)
    for name, high in (("dark", 0.4), ("bright", 1.0)):
        image, r = draw(2, 3, 20, 24, high=high), draw(2, 3, 20, 24)
        light = draw(2, 1, 20, 24)
        value = getattr(losses, f"{name}_decomposition_loss")(image, (r, light))
        assert_same(value, name)
        value.backward()
        assert_same(r.grad[0, :, ::4, ::4], f"{name}_grad_R")
        assert_same(light.grad[0, :, ::4, ::4], f"{name}_grad_L")
    p = [draw(2, 3, 20, 24) for _ in range(3)]
    q = [draw(2, 1, 20, 24) for _ in range(3)]
    r = [draw(2, 3, 20, 24) for _ in range(3)]
    light = [draw(2, 1, 20, 24) for _ in range(3)]
    rounds = list(zip(p, q, r, light, strict=True))
    terms = losses.unfolding_terms(rounds, draw(2, 3, 20, 24), "none")
    assert list(terms) == ["p", "q", "l2", "tv", "ssim"]
    values = torch.stack(list(terms.values()))
    assert_same(values, "unfold_terms")
    values.sum().backward()
    assert_same(r[2].grad[0, :, ::4, ::4], "unfold_grad_R")
    assert_same(light[2].grad[0, :, ::4, ::4], "unfold_grad_L")
    restored, reference = draw(2, 3, 20, 24), draw(2, 3, 20, 24)
    dark, brighter = draw(2, 1, 20, 24, high=0.3), draw(2, 1, 20, 24)
    terms = losses.adjustment_terms(restored, reference, dark, brighter)
    values = torch.stack(list(terms.values()))
    assert_same(values, "adjust_terms")
    values.sum().backward()
    assert_same(restored.grad[0, :, ::4, ::4], "adjust_grad_E")
    assert_same(brighter.grad[0, :, ::4, ::4], "adjust_grad_L")
    dark, of_reference = draw(2, 1, 20, 24, low=0.05, high=0.3), draw(2, 1, 20, 24).detach()
    of_reference[1] *= 0.01
    assert_same(losses.light_ratio(dark.detach(), of_reference), "ratio")


def test_the_penalties_are_those_of_the_backbone():
    theirs = (uretinex.GAMMA, uretinex.LAMBDA, uretinex.MORE)
    assert theirs == (losses.GAMMA, losses.LAMBDA, losses.MORE)


# --- stages --------------------------------------------------------------------------------------


@each_stage
def test_a_stage_trains_its_own_parts_alone_and_its_loss_falls(stage):
    model, data = made(stage), batch()
    free = uretinex_stages.TRAINED[stage]
    trained = [value for value in model.parameters() if value.requires_grad]
    optimiser, values = torch.optim.AdamW(trained, lr=1e-3), []
    for _ in range(4):
        value, restored = uretinex_stages.objective(model, data, no_loss)
        assert torch.isfinite(value) and restored.shape == data["hq"].shape
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        values.append(value.item())
    assert values[-1] < values[0]
    reached = {name for name, value in model.named_parameters() if value.grad is not None}
    assert reached and all(name.startswith(free) for name in reached)
    assert {name for name, value in model.named_parameters() if value.requires_grad} == reached


def test_the_rounds_are_those_that_the_network_solves():
    network, data = made("unfold").network, batch()
    rounds = uretinex_stages.rounds_of(network, data["lq"])
    assert len(rounds) == 3
    _, q, r, _ = rounds[0]
    expected = (data["lq"] * q + 0.15 * r) / (0.15 + q**2)
    torch.testing.assert_close(rounds[1][0], expected)
    torch.testing.assert_close((rounds[2][2], rounds[2][3]), network.unfold(data["lq"]))
    assert not network.model_R._forward_hooks and not network.model_L._forward_hooks


# --- in a suite ----------------------------------------------------------------------------------


def suite_with(folder, **of_unfolding):
    params = small_params()
    backbone = {"backbone": {"name": "uretinex"}}
    params["runs"], start = {}, "weights/random"
    for stage in STAGES:
        method = {"name": "uretinex_stages"} | settings(stage)
        if stage == "unfold":
            method |= of_unfolding
        params["runs"][stage] = run(method, init=start) | backbone
        start = f"runs/{stage}"
    told = {"name": "uretinex_reference", "light": ""}
    params["runs"]["told"] = run(told, init=start, training={"iterations": 0}) | backbone
    params["priors"] = {"none": params["priors"]["none"]}
    params["training"]["iterations"] = 2
    return load_params(write_params(folder, params))


def test_three_runs_train_it_and_a_fourth_is_told_the_brightness(tmp_path):
    suite = suite_with(tmp_path)
    check_choices(suite, tmp_path / "params.yaml")
    make_inputs(suite)
    before = None
    for key in suite.runs:
        plan = open_run(suite, key)
        train(plan)
        weights = load_file(suite.work / "runs" / key / "seed0.safetensors")
        if before is not None:
            changed = {n for n, value in weights.items() if not torch.equal(value, before[n])}
            free = uretinex_stages.TRAINED.get(key, ())
            assert all(name.startswith(free) for name in changed) and bool(changed) == bool(free)
        before = weights
    assert evaluate(open_run(suite, "told"))


def test_what_it_fetches_is_told_and_another_network_is_refused(tmp_path):
    assert not {"vgg16", "uretinex-reference"} & set(needed(suite_with(tmp_path)))
    suite = suite_with(tmp_path, features="vgg16", light="uretinex-reference")
    assert {"vgg16", "uretinex-reference"} <= set(needed(suite))
    suite = suite_with(tmp_path, light="uretinex-referense")
    with pytest.raises(BenchError, match=r"runs.unfold.method: .*did you mean uretinex-reference"):
        check_choices(suite, tmp_path / "params.yaml")
    params = small_params()
    params["runs"]["no-prior"]["method"] = {"name": "uretinex_stages"} | settings("adjust")
    suite = load_params(write_params(tmp_path, params))
    with pytest.raises(BenchError, match=r"runs.no-prior.method: .*take the backbone uretinex$"):
        check_choices(suite, tmp_path / "params.yaml")
