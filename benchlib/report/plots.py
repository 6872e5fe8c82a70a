"""Plots from rows, losses and images: each function returns a Figure; ``make`` writes all of them as PNG.

Floor 4. Colours are Okabe and Ito's (distinguishable with colour-blindness); the run's order gives its colour, and
markers repeat what colours say.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import pandas as pd
from cycler import cycler
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from benchlib.contracts import BenchError
from benchlib.files import new_file
from benchlib.records import read_json
from benchlib.report import controls, pictures, tables
from benchlib.report.pictures import INPUT, MASKS, SHARP

if TYPE_CHECKING:
    from benchlib.params import Suite

PALETTE = {
    "light": ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"),
    "dark": ("#56B4E9", "#E69F00", "#2FC79A", "#CC79A7", "#F0E442", "#D55E00", "#FFFFFF"),
}
MARKERS = "os^DvPX"
INK = {"light": ("#1c1e21", "#ffffff", "#d9dce1"), "dark": ("#e6e8eb", "#16181c", "#3a3f47")}
CROP = 80  # pixels, side of a qualitative crop
MOST_BYTES = 600_000  # of one PNG


def theme(name: str = "light") -> AbstractContextManager[None]:
    """A context in which figures are drawn for a light or a dark page."""
    ink, paper, line = INK[name]
    return mpl.rc_context(
        {
            "font.size": 9,
            "axes.prop_cycle": cycler(color=PALETTE[name]),
            "text.color": ink,
            "axes.labelcolor": ink,
            "axes.titlesize": 10,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.edgecolor": line,
            "axes.facecolor": paper,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.axisbelow": True,
            "axes.grid": True,
            "axes.unicode_minus": True,
            "grid.color": line,
            "grid.linewidth": 0.6,
            "xtick.color": ink,
            "ytick.color": ink,
            "figure.facecolor": paper,
            "legend.frameon": False,
            "text.parse_math": False,  # a "$" in a label is a "$"
        }
    )


LOSSES = {"psnr": "training loss, dB (minus PSNR)", "l1": "training loss, mean abs. difference"}


def loss_curves(suite: Suite) -> Figure:
    """Training loss against iterations, a line a run and seed: faint as logged, strong as a running median.

    One panel a kind of loss (the run records name it); where training was validated, one more with the validation PSNR
    (dB). Raises BenchError if no compared run has a loss file.
    """
    paths = {run: suite.results / "loss" / f"{run}.csv" for run in tables.compared(suite)}
    curves = {run: pd.read_csv(path) for run, path in paths.items() if path.exists()}
    curves = {run: table for run, table in curves.items() if len(table)}  # a run with nothing to train has no lines
    if not curves:
        raise BenchError(f"{suite.results}/loss: no compared run has a loss file; run the train stage (dvc repro)")
    kinds = {run: _loss(suite, run) for run in curves}
    panels: list[str] = list(dict.fromkeys(kinds.values()))
    panels += ["validation"] * any(table["validation_psnr"].notna().any() for table in curves.values())
    most = max([list(kinds.values()).count(kind) for kind in panels])
    figure = Figure(figsize=(8.1, 0.6 + len(panels) * max(2.5, 0.22 * most)), layout="constrained")
    grid = dict(zip(panels, figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0], strict=True))
    ends: dict[str, list] = {kind: [] for kind in panels}
    colours, names = _colours(suite), {run: tables.label(suite, run) for run in curves}
    for run, table in curves.items():
        axes = grid[kinds[run]]
        for _, curve in table.groupby("seed"):
            smooth = curve["loss"].rolling(max(3, len(curve) // 10), min_periods=1, center=True).median()
            axes.plot(curve["iteration"], curve["loss"], color=colours[run], alpha=0.22, linewidth=0.8)
            axes.plot(curve["iteration"], smooth, color=colours[run], linewidth=1.8)
            points = curve[curve["validation_psnr"].notna()]
            if len(points):
                grid["validation"].plot(
                    points["iteration"], points["validation_psnr"], color=colours[run], marker="o", markersize=4
                )
        ends[kinds[run]].append((float(smooth.iloc[-1]), float(curve["iteration"].iloc[-1]), run))
    for kind, axes in grid.items():
        axes.set_ylabel(LOSSES.get(kind, "validation PSNR, dB"))
        if ends[kind]:
            _label_ends(axes, ends[kind], names, colours)
    grid[panels[-1]].set_xlabel("iteration")
    return figure


def _loss(suite: Suite, run: str) -> str:
    """What the run was trained with, by its record."""
    path = suite.results / "records" / f"{run}.json"
    return (read_json(path) if path.exists() else {}).get("training", {}).get("loss", "psnr")


def _label_ends(axes, ends: list, names: dict[str, str], colours: dict) -> None:
    """Names at the ends of lines, pushed apart so that none hides another."""
    low, high = axes.get_ylim()
    step, at = 0.075 * (high - low), -np.inf
    right = max(x for _, x, _ in ends)
    for y, x, run in sorted(ends):
        at = max(y, at + step)
        axes.annotate(
            names[run], (x, y), (right + 0.03 * right, at), va="center", annotation_clip=False, fontsize=8.5,
            arrowprops={"arrowstyle": "-", "color": colours[run], "linewidth": 1.2, "shrinkA": 1, "shrinkB": 0},
        )  # fmt: skip


def gain_against_masks(suite: Suite, rows: pd.DataFrame | None = None) -> Figure:
    """PSNR change against each run's reference, one dot an image, over the number of masks the run read of it.

    One panel a run with a prior that stands in no control's place; colour and marker say the test set. Raises
    BenchError if no run has mask counts.
    """
    rows = tables.of(suite, tables.measured(suite) if rows is None else rows)
    masks = tables.per_image(rows[rows["metric"] == "masks"])[["run", "dataset", "image", "value"]]
    points = pictures.gains(suite, rows).drop(columns="value").merge(masks, on=["run", "dataset", "image"])
    runs = [run for run in pictures.restoring(suite, rows) if run in set(points["run"])]
    runs = [run for run in runs if run not in tables.controlling(suite)] or runs
    if not runs:
        raise BenchError(f"{suite.results}/rows: no run has mask counts and a reference beside it; nothing to plot")
    wide, high = min(len(runs), 4), -(-len(runs) // 4)
    figure = Figure(figsize=(max(4.8, 2.7 * wide), 0.6 + 2.9 * high), layout="constrained")
    panels = figure.subplots(high, wide, sharex=True, sharey=True, squeeze=False)
    grid = panels.ravel()
    sets = tables.datasets(suite, rows)
    for axes in grid[len(runs) :]:
        axes.axis("off")
    for axes, run in zip(grid, runs, strict=False):
        axes.axhline(0, color=mpl.rcParams["text.color"], linewidth=1)
        for i, name in enumerate(sets):
            dots = points[(points["run"] == run) & (points["dataset"] == name)]
            axes.scatter(dots["value"], dots["difference"], marker=MARKERS[i % len(MARKERS)], label=name, s=30,
                         color=_colour(i), edgecolor=mpl.rcParams["figure.facecolor"], linewidth=0.5)  # fmt: skip
        axes.set_title(tables.label(suite, run))
        axes.set_xlabel("masks in the image")
        axes.tick_params(labelbottom=True)
    to = {tables.reference(suite, run) for run in runs}
    for axes in panels[:, 0]:
        axes.set_ylabel(f"PSNR change, dB\n(to {tables.label(suite, str(to.pop())) if len(to) == 1 else 'reference'})")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(sets), handletextpad=0.2)
    return figure


def mcr_bars(suite: Suite, rows: pd.DataFrame | None = None) -> Figure:
    """Mode collapse rate, a bar a run and test set, with its numerator and denominator written beside it.

    Raises BenchError if the rows hold no mode collapse.
    """
    rows = tables.of(suite, tables.measured(suite) if rows is None else rows)
    main = dict(tables.main_columns(rows))
    if "MC" not in main:
        raise BenchError(f"{suite.results}/rows: no rows of mode collapse (MC); run the evaluate stage (dvc repro)")
    table = tables.cells(suite, rows)
    table = table[(table["metric"] == "MC") & (table["protocol"] == main["MC"])].set_index(["run", "dataset"])
    runs, sets, colours = pictures.restoring(suite, rows), tables.datasets(suite, rows), _colours(suite)
    figure = Figure(figsize=(max(6.0, 2.1 * len(sets)), 0.9 + 0.33 * len(runs)), layout="constrained")
    grid = figure.subplots(1, len(sets), sharex=True, sharey=True, squeeze=False)[0]
    for axes, name in zip(grid, sets, strict=True):
        for i, run in enumerate(runs):
            if (run, name) in table.index:
                cell = table.loc[(run, name)]
                axes.barh(i, cell["value"], color=colours[run], height=0.62)
                axes.annotate(f"{cell['numerator']}/{cell['denominator']}", (cell["value"], i), (4, 0),
                              textcoords="offset points", va="center", fontsize=8.5)  # fmt: skip
        axes.set_title(name)
        axes.grid(axis="y", visible=False)
    highest = float(table["value"].max())
    grid[0].set(yticks=range(len(runs)), yticklabels=[tables.label(suite, run) for run in runs])
    grid[0].set_xlim(0, max(10.0, 1.3 * highest))
    grid[0].invert_yaxis()
    for axes in grid:
        axes.tick_params(axis="y", length=0)
    figure.supxlabel("mode collapse rate, % of images (lower is better)", fontsize=9)
    return figure


def qualitative(suite: Suite, rows: pd.DataFrame | None = None) -> Figure:
    """Crops of three test images: input, masks, each method (see ``side_by_side``), sharp, and the error maps below.

    The images are those with the median, best and worst gain of the focus run; the crop is where it differs most from
    its reference. Raises BenchError without such a pair of runs.
    """
    rows = tables.of(suite, tables.measured(suite) if rows is None else rows)
    scenes = pictures.choose(suite, rows, by_set=False)
    if not scenes:
        raise BenchError(f"{suite.results}/rows: a run and its reference are needed to choose the images")
    names = [INPUT, MASKS, *pictures.side_by_side(suite, rows), SHARP]
    engine = ConstrainedLayoutEngine(w_pad=0.01, h_pad=0.02, wspace=0.0, hspace=0.0)
    figure = Figure(figsize=(1.15 * len(names), 2.4 * len(scenes)), layout=engine)
    grid = figure.subplots(2 * len(scenes), len(names), squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for i, scene in enumerate(scenes):
        cut = crops(suite, scene)
        for j, name in enumerate(names):
            if i == 0:
                grid[0, j].set_title(pictures.label(suite, name), fontsize=8, fontweight="normal", loc="center")
            if name in cut:
                grid[2 * i, j].imshow(cut[name])
            if name not in (MASKS, SHARP) and name in cut:
                error = pictures.error_map(cut[name], cut[SHARP])
                grid[2 * i + 1, j].imshow(error, cmap="magma", vmin=0, vmax=255)
        grid[2 * i + 1, -1].text(
            0.5, 0.5, f"{scene.why}\n{scene.gain:+.2f} dB\n{scene.pair.dataset}\nerrors, left:\n"
            f"x{pictures.ERROR_SCALE:g}, clipped", ha="center", va="center", fontsize=7.5,
            transform=grid[2 * i + 1, -1].transAxes,
        )  # fmt: skip
    return figure


def control_steps(suite: Suite, rows: pd.DataFrame | None = None) -> Figure:
    """What the prior itself adds: a panel a control and data set, its steps from the base as floating bars, the total.

    A bar begins where the one above ends; the line on it is the 95 % interval of that step alone. Below the total, runs
    shown beside, against the zeroed one. Raises BenchError if no control has all its runs.
    """
    rows = tables.everything(suite) if rows is None else rows
    table = controls.every(suite, rows)
    if table.empty:
        raise BenchError(f"{suite.results}/rows: no control has rows of all its runs; nothing to plot")
    keys = list(table["control"].unique())
    most = table.groupby("control")["dataset"].nunique().max()
    lines = {key: _step_names(table[table["control"] == key]) for key in keys}
    heights = [1.1 + 0.3 * len(lines[key]) for key in keys]
    figure = Figure(figsize=(2.2 + 2.1 * most, sum(heights)), layout="constrained")
    places = figure.subfigures(len(keys), 1, squeeze=False, height_ratios=heights)[:, 0]
    for key, part in zip(keys, places, strict=True):
        own = table[table["control"] == key]
        sets = list(own["dataset"].unique())
        grid = part.subplots(1, len(sets), sharex=True, sharey=True, squeeze=False)[0]
        for axes, name in zip(grid, sets, strict=True):
            steps = own[own["dataset"] == name]
            _waterfall(axes, steps, lines[key])
            axes.set_title(f"{name}\n{steps['images'].iloc[0]} images", fontweight="normal", fontsize=9)
        part.suptitle(suite.controls[key].label, fontsize=10, fontweight="bold", x=0.01, ha="left")
        said = "bars: steps from the base; lines: 95 % interval of each; bold: it excludes zero"
        part.supxlabel(f"PSNR change, dB ({said})", fontsize=9)
    return figure


def _step_names(steps: pd.DataFrame) -> list[tuple[str, str]]:
    return list(dict.fromkeys(zip(steps["kind"], steps["step"], strict=True)))


def _waterfall(axes, steps: pd.DataFrame, names: list[tuple[str, str]]) -> None:
    """One data set's steps, top to bottom; a bar's colour is its step's, its text the step's size."""
    ink = mpl.rcParams["text.color"]
    axes.axvline(0, color=ink, linewidth=1)
    at = 0.0
    for step in steps.itertuples():
        y = names.index((step.kind, step.step))
        begin = at if step.kind == "step" else 0.0
        at = begin + step.difference if step.kind == "step" else at
        end = begin + step.difference
        place = len(controls.STEPS) if step.step not in controls.STEPS else controls.STEPS.index(step.step)
        colour = {"total": ink, "other": "none"}.get(step.kind, _colour(place))
        edge = ink if step.kind == "other" else "none"
        axes.barh(y, step.difference, left=begin, height=0.6, color=colour, edgecolor=edge)
        right = max(begin, end)
        if not np.isnan(step.low):
            low, high = begin + step.low, begin + step.high
            axes.plot([low, high], [y, y], color=mpl.rcParams["figure.facecolor"], linewidth=3.2, zorder=3)
            axes.plot([low, high], [y, y], color=ink, linewidth=1.2, marker="|", markersize=6, zorder=4)
            right = max(right, high)
        text = tables.difference_text(step).replace("-", "\N{MINUS SIGN}")
        weight = "bold" if step.gain or step.loss else "normal"
        axes.annotate(text, (right, y), (4, 0), textcoords="offset points", va="center", fontsize=8, fontweight=weight)
        if step.kind == "step":
            axes.plot([at, at], [y, y + 1], color=ink, linewidth=0.6, linestyle=":")
    axes.set(yticks=range(len(names)), yticklabels=[f"{n} (vs. zeroed)" if k == "other" else n for k, n in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.margins(x=0.3)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)


def crops(suite: Suite, scene: pictures.Scene) -> dict[str, np.ndarray]:
    """Name -> ``(h,w,3)`` uint8 crop: INPUT, MASKS over it if the scene has masks, the runs, SHARP."""
    layers = scene.layers
    window = pictures.crop_window(layers[str(tables.reference(suite, scene.focus))], layers[scene.focus], CROP)
    cut = {INPUT: layers[INPUT][window]}
    if scene.labels is not None:
        cut[MASKS] = pictures.with_masks(cut[INPUT], scene.labels[window])
    return cut | {name: image[window] for name, image in layers.items()}


def _colours(suite: Suite) -> dict[str, str]:
    runs = [run for run in tables.compared(suite) if not tables.is_input(suite, run)]
    return {run: _colour(i) for i, run in enumerate(runs)}


def _colour(i: int) -> str:
    cycle = mpl.rcParams["axes.prop_cycle"].by_key()["color"]  # now: a "C0" would be looked up when drawn
    return cycle[i % len(cycle)]


PLOTS: dict[str, Callable[[Suite], Figure]] = {
    "loss": loss_curves,
    "gain_against_masks": gain_against_masks,
    "mcr": mcr_bars,
    "controls": control_steps,
    "qualitative": qualitative,
}


def png(figure: Figure, dpi: int = 150) -> bytes:
    """A figure as PNG bytes without dates, at ``dpi`` or the nearest lower resolution that stays under 600 KB."""
    while True:
        buffer = BytesIO()
        figure.savefig(
            buffer,
            format="png",
            dpi=dpi,
            facecolor=figure.get_facecolor(),
            metadata={"Software": None},
            pil_kwargs={"optimize": True},
        )
        if buffer.tell() < MOST_BYTES or dpi <= 40:
            return buffer.getvalue()
        dpi = int(dpi * min(0.95, (MOST_BYTES / buffer.tell()) ** 0.5))


def draw(suite: Suite, style: str = "light", names: tuple[str, ...] = tuple(PLOTS)) -> dict[str, Figure]:
    """The suite's plots by name; one that has nothing to show (no losses, no masks) is left out, and says why."""
    figures = {}
    with theme(style):
        for name in names:
            try:
                figures[name] = PLOTS[name](suite)
            except BenchError as error:
                print(f"plot {name}: skipped: {error}")
    return figures


def make(suite: Suite) -> dict[str, Path]:
    """Write the plots as ``plots/<name>.png`` under the suite's results; returns the paths by name."""
    paths = {}
    for name, figure in draw(suite).items():
        paths[name] = suite.results / "plots" / f"{name}.png"
        with new_file(paths[name]) as temporary:
            temporary.write_bytes(png(figure))
    return paths
