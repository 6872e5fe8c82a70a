"""One run over several devices, here as two processes on the CPU: the training is that of one."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import psutil
import pytest
import torch
from conftest import add_file, make_inputs, run, small_params, write_params
from safetensors.torch import load_file
from torch import nn

from benchlib.contracts import BenchError
from benchlib.params import Suite, load_params
from benchlib.plan import open_run
from benchlib.train import devices, loop, record
from benchlib.train.data import crops_of
from benchlib.train.loop import Job, Share, plain_objective

ROOT = Path(__file__).parent.parent
STEPS = 50
TWO = pytest.mark.skipif(
    devices._processors() < 2, reason="two processes want two processors; one is here"
)

# A method that fails as it is told to, on one of the devices; what it trains stays the same.
MOODY = '''
"""Plain training, in moods: "slow", or "<what>:<rank>:<call>"."""

import os
import signal
import time
from dataclasses import dataclass

from benchlib.contracts import BenchError, Info
from benchlib.methods.none import NoPrior

VERSION = 1
INFO = Info("", "", (), "moody")
CALLS = []


@dataclass(frozen=True)
class Config:
    """Nothing to set."""


def build(backbone, config):
    return NoPrior(backbone())


def objective(model, batch, loss):
    CALLS.append(1)
    what, _, when = os.environ.get("BENCHLIB_TEST_MOOD", "").partition(":")
    if what == "slow":
        time.sleep(0.2)
    elif f"{os.environ.get('RANK')}:{len(CALLS)}" == when:
        if what == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "refuses":
            raise BenchError("runs.moody: the crops are of the wrong colour")
        raise ValueError("no such crop")
    restored = model({"lq": batch["lq"]})
    return loss(restored, batch["hq"]), restored
'''


def params(number: int | str = 2) -> dict:
    made = small_params()
    made["training"] |= {
        "iterations": STEPS,
        "batch": 4,
        "devices": number,
        "log_every": 1,
        "validate_every": 25,
    }
    made["priors"] = {"none": made["priors"]["none"]}
    moody = run({"name": "moody"}, validation="held", seeds=[0, 1], training={"keep": "best"})
    made["runs"] = {"no-prior": made["runs"]["no-prior"], "moody": moody}
    return made


def prepare(monkeypatch, folder: Path) -> None:
    """Make the method known, and let temporary files lie below ``folder``."""
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    (folder / "moody.py").write_text(MOODY)
    add_file(monkeypatch, "methods", folder / "moody.py")


def made(folder: Path, given: dict, inputs: Suite | None = None) -> Suite:
    """A suite with its pairs, or with those of ``inputs``."""
    folder.mkdir(parents=True, exist_ok=True)
    suite = load_params(write_params(folder, given))
    if inputs is None:
        make_inputs(suite)
    else:
        for name in ("data", "weights", "priors"):
            shutil.copytree(inputs.work / name, suite.work / name)
    return suite


def losses(suite: Suite, key: str) -> pd.DataFrame:
    return pd.read_csv(suite.results / "loss" / f"{key}.csv")


def weights(suite: Suite, seed: int) -> dict[str, torch.Tensor]:
    return load_file(suite.work / "runs" / "moody" / f"seed{seed}.safetensors")


def checkpoints(suite: Suite) -> list[Path]:
    return list((suite.work / ".resume").glob("*/candidate*.pt"))


def left_behind(folder: Path) -> list[str]:
    """Processes that train a device's share by an order below ``folder``, and such orders."""
    found = [str(file) for file in folder.glob("benchlib-devices-*/order.json")]
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
            if "benchlib.train.one_device" in words and words[-1].startswith(str(folder)):
                found.append(words[-1])
        except psutil.Error:
            continue
    return found


