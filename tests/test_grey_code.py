"""Grey coding: the largest segment is the darkest, whatever the order in which SAM found them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import small_params, write_params

from benchlib.checks import check_choices
from benchlib.contracts import Backbone, BenchError
from benchlib.methods import grey_code
from benchlib.params import load_params
from benchlib.priors import superpixels
from benchlib.priors.kinds import masks


class Fourth(torch.nn.Module):
    """A network that gives its fourth channel three times."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        assert image.shape[1] == 4
        return image[:, 3:].expand(-1, 3, -1, -1)


def fourth_channel(batch: dict[str, torch.Tensor], **settings) -> torch.Tensor:
    backbone = Backbone(lambda in_channels: Fourth(), lambda network: [])
    return grey_code.build(backbone, grey_code.Config(**settings))(batch)[:, 0]


def test_a_segment_s_number_is_its_grey_level():
    labels = torch.tensor([[[0, 1, 2, 65, 129, 130, 131, 4000]]])
    batch = {"lq": torch.rand(1, 3, 1, 8), "labels": labels}
    levels = (255 * fourth_channel(batch)).round()[0, 0].tolist()
    assert levels == [0, 2, 4, 128, 253, 255, 255, 255]
    few = (255 * fourth_channel(batch, segments=4)).round()[0, 0].tolist()
    assert few == [0, 64, 128, 255, 255, 255, 255, 255]


def test_an_image_of_more_segments_is_brighter_and_its_levels_all_differ():
    means = []
    for count in (10, 40, 120):
        labels = torch.arange(1, count + 1).view(1, 1, count)
        batch = {"lq": torch.rand(1, 3, 1, count), "labels": labels}
        found = fourth_channel(batch)
        assert len(found.unique()) == count
        means.append(float(found.mean()))
    assert means == sorted(means)


def test_the_order_is_by_area_as_providers_of_masks_store_it():
    image = np.zeros((60, 60, 3), np.uint8)
    image[:, 30:] = 255
    image[40:50, 40:50] = (255, 0, 0)
    found = superpixels.segment(image, superpixels.Config(kind="felzenszwalb", sigma=0))
    assert (np.diff(found.area) <= 0).all() and len(found) >= 3
    labels = torch.from_numpy(found.labels.astype(np.int64))[None]
    batch = {"lq": torch.rand(1, 3, 60, 60), "labels": labels}
    code = fourth_channel(batch)[0]
    assert code[45, 45] > code[5, 5] and code[45, 45] > code[5, 55]


def test_the_control_is_the_image_s_own_grey_value_and_reads_no_prior():
    lq = torch.rand(2, 3, 5, 7)
    expected = 0.299 * lq[:, 0] + 0.587 * lq[:, 1] + 0.114 * lq[:, 2]
    torch.testing.assert_close(fourth_channel({"lq": lq}, reads="image"), expected)
    assert grey_code.needs(grey_code.Config(reads="image")) == ()
    assert grey_code.needs(grey_code.Config()) == ("labels",)


def test_without_masks_the_channel_is_black():
    stored = masks.zeroed(masks.mask_set([np.ones((4, 4), bool)], (4, 4), np.ones(1), np.ones(1)))
    labels = torch.from_numpy(stored.labels.astype(np.int64))[None]
    assert not fourth_channel({"lq": torch.rand(1, 3, 4, 4), "labels": labels}).any()


def test_a_run_that_reads_masks_needs_a_prior_and_the_control_none(tmp_path):
    params = small_params()
    params["priors"]["no"] = {"kind": "none", "images": "data/train", "prior": {"name": "none"}}
    name = next(iter(params["runs"]))
    run = {**params["runs"][name], "prior": {"train": "no", "test": "no"}}
    params["runs"] = {name: {**run, "method": {"name": "grey_code", "reads": "image"}}}
    path = write_params(tmp_path, params)
    check_choices(load_params(path), path)
    params["runs"][name]["method"]["reads"] = "masks"
    path = write_params(tmp_path, params)
    with pytest.raises(BenchError, match="grey_code.*labels"):
        check_choices(load_params(path), path)
