"""The loop: what it trains, that it resumes bit for bit, and that it stops where it must."""

import math
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import run, small_params, write_params
from safetensors.torch import load_file, save_file

import benchlib.train as loop
from benchlib.contracts import BenchError
from benchlib.imageio import quantise, read_image, write_png
from benchlib.params import load_params
from benchlib.records import read_json
from benchlib.train import crops_of, learning_rate, psnr_loss, train


class Killed(RuntimeError):
    """Stands for a crash."""


def weights(suite, key: str = "map") -> dict[str, torch.Tensor]:
    return load_file(suite.work / "runs" / key / "seed0.safetensors")


def crash_at(monkeypatch, call: int) -> list[int]:
    """Let the loss crash once, at that call; returns a list that grows by one a call."""
    real, calls = loop.psnr_loss, []

    def crash(*arguments):
        calls.append(1)
        if len(calls) == call:
            raise Killed
        return real(*arguments)

    monkeypatch.setitem(loop.LOSSES, "psnr", crash)
    return calls


def test_killed_and_resumed_is_the_straight_run_bit_for_bit(small, monkeypatch):
    train(small, "map")  # reads masks, drops some at random: every source of randomness is in it
    straight, losses = weights(small), (small.results / "loss" / "map.csv").read_bytes()
    calls = crash_at(monkeypatch, 4)
    (small.work / "runs" / "map" / "seed0.safetensors").unlink()
    with pytest.raises(Killed):
        train(small, "map")
    assert not (small.work / "runs" / "map" / "seed0.safetensors").exists()
    train(small, "map")
    assert len(calls) == 4 + 3  # three were done, the fourth crashed; three are left of six
    resumed = weights(small)
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)
    assert (small.results / "loss" / "map.csv").read_bytes() == losses
    assert not list((small.work / ".resume").rglob("*.pt"))


def test_a_changed_setting_does_not_resume_the_old_run(small, tmp_path, monkeypatch):
    calls = crash_at(monkeypatch, 4)
    with pytest.raises(Killed):
        train(small, "map")
    params = small_params()
    params["runs"]["map"]["training"] = {"lr": 0.01}
    train(load_params(write_params(tmp_path, params)), "map")
    assert len(calls) == 4 + 6


def test_a_loss_that_is_not_finite_stops_and_says_where(small, monkeypatch):
    monkeypatch.setitem(loop.LOSSES, "psnr", lambda restored, hq: restored.mean() * math.nan)
    with pytest.raises(BenchError, match=r"loss is nan at iteration 0 of 6, seed 0"):
        train(small, "no-prior")
    assert not (small.work / "runs" / "no-prior").exists()


def test_training_lowers_the_loss_and_writes_what_it_says(small, tmp_path):
    params = small_params()
    params["training"] |= {"iterations": 60, "lr": 0.003, "log_every": 1, "validate_every": 30}
    params["runs"]["no-prior"]["seeds"] = [0, 1]
    suite = load_params(write_params(tmp_path, params))
    record = train(suite, "no-prior")
    table = pd.read_csv(suite.results / "loss" / "no-prior.csv")
    for _, part in table.groupby("seed"):
        assert part["loss"].iloc[-10:].mean() < part["loss"].iloc[:10].mean() - 0.3
        assert part["validation_psnr"].notna().sum() == 2
    assert read_json(suite.work / "runs" / "no-prior" / "record.json")["pairs"] == record["pairs"] == 2
    first, second = (load_file(suite.work / "runs" / "no-prior" / f"seed{s}.safetensors") for s in (0, 1))
    assert not all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_without_training_keeps_a_record(small):
    assert train(small, "blurred")["parameters"] == 0
    assert weights(small, "blurred") == {}


def test_crops_are_cut_turned_and_flipped_together(small):
    """Each crop of a pair that is lq == hq must stay so, and labels must follow: stripes of 8 pixels of one id."""
    crops = crops_of(small, "map")
    pair = crops.pairs[0]
    pair.lq.write_bytes(pair.hq.read_bytes())
    whole = read_image(pair.hq)
    turned = 0
    for n in range(0, 40):
        item = crops[n]
        labels = item["labels"].numpy()
        assert labels.shape == (16, 16)
        constant = 0 if (labels == labels[:1]).all() else 1
        assert (labels == np.take(labels, [0], axis=constant)).all()
        turned += constant
        if torch.equal(item["lq"], item["hq"]):
            assert quantise(item["hq"])[0, 0] in whole
    assert 5 < turned < 35


def test_crop_n_is_the_same_whoever_asks_and_different_from_its_neighbour(small):
    first, again = crops_of(small, "map"), crops_of(small, "map")
    again[3]  # reading another crop first changes nothing
    assert all(torch.equal(value, again[7][name]) for name, value in first[7].items())
    assert not torch.equal(first[7]["lq"], first[8]["lq"])
    assert not torch.equal(first[7]["lq"], crops_of(small, "map", seed=1)[7]["lq"])


def test_crops_travel_to_loading_processes(small):
    crops = crops_of(small, "map")
    copied = pickle.loads(pickle.dumps(crops))
    assert all(torch.equal(value, copied[5][name]) for name, value in crops[5].items())


