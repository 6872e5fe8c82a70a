"""Costs against counts made another way and against networks whose cost is known."""

import json
import math
import shutil
import time

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import run
from report_suite import row
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from benchlib.imageio import read_image, write_png
from benchlib.params import Prior, Run
from benchlib.plan import open_run
from benchlib.records import image_sets, read_pairs, write_json, write_rows, write_table
from benchlib.report import cost as module
from benchlib.report import export
from benchlib.report.cost import cost, table
from benchlib.restore import build_model


@pytest.fixture(autouse=True)
def _one_pass(monkeypatch):
    monkeypatch.setattr(module, "REPEATS", 1)
    monkeypatch.setattr(
        module, "device_at_hand", lambda: torch.device("cpu")
    )  # what is expected here is of the CPU


def with_runs(suite, **runs):
    """The small suite, its data made, with other runs."""
    return suite.model_copy(
        update={"runs": {key: Run.model_validate(value) for key, value in runs.items()}}
    )


def multiply_adds(model: nn.Module, height: int, width: int) -> int:
    """Counted layer by layer: outputs of each convolution times its kernel's size."""
    total = 0

    def count(layer: nn.Conv2d, _, out: torch.Tensor) -> None:
        nonlocal total
        total += out.numel() * layer.weight[0].numel()

    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count)
    model({"lq": torch.rand(1, 3, height, width)})
    return total


def test_network_costs_what_its_layers_cost_counted_one_by_one(small):
    found = cost(small, "no-prior")
    model = build_model(open_run(small, "no-prior"))
    megapixels = found["height"] * found["width"] / 1e6
    assert (found["dataset"], found["image"], found["calls"]) == ("shake-blur", "chelsea", 1)
    assert max(found["height"], found["width"]) == 64
    expected = multiply_adds(model, found["height"], found["width"])
    assert found["multiply_adds_per_megapixel"] * megapixels == pytest.approx(expected, rel=1e-12)
    assert (
        found["parameters"]
        == found["trained_parameters"]
        == sum(p.numel() for p in model.parameters())
    )
    assert found["seconds_per_megapixel"] > 0
    assert found["device"] == "cpu" and "threads" in found["hardware"]


def test_enlarging_network_is_counted_per_megapixel_of_its_input(small):
    suite = with_runs(
        small, sr=run({"name": "none"}) | {"backbone": {"name": "imdn", "scale": 2, "width": 16}}
    )
    found = cost(suite, "sr")
    expected = multiply_adds(
        build_model(open_run(suite, "sr")).eval(), found["height"], found["width"]
    )
    megapixels = found["height"] * found["width"] / 1e6
    assert found["multiply_adds_per_megapixel"] * megapixels == pytest.approx(expected, rel=1e-12)


def test_frozen_parameters_are_not_trained_ones(small):
    found = cost(with_runs(small, tuned=run({"name": "spt", "masks": 2}, "sam")), "tuned")
    backbone = cost(small, "no-prior")["parameters"]
    assert 0 < found["trained_parameters"] == found["parameters"] - backbone


def test_degraded_input_costs_no_parameters_and_no_multiply_adds(small):
    found = cost(small, "blurred")
    assert (
        found["parameters"]
        == found["trained_parameters"]
        == found["multiply_adds_per_megapixel"]
        == 0
    )
    assert (found["prior"], found["prior_seconds_per_image"]) == ("none", 0)


def test_tiles_cost_their_overlap(small):
    tiles = run({"name": "none"}, evaluation={"tile": 64, "overlap": 32})
    suite = with_runs(small, whole=run({"name": "none"}), tiled=tiles)
    (pair,) = read_pairs(image_sets(suite, "test"))
    for file in (pair.lq, pair.hq):
        write_png(file, np.zeros((66, 100, 3), np.uint8))
    whole, tiled = cost(suite, "whole"), cost(suite, "tiled")
    assert (whole["calls"], tiled["calls"]) == (1, 6)  # 2 high, 3 wide
    ratio = tiled["multiply_adds_per_megapixel"] / whole["multiply_adds_per_megapixel"]
    assert ratio == pytest.approx(
        6 * 64 * 64 / (66 * 100), rel=0.001
    )  # channel attention's cost has no size
    # per megapixel of a tile; of the whole image it would be 0.62 times that
    assert tiled["peak_mib_per_megapixel"] == pytest.approx(
        whole["peak_mib_per_megapixel"], rel=0.2
    )


def test_fused_attention_is_counted():
    class Attention(nn.Module):
        def forward(self, batch):
            tokens = batch["lq"].flatten(2).transpose(1, 2)[:, None]
            return scaled_dot_product_attention(tokens, tokens, tokens)

    with torch.inference_mode():
        _, flops = module._flops(Attention(), {"lq": torch.rand(1, 3, 6, 8)})
    assert flops == 2 * (2 * 48 * 48 * 3)  # two products of 48 tokens, 3 channels


