"""PromptIR, AirNet in two runs, and LMDIR with its bundle, trained and measured end to end."""

import pytest
import torch
from conftest import add_file, make_inputs, run, small_params, write_params
from safetensors.torch import load_file

from benchlib.conformance._network import SMALL
from benchlib.evaluate import evaluate
from benchlib.params import load_params
from benchlib.plan import open_run
from benchlib.train.data import crops_of
from benchlib.train.record import train

WORDS = '''
"""As many words as a dark image deserves: of brightness, four numbers each."""

from dataclasses import dataclass

import numpy as np

from benchlib.priors.kinds.tokens import Tokens

VERSION = 1
KIND = "tokens"


@dataclass(frozen=True)
class Config:
    """about: what they are of; other words for other things."""

    about: float = 0.0


def open(config, device):
    return lambda image: Tokens("dark", np.full((3, 4), image.mean() / 255 + config.about, "f4"))


def record(config, device):
    return {"about": config.about}
'''
MIRROR = '''
"""The image itself, turned upside down, as reference."""

from dataclasses import dataclass

from benchlib.priors.kinds.picture import Picture

VERSION = 1
KIND = "picture"


@dataclass(frozen=True)
class Config:
    """Nothing to set."""


def open(config, device):
    return lambda image: Picture(image[::-1].copy(), aligned=True)


def record(config, device):
    return {}
'''


def suite_of(folder, runs: dict, priors: dict | None = None, made: tuple[str, ...] = ("none",)):
    params = small_params()
    params["training"] |= {"iterations": 3, "loss": "l1"}
    params["runs"], params["priors"] = runs, {"none": params["priors"]["none"]} | (priors or {})
    params["evaluation"]["swap"] = ["zeroed"]
    suite = load_params(write_params(folder, params))
    make_inputs(suite, priors=made)
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
    for name, text in (("words", WORDS), ("mirror", MIRROR)):
        file = tmp_path / f"{name}.py"
        file.write_text(text)
        add_file(monkeypatch, "priors", file)
    priors = {}
    for side in ("train", "test"):
        images = {"images": f"data/{side}"}
        for about, part in enumerate(("degradation", "content")):
            choice = {"name": "words", "about": float(about)}
            priors[f"lm-{side}/{part}"] = images | {"kind": "tokens", "prior": choice}
        priors[f"lm-{side}/reference"] = images | {"kind": "picture", "prior": {"name": "mirror"}}
    method = {"name": "lmdir", "size": 4, "channels": 8, "queries": 3, "width": 4}
    backbone = {"name": "restormer"} | SMALL["restormer"]
    runs = {}
    for row, reads in (("i", []), ("ii", ["degradation"]), ("whole", None)):
        chosen = method if reads is None else method | {"reads": reads}
        runs[row] = run(chosen, "lm", backbone=backbone, training={"lr": 0.01, "mix": "uniform"})
    suite = suite_of(tmp_path, runs, priors, ("none", *priors))
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
    alone = load_file(suite.work / "runs" / "i" / "seed0.safetensors")
    assert all(name.startswith("network.") for name in alone)
    assert torch.isfinite(torch.cat([value.flatten() for value in alone.values()])).all()
