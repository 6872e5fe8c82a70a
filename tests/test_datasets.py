"""Pairs: made from photographs (files, sets, tiles, seeds), found where their authors put them, and
lq on disk. A new source is tested unasked.
"""

from __future__ import annotations

import importlib
import io
import re
from collections.abc import Callable
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from conftest import expect_contract, name_of
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from pydantic import TypeAdapter, ValidationError
from skimage import data

from benchlib import assets, registry
from benchlib.assets import catalogue
from benchlib.conformance import Subject
from benchlib.conformance import datasets as contract
from benchlib.contracts import BenchError
from benchlib.datasets import Maker, clips, paired, photographs
from benchlib.datasets import folder as folder_source
from benchlib.degrade import bicubic, gaussian_noise, local_blur, none
from benchlib.files import sha256
from benchlib.imageio import read_image, read_lq, to_tensor, write_lq, write_png
from benchlib.seeding import name_rng

NAMES = registry.names("datasets")
SHIPPED = ["folder", "paired", "photographs"]
KEYS = {"image", "lq", "hq", "asset", "sha256_lq", "sha256_hq", "source", "pixels"}
KEYS |= {"height", "width", "scale"}
SAFE = r"[A-Za-z0-9_-][A-Za-z0-9_.-]*"
every_source = pytest.mark.parametrize("name", NAMES)


def noisy(hq: np.ndarray, rng: np.random.Generator, region: np.ndarray | None) -> np.ndarray:
    """A degradation one can follow: the generator's first number in a corner, the region black."""
    lq = hq.copy()
    lq[0, 0] = rng.integers(0, 256, 3)
    if region is not None:
        lq[region] = 0
    return lq


SHAKEN = Maker("shaken", noisy)
UNUSED = Maker("unused", noisy)


def column(records: list[dict[str, Any]], *keys: str) -> list[Any]:
    """One entry of every record, or a tuple of several."""
    return list(map(itemgetter(*keys), records))


def files_below(folder: Path) -> set[str]:
    found = set()
    for path in folder.rglob("*"):
        if path.is_file():
            found.add(path.relative_to(folder).as_posix())
    return found


# --- what every file keeps to --------------------------------------------------------------------


def own_folder(place: Path, patch: pytest.MonkeyPatch) -> folder_source.Config:
    """Three own pairs, the last for super-resolution."""
    for number, scale in enumerate((1, 1, 2)):
        write_png(place / f"lq/p{number}.png", np.full((5, 6, 3), number, np.uint8))
        write_png(place / f"hq/p{number}.png", np.full((5 * scale, 6 * scale, 3), 9, np.uint8))
    return folder_source.Config(str(place))


CATALOGUE = catalogue.CATALOGUE  # the project's own, whatever a test puts in its place


def published_pairs(place: Path, patch: pytest.MonkeyPatch) -> paired.Config:
    layout = {"test": {"lq": "lr/*/*.png", "hq": "hr/*/*.png"}}
    known = yaml.safe_load(CATALOGUE.read_text())["gopro"]
    entry = known | {"get": "here", "layout": layout, "counts": {"test": 4}}
    (place / "catalogue.yaml").write_text(yaml.safe_dump({"made": entry}))
    patch.setattr(catalogue, "CATALOGUE", place / "catalogue.yaml")
    patch.setenv("BENCHLIB_DATA", str(place))
    for scene in ("a", "b"):
        for frame in ("1", "2"):
            write_png(place / f"made/lr/{scene}/{frame}.png", np.zeros((2, 3, 3), np.uint8))
            write_png(place / f"made/hr/{scene}/{frame}.png", np.ones((2, 3, 3), np.uint8))
    return paired.Config("made", "test")


def own_clips(place: Path, patch: pytest.MonkeyPatch) -> clips.Config:
    """Two clips, of three frames and two."""
    for clip, frames in (("a", 3), ("deep/b", 2)):
        for frame in range(frames):
            level = 10 * len(clip) + frame
            write_png(place / f"{clip}/im{frame + 9}.png", np.full((8, 12, 3), level, np.uint8))
    return clips.Config(str(place))


def shipped_photographs(place: Path, patch: pytest.MonkeyPatch) -> photographs.Config:
    return photographs.Config(["coffee"], tile=200, copies=2)


# What a source reads is its own affair, so a sample of it stands here: a folder -> its Config.
SAMPLES: dict[str, Callable[[Path, pytest.MonkeyPatch], Any]] = {
    "clips": own_clips,
    "folder": own_folder,
    "paired": published_pairs,
    "photographs": shipped_photographs,
}


def module_of(name: str) -> Any:
    return registry.load("datasets", name)


