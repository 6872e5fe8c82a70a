"""A mistake in params.yaml is one line: the key's path, what it got, what it may be, what is near.

References between entries are checked on every loading; settings, which import files, once before
a pipeline's first stage (``checks.check_choices``).
"""

import datetime
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import run, small_params, write_params
from hypothesis import given, settings
from hypothesis import strategies as st

from benchlib import names, registry
from benchlib.checks import budgets, check_choices, entries_given, images_source
from benchlib.contracts import BenchError
from benchlib.params import Suite, configure, load_params

ROOT = Path(__file__).parent.parent
SUITES = sorted([ROOT / "params.yaml", *(ROOT / "suites").glob("*/params.yaml")])
MASKS = small_params()["priors"]["sam-train"]
PHOTO = small_params()["data"]["test/shake-blur"]
INF, NAN = float("inf"), float("nan")
VECTOR = {"kind": "vector", "prior": {"name": "sam_embedding"}}


def broken(changes: dict) -> dict:
    """The small suite's parameters with dotted paths set; a value of ... removes the key."""
    params = json.loads(json.dumps(small_params()))  # nothing shared
    for path, value in changes.items():
        *steps, last = path.split(".")
        here = params
        for step in steps:
            here = here[step]
        if value is ...:
            del here[last]
        else:
            here[last] = value
    return params


def loaded(folder: Path, params: dict) -> Suite:
    """Loaded and checked as ``nbrun`` does before the first stage."""
    path = write_params(folder, params)
    suite = load_params(path)
    check_choices(suite, path)
    return suite


