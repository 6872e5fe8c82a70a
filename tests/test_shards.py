"""One prior, or one evaluation, by several workers: what comes out is what one worker makes."""

import json
import shutil

import pytest
from conftest import make_inputs, small_params, write_params
from test_evaluate import suite_with

from benchlib import finished, shards
from benchlib.cli import main
from benchlib.contracts import BenchError
from benchlib.evaluate import _Restorer, evaluate, evaluate_shard
from benchlib.params import Suite, load_params
from benchlib.plan import open_run
from benchlib.prepare import make_metric, make_priors, make_priors_shard
from benchlib.priors._loop import Provider
from benchlib.train.record import train

PHOTOS = ["chelsea", "rocket", "china"]


def contents(folder) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def several(folder) -> Suite:
    """The small suite with three test photographs, and superpixels in the masks' place."""
    made = small_params()
    made["data"]["test/shake-blur"]["images"] = PHOTOS
    slic = {"name": "superpixels", "kind": "slic", "segments": 4}
    for side in ("train", "test"):
        made["priors"][f"sam-{side}"]["prior"] = slic
    made["evaluation"]["swap"] = ["zeroed", "shuffled"]
    made["runs"]["map"]["seeds"] = [0, 1]
    return load_params(write_params(folder, made))


def none_left(*_given):
    raise AssertionError("done again")


# ---------------------------------------------------------------- priors


def test_a_prior_by_shards_is_the_prior_of_one_worker(tmp_path, monkeypatch):
    suite = several(tmp_path)
    make_inputs(suite, priors=("none", "sam-test"))
    folder = suite.work / "priors" / "sam-test"
    alone = contents(folder)
    shutil.rmtree(folder)
    shutil.rmtree(suite.kept_priors)
    assert [make_priors_shard(suite, "sam-test", i, 2) for i in range(2)] == [2, 1]
    assert not folder.exists()
    assert not list(suite.kept_priors.glob(".new-*"))
    monkeypatch.setattr(Provider, "make", none_left)
    make_priors(suite, "sam-test")
    together = contents(folder)
    record, timed = (json.loads(made.pop("prior.json")) for made in (alone, together))
    assert together == alone
    for images in (record["images"], timed["images"]):
        for image in images:
            image.pop("seconds")
            image.pop("peak_mib")
    assert timed == record
    assert make_priors_shard(suite, "sam-test", 0, 1) == 3  # nothing is computed again
    assert make_priors_shard(suite, "none", 0, 2) == 0


def test_what_an_earlier_version_kept_in_one_folder_is_found(tmp_path, monkeypatch):
    suite = several(tmp_path)
    make_inputs(suite, priors=("none", "sam-test"))
    files = [file for file in suite.kept_priors.rglob("*") if file.is_file()]
    assert len(files) == 6
    assert all(file.parent.name == file.name[:3] for file in files)
    for file in files:
        file.rename(suite.kept_priors / file.name)
    monkeypatch.setattr(Provider, "make", none_left)
    make_priors(suite, "sam-test")


def test_an_image_that_a_prior_refuses_is_named_by_its_shard(tmp_path):
    suite = several(tmp_path)
    make_inputs(suite)
    lq = next((suite.work / "data" / "test" / "shake-blur").rglob("lq/*rocket*"))
    lq.write_bytes(b"no picture")
    with pytest.raises(BenchError, match=r"priors.sam-test: 1 of 1 images refused .*rocket"):
        for index in range(2):
            make_priors_shard(suite, "sam-test", index, 2)


# ---------------------------------------------------------------- evaluation


@pytest.fixture
def trained(tmp_path):
    suite = several(tmp_path)
    make_inputs(suite, priors=("none", "sam-train", "sam-test"))
    for metric in suite.metrics:
        make_metric(suite, metric)
    train(open_run(suite, "map"))
    return suite


def outputs(suite: Suite) -> dict[str, bytes]:
    made = contents(suite.work / "restored" / "map") | contents(suite.results / "rows")
    record = json.loads((suite.results / "records" / "map.json").read_text())
    record.pop("evaluate_seconds")
    return made | {"record": json.dumps(record).encode()}


