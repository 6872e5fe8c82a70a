"""What the plots and the page both show of the test images: which ones, which crop, prior and errors as colours.

Layer 4. Images are ``(H,W,3)`` uint8 RGB here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from PIL import Image

from benchlib import registry
from benchlib.checks import entries_given
from benchlib.files import spread_file
from benchlib.imageio import read_image
from benchlib.plan import open_prior
from benchlib.priors._read import PriorSet
from benchlib.records import Pair, image_sets, read_pairs
from benchlib.report import tables

if TYPE_CHECKING:
    from benchlib.params import Prior, Suite

INPUT, PRIOR, SHARP = (
    ":input",
    ":prior",
    ":sharp",
)  # names of layers beside the runs' (no run has a colon)
MASKS = "masks"  # the kind of prior that has a label map, which can lie over every layer
INPUTS = {
    "super-resolution": "input (bicubic)",
    "denoising": "noisy",
    "deblurring": "blurred",
    "low light": "dark",
    "deraining": "rainy",
}  # problem -> its label
MOST = 7  # methods side by side in one figure
ROOM = 40  # runs in a plot or under the page's slider: more cannot be told apart, or take minutes
FEW = 12  # shown where there are more than that: as many as there are colours
KINDS = ("median", "best", "worst")
ERROR_SCALE = 4.0  # error maps: grey levels of difference times this


@dataclass(frozen=True)
class Scene:
    """One test image with everything there is of it, read from disk when asked for."""

    suite: Suite
    pair: Pair
    why: str  # "median", "best", "worst", or several of them joined
    gain: float  # dB; PSNR of the focus run minus its reference
    focus: str  # the run whose gain chose it
    runs: tuple[str, ...]  # the compared runs that restore, measured on it

    @cached_property
    def layers(self) -> dict[str, np.ndarray]:
        """Name -> image: INPUT, one a run, SHARP; all of SHARP's size, as :func:`shown_pair` makes it."""
        folder = self.suite.work / "restored"
        restored = {}
        for run in self.runs:
            place = folder / run / self.pair.dataset
            restored[run] = read_image(spread_file(place, f"{self.pair.image}.png"))
        lq, hq = shown_pair(self.suite, self.pair)
        return {INPUT: lq, **restored, SHARP: hq}

    @cached_property
    def priors(self) -> list[ShownPrior]:
        """The parts of the prior that the focus run, else the last run with a prior, reads of it.

        Each at SHARP's size; none without such a run.
        """
        with_prior = [run for run in (*self.runs, self.focus) if tables.has_prior(self.suite, run)]
        if not with_prior:
            return []
        prior = prior_of_run(self.suite, with_prior[-1])
        small = self.task.size(self.task.read(self.pair))
        stored = prior.load(self.pair.dataset, self.pair.image, small)
        shape = self.layers[SHARP].shape[:2]
        shown = []
        for part in prior.parts:
            if part.name in stored:
                shown.append(_shown(part.kind, stored[part.name], small, shape))
        return shown

    @property
    def task(self) -> ModuleType:
        """The file of ``tasks`` that reads the pair."""
        return registry.load("tasks", self.suite.task)

    @property
    def labels(self) -> np.ndarray | None:
        """The label map of the first prior that has one: ``(H,W)`` uint16 of SHARP's size.

        0 is uncovered; an enlarged mask keeps its label. None where the prior is no masks.
        """
        for prior in self.priors:
            if prior.kind == MASKS:
                return prior.stored.labels
        return None

    def prior_crop(self, window: tuple[slice, slice]) -> np.ndarray | None:
        """What the first prior that shows anything shows of a crop: ``(h,w,3)`` uint8, or None.

        What has no place in the image (a vector) is shown whole, at the crop's size.
        """
        image = self.layers[INPUT]
        for prior in self.priors:
            drawn = prior.picture(image)
            if drawn is None:
                continue
            if prior.placed:
                return drawn[window]
            return enlarged(drawn, image[window].shape[:2])
        return None


@dataclass(frozen=True)
class ShownPrior:
    """One part of a prior: its kind, and what that kind stores, of the size of what is shown.

    placed: whether it has a place in the image, as masks have and a vector has not.
    """

    kind: str
    stored: Any
    placed: bool

    def picture(self, image: np.ndarray) -> np.ndarray | None:
        """What the kind draws of it, ``(H,W,3)`` uint8."""
        return registry.load("priors/kinds", self.kind).picture(self.stored, image)