def subject_of(name: str, patch: pytest.MonkeyPatch) -> Subject:
    """A source with pairs that it can read: from SAMPLES, or by its own ``example``."""
    if name in SAMPLES:
        return Subject("datasets", name, example=lambda place: SAMPLES[name](place, patch))
    if not hasattr(module_of(name), "example"):
        pytest.fail(f"datasets/{name}.py: write a function `example` into it (docs/plugins.md)")
    return Subject("datasets", name)


def test_the_folder_holds_photographs_own_pairs_and_published_pairs():
    assert set(SHIPPED) <= set(NAMES)


@every_source
@pytest.mark.parametrize("check", contract.CHECKS, ids=name_of)
def test_every_source_keeps_the_contract(check, name, monkeypatch):
    expect_contract(check, subject_of(name, monkeypatch))


# --- the page that says how to add one -----------------------------------------------------------

PAGE = Path(__file__).parent.parent / "docs/data.md"


def module_of_page(number: int, name: str, place: Path, patch: pytest.MonkeyPatch) -> Any:
    """The page's piece of Python, counted from 0, as a file that is imported."""
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[number]
    (place / f"{name}.py").write_text(code)
    patch.syspath_prepend(place)
    return importlib.import_module(name)


def test_the_page_s_degradation_and_source_work_as_they_stand(tmp_path, monkeypatch):
    degradation = module_of_page(0, "salt_pepper", tmp_path, monkeypatch)
    source = module_of_page(1, "side_by_side", tmp_path, monkeypatch)
    hq = data.coffee()[:100, :200]
    lq = degradation.degrade(hq, degradation.Config(share=0.1), name_rng(0))
    assert 0.08 < (lq != hq).any(axis=2).mean() < 0.12
    write_png(tmp_path / "scans/a.png", np.concatenate([lq, hq], axis=1))
    make = Maker.from_module("scans", none, none.Config())
    (record,) = source.pairs(source.Config(str(tmp_path / "scans")), tmp_path / "out", make)
    assert np.array_equal(read_image(tmp_path / "out" / record["lq"]), lq)
    assert np.array_equal(read_image(tmp_path / "out" / record["hq"]), hq)


# --- how an lq is made ---------------------------------------------------------------------------


def test_a_maker_takes_its_multiple_and_settings_from_the_degradation():
    hq = data.coffee()[:12, :12]
    make = Maker.from_module("tiny", bicubic, bicubic.Config(scale=3))
    assert (make.name, make.multiple, make.region) == ("tiny", 3, None)
    expected = bicubic.degrade(hq, bicubic.Config(scale=3), name_rng(0))
    assert np.array_equal(make.degrade(hq, name_rng(0), None), expected)
    assert Maker.from_module("tiny", none, none.Config()).multiple == 1


def test_a_maker_asks_for_a_region_only_where_the_degradation_needs_one():
    def disc(sharp: Path) -> np.ndarray:
        raise AssertionError("asked")

    assert Maker.from_module("still", none, none.Config(), disc).region is None
    assert Maker.from_module("local", local_blur, local_blur.Config(), disc).region is disc


# --- photographs ---------------------------------------------------------------------------------


def config(**settings) -> photographs.Config:
    return photographs.Config(**({"images": ["coffee"]} | settings))


def test_photographs_are_the_catalogue_s_files_in_the_order_given():
    found = photographs.list_photographs(config(images=["flower", "coffee"]))
    assert [(p.image, p.path.name) for p in found] == [
        ("flower", "flower.jpg"),
        ("coffee", "coffee.png"),
    ]
    assert [p.source for p in found] == ["flower", "coffee"]


def test_pairs_are_named_by_photograph_tile_and_copy(tmp_path):
    settings = config(images=["chelsea", "coffee"], copies=2, tile=200)
    records = photographs.pairs(settings, tmp_path, SHAKEN)
    expected = []
    for name, tiles in (("chelsea", 2), ("coffee", 6)):
        for tile in range(tiles):
            expected.append((f"{name}-{tile}", name, 0))
            expected.append((f"{name}-{tile}_c1", name, 1))
    assert column(records, "image", "source", "copy") == expected
    assert set(column(records, "asset")) == {""}
    lq, hq = set(column(records, "lq")), set(column(records, "hq"))
    assert len(lq) == len(records) == 2 * len(hq)
    assert files_below(tmp_path) == lq | hq
    for record in records:
        shape = read_image(tmp_path / record["lq"]).shape
        assert shape == read_image(tmp_path / record["hq"]).shape


def test_generator_is_seeded_by_set_tile_copy_and_seed(tmp_path):
    records = photographs.pairs(config(copies=2, seed=5), tmp_path, SHAKEN)
    for r in records:
        first = name_rng("shaken", "coffee", r["copy"], 5).integers(0, 256, 3)
        assert np.array_equal(read_image(tmp_path / r["lq"])[0, 0], first)
    assert records[0]["sha256_lq"] != records[1]["sha256_lq"]


