"""The contract of every kind of prior, by file name: a new file is tested unasked.

What a kind does is compared with a plain implementation in its example below: dense masks are cut
by numpy, pictures by Pillow, points and boxes are drawn into an image that is then cut and turned.
"""

from __future__ import annotations

import dataclasses
import json
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import expect_contract, name_of
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from benchlib import registry
from benchlib.conformance import Subject
from benchlib.conformance import kinds as contract
from benchlib.contracts import BenchError, Window
from benchlib.priors.kinds import masks, picture, points, restored, tokens, vector

KINDS = registry.names("priors/kinds")


@dataclass(frozen=True)
class Example:
    """What these tests must know of a kind.

    make: ``(height, width, seed)`` -> something stored of such an image, never twice the same
        forwards and turned. plain: ``(stored, window)`` -> what ``crop`` must give, written
        without it.
    nothing: entry -> the one value that all of it has once it is zeroed (an entry without any
        element is nothing too).
    lies: whether it lies on the image pixel by pixel, and so fits one size alone.
    filler: entry -> what fills up a smaller crop's place in a batch.
    turned: ``(stored)`` -> what ``crop`` of the whole must give after a turn by 180 degrees.
    """

    make: Callable[[int, int, int], Any]
    plain: Callable[[Any, Window], dict[str, np.ndarray]]
    nothing: dict[str, float]
    lies: bool
    filler: dict[str, float]
    turned: Callable[[Any], dict[str, np.ndarray]]


def whole(shape: tuple[int, int], turned: bool = False) -> Window:
    return Window(0, 0, *shape, flip_h=turned, flip_v=turned)


# --- nothing --------------------------------------------------------------------------------------

NONE = Example(
    make=lambda height, width, seed: None,
    plain=lambda stored, window: {},
    nothing={},
    lies=False,
    filler={},
    turned=lambda stored: {},
)


# --- masks ----------------------------------------------------------------------------------------


def some_masks(height: int, width: int, seed: int) -> masks.MaskSet:
    """1 to 130 masks that overlap, the last a corner so that a turn shows."""
    rng = np.random.default_rng(seed)
    count = int(rng.choice([1, 2, 63, 64, 65, 130]))
    dense = rng.random((count, height, width)) < 0.4
    dense[-1] = False
    dense[:, 0, 0] = True
    scores = rng.random(count)
    return masks.mask_set(dense, (height, width), scores, 1 - scores)


def cut_by_numpy(stack: np.ndarray, window: Window) -> np.ndarray:
    bottom, right = window.top + window.height, window.left + window.width
    stack = stack[..., window.top : bottom, window.left : right]
    if window.flip_h:
        stack = np.flip(stack, -1)
    if window.flip_v:
        stack = np.flip(stack, -2)
    if window.transpose:
        stack = np.swapaxes(stack, -1, -2)
    return stack


