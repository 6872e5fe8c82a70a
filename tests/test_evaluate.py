"""Rows: what is measured is what the files say; tiles and TLC are recorded."""

import itertools

import numpy as np
import pytest
import torch
from conftest import small_params, write_params
from skimage.metrics import peak_signal_noise_ratio

from benchlib.contracts import BenchError
from benchlib.evaluate import evaluate
from benchlib.imageio import read_image, write_png
from benchlib.params import load_params
from benchlib.prepare import make_data
from benchlib.records import ROW, read_pairs, read_rows
from benchlib.restore import _starts, _tiled
from benchlib.train import train


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
