"""The loop: one seed of one budget, on one device, resumed from its last checkpoint. Layer 3.

dvc repro train@map                              one run
CUDA_VISIBLE_DEVICES=1 dvc repro train@cat       on a device of its own
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn
from torch.utils.data import DataLoader

from benchlib.contracts import BenchError, check_image
from benchlib.params import Training
from benchlib.records import LOG
from benchlib.restore import device_at_hand
from benchlib.seeding import name_seed
from benchlib.train.checkpoint import Progress, resume, save_checkpoint
from benchlib.train.data import Crops
from benchlib.train.losses import LOSSES

VERSION = 1
Batch = dict[str, torch.Tensor]
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Objective = Callable[[nn.Module, Batch, Loss], tuple[torch.Tensor, torch.Tensor]]
Validate = Callable[[nn.Module, torch.device], float | None]


@dataclass(frozen=True)
class Job:
    """What the loop needs: one seed of one budget.

    validate: mean PSNR (dB) of the held-out items, None where nothing is held out. objective: the
    method's own, see ``methods/__init__.py``. checkpoint: the file that training resumes from.
    """

    model: nn.Module
    crops: Crops
    budget: Training
    seed: int
    checkpoint: Path
    validate: Validate
    objective: Objective


def plain_objective(
    model: nn.Module, batch: Batch, loss: Loss
) -> tuple[torch.Tensor, torch.Tensor]:
    """The named loss between what the method restores and ``hq``: without an objective of its
    own.
    """
    restored = model({name: value for name, value in batch.items() if name != "hq"})
    return loss(restored, batch["hq"]), restored


def learning_rate(iteration: int, budget: Training) -> float:
    """Of ``iteration`` (from 0): half a cosine from ``lr`` to ``lr_end``, or ``lr`` halved."""
    if budget.schedule == "halve":
        return budget.lr * 0.5 ** (iteration // budget.halve_every)
    share = iteration / max(1, budget.iterations)
    return budget.lr_end + (budget.lr - budget.lr_end) * (1 + math.cos(math.pi * share)) / 2


def fit(job: Job) -> Progress:
    """Train ``job.model`` in place. Raises BenchError for a loss that is not finite."""
    budget, accelerator = job.budget, _accelerator(job.budget.precision)
    weights = [p for p in job.model.parameters() if p.requires_grad]
    betas = (budget.beta1, budget.beta2)
    optimiser = torch.optim.AdamW(
        weights, lr=budget.lr, betas=betas, weight_decay=budget.weight_decay
    )
    device = accelerator.device
    progress = resume(job.checkpoint, job.model, optimiser, budget.iterations, device)
    if progress.done:
        where = f"iteration {progress.done}/{budget.iterations}"
        print(f"resumed seed {job.seed} at {where}", flush=True)
    loader = _loader(job, progress.done)
    # channels last: a quarter faster
    network = job.model.to(accelerator.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    model, optimiser, loader = accelerator.prepare(network, optimiser, loader)
    clock = _Clock(progress, budget)
    model.train()
    for iteration, batch in enumerate(loader, start=progress.done):
        if iteration == clock.first:
            check_image("lq", batch["lq"], bounded=False)  # noise is not clipped
            check_image("hq", batch["hq"])
        torch.manual_seed(name_seed("iteration", job.seed, iteration))
        rate = learning_rate(iteration, budget)
        for group in optimiser.param_groups:
            group["lr"] = rate
        with accelerator.autocast():
            loss, _ = job.objective(model, batch, LOSSES[budget.loss])
        value = _finite(float(loss.detach()), iteration, job)
        accelerator.backward(loss)
        if budget.grad_clip is not None:
            accelerator.clip_grad_norm_(weights, budget.grad_clip)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

        progress.done = iteration + 1
        if clock.is_time_to_log():
            _log(job, progress, clock, value, rate, accelerator)
        if clock.is_time_to_save():
            save_checkpoint(job.checkpoint, job.model, optimiser, progress, clock.seconds())
    job.model.cpu().eval()
    accelerator.free_memory()
    progress.seconds = clock.seconds()
    return progress


def _loader(job: Job, done: int) -> DataLoader:
    batch = job.budget.batch
    numbers = range(done * batch, job.budget.iterations * batch)
    return DataLoader(
        job.crops,
        batch,
        sampler=numbers,
        num_workers=job.budget.workers,
        collate_fn=job.crops.collate,
    )


def _finite(value: float, iteration: int, job: Job) -> float:
    if not math.isfinite(value):
        rate = learning_rate(iteration, job.budget)
        raise BenchError(
            f"training: loss is {value} at iteration {iteration} of {job.budget.iterations}, seed "
            f"{job.seed}, learning rate {rate:.2e}; lower training.lr or look at the crops"
        )
    return value


class _Clock:
    """When to log, validate and save, and how fast training is."""

    def __init__(self, progress: Progress, budget: Training):
        self.progress, self.budget = progress, budget
        self.first, self.earlier = progress.done, progress.seconds
        self.begun = self.saved = time.perf_counter()

    def seconds(self) -> float:
        """Of training so far, those before a resume included."""
        return self.earlier + time.perf_counter() - self.begun

    def speed(self) -> float:
        """Crops a second since the start or the resume."""
        crops = (self.progress.done - self.first) * self.budget.batch
        return crops / (time.perf_counter() - self.begun)

    def is_last(self) -> bool:
        return self.progress.done == self.budget.iterations

    def is_time_to_log(self) -> bool:
        done = self.progress.done
        return self.is_last() or done % self.budget.log_every == 0 or done == 1

    def is_time_to_validate(self) -> bool:
        return self.is_last() or self.progress.done % self.budget.validate_every == 0

    def is_time_to_save(self) -> bool:
        if self.is_last() or time.perf_counter() - self.saved < self.budget.checkpoint_seconds:
            return False
        self.saved = time.perf_counter()
        return True


def _log(
    job: Job, progress: Progress, clock: _Clock, loss: float, rate: float, accelerator: Accelerator
) -> None:
    speed, psnr = clock.speed(), None
    if clock.is_time_to_validate():
        psnr = job.validate(job.model, accelerator.device)
    if job.budget.keep == "best":
        progress.best = better(progress.best, psnr, progress.done, job.model)
    line = (job.seed, progress.done, round(loss, 6), rate, psnr)
    progress.log.append(dict(zip(LOG, line, strict=True)))
    print(_line(progress.done, loss, speed, psnr, job.budget), flush=True)


def better(
    best: dict[str, Any] | None, psnr: float | None, done: int, model: nn.Module
) -> dict[str, Any] | None:
    """The better of the best so far and this validation (None: there was none)."""
    if psnr is None or (best and psnr <= best["psnr"]):
        return best
    weights = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
    return {"iteration": done, "psnr": psnr, "model": weights}


def _line(done: int, loss: float, speed: float, psnr: float | None, budget: Training) -> str:
    left = int((budget.iterations - done) * budget.batch / speed)
    eta = f"{left // 3600}:{left % 3600 // 60:02}:{left % 60:02}"
    words = [f"iteration {done}/{budget.iterations}", f"loss {loss:.4g}", f"{speed:.1f} images/s"]
    if psnr is not None:
        words.append(f"validation {psnr} dB")
    return "  ".join([*words, f"ETA {eta}"])


def _accelerator(precision: str) -> Accelerator:
    """One device: the GPU if there is one, with bf16 where it can.

    Raises BenchError in a group of processes.
    """
    # else a second run in one kernel keeps the first's precision
    AcceleratorState._reset_state(reset_partial_state=True)
    gpu = device_at_hand().type == "cuda"
    if precision == "auto":
        precision = "bf16" if gpu and torch.cuda.is_bf16_supported() else "fp32"
    mixed = "no" if precision == "fp32" else precision
    accelerator = Accelerator(cpu=not gpu, mixed_precision=mixed)
    if accelerator.num_processes > 1:
        raise BenchError(
            f"training: started as {accelerator.num_processes} processes; a run uses one device: "
            "give each GPU runs of its own (CUDA_VISIBLE_DEVICES=0 dvc repro train@<run>)"
        )
    return accelerator
