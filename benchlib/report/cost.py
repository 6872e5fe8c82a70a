"""What a method costs: parameters, multiply-adds, time and memory of its network and of its prior, training. Layer 4.

The network is run as evaluation runs it (``restore``: local pooling, tiles, prior), on the device at hand, with fresh
weights; one test image of median size stands for all, and figures are per megapixel of its input. What is measured
here is the network's calls: reading, rounding and writing images is not in it.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from benchlib.contracts import BenchError
from benchlib.files import new_file, progress
from benchlib.imageio import read_lq
from benchlib.plan import RunPlan, open_run
from benchlib.prepare import prior_images
from benchlib.priors._read import Part
from benchlib.records import Pair, hardware, read_json
from benchlib.report.markup import csv, latex, markdown
from benchlib.report.tables import compared, run_label
from benchlib.restore import (
    build_model,
    device_at_hand,
    restore,
    uses_local_pooling,
    with_local_pooling,
)

if TYPE_CHECKING:
    import pandas as pd

    from benchlib.params import Suite

VERSION = 1
Batch = dict[str, torch.Tensor]
Meter = Callable[[nn.Module, Batch], tuple[torch.Tensor, float]]

REPEATS, BUDGET = 3, 2.0  # timed passes, and the seconds after which no further one begins
SIZES_READ = 25  # test images whose size is looked at


def cost(suite: Suite, key: str) -> dict[str, Any]:
    """What one run costs; NaN where it was not recorded. Takes five passes over one image, fewer if they are slow.

    run, label, hardware, device, threads: what was measured, where.
    dataset, image, height, width: the input it was measured on; calls: of the network (more than one: tiles).
    parameters, trained_parameters: of the model; those that training changes, 0 for a budget of no iterations.
    multiply_adds_per_megapixel: torch's FlopCounterMode halved (it counts two operations a multiply-add), attention
    taken apart into matrix products first. Convolutions and matrix products are counted; norms, activations, pooling,
    interpolation are not.
    seconds_per_megapixel: median of up to ``REPEATS`` passes after one to warm up.
    peak_mib_per_megapixel: most memory held in a call over weights and input, MiB per megapixel of the call's input;
    memory_by says how: on CUDA ``max_memory_allocated``, on the CPU the same figure of torch's CPU allocator, from
    ``torch.profiler`` (allocated, not resident; unlike resident memory the same each time).
    added_parameters, added_peak_mib_per_megapixel: the same of what the method adds to the network by itself (its
    ``added``); not there for a method that names nothing.
    prior, prior_images: the prior read at test time, and the images it is computed from. prior_seconds_per_image,
    prior_seconds_per_megapixel, prior_peak_mib (of any image, over the loaded model), prior_peak_mib_per_megapixel,
    prior_memory_by, prior_device: as recorded when it was computed (of a bundle's parts the sums, and the largest
    memory); 0 without a prior. Where a model resizes every image to one size, its seconds and memory hardly grow with
    the image.
    train_seconds: of one seed (mean); train_total_seconds: of all, candidates included; train_hardware.

    Raises BenchError for a missing input (test images, the prior), and for pictures that were restored elsewhere.
    """
    plan, device = open_run(suite, key), device_at_hand()
    if plan.method.INFO.own == "pictures":
        raise BenchError("restored elsewhere: its cost is not known here")
    pair, (height, width) = _median_image(plan.test_pairs())
    pair, frames = _short_clip(plan, pair)
    item = plan.task.read(pair)
    model = _network(plan, pair).to(device)
    trains = plan.trains and plan.budget.iterations > 0
    parameters = list(model.parameters())
    place = {
        "run": key,
        "label": run_label(suite, key),
        "hardware": hardware(str(device)),
        "device": device.type,
        "threads": torch.get_num_threads(),
        "dataset": pair.dataset,
        "image": pair.image,
        "height": height,
        "width": width,
        "parameters": sum(p.numel() for p in parameters),
        "trained_parameters": sum(p.numel() for p in parameters if p.requires_grad and trains),
    }
    model.requires_grad_(False)  # a module that is called with a parameter could not be counted

    def readings(meter: Meter) -> list[float]:
        metered = _Metered(model, meter)
        restore(plan, metered, pair, item, plan.test_prior, device, plan.tiles)
        return metered.readings

    measured = _measure(readings, frames * height * width / 1e6, device) | _added(
        plan, model, readings
    )
    return place | measured | _prior_cost(suite, plan) | _training_cost(plan)


def table(suite: Suite) -> pd.DataFrame:
    """``cost`` of every compared run, a row each; ``note`` says why one could not be measured (its figures are NaN)."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for key in progress(compared(suite), "cost"):
        try:
            rows.append(cost(suite, key) | {"note": ""})
        except BenchError as error:
            rows.append({"run": key, "label": run_label(suite, key), "note": str(error)})
    return pd.DataFrame(rows)


