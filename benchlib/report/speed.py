"""How fast the parts are that this project does differently: pooling by label, packed masks, crops, SAM. Layer 4."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import psutil
import torch
from PIL import Image
from torch.utils.data import DataLoader

from benchlib.contracts import BenchError
from benchlib.methods.map import average_by_bits, average_by_label
from benchlib.train.data import KEPT, Crops, as_read, crops_of
from benchlib.train.unpacked import Unpacked

if TYPE_CHECKING:
    from segment_anything import SamAutomaticMaskGenerator

    from benchlib.plan import RunPlan


def dense_average(values: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Algorithm 1 of SAM-Deblur as its official code computes it, with a dense mask a region.

    values: ``(1,S,H,W)``; masks: ``(N,H,W)`` float in {0,1}. What pooling by label is compared with.
    """
    pixels, regions = values[0].permute(1, 2, 0)[None], masks[..., None]
    uncovered = 1 - regions.sum(0, keepdim=True).clamp(0, 1)
    regions = torch.cat([regions, uncovered])
    means = (pixels * regions).sum((1, 2), keepdim=True) / (
        regions.sum((1, 2), keepdim=True) + 1e-8
    )
    return (means * regions).sum(0).permute(2, 0, 1)[None]


def _fastest(call: Callable[[], object], repeat: int) -> float:
    """Milliseconds of the fastest of ``repeat`` calls, after two to warm up."""
    times = []
    for _ in range(repeat + 2):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return 1000 * min(times[2:])


def pooling(
    side: int = 256, regions: int = 60, channels: int = 2, repeat: int = 20
) -> pd.DataFrame:
    """Forward and backward of mask average pooling on one image: dense, by label, by packed bits; their difference."""
    rng = np.random.default_rng(0)
    centres = torch.from_numpy(rng.integers(0, side, (regions + 1, 2)))
    grid = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij"), -1)
    labels = (
        (grid[:, :, None] - centres).square().sum(-1).argmin(-1)
    )  # Voronoi cells; cell 0 is uncovered
    masks = (labels[None] == torch.arange(1, regions + 1)[:, None, None]).float()
    if regions > 64:
        raise BenchError(
            f"speed.pooling: {regions} regions; at most 64 fit into the one plane of bits it makes"
        )
    bits = torch.where(labels > 0, torch.ones_like(labels) << (labels - 1).clamp(min=0), 0)
    values = torch.rand(1, channels, side, side, requires_grad=True)
    forms: dict[str, Callable[[], torch.Tensor]] = {
        "dense masks": lambda: dense_average(values, masks),
        "by label": lambda: average_by_label(values, labels[None]),
        "by packed bits": lambda: average_by_bits(values, bits[None, None]),
    }
    reference = forms["dense masks"]()
    rows = []
    for name, form in forms.items():
        milliseconds = _fastest(lambda form=form: form().sum().backward(), repeat)  # type: ignore[misc]
        rows.append(
            {
                "form": name,
                "ms": milliseconds,
                "difference": float((form() - reference).detach().abs().max()),
            }
        )
    table = pd.DataFrame(rows).set_index("form")
    table.insert(1, "times faster", table.loc["dense masks", "ms"] / table["ms"])
    return table


def storage(run: RunPlan) -> pd.DataFrame:
    """Bytes an image of a run's training masks: on disk, packed in memory, as dense float32.

    Raises BenchError where its prior is no masks.
    """
    rows = []
    for part in run.train_prior.parts:
        if part.kind != "masks":
            continue
        for file in sorted(part.folder.rglob("*.npz")):
            masks = part.module().load(file)
            packed = masks.bits.nbytes + masks.labels.nbytes
            dense = 4 * masks.labels.size * len(masks)
            line = {"masks": len(masks), "file": file.stat().st_size, "packed": packed}
            rows.append(line | {"dense float32": dense})
    if not rows:
        raise BenchError(f"speed.storage: run '{run.key}' reads no masks; name one that does")
    return pd.DataFrame(rows).agg(["mean", "max"]).round(0)


