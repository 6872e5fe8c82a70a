"""Enlighten Anything against the official networks, and what its picture can and cannot change."""

import goldens
import pytest
import torch
from goldens import needs_mirror

from benchlib.backbones import ruas, sci
from benchlib.contracts import Backbone, BenchError, load_weights_into
from benchlib.methods import _unsupervised as losses
from benchlib.methods import enlighten_anything
from benchlib.methods._blocks import changed_blocks
from benchlib.methods._enlighten_anything import EnlightenAnything
from benchlib.methods.enlighten_anything import Config

STAGES = {"without": 1, "with": 3}
# the official names of what the picture passes through before the attention
OF_THE_PICTURE = (
    "enhance.fusion.conv1.weight",
    "enhance.fusion.conv1.bias",
    "enhance.fusion.attn.temperature",
    "enhance.fusion.attn.q.weight",
    "enhance.fusion.attn.q_dwconv.weight",
)


def built(stages: int = 1, **settings) -> EnlightenAnything:
    torch.manual_seed(0)
    network = Backbone.from_module(sci, sci.Config(stages=stages))
    return enlighten_anything.build(network, Config(**settings)).eval()


def golden_of(part: str) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """(the official state dict, the other arrays) of one of both networks."""
    golden, state, rest = goldens.read("enlighten_anything"), {}, {}
    for name, value in golden.items():
        if name.startswith(f"{part}/sd/"):
            state[name.removeprefix(f"{part}/sd/")] = torch.from_numpy(value)
        elif name.startswith(f"{part}/") and value.dtype.kind == "f":
            rest[name.removeprefix(f"{part}/")] = torch.from_numpy(value)
    return state, rest


def official(part: str) -> tuple[EnlightenAnything, dict[str, torch.Tensor]]:
    """The released network with its weights, and what it gives."""
    state, golden = golden_of(part)
    model = built(STAGES[part], heads=3)
    load_weights_into(model, state, "official")
    return model, golden


def batch_of(golden: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {"lq": golden["x"], "picture": golden["semantic"]}


def second(image: torch.Tensor) -> torch.Tensor:
    """Every second pixel: as many as the golden has."""
    return image[..., ::2, ::2]


def gradients(model: EnlightenAnything) -> dict[str, float]:
    """L2 norm of each parameter's gradient by its official name."""
    found = {}
    for name, parameter in model.named_parameters():
        found[name.removeprefix("network.")] = 0.0
        if parameter.grad is not None:
            found[name.removeprefix("network.")] = float(parameter.grad.norm())
    return found


def expect_official_gradients(part: str, model: EnlightenAnything) -> None:
    golden, found = goldens.read("enlighten_anything"), gradients(model)
    names = [str(name) for name in golden[f"{part}/grad/names"]]
    assert sorted(names) == sorted(found)
    for name, expected in zip(names, golden[f"{part}/grad/l2"], strict=True):
        assert found[name] == pytest.approx(expected, rel=1e-3, abs=1e-9), name


def test_without_calibration_it_is_the_official_network():
    model, golden = official("without")
    batch = batch_of(golden)
    fusion, feature = model.enhance["fusion"], model.network.enhance.in_conv(batch["lq"])
    asks = fusion.norm1(fusion.conv1(batch["picture"]))
    attention = fusion.attn(fusion.norm1(feature), asks)
    restored = model(batch)
    restored.square().mean().backward()
    fused = fusion(feature, batch["picture"])
    for got, name in ((attention, "attention"), (fused, "fusion"), (restored, "y")):
        torch.testing.assert_close(second(got.detach()), golden[name], atol=1e-6, rtol=0)
    expect_official_gradients("without", model)


def test_with_calibration_every_stage_is_the_official_one():
    model, golden = official("with")
    batch, fusion = batch_of(golden), model.enhance["fusion"]

    def fuse(_, feature):
        return feature + fusion(feature, batch["picture"])

    with changed_blocks([model.network.enhance.in_conv], fuse):
        stages = model.network.stages(batch["lq"])
    restored = [sci.reflectance(batch["lq"], illumination) for _, illumination in stages]
    torch.stack(restored, 1).square().mean().backward()
    for i, (stage_input, illumination) in enumerate(stages):
        for got, name in ((stage_input, "in"), (illumination, "illumination")):
            expected = golden[f"{name}{i}"]
            torch.testing.assert_close(second(got.detach()), expected, atol=1e-5, rtol=0)
        of_stage = second(restored[i].detach())  # divided by what may be 0.0001
        torch.testing.assert_close(of_stage, golden[f"r{i}"], atol=1e-4, rtol=0)
    torch.testing.assert_close(second(model(batch)), golden["r0"], atol=1e-5, rtol=0)
    expect_official_gradients("with", model)


@pytest.mark.parametrize("part", STAGES)
def test_a_whole_official_checkpoint_loads_and_what_it_repeats_has_to_agree(part):
    state, _ = golden_of(part)
    model = built(STAGES[part], heads=3)
    load_weights_into(model, state, "official")
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name.removeprefix("network.")]), name
    with pytest.raises(BenchError, match=r"enhance.blocks.0.0.weight differs"):
        load_weights_into(model, state | {"enhance.blocks.0.0.weight": torch.zeros(3, 3, 3, 3)}, "")
    del state["enhance.in_conv.0.bias"]
    with pytest.raises(BenchError, match=r"^here: .*enhance.in_conv.0.bias"):
        load_weights_into(model, state, "here")


