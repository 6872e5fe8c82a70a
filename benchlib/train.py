"""Training: one loop, the same for every method. Floor 3.

Everything random is drawn from names: crop ``n`` of seed ``s`` is the same crop on every machine, and iteration ``i``
seeds torch's generator by itself. So a run that was killed and resumed is, on a CPU, the straight run bit for bit.
"""

from __future__ import annotations

import hashlib
import math
import shutil
import time
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import DataLoader, Dataset

from benchlib.contracts import BenchError, check_image
from benchlib.files import new_file, new_folder, sha256
from benchlib.imageio import to_tensor
from benchlib.metrics import protocol
from benchlib.params import Suite, Training, candidates, configure
from benchlib.records import Pair, hardware, read_json, read_pairs, revision, write_json, write_table
from benchlib.restore import Priors, build_model, device_at_hand, needs_of, read_pair, restore
from benchlib.seeding import name_rng, name_seed

KEPT = 2**30  # bytes of pairs and packed masks that a run keeps in memory, all its loading processes together
LOSS = ("seed", "iteration", "loss", "lr", "validation_psnr")


class Crops(Dataset):
    """Random crops, flips and rotations of pairs and their priors together; item ``n`` depends on seed and ``n``.

    crop: side in pixels of lq; hq's is ``scale`` times that.
    """

    def __init__(
        self, pairs: list[Pair], priors: Priors, needs: tuple[str, ...], crop: int, seed: int, keep: int = KEPT
    ):
        if not pairs:
            raise BenchError("training: the data set has no pairs; check its manifest.csv")
        self.pairs, self.priors, self.needs, self.side, self.seed = pairs, priors, needs, crop, seed
        self._kept: OrderedDict[int, tuple[np.ndarray, np.ndarray, Any]] = OrderedDict()
        self._room = keep

    def _open(self, index: int) -> tuple[np.ndarray, np.ndarray, Any]:
        """One pair and its prior, whole; the last ones used are kept, as many as there is room for."""
        if index not in self._kept:
            self._kept[index] = self._read(index)
            self._room -= _size(self._kept[index])
        self._kept.move_to_end(index)
        while self._room < 0 and len(self._kept) > 1:
            self._room += _size(self._kept.popitem(last=False)[1])
        return self._kept[index]

    def _read(self, index: int) -> tuple[np.ndarray, np.ndarray, Any]:
        pair = self.pairs[index]
        lq, hq = read_pair(pair)
        if min(lq.shape[:2]) < self.side:
            raise BenchError(f"{pair.lq}: {lq.shape[:2]} pixels are too few for training crops of {self.side}")
        return lq, hq, self.priors.load(pair, lq.shape[:2]) if self.needs else None

    def __getitem__(self, n: int) -> dict[str, torch.Tensor]:
        epoch, place = divmod(n, len(self.pairs))
        index = int(name_rng("order", self.seed, epoch).permutation(len(self.pairs))[place])
        lq, hq, stored = self._open(index)
        rng = name_rng("crop", self.seed, n)
        top = int(rng.integers(lq.shape[0] - self.side + 1))
        left = int(rng.integers(lq.shape[1] - self.side + 1))
        flip_h, flip_v, transpose = (bool(bit) for bit in rng.integers(2, size=3))

        def cut(image: np.ndarray) -> torch.Tensor:
            scale = image.shape[0] // lq.shape[0]
            image = image[scale * top : scale * (top + self.side), scale * left : scale * (left + self.side)]
            image = image[:, ::-1] if flip_h else image
            image = image[::-1] if flip_v else image
            return to_tensor(image.swapaxes(0, 1) if transpose else image)

        item = {"lq": cut(lq), "hq": cut(hq)}
        if self.needs:
            entries = self.priors.crop(
                stored, top, left, self.side, self.side, flip_h=flip_h, flip_v=flip_v, transpose=transpose
            )
            item |= {name: torch.from_numpy(np.ascontiguousarray(entries[name])) for name in self.needs}
        return item


def _size(opened: tuple[np.ndarray, np.ndarray, Any]) -> int:
    """Bytes of a pair and its prior in memory."""
    lq, hq, prior = opened
    arrays = vars(prior).values() if prior is not None else ()
    return lq.nbytes + hq.nbytes + sum(array.nbytes for array in arrays if isinstance(array, np.ndarray))