class Asking(nn.Module):
    """Queries that are learned are what a module is called with."""

    def __init__(self):
        super().__init__()
        self.queries, self.layer = nn.Parameter(torch.ones(5, 3)), nn.Linear(3, 4, bias=False)

    def forward(self, batch):
        return batch["lq"] + self.layer(self.queries.expand(1, -1, -1)).mean()


def test_a_network_that_calls_a_module_with_a_parameter_is_counted(small, monkeypatch):
    monkeypatch.setattr(module, "_network", lambda plan, pair: Asking())
    pair = open_run(small, "no-prior").test_pairs()[0]
    height, width = read_image(pair.lq).shape[:2]
    found = cost(small, "no-prior")
    expected = 5 * 3 * 4 / (height * width / 1e6)
    assert found["multiply_adds_per_megapixel"] == pytest.approx(expected)
    assert found["trained_parameters"] == found["parameters"] == 5 * 3 + 3 * 4


class Known(nn.Module):
    """Holds 20 images at its peak, then one more of the first ten; sleeps."""

    def forward(self, batch):
        time.sleep(0.03)
        many = batch["lq"].repeat(1, 10, 1, 1)
        doubled = many * 2
        del many
        return doubled[:, :3].clone()


def test_peak_memory_and_time_of_a_network_that_is_known():
    batch = {"lq": torch.rand(1, 3, 40, 50)}
    with torch.inference_mode():
        _, seconds = module._seconds(Known(), batch)
        _, mebibytes = module._cpu_peak(Known(), batch)
    assert 0.03 <= seconds < 1
    assert mebibytes == pytest.approx(
        20 * 12e6 / 2**20, rel=1e-4
    )  # an image of a megapixel is 12e6 bytes


class Holding(nn.Module):
    """A part among layers that hold more than it does."""

    def __init__(self):
        super().__init__()
        self.part = Known()

    def forward(self, batch):
        held = batch["lq"].repeat(1, 40, 1, 1)
        return self.part(batch) + held[:, :3]


def test_a_part_s_memory_is_its_own_and_its_forward_is_put_back():
    batch, network = {"lq": torch.rand(1, 3, 40, 50)}, Holding()
    with torch.inference_mode():
        expected = network(batch)
        out, mebibytes = module._peak_within(network.part, network, batch)
    assert mebibytes == pytest.approx(20 * 12e6 / 2**20, rel=1e-4)
    assert torch.equal(out, expected)
    assert "forward" not in vars(network.part)


def test_a_part_that_only_holds_others_has_no_memory_of_its_own():
    batch, network = {"lq": torch.rand(1, 3, 8, 8)}, Holding()
    network.parts = nn.ModuleDict({"part": network.part})
    with torch.inference_mode():
        _, mebibytes = module._peak_within(network.parts, network, batch)
    assert math.isnan(mebibytes)


def test_what_ptg_rm_adds_is_shown_by_itself(small):
    """Its module reads no vector here: no prior is needed."""
    method = {"name": "ptg_rm", "ranges": "sum", "channel": "features", "spatial": "features"}
    suite = with_runs(small, plain=run({"name": "none"}), refined=run(method))
    plain, refined = cost(suite, "plain"), cost(suite, "refined")
    assert not [name for name in plain if name.startswith("added")]
    assert refined["added_parameters"] == refined["parameters"] - plain["parameters"] > 0
    assert 0 < refined["added_peak_mib_per_megapixel"] < refined["peak_mib_per_megapixel"]
    shown = module.table_text(pd.DataFrame([plain | {"note": ""}, refined | {"note": ""}]))
    assert shown["its memory alone (MiB/MP)"].tolist()[0] == "-"
    assert float(shown["its memory alone (MiB/MP)"].tolist()[1]) > 0
    only = module.table_text(pd.DataFrame([plain | {"note": ""}]))
    assert "its memory alone (MiB/MP)" not in only


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_peak_memory_on_a_gpu_is_that_of_the_same_network():
    batch = {"lq": torch.rand(1, 3, 512, 1024, device="cuda")}
    with torch.inference_mode():
        _, mebibytes = module._cuda_peak(Known(), batch)
    assert mebibytes == pytest.approx(20 * 12e6 / 2**20, rel=0.05)


def test_prior_and_training_cost_is_what_their_records_say(small):
    file = small.work / "priors" / "sam-test" / "prior.json"
    images = [
        {"seconds": 2.0, "height": 100, "width": 200},
        {"seconds": 4.0, "height": 200, "width": 200},
    ]
    images = [image | {"peak_mib": 10 * image["seconds"]} for image in images] + [
        {"height": 9, "width": 9}
    ]
    write_json(file, {"images": images, "device": "cuda", "memory_by": "somehow"})
    record = {
        "train_seconds": 50.0,
        "seed_seconds": {"seed0": 10.0, "seed1": 20.0},
        "hardware": "a machine",
    }
    write_json(small.work / "runs" / "map" / "record.json", record)
    found = cost(small, "map")
    assert (found["prior"], found["prior_images"], found["prior_device"]) == (
        "sam-test",
        "data/test",
        "cuda",
    )
    assert found["prior_seconds_per_image"] == 3.0
    assert found["prior_seconds_per_megapixel"] == pytest.approx(6.0 / 0.06)
    assert (found["prior_peak_mib"], found["prior_memory_by"]) == (40.0, "somehow")
    assert found["prior_peak_mib_per_megapixel"] == pytest.approx(60.0 / 0.06)
    assert (found["train_seconds"], found["train_total_seconds"], found["train_hardware"]) == (
        15.0,
        50.0,
        "a machine",
    )