def wait_for(condition, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


# --- the training is that of one device -----------------------------------------------------------


@TWO
def test_two_processes_train_as_one_does_also_after_a_crash_and_a_kill(tmp_path, monkeypatch):
    """One test, since each start of two processes takes seconds."""
    prepare(monkeypatch, tmp_path)
    alone = made(tmp_path / "one", params(1))
    record.train(open_run(alone, "moody"))
    both = made(tmp_path / "two", params(2), alone)
    told = record.train(open_run(both, "moody"))
    one, two = losses(alone, "moody"), losses(both, "moody")
    assert two["iteration"].tolist() == 2 * list(range(1, STEPS + 1))
    assert (one["loss"] - two["loss"]).abs().max() < 1e-5
    assert one["loss"].iloc[45:50].mean() < one["loss"].iloc[:5].mean() - 1
    assert (one["validation_psnr"] - two["validation_psnr"]).abs().max() < 0.01
    assert two["validation_psnr"].notna().sum() == 4
    assert (told["devices"], told["training"]["devices"]) == (2, 2)

    again = made(tmp_path / "again", params(2), alone)
    monkeypatch.setenv("BENCHLIB_TEST_MOOD", "crash:1:10")
    with pytest.raises(devices.DeviceError) as error:
        record.train(open_run(again, "moody"))
    assert str(error.value) == "moody: device 2 of 2: ValueError: no such crop"
    assert 'raise ValueError("no such crop")' in str(error.value.__cause__)
    assert not left_behind(tmp_path)
    assert not (again.work / "runs" / "moody").exists()
    (begun,) = checkpoints(again)
    assert torch.load(begun, weights_only=True)["done"] == 9

    process = in_a_process_of_its_own(again, "slow")
    try:
        wait_for(lambda: torch.load(begun, weights_only=True)["done"] > 12, 600)
        assert len(left_behind(tmp_path)) >= 3  # two processes and their order
    finally:
        process.send_signal(signal.SIGKILL)
    said, _ = process.communicate()
    wait_for(lambda: not left_behind(tmp_path), 60)
    assert "resumed seed 0 at iteration 9/50" in said

    monkeypatch.delenv("BENCHLIB_TEST_MOOD")
    record.train(open_run(again, "moody"))
    assert losses(again, "moody").equals(two)
    for seed in (0, 1):
        for name, value in weights(again, seed).items():
            assert torch.equal(value, weights(both, seed)[name]), name


def in_a_process_of_its_own(suite: Suite, mood: str) -> subprocess.Popen:
    code = (
        "import sys; from benchlib.params import load_params; from benchlib.plan import open_run; "
        "from benchlib.train.record import train; "
        "train(open_run(load_params(sys.argv[1]), 'moody'))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, str(suite.folder / "params.yaml")],
        cwd=ROOT,
        env=os.environ | {"BENCHLIB_TEST_MOOD": mood},
        stdout=subprocess.PIPE,
        text=True,
    )


@TWO
@pytest.mark.parametrize(
    ("mood", "kind", "said"),
    [
        (
            "killed:1:2",
            devices.DeviceError,
            "moody: the process of device 2 of 2 was killed by signal 9 (9: often for lack of "
            "memory)",
        ),
        ("refuses:0:1", BenchError, "runs.moody: the crops are of the wrong colour"),
    ],
)
def test_what_ends_one_device_ends_all_in_one_line(tmp_path, monkeypatch, mood, kind, said):
    prepare(monkeypatch, tmp_path)
    suite = made(tmp_path, params(2))
    monkeypatch.setenv("BENCHLIB_TEST_MOOD", mood)
    with pytest.raises(kind) as error:
        record.train(open_run(suite, "moody"))
    assert str(error.value) == said
    wait_for(lambda: not left_behind(tmp_path), 60)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="no two GPUs here")
def test_two_gpus_train_as_one_does(tmp_path):
    tables = []
    for number in (1, 2):
        given = params(number)
        given["training"]["precision"] = "fp32"
        suite = made(tmp_path / str(number), given)
        assert record.train(open_run(suite, "no-prior"))["devices"] == number
        tables.append(losses(suite, "no-prior"))
    assert (tables[0]["loss"] - tables[1]["loss"]).abs().max() < 1e-2
    assert (tables[0]["validation_psnr"] - tables[1]["validation_psnr"]).abs().max() < 0.05


# --- shares ---------------------------------------------------------------------------------------


def job(suite: Suite, share: Share) -> Job:
    plan = open_run(suite, "map")
    budget = plan.budget.model_copy(update={"batch": 6})
    crops = crops_of(plan, budget, 0, share.devices)
    return Job(nn.Identity(), crops, budget, 0, Path(), None, plain_objective, share)  # type: ignore[arg-type]


@pytest.mark.parametrize("number", [2, 3, 6])
def test_the_devices_batches_are_together_those_of_one(small, number):
    """From the start, and from where a kill came."""
    for done in (0, 4):
        whole = list(loop._loader(job(small, Share()), done))
        parts = [
            list(loop._loader(job(small, Share(rank, number)), done)) for rank in range(number)
        ]
        assert len(whole) == 6 - done
        for i, batch in enumerate(whole):
            for name, value in batch.items():
                joined = torch.empty_like(value)
                for rank in range(number):
                    joined[rank::number] = parts[rank][i][name]
                assert torch.equal(joined, value)


def test_what_is_kept_in_memory_is_shared_out(small):
    plan = open_run(small, "no-prior")
    assert 2 * crops_of(plan, devices=2)._free == crops_of(plan)._free


