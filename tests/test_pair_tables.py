"""Tables of pairs in the catalogue: chosen pairs, shared sources, and files that are stored turned;
and that a turned picture is known on the other side of a run.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.io import savemat
from test_sides import published, suite_of

from benchlib import prepare
from benchlib.assets import catalogue, find, load_catalogue
from benchlib.assets.pinned import entry_hash
from benchlib.contracts import BenchError
from benchlib.datasets import Maker, paired, sidd_blocks
from benchlib.degrade import none
from benchlib.imageio import read_image, write_png

COLUMNS = ["image", "lq", "hq", "source", "turned"]
KNOWN = yaml.safe_load(catalogue.CATALOGUE.read_text())["gopro"]
UNUSED = Maker.from_module("unused", none, none.Config())
needs_mirror = pytest.mark.skipif(
    "BENCHLIB_TEST_MIRROR" not in os.environ,
    reason="needs BENCHLIB_TEST_MIRROR, a folder as wget -x makes",
)


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (40, 48, 3), np.uint8)


def put_entry(place: Path, name: str, rows: list[list[str]], count: int | None = None) -> dict:
    """An entry of one split and its table."""
    (place / "lists").mkdir(exist_ok=True)
    with open(place / f"lists/{name}.csv", "w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    counts = {"test": count or len(rows)}
    return KNOWN | {"get": "here", "layout": {"test": {"table": f"{name}.csv"}}, "counts": counts}


def put_catalogue(place: Path, patch: pytest.MonkeyPatch, **entries: dict) -> None:
    (place / "catalogue.yaml").write_text(yaml.safe_dump(entries))
    patch.setattr(catalogue, "CATALOGUE", place / "catalogue.yaml")
    patch.setenv("BENCHLIB_DATA", str(place))


def two_sets(place: Path, patch: pytest.MonkeyPatch, stated: int) -> None:
    """`upright` and `turned` share one photograph, which `turned` stores turned once.

    stated: what its table says of it.
    """
    upright = [["1", "wet/1.png", "dry/1.png", "1", "0"]]
    turned = [["7", "wet/7.png", "dry/7.png", "7", "0"], ["8", "wet/8.png", "dry/8.png", "7", "1"]]
    turned[1][4] = str(stated)
    write_png(place / "upright/wet/1.png", picture(0) // 2)
    write_png(place / "upright/dry/1.png", picture(0))
    write_png(place / "turned/wet/7.png", picture(1))
    write_png(place / "turned/dry/7.png", picture(2))
    write_png(place / "turned/wet/8.png", np.rot90(picture(3)).copy())
    write_png(place / "turned/dry/8.png", np.rot90(picture(0)).copy())
    entries = {
        "upright": put_entry(place, "upright", upright),
        "turned": put_entry(place, "turned", turned),
    }
    put_catalogue(place, patch, **entries)


def test_pairs_are_called_and_turned_as_the_table_says(tmp_path, monkeypatch, capsys):
    two_sets(tmp_path, monkeypatch, stated=1)
    out = tmp_path / "out"
    first, second = paired.pairs(paired.Config("turned", "test"), out, UNUSED)
    assert (first["image"], first["asset"], first["source"]) == ("7", "turned", "7")
    assert (first["lq"], first["hq"]) == ("wet/7.png", "dry/7.png")
    assert (second["image"], second["asset"], second["source"]) == ("8", "", "turned/7")
    assert (second["height"], second["width"]) == (40, 48)
    assert np.array_equal(read_image(out / second["lq"]), picture(3))
    assert np.array_equal(read_image(out / second["hq"]), picture(0))
    said = capsys.readouterr().out
    assert "turned, test: 1 of 2 pairs are stored turned and were turned back" in said


def test_a_picture_that_is_turned_back_is_known_on_the_other_side(tmp_path, monkeypatch):
    two_sets(tmp_path, monkeypatch, stated=1)
    suite = suite_of(tmp_path, published("turned", "test"), published("upright", "test"))
    prepare.make_data(suite, "train/one")
    said = r"data\.test/two/1 is the same picture as data\.train/one/8, which is trained on"
    with pytest.raises(BenchError, match=said):
        prepare.make_data(suite, "test/two")


def test_one_photograph_is_one_scene_whether_its_pair_was_turned_or_not(tmp_path, monkeypatch):
    two_sets(tmp_path, monkeypatch, stated=1)
    suite = suite_of(tmp_path, published("upright", "test"), published("turned", "test"))
    rows = prepare.make_data(suite, "test/two")
    assert [row["source"] for row in rows] == ["turned/7", "turned/7"]


def test_a_turned_pair_without_a_source_is_its_own_scene(tmp_path, monkeypatch):
    two_sets(tmp_path, monkeypatch, stated=1)
    rows = [["7", "wet/7.png", "dry/7.png", "", "0"], ["8", "wet/8.png", "dry/8.png", "", "1"]]
    put_catalogue(tmp_path, monkeypatch, turned=put_entry(tmp_path, "turned", rows))
    records = paired.pairs(paired.Config("turned", "test"), tmp_path / "out", UNUSED)
    assert [record["source"] for record in records] == ["", ""]


def test_a_picture_left_turned_is_not_known(tmp_path, monkeypatch):
    """What the table is for: without it nobody would notice."""
    two_sets(tmp_path, monkeypatch, stated=0)
    suite = suite_of(tmp_path, published("turned", "test"), published("upright", "test"))
    prepare.make_data(suite, "train/one")
    assert len(prepare.make_data(suite, "test/two")) == 1


@pytest.mark.parametrize(
    ("rows", "count", "said"),
    [
        ([["1", "a.png", "b.png", "", "4"]], None, r"line 2: expected image .*,turned \(0 to 3"),
        ([["1/2", "a.png", "b.png", "", "0"]], None, "line 2: expected image"),
        ([["1", "a.png", "b.png", "0"]], None, "line 2: expected image"),
        ([["1", "../a.png", "b.png", "", "0"]], None, r"line 2: '\.\./a\.png' could land outside"),
        ([["1", "a.png", "b.png", "", "0"]] * 2, None, "the image '1' stands there twice"),
        ([["1", "a.png", "b.png", "", "0"]], 2, "counts.test is 2, its table has 1 pairs"),
    ],
)
def test_a_wrong_table_is_one_line(tmp_path, monkeypatch, rows, count, said):
    put_catalogue(tmp_path, monkeypatch, made=put_entry(tmp_path, "made", rows, count))
    with pytest.raises(BenchError, match=said) as error:
        load_catalogue()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        (5, r"made\.layout: "),
        ({"test": {"table": 5}}, r"made\.layout\.test\.table: expected the name of a CSV"),
        (
            {"test": {"table": "no.csv"}},
            r"made\.layout\.test\.table: lists/no\.csv: .*No such file",
        ),
    ],
)
def test_a_wrong_layout_is_one_line(tmp_path, monkeypatch, layout, said):
    put_catalogue(tmp_path, monkeypatch, made=KNOWN | {"layout": layout})
    with pytest.raises(BenchError, match=said) as error:
        load_catalogue()
    assert "\n" not in str(error.value)


def test_what_a_table_says_is_part_of_what_never_changes_under_a_name(tmp_path, monkeypatch):
    hashes = set()
    for stated in (0, 1):
        two_sets(tmp_path, monkeypatch, stated)
        hashes.add(entry_hash(find("turned")))
    assert len(hashes) == 2


def test_the_rain_sets_hold_91_photographs_and_34_pairs_are_turned():
    heavy = find("rain100h").layout["test"].table
    light = find("rain100l").layout["test"].table
    assert [row.image for row in heavy] == [row.image for row in light]
    assert [row.source for row in heavy] == [row.source for row in light]
    assert len({row.source for row in heavy}) == 91
    assert sum(row.turned for row in light) == 34
    assert sum(row.turned for row in heavy) == 0


@pytest.mark.parametrize("name", ["rain100h", "rain100l"])
def test_the_parts_are_pairs_of_the_whole_and_what_trains_is_no_part_of_any_test(name):
    whole = set(find(name).layout["test"].table)
    part = find(f"{name}-part").layout
    assert set(part["all"].table) <= whole
    assert set(part["train"].table) | set(part["test"].table) == set(part["all"].table)
    trained = {row.source for row in part["train"].table}
    for tested in ("rain100h-part", "rain100l-part"):
        assert not trained & {row.source for row in find(tested).layout["test"].table}
    listed = {file.path for file in find(f"{name}-part").files}
    assert listed == {path for row in part["all"].table for path in (row.lq, row.hq)}
    assert set(find(f"{name}-part").files) <= set(find(name).files)


def test_the_part_of_lol_is_its_whole_test_and_some_of_its_training():
    part, whole = set(find("lol-v1-part").files), set(find("lol-v1").files)
    assert part < whole
    assert not {file for file in whole - part if file.path.startswith("eval15")}
    numbers = {file.path.rpartition("/")[2] for file in part if file.path.startswith("our485")}
    assert len(numbers) == 22
    assert not numbers & {"2.png", "668.png"}  # scenes of the test
    sources = {row.image: row.source for row in find("lol-v1").layout["test"].table}
    assert sources["22"] == sources["23"]
    assert len(set(sources.values())) == 14


# --- the real files --------------------------------------------------------------------------------


@needs_mirror
def test_real_rain_turned_back_shows_the_other_set_s_photographs(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCHLIB_OFFLINE", "1")
    monkeypatch.setenv("BENCHLIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BENCHLIB_MIRROR", os.environ["BENCHLIB_TEST_MIRROR"])
    pixels = {}
    for name in ("rain100h-part", "rain100l-part"):
        records = paired.pairs(paired.Config(name, "all"), tmp_path / name, UNUSED)
        pixels[name] = {record["image"]: record["pixels"] for record in records}
        sides = {(record["height"], record["width"]) for record in records}
        assert sides == {(320, 480), (480, 320)}
    both = pixels["rain100h-part"].keys() & pixels["rain100l-part"].keys()
    assert both == {"1", "49", "81"}
    for image in both:
        assert pixels["rain100h-part"][image] == pixels["rain100l-part"][image]


# --- SIDD's blocks, SID's raw files ----------------------------------------------------------------


def put_blocks(place: Path, **arrays: np.ndarray) -> sidd_blocks.Config:
    for name, array in arrays.items():
        savemat(place / f"{name}.mat", {name: array})
    return sidd_blocks.Config(path=str(place))


def test_sidd_s_blocks_come_out_in_their_places_and_share_their_photograph(tmp_path):
    rng = np.random.default_rng(0)
    noisy, clean = rng.integers(0, 256, (2, 2, 3, 8, 6, 3), np.uint8)
    config = put_blocks(tmp_path, ValidationNoisyBlocksSrgb=noisy, ValidationGtBlocksSrgb=clean)
    out = tmp_path / "out"
    records = sidd_blocks.pairs(config, out, UNUSED)
    names = [record["image"] for record in records]
    assert names == ["0001_01", "0001_02", "0001_03", "0002_01", "0002_02", "0002_03"]
    assert np.array_equal(read_image(out / records[4]["lq"]), noisy[1, 1])
    assert np.array_equal(read_image(out / records[4]["hq"]), clean[1, 1])
    for key in ("source", "pixels"):
        assert len({record[key] for record in records[:3]}) == 1
        assert len({record[key] for record in records}) == 2


def test_the_catalogue_says_where_sidd_s_blocks_lie(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCHLIB_DATA", str(tmp_path))
    with pytest.raises(BenchError, match="sidd-validation: not found in .*ValidationNoisyBlocks"):
        sidd_blocks.pairs(sidd_blocks.Config(), tmp_path / "out", UNUSED)
    (tmp_path / "sidd-validation").mkdir()
    blocks = np.zeros((1, 2, 4, 4, 3), np.uint8)
    names = {"ValidationNoisyBlocksSrgb": blocks, "ValidationGtBlocksSrgb": blocks}
    put_blocks(tmp_path / "sidd-validation", **names)
    assert len(sidd_blocks.pairs(sidd_blocks.Config(), tmp_path / "out", UNUSED)) == 2


@pytest.mark.parametrize(
    ("noisy", "said"),
    [
        (np.zeros((1, 2, 4, 5, 3), np.uint8), r"\(1, 2, 4, 5, 3\), but its reference .*expected"),
        (np.zeros((2, 4, 4, 3), np.uint8), r"is \(2, 4, 4, 3\) uint8; expected \(photographs"),
        (np.zeros((1, 2, 4, 4, 3)), r"float64; expected \(photographs"),
    ],
)
def test_other_blocks_are_refused_in_one_line(tmp_path, noisy, said):
    clean = np.zeros((1, 2, 4, 4, 3), np.uint8)
    config = put_blocks(tmp_path, ValidationNoisyBlocksSrgb=noisy, ValidationGtBlocksSrgb=clean)
    with pytest.raises(BenchError, match=said) as error:
        sidd_blocks.pairs(config, tmp_path / "out", UNUSED)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "not there; put SIDD's ValidationNoisyBlocksSrgb.mat there"),
        (b"no MATLAB file at all, but long enough to be looked at" * 20, "no whole MATLAB file of"),
        (b"", "no whole MATLAB file of version 7 or less"),
    ],
)
def test_what_is_no_matlab_file_is_refused_in_one_line(tmp_path, content, said):
    if content is not None:
        (tmp_path / "ValidationNoisyBlocksSrgb.mat").write_bytes(content)
    with pytest.raises(BenchError, match=said) as error:
        sidd_blocks.pairs(sidd_blocks.Config(path=str(tmp_path)), tmp_path / "out", UNUSED)
    assert "\n" not in str(error.value)


def test_another_array_in_the_file_is_refused(tmp_path):
    savemat(tmp_path / "ValidationNoisyBlocksSrgb.mat", {"other": np.zeros(3)})
    with pytest.raises(BenchError, match="holds no array ValidationNoisyBlocksSrgb"):
        sidd_blocks.pairs(sidd_blocks.Config(path=str(tmp_path)), tmp_path / "out", UNUSED)


def test_raw_files_of_sid_are_asked_to_be_converted(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCHLIB_DATA", str(tmp_path))
    first = find("sid-sony").layout["test"].table[0]
    raw = (tmp_path / "sid-sony" / first.lq).with_suffix(".ARW")
    raw.parent.mkdir(parents=True)
    raw.touch()
    said = r"there is 10003_00_0\.04s\.ARW, a raw file: convert it"
    with pytest.raises(BenchError, match=said) as error:
        paired.pairs(paired.Config("sid-sony", "test"), tmp_path / "out", UNUSED)
    assert "\n" not in str(error.value)


def test_a_number_that_nobody_has_seen_is_not_checked(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCHLIB_DATA", str(tmp_path))
    with pytest.raises(BenchError, match=r"train/Rain13K/input/\* .*\(any number of pairs\)"):
        paired.pairs(paired.Config("rain13k", "train"), tmp_path / "out", UNUSED)
    for number in range(3):
        for side in ("input", "target"):
            write_png(tmp_path / f"rain13k/train/Rain13K/{side}/{number}.png", picture(number))
    assert len(paired.pairs(paired.Config("rain13k", "train"), tmp_path / "out", UNUSED)) == 3
