"""What a run brings along from outside the project: a file of weights, a folder of pictures.

Layer 3. DVC does not watch what lies outside: the run's record has the file's SHA-256, and a file
that has changed since is refused.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from benchlib.contracts import BenchError
from benchlib.files import progress, sha256
from benchlib.imageio import read_image
from benchlib.plan import RunPlan
from benchlib.records import Pair, read_json, read_pairs

SHOWN = 5  # names in an error


def own_record(plan: RunPlan) -> dict[str, Any]:
    """What the record of a run says of the network that it brings: ``{}`` if it brings none.

    ``own``: the method's facts, and of each file its name and SHA-256.
    """
    if plan.method.INFO.own != "network":
        return {}
    files: dict[str, str] = {}
    for setting, path in _paths(plan).items():
        files |= {setting: path.name, f"{setting}_sha256": sha256(path)}
    return {"own": plan.method.facts(plan.method_config) | files}


def refuse_changed(plan: RunPlan) -> None:
    """Raise BenchError if a file of the run's is another than when its train stage took it."""
    if plan.method.INFO.own != "network":
        return
    then = read_json(plan.places.run / "record.json").get("own", {})
    for setting, path in _paths(plan).items():
        if not path.is_file():
            raise BenchError(
                f"{path}: no such file; runs.{plan.key}.method.{setting} names it: bring it back, "
                "or name another"
            )
        if sha256(path) != then.get(f"{setting}_sha256"):
            raise BenchError(
                f"{path}: has changed since run '{plan.key}' took it; DVC does not watch it: "
                f"dvc repro -f -s train@{plan.key}, then dvc repro"
            )


def _paths(plan: RunPlan) -> dict[str, Path]:
    return {name: Path(getattr(plan.method_config, name)) for name in plan.method.PATHS}


def check_scale(plan: RunPlan, pairs: list[Pair]) -> None:
    """Raise BenchError if the network that a run brings enlarges otherwise than its pairs ask.

    The first pair of each set is read. Says in a line if the run cuts images into tiles that its
    network should see whole.
    """
    if plan.method.INFO.own != "network":
        return
    facts = plan.method.facts(plan.method_config)
    first: dict[str, Pair] = {}
    for pair in pairs:
        first.setdefault(pair.dataset, pair)
    for pair in first.values():
        asked = plan.task.read(pair).scale
        if asked != facts["scale"]:
            raise BenchError(
                f"runs.{plan.key}.method: {facts['architecture']} enlarges {facts['scale']} times, "
                f"but the pairs of {plan.entry.images.test}/{pair.dataset} ask for {asked} "
                f"({pair.image}); test on pairs of that scale, or bring another network"
            )
    if plan.how.tile and facts["tiling"] != "supported":
        print(
            f"{plan.key}: images of over {plan.how.tile} pixels are restored in tiles "
            f"(evaluation.tile), which spandrel calls {facts['tiling']} for "
            f"{facts['architecture']}",
            flush=True,
        )


def pairs_at_hand(plan: RunPlan) -> list[Pair]:
    """The run's test pairs of the sets that are fetched already."""
    images = plan.test_images
    there = [name for name in images.sets if (images.folder / name / "manifest.csv").exists()]
    return read_pairs(images.only(there))


def own_pictures(plan: RunPlan, pairs: list[Pair]) -> dict[str, Path]:
    """``<set>/<image>`` -> the picture that a run brings; ``{}`` if it has a network to restore.

    Every picture is read once. Raises BenchError, in one line, for images without one, and for
    pictures that are unreadable or of another size than the reference.
    """
    if plan.method.INFO.own != "pictures":
        return {}
    names = [(pair.dataset, pair.image) for pair in pairs]
    found = plan.method.restored_files(plan.method_config, names)
    pictures, faults = {}, []
    for pair in progress(pairs, f"{plan.key}, check"):
        file = found[pair.dataset, pair.image]
        fault = _fault(plan, pair, file)
        if fault:
            faults.append(fault)
        pictures[pair.key] = file
    if faults:
        said = "; ".join(faults[:SHOWN])
        if len(faults) > SHOWN:
            said += f" and {len(faults) - SHOWN} more"
        raise BenchError(
            f"runs.{plan.key}.method: {len(faults)} of {len(pairs)} pictures do not fit: {said}"
        )
    return pictures


def _fault(plan: RunPlan, pair: Pair, file: Path) -> str:
    """What is wrong with a picture, or nothing."""
    try:
        picture = read_image(file)
    except BenchError as error:
        return str(error)
    wanted = plan.task.views(plan.task.read(pair), picture)["reference"].shape
    if picture.shape == wanted:
        return ""
    (height, width), (high, wide) = picture.shape[:2], wanted[:2]
    return f"{file}: {width} x {height} pixels, its reference has {wide} x {high}"


def pictures_record(pictures: dict[str, Path]) -> dict[str, Any]:
    """What the record says of pictures that a run brings: how many, and one SHA-256 of them all."""
    if not pictures:
        return {}
    digest = hashlib.sha256()
    for key, file in sorted(pictures.items()):
        digest.update(f"{key} {sha256(file)}\n".encode())
    return {"own": {"pictures": len(pictures), "sha256": digest.hexdigest()}}
