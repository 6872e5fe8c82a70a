"""Evaluation: one run's weights on its test images, one row an image and metric. Layer 3.

A run with a prior can be restored once more, without training, with a control in the prior's place
(``evaluation.swap``): rows of their own, and the prior's *reach*, how far the restored image moves
in 8-bit levels when the prior does. A prior of no reach cannot have helped.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchlib import own, registry
from benchlib.files import check_writable, new_folder, progress
from benchlib.finished import Finished, forget_images, open_finished, share_of
from benchlib.imageio import read_image
from benchlib.manifests import check_run
from benchlib.metrics import protocol
from benchlib.plan import RunPlan
from benchlib.priors._read import PriorSet
from benchlib.records import (
    Pair,
    hardware,
    read_json,
    revision,
    shared_cells,
    write_json,
    write_rows,
)
from benchlib.restore import (
    KeptFrames,
    Truncated,
    check_trained,
    device_at_hand,
    inference_mode,
    load_model,
    models_by_set,
    restore,
    threads,
    truncates,
)
from benchlib.train.checkpoint import forget

VERSION = 1
Row = dict[str, Any]
REACH, REACH_MOST = "reach", "reach-most"  # mean and largest change of a value, 8-bit levels


def evaluate(plan: RunPlan) -> list[Row]:
    """Restore and measure every test image of one run; write rows, images and the record.

    The restored images kept are those of the first seed. Rows: each metric of the suite under each
    protocol that knows it; what the prior's kind says of an image; and, for each ``swap``, the
    metrics of the first seed restored so, with ``reach`` and ``reach-most``.

    Raises BenchError for a missing input, for images that the run cannot use
    (``manifests.check_run``), for what it brings along (``own``) that does not fit them, and for
    what the disk refuses.
    """
    check_run(plan)
    started = time.perf_counter()
    training = read_training(plan)
    check_writable(plan.places.rows.parent, plan.places.record.parent)
    pairs = plan.test_pairs()
    pictures = _brought_along(plan, pairs)
    own_record = own.pictures_record(pictures)
    training |= own_record
    done = open_finished(plan, own_record)
    with new_folder(plan.places.restored) as out, threads(plan.how.threads) as used:
        rows = _rows(plan, pairs, pictures, out, done)
        shared = shared_cells(rows)
        write_rows(plan.places.rows, rows, in_record=shared)
    seconds = round(time.perf_counter() - started + done.seconds, 1)
    versions = training["versions"] | _versions(plan)
    record = training | {"evaluate_seconds": seconds, "versions": versions, "row": shared}
    took = done.threads
    if done.missed or not took:
        took = took | {used}
    if took != {training.get("threads")}:
        record["evaluate_threads"] = min(took)
        if len(took) > 1:
            record["evaluate_threads"] = sorted(took)
    write_json(plan.places.record, record | plan.record_of_plugins())
    forget(plan.places.resume, plan.key)
    forget_images(plan)
    return rows


def evaluate_shard(plan: RunPlan, index: int, number: int) -> int:
    """Restore and measure every ``number``-th test image from ``index``; ``evaluate`` finds them.

    What is finished already is not done again. Returns how many images were done. Raises BenchError
    as ``evaluate``.
    """
    check_run(plan)
    read_training(plan)
    every_pair = plan.test_pairs()
    pictures = _brought_along(plan, every_pair)
    done = open_finished(plan, own.pictures_record(pictures), begin=True)
    pairs = share_of(every_pair, index, number)
    restorer = _Restorer(plan, pictures)
    count = 0
    with threads(plan.how.threads) as used:
        for seed in plan.entry.seeds:
            for pair in progress(pairs, f"{plan.key}, seed {seed}, shard {index} of {number}"):
                if done.has(seed, pair):
                    continue
                started = time.perf_counter()
                rows = restorer.rows(seed, pair, done.picture(seed, pair))
                done.keep(seed, pair, rows, time.perf_counter() - started, used)
                count += 1
    return count


def read_training(plan: RunPlan) -> dict[str, Any]:
    """What a run's training left as its record. Raises BenchError if a seed is not trained."""
    for seed in plan.entry.seeds:
        check_trained(plan, seed)
    return read_json(plan.places.run / "record.json", ["versions"])


def _brought_along(plan: RunPlan, pairs: list[Pair]) -> dict[str, Path]:
    """The pictures that a run brings, by pair. Raises BenchError for what does not fit."""
    own.refuse_changed(plan)
    own.check_scale(plan, pairs)
    return own.own_pictures(plan, pairs)


def _rows(
    plan: RunPlan, pairs: list[Pair], pictures: dict[str, Path], out: Path, done: Finished
) -> list[Row]:
    """Restore and measure; the images of the first seed go to the folder ``out``.

    pictures: a pair's key -> its restored image, where the run brings them along. done: what shards
    have finished.
    """
    restorer = _Restorer(plan, pictures)
    rows: list[Row] = []
    for seed in plan.entry.seeds:
        wanted = None
        if seed == plan.entry.seeds[0]:
            wanted = out
        for pair in progress(pairs, f"{plan.key}, seed {seed}"):
            found = done.take(seed, pair, wanted)
            if found is None:
                found = restorer.rows(seed, pair, done.place(out, pair))
            rows += found
    return rows


