"""One run over several devices: how many there are, and the processes that train on them. Layer 3.

``accelerate launch`` is started as a child, one process a device (``one_device.py``). Each trains
on its share of every batch (``loop.Share``); the first one keeps finished trainings in the run's
folder of ``.resume``, where the process that started them finds them.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import psutil
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from benchlib.contracts import BenchError, shortened
from benchlib.params import AUTO
from benchlib.plan import RunPlan
from benchlib.restore import device_at_hand

PACKAGE = Path(__file__).resolve().parent.parent
# What a user has set up for their own launches of accelerate and torchrun, or a launch around this.
LAUNCHERS = ("ACCELERATE_", "PET_", "TORCHELASTIC_", "FSDP_")
GROUP = (
    "RANK",
    "LOCAL_RANK",
    "GROUP_RANK",
    "ROLE_RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "ROLE_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "PYTHON_EXEC",
)
SECONDS_TO_END = 5.0  # for processes that have been killed
LONGEST_LINE = 800  # characters of an error that a device tells


# --- how many -------------------------------------------------------------------------------------


def devices_of(plan: RunPlan) -> int:
    """How many devices a run trains on; 1 where there is nothing to train.

    ``auto``: all GPUs, or the largest number of them that shares every batch evenly. Raises
    BenchError for more devices than there are.
    """
    asked = plan.budget.devices
    if not plan.trains or not any(budget.iterations for budget in plan.budgets):
        return 1
    gpus = torch.cuda.device_count() if device_at_hand().type == "cuda" else 0
    if asked == AUTO:
        batch = math.gcd(*[budget.batch for budget in plan.budgets])
        return max(n for n in range(1, max(gpus, 1) + 1) if batch % n == 0)
    assert isinstance(asked, int)
    there, said = gpus, f"GPUs here (of CUDA_VISIBLE_DEVICES, where it is set): {gpus}"
    if not gpus:
        there = _processors()
        said = f"no GPU here, and processors: {there}"
    if asked > there:
        raise BenchError(
            f"runs.{plan.key}.training.devices: got {asked}; {said}; set it to {there} or less, or "
            "to auto"
        )
    return asked


def _processors() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads_each(threads: int | None, devices: int) -> int | None:
    """Threads of torch for each device's process, at least one: its share of all.

    None stays None: what the processes are started with is their share already.
    """
    if threads is None:
        return None
    return max(1, threads // devices)


def refuse_batch_statistics(plan: RunPlan, model: nn.Module) -> None:
    """Raise BenchError for a network that is trained with a batch's mean and variance.

    Each device would take them of its own crops: another training than that of the whole batch.
    """
    model.train()
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and module.training:
            raise BenchError(
                f"runs.{plan.key}.training.devices: got {plan.budget.devices}, but the network has "
                f"batch statistics ({type(module).__name__} {name}), which devices do not share: "
                "set devices: 1 in the run's training"
            )


# --- the processes --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Order:
    """What the processes are told, as a file: whose training it is, and where it lies.

    suite: the parameters. folder: where params.yaml stands. key: the run. begun: the training's
    folder of ``.resume``. digest: what it is made from, as the one who started them sees it.
    """

    suite: dict[str, Any]
    folder: str
    key: str
    begun: str
    digest: str


class DeviceError(RuntimeError):
    """A device's process ended by an error that no user is told how to mend."""


class _Traceback(Exception):
    """The cause of a DeviceError: a traceback of another process, as text."""

    def __str__(self) -> str:
        return "\n" + self.args[0]


