"""PromptIR, AirNet in two runs, and LMDIR with its bundle, trained and measured end to end."""

import pytest
import torch
from conftest import make_inputs, run, small_params, write_params
from lmdir_suite import without_download, words_params, words_suite
from safetensors.torch import load_file

from benchlib.conformance._network import SMALL
from benchlib.evaluate import evaluate
from benchlib.params import load_params
from benchlib.plan import open_run
from benchlib.train.data import crops_of
from benchlib.train.record import train

SHORT = {"iterations": 3, "loss": "l1"}


def suite_of(folder, runs: dict):
    params = small_params()
    params["training"] |= SHORT
    params["runs"], params["priors"] = runs, {"none": params["priors"]["none"]}
    suite = load_params(write_params(folder, params))
    make_inputs(suite)
    return suite


def test_the_plan_hands_the_mix_over(tmp_path):
    more = {"training": {"mix": "size", "repeats": {"held": 3}}}
    suite = suite_of(
        tmp_path,
        {
            "counted": run({"name": "none"}, **more),
            "in-turn": run({"name": "none"}, training={"mix": "cycle"}),
        },
    )
    counted = crops_of(open_run(suite, "counted"))
    pairs = [counted.pairs[counted.pair_of(n)].dataset for n in range(5)]
    assert sorted(pairs) == 3 * ["held"] + 2 * ["shake-blur"]
    in_turn = crops_of(open_run(suite, "in-turn"))
    pairs = [in_turn.pairs[in_turn.pair_of(n)].dataset for n in range(4)]
    assert pairs == 2 * ["shake-blur", "held"]


def test_promptir_and_airnet_are_trained_and_airnet_goes_on_from_its_encoder(tmp_path):
    airnet = {"name": "airnet"} | SMALL["airnet"]
    suite = suite_of(
        tmp_path,
        {
            "promptir": run({"name": "none"}, backbone={"name": "promptir"} | SMALL["promptir"]),
            "encoder": run({"name": "airnet", "stage": "encoder"}, backbone=airnet),
            "airnet": run({"name": "airnet"}, backbone=airnet, init="runs/encoder"),
        },
    )
    for key in suite.runs:
        assert train(open_run(suite, key))["pairs"] == 3
    weights = {}
    for key in ("encoder", "airnet"):
        weights[key] = load_file(suite.work / "runs" / key / "seed0.safetensors")
    pointers = {key: int(found["network.E.E.queue_ptr"]) for key, found in weights.items()}
    assert pointers == {"encoder": 6, "airnet": (6 + 6) % 8}  # three batches of two, in a ring of 8
    evaluate(open_run(suite, "promptir"))
    rows = (suite.results / "rows" / "promptir.csv").read_text()
    assert "psnr" in rows


def test_lmdir_reads_its_bundle_and_a_control_moves_the_image(tmp_path, monkeypatch):
    pytest.importorskip("spandrel_extra_arches")
    without_download(monkeypatch)
    params = words_params(tmp_path)
    params["training"] |= SHORT | {"lr": 0.01, "mix": "uniform"}
    params["evaluation"]["swap"] = ["zeroed"]
    suite = words_suite(tmp_path, params)
    for key in suite.runs:
        train(open_run(suite, key))
        evaluate(open_run(suite, key))
    text = (suite.results / "rows" / "whole.csv").read_text()
    assert "zeroed" in text and "reach" in text
    trained = load_file(suite.work / "runs" / "whole" / "seed0.safetensors")
    learned = (
        "degradation.encoder_level1.0.linear.weight",
        "content.0.w_v.weight",
        "reference.decoder_level3.0.theta.weight",
    )
    for name in learned:  # zero at the start
        assert trained[f"guides.{name}"].abs().max() > 0
    alone = load_file(suite.work / "runs" / "plain" / "seed0.safetensors")
    assert all(name.startswith("network.") for name in alone)
    assert torch.isfinite(torch.cat([value.flatten() for value in alone.values()])).all()