# (changes, where the line says it is, what it says)
TYPES = [
    ({"trainin": {}}, "trainin: unknown key", "did you mean training?"),
    ({"training.itertions": 3}, "training.itertions: unknown key", "did you mean iterations?"),
    ({"training.iterations": "many"}, "training.iterations: got 'many'", "integer"),
    ({"training.iterations": -1}, "training.iterations: got -1", "greater than or equal to 0"),
    ({"training.lr": 0}, "training.lr: got 0", "greater than or equal to"),
    ({"training.devices": "two"}, "training.devices: got 'two'", "1 to 1024, or auto"),
    ({"training.devices": 0}, "training.devices: got 0", "1 to 1024, or auto"),
    ({"training.devices": True}, "training.devices: got True", "1 to 1024, or auto"),
    ({"runs.map.training": {"devices": 2.0}}, "runs.map.training.devices: got 2.0", "or auto"),
    ({"task": ...}, "task: missing", "required"),
    ({"metrics": ...}, "metrics: missing", "required"),
    ({"metrics": []}, "metrics: got []", "at least 1 item"),
    ({"priors.none.kind": ...}, "priors.none.kind: missing", "required"),
    ({"runs.map.backbone": ...}, "runs.map.backbone: missing", "required"),
    ({"runs.map.seeds": []}, "runs.map.seeds: got []", "at least 1 item"),
    ({"runs.map.train": "train"}, "runs.map.train: unknown key", "images"),
    ({"runs.map.images.tset": "a"}, "runs.map.images.tset: unknown key", "did you mean test?"),
    ({"runs.map.prior.swap": "zero"}, "runs.map.prior.swap: got 'zero'", "'zeroed' or 'shuffled'"),
    ({"evaluation.swap": ["mixed"]}, "evaluation.swap.0: got 'mixed'", "'zeroed' or 'shuffled'"),
    ({"runs.map.training": {"lrr": 0.1}}, "runs.map.training.lrr: unknown", "did you mean lr?"),
    (
        {"runs.map.training": {"candidates": [{"lrr": 1.0}]}},
        "training.candidates.0.lrr: unknown key",
        "mean lr?",
    ),
    (
        {"runs": {"alpha-0.5": small_params()["runs"]["map"]}},
        "runs.alpha-0.5: got 'alpha-0.5'",
        "letters, digits, - and _",
    ),
    ({"data.train": PHOTO}, "data.train: got 'train'", "data is named <collection>/<set>"),
    ({"data": {"b/a/d": PHOTO}}, "data.b/a/d", "letters, digits"),
    ({"data": {"test/a b": PHOTO}}, "data.test/a b", "letters, digits"),
]
REFERENCES = [
    ({"task": "imgae"}, "task: got 'imgae'", "did you mean image?"),
    ({"metrics": ["psnr", "sism"]}, "metrics: got 'sism'", "did you mean ssim?"),
    ({"runs.map.images.train": "tarin"}, "images.train: got 'tarin'", "did you mean train?"),
    ({"runs.map.prior.test": "sam-tset"}, "prior.test: got 'sam-tset'", "did you mean sam-test?"),
    ({"runs.map.validation": "hold"}, "runs.map.validation: got 'hold'", "did you mean held?"),
    ({"priors.none.images": "data/trian"}, "images: got 'data/trian'", "did you mean data/train?"),
    ({"priors.sam-test.kind": "mask"}, "sam-test.kind: got 'mask'", "did you mean masks?"),
    ({"runs.map.seeds": [1, 1]}, "runs.map.seeds: got [1, 1]", "each seed once"),
    (
        {"runs.MAP": small_params()["runs"]["map"]},
        "runs: 'map' and 'MAP' differ by capital letters alone",
        "rename one",
    ),
    (
        {"evaluation": {"tile": 64, "overlap": 64}},
        "evaluation.overlap: got 64",
        "less than tile, 64",
    ),
    (
        {"runs.map.prior.test": "sam-train"},
        "runs.map.prior.test: got 'sam-train'",
        "a prior of the images of 'train'; the run's are 'test'; may be none, sam-test; did you",
    ),
    (
        {
            "priors.sam-train.images": "restored/map",
            "runs.map.images.test": "train",
            "runs.map.prior.test": "sam-train",
        },
        "priors.sam-train.images: run 'map' would wait for itself",
        "another run",
    ),
    (
        {"runs.map.init": "runs/map"},
        "runs.map.init: run 'map' would wait for itself",
        "another run",
    ),
    ({"runs.map.init": "weights/randm"}, "init: got 'weights/randm'", "mean weights/random?"),
    ({"runs.map.reference": "no-priors"}, "reference: got 'no-priors'", "did you mean no-prior?"),
    (
        {
            "data.other/a": PHOTO | {"images": ["rocket"]},
            "runs.cat.images.test": "other",
            "runs.cat.prior.test": "none",
            "runs.map.reference": "cat",
        },
        "runs.map.reference: 'cat' tests on other images than 'map'",
        "",
    ),
    ({"runs.map.training": {"sets": ["held"]}}, "sets: got 'held'", "may be shake-blur"),
    (
        {"runs.map.training": {"devices": 4, "batch": 6}},
        "runs.map.training.devices: got 4, which do not share a batch of 6 evenly",
        "may be 1, 2, 3, 6",
    ),
    (
        {"training.devices": 2, "runs.map.training": {"candidates": [{"batch": 3}]}},
        "runs.map.training.devices: got 2, which do not share a batch of 3",
        "may be 1, 3",
    ),
    (
        {"runs.map.training": {"candidates": [{"devices": 2}]}},
        "runs.map.training.candidates.0.devices: a run's candidates share its devices",
        "set runs.map.training.devices",
    ),
    ({"runs.cat.training": {"keep": "best"}}, "runs.cat.validation: missing", "choose by it"),
    (
        {
            "controls": {
                "a": {
                    "label": "a",
                    "base": "no-prior",
                    "zeroed": "cat",
                    "segmentation": "cat",
                    "prior": "mpa",
                }
            }
        },
        "controls.a.prior: got 'mpa'",
        "did you mean map?",
    ),
    (
        {"ablations": {"a": {"label": "a", "runs": ["mpa"]}}},
        "ablations.a.runs: got 'mpa'",
        "did you mean map?",
    ),
    (
        {"priors.sam-train/a": MASKS},
        "priors.sam-train: a prior and a bundle have one name",
        "rename one",
    ),
    (
        {"priors.both/a": MASKS, "priors.both/b": MASKS | {"images": "data/test"}},
        "priors.both: its parts are of different images",
        "expected one",
    ),
]
STEPS = {"label": "a", "base": "no-prior", "zeroed": "cat", "prior": "map"}
# accepted once, and fatal later: after the training, in the tables, or as no number at all
LATER = [
    ({"training.crop": 10**9}, "training.crop: got 1000000000", "less than or equal to 16384"),
    ({"training.iterations": 10**30}, "training.iterations: got 1", "less than or equal"),
    ({"training.batch": 10**9}, "training.batch: got 1000000000", "less than or equal"),
    ({"training.weight_decay": INF}, "training.weight_decay: got inf", "finite"),
    ({"training.lr": NAN}, "training.lr: got nan", "finite"),
    ({"training.lr": 10**400}, "training", "number"),
    ({"training.grad_clip": 1e-320}, "training.grad_clip: got 1e-320", "greater than"),
    ({"training.checkpoint_seconds": INF}, "checkpoint_seconds: got inf", "finite"),
    ({"training.sets": []}, "training.sets: got []", "at least 1"),
    ({"runs.map.training": {"lr": NAN}}, "runs.map.training.lr: got nan", "finite"),
    (
        {"runs.map.training": {"candidates": [{"candidates": []}]}},
        "runs.map.training.candidates.0.candidates",
        "none of its own",
    ),
    ({"runs.map.seeds": [-1]}, "runs.map.seeds.0: got -1", "greater than or equal to 0"),
    ({"runs.map.seeds": [2**64]}, "runs.map.seeds.0: got 18446744073709551616", "4294967295"),
    ({"runs.map.label": "a\nb"}, "runs.map.label: got 'a\\nb'", "one line"),
    ({"runs.map.label": ""}, "runs.map.label: got ''", "at least 1"),
    ({"runs": {}}, "runs: got {}", "at least 1"),
    ({"mirror": ["https://me:s3cret@host/"]}, "mirror: got ***", "string"),
    ({"suite": "a" * 300}, "suite: got 'aaa", "64 at most"),
    ({"root": "/tmp/"}, "root: got '/tmp/'", "the way up to the project"),
    ({"evaluation.tile": 10**9}, "evaluation.tile: got 1000000000", "less than or equal"),
    (
        {"evaluation.protocols": ["basicsr-rgb", "basicsr-rgb"]},
        "evaluation.protocols: got 'basicsr-rgb' twice",
        "each once",
    ),
    ({"evaluation.swap": ["zeroed", "zeroed"]}, "evaluation.swap: got 'zeroed' twice", "once"),
    ({"metrics": ["psnr", "psnr"]}, "metrics: got 'psnr' twice", "each once"),
    ({"data.test/Average": PHOTO}, "data.test/Average", "give the set another name"),
    ({"data.test/average": PHOTO}, "data.test/average", "give the set another name"),
    ({"data.test/a": PHOTO | {"part": [1, 0]}}, "data.test/a.part: got [1, 0]", "start < stop"),
    ({"data.test/a": PHOTO | {"part": [-1, 2]}}, "data.test/a.part: got [-1, 2]", "0 <= start"),
    ({"data.test/a": PHOTO | {"part": [0, 1.5]}}, "data.test/a.part: got [0, 1.5]", "start"),
    ({"data.test/a": PHOTO | {"images": "t91"}}, "images: got 't91'", "a list: ['t91']"),
    ({"data.test/a": PHOTO | {"images": [{}]}}, "data.test/a.images: got {}", "expected text"),
    ({"data.test/a": PHOTO | {"images": ["x", "x"]}}, "images: got 'x' twice", "each once"),
    ({"runs.map.reference": "map"}, "runs.map.reference: got itself", "another run"),
    ({"runs.map.training": {"sets": ["shake-blur"] * 2}}, "sets: got 'shake-blur' twice", ""),
    (
        {"data": {"train/held": PHOTO | {"images": ["coffee"]}, "test/shake-blur": PHOTO}},
        "runs.no-prior.validation: got 'held', the only set of 'train'",
        "nothing is left to train on",
    ),
    (
        {"controls": {"a": STEPS | {"base": "map"}}},
        "controls.a.prior: got 'map', which is base too",
        "from one run to another",
    ),
    ({"controls": {"a": STEPS | {"others": ["blurred"] * 2}}}, "controls.a.others", "twice"),
    ({"ablations": {"a": {"label": "a", "runs": ["map", "map"]}}}, "ablations.a.runs", "twice"),
]
CHOICES = [
    ({"evaluation": {"protocols": ["basicsr-rgb@"]}}, "got 'basicsr-rgb@'", "1 to 99"),
    ({"evaluation": {"protocols": ["basicsr-rgb@100000"]}}, "'basicsr-rgb@100000'", "1 to 99"),
    ({"evaluation": {"protocols": ["basicsr-rgb@04"]}}, "got 'basicsr-rgb@04'", "1 to 99"),
    ({"evaluation": {"protocols": ["basicsr-rgb@²"]}}, "got 'basicsr-rgb@²'", "1 to 99"),
    ({"evaluation": {"protocols": ["basicsr-rgb@-4"]}}, "got 'basicsr-rgb@-4'", "1 to 99"),
    ({"training.watch": "basicsr-rgb@100000"}, "got 'basicsr-rgb@100000'", "1 to 99"),
    ({"runs.map.backbone": {}}, "runs.map.backbone.name: missing", "nafnet"),
    ({"runs.map.backbone": {"name": ["a"]}}, "runs.map.backbone.name: got ['a']", "nafnet"),
    (
        {"runs.map.backbone": {"name": "nafnet", "width": 10**12}},
        "runs.map.backbone.width: got 1000000000000",
        "at most 1000000000",
    ),
    (
        {"runs.map.backbone": {"name": "nafnet", "encoder": [1, 1], "decoder": [1]}},
        "runs.map.backbone: nafnet: 2 encoder levels",
        "",
    ),
    (
        {"data.test/a": PHOTO | {"degrade": {"name": "shake_blur", "extent": INF}}},
        "data.test/a.degrade.extent: got inf",
        "",
    ),
    (
        {"data.test/a": PHOTO | {"degrade": {"name": "shake_blur", "extent": -1.0}}},
        "data.test/a.degrade.extent: got -1.0",
        "greater than 0",
    ),
    (
        {"data.test/a": PHOTO | {"degrade": {"name": "bicubic", "scale": 0}}},
        "data.test/a.degrade.scale: got 0",
        "2, 3 or 4",
    ),
    ({"data.test/a": PHOTO | {"images": []}}, "data.test/a: photographs: give `images`", "path"),
    (
        {
            "priors.slic": {
                "kind": "masks",
                "images": "data/test",
                "prior": {"name": "superpixels", "compactness": INF},
            }
        },
        "priors.slic.prior.compactness: got inf",
        "finite",
    ),
    (
        {"data.test/mine": {"name": "folder", "path": "absent", "degrade": {"name": "none"}}},
        "data.test/mine.path: got 'absent': no folder",
        "relative to the folder of params.yaml",
    ),
    ({"runs.map.method": {"name": "mpa"}}, "method.name: got 'mpa'", "did you mean map?"),
    ({"runs.map.method.dropuot": 0.5}, "method.dropuot: unknown key", "did you mean dropout?"),
    ({"runs.map.method.dropout": 1.5}, "method.dropout: got 1.5", "less than or equal to 1"),
    ({"runs.map.method.dropout": "0.5"}, "runs.map.method.dropout: got '0.5'", "number"),
    ({"priors.sam-test.prior": {"name": "smm"}}, "sam-test.prior.name: got 'smm'", "mean sam?"),
    ({"data.test/shake-blur.sise": 3}, "data.test/shake-blur.sise: unknown key", "side"),
    (
        {"data.test/shake-blur.degrade": {"name": "shake_blur", "extnt": 3.0}},
        "data.test/shake-blur.degrade.extnt: unknown key",
        "mean extent?",
    ),
    (
        {"data.test/shake-blur.degrade": ...},
        "data.test/shake-blur.degrade: missing",
        "write {name: none}",
    ),
    (
        {"data.test/shake-blur.degrade": "shake_blur"},
        "data.test/shake-blur.degrade: got 'shake_blur'",
        "{name: shake_blur}",
    ),
    (
        {
            "data.test/mine": {
                "name": "folder",
                "path": "mine",
                "degrade": {"name": "shake_blur"},
            }
        },
        "data.test/mine.degrade: got 'shake_blur'",
        "the pairs of folder are finished: write {name: none}",
    ),
    ({"evaluation": {"protocols": ["basicsr-rbg"]}}, "'basicsr-rbg'", "did you mean basicsr-rgb?"),
    ({"training.watch": "basicsr-yy"}, "got 'basicsr-yy'", "did you mean basicsr-y?"),
    ({"metrics": ["ssim_3d"]}, "metrics: got ssim_3d", "basicsr-rgb measures none of them"),
    (
        {"priors.sam-test.kind": "vector", "runs.map.prior.test": "none"},
        "priors.sam-test.kind: got 'vector'",
        "sam gives masks",
    ),
    (
        {"runs.map.prior.test": "none"},
        "runs.map.prior.test: got 'none', which gives nothing",
        "method map needs labels",
    ),
    (
        {"data.test/a": PHOTO | {"images": ["chelsae"]}},
        "data.test/a: got 'chelsae'",
        "did you mean chelsea?",
    ),
    (
        {"weights.random.asset": "sam-vit-x"},
        "weights.random.asset: got 'sam-vit-x'",
        "mean sam-vit-",
    ),
    ({"runs.map.paper": "sam-deblurr"}, "paper: got 'sam-deblurr'", "did you mean sam-deblur?"),
    (
        {"runs.map.paper": "sam-deblur", "runs.map.table": "1", "runs.map.row": "MPA"},
        "runs.map.row: got 'MPA'",
        "did you mean MAP?",
    ),
    (
        {"runs.map.backbone": {"name": "nafnet", "encoder": [-1], "decoder": [1]}},
        "backbone.encoder.0: got -1",
        "greater than or equal to 0",
    ),
    (
        {
            "priors.v-train": VECTOR | {"images": "data/train"},
            "priors.v-test": VECTOR | {"images": "data/test"},
            "runs.film": run({"name": "film", "size": 255}, "v"),
        },
        "runs.film.method.size: got 255; prior 'v-train' gives vectors of 256",
        "",
    ),
]


