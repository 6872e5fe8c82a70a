"""Training without references: a network by its own loss, and PTG-RM by the same."""

import goldens
import pytest
import torch
from conftest import make_inputs, run, small_params, write_params
from goldens import needs_mirror
from safetensors.torch import load_file

from benchlib.backbones import nafnet, ruas, sci, zero_dce
from benchlib.checks import check_choices
from benchlib.contracts import Backbone, BenchError
from benchlib.methods import _own_losses as own_losses
from benchlib.methods import _unsupervised as losses
from benchlib.methods import ptg_rm, unsupervised
from benchlib.params import load_params
from benchlib.plan import open_run
from benchlib.train.record import train

NETWORKS = {
    "zero_dce": Backbone.from_module(zero_dce, zero_dce.Config(width=4, curves=2)),
    "sci": Backbone.from_module(sci, sci.Config(stages=3)),
    "ruas": Backbone.from_module(ruas, ruas.Config()),
}
METHODS = {
    "alone": (unsupervised, unsupervised.Config()),
    "joint": (ptg_rm, ptg_rm.Config(loss="own", size=6)),
    "frozen": (ptg_rm, ptg_rm.Config(loss="own", size=6, tune="module")),
}
each_network = pytest.mark.parametrize("network", NETWORKS)
each_method = pytest.mark.parametrize("method", METHODS)


def dark_batch(side: int = 16) -> dict[str, torch.Tensor]:
    """Two dark images; references that nothing may read."""
    generator = torch.Generator().manual_seed(5)
    lq = 0.3 * torch.rand(2, 3, side, side, generator=generator)
    vector = torch.randn(2, 6, generator=generator)
    return {"lq": lq, "vector": vector, "hq": torch.full_like(lq, torch.nan)}


def made(method: str, network: str) -> torch.nn.Module:
    module, config = METHODS[method]
    torch.manual_seed(0)
    return module.build(NETWORKS[network], config)


def no_loss(*_: torch.Tensor) -> torch.Tensor:
    raise AssertionError("the loss that the run names is not read")


