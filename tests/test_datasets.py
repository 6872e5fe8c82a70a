"""Pairs: made from photographs (files, sets, tiles, seeds), found where their authors put them, and lq on disk."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from pydantic import TypeAdapter, ValidationError
from skimage import data

from benchlib import assets
from benchlib.assets import catalogue
from benchlib.contracts import BenchError
from benchlib.datasets import folder as folder_source
from benchlib.datasets import paired, photographs
from benchlib.files import sha256
from benchlib.imageio import read_image, read_lq, to_tensor, write_lq, write_png
from benchlib.params import configure
from benchlib.seeding import name_rng


def noisy(hq: np.ndarray, rng: np.random.Generator, region: np.ndarray | None) -> np.ndarray:
    """A degradation one can follow: its generator's first number in the corner, the region painted black."""
    lq = hq.copy()
    lq[0, 0] = rng.integers(0, 256, 3)
    if region is not None:
        lq[region] = 0
    return lq


def config(**settings) -> photographs.Config:
    return photographs.Config(**({"images": ["coffee"], "degrade": {"name": "shake-blur"}} | settings))


# --- photographs ---------------------------------------------------------------------------------------------------


def test_images_are_the_catalogue_s_files_in_the_order_given():
    found = photographs.images(config(images=["flower", "coffee"]))
    assert [(p.image, p.path.name) for p in found] == [("flower", "flower.jpg"), ("coffee", "coffee.png")]
    assert [p.source for p in found] == ["flower", "coffee"]


def test_pairs_writes_what_it_records(tmp_path):
    records = photographs.pairs(config(images=["chelsea", "coffee"], copies=2, tile=200), tmp_path, "shaken", noisy)
    tiles = [*(f"chelsea-{i}" for i in range(2)), *(f"coffee-{i}" for i in range(6))]
    assert [r["image"] for r in records] == [f"{tile}{copy}" for tile in tiles for copy in ("", "_c1")]
    assert [(r["source"], r["copy"]) for r in records] == [(t.split("-")[0], c) for t in tiles for c in (0, 1)]
    assert {r["asset"] for r in records} == {""}
    assert len({r["lq"] for r in records}) == len(records) == 2 * len({r["hq"] for r in records})
    written = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    assert written == {r[side] for r in records for side in ("lq", "hq")}
    for r in records:
        for side in ("lq", "hq"):
            assert sha256(tmp_path / r[side]) == r[f"sha256_{side}"]
        assert read_image(tmp_path / r["lq"]).shape == read_image(tmp_path / r["hq"]).shape


def test_generator_is_seeded_by_set_tile_copy_and_seed(tmp_path):
    records = photographs.pairs(config(copies=2, seed=5), tmp_path, "shaken", noisy)
    for r in records:
        first = name_rng("shaken", "coffee", r["copy"], 5).integers(0, 256, 3)
        assert np.array_equal(read_image(tmp_path / r["lq"])[0, 0], first)
    assert records[0]["sha256_lq"] != records[1]["sha256_lq"]


def test_pairs_do_not_depend_on_their_company(tmp_path):
    alone = photographs.pairs(config(), tmp_path / "alone", "shaken", noisy)
    crowd = photographs.pairs(config(images=["chelsea", "coffee"], copies=2), tmp_path / "crowd", "shaken", noisy)
    assert alone[0] in crowd


def test_region_is_asked_once_a_tile_and_given_to_every_copy(tmp_path):
    asked = []

    def region(sharp: Path) -> np.ndarray:
        asked.append(sharp.relative_to(tmp_path).as_posix())
        mask = np.zeros(read_image(sharp).shape[:2], bool)
        mask[5:9, 5:9] = True
        return mask

    records = photographs.pairs(config(copies=3), tmp_path, "local", noisy, region)
    assert asked == ["hq/coffee.png"]
    assert len(records) == 3
    for r in records:
        assert (read_image(tmp_path / r["lq"])[5:9, 5:9] == 0).all()


