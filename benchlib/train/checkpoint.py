"""What lies in ``work/<suite>/.resume``: trainings that are begun, and finished ones. Layer 3.

A folder a training, named by what it is made from:

``run``                         the run's key
``candidate0-seed0.pt``         a seed that is being trained: what it goes on from after a kill
``candidate0-seed0.trained``    a seed that is trained: about as large as its weights
``delivered``                   is there once the run's outputs lie in their place

Finished trainings stay until the run has been evaluated or is made from something else: a stage can
still fail when its training is done (a full disk, the repository's lock).
"""

from __future__ import annotations

import math
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchlib.files import new_file, writing
from benchlib.records import LOG, RUN, begun

DELIVERED = "delivered"


@dataclass
class Progress:
    """How far a job is: what a checkpoint holds beside weights and optimiser.

    done: iterations. log: one line each ``log_every``. seconds: before the last resume. best: the
    best validation of the training: iteration, psnr, model (its state dict); the start takes no
    part in it.
    """

    done: int = 0
    log: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    best: dict[str, Any] | None = None


@dataclass(frozen=True)
class Trained:
    """One seed of one budget, trained.

    iteration: the one whose weights are kept; validation: its PSNR, dB; start: that of the weights
    that training began with. Each None where there was no validation. made: by which device,
    hardware, torch, number of threads and revision.
    """

    weights: dict[str, torch.Tensor]
    log: list[dict[str, Any]]
    seconds: float
    iteration: int
    validation: float | None
    start: float | None
    made: dict[str, Any]


# --- a training's folder --------------------------------------------------------------------------


def begin(folder: Path, run: str, outputs: Path) -> None:
    """Open the folder of a training. ``outputs``: the run's own folder.

    Where the outputs were delivered and still lie there, the run is wanted anew: what is finished
    goes. DVC removes them before it runs a stage, so there it is taken over. Raises BenchError if
    the disk refuses.
    """
    with writing(folder):
        if (folder / DELIVERED).exists() and outputs.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RUN).write_text(run, encoding="utf-8")


def deliver(folder: Path, run: str) -> None:
    """Note that the run's outputs lie in their place; what was begun of it otherwise goes.

    Raises BenchError if the disk refuses.
    """
    with writing(folder):
        (folder / DELIVERED).touch()
    for other in _folders(folder.parent, run):
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)
    if not list(folder.glob("*.trained")):  # a run with nothing to train
        shutil.rmtree(folder, ignore_errors=True)
        return
    held = sum(file.stat().st_size for file in folder.glob("*"))
    print(
        f"{run}: the finished training is kept in {folder} until the run is evaluated "
        f"({held / 1e6:.1f} MB)",
        flush=True,
    )


def forget(resume: Path, run: str) -> None:
    """Remove the finished trainings of a run whose outputs a later stage has read."""
    for folder in _folders(resume, run):
        if (folder / DELIVERED).exists():
            shutil.rmtree(folder, ignore_errors=True)


def _folders(resume: Path, run: str) -> Iterator[Path]:
    for folder, key in begun(resume).items():
        if key == run:
            yield folder


# --- a seed that is trained -----------------------------------------------------------------------


def save_trained(path: Path, trained: Trained) -> None:
    """Keep a finished training beside its checkpoint ``path``, which goes.

    Raises BenchError if the disk refuses.
    """
    with new_file(path.with_suffix(".trained")) as temporary:
        _save(vars(trained), temporary)
    path.unlink(missing_ok=True)


def read_trained(path: Path, model: nn.Module, expected: bool = False) -> Trained | None:
    """The finished training beside the checkpoint ``path``, if there is one of this model.

    Says in one line that it is taken over, or why not. expected: another process of this stage has
    just made it, so that it goes without saying.
    """
    file = path.with_suffix(".trained")
    if not file.exists():
        return None
    state, wrong = _read(file)
    wrong = wrong or _trained_misfit(state, model)
    if wrong:
        print(f"{file}: ignored: {wrong}", flush=True)
        return None
    if not expected:
        print(
            f"{file}: this training is finished and taken over ({state['seconds']:.0f} s); delete "
            "the file to train anew",
            flush=True,
        )
    return Trained(**state)


def _trained_misfit(state: Any, model: nn.Module) -> str:
    if not isinstance(state, dict) or set(state) != set(Trained.__dataclass_fields__):
        return "it is no training of benchlib"
    if not fits(model, state["weights"]):
        return "its weights are another model's"
    if not _is_log(state["log"]) or not _is_number(state["seconds"]):
        return "its log is not one of benchlib's"
    if not isinstance(state["iteration"], int) or not isinstance(state["made"], dict):
        return "its facts are not those of benchlib"
    return ""


# --- a seed that is being trained -----------------------------------------------------------------


