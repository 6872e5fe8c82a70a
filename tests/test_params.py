"""A mistake in params.yaml is one line: the key's path, what it got, what it may be, the nearest name."""

import copy
from pathlib import Path

import pytest
from conftest import run, small_params, write_params
from hypothesis import given, settings
from hypothesis import strategies as st

from benchlib.contracts import BenchError
from benchlib.params import configure, load_params

ROOT = Path(__file__).parent.parent


def broken(**changes) -> dict:
    """The small suite's parameters with dotted paths set; a value of ... removes the key."""
    params = copy.deepcopy(small_params())
    for path, value in changes.items():
        *steps, last = path.split("__")
        here = params
        for step in steps:
            here = here[step.replace("_DASH_", "-")]
        if value is ...:
            del here[last]
        else:
            here[last] = value
    return params


# fmt: off
MISTAKES = [
    (broken(trainin={}), "trainin: unknown key", "did you mean training?"),
    (broken(training__itertions=3), "training.itertions: unknown key", "did you mean iterations?"),
    (broken(training__iterations="many"), "training.iterations: got 'many'", "integer"),
    (broken(training__iterations=-1), "training.iterations: got -1", "greater than or equal to 0"),
    (broken(training__lr=0), "training.lr: got 0", "greater than 0"),
    (broken(runs__map__method={"name": "mpa"}), "runs.map.method.name: got 'mpa'", "did you mean map?"),
    (broken(runs__map__method__dropuot=0.5), "runs.map.method.dropuot: unknown key", "did you mean dropout?"),
    (broken(runs__map__method__dropout=1.5), "runs.map.method.dropout: got 1.5", "less than or equal to 1"),
    (broken(runs__map__method__dropout="0.5"), "runs.map.method.dropout: got '0.5'", "number"),
    (broken(runs__map__training={"lrr": 0.1}), "runs.map.training.lrr: unknown key", "did you mean lr?"),
    (broken(runs__map__train="tarin"), "runs.map.train: got 'tarin'", "did you mean train?"),
    (broken(runs__map__prior__test="sam-tset"), "runs.map.prior.test: got 'sam-tset'", "did you mean sam-test?"),
    (broken(runs__map__backbone=...), "runs.map.backbone: missing", "required"),
    (broken(runs__map__seeds=[]), "runs.map.seeds: got []", "at least 1 item"),
    (broken(evaluation={"protocols": ["basicsr-rbg"]}), "'basicsr-rbg'", "did you mean basicsr-rgb?"),
    (broken(priors__none__images="data/trian"), "priors.none.images: got 'data/trian'", "did you mean data/train?"),
    (broken(runs__map__seeds=[1, 1]), "runs.map.seeds: got [1, 1]", "each seed once"),
    (broken(evaluation={"tile": 64, "overlap": 64}), "evaluation.overlap: got 64", "less than tile, 64"),
    (broken(runs__map__prior__test="none"), "runs.map.prior.test: got 'none'", "method map needs labels"),
    (broken(runs__map__prior__test="sam-train"), "runs.map.prior.test: got 'sam-train'", "did you mean sam-test?"),
    (broken(priors={**small_params()["priors"], "sam-train": {**small_params()["priors"]["sam-train"],
        "images": "restored/map"}}, runs__map__test="train",
        runs__map__prior={"train": "sam-train", "test": "sam-train"}),
        "run 'map' would wait for itself", "another run"),
    (broken(data__test={"a": {**small_params()["data"]["test"]["shake-blur"], "images": ["chelsae"]}}),
        "data.test.a: got 'chelsae'", "did you mean chelsea?"),
    (broken(runs__map__init="weights/randm"), "runs.map.init: got 'weights/randm'", "did you mean weights/random?"),
    (broken(runs={**small_params()["runs"], "alpha-0.5": small_params()["runs"]["map"]}),
        "runs.alpha-0.5: got 'alpha-0.5'", "letters, digits, - and _"),
    (broken(runs__map__init="runs/map"), "runs.map.init: run 'map' would wait for itself", "another run"),
    (broken(weights={"random": {"asset": "sam-vit-x"}}), "weights.random.asset: got 'sam-vit-x'", "mean sam-vit-"),
    (broken(runs__map__reference="no-priors"), "runs.map.reference: got 'no-priors'", "did you mean no-prior?"),
    (broken(runs__map__training={"sets": ["held"]}), "training.sets: got 'held'", "may be shake-blur"),
    (broken(runs__map__training={"candidates": [{"lrr": 1.0}]}), "training.candidates.0.lrr: unknown key", "mean lr?"),
    (broken(runs__cat__training={"keep": "best"}), "runs.cat.validation: missing", "choose by it"),
    (broken(training__watch="basicsr-yy"), "got 'basicsr-yy'", "did you mean basicsr-y?"),
    (broken(controls={"a": {"label": "a", "base": "no-prior", "zeroed": "cat", "segmentation": "cat", "prior": "mpa"}}),
        "controls.a.prior: got 'mpa'", "did you mean map?"),
    (broken(runs__map__paper="sam-deblurr"), "runs.map.paper: got 'sam-deblurr'", "did you mean sam-deblur?"),
    (broken(runs__map__backbone={"name": "nafnet", "encoder": [-1], "decoder": [1]}), "backbone.encoder.0: got -1",
        "greater than or equal to 0"),
    (broken(data__test={"b/ad": {}}), "data.test.b/ad", "letters, digits"),
]
# fmt: on


