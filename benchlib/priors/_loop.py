"""The loop over images that is the same for every prior: kept or made, timed, a refused one
named.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchlib import imageio, registry
from benchlib.contracts import BenchError
from benchlib.files import new_file, progress, spread
from benchlib.priors._meter import Meter

VERSION = 1
Record = dict[str, Any]


def device_name(name: str = "auto") -> str:
    """ "cpu" or "cuda..."; "auto" is the accelerator if there is one. Raises BenchError for
    others.
    """
    if name == "cpu":
        return name
    import torch

    cuda = torch.cuda.is_available()
    if name == "auto":
        return "cuda" if cuda else "cpu"
    if name.startswith("cuda") and cuda:
        return name
    there = "auto, cpu, cuda" if cuda else "auto, cpu"
    raise BenchError(f"device {name}: not here; may be {there}")


@dataclass
class Provider:
    """One prior with its settings, on one device; its model is loaded when the first image needs
    it.

    name: its file's stem. kept: a folder that keeps finished priors by what they were made from
    (pixels, settings, weights, versions, device); None: nothing is kept. give: in place of the
    file's own ``open``, for tests.
    """

    name: str
    config: Any
    device: str = "auto"
    kept: Path | None = None
    give: Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        self.module = registry.load("priors", self.name)
        self.kind = registry.load("priors/kinds", self.module.KIND)
        if getattr(self.module, "ON_CPU", False):
            self.device = "cpu"
        self.device = device_name(self.device)
        self.meter: Meter | None = None

    def about(self) -> Record:
        """What it gives is made by: the prior's own record, versions, kind and device."""
        return {
            "prior": self.name,
            "kind": self.module.KIND,
            "device": self.device,
            "version": {file: registry.version(file) for file in self.files()},
        } | self.module.record(self.config, self.device)

    def files(self) -> list[str]:
        """The files of the package that what it gives passes through."""
        own = [f"priors/{self.name}.py", f"priors/kinds/{self.module.KIND}.py"]
        return [*own, "priors/_loop.py", "imageio.py"]

    def told(self, dataset: str, image: str) -> list[Record]:
        """What the prior is told of an image by its name, beside the pixels; [] for most priors.

        Raises BenchError where the prior refuses the image for it.
        """
        if not hasattr(self.module, "told"):
            return []
        return [self.module.told(self.config, dataset, image)]

    def load_model(self) -> None:
        """Load the model, once. Raises BenchError if it cannot be had: that stops the loop."""
        if self.give is None:
            self.give = self.module.open(self.config, self.device)
        if self.meter is None:
            self.meter = Meter(self.device)

    def make(self, image: np.ndarray, file: Path, *told: Record) -> Record:
        """Compute one image's prior and write it; its facts, with seconds and peak memory.

        Raises BenchError for an image that the prior refuses.
        """
        self.load_model()
        assert self.give is not None and self.meter is not None
        with self.meter.image() as taken:
            stored = self.give(image, *told)
            self.kind.save(file, stored)
        notes = {}
        if hasattr(self.give, "notes"):
            notes = self.give.notes()
        return self.kind.facts(stored) | notes | taken


def compute(provider: Provider, images: dict[str, Path], out: Path, what: str = "") -> list[Record]:
    """What :func:`each_prior` gives of every image (name -> file), in order."""
    return list(each_prior(provider, images.items(), len(images), out, what))


def each_prior(
    provider: Provider,
    images: Iterable[tuple[str, Path]],
    number: int,
    out: Path,
    what: str = "",
) -> Iterator[Record]:
    """Write ``out/<name>.npz`` for every image (name, file); one record an image, in order.

    The folder ``out`` has the set's name. number: of the images; of many, the files lie apart
    (``files.spread``). what: the line of progress begins with it. A record: image (its name), the
    kind's facts, the prior's own notes, seconds and peak_mib (when it was computed; memory over the
    loaded model's), sha256 (of the pixels), refused (None, or why there is no file: the others
    still get done, a last line names the refused). What was finished before a kill, or is
    unchanged, is not computed again.
    """
    if not provider.kind.ENTRIES:
        return
    out.mkdir(parents=True, exist_ok=True)
    made_from = provider.about()
    title = f"{what} {provider.name}".strip()
    refused, doubts = [], []
    for name, path in progress(images, title, total=number):
        file = spread(out, f"{name}.npz", number)
        record = {"image": name, **_one(provider, made_from, (out.name, name), path, file)}
        if record["refused"]:
            refused.append(name)
        if record.get("doubt"):
            doubts.append(f"{name}: {record['doubt']}")
        yield record
    if refused:
        print(f"{title}: refused {len(refused)} of {number} images: {', '.join(refused)}")
    for doubt in doubts:
        print(f"{title}: {doubt}")