def make(suite: Suite) -> dict[str, Path]:
    """Measure, and write ``tables/cost.{csv,md,tex}`` under the suite's results; return the paths by name.

    The CSV is ``table``; Markdown and LaTeX show its main columns.
    """
    import pandas as pd

    frame = table(suite)
    shown = table_text(frame)
    none = pd.DataFrame(False, shown.index, shown.columns)
    texts = {
        "cost.csv": csv(frame),
        "cost.md": markdown(shown, none, note(frame)),
        "cost.tex": latex(shown, none, note(frame)),
    }
    for name, written in texts.items():
        with new_file(suite.results / "tables" / name) as temporary:
            temporary.write_text(written, encoding="utf-8")
    return {name: suite.results / "tables" / name for name in texts}


WORDS = (  # columns of ``table`` that are no numbers
    "run", "label", "hardware", "device", "dataset", "image", "memory_by", "prior", "prior_images",
    "prior_memory_by", "prior_device", "train_hardware", "note",
)  # fmt: skip
SHOWN = {  # column of ``table`` -> (header, its unit's size, digits)
    "parameters": ("parameters (M)", 1e6, 3),
    "trained_parameters": ("trained (M)", 1e6, 3),
    "multiply_adds_per_megapixel": ("multiply-adds (G/MP)", 1e9, 2),
    "seconds_per_megapixel": ("network (s/MP)", 1.0, 3),
    "peak_mib_per_megapixel": ("memory (MiB/MP)", 1.0, 0),
    "added_parameters": ("of these, added by the method (M)", 1e6, 3),
    "added_peak_mib_per_megapixel": ("its memory alone (MiB/MP)", 1.0, 0),
    "prior_seconds_per_megapixel": ("prior (s/MP)", 1.0, 2),
    "prior_peak_mib": ("prior memory (MiB)", 1.0, 0),
    "train_seconds": ("training of a seed (s)", 1.0, 0),
}
OPTIONAL = ("added_parameters", "added_peak_mib_per_megapixel")  # shown where a run has them


def table_text(frame: pd.DataFrame) -> pd.DataFrame:
    """``table`` as text, its main columns; "-" where a figure was not recorded; why a run was not measured."""
    import pandas as pd

    columns = [name for name in SHOWN if name in frame or name not in OPTIONAL]
    lines = []
    for line in frame.to_dict("records"):
        shown = {"run": str(line["label"])}
        for name in columns:
            header, size, digits = SHOWN[name]
            value = line.get(name, math.nan)
            shown[header] = "-" if pd.isna(value) else f"{value / size:,.{digits}f}"
        lines.append(shown | {"prior": str(line.get("prior") or "-"), "note": str(line["note"])})
    result = pd.DataFrame(lines, dtype=object).fillna("-")
    return result if (result["note"] != "").any() else result.drop(columns="note")


def note(frame: pd.DataFrame) -> str:
    """The line that stands over the table: on which machine and image, and what MP means."""
    done = frame[frame["note"] == ""]
    where = "; ".join(
        dict.fromkeys(
            f"{line.hardware}, {line.threads:.0f} threads used" for line in done.itertuples()
        )
    )
    size = "; ".join(
        dict.fromkeys(
            f"{line.dataset}/{line.image}, {line.height:.0f}x{line.width:.0f}"
            for line in done.itertuples()
        )
    )
    trained = "; ".join(dict.fromkeys(name for name in done.get("train_hardware", []) if name))
    return (
        f"Cost per megapixel (MP) of the network's input, measured on {where or 'nothing'} ({size or 'no image'}). "
        f"Prior and training as recorded when they were made{f' (training: {trained})' if trained else ''}. "
        "A large model may resize every image to a size of its own: the smaller the image, the more a megapixel of it "
        "then costs; its memory is that of an image."
    )


