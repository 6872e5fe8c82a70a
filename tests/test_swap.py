"""A control in the prior's place at test time: its rows, and how far the restored image moves.

What the tables and the page make of these rows is in ``test_reach.py``.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import add_file, small_params, write_params
from safetensors.torch import load_file

from benchlib import registry
from benchlib.evaluate import REACH, REACH_MOST, evaluate, swaps
from benchlib.imageio import quantise, read_image, to_tensor
from benchlib.metrics import protocol
from benchlib.params import Suite, load_params
from benchlib.plan import RunPlan, open_run
from benchlib.records import ROW, read_json, read_rows
from benchlib.restore import load_model
from benchlib.train.record import train

BLIND = '''
"""Asks for labels, and cannot be reached by them: a published trap (a softmax of one number)."""

from dataclasses import dataclass

import torch
from torch import nn

from benchlib.contracts import Info, need

VERSION = 1
INFO = Info("", "", ("labels",), "blind")


@dataclass(frozen=True)
class Config:
    """Nothing to set."""


class Blind(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.network = backbone()
        self.weigh = nn.Linear(1, 1)

    def forward(self, batch):
        share = need("blind", batch, "labels").float().mean((1, 2))[:, None]
        weight = torch.softmax(self.weigh(share), dim=1)  # of one number: always 1
        return self.network(batch["lq"]) * weight[:, :, None, None]


def build(backbone, config):
    return Blind(backbone)
'''


def with_swaps(small: Suite, **changes) -> Suite:
    """The small suite with both controls, and with changes of its run ``map``."""
    params = small_params()
    params["evaluation"]["swap"] = ["zeroed", "shuffled"]
    params["runs"]["map"] |= {"seeds": [0, 1]} | changes
    return load_params(write_params(small.folder, params))


def evaluated(suite: Suite, key: str) -> RunPlan:
    plan = open_run(suite, key)
    train(plan)
    evaluate(plan)
    return plan


def by_metric(rows: pd.DataFrame, column: str = "value") -> dict[str, float]:
    return rows.set_index("metric")[column].to_dict()


def kept_images(plan: RunPlan) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in plan.places.restored.rglob("*.png")}


def test_reach_is_how_far_the_restored_image_moves(small) -> None:
    """Written out: labels set to nothing, or turned (the set's one photograph has no other)."""
    suite = with_swaps(small)
    plan = evaluated(suite, "map")
    (pair,) = plan.test_pairs()
    model = load_model(plan, 0)
    lq = to_tensor(read_image(pair.lq))[None]
    stored = plan.test_prior.load(pair.dataset, pair.image, lq.shape[-2:])[""]
    labels = torch.from_numpy(stored.labels.astype(np.int64))[None]
    own = read_image(suite.work / "restored" / "map" / f"{pair.key}.png").astype(int)
    # turned, the masks keep their numbers
    for control, other in (("zeroed", labels * 0), ("shuffled", labels.flip(1, 2))):
        with torch.inference_mode():
            restored = quantise(model({"lq": lq, "labels": other})[0])
        got = by_metric(read_rows(suite, ["map"], swap=control))
        moved = np.abs(own - restored)
        assert got[REACH] == pytest.approx(moved.mean(), abs=1e-6)
        assert got[REACH_MOST] == moved.max()
        assert got[REACH] > 0
        measured = protocol("basicsr-rgb").psnr(restored, read_image(pair.hq))
        assert got["PSNR"] == pytest.approx(measured, abs=1e-6)


def test_rows_of_a_control_are_of_the_first_seed_and_stand_apart(small) -> None:
    suite = with_swaps(small)
    evaluated(suite, "map")
    plain = read_rows(suite, ["map"])
    assert set(plain["seed"]) == {"0", "1", ""}
    assert set(plain["metric"]) == {"PSNR", "SSIM", "MC", "masks", "coverage"}
    for control in ("zeroed", "shuffled"):
        rows = read_rows(suite, ["map"], swap=control)
        assert tuple(rows.columns) == ROW
        assert set(rows["seed"]) == {"0"}
        assert set(rows["metric"]) == {"PSNR", "SSIM", "MC", REACH, REACH_MOST}
        assert set(rows["inference"]) == {"global"}
        assert set(rows["prior"]) == {"sam-test"}


def test_the_prior_itself_is_measured_and_kept_as_without_any_control(small) -> None:
    suite = with_swaps(small, seeds=[0])
    images = kept_images(evaluated(suite, "map"))
    with_controls = read_rows(suite, ["map"])
    plain = load_params(write_params(small.folder, small_params()))
    assert images == kept_images(evaluated(plain, "map"))
    without = read_rows(plain, ["map"])
    columns = ["metric", "protocol", "image", "seed", "value", "inference"]
    assert with_controls[columns].equals(without[columns])
    assert read_rows(plain, ["map"], swap="zeroed").empty


def test_a_prior_that_cannot_reach_the_output_is_shown_to_have_no_reach(
    small, tmp_path, monkeypatch
) -> None:
    (tmp_path / "blind.py").write_text(BLIND)
    add_file(monkeypatch, "methods", tmp_path / "blind.py")
    suite = with_swaps(small, method={"name": "blind"}, seeds=[0])
    evaluated(suite, "map")
    plain = by_metric(read_rows(suite, ["map"]))
    for control in ("zeroed", "shuffled"):
        got = by_metric(read_rows(suite, ["map"], swap=control))
        assert (got[REACH], got[REACH_MOST]) == (0, 0)
        assert got["PSNR"] == plain["PSNR"]


@pytest.mark.parametrize("control", ["zeroed", "shuffled"])
def test_a_run_that_was_trained_with_a_control_is_not_restored_with_another(small, control) -> None:
    prior = {"train": "sam-train", "test": "sam-test", "swap": control}
    suite = with_swaps(small, prior=prior, seeds=[0])
    plan = evaluated(suite, "map")
    assert swaps(plan) == []
    rows = read_rows(suite, ["map"])
    assert set(rows["prior"]) == {f"sam-test, {control}"}
    assert REACH not in set(rows["metric"])
    for other in ("zeroed", "shuffled"):
        assert read_rows(suite, ["map"], swap=other).empty
    masks = rows[rows["metric"] == "masks"]["value"].tolist()
    assert masks == {"zeroed": [0], "shuffled": [4]}[control]


def test_a_run_trained_with_a_control_reads_it_in_training_too(small) -> None:
    """Other masks, other gradients: each control ends in other weights."""
    trained = {}
    for control in (None, "zeroed", "shuffled"):
        prior = {"train": "sam-train", "test": "sam-test", "swap": control}
        plan = open_run(with_swaps(small, prior=prior, seeds=[0]), "map")
        train(plan)
        trained[control] = load_file(plan.places.weights(0))["network.intro.weight"]
    for first, second in ((None, "zeroed"), (None, "shuffled"), ("zeroed", "shuffled")):
        assert not torch.equal(trained[first], trained[second])


@pytest.mark.parametrize("key", ["no-prior", "blurred"])
def test_a_run_that_reads_no_prior_has_none_to_swap(small, key) -> None:
    suite = with_swaps(small)
    plan = evaluated(suite, key)
    assert swaps(plan) == []
    assert set(read_rows(suite, [key])["metric"]) == {"PSNR", "SSIM", "MC"}


def test_rows_and_record_say_by_which_versions_they_were_made(small) -> None:
    suite = with_swaps(small, seeds=[0])
    evaluated(suite, "map")
    for control in ("", "zeroed"):
        versions = by_metric(read_rows(suite, ["map"], swap=control), "version")
        for name in ("psnr", "ssim", "mc"):
            module = registry.load("metrics", name)
            assert versions[module.NAME] == f"{name} {module.VERSION}"
    reach = by_metric(read_rows(suite, ["map"], swap="zeroed"), "version")
    assert reach[REACH] == reach[REACH_MOST] == f"evaluate {registry.version('evaluate.py')}"
    record = read_json(suite.results / "records" / "map.json")["versions"]
    for file in ("evaluate.py", "metrics/psnr.py", "metrics/__init__.py", "methods/map.py"):
        assert record[file] == registry.version(file)
