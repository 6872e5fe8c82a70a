"""Rows: what is measured is what the files say; tiles and TLC are recorded."""

import itertools

import numpy as np
import pytest
import torch
from conftest import run, small_params, write_params
from skimage.metrics import peak_signal_noise_ratio

from benchlib.contracts import BenchError
from benchlib.evaluate import evaluate
from benchlib.imageio import quantise, read_image, to_tensor, write_png
from benchlib.metrics import protocol
from benchlib.params import load_params
from benchlib.prepare import make_data, make_priors, make_weights
from benchlib.records import ROW, Pair, read_pairs, read_rows
from benchlib.restore import _starts, _tiled, read_pair
from benchlib.train import crops_of, train


def suite_with(tmp_path, **changes):
    params = small_params()
    for section, values in changes.items():
        params[section] = params.get(section, {}) | values
    return load_params(write_params(tmp_path, params))


def test_every_row_is_the_measure_of_the_file_beside_it(small):
    train(small, "map")
    evaluate(small, "map")
    rows = read_rows(small, ["map"])
    assert tuple(rows.columns) == ROW
    pairs = {pair.key: pair for pair in read_pairs(small, "test")}
    psnr = rows[rows["metric"] == "PSNR"]
    assert len(psnr) == len(pairs)
    for _, row in psnr.iterrows():
        pair = pairs[f"{row['dataset']}/{row['image']}"]
        restored = read_image(small.work / "restored" / "map" / f"{pair.key}.png")
        assert row["value"] == pytest.approx(peak_signal_noise_ratio(read_image(pair.hq), restored), abs=1e-5)
    assert set(rows["metric"]) == {"PSNR", "SSIM", "MC", "masks", "coverage"}
    assert (rows[rows["metric"] == "masks"]["value"] == 4).all()
    assert set(psnr["inference"]) == {"global"}


def test_the_input_as_a_run_is_the_input(small):
    train(small, "blurred")
    evaluate(small, "blurred")
    for pair in read_pairs(small, "test"):
        assert np.array_equal(read_image(small.work / "restored" / "blurred" / f"{pair.key}.png"), read_image(pair.lq))
    rows = read_rows(small, ["blurred"])
    assert (rows[rows["metric"] == "MC"]["value"] == 0).all()


def test_collapse_is_counted(small):
    train(small, "blurred")
    pair = read_pairs(small, "test")[0]
    write_png(pair.lq, read_image(pair.hq) ^ 1)  # a nearly perfect input, which an untrained network makes worse
    train(small, "no-prior")
    evaluate(small, "no-prior")
    rows = read_rows(small, ["no-prior"])
    assert rows[(rows["metric"] == "MC") & (rows["image"] == pair.image)]["value"].tolist() == [1.0]


def test_tile_and_local_pooling_stand_in_the_row(small, tmp_path):
    changed = {"tile": 64, "overlap": 8, "tlc_crop": 16}
    larger = {"shake-blur": small_params()["data"]["test"]["shake-blur"] | {"long_side": 100}}
    suite = suite_with(tmp_path, evaluation=changed, data={"test": larger})
    make_data(suite, "test")
    train(suite, "no-prior")
    evaluate(suite, "no-prior")
    rows = read_rows(suite, ["no-prior"])
    assert set(rows["inference"]) == {"tlc16+tile64/8"}


@pytest.mark.parametrize("length", [64, 65, 100, 127, 128, 500])
def test_tiles_cover_everything_and_overlap(length):
    starts = _starts(length, 64, 16)
    assert starts[0] == 0
    assert starts[-1] + 64 >= length
    assert all(later - earlier <= 64 - 16 for earlier, later in itertools.pairwise(starts))


def test_tiles_put_together_are_the_whole_for_a_pointwise_network():
    image = torch.rand(1, 3, 100, 150)
    out = _tiled(lambda batch: batch["lq"] * 0.5, {"lq": image}, 64, 16, torch.device("cpu"))
    torch.testing.assert_close(out, image[0] * 0.5)