def test_a_bundle_costs_the_sum_of_its_parts_and_the_most_memory(small):
    """Of the vector's kind nothing says how large the image was: its file does."""
    priors = dict(small.priors)
    priors |= {
        "both/masks": small.priors["sam-test"],
        "both/vector": Prior(kind="vector", images="data/test", prior={"name": "sam_embedding"}),
    }
    both = run({"name": "cat"}) | {"prior": {"train": "none", "test": "both"}}
    suite = with_runs(small, cat=both).model_copy(update={"priors": priors})
    (pair,) = read_pairs(image_sets(suite, "test"))
    height, width = read_image(pair.lq).shape[:2]
    masks = {"seconds": 2.0, "peak_mib": 30.0, "height": height, "width": width}
    facts = {"masks": masks, "vector": {"seconds": 1.0, "peak_mib": 40.0, "size": 256}}
    folder = small.work / "priors"
    shutil.copytree(folder / "sam-test", folder / "both" / "masks")
    for part, one in facts.items():
        record = {"dataset": pair.dataset, "image": pair.image} | one
        write_json(folder / "both" / part / "prior.json", {"images": [record], "device": "cpu"})
    plan = open_run(suite, "cat")
    found = module._prior_cost(suite, plan)
    megapixels = height * width / 1e6
    assert (found["prior"], found["prior_images"]) == ("both", "data/test")
    assert found["prior_device"] == "cpu"
    assert found["prior_seconds_per_image"] == 3.0
    assert found["prior_seconds_per_megapixel"] == pytest.approx(3.0 / megapixels)
    assert found["prior_peak_mib"] == 40.0
    assert found["prior_peak_mib_per_megapixel"] == pytest.approx(40.0 / megapixels)


def test_the_tables_stage_writes_tables_cost_and_plots(small, monkeypatch):
    monkeypatch.setattr(module, "compared", lambda suite: ["no-prior"])
    for name, psnr in (("blurred", 20.0), ("no-prior", 25.0)):
        rows = [row(small, name, "shake-blur", "chelsea", "PSNR", psnr)]
        write_rows(small.results / "rows" / f"{name}.csv", rows)
    losses = [{"seed": 0, "iteration": i, "loss": -20.0, "lr": 1e-3} for i in (1, 2)]
    columns = [*losses[0], "validation_psnr"]
    write_table(small.results / "loss" / "no-prior.csv", columns, losses)
    paths = export.make_all(small)
    assert {"comparison.csv", "cost.csv", "loss.png", "metrics.json"} <= set(paths)
    assert all(path.exists() for path in paths.values())


def test_what_was_not_recorded_is_not_a_number(small):
    found = cost(small, "cat")  # the fixture's priors have no seconds, and nothing was trained
    prior = ("seconds_per_image", "seconds_per_megapixel", "peak_mib", "peak_mib_per_megapixel")
    for key in (*(f"prior_{name}" for name in prior), "train_seconds", "train_total_seconds"):
        assert math.isnan(found[key])


def test_table_has_a_row_for_every_compared_run_and_says_why_one_is_empty(small):
    (small.work / "priors" / "sam-test" / "prior.json").unlink()
    rows = table(small).set_index("run")
    assert rows.index.tolist() == ["blurred", "no-prior", "cat", "map"]
    assert (
        rows["note"].tolist()[:2] == ["", ""] and "prior.json: not there" in rows.loc["map", "note"]
    )
    assert math.isnan(rows.loc["map", "parameters"]) and rows.loc["no-prior", "parameters"] > 0
    json.dumps(cost(small, "no-prior"))  # plain data


def test_written_table_is_the_measured_one_and_names_the_machine(small, monkeypatch):
    monkeypatch.setattr(module, "compared", lambda suite: ["no-prior", "map"])
    (small.work / "priors" / "sam-test" / "prior.json").unlink()
    paths = module.make(small)
    assert sorted(paths) == ["cost.csv", "cost.md", "cost.tex"]
    rows = pd.read_csv(paths["cost.csv"]).set_index("run")
    parameters = rows.loc["no-prior", "parameters"]
    assert parameters == sum(
        p.numel() for p in build_model(open_run(small, "no-prior")).parameters()
    )
    shown = paths["cost.md"].read_text()
    assert f"| no-prior | {parameters / 1e6:.3f} | {parameters / 1e6:.3f} |" in shown
    assert rows.loc["no-prior", "hardware"] in shown and "shake-blur/chelsea" in shown
    map_line = next(line for line in shown.splitlines() if line.startswith("| map "))
    assert map_line.count("| - ") >= 7 and "prior.json: not there" in map_line
    assert r"\begin{table*}" in paths["cost.tex"].read_text()
