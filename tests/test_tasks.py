"""What an item is, task by task: read, cropped, restored in tiles, seen by metrics, shown."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import expect_contract, name_of
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from benchlib import registry
from benchlib.conformance import Subject
from benchlib.conformance import tasks as contract
from benchlib.contracts import BenchError, Window
from benchlib.imageio import read_image, to_unit, write_lq, write_png
from benchlib.priors._read import Part, PriorSet
from benchlib.priors.kinds import masks, picture, points, tokens, vector
from benchlib.records import Pair
from benchlib.tasks import image
from benchlib.tasks.image import Item, Tiles

CPU = torch.device("cpu")


def some_item(height: int, width: int, scale: int = 1, seed: int = 0) -> Item:
    rng = np.random.default_rng(seed)
    lq = rng.integers(0, 256, (height, width, 3), np.uint8)
    return Item(lq, rng.integers(0, 256, (scale * height, scale * width, 3), np.uint8))


class Enlarge(torch.nn.Module):
    """Each pixel becomes scale x scale pixels: without a view beyond a pixel."""

    def __init__(self, scale: int):
        super().__init__()
        self.scale = scale
        self.seen: list[dict[str, torch.Tensor]] = []

    def forward(self, batch):
        self.seen.append(batch)
        size = {"scale_factor": self.scale, "mode": "nearest"}
        return torch.nn.functional.interpolate(batch["lq"], **size)


@pytest.mark.parametrize("check", contract.CHECKS, ids=name_of)
@pytest.mark.parametrize("name", registry.names("tasks"))
def test_every_task_has_what_the_contract_names(check, name: str) -> None:
    expect_contract(check, Subject("tasks", name))


# --- read -----------------------------------------------------------------------------------------


def test_a_reference_that_is_no_multiple_is_cut_or_refused(tmp_path) -> None:
    rng = np.random.default_rng(0)
    hq = rng.integers(0, 256, (14, 11, 3), np.uint8)
    write_png(tmp_path / "hq.png", hq)
    pair = Pair("a", "b", tmp_path / "lq.png", tmp_path / "hq.png")
    for shape, scale in (((14, 11), 1), ((7, 5), 2), ((4, 3), 3)):
        write_png(pair.lq, rng.integers(0, 256, (*shape, 3), np.uint8))
        item = image.read(pair)
        assert item.scale == scale
        assert image.size(item) == shape == item.lq.shape[:2]
        assert item.hq.shape[:2] == (scale * shape[0], scale * shape[1])
        assert np.array_equal(item.hq, hq[: item.hq.shape[0], : item.hq.shape[1]])
    for shape in ((14, 5), (6, 5), (20, 11)):
        write_png(pair.lq, rng.integers(0, 256, (*shape, 3), np.uint8))
        said = r"lq\.png: .*expected the same size, or a whole multiple"
        with pytest.raises(BenchError, match=said):
            image.read(pair)


def test_noise_is_read_as_it_is_and_seen_by_metrics_as_8_bits_show_it(tmp_path) -> None:
    noise = np.random.default_rng(0).normal(0.5, 0.4, (12, 12, 3)).astype(np.float32)
    write_lq(tmp_path / "lq", noise)
    write_png(tmp_path / "hq.png", np.zeros((12, 12, 3), np.uint8))
    item = image.read(Pair("a", "b", tmp_path / "lq.npy", tmp_path / "hq.png"))
    assert np.array_equal(item.lq, noise)
    assert np.array_equal(image.batch(item)["lq"][0].permute(1, 2, 0).numpy(), noise)
    shown = image.views(item, item.hq)["degraded"]
    assert np.array_equal(shown, read_image(tmp_path / "lq.npy"))
    assert np.array_equal(image.picture(item)["lq"], shown)


def test_memory_is_that_of_both_images() -> None:
    assert image.nbytes(some_item(5, 7, scale=2)) == 5 * 7 * 3 * (1 + 4)


# --- crops ----------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(st.sampled_from([1, 2, 3]), st.data())
def test_a_crop_is_what_pillow_cuts_and_turns_lq_and_hq_together(scale, data) -> None:
    item = some_item(9, 12, scale)
    side = data.draw(st.integers(2, 9))
    top, left = data.draw(st.integers(0, 9 - side)), data.draw(st.integers(0, 12 - side))
    flip_h, flip_v, transpose = (data.draw(st.booleans()) for _ in range(3))
    got = image.crop(item, Window(top, left, side, side, flip_h, flip_v, transpose))
    for name, array, times in (("lq", item.lq, 1), ("hq", item.hq, scale)):
        box = np.array([left, top, left + side, top + side]) * times
        expected = Image.fromarray(array).crop(tuple(box.tolist()))
        if flip_h:
            expected = expected.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if flip_v:
            expected = expected.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        if transpose:
            expected = expected.transpose(Image.Transpose.TRANSPOSE)
        assert got[name].dtype == torch.uint8
        assert np.array_equal(got[name].permute(1, 2, 0).numpy(), np.asarray(expected))
        pixels = np.asarray(expected).astype(np.float32) / np.float32(255)
        assert np.array_equal(to_unit(got[name]).permute(1, 2, 0).numpy(), pixels)


# --- restoring, whole and in tiles ----------------------------------------------------------------


@pytest.mark.parametrize("length", [64, 65, 100, 127, 128, 500])
def test_tiles_cover_everything_and_overlap(length) -> None:
    starts = image._starts(length, 64, 16)
    assert starts[0] == 0
    assert starts[-1] + 64 >= length
    assert all(later - earlier <= 64 - 16 for earlier, later in itertools.pairwise(starts))


def test_tiles_put_together_are_the_whole_for_a_pointwise_network() -> None:
    lq = torch.rand(1, 3, 100, 150)
    out = image._in_tiles(lambda batch: batch["lq"] * 0.5, {"lq": lq}, 64, 16, CPU)
    torch.testing.assert_close(out, lq[0] * 0.5)


def test_tiles_of_a_network_that_enlarges_meet_without_a_seam() -> None:
    """A network without a view beyond a pixel gives the same in tiles as whole, at every scale."""
    lq = torch.rand(1, 3, 50, 41, generator=torch.Generator().manual_seed(0))
    whole = Enlarge(3)({"lq": lq})[0]
    for tile in (16, 48, 64):
        tiled = image._in_tiles(Enlarge(3), {"lq": lq}, tile, 8, CPU)
        assert torch.allclose(tiled, whole, atol=1e-6)


def test_restored_is_rounded_once_and_the_same_in_tiles() -> None:
    item = some_item(50, 41)
    for tiles in (image.WHOLE, Tiles(64, 8), Tiles(16, 8)):
        restored = image.restore(Enlarge(2), image.batch(item), tiles, CPU)
        assert restored.dtype == np.uint8
        assert np.array_equal(restored, item.lq.repeat(2, 0).repeat(2, 1))


def kinds_of_prior(place: Path, size: tuple[int, int]) -> tuple[PriorSet, dict]:
    """One prior of each kind that has entries, and what is stored of one image."""
    rng, (height, width) = np.random.default_rng(0), size
    dense = rng.random((70, height, width)) < 0.3
    box = np.array([[2, 3, 45, 38]], np.float32)
    clicks = np.array([[5.5, 5.5], [45.5, 5.5], [20.5, 38.5]], np.float32)
    pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
    stored = {
        "masks": masks.mask_set(dense, size, np.ones(70), np.ones(70)),
        "vector": vector.Vector(np.arange(float(width), dtype=np.float32)),
        "square": tokens.Tokens("", rng.random((height, width)).astype(np.float32)),
        "picture": picture.Picture(pixels, aligned=True),
        "reference": picture.Picture(pixels, aligned=False),
        "points": points.Points(size, clicks, np.array([1, 0, 1]), box),
    }
    kinds = {"square": "tokens", "reference": "picture"}
    parts = tuple(Part(name, kinds.get(name, name), place) for name in stored)
    needs = ("labels", "bits", "vector", "tokens", "picture.picture", "reference.picture")
    return PriorSet(parts, (*needs, "points", "boxes")), stored


def test_in_tiles_each_kind_of_prior_says_what_is_cut_moved_or_left_whole(tmp_path) -> None:
    """A map by its kind, not by its shape: words as many and as long as the image is large too."""
    item = some_item(40, 50)
    prior, stored = kinds_of_prior(tmp_path, (40, 50))

    def at(window: Window) -> dict[str, torch.Tensor]:
        return prior.collate([prior.crop(stored, window)])

    whole, network = at(Window(0, 0, 40, 50)), Enlarge(1)
    image.restore(network, image.batch(item), Tiles(32, 8), CPU, at)
    corners = list(itertools.product((0, 8), (0, 18)))
    assert len(network.seen) == len(corners)
    for part, (top, left) in zip(network.seen, corners, strict=True):
        cut = (..., slice(top, top + 32), slice(left, left + 32))
        assert torch.equal(part["lq"], image.batch(item)["lq"][cut])
        for name in ("labels", "bits", "picture.picture"):  # as before kinds were asked: by bits
            assert part[name].dtype == whole[name].dtype
            assert torch.equal(part[name], whole[name][cut]), name
        for name in ("vector", "tokens", "reference.picture"):
            assert torch.equal(part[name], whole[name]), name
        expected = points.crop(stored["points"], Window(top, left, 32, 32))
        assert part["points"][0].tolist() == expected["points"].tolist()
        assert part["boxes"][0].tolist() == expected["boxes"].tolist()
        assert part["points"].max() <= 32 and part["boxes"].max() <= 32


def test_a_prior_of_a_whole_image_is_that_of_its_one_window(tmp_path) -> None:
    item = some_item(40, 50)
    prior, stored = kinds_of_prior(tmp_path, (40, 50))
    asked = []

    def at(window: Window) -> dict[str, torch.Tensor]:
        asked.append(window)
        return prior.collate([prior.crop(stored, window)])

    image.restore(Enlarge(1), image.batch(item), image.WHOLE, CPU, at)
    assert asked == [Window(0, 0, 40, 50)]


def test_an_image_is_cut_where_its_longer_side_is_longer_than_a_tile() -> None:
    assert not image.tiled(some_item(64, 64), Tiles(64, 8))
    assert image.tiled(some_item(30, 65), Tiles(64, 8))
    assert not image.tiled(some_item(300, 300), image.WHOLE)
    assert not image.tiled(some_item(40, 40, scale=4), Tiles(64, 8))  # lq's size counts, not hq's


# --- what others see of it ------------------------------------------------------------------------


def test_where_an_image_is_enlarged_there_is_no_degraded_one_of_its_size() -> None:
    item = some_item(4, 6, scale=2)
    assert set(image.views(item, item.hq)) == {"restored", "reference"}
    item = some_item(4, 6)
    views = image.views(item, item.hq)
    assert np.array_equal(views["degraded"], item.lq)
    assert np.array_equal(views["reference"], item.hq)


def test_it_is_shown_at_one_size() -> None:
    item = some_item(4, 6, scale=3)
    shown = image.picture(item)
    assert {name: (value.shape, value.dtype) for name, value in shown.items()} == {
        "lq": ((12, 18, 3), np.uint8),
        "hq": ((12, 18, 3), np.uint8),
    }


def test_it_is_saved_beside_a_name_with_a_dot_in_it(tmp_path: Path) -> None:
    restored = some_item(4, 6).hq
    file = image.save(tmp_path / "set" / "img.001", restored)
    assert file == tmp_path / "set" / "img.001.png"
    assert np.array_equal(read_image(file), restored)
