"""Training a run: every seed, every candidate; its weights, its loss and its record. Layer 3."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from safetensors.torch import load_file
from torch import nn

from benchlib import own, registry
from benchlib.assets.weights import save_weights
from benchlib.contracts import BenchError, load_weights_into
from benchlib.files import check_writable, new_folder, sha256
from benchlib.manifests import check_run
from benchlib.metrics import protocol
from benchlib.params import Training
from benchlib.plan import RunPlan
from benchlib.records import Pair, hardware, read_json, revision, write_json, write_table
from benchlib.restore import KeptFrames, build_model, device_at_hand, restore, threads
from benchlib.seeding import name_seed
from benchlib.train.checkpoint import (
    LOG,
    Progress,
    Trained,
    begin,
    deliver,
    read_trained,
    save_trained,
)
from benchlib.train.data import crops_of, unpack
from benchlib.train.devices import (
    devices_of,
    refuse_batch_statistics,
    threads_each,
    train_apart,
)
from benchlib.train.loop import Job, Share, fit, plain_objective

VERSION = 1
UNSEEN = {"unpack"}  # of a budget: what no number depends on; neither checkpoint nor record has it
CRITICS = "critics"  # a method's function, and the model's part while it is trained


def train(plan: RunPlan) -> dict[str, Any]:
    """Train every seed of one run; write weights, the loss file and the run's record; return it.

    Several budgets are each trained with the first seed; the one of the best validation is the
    run's, and the record's ``choice`` lists all. Resumes from the last checkpoint of the same
    parameters, versions, data and torch, and takes over what is finished (``checkpoint``): a stage
    that failed after its training does not train again. Over several devices other processes train
    (``devices``), and this one writes what they have made. Raises BenchError for images that the
    run cannot use (``manifests.check_run``), for devices that are not there, for a loss that is not
    finite, and for what the disk refuses.
    """
    devices = devices_of(plan)
    if devices > 1:
        refuse_batch_statistics(plan, build_model(plan))
    check_run(plan)
    check_writable(plan.places.run.parent, plan.places.loss.parent)
    own.check_scale(plan, own.pairs_at_hand(plan))
    digest = _digest(plan)
    begun = plan.places.resume / digest
    begin(begun, plan.key, plan.places.run)
    with new_folder(plan.places.run) as out:
        share: Share | None = Share()
        if devices > 1:
            train_apart(plan, begun, digest, devices)
            share = None
        tried, best, seeds = _train_seeds(plan, begun, share)
        budget = plan.budgets[best]
        for seed, trained in seeds.items():
            save_weights(trained.weights, out / f"seed{seed}.safetensors")
        record = _record(plan, budget, seeds) | {"choice": _choice(plan, tried, best)}
        untaken = [one for i, one in enumerate(tried) if i != best]
        seconds = sum(one.seconds for one in [*seeds.values(), *untaken])
        record["train_seconds"] = round(seconds, 1)
        record["weights"] = {
            f"seed{seed}": sha256(out / f"seed{seed}.safetensors") for seed in seeds
        }
        write_json(out / "record.json", record)
        log = [line for trained in seeds.values() for line in trained.log]
        write_table(plan.places.loss, LOG, log)
    deliver(begun, plan.key)
    return record


def train_share(plan: RunPlan, begun: Path, digest: str, share: Share) -> None:
    """Train this process's share of a run, as the one who started it sees the run.

    digest: what it saw the training made from. Raises BenchError where that has changed since.
    """
    if _digest(plan) != digest:
        raise BenchError(
            f"runs.{plan.key}: code, data or the device have changed since this stage began; run "
            "it again"
        )
    _train_seeds(plan, begun, share)


def _train_seeds(
    plan: RunPlan, begun: Path, share: Share | None
) -> tuple[list[Trained], int, dict[int, Trained]]:
    """Train each budget with the first seed, and the best one with the other seeds.

    begun: the training's folder of ``.resume``. share: this process's part of every batch; None
    where other processes have trained, and what they finished is taken. Returns the trainings of
    the budgets, which of them is the best, and seed -> its training with that one.
    """
    first, *others = plan.entry.seeds
    tried = []
    for i, budget in enumerate(plan.budgets):
        checkpoint = begun / f"candidate{i}-seed{first}.pt"
        tried.append(_train_seed(plan, budget, first, checkpoint, share))
    best = _best(tried)
    seeds = {first: tried[best]}
    for seed in others:
        checkpoint = begun / f"candidate0-seed{seed}.pt"
        seeds[seed] = _train_seed(plan, plan.budgets[best], seed, checkpoint, share)
    return tried, best, seeds


def _best(tried: list[Trained]) -> int:
    """Which of several has the best validation; the first of equals, or where there is none."""
    best = 0
    for i, trained in enumerate(tried):
        if (trained.validation or 0.0) > (tried[best].validation or 0.0):
            best = i
    return best


def start_model(plan: RunPlan, seed: int) -> nn.Module:
    """The run's model as training begins: built from the seed, with the weights that it starts
    from.

    Those are of the whole model or, where a method adds parts of its own, of its backbone:
    strictly, either way. Raises BenchError if they fit neither.
    """
    torch.manual_seed(name_seed("init", seed))
    model = build_model(plan)
    file = plan.starts[seed]
    if file:
        where = f"runs.{plan.key}.init: {plan.entry.init} does not fit {plan.entry.backbone}"
        load_weights_into(model, load_file(file), where)
    return model


def _train_seed(
    plan: RunPlan, budget: Training, seed: int, checkpoint: Path, share: Share | None
) -> Trained:
    model = start_model(plan, seed)
    if not plan.trains or not budget.iterations:
        with threads(budget.threads):
            return _trained(plan, budget, model, Progress(), None)
    finished = read_trained(checkpoint, model, expected=share is None)
    if finished:
        return finished
    if share is None:
        raise BenchError(
            f"{checkpoint.parent}: what the devices trained is not there; run the stage again"
        )
    with threads(threads_each(budget.threads, share.devices)):
        trained = _fit(plan, budget, seed, model, checkpoint, share)
    if share.is_first:
        save_trained(checkpoint, trained)
    if share.devices > 1:
        PartialState().wait_for_everyone()
    if not share.is_first:  # what is chosen by this training is chosen alike everywhere
        return _train_seed(plan, budget, seed, checkpoint, None)
    return trained


def _fit(
    plan: RunPlan,
    budget: Training,
    seed: int,
    model: nn.Module,
    checkpoint: Path,
    share: Share,
) -> Trained:
    validate = partial(validation_psnr, plan=plan, budget=budget, pairs=plan.held_out_pairs())
    if len(plan.budgets) > 1:
        print(f"{plan.key}, seed {seed}: {_changes(plan, budget)}", flush=True)
    before = None
    if budget.keep == "best" and share.is_first:
        device = device_at_hand()
        before = validate(model.to(device), device)
    objective = getattr(plan.method, "objective", plain_objective)
    crops = unpack(crops_of(plan, budget, seed, share.devices), plan, budget)
    _add_critics(plan, model, seed)
    job = Job(model, crops, budget, seed, checkpoint, validate, objective, share)
    return _trained(plan, budget, model, fit(job), before, share.devices)


def _add_critics(plan: RunPlan, model: nn.Module, seed: int) -> None:
    """Give the model what its method has for training alone, as ``model.critics``.

    So the loop trains it and its checkpoints hold it, like all else; :func:`_trained` leaves it
    out.
    """
    if hasattr(plan.method, CRITICS):
        torch.manual_seed(name_seed("critics", seed))
        model.add_module(CRITICS, plan.method.critics(plan.method_config))


def _trained(
    plan: RunPlan,
    budget: Training,
    model: nn.Module,
    progress: Progress,
    before: float | None,
    devices: int = 1,
) -> Trained:
    """What is kept of a training: the last weights, or the best validation's."""
    kept, iteration, psnr = model.state_dict(), budget.iterations, None
    if progress.log:
        psnr = progress.log[-1]["validation_psnr"]
    if progress.best:
        best = progress.best
        kept, iteration, psnr = best["model"], best["iteration"], best["psnr"]
    weights = {}
    for name, value in kept.items():
        if not (hasattr(plan.method, CRITICS) and name.startswith(f"{CRITICS}.")):
            weights[name] = value.contiguous().cpu()
    made = _made(devices)
    return Trained(weights, progress.log, progress.seconds, iteration, psnr, before, made)