def test_pairs_do_not_depend_on_their_company(tmp_path):
    alone = photographs.pairs(config(), tmp_path / "alone", SHAKEN)
    settings = config(images=["chelsea", "coffee"], copies=2)
    assert alone[0] in photographs.pairs(settings, tmp_path / "crowd", SHAKEN)


def test_region_is_asked_once_a_tile_and_given_to_every_copy(tmp_path):
    asked = []

    def region(sharp: Path) -> np.ndarray:
        asked.append(sharp.relative_to(tmp_path).as_posix())
        mask = np.zeros(read_image(sharp).shape[:2], bool)
        mask[5:9, 5:9] = True
        return mask

    records = photographs.pairs(config(copies=3), tmp_path, Maker("local", noisy, region))
    assert asked == ["hq/coffee.png"]
    assert len(records) == 3
    for r in records:
        assert (read_image(tmp_path / r["lq"])[5:9, 5:9] == 0).all()


def test_tiles_cover_the_photograph_exactly_once(tmp_path):
    records = photographs.pairs(config(tile=128), tmp_path, SHAKEN)
    tiles = [read_image(tmp_path / r["hq"]) for r in records]
    assert len(tiles) == 12
    for tile in tiles:
        assert min(tile.shape[:2]) >= 128
    rows = [np.concatenate(tiles[i : i + 4], axis=1) for i in (0, 4, 8)]
    assert np.array_equal(np.concatenate(rows), read_image(assets.fetch("coffee")))


@given(length=st.integers(1, 3000), tile=st.integers(1, 600) | st.none())
def test_cuts_are_a_partition_into_near_equal_stretches(length, tile):
    cuts = np.array(photographs.cut_evenly(length, tile))
    assert cuts[0, 0] == 0 and cuts[-1, 1] == length
    assert np.array_equal(cuts[1:, 0], cuts[:-1, 1])
    sizes = cuts[:, 1] - cuts[:, 0]
    assert sizes.max() - sizes.min() <= 1
    assert sizes.min() >= min(length, tile or length)
    assert len(cuts) == max(1, length // (tile or length))


@pytest.mark.parametrize(
    ("image", "settings", "size"),
    [
        ("coffee", {}, (400, 600)),  # PNG: as it is
        ("coffee", {"long_side": 300}, (200, 300)),
        ("coffee", {"long_side": 700}, (400, 600)),  # never enlarged
        ("china", {}, (214, 320)),  # JPEG, 427x640: halved
        ("china", {"shrink_jpeg": 1}, (427, 640)),
        ("china", {"long_side": 160}, (107, 160)),  # the stronger of the two, in one step
    ],
)
def test_sizes(tmp_path, image, settings, size):
    records = photographs.pairs(config(images=[image], **settings), tmp_path, SHAKEN)
    assert read_image(tmp_path / records[0]["hq"]).shape[:2] == size


def test_an_image_named_twice_or_unknown_is_refused():
    with pytest.raises(BenchError, match="coffee given twice"):
        photographs.list_photographs(config(images=["coffee", "chelsea", "coffee"]))
    with pytest.raises(BenchError, match="coffee"):
        photographs.list_photographs(config(images=["cofee"]))


@pytest.mark.parametrize(
    "settings",
    [
        {"copies": 0},
        {"tile": 1},
        {"seed": -1},
        {"shrink_jpeg": 0},
        {"part": [1]},
        {"part": [-1, 2]},
        {"part": [0, 1, 2]},
    ],
)
def test_settings_out_of_range_are_refused(settings):
    check = TypeAdapter(photographs.Config)
    good = {"images": ["coffee"], "part": [0, 1]}
    assert check.validate_python(good) == config(part=[0, 1])
    with pytest.raises(ValidationError):
        check.validate_python(good | settings)


# --- sets of photographs -------------------------------------------------------------------------


@pytest.fixture
def sets(tmp_path, monkeypatch):
    """Give the catalogue's place to sets made here: name -> files, each of one grey, its number."""

    def make(size: tuple[int, int] = (9, 7), **files: list[str]) -> None:
        paths: dict[str, list[Path]] = {}
        for name, names in files.items():
            paths[name] = []
            for grey, file in enumerate(names):
                path = tmp_path / "sets" / name / file
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", size, (grey, grey, grey)).save(path)
                paths[name].append(path)
        monkeypatch.setattr(assets, "images", paths.__getitem__)

    return make


def names_of(**settings) -> list[str]:
    found = photographs.list_photographs(config(**settings))
    return [photograph.image for photograph in found]


def test_a_set_gives_all_its_photographs_by_the_stems_of_their_files(sets):
    sets(set14=["img_001_SRF_4_HR.png", "img_002_SRF_4_HR.png"], coffee=["cup.png"])
    found = photographs.list_photographs(config(images=["set14", "coffee"]))
    assert [(p.image, p.source, p.path.name) for p in found] == [
        ("img_001_SRF_4_HR", "set14/img_001_SRF_4_HR", "img_001_SRF_4_HR.png"),
        ("img_002_SRF_4_HR", "set14/img_002_SRF_4_HR", "img_002_SRF_4_HR.png"),
        ("coffee", "coffee", "cup.png"),
    ]


def test_names_are_safe_and_unique_and_the_first_to_come_keeps_its_own(sets):
    sets(
        a=["x.png", "my photo (1).png", "train/7.png", "test/7.png", "X.bmp"],
        b=["x.png", ".y.png", "a-7.png"],
        c=["7.png"],
    )
    expected = ["x", "my_photo__1_", "7", "a-7", "a-X", "b-x", "_y", "b-a-7", "c"]
    assert names_of(images=["a", "b", "c"]) == expected
    assert names_of(images=["a"]) == expected[:5]


@given(
    stems=st.lists(
        st.lists(st.text("aA-2_ é", min_size=1, max_size=3), min_size=2, max_size=5),
        min_size=1,
        max_size=3,
    )
)
def test_any_stems_get_names_that_are_safe_and_unique(stems):
    paths: dict[str, list[Path]] = {}
    for number, some in enumerate(stems):
        paths[f"a{number}"] = [Path("sets") / f"{stem}.png" for stem in some]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assets, "images", paths.__getitem__)
        patch.setattr(photographs, "_distinct", lambda files, min_side: files)
        names = names_of(images=list(paths))
    assert len(names) == sum(map(len, stems))
    assert len(set(map(str.lower, names))) == len(names)
    for name in names:
        assert re.fullmatch(SAFE, name)


