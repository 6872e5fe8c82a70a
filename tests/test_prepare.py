"""Pairs and priors of a suite: what moves, what is written, what is refused."""

import numpy as np
import pytest
from conftest import small_params, write_params

from benchlib import pipeline, prepare
from benchlib.contracts import BenchError
from benchlib.files import sha256
from benchlib.imageio import read_image, write_png
from benchlib.params import load_params
from benchlib.priors._store import mask_set
from benchlib.records import read_json, read_pairs, read_table, write_json


def masks_of(*masks: np.ndarray):
    shape, count = masks[0].shape, len(masks)
    return mask_set(masks, shape, np.full(count, 0.9, np.float32), np.full(count, 0.9, np.float32))


def test_what_moves_is_the_region_with_the_most_detail(tmp_path, monkeypatch):
    suite = load_params(write_params(tmp_path, small_params()))
    image = np.full((40, 40, 3), 128, np.uint8)
    image[:10, :10] = np.random.default_rng(0).integers(0, 256, (10, 10, 3))
    write_png(tmp_path / "a.png", image)
    masks = {name: np.zeros((40, 40), bool) for name in ("detail", "sky", "speck", "scene")}
    masks["detail"][:12, :12] = True
    masks["sky"][20:] = True
    masks["speck"][:2, :2] = True
    masks["scene"][:, :39] = True
    monkeypatch.setattr(prepare, "_region_masks", lambda *_: masks_of(*masks.values()))
    assert np.array_equal(prepare.moving_region(suite, tmp_path / "a.png"), masks["detail"])
    monkeypatch.setattr(prepare, "_region_masks", lambda *_: masks_of(masks["speck"], masks["scene"]))
    with pytest.raises(BenchError, match=r"a\.png: SAM finds no region"):
        prepare.moving_region(suite, tmp_path / "a.png")


def test_the_manifest_names_every_file_with_its_hash(small):
    folder = small.work / "data" / "train"
    rows = read_table(folder / "manifest.csv")
    assert len(rows) == 3
    for row in rows:
        for side in ("lq", "hq"):
            assert sha256(folder / row["dataset"] / row[side]) == row[f"sha256_{side}"]
    assert {pair.key for pair in read_pairs(small, "train")} == {f"{r['dataset']}/{r['image']}" for r in rows}


def test_making_the_same_data_again_gives_the_same_files(small):
    folder = small.work / "data" / "train"
    before = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*")}
    prepare.make_data(small, "train")
    assert before == {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*")}


def test_ones_own_folder_is_a_test_set(small, tmp_path):
    for side in ("lq", "hq"):
        write_png(tmp_path / "mine" / side / "cat.png", np.full((20, 30, 3), 9, np.uint8))
    params = small_params()
    params["data"]["test"]["mine"] = {"name": "folder", "path": "mine"}
    suite = load_params(write_params(tmp_path, params))
    prepare.make_data(suite, "test")
    pair = next(pair for pair in read_pairs(suite, "test") if pair.dataset == "mine")
    assert pair.key == "mine/cat"
    assert read_image(pair.lq).shape == (20, 30, 3)


def test_no_prior_is_an_empty_record(small):
    assert read_json(small.work / "priors" / "none" / "prior.json")["images"] == []


def test_priors_of_images_that_no_run_restored_name_the_stage(small):
    with pytest.raises(BenchError, match="run the stage that makes it"):
        prepare.prior_images(small, "restored/no-prior")


def test_rows_that_came_with_a_clone_do_not_pass_for_an_evaluation(small):
    for run in small.runs:
        write_json(small.results / "records" / f"{run}.json", {})
    pipeline.open_suite(str(small.folder / "params.yaml"), "tables")
    for run in small.runs:
        assert list((small.work / "restored" / run).rglob("*.png")), run


def test_weights_are_kept_as_safetensors_under_their_names_with_where_they_came_from(tmp_path, monkeypatch):
    import torch
    from safetensors.torch import load_file

    from benchlib import assets
    from benchlib.prepare import make_weights
    from benchlib.records import read_json

    params = small_params()
    params["weights"]["official"] = {"asset": "imdn-x4"}
    suite = load_params(write_params(tmp_path, params))
    torch.save({"module.a.weight": torch.arange(6.0).reshape(2, 3), "module.a.bias": torch.ones(2)}, tmp_path / "w.pth")
    monkeypatch.setattr(assets, "fetch", lambda name: tmp_path / "w.pth")
    report = make_weights(suite, "official")
    kept = load_file(suite.work / "weights" / "official" / "weights.safetensors")
    assert torch.equal(kept["a.weight"], torch.arange(6.0).reshape(2, 3)) and set(kept) == {"a.weight", "a.bias"}
    assert report == read_json(suite.work / "weights" / "official" / "weights.json")
    assert (report["asset"], report["parameters"], report["tensors"]) == ("imdn-x4", 8, 2)
    assert report["source"][0].endswith("IMDN_x4.pth") and report["licence"] and len(report["sha256"]) == 64
    make_weights(suite, "random")
    assert [file.name for file in (suite.work / "weights" / "random").iterdir()] == ["weights.json"]
