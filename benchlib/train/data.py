"""Training crops: which one is the n-th depends on the seed and n alone. Layer 3."""

from __future__ import annotations

from collections import OrderedDict
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
KEPT = 2**30  # bytes of items and priors that a run keeps in memory, in all its processes


class Crops(Dataset):
    """Random crops of items and their priors, flipped and turned together.

    crop: side in pixels of lq; hq's is ``scale`` times that. task: a file of ``tasks``.
    """

    def __init__(
        self,
        task: str,
        pairs: list[Pair],
        prior: PriorSet,
        crop: int,
        seed: int,
        keep: int = KEPT,
    ):
        if not pairs:
            raise BenchError("training: the data set has no pairs; check its manifest.csv")
        self.task_name, self.pairs, self.prior = task, pairs, prior
        self.side, self.seed = crop, seed
        self._kept: OrderedDict[int, tuple[Any, Stored]] = OrderedDict()
        self._free = keep

    @property
    def task(self) -> Any:
        """The task's file; not kept here, since loading processes get a copy of this object."""
        return registry.load("tasks", self.task_name)

    def __getitem__(self, n: int) -> dict[str, Any]:
        """Crop ``n``: "item" (``lq``, ``hq``) and "prior" (part -> entries)."""
        epoch, place = divmod(n, len(self.pairs))
        order = name_rng("order", self.seed, epoch).permutation(len(self.pairs))
        item, stored = self._open(int(order[place]))
        window = self._window(n, self.task.size(item))
        return {
            "item": self.task.crop(item, window),
            "prior": self.prior.crop(stored, window),
        }

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


def crops_of(
    plan: RunPlan, budget: Training | None = None, seed: int | None = None, devices: int = 1
) -> Crops:
    """The training crops of one run, as the loop draws them.

    Of its first budget and first seed, if none is given. devices: how many share the memory that
    they are kept in.
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
        keep=KEPT // (max(1, budget.workers) * devices),
    )
