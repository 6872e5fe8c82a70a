"""From a plan and weights to a restored image: what training and evaluation share. Layer 3."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from benchlib.contracts import Backbone, BenchError, Window
from benchlib.files import writing
from benchlib.imageio import image_size, to_unit
from benchlib.own import refuse_changed
from benchlib.plan import RunPlan
from benchlib.priors._read import PriorSet
from benchlib.records import Pair

VERSION = 1


def device_at_hand() -> torch.device:
    """The accelerator if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def threads(number: int | None) -> Iterator[int]:
    """Let torch compute with so many threads in the block; yields their number.

    None: as many as torch chooses on this machine. Another number adds in another order, which
    moves the last digits.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield number or before
    finally:
        torch.set_num_threads(before)


def build_model(plan: RunPlan) -> nn.Module:
    """The run's network, freshly initialised from torch's global generator."""
    backbone = Backbone.from_module(plan.backbone, plan.backbone_config)
    return plan.method.build(backbone, plan.method_config)


def check_trained(plan: RunPlan, seed: int) -> None:
    """Raise BenchError if a seed of the run has not been trained."""
    path = plan.places.weights(seed)
    if not path.exists():
        raise BenchError(
            f"{path}: run '{plan.key}' has no weights of seed {seed}; run its train stage "
            f"(dvc repro train@{plan.key})"
        )


def load_model(plan: RunPlan, seed: int) -> nn.Module:
    """The trained network of one seed, in evaluation mode.

    Raises BenchError if it has not been trained, or its own file has changed since.
    """
    check_trained(plan, seed)
    path = plan.places.weights(seed)
    refuse_changed(plan)
    model = build_model(plan)
    model.load_state_dict(load_file(path), strict=True)
    return model.eval()


def uses_local_pooling(plan: RunPlan, dataset: str) -> bool:
    """Whether a test set is restored with local pooling (TLC)."""
    how = plan.how
    if how.tlc_crop is None or not plan.trains:
        return False
    return how.tlc_sets is None or dataset in how.tlc_sets


def with_local_pooling(plan: RunPlan, model: nn.Module) -> nn.Module:
    """The model with every global pooling of its network replaced, in place (TLC)."""
    if not hasattr(plan.backbone, "tlc"):
        name = plan.entry.backbone["name"]
        raise BenchError(f"runs.{plan.key}: evaluation.tlc_crop: {name} has no TLC; set null")
    plan.backbone.tlc(getattr(model, "network", model), plan.how.tlc_crop)
    return model


class Truncated(nn.Module):
    """A network whose image ``(B,3,H,W)`` is cut down to the grey level below each value.

    What ``astype("uint8")`` of 255 times an image does; rounding it afterwards changes nothing.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return cut_down(self.network(batch))


def cut_down(image: torch.Tensor) -> torch.Tensor:
    """Every value at the grey level below it."""
    return image.clamp(0, 1).mul(255).floor().div(255)


def truncates(plan: RunPlan) -> bool:
    """Whether restored images are truncated to 8 bits; an input that no network changes is not."""
    return plan.has_network and plan.how.quantise == "truncate"


def models_by_set(plan: RunPlan, model: Callable[[], nn.Module]) -> Callable[[str], nn.Module]:
    """dataset -> the model that restores it; ``model`` makes one, at most two are made."""

    @cache
    def made(local: bool) -> nn.Module:
        if local:
            return with_local_pooling(plan, model())
        return model()

    return lambda dataset: made(uses_local_pooling(plan, dataset))


def inference_mode(plan: RunPlan, dataset: str, item: Any) -> str:
    """How an item is restored, as its rows say it.

    ``global`` or ``tlc<crop>``, with ``+tile<side>/<overlap>`` if it is cut and ``+truncated`` if
    it is not rounded to 8 bits; ``none`` for a method without a network.
    """
    if not plan.has_network:
        return "none"
    mode = "global"
    if uses_local_pooling(plan, dataset):
        mode = f"tlc{plan.how.tlc_crop}"
    if plan.task.tiled(item, plan.tiles):
        mode += f"+tile{plan.how.tile}/{plan.how.overlap}"
    if truncates(plan):
        mode += "+truncated"
    return mode


def prior_at(
    plan: RunPlan, pair: Pair, item: Any, prior: PriorSet
) -> Callable[[Window], dict[str, torch.Tensor]]:
    """From a window of an item to its prior's batch entries there, with a first dimension of 1.

    Raises BenchError if the prior is missing or does not fit.
    """
    if not prior.needs:
        return lambda window: {}
    stored = prior.load(pair.dataset, pair.image, plan.task.size(item))
    return lambda window: prior.collate([prior.crop(stored, window)])


