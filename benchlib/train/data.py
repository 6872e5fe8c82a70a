"""Training crops: which one is the n-th depends on the seed and n alone. Layer 3."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from benchlib import registry
from benchlib.contracts import BenchError, Window
from benchlib.params import Training
from benchlib.plan import RunPlan
from benchlib.priors._read import PriorSet, Stored
from benchlib.records import Pair
from benchlib.seeding import name_rng

VERSION = 1
KEPT = 2**30  # bytes of items and priors that a run keeps in memory, all its loading processes


class Crops(Dataset):
    """Random crops of items and their priors, flipped and turned together.

    crop: side in pixels of lq; hq's is ``scale`` times that. task: a file of ``tasks``.
    mix, repeats: which pair a crop is of, as ``params.Training`` says.
    """

    def __init__(
        self,
        task: str,
        pairs: list[Pair],
        prior: PriorSet,
        crop: int,
        seed: int,
        keep: int = KEPT,
        mix: str = "size",
        repeats: Mapping[str, int] | None = None,
    ):
        if not pairs:
            raise BenchError("training: the data set has no pairs; check its manifest.csv")
        self.task_name, self.pairs, self.prior = task, pairs, prior
        self.side, self.seed = crop, seed
        self.mix = mix
        self._counted = _counted(pairs, repeats or {})
        self._sets: dict[str, list[int]] = {}
        for index, pair in enumerate(pairs):
            self._sets.setdefault(pair.dataset, []).append(index)
        self._kept: OrderedDict[int, tuple[Any, Stored]] = OrderedDict()
        self._free = keep

    @property
    def task(self) -> Any:
        """The task's file; not kept here, since loading processes get a copy of this object."""
        return registry.load("tasks", self.task_name)

    def __getitem__(self, n: int) -> dict[str, Any]:
        """Crop ``n``: "item" (``lq``, ``hq``) and "prior" (part -> entries)."""
        item, stored = self._open(self.pair_of(n))
        window = self._window(n, self.task.size(item))
        return {
            "item": self.task.crop(item, window),
            "prior": self.prior.crop(stored, window),
        }

    def pair_of(self, n: int) -> int:
        """Which of the pairs crop ``n`` is cut from.

        mix "size": every pair once an epoch, or as often as its set repeats (PromptIR). "uniform":
        a set, each as likely, then a pair of it (LMDIR). "cycle": the sets in turn, so that as many
        crops as there are sets hold one of each; a set's pairs in epochs of its own (AirNet).
        """
        if self.mix == "uniform":
            rng = name_rng("mix", self.seed, n)
            members = list(self._sets.values())[rng.integers(len(self._sets))]
            return members[rng.integers(len(members))]
        if self.mix == "cycle":
            turn, place = divmod(n, len(self._sets))
            name, members = list(self._sets.items())[place]
            return members[_in_epochs(turn, len(members), "order", name, self.seed)]
        return self._counted[_in_epochs(n, len(self._counted), "order", self.seed)]

    def _window(self, n: int, size: tuple[int, int]) -> Window:
        rng = name_rng("crop", self.seed, n)
        top = int(rng.integers(size[0] - self.side + 1))
        left = int(rng.integers(size[1] - self.side + 1))
        turns = [bool(bit) for bit in rng.integers(2, size=3)]
        return Window(top, left, self.side, self.side, *turns)

    def _open(self, index: int) -> tuple[Any, Stored]:
        """One item and its prior, whole; the last ones used are kept, as many as fit."""
        if index not in self._kept:
            self._kept[index] = self._read(index)
            self._free -= self._nbytes(index)
        self._kept.move_to_end(index)
        while self._free < 0 and len(self._kept) > 1:
            oldest = next(iter(self._kept))
            self._free += self._nbytes(oldest)
            del self._kept[oldest]
        return self._kept[index]

    def _read(self, index: int) -> tuple[Any, Stored]:
        pair = self.pairs[index]
        item = self.task.read(pair)
        size = self.task.size(item)
        if min(size) < self.side:
            raise BenchError(
                f"{pair.lq}: {size} pixels are too few for training crops of {self.side}"
            )
        return item, self.prior.load(pair.dataset, pair.image, size)

    def _nbytes(self, index: int) -> int:
        item, stored = self._kept[index]
        held = self.task.nbytes(item)
        for prior in stored.values():
            arrays = [value for value in vars(prior).values() if isinstance(value, np.ndarray)]
            held += sum(array.nbytes for array in arrays)
        return held

    def collate(self, crops: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Several crops as one batch: what the task gives, and what the method reads of the
        prior.
        """
        names = crops[0]["item"]
        batch = {name: torch.stack([crop["item"][name] for crop in crops]) for name in names}
        return batch | self.prior.collate([crop["prior"] for crop in crops])


def _counted(pairs: list[Pair], repeats: Mapping[str, int]) -> list[int]:
    """The pairs' numbers, each as often as it comes in an epoch."""
    counted = []
    for index, pair in enumerate(pairs):
        counted += [index] * repeats.get(pair.dataset, 1)
    return counted


def _in_epochs(n: int, count: int, *names: str | int) -> int:
    """The n-th of ``count`` things that come once each in an epoch, in an order by ``names``."""
    epoch, place = divmod(n, count)
    return int(name_rng(*names, epoch).permutation(count)[place])


def crops_of(plan: RunPlan, budget: Training | None = None, seed: int | None = None) -> Crops:
    """The training crops of one run, as the loop draws them.

    Of its first budget and first seed, if none is given.
    """
    budget = budget or plan.budgets[0]
    if seed is None:
        seed = plan.entry.seeds[0]
    return Crops(
        task=plan.task.__name__.rpartition(".")[2],
        pairs=plan.training_pairs(budget),
        prior=plan.train_prior,
        crop=budget.crop,
        seed=seed,
        keep=KEPT // max(1, budget.workers),
        mix=budget.mix,
        repeats=budget.repeats,
    )
