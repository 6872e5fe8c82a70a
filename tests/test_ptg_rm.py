"""PTG-RM against its official code's values and its equations written out, and its promises."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_inputs, run, small_params, write_params
from ruamel.yaml import YAML
from test_methods import batch, moved, reaches, small_backbone, without_gradient
from torch import nn
from torch.nn.functional import unfold

from benchlib.checks import check_choices
from benchlib.contracts import Backbone, BenchError, Window, load_weights_into
from benchlib.evaluate import evaluate
from benchlib.methods import _ptg_rm as module
from benchlib.methods import ptg_rm
from benchlib.methods._ptg_rm import Refinement
from benchlib.methods.ptg_rm import Config
from benchlib.params import configure, load_params
from benchlib.plan import open_run
from benchlib.prepare import make_priors, prior_images
from benchlib.priors.kinds import vector
from benchlib.records import write_json
from benchlib.restore import load_model, prior_at
from benchlib.train.record import train

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests" / "golden"
PLAIN = Backbone(lambda in_channels=3: nn.Conv2d(in_channels, 3, 3, padding=1), lambda _: [])


def golden(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / name, allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.asarray(array, np.float32))


def refinement(**settings) -> Refinement:
    torch.manual_seed(0)
    return moved(Refinement(Config(**settings)))


def table_3() -> dict[str, dict]:
    """The rows of the docs' table and their settings."""
    rows = {}
    for line in (ROOT / "docs" / "ptg_rm.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("| ") and "`{" in line:
            row, settings = line.strip("| ").split(" | ")
            rows[row] = dict(YAML(typ="safe").load(settings.strip("`")))
    return rows


def inputs(height: int = 20, width: int = 28, size: int = 256, scale: int = 1) -> tuple:
    """A degraded image, what a network makes of it, outside [0,1] too, and a vector."""
    generator = torch.Generator().manual_seed(3)
    image = torch.rand(2, 3, height, width, generator=generator)
    restored = torch.rand(2, 3, scale * height, scale * width, generator=generator) * 1.2 - 0.1
    return image, restored, torch.randn(2, size, generator=generator)


# --- the official code's values ------------------------------------------------------------------

OUTPUTS = {
    "f": "r22",
    "P_m": "mapp_position2",
    "P_c": "mapp_position22",
    "T_m": "mapp_space2",
    "T_c": "mapp_space22",
    "f_l": "transformer",
    "f_s": "resnet",
    "M": "r2_mask",
    "C_attention": "mapping12",
    "kernels": "mapp12",
    "S_attention": "mapp1",
    "residual": "conv_last3",
}
INPUTS = {"f_hat": "mapp11", "S_filtered": "mapp1", "f_bar": "r1_decoder"}
SIGMOIDS = ("M", "C_attention", "S_attention")


def test_the_released_reading_gives_the_official_values_intermediates_included():
    stored = golden("ptgrm_module.npz")
    weights = {
        name.removeprefix("sd/"): tensor(value) / 1024
        for name, value in stored.items()
        if name.startswith("sd/")
    }
    model, got = Refinement(Config(reading="released", size=512)), {}
    model.load_state_dict(weights, strict=True)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == json.loads(str(stored["about"]))["parameters"] == 671_735
    for name, part in OUTPUTS.items():
        getattr(model, part).register_forward_hook(
            lambda _, args, out, name=name: got.update({name: out})
        )
    for name, part in INPUTS.items():
        getattr(model, part).register_forward_pre_hook(
            lambda _, args, name=name: got.update({name: args[0][:, :16]})
        )
    with torch.no_grad():
        got["y"] = model(tensor(stored["x"]), tensor(stored["f_out"]), tensor(stored["g"]))
    for name, value in got.items():
        if name in SIGMOIDS:
            value = value.sigmoid()
        expected = tensor(stored[name])
        assert value.shape == expected.shape, name
        assert (value - expected).abs().max() < 1e-5, name


def by_rule(stored: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """The weights of a golden that stores none: ``about`` has the rule."""
    about, weights = json.loads(str(stored["about"])), {}
    random = np.random.RandomState(about["seed"])
    for name, shape, total in zip(stored["names"], stored["shapes"], stored["wsum"], strict=True):
        drawn = random.standard_normal([int(side) for side in str(shape).split("x")])
        if drawn.ndim >= 2:
            drawn = about["gain"] * drawn / np.sqrt(np.prod(drawn.shape[1:]))
        elif name.endswith("running_var"):
            drawn = 1 + 0.1 * np.abs(drawn)
        elif name.endswith("weight"):
            drawn = 1 + 0.1 * drawn
        else:
            drawn = 0.1 * drawn
        weights[str(name)] = tensor(drawn)
        assert np.isclose(weights[str(name)].double().sum(), total, rtol=1e-6, atol=1e-6)
    return weights


def test_the_official_state_dict_loads_and_restores_and_has_its_gradients():
    """Of the whole official model: its own network's values are stored, the rest is this method."""
    stored = golden("ptgrm_snr_whole.npz")
    official = {}
    for name, value in by_rule(stored).items():
        if name.startswith("refinement11."):
            official[name] = value
    model = ptg_rm.build(PLAIN, Config(reading="released", size=512))
    load_weights_into(model, official | model.network.state_dict(), "here")
    image, f_out, vector = (tensor(stored[name]) for name in ("x", "f_out", "g"))
    refined = model.refine(image, f_out, vector)
    assert (refined - tensor(stored["y"])).abs().max() < 1e-5
    refined.square().mean().backward()
    found = dict(model.named_parameters())
    lengths = dict(zip(stored["grad/names"].tolist(), stored["grad/l2"], strict=True))
    for name in official:
        assert float(found[name].grad.norm()) == pytest.approx(lengths[name], rel=1e-3), name


def test_the_charbonnier_loss_and_the_snr_map_are_the_official_ones():
    stored = golden("ptgrm_parts.npz")
    loss = ptg_rm.charbonnier(tensor(stored["charbonnier_x"]), tensor(stored["charbonnier_y"]))
    assert float(loss) == pytest.approx(float(stored["charbonnier_loss"]), rel=1e-6)
    image, blurred = tensor(stored["snr_x"]), tensor(stored["snr_nf"])
    expected = tensor(stored["snr_mask"])
    found = module.signal_to_noise(module.luma(image), module.luma(blurred))
    assert (found - expected).abs().max() < 1e-6
    # where luma and its blur are near, the last digit of the blur moves the quotient
    assert (module.snr_map(image) - expected).abs().max() < 1e-3


# --- the equations -------------------------------------------------------------------------------


def per_location(feature: torch.Tensor, kernels: torch.Tensor) -> torch.Tensor:
    """Equation 6 as it is written: every neighbourhood laid out, h x w x k x k x c."""
    count, channels, height, width = feature.shape
    bordered = nn.functional.pad(feature, (1, 1, 1, 1), mode="replicate")
    patches = unfold(bordered, 3).reshape(count, channels, 9, height, width)
    return (patches * kernels.reshape(count, channels, 9, height, width)).sum(2)


def act(x: torch.Tensor) -> torch.Tensor:
    return nn.functional.leaky_relu(x, 0.1)


@torch.no_grad()
@pytest.mark.parametrize(("mask", "colours"), [("any", 1), ("any", 3), ("unit", 1)])
def test_equations_1_to_7_written_out(mask, colours):
    R = refinement(mask=mask, mask_channels=colours, start="random")
    image, restored, g = inputs()
    g_unit = g / g.norm(dim=1, keepdim=True)
    f = R.encode(torch.cat([restored, image], 1))
    height, width = f.shape[-2:]
    rows, columns = torch.linspace(-1, 1, height), torch.linspace(-1, 1, width)
    S = torch.stack([rows[:, None].expand(-1, width), columns[None].expand(height, -1)])[None]

    def everywhere(code):
        return code[:, :, None, None].expand(-1, -1, height, width)

    T_m = everywhere(R.mapp_space2(act(R.mapp_space1(g_unit))))
    S_m = R.mapp_position2(act(R.mapp_position1(S))).expand(2, -1, -1, -1)
    M = R.r2_mask(act(R.r1_mask(torch.cat([f, T_m, S_m], 1)))).sigmoid()  # 2
    f_hat = M * R.resnet(f) + (1 - M) * R.transformer(f)  # 3
    T_c = R.mapp_space22(act(R.mapp_space11(g_unit)))
    pooled = torch.cat([f_hat.mean((2, 3)), T_c], 1)
    M_c = R.mapping12(act(R.mapping11(pooled))).sigmoid()[:, :, None, None]  # 4
    S_c = R.mapp_position22(act(R.mapp_position11(S))).expand(2, -1, -1, -1)
    C_p = R.mapp12(act(R.mapp11(torch.cat([f_hat, everywhere(T_c), S_c], 1))))  # 5
    M_s = R.mapp1(act(per_location(f_hat, C_p))).sigmoid()  # 6
    given = R.decode(R.refine11(torch.cat([f_hat * M_c, f_hat * M_s], 1)))  # 7
    I_r, I_m = given[:, :3], given[:, 3:]
    assert I_m.shape[1] == colours
    I_m = I_m.sigmoid() if mask == "unit" else 1 + I_m
    expected = image + (restored - image) * I_m + I_r  # 1
    torch.testing.assert_close(R(image, restored, g), expected, rtol=1e-5, atol=1e-5)


# --- one kernel a location, in strips ------------------------------------------------------------


def test_strips_give_the_values_and_gradients_of_the_naive_form(monkeypatch):
    """In double precision; the strips cut rows of 7 locations into pairs, the last one short."""
    R = refinement().double()
    feature = torch.randn(2, 16, 9, 7, dtype=torch.float64, requires_grad=True)
    code = torch.randn(2, 64, dtype=torch.float64, requires_grad=True)
    place = R.mapp_position22(act(R.mapp_position11(module.coordinates(feature))))
    read = torch.cat([feature, module.spread(code, feature), place], 1)
    naive = per_location(feature, R.mapp12(act(R.mapp11(read))))
    weights = [feature, code, R.mapp11.weight, R.mapp12.weight, R.mapp1.weight]
    weights += [R.mapp_position11.weight, R.mapp_position22.weight]
    expected = R.mapp1(act(naive)).sigmoid()
    slopes = torch.autograd.grad(expected.sin().sum(), weights)
    for locations in (14, 1, 10**6):
        monkeypatch.setattr(module, "NUMBERS", 144 * locations)
        got = R.spatial_attention(feature, code)
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
        found = torch.autograd.grad(got.sin().sum(), weights)
        torch.testing.assert_close(found, slopes, rtol=1e-10, atol=1e-10)


def test_kernels_of_a_whole_image_are_never_held(monkeypatch):
    """Neither while they are used nor, from strip to strip, for the gradient."""
    monkeypatch.setattr(module, "NUMBERS", 144 * 40)
    R, sizes = refinement(), []
    feature = torch.randn(1, 16, 40, 20, requires_grad=True)
    code = torch.randn(1, 64)
    R.mapp12.register_forward_hook(lambda _, args, out: sizes.append(out.numel()))
    kept: list[int] = []

    def keep(x):
        kept.append(x.numel())
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        attention = R.spatial_attention(feature, code)
    rows = 2 + 4  # of a strip, and what its two convolutions see beyond
    assert len(sizes) == 20
    assert max(sizes) <= 144 * rows * 20
    assert max(kept) < 144 * 40 * 20 / 2
    attention.sum().backward()
    assert len(sizes) == 40


# --- the size of the module ----------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 256, 512, 768, 1024, 1152, 1153, 1280, 2048, 4096])
def test_fewer_than_a_million_parameters_whatever_the_vector(size):
    for refine in ("image", "feature"):
        model = ptg_rm.build(small_backbone("nafnet"), Config(size=size, refine=refine))
        count = sum(p.numel() for p in model.refinement11.parameters())
        assert count < 1_000_000
    expected = 256
    if size > 1152:
        expected = 64 if size > 2048 else 128
    assert Refinement(Config(size=size)).mapp_space1.out_features == expected


@pytest.mark.parametrize(
    "settings", [{"size": 10**6}, {"width": 64}, {"size": 2048, "hidden": 256}, {"hidden": 10**5}]
)
def test_a_million_parameters_are_refused_in_one_line(settings):
    with pytest.raises(BenchError, match=r"^ptg_rm: [\d,]+ parameters .*lower hidden or width$"):
        ptg_rm.build(PLAIN, Config(**settings))


def test_the_large_ablation_has_more_and_reads_no_vector():
    config = Config(**table_3()["Large R w/o SP/CA/SA"])
    assert ptg_rm.needs(config) == ()
    torch.manual_seed(0)
    model = Refinement(replace(config, start="random"))
    assert 3e6 < sum(p.numel() for p in model.parameters()) < 5e6
    image, restored, _ = inputs(8, 8)
    model(image, restored, None).square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().max() > 0, name


# --- readings, ablations -------------------------------------------------------------------------


def test_every_row_of_table_3_has_settings():
    with open(ROOT / "benchlib" / "papers" / "ptg-rm.csv", encoding="utf-8", newline="") as file:
        printed = {row["row"] for row in csv.DictReader(file) if row["table"] == "3"}
    ours = table_3()
    assert len(ours) == 9
    for row in printed:
        name = row.removesuffix(" (URetinex)").removesuffix(" (SNR)")
        assert name in ours, name
    assert len({json.dumps(settings) for settings in ours.values()}) == 9


@pytest.mark.parametrize("reading", ["paper", "released"])
@pytest.mark.parametrize("row", table_3())
def test_each_ablation_refines_any_size_and_reads_what_it_says(row, reading):
    config = Config(reading=reading, **table_3()[row])
    torch.manual_seed(0)
    model = ptg_rm.build(PLAIN, config)
    data = batch(16, 16)
    if config.width == 16:  # with 64 the noise of the contract's test saturates each sigmoid
        assert without_gradient(model, data) == set()
    needs = ptg_rm.needs(config)
    assert needs == (() if row.startswith("Large") else ("vector",))
    for change in reaches(model, data, needs).values():
        assert change > 1e-4
    if config.width == 16:
        for size in ((1, 1), (2, 3), (3, 1), (5, 18)):
            refined = model(batch(*size))
            assert refined.shape == (2, 3, *size)
            assert torch.isfinite(refined).all()


def test_what_an_ablation_takes_away_is_gone():
    full = set(dict(refinement().named_parameters()))
    for settings, gone in (
        ({"ranges": "sum"}, {"r1_mask", "r2_mask", "mapp_space1", "mapp_position1"}),
        ({"ranges": "snr"}, {"r1_mask", "r2_mask", "mapp_space1", "mapp_position1"}),
        ({"spatial": "features"}, {"mapp_position11"}),
        ({"channel": "none"}, {"mapping11", "mapping12"}),
        ({"spatial": "none"}, {"mapp11", "mapp12", "mapp1", "mapp_position22"}),
        ({"channel": "none", "spatial": "none"}, {"refine11", "mapp_space11", "mapp1"}),
        ({"position": False}, {"mapp_position1", "mapp_position11", "mapp_position22"}),
        ({"prior": "concat-1d"}, {"mapp_space11", "mapp_position1", "mapp_position11"}),
    ):
        left = {name.split(".")[0] for name in dict(refinement(**settings).named_parameters())}
        assert not gone & left
        assert gone <= {name.split(".")[0] for name in full}
        assert torch.isfinite(refinement(**settings)(*inputs())).all()


@torch.no_grad()
def test_short_and_long_range_are_mixed_as_each_reading_says():
    image, _, g = inputs()
    f = torch.randn(2, 16, 5, 7)
    for reading in ("paper", "released"):
        R = refinement(reading=reading)
        long, short, M = R.transformer(f), R.resnet(f), R.range_scores(f, g)
        first, second = (short, long) if reading == "paper" else (long, short)
        torch.testing.assert_close(R.enhance(f, g, image), M * first + (1 - M) * second)
        R = refinement(reading=reading, ranges="sum")
        torch.testing.assert_close(R.enhance(f, g, image), R.transformer(f) + R.resnet(f))
        R = refinement(reading=reading, ranges="snr")
        clean = R.enhance(f, g, torch.zeros(2, 3, 20, 28) + 0.5)  # flat: nothing but signal
        torch.testing.assert_close(clean, R.resnet(f), rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_vectors_count_by_their_direction_unless_told_otherwise():
    image, restored, g = inputs()
    for normalise in (True, False):
        R = refinement(normalise=normalise)
        near = torch.allclose(R(image, restored, g), R(image, restored, 5 * g), atol=1e-5)
        assert near == normalise
        assert torch.isfinite(R(image, restored, torch.zeros_like(g))).all()


# --- around F ------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("backbone", ["nafnet", "imdn"])
@pytest.mark.parametrize("refine", ["image", "feature"])
def test_a_fresh_module_gives_what_the_network_gives(backbone, refine):
    for reading in ("paper", "released"):
        config = Config(reading=reading, refine=refine)
        model, data = ptg_rm.build(small_backbone(backbone), config).eval(), batch(17, 23)
        expected = model.network(data["lq"])
        if (reading, refine) == ("released", "image"):
            expected = expected.clamp(0, 1)
        torch.testing.assert_close(model(data), expected, rtol=0, atol=1e-5)
        random = ptg_rm.build(
            small_backbone(backbone), Config(reading=reading, refine=refine, start="random")
        ).eval()
        assert (random(data) - random.network(data["lq"])).abs().max() > 1e-3


@torch.no_grad()
def test_the_module_refines_images_that_come_from_anywhere():
    for scale in (1, 2, 3):
        model = moved(ptg_rm.build(PLAIN, Config()))
        image, restored, g = inputs(7, 9, scale=scale)
        refined = model.refine(image, restored, g)
        assert refined.shape == restored.shape
        alone = model.refine(image[1:], restored[1:], g[1:])
        torch.testing.assert_close(alone, refined[1:], rtol=1e-4, atol=1e-5)
    data = batch(9, 11)
    expected = model.refine(data["lq"], model.network(data["lq"]), data["vector"])
    assert torch.equal(model(data), expected)


@pytest.mark.parametrize("shape", [(2, 3, 8, 9), (2, 3, 16, 9), (1, 3, 8, 8), (2, 1, 8, 8)])
def test_restored_images_of_another_size_are_refused(shape):
    model = ptg_rm.build(PLAIN, Config())
    with pytest.raises(BenchError, match=r"^ptg_rm: restored images: got .*whole multiple$"):
        model.refine(torch.zeros(2, 3, 8, 8), torch.zeros(shape), torch.zeros(2, 256))


@pytest.mark.parametrize("refine", ["image", "feature"])
@pytest.mark.parametrize("shape", [(2, 512), (2, 1, 256), (1, 256), (256,)])
def test_a_vector_of_another_shape_is_refused_in_one_line(shape, refine):
    model = ptg_rm.build(small_backbone("nafnet"), Config(refine=refine))
    with pytest.raises(BenchError, match=r"^ptg_rm: vector: expected \(2, 256\), got") as error:
        model(batch(8, 8) | {"vector": torch.zeros(shape)})
    assert "\n" not in str(error.value)
    with pytest.raises(BenchError, match=r"ptg_rm.*'vector'.*priors stage"):
        model({"lq": torch.zeros(2, 3, 8, 8)})


@torch.no_grad()
@pytest.mark.parametrize(
    ("backbone", "index", "channels", "halvings"),
    [("nafnet", 2, 16, 0), ("imdn", 1, 64, 2), ("swinir", 1, 8, 2)],
)
def test_the_deepest_feature_is_refined(backbone, index, channels, halvings):
    """The middle of a U-Net, at its own size; the last of a flat network, at a fourth."""
    model = moved(ptg_rm.build(small_backbone(backbone), Config(refine="feature")))
    R, data, seen = model.refinement11, batch(17, 22), {}
    assert (model.index, R.channels, R.halvings) == (index, channels, halvings)
    R.register_forward_hook(lambda _, args, out: seen.update(args=args, out=out))
    R.conv_last3.register_forward_hook(lambda _, args, out: seen.update(given=out))
    restored = model(data)
    _, feature, _ = seen["args"]
    size = feature.shape[-2:]
    filled, plain = seen["args"][0], data["lq"]  # the image at the map's place, zeros beyond
    assert filled.shape[-2:] == (model.ratio * size[0], model.ratio * size[1])
    assert torch.equal(filled[:, :, :17, :22], plain) and filled[:, :, 17:].abs().sum() == 0
    given = seen["given"][:, :, : size[0], : size[1]]
    expected = feature * (1 + given[:, channels:]) + given[:, :channels]
    torch.testing.assert_close(seen["out"], expected)
    assert given.shape[1] == channels + 1
    assert (restored - model.network(data["lq"])).abs().max() > 1e-3
    with pytest.raises(BenchError, match=r"^ptg_rm: refine: got 'feature'; images alone"):
        model.refine(*inputs())


def test_a_network_without_blocks_has_no_feature_to_refine():
    with pytest.raises(BenchError, match=r"^ptg_rm: refine: got 'feature'; the network has no"):
        ptg_rm.build(PLAIN, Config(refine="feature"))


@pytest.mark.parametrize("refine", ["image", "feature"])
@pytest.mark.parametrize(("tune", "trains"), [("all", True), ("module", False)])
def test_what_trains(tune, trains, refine):
    config = Config(tune=tune, refine=refine)
    model = moved(ptg_rm.build(small_backbone("nafnet"), config)).train()
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (trains or name.startswith("refinement11."))
    assert model.network.training == trains
    assert model.refinement11.training
    model(batch(16, 16)).sum().backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name


def l1(restored: torch.Tensor, hq: torch.Tensor) -> torch.Tensor:
    return (restored - hq).abs().mean()


@pytest.mark.parametrize("refine", ["image", "feature"])
def test_equation_8(refine):
    data = batch(16, 16)
    data["hq"] = data["lq"].flip(3)
    for weight in (1.0, 0.5):
        config = Config(refine=refine, weight=weight)
        model = moved(ptg_rm.build(small_backbone("nafnet"), config))
        total, refined = ptg_rm.objective(model, data, l1)
        assert torch.equal(refined, model(data))
        first = model.network(data["lq"])
        expected = l1(first, data["hq"]) + weight * l1(refined, data["hq"])
        torch.testing.assert_close(total, expected)
    frozen = Config(refine=refine, tune="module", loss="charbonnier")
    model = moved(ptg_rm.build(small_backbone("nafnet"), frozen))
    total, refined = ptg_rm.objective(model, data, l1)
    assert torch.equal(total, ptg_rm.charbonnier(refined, data["hq"]))


def refining_params() -> dict:
    """A network trained from nothing, PTG-RM on it frozen, and both trained on."""
    embedding = {"name": "sam_embedding"}
    first = run({"name": "none"}, validation="held")
    prior = {"prior": {"train": "of-train", "test": "of-test"}, "init": "runs/first"}
    params = small_params()
    params["priors"] = {
        "none": params["priors"]["none"],
        "of-train": {"kind": "vector", "images": "data/train", "prior": embedding},
        "of-test": {"kind": "vector", "images": "data/test", "prior": embedding},
    }
    params["runs"] = {
        "first": first,
        "frozen": first | prior | {"method": {"name": "ptg_rm", "tune": "module"}},
        "joint": first | prior | {"method": {"name": "ptg_rm", "refine": "feature"}},
    }
    params["training"]["iterations"] = 2
    return params


def fake_vectors(suite, key: str) -> None:
    """A vector of its own for each image in the place of SAM's embedding."""
    folder, records = suite.work / "priors" / key, []
    for dataset, images in prior_images(suite, suite.prior(key).images).items():
        for number, name in enumerate(images):
            values = np.random.default_rng(number).normal(size=256).astype(np.float32)
            vector.save(folder / dataset / f"{name}.npz", vector.Vector(values))
            records.append({"dataset": dataset, "image": name, "refused": None})
    write_json(folder / "prior.json", {"images": records})


def test_from_params_to_rows(tmp_path):
    """Frozen, the network stays what it was; jointly, it moves as well."""
    suite = load_params(write_params(tmp_path, refining_params()))
    make_inputs(suite)
    for key in ("of-train", "of-test"):
        fake_vectors(suite, key)
    train(open_run(suite, "first"))
    start = load_model(open_run(suite, "first"), 0).network.state_dict()
    for key, stays in (("frozen", True), ("joint", False)):
        plan = open_run(suite, key)
        record = train(plan)
        model = load_model(plan, 0)
        same = [
            torch.equal(value, start[name]) for name, value in model.network.state_dict().items()
        ]
        assert all(same) == stays
        own = sum(p.numel() for p in model.refinement11.parameters())
        assert record["trained_parameters"] == (own if stays else record["parameters"])
        assert model.refinement11.conv_last3.weight.abs().max() > 0
        assert evaluate(plan)


def of_restored_params() -> dict:
    """The degraded images themselves, as a run of method ``identity``, refined by PTG-RM."""
    params = refining_params()
    for side in ("train", "test"):
        prior = {"kind": "restored", "images": f"restored/{side}-as-it-is"}
        params["priors"][f"both-{side}/restored"] = prior | {"prior": {"name": "as_it_is"}}
        params["priors"][f"both-{side}/vector"] = params["priors"].pop(f"of-{side}")
    as_it_is = run({"name": "identity"})
    refined = {"name": "ptg_rm", "refine": "restored", "tune": "module"}
    params["runs"] = {
        "test-as-it-is": as_it_is,
        "train-as-it-is": as_it_is | {"images": {"train": "train", "test": "train"}},
        "refined": run(refined, "both", validation="held") | {"backbone": {"name": "none"}},
    }
    params["evaluation"]["swap"] = ["zeroed", "shuffled"]
    return params


def test_what_another_run_has_restored_is_refined(tmp_path):
    """No backbone is built; a control changes the vector, and never what is refined."""
    suite = load_params(write_params(tmp_path, of_restored_params()))
    make_inputs(suite)
    for key in ("train-as-it-is", "test-as-it-is"):
        train(open_run(suite, key))
        evaluate(open_run(suite, key))
    for side in ("train", "test"):
        make_priors(suite, f"both-{side}/restored")
        fake_vectors(suite, f"both-{side}/vector")
    plan = open_run(suite, "refined")
    record = train(plan)
    model = load_model(plan, 0)
    assert not hasattr(model, "network")
    own = sum(weight.numel() for weight in model.parameters())
    assert record["trained_parameters"] == record["parameters"] == own
    rows = evaluate(plan)
    assert {row["swap"] for row in rows} == {"", "zeroed", "shuffled"}
    pair = plan.test_pairs()[0]
    item = plan.task.read(pair)
    for control in (None, "zeroed", "shuffled"):
        prior = plan.test_prior.swapped(control)
        entries = prior_at(plan, pair, item, prior)(Window(0, 0, *plan.task.size(item)))
        assert torch.equal(entries["restored"], plan.task.batch(item)["lq"])
        assert bool(entries["vector"].any()) == (control != "zeroed")


@pytest.mark.parametrize(
    ("method", "backbone", "words"),
    [
        (
            {"refine": "restored", "tune": "module"},
            "nafnet",
            "goes on from what a run has restored",
        ),
        ({"tune": "module"}, "none", "method ptg_rm needs a network"),
        ({"refine": "restored"}, "none", "tune: got 'all' with refine 'restored'"),
    ],
)
def test_a_run_names_a_backbone_or_refines_another_run(tmp_path, method, backbone, words):
    params = of_restored_params()
    params["runs"]["refined"] |= {"backbone": {"name": backbone}}
    params["runs"]["refined"]["method"] = {"name": "ptg_rm"} | method
    with pytest.raises(BenchError, match=words):
        check_choices(load_params(path := write_params(tmp_path, params)), path)


# --- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"mask": "unit"}, "mask: got 'unit' with start 'identity'"),
        ({"reading": "released", "mask": "unit"}, "mask, mask_channels: got 'unit', 1"),
        ({"reading": "released", "mask_channels": 3}, "mask, mask_channels: got 'any', 3"),
        ({"refine": "feature", "mask_channels": 3}, "mask_channels: got 3 with refine 'feature'"),
        ({"tune": "module", "weight": 2.0}, "weight: got 2 with tune 'module'"),
        ({"rangs": "sum"}, "did you mean ranges?"),
        ({"reading": "releasd"}, "reading"),
        ({"weight": math.inf}, "weight"),
        ({"width": 0}, "width"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_one_line(settings, words):
    with pytest.raises(BenchError) as error:
        configure("methods", {"name": "ptg_rm"} | settings, "runs.x.method")
    assert words in str(error.value)
    assert "\n" not in str(error.value)