def test_tiles_cover_the_photograph_exactly_once(tmp_path):
    records = photographs.pairs(config(tile=128), tmp_path, "shaken", noisy)
    tiles = [read_image(tmp_path / r["hq"]) for r in records]
    assert len(tiles) == 12
    assert min(min(t.shape[:2]) for t in tiles) >= 128
    whole = np.concatenate([np.concatenate(tiles[i : i + 4], axis=1) for i in (0, 4, 8)], axis=0)
    assert np.array_equal(whole, read_image(assets.fetch("coffee")))


@given(length=st.integers(1, 3000), tile=st.integers(1, 600) | st.none())
def test_grid_is_a_partition_into_near_equal_stretches(length, tile):
    cuts = photographs.grid(length, tile)
    assert [i for a, b in cuts for i in range(a, b)] == list(range(length))
    sizes = [b - a for a, b in cuts]
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= min(length, tile or length)
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
    records = photographs.pairs(config(images=[image], **settings), tmp_path, "shaken", noisy)
    assert read_image(tmp_path / records[0]["hq"]).shape[:2] == size


def test_an_image_named_twice_or_unknown_is_refused():
    with pytest.raises(BenchError, match="coffee given twice"):
        photographs.images(config(images=["coffee", "chelsea", "coffee"]))
    with pytest.raises(BenchError, match="coffee"):
        photographs.images(config(images=["cofee"]))


@pytest.mark.parametrize(
    "settings",
    [{"copies": 0}, {"tile": 1}, {"seed": -1}, {"shrink_jpeg": 0}, {"part": [1]}, {"part": [-1, 2]}],
)
def test_settings_out_of_range_are_refused(settings):
    check = TypeAdapter(photographs.Config)
    good = {"images": ["coffee"], "degrade": {"name": "shake-blur"}}
    assert check.validate_python(good) == config()
    with pytest.raises(ValidationError):
        check.validate_python(good | settings)


# --- sets of photographs -------------------------------------------------------------------------------------------


@pytest.fixture
def sets(tmp_path, monkeypatch):
    """Give the catalogue's place to sets made here: name -> files, each of one grey, its number in its set."""

    def make(size: tuple[int, int] = (9, 7), **files: list[str]) -> None:
        paths = {name: [tmp_path / "sets" / name / file for file in names] for name, names in files.items()}
        for folder in paths.values():
            for grey, path in enumerate(folder):
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", size, (grey, grey, grey)).save(path)
        monkeypatch.setattr(assets, "images", lambda name: paths[name])

    return make


def names_of(**settings) -> list[str]:
    return [photograph.image for photograph in photographs.images(config(**settings))]