def test_a_file_of_ones_own_that_repeats_another_is_named(tmp_path, capsys):
    folder = tmp_path / "own"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    for name, image in (("a", pixels), ("b", pixels), ("c", 255 - pixels)):
        write_png(folder / f"{name}.png", image)
    config = photographs.Config(path=str(folder))
    photographs._say_repeated(config)
    said = capsys.readouterr().out
    assert said == "left out: b.png: the same bytes as another file of its folder\n"
    assert [one.path.stem for one in photographs.list_photographs(config)] == ["a", "c"]


def test_a_set_s_copies_and_small_photographs_are_left_out(sets):
    sets(t=["a.png", "b.png", "c.png"])
    first, second, _ = assets.images("t")
    second.write_bytes(first.read_bytes())
    assert names_of(images=["t"]) == ["a", "c"]
    Image.new("RGB", (9, 6)).save(first)
    assert names_of(images=["t"], min_side=7) == ["b", "c"]
    with pytest.raises(BenchError, match="t: no image of at least 8 pixels"):
        names_of(images=["t"], min_side=8)


def test_a_folder_of_one_s_own_photographs_is_degraded_like_a_set(tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    for number in range(2):
        Image.new("RGB", (9, 7), (40 * number, 0, 0)).save(mine / f"p{number}.png")
    found = photographs.list_photographs(photographs.Config(path=str(mine)))
    assert [(p.image, p.source) for p in found] == [("p0", "mine/p0"), ("p1", "mine/p1")]
    for settings in ({}, {"path": str(mine), "images": ["coffee"]}):
        with pytest.raises(BenchError, match="give `images`, names of the catalogue, or `path`"):
            photographs.list_photographs(photographs.Config(**settings))
    with pytest.raises(BenchError, match="no such folder"):
        photographs.list_photographs(photographs.Config(path=str(tmp_path / "absent")))


def test_parts_share_no_photograph_cover_all_and_are_a_fair_sample(sets):
    sets(big=[f"{i:03}.png" for i in range(200)], small=["p.png", "q.png"])
    both = ["big", "small"]
    first, second = names_of(images=both, part=[0, 60]), names_of(images=both, part=[60, 70])
    third = names_of(images=both, part=[70, 202])
    assert [len(first), len(second), len(third)] == [60, 10, 132]
    assert sorted(first + second + third) == sorted(names_of(images=both))
    assert names_of(images=both, part=[0, 70]) == first + second
    positions = list(map(int, filter(str.isdigit, first)))
    assert positions != sorted(positions)
    assert 80 < np.mean(positions) < 120  # of 0 to 199; a mean of 60 of them deviates by 6


def test_the_shuffled_order_stays_and_does_so_when_another_set_joins(sets):
    sets(big=[f"{i:03}.png" for i in range(50)], small=["p.png", "q.png"])
    alone = names_of(images=["big"], part=[0, 50])
    joined = names_of(images=["big", "small"], part=[0, 52])
    assert list(filter(str.isdigit, joined)) == alone
    assert alone[:5] == ["032", "010", "027", "005", "001"]  # pinned: runs name positions


@pytest.mark.parametrize("part", [[0, 3], [1, 1], [2, 1], [5, 6]])
def test_a_part_that_is_empty_or_out_of_range_is_refused(sets, part):
    sets(small=["p.png", "q.png"])
    with pytest.raises(BenchError, match=r"expected 0 <= start < stop <= 2"):
        photographs.list_photographs(config(images=["small"], part=part))


def test_pairs_of_a_set_record_the_set_and_the_file(sets, tmp_path):
    sets(small=["p.png", "q.png"])
    settings = config(images=["small"], part=[0, 2])
    records = photographs.pairs(settings, tmp_path, SHAKEN)
    assert sorted(column(records, "image", "source")) == [("p", "small/p"), ("q", "small/q")]
    assert column(records, "image") == names_of(images=["small"], part=[0, 2])


def test_a_photograph_called_like_another_s_copy_is_refused(sets, tmp_path):
    sets(small=["p.png", "p_c1.png"])
    with pytest.raises(BenchError, match="shaken: two images of the name 'p_c1'"):
        photographs.pairs(config(images=["small"], copies=2), tmp_path, SHAKEN)


@pytest.mark.parametrize("tile", [None, 16])
def test_hq_is_cut_at_the_right_and_bottom_to_a_multiple(sets, tmp_path, tile):
    sets(small=["p.png", "q.png"])
    whole = data.coffee()[:39, :50]
    write_png(assets.images("small")[0], whole)
    write_png(assets.images("small")[1], whole[::-1])

    def third(hq: np.ndarray, *_: object) -> np.ndarray:
        return hq[::3, ::3]

    settings = config(images=["small"], tile=tile)
    records = photographs.pairs(settings, tmp_path, Maker("tiny", third, multiple=3))
    left = iter(records)
    for here in (whole, whole[::-1]):
        for top, bottom in photographs.cut_evenly(39, tile):
            for start, stop in photographs.cut_evenly(50, tile):
                record = next(left)
                hq = read_image(tmp_path / record["hq"])
                height, width = (bottom - top) // 3 * 3, (stop - start) // 3 * 3
                assert np.array_equal(hq, here[top : top + height, start : start + width])
                assert np.array_equal(read_lq(tmp_path / record["lq"]), hq[::3, ::3])
    assert len(records) == {None: 2, 16: 12}[tile]


def test_a_photograph_smaller_than_the_multiple_is_refused(sets, tmp_path):
    sets(size=(9, 2), small=["p.png", "q.png"])
    with pytest.raises(BenchError, match=r"p\.png: \(2, 9\) pixels; expected at least 4"):
        photographs.pairs(config(images=["small"]), tmp_path, Maker("tiny", noisy, multiple=4))


@pytest.mark.parametrize(
    ("module", "settings", "file", "shape"),
    [
        (bicubic, bicubic.Config(scale=3), "lq/coffee.png", (399, 600, 3)),
        (gaussian_noise, gaussian_noise.Config(sigma=50.0), "lq/coffee.npy", (400, 600, 3)),
        (none, none.Config(), "lq/coffee.png", (400, 600, 3)),
    ],
)
def test_real_degradations_make_pairs_that_read_back_bit_for_bit(
    tmp_path, module, settings, file, shape
):
    make = Maker.from_module("real", module, settings)
    (record,) = photographs.pairs(config(), tmp_path, make)
    hq, lq = read_image(tmp_path / record["hq"]), read_lq(tmp_path / record["lq"])
    expected = module.degrade(hq, settings, name_rng("real", "coffee", 0, 0))
    assert np.array_equal(lq, expected)
    assert (record["lq"], hq.shape) == (file, shape)
    assert sha256(tmp_path / record["lq"]) == record["sha256_lq"]


# --- lq on disk ----------------------------------------------------------------------------------


@given(image=hnp.arrays(np.float32, (3, 4, 3), elements=st.floats(-2, 3, width=32)))
def test_noise_is_kept_bit_for_bit_and_seen_as_8_bits(tmp_path_factory, image):
    path = write_lq(tmp_path_factory.mktemp("lq") / "a.b", image)
    assert path.name == "a.b.npy"
    back = read_lq(path)
    assert back.dtype == np.float32 and np.array_equal(back, image)
    picture = read_image(path)
    assert picture.dtype == np.uint8
    assert np.abs(np.clip(image.astype(float) * 255, 0, 255) - picture).max() <= 0.5 + 1e-4
    tensor = to_tensor(image)
    assert np.array_equal(tensor.numpy(), image.transpose(2, 0, 1))
    tensor.zero_()
    assert np.array_equal(back, image)  # a copy


def test_8_bits_are_kept_as_png(tmp_path):
    image = data.coffee()[:5, :6]
    for name in ("a", "a.png", "a.npy"):  # a stem may end like a suffix
        assert write_lq(tmp_path / name, image) == tmp_path / f"{name}.png"
    assert np.array_equal(read_lq(tmp_path / "a.png"), image)
    tensor = to_tensor(image)
    assert tensor.dtype == torch.float32
    assert np.array_equal(
        tensor.numpy(), image.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    )


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((4, 4, 3)), "float64"),
        (np.zeros((4, 4), np.float32), r"\(4, 4\) float32"),
        (np.full((4, 4, 3), np.nan, np.float32), "not finite"),
    ],
)
def test_what_is_no_lq_is_not_written(tmp_path, image, said):
    with pytest.raises(BenchError, match=said):
        write_lq(tmp_path / "a", image)
    assert not list(tmp_path.iterdir())


