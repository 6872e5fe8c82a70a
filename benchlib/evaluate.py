"""Evaluation: one run's weights on its test sets, one row an image and metric. Floor 3."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from benchlib.contracts import BenchError
from benchlib.files import new_folder, progress
from benchlib.imageio import read_image, write_png
from benchlib.metrics import collapsed, protocol
from benchlib.params import Evaluation, Suite, configure
from benchlib.records import Pair, hardware, read_json, read_pairs, revision, write_json, write_rows
from benchlib.restore import Priors, device_at_hand, in_tiles, load_model, needs_of, read_pair, restore

MASKS = {"masks": "n_masks", "coverage": "coverage"}  # metric -> the prior's record


def uses_tlc(how: Evaluation, dataset: str) -> bool:
    """Whether a test set is restored with local pooling."""
    return how.tlc_crop is not None and (how.tlc_sets is None or dataset in how.tlc_sets)


def inference_mode(how: Evaluation, dataset: str, shape: tuple[int, ...]) -> str:
    """The mode as an image's rows have it: ``global`` or ``tlc<crop>``, ``+tile<side>/<overlap>`` if it was cut."""
    pooling = f"tlc{how.tlc_crop}" if uses_tlc(how, dataset) else "global"
    return pooling + (f"+tile{how.tile}/{how.overlap}" if in_tiles(how, shape) else "")


def evaluate(suite: Suite, key: str) -> list[dict[str, Any]]:
    """Restore and measure every test image of one run; write rows, restored images (of the first seed) and the record.

    Metrics: PSNR (dB) and SSIM under each protocol, MC (1 where SAM-Deblur's mode collapse holds, else 0; not for
    super-resolution); for runs
    with a prior also ``masks`` and ``coverage`` of the image. Raises BenchError for a missing input.
    """
    run, how = suite.run(key), suite.evaluation_of(key)
    method, _ = configure("methods", run.method, f"runs.{key}.method")
    pairs, priors, needs = read_pairs(suite, run.test), Priors(suite, run.prior.test), needs_of(suite, key)
    device = device_at_hand()
    common = {
        "suite": suite.suite,
        "run": key,
        "paper": run.paper,
        "table": run.table,
        "method": run.method["name"],
        "backbone": run.backbone["name"],
        "prior": run.prior.test,
        "task": run.task,
        "setting": run.setting,
        "revision": revision(Path(__file__).parent),
        "hardware": hardware(str(device)),
    }

    def tlc_on(pair: Pair) -> bool:
        return method.INFO.trains and uses_tlc(how, pair.dataset)

    rows: list[dict[str, Any]] = []
    started = time.perf_counter()
    with new_folder(suite.work / "restored" / key) as out:
        for seed in run.seeds:
            models = {tlc: _model(suite, key, seed, how, tlc).to(device) for tlc in sorted(set(map(tlc_on, pairs)))}
            for pair in progress(pairs, f"{key}, seed {seed}"):
                restored = restore(models[tlc_on(pair)], pair, priors, needs, device, how)
                if seed == run.seeds[0]:
                    write_png(out / pair.dataset / f"{pair.image}.png", restored)
                mode = inference_mode(how, pair.dataset, restored.shape) if method.INFO.trains else "none"
                place = common | {"dataset": pair.dataset, "image": pair.image, "scene": pair.scene}
                place |= {"seed": seed, "inference": mode}
                rows += [place | numbers for numbers in _measure(restored, pair, how)]
        if needs:
            record = read_json(suite.work / "priors" / run.prior.test / "prior.json")
            rows += _mask_rows(
                common | {"seed": "", "inference": ""}, run.prior.test, record, {pair.key for pair in pairs}
            )
        write_rows(suite.results / "rows" / f"{key}.csv", rows)
    training = read_json(suite.work / "runs" / key / "record.json")
    seconds = round(time.perf_counter() - started, 1)
    write_json(suite.results / "records" / f"{key}.json", training | {"evaluate_seconds": seconds})
    return rows


def _model(suite: Suite, key: str, seed: int, how: Evaluation, tlc: bool) -> nn.Module:
    model = load_model(suite, key, seed)
    if not tlc:
        return model
    backbone, _ = configure("backbones", suite.run(key).backbone)
    if not hasattr(backbone, "tlc"):
        raise BenchError(f"runs.{key}: evaluation.tlc_crop: {suite.run(key).backbone['name']} has no TLC; set null")
    return backbone.tlc(model, how.tlc_crop)


def _measure(restored: np.ndarray, pair: Pair, how: Evaluation) -> list[dict[str, Any]]:
    hq = read_pair(pair)[1]
    lq = read_image(pair.lq)
    rows = []
    for name in how.protocols:
        measured = protocol(name).measure(restored, hq)
        if lq.shape == hq.shape:  # mode collapse compares with the input; where it is enlarged there is none
            before = protocol(name).psnr(lq, hq)
            measured["MC"] = int(collapsed(before, measured["PSNR"], how.mcr_drop))
        rows += [{"metric": metric, "protocol": name, "value": round(value, 6)} for metric, value in measured.items()]
    return rows


def _mask_rows(common: dict[str, Any], prior: str, record: dict[str, Any], wanted: set[str]) -> list[dict[str, Any]]:
    rows = []
    for image in record["images"]:
        if f"{image['dataset']}/{image['image']}" in wanted:
            place = common | {"dataset": image["dataset"], "image": image["image"], "protocol": prior}
            rows += [place | {"metric": name, "value": image[key]} for name, key in MASKS.items()]
    return rows