def test_a_set_gives_all_its_photographs_by_the_stems_of_their_files(sets):
    sets(set14=["img_001_SRF_4_HR.png", "img_002_SRF_4_HR.png"], coffee=["cup.png"])
    found = photographs.images(config(images=["set14", "coffee"]))
    assert [p.image for p in found] == ["img_001_SRF_4_HR", "img_002_SRF_4_HR", "coffee"]
    assert [p.source for p in found] == ["set14/img_001_SRF_4_HR", "set14/img_002_SRF_4_HR", "coffee"]
    assert [p.path.name for p in found] == ["img_001_SRF_4_HR.png", "img_002_SRF_4_HR.png", "cup.png"]


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
        st.lists(st.text("aA-2_ é/", min_size=1, max_size=3), min_size=2, max_size=5), min_size=1, max_size=3
    )
)
def test_any_stems_get_names_that_are_safe_and_unique(stems):
    paths = {f"a{i}": [Path("sets") / f"{stem.replace('/', '')}.png" for stem in some] for i, some in enumerate(stems)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assets, "images", lambda name: paths[name])
        patch.setattr(photographs, "_distinct", lambda files, min_side: files)
        names = names_of(images=list(paths))
    assert len({name.lower() for name in names}) == len(names) == sum(map(len, stems))
    assert all(re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", name) for name in names)


def test_a_set_s_copies_and_small_photographs_are_left_out(sets):
    sets(t=["a.png", "b.png", "c.png"])
    first, second, _ = assets.images("t")
    second.write_bytes(first.read_bytes())
    assert names_of(images=["t"]) == ["a", "c"]
    Image.new("RGB", (9, 6)).save(first)
    assert names_of(images=["t"], min_side=7) == ["b", "c"]


def test_a_folder_of_one_s_own_photographs_is_degraded_like_a_set(tmp_path):
    for i in range(2):
        (tmp_path / "mine").mkdir(exist_ok=True)
        Image.new("RGB", (9, 7), (40 * i, 0, 0)).save(tmp_path / "mine" / f"p{i}.png")
    own = photographs.Config(degrade={"name": "x"}, path=str(tmp_path / "mine"))
    assert [(p.image, p.source) for p in photographs.images(own)] == [("p0", "mine/p0"), ("p1", "mine/p1")]
    for settings in ({}, {"path": str(tmp_path / "mine"), "images": ["coffee"]}):
        with pytest.raises(BenchError, match="give `images`, names of the catalogue, or `path`"):
            photographs.images(photographs.Config(degrade={"name": "x"}, **settings))
    with pytest.raises(BenchError, match="no such folder"):
        photographs.images(photographs.Config(degrade={"name": "x"}, path=str(tmp_path / "absent")))


def test_parts_share_no_photograph_cover_all_and_are_a_fair_sample(sets):
    sets(big=[f"{i:03}.png" for i in range(200)], small=["p.png", "q.png"])
    every = ["big", "small"]
    parts = [names_of(images=every, part=part) for part in ([0, 60], [60, 70], [70, 202])]
    assert [len(part) for part in parts] == [60, 10, 132]
    assert sorted(name for part in parts for name in part) == sorted(names_of(images=every))
    assert names_of(images=every, part=[0, 70]) == parts[0] + parts[1]
    positions = [int(name) for name in parts[0] if name.isdigit()]
    assert positions != sorted(positions)
    assert 80 < np.mean(positions) < 120  # of 0 to 199; the mean of 60 has a standard deviation of 6


def test_the_shuffled_order_stays_and_does_so_when_another_set_joins(sets):
    sets(big=[f"{i:03}.png" for i in range(50)], small=["p.png", "q.png"])
    alone = names_of(images=["big"], part=[0, 50])
    joined = names_of(images=["big", "small"], part=[0, 52])
    assert [name for name in joined if name.isdigit()] == alone
    assert alone[:5] == ["032", "010", "027", "005", "001"]  # pinned: runs name positions


@pytest.mark.parametrize("part", [[0, 3], [1, 1], [2, 1], [5, 6]])
def test_a_part_that_is_empty_or_out_of_range_is_refused(sets, part):
    sets(small=["p.png", "q.png"])
    with pytest.raises(BenchError, match=r"expected 0 <= start < stop <= 2"):
        photographs.images(config(images=["small"], part=part))


def test_part_is_read_from_params_as_a_list():
    choice = {"name": "photographs", "images": ["coffee"], "degrade": {"name": "bicubic"}, "part": [0, 1]}
    assert configure("datasets", choice)[1].part == [0, 1]
    with pytest.raises(BenchError, match="part"):
        configure("datasets", choice | {"part": [0, 1, 2]})


def test_pairs_of_a_set_record_the_set_and_the_file(sets, tmp_path):
    sets(small=["p.png", "q.png"])
    records = photographs.pairs(config(images=["small"], part=[0, 2]), tmp_path, "tiny", noisy)
    assert sorted((r["image"], r["source"]) for r in records) == [("p", "small/p"), ("q", "small/q")]
    assert [r["image"] for r in records] == names_of(images=["small"], part=[0, 2])


def test_a_photograph_called_like_another_s_copy_is_refused(sets, tmp_path):
    sets(small=["p.png", "p_c1.png"])
    with pytest.raises(BenchError, match="get the name p_c1"):
        photographs.pairs(config(images=["small"], copies=2), tmp_path, "tiny", noisy)


@pytest.mark.parametrize("tile", [None, 16])
def test_hq_is_cut_at_the_right_and_bottom_to_a_multiple(sets, tmp_path, tile):
    sets(small=["p.png", "q.png"])
    whole = data.coffee()[:39, :50]
    write_png(assets.images("small")[0], whole)
    write_png(assets.images("small")[1], whole[::-1])

    def halved(hq: np.ndarray, *_: object) -> np.ndarray:
        return hq[::3, ::3]

    records = photographs.pairs(config(images=["small"], tile=tile), tmp_path, "tiny", halved, multiple=3)
    assert len(records) == (2 if tile is None else 12)
    rows, columns = (photographs.grid(side, tile) for side in (39, 50))
    for r, (top, bottom), (left, right) in [
        (records[(n * len(rows) + i) * len(columns) + j], y, x)
        for n in range(2)
        for i, y in enumerate(rows)
        for j, x in enumerate(columns)
    ]:
        hq = read_image(tmp_path / r["hq"])
        height, width = (bottom - top) // 3 * 3, (right - left) // 3 * 3
        here = whole if r["source"] == "small/p" else whole[::-1]
        assert np.array_equal(hq, here[top : top + height, left : left + width])
        assert np.array_equal(read_lq(tmp_path / r["lq"]), hq[::3, ::3])


def test_a_photograph_smaller_than_the_multiple_is_refused(sets, tmp_path):
    sets(size=(9, 2), small=["p.png", "q.png"])
    with pytest.raises(BenchError, match=r"p\.png: \(2, 9\) pixels; expected at least 4"):
        photographs.pairs(config(images=["small"]), tmp_path, "tiny", noisy, multiple=4)


def test_real_degradations_make_pairs_that_read_back_bit_for_bit(tmp_path):
    for name, settings in (("bicubic", {"scale": 3}), ("gaussian-noise", {"sigma": 50.0})):
        module, chosen = configure("degrade", {"name": name} | settings)
        multiple = module.multiple(chosen) if hasattr(module, "multiple") else 1

        def degrade(hq, rng, region, module=module, chosen=chosen):
            return module.degrade(hq, chosen, rng, region)

        (record,) = photographs.pairs(config(), tmp_path / name, name, degrade, multiple=multiple)
        hq, lq = read_image(tmp_path / name / record["hq"]), read_lq(tmp_path / name / record["lq"])
        assert np.array_equal(lq, degrade(hq, name_rng(name, "coffee", 0, 0), None))
        assert (record["lq"], hq.shape) == {
            "bicubic": ("lq/coffee.png", (399, 600, 3)),
            "gaussian-noise": ("lq/coffee.npy", (400, 600, 3)),
        }[name]
        assert sha256(tmp_path / name / record["lq"]) == record["sha256_lq"]


# --- lq on disk ----------------------------------------------------------------------------------------------------


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
    for name in ("a", "a.png", "a.npy"):
        assert write_lq(tmp_path / name, image) == tmp_path / "a.png"
    assert np.array_equal(read_lq(tmp_path / "a.png"), image)
    tensor = to_tensor(image)
    assert tensor.dtype == torch.float32
    assert np.array_equal(tensor.numpy(), image.transpose(2, 0, 1).astype(np.float32) / np.float32(255))


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


def whole(path: Path) -> bytes:
    np.save(path, np.zeros((4, 4, 3), np.float32))
    return path.read_bytes()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: None, "FileNotFoundError"),
        (lambda path: path.write_bytes(b""), "not a readable array"),
        (lambda path: path.write_bytes(b"no array at all"), "not a readable array"),
        (lambda path: path.write_bytes(whole(path)[:-1]), "not a readable array"),
        (lambda path: np.save(path, np.array([{}], object), allow_pickle=True), "allow_pickle=False"),
        (lambda path: np.save(path, np.zeros((4, 4, 3))), "got (4, 4, 3) float64"),
        (lambda path: np.save(path, np.zeros((4, 4), np.float32)), "got (4, 4) float32"),
        (lambda path: np.save(path, np.full((4, 4, 3), np.inf, np.float32)), "not finite"),
    ],
)
def test_a_damaged_or_strange_npy_is_refused_by_name(tmp_path, spoil, said):
    path = tmp_path / "a.npy"
    spoil(path)
    for read in (read_lq, read_image):
        with pytest.raises(BenchError, match=re.escape(said)) as error:
            read(path)
        assert str(path) in str(error.value) and "\n" not in str(error.value)