def save_checkpoint(
    path: Path, model: nn.Module, optimiser: Any, progress: Progress, seconds: float
) -> None:
    """Save how far a training is, whole or not at all. ``seconds``: of training so far."""
    state = vars(progress) | {"seconds": seconds}
    state |= {"model": model.state_dict(), "optimiser": optimiser.state_dict()}
    with new_file(path) as temporary:
        _save(state, temporary)


def resume(
    path: Path,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    iterations: int,
    device: torch.device,
) -> Progress:
    """Load a checkpoint into model and optimiser, on that device; how far it was.

    One that cannot be read or is another model's is ignored, in one line, and training starts
    anew; so it does where there is none.
    """
    if not path.exists():
        return Progress()
    state, wrong = _read(path)
    wrong = wrong or _misfit(state, model, optimiser, iterations)
    if wrong:
        print(f"{path}: ignored: {wrong}; training starts anew", flush=True)
        return Progress()
    model.load_state_dict(state.pop("model"))
    model.to(device)  # first: the optimiser's state goes where its weights are
    optimiser.load_state_dict(state.pop("optimiser"))
    return Progress(**state)


def _misfit(state: Any, model: nn.Module, optimiser: torch.optim.Optimizer, iterations: int) -> str:
    """Why a checkpoint is not of this training, in a few words; "" if it is.

    Asked before anything is loaded: a model into which half was loaded could not start anew.
    """
    expected = {*Progress.__dataclass_fields__, "model", "optimiser"}
    if not isinstance(state, dict) or set(state) != expected:
        return "it is no checkpoint of benchlib"
    done, best = state["done"], state["best"]
    if not isinstance(done, int) or not 0 < done <= iterations:
        return f"it was saved at iteration {done!r} of {iterations}"
    if not _is_log(state["log"]) or not _is_number(state["seconds"]):
        return "its log is not one of benchlib's"
    if not fits(model, state["model"]):
        return "its weights are another model's"
    if best is not None and not _is_best(best, model):
        return "its best weights are another model's"
    if not _steps_fit(state["optimiser"], optimiser):
        return "its optimiser is another model's"
    return ""


def fits(model: nn.Module, weights: Any) -> bool:
    """Whether a state dict has the names, shapes and types of a model's own."""
    own = model.state_dict()
    if not isinstance(weights, dict) or weights.keys() != own.keys():
        return False
    for name, value in own.items():
        given = weights[name]
        if not isinstance(given, torch.Tensor):
            return False
        if given.shape != value.shape or given.dtype != value.dtype:
            return False
    return True


def _is_best(best: Any, model: nn.Module) -> bool:
    if not isinstance(best, dict) or set(best) != {"iteration", "psnr", "model"}:
        return False
    return fits(model, best["model"])


def _steps_fit(state: Any, optimiser: torch.optim.Optimizer) -> bool:
    """Whether an optimiser's state is of these parameters: their groups, and each one's shape."""
    own = optimiser.state_dict()
    if not isinstance(state, dict) or state.keys() != own.keys():
        return False
    if _groups(state["param_groups"]) != _groups(own["param_groups"]):
        return False
    weights = []
    for group in optimiser.param_groups:
        weights += group["params"]
    if not isinstance(state["state"], dict) or len(state["state"]) > len(weights):
        return False
    for number, moments in state["state"].items():
        if number not in range(len(weights)) or not isinstance(moments, dict):
            return False
        for value in moments.values():
            one_each = isinstance(value, torch.Tensor) and value.ndim
            if one_each and value.shape != weights[number].shape:
                return False
    return True


def _groups(groups: Any) -> list[Any]:
    """The settings' names and the parameters' numbers of an optimiser's groups."""
    found: list[Any] = []
    if not isinstance(groups, list):
        return found
    for group in groups:
        if not isinstance(group, dict):
            return []
        found.append((sorted(group), group.get("params")))
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and value >= 0


def _is_log(log: Any) -> bool:
    """Whether a value is a list of lines of LOG."""
    if not isinstance(log, list):
        return False
    return all(isinstance(line, dict) and set(line) == set(LOG) for line in log)


def _save(state: Any, path: Path) -> None:
    """Write with torch. Its own writer takes a path; an OSError would be lost in it."""
    with open(path, "wb") as file:
        torch.save(state, file)


def _read(path: Path) -> tuple[Any, str]:
    """What a file of torch's holds, and why it cannot be read ("": it could); never code."""
    try:
        with warnings.catch_warnings(action="ignore"):  # advice to who wrote the file
            return torch.load(path, weights_only=True, map_location="cpu"), ""
    except Exception as error:  # a damaged file makes torch raise almost anything
        return None, f"it cannot be read ({type(error).__name__})"
