"""Rows: what is measured is what the files say; tiles and TLC are recorded."""

import numpy as np
import pytest
import torch
from conftest import make_inputs, run, small_params, write_params
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from benchlib.contracts import BenchError
from benchlib.evaluate import evaluate
from benchlib.imageio import quantise, read_image, to_tensor, write_png
from benchlib.metrics import protocol
from benchlib.params import Suite, load_params
from benchlib.plan import open_run
from benchlib.prepare import make_data
from benchlib.records import ROW, hardware, image_sets, read_json, read_pairs, read_rows
from benchlib.restore import Truncated, load_model
from benchlib.tasks import image
from benchlib.train.data import crops_of
from benchlib.train.record import train


def suite_with(folder, **changes) -> Suite:
    params = small_params()
    for section, values in changes.items():
        params[section] = params.get(section, {}) | values
    return load_params(write_params(folder, params))


def evaluated(suite: Suite, key: str) -> list[dict]:
    plan = open_run(suite, key)
    train(plan)
    return evaluate(plan)


def test_every_row_is_the_measure_of_the_file_beside_it(small):
    evaluated(small, "map")
    rows = read_rows(small, ["map"])
    assert tuple(rows.columns) == ROW
    pairs = {pair.key: pair for pair in read_pairs(image_sets(small, "test"))}
    psnr, ssim = (rows[rows["metric"] == name] for name in ("PSNR", "SSIM"))
    assert len(psnr) == len(ssim) == len(pairs)
    for _, row in psnr.iterrows():
        pair = pairs[f"{row['dataset']}/{row['image']}"]
        restored = read_image(small.work / "restored" / "map" / f"{pair.key}.png")
        expected = peak_signal_noise_ratio(read_image(pair.hq), restored)
        assert row["value"] == pytest.approx(expected, abs=1e-5)
    for _, row in ssim.iterrows():
        pair = pairs[f"{row['dataset']}/{row['image']}"]
        restored = read_image(small.work / "restored" / "map" / f"{pair.key}.png")
        settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        _, whole = structural_similarity(
            read_image(pair.hq), restored, channel_axis=2, data_range=255, full=True, **settings
        )
        assert row["value"] == pytest.approx(whole[5:-5, 5:-5].mean(), abs=1e-5)
    assert set(rows["metric"]) == {"PSNR", "SSIM", "MC", "masks", "coverage"}
    assert (rows[rows["metric"] == "masks"]["value"] == 4).all()
    assert set(psnr["inference"]) == {"global"}
    assert set(rows["swap"]) == {""}


def test_masks_and_coverage_are_those_of_the_file_that_was_read(small):
    """Four stripes of 8 pixels in an image 64 wide: half of it."""
    evaluated(small, "map")
    rows = read_rows(small, ["map"])
    prior = rows[rows["metric"].isin(["masks", "coverage"])]
    assert prior["value"].tolist() == [4, 0.5]
    assert set(prior["protocol"]) == set(prior["prior"]) == {"sam-test"}
    assert set(prior["seed"]) == set(prior["inference"]) == {""}


def test_the_input_as_a_run_is_the_input(small):
    evaluated(small, "blurred")
    for pair in read_pairs(image_sets(small, "test")):
        restored = read_image(small.work / "restored" / "blurred" / f"{pair.key}.png")
        assert np.array_equal(restored, read_image(pair.lq))
    rows = read_rows(small, ["blurred"])
    assert (rows[rows["metric"] == "MC"]["value"] == 0).all()
    assert set(rows["inference"]) == {"none"}


def test_collapse_is_counted(small):
    """A nearly perfect input, which an untrained network makes worse."""
    pair = read_pairs(image_sets(small, "test"))[0]
    write_png(pair.lq, read_image(pair.hq) ^ 1)
    evaluated(small, "no-prior")
    rows = read_rows(small, ["no-prior"])
    collapsed = rows[(rows["metric"] == "MC") & (rows["image"] == pair.image)]
    assert collapsed["value"].tolist() == [1.0]


def test_only_the_suite_s_metrics_are_measured(small):
    params = small_params()
    params["metrics"] = ["psnr"]
    suite = load_params(write_params(small.folder, params))
    assert {row["metric"] for row in evaluated(suite, "blurred")} == {"PSNR"}


def test_every_seed_is_measured_and_the_first_one_s_images_are_kept(small):
    params = small_params()
    params["runs"]["no-prior"]["seeds"] = [3, 1]
    suite = load_params(write_params(small.folder, params))
    evaluated(suite, "no-prior")
    rows = read_rows(suite, ["no-prior"])
    psnr = rows[rows["metric"] == "PSNR"].set_index("seed")["value"]
    assert psnr["3"] != psnr["1"]
    (pair,) = read_pairs(image_sets(suite, "test"))
    restored = read_image(suite.work / "restored" / "no-prior" / f"{pair.key}.png")
    expected = peak_signal_noise_ratio(read_image(pair.hq), restored)
    assert psnr["3"] == pytest.approx(expected, abs=1e-5)


def test_the_record_is_the_training_s_with_the_evaluation_s_time(small):
    plan = open_run(small, "no-prior")
    training = train(plan)
    evaluate(plan)
    record = read_json(small.results / "records" / "no-prior.json")
    assert record.pop("evaluate_seconds") >= 0
    versions = record.pop("versions")
    assert versions.items() >= training.pop("versions").items()
    row = record.pop("row")
    assert row["run"] == "no-prior" and row["hardware"] == hardware()
    assert record == training