def check_line(error: BenchError, where: str, what: str) -> None:
    line = str(error)
    assert "params.yaml: " in line
    assert where in line
    assert what in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("changes", "where", "what"),
    TYPES + REFERENCES + LATER,
    ids=[where for _, where, _ in TYPES + REFERENCES + LATER],
)
def test_a_mistake_is_one_line_that_names_it_on_loading(tmp_path, changes, where, what):
    with pytest.raises(BenchError) as error:
        load_params(write_params(tmp_path, broken(changes)))
    check_line(error.value, where, what)


@pytest.mark.parametrize(("changes", "where", "what"), CHOICES, ids=[w for _, w, _ in CHOICES])
def test_a_wrong_setting_is_one_line_that_names_it_before_the_first_stage(
    tmp_path, changes, where, what
):
    path = write_params(tmp_path, broken(changes))
    suite = load_params(path)
    with pytest.raises(BenchError) as error:
        check_choices(suite, path)
    check_line(error.value, where, what)


# ---------------------------------------------------------------- any value at any place

WRONG = [
    None,
    "",
    "word",
    "t91",
    "a\nb",
    "\0",
    "é" * 300,
    0,
    -1,
    1.5,
    1e-320,
    10**30,
    10**400,
    INF,
    NAN,
    True,
    [],
    ["a"],
    [1, 0],
    [None],
    [{}],
    {},
    {"a": 1},
    {1: 2},
    {"name": ["y"]},
    datetime.date(2020, 1, 1),
    b"x",
]


