"""What several test files need: a suite in a temporary folder, small enough to run in seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML

from benchlib.params import Suite, load_params
from benchlib.priors._store import mask_set, save_masks
from benchlib.records import write_json

torch.set_num_threads(2)

SMALL = {"name": "nafnet", "width": 4, "encoder": [1], "middle": 1, "decoder": [1]}


def run(method: dict, prior: str = "none", **more) -> dict:
    """A run of the small suite's ``params.yaml``."""
    return {
        "backbone": SMALL,
        "method": method,
        "train": "train",
        "test": "test",
        "prior": {
            "train": f"{prior}-train" if prior != "none" else "none",
            "test": f"{prior}-test" if prior != "none" else "none",
        },
        "init": "weights/random",
    } | more


def small_params() -> dict:
    """Two photographs, 64 pixels wide, and four runs."""
    photo = {"name": "photographs", "copies": 1, "long_side": 64, "degrade": {"name": "shake-blur", "extent": 6.0}}
    sam = {"name": "sam", "points_per_side": 2}
    return {
        "suite": "small",
        "root": ".",
        "training": {"iterations": 6, "batch": 2, "crop": 16, "log_every": 2, "checkpoint_seconds": 0.0},
        "evaluation": {"protocols": ["basicsr-rgb"]},
        "data": {
            "train": {
                "shake-blur": photo | {"images": ["coffee"], "copies": 2},
                "held": photo | {"images": ["flower"]},
            },
            "test": {"shake-blur": photo | {"images": ["chelsea"]}},
        },
        "weights": {"random": {"asset": None}},
        "priors": {
            "none": {"images": "data/train", "prior": {"name": "none"}},
            "sam-train": {"images": "data/train", "prior": sam},
            "sam-test": {"images": "data/test", "prior": sam},
        },
        "runs": {
            "blurred": run({"name": "identity"}),
            "no-prior": run({"name": "none"}, validation="held"),
            "cat": run({"name": "cat"}, "sam"),
            "map": run({"name": "map"}, "sam", validation="held"),
        },
    }


def write_params(folder: Path, params: dict) -> Path:
    path = folder / "params.yaml"
    with open(path, "w") as file:
        YAML().dump(params, file)
    return path


@pytest.fixture
def small(tmp_path) -> Suite:
    """The small suite with its pairs made and its priors faked: four vertical stripes a picture, each a mask."""
    from benchlib.prepare import make_data, make_priors, make_weights, prior_images

    suite = load_params(write_params(tmp_path, small_params()))
    for key in suite.data:
        make_data(suite, key)
    make_weights(suite, "random")
    make_priors(suite, "none")
    for key in ("sam-train", "sam-test"):
        records = []
        for dataset, images in prior_images(suite, suite.prior(key).images).items():
            for name, file in images.items():
                from benchlib.imageio import read_image

                shape = read_image(file).shape[:2]
                stripes = [np.broadcast_to(np.arange(shape[1]) // 8 == i, shape) for i in range(4)]
                masks = mask_set(stripes, shape, np.full(4, 0.9, np.float32), np.full(4, 0.95, np.float32))
                save_masks(suite.work / "priors" / key / dataset / f"{name}.npz", masks)
                records.append({"dataset": dataset, "image": name, "n_masks": 4, "coverage": 0.5, "sha256": ""})
        write_json(suite.work / "priors" / key / "prior.json", {"images": records})
    return suite