def test_missing_weights_name_the_stage(small):
    with pytest.raises(BenchError, match=r"run 'map' has no weights of seed 0; run its train stage"):
        evaluate(small, "map")


def test_noise_is_neither_clipped_nor_rounded_on_its_way_to_the_network(tmp_path):
    """A noise set from photograph to rows: lq on disk is float, training and restoring read it as it is."""
    noise = {"name": "photographs", "long_side": 64, "degrade": {"name": "gaussian-noise", "sigma": 50.0}}
    params = small_params()
    params["data"] = {"train": {"a": noise | {"images": ["coffee"]}}, "test": {"a": noise | {"images": ["chelsea"]}}}
    params["priors"] = {"none": {"images": "data/train", "prior": {"name": "none"}}}
    params["runs"] = {name: run({"name": method}) for name, method in (("noisy", "identity"), ("plain", "none"))}
    suite = load_params(write_params(tmp_path, params))
    for key in suite.data:
        make_data(suite, key)
    make_priors(suite, "none")
    make_weights(suite, "random")
    pair = read_pairs(suite, "test")[0]
    lq, hq = read_pair(pair)
    assert pair.lq.suffix == ".npy" and lq.dtype == np.float32 and lq.min() < 0 and lq.max() > 1
    assert np.std(lq - hq / np.float32(255)) == pytest.approx(50 / 255, rel=0.03)
    crop = crops_of(suite, "plain")[0]["lq"]
    assert crop.min() < 0 or crop.max() > 1
    for key in ("noisy", "plain"):
        train(suite, key)
    rows = {row["metric"]: row["value"] for row in evaluate(suite, "noisy")}
    assert rows["PSNR"] == pytest.approx(protocol("basicsr-rgb").psnr(quantise(to_tensor(lq)), hq), abs=1e-6)
    assert rows["MC"] == 0
    assert {row["metric"] for row in evaluate(suite, "plain")} == {"PSNR", "SSIM", "MC"}


def test_tiles_of_a_network_that_enlarges_meet_without_a_seam():
    """A network without a view beyond a pixel gives the same in tiles as whole, at every scale."""

    class Enlarge(torch.nn.Module):
        def forward(self, batch):
            return torch.nn.functional.interpolate(batch["lq"], scale_factor=3, mode="nearest")

    lq = torch.rand(1, 3, 50, 41, generator=torch.Generator().manual_seed(0))
    whole = Enlarge()({"lq": lq})[0]
    for tile in (16, 48, 64):
        assert torch.allclose(_tiled(Enlarge(), {"lq": lq}, tile, 8, torch.device("cpu")), whole, atol=1e-6)


def test_a_reference_that_is_no_multiple_is_cut_or_refused(tmp_path):

    rng = np.random.default_rng(0)
    hq = rng.integers(0, 256, (14, 11, 3), np.uint8)
    write_png(tmp_path / "hq.png", hq)
    for shape, scale in (((14, 11), 1), ((7, 5), 2), ((4, 3), 3)):
        write_png(tmp_path / "lq.png", rng.integers(0, 256, (*shape, 3), np.uint8))
        lq, cut = read_pair(Pair("a", "b", tmp_path / "lq.png", tmp_path / "hq.png"))
        assert cut.shape[:2] == (scale * shape[0], scale * shape[1]) == (scale * lq.shape[0], scale * lq.shape[1])
        assert np.array_equal(cut, hq[: cut.shape[0], : cut.shape[1]])
    for shape in ((14, 5), (6, 5), (20, 11)):
        write_png(tmp_path / "lq.png", rng.integers(0, 256, (*shape, 3), np.uint8))
        with pytest.raises(BenchError, match="expected the same size, or a whole multiple"):
            read_pair(Pair("a", "b", tmp_path / "lq.png", tmp_path / "hq.png"))
