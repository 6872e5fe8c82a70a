"""A run, resolved once: names become things here, and nothing below asks the parameters again.

Layer 3. ``open_run`` gives one frozen plan; training, evaluation, notebooks and the cost table take
it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from benchlib import registry
from benchlib.checks import budgets
from benchlib.contracts import Frames, entries_read
from benchlib.params import Evaluation, Run, Suite, Training, configure, located
from benchlib.priors._read import Part, PriorSet
from benchlib.records import ImageSets, Pair, image_sets, read_pairs
from benchlib.sources import Sides, sides_of
from benchlib.tasks.image import Tiles


@dataclass(frozen=True)
class Places:
    """Where a run's outputs go.

    run: its folder of weights and record. restored: its folder of restored images. rows, record,
    loss: files under ``results``. resume: where checkpoints lie until it is done.
    """

    run: Path
    restored: Path
    rows: Path
    record: Path
    loss: Path
    resume: Path

    def weights(self, seed: int) -> Path:
        """The trained weights of one seed."""
        return self.run / f"seed{seed}.safetensors"


@dataclass(frozen=True)
class RunPlan:
    """Everything that one run is: its files with their settings, budgets, images, priors, places.

    entry: what ``params.yaml`` says of it. task, method, backbone: files of those folders.
    budgets: what training tries; budget: what its entry says, with the candidates' changes.
    train_images, test_images: collections; starts: seed -> weights that training begins with (None:
    the network's own random start). metrics: files of ``metrics`` that are measured.
    plugins: file -> "version" and "sha256" of what its numbers pass through outside the checkout.
    sides: images that must not meet. params: what ``params.yaml`` said, for processes that this one
    starts: they open the plan anew.
    """

    suite: str
    key: str
    entry: Run
    label: str
    task: ModuleType
    method: ModuleType
    method_config: Any
    backbone: ModuleType
    backbone_config: Any
    needs: tuple[str, ...]
    budget: Training
    budgets: tuple[Training, ...]
    how: Evaluation
    metrics: tuple[str, ...]
    train_images: ImageSets
    test_images: ImageSets
    sides: Sides
    train_prior: PriorSet
    test_prior: PriorSet
    starts: dict[int, Path | None]
    places: Places
    kept_priors: Path
    unpacked: Path
    plugins: dict[str, dict[str, Any]]
    params: Suite

    @property
    def trains(self) -> bool:
        """Whether there is anything to train."""
        return self.method.INFO.trains

    @property
    def has_network(self) -> bool:
        """Whether a network restores: one that trains, or one that the method brings."""
        return self.trains or self.method.INFO.own == "network"

    @property
    def tiles(self) -> Tiles:
        """When and how images are cut at test time."""
        return Tiles(self.how.tile, self.how.overlap)

    def record_of_plugins(self) -> dict[str, Any]:
        """ "plugins" for a record, where there are any: a git revision says nothing of them."""
        if not self.plugins:
            return {}
        return {"plugins": self.plugins}

    @property
    def frames(self) -> Frames | None:
        """How the run's network reads time; None where it restores each image by itself."""
        of_clips = hasattr(self.backbone, "frames") and getattr(self.task, "CLIPS", False)
        if not of_clips or not self.trains:
            return None
        return self.backbone.frames(self.backbone_config)

    def pairs(self, images: ImageSets) -> list[Pair]:
        """The pairs of sets, as the task reads them: frames know their clips."""
        return self.joined(read_pairs(images))

    def joined(self, pairs: list[Pair]) -> list[Pair]:
        """The same pairs, as the task reads them."""
        if getattr(self.task, "CLIPS", False):
            return self.task.in_clips(pairs)
        return pairs

    def training_pairs(self, budget: Training) -> list[Pair]:
        """What a budget trains on: its sets, or all of the collection but the one held out."""
        every_set = [name for name in self.train_images.sets if name != self.entry.validation]
        return self.pairs(self.train_images.only(budget.sets or every_set))

    def held_out_pairs(self) -> list[Pair]:
        """What training is watched by; empty where nothing is held out."""
        if self.entry.validation is None:
            return []
        return self.pairs(self.train_images.only([self.entry.validation]))

    def test_pairs(self) -> list[Pair]:
        """What the run is measured on."""
        return self.pairs(self.test_images)

    def versions(self) -> dict[str, int]:
        """The version of every file of the package that the run's numbers pass through."""
        own = {
            f"methods/{self.entry.method['name']}.py",
            f"backbones/{self.entry.backbone['name']}.py",
            f"tasks/{self.task.__name__.rpartition('.')[2]}.py",
        }
        return {file: registry.version(file) for file in sorted(own | set(SHARED))}


SHARED = (
    "contracts.py",
    "imageio.py",
    "seeding.py",
    "params.py",
    "restore.py",
    "priors/_read.py",
    "train/data.py",
    "train/losses.py",
    "train/loop.py",
    "train/record.py",
    "metrics/__init__.py",
    "metrics/psnr.py",
)


def open_run(suite: Suite, key: str) -> RunPlan:
    """Resolve one run of a suite.

    Raises BenchError for an unknown run, file or setting. Images, priors and weights need not be
    there yet.
    """
    run = suite.run(key)
    method, method_config = configure("methods", run.method, f"runs.{key}.method")
    method_config = located(method, method_config, suite.folder)
    backbone, backbone_config = configure("backbones", run.backbone, f"runs.{key}.backbone")
    needs = entries_read(method, method_config)
    return RunPlan(
        suite=suite.suite,
        key=key,
        entry=run,
        label=run.label or method.INFO.label,
        task=registry.load("tasks", suite.task),
        method=method,
        method_config=method_config,
        backbone=backbone,
        backbone_config=backbone_config,
        needs=needs,
        budget=suite.training_of(key),
        budgets=tuple(budgets(suite, key)),
        how=suite.evaluation_of(key),
        metrics=tuple(suite.metrics),
        train_images=image_sets(suite, run.images.train),
        test_images=image_sets(suite, run.images.test),
        sides=sides_of(suite, key),
        train_prior=open_prior(suite, run.prior.train, needs, run.prior.swap),
        test_prior=open_prior(suite, run.prior.test, needs, run.prior.swap),
        starts={seed: _start(suite, run, seed) for seed in run.seeds},
        places=_places(suite, key),
        kept_priors=suite.kept_priors,
        unpacked=suite.unpacked,
        plugins=registry.fingerprints(_named(suite, run)),
        params=suite,
    )


def _named(suite: Suite, run: Run) -> set[str]:
    """The files of layer 2 that a run's numbers pass through, its images and priors included."""
    named = {
        f"methods/{run.method['name']}.py",
        f"backbones/{run.backbone['name']}.py",
        f"tasks/{suite.task}.py",
    }
    named |= {f"metrics/{name}.py" for name in suite.metrics}
    for collection in {run.images.train, run.images.test}:
        for choice in suite.collection(collection).values():
            named.add(f"datasets/{choice['name']}.py")
            if "degrade" in choice:
                named.add(f"degrade/{choice['degrade']['name']}.py")
    for key in {run.prior.train, run.prior.test}:
        for prior in suite.bundle(key).values():
            named |= {f"priors/{prior.prior['name']}.py", f"priors/kinds/{prior.kind}.py"}
    return named


def open_prior(
    suite: Suite, key: str, needs: tuple[str, ...] = (), swap: str | None = None
) -> PriorSet:
    """What a run names as its prior: one entry of ``priors``, or the parts of a bundle."""
    folder = suite.work / "priors" / key
    parts = [Part(name, prior.kind, folder / name) for name, prior in suite.bundle(key).items()]
    return PriorSet(tuple(parts), needs, swap)


def _start(suite: Suite, run: Run, seed: int) -> Path | None:
    """The weights that a run starts from; of a run trained here the same seed's, or its first."""
    kind, _, name = run.init.partition("/")
    if kind == "weights":
        if suite.start(name).asset is None:
            return None
        return suite.work / "weights" / name / "weights.safetensors"
    seeds = suite.run(name).seeds
    if seed not in seeds:
        seed = seeds[0]
    return _places(suite, name).weights(seed)


def _places(suite: Suite, key: str) -> Places:
    return Places(
        run=suite.work / "runs" / key,
        restored=suite.work / "restored" / key,
        rows=suite.results / "rows" / f"{key}.csv",
        record=suite.results / "records" / f"{key}.json",
        loss=suite.results / "loss" / f"{key}.csv",
        resume=suite.work / ".resume",
    )