def everything() -> dict:
    """The small suite with every optional key set."""
    params = broken({})
    params["mirror"] = "mirror"
    params["training"] |= {
        "sets": ["shake-blur"],
        "loss": "l1",
        "schedule": "halve",
        "halve_every": 3,
        "lr": 0.1,
        "lr_end": 0.0,
        "weight_decay": 0.0,
        "beta1": 0.9,
        "beta2": 0.9,
        "grad_clip": 1.0,
        "precision": "fp32",
        "workers": 0,
        "validate_every": 2,
        "watch": "basicsr-rgb",
        "keep": "last",
        "candidates": [{"lr": 0.1}],
    }
    params["evaluation"] |= {
        "swap": ["zeroed"],
        "average": True,
        "tile": 64,
        "overlap": 8,
        "tlc_crop": 8,
        "tlc_sets": ["shake-blur"],
        "quantise": "round",
    }
    for entry in params["runs"].values():
        entry["validation"] = "held"
    params["runs"]["map"] |= {
        "label": "MAP",
        "reference": "no-prior",
        "paper": "",
        "table": "",
        "row": "",
        "problem": "blur",
        "setting": "",
        "seeds": [0],
        "training": {"lr": 0.1},
        "evaluation": {"protocols": ["basicsr-rgb"]},
    }
    params["data"]["test/shake-blur"] |= {"part": [0, 1], "seed": 1, "tile": 32}
    params["controls"] = {"c": STEPS | {"trained": None, "segmentation": None, "others": []}}
    params["ablations"] = {"a": {"label": "a", "paper": "", "table": "", "runs": ["map"]}}
    return params


