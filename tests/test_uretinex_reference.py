"""URetinex-Net told the brightness of the truth: what it reads, and the published figures."""

import os
import shutil
from pathlib import Path

import goldens
import pandas as pd
import pytest
import torch
from conftest import make_inputs, run, small_params, write_params
from goldens import needs_mirror

from benchlib.backbones import uretinex
from benchlib.checks import check_choices
from benchlib.cli.fetching import needed
from benchlib.contracts import Backbone, BenchError
from benchlib.evaluate import evaluate
from benchlib.methods import none, uretinex_reference
from benchlib.params import load_params
from benchlib.plan import open_run
from benchlib.prepare import make_weights
from benchlib.report.explore import restore_folder
from benchlib.train.record import train

NETWORK = Backbone.from_module(uretinex, uretinex.Config(rounds=1))
RANDOM = uretinex_reference.Config(light="")
LOL = "Gouguokupa/Digital-Image-Processing-LowLight-Deblur"


def test_it_restores_by_the_ratio_of_the_reference():
    official = Backbone.from_module(uretinex, uretinex.Config())
    model = uretinex_reference.build(official, RANDOM).eval()
    goldens.load(model.network, goldens.read("uretinex"))
    model.light.model_R.load_state_dict(model.network.model_decom.state_dict())
    torch.manual_seed(0)
    lq = 0.2 * torch.rand(1, 3, 12, 14)
    truth = torch.rand(1, 3, 12, 14)
    with torch.no_grad():
        r, light = model.network.unfold(lq)
        ratio = uretinex.reference_ratio(light, model.light(truth))
        restored = model({"lq": lq, "truth": truth})
        torch.testing.assert_close(restored, model.network.brighten(r, light, ratio))
        assert not torch.allclose(restored, model({"lq": lq, "truth": 0.1 * truth}))


def test_an_image_without_its_reference_is_refused():
    model = uretinex_reference.build(NETWORK, RANDOM)
    with pytest.raises(BenchError, match=r"^uretinex_reference: an image without its reference;"):
        model({"lq": torch.rand(1, 3, 8, 8)})


def suite_with(folder: Path, method: dict, **more):
    params = small_params() | more
    backbone = {"name": "uretinex", "rounds": 1}
    params["runs"] = {"told": run(method) | {"backbone": backbone}}
    params["priors"] = {"none": params["priors"]["none"]}
    return load_params(write_params(folder, params))


def test_a_run_is_told_the_reference_in_training_and_at_test_time(tmp_path):
    told = {"name": "uretinex_reference", "light": ""}
    suite = suite_with(tmp_path, told)
    check_choices(suite, tmp_path / "params.yaml")
    make_inputs(suite)
    plan = open_run(suite, "told")
    record = train(plan)
    light = sum(value.numel() for value in uretinex.ReferenceLight().parameters())
    assert record["trained_parameters"] == record["parameters"] - light
    assert evaluate(plan)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    shutil.copy(plan.test_pairs()[0].lq, pictures)
    with pytest.raises(BenchError, match=r"^runs.told: method uretinex_reference is told each"):
        restore_folder(suite, "told", pictures)


def test_no_other_method_is_told():
    torch.manual_seed(0)
    seen = []

    class Listening(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image

    model = none.NoPrior(Listening())
    model.register_forward_pre_hook(lambda _, inputs: seen.extend(inputs[0]))
    model({"lq": torch.rand(1, 3, 8, 8)})
    assert seen == ["lq"] and not none.INFO.truth


def test_its_weights_are_among_what_a_suite_needs_and_another_network_is_refused(tmp_path):
    suite = suite_with(tmp_path, {"name": "uretinex_reference"})
    assert "uretinex-reference" in needed(suite)
    suite = suite_with(tmp_path, {"name": "uretinex_reference", "light": "uretinex-referense"})
    with pytest.raises(BenchError, match=r"runs.told.method: .*did you mean uretinex-reference\?"):
        check_choices(suite, tmp_path / "params.yaml")
    params = small_params()
    params["runs"]["no-prior"]["method"] = {"name": "uretinex_reference"}
    suite = load_params(write_params(tmp_path, params))
    with pytest.raises(BenchError, match=r"runs.no-prior.method: .*take the backbone uretinex$"):
        check_choices(suite, tmp_path / "params.yaml")


# --- official weights ----------------------------------------------------------------------------


@pytest.fixture
def mirrored(monkeypatch, tmp_path) -> Path:
    """The mirror, as what the catalogue is fetched from."""
    monkeypatch.setenv("BENCHLIB_MIRROR", os.environ["BENCHLIB_TEST_MIRROR"])
    monkeypatch.setenv("BENCHLIB_CACHE", str(tmp_path / "cache"))
    host = Path(os.environ["BENCHLIB_TEST_MIRROR"]) / "raw.githubusercontent.com"
    (commit,) = (host / LOL).iterdir()
    return commit / "lowlight" / "lol_raw" / "lol_dataset" / "eval15"


@needs_mirror
def test_official_weights_give_the_image_of_the_official_evaluation(mirrored):
    official = Backbone.from_module(uretinex, uretinex.Config())
    model = uretinex_reference.build(official, uretinex_reference.Config()).eval()
    weights = goldens.official("AndersonYong/URetinex-Net", "ckpt/L_adjust.pth")
    model.network.load_state_dict(weights, strict=True)
    batch = {"lq": goldens.dark_photograph(), "truth": goldens.dark_photograph("high")}
    expected = goldens.tensors(goldens.read("lowlight_real"), "uretinex/reference")[0]
    with torch.no_grad():
        torch.testing.assert_close(model(batch)[0], expected, atol=1e-5, rtol=0)


@needs_mirror
def test_a_run_gives_the_published_figure_on_the_first_image_of_lol(mirrored, tmp_path):
    """All 15 give 21.328 dB, in minutes: BENCHLIB_TEST_LOL=15; without it one is restored."""
    files = sorted((mirrored / "low").iterdir(), key=lambda file: int(file.stem))
    count = int(os.environ.get("BENCHLIB_TEST_LOL", "1"))
    for side, into in (("low", "lq"), ("high", "hq")):
        (tmp_path / "lol" / into).mkdir(parents=True)
        for file in files[:count]:
            shutil.copy(mirrored / side / file.name, tmp_path / "lol" / into / file.name)
    params = small_params()
    backbone, start = {"name": "uretinex"}, {"init": "weights/official"}
    params["data"]["test/lol"] = {"name": "folder", "path": "lol", "degrade": {"name": "none"}}
    del params["data"]["test/shake-blur"]
    params["weights"] |= {"official": {"asset": "uretinex"}}
    params["priors"] = {"none": params["priors"]["none"]}
    params["training"]["iterations"] = 0
    params["runs"] = {
        "told": run({"name": "uretinex_reference"}) | {"backbone": backbone} | start,
        "five": run({"name": "none"}) | {"backbone": backbone} | start,
    }
    suite = load_params(write_params(tmp_path, params))
    make_inputs(suite)
    make_weights(suite, "official")
    means = {}
    for key in suite.runs:
        plan = open_run(suite, key)
        train(plan)
        rows = pd.DataFrame(evaluate(plan))
        psnr = rows[(rows.metric == "PSNR") & (rows.image.isin([file.stem for file in files]))]
        means[key] = psnr.value.mean()
    print(count, means)
    if count == 15:
        assert means["told"] == pytest.approx(21.328, abs=0.05)
        assert means["five"] == pytest.approx(19.842, abs=0.05)
    assert means["told"] != means["five"]