def crops(run: RunPlan, count: int = 400) -> pd.DataFrame:
    """Training crops a second on one core, as the loop reads them (images and masks from disk, then from memory)."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    source = crops_of(run)
    rows: list[dict[str, object]] = []
    for what, first in (("first epoch", 0), ("later", len(source.pairs))):
        numbers = range(first, first + (len(source.pairs) if first == 0 else count))
        begun = time.perf_counter()
        for n in numbers:
            source[n]
        speed = len(numbers) / (time.perf_counter() - begun)
        rows.append({"when": what, "crops": len(numbers), "a second": speed})
    torch.set_num_threads(threads)
    return pd.DataFrame(rows).set_index("when")


def loader(
    run: RunPlan, workers: int = 0, count: int = 400, crop: int | None = None
) -> pd.DataFrame:
    """A run's training crops a second, by how pairs are kept between two crops of them.

    workers: processes that load; 0: this one. count: crops that are timed where pairs are kept, once each has been
    opened; elsewhere one of every pair. crop: pixels; None: the run's. "processor, ms a crop": of all processes.
    Raises BenchError if one way gives other crops than another.
    """
    plain, rows, seen = crops_of(run), [], {}
    pairs = len(plain.pairs)
    with TemporaryDirectory() as folder:
        store = Unpacked(Path(folder))
        for what, keep, unpacked, opened, timed in (
            ("decoded each time", 0, None, 0, pairs),
            ("kept in memory", KEPT // max(1, workers), None, pairs, count),
            ("unpacked, the first time", 0, store, 0, pairs),
            ("unpacked", 0, store, pairs, count),
        ):
            side = crop or plain.side
            source = Crops(
                plain.task_name, plain.pairs, plain.prior, side, plain.seed, keep, unpacked
            )
            rows.append({"pairs": what} | _loaded(source, workers, opened, timed))
            seen[what] = source.collate([source[n] for n in range(3)])
    for what, batch in seen.items():
        for name, value in seen["decoded each time"].items():
            if not torch.equal(batch[name], value):
                raise BenchError(
                    f"speed.loader: {what}: gives another {name} than files decoded each time"
                )
    return pd.DataFrame(rows).set_index("pairs")


def _loaded(
    source: Crops, workers: int, opened: int, timed: int, batch: int = 8
) -> dict[str, float]:
    """Crops a second in batches, as training takes them; the clock starts once ``opened`` have come."""
    numbers = range(opened + timed)
    batches = DataLoader(
        source, batch, sampler=numbers, num_workers=workers, collate_fn=source.collate
    )
    begun, used, before, done = time.perf_counter(), _processor(), 0, 0
    for loaded in batches:
        done += len(as_read(loaded)["lq"])
        if before == 0 and 0 < opened <= done:
            begun, used, before = time.perf_counter(), _processor(), done
    crops = done - before
    return {
        "crops": crops,
        "a second": crops / (time.perf_counter() - begun),
        "processor, ms a crop": 1000 * (_processor() - used) / crops,
    }


def _processor() -> float:
    """Seconds of a processor that this process and those that it has started have used."""
    here = psutil.Process()
    used = 0.0
    for process in (here, *here.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            used += times.user + times.system
    ended = here.cpu_times()
    return used + ended.children_user + ended.children_system


NOTHING = 'params = "params.yaml"\nkey = ""'
PIPELINE = """stages:
  nothing:
    cmd:
      - python -m benchlib.names
      - python -m benchlib.nbrun nothing.ipynb --out out.ipynb "key=a"