def value_of(network: str, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """A network's loss, by hand."""
    lq = batch["lq"]
    if network == "zero_dce":
        return losses.zerodce_loss(lq, model(lq), model.curves(lq))
    if network == "ruas":
        return losses.ruas_loss(lq, model.enhance(lq)[1][-1])
    return sum(losses.sci_loss(*stage) for stage in model.stages(lq))


@each_method
@each_network
def test_no_reference_is_read_and_a_few_steps_lower_the_loss(method, network):
    model, batch = made(method, network).train(), dark_batch()
    objective = METHODS[method][0].objective
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser, values = torch.optim.AdamW(trained, lr=1e-3), []
    for _ in range(8):
        value, restored = objective(model, batch, no_loss)
        assert torch.isfinite(value) and torch.isfinite(restored).all()
        assert restored.shape == batch["lq"].shape
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        values.append(value.item())
    assert values[-1] < values[0]


@each_network
def test_the_loss_is_the_published_one_of_the_network(network):
    batch = dark_batch()
    model = made("alone", network).train()
    expected = value_of(network, made("alone", network).train().network, batch)
    torch.testing.assert_close(unsupervised.objective(model, batch, no_loss)[0], expected)


@pytest.mark.parametrize("weight", [1.0, 0.25])
@each_network
def test_the_refined_image_adds_the_loss_of_an_image_in_its_place(network, weight):
    batch = dark_batch()
    torch.manual_seed(0)
    config = ptg_rm.Config(loss="own", size=6, weight=weight, start="random")
    model = ptg_rm.build(NETWORKS[network], config).eval()
    value, refined = ptg_rm.objective(model, batch, no_loss)
    torch.testing.assert_close(refined, model(batch))
    lq = batch["lq"]
    if network == "zero_dce":
        of_refined = losses.zerodce_loss(lq, refined, model.network.curves(lq))
    elif network == "sci":
        illumination = (lq / refined.clamp(min=1e-4)).clamp(1e-4, 1)
        of_refined = losses.sci_loss(lq, illumination)
    else:
        illumination = (lq / refined.clamp(min=1e-3)).clamp(1e-3, 1)
        of_refined = losses.ruas_loss(lq, illumination)
    first = value_of(network, model.network, batch)
    torch.testing.assert_close(value, first + weight * of_refined)
    assert not torch.allclose(of_refined, first)


def test_with_a_frozen_network_the_refined_image_alone_counts():
    model, batch = made("frozen", "sci").train(), dark_batch()
    value, refined = ptg_rm.objective(model, batch, no_loss)
    lq = batch["lq"]
    expected = losses.sci_loss(lq, own_losses.implied(lq, refined, own_losses.SCI_LEAST))
    torch.testing.assert_close(value, expected)
    value.backward()
    with_gradient = set()
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            with_gradient.add(name.partition(".")[0])
    assert with_gradient == {"refinement11"}


@pytest.mark.parametrize("least", [own_losses.SCI_LEAST, own_losses.RUAS_LEAST])
def test_the_implied_illumination_is_the_one_that_brightened(least):
    generator = torch.Generator().manual_seed(1)
    illumination = 0.3 + 0.7 * torch.rand(1, 3, 5, 7, generator=generator)
    image = 0.3 * torch.rand(1, 3, 5, 7, generator=generator)
    found = own_losses.implied(image, image / illumination, least)
    torch.testing.assert_close(found[image > 0.01], illumination[image > 0.01])
    black = torch.zeros(1, 3, 2, 2)
    assert own_losses.implied(black, -black, least).unique().tolist() == pytest.approx([least])


def test_the_denoiser_of_ruas_is_trained_where_the_run_says_so():
    batch = dark_batch()
    still = made("alone", "ruas")
    assert not any(p.requires_grad for p in still.network.denoise_net.parameters())
    torch.manual_seed(0)
    model = unsupervised.build(NETWORKS["ruas"], unsupervised.Config(denoiser=True))
    model.eval(), still.eval()
    value, restored = unsupervised.objective(model, batch, no_loss)
    brighter = model.network.enhance(batch["lq"])[0][-1]
    more = losses.ruas_denoise_loss(restored, brighter)
    first = unsupervised.objective(still, batch, no_loss)[0]
    torch.testing.assert_close(value, first + more)
    value.backward()
    first.backward()
    for part, gives in (("denoise_net", True), ("enhance_net", False)):
        weight = next(iter(model.network.get_submodule(part).parameters()))
        other = next(iter(still.network.get_submodule(part).parameters()))
        assert (other.grad is None) == gives
        if not gives:  # the denoiser's loss does not reach what brightens
            torch.testing.assert_close(weight.grad, other.grad)


def test_zero_dce_needs_crops_with_a_region_to_expose():
    with pytest.raises(BenchError, match=r"images of 15 pixels.*training.crop to 16 or more$"):
        unsupervised.objective(made("alone", "zero_dce"), dark_batch(15), no_loss)


# --- in a suite ----------------------------------------------------------------------------------


def suite_with(folder, method: dict, backbone: dict, **more):
    params = small_params()
    params["runs"] = {"dark": run(method) | {"backbone": backbone} | more}
    params["priors"] = {"none": params["priors"]["none"]}
    return load_params(write_params(folder, params))


@pytest.mark.parametrize(
    ("method", "backbone", "said"),
    [
        ({"name": "unsupervised"}, {"name": "nafnet"}, "unsupervised: the network gives none of"),
        (
            {"name": "unsupervised", "denoiser": True},
            {"name": "ruas", "denoise": False},
            "unsupervised: denoiser: got true, but the network has none",
        ),
        (
            {"name": "ptg_rm", "loss": "own", "ranges": "sum"},
            {"name": "uretinex"},
            "ptg_rm: loss: got 'own': the network gives none of curves, stages, enhance",
        ),
        (
            {"name": "ptg_rm", "loss": "own", "refine": "feature"},
            {"name": "sci"},
            "ptg_rm: loss: got 'own' with refine 'feature'",
        ),
    ],
)
def test_a_network_without_such_a_loss_is_refused_before_any_work(tmp_path, method, backbone, said):
    suite = suite_with(tmp_path, method, backbone)
    with pytest.raises(BenchError) as error:
        check_choices(suite, tmp_path / "params.yaml")
    assert said in str(error.value) and "runs.dark.method" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("backbone", [{"name": "zero_dce"}, {"name": "sci", "stages": 3}])
def test_a_run_trains_by_it(tmp_path, backbone):
    suite = suite_with(tmp_path, {"name": "unsupervised"}, backbone)
    check_choices(suite, tmp_path / "params.yaml")
    make_inputs(suite)
    record = train(open_run(suite, "dark"))
    weights = load_file(suite.work / "runs" / "dark" / "seed0.safetensors")
    assert record["trained_parameters"] == record["parameters"] > 0
    assert all(torch.isfinite(value).all() for value in weights.values())


# --- official weights ----------------------------------------------------------------------------


@needs_mirror
@pytest.mark.parametrize(
    ("network", "repository", "path", "config"),
    [
        ("zero_dce", "Li-Chongyi/Zero-DCE", "Zero-DCE_code/snapshots/Epoch99.pth", {}),
        ("sci", "vis-opt-group/SCI", "weights/medium.pt", {"stages": 3}),
        ("ruas", "KarelZhang/RUAS", "ckpt/lol.pt", {}),
    ],
)
def test_official_weights_have_a_lower_loss_than_a_random_start(network, repository, path, config):
    module = {"zero_dce": zero_dce, "sci": sci, "ruas": ruas}[network]
    torch.manual_seed(0)
    model = unsupervised.build(
        Backbone.from_module(module, module.Config(**config)), unsupervised.Config()
    ).eval()
    batch = {"lq": goldens.dark_photograph()}
    with torch.no_grad():
        start = unsupervised.objective(model, batch, no_loss)[0]
        model.network.load_state_dict(goldens.official(repository, path), strict=True)
        trained = unsupervised.objective(model, batch, no_loss)[0]
    assert trained < start


def test_a_part_of_a_network_does_not_stand_for_what_a_loss_reads():
    """SCI has a part called ``enhance``, which is what RUAS gives."""
    network = sci.build(sci.Config())
    assert own_losses.own_loss("x", network) is own_losses.LOSSES["stages"]
    with pytest.raises(BenchError, match=r"^x: the network gives none of"):
        own_losses.own_loss("x", nafnet.build(nafnet.Config(width=4)))
