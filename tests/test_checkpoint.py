"""A training that is finished is taken over; a checkpoint that is another's is ignored, in one line."""

import errno
import pickle
import shutil
import time

import pytest
import torch
from conftest import small_params, write_params
from safetensors.torch import load_file

from benchlib.contracts import BenchError
from benchlib.evaluate import evaluate
from benchlib.params import Suite, load_params
from benchlib.plan import open_run
from benchlib.records import read_json
from benchlib.restore import threads
from benchlib.train import checkpoint, losses, record
from benchlib.train.checkpoint import Progress, Trained, read_trained, resume, save_checkpoint
from benchlib.train.record import train

MADE = {"device": "cpu", "hardware": "a processor", "torch": "2", "threads": 1, "revision": "abc"}
LINE = {"seed": 0, "iteration": 3, "loss": 0.5, "lr": 0.1, "validation_psnr": None}


def network(width: int = 3) -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(2, width), torch.nn.Linear(width, 2))


def adam(model: torch.nn.Module) -> torch.optim.Optimizer:
    """AdamW after a step: its moments are there."""
    optimiser = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    return optimiser


def state(model: torch.nn.Module) -> list[torch.Tensor]:
    return [value.clone() for value in model.state_dict().values()]


def same(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


# --- checkpoints ----------------------------------------------------------------------------------


def test_a_checkpoint_is_loaded_as_it_was_saved(tmp_path):
    model = network()
    optimiser = adam(model)
    best = {"iteration": 2, "psnr": 20.0, "model": model.state_dict()}
    saved = Progress(3, [LINE], 1.0, best)
    save_checkpoint(tmp_path / "a.pt", model, optimiser, saved, 7.5)
    other = network()
    steps = torch.optim.AdamW(other.parameters())
    progress = resume(tmp_path / "a.pt", other, steps, 6, torch.device("cpu"))
    assert (progress.done, progress.seconds, progress.log) == (3, 7.5, [LINE])
    assert same(state(model), state(other))
    moment = steps.state[next(other.parameters())]["exp_avg"]
    assert torch.equal(moment, optimiser.state[next(model.parameters())]["exp_avg"])


def test_a_disk_that_is_full_when_a_checkpoint_is_saved_keeps_the_old_one(small_disk):
    path, model = small_disk / "a.pt", network()
    save_checkpoint(path, model, adam(model), Progress(3, [LINE], 1.0), 1.0)
    before = path.read_bytes()
    large = network(20_000)
    with pytest.raises(BenchError, match=r"a\.pt: the disk is full; make room on it"):
        save_checkpoint(path, large, adam(large), Progress(3, [LINE], 1.0), 1.0)
    assert path.read_bytes() == before and len(list(small_disk.iterdir())) == 1


class Evil:
    """What a pickle can do to who loads it without care."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('ran')",))


def whole(model: torch.nn.Module) -> dict:
    held = vars(Progress(3, [LINE], 1.0))
    return held | {"model": model.state_dict(), "optimiser": adam(model).state_dict()}


def changed(**entries) -> dict:
    return whole(network()) | entries


def moments_of_another() -> dict:
    optimiser = adam(network()).state_dict()
    optimiser["state"][0]["exp_avg"] = torch.zeros(9, 9)
    return optimiser


WRONG = {
    "another model": lambda: whole(network(5)),
    "a list": lambda: [1, 2],
    "nothing": lambda: None,
    "a state dict": lambda: network().state_dict(),
    "an entry less": lambda: {k: v for k, v in whole(network()).items() if k != "log"},
    "done is text": lambda: changed(done="3"),
    "done too often": lambda: changed(done=7),
    "log of numbers": lambda: changed(log=[1, 2]),
    "log with other columns": lambda: changed(log=[{"a": 1}]),
    "seconds not finite": lambda: changed(seconds=float("nan")),
    "weights of another type": lambda: changed(
        model={name: value.double() for name, value in network().state_dict().items()}
    ),
    "weights that are lists": lambda: changed(model={key: [1.0] for key in network().state_dict()}),
    "best of another": lambda: changed(
        best={"iteration": 1, "psnr": 1.0, "model": network(5).state_dict()}
    ),
    "optimiser of another": lambda: changed(optimiser=adam(network(5)).state_dict()),
    "moments of another": lambda: changed(optimiser=moments_of_another()),
    "optimiser is a list": lambda: changed(optimiser=[1]),
    "code": Evil,
}


@pytest.mark.parametrize("kind", [*WRONG, "half", "empty", "words", "a folder", "plain pickle"])
def test_a_checkpoint_that_is_another_s_or_damaged_is_ignored_in_one_line(tmp_path, kind, capsys):
    path = tmp_path / "a.pt"
    if kind == "a folder":
        path.mkdir()
    elif kind == "plain pickle":
        path.write_bytes(pickle.dumps(Evil()))
    else:
        torch.save(WRONG.get(kind, lambda: whole(network()))(), path)
        cut = {"half": path.read_bytes()[:-200], "empty": b"", "words": b"no checkpoint"}
        path.write_bytes(cut.get(kind, path.read_bytes()))
    model = network()
    optimiser = torch.optim.AdamW(model.parameters())
    before = state(model)
    progress = resume(path, model, optimiser, 6, torch.device("cpu"))
    assert progress == Progress()
    assert same(before, state(model)), "half of it was loaded"
    assert not optimiser.state
    said = capsys.readouterr().out
    assert said.startswith(f"{path}: ignored: ") and said.endswith("training starts anew\n")
    assert said.count("\n") == 1


def test_a_finished_training_is_read_as_it_was_and_another_s_is_ignored(tmp_path, capsys):
    model = network()
    trained = Trained(model.state_dict(), [LINE], 93.5, 3, 20.0, None, MADE)
    path = tmp_path / "seed0.pt"
    path.touch()
    checkpoint.save_trained(path, trained)
    assert [file.name for file in tmp_path.iterdir()] == ["seed0.trained"]
    read = read_trained(path, network())
    assert vars(read) | {"weights": None} == vars(trained) | {"weights": None}
    assert same(list(read.weights.values()), list(trained.weights.values()))
    assert "taken over (94 s)" in capsys.readouterr().out
    assert read_trained(path, network(5)) is None
    (tmp_path / "seed0.trained").write_bytes(b"half")
    assert read_trained(path, network()) is None
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2 and all(": ignored: " in line for line in said)
    assert read_trained(tmp_path / "seed1.pt", network()) is None


# --- stages that fail after their training --------------------------------------------------------


def losses_counted(monkeypatch) -> list[int]:
    """Grows by one each time a loss is computed: once an iteration."""
    real, calls = losses.LOSSES["psnr"], []

    def counted(*arguments):
        calls.append(1)
        return real(*arguments)

    monkeypatch.setitem(losses.LOSSES, "psnr", counted)
    return calls


def plan_of(suite: Suite):
    params = small_params()
    params["runs"]["no-prior"] |= {"seeds": [0, 1]}
    params["runs"]["no-prior"]["training"] = {"iterations": 2}
    return open_run(load_params(write_params(suite.folder, params)), "no-prior")


def full(*_arguments) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("place", ["write_json", "write_table"])
def test_a_disk_that_fills_when_a_training_ends_costs_no_training(small, monkeypatch, place):
    plan, calls = plan_of(small), losses_counted(monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(record, place, full)
        with pytest.raises(BenchError, match="the disk is full; make room on it"):
            train(plan)
    assert len(calls) == 4 and not plan.places.run.exists()
    slow = time.perf_counter
    monkeypatch.setattr(time, "perf_counter", lambda: slow() + 1e6)
    made = train(plan)
    assert len(calls) == 4, "it trained again"
    assert max(made["seed_seconds"].values()) < 1000, "seconds are those of the training"
    assert set(made["seed_seconds"]) == {"seed0", "seed1"}
    assert len(plan.places.loss.read_text().splitlines()) == 1 + 2 * 2


def test_what_dvc_did_not_take_is_taken_over_until_it_is_evaluated(small, monkeypatch, capsys):
    """DVC fails to take a stage's outputs (its lock is held), and removes them before it runs again."""
    plan, calls = plan_of(small), losses_counted(monkeypatch)
    first = train(plan)
    weights = load_file(plan.places.weights(1))
    assert "is kept in" in capsys.readouterr().out
    shutil.rmtree(plan.places.run)
    plan.places.loss.unlink()
    again = train(plan)
    assert len(calls) == 4 and again == first
    assert same(list(weights.values()), list(load_file(plan.places.weights(1)).values()))
    assert read_json(plan.places.run / "record.json") == first
    evaluate(plan)
    assert not any(plan.places.resume.iterdir()), "a later stage has read it: it goes"
    shutil.rmtree(plan.places.run)
    train(plan)
    assert len(calls) == 8


def test_who_trains_where_the_outputs_lie_wants_them_anew(small, monkeypatch):
    plan, calls = plan_of(small), losses_counted(monkeypatch)
    train(plan)
    train(plan)
    assert len(calls) == 8


def test_a_run_with_nothing_to_train_keeps_nothing(small, capsys):
    plan = open_run(small, "blurred")
    train(plan)
    assert not any(plan.places.resume.iterdir())
    assert capsys.readouterr().out == ""


def test_the_same_run_made_anew_leaves_nothing_of_the_old(small):
    train(plan_of(small))
    params = small_params()
    params["runs"]["no-prior"]["training"] = {"iterations": 1}
    plan = open_run(load_params(write_params(small.folder, params)), "no-prior")
    train(plan)
    assert [folder.name for folder in plan.places.resume.iterdir()] == [record._digest(plan)]


# --- threads --------------------------------------------------------------------------------------


def test_threads_are_those_asked_for_and_then_as_before():
    before = torch.get_num_threads()
    with threads(before + 1) as used:
        assert used == torch.get_num_threads() == before + 1
    with threads(None) as used:
        assert used == torch.get_num_threads() == before
    assert torch.get_num_threads() == before


def test_the_record_says_the_threads_that_were_used(small):
    params = small_params()
    params["training"] |= {"iterations": 1, "threads": 2}
    params["evaluation"]["threads"] = 3
    plan = open_run(load_params(write_params(small.folder, params)), "no-prior")
    train(plan)
    evaluate(plan)
    made = read_json(plan.places.record)
    assert (made["threads"], made["evaluate_threads"]) == (2, 3)