class _Restorer:
    """One run, whose images are restored and measured one by one; a seed's model is loaded once."""

    def __init__(self, plan: RunPlan, pictures: dict[str, Path]) -> None:
        self.plan = plan
        self.pictures = pictures
        self.device = device_at_hand()
        self.common = _common(plan, self.device)
        self.seed: int | None = None
        self.model_of: Callable[[str], nn.Module] | None = None
        self.kept = KeptFrames()

    def rows(self, seed: int, pair: Pair, file: Path) -> list[Row]:
        """The rows of one image. file: of the restored image, kept for the first seed alone."""
        plan = self.plan
        item = plan.task.read(pair)
        place = self.common | _place(plan, pair, item) | {"seed": seed}
        model = self._model(seed, pair.dataset)
        again = partial(
            restore,
            plan,
            model,
            pair,
            item,
            device=self.device,
            tiles=plan.tiles,
            kept=self.kept,
        )
        restored = _restored(self.pictures.get(pair.key), partial(again, prior=plan.test_prior))
        rows = measure(plan, item, restored, place)
        if seed == plan.entry.seeds[0]:
            plan.task.save(file, restored)
            rows += _prior_rows(plan, pair, item, self.common)
            rows += _swapped(plan, item, restored, place, again)
        return rows

    def _model(self, seed: int, dataset: str) -> nn.Module:
        if self.model_of is None or self.seed != seed:
            self.model_of = _models(self.plan, seed, self.device)
            self.kept = KeptFrames()
            self.seed = seed
        return self.model_of(dataset)


def _models(plan: RunPlan, seed: int, device: torch.device) -> Callable[[str], nn.Module]:
    model_of = models_by_set(plan, lambda: load_model(plan, seed).to(device))
    if not truncates(plan):
        return model_of
    return lambda dataset: Truncated(model_of(dataset))


def _versions(plan: RunPlan) -> dict[str, int]:
    files = ["evaluate.py", "metrics/__init__.py"]
    files += [f"metrics/{name}.py" for name in plan.metrics]
    return {file: registry.version(file) for file in files}


def _common(plan: RunPlan, device: torch.device) -> Row:
    """What all rows of a run share."""
    run = plan.entry
    prior = run.prior.test
    if run.prior.swap:
        prior += f", {run.prior.swap}"
    return {
        "suite": plan.suite,
        "run": plan.key,
        "paper": run.paper,
        "table": run.table,
        "method": run.method["name"],
        "backbone": run.backbone["name"],
        "prior": prior,
        "problem": run.problem,
        "setting": run.setting,
        "swap": "",
        "revision": _revision(plan),
        "hardware": hardware(str(device)),
    }


def _revision(plan: RunPlan) -> str:
    """The checkout's revision; with plug-ins, a digest of theirs follows it."""
    own = revision(Path(__file__).parent)
    if not plan.plugins:
        return own
    words = json.dumps(plan.plugins, sort_keys=True)
    return f"{own} plugins-{hashlib.sha256(words.encode()).hexdigest()[:12]}"


def _restored(picture: Path | None, again: Callable[[], np.ndarray]) -> np.ndarray:
    """The run's own picture where it brings one along, else what its network restores."""
    if picture is None:
        return again()
    return read_image(picture)


def _place(plan: RunPlan, pair: Pair, item: Any) -> Row:
    return {
        "dataset": pair.dataset,
        "image": pair.image,
        "scene": pair.scene,
        "inference": inference_mode(plan, pair.dataset, item),
    }


def measure(plan: RunPlan, item: Any, restored: np.ndarray, place: Row) -> list[Row]:
    """The rows of one restored item: every metric of the suite, protocol by protocol."""
    views = plan.task.views(item, restored)
    rows = []
    for name in plan.how.protocols:
        for metric, value in protocol(name).measure(views, plan.metrics).items():
            module = registry.load("metrics", metric)
            row = {"metric": module.NAME, "protocol": name, "value": round(value, 6)}
            rows.append(place | row | {"version": f"{metric} {module.VERSION}"})
    return rows


def _prior_rows(plan: RunPlan, pair: Pair, item: Any, common: Row) -> list[Row]:
    """What the prior's kind says of an image (of masks: how many, how much they cover)."""
    prior = plan.test_prior
    stored = prior.load(pair.dataset, pair.image, plan.task.size(item))
    place = common | {"dataset": pair.dataset, "image": pair.image, "seed": "", "inference": ""}
    place["protocol"] = common["prior"]
    facts = prior.facts(stored)
    return [place | {"metric": name, "value": value} for name, value in facts.items()]


def _swapped(
    plan: RunPlan, item: Any, restored: np.ndarray, place: Row, again: Callable[..., np.ndarray]
) -> list[Row]:
    """Rows of the same item with each control in the prior's place, and how far it moved."""
    rows: list[Row] = []
    for control in swaps(plan):
        prior: PriorSet = plan.test_prior.swapped(control)
        other = again(prior=prior)
        here = place | {"swap": control}
        rows += measure(plan, item, other, here)
        moved = np.abs(restored.astype(np.int16) - other.astype(np.int16))
        reach = {REACH: round(float(moved.mean()), 6), REACH_MOST: int(moved.max())}
        for name, value in reach.items():
            version = f"evaluate {VERSION}"
            rows.append(here | {"metric": name, "protocol": "", "value": value, "version": version})
    return rows


def swaps(plan: RunPlan) -> list[str]:
    """The controls that a run is restored with at test time: none where it reads no prior.

    A run that was trained with a control in the prior's place has none to swap.
    """
    if not plan.needs or plan.entry.prior.swap:
        return []
    return list(plan.how.swap)
