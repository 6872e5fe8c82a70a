"""Masks painted as a picture: the released order and ground, colours by name, means, controls."""

import json

import numpy as np
import pytest
import torch
from segment_anything.utils.amg import mask_to_rle_pytorch

from benchlib.contracts import BenchError, Window
from benchlib.priors import painted_masks, sam
from benchlib.priors.kinds import picture
from benchlib.priors.kinds.masks import MaskSet, mask_set
from benchlib.priors.painted_masks import Config
from benchlib.seeding import name_rng

SUPERPIXELS = {"name": "superpixels", "segments": 8}


def photograph(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (32, 40, 3), np.uint8)


def overlapping() -> tuple[list[np.ndarray], list[float]]:
    """Masks as a generator lists them, and their predicted IoU: the surest first, not the largest."""
    masks = np.zeros((3, 32, 40), bool)
    masks[0, 4:12, 4:12] = True
    masks[1, 2:20, 2:30] = True
    masks[2, 10:16, 8:20] = True
    return list(masks), [0.99, 0.95, 0.90]


class Listed:
    """In the place of the package's generator."""

    def generate(self, image: np.ndarray) -> list[dict]:
        found = []
        for mask, iou in zip(*overlapping(), strict=True):
            (run,) = mask_to_rle_pytorch(torch.from_numpy(mask[None]))
            found.append({"segmentation": run, "predicted_iou": iou, "stability_score": 0.96})
        return found


def as_released(masks: list[np.ndarray], colours: np.ndarray) -> np.ndarray:
    """One mask over the other in the generator's order, on white."""
    painted = np.full((32, 40, 3), 255, np.uint8)
    for mask, colour in zip(masks, colours, strict=True):
        painted[mask] = colour
    return painted


def kept() -> MaskSet:
    """The same masks as prior ``sam`` keeps them: the largest first."""
    return sam.masks_of(photograph(), Listed(), sam.Config())


def painter(monkeypatch, **settings):
    """The painter of those masks, without a model."""
    monkeypatch.setattr(sam, "open", lambda config, device: lambda image: kept())
    return painted_masks.open(Config(**settings), "cpu")


def test_masks_lie_over_each_other_as_the_generator_lists_them():
    masks, _ = overlapping()
    colours = np.array([[10, 20, 30], [40, 50, 60], [70, 80, 90]], np.uint8)
    areas = [int(mask.sum()) for mask in masks]
    assert list(kept().area) == sorted(areas, reverse=True) != areas
    assert np.array_equal(painted_masks.painted(kept(), colours), as_released(masks, colours))


def test_colours_are_drawn_by_the_image_s_name(monkeypatch):
    masks, _ = overlapping()
    give, config = painter(monkeypatch), Config()
    pictures = {}
    for name in ("1", "2"):
        told = painted_masks.told(config, "LOL-v1", name)
        assert json.loads(json.dumps(told)) == told
        stored = give(photograph(), told)
        drawn = (name_rng("painted_masks", 0, "LOL-v1", name).random((3, 3)) * 255).astype(np.uint8)
        assert np.array_equal(stored.pixels, as_released(masks, drawn)) and stored.aligned
        assert np.array_equal(give(photograph(1), told).pixels, stored.pixels)
        pictures[name] = stored.pixels
    assert not np.array_equal(pictures["1"], pictures["2"])
    other = painted_masks.told(Config(seed=1), "LOL-v1", "1")
    assert not np.array_equal(give(photograph(), other).pixels, pictures["1"])
    covered = np.logical_or.reduce(masks).mean()
    assert give.notes() == {"n_masks": 3, "coverage": pytest.approx(covered)}


def test_mean_colours_are_the_image_s_own(monkeypatch):
    masks, _ = overlapping()
    image = photograph()
    told = painted_masks.told(Config(colours="mean"), "LOL-v1", "1")
    assert told == {}
    stored = painter(monkeypatch, colours="mean")(image, told)
    means = np.array([np.rint(image[mask].mean(0)) for mask in masks], np.uint8)
    assert np.array_equal(stored.pixels, as_released(masks, means))


def test_no_mask_is_a_white_picture():
    none = mask_set([], (6, 8), np.zeros(0), np.zeros(0))
    assert (painted_masks.painted(none, np.zeros((0, 3), np.uint8)) == 255).all()


def test_superpixels_are_a_control_and_sam_is_none():
    control = Config(masks=SUPERPIXELS, colours="mean")
    assert painted_masks.stands_in(control) and not painted_masks.stands_in(Config())
    assert painted_masks.assets(control) == ()
    assert painted_masks.assets(Config()) == ("mobilesam-encoder", "mobilesam-decoder")
    stored = painted_masks.open(control, "cpu")(photograph(), {})
    assert not (stored.pixels == 255).all(2).any()  # they cover everything
    zeroed = picture.crop(picture.zeroed(stored), Window(0, 0, 32, 40))["picture"]
    assert np.ptp(zeroed) == 0


def test_what_is_no_prior_of_masks_is_refused():
    with pytest.raises(BenchError, match=r"^masks.name: grey_picture gives picture; take a prior"):
        Config(masks={"name": "grey_picture"})
    with pytest.raises(BenchError, match=r"^masks.name: got 'samm'.*did you mean sam\?"):
        Config(masks={"name": "samm"})
    with pytest.raises(BenchError, match=r"^masks.points: unknown key"):
        Config(masks={"name": "sam", "points": 8})


def test_its_record_holds_what_the_masks_are_made_by():
    about = painted_masks.record(Config(masks=SUPERPIXELS), "cpu")
    assert about["masks"]["version"] == 1 and about["masks"]["config"]["segments"] == 8
