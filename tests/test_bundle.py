"""A run's side of its prior: several priors read by one method, and the controls for any kind."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import add_file, fake_masks, run, small_params, striped, write_params
from hypothesis import given
from hypothesis import strategies as st

from benchlib.checks import check_choices
from benchlib.contracts import BenchError, Window
from benchlib.evaluate import evaluate
from benchlib.params import Suite, load_params
from benchlib.pipeline import inputs
from benchlib.plan import open_run
from benchlib.prepare import make_data, make_priors, make_weights, prior_images
from benchlib.priors._read import Part, PriorSet, donors
from benchlib.priors.kinds import masks, points, vector
from benchlib.records import write_json
from benchlib.train.record import train

SIZE = (12, 40)  # pixels: H, W
READER = '''
"""Reads one prior of each kind, and one by its part's name."""

from dataclasses import dataclass

from torch import nn

from benchlib.contracts import Info, need

VERSION = 1
INFO = Info("", "", ("labels", "vector", "masks.labels"), "reader")


@dataclass(frozen=True)
class Config:
    """Nothing to set."""


class Reader(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.network = backbone()
        self.mix = nn.Linear(256, 3)

    def forward(self, batch):
        labels, named = need("reader", batch, "labels"), need("reader", batch, "masks.labels")
        assert labels.equal(named)
        shift = self.mix(need("reader", batch, "vector"))[:, :, None, None]
        return self.network(batch["lq"]) + 0.01 * shift * (labels > 0)[:, None]


def build(backbone, config):
    return Reader(backbone)
'''


def some_vector(seed: int) -> vector.Vector:
    return vector.Vector(np.random.default_rng(seed).normal(size=256).astype(np.float32))


def part(folder: Path, name: str, kind: str) -> Part:
    """Priors of the pictures ``a``, ``a_c1`` and ``b`` of one set."""
    scenes = {"a": "a", "a_c1": "a", "b": "b"}
    images = [{"dataset": "set", "image": one, "scene": said} for one, said in scenes.items()]
    write_json(folder / name / "prior.json", {"images": images})
    for i, image in enumerate(("a", "a_c1", "b")):
        file = folder / name / "set" / f"{image}.npz"
        if kind == "masks":
            masks.save(file, striped(SIZE))
        else:
            vector.save(file, some_vector(i))
    return Part(name, kind, folder / name)


# --- a bundle -------------------------------------------------------------------------------------


def test_a_method_reads_each_part_by_its_entry_and_by_its_part_s_name(tmp_path) -> None:
    parts = (part(tmp_path, "masks", "masks"), part(tmp_path, "embedding", "vector"))
    needs = ("labels", "vector", "masks.labels", "embedding.vector")
    prior = PriorSet(parts, needs)
    crops = []
    for image in ("a", "b"):
        stored = prior.load("set", image, SIZE)
        assert list(stored) == ["masks", "embedding"]
        crops.append(prior.crop(stored, Window(2, 4, 8, 16)))
    batch = prior.collate(crops)
    assert set(batch) == set(needs)
    assert batch["labels"].shape == (2, 8, 16) and batch["labels"][0, 0, 0] == 1
    assert torch.equal(batch["labels"], batch["masks.labels"])
    assert torch.equal(batch["vector"], batch["embedding.vector"])
    expected = np.stack([some_vector(0).values, some_vector(2).values])
    assert np.array_equal(batch["vector"].numpy(), expected)


def test_what_two_parts_give_is_there_under_their_names_alone(tmp_path) -> None:
    parts = (part(tmp_path, "one", "vector"), part(tmp_path, "two", "vector"))
    vector.save(tmp_path / "two" / "set" / "a.npz", some_vector(9))
    prior = PriorSet(parts, ("one.vector", "two.vector"))
    crops = [prior.crop(prior.load("set", "a", SIZE), Window(0, 0, 8, 8))]
    batch = prior.collate(crops)
    assert np.array_equal(batch["one.vector"][0].numpy(), some_vector(0).values)
    assert np.array_equal(batch["two.vector"][0].numpy(), some_vector(9).values)
    with pytest.raises(BenchError, match="gives no 'vector'; may be one.vector, two.vector"):
        PriorSet(parts, ("vector",)).collate(crops)


def test_a_method_that_reads_nothing_needs_no_file(tmp_path) -> None:
    prior = PriorSet((Part("", "masks", tmp_path / "absent"),), ())
    stored = prior.load("set", "a", SIZE)
    assert stored == {}
    assert prior.collate([prior.crop(stored, Window(0, 0, 8, 8))]) == {}


def test_a_part_of_which_nothing_is_read_is_not_loaded(tmp_path) -> None:
    parts = (part(tmp_path, "masks", "masks"), Part("embedding", "vector", tmp_path / "absent"))
    for needs in (("labels",), ("masks.labels",)):
        prior = PriorSet(parts, needs)
        assert [one.name for one in prior.read()] == ["masks"]
        stored = prior.load("set", "a", SIZE)
        assert list(stored) == ["masks"]
        assert set(prior.collate([prior.crop(stored, Window(0, 0, 8, 8))])) == set(needs)
    with pytest.raises(BenchError, match="absent"):
        PriorSet(parts, ("labels", "vector")).load("set", "a", SIZE)


def test_rows_and_pictures_say_of_which_part_they_are(tmp_path) -> None:
    parts = (part(tmp_path, "embedding", "vector"), part(tmp_path, "masks", "masks"))
    prior = PriorSet(parts, ("labels", "vector"))
    stored = prior.load("set", "a", SIZE)
    facts = prior.facts(stored)
    norm = float(np.linalg.norm(some_vector(0).values.astype(np.float64)))
    assert facts["embedding.norm"] == pytest.approx(norm, rel=1e-9)
    assert (facts["masks.masks"], facts["masks.coverage"]) == (4, 32 / 40)
    shown = prior.picture(stored, np.zeros((*SIZE, 3), np.uint8))
    assert shown is not None and shown.shape == (*SIZE, 3)
    by_itself = PriorSet((Part("", "masks", tmp_path / "masks"),), ("labels",))
    assert set(by_itself.facts(by_itself.load("set", "a", SIZE))) == {"masks", "coverage"}


def bundled_params() -> dict:
    """The small suite, with masks and embeddings in a bundle each side."""
    params = small_params()
    params["runs"] = {"map": run({"name": "map"}, "both")}
    for side in ("train", "test"):
        images = {"images": f"data/{side}"}
        sam = {"kind": "masks", "prior": {"name": "sam", "points_per_side": 2}}
        params["priors"][f"both-{side}/masks"] = sam | images
        embedding = {"kind": "vector", "prior": {"name": "sam_embedding"}}
        params["priors"][f"both-{side}/embedding"] = embedding | images
    return params


def fake_vectors(suite: Suite, key: str) -> None:
    for dataset, images in prior_images(suite, suite.prior(key).images).items():
        for i, name in enumerate(images):
            vector.save(suite.work / "priors" / key / dataset / f"{name}.npz", some_vector(i))
    write_json(suite.work / "priors" / key / "prior.json", {"images": []})


def test_a_run_trains_on_a_bundle_and_is_restored_with_each_control(tmp_path, monkeypatch) -> None:
    (tmp_path / "reader.py").write_text(READER)
    add_file(monkeypatch, "methods", tmp_path / "reader.py")
    params = bundled_params()
    params["runs"]["reader"] = run({"name": "reader"}, "both")
    params["evaluation"]["swap"] = ["zeroed", "shuffled"]
    path = write_params(tmp_path, params)
    suite = load_params(path)
    check_choices(suite, path)
    assert inputs(suite, "train", "reader")[-3:] == [
        ("priors", "both-train/masks"),
        ("priors", "both-train/embedding"),
        ("weights", "random"),
    ]
    for key in suite.data:
        make_data(suite, key)
    make_weights(suite, "random")
    for side in ("train", "test"):
        fake_masks(suite, f"both-{side}/masks")
        fake_vectors(suite, f"both-{side}/embedding")
    for key in ("map", "reader"):
        plan = open_run(suite, key)
        train(plan)
        rows = evaluate(plan)
        assert {row["swap"] for row in rows} == {"", "zeroed", "shuffled"}
        metrics = {row["metric"] for row in rows}
        assert {"masks.masks", "masks.coverage"} <= metrics
        assert ("embedding.norm" in metrics) is (key == "reader")  # the other one does not read it


def test_a_method_whose_entry_two_parts_give_is_refused_by_the_checks(tmp_path) -> None:
    params = bundled_params()
    for side in ("train", "test"):
        params["priors"][f"both-{side}/more"] = params["priors"][f"both-{side}/masks"]
    path = write_params(tmp_path, params)
    with pytest.raises(BenchError) as error:
        check_choices(load_params(path), path)
    assert str(error.value) == (
        f"{path}: runs.map.prior.train: got 'both-train', which gives vector, masks.labels, "
        "masks.bits, embedding.vector, more.labels, more.bits; method map needs labels"
    )


def test_a_bundle_s_parts_are_of_the_run_s_own_images(tmp_path) -> None:
    params = bundled_params()
    params["runs"]["map"]["prior"] = {"train": "both-test", "test": "both-test"}
    with pytest.raises(BenchError, match=r"prior\.train: got 'both-test'.* may be both-train"):
        load_params(write_params(tmp_path, params))


def test_two_parts_of_a_bundle_are_two_stages_of_one_folder(tmp_path) -> None:
    params = small_params()
    slic = {"kind": "masks", "images": "data/train", "prior": {"name": "superpixels"}}
    params["priors"] |= {"two/a": slic, "two/b": slic | {"prior": slic["prior"] | {"segments": 4}}}
    suite = load_params(write_params(tmp_path, params))
    make_data(suite, "train/shake-blur")
    make_data(suite, "train/held")
    for key in ("two/a", "two/b"):
        make_priors(suite, key)
    files = sorted(str(f.relative_to(suite.work / "priors")) for f in suite.work.rglob("*.npz"))
    files = [file for file in files if file.startswith("two")]
    assert [file for file in files if "coffee.npz" in file] == [
        "two/a/shake-blur/coffee.npz",
        "two/b/shake-blur/coffee.npz",
    ]


# --- controls -------------------------------------------------------------------------------------


@given(
    st.lists(
        st.from_regex(r"[a-z]{1,3}(-[0-9])?(_c[0-9])?", fullmatch=True),
        max_size=12,
        unique=True,
    )
)
def test_shuffled_never_gives_a_photograph_its_own_prior(names: list[str]) -> None:
    def made_of(name: str) -> str:
        return re.sub(r"(-[0-9])?(_c[0-9])?$", "", name)

    scenes = {name: made_of(name) for name in names}
    chosen = donors(scenes)
    assert set(chosen) == set(names) and set(chosen.values()) <= set(names)
    assert chosen == donors(dict(reversed(scenes.items())))
    if len({made_of(name) for name in names}) > 1:
        assert all(made_of(name) != made_of(donor) for name, donor in chosen.items())
    for first in names:
        for second in names:
            if made_of(first) == made_of(second):
                assert made_of(chosen[first]) == made_of(chosen[second])


def test_the_derangement_of_before_kinds_is_that_of_now() -> None:
    """Computed by the prior ``shuffled`` that this took the place of."""
    scenes = dict.fromkeys(["chelsea", "chelsea_c1"], "chelsea")
    scenes |= dict.fromkeys(["motorcycle", "motorcycle-2_c1"], "motorcycle")
    scenes |= {"grace-hopper": "grace-hopper", "coffee": "coffee"}
    assert donors(scenes) == {
        "grace-hopper": "chelsea",
        "chelsea": "motorcycle",
        "chelsea_c1": "motorcycle-2_c1",
        "motorcycle": "coffee",
        "motorcycle-2_c1": "coffee",
        "coffee": "grace-hopper",
    }


def test_zeroed_is_the_kind_s_nothing_for_every_image(tmp_path) -> None:
    parts = (part(tmp_path, "masks", "masks"), part(tmp_path, "embedding", "vector"))
    prior = PriorSet(parts, ("labels", "bits", "vector"), "zeroed")
    crop = prior.crop(prior.load("set", "a", SIZE), Window(0, 0, *SIZE))
    batch = prior.collate([crop])
    assert batch["bits"].shape == (1, 0, *SIZE)
    assert not batch["labels"].any() and not batch["vector"].any()


def test_shuffled_is_the_donor_s_prior_at_the_image_s_size(tmp_path) -> None:
    for name, size in (("a", (12, 40)), ("b", (24, 20))):
        labels = np.zeros((1, *size), bool)
        labels[0, : size[0] // 2, : size[1] // 4] = True
        stored = masks.mask_set(labels, size, np.ones(1), np.ones(1))
        masks.save(tmp_path / "p" / "set" / f"{name}.npz", stored)
    prior = PriorSet((Part("", "masks", tmp_path / "p"),), ("labels",), "shuffled")
    got = prior.load("set", "a", (12, 40))[""]
    expected = np.zeros((12, 40), int)
    expected[:6, :10] = 1  # b's 12 of 24 rows, 5 of 20 columns
    assert np.array_equal(got.labels, expected)


def test_a_lone_photograph_s_prior_is_turned(tmp_path) -> None:
    for name in ("a", "a_c1"):
        masks.save(tmp_path / "m" / "set" / f"{name}.npz", striped(SIZE))
        vector.save(tmp_path / "v" / "set" / f"{name}.npz", some_vector(3))
    images = [{"dataset": "set", "image": name, "scene": "one"} for name in ("a", "a_c1")]
    for part in ("m", "v"):
        write_json(tmp_path / part / "prior.json", {"images": images})
    parts = (Part("m", "masks", tmp_path / "m"), Part("v", "vector", tmp_path / "v"))
    stored = PriorSet(parts, ("labels", "vector"), "shuffled").load("set", "a", SIZE)
    assert np.array_equal(stored["m"].labels, striped(SIZE).labels[::-1, ::-1])
    assert np.array_equal(stored["v"].values, some_vector(3).values[::-1])


def test_own_images_that_are_numbered_are_not_taken_for_tiles_of_one_photograph(tmp_path) -> None:
    for seed, name in enumerate(("street-1", "street-2")):
        vector.save(tmp_path / "v" / "set" / f"{name}.npz", some_vector(seed))
    prior = PriorSet((Part("", "vector", tmp_path / "v"),), ("vector",), "shuffled")
    got = prior.load("set", "street-1", SIZE)[""]
    assert np.array_equal(got.values, some_vector(1).values)  # the other's, as it is: not turned


def test_frames_of_one_sequence_get_another_sequence_s_prior_whatever_their_names(tmp_path) -> None:
    scenes = {"x": "first", "y": "first", "z": "second"}
    for seed, name in enumerate(scenes):
        vector.save(tmp_path / "v" / "set" / f"{name}.npz", some_vector(seed))
    images = [{"dataset": "set", "image": name, "scene": said} for name, said in scenes.items()]
    write_json(tmp_path / "v" / "prior.json", {"images": images})
    prior = PriorSet((Part("", "vector", tmp_path / "v"),), ("vector",), "shuffled")
    for name in ("x", "y"):
        assert np.array_equal(prior.load("set", name, SIZE)[""].values, some_vector(2).values)


@pytest.mark.parametrize("control", [None, "zeroed", "shuffled"])
def test_a_prior_that_is_not_there_is_named_whatever_stands_in_its_place(tmp_path, control) -> None:
    prior = PriorSet((Part("", "vector", tmp_path / "absent"),), ("vector",), control)
    with pytest.raises(BenchError, match=r"absent/set/a\.npz: .*run the priors stage again"):
        prior.load("set", "a", SIZE)
    there = PriorSet((part(tmp_path, "here", "vector"),), ("vector",), control)
    with pytest.raises(BenchError, match=r"here/set/c\.npz: .*run the priors stage again"):
        there.load("set", "c", SIZE)


def test_another_image_s_prior_is_looked_for_anew_when_the_folder_has_changed(tmp_path) -> None:
    prior = PriorSet((part(tmp_path, "p", "vector"),), ("vector",), "shuffled")
    before = prior.load("set", "a", SIZE)["p"].values
    assert np.array_equal(before, some_vector(2).values)  # b's: there is no other photograph
    vector.save(tmp_path / "p" / "set" / "c.npz", some_vector(7))
    given = [prior.load("set", image, SIZE)["p"].values for image in ("a", "b", "c")]
    assert any(np.array_equal(values, some_vector(7).values) for values in given)


@pytest.mark.parametrize("control", [None, "zeroed"])
def test_a_prior_of_another_size_is_refused_by_name(tmp_path, control) -> None:
    prior = PriorSet((part(tmp_path, "p", "masks"),), ("labels",), control)
    with pytest.raises(BenchError, match=r"a\.npz: .*another size than the image's \(40, 12\)"):
        prior.load("set", "a", (40, 12))


def test_points_go_through_the_same_way(tmp_path) -> None:
    """A kind that no run of the project reads yet: stored, cropped, batched and zeroed."""
    clicks = points.Points(
        SIZE,
        np.array([[5.5, 3.5], [30.5, 3.5]], np.float32),
        np.array([1, 0]),
        np.zeros((0, 4), np.float32),
    )
    points.save(tmp_path / "p" / "set" / "a.npz", clicks)
    prior = PriorSet((Part("", "points", tmp_path / "p"),), ("points", "points_label"))
    batches = {}
    for control in (None, "zeroed"):
        one = prior.swapped(control)
        crops = []
        for left in (0, 20):
            stored = one.load("set", "a", SIZE)
            crops.append(one.crop(stored, Window(0, left, 12, 20)))
        batches[control] = one.collate(crops)
    assert batches[None]["points"].tolist() == [[[5.5, 3.5]], [[10.5, 3.5]]]
    assert batches[None]["points_label"].tolist() == [[1], [0]]
    assert batches["zeroed"]["points"].shape == (2, 0, 2)
