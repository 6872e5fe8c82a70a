"""Test images that are finished before their evaluation: what a shard leaves, and what finds it.

Layer 3. A folder ``work/<suite>/.resume/images-<digest>``, named by all that an image's numbers are
made from; in it, a seed's ``<set>/<image>.json`` (rows, seconds, threads) and the restored image.
The JSON is written last: its presence says that all is there. Shards may run on several hosts at
once: each file appears whole, and two that make the same one make it alike.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchlib import registry
from benchlib.contracts import BenchError
from benchlib.files import new_file, sha256, spread, writing
from benchlib.plan import RunPlan
from benchlib.records import RUN, Pair, begun, read_json

Row = dict[str, Any]
PREFIX = "images-"
FILES = ("records.py", "evaluate.py")  # versions that rows pass through, beside the plan's own


@dataclass
class Finished:
    """The finished images of one evaluation.

    numbers: of each set's images. seconds, threads: what the images took that were taken from here,
    and with how many threads. missed: whether an image was asked for that is not here.
    """

    folder: Path
    numbers: Mapping[str, int]
    seconds: float = 0.0
    threads: set[int] = field(default_factory=set)
    missed: bool = False

    def has(self, seed: int, pair: Pair) -> bool:
        """Whether an image of a seed is finished."""
        return self._note(seed, pair).exists()

    def picture(self, seed: int, pair: Pair) -> Path:
        """Where its restored image is saved, without the suffix that the task gives."""
        return self.place(self.folder / f"seed{seed}", pair)

    def place(self, folder: Path, pair: Pair) -> Path:
        """Where an image's picture is saved in such a folder, without suffix."""
        return spread(folder / pair.dataset, pair.image, self.numbers[pair.dataset])

    def keep(self, seed: int, pair: Pair, rows: list[Row], seconds: float, threads: int) -> None:
        """Note that an image is finished. Raises BenchError if the disk refuses."""
        note = {"rows": rows, "seconds": seconds, "threads": threads}
        with new_file(self._note(seed, pair)) as temporary:
            temporary.write_text(json.dumps(note, default=_number), encoding="utf-8")

    def take(self, seed: int, pair: Pair, out: Path | None) -> list[Row] | None:
        """The rows of a finished image; None where it is not finished, or its note is damaged.

        out: the folder that gets its restored image; None: none is wanted.
        """
        place = self.picture(seed, pair)
        picture = place.with_name(f"{place.name}.png")
        try:
            note = json.loads(self._note(seed, pair).read_text(encoding="utf-8"))
            rows, seconds, threads = note["rows"], note["seconds"], note["threads"]
        except (OSError, ValueError, KeyError, TypeError):
            rows = None
        if rows is None or (out is not None and not picture.exists()):
            self.missed = True
            return None
        if out is not None:
            with new_file(self.place(out, pair).with_name(picture.name)) as temporary:
                shutil.copyfile(picture, temporary)
        self.seconds += seconds
        self.threads.add(threads)
        return rows

    def _note(self, seed: int, pair: Pair) -> Path:
        place = self.picture(seed, pair)
        return place.with_name(f"{place.name}.json")


def _number(value: Any) -> Any:
    """A number of numpy's as Python's own."""
    return value.item()


def open_finished(plan: RunPlan, pictures: dict[str, Any], begin: bool = False) -> Finished:
    """The finished images of a run's evaluation as it would be made now.

    pictures: what the record says of pictures that the run brings along. begin: make the folder,
    where there is none. Raises BenchError for a missing input.
    """
    numbers = Counter(pair.dataset for pair in plan.test_pairs())
    resume = plan.places.resume
    if not begin and not list(resume.glob(f"{PREFIX}*")):
        return Finished(resume / f"{PREFIX}none", numbers)  # nothing has to be hashed
    folder = resume / f"{PREFIX}{_digest(plan, pictures)}"
    if begin:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / RUN).write_text(plan.key, encoding="utf-8")
    return Finished(folder, numbers)


def forget_images(plan: RunPlan) -> None:
    """Remove the finished images of a run that is evaluated."""
    for folder, key in begun(plan.places.resume).items():
        if key == plan.key and folder.name.startswith(PREFIX):
            shutil.rmtree(folder, ignore_errors=True)


def _digest(plan: RunPlan, pictures: dict[str, Any]) -> str:
    """What the rows of one image depend on: all that DVC watches of an evaluation, and torch."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    state = [
        plan.suite,
        plan.key,
        plan.entry.model_dump_json(),
        plan.how.model_dump_json(),
        " ".join(plan.metrics),
        str(plan.versions() | {file: registry.version(file) for file in FILES}),
        str(sorted(plan.plugins.items())),
        str(pictures),
        device,
        torch.__version__,
    ]
    for module in (plan.method, plan.backbone):
        state.append(Path(str(module.__file__)).read_text(encoding="utf-8"))
    for seed in plan.entry.seeds:
        state.append(sha256(plan.places.weights(seed)))
    for metric in plan.metrics:
        state.append(str(registry.version(f"metrics/{metric}.py")))
    images = plan.test_images
    state += [sha256(images.folder / name / "manifest.csv") for name in images.sets]
    for part in plan.test_prior.parts:
        record = part.folder / "prior.json"
        if record.exists():
            state.append(str(read_json(record)))
        state.append(str(registry.version(f"priors/kinds/{part.kind}.py")))
    return hashlib.sha256("\0".join(state).encode()).hexdigest()[:16]


def share_of(pairs: list[Pair], index: int, number: int) -> list[Pair]:
    """Every ``number``-th pair from ``index``; where frames have clips, every so-manieth clip.

    Raises BenchError for a share that is not there.
    """
    check_share(index, number)
    clips: dict[int, list[Pair]] = {}
    for place, pair in enumerate(pairs):
        clips.setdefault(place - pair.place, []).append(pair)
    return [pair for clip in list(clips.values())[index::number] for pair in clip]


def check_share(index: int, number: int) -> None:
    """Raise BenchError unless ``index`` is one of 0 to ``number`` - 1."""
    if number < 1 or not 0 <= index < number:
        raise BenchError(
            f"shard {index} of {number}: shards are counted from 0 to the number less one"
        )