def test_to_tensor_refuses_other_types():
    with pytest.raises(BenchError, match="got float64"):
        to_tensor(np.zeros((4, 4, 3)))


def npy(array: np.ndarray) -> bytes:
    """What NumPy writes into an ``.npy`` file."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a readable array"),
        (b"no array at all", "not a readable array"),
        (npy(np.zeros((4, 4, 3), np.float32))[:-1], "not a readable array"),
        (npy(np.array([{}], object)), "allow_pickle=False"),
        (npy(np.zeros((4, 4, 3))), "got (4, 4, 3) float64"),
        (npy(np.zeros((4, 4), np.float32)), "got (4, 4) float32"),
        (npy(np.full((4, 4, 3), np.inf, np.float32)), "not finite"),
        (None, "FileNotFoundError"),
    ],
)
@pytest.mark.parametrize("read", [read_lq, read_image])
def test_a_damaged_or_strange_npy_is_refused_by_name(tmp_path, read, content, said):
    path = tmp_path / "a.npy"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BenchError, match=re.escape(said)) as error:
        read(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


# --- paired --------------------------------------------------------------------------------------

REALBLUR = "RealBlur-J_ECC_IMCORR_centroid_itensity_ref"
# asset, split, (blurred, sharp) files as the authors' archives hold them, image names
TREES = {
    "gopro": (
        "test",
        [
            ("test/GOPR0384/blur/000001.png", "test/GOPR0384/sharp/000001.png"),
            ("test/GOPR0384/blur/000002.png", "test/GOPR0384/sharp/000002.png"),
            ("test/GOPR0410/blur/000001.png", "test/GOPR0410/sharp/000001.png"),
            ("test/GOPR0410/blur/000002.png", "test/GOPR0410/sharp/000002.png"),
            ("train/GOPR0384/blur/000001.png", "train/GOPR0384/sharp/000001.png"),
            ("train/GOPR0384/blur/000002.png", "train/GOPR0384/sharp/000002.png"),
            ("train/GOPR0410/blur/000001.png", "train/GOPR0410/sharp/000001.png"),
            ("train/GOPR0410/blur/000002.png", "train/GOPR0410/sharp/000002.png"),
        ],
        [
            "GOPR0384-blur-000001",
            "GOPR0384-blur-000002",
            "GOPR0410-blur-000001",
            "GOPR0410-blur-000002",
        ],
    ),
    "realblur-j": (
        "test",
        [
            (f"{REALBLUR}/scene050/blur/blur_2.png", f"{REALBLUR}/scene050/gt/gt_2.png"),
            (f"{REALBLUR}/scene050/blur/blur_7.png", f"{REALBLUR}/scene050/gt/gt_7.png"),
            (f"{REALBLUR}/scene230/blur/blur_2.png", f"{REALBLUR}/scene230/gt/gt_2.png"),
            (f"{REALBLUR}/scene230/blur/blur_7.png", f"{REALBLUR}/scene230/gt/gt_7.png"),
        ],
        [
            "scene050-blur-blur_2",
            "scene050-blur-blur_7",
            "scene230-blur-blur_2",
            "scene230-blur-blur_7",
        ],
    ),
    "reds": (
        "val",
        [
            ("val/val_blur/000/00000000.png", "val/val_sharp/000/00000000.png"),
            ("val/val_blur/000/00000001.png", "val/val_sharp/000/00000001.png"),
            ("val/val_blur/001/00000000.png", "val/val_sharp/001/00000000.png"),
            ("val/val_blur/001/00000001.png", "val/val_sharp/001/00000001.png"),
        ],
        ["000-00000000", "000-00000001", "001-00000000", "001-00000001"],
    ),
    "reloblur": (
        "test",
        [
            ("test/s01/00/00_blur.png", "test/s01/00/00_sharp.png"),
            ("test/s01/00/01_blur.png", "test/s01/00/01_sharp.png"),
            ("test/s02/00/00_blur.png", "test/s02/00/00_sharp.png"),
            ("test/s02/00/01_blur.png", "test/s02/00/01_sharp.png"),
        ],
        ["s01-00-00_blur", "s01-00-01_blur", "s02-00-00_blur", "s02-00-01_blur"],
    ),
}


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Make a small copy of a data set, with the catalogue's own layouts and counts of four."""

    def make(asset: str) -> Path:
        entries = yaml.safe_load(catalogue.CATALOGUE.read_text())
        for name in TREES:
            entries[name]["counts"] = dict.fromkeys(entries[name]["counts"], 4)
        (tmp_path / "catalogue.yaml").write_text(yaml.safe_dump(entries))
        monkeypatch.setattr(catalogue, "CATALOGUE", tmp_path / "catalogue.yaml")
        monkeypatch.setenv("BENCHLIB_DATA", str(tmp_path / "data"))
        folder = tmp_path / "data" / asset
        for grey, pair in enumerate(TREES[asset][1]):
            for path in pair:
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (3, 2), (grey, grey, grey)).save(folder / path)
        if asset == "realblur-j":  # as published: sharp first, a space at the end, not sorted
            lines = [f"{sharp} {blurred} \n" for blurred, sharp in reversed(TREES[asset][1])]
            (folder / "RealBlur_J_test_list.txt").write_text("".join(lines))
        return folder

    return make