class _Metered(nn.Module):
    """The network, with one reading of ``meter`` a call."""

    def __init__(self, network: nn.Module, meter: Meter):
        super().__init__()
        self.network, self.meter = network, meter
        self.readings: list[float] = []

    def forward(self, batch: Batch) -> torch.Tensor:
        out, reading = self.meter(self.network, batch)
        self.readings.append(reading)
        return out


def _measure(
    readings: Callable[[Meter], list[float]], megapixels: float, device: torch.device
) -> dict[str, Any]:
    flops = readings(_flops)  # the warm-up, too
    seconds: list[float] = []
    while len(seconds) < REPEATS and sum(seconds) < BUDGET:
        seconds.append(sum(readings(_seconds)))
    cuda = device.type == "cuda"
    return {
        "calls": len(flops),
        "multiply_adds_per_megapixel": sum(flops) / 2 / megapixels,
        "seconds_per_megapixel": median(seconds) / megapixels,
        "peak_mib_per_megapixel": max(readings(_cuda_peak if cuda else _cpu_peak)),
        "memory_by": "torch.cuda.max_memory_allocated" if cuda else "torch.profiler, CPU allocator",
    }


def _flops(network: nn.Module, batch: Batch) -> tuple[torch.Tensor, float]:
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    # fused attention on the CPU has no formula in the counter and would count as nothing
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        out = network(batch)
    return out, counter.get_total_flops()


def _seconds(network: nn.Module, batch: Batch) -> tuple[torch.Tensor, float]:
    def now() -> float:
        if batch["lq"].is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    begun = now()
    out = network(batch)
    return out, now() - begun


def _added(
    plan: RunPlan, model: nn.Module, readings: Callable[[Meter], list[float]]
) -> dict[str, Any]:
    """What the module that the method adds costs by itself, while the whole network runs."""
    if not hasattr(plan.method, "added"):
        return {}
    part = plan.method.added(model)

    def meter(network: nn.Module, batch: Batch) -> tuple[torch.Tensor, float]:
        return _peak_within(part, network, batch)

    return {
        "added_parameters": sum(parameter.numel() for parameter in part.parameters()),
        "added_peak_mib_per_megapixel": max(readings(meter)),
    }


def _peak_within(part: nn.Module, network: nn.Module, batch: Batch) -> tuple[torch.Tensor, float]:
    """Peak memory of the calls of a part of the network, over what it is called with; NaN of one that only holds others."""
    peak = _cuda_bytes if batch["lq"].is_cuda else _cpu_bytes
    sizes: list[int] = []
    forward = part.forward

    def metered(*inputs: Any) -> Any:
        out, size = peak(partial(forward, *inputs))
        sizes.append(size)
        return out

    setattr(part, "forward", metered)  # noqa: B010 - of this module alone, for one call
    try:
        out = network(batch)
    finally:
        delattr(part, "forward")
    return out, _per_megapixel(max(sizes, default=math.nan), batch)


def _per_megapixel(size: float, batch: Batch) -> float:
    return size / 2**20 / (math.prod(batch["lq"].shape[-2:]) / 1e6)


def _cuda_peak(network: nn.Module, batch: Batch) -> tuple[torch.Tensor, float]:
    out, peak = _cuda_bytes(partial(network, batch))
    return out, _per_megapixel(peak, batch)


def _cpu_peak(network: nn.Module, batch: Batch) -> tuple[torch.Tensor, float]:
    out, peak = _cpu_bytes(partial(network, batch))
    return out, _per_megapixel(peak, batch)


def _cuda_bytes(call: Callable[[], Any]) -> tuple[Any, int]:
    """What a call gives, and the most that it held over what was there before."""
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    out = call()
    return out, torch.cuda.max_memory_allocated() - before


