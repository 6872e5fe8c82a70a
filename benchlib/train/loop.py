"""The loop: one seed of one budget, resumed from its last checkpoint. Layer 3.

dvc repro train@map                              one run
CUDA_VISIBLE_DEVICES=1 dvc repro train@cat       on a device of its own

Over several devices (``training.devices``) each has a process that runs this loop on its share of
every batch (``Share``). All hold the same weights: they begin with the same, and each step takes
the mean of their gradients, which is the whole batch's. The first one alone logs, validates and
saves. ``devices.py`` starts them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import InitProcessGroupKwargs, send_to_device
from torch import nn
from torch.utils.data import DataLoader

from benchlib.contracts import BenchError, check_image
from benchlib.params import Training
from benchlib.records import LOG
from benchlib.restore import device_at_hand
from benchlib.seeding import name_seed
from benchlib.train.checkpoint import Progress, resume, save_checkpoint
from benchlib.train.data import Crops, as_read
from benchlib.train.losses import LOSSES

VERSION = 1
Batch = dict[str, torch.Tensor]
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Objective = Callable[[nn.Module, Batch, Loss], tuple[torch.Tensor, torch.Tensor]]
Validate = Callable[[nn.Module, torch.device], float | None]
# The others wait while the first device validates. One that dies ends them all by another way.
PATIENCE = timedelta(days=7)


@dataclass(frozen=True)
class Share:
    """Which part of a run's batches a process trains on: each ``devices``-th crop from ``rank``.

    rank: from 0. So the devices' crops are together those that one device would draw.
    """

    rank: int = 0
    devices: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process logs, validates and writes."""
        return self.rank == 0


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
    share: Share = Share()


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
    """Train ``job.model`` in place. Raises BenchError for a loss that is not finite.

    Of several devices the first one's progress is the run's: the others log nothing.
    """
    budget, accelerator = job.budget, _accelerator(job.budget.precision, job.share)
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
    if job.share.devices == 1:
        model, optimiser, batches = accelerator.prepare(network, optimiser, loader)
    else:
        model, optimiser, batches = _prepare_share(accelerator, network, optimiser, loader)
    clock = _Clock(progress, budget)
    model.train()
    for iteration, loaded in enumerate(batches, start=progress.done):
        batch = as_read(loaded)
        if iteration == clock.first:
            # noise is not clipped; of clips, each frame is an image
            check_image("lq", batch["lq"].flatten(0, -4), bounded=False)
            check_image("hq", batch["hq"].flatten(0, -4))
        torch.manual_seed(_iteration_seed(job, iteration))
        rate = learning_rate(iteration, budget)
        for group in optimiser.param_groups:
            group["lr"] = rate
        with accelerator.autocast():
            loss, _ = job.objective(model, batch, LOSSES[budget.loss])
        value = _finite(_of_the_batch(loss, accelerator), iteration, job)
        accelerator.backward(loss)
        if job.share.devices > 1:
            _average_gradients(weights, accelerator)
        if budget.grad_clip is not None:
            accelerator.clip_grad_norm_(weights, budget.grad_clip)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

        progress.done = iteration + 1
        if not job.share.is_first:
            continue
        if clock.is_time_to_log():
            _log(job, progress, clock, value, rate, accelerator)
        if clock.is_time_to_save():
            save_checkpoint(job.checkpoint, job.model, optimiser, progress, clock.seconds())
    job.model.cpu().eval()
    accelerator.free_memory()
    progress.seconds = clock.seconds()
    return progress


def _loader(job: Job, done: int) -> DataLoader:
    """Batches of this process's crops: a share of each batch of the run."""
    batch, share = job.budget.batch, job.share
    numbers = range(done * batch + share.rank, job.budget.iterations * batch, share.devices)
    return DataLoader(
        job.crops,
        batch // share.devices,
        sampler=numbers,
        num_workers=job.budget.workers,
        collate_fn=job.crops.collate,
    )


def _prepare_share(
    accelerator: Accelerator, network: nn.Module, optimiser: Any, loader: DataLoader
) -> tuple[nn.Module, Any, Iterator[Batch]]:
    """As ``accelerator.prepare`` of one device: precision, optimiser, batches on the device.

    The network is not wrapped (``DistributedDataParallel``). So a method's objective may read what
    it likes of its model, any weight may be frozen or out of reach, and a checkpoint is that of one
    device; ``_average_gradients`` does what the wrapper is for.
    """
    model = accelerator.prepare_model(network, evaluation_mode=True)  # in any mode: not wrapped
    batches = (send_to_device(batch, accelerator.device) for batch in loader)
    return model, accelerator.prepare_optimizer(optimiser), batches


def _iteration_seed(job: Job, iteration: int) -> int:
    """What seeds torch's generator: other devices draw other numbers for their own images."""
    if job.share.is_first:
        return name_seed("iteration", job.seed, iteration)
    return name_seed("iteration", job.seed, iteration, "device", job.share.rank)


def _of_the_batch(loss: torch.Tensor, accelerator: Accelerator) -> float:
    """The whole batch's loss: the mean of the devices', each of which is a mean of its images."""
    loss = loss.detach()
    if accelerator.num_processes > 1:
        loss = accelerator.reduce(loss.float(), "mean")  # type: ignore[assignment]
    return float(loss)


def _average_gradients(weights: list[nn.Parameter], accelerator: Accelerator) -> None:
    """Give each weight the mean of its gradients on all devices, in place.

    They travel as one tensor, with a flag a weight that tells whether it has one. What no device's
    images reach keeps no gradient, and the optimiser leaves it alone, as on one device.
    """
    parts = []
    for weight in weights:
        gradient = weight.grad
        if gradient is None:
            gradient = torch.zeros_like(weight)
        parts.append(gradient.flatten())
    reached = [weight.grad is not None for weight in weights]
    parts.append(torch.tensor(reached, dtype=parts[0].dtype, device=accelerator.device))
    mean: Any = accelerator.reduce(torch.cat(parts), "mean")
    *means, flags = mean.split([part.numel() for part in parts])
    for weight, value, flag in zip(weights, means, flags.tolist(), strict=True):
        if not flag:
            continue
        if weight.grad is None:
            weight.grad = torch.empty_like(weight)
        weight.grad.copy_(value.view_as(weight))


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


def _accelerator(precision: str, share: Share) -> Accelerator:
    """This process's device: the GPU if there is one, with bf16 where it can.

    Raises BenchError in a group of processes that benchlib has not made.
    """
    # else a second run in one kernel keeps the first's precision
    AcceleratorState._reset_state(reset_partial_state=True)
    gpu = device_at_hand().type == "cuda"
    if precision == "auto":
        precision = "bf16" if gpu and torch.cuda.is_bf16_supported() else "fp32"
    mixed = "no" if precision == "fp32" else precision
    handlers = []
    if share.devices > 1:
        backend = "nccl" if gpu else "gloo"
        handlers = [InitProcessGroupKwargs(backend=backend, timeout=PATIENCE)]
    accelerator = Accelerator(cpu=not gpu, mixed_precision=mixed, kwargs_handlers=handlers)
    if accelerator.num_processes != share.devices:
        raise BenchError(
            f"training: started as {accelerator.num_processes} processes, for {share.devices} "
            "devices; start it as one, and say in params.yaml how many it takes: "
            "training: {devices: 2}"
        )
    return accelerator
