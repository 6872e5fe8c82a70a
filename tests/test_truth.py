"""The truth as a run: what it gives, who may read a prior that is made of it, and where it is not shown."""

from pathlib import Path

import pytest
import torch
from conftest import make_inputs, run, small_params, write_params

from benchlib.backbones import sci
from benchlib.checks import check_choices
from benchlib.contracts import Backbone, BenchError
from benchlib.evaluate import evaluate
from benchlib.files import spread_file
from benchlib.imageio import read_image
from benchlib.methods import enlighten_anything, enlighten_anything_reference
from benchlib.params import Suite, load_params
from benchlib.plan import open_run
from benchlib.prepare import make_priors
from benchlib.report import tables
from benchlib.report.explore import restore_folder
from benchlib.train.record import train

PAINTED = {"name": "painted_masks", "masks": {"name": "superpixels", "segments": 4}}
NONE = {"train": "none", "test": "none"}


def gives_the_truth(collection: str) -> dict:
    """A run that gives the references of a collection."""
    sides = {"train": collection, "test": collection}
    return run({"name": "truth"}) | {"backbone": {"name": "none"}, "images": sides}


def suite_with(folder: Path, method: str, train_prior: str, test_prior: str) -> Suite:
    """The small suite with a run of SCI, and priors of dark and of true images for both sides."""
    params = small_params()
    params["priors"] = {"none": params["priors"]["none"]}
    for side in ("train", "test"):
        for name, images in (("dark", f"data/{side}"), ("true", f"restored/truth-{side}")):
            entry = {"kind": "picture", "images": images, "prior": PAINTED}
            params["priors"][f"{name}-{side}"] = entry
    told = run({"name": method}) | {
        "backbone": {"name": "sci"},
        "prior": {"train": train_prior, "test": test_prior},
    }
    params["runs"] = {
        "truth-test": gives_the_truth("test"),
        "truth-train": gives_the_truth("train"),
        "mine": told,
    }
    return load_params(write_params(folder, params))


def check_suite(suite: Suite) -> None:
    check_choices(suite, suite.folder / "params.yaml")


def test_a_run_gives_the_references_and_a_prior_of_them_is_read(tmp_path):
    suite = suite_with(tmp_path, "enlighten_anything_reference", "true-train", "true-test")
    check_suite(suite)
    make_inputs(suite)
    for key in ("truth-train", "truth-test"):
        plan = open_run(suite, key)
        train(plan)
        rows = evaluate(plan)
        assert all(row["value"] == float("inf") for row in rows if row["metric"] == "PSNR")
        for pair in plan.test_pairs():
            folder = suite.work / "restored" / key / pair.dataset
            given = read_image(spread_file(folder, f"{pair.image}.png"))
            assert (given == read_image(pair.hq)).all()
    for key in ("true-train", "true-test"):
        make_priors(suite, key)
    plan = open_run(suite, "mine")
    assert train(plan)["trained_parameters"] > 0
    assert evaluate(plan)
    assert tables.compared(suite, "test") == ["mine"]  # the truth is no row
    with pytest.raises(
        BenchError, match=r"^runs.mine: method enlighten_anything_reference is told"
    ):
        restore_folder(suite, "mine", suite.work / "restored" / "truth-test")


def test_a_test_prior_of_the_truth_is_refused_where_no_method_says_so(tmp_path):
    suite = suite_with(tmp_path, "enlighten_anything", "dark-train", "true-test")
    said = (
        r"runs.mine.prior.test: got 'true-test', made of what run truth-test gives, which is told"
    )
    with pytest.raises(BenchError, match=said):
        check_suite(suite)


@pytest.mark.parametrize("method", ["enlighten_anything", "enlighten_anything_reference"])
def test_a_training_prior_of_the_truth_is_free(tmp_path, method):
    check_suite(suite_with(tmp_path, method, "true-train", "dark-test"))


@torch.no_grad()
def test_told_the_masks_it_is_the_same_network_and_needs_a_reference():
    torch.manual_seed(0)
    backbone = Backbone.from_module(sci, sci.Config())
    told = enlighten_anything_reference.build(backbone, enlighten_anything.Config()).eval()
    plain = enlighten_anything.build(backbone, enlighten_anything.Config()).eval()
    plain.load_state_dict(told.state_dict(), strict=True)
    batch = {"lq": torch.rand(1, 3, 8, 8), "picture": torch.rand(1, 3, 8, 8)}
    with pytest.raises(BenchError, match=r"^enlighten_anything_reference: an image without its"):
        told(batch)
    assert torch.equal(told(batch | {"truth": torch.rand(1, 3, 8, 8)}), plain(batch))