class Partner:
    """Stands for an Accelerator of two devices: the other one sends ``other``."""

    device = torch.device("cpu")
    num_processes = 2

    def __init__(self, other: list[torch.Tensor]):
        self.other = torch.cat([part.flatten() for part in other])

    def reduce(self, sent: torch.Tensor, how: str) -> torch.Tensor:
        assert how == "mean"
        return (sent + self.other) / 2


def test_gradients_are_averaged_and_what_nothing_reached_has_none():
    """Reached on both devices, on this one, on the other one, on neither."""
    shapes = [(2, 3, 3, 3), (4,), (5,), (1, 2)]
    weights = [nn.Parameter(torch.zeros(shape)) for shape in shapes]
    own = [torch.randn(shape) for shape in shapes]
    weights[0].grad = own[0].to(memory_format=torch.channels_last)
    weights[1].grad = own[1].clone()
    theirs = [torch.randn(shape) for shape in shapes]
    theirs[1].zero_()
    theirs[3].zero_()
    loop._average_gradients(
        weights,
        Partner([*theirs, torch.tensor([1.0, 0.0, 1.0, 0.0])]),  # type: ignore[arg-type]
    )
    torch.testing.assert_close(weights[0].grad, (own[0] + theirs[0]) / 2)
    torch.testing.assert_close(weights[1].grad, own[1] / 2)
    torch.testing.assert_close(weights[2].grad, theirs[2] / 2)
    assert weights[3].grad is None


def test_the_loss_is_the_mean_of_the_devices():
    partner = Partner([torch.tensor(3.0)])
    assert loop._of_the_batch(torch.tensor(1.0), partner) == 2.0  # type: ignore[arg-type]
    alone = SimpleNamespace(num_processes=1)
    assert loop._of_the_batch(torch.tensor(1.0), alone) == 1.0  # type: ignore[arg-type]


def test_devices_draw_other_numbers_and_the_first_those_of_one(small):
    seeds = [loop._iteration_seed(job(small, Share(rank, 3)), 7) for rank in range(3)]
    assert len(set(seeds)) == 3
    assert seeds[0] == loop._iteration_seed(job(small, Share()), 7)


# --- how many -------------------------------------------------------------------------------------


def with_devices(folder: Path, number: int | str, **training) -> Suite:
    given = small_params()
    given["training"] |= {"devices": number, "batch": 8} | training
    return load_params(write_params(folder, given))


def with_gpus(monkeypatch, number: int) -> None:
    monkeypatch.setattr(devices, "device_at_hand", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: number)


@pytest.mark.parametrize(("gpus", "batch", "number"), [(4, 8, 4), (3, 8, 2), (5, 9, 3), (1, 8, 1)])
def test_auto_takes_all_gpus_that_share_the_batch(tmp_path, monkeypatch, gpus, batch, number):
    with_gpus(monkeypatch, gpus)
    plan = open_run(with_devices(tmp_path, "auto", batch=batch), "no-prior")
    assert devices.devices_of(plan) == number


def test_auto_shares_the_batch_of_each_candidate(tmp_path, monkeypatch):
    with_gpus(monkeypatch, 8)
    given = small_params()
    given["training"] |= {"devices": "auto", "batch": 8}
    given["runs"]["no-prior"]["training"] = {"candidates": [{"batch": 4}, {"batch": 6}]}
    suite = load_params(write_params(tmp_path, given))
    assert devices.devices_of(open_run(suite, "no-prior")) == 2


def test_auto_without_a_gpu_is_one_and_so_is_what_does_not_train(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "device_at_hand", lambda: torch.device("cpu"))
    assert devices.devices_of(open_run(with_devices(tmp_path, "auto"), "no-prior")) == 1
    assert devices.devices_of(open_run(with_devices(tmp_path, 8), "blurred")) == 1
    assert devices.devices_of(open_run(with_devices(tmp_path, 8, iterations=0), "no-prior")) == 1


def test_more_devices_than_there_are_is_said_before_the_work(tmp_path, monkeypatch):
    suite = with_devices(tmp_path, 4)
    with_gpus(monkeypatch, 2)
    with pytest.raises(BenchError, match=r"training.devices: got 4; GPUs here .*: 2; set it to 2 "):
        record.train(open_run(suite, "no-prior"))  # whose images are not even there
    monkeypatch.setattr(devices, "device_at_hand", lambda: torch.device("cpu"))
    monkeypatch.setattr(devices, "_processors", lambda: 3)
    with pytest.raises(BenchError, match="got 4; no GPU here, and processors: 3; set it to 3 "):
        record.train(open_run(suite, "no-prior"))


