"""A small suite whose runs read words and a reference: it is trained, told what to do and looked at.

Its words are encoded without any download: eight numbers a word, drawn by the word itself.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from conftest import make_inputs, run, small_params, write_params
from safetensors.torch import save_file

from benchlib import registry
from benchlib.conformance._network import SMALL, moved
from benchlib.params import Suite, load_params
from benchlib.plan import open_run
from benchlib.priors import _words
from benchlib.restore import build_model
from benchlib.seeding import name_rng

SIZE = 8  # numbers a word
METHOD = {"name": "lmdir", "size": SIZE, "channels": 8, "queries": 3, "width": 4}
DEGRADE = {
    "noise": {"name": "gaussian_noise", "sigma": 40.0, "clip": True},
    "rain": {"name": "rain", "density": 0.02},
    "dark": {"name": "low_light", "exposure": 0.2, "least": 1.0},
}
NAMES = {"noise": "noise", "rain": "rain", "dark": "low light"}
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


def word_encoder(config: Any, device: str):
    """In the place of ``_words.encoder``: a row a word, or their mean."""

    def encode(text: str) -> np.ndarray:
        rows = [name_rng("word", word).standard_normal(SIZE) for word in text.split()]
        if not rows:
            rows = [np.zeros(SIZE)]
        if config.read == "pooled":
            rows = [np.mean(rows, axis=0)]
        return np.stack(rows).astype(np.float32)

    return encode


def plugin_forgotten(monkeypatch) -> None:
    """The suite's plug-in is forgotten after the test, and that of another test now."""
    monkeypatch.setenv(registry.INHERITED, os.environ.get(registry.INHERITED, ""))
    sys.modules.pop("benchlib.priors.mirror", None)


def without_download(monkeypatch) -> None:
    """Words are encoded by ``word_encoder`` in this process."""
    plugin_forgotten(monkeypatch)
    monkeypatch.setattr(_words, "encoder", word_encoder)
    monkeypatch.setattr(_words, "record", lambda config: {"encoder": config.encoder})


def words_params(folder: Path) -> dict[str, Any]:
    """Three test sets of photographs, 64 pixels wide; runs "whole", "words" and "plain"."""
    plugin = folder / "mylab" / "priors" / "mirror.py"
    plugin.parent.mkdir(parents=True)
    plugin.write_text(MIRROR)
    photo = {"name": "photographs", "copies": 1, "long_side": 64}
    params = small_params()
    params["plugins"] = ["mylab"]
    params["data"] = {"train/noise": photo | {"images": ["china"], "degrade": DEGRADE["noise"]}}
    for name, degrade in DEGRADE.items():
        photographs = {"images": ["chelsea", "coffee"], "degrade": degrade}
        params["data"][f"test/{name}"] = photo | photographs
    params["priors"] = {"none": params["priors"]["none"]}
    texts = {
        "degradation": {"name": "named_degradation", "sets": dict(NAMES)},
        "content": {"name": "written", "text": "a photograph of something"},
    }
    for side in ("train", "test"):
        images = {"images": f"data/{side}"}
        for part, prior in texts.items():
            entry = images | {"kind": "tokens", "prior": dict(prior)}
            params["priors"][f"lm-{side}/{part}"] = entry
        mirror = {"kind": "picture", "prior": {"name": "mirror"}}
        params["priors"][f"lm-{side}/reference"] = images | mirror
    backbone = {"name": "restormer"} | SMALL["restormer"]
    params["runs"] = {
        "plain": run(METHOD | {"reads": []}, "lm", backbone=backbone),
        "words": run(METHOD | {"reads": ["degradation"]}, "lm", backbone=backbone),
        "whole": run(dict(METHOD), "lm", backbone=backbone),
    }
    return params


def words_suite(folder: Path, params: dict[str, Any] | None = None) -> Suite:
    """The suite with its pairs and priors made."""
    suite = load_params(write_params(folder, params or words_params(folder)))
    make_inputs(suite, priors=tuple(suite.priors))
    return suite


def trained(suite: Suite, *keys: str) -> None:
    """Weights as training leaves them, none of which hides a prior."""
    for key in keys:
        plan = open_run(suite, key)
        torch.manual_seed(0)
        weights = moved(build_model(plan)).state_dict()
        plan.places.run.mkdir(parents=True, exist_ok=True)
        save_file(
            {name: value.contiguous() for name, value in weights.items()}, plan.places.weights(0)
        )