def places(value: object, above: tuple = ()) -> list[tuple]:
    """The path of every value within a structure."""
    inner: list = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    found = []
    for step, item in inner:
        found += [(*above, step), *places(item, (*above, step))]
    return found


def with_value(place: tuple, value: object) -> dict:
    params = everything()
    here = params
    for step in place[:-1]:
        here = here[step]
    here[place[-1]] = value
    return params


def check_refused_or_right(params: dict, monkeypatch, path: Path, choices: bool) -> None:
    monkeypatch.setattr(names, "read_yaml", lambda _path: params)
    try:
        suite = load_params(path)
        if choices:
            check_choices(suite, path)
    except BenchError as error:
        line = str(error)
        assert line.isprintable() and len(line) < 1500, line


def test_a_wrong_value_at_any_place_is_a_line_or_right(tmp_path, monkeypatch):
    path = tmp_path / "params.yaml"
    check_refused_or_right(everything(), monkeypatch, path, choices=True)
    for place in places(everything()):
        for value in WRONG:
            check_refused_or_right(with_value(place, value), monkeypatch, path, choices=False)


@settings(max_examples=100, deadline=None)
@given(place=st.sampled_from(places(everything())), value=st.sampled_from(WRONG))
def test_a_wrong_setting_at_any_place_is_a_line_or_right(tmp_path_factory, place, value):
    with pytest.MonkeyPatch.context() as monkeypatch:
        path = Path("params.yaml")
        check_refused_or_right(with_value(place, value), monkeypatch, path, choices=True)


