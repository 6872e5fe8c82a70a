"""Training crops: which one is the n-th depends on the seed and n alone. Layer 3.

Where the pairs do not fit into memory, they are read from files that hold them decoded
(``unpacked``): the crops are the same, bit for bit.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, default_collate

from benchlib import registry
from benchlib.contracts import BenchError, Frames, Window
from benchlib.files import check_writable
from benchlib.imageio import to_unit
from benchlib.params import Training
from benchlib.plan import RunPlan
from benchlib.priors._read import PriorSet, Stored
from benchlib.records import Pair
from benchlib.seeding import name_rng
from benchlib.train.unpacked import Unpacked, check_room, gib

VERSION = 1
IMAGES = ("lq", "hq", "unpaired")  # of a batch
KEPT = 2**30  # bytes of items and priors that a run keeps in memory, in all its processes
SAMPLE = 4  # pairs that are opened to estimate what all take
LOOKED_FOR = 64  # pairs that are looked for, to estimate how many are unpacked already


class Crops(Dataset):
    """Random crops of items and their priors, flipped and turned together.

    crop: side in pixels of lq; hq's is ``scale`` times that. task: a file of ``tasks``. keep:
    bytes of pairs and priors that stay in memory. unpacked: where they are mapped from instead.
    unpaired: whether each has a crop of another pair's hq beside it, drawn by its number.
    mix, repeats: which pair a crop is of, as ``params.Training`` says. frames: of a network of
    clips; a crop then shows the same place in several frames.
    Raises BenchError for no pairs, a single one where others are wanted, or a clip that is too
    short.
    """

    def __init__(
        self,
        task: str,
        pairs: list[Pair],
        prior: PriorSet,
        crop: int,
        seed: int,
        keep: int = KEPT,
        unpacked: Unpacked | None = None,
        unpaired: bool = False,
        mix: str = "size",
        repeats: Mapping[str, int] | None = None,
        frames: Frames | None = None,
    ):
        if not pairs:
            raise BenchError("training: the data set has no pairs; check its manifest.csv")
        if unpaired and len(pairs) == 1:
            raise BenchError(
                "training: the data set has one pair, and the method learns from the hq of other "
                "pairs; give it two or more"
            )
        self.task_name, self.pairs, self.prior = task, pairs, prior
        self.side, self.seed, self.unpacked = crop, seed, unpacked
        self.unpaired, self.mix, self.frames = unpaired, mix, frames
        self._counted = _counted(pairs, repeats or {})
        self._sets: dict[str, list[int]] = {}
        for index, pair in enumerate(pairs):
            self._sets.setdefault(pair.dataset, []).append(index)
        if frames is not None:
            for pair in pairs:
                self.task.check_length(pair, frames)
        self._kept: OrderedDict[int, tuple[Any, Stored]] = OrderedDict()
        self.keep = self._free = keep

    @property
    def task(self) -> Any:
        """The task's file; not kept here, since loading processes get a copy of this object."""
        return registry.loaded("tasks", self.task_name)

    def __getitem__(self, n: int) -> dict[str, Any]:
        """Crop ``n``: "item" (``lq``, ``hq``, perhaps ``unpaired``), "prior" (part -> entries; of
        a clip, one a frame).
        """
        index = self.pair_of(n)
        item, stored = self._open(index)
        window = self._window(name_rng("crop", self.seed, n), self.task.size(item))
        if self.frames is not None:
            return self._of_frames(n, index, window, self.frames)
        crop = self.task.crop(item, window)
        if self.unpaired:
            crop["unpaired"] = self._unpaired(n, index)
        return {"item": crop, "prior": self.prior.crop(stored, window)}

    def _of_frames(self, n: int, index: int, window: Window, frames: Frames) -> dict[str, Any]:
        """One window of several frames around, or from, frame number ``index`` of the pairs."""
        pair = self.pairs[index]
        places = self.task.drawn(pair, frames, name_rng("frames", self.seed, n))
        crops, priors = [], []
        for place in places:
            item, stored = self._open(index - pair.place + place)
            crops.append(self.task.crop(item, window))
            priors.append(self.prior.crop(stored, window))
        return {"item": self.task.joined(crops, frames), "prior": priors}

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
        """One item and its prior, whole: mapped, or read; the last ones that were read are kept, as
        many as fit.
        """
        if self.unpacked is not None and self.unpacked.writes:
            return self._read(index)
        if index not in self._kept:
            self._kept[index] = self._read(index)
            self._free -= nbytes(self.task, *self._kept[index])
        self._kept.move_to_end(index)
        while self._free < 0 and len(self._kept) > 1:
            _, oldest = self._kept.popitem(last=False)
            self._free += nbytes(self.task, *oldest)
        return self._kept[index]

    def _read(self, index: int) -> tuple[Any, Stored]:
        """One item and its prior, whole, from their files.

        Raises BenchError for an item that is smaller than a crop, and as its task and its kind do.
        """
        pair = self.pairs[index]
        item = self._item(pair)
        size = self.task.size(item)
        if min(size) < self.side:
            raise BenchError(
                f"{pair.lq}: {size} pixels are too few for training crops of {self.side}"
            )
        if self.unpacked is None:
            return item, self.prior.load(pair.dataset, pair.image, size)
        return item, self.unpacked.prior(self.prior, pair, size)

    def _item(self, pair: Pair) -> Any:
        if self.unpacked is None:
            return self.task.read(pair)
        return self.unpacked.item(self.task_name, pair)

    def collate(self, crops: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Several crops as one batch: what the task gives, and what the method reads of the prior.

        Images in 8-bit levels where their files have them, and whole numbers in two bytes where
        these hold them: a quarter as much to hand from one process, or device, to another.
        :func:`as_read` makes of them what methods read.
        """
        # stacked by torch in the memory that a loading process shares: nothing is copied once more
        batch = default_collate([crop["item"] for crop in crops])
        prior = self._collated([crop["prior"] for crop in crops])
        return batch | {name: _narrowed(value) for name, value in prior.items()}

    def _collated(self, priors: list[Any]) -> dict[str, torch.Tensor]:
        """What the method reads of the crops' priors: of frames, one after the other."""
        if self.frames is None:
            return self.prior.collate(priors)
        each = self.prior.collate(list(chain.from_iterable(priors)))
        shape = (len(priors), self.frames.trained)
        return {name: value.unflatten(0, shape) for name, value in each.items()}


def _narrowed(value: torch.Tensor) -> torch.Tensor:
    """Whole numbers in two bytes where these hold them all: the numbers of masks."""
    if value.dtype != torch.int64 or not value.numel():
        return value
    least, most = value.aminmax()
    if least < -(2**15) or most >= 2**15:
        return value
    return value.to(torch.int16)


def as_read(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What ``Crops.collate`` gives as methods read it: images float32 in [0,1], numbers int64."""
    found = dict(batch)
    for name, value in batch.items():
        if name in IMAGES:
            found[name] = to_unit(value)
        elif value.dtype == torch.int16:
            found[name] = value.long()
    return found


def _counted(pairs: list[Pair], repeats: Mapping[str, int]) -> list[int]:
    """The pairs' numbers, each as often as it comes in an epoch."""
    counted = []
    for index, pair in enumerate(pairs):
        counted += [index] * repeats.get(pair.dataset, 1)
    return counted


def _in_epochs(n: int, count: int, *names: str | int) -> int:
    """The n-th of ``count`` things that come once each in an epoch, in an order by ``names``."""
    epoch, place = divmod(n, count)
    return int(_order(count, *names, epoch)[place])


@lru_cache(maxsize=64)  # an epoch's order is asked for by each of its crops
def _order(count: int, *names: str | int) -> np.ndarray:
    return name_rng(*names).permutation(count)


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
        unpaired=plan.method.INFO.unpaired,
        mix=budget.mix,
        repeats=budget.repeats,
        frames=plan.frames,
    )


def unpack(crops: Crops, plan: RunPlan, budget: Training) -> Crops:
    """The same crops, mapped from unpacked files where ``training.unpack`` says so, or that pays.

    It pays where each pair is opened twice or more, and a loading process cannot keep them all.
    Says what will be. Raises BenchError where the disk has no room for what is "always" unpacked.
    """
    drawn = budget.iterations * budget.batch * len(plan.entry.seeds)
    always, often = budget.unpack == "always", drawn >= 2 * len(crops.pairs)
    if budget.unpack == "never" or not (always or often):
        return crops
    taken = estimate(crops)
    if taken <= crops.keep and not always:
        return crops
    found = Unpacked(plan.unpacked)
    needed = round(taken * _missing(crops, found))
    if not check_room(plan.unpacked, needed, forced=always):
        return crops
    check_writable(plan.unpacked)
    print(
        f"training: {len(crops.pairs)} pairs take {gib(taken)} decoded, a loading process keeps "
        f"{gib(crops.keep)}; so each is unpacked as it is first opened: {gib(needed)} to write in "
        f"{plan.unpacked}",
        flush=True,
    )
    crops.unpacked = found
    return crops


def estimate(crops: Crops) -> int:
    """Bytes that all pairs and what is read of their priors take, by a few of them."""
    sample = _spread(len(crops.pairs), SAMPLE)
    taken = [nbytes(crops.task, *crops._read(index)) for index in sample]
    return len(crops.pairs) * sum(taken) // len(sample)


def nbytes(task: Any, item: Any, stored: Stored) -> int:
    """Bytes of an item and its prior in memory."""
    held = task.nbytes(item)
    for prior in stored.values():
        arrays = [value for value in vars(prior).values() if isinstance(value, np.ndarray)]
        held += sum(array.nbytes for array in arrays)
    return held


def _missing(crops: Crops, unpacked: Unpacked) -> float:
    """The share of pairs that are not unpacked yet, by some of them."""
    sample = _spread(len(crops.pairs), LOOKED_FOR)
    found = [unpacked.has(crops.task_name, crops.prior, crops.pairs[index]) for index in sample]
    return found.count(False) / len(found)


def _spread(count: int, most: int) -> list[int]:
    """At most so many of the numbers below ``count``, evenly spread.

    >>> _spread(10, 4), _spread(2, 4)
    ([0, 2, 5, 7], [0, 1])
    """
    most = min(most, count)
    return [i * count // most for i in range(most)]