def test_a_prior_of_another_size_is_refused(small):
    crops = crops_of(small, "map")
    write_png(crops.pairs[0].lq, np.zeros((40, 41, 3), np.uint8))
    write_png(crops.pairs[0].hq, np.zeros((40, 41, 3), np.uint8))
    with pytest.raises(BenchError, match=r"for an image of \(40, 41\)"):
        crops._open(0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("run", ["no-prior", "cat", "map"])
def test_a_gpu_trains_in_bf16_and_restores(small, run):
    from benchlib.evaluate import evaluate

    assert train(small, run)["device"].startswith("cuda")
    assert all(np.isfinite(row["value"]) for row in evaluate(small, run))


def test_every_pair_comes_once_an_epoch(small):
    crops = crops_of(small, "no-prior")
    seen = []
    crops._open = lambda index: seen.append(index) or crops._read(index)
    for n in range(6):
        crops[n]
    assert [sorted(seen[i : i + 2]) for i in (0, 2, 4)] == [[0, 1]] * 3


def test_psnr_loss_is_minus_the_mean_psnr():
    first, second = torch.rand(3, 3, 8, 8), torch.rand(3, 3, 8, 8)
    psnr = [-10 * math.log10(float((a - b).square().mean())) for a, b in zip(first, second, strict=True)]
    assert float(psnr_loss(first, second)) == pytest.approx(-sum(psnr) / 3, abs=1e-4)


def test_cosine_starts_ends_and_halves_where_torch_does(small):
    budget = small.training
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=budget.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, budget.iterations, eta_min=budget.lr_end)
    for iteration in range(budget.iterations):
        assert learning_rate(iteration, budget) == pytest.approx(schedule.get_last_lr()[0], rel=1e-6)
        optimiser.step()
        schedule.step()


def test_what_is_kept_in_memory_stays_within_its_room_and_changes_no_crop(small):
    """Room for nothing, for one pair of three, and for all give the same crops."""
    crops = [crops_of(small, "map") for _ in range(3)]
    crops[0].pairs = crops[1].pairs = crops[2].pairs = crops[0].pairs * 2
    one = loop._size(crops[0]._read(0))
    crops[1]._room, crops[2]._room = 0, int(1.5 * one)
    for n in range(8):
        items = [source[n] for source in crops]
        assert all(torch.equal(items[0][name], item[name]) for item in items for name in item)
    assert [len(source._kept) for source in crops] == [len(crops[0].pairs), 1, 1]
    assert crops[2]._room == int(1.5 * one) - one


def test_a_run_starts_from_another_s_weights_of_its_seed_or_its_first(tmp_path):
    params = small_params()
    params["runs"]["no-prior"]["seeds"] = [3, 4]
    params["runs"]["tuned"] = run({"name": "none"}, init="runs/no-prior", seeds=[4, 5])
    suite = load_params(write_params(tmp_path, params))
    (suite.work / "runs" / "no-prior").mkdir(parents=True)
    for seed in (3, 4):
        model = loop.build_model(suite, "no-prior")
        with torch.no_grad():
            for p in model.parameters():
                p.fill_(seed)
        save_file(model.state_dict(), suite.work / "runs" / "no-prior" / f"seed{seed}.safetensors")
    for seed, source in ((4, 4), (5, 3)):
        assert all((p == source).all() for p in loop.start(suite, "tuned", seed).parameters())


def test_weights_that_do_not_fit_are_refused_in_one_line(tmp_path):
    params = small_params()
    params["weights"]["other"] = {"asset": "mobilesam-decoder"}
    params["runs"]["tuned"] = run({"name": "none"}, init="weights/other")
    suite = load_params(write_params(tmp_path, params))
    (suite.work / "weights" / "other").mkdir(parents=True)
    save_file({"intro.weight": torch.zeros(1)}, suite.work / "weights" / "other" / "weights.safetensors")
    with pytest.raises(BenchError, match=r"runs.tuned.init: weights/other does not fit .*nafnet.*Missing key") as error:
        loop.start(suite, "tuned", 0)
    assert "\n" not in str(error.value)


def test_the_best_validation_of_the_training_is_kept_and_the_start_s_recorded(small, monkeypatch):
    """The start, of 20.9 dB, is better than all three; of these the second is the best, and its weights are saved."""
    seen = []

    def validation(model, *_, **__):
        seen.append({name: value.clone() for name, value in model.state_dict().items()})
        return [20.9, 19.0, 20.5, 18.0][len(seen) - 1]

    monkeypatch.setattr(loop, "validation_psnr", validation)
    params = small_params()
    params["runs"]["no-prior"]["training"] = {"keep": "best", "validate_every": 2}
    suite = load_params(write_params(small.folder, params))
    record = train(suite, "no-prior")
    assert record["kept"] == {"seed0": {"iteration": 4, "validation": 20.5, "start": 20.9}}
    assert all(torch.equal(value, seen[2][name]) for name, value in weights(suite, "no-prior").items())
    start = loop.start(suite, "no-prior", 0).state_dict()
    assert all(torch.equal(value, start[name]) for name, value in seen[0].items())


def test_the_rate_is_halved_every_so_often(small):
    budget = small.training.model_copy(update={"schedule": "halve", "halve_every": 5, "lr": 0.8})
    assert [learning_rate(i, budget) for i in (0, 4, 5, 9, 10, 15)] == [0.8, 0.8, 0.4, 0.4, 0.2, 0.1]