def _cpu_bytes(call: Callable[[], Any]) -> tuple[Any, int]:
    os.environ.setdefault(
        "KINETO_LOG_LEVEL", "99"
    )  # it writes of its start and stop, and that there is no GPU
    cpu = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=cpu, profile_memory=True) as profile:
        out = call()
    results: Any = profile.profiler
    events = [event for event in results.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return out, peak


def _network(plan: RunPlan, pair: Pair) -> nn.Module:
    """The run's network with fresh weights, as evaluation uses it on the pair's set."""
    model = build_model(plan).eval()
    if uses_local_pooling(plan, pair.dataset):
        return with_local_pooling(plan, model)
    return model


def _median_image(pairs: list[Pair]) -> tuple[Pair, tuple[int, int]]:
    """The pair whose input has the median number of pixels, of a few spread over the list, and its height and width."""
    if not pairs:
        raise BenchError("cost: the test collection has no pairs; check its manifest.csv")
    some = pairs[:: -(-len(pairs) // SIZES_READ)]
    sizes = [read_lq(pair.lq).shape[:2] for pair in some]
    order = sorted(range(len(some)), key=lambda i: math.prod(sizes[i]))
    chosen = order[len(order) // 2]
    return some[chosen], (sizes[chosen][0], sizes[chosen][1])


def _short_clip(plan: RunPlan, pair: Pair) -> tuple[Pair, int]:
    """A pair, of a network of whole clips with a clip as long as a training crop; how many frames are restored."""
    if plan.frames is None or plan.frames.window is not None or not pair.clip:
        return pair, 1
    clip = pair.clip[: plan.frames.trained]
    return replace(clip[0], clip=clip), len(clip)


QUANTITIES = ("seconds_per_image", "seconds_per_megapixel", "peak_mib", "peak_mib_per_megapixel")


def _prior_cost(suite: Suite, plan: RunPlan) -> dict[str, Any]:
    name = plan.entry.prior.test
    if not plan.needs:
        nothing = {"prior": "none", "prior_images": "", "prior_memory_by": "", "prior_device": ""}
        return nothing | {f"prior_{quantity}": 0.0 for quantity in QUANTITIES}
    parts = [_part_cost(suite, name, part) for part in plan.test_prior.parts]
    found: dict[str, Any] = {"prior": name, "prior_images": _images_of(suite, name)}
    for quantity in QUANTITIES:
        values = [part[quantity] for part in parts]
        found[f"prior_{quantity}"] = max(values) if "peak" in quantity else sum(values)
    for fact in ("memory_by", "device"):
        found[f"prior_{fact}"] = ", ".join(dict.fromkeys(part[fact] for part in parts))
    return found


def _images_of(suite: Suite, name: str) -> str:
    """The images that a prior, or each part of a bundle, is computed from."""
    return next(iter(suite.bundle(name).values())).images


def _part_cost(suite: Suite, name: str, part: Part) -> dict[str, Any]:
    """One prior's cost, as recorded when it was computed; NaN where it was not."""
    record = read_json(part.folder / "prior.json", ["images"])
    images = _sized(record["images"], suite, name)
    seconds, timed = _taken(images, "seconds")
    peaks, metered = _taken(images, "peak_mib")
    return {
        "seconds_per_image": sum(seconds) / len(seconds) if seconds else math.nan,
        "seconds_per_megapixel": sum(seconds) / timed,
        "peak_mib": max(peaks, default=math.nan),
        "peak_mib_per_megapixel": sum(peaks) / metered,
        "memory_by": record.get("memory_by", ""),
        "device": record.get("device", ""),
    }


def _sized(records: list[dict[str, Any]], suite: Suite, name: str) -> list[dict[str, Any]]:
    """The records, each with its image's height and width: from the file where a kind notes none."""
    if all("height" in record for record in records):
        return records
    files = prior_images(suite, _images_of(suite, name))
    sized = []
    for record in records:
        height, width = read_lq(files[record["dataset"]][record["image"]]).shape[:2]
        sized.append({"height": height, "width": width} | record)
    return sized


def _taken(records: list[dict[str, Any]], fact: str) -> tuple[list[float], float]:
    """A fact of the images that have it, and their megapixels."""
    own = [record for record in records if fact in record]
    pixels = sum(record["height"] * record["width"] for record in own)
    return [record[fact] for record in own], pixels / 1e6 or math.nan


def _training_cost(plan: RunPlan) -> dict[str, Any]:
    record: dict[str, Any] = {}
    for file in (plan.places.run / "record.json", plan.places.record):
        if file.exists():
            record = read_json(file)
            break
    total = record.get("train_seconds", math.nan)
    seeds = list(record.get("seed_seconds", {}).values()) or [
        total / max(1, len(record.get("seeds", [])))
    ]
    return {
        "train_seconds": sum(seeds) / len(seeds),
        "train_total_seconds": total,
        "train_hardware": record.get("hardware", ""),
    }
