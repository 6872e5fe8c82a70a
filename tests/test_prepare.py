"""Pairs, priors, weights and metrics of a suite: what moves, what is written, what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import run, small_params, write_params
from safetensors.torch import load_file

from benchlib import assets, pipeline, prepare, registry
from benchlib.contracts import BenchError
from benchlib.files import sha256
from benchlib.imageio import read_image, write_png
from benchlib.params import load_params
from benchlib.plan import open_run
from benchlib.priors import superpixels
from benchlib.priors.kinds import masks
from benchlib.records import image_sets, read_json, read_pairs, read_table, write_json


def masks_of(*dense: np.ndarray) -> masks.MaskSet:
    scores = np.full(len(dense), 0.9)
    return masks.mask_set(dense, dense[0].shape, scores, scores)


def test_what_moves_is_the_region_with_the_most_detail(tmp_path, monkeypatch):
    suite = load_params(write_params(tmp_path, small_params()))
    image = np.full((40, 40, 3), 128, np.uint8)
    image[:10, :10] = np.random.default_rng(0).integers(0, 256, (10, 10, 3))
    write_png(tmp_path / "a.png", image)
    dense = {name: np.zeros((40, 40), bool) for name in ("detail", "sky", "speck", "scene")}
    dense["detail"][:12, :12] = True
    dense["sky"][20:] = True
    dense["speck"][:2, :2] = True
    dense["scene"][:, :39] = True
    monkeypatch.setattr(prepare, "prior_of_image", lambda *_: masks_of(*dense.values()))
    assert np.array_equal(prepare.moving_region(suite, tmp_path / "a.png"), dense["detail"])
    too_small_or_large = masks_of(dense["speck"], dense["scene"])
    monkeypatch.setattr(prepare, "prior_of_image", lambda *_: too_small_or_large)
    with pytest.raises(BenchError, match=r"a\.png: SAM finds no region"):
        prepare.moving_region(suite, tmp_path / "a.png")


def test_the_manifest_names_every_file_with_its_hash(small):
    keys = set()
    for name, count in (("shake-blur", 2), ("held", 1)):
        folder = small.work / "data" / "train" / name
        rows = read_table(folder / "manifest.csv")
        assert len(rows) == count
        for row in rows:
            assert tuple(row) == prepare.MANIFEST
            assert row["dataset"] == name
            for side in ("lq", "hq"):
                assert sha256(folder / row[side]) == row[f"sha256_{side}"]
            keys.add(f"{name}/{row['image']}")
    assert {pair.key for pair in read_pairs(image_sets(small, "train"))} == keys


def test_copies_of_a_photograph_are_one_scene(small):
    pairs = read_pairs(image_sets(small, "train").only(["shake-blur"]))
    assert len(pairs) == 2
    assert {pair.scene for pair in pairs} == {"coffee"}


def test_a_set_of_a_collection_is_made_by_itself(small):
    """One stage a set: making one anew leaves its neighbours as they are."""
    held = small.work / "data" / "train" / "held" / "manifest.csv"
    before = held.stat().st_mtime_ns
    prepare.make_data(small, "train/shake-blur")
    assert held.stat().st_mtime_ns == before


def test_making_the_same_data_again_gives_the_same_files(small):
    folder = small.work / "data" / "train"
    before = contents(folder)
    assert before
    prepare.make_data(small, "train/shake-blur")
    prepare.make_data(small, "train/held")
    assert before == contents(folder)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*")}


def test_ones_own_folder_is_a_test_set(small, tmp_path):
    for side in ("lq", "hq"):
        write_png(tmp_path / "mine" / side / "cat.png", np.full((20, 30, 3), 9, np.uint8))
    params = small_params()
    params["data"]["test/mine"] = {"name": "folder", "path": "mine", "degrade": {"name": "none"}}
    suite = load_params(write_params(tmp_path, params))
    prepare.make_data(suite, "test/mine")
    (pair,) = read_pairs(image_sets(suite, "test").only(["mine"]))
    assert pair.key == "mine/cat"
    assert read_image(pair.lq).shape == (20, 30, 3)


def test_no_prior_is_an_empty_record(small):
    record = read_json(small.work / "priors" / "none" / "prior.json")
    assert record["images"] == []
    assert (record["prior"], record["kind"]) == ("none", "none")


def test_a_prior_is_made_for_every_image_of_its_collection_and_kept_for_all_suites(
    tmp_path, monkeypatch
):
    params = small_params()
    slic = {"kind": "masks", "prior": {"name": "superpixels", "segments": 6}}
    params["priors"]["slic-train"] = slic | {"images": "data/train"}
    suite = load_params(write_params(tmp_path, params))
    for key in ("train/shake-blur", "train/held"):
        prepare.make_data(suite, key)
    said = prepare.make_priors(suite, "slic-train")
    report = read_json(suite.work / "priors" / "slic-train" / "prior.json")
    assert said == {name: report[name] for name in report if name != "images"}
    assert (report["prior"], report["kind"], report["source"]) == (
        "superpixels",
        "masks",
        "data/train",
    )
    assert report["version"]["priors/superpixels.py"] == superpixels.VERSION
    pairs = {pair.key: pair for pair in read_pairs(image_sets(suite, "train"))}
    made = {f"{record['dataset']}/{record['image']}": record for record in report["images"]}
    assert made.keys() == pairs.keys()
    for key, pair in pairs.items():
        stored = masks.load(suite.work / "priors" / "slic-train" / f"{key}.npz")
        expected = superpixels.segment(read_image(pair.lq), superpixels.Config(segments=6))
        assert np.array_equal(stored.labels, expected.labels)
        assert made[key]["n_masks"] == len(expected)
    monkeypatch.setattr(superpixels, "segment", None)  # what is kept is not made again
    other = load_params(write_params(tmp_path, params | {"suite": "other"}))
    for key in ("train/shake-blur", "train/held"):
        prepare.make_data(other, key)
    prepare.make_priors(other, "slic-train")
    again = read_json(other.work / "priors" / "slic-train" / "prior.json")
    assert again["images"] == report["images"]


def test_a_refused_image_is_named_when_the_others_are_done(small, monkeypatch):
    params = small_params()
    params["priors"]["slic"] = {
        "kind": "masks",
        "images": "data/train",
        "prior": {"name": "superpixels"},
    }
    suite = load_params(write_params(small.folder, params))
    segment = superpixels.segment
    (held,) = read_pairs(image_sets(suite, "train").only(["held"]))
    refused = read_image(held.lq)

    def refuse_one(image: np.ndarray, config: superpixels.Config) -> masks.MaskSet:
        if np.array_equal(image, refused):
            raise BenchError("too plain")
        return segment(image, config)

    monkeypatch.setattr(superpixels, "segment", refuse_one)
    said = r"priors\.slic: 1 of 3 images refused \(.*\): held/flower: too plain"
    with pytest.raises(BenchError, match=said):
        prepare.make_priors(suite, "slic")
    assert not (suite.work / "priors" / "slic").exists()
    assert len(list(suite.kept_priors.rglob("*.npz"))) == 2


def test_priors_of_images_that_no_run_restored_name_the_stage(small):
    with pytest.raises(BenchError, match="run the stage that makes it"):
        prepare.prior_images(small, "restored/no-prior")


def test_priors_of_restored_images_are_of_what_that_run_restored(small):
    params = small_params()
    params["runs"]["first"] = run({"name": "none"}, images={"train": "train", "test": "train"})
    suite = load_params(write_params(small.folder, params))
    found = {}
    for pair in read_pairs(image_sets(suite, "train")):
        file = suite.work / "restored" / "first" / pair.dataset / f"{pair.image}.png"
        write_png(file, read_image(pair.hq))
        found.setdefault(pair.dataset, {})[pair.image] = file
    assert prepare.prior_images(suite, "restored/first") == found


def test_rows_that_came_with_a_clone_do_not_pass_for_an_evaluation(small):
    for key in small.runs:
        write_json(small.results / "records" / f"{key}.json", {})
    pipeline.open_suite(str(small.folder / "params.yaml"), "tables")
    for key in small.runs:
        assert list((small.work / "restored" / key).rglob("*.png")), key


def test_a_notebook_opened_alone_makes_what_a_run_needs(tmp_path):
    """From nothing to the plan of an evaluation: pairs, metrics, weights, training."""
    params = small_params()
    params["runs"] = {"no-prior": params["runs"]["no-prior"]}
    path = write_params(tmp_path, params)
    plan = pipeline.open_run(str(path), "evaluate", "no-prior")
    assert plan.places.weights(0).exists()
    for name in plan.metrics:
        assert (tmp_path / "work" / "small" / "metrics" / name / "metric.json").exists()
    assert plan.test_pairs()
    assert plan.places == open_run(load_params(path), "no-prior").places


def test_a_metric_s_record_says_what_its_file_says(small):
    for name in small.metrics:
        report = prepare.make_metric(small, name)
        metric = registry.load("metrics", name)
        written = read_json(small.work / "metrics" / name / "metric.json")
        assert written == json.loads(json.dumps(report))
        assert report["version"] == metric.VERSION
        assert report["unit"] == metric.UNIT
        assert report["lower_is_better"] == metric.LOWER_IS_BETTER


def test_weights_are_kept_as_safetensors_under_their_names_with_where_they_came_from(
    tmp_path, monkeypatch
):
    params = small_params()
    params["weights"]["official"] = {"asset": "imdn-x4"}
    suite = load_params(write_params(tmp_path, params))
    saved = {"module.a.weight": torch.arange(6.0).reshape(2, 3), "module.a.bias": torch.ones(2)}
    torch.save(saved, tmp_path / "w.pth")
    monkeypatch.setattr(assets, "fetch", lambda name: tmp_path / "w.pth")
    report = prepare.make_weights(suite, "official")
    kept = load_file(suite.work / "weights" / "official" / "weights.safetensors")
    assert torch.equal(kept["a.weight"], torch.arange(6.0).reshape(2, 3))
    assert set(kept) == {"a.weight", "a.bias"}
    assert report == read_json(suite.work / "weights" / "official" / "weights.json")
    assert (report["asset"], report["parameters"], report["tensors"]) == ("imdn-x4", 8, 2)
    assert report["source"][0].endswith("IMDN_x4.pth")
    assert report["licence"] and len(report["sha256"]) == 64
    prepare.make_weights(suite, "random")
    assert [file.name for file in (suite.work / "weights" / "random").iterdir()] == ["weights.json"]


def test_weights_that_two_names_share_are_kept_under_both(tmp_path, monkeypatch):
    """As SCI's official files have them; safetensors refuses to store what shares memory."""
    params = small_params()
    params["weights"]["official"] = {"asset": "imdn-x4"}
    suite = load_params(write_params(tmp_path, params))
    shared = torch.arange(6.0).reshape(2, 3)
    torch.save({"conv.weight": shared, "blocks.0.weight": shared}, tmp_path / "w.pth")
    monkeypatch.setattr(assets, "fetch", lambda name: tmp_path / "w.pth")
    prepare.make_weights(suite, "official")
    kept = load_file(suite.work / "weights" / "official" / "weights.safetensors")
    assert torch.equal(kept["conv.weight"], shared)
    assert torch.equal(kept["blocks.0.weight"], shared)
