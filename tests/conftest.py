"""What several test files need: a suite in a temporary folder, small enough to run in seconds."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML

from benchlib import registry
from benchlib.checks import images_source
from benchlib.conformance import Unavailable
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


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A disk of 64 KiB, where this user may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(words, capture_output=True).returncode:
        pytest.skip("no small disk can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def add_file(monkeypatch, folder: str, path: Path) -> ModuleType:
    """For one test, a file of the registry's ``folder`` that lies elsewhere."""
    known = os.environ.get(registry.INHERITED, "")
    monkeypatch.setenv(registry.INHERITED, known)  # put back when the test ends
    registry.add(folder, path.stem, path)
    sys.modules.pop(f"benchlib.{folder.replace('/', '.')}.{path.stem}", None)  # another test's
    return registry.load(folder, path.stem)


def name_of(check: Callable[..., None]) -> str:
    """A check of ``benchlib.conformance`` in a test's name."""
    return check.__name__


def expect_contract(check: Callable[..., None], *subject: object) -> None:
    """One check of one file; skipped where its weights are not at hand."""
    try:
        check(*subject)
    except Unavailable as error:
        pytest.skip(str(error))