def _shown(kind: str, stored: Any, small: tuple[int, ...], shape: tuple[int, ...]) -> ShownPrior:
    module = registry.load("priors/kinds", kind)
    placed = not module.fits(stored, (0, 0))
    if placed and tuple(small) != tuple(shape):
        stored = module.resized(stored, shape)
    return ShownPrior(kind, stored, placed)


def prior_of_run(suite: Suite, run: str) -> PriorSet:
    """The prior that a run has at test time, all its entries, with its control if it has one."""
    prior = suite.run(run).prior
    return open_prior(suite, prior.test, tuple(entries_given(suite, prior.test)), prior.swap)


def shown_pair(suite: Suite, pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """A pair as pictures of one size, ``(H,W,3)`` uint8, as the suite's task shows it.

    lq is enlarged by a bicubic kernel if it is smaller; hq is cut to a whole multiple of it.
    Raises BenchError if it is none.
    """
    task = registry.load("tasks", suite.task)
    shown = task.picture(task.read(pair))
    return shown["lq"], shown["hq"]


def enlarged(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """An image ``(h,w,3)`` uint8 at ``shape`` (H,W), by a bicubic kernel (Pillow's, a = -0.5); as it is if it fits."""
    if image.shape[:2] == tuple(shape):
        return image
    return np.asarray(Image.fromarray(image).resize((shape[1], shape[0]), Image.Resampling.BICUBIC))


def layer_label(suite: Suite, layer: str) -> str:
    """A layer's name as shown.

    The input's says what was done to it, if the runs' problems agree; the prior's is its kind, if
    all runs have priors of one.
    """
    if layer == PRIOR:
        kinds = {part.kind for part in _parts_read(suite)}
        return kinds.pop() if len(kinds) == 1 else layer[1:]
    if layer == INPUT:
        problems = {suite.run(run).problem for run in tables.compared(suite)}
        return INPUTS.get(problems.pop(), "input") if len(problems) == 1 else "input"
    return layer[1:] if layer.startswith(":") else tables.run_label(suite, layer)


def _parts_read(suite: Suite) -> list[Prior]:
    """The entries of ``priors`` that the first collection's runs read at test time."""
    found: list[Prior] = []
    for run in tables.compared(suite):
        if tables.has_prior(suite, run):
            found += suite.bundle(suite.run(run).prior.test).values()
    return found


def focus(suite: Suite, rows: pd.DataFrame) -> str | None:
    """The run whose gains choose the images: the last measured one with a reference that restores.

    A row of a paper goes before others; one that stands in a prior's place in a control comes last.
    """
    there = restoring(suite, rows)
    runs = [run for run in there if tables.reference(suite, run) in there]
    own = [run for run in runs if run not in tables.controlling(suite)]
    printed = [run for run in own if suite.run(run).row]
    return next(reversed(printed or own or runs), None)


def side_by_side(
    suite: Suite, rows: pd.DataFrame, runs: tuple[str, ...] | None = None, most: int = MOST
) -> list[str]:
    """At most ``most`` of the runs that restore (or of ``runs``), in params' order: what a figure has room for.

    The baseline, the focus run and its reference first, then the runs that no control needs, then the others.
    """
    there = [run for run in restoring(suite, rows) if runs is None or run in runs]
    main, means = focus(suite, rows), tables.controlling(suite)
    wanted = [tables.baseline(suite), main, tables.reference(suite, main) if main else None]
    wanted += [run for run in there if run not in means] + there
    chosen = list(dict.fromkeys(run for run in wanted if run in there))[:most]
    return [run for run in there if run in chosen]


def leading(suite: Suite, rows: pd.DataFrame, runs: Iterable[str], most: int = FEW) -> list[str]:
    """At most ``most`` of a suite's many runs, in params' order: what a plot or the slider shows of them.

    The baseline, the focus run and its reference first, then the runs of the controls, then those beside a paper's
    row, then the others.
    """
    there = list(runs)
    main = focus(suite, rows)
    wanted = [tables.baseline(suite), main, tables.reference(suite, main) if main else None]
    for one in suite.controls.values():
        wanted += [one.base, one.trained, one.zeroed, one.segmentation, one.random, one.prior]
        wanted += one.others
    wanted += [run for run in there if suite.run(run).row] + there
    known = set(there)
    chosen = list(dict.fromkeys(run for run in wanted if run in known))[:most]
    return [run for run in there if run in chosen]


def restoring(suite: Suite, rows: pd.DataFrame) -> list[str]:
    """The measured runs that restore (all but the degraded input), in params' order."""
    measured = set(rows["run"].unique())
    return [
        run for run in tables.compared(suite) if run in measured and not tables.is_input(suite, run)
    ]


def gains(suite: Suite, rows: pd.DataFrame) -> pd.DataFrame:
    """One row a (run, dataset, image) of the main collection; ``difference``: PSNR minus that of ``reference``, dB."""
    rows = tables.rows_of(suite, rows)
    protocol = dict(tables.main_columns(suite, rows))["PSNR"]
    psnr = rows[(rows["metric"] == "PSNR") & (rows["protocol"] == protocol)]
    values = tables.kept(tables.paired, suite, psnr)
    return values[values["run"].isin(restoring(suite, rows)) & values["difference"].notna()]


def choose(suite: Suite, rows: pd.DataFrame, by_set: bool) -> list[Scene]:
    """Images by rule: those with the median, best and worst gain of the focus run, of each test set or of all.

    The median is the lower one of an even number; an image chosen twice appears once. Ties go by name. An image
    without a finite gain (exact, an infinite PSNR) is chosen only where there are no others.
    """
    rows = tables.rows_of(suite, rows)
    run = focus(suite, rows)
    changes = gains(suite, rows)
    own = changes[changes["run"] == run].sort_values(["difference", "dataset", "image"])
    if run is None or own.empty:
        return []
    finite = own[np.isfinite(own["difference"])]
    if len(finite):
        own = finite
    known = read_pairs(image_sets(suite, suite.run(run).images.test))
    pairs = {(pair.dataset, pair.image): pair for pair in known}
    groups = (
        [own[own["dataset"] == name] for name in tables.datasets(suite, rows)] if by_set else [own]
    )
    scenes = []
    for group in groups:
        if group.empty:
            continue
        places = dict(zip(KINDS, ((len(group) - 1) // 2, len(group) - 1, 0), strict=True))
        for place in dict.fromkeys(places.values()):
            chosen = group.iloc[place]
            where = (chosen["dataset"], chosen["image"])
            seen = rows[(rows["dataset"] == where[0]) & (rows["image"] == where[1])]["run"].unique()
            runs = tuple(_layered(suite, rows, tuple(seen)))
            why = ", ".join(kind for kind in KINDS if places[kind] == place)
            scenes.append(Scene(suite, pairs[where], why, float(chosen["difference"]), run, runs))
    return scenes


def _layered(suite: Suite, rows: pd.DataFrame, seen: tuple[str, ...]) -> list[str]:
    """The runs measured on an image that its slider has room for."""
    runs = side_by_side(suite, rows, seen, len(seen))
    if len(runs) > ROOM:
        return leading(suite, rows, runs, min(FEW, ROOM))
    return runs


def gain_text(gain: float, digits: int = 2) -> str:
    """A gain as shown: "+0.04 dB"; in words where one of the two images is exact (an infinite PSNR)."""
    if np.isposinf(gain):
        return "exact, its reference is not"
    if np.isneginf(gain):
        return "its reference is exact"
    return f"{gain:+.{digits}f} dB"


def psnr_text(psnr: float) -> str:
    """A PSNR as shown: "27.314 dB", "exact" where it is infinite."""
    return "exact" if np.isposinf(psnr) else f"{psnr:.3f} dB"


def crop_window(first: np.ndarray, second: np.ndarray, side: int) -> tuple[slice, slice]:
    """The square of ``side`` pixels (less in a smaller image) on which two images differ most on average."""
    from scipy.ndimage import uniform_filter

    height, width = (min(side, length) for length in first.shape[:2])
    change = np.abs(first.astype(np.float32) - second.astype(np.float32)).mean(2)
    mean = uniform_filter(change, (height, width), mode="constant")
    rows, columns = first.shape[0] - height + 1, first.shape[1] - width + 1
    inside = mean[height // 2 : height // 2 + rows, width // 2 : width // 2 + columns]
    top, left = np.unravel_index(int(inside.argmax()), inside.shape)
    return slice(int(top), int(top) + height), slice(int(left), int(left) + width)


def error_map(image: np.ndarray, sharp: np.ndarray) -> np.ndarray:
    """``(H,W)`` uint8: mean absolute difference over colours, in grey levels times ERROR_SCALE, clipped."""
    error = np.abs(image.astype(np.float32) - sharp.astype(np.float32)).mean(2)
    return np.clip(error * ERROR_SCALE, 0, 255).astype(np.uint8)
