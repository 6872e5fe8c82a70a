"""benchlib/priors/kinds/masks.py: packing, the label map's tie-break, crops, against dense stacks.

What every kind must do (files, damage, batches, controls) is in ``test_kinds.py``.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchlib.contracts import BenchError, Window
from benchlib.priors.kinds.masks import (
    MaskSet,
    collate,
    crop,
    facts,
    load,
    mask_set,
    picture,
    regions,
    resized,
    save,
    unpack,
    zeroed,
)

FIELDS = ("bits", "labels", "area", "predicted_iou", "stability", "bbox")


def dense_masks(n: int, height: int, width: int, seed: int) -> np.ndarray:
    """(n,height,width) bool: overlapping, none empty, of very different areas."""
    rng = np.random.default_rng(seed)
    masks = rng.random((n, height, width)) < rng.random((n, 1, 1))
    for mask in masks:
        mask[rng.integers(height), rng.integers(width)] = True
    return masks


def packed(masks: np.ndarray) -> MaskSet:
    scores = np.linspace(0, 1, len(masks))
    return mask_set(iter(masks), masks.shape[1:], scores, 1 - scores)


def labels_by_definition(masks: np.ndarray) -> np.ndarray:
    """Pixel by pixel: the covering mask of least (area, index), plus one."""
    labels = np.zeros(masks.shape[1:], int)
    for row, column in np.ndindex(*labels.shape):
        smallest = masks.shape[1] * masks.shape[2] + 1
        for i, mask in enumerate(masks):
            if mask[row, column] and mask.sum() < smallest:
                smallest = mask.sum()
                labels[row, column] = i + 1
    return labels


stacks = st.builds(
    dense_masks,
    st.sampled_from([0, 1, 2, 7, 63, 64, 65, 128, 130]),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(0, 2**32 - 1),
)


@settings(deadline=None, max_examples=60)
@given(stacks)
def test_packing_loses_nothing(masks: np.ndarray) -> None:
    got = packed(masks)
    assert got.bits.shape[0] == -(-len(masks) // 64)
    assert got.bits.dtype == np.uint64
    assert np.array_equal(unpack(got.bits, len(masks)), masks)
    assert np.array_equal(got.area, masks.sum((1, 2)))


@settings(deadline=None, max_examples=60)
@given(stacks)
def test_bit_i_mod_64_of_plane_i_div_64_is_mask_i_and_no_other_bit_is_set(
    masks: np.ndarray,
) -> None:
    got = packed(masks)
    for plane, row, column in np.ndindex(*got.bits.shape):
        word = 0
        for i, mask in enumerate(masks[plane * 64 : plane * 64 + 64]):
            word += int(mask[row, column]) << i
        assert int(got.bits[plane, row, column]) == word


@settings(deadline=None, max_examples=60)
@given(stacks)
def test_the_smallest_mask_wins_a_pixel_then_the_lower_index(masks: np.ndarray) -> None:
    got = packed(masks)
    assert got.labels.dtype == np.uint16
    assert np.array_equal(got.labels, labels_by_definition(masks))
    assert regions(got) == len(set(got.labels.ravel().tolist()) - {0})


def test_equal_areas_are_won_by_the_lower_index_in_either_order() -> None:
    first, second = np.array([[1, 1, 0]], bool), np.array([[0, 1, 1]], bool)
    assert packed(np.stack([first, second])).labels.tolist() == [[1, 1, 2]]
    assert packed(np.stack([second, first])).labels.tolist() == [[2, 1, 1]]


def test_a_mask_wholly_under_smaller_ones_is_no_region() -> None:
    whole = np.ones((1, 2), bool)
    assert regions(packed(np.stack([whole, whole & [True, False], whole & [False, True]]))) == 2


def test_boxes_are_left_top_width_height_and_inclusive() -> None:
    mask = np.zeros((1, 6, 8), bool)
    mask[0, 2:4, 5:8] = True
    assert packed(mask).bbox.tolist() == [[5, 2, 3, 2]]


@pytest.mark.parametrize(
    ("masks", "words"),
    [
        ([np.zeros((2, 2), bool)], "covers no pixel"),
        ([np.ones((2, 3), bool)], "expected \\(2, 2\\)"),
        ([np.ones((2, 2))], "float64"),
    ],
)
def test_what_is_no_mask_is_refused(masks: list, words: str) -> None:
    with pytest.raises(BenchError, match=words):
        mask_set(masks, (2, 2), np.ones(1), np.ones(1))


def test_scores_of_another_number_than_masks_are_refused() -> None:
    with pytest.raises(BenchError, match="1 masks, but 2"):
        mask_set([np.ones((2, 2), bool)], (2, 2), np.ones(2), np.ones(1))


@settings(deadline=None, max_examples=25)
@given(stacks)
def test_a_file_gives_back_what_was_saved_and_the_same_masks_give_the_same_bytes(
    tmp_path_factory, masks
) -> None:
    folder = tmp_path_factory.mktemp("masks")
    saved = packed(masks)
    save(folder / "a.npz", saved)
    save(folder / "b.npz", saved)
    loaded = load(folder / "a.npz")
    for name in FIELDS:
        expected, got = getattr(saved, name), getattr(loaded, name)
        assert got.dtype == expected.dtype, name
        assert np.array_equal(got, expected), name
    assert (folder / "a.npz").read_bytes() == (folder / "b.npz").read_bytes()
    assert sorted(p.name for p in folder.iterdir()) == ["a.npz", "b.npz"]


def test_a_file_whose_arrays_do_not_belong_together_is_refused_by_name(tmp_path) -> None:
    """Too few planes, a label too many; what else harms a file is in ``test_kinds.py``."""
    path = tmp_path / "coffee.npz"
    masks = packed(dense_masks(3, 40, 40, 0))
    good = {name: getattr(masks, name) for name in FIELDS}
    for harm in ({"bits": masks.bits[:0]}, {"labels": masks.labels + np.uint16(3)}):
        np.savez(path, **good | harm)
        with pytest.raises(BenchError, match=r"coffee\.npz.*run the priors stage again") as error:
            load(path)
        assert "\n" not in str(error.value)


@settings(deadline=None, max_examples=120)
@given(stacks, st.data())
def test_cropping_packed_masks_equals_cropping_the_dense_stack(
    masks: np.ndarray, data: st.DataObject
) -> None:
    height, width = masks.shape[1:]
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    h, w = data.draw(st.integers(1, height - top)), data.draw(st.integers(1, width - left))
    flip_h, flip_v, transpose = (data.draw(st.booleans()) for _ in range(3))
    stored = packed(masks)

    got = crop(stored, Window(top, left, h, w, flip_h, flip_v, transpose))

    def dense(stack: np.ndarray) -> np.ndarray:
        cut = stack[:, top : top + h, left : left + w]
        if flip_h:
            cut = np.flip(cut, 2)
        if flip_v:
            cut = np.flip(cut, 1)
        if transpose:
            cut = np.transpose(cut, (0, 2, 1))
        return cut

    assert got["labels"].dtype == got["bits"].dtype == np.int64
    assert got["labels"].flags.c_contiguous
    assert got["bits"].flags.c_contiguous
    assert np.array_equal(unpack(got["bits"].view(np.uint64), len(masks)), dense(masks))
    assert np.array_equal(got["labels"], dense(stored.labels[None].astype(int))[0])


@pytest.mark.parametrize("box", [(-1, 0, 2, 2), (0, 0, 5, 2), (0, 3, 2, 2), (0, 0, 0, 2)])
def test_a_crop_that_leaves_the_image_is_refused(box: tuple[int, int, int, int]) -> None:
    with pytest.raises(BenchError, match="leaves the 4x4 masks"):
        crop(packed(dense_masks(2, 4, 4, 0)), Window(*box))


def test_a_crop_is_a_copy() -> None:
    stored = packed(np.ones((1, 4, 4), bool))
    crop(stored, Window(0, 0, 4, 4))["bits"][:] = 0
    assert stored.bits.all()


def test_a_batch_gives_images_of_fewer_masks_empty_planes() -> None:
    window = Window(1, 0, 3, 4)
    few, many = packed(dense_masks(2, 4, 4, 0)), packed(dense_masks(65, 4, 4, 1))
    batch = collate([crop(few, window), crop(many, window)])
    assert batch["labels"].shape == (2, 3, 4)
    assert batch["bits"].shape == (2, 2, 3, 4)
    assert not batch["bits"][0, 1].any()
    assert np.array_equal(batch["bits"][1].numpy(), crop(many, window)["bits"])


def test_zeroed_has_no_mask_and_no_plane() -> None:
    nothing = zeroed(packed(dense_masks(70, 5, 6, 0)))
    assert (len(nothing), nothing.bits.shape, nothing.labels.any()) == (0, (0, 5, 6), False)


def test_a_mask_that_loses_its_last_pixel_is_dropped_with_its_scores() -> None:
    dense = np.zeros((2, 4, 4), bool)
    dense[0, 0, 0] = True  # between the pixels that are looked at
    dense[1, 1:] = True
    small = resized(packed(dense), (2, 2))
    assert small.area.tolist() == [4]
    assert small.predicted_iou.tolist() == [1.0]


def test_facts_are_those_of_the_dense_stack() -> None:
    dense = dense_masks(5, 7, 8, 3)
    said, area = facts(packed(dense)), dense.sum((1, 2))
    assert (said["height"], said["width"], said["n_masks"]) == (7, 8, 5)
    assert said["coverage"] == pytest.approx(dense.any(0).mean(), abs=1e-12)
    assert (said["area_min"], said["area_max"]) == (area.min(), area.max())
    assert said["area_median"] == np.median(area)
    assert said["predicted_iou"] == pytest.approx(0.5) == said["stability"]
    assert facts(packed(dense[:0]))["coverage"] == 0


def test_where_there_is_no_mask_the_picture_is_the_image() -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 8, 3), np.uint8)
    dense = np.zeros((1, 9, 8), bool)
    dense[0, :4] = True
    shown = picture(packed(dense), image)
    assert np.array_equal(shown[4:], image[4:])
    assert not np.array_equal(shown[:4], image[:4])