class Frozen(nn.Sequential):
    """Keeps its statistics, as a method does with a frozen network."""

    def train(self, mode: bool = True) -> nn.Sequential:
        super().train(mode)
        self[1].eval()
        return self


def test_batch_statistics_are_refused_unless_they_are_frozen(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "_processors", lambda: 2)
    given = small_params()
    given["training"] |= {"devices": 2, "crop": 16}
    given["runs"]["sci"] = run({"name": "none"}, backbone={"name": "sci"})
    suite = load_params(write_params(tmp_path, given))
    with pytest.raises(BenchError, match=r"runs.sci.*batch statistics \(BatchNorm2d .*devices: 1"):
        record.train(open_run(suite, "sci"))
    frozen = Frozen(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    devices.refuse_batch_statistics(open_run(suite, "sci"), frozen)
    assert frozen.training and not frozen[1].training


def test_threads_are_shared_and_each_device_has_one():
    assert [devices.threads_each(*given) for given in ((8, 2), (3, 2), (1, 4), (None, 2))] == [
        4,
        1,
        1,
        None,
    ]


def test_another_number_of_devices_is_another_training(small, monkeypatch):
    plan = open_run(small, "no-prior")
    digests = []
    for number in (1, 2, 3):
        monkeypatch.setattr(record, "devices_of", lambda plan, number=number: number)
        digests.append(record._digest(plan))
    assert len(set(digests)) == 3


# --- what the child is started with, and what it tells --------------------------------------------


def test_a_user_s_own_launches_do_not_reach_the_child(monkeypatch):
    """Nor those around this process: a Slurm step or torchrun sets RANK."""
    for name in ("ACCELERATE_USE_FSDP", "PET_NNODES", "RANK", "MASTER_ADDR"):
        monkeypatch.setenv(name, "3")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "eth7")
    kept = devices._environment()
    assert not {"ACCELERATE_USE_FSDP", "PET_NNODES", "RANK", "MASTER_ADDR"} & kept.keys()
    assert (kept["CUDA_VISIBLE_DEVICES"], kept["GLOO_SOCKET_IFNAME"]) == ("2,3", "eth7")
    assert kept["PYTHONPATH"].split(os.pathsep)[0] == str(ROOT)


def test_what_the_child_is_told_holds_no_password(tmp_path):
    given = small_params() | {"mirror": "https://me:secret@example.org"}
    plan = open_run(load_params(write_params(tmp_path, given)), "no-prior")
    devices._write_order(plan, tmp_path / "begun", "digest", tmp_path)
    assert "secret" not in (tmp_path / "order.json").read_text()


REPORT = """
Root Cause (first observed failure):
[0]:
  time      : 2026-01-01_00:00:00
  host      : here
  rank      : {} (local_rank: {})
  exitcode  : {} (pid: 123)
"""


def failed(folder: Path, *failures: dict, report: str = "") -> Exception:
    for place, failure in enumerate(failures):
        whole = {"rank": place, "time": 0.0, "traceback": "Traceback", "said": ""} | failure
        devices.failure_file(folder, place).write_text(json.dumps(whole))
    (folder / "stderr").write_text(report)
    with pytest.raises((BenchError, devices.DeviceError)) as error:
        devices._raise(folder, "map", 2, 1)
    return error.value


def test_the_first_error_is_told_and_not_what_followed_from_it(tmp_path):
    lost = {"kind": "RuntimeError", "said": "Connection closed by peer", "time": 2.0}
    first = {"kind": "KeyError", "said": "'lq'", "time": 1.0}
    assert str(failed(tmp_path, lost, first)) == "map: device 2 of 2: KeyError: 'lq'"
    mistake = {"kind": "BenchError", "said": "crops of 8 pixels", "time": 3.0}
    error = failed(tmp_path, lost, mistake)
    assert type(error) is BenchError and str(error) == "crops of 8 pixels"


def test_a_process_that_was_killed_is_told_by_its_device(tmp_path):
    lost = {"kind": "RuntimeError", "said": "Connection closed by peer"}
    error = failed(tmp_path, lost, report=REPORT.format(1, 1, -9))
    assert re.search("device 2 of 2 was killed by signal 9", str(error))
    ended = REPORT.format(1, 1, -15)  # by torchrun, which ends those that are left
    assert "device 1 of 2: RuntimeError" in str(failed(tmp_path, lost, report=ended))


def test_a_launch_that_fails_before_training_is_told_by_its_own_words(tmp_path):
    error = failed(tmp_path, report="RuntimeError: the port is taken\n")
    assert str(error).endswith("ended with code 1: RuntimeError: the port is taken")