@pytest.mark.parametrize(("params", "where", "what"), MISTAKES, ids=[where for _, where, _ in MISTAKES])
def test_a_mistake_is_one_line_that_names_it(tmp_path, params, where, what):
    with pytest.raises(BenchError) as error:
        load_params(write_params(tmp_path, params))
    line = str(error.value)
    assert "params.yaml: " in line
    assert where in line
    assert what in line
    assert "\n" not in line


def test_the_check_of_settings_is_remembered_and_forgotten_on_a_change(tmp_path):
    path = write_params(tmp_path, small_params())
    first = load_params(path)
    assert len(list((first.work / ".checked").iterdir())) == 1
    load_params(path)
    assert len(list((first.work / ".checked").iterdir())) == 1
    write_params(tmp_path, broken(runs__map__method__dropuot=0.5))
    with pytest.raises(BenchError, match="dropuot"):
        load_params(path)


def test_a_photograph_has_one_side(tmp_path):
    params = small_params()
    params["data"]["test"]["shake-blur"]["images"] = ["coffee"]
    with pytest.raises(BenchError, match=r"runs.blurred.test: 'coffee' is trained on too, in data.train.shake-blur"):
        load_params(write_params(tmp_path, params))
    params = small_params()  # a run that never saw it, but starts from one that did
    params["data"]["other"] = {"shake-blur": params["data"]["test"]["shake-blur"] | {"images": ["coffee"]}}
    params["data"]["clean"] = {"shake-blur": params["data"]["test"]["shake-blur"] | {"images": ["rocket"]}}
    params["runs"]["tuned"] = run({"name": "none"}, train="clean", test="other", init="runs/no-prior")
    with pytest.raises(BenchError, match=r"runs.tuned.test: 'coffee' is trained on too, in data.train.shake-blur"):
        load_params(write_params(tmp_path, params))


def test_parts_of_one_list_are_sides_if_they_do_not_meet(tmp_path):
    params = small_params()
    parts = (("train", "shake-blur", [0, 60]), ("train", "held", [60, 70]), ("test", "shake-blur", [69, 80]))
    for where, key, part in parts:
        params["data"][where][key] |= {"images": ["coffee"], "part": part, "copies": 1}
    with pytest.raises(BenchError, match=r"runs.blurred.test: 'coffee' \[60, 70\] and \[69, 80\] is trained on too"):
        load_params(write_params(tmp_path, params))
    params["data"]["test"]["shake-blur"]["part"] = [70, 80]
    load_params(write_params(tmp_path, params))


def test_what_chooses_is_not_trained_on(tmp_path):
    params = small_params()
    params["data"]["train"]["held"]["images"] = ["coffee"]
    with pytest.raises(BenchError, match=r"validation: 'coffee' is trained on too"):
        load_params(write_params(tmp_path, params))


def test_a_key_given_twice_is_refused(tmp_path):
    (tmp_path / "params.yaml").write_text("suite: a\nsuite: b\n")
    with pytest.raises(BenchError, match=r"not YAML.*duplicate key"):
        load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize("path", sorted(ROOT.glob("**/params.yaml")), ids=lambda p: p.parent.name)
def test_the_suites_of_the_project_are_right(path):
    suite = load_params(path)
    assert suite.results == ROOT / "results" / suite.suite


def test_a_run_changes_the_suites_budget(tmp_path):
    suite = load_params(write_params(tmp_path, broken(runs__map__training={"lr": 0.5})))
    assert suite.training_of("map").lr == 0.5
    assert suite.training_of("map").iterations == suite.training.iterations
    assert suite.training_of("cat") == suite.training


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=12), st.one_of(st.integers(), st.text(), st.none()), min_size=1))
def test_no_setting_is_swallowed(extra):
    known = {"channels", "dropout", "overlapping", "name"}
    if known & set(extra):
        return
    with pytest.raises(BenchError, match="unknown key"):
        configure("methods", {"name": "map"} | extra, "runs.x.method")