def train_apart(plan: RunPlan, begun: Path, digest: str, devices: int) -> None:
    """Train all seeds of a run on ``devices`` devices; finished trainings lie in ``begun`` then.

    What the first process prints appears as it comes. However this ends, no process is left: each
    of them ends when this one is gone. Raises BenchError as training on one device does, and
    DeviceError, with the last line of its traceback, for a process that fails otherwise.
    """
    with tempfile.TemporaryDirectory(
        prefix="benchlib-devices-", ignore_cleanup_errors=True
    ) as name:
        folder = Path(name)
        _write_order(plan, begun, digest, folder)
        each = max(1, (plan.budget.threads or torch.get_num_threads()) // devices)
        print(f"{plan.key}: {_said(devices, each)}", flush=True)
        with open(folder / "stderr", "w", encoding="utf-8") as errors:
            process = subprocess.Popen(
                _command(folder, devices, each),
                env=_environment(),
                stdin=subprocess.PIPE,  # never written: its end tells the processes of ours
                stdout=subprocess.PIPE,
                stderr=errors,
                encoding="utf-8",
                errors="replace",
            )
        threading.Thread(target=_close_after, args=(process,), daemon=True).start()
        try:
            assert process.stdout
            for line in process.stdout:
                print(line, end="", flush=True)
            code = process.wait()
        finally:
            _end(process)
        if code:
            _raise(folder, plan.key, devices, code)


def _write_order(plan: RunPlan, begun: Path, digest: str, folder: Path) -> None:
    suite = plan.params.model_dump(mode="json", exclude={"mirror"})  # it may hold a password
    order = Order(suite, str(plan.params.folder), plan.key, str(begun.resolve()), digest)
    (folder / "order.json").write_text(json.dumps(vars(order)), encoding="utf-8")
    # else accelerate reads what the user has configured for other work
    launch = {"compute_environment": "LOCAL_MACHINE", "distributed_type": "MULTI_GPU"}
    (folder / "launch.json").write_text(json.dumps(launch), encoding="utf-8")


def _said(devices: int, each: int) -> str:
    if device_at_hand().type == "cuda":
        return f"{devices} GPUs, each with its share of every batch"
    unit = "thread" if each == 1 else "threads"
    return f"no GPU here: {devices} processes of {each} {unit} share every batch"


def _command(folder: Path, devices: int, threads: int) -> list[str]:
    """``accelerate launch``: of ``multi_gpu``, which says how it starts them, not on what."""
    return [
        sys.executable,
        *("-m", "accelerate.commands.launch"),
        *("--config_file", str(folder / "launch.json")),
        "--multi_gpu",
        *("--num_processes", str(devices)),
        *("--num_machines", "1"),
        *("--main_process_port", "0"),  # any that is free: other runs have theirs
        *("--num_cpu_threads_per_process", str(threads)),
        *("--mixed_precision", "no"),  # the loop says which
        *("--log_dir", str(folder)),
        *("--module", "benchlib.train.one_device"),
        str(folder / "order.json"),
    ]


def _environment() -> dict[str, str]:
    kept = {}
    for name, value in os.environ.items():
        if name not in GROUP and not name.startswith(LAUNCHERS):
            kept[name] = value
    path = [str(PACKAGE.parent), kept.get("PYTHONPATH", "")]
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, path))
    if sys.platform == "linux":  # one host: no other interface is listened on, no name looked up
        kept.setdefault("GLOO_SOCKET_IFNAME", "lo")
        kept.setdefault("NCCL_SOCKET_IFNAME", "lo")
    return kept


def _close_after(process: subprocess.Popen[str]) -> None:
    """End the devices' processes when ``accelerate launch`` has ended, be it by a kill -9."""
    process.wait()
    assert process.stdin
    process.stdin.close()


def _end(process: subprocess.Popen[str]) -> None:
    """Kill what still runs, and wait for it."""
    family = []
    if process.poll() is None:
        with suppress(psutil.NoSuchProcess):
            family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
    for each in family:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        assert stream
        stream.close()
    psutil.wait_procs(family, timeout=SECONDS_TO_END)


# --- what went wrong ------------------------------------------------------------------------------


def failure_file(folder: Path, rank: int) -> Path:
    """Where the process of a device (from 0) leaves what ended it."""
    return folder / f"failed-{rank}.json"


def _raise(folder: Path, run: str, devices: int, code: int) -> NoReturn:
    """Raise what ended the processes: the first error, or the signal that killed one.

    The others follow it, since they have lost their partner.
    """
    failures = []
    for file in folder.glob("failed-*.json"):
        failures.append(json.loads(file.read_text(encoding="utf-8")))
    failures.sort(key=_order_of_failures)
    errors = (folder / "stderr").read_text(encoding="utf-8", errors="replace")
    killed = _killed(errors)
    if failures and failures[0]["kind"] == "BenchError":
        raise BenchError(failures[0]["said"])
    if killed:
        rank, signum = killed
        raise DeviceError(
            f"{run}: the process of device {rank + 1} of {devices} was killed by signal {signum} "
            "(9: often for lack of memory)"
        ) from _Traceback(errors)
    if failures:
        first = failures[0]
        said = shortened(f"{first['kind']}: {first['said']}", LONGEST_LINE)
        raise DeviceError(
            f"{run}: device {first['rank'] + 1} of {devices}: {said}"
        ) from _Traceback(first["traceback"])
    raise DeviceError(
        f"{run}: accelerate launch ended with code {code}: {shortened(errors, LONGEST_LINE)}"
    ) from _Traceback(errors)


def _order_of_failures(failure: dict[str, Any]) -> tuple[bool, float]:
    """A mistake of the user's comes first, then the earliest."""
    return failure["kind"] != "BenchError", failure["time"]


# of torchrun's report, a part for each process that failed
REPORTED = re.compile(r"\(local_rank: (\d+)\)\s+exitcode\s*: -(\d+) ")
ENDED_BY_TORCHRUN = 15  # SIGTERM, to those that are left


def _killed(report: str) -> tuple[int, int] | None:
    """(rank, signal) of a process that was killed from outside, by torchrun's report."""
    for rank, signum in REPORTED.findall(report):
        if int(signum) != ENDED_BY_TORCHRUN:
            return int(rank), int(signum)
    return None