def collate(items: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Stack crops; images with fewer masks get empty planes of bits."""
    planes = max((len(item["bits"]) for item in items if "bits" in item), default=0)
    for item in items:
        if "bits" in item:
            item["bits"] = torch.cat(
                [item["bits"], item["bits"].new_zeros(planes - len(item["bits"]), *item["bits"].shape[1:])]
            )
    return {name: torch.stack([item[name] for item in items]) for name in items[0]}


def psnr_loss(restored: torch.Tensor, hq: torch.Tensor) -> torch.Tensor:
    """Minus the mean PSNR of a batch in [0,1] images, dB, with NAFNet's 1e-8 under the logarithm (its ``PSNRLoss``)."""
    error = (restored.float() - hq).square().mean((1, 2, 3))
    return 10 / math.log(10) * torch.log(error + 1e-8).mean()


def l1_loss(restored: torch.Tensor, hq: torch.Tensor) -> torch.Tensor:
    """The mean absolute difference of a batch in [0,1], what IMDN, SwinIR, ART and CAT train with."""
    return (restored.float() - hq).abs().mean()


LOSSES = {"psnr": psnr_loss, "l1": l1_loss}


def learning_rate(iteration: int, budget: Training) -> float:
    """Of ``iteration`` (from 0): half a cosine from ``lr`` to ``lr_end``, or ``lr`` halved every so often."""
    if budget.schedule == "halve":
        return budget.lr * 0.5 ** (iteration // budget.halve_every)
    share = iteration / max(1, budget.iterations)
    return budget.lr_end + (budget.lr - budget.lr_end) * (1 + math.cos(math.pi * share)) / 2


def crops_of(suite: Suite, key: str, seed: int | None = None, budget: Training | None = None) -> Crops:
    """The training crops of one run, as the loop draws them (of its first seed and own budget, if none is given)."""
    run, budget = suite.run(key), budget or suite.training_of(key)
    sets = budget.sets or [name for name in suite.collection(run.train) if name != run.validation]
    pairs = [pair for pair in read_pairs(suite, run.train) if pair.dataset in sets]
    first, room = run.seeds[0], KEPT // max(1, budget.workers)
    needs = needs_of(suite, key)
    return Crops(pairs, Priors(suite, run.prior.train), needs, budget.crop, first if seed is None else seed, room)


def start(suite: Suite, key: str, seed: int) -> nn.Module:
    """The run's model as training begins: built from the seed, with the weights that ``init`` names.

    Those are of the whole model or, where a method adds parts of its own, of its backbone: strictly, either way.
    Raises BenchError if they fit neither.
    """
    run = suite.run(key)
    torch.manual_seed(name_seed("init", seed))
    model = build_model(suite, key)
    file = _init_file(suite, key, seed)
    if file:
        weights = load_file(file)
        part = model if weights.keys() == model.state_dict().keys() else getattr(model, "network", model)
        try:
            part.load_state_dict(weights, strict=True)
        except RuntimeError as error:
            said = " ".join(str(error).split())[:300]
            raise BenchError(f"runs.{key}.init: {run.init} does not fit {run.backbone}: {said}") from None
    return model


def _init_file(suite: Suite, key: str, seed: int) -> Path | None:
    """The weights that a run starts from; of a run trained here the same seed's, or its first."""
    kind, _, name = suite.run(key).init.partition("/")
    if kind == "weights":
        return suite.work / "weights" / name / "weights.safetensors" if suite.start(name).asset else None
    seeds = suite.run(name).seeds
    return suite.work / "runs" / name / f"seed{seed if seed in seeds else seeds[0]}.safetensors"


def train(suite: Suite, key: str) -> dict[str, Any]:
    """Train every seed of one run; write weights, ``loss.csv`` and the run record; return the record.

    Several ``candidates`` are each trained with the first seed; the one of the best validation is the run's, and the
    record's ``choice`` lists all. Resumes from the last checkpoint of the same parameters, code, data and torch.
    Raises BenchError for a loss that is not finite, with its iteration.
    """
    run = suite.run(key)
    method, _ = configure("methods", run.method, f"runs.{key}.method")
    tried = candidates(suite, key)
    resume = suite.work / ".resume" / _digest(suite, key)
    with new_folder(suite.work / "runs" / key) as out:
        first = run.seeds[0]
        firsts = [_trained(suite, key, budget, first, resume, i) for i, budget in enumerate(tried)]
        best = max(range(len(tried)), key=lambda i: firsts[i].psnr if firsts[i].psnr != "" else 0.0)
        budget = tried[best]
        seeds = {run.seeds[0]: firsts[best]}
        for seed in run.seeds[1:]:
            seeds[seed] = _trained(suite, key, budget, seed, resume)
        for seed, done in seeds.items():
            save_file(done.weights, out / f"seed{seed}.safetensors")
        parameters = build_model(suite, key).parameters()
        counts = [(p.numel(), p.numel() if p.requires_grad else 0) for p in parameters]
        record = {
            "run": key,
            "label": run.label or method.INFO.label,
            "source": method.INFO.source,
            "seeds": run.seeds,
            "pairs": len(crops_of(suite, key, budget=budget).pairs),
            "init": run.init,
            "training": budget.model_dump(exclude={"candidates"}),
            "choice": _choice(suite, key, firsts, best),
            "kept": {
                f"seed{seed}": {"iteration": done.kept, "validation": done.psnr, "start": done.start}
                for seed, done in seeds.items()
            },
            "train_seconds": round(sum(done.seconds for done in [*firsts, *list(seeds.values())[1:]]), 1),
            "seed_seconds": {f"seed{seed}": round(done.seconds, 1) for seed, done in seeds.items()},
            "parameters": sum(total for total, _ in counts),
            "trained_parameters": sum(trained for _, trained in counts) if method.INFO.trains else 0,
            "device": str(device_at_hand()),
            "hardware": hardware(str(device_at_hand())),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "revision": revision(Path(__file__).parent),
            "weights": {f"seed{seed}": sha256(out / f"seed{seed}.safetensors") for seed in run.seeds},
        }
        write_json(out / "record.json", record)
        write_table(suite.results / "loss" / f"{key}.csv", LOSS, [row for done in seeds.values() for row in done.rows])
    shutil.rmtree(resume, ignore_errors=True)
    return record


def _choice(suite: Suite, key: str, firsts: list[_Trained], best: int) -> list[dict[str, Any]]:
    """What each candidate changed, and how it did on the validation; nothing where there was no choice."""
    changes = suite.training_of(key).candidates
    return [
        {"changes": change, "validation": done.psnr, "iteration": done.kept, "chosen": i == best}
        for i, (change, done) in enumerate(zip(changes, firsts, strict=False))
    ]


@dataclass(frozen=True)
class _Trained:
    """One seed, trained: weights, one row each ``log_every``, seconds; the iteration kept and its validation, and the
    validation of the start ("" where nothing is chosen by it)."""

    weights: dict[str, torch.Tensor]
    rows: list[dict[str, Any]]
    seconds: float
    kept: int
    psnr: Any
    start: Any


def _trained(suite: Suite, key: str, budget: Training, seed: int, resume: Path, candidate: int = 0) -> _Trained:
    run = suite.run(key)
    method, _ = configure("methods", run.method, f"runs.{key}.method")
    model = start(suite, key, seed)
    rows: list[dict[str, Any]] = []
    seconds, best, before = 0.0, None, ""
    if method.INFO.trains and budget.iterations:
        priors, needs = Priors(suite, run.prior.train), needs_of(suite, key)
        watched = [pair for pair in read_pairs(suite, run.train) if pair.dataset == run.validation]
        validate = partial(validation_psnr, pairs=watched, priors=priors, needs=needs, watch=budget.watch)
        crops = crops_of(suite, key, seed, budget)
        if suite.training_of(key).candidates:
            print(f"{key}, seed {seed}: {_changes(suite, key, budget)}", flush=True)
        checkpoint = resume / f"candidate{candidate}-seed{seed}.pt"
        job = _Job(model, crops, budget, _accelerator(budget.precision), seed, checkpoint, validate)
        if budget.keep == "best":
            before = validate(model.to(job.accelerator.device), job.accelerator.device)
        rows, seconds, best = fit(job)
    psnr = rows[-1]["validation_psnr"] if rows else ""
    kept: dict[str, Any] = best or {"model": model.state_dict(), "iteration": budget.iterations, "psnr": psnr}
    weights = {name: value.contiguous().cpu() for name, value in kept["model"].items()}
    return _Trained(weights, rows, seconds, kept["iteration"], kept["psnr"], before)


def _changes(suite: Suite, key: str, budget: Training) -> str:
    own = suite.training_of(key).model_dump()
    return ", ".join(f"{name} {value}" for name, value in budget.model_dump().items() if value != own[name]) or "as set"


@dataclass(frozen=True)
class _Job:
    model: nn.Module
    crops: Crops
    budget: Training
    accelerator: Accelerator
    seed: int
    checkpoint: Path
    validate: Any


def fit(job: _Job) -> tuple[list[dict[str, Any]], float, dict[str, Any] | None]:
    """The loop. Trains ``job.model`` in place from its checkpoint, if any.

    Returns one row each ``log_every``; the seconds it took, those before a resume included; and, if ``keep`` is "best",
    the best validation of the training (the start takes no part): iteration, psnr, model (its state dict).
    """
    budget, accelerator = job.budget, job.accelerator
    weights = [p for p in job.model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        weights, lr=budget.lr, betas=(budget.beta1, budget.beta2), weight_decay=budget.weight_decay
    )
    first, rows, earlier, best = _restore(job, optimiser)
    numbers = range(first * budget.batch, budget.iterations * budget.batch)
    loader = DataLoader(job.crops, budget.batch, sampler=numbers, num_workers=budget.workers, collate_fn=collate)
    # channels last: a quarter faster
    network = job.model.to(accelerator.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    model, optimiser, loader = accelerator.prepare(network, optimiser, loader)
    model.train()
    begun = saved = time.perf_counter()
    for iteration, batch in enumerate(loader, start=first):
        if iteration == first:
            check_image("lq", batch["lq"], bounded=False)  # noise is not clipped
            check_image("hq", batch["hq"])
        torch.manual_seed(name_seed("iteration", job.seed, iteration))
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(iteration, budget)
        with accelerator.autocast():
            restored = model({name: value for name, value in batch.items() if name != "hq"})
        loss = LOSSES[budget.loss](restored, batch["hq"])
        value = float(loss.detach())
        if not math.isfinite(value):
            raise BenchError(
                f"training: loss is {value} at iteration {iteration} of {budget.iterations}, seed {job.seed}, "
                f"learning rate {learning_rate(iteration, budget):.2e}; lower training.lr or look at the crops"
            )
        accelerator.backward(loss)
        if budget.grad_clip is not None:
            accelerator.clip_grad_norm_(weights, budget.grad_clip)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

        done, now = iteration + 1, time.perf_counter()
        last = done == budget.iterations
        if last or done % budget.log_every == 0 or done == 1:
            speed = (done - first) * budget.batch / (now - begun)
            watch = last or done % budget.validate_every == 0
            psnr = job.validate(accelerator.unwrap_model(model), accelerator.device) if watch else ""
            if budget.keep == "best":
                best = _best(best, psnr, done, job.model)
            line = (job.seed, done, round(value, 6), learning_rate(iteration, budget), psnr)
            rows.append(dict(zip(LOSS, line, strict=True)))
            print(_line(done, value, speed, psnr, budget), flush=True)
        if not last and now - saved >= budget.checkpoint_seconds:
            _save(job, accelerator.unwrap_model(model), optimiser, done, rows, earlier + now - begun, best)
            saved = time.perf_counter()
    job.model.cpu().eval()
    accelerator.free_memory()
    return rows, earlier + time.perf_counter() - begun, best


def _best(best: dict[str, Any] | None, psnr: Any, done: int, model: nn.Module) -> dict[str, Any] | None:
    """The better of the best so far and this validation ("": there was none)."""
    if psnr == "" or (best and psnr <= best["psnr"]):
        return best
    return {
        "iteration": done,
        "psnr": psnr,
        "model": {name: value.detach().cpu().clone() for name, value in model.state_dict().items()},
    }


def validation_psnr(
    model: nn.Module, device: torch.device, *, pairs: list[Pair], priors: Priors, needs: tuple[str, ...], watch: str
) -> Any:
    """Mean PSNR (dB, protocol ``watch``) on the held-out pairs; "" if there are none."""
    if not pairs:
        return ""
    measure = protocol(watch).psnr
    values = [measure(restore(model.eval(), pair, priors, needs, device), read_pair(pair)[1]) for pair in pairs]
    model.train()
    return round(float(np.mean(values)), 4)


def _line(done: int, loss: float, speed: float, psnr: Any, budget: Training) -> str:
    left = int((budget.iterations - done) * budget.batch / speed)
    watched = f"  validation {psnr} dB" if psnr != "" else ""
    eta = f"{left // 3600}:{left % 3600 // 60:02}:{left % 60:02}"
    return f"iteration {done}/{budget.iterations}  loss {loss:.4g}  {speed:.1f} images/s{watched}  ETA {eta}"


def _accelerator(precision: str) -> Accelerator:
    """One device: the GPU if there is one, with bf16 where it can. Raises BenchError in a group of processes."""
    AcceleratorState._reset_state(
        reset_partial_state=True
    )  # else a second run in one kernel keeps the first's precision
    gpu = device_at_hand().type == "cuda"
    if precision == "auto":
        precision = "bf16" if gpu and torch.cuda.is_bf16_supported() else "fp32"
    accelerator = Accelerator(cpu=not gpu, mixed_precision="no" if precision == "fp32" else precision)
    if accelerator.num_processes > 1:
        raise BenchError(
            f"training: started as {accelerator.num_processes} processes; a run uses one device: give each GPU runs of "
            "its own (CUDA_VISIBLE_DEVICES=0 dvc repro train@<run>)"
        )
    return accelerator


def _save(
    job: _Job, model: nn.Module, optimiser: Any, done: int, rows: list[dict[str, Any]], seconds: float, best: Any
) -> None:
    state = {"done": done, "model": model.state_dict(), "optimiser": optimiser.state_dict()}
    state |= {"rows": rows, "seconds": seconds, "best": best}
    with new_file(job.checkpoint) as temporary:
        torch.save(state, temporary)


def _restore(job: _Job, optimiser: torch.optim.Optimizer) -> tuple[int, list[dict[str, Any]], float, Any]:
    if not job.checkpoint.exists():
        return 0, [], 0.0, None
    state = torch.load(job.checkpoint, weights_only=True, map_location="cpu")
    job.model.load_state_dict(state["model"])
    job.model.to(job.accelerator.device)
    optimiser.load_state_dict(state["optimiser"])
    print(f"resumed seed {job.seed} at iteration {state['done']}/{job.budget.iterations}", flush=True)
    return state["done"], state["rows"], state["seconds"], state["best"]


def _digest(suite: Suite, key: str) -> str:
    """What a checkpoint depends on: the run's parameters, the code, the data, the prior and torch."""
    run = suite.run(key)
    rooms = [configure("methods", run.method)[0], configure("backbones", run.backbone)[0]]
    package = Path(__file__).parent
    files = [Path(str(room.__file__)) for room in rooms]
    files += [*sorted(package.glob("methods/_*.py")), *sorted(package.glob("priors/*.py"))]
    files += [package / f"{name}.py" for name in ("train", "restore", "contracts", "imageio", "seeding")]
    init = [_init_file(suite, key, seed) for seed in run.seeds]
    names = {"backbone", "method", "train", "validation", "init", "seeds"}
    manifest = suite.work / "data" / run.train / "manifest.csv"
    prior = suite.work / "priors" / run.prior.train / "prior.json"
    state = [
        run.model_dump_json(include=names),
        suite.training_of(key).model_dump_json(),
        *(sha256(file) for file in init if file),
        str(device_at_hand()),
        *(file.read_text() for file in files),
        sha256(manifest),
        str(read_json(prior)) if prior.exists() else "",
        torch.__version__,
    ]
    return hashlib.sha256("\0".join(state).encode()).hexdigest()[:16]