# --- paired --------------------------------------------------------------------------------------------------------

SCENE = "RealBlur-J_ECC_IMCORR_centroid_itensity_ref/scene"
# asset, split, (blurred, sharp) files as the authors' archives hold them, image names
TREES = {
    "gopro": (
        "test",
        [(f"{split}/GOPR0{n}/blur/00000{i}.png", f"{split}/GOPR0{n}/sharp/00000{i}.png")
         for split in ("test", "train") for n in (384, 410) for i in (1, 2)],
        ["GOPR0384-blur-000001", "GOPR0384-blur-000002", "GOPR0410-blur-000001", "GOPR0410-blur-000002"],
    ),
    "realblur-j": (
        "test",
        [(f"{SCENE}{s}/blur/blur_{i}.png", f"{SCENE}{s}/gt/gt_{i}.png") for s in ("050", "230") for i in (2, 7)],
        ["scene050-blur-blur_2", "scene050-blur-blur_7", "scene230-blur-blur_2", "scene230-blur-blur_7"],
    ),
    "reds": (
        "val",
        [(f"val/val_blur/00{c}/0000000{i}.png", f"val/val_sharp/00{c}/0000000{i}.png") for c in (0, 1) for i in (0, 1)],
        ["000-00000000", "000-00000001", "001-00000000", "001-00000001"],
    ),
    "reloblur": (
        "test",
        [(f"test/s0{s}/00/0{i}_blur.png", f"test/s0{s}/00/0{i}_sharp.png") for s in (1, 2) for i in (0, 1)],
        ["s01-00-00_blur", "s01-00-01_blur", "s02-00-00_blur", "s02-00-01_blur"],
    ),
}  # fmt: skip


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


