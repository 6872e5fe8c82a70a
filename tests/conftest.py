"""What several test files need: a suite in a temporary folder, small enough to run in seconds."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML

from benchlib import registry
from benchlib.checks import images_source
from benchlib.imageio import read_image
from benchlib.params import Suite, load_params
from benchlib.prepare import make_data, make_priors, make_weights, prior_images
from benchlib.priors.kinds import masks
from benchlib.records import image_sets, read_pairs, write_json

torch.set_num_threads(1)  # networks of the tests are too small for two to help each other

SMALL = {"name": "nafnet", "width": 4, "encoder": [1], "middle": 1, "decoder": [1]}
STRIPE = 8  # pixels: the width of a mask of the small suite's faked priors
STRIPES = 4  # masks an image


def run(method: dict, prior: str = "none", **more) -> dict:
    """A run of the small suite's ``params.yaml``; ``prior``: none, or what stands before -train."""
    sides = {"train": "none", "test": "none"}
    if prior != "none":
        sides = {"train": f"{prior}-train", "test": f"{prior}-test"}
    return {
        "backbone": SMALL,
        "method": method,
        "images": {"train": "train", "test": "test"},
        "prior": sides,
        "init": "weights/random",
    } | more


def small_params() -> dict:
    """Two photographs, 64 pixels wide, and four runs."""
    photo = {
        "name": "photographs",
        "copies": 1,
        "long_side": 64,
        "degrade": {"name": "shake_blur", "extent": 6.0},
    }
    sam = {"name": "sam", "points_per_side": 2}
    return {
        "suite": "small",
        "root": "",
        "task": "image",
        "metrics": ["psnr", "ssim", "mc"],
        "training": {
            "iterations": 6,
            "batch": 2,
            "crop": 16,
            "log_every": 2,
            "checkpoint_seconds": 0.0,
        },
        "evaluation": {"protocols": ["basicsr-rgb"]},
        "data": {
            "train/shake-blur": photo | {"images": ["coffee"], "copies": 2},
            "train/held": photo | {"images": ["flower"]},
            "test/shake-blur": photo | {"images": ["chelsea"]},
        },
        "weights": {"random": {"asset": None}},
        "priors": {
            "none": {"kind": "none", "images": "data/train", "prior": {"name": "none"}},
            "sam-train": {"kind": "masks", "images": "data/train", "prior": sam},
            "sam-test": {"kind": "masks", "images": "data/test", "prior": sam},
        },
        "runs": {
            "blurred": run({"name": "identity"}),
            "no-prior": run({"name": "none"}, validation="held"),
            "cat": run({"name": "cat"}, "sam"),
            "map": run({"name": "map"}, "sam", validation="held"),
        },
    }


def write_params(folder: Path, params: dict) -> Path:
    """Write ``params.yaml`` into a folder; its path."""
    path = folder / "params.yaml"
    with open(path, "w") as file:
        YAML().dump(params, file)
    return path


def make_inputs(suite: Suite, *, priors: tuple[str, ...] = ("none",)) -> None:
    """Make a suite's pairs, the start named ``random``, and the priors named."""
    for key in suite.data:
        make_data(suite, key)
    make_weights(suite, "random")
    for key in priors:
        make_priors(suite, key)


def striped(shape: tuple[int, int]) -> masks.MaskSet:
    """Four vertical stripes from the left, each a mask."""
    columns = np.arange(shape[1]) // STRIPE
    stripes = [np.broadcast_to(columns == i, shape) for i in range(STRIPES)]
    return masks.mask_set(stripes, shape, np.full(STRIPES, 0.9), np.full(STRIPES, 0.95))


def fake_masks(suite: Suite, key: str) -> None:
    """Stripes in the place of what the prior ``key`` would compute."""
    records = []
    source = images_source(suite, suite.prior(key).images)
    scenes = {pair.key: pair.scene for pair in read_pairs(image_sets(suite, source))}
    for dataset, images in prior_images(suite, suite.prior(key).images).items():
        for name, file in images.items():
            stored = striped(read_image(file).shape[:2])
            masks.save(suite.work / "priors" / key / dataset / f"{name}.npz", stored)
            record = {"dataset": dataset, "image": name, "refused": None}
            records.append(record | {"scene": scenes[f"{dataset}/{name}"]})
    write_json(suite.work / "priors" / key / "prior.json", {"images": records})


@pytest.fixture
def small(tmp_path) -> Suite:
    """The small suite with its pairs made and its priors faked: four stripes a picture."""
    suite = load_params(write_params(tmp_path, small_params()))
    make_inputs(suite)
    for key in ("sam-train", "sam-test"):
        fake_masks(suite, key)
    return suite


def add_file(monkeypatch, folder: str, path: Path) -> ModuleType:
    """For one test, a file of the registry's ``folder`` that lies elsewhere."""
    name = f"added_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    names, load, version = registry.names, registry.load, registry.version

    def names_with_it(where: str) -> list[str]:
        added = {path.stem} if where == folder else set()
        return sorted({*names(where), *added})

    def load_it_too(where: str, key: str) -> ModuleType:
        return module if (where, key) == (folder, path.stem) else load(where, key)

    def version_of_it_too(file: str) -> int:
        return module.VERSION if file == f"{folder}/{path.stem}.py" else version(file)

    monkeypatch.setattr(registry, "names", names_with_it)
    monkeypatch.setattr(registry, "load", load_it_too)
    monkeypatch.setattr(registry, "version", version_of_it_too)
    return module
