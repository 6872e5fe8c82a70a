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
KEPT = 2**30  # bytes of items and priors that a run keeps in memory, all its loading processes


class Crops(Dataset):
    """Random crops of items and their priors, flipped and turned together.

    crop: side in pixels of lq; hq's is ``scale`` times that. task: a file of ``tasks``.
    unpaired: whether each has a crop of another pair's hq beside it, drawn by its number.
    Raises BenchError for no pairs, or a single one where others are wanted.
    """

    def __init__(
        self,
        task: str,
        pairs: list[Pair],
        prior: PriorSet,
        crop: int,
        seed: int,
        keep: int = KEPT,
        unpaired: bool = False,
    ):
        if not pairs:
            raise BenchError("training: the data set has no pairs; check its manifest.csv")
        if unpaired and len(pairs) == 1:
            raise BenchError(
                "training: the data set has one pair, and the method learns from the hq of other "
                "pairs; give it two or more"
            )
        self.task_name, self.pairs, self.prior = task, pairs, prior
        self.side, self.seed, self.unpaired = crop, seed, unpaired
        self._kept: OrderedDict[int, tuple[Any, Stored]] = OrderedDict()
        self._free = keep

    @property
    def task(self) -> Any:
        """The task's file; not kept here, since loading processes get a copy of this object."""
        return registry.load("tasks", self.task_name)

    def __getitem__(self, n: int) -> dict[str, Any]:
        """Crop ``n``: "item" (``lq``, ``hq``, perhaps ``unpaired``), "prior" (part -> entries)."""
        epoch, place = divmod(n, len(self.pairs))
        order = name_rng("order", self.seed, epoch).permutation(len(self.pairs))
        index = int(order[place])
        item, stored = self._open(index)
        window = self._window(name_rng("crop", self.seed, n), self.task.size(item))
        crop = self.task.crop(item, window)
        if self.unpaired:
            crop["unpaired"] = self._unpaired(n, index)
        return {"item": crop, "prior": self.prior.crop(stored, window)}

    def _unpaired(self, n: int, index: int) -> torch.Tensor:
        """A crop of the hq of some pair but number ``index``: ``(3,scale side,scale side)``."""
        rng = name_rng("unpaired", self.seed, n)
        other = int(rng.integers(len(self.pairs) - 1))
        if other >= index:
            other += 1
        item, _ = self._open(other)
        return self.task.crop(item, self._window(rng, self.task.size(item)))["hq"]

    def _window(self, rng: np.random.Generator, size: tuple[int, int]) -> Window:
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
        unpaired=plan.method.INFO.unpaired,
    )
