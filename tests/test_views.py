"""Dual-pixel views: looked up by the picture's pixels, read as further channels, in a whole run."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_inputs, run, small_params, write_params
from safetensors.torch import load_file
from torch import nn

from benchlib.backbones import ifan
from benchlib.checks import check_choices
from benchlib.contracts import Backbone, BenchError
from benchlib.evaluate import evaluate
from benchlib.imageio import read_image, write_png
from benchlib.methods import views
from benchlib.params import load_params
from benchlib.plan import open_run
from benchlib.priors import dual_pixel_view
from benchlib.train.record import train


@pytest.fixture
def pictures(tmp_path, monkeypatch) -> Path:
    """Two pictures each of train and test, sharp ones and views, as a catalogue would give them."""
    random = np.random.RandomState(0)
    for folder in ("lq", "hq", "right", "left"):
        for name in ("train/a", "train/b", "test/c", "test/d"):
            file = (tmp_path / name).parent / folder / f"{name[-1]}.png"
            write_png(file, random.randint(0, 256, (24, 32, 3), "u1"))

    def pairs(asset: str, split: str) -> list[tuple[Path, Path]]:
        assert asset == "dpdd"
        folder = {"test": "lq", "test-right": "right", "test-left": "left"}[split]
        found = sorted(tmp_path.glob(f"*/{folder}/*.png"))
        return [(file, file.parent.parent / "hq" / file.name) for file in found]

    monkeypatch.setattr(dual_pixel_view.catalogue, "pairs", pairs)
    return tmp_path


def test_a_view_is_found_by_the_pixels_of_its_picture(pictures):
    give = dual_pixel_view.open(dual_pixel_view.Config(view="test-left"), "cpu")
    for folder, name in (("train", "a.png"), ("test", "d.png")):
        stored = give(read_image(pictures / folder / "lq" / name))
        assert np.array_equal(stored.pixels, read_image(pictures / folder / "left" / name))
        assert stored.aligned
    with pytest.raises(BenchError, match=r"^dual_pixel_view: no picture of dpdd, split test, has"):
        give(read_image(pictures / "test" / "hq" / "c.png"))
    made = dual_pixel_view.record(dual_pixel_view.Config(), "cpu")
    assert (
        sorted(made["views"]) == ["a.png", "b.png", "c.png", "d.png"]
        and made["config"]["view"] == "test-right"
    )
    write_png(pictures / "train" / "left" / "a.png", np.zeros((24, 30, 3), "u1"))
    with pytest.raises(BenchError, match=r"a.png: \(24, 30\) pixels, its whole picture has \(24"):
        give(read_image(pictures / "train" / "lq" / "a.png"))


class Listening(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.heard = image
        return image


def test_the_network_reads_the_image_then_the_right_then_the_left_view():
    model = views.Views(Listening())
    batch = {"lq": 0.0, "right.picture": 0.25, "left.picture": 0.5}
    batch = {name: torch.full((1, 3, 4, 5), value) for name, value in batch.items()}
    assert torch.equal(model(batch), batch["lq"])
    assert model.network.heard[0, :, 0, 0].tolist() == [0.0] * 3 + [0.25] * 3 + [0.5] * 3
    batch["left.picture"] = torch.zeros(1, 3, 8, 8)
    with pytest.raises(BenchError, match=r"^method views: left.picture is \(1, 3, 8, 8\)"):
        model(batch)


def test_official_ifan_is_one_of_these_networks():
    model = views.build(Backbone.from_module(ifan, ifan.Config(dual=True, width=2)), views.Config())
    first = {name: value.shape for name, value in model.network.state_dict().items()}
    assert first["conv1_1.0.weight"][1] == 3 and first["kconv1_1.0.weight"][1] == 6


def test_a_run_trains_and_restores_by_both_views(pictures):
    params = small_params()
    params["data"], params["priors"] = {}, {"none": params["priors"]["none"]}
    for side in ("train", "test"):
        folder = {"name": "folder", "path": str(pictures / side), "degrade": {"name": "none"}}
        params["data"][f"{side}/defocus"] = folder
        for view in ("right", "left"):
            prior = {"name": "dual_pixel_view", "view": f"test-{view}"}
            params["priors"][f"views-{side}/{view}"] = {
                "kind": "picture",
                "images": f"data/{side}",
                "prior": prior,
            }
    backbone = {"name": "ifan", "dual": True, "width": 2, "filters": 2}
    params["runs"] = {"dual": run({"name": "views"}, "views") | {"backbone": backbone}}
    params["training"]["iterations"] = 2
    suite = load_params(write_params(pictures, params))
    make_inputs(suite, priors=tuple(params["priors"]))
    plan = open_run(suite, "dual")
    train(plan)
    assert load_file(plan.places.weights(0))["network.kconv1_1.0.weight"].shape[1] == 6
    assert evaluate(plan)
    params["runs"]["dual"]["prior"] = {"train": "none", "test": "none"}
    with pytest.raises(BenchError, match=r"runs.dual"):
        suite = load_params(write_params(pictures, params))
        check_choices(suite, pictures / "params.yaml")
