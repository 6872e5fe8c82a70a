"""What the plots and the page both show of the test images: which ones, which crop, masks and errors as colours.

Floor 4. Images are ``(H,W,3)`` uint8 RGB here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from PIL import Image

from benchlib.imageio import read_image
from benchlib.priors._store import load_masks
from benchlib.records import Pair, read_pairs
from benchlib.report import tables

if TYPE_CHECKING:
    from benchlib.params import Suite

INPUT, MASKS, SHARP = ":input", ":masks", ":sharp"  # names of layers beside the runs' (no run has a colon)
INPUTS = {"super-resolution": "input (bicubic)", "denoising": "noisy", "deblurring": "blurred"}  # task -> its label
MOST = 7  # methods side by side in one figure
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
        restored = {run: read_image(folder / run / f"{self.pair.key}.png") for run in self.runs}
        lq, hq = shown_pair(self.pair)
        return {INPUT: lq, **restored, SHARP: hq}

    @cached_property
    def labels(self) -> np.ndarray | None:
        """The masks that the focus run, else the last run with a prior, read: ``(H,W)`` uint16 of SHARP's size.

        0 is uncovered; an enlarged mask keeps its label. None without such a run.
        """
        with_prior = [run for run in (*self.runs, self.focus) if tables.has_prior(self.suite, run)]
        if not with_prior:
            return None
        key = self.suite.run(with_prior[-1]).prior.test
        labels = load_masks(self.suite.work / "priors" / key / f"{self.pair.key}.npz").labels
        return enlarged_labels(labels, self.layers[SHARP].shape[:2])


def shown_pair(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """A pair as pictures of one size, ``(H,W,3)`` uint8: lq, enlarged by a bicubic kernel if it is smaller; hq.

    hq is cut to a whole multiple of lq, as everywhere (``restore.read_pair``, which raises BenchError if it is none).
    """
    from benchlib.restore import read_pair  # it needs torch; tables and most plots do not

    hq = read_pair(pair)[1]
    return enlarged(read_image(pair.lq), hq.shape[:2]), hq


def enlarged(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """An image ``(h,w,3)`` uint8 at ``shape`` (H,W), by a bicubic kernel (Pillow's, a = -0.5); as it is if it fits."""
    if image.shape[:2] == tuple(shape):
        return image
    return np.asarray(Image.fromarray(image).resize((shape[1], shape[0]), Image.Resampling.BICUBIC))


def enlarged_labels(labels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Labels ``(h,w)`` at ``shape`` (H,W), a whole multiple: each pixel becomes a square of its label."""
    return labels.repeat(shape[0] // labels.shape[0], axis=0).repeat(shape[1] // labels.shape[1], axis=1)


def label(suite: Suite, layer: str) -> str:
    """A layer's name as shown; the input's says what was done to it, if the runs' tasks agree."""
    if layer == INPUT:
        tasks = {suite.run(run).task for run in tables.compared(suite)}
        return INPUTS.get(tasks.pop(), "input") if len(tasks) == 1 else "input"
    return layer[1:] if layer.startswith(":") else tables.label(suite, layer)


def focus(suite: Suite, rows: pd.DataFrame) -> str | None:
    """The run whose gains choose the images: the last measured one with a reference that restores.

    A row of a paper goes before others; one that stands in a prior's place in a control comes last.
    """
    runs = [run for run in restoring(suite, rows) if tables.reference(suite, run)]
    own = [run for run in runs if run not in tables.controlling(suite)]
    printed = [run for run in own if suite.run(run).row]
    return next(reversed(printed or own or runs), None)


def side_by_side(suite: Suite, rows: pd.DataFrame, runs: tuple[str, ...] | None = None) -> list[str]:
    """At most MOST of the runs that restore (or of ``runs``), in params' order: what a figure has room for.

    The baseline, the focus run and its reference first, then the runs that no control needs, then the others.
    """
    there = [run for run in restoring(suite, rows) if runs is None or run in runs]
    main, means = focus(suite, rows), tables.controlling(suite)
    wanted = [tables.baseline(suite), main, tables.reference(suite, main) if main else None]
    wanted += [run for run in there if run not in means] + there
    chosen = list(dict.fromkeys(run for run in wanted if run in there))[:MOST]
    return [run for run in there if run in chosen]


def restoring(suite: Suite, rows: pd.DataFrame) -> list[str]:
    """The measured runs that restore (all but the degraded input), in params' order."""
    measured = set(rows["run"])
    return [run for run in tables.compared(suite) if run in measured and not tables.is_input(suite, run)]


def gains(suite: Suite, rows: pd.DataFrame) -> pd.DataFrame:
    """One row a (run, dataset, image) of the main collection; ``difference``: PSNR minus that of ``reference``, dB."""
    rows = tables.of(suite, rows)
    protocol = dict(tables.main_columns(rows))["PSNR"]
    values = tables.paired(suite, rows[(rows["metric"] == "PSNR") & (rows["protocol"] == protocol)])
    return values[values["run"].isin(restoring(suite, rows)) & values["difference"].notna()]


def choose(suite: Suite, rows: pd.DataFrame, by_set: bool) -> list[Scene]:
    """Images by rule: those with the median, best and worst gain of the focus run, of each test set or of all.

    The median is the lower one of an even number; an image chosen twice appears once. Ties go by name.
    """
    rows = tables.of(suite, rows)
    run = focus(suite, rows)
    changes = gains(suite, rows)
    own = changes[changes["run"] == run].sort_values(["difference", "dataset", "image"])
    if run is None or own.empty:
        return []
    pairs = {(pair.dataset, pair.image): pair for pair in read_pairs(suite, suite.run(run).test)}
    groups = [own[own["dataset"] == name] for name in tables.datasets(suite, rows)] if by_set else [own]
    scenes = []
    for group in groups:
        if group.empty:
            continue
        places = dict(zip(KINDS, ((len(group) - 1) // 2, len(group) - 1, 0), strict=True))
        for place in dict.fromkeys(places.values()):
            chosen = group.iloc[place]
            where = (chosen["dataset"], chosen["image"])
            seen = rows[(rows["dataset"] == where[0]) & (rows["image"] == where[1])]["run"].unique()
            runs = tuple(name for name in restoring(suite, rows) if name in seen)
            why = ", ".join(kind for kind in KINDS if places[kind] == place)
            scenes.append(Scene(suite, pairs[where], why, float(chosen["difference"]), run, runs))
    return scenes


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


def mask_colours(labels: np.ndarray, alpha: float = 0.42) -> np.ndarray:
    """``(H,W)`` labels as ``(H,W,4)`` uint8: a colour a mask, its borders opaque white; label 0 is transparent."""
    from matplotlib.colors import hsv_to_rgb
    from skimage.segmentation import find_boundaries

    count = int(labels.max()) + 1
    steps = np.arange(count)
    hues = np.stack([(steps * 0.618034) % 1, 0.55 + 0.3 * (steps % 2), 0.95 - 0.2 * (steps % 3) / 2], axis=1)
    palette = np.zeros((count, 4), np.uint8)
    palette[:, :3] = np.rint(255 * hsv_to_rgb(hues))
    palette[1:, 3] = round(255 * alpha)
    colours = palette[labels]
    colours[find_boundaries(labels, mode="inner") & (labels > 0)] = (255, 255, 255, 200)
    return colours


def with_masks(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The image under its masks' colours."""
    colours = mask_colours(labels).astype(np.float32)
    alpha = colours[..., 3:] / 255
    return np.rint(image * (1 - alpha) + colours[..., :3] * alpha).astype(np.uint8)
