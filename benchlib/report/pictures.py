"""What the plots and the page both show of the test images: which ones, which crop, masks and errors as colours.

Floor 4. Images are ``(H,W,3)`` uint8 RGB here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from benchlib.imageio import read_image
from benchlib.priors._store import load_masks
from benchlib.records import Pair, read_pairs
from benchlib.report import tables

if TYPE_CHECKING:
    from benchlib.params import Suite

BLURRED, MASKS, SHARP = ":blurred", ":masks", ":sharp"  # names of layers beside the runs' (no run has a colon)
KINDS = ("median", "best", "worst")
ERROR_SCALE = 4.0  # error maps: grey levels of difference times this


@dataclass(frozen=True)
class Scene:
    """One test image with everything there is of it, read from disk when asked for."""

    suite: Suite
    pair: Pair
    why: str  # "median", "best", "worst", or several of them joined
    gain: float  # dB; PSNR of the focus run minus no-prior
    focus: str  # the run whose gain chose it
    runs: tuple[str, ...]  # the compared runs that restore, measured on it

    @cached_property
    def layers(self) -> dict[str, np.ndarray]:
        """Name -> image: BLURRED, one a run, SHARP; all of one size."""
        folder = self.suite.work / "restored"
        restored = {run: read_image(folder / run / f"{self.pair.key}.png") for run in self.runs}
        return {BLURRED: read_image(self.pair.lq), **restored, SHARP: read_image(self.pair.hq)}

    @cached_property
    def labels(self) -> np.ndarray | None:
        """The masks that the last run with a prior read: ``(H,W)`` uint16, 0 uncovered; None without such a run."""
        with_prior = [run for run in self.runs if tables.has_prior(self.suite, run)]
        if not with_prior:
            return None
        key = self.suite.run(with_prior[-1]).prior.test
        return load_masks(self.suite.work / "priors" / key / f"{self.pair.key}.npz").labels


def label(suite: Suite, layer: str) -> str:
    """A layer's name as shown."""
    return layer[1:] if layer.startswith(":") else tables.label(suite, layer)


def focus(suite: Suite, rows: pd.DataFrame) -> str | None:
    """The run whose gains choose the images: the last measured one that is neither the input nor the no-prior run."""
    runs = [run for run in restoring(suite, rows) if run != tables.baseline(suite)]
    return runs[-1] if runs else None


def restoring(suite: Suite, rows: pd.DataFrame) -> list[str]:
    """The measured runs that restore (all but the degraded input), in params' order."""
    measured = set(rows["run"])
    return [run for run in tables.compared(suite) if run in measured and not tables.is_input(suite, run)]


def gains(suite: Suite, rows: pd.DataFrame) -> pd.DataFrame:
    """One row a (run, dataset, image) of the runs that have a reference; ``difference``: PSNR minus no-prior's, dB."""
    protocol = dict(tables.main_columns(rows))["PSNR"]
    values = tables.paired(suite, rows[(rows["metric"] == "PSNR") & (rows["protocol"] == protocol)])
    runs = [run for run in restoring(suite, rows) if run != tables.baseline(suite)]
    return values[values["run"].isin(runs) & values["difference"].notna()]


def choose(suite: Suite, rows: pd.DataFrame, by_set: bool) -> list[Scene]:
    """Images by rule: those with the median, best and worst gain of the focus run, of each test set or of all.

    The median is the lower one of an even number; an image chosen twice appears once. Ties go by name.
    """
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