def found_pairs(asset: str, split: str) -> list[dict[str, Any]]:
    """What ``paired`` records; it writes nothing, so that its folder need not be there."""
    return paired.pairs(paired.Config(asset, split), Path("absent"), UNUSED)


@pytest.mark.parametrize("asset", TREES)
def test_paired_finds_the_published_layout(tree, asset):
    folder = tree(asset)
    split, files, names = TREES[asset]
    records = found_pairs(asset, split)
    assert column(records, "image") == names
    assert column(records, "lq", "hq") == files[:4]
    assert set(column(records, "asset")) == {asset}
    for r in records:
        assert sha256(folder / r["lq"]) == r["sha256_lq"]
        assert sha256(folder / r["hq"]) == r["sha256_hq"]
        # the same grey on both sides: the right partner
        assert np.array_equal(read_image(folder / r["lq"]), read_image(folder / r["hq"]))


def test_frames_of_one_sequence_share_their_source(tree):
    tree("gopro")
    expected = ["GOPR0384", "GOPR0384", "GOPR0410", "GOPR0410"]
    assert column(found_pairs("gopro", "test"), "source") == expected


def test_hazy_images_of_one_photograph_share_it_and_are_one_scene(tmp_path, monkeypatch):
    entries = yaml.safe_load(catalogue.CATALOGUE.read_text())
    entries["reside-its"]["counts"] = {"train": 3, "test": 500}
    (tmp_path / "catalogue.yaml").write_text(yaml.safe_dump(entries))
    monkeypatch.setattr(catalogue, "CATALOGUE", tmp_path / "catalogue.yaml")
    monkeypatch.setenv("BENCHLIB_DATA", str(tmp_path / "data"))
    folder = tmp_path / "data" / "reside-its" / "ITS" / "train"
    for name in ("hazy/1_1_0.90179", "hazy/1_10_0.98796", "hazy/12_1_0.9", "clear/1", "clear/12"):
        write_png(folder / f"{name}.png", np.zeros((2, 3, 3), np.uint8))
    records = found_pairs("reside-its", "train")
    assert column(records, "image") == ["12_1_0.9", "1_10_0.98796", "1_1_0.90179"]
    sharp = [f"ITS/train/clear/{name}.png" for name in ("12", "1", "1")]
    assert column(records, "hq") == sharp and column(records, "source") == ["12", "1", "1"]


