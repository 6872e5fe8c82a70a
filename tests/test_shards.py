"""One prior, or one evaluation, by several workers: what comes out is what one worker makes."""

import json
import math
import shutil
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from conftest import make_inputs, small_params, write_params
from test_evaluate import suite_with

from benchlib import files, finished, shards
from benchlib.cli import main
from benchlib.contracts import BenchError
from benchlib.evaluate import _Restorer, evaluate, evaluate_shard
from benchlib.imageio import write_png
from benchlib.params import Suite, load_params
from benchlib.plan import open_run
from benchlib.prepare import make_metric, make_priors, make_priors_shard
from benchlib.priors._loop import Provider
from benchlib.records import PAIR, each_entry, write_json, write_listing, write_table
from benchlib.report import show
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


def test_a_shard_tells_a_prior_the_images_set_and_name(tmp_path, monkeypatch):
    made = small_params()
    name = {"name": "named_degradation", "sets": {"shake-blur": "blur"}, "weights": "random"}
    made["priors"]["name"] = {"kind": "tokens", "images": "data/test", "prior": name}
    suite = load_params(write_params(tmp_path, made))
    make_inputs(suite)
    assert make_priors_shard(suite, "name", 0, 1) == 1
    monkeypatch.setattr(Provider, "make", none_left)
    make_priors(suite, "name")


# ---------------------------------------------------------------- very many images


def many(folder, count: int) -> Suite:
    """The small suite, whose test set names one picture of 8 pixels as so many images."""
    folder.mkdir()
    made = small_params()
    slic = {"name": "superpixels", "kind": "slic", "segments": 2}
    made["priors"]["sam-test"]["prior"] = slic
    suite = load_params(write_params(folder, made))
    place = suite.work / "data" / "test" / "shake-blur"
    write_png(place / "lq" / "a.png", np.zeros((8, 8, 3), np.uint8))
    lines = []
    for i in range(count):
        files = {"lq": "lq/a.png", "hq": "lq/a.png"}
        lines.append({"image": f"i{i}", "asset": "", "source": f"i{i}"} | files)
    write_table(place / "manifest.csv", PAIR, lines)
    return suite


def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    peaks = []
    for count in (100, 1500):
        suite = many(tmp_path / str(count), count)
        make_priors_shard(suite, "sam-test", 0, 100)  # what is loaded once
        tracemalloc.start()
        make_priors_shard(suite, "sam-test", 0, 1)
        make_priors(suite, "sam-test")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # a record takes 1,500 bytes; what Python has not yet cleared up of zip files 200 an image
    assert peaks[1] - peaks[0] < 1400 * 500
    listed = (suite.work / "priors" / "sam-test" / "prior.json").read_text().splitlines()
    assert sum('"image": "i' in line for line in listed) == 1500


def test_a_listing_of_many_lines_reads_as_any_json(tmp_path):
    entries = [{"image": "a]\n", "x": math.nan}, {"image": " ],", "x": 1}]
    file = tmp_path / "prior.json"
    write_listing(file, {"zoo": 1, "ape": {"b": [2]}}, "images", iter(entries))
    whole = json.loads(file.read_text())
    assert whole["zoo"] == 1 and whole["ape"] == {"b": [2]}
    assert list(each_entry(file, "images")) == whole["images"]
    assert whole["images"] == [{"image": "a]\n", "x": "nan"}, {"image": " ],", "x": 1}]
    for other in (whole, {"images": whole["images"]}):  # of another layout
        write_json(file, other)
        assert list(each_entry(file, "images")) == whole["images"]
    write_listing(file, {"zoo": 1}, "images", [])
    assert list(each_entry(file, "images")) == json.loads(file.read_text())["images"] == []
    file.write_text('{\n "images": [\n  {"image": \n')
    with pytest.raises(BenchError, match=r"prior.json: is no whole JSON"):
        list(each_entry(file, "images"))


def test_no_folder_has_too_many_files(tmp_path, monkeypatch):
    """A set's images, its priors, its finished and its restored images lie apart, and are found."""
    outcomes = []
    for most in (10_000, 1):
        monkeypatch.setattr(files, "MOST", most)
        (tmp_path / str(most)).mkdir()
        suite = several(tmp_path / str(most))
        make_inputs(suite, priors=("none", "sam-train", "sam-test"))
        for metric in suite.metrics:
            make_metric(suite, metric)
        plan = open_run(suite, "map")
        train(plan)
        evaluate_shard(plan, 0, 2)
        evaluate(plan)
        place = suite.work / "restored" / "map" / "shake-blur"
        values = pd.read_csv(plan.places.rows)[["image", "metric", "swap", "value"]]
        pictures = {file.name: file.read_bytes() for file in place.rglob("*.png")}
        assert len(pictures) == len(PHOTOS)
        outcomes.append((values.to_csv(), pictures))
        show.restored(plan)
        show.prior_pictures(suite, "sam-test")
        if most == 1:
            for folder in (place, suite.work / "priors/sam-test/shake-blur"):
                assert all(inside.is_dir() for inside in folder.iterdir())
            assert not list((suite.work / "data/test/shake-blur/lq").glob("*.png"))
    assert outcomes[0] == outcomes[1]


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