"""


def stage(params: str | Path, repeat: int = 3) -> pd.DataFrame:
    """Seconds of a stage that does nothing, and of its commands: the fastest of ``repeat`` each.

    params: a suite's file, which the stage checks as every stage does. wall: what a user waits. processor: of DVC, the
    commands and what they wait for.
    """
    import nbformat

    book = nbformat.v4.new_notebook()
    book.cells.append(nbformat.v4.new_code_cell(NOTHING, metadata={"tags": ["parameters"]}))
    text = re.sub(r"(?m)^root:.*$", 'root: ""', Path(params).read_text(encoding="utf-8"))
    python = [sys.executable, "-m"]
    commands = {
        "python -m benchlib.names": [*python, "benchlib.names"],
        "python -m benchlib.nbrun": [*python, "benchlib.nbrun", "nothing.ipynb", "key=a"],
        "dvc repro --single-item": [*python, "dvc", "repro", "-f", "--single-item", "nothing"],
    }
    rows = []
    with TemporaryDirectory() as folder:
        place = Path(folder)
        nbformat.write(book, place / "nothing.ipynb")
        (place / "params.yaml").write_text(text, encoding="utf-8")
        (place / "dvc.yaml").write_text(PIPELINE, encoding="utf-8")
        _called(["git", "init", "-q"], place)
        _called([*python, "dvc", "init", "-q"], place)
        for setting in ("analytics", "check_update", "autostage"):
            _called([*python, "dvc", "config", f"core.{setting}", "false"], place)
        for command, words in commands.items():
            taken = [_called(words, place) for _ in range(repeat + 1)][1:]
            wall, used = np.min(taken, axis=0)
            rows.append({"command": command, "wall, s": wall, "processor, s": used})
    return pd.DataFrame(rows).set_index("command")


def _called(words: list[str], folder: Path) -> tuple[float, float]:
    """Seconds on the wall and of a processor that a command takes. Raises BenchError if it fails."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    before, begun = os.times(), time.perf_counter()
    done = subprocess.run(
        words, cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True
    )
    wall, after = time.perf_counter() - begun, os.times()
    if done.returncode:
        raise BenchError(f"speed.stage: {' '.join(words)}: {done.stderr.strip()[-300:]}")
    used = after.children_user - before.children_user
    return wall, used + after.children_system - before.children_system


def sam_masks(points_per_side: int = 2, long_side: int = 256, repeat: int = 1) -> pd.DataFrame:
    """Seconds in which SAM's masks of one photograph are made: by the package's own generator, and here.

    MobileSAM, in turns, medians of ``repeat`` calls after one to warm up; "cpu s" is what the
    process computed, which other programs lengthen less. "least IoU": of a mask with the one in its
    place in the last line; 0 where there are more masks or fewer. Raises BenchError where the
    weights cannot be fetched.
    """
    from benchlib.priors import sam

    config = sam.Config(points_per_side=points_per_side)
    here = sam.build(config, "cpu")
    forms = {
        "segment_anything": _official(here, 64),
        f"segment_anything, {here.points_per_batch} points at once": _official(
            here, here.points_per_batch
        ),
        "benchlib": here,
    }
    image = _photograph(long_side)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in forms}
    found: dict[str, list[dict[str, Any]]] = {}
    for _ in range(repeat + 1):
        for name, form in forms.items():
            wall, cpu = time.perf_counter(), time.process_time()
            found[name] = form.generate(image)
            times[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    rows = []
    for name in forms:
        seconds, computed = np.median(times[name][1:], axis=0)
        row = {"form": name, "s": seconds, "cpu s": computed, "masks": len(found[name])}
        rows.append(row | {"least IoU": least_iou(found[name], found["benchlib"])})
    table = pd.DataFrame(rows).set_index("form")
    table.insert(2, "times faster", table["cpu s"].iloc[0] / table["cpu s"])
    return table


def least_iou(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> float:
    """The least IoU of two generators' masks, in order; 0.0 if they have not as many, 1.0 if none.

    Masks are the generator's uncompressed run lengths.
    """
    from segment_anything.utils.amg import rle_to_mask

    if len(one) != len(other):
        return 0.0
    least = 1.0
    for mine, yours in zip(one, other, strict=True):
        a, b = rle_to_mask(mine["segmentation"]), rle_to_mask(yours["segmentation"])
        least = min(least, float((a & b).sum() / (a | b).sum()))
    return least


def _official(here: SamAutomaticMaskGenerator, points_per_batch: int) -> SamAutomaticMaskGenerator:
    """The package's generator with the settings and the network of this project's."""
    from segment_anything import SamAutomaticMaskGenerator

    return SamAutomaticMaskGenerator(
        here.predictor.model,
        points_per_side=None,
        point_grids=here.point_grids,
        points_per_batch=points_per_batch,
        pred_iou_thresh=here.pred_iou_thresh,
        stability_score_thresh=here.stability_score_thresh,
        box_nms_thresh=here.box_nms_thresh,
        output_mode="uncompressed_rle",
    )


def _photograph(long_side: int) -> np.ndarray:
    """scikit-image's cat, ``(H,W,3)`` uint8, its long side as many pixels."""
    from skimage import data

    picture = Image.fromarray(data.chelsea())
    scale = long_side / max(picture.size)
    size = (round(picture.width * scale), round(picture.height * scale))
    return np.array(picture.resize(size, Image.Resampling.BICUBIC))