def _made(devices: int) -> dict[str, Any]:
    """By what a training is made, for its record; ``threads`` are those of each device."""
    device = str(device_at_hand())
    machine = hardware(device)
    if devices > 1 and device != "cpu":
        machine = f"{devices} x {machine}"
    return {
        "device": device,
        "hardware": machine,
        "devices": devices,
        "torch": str(torch.__version__),
        "threads": torch.get_num_threads(),
        "revision": revision(Path(__file__).parent),
    }


def validation_psnr(
    model: nn.Module, device: torch.device, *, plan: RunPlan, budget: Training, pairs: list[Pair]
) -> float | None:
    """Mean PSNR (dB, protocol ``watch``) on the held-out pairs; None if there are none."""
    if not pairs:
        return None
    measure = protocol(budget.watch).psnr
    model.eval()
    values, kept = [], KeptFrames()
    for pair in pairs:
        item = plan.task.read(pair)
        whole = plan.task.WHOLE
        restored = restore(plan, model, pair, item, plan.train_prior, device, whole, kept)
        views = plan.task.views(item, restored)
        values.append(measure(views["restored"], views["reference"]))
    model.train()
    return round(float(np.mean(values)), 4)


def _changes(plan: RunPlan, budget: Training) -> str:
    own = plan.budget.model_dump()
    changed = []
    for name, value in budget.model_dump(exclude={"candidates"}).items():
        if value != own[name]:
            changed.append(f"{name} {value}")
    return ", ".join(changed) or "as set"