def test_what_is_loaded_has_names_that_dvc_may_write_into_a_command(tmp_path, monkeypatch):
    """``names`` and the models ask for the same: what the one lets through the other does."""
    loaded_once = 0
    for place in places(everything()):
        for value in ("word", "a b", "a;b", "-a", "../a", "data/train", "weights/random", "a" * 65):
            params = with_value(place, value)
            monkeypatch.setattr(names, "read_yaml", lambda _path, params=params: params)
            try:
                load_params(tmp_path / "params.yaml")
            except BenchError:
                continue
            if "name" in place or not isinstance(place[-1], str):
                continue  # of a file: check_choices says whether it is there
            if "degrade" in place[-1] or "prior" in place[-1]:
                continue  # no mapping: DVC finds no name in it
            names.check_names(params, tmp_path / "params.yaml")
            loaded_once += 1
    assert loaded_once > 10


def test_a_home_is_expanded_and_other_paths_begin_at_the_parameters(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "mine").mkdir(parents=True)
    mine = {"name": "folder", "path": "~/mine", "degrade": {"name": "none"}}
    suite = loaded(tmp_path, broken({"data.test/mine": mine}))
    assert suite.located("~/mine") == tmp_path / "home" / "mine"
    assert suite.located("mine") == tmp_path / "mine"
    assert suite.located("/mine") == Path("/mine")
    with pytest.raises(BenchError, match=r"path: got '~nobody-here/x'; no such user's home"):
        suite.located("~nobody-here/x")