def masks_cut(stored: masks.MaskSet, window: Window) -> dict[str, np.ndarray]:
    """Bit by bit from the dense stack: mask i is bit i % 64 of plane i // 64."""
    dense = cut_by_numpy(masks.unpack(stored.bits, len(stored)), window)
    planes = np.zeros((-(-len(dense) // 64), *dense.shape[1:]), np.uint64)
    for i, mask in enumerate(dense):
        planes[i // 64] += mask.astype(np.uint64) * np.uint64(2 ** (i % 64))
    labels = cut_by_numpy(stored.labels, window).astype(np.int64)
    return {"labels": labels, "bits": planes.astype(np.int64)}


MASKS = Example(
    make=some_masks,
    plain=masks_cut,
    nothing={"labels": 0, "bits": 0},
    lies=True,
    filler={"labels": 0, "bits": 0},
    turned=lambda stored: masks_cut(stored, whole(stored.labels.shape, turned=True)),
)


# --- vector and tokens ----------------------------------------------------------------------------


def some_vector(height: int, width: int, seed: int) -> vector.Vector:
    return vector.Vector(np.random.default_rng(seed).normal(size=7).astype(np.float32))


VECTOR = Example(
    make=some_vector,
    plain=lambda stored, window: {"vector": stored.values},
    nothing={"vector": 0},
    lies=False,
    filler={"vector": 0},
    turned=lambda stored: {"vector": np.flip(stored.values)},
)


def some_tokens(height: int, width: int, seed: int) -> tokens.Tokens:
    rng = np.random.default_rng(seed)
    embedding = rng.normal(size=(1 + seed % 4, 5)).astype(np.float32)
    return tokens.Tokens("ein Kaffee, très noir", embedding)


def all_tokens(embedding: np.ndarray) -> dict[str, np.ndarray]:
    return {"tokens": embedding, "tokens_mask": np.full(len(embedding), True)}


TOKENS = Example(
    make=some_tokens,
    plain=lambda stored, window: all_tokens(stored.embedding),
    nothing={"tokens": 0, "tokens_mask": 1},
    lies=False,
    filler={"tokens": 0, "tokens_mask": 0},
    turned=lambda stored: all_tokens(np.flip(stored.embedding)),
)


# --- picture --------------------------------------------------------------------------------------


def some_picture(height: int, width: int, seed: int) -> picture.Picture:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return picture.Picture(pixels, aligned=True)


def cut_by_pillow(stored: picture.Picture, window: Window) -> dict[str, np.ndarray]:
    right, below = window.left + window.width, window.top + window.height
    image = Image.fromarray(stored.pixels).crop((window.left, window.top, right, below))
    if window.flip_h:
        image = ImageOps.mirror(image)
    if window.flip_v:
        image = ImageOps.flip(image)
    if window.transpose:
        image = image.transpose(Image.Transpose.TRANSPOSE)
    return {"picture": np.array(image).transpose(2, 0, 1).astype(np.float32) / 255}


PICTURE = Example(
    make=some_picture,
    plain=cut_by_pillow,
    nothing={"picture": np.float32(128) / 255},
    lies=True,
    filler={"picture": 0},
    turned=lambda stored: {
        "picture": np.rot90(stored.pixels, 2).transpose(2, 0, 1).astype(np.float32) / 255
    },
)


def restored_cut(stored: restored.Restored, window: Window) -> dict[str, np.ndarray]:
    cut = cut_by_pillow(picture.Picture(stored.pixels, aligned=True), window)
    return {"restored": cut["picture"]}


RESTORED = Example(
    make=lambda height, width, seed: restored.Restored(some_picture(height, width, seed).pixels),
    plain=restored_cut,
    nothing={"restored": np.float32(128) / 255},
    lies=True,
    filler={"restored": 0},
    turned=lambda stored: {
        "restored": np.rot90(stored.pixels, 2).transpose(2, 0, 1).astype(np.float32) / 255
    },
)


# --- points ---------------------------------------------------------------------------------------


def some_points(height: int, width: int, seed: int) -> points.Points:
    """Points at the centres of pixels, each pixel once; boxes between pixels."""
    rng = np.random.default_rng(seed)
    pixels = rng.permutation(height * width)[: int(rng.integers(1, 6))]
    rows, columns = np.divmod(pixels, width)
    if len(pixels) == 1:  # the only point must not lie where a turn would leave it
        rows, columns = np.array([0]), np.array([0])
    places = np.stack([columns, rows], axis=1) + 0.5
    boxes = []
    for _ in range(int(rng.integers(4))):
        left, top = int(rng.integers(width)), int(rng.integers(height))
        boxes.append(
            (left, top, rng.integers(left + 1, width + 1), rng.integers(top + 1, height + 1))
        )
    return points.Points(
        (height, width),
        places.astype(np.float32),
        np.arange(len(places)) % 2,
        np.array(boxes, np.float32).reshape(-1, 4),
    )


def drawn_points(size: tuple[int, int], entries: dict[str, np.ndarray]) -> np.ndarray:
    """``(H,W)``: 0 where nobody pointed, 1 and 2 where a point says "not this" and "this"."""
    drawn = np.zeros(size, int)
    for (x, y), label in zip(entries["points"], entries["points_label"], strict=True):
        drawn[int(np.floor(y)), int(np.floor(x))] += 1 + label
    return drawn


def drawn_boxes(size: tuple[int, int], boxes: np.ndarray) -> list[np.ndarray]:
    """Each box as an ``(H,W)`` bool region."""
    drawn = []
    for left, top, right, bottom in boxes.astype(int):
        region = np.zeros(size, bool)
        region[top:bottom, left:right] = True
        drawn.append(region)
    return drawn


def points_cut(stored: points.Points, window: Window) -> dict[str, np.ndarray]:
    """Drawn as an image, cut and turned as one, and read off again in the stored order."""
    places, labels = [], []
    for place, label in zip(stored.points, stored.labels, strict=True):
        one = {"points": place[None], "points_label": np.zeros(1, int)}
        rows, columns = np.nonzero(cut_by_numpy(drawn_points(stored.size, one), window))
        for row, column in zip(rows, columns, strict=True):
            places.append((column + 0.5, row + 0.5))
            labels.append(label)
    boxes = []
    for region in drawn_boxes(stored.size, stored.boxes):
        rows, columns = np.nonzero(cut_by_numpy(region, window))
        if len(rows):
            boxes.append((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
    return {
        "points": np.array(places, np.float32).reshape(-1, 2),
        "points_label": np.array(labels, np.int64),
        "boxes": np.array(boxes, np.float32).reshape(-1, 4),
    }


POINTS = Example(
    make=some_points,
    plain=points_cut,
    nothing={},
    lies=True,
    filler={"points": 0, "points_label": -1, "boxes": 0},
    turned=lambda stored: points_cut(stored, whole(stored.size, turned=True)),
)


EXAMPLES = {
    "none": NONE,
    "masks": MASKS,
    "vector": VECTOR,
    "tokens": TOKENS,
    "picture": PICTURE,
    "restored": RESTORED,
    "points": POINTS,
}


def example(kind: str) -> Example:
    """The example of a kind; a kind without one fails here and says what to add."""
    if kind not in EXAMPLES:
        pytest.fail(
            f"tests/test_kinds.py: EXAMPLES has none of benchlib/priors/kinds/{kind}.py; add an "
            "Example of it: how to make one, and what a crop of it must be, written without the "
            "kind's own crop"
        )
    return EXAMPLES[kind]


def loaded(kind: str) -> Any:
    return registry.load("priors/kinds", kind)


def fields_of(stored: Any) -> dict[str, Any]:
    if stored is None:
        return {}
    return {field.name: getattr(stored, field.name) for field in dataclasses.fields(stored)}


def assert_equal(got: dict[str, Any], expected: dict[str, Any]) -> None:
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, np.ndarray):
            assert got[name].dtype == value.dtype, name
            assert got[name].shape == value.shape, name
            assert np.array_equal(got[name], value), name
        else:
            assert type(got[name]) is type(value), name
            assert got[name] == value, name


sizes = st.tuples(st.integers(2, 11), st.integers(2, 11))
seeds = st.integers(0, 2**32 - 1)


# --- what a file has ------------------------------------------------------------------------------


@pytest.mark.parametrize("check", contract.CHECKS, ids=name_of)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_keeps_the_contract(check, kind: str) -> None:
    expect_contract(check, Subject("priors/kinds", kind, example=example(kind).make))


def test_every_example_is_of_a_kind_that_is_there() -> None:
    assert sorted(EXAMPLES) == KINDS


# --- files ----------------------------------------------------------------------------------------

STORED = [kind for kind in KINDS if loaded(kind).ENTRIES]


@settings(deadline=None, max_examples=20)
@given(sizes, seeds)
@pytest.mark.parametrize("kind", STORED)
def test_a_file_gives_back_what_was_saved_and_the_same_gives_the_same_bytes(
    tmp_path_factory, kind, size, seed
) -> None:
    folder, module = tmp_path_factory.mktemp("kind"), loaded(kind)
    stored = example(kind).make(*size, seed)
    for name in "ab":
        module.save(folder / f"{name}.npz", stored)
    assert_equal(fields_of(module.load(folder / "a.npz")), fields_of(stored))
    assert (folder / "a.npz").read_bytes() == (folder / "b.npz").read_bytes()
    assert sorted(path.name for path in folder.iterdir()) == ["a.npz", "b.npz"]


def arrays_in(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return dict(file)


def flip_a_bit(path: Path) -> None:
    """In the middle of the first array's compressed bytes."""
    with zipfile.ZipFile(path) as archive:
        first = archive.infolist()[0]
    content = bytearray(path.read_bytes())
    header = content[first.header_offset : first.header_offset + 30]
    names = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    content[first.header_offset + 30 + names + first.compress_size // 2] ^= 16
    path.write_bytes(bytes(content))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def pickle_all(path: Path) -> None:
    np.savez(path, **{name: np.array([{}], object) for name in arrays_in(path)})


def one_array(path: Path) -> None:
    with open(path, "wb") as file:
        np.save(file, np.zeros(3))


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "absent": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("<html>"),
    "truncated": truncate,
    "bit": flip_a_bit,
    "other arrays": lambda path: np.savez(path, other=np.zeros((1, 2, 2))),
    "pickled": pickle_all,
    "one array": one_array,
}


def check_refused(kind: str, path: Path) -> None:
    with pytest.raises(BenchError) as error:
        loaded(kind).load(path)
    said = str(error.value)
    assert said.startswith(f"{path}: "), said
    assert said.endswith("run the priors stage again"), said
    assert "\n" not in said


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", STORED)
def test_a_damaged_file_is_refused_by_name(tmp_path, kind, damage) -> None:
    path = tmp_path / "coffee.npz"
    loaded(kind).save(path, example(kind).make(20, 30, 0))
    DAMAGES[damage](path)
    check_refused(kind, path)


@pytest.mark.parametrize("kind", STORED)
def test_an_array_that_is_missing_or_of_another_type_or_shape_is_refused(tmp_path, kind) -> None:
    path = tmp_path / "coffee.npz"
    loaded(kind).save(path, example(kind).make(20, 30, 0))
    good = arrays_in(path)
    for name, value in good.items():
        others = {key: array for key, array in good.items() if key != name}
        np.savez(path, **others)
        check_refused(kind, path)
        other_type = np.float64 if value.dtype != np.float64 else np.int8
        np.savez(path, **others, **{name: value.astype(other_type)})
        check_refused(kind, path)
        np.savez(path, **others, **{name: value[None]})
        check_refused(kind, path)
    np.savez(path, **good)
    loaded(kind).load(path)


@pytest.mark.parametrize(
    ("kind", "stored", "said"),
    [
        ("vector", vector.Vector(np.array([1, np.nan], np.float32)), "not finite"),
        ("vector", vector.Vector(np.zeros(0, np.float32)), r"expected \(d,\) float32"),
        ("tokens", tokens.Tokens("", np.full((1, 2), np.inf, np.float32)), "not finite"),
        ("picture", picture.Picture(np.zeros((4, 4), np.uint8), True), r"expected \(H,W,3\)"),
        (
            "points",
            points.Points(
                (4, 6),
                np.array([[6.5, 1]], np.float32),
                np.ones(1, np.int64),
                np.zeros((0, 4), np.float32),
            ),
            "outside the 4x6 image",
        ),
    ],
)
def test_what_is_none_of_its_kind_is_not_even_saved(tmp_path, kind, stored, said) -> None:
    with pytest.raises(BenchError, match=rf"a\.npz.*{said}"):
        loaded(kind).save(tmp_path / "a.npz", stored)
    assert not list(tmp_path.iterdir())


# --- in the image ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_it_fits_its_own_image_and_others_only_if_it_has_no_place_in_it(kind: str) -> None:
    stored = example(kind).make(6, 9, 1)
    assert loaded(kind).fits(stored, (6, 9))
    for other in ((9, 6), (6, 8), (12, 18)):
        assert loaded(kind).fits(stored, other) is not example(kind).lies


@st.composite
def windows(draw, size: tuple[int, int]) -> Window:
    height, width = size
    top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    rows, columns = draw(st.integers(1, height - top)), draw(st.integers(1, width - left))
    turns = [draw(st.booleans()) for _ in range(3)]
    return Window(top, left, rows, columns, *turns)


@settings(deadline=None, max_examples=80)
@given(sizes, seeds, st.data())
@pytest.mark.parametrize("kind", KINDS)
def test_a_crop_is_what_the_plain_way_gives(kind, size, seed, data) -> None:
    stored, window = example(kind).make(*size, seed), data.draw(windows(size))
    got = loaded(kind).crop(stored, window)
    assert_equal(got, example(kind).plain(stored, window))


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(sizes, seeds), min_size=1, max_size=4))
@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_holds_every_crop_and_says_where_there_is_none(kind, images) -> None:
    """Crops of one size, of priors that differ in how much they hold."""
    module, crops = loaded(kind), []
    for _, seed in images:
        crops.append(module.crop(example(kind).make(11, 12, seed), Window(2, 3, 7, 6)))
    batch = module.collate(crops)
    assert set(batch) == set(module.ENTRIES)
    for name, value in batch.items():
        assert isinstance(value, torch.Tensor)
        assert len(value) == len(crops)
        for one, crop in zip(value.numpy(), crops, strict=True):
            place = tuple(slice(0, side) for side in crop[name].shape)
            assert one.dtype == crop[name].dtype
            assert np.array_equal(one[place], crop[name]), name
            outside = np.full(one.shape, True)
            outside[place] = False
            assert np.all(one[outside] == example(kind).filler[name]), name


def test_pictures_of_unequal_size_are_stretched_and_none_gets_black() -> None:
    crops = []
    for size in ((4, 9), (6, 5), (6, 9)):
        pixels = some_picture(*size, 0).pixels // 2 + 100  # nothing in it is dark
        stored = picture.Picture(pixels, aligned=False)
        assert picture.fits(stored, (77, 3))
        crops.append(picture.crop(stored, Window(1, 1, 2, 2, flip_h=True)))
        assert np.array_equal(crops[-1]["picture"], cut_by_pillow(stored, whole(size))["picture"])
    batch = picture.collate(crops)["picture"].numpy()
    assert batch.shape == (3, 3, 6, 9) and batch.dtype == np.float32
    assert np.array_equal(batch[2], crops[2]["picture"])  # as large as the batch: bit by bit
    for one, crop in zip(batch, crops, strict=True):
        assert crop["picture"].min() <= one.min() and one.max() <= crop["picture"].max()
        for corner in (0, -1):  # it begins and ends as it did
            found = one[:, corner, corner]
            assert np.allclose(found, crop["picture"][:, corner, corner], atol=1e-6)


# --- controls -------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=20)
@given(sizes, seeds)
@pytest.mark.parametrize("kind", KINDS)
def test_zeroed_is_nothing_of_the_same_image(tmp_path_factory, kind, size, seed) -> None:
    module, stored = loaded(kind), example(kind).make(*size, seed)
    nothing = module.zeroed(stored)
    assert module.fits(nothing, size)
    before, after = module.crop(stored, whole(size)), module.crop(nothing, whole(size))
    assert before.keys() == after.keys()
    for name, value in after.items():
        assert value.dtype == before[name].dtype
        if value.size:
            assert np.all(value == example(kind).nothing[name]), name
    json.dumps(module.facts(nothing), allow_nan=False)
    if kind in STORED:
        path = tmp_path_factory.mktemp("zeroed") / "a.npz"
        module.save(path, nothing)
        assert_equal(fields_of(module.load(path)), fields_of(nothing))


@pytest.mark.parametrize("kind", STORED)
def test_something_is_not_already_nothing(kind: str) -> None:
    """Else the test above could not fail."""
    module, stored = loaded(kind), example(kind).make(6, 9, 3)
    before = module.crop(stored, whole((6, 9)))
    after = module.crop(module.zeroed(stored), whole((6, 9)))
    assert any(not np.array_equal(before[name], after[name]) for name in before)


@settings(deadline=None, max_examples=20)
@given(sizes, seeds)
@pytest.mark.parametrize("kind", KINDS)
def test_at_the_same_size_it_is_itself_and_turned_it_is_not(kind, size, seed) -> None:
    module, stored = loaded(kind), example(kind).make(*size, seed)
    same = module.crop(module.resized(stored, size), whole(size))
    assert_equal(same, module.crop(stored, whole(size)))
    turned = module.crop(module.resized(stored, size, turn=True), whole(size))
    assert_equal(turned, example(kind).turned(stored))
    if kind in STORED:
        assert any(not np.array_equal(same[name], turned[name]) for name in same)


@settings(deadline=None, max_examples=20)
@given(sizes, sizes, seeds)
@pytest.mark.parametrize("kind", KINDS)
def test_at_another_size_it_fits_there_and_its_crops_are_whole(kind, size, other, seed) -> None:
    module, stored = loaded(kind), example(kind).make(*size, seed)
    for turn in (False, True):
        moved = module.resized(stored, other, turn=turn)
        assert module.fits(moved, other)
        assert set(module.crop(moved, whole(other))) == set(module.ENTRIES)
        json.dumps(module.facts(moved), allow_nan=False)


def test_a_shuffled_mask_is_the_donor_s_by_nearest_pixel() -> None:
    stored = some_masks(4, 6, 0)
    twice = masks.resized(stored, (8, 12))
    assert np.array_equal(twice.labels, stored.labels.repeat(2, 0).repeat(2, 1))
    half = masks.resized(twice, (4, 6))
    for name, value in fields_of(stored).items():
        assert np.array_equal(getattr(half, name), value), name


def test_a_point_on_the_line_between_two_crops_is_in_one_of_them() -> None:
    stored = points.Points(
        (4, 8), np.array([[4, 2]], np.float32), np.array([1]), np.zeros((0, 4), np.float32)
    )
    quarters = [Window(top, left, 2, 4) for top in (0, 2) for left in (0, 4)]
    held = [len(points.crop(stored, window)["points"]) for window in quarters]
    assert held == [0, 0, 0, 1]


def test_points_and_boxes_keep_their_place_in_the_scene() -> None:
    stored = points.Points(
        (10, 20),
        np.array([[5, 2.5]], np.float32),
        np.array([1]),
        np.array([[0, 0, 10, 5]], np.float32),
    )
    twice = points.resized(stored, (20, 10))
    assert twice.points.tolist() == [[2.5, 5]]
    assert twice.boxes.tolist() == [[0, 0, 5, 10]]
    turned = points.resized(stored, (10, 20), turn=True)
    assert turned.points.tolist() == [[15, 7.5]]
    assert turned.boxes.tolist() == [[10, 5, 20, 10]]


# --- what is said and shown of it -----------------------------------------------------------------


@settings(deadline=None, max_examples=20)
@given(sizes, seeds)
@pytest.mark.parametrize("kind", KINDS)
def test_facts_are_plain_and_rows_are_numbers_among_them(kind, size, seed) -> None:
    module = loaded(kind)
    facts = module.facts(example(kind).make(*size, seed))
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    for fact in getattr(module, "ROWS", {}).values():
        assert isinstance(facts[fact], int | float)


@pytest.mark.parametrize("shape", [(1, 1), (2, 40), (40, 2), (30, 41)])
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_shown_as_a_picture_or_not_at_all(kind: str, shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    shown = loaded(kind).picture(example(kind).make(*shape, 0), image)
    if shown is not None:
        assert shown.dtype == np.uint8
        assert shown.shape == image.shape


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_written_into_what_was_given(kind: str, tmp_path) -> None:
    """Arrays that cannot be written to, through everything that a kind does."""
    module, stored = loaded(kind), example(kind).make(20, 30, 5)
    image = np.random.default_rng(1).integers(0, 256, (20, 30, 3), np.uint8)
    before = pickle.dumps((fields_of(stored), image))
    for value in [*fields_of(stored).values(), image]:
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
    module.save(tmp_path / "a.npz", stored)
    module.fits(stored, (20, 30))
    crop = module.crop(stored, Window(1, 2, 8, 8, flip_h=True, transpose=True))
    for value in crop.values():
        value.flags.writeable = False
    module.collate([crop, crop])
    module.zeroed(stored)
    module.resized(stored, (7, 9), turn=True)
    module.facts(stored)
    module.picture(stored, image)
    assert pickle.dumps((fields_of(stored), image)) == before


@pytest.mark.parametrize("kind", KINDS)
def test_it_travels_to_loading_processes(kind: str) -> None:
    stored = example(kind).make(6, 9, 0)
    assert_equal(fields_of(pickle.loads(pickle.dumps(stored))), fields_of(stored))


@pytest.mark.parametrize(
    ("labels", "box", "said"),
    [
        ([2], [0, 0, 5, 5], "label 2, expected 1"),
        ([-1], [0, 0, 5, 5], "label -1, expected 1"),
        ([1], [6, 0, 5, 5], r"box \[6\.0, 0\.0, 5\.0, 5\.0\], expected left, top, right, bottom"),
        ([1], [0, 6, 5, 5], "expected left, top, right, bottom"),
    ],
)
def test_points_that_mean_nothing_are_neither_written_nor_read(tmp_path, labels, box, said) -> None:
    places = np.array([[5, 2.5]], np.float32)
    stored = points.Points((10, 20), places, np.array(labels), np.array([box], np.float32))
    with pytest.raises(BenchError, match=f"a.npz: .*{said}"):
        points.save(tmp_path / "a.npz", stored)
    arrays = {"size": np.array((10, 20)), "points": places, "labels": stored.labels}
    np.savez(tmp_path / "a.npz", **arrays, boxes=stored.boxes)
    with pytest.raises(BenchError, match=f"a.npz: .*{said}"):
        points.load(tmp_path / "a.npz")


def test_a_vector_of_one_number_is_refused(tmp_path) -> None:
    """Turned round, as the control of a lone photograph, it would be itself."""
    with pytest.raises(BenchError, match=r"\(1,\) float32, expected \(d,\) float32, d of 2"):
        vector.save(tmp_path / "a.npz", vector.Vector(np.ones(1, np.float32)))