def test_gopro_s_gamma_variant_does_not_disturb(tree):
    folder = tree("gopro")
    (folder / "test/GOPR0384/blur_gamma").mkdir()
    Image.new("RGB", (3, 2)).save(folder / "test/GOPR0384/blur_gamma/000001.png")
    assert len(found_pairs("gopro", "test")) == 4


def test_a_missing_partner_a_wrong_count_and_absent_data_are_said(tree):
    folder = tree("reds")
    (folder / "val/val_sharp/000/00000001.png").unlink()
    with pytest.raises(BenchError, match=r"00000001\.png is absent"):
        found_pairs("reds", "val")
    (folder / "val/val_blur/000/00000001.png").unlink()
    with pytest.raises(BenchError, match="found 3 pairs, expected 4"):
        found_pairs("reds", "val")
    with pytest.raises(BenchError, match=r"reloblur: not found in .*get it: "):
        found_pairs("reloblur", "test")
    with pytest.raises(BenchError, match="gopro: no split 'val'"):
        found_pairs("gopro", "val")


def test_two_images_of_one_name_are_refused(monkeypatch):
    one, other = Path("d/a-b/1.png"), Path("d/a/b-1.png")
    gopro = assets.find("gopro")
    monkeypatch.setattr(assets, "find", lambda asset: gopro)
    monkeypatch.setattr(assets, "folder", lambda asset: Path("d"))
    monkeypatch.setattr(assets, "pairs", lambda asset, split: [(one, one), (other, other)])
    with pytest.raises(BenchError, match="split test: two images of the name 'a-b-1'"):
        found_pairs("made", "test")