def with_truth(
    plan: RunPlan, item: Any, at: Callable[[Window], dict[str, torch.Tensor]]
) -> Callable[[Window], dict[str, torch.Tensor]]:
    """As ``at``, and the reference there: for a method that says so (``INFO.truth``) alone."""

    def truth(window: Window) -> torch.Tensor:
        return to_unit(plan.task.crop(item, window)["hq"][None])

    return lambda window: at(window) | {"truth": truth(window)}


def restore(
    plan: RunPlan,
    model: nn.Module,
    pair: Pair,
    item: Any,
    prior: PriorSet,
    device: torch.device,
    tiles: Any,
    kept: KeptFrames | None = None,
) -> np.ndarray:
    """One restored item, as it is measured and kept: for a picture ``(scale H,scale W,3)`` uint8.

    tiles: ``plan.tiles``, or the task's ``WHOLE``. kept: of a network of whole clips, the frames
    that were restored with others; None: the whole clip is restored for this one.
    """
    if plan.frames is not None:
        return _in_clip(plan, model, pair, prior, device, tiles, kept or KeptFrames())
    at = prior_at(plan, pair, item, prior)
    if plan.method.INFO.truth:
        at = with_truth(plan, item, at)
    return plan.task.restore(model, plan.task.batch(item), tiles, device, at)


# --- frames of clips ------------------------------------------------------------------------------


class KeptFrames:
    """The restored frames of the clip that was restored last, in a folder that goes with this.

    One clip for each control in the prior's place. Of one model alone: who changes its weights
    begins anew. The folder is where Python puts what is temporary (``TMPDIR``).
    """

    def __init__(self) -> None:
        self._folder: TemporaryDirectory[str] | None = None
        self._held: dict[str | None, str] = {}

    def holds(self, control: str | None, clip: str) -> bool:
        """Whether the frames of a clip are here."""
        return self._held.get(control) == clip

    def begin(self, control: str | None) -> Callable[[int, np.ndarray], None]:
        """What writes the frames of another clip in the place of the last one's.

        Raises BenchError, and so does what it gives, if the disk refuses.
        """
        self._held.pop(control, None)
        if self._folder is None:
            with writing(Path(gettempdir())):
                self._folder = TemporaryDirectory(prefix="benchlib-frames-")
        return partial(self._write, control)

    def _write(self, control: str | None, place: int, image: np.ndarray) -> None:
        file = self._file(control, place)
        with writing(file):
            np.save(file, image)

    def finish(self, control: str | None, clip: str) -> None:
        """Note that all frames of a clip are written."""
        self._held[control] = clip

    def frame(self, control: str | None, place: int) -> np.ndarray:
        """A restored frame, ``(H,W,3)`` uint8."""
        return np.load(self._file(control, place), allow_pickle=False)

    def _file(self, control: str | None, place: int) -> Path:
        assert self._folder is not None
        return Path(self._folder.name) / f"{control}-{place}.npy"


def _in_clip(
    plan: RunPlan,
    model: nn.Module,
    pair: Pair,
    prior: PriorSet,
    device: torch.device,
    tiles: Any,
    kept: KeptFrames,
) -> np.ndarray:
    """A restored frame, by a network that sees its window or its whole clip."""
    assert plan.frames is not None
    task = plan.task
    frames = task.window(pair, plan.frames)
    at = partial(_priors_of, frames, prior)
    if plan.frames.window is not None:
        return task.restore(model, task.together(frames), tiles, device, at)
    if not kept.holds(prior.swap, frames[0].key):
        finish = cut_down if isinstance(model, Truncated) else None
        keep = kept.begin(prior.swap)
        task.restore_clip(model, _exit(model), task.together(frames), device, keep, at, finish)
        kept.finish(prior.swap, frames[0].key)
    return kept.frame(prior.swap, pair.place)


def _exit(model: nn.Module) -> nn.Module:
    """The module through which frames leave a network of whole clips, however deep it lies."""
    for name, module in model.named_modules():
        if name.rpartition(".")[2] == "restored":
            return module
    raise BenchError("video: the network has no `restored`, through which each frame leaves it")


def _priors_of(frames: list[Pair], prior: PriorSet, window: Window) -> dict[str, torch.Tensor]:
    """The prior's batch entries of several frames at a window: ``(1,T,...)`` each.

    Raises BenchError if one is missing or does not fit.
    """
    if not prior.needs:
        return {}
    crops = []
    for frame in frames:
        stored = prior.load(frame.dataset, frame.image, image_size(frame.lq))
        crops.append(prior.crop(stored, window))
    return {name: value[None] for name, value in prior.collate(crops).items()}