def test_tile_and_local_pooling_stand_in_the_row(small, tmp_path):
    changed = {"tile": 64, "overlap": 8, "tlc_crop": 16}
    larger = small_params()["data"]["test/shake-blur"] | {"long_side": 100}
    suite = suite_with(tmp_path, evaluation=changed, data={"test/shake-blur": larger})
    make_data(suite, "test/shake-blur")
    evaluated(suite, "no-prior")
    rows = read_rows(suite, ["no-prior"])
    assert set(rows["inference"]) == {"tlc16+tile64/8"}


def test_local_pooling_is_for_the_sets_that_are_named(small, tmp_path):
    more = small_params()["data"]["test/shake-blur"]
    changed = {"tlc_crop": 16, "tlc_sets": ["more"]}
    suite = suite_with(tmp_path, evaluation=changed, data={"test/more": more})
    make_data(suite, "test/more")
    evaluated(suite, "no-prior")
    rows = read_rows(suite, ["no-prior"])
    modes = dict(zip(rows["dataset"], rows["inference"], strict=True))
    assert modes == {"shake-blur": "global", "more": "tlc16"}
    psnr = rows[rows["metric"] == "PSNR"].set_index("dataset")["value"]
    assert psnr["shake-blur"] != psnr["more"]


def test_truncation_stands_in_the_row_and_takes_the_level_below(small, tmp_path):
    """As ``np.clip(255 * y, 0, 255).astype("uint8")`` of the network's output."""
    for name in ("round", "truncate"):
        (tmp_path / name).mkdir()
    rounded = suite_with(tmp_path / "round")
    truncated = suite_with(tmp_path / "truncate", evaluation={"quantise": "truncate"})
    images = {}
    for suite in (rounded, truncated):
        make_inputs(suite)
        evaluated(suite, "no-prior")
        evaluated(suite, "blurred")
        (pair,) = read_pairs(image_sets(suite, "test"))
        folder = suite.work / "restored"
        images[suite.evaluation.quantise] = [
            read_image(folder / key / f"{pair.key}.png") for key in ("no-prior", "blurred")
        ]
    plan = open_run(truncated, "no-prior")
    with torch.inference_mode():
        out = load_model(plan, 0)(plan.task.batch(plan.task.read(pair)))[0]
    values = np.clip(out.permute(1, 2, 0).numpy() * 255, 0, 255)
    assert np.array_equal(images["truncate"][0], values.astype("uint8"))
    assert not np.array_equal(images["truncate"][0], images["round"][0])
    assert np.array_equal(images["truncate"][1], images["round"][1])  # the input itself
    rows = read_rows(truncated, ["no-prior", "blurred"])
    modes = dict(zip(rows["run"], rows["inference"], strict=True))
    assert modes == {"no-prior": "global+truncated", "blurred": "none"}


def test_every_level_survives_truncation():
    """A network that gives whole levels exactly: none becomes the level below it."""
    levels = torch.arange(256, dtype=torch.float32).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    network = Truncated(Constant((levels + 0.25) / 255))
    assert np.array_equal(quantise(network({})[0])[..., 0].ravel(), np.arange(256))


class Constant(torch.nn.Module):
    def __init__(self, out: torch.Tensor):
        super().__init__()
        self.out = out

    def forward(self, batch: dict) -> torch.Tensor:
        return self.out


def test_truncation_in_tiles_is_refused(tmp_path):
    with pytest.raises(BenchError, match="quantise: got 'truncate' and a tile") as error:
        suite_with(tmp_path, evaluation={"quantise": "truncate", "tile": 64})
    assert "\n" not in str(error.value)


def test_missing_weights_name_the_stage(small):
    said = r"run 'map' has no weights of seed 0; run its train stage"
    with pytest.raises(BenchError, match=said):
        evaluate(open_run(small, "map"))


def test_noise_is_neither_clipped_nor_rounded_on_its_way_to_the_network(tmp_path):
    """From photograph to rows: lq on disk is float, training and restoring read it as it is."""
    noise = {
        "name": "photographs",
        "long_side": 64,
        "degrade": {"name": "gaussian_noise", "sigma": 50.0},
    }
    params = small_params()
    params["data"] = {
        "train/a": noise | {"images": ["coffee"]},
        "test/a": noise | {"images": ["chelsea"]},
    }
    params["priors"] = {"none": params["priors"]["none"]}
    params["runs"] = {"noisy": run({"name": "identity"}), "plain": run({"name": "none"})}
    suite = load_params(write_params(tmp_path, params))
    make_inputs(suite)
    pair = read_pairs(image_sets(suite, "test"))[0]
    item = image.read(pair)
    lq, hq = item.lq, item.hq
    assert pair.lq.suffix == ".npy" and lq.dtype == np.float32 and lq.min() < 0 and lq.max() > 1
    assert np.std(lq - hq / np.float32(255)) == pytest.approx(50 / 255, rel=0.03)
    crop = crops_of(open_run(suite, "plain"))[0]["item"]["lq"]
    assert crop.min() < 0 or crop.max() > 1
    rows = {row["metric"]: row["value"] for row in evaluated(suite, "noisy")}
    expected = protocol("basicsr-rgb").psnr(quantise(to_tensor(lq)), hq)
    assert rows["PSNR"] == pytest.approx(expected, abs=1e-6)
    assert rows["MC"] == 0
    assert {row["metric"] for row in evaluated(suite, "plain")} == {"PSNR", "SSIM", "MC"}