def test_an_evaluation_by_shards_is_that_of_one_worker(trained, monkeypatch):
    plan = open_run(trained, "map")
    evaluate(plan)
    alone = outputs(trained)
    shutil.rmtree(trained.work / "restored")
    shutil.rmtree(trained.results / "rows")
    assert [evaluate_shard(plan, i, 2) for i in range(2)] == [4, 2]
    assert [evaluate_shard(plan, i, 3) for i in range(3)] == [0, 0, 0]  # nothing is done again
    assert not (trained.work / "restored").exists()
    monkeypatch.setattr(_Restorer, "rows", none_left)
    evaluate(plan)
    assert outputs(trained) == alone
    assert not list((trained.work / ".resume").glob("images-*"))


def test_what_no_shard_has_finished_is_done_by_the_stage(trained):
    plan = open_run(trained, "map")
    evaluate(plan)
    alone = outputs(trained)
    evaluate_shard(plan, 0, 2)
    (folder,) = (trained.work / ".resume").glob("images-*")
    damaged, *_ = sorted(folder.glob("seed0/*/*.json"))
    damaged.write_text('{"rows": [')
    evaluate(plan)
    assert outputs(trained) == alone


def test_images_that_were_made_from_something_else_are_not_taken(trained, monkeypatch):
    plan = open_run(trained, "map")
    evaluate_shard(plan, 0, 1)
    weights = plan.places.weights(1)
    shutil.copyfile(plan.places.weights(0), weights)
    assert not finished.open_finished(plan, {}).has(0, plan.test_pairs()[0])
    evaluate(plan)
    assert not list((trained.work / ".resume").glob("images-*"))  # none of the run is left


def test_the_record_tells_the_threads_and_seconds_of_the_shards(tmp_path):
    suite = suite_with(tmp_path, evaluation={"threads": 2})
    make_inputs(suite)
    plan = open_run(suite, "no-prior")
    train(plan)
    evaluate_shard(plan, 0, 1)
    done = finished.open_finished(plan, {})
    (pair,) = plan.test_pairs()
    note = done._note(0, pair)
    kept = json.loads(note.read_text())
    note.write_text(json.dumps(kept | {"seconds": 1000.0}))
    evaluate(plan)
    record = json.loads(plan.places.record.read_text())
    assert record["evaluate_threads"] == 2
    assert record["evaluate_seconds"] >= 1000


# ---------------------------------------------------------------- the command


def test_the_command_runs_a_shard_or_all_of_them(trained, capfd):
    params = str(trained.folder / "params.yaml")
    assert main(["shard", params, "evaluate@map", "-n", "2", "--index", "1"]) == 0
    assert "shard 1 of 2: 2 images" in capfd.readouterr().out
    assert main(["shard", params, "evaluate@map", "-n", "2"]) == 0
    said = capfd.readouterr().out
    assert "evaluate@map: all 2 shards are done; now: benchlib run" in said
    plan = open_run(trained, "map")
    done = finished.open_finished(plan, {})
    for seed in plan.entry.seeds:
        assert all(done.has(seed, pair) for pair in plan.test_pairs())


def test_what_has_no_shards_or_no_inputs_is_one_line(small, capsys):
    params = str(small.folder / "params.yaml")
    for metric in small.metrics:
        make_metric(small, metric)
    wrong = {
        ("train@map", "-n", "2"): "has no shards",
        ("evaluate", "-n", "2"): "has no shards",
        ("evaluate@map", "-n", "2", "--index", "2"): "train@map",
        ("priors@sam-test", "-n", "2", "--index", "2"): "shard 2 of 2",
        ("priors@sam-tset", "-n", "2"): "did you mean sam-test?",
    }
    for words, said in wrong.items():
        assert main(["shard", params, *words]) == 1
        err = capsys.readouterr().err
        assert said in err and err.count("\n") == 1
    with pytest.raises(BenchError, match="benchlib run small train@map"):
        shards.check_stage(small, "evaluate", "map")