@pytest.mark.parametrize("asset", TREES)
def test_paired_finds_the_published_layout(tree, asset):
    folder = tree(asset)
    split, files, names = TREES[asset]
    settings = paired.Config(asset=asset, split=split)
    records = paired.pairs(settings)
    assert [r["image"] for r in records] == names
    assert [(r["lq"], r["hq"]) for r in records] == files[:4]
    assert {r["asset"] for r in records} == {asset}
    assert all(sha256(folder / r[side]) == r[f"sha256_{side}"] for r in records for side in ("lq", "hq"))
    for r in records:  # the same grey on both sides: the right partner
        assert np.array_equal(read_image(folder / r["lq"]), read_image(folder / r["hq"]))


def test_gopro_s_gamma_variant_does_not_disturb(tree):
    folder = tree("gopro")
    (folder / "test/GOPR0384/blur_gamma").mkdir()
    Image.new("RGB", (3, 2)).save(folder / "test/GOPR0384/blur_gamma/000001.png")
    assert len(paired.pairs(paired.Config("gopro", "test"))) == 4


def test_a_missing_partner_a_wrong_count_and_absent_data_are_said(tree):
    folder = tree("reds")
    settings = paired.Config("reds", "val")
    (folder / "val/val_sharp/000/00000001.png").unlink()
    with pytest.raises(BenchError, match=r"00000001\.png is absent"):
        paired.pairs(settings)
    (folder / "val/val_blur/000/00000001.png").unlink()
    with pytest.raises(BenchError, match="found 3 pairs, expected 4"):
        paired.pairs(settings)
    with pytest.raises(BenchError, match=r"reloblur: not found in .*get it: "):
        paired.pairs(paired.Config("reloblur", "test"))
    with pytest.raises(BenchError, match="gopro: no split 'val'"):
        paired.pairs(paired.Config("gopro", "val"))