def _choice(plan: RunPlan, tried: list[Trained], best: int) -> list[dict[str, Any]]:
    """What each candidate changed, and how it did; nothing where there was no choice."""
    lines = []
    for i, changes in enumerate(plan.budget.candidates):
        line = {"changes": changes, "validation": tried[i].validation}
        lines.append(line | {"iteration": tried[i].iteration, "chosen": i == best})
    return lines


def _record(plan: RunPlan, budget: Training, seeds: dict[int, Trained]) -> dict[str, Any]:
    total, trained = _count(plan)
    made = next(iter(seeds.values())).made
    said = {
        "run": plan.key,
        "label": plan.label,
        "source": plan.method.INFO.source,
        "seeds": plan.entry.seeds,
        "pairs": len(plan.training_pairs(budget)),
        "init": plan.entry.init,
        "training": budget.model_dump(exclude={"candidates", *UNSEEN}),
        "kept": {
            f"seed{seed}": {
                "iteration": one.iteration,
                "validation": one.validation,
                "start": one.start,
            }
            for seed, one in seeds.items()
        },
        "seed_seconds": {f"seed{seed}": round(one.seconds, 1) for seed, one in seeds.items()},
        "parameters": total,
        "trained_parameters": trained if budget.iterations else 0,
        "versions": plan.versions(),
    }
    return said | made | own.own_record(plan) | plan.record_of_plugins()


def _count(plan: RunPlan) -> tuple[int, int]:
    """Parameters of the model, and those that training changes."""
    total = trained = 0
    for parameter in build_model(plan).parameters():
        total += parameter.numel()
        if parameter.requires_grad and plan.trains:
            trained += parameter.numel()
    return total, trained


def _digest(plan: RunPlan) -> str:
    """What a checkpoint depends on: parameters, versions, the method's code, data, prior, torch.

    And how many devices there are, where it is more than one: gradients add in another order.
    """
    devices = devices_of(plan)
    names = {"backbone", "method", "validation", "init", "seeds", "images", "prior"}
    state = [
        plan.key,
        plan.entry.model_dump_json(include=names),
        plan.budget.model_dump_json(exclude={"devices", *UNSEEN}),
        str(plan.versions()),
        str(device_at_hand()),
        torch.__version__,
    ]
    for module in (plan.method, plan.backbone):
        state.append(Path(str(module.__file__)).read_text(encoding="utf-8"))
    for file in plan.starts.values():
        if file:
            state.append(sha256(file))
    images = plan.train_images
    state += [sha256(images.folder / name / "manifest.csv") for name in images.sets]
    for part in plan.train_prior.parts:
        state.append(str(read_json(part.folder / "prior.json")))
        state.append(str(registry.version(f"priors/kinds/{part.kind}.py")))
    if devices > 1:
        state.append(f"{devices} devices")
    return hashlib.sha256("\0".join(state).encode()).hexdigest()[:16]
