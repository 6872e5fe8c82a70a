"""One picture on two sides of a run, images that a run cannot use, and two images of one name."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from conftest import run, small_params, write_params

from benchlib import manifests, prepare
from benchlib.checks import check_choices
from benchlib.contracts import BenchError
from benchlib.datasets import check_names
from benchlib.datasets import folder as folder_source
from benchlib.imageio import read_image, read_lq, write_png
from benchlib.params import Suite, load_params
from benchlib.plan import open_run
from benchlib.records import image_sets, read_pairs, read_table
from benchlib.sources import check_priors

NONE = {"name": "none"}


def picture(seed: int, size: tuple[int, int] = (40, 48)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def put(place: Path, **pictures: np.ndarray) -> None:
    for name, image in pictures.items():
        write_png(place / f"{name}.png", image)


def photos(path: str, **more) -> dict:
    return {"name": "photographs", "path": path, "degrade": NONE} | more


def own_pairs(path: str) -> dict:
    return {"name": "folder", "path": path, "degrade": NONE}


def published(asset: str, split: str) -> dict:
    return {"name": "paired", "asset": asset, "split": split, "degrade": NONE}


def suite_of(place: Path, train: dict, test: dict, **more) -> Suite:
    """One run that trains on one set, is watched by `held` if that is given, and is tested."""
    params = small_params()
    params["data"] = {"train/one": train, "test/two": test}
    validation = {}
    if "held" in more:
        params["data"]["train/held"] = more.pop("held")
        validation = {"validation": "held"}
    params["priors"] = {"none": params["priors"]["none"]}
    params["runs"] = {"no-prior": run({"name": "none"}, **validation, **more)}
    return load_params(write_params(place, params))


# --- by the parameters alone ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train", "test"),
    [
        (photos("p"), photos("p")),
        (photos("p"), photos("q/../p")),
        (photos("p"), photos("link")),
        (own_pairs("pairs"), own_pairs("./pairs")),
        (own_pairs("pairs"), photos("pairs/hq")),
        (photos("p", part=[0, 2]), photos("p", part=[1, 3])),
        (photos("p", part=[0, 2]), photos("p", part=[2, 3], min_side=9)),
        (published("gopro", "test"), published("gopro", "test")),
        (published("rain100l-part", "train"), published("rain100l-part", "all")),
        (published("set5", "x4"), {"name": "photographs", "images": ["set5"], "degrade": NONE}),
        ({"name": "photographs", "images": ["set5"], "degrade": NONE}, published("set5", "x2")),
    ],
)
def test_the_same_files_on_two_sides_are_refused_on_loading(tmp_path, train, test):
    for name in ("p", "q", "pairs/hq"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "link").symlink_to("p")
    said = r"runs\.no-prior\.images\.test: data\.test/two is .*, which data\.train/one is too"
    with pytest.raises(BenchError, match=said):
        suite_of(tmp_path, train, test)
    with pytest.raises(BenchError, match=r"runs\.no-prior\.validation: data\.train/held is "):
        suite_of(tmp_path, train, photos("elsewhere"), held=test)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        (photos("p"), photos("q")),
        (photos("p", part=[0, 2]), photos("p", part=[2, 3])),
        (published("gopro", "train"), published("gopro", "test")),
        (published("rain100l-part", "train"), published("rain100l-part", "test")),
        (own_pairs("a"), own_pairs("b")),
    ],
)
def test_different_files_are_not(tmp_path, train, test):
    assert suite_of(tmp_path, train, test).runs


def test_a_run_may_restore_the_images_that_it_was_trained_on(tmp_path):
    images = {"train": "train", "test": "train"}
    suite = suite_of(tmp_path, photos("p"), photos("p"), images=images)
    assert open_run(suite, "no-prior").sides.seen == ()


def test_what_a_run_starts_from_has_seen_images_too(tmp_path):
    params = small_params()
    data = {"first/a": photos("p"), "second/b": photos("q"), "test/c": photos("./p")}
    first = run({"name": "none"}, images={"train": "first", "test": "second"})
    images = {"train": "second", "test": "test"}
    params["data"] = data
    params["priors"] = {"none": {"kind": "none", "images": "data/first", "prior": NONE}}
    params["runs"] = {
        "one": first,
        "two": run({"name": "none"}, images=images) | {"init": "runs/one"},
    }
    with pytest.raises(BenchError, match=r"runs\.two\.images\.test: .*data\.first/a is too"):
        load_params(write_params(tmp_path, params))


PHOTOGRAPHS = {"name": "photographs", "images": ["t91"], "part": [0, 4], "degrade": NONE}


def learnt(**where) -> dict:
    noise = {"asset": "set5", "degrade": {"name": "gaussian_noise"}}
    return {"name": "degradation_words", "examples": {"noise": noise, "rain": where}}


def looked_up(**where) -> dict:
    return {"name": "retrieved"} | where


def suite_with_prior(place: Path, choice: dict, test: dict, images: dict | None = None) -> Suite:
    """A run that reads words and a reference, one of them ``choice``, tested on ``test``."""
    params = small_params()
    kind = "picture"
    if choice["name"] == "degradation_words":
        kind = "tokens"
    params["data"] = {"train/one": photos("p"), "test/two": test}
    params["priors"] = {"none": params["priors"]["none"]}
    for side in ("train", "test"):
        entry = {"kind": kind, "images": f"data/{side}", "prior": choice}
        params["priors"][f"said-{side}/part"] = entry
    params["runs"] = {"no-prior": run({"name": "none"}, "said")}
    if images:
        params["runs"]["no-prior"]["images"] = images
        params["runs"]["no-prior"]["prior"] = {"train": "said-test", "test": "said-test"}
    (place / "p").mkdir()
    return load_params(write_params(place, params))


@pytest.mark.parametrize(
    ("choice", "test", "said"),
    [
        (
            learnt(asset="rain100l-part", split="all"),
            published("rain100l-part", "test"),
            "12 pairs",
        ),
        (learnt(asset="lol-v1", split="train"), published("lol-v1", "train"), "split train"),
        (learnt(asset="t91"), PHOTOGRAPHS, "of t91"),
        (looked_up(asset="t91"), PHOTOGRAPHS, "of t91"),
        (looked_up(asset="set5"), published("set5", "x4"), "of set5"),
        (looked_up(asset="rain100l-part", split="all"), published("rain100l-part", "test"), "12"),
        (
            {"name": "synthesised", "degradation": learnt(asset="t91")},
            PHOTOGRAPHS,
            "of t91",
        ),
    ],
)
def test_a_prior_made_from_test_images_is_refused(tmp_path, choice, test, said):
    suite = suite_with_prior(tmp_path, choice, test)
    line = (
        rf"^params\.yaml: priors\.said-train/part\.prior: data\.test/two is .*{said}.*, which this "
        r"prior is made from, and run no-prior is tested on it; name other images$"
    )
    with pytest.raises(BenchError, match=line):
        check_choices(suite, Path("params.yaml"))


@pytest.mark.parametrize(
    ("choice", "test"),
    [
        (learnt(asset="rain100l-part", split="train"), published("rain100l-part", "test")),
        (learnt(asset="bsds500"), PHOTOGRAPHS),
        (looked_up(asset="lol-v1-part", split="train"), published("lol-v1-part", "test")),
        (looked_up(), PHOTOGRAPHS),
    ],
)
def test_a_prior_made_from_other_images_is_not(tmp_path, choice, test):
    suite = suite_with_prior(tmp_path, choice, test)
    check_priors(suite, Path("params.yaml"))


def test_a_run_on_its_own_training_images_may_have_a_prior_made_from_them(tmp_path):
    images = {"train": "test", "test": "test"}
    suite = suite_with_prior(tmp_path, looked_up(asset="t91"), PHOTOGRAPHS, images)
    check_priors(suite, Path("params.yaml"))


# --- by the pixels --------------------------------------------------------------------------------


def test_one_picture_under_two_names_is_refused_as_soon_as_both_manifests_are_there(tmp_path):
    put(tmp_path / "p", a=picture(0), b=picture(1))
    put(tmp_path / "q", c=picture(2), d=picture(1), e=picture(0))
    said = (
        r"runs\.no-prior\.images\.test: data\.test/two/d is the same picture as data\.train/one/b-0, "
        r"which is trained on \(and 1 more\)"
    )
    suite = suite_of(tmp_path, photos("p", tile=16), photos("q", long_side=24))
    prepare.make_data(suite, "train/one")
    with pytest.raises(BenchError, match=said):
        prepare.make_data(suite, "test/two")
    assert not (suite.work / "data/test/two").exists()
    apart = suite_of(tmp_path, photos("p"), photos("q"), images={"train": "train", "test": "train"})
    prepare.make_data(apart, "test/two")  # no run trains on one and is tested on the other
    with pytest.raises(BenchError, match=r"is the same picture as data\.train/one/"):
        manifests.check_run(open_run(suite, "no-prior"))


def test_the_order_of_making_does_not_matter_and_a_validation_counts(tmp_path):
    put(tmp_path / "p", a=picture(0))
    put(tmp_path / "q", b=picture(0))
    put(tmp_path / "r", c=picture(2))
    suite = suite_of(tmp_path, photos("p"), photos("r"), held=photos("q"))
    prepare.make_data(suite, "train/held")
    with pytest.raises(BenchError, match=r"runs\.no-prior\.validation: data\.train/held/b is the"):
        prepare.make_data(suite, "train/one")


def test_black_frames_of_two_films_are_no_shared_photograph(tmp_path):
    black = np.zeros((40, 48, 3), np.uint8)
    put(tmp_path / "p", a=black, b=picture(0))
    put(tmp_path / "q", a=black, c=picture(1))
    suite = suite_of(tmp_path, photos("p"), photos("q"))
    for key in suite.data:
        prepare.make_data(suite, key)
    manifests.check_apart(open_run(suite, "no-prior").sides)
    assert {row["pixels"] != "" for row in read_table(manifest(suite, "test/two"))} == {True, False}


def manifest(suite: Suite, key: str) -> Path:
    return suite.work / "data" / key / "manifest.csv"


# --- what a set's images mean ---------------------------------------------------------------------


def scenes(suite: Suite, key: str) -> dict[str, str]:
    return {row["image"]: row["source"] for row in read_table(manifest(suite, key))}


def test_own_photographs_are_scenes_of_their_own_whatever_their_names(tmp_path):
    numbered = {"street-1": picture(0), "street-2": picture(1), "street_c1": picture(2)}
    put(tmp_path / "p", **numbered)
    put(tmp_path / "q", **{"street-1": picture(3)})
    suite = suite_of(tmp_path, photos("p", copies=2), photos("q"))
    for key in suite.data:
        prepare.make_data(suite, key)
    one, two = scenes(suite, "train/one"), scenes(suite, "test/two")
    assert len(set(one.values())) == 3  # copies share their photograph's
    assert one["street-1"] == one["street-1_c1"]
    assert two["street-1"] not in one.values()  # another picture of that name


def test_runs_that_start_from_each_other_are_refused_and_not_followed_for_ever(tmp_path):
    params = small_params()
    ring = {"b": "runs/c", "c": "runs/b", "a": "runs/b"}
    runs = {key: run({"name": "none"}) | {"init": ring[key]} for key in sorted(ring)}
    params["runs"] = runs
    with pytest.raises(BenchError, match="would wait for itself"):
        load_params(write_params(tmp_path, params))


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    put(tmp_path / "home" / "mine", a=picture(0))
    suite = suite_of(tmp_path, photos("~/mine"), photos("q"))
    assert len(prepare.make_data(suite, "train/one")) == 1


# --- images that a run cannot use -----------------------------------------------------------------


def pairs_of(place: Path, size: tuple[int, int], scale: int = 1, name: str = "thumb") -> None:
    height, width = size
    seed = len(str(place)) + ord(name[0]) + ord(place.name[0])  # another picture for each
    put(place / "lq", **{name: picture(seed, size)})
    put(place / "hq", **{name: picture(seed + 1000, (scale * height, scale * width))})


@pytest.mark.parametrize(
    ("train", "test", "said"),
    [
        ((8, 96), (40, 48), r"data\.train/one/thumb \(8x96 pixels\) is too small for training"),
        ((40, 48), (8, 96), r"data\.test/two/thumb \(8x96 pixels\): .*SSIM's window"),
    ],
)
def test_an_image_that_is_too_small_is_named_before_training(tmp_path, train, test, said):
    pairs_of(tmp_path / "p", train)
    pairs_of(tmp_path / "q", test)
    suite = suite_of(tmp_path, own_pairs("p"), own_pairs("q"))
    for key in suite.data:
        prepare.make_data(suite, key)
    with pytest.raises(BenchError, match=said):
        manifests.check_run(open_run(suite, "no-prior"))


@pytest.mark.parametrize("side", ["train/one", "test/two"])
def test_pairs_of_another_scale_than_the_network_s_are_named(tmp_path, side):
    for key, place in (("train/one", "p"), ("test/two", "q")):
        pairs_of(tmp_path / place, (40, 48), scale=2 if key == side else 1)
    suite = suite_of(tmp_path, own_pairs("p"), own_pairs("q"))
    for key in suite.data:
        prepare.make_data(suite, key)
    said = rf"hq of data\.{side}/thumb .* is 2 times lq's size, but its network \(nafnet\) enlarges"
    with pytest.raises(BenchError, match=said):
        manifests.check_run(open_run(suite, "no-prior"))


def test_a_network_that_does_not_take_a_small_image_says_which(tmp_path, monkeypatch):
    for place in ("p", "q"):
        pairs_of(tmp_path / place, (24, 30), name=place)
    suite = suite_of(tmp_path, own_pairs("p"), own_pairs("q"))
    for key in suite.data:
        prepare.make_data(suite, key)
    plan = open_run(suite, "no-prior")
    manifests.check_run(plan)

    def too_small(config, in_channels):
        import torch

        return torch.nn.ReflectionPad2d(27)

    monkeypatch.setattr(plan.backbone, "build", too_small)
    with pytest.raises(BenchError, match=r"data\.test/two/q \(24x30 pixels\) is too small for naf"):
        manifests.check_run(plan)


def test_two_scales_in_one_set_are_refused_at_fetch(tmp_path):
    pairs_of(tmp_path / "p", (40, 48), name="a")
    pairs_of(tmp_path / "p", (40, 48), scale=2, name="b")
    suite = suite_of(tmp_path, own_pairs("p"), photos("q"))
    with pytest.raises(BenchError, match=r"data\.train/one: hq of a is 1 times .*, that of b 2"):
        prepare.make_data(suite, "train/one")


def test_a_degraded_image_of_16_bits_is_kept_whole_and_its_reference_rounded(tmp_path):
    import cv2

    rng = np.random.default_rng(0)
    for side in ("lq", "hq"):
        (tmp_path / "p" / side).mkdir(parents=True)
        values = rng.integers(0, 4096, (40, 48, 3), dtype=np.uint16)
        cv2.imwrite(str(tmp_path / "p" / side / "a.png"), values[..., ::-1])
        if side == "lq":
            lq = values
    suite = suite_of(tmp_path, own_pairs("p"), photos("q"))
    (row,) = prepare.make_data(suite, "train/one")
    assert row["lq"] == "lq/a.npy"
    (pair,) = read_pairs(image_sets(suite, "train").only(["one"]))
    assert np.array_equal(read_lq(pair.lq), (lq / 65535).astype(np.float32))
    assert np.array_equal(read_image(pair.hq), np.rint(values / 257))


# --- names ----------------------------------------------------------------------------------------

DECOMPOSED = unicodedata.normalize("NFD", "Müller")
COMPOSED = unicodedata.normalize("NFC", "Müller")


def test_an_accent_written_in_two_ways_is_one_name(tmp_path):
    put(tmp_path / "p" / "lq", **{DECOMPOSED: picture(0)})
    put(tmp_path / "p" / "hq", **{COMPOSED: picture(1)})
    suite = suite_of(tmp_path, own_pairs("p"), photos("q"))
    (row,) = prepare.make_data(suite, "train/one")
    assert row["image"] == COMPOSED
    put(tmp_path / "p" / "lq", **{COMPOSED: picture(0)})
    with pytest.raises(BenchError, match=f"two images of the name '{COMPOSED}', its accents"):
        prepare.make_data(suite, "train/one")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a", "b", "a"], "here: two images of the name 'a'; rename one"),
        (["a", "A"], "two images of the names 'a' and 'A', which some systems take for one"),
        (["Straße", "STRASSE"], "which some systems take for one"),
        ([COMPOSED, DECOMPOSED], "its accents written in two ways"),
    ],
)
def test_names_that_are_one_file_somewhere_are_refused(names, said):
    with pytest.raises(BenchError, match=said):
        check_names(names, "here")


def test_a_stem_that_ends_like_a_suffix_is_a_name_of_its_own(tmp_path):
    """Case: ``a.png`` beside ``a.png.png``, and beside ``a.npy.png``."""
    stems = {"a": picture(0), "a.png": picture(1), "a.npy": picture(2)}
    for side in ("lq", "hq"):
        put(tmp_path / "pairs" / side, **stems)
    put(tmp_path / "p", **stems)
    suite = suite_of(tmp_path, photos("p"), photos("q"))
    prepare.make_data(suite, "train/one")
    records = folder_source.pairs(
        folder_source.Config(str(tmp_path / "pairs")), tmp_path / "out", None
    )
    assert len({record["lq"] for record in records}) == 3
    found = {pair.image: pair for pair in read_pairs(image_sets(suite, "train").only(["one"]))}
    assert found.keys() == stems.keys()
    for name, pair in found.items():
        assert np.array_equal(read_lq(pair.lq), stems[name])
        assert np.array_equal(read_image(pair.hq), stems[name])


@pytest.mark.skipif(os.name == "nt", reason="its folders know no such two names")
def test_photographs_whose_names_differ_in_capitals_or_suffix_are_kept_apart(tmp_path):
    put(tmp_path / "p", a=picture(0), A=picture(1))
    (tmp_path / "p" / "a.bmp").write_bytes((tmp_path / "p" / "A.png").read_bytes()[:-1] + b"\0")
    write_png(tmp_path / "p" / "x.png", picture(3))
    (tmp_path / "p" / "x.png").rename(tmp_path / "p" / "a.bmp")
    suite = suite_of(tmp_path, photos("p"), photos("q"))
    rows = prepare.make_data(suite, "train/one")
    assert sorted(row["image"].lower() for row in rows) == ["a", "p-a", "p-a-2"]


def test_a_pipe_among_own_photographs_stops_no_stage(tmp_path):
    put(tmp_path / "p", a=picture(0))
    os.mkfifo(tmp_path / "p" / "b.png")
    suite = suite_of(tmp_path, photos("p"), photos("q"))
    with pytest.raises(BenchError, match=r"b\.png: a pipe; expected a file"):
        prepare.make_data(suite, "train/one")


def test_an_own_folder_without_images_says_what_is_there(tmp_path):
    suite = suite_of(tmp_path, photos("p"), photos("q"))
    with pytest.raises(BenchError, match=r"p: no such folder"):
        prepare.make_data(suite, "train/one")
    put(tmp_path / "p" / "deeper", a=picture(0))
    with pytest.raises(BenchError, match=r"p: no images, only in folders below it \(deeper/\)"):
        prepare.make_data(suite, "train/one")
    (tmp_path / "p" / "b.jpg").touch()
    with pytest.raises(BenchError, match=r"b\.jpg: not a readable image"):
        prepare.make_data(suite, "train/one")