def test_paired_takes_super_resolution_pairs_and_names_them_by_lq(tmp_path, monkeypatch):
    entry = yaml.safe_load(catalogue.CATALOGUE.read_text())["gopro"]
    layout = {"x3": {"lq": "lr/x3/*x3.png", "hq": "hr/*.png"}}
    entry |= {"get": "here", "layout": layout, "counts": {"x3": 2}}
    (tmp_path / "catalogue.yaml").write_text(yaml.safe_dump({"sr": entry}))
    monkeypatch.setattr(catalogue, "CATALOGUE", tmp_path / "catalogue.yaml")
    monkeypatch.setenv("BENCHLIB_DATA", str(tmp_path))
    for name in ("baby", "bird"):
        write_png(tmp_path / f"sr/lr/x3/{name}x3.png", np.zeros((2, 3, 3), np.uint8))
        # as IMDN's Set5: not cropped
        write_png(tmp_path / f"sr/hr/{name}.png", np.zeros((7, 9, 3), np.uint8))
    assert column(found_pairs("sr", "x3"), "image", "lq", "hq", "source") == [
        ("babyx3", "lr/x3/babyx3.png", "hr/baby.png", ""),
        ("birdx3", "lr/x3/birdx3.png", "hr/bird.png", ""),
    ]


# --- one's own pairs -----------------------------------------------------------------------------


def write_sides(folder: Path, names: dict[str, tuple[str, ...]]) -> folder_source.Config:
    for side, files in names.items():
        for name in files:
            write_png(folder / side / name, np.full((5, 6, 3), len(name), np.uint8))
    return folder_source.Config(str(folder))


def test_a_folder_of_ones_own_pairs_is_copied_by_name(tmp_path) -> None:
    names = ("a.png", "b.png")
    config = write_sides(tmp_path / "mine", {"lq": names, "hq": names})
    records = folder_source.pairs(config, tmp_path / "out", UNUSED)
    assert column(records, "image", "lq", "hq", "source", "copy") == [
        ("a", "lq/a.png", "hq/a.png", "a", 0),
        ("b", "lq/b.png", "hq/b.png", "b", 0),
    ]
    for record in records:
        assert sha256(tmp_path / "out" / record["lq"]) == record["sha256_lq"]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({"lq": ("a.png",), "hq": ("a.png", "b.png")}, "'b' has no partner"),
        ({"lq": ("a.png", "a.jpg"), "hq": ("a.png",)}, "two images of the name 'a'"),
        ({"lq": ("a.png",)}, "no such folder"),
    ],
)
def test_a_folder_that_does_not_pair_is_refused(tmp_path, names, said) -> None:
    config = write_sides(tmp_path / "mine", names)
    with pytest.raises(BenchError, match=said):
        folder_source.pairs(config, tmp_path / "out", UNUSED)


def test_an_empty_folder_is_refused(tmp_path) -> None:
    for side in ("lq", "hq"):
        (tmp_path / "mine" / side).mkdir(parents=True)
    with pytest.raises(BenchError, match=r"mine: no images; expected lq/ and hq/"):
        folder_source.pairs(folder_source.Config(str(tmp_path / "mine")), tmp_path / "out", UNUSED)


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_a_folder_of_pairs_may_be_for_super_resolution(tmp_path, scale) -> None:
    rng = np.random.default_rng(0)
    images = {"lq": rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)}
    images["hq"] = rng.integers(0, 256, (5 * scale, 6 * scale, 3), dtype=np.uint8)
    for side, image in images.items():
        write_png(tmp_path / "mine" / side / "a.png", image)
    config = folder_source.Config(str(tmp_path / "mine"))
    (record,) = folder_source.pairs(config, tmp_path / "out", UNUSED)
    for side, image in images.items():
        assert np.array_equal(read_image(tmp_path / "out" / record[side]), image)


@pytest.mark.parametrize("large", [(11, 12), (10, 18), (4, 6), (5, 3)])
def test_a_folder_with_an_hq_that_is_no_whole_multiple_is_refused(tmp_path, large) -> None:
    write_png(tmp_path / "mine/lq/a.png", np.zeros((5, 6, 3), np.uint8))
    write_png(tmp_path / "mine/hq/a.png", np.zeros((*large, 3), np.uint8))
    said = r"a\.png: \(5, 6\) pixels, but its reference .* whole multiple"
    with pytest.raises(BenchError, match=said):
        folder_source.pairs(folder_source.Config(str(tmp_path / "mine")), tmp_path / "out", UNUSED)