def fill(
    provider: Provider, images: Iterable[tuple[str, str, Path]], number: int, what: str
) -> dict[str, str]:
    """Compute the priors of images (set, name, file) that are not kept yet; nothing else is
    written.

    The provider has a folder that keeps them, where ``compute`` finds them. number: of the images.
    what: the line of progress begins with it. Returns the refused images: ``<set>/<name>`` -> why.
    """
    assert provider.kept is not None
    made_from = provider.about()
    provider.kept.mkdir(parents=True, exist_ok=True)
    refused = {}
    with TemporaryDirectory(prefix=".new-", dir=provider.kept) as folder:
        file = Path(folder) / "prior.npz"
        for dataset, name, path in progress(images, f"{what} {provider.name}", total=number):
            record = _one(provider, made_from, (dataset, name), path, file)
            if record["refused"]:
                refused[f"{dataset}/{name}"] = record["refused"]
    return refused


def _one(
    provider: Provider, made_from: Record, place: tuple[str, str], path: Path, file: Path
) -> Record:
    """The record of one image, without its name. place: its set and its name."""
    try:
        image = imageio.read_image(path)
        told = provider.told(*place)
    except BenchError as error:
        return _refused(file, error)
    pixels = hashlib.sha256(str(image.shape).encode() + image.tobytes()).hexdigest()
    words = json.dumps([made_from, pixels, *told], sort_keys=True)
    key = hashlib.sha256(words.encode()).hexdigest()
    facts = _found(provider, key, file)
    if facts is None:
        provider.load_model()  # a model that cannot be loaded is no image's fault: not caught
        try:
            facts = provider.make(image, file, *told) | {"sha256": pixels}
        except BenchError as error:
            return _refused(file, error)
        if "missing" not in facts:  # what could not be had now is tried again the next time
            _keep(provider.kept, key, file, facts)
    return facts | {"refused": None}


def _refused(file: Path, error: BenchError) -> Record:
    file.unlink(missing_ok=True)  # of an earlier, readable image of that name
    return {"refused": str(error)}


def _found(provider: Provider, key: str, file: Path) -> Record | None:
    """The facts of an image made before, copied to ``file``; None if it was not, or is damaged."""
    if provider.kept is None:
        return None
    stored, note = _places(provider.kept, key)
    if not note.exists():
        return None
    try:
        provider.kind.load(stored)
        facts = json.loads(note.read_text())
    except (BenchError, ValueError):
        return None
    with new_file(file) as temporary:
        shutil.copyfile(stored, temporary)
    return facts


def _keep(kept: Path | None, key: str, file: Path, facts: Record) -> None:
    if kept is None:
        return
    stored, note = _places(kept, key)
    with new_file(stored) as temporary:
        shutil.copyfile(file, temporary)
    with new_file(note) as temporary:  # last: its presence says that all is there
        temporary.write_text(json.dumps(facts))


def _places(kept: Path, key: str) -> tuple[Path, Path]:
    """Where an image's prior and its facts are kept: in one of 4,096 folders, so that none is huge.

    What an earlier version kept lies in ``kept`` itself, and is found there.
    """
    folder = kept / key[:3]
    if (kept / f"{key}.json").exists():
        folder = kept
    return folder / f"{key}.npz", folder / f"{key}.json"


def prior_of_image(provider: Provider, image: Path, folder: Path) -> Any:
    """What a provider gives for one image file, through the same cache, kept in ``folder``.

    Raises BenchError, naming the image, if it is refused.
    """
    record = compute(provider, {image.stem: image}, folder)[0]
    if record["refused"]:
        raise BenchError(f"{image}: {record['refused']}")
    return provider.kind.load(folder / f"{image.stem}.npz")