def test_a_folder_that_an_experiment_elsewhere_cannot_see_says_so(tmp_path):
    folder = tmp_path / ".dvc" / "tmp" / "exps" / "temp1"
    folder.mkdir(parents=True)
    mine = {"name": "folder", "path": "../my-images", "degrade": {"name": "none"}}
    with pytest.raises(BenchError, match=r"`dvc exp run --temp`.*write the whole path"):
        loaded(folder, broken({"data.test/mine": mine}))


def test_images_that_were_fetched_need_their_folder_no_more(tmp_path):
    mine = {"name": "folder", "path": "../gone", "degrade": {"name": "none"}}
    manifest = tmp_path / "work" / "small" / "data" / "test" / "mine" / "manifest.csv"
    manifest.parent.mkdir(parents=True)
    manifest.touch()
    assert loaded(tmp_path, broken({"data.test/mine": mine})).suite == "small"


def test_a_label_is_read_as_utf_8_in_any_locale(tmp_path):
    params = broken({"runs.map.label": "für Müller"})
    (tmp_path / "params.yaml").write_text(json.dumps(params, ensure_ascii=False), encoding="utf-8")
    code = "from benchlib.params import load_params; print(ascii(load_params().run('map').label))"
    done = subprocess.run(
        [sys.executable, "-X", "utf8=0", "-c", code],
        cwd=tmp_path,
        env=os.environ | {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == ascii("für Müller")


def test_loading_writes_nothing(tmp_path):
    path = write_params(tmp_path, small_params())
    for _ in range(2):
        loaded(tmp_path, small_params())
        load_params(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["params.yaml"]


def test_loading_imports_no_file_of_a_folder_and_not_torch():
    """So that a stage that computes nothing starts at once."""
    code = (
        "import sys; from benchlib.params import load_params; load_params(sys.argv[1]); "
        "print(sorted(name for name in sys.modules if name.startswith('benchlib.')), "
        "'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT / "params.yaml")],
        capture_output=True,
        text=True,
        check=True,
    )
    modules, _, torch = done.stdout.strip().rpartition(" ")
    assert torch == "False"
    for folder in ("methods", "backbones", "priors", "datasets", "degrade", "metrics", "tasks"):
        assert f"benchlib.{folder}" not in modules


def test_a_photograph_has_one_side(tmp_path):
    params = small_params()
    params["data"]["test/shake-blur"]["images"] = ["coffee"]
    said = r"runs.blurred.images.test: 'coffee' is trained on too, in data.train/shake-blur"
    with pytest.raises(BenchError, match=said):
        load_params(write_params(tmp_path, params))
    params = small_params()  # a run that never saw it, but starts from one that did
    params["data"]["other/shake-blur"] = PHOTO | {"images": ["coffee"]}
    params["data"]["clean/shake-blur"] = PHOTO | {"images": ["rocket"]}
    params["runs"]["tuned"] = run(
        {"name": "none"}, images={"train": "clean", "test": "other"}, init="runs/no-prior"
    )
    said = r"runs.tuned.images.test: 'coffee' is trained on too, in data.train/shake-blur"
    with pytest.raises(BenchError, match=said):
        load_params(write_params(tmp_path, params))


def test_parts_of_one_list_are_sides_if_they_do_not_meet(tmp_path):
    params = small_params()
    parts = {
        "train/shake-blur": [0, 60],
        "train/held": [60, 70],
        "test/shake-blur": [69, 80],
    }
    for key, part in parts.items():
        params["data"][key] |= {"images": ["coffee"], "part": part, "copies": 1}
    said = r"runs.blurred.images.test: 'coffee' \[60, 70\] and \[69, 80\] is trained on too"
    with pytest.raises(BenchError, match=said):
        load_params(write_params(tmp_path, params))
    params["data"]["test/shake-blur"]["part"] = [70, 80]
    load_params(write_params(tmp_path, params))


def test_what_chooses_is_not_trained_on(tmp_path):
    params = small_params()
    params["data"]["train/held"]["images"] = ["coffee"]
    with pytest.raises(BenchError, match=r"validation: 'coffee' is trained on too"):
        load_params(write_params(tmp_path, params))


def test_a_key_given_twice_is_refused(tmp_path):
    (tmp_path / "params.yaml").write_text("suite: a\nsuite: b\n")
    with pytest.raises(BenchError, match=r"not YAML.*duplicate key"):
        load_params(tmp_path / "params.yaml")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(BenchError, match=r"absent\.yaml: no such file"):
        load_params(tmp_path / "absent.yaml")


@pytest.mark.parametrize("path", SUITES, ids=lambda p: p.parent.name)
def test_the_suites_of_the_project_are_right(path):
    suite = load_params(path)
    check_choices(suite, path)
    assert suite.results == ROOT / "results" / suite.suite
    if path.parent != ROOT:
        assert suite.suite == path.parent.name


def test_a_run_changes_the_suites_budget(tmp_path):
    changes = {"runs.map.training": {"lr": 0.5}, "runs.map.evaluation": {"swap": ["zeroed"]}}
    suite = load_params(write_params(tmp_path, broken(changes)))
    assert suite.training_of("map").lr == 0.5
    assert suite.training_of("map").iterations == suite.training.iterations
    assert suite.training_of("cat") == suite.training
    assert suite.evaluation_of("map").swap == ["zeroed"]
    assert suite.evaluation_of("map").protocols == suite.evaluation.protocols
    assert suite.evaluation_of("cat").swap == []


def test_what_is_tried_is_the_budget_with_each_candidate_s_changes(tmp_path):
    changes = {"runs.map.training": {"lr": 0.5, "candidates": [{"lr": 0.1}, {"batch": 7}]}}
    suite = load_params(write_params(tmp_path, broken(changes)))
    tried = budgets(suite, "map")
    assert [(one.lr, one.batch) for one in tried] == [(0.1, 2), (0.5, 7)]
    assert all(one.candidates == [] for one in tried)
    assert budgets(suite, "cat") == [suite.training]


def test_sets_and_bundles_are_grouped_by_what_stands_before_the_stroke(tmp_path):
    params = small_params()
    params["priors"]["both/masks"] = MASKS
    params["priors"]["both/embedding"] = VECTOR | {"images": "data/train"}
    suite = load_params(write_params(tmp_path, params))
    assert {name: list(sets) for name, sets in suite.collections.items()} == {
        "train": ["shake-blur", "held"],
        "test": ["shake-blur"],
    }
    assert list(suite.bundle("both")) == ["masks", "embedding"]
    assert list(suite.bundle("sam-train")) == [""]
    given = entries_given(suite, "both")
    assert given == ["labels", "bits", "vector", "masks.labels", "masks.bits", "embedding.vector"]
    with pytest.raises(BenchError, match=r"priors has no 'boht'; .*did you mean both\?"):
        suite.bundle("boht")


def test_images_that_a_run_restored_are_those_of_its_test_collection(tmp_path):
    suite = load_params(write_params(tmp_path, small_params()))
    assert images_source(suite, "data/train") == "train"
    assert images_source(suite, "restored/map") == "test"


def complaint(folder: str, choice: dict) -> str:
    """What configuring it raises; "" if it is right."""
    try:
        configure(folder, choice, "here")
    except BenchError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("folder", ["methods", "backbones", "priors", "datasets", "degrade"])
def test_a_setting_without_a_default_is_asked_for_by_name(folder):
    for name in registry.names(folder):
        said = complaint(folder, {"name": name})
        asked = r"|here(\.\w+: missing; |: (photographs|photographs_with_depth|clips): give `).*"
        assert re.fullmatch(asked, said), name


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.text(min_size=1, max_size=12),
        st.one_of(st.integers(-1000, 1000), st.text(max_size=9), st.none()),
        min_size=1,
    )
)
def test_no_setting_is_swallowed(extra):
    known = {"channels", "dropout", "overlapping", "name"}
    if known & set(extra):
        return
    with pytest.raises(BenchError, match="unknown key"):
        configure("methods", {"name": "map"} | extra, "runs.x.method")