def test_a_network_with_calibration_is_tested_without():
    state, golden = golden_of("with")
    model = built(stages=1, heads=3)
    load_weights_into(model, state, "official")
    torch.testing.assert_close(second(model(batch_of(golden))), golden["r0"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("stages", [1, 3])
@torch.no_grad()
def test_as_released_no_picture_moves_a_bit_of_the_output(stages):
    model = built(stages, heads=3)
    for parameter in model.parameters():
        parameter.normal_()
    lq = torch.rand(2, 3, 20, 24)
    expected = model({"lq": lq, "picture": torch.rand(2, 3, 20, 24)})
    white, smaller = torch.ones(2, 3, 20, 24), torch.rand(2, 3, 7, 9)
    for picture in (torch.rand(2, 3, 20, 24), white, 0 * white, smaller):
        assert torch.equal(model({"lq": lq, "picture": picture}), expected)
        loss = model({"lq": lq, "picture": picture}, learns=True)[0]
        assert torch.equal(loss, model({"lq": lq, "picture": white}, learns=True)[0])


@pytest.mark.parametrize("heads", [1, 3])
def test_only_with_one_head_what_reads_the_picture_learns(heads):
    model = built(heads=heads).train()
    batch = {"lq": 0.3 * torch.rand(2, 3, 20, 24), "picture": torch.rand(2, 3, 20, 24)}
    batch["picture"].requires_grad_()
    model(batch, learns=True)[0].backward()
    found = gradients(model)
    for name in OF_THE_PICTURE:
        assert (found[name] > 0) == (heads == 1), name
    assert bool(batch["picture"].grad.abs().sum() > 0) == (heads == 1)
    assert found["enhance.fusion.attn.kv.weight"] > 0


@torch.no_grad()
def test_with_one_head_the_picture_moves_the_output():
    model = built(heads=1)
    for parameter in model.parameters():
        parameter.normal_(0.0, 0.5)
    lq = torch.rand(1, 3, 20, 24)
    first = model({"lq": lq, "picture": torch.rand(1, 3, 20, 24)})
    for picture in (torch.rand(1, 3, 20, 24), torch.ones(1, 3, 20, 24)):
        assert (first - model({"lq": lq, "picture": picture})).abs().max() > 1e-5


@torch.no_grad()
def test_a_picture_of_another_size_is_taken_by_nearest_pixel():
    model = built(heads=1)
    lq, small = torch.rand(1, 3, 20, 24), torch.rand(1, 3, 10, 12)
    large = small.repeat_interleave(2, 2).repeat_interleave(2, 3)
    restored = model({"lq": lq, "picture": small})
    assert torch.equal(restored, model({"lq": lq, "picture": large}))


def test_another_network_is_refused():
    other = Backbone.from_module(ruas, ruas.Config())
    for make in (enlighten_anything.build, lambda a, b: enlighten_anything.check_network(b, a)):
        with pytest.raises(BenchError, match=r"^enlighten_anything: .*; take the backbone sci$"):
            make(other, Config())


# --- its training --------------------------------------------------------------------------------


def batch(side: int = 24) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    dark = 0.2 * torch.rand(2, 3, side, side, generator=generator)
    return {"lq": dark, "picture": torch.rand(2, 3, side, side, generator=generator)}


def no_loss(*_: torch.Tensor) -> torch.Tensor:
    raise AssertionError("the loss that the run names was read")


@pytest.mark.parametrize("colours", ["reshaped", "pixels"])
def test_its_loss_is_sci_s_of_each_stage(colours):
    model, data = built(stages=3, ycbcr=colours), batch()
    value, restored = enlighten_anything.objective(model, data, no_loss)

    def fuse(_, feature):
        return feature + model.enhance["fusion"](feature, data["picture"])

    with changed_blocks([model.network.enhance.in_conv], fuse):
        stages = model.network.stages(data["lq"])
    parts = [losses.sci_loss(*stage, colours) for stage in stages]
    torch.testing.assert_close(value, sum(parts))
    assert torch.equal(restored, model(data))


@pytest.mark.parametrize("tune", ["all", "fusion"])
def test_a_few_steps_lower_the_loss_and_a_frozen_network_stays(tune):
    model, data = built(stages=3, tune=tune).train(), batch()
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    free = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser, values = torch.optim.AdamW(free, lr=0.01), []
    for _ in range(6):
        optimiser.zero_grad()
        value, _ = enlighten_anything.objective(model, data, no_loss)
        value.backward()
        optimiser.step()
        values.append(float(value.detach()))
    assert values[-1] < values[0]
    same = [torch.equal(before[name], value) for name, value in model.network.state_dict().items()]
    assert all(same) == (tune == "fusion")


def test_ycbcr_of_pixels_is_each_pixel_s_own_and_the_reshaped_is_not():
    image = torch.rand(2, 3, 8, 9)
    red, green, blue = image[1, :, 3, 4].tolist()
    expected = [
        0.257 * red + 0.564 * green + 0.098 * blue + 16 / 255,
        -0.148 * red - 0.291 * green + 0.439 * blue + 128 / 255,
        0.439 * red - 0.368 * green - 0.071 * blue + 128 / 255,
    ]
    assert losses.ycbcr(image)[1, :, 3, 4].tolist() == pytest.approx(expected, abs=1e-6)
    illumination = torch.rand(2, 3, 8, 9)
    by_pixels = losses.sci_smoothness(image, illumination, "pixels")
    assert by_pixels != losses.sci_smoothness(image, illumination)


def test_sigma_10_leaves_next_to_nothing_of_the_colours():
    """Values are in [0,1], not in [0,255]: where colours differ most, a weight is 0.99."""
    image, illumination = torch.rand(1, 3, 16, 16).round(), torch.rand(1, 3, 16, 16)
    plain = losses.sci_smoothness(torch.zeros_like(image), illumination)
    for colours in ("reshaped", "pixels"):
        assert losses.sci_smoothness(image, illumination, colours) > 0.99 * plain


@needs_mirror
@torch.no_grad()
def test_it_begins_with_official_sci():
    weights = goldens.official("vis-opt-group/SCI", "weights/medium.pt")
    model = built(stages=3, heads=3)
    load_weights_into(model, weights, "medium")
    dark = goldens.dark_photograph()
    expected = goldens.tensors(goldens.read("lowlight_real"), "sci/medium")[0]
    torch.testing.assert_close(model.network(dark)[0], expected, atol=1e-5, rtol=0)