def test_paired_takes_super_resolution_pairs_and_names_them_by_lq(tmp_path, monkeypatch):
    entries = yaml.safe_load(catalogue.CATALOGUE.read_text())
    entry = {
        key: entries["gopro"][key] for key in ("kind", "source", "sha256", "bytes", "licence", "citation", "purpose")
    }
    entry |= {"get": "here", "layout": {"x3": {"lq": "lr/x3/*x3.png", "hq": "hr/*.png"}}, "counts": {"x3": 2}}
    (tmp_path / "catalogue.yaml").write_text(yaml.safe_dump({"sr": entry}))
    monkeypatch.setattr(catalogue, "CATALOGUE", tmp_path / "catalogue.yaml")
    monkeypatch.setenv("BENCHLIB_DATA", str(tmp_path))
    for name in ("baby", "bird"):
        write_png(tmp_path / "sr/lr/x3" / f"{name}x3.png", np.zeros((2, 3, 3), np.uint8))
        write_png(tmp_path / "sr/hr" / f"{name}.png", np.zeros((7, 9, 3), np.uint8))  # as IMDN's Set5: not cropped
    records = paired.pairs(paired.Config("sr", "x3"))
    assert [(r["image"], r["lq"], r["hq"]) for r in records] == [
        (f"{name}x3", f"lr/x3/{name}x3.png", f"hr/{name}.png") for name in ("baby", "bird")
    ]


def own(folder: Path, names: dict[str, tuple[str, ...]]) -> folder_source.Config:
    for side, files in names.items():
        for name in files:
            write_png(folder / side / name, np.full((5, 6, 3), len(name), np.uint8))
    return folder_source.Config(str(folder))


def test_a_folder_of_ones_own_pairs_is_copied_by_name(tmp_path) -> None:
    config = own(tmp_path / "mine", {"lq": ("a.png", "b.png"), "hq": ("a.png", "b.png")})
    records = folder_source.pairs(config, tmp_path / "out")
    assert [(r["image"], r["lq"], r["hq"]) for r in records] == [
        ("a", "lq/a.png", "hq/a.png"),
        ("b", "lq/b.png", "hq/b.png"),
    ]
    assert all(sha256(tmp_path / "out" / r["lq"]) == r["sha256_lq"] for r in records)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({"lq": ("a.png",), "hq": ("a.png", "b.png")}, "'b' has no partner"),
        ({"lq": ("a.png", "a.jpg"), "hq": ("a.png",)}, "two images of one name"),
        ({"lq": ("a.png",)}, "no such folder"),
    ],
)
def test_a_folder_that_does_not_pair_is_refused(tmp_path, names, said) -> None:
    with pytest.raises(BenchError, match=said):
        folder_source.pairs(own(tmp_path / "mine", names), tmp_path / "out")


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_a_folder_of_pairs_may_be_for_super_resolution(tmp_path, scale) -> None:
    rng = np.random.default_rng(0)
    images = {"lq": rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)}
    images["hq"] = rng.integers(0, 256, (5 * scale, 6 * scale, 3), dtype=np.uint8)
    for side, image in images.items():
        write_png(tmp_path / "mine" / side / "a.png", image)
    (record,) = folder_source.pairs(folder_source.Config(str(tmp_path / "mine")), tmp_path / "out")
    for side, image in images.items():
        assert np.array_equal(read_image(tmp_path / "out" / record[side]), image)


@pytest.mark.parametrize("large", [(11, 12), (10, 18), (4, 6), (5, 3)])
def test_a_folder_with_an_hq_that_is_no_whole_multiple_is_refused(tmp_path, large) -> None:
    write_png(tmp_path / "mine/lq/a.png", np.zeros((5, 6, 3), np.uint8))
    write_png(tmp_path / "mine/hq/a.png", np.zeros((*large, 3), np.uint8))
    with pytest.raises(BenchError, match=r"a\.png: \(5, 6\) pixels, but its reference .* whole multiple"):
        folder_source.pairs(folder_source.Config(str(tmp_path / "mine")), tmp_path / "out")
