"""Pairs: made from photographs (files, tiles, seeds), and found where their authors put them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from benchlib import assets
from benchlib.assets import catalogue
from benchlib.contracts import BenchError
from benchlib.datasets import folder as folder_source
from benchlib.datasets import paired, photographs
from benchlib.files import sha256
from benchlib.imageio import read_image, write_png
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
    assert [(name, path.name) for name, path in found] == [("flower", "flower.jpg"), ("coffee", "coffee.png")]


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


@pytest.mark.parametrize("settings", [{"images": []}, {"copies": 0}, {"tile": 1}, {"seed": -1}, {"shrink_jpeg": 0}])
def test_settings_out_of_range_are_refused(settings):
    check = TypeAdapter(photographs.Config)
    good = {"images": ["coffee"], "degrade": {"name": "shake-blur"}}
    assert check.validate_python(good) == config()
    with pytest.raises(ValidationError):
        check.validate_python(good | settings)


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
