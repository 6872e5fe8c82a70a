"""Plots from rows, losses and images: each function returns a Figure; ``make`` writes all of them as PNG.

Layer 4. The first seven colours are Okabe and Ito's (distinguishable with colour-blindness), five more follow; the
run's order gives its colour, and markers, line styles or names repeat what colours say.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from io import BytesIO
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import pandas as pd
from cycler import cycler
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from benchlib.contracts import BenchError
from benchlib.files import new_file
from benchlib.records import read_losses, read_record
from benchlib.report import controls, pictures, tables
from benchlib.report.pictures import FEW, INPUT, PRIOR, ROOM, SHARP

if TYPE_CHECKING:
    from benchlib.params import Suite

VERSION = 1
PALETTE = {
    "light": (
        "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000",
        "#7B2FBE", "#8A8A00", "#A00028", "#8C5A3C", "#8A9099",
    ),
    "dark": (
        "#56B4E9", "#E69F00", "#2FC79A", "#CC79A7", "#F0E442", "#D55E00", "#FFFFFF",
        "#9B6BFF", "#8FBF3F", "#FFB3BA", "#A87B57", "#8A9099",
    ),
}  # fmt: skip
MARKERS = "os^DvPX"
LINES = ("-", "--", ":", "-.")  # of the first twelve runs, the next twelve and so on
INK = {"light": ("#1c1e21", "#ffffff", "#d9dce1"), "dark": ("#e6e8eb", "#16181c", "#3a3f47")}
PLAIN = {"text.parse_math": False, "text.usetex": False}  # a "$" in a name is a "$"
CROP = 80  # pixels, side of a qualitative crop
MOST_BYTES = 600_000  # of one PNG
PANELS = 12  # in one figure of a panel a run


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
        }
        | PLAIN
    )


LOSSES = {
    "psnr": "training loss, dB (minus PSNR)",
    "l1": "training loss, mean abs. difference",
    "charbonnier": "training loss, Charbonnier",
}


def loss_curves(suite: Suite, rows: pd.DataFrame | None = None) -> Figure:
    """Training loss against iterations, a line a run and seed: faint as logged, strong as a running median.

    The legend below names the runs in their order.
    One panel a kind of loss (the run records name it); where training was validated, one more with the validation PSNR
    (dB). Of more than ROOM runs those that lead (see ``fitting``); rows: what tells which they are. Raises BenchError if no
    compared run has a loss file.
    """
    paths = {run: suite.results / "loss" / f"{run}.csv" for run in tables.compared(suite)}
    paths = {run: path for run, path in paths.items() if path.exists()}
    every = len(paths)
    paths = {run: paths[run] for run in fitting(suite, rows, list(paths), ROOM)}
    curves = {run: read_losses(path) for run, path in paths.items()}
    curves = {
        run: table for run, table in curves.items() if len(table)
    }  # a run with nothing to train has no lines
    if not curves:
        raise BenchError(
            f"{suite.results}/loss: no compared run has a loss file; run the train stage (dvc repro)"
        )
    kinds = {run: _loss(suite, run) for run in curves}
    panels: list[str] = list(dict.fromkeys(kinds.values()))
    panels += ["validation"] * any(
        table["validation_psnr"].notna().any() for table in curves.values()
    )
    names = {run: tables.run_label(suite, run) for run in curves}
    wide = 3 if max(map(len, names.values())) <= 30 else 2
    figure = Figure(
        figsize=(8.1, 0.6 + 2.5 * len(panels) + 0.2 * -(-len(names) // wide)), layout="constrained"
    )
    grid = dict(
        zip(panels, figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0], strict=True)
    )
    looks = _looks(suite)
    for run, table in curves.items():
        axes, (colour, line) = grid[kinds[run]], looks[run]
        for _, curve in table.groupby("seed"):
            smooth = (
                curve["loss"].rolling(max(3, len(curve) // 10), min_periods=1, center=True).median()
            )
            axes.plot(curve["iteration"], curve["loss"], color=colour, alpha=0.22, linewidth=0.8)
            axes.plot(curve["iteration"], smooth, color=colour, linestyle=line, linewidth=1.8)
            points = curve[curve["validation_psnr"].notna()]
            if len(points):
                grid["validation"].plot(
                    points["iteration"], points["validation_psnr"], color=colour, linestyle=line, marker="o",
                    markersize=4,
                )  # fmt: skip
    for kind, axes in grid.items():
        axes.set_ylabel(LOSSES.get(kind, "validation PSNR, dB"))
    grid[panels[-1]].set_xlabel("iteration")
    handles = [
        Line2D([], [], color=looks[run][0], linestyle=looks[run][1], linewidth=2.4) for run in names
    ]
    figure.legend(handles, list(names.values()), loc="outside lower center", ncols=wide)
    _say_shown(figure, len(paths), every)
    return figure


def _say_shown(figure: Figure, shown: int, every: int) -> None:
    """A line above a figure that has no room for all runs."""
    if shown < every:
        said = f"{shown} of {every} runs; the tables hold all"
        figure.suptitle(said, fontsize=9, x=0.01, ha="left")


def fitting(suite: Suite, rows: pd.DataFrame | None, runs: list[str], room: int) -> list[str]:
    """The runs, at most as many as there is room for: see ``pictures.side_by_side``.

    Of more than ROOM a few that lead: nobody finds one of so many curves or bars again, and the tables hold all.
    """
    if len(runs) <= room:
        return runs
    few = min(room, FEW)
    if rows is None:
        return runs[:few]
    if len(runs) > ROOM:
        return pictures.leading(suite, tables.rows_of(suite, rows), runs, few)
    return pictures.side_by_side(suite, rows, tuple(runs), room)


def _loss(suite: Suite, run: str) -> str:
    """What the run was trained with, by its record."""
    return read_record(suite, run).get("training", {}).get("loss", "psnr")


def gain_against_masks(suite: Suite, rows: pd.DataFrame | None = None) -> Figure:
    """PSNR change against each run's reference, one dot an image, over the number of masks the run read of it.

    One panel a run with a prior that stands in no control's place; colour and marker say the test set. A change that is
    not finite (an exact image) has no dot, and is counted in the title. Raises BenchError if no run has mask counts.
    """
    rows = tables.rows_of(suite, tables.measured(suite) if rows is None else rows)
    masks = tables.per_image(rows[rows["metric"] == "masks"])[["run", "dataset", "image", "value"]]
    points = (
        pictures.gains(suite, rows)
        .drop(columns="value")
        .merge(masks, on=["run", "dataset", "image"])
    )
    counted = set(points["run"].unique())
    runs = [run for run in pictures.restoring(suite, rows) if run in counted]
    runs = [run for run in runs if run not in tables.controlling(suite)] or runs
    if not runs:
        raise BenchError(
            f"{suite.results}/rows: no run has mask counts and a reference beside it; nothing to plot"
        )
    every = len(runs)
    runs = fitting(suite, rows, runs, PANELS)
    wide, high = min(len(runs), 3), -(-len(runs) // 3)
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
            dots = dots[np.isfinite(dots["difference"])]
            axes.scatter(dots["value"], dots["difference"], marker=MARKERS[i % len(MARKERS)], label=name, s=30,
                         color=_colour(i), edgecolor=mpl.rcParams["figure.facecolor"], linewidth=0.5)  # fmt: skip
        odd = (~np.isfinite(points.loc[points["run"] == run, "difference"])).sum()
        more = f" (+{odd} exact)" if odd else ""
        axes.set_title(fill(tables.run_label(suite, run) + more, 24))
        axes.set_xlabel("masks in the image")
        axes.tick_params(labelbottom=True)
    to = {tables.reference(suite, run) for run in runs}
    for axes in panels[:, 0]:
        axes.set_ylabel(
            f"PSNR change, dB\n(to {tables.run_label(suite, str(to.pop())) if len(to) == 1 else 'reference'})"
        )
    figure.legend(
        *grid[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=min(len(sets), 5),
        handletextpad=0.2,
    )
    _say_shown(figure, len(runs), every)
    return figure


def rate_column(suite: Suite, rows: pd.DataFrame) -> tables.Column | None:
    """The first measure in percent (mode collapse), under its first protocol; None without one."""
    known = tables.measures(suite)
    for metric, protocol in tables.main_columns(suite, rows):
        if known[metric].is_percent:
            return metric, protocol
    return None


def mcr_bars(suite: Suite, rows: pd.DataFrame | None = None) -> Figure:
    """Mode collapse rate, a bar a run and test set, with its numerator and denominator written beside it.

    One panel a set in which some run collapses (the first set if there is none); a line below names the other sets.
    Raises BenchError if the rows hold no such measure.
    """
    rows = tables.rows_of(suite, tables.measured(suite) if rows is None else rows)
    column = rate_column(suite, rows)
    if column is None:
        raise BenchError(
            f"{suite.results}/rows: no rows of a measure in percent; name one (mc) under metrics "
            "and run the evaluate stage (dvc repro)"
        )
    metric, protocol = column
    table = tables.cells(suite, rows)
    table = table[(table["metric"] == metric) & (table["protocol"] == protocol)]
    table = table.set_index(["run", "dataset"])
    every, looks = pictures.restoring(suite, rows), _looks(suite)
    runs = fitting(suite, rows, every, ROOM)
    table = table[table.index.isin(runs, level="run")]
    highest = table.groupby("dataset")["value"].max()
    there = [name for name in tables.datasets(suite, rows) if name in highest.index]
    none = [name for name in there if highest[name] == 0]
    sets = [name for name in there if name not in none] or there[:1]
    figure = Figure(
        figsize=(max(6.0, 2.1 * len(sets)), 1.1 + 0.33 * len(runs)), layout="constrained"
    )
    grid = figure.subplots(1, len(sets), sharex=True, sharey=True, squeeze=False)[0]
    for axes, name in zip(grid, sets, strict=True):
        for i, run in enumerate(runs):
            if (run, name) in table.index:
                cell = table.loc[(run, name)]
                axes.barh(i, cell["value"], color=looks[run][0], height=0.62)
                said = ""
                if not pd.isna(cell["numerator"]):
                    said = f"{cell['numerator']}/{cell['denominator']}"
                axes.annotate(said, (cell["value"], i), (4, 0), textcoords="offset points",
                              va="center", fontsize=8.5)  # fmt: skip
        axes.set_title(name)
        axes.grid(axis="y", visible=False)
    one = tables.measures(suite)[metric]
    grid[0].set(yticks=range(len(runs)), yticklabels=[tables.run_label(suite, run) for run in runs])
    grid[0].set_xlim(0, max(10.0, 1.3 * float(highest.max())))
    grid[0].invert_yaxis()
    for axes in grid:
        axes.tick_params(axis="y", length=0)
    said = f"{one.title}, % ({'lower' if one.lower else 'higher'} is better)"
    if none:
        said += "\n" + fill(f"0 % on {', '.join(none)}, with every run.", 72)
    figure.supxlabel(said, fontsize=9)
    _say_shown(figure, len(runs), len(every))
    return figure


def qualitative(suite: Suite, rows: pd.DataFrame | None = None) -> Figure:
    """Crops of three test images: input, prior, each method (see ``side_by_side``), sharp, and the error maps below.

    The images are those with the median, best and worst gain of the focus run; the crop is where it differs most from
    its reference. Raises BenchError without such a pair of runs.
    """
    rows = tables.rows_of(suite, tables.measured(suite) if rows is None else rows)
    scenes = pictures.choose(suite, rows, by_set=False)
    if not scenes:
        raise BenchError(
            f"{suite.results}/rows: a run and its reference are needed to choose the images"
        )
    names = [INPUT, PRIOR, *pictures.side_by_side(suite, rows), SHARP]
    engine = ConstrainedLayoutEngine(w_pad=0.01, h_pad=0.02, wspace=0.0, hspace=0.0)
    figure = Figure(figsize=(1.15 * len(names), 2.4 * len(scenes)), layout=engine)
    grid = figure.subplots(2 * len(scenes), len(names), squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for i, scene in enumerate(scenes):
        cut = crops(suite, scene)
        for j, name in enumerate(names):
            if i == 0:
                label = fill(pictures.layer_label(suite, name), 16)  # a column's room at that size
                grid[0, j].set_title(label, fontsize=8, fontweight="normal", loc="center")
            if name in cut:
                grid[2 * i, j].imshow(cut[name])
            if name not in (PRIOR, SHARP) and name in cut:
                error = pictures.error_map(cut[name], cut[SHARP])
                grid[2 * i + 1, j].imshow(error, cmap="magma", vmin=0, vmax=255)
        grid[2 * i + 1, -1].text(
            0.5, 0.5, f"{scene.why}\n{fill(pictures.gain_text(scene.gain), 16)}\n{scene.pair.dataset}\nerrors, left:\n"
            f"x{pictures.ERROR_SCALE:g}, clipped", ha="center", va="center", fontsize=7.5,
            transform=grid[2 * i + 1, -1].transAxes,
        )  # fmt: skip
    return figure


def control_steps(suite: Suite, rows: pd.DataFrame | None = None) -> Figure:
    """What the prior itself adds: a panel a control and data set, a bar a step and one for the total, all from zero.

    The line on a bar is its 95 % interval, so that one which crosses the zero line does not exclude zero. Below the
    total, runs shown beside, against the zeroed one. Raises BenchError if no control has all its runs.
    """
    rows = tables.everything(suite) if rows is None else rows
    table = controls.all_steps(suite, rows)
    if table.empty:
        raise BenchError(
            f"{suite.results}/rows: no control has rows of all its runs; nothing to plot"
        )
    parts = dict(list(table.groupby("control", sort=False)))
    wide = {key: _wide(own["dataset"].nunique()) for key, own in parts.items()}
    heights = []
    for key, own in parts.items():
        high = -(-own["dataset"].nunique() // wide[key])
        heights.append(0.75 + high * (0.75 + 0.36 * len(_step_names(own))))
    figure = Figure(
        figsize=(min(8.1, 3.2 + 2.6 * max(wide.values())), sum(heights)), layout="constrained"
    )
    places = figure.subfigures(len(parts), 1, squeeze=False, height_ratios=heights)[:, 0]
    for (key, own), part in zip(parts.items(), places, strict=True):
        sets, names = list(own["dataset"].unique()), _step_names(own)
        grid = part.subplots(
            -(-len(sets) // wide[key]), wide[key], sharex=True, sharey=True, squeeze=False
        ).ravel()
        for axes in grid[len(sets) :]:
            axes.axis("off")
        for axes, name in zip(grid, sets, strict=False):
            steps = own[own["dataset"] == name]
            _bars(suite, axes, steps, names)
            axes.set_title(
                f"{name}, {steps['images'].iloc[0]} images", fontweight="normal", fontsize=10
            )
        grid[0].set_xlim(*_limits(own))
        grid[0].xaxis.set_major_locator(MaxNLocator(4))
        part.suptitle(suite.controls[key].label, fontsize=11, fontweight="bold", x=0.01, ha="left")
        part.supxlabel("PSNR change of the step, dB, with its 95 % interval", fontsize=10)
    return figure


def _wide(panels: int) -> int:
    """Panels in a row: at most three, and no single one left over of four."""
    return 2 if panels == 4 else min(panels, 3)


def _limits(steps: pd.DataFrame) -> tuple[float, float]:
    """The x axis of one control: zero, and all its bars and intervals, with a margin."""
    ends = np.append(steps[["difference", "low", "high"]].to_numpy(float).ravel(), 0.0)
    ends = ends[np.isfinite(ends)]  # equal images have an infinite PSNR
    low, high = float(ends.min()), float(ends.max())
    margin = 0.06 * (high - low) or 0.01
    return low - margin, high + margin


def _step_names(steps: pd.DataFrame) -> list[tuple[str, str]]:
    return list(dict.fromkeys(zip(steps["kind"], steps["step"], strict=True)))


def _place(step: str, steps: list[str]) -> int:
    """The colour of a step, the same in each control; steps taken as one have the colour after the prior's."""
    if step in controls.STEPS:
        return controls.STEPS.index(step)
    if step in controls.STAND_IN.values():
        return len(controls.STEPS)
    # the last step is the prior, whatever its name
    return len(controls.STEPS) + 1 + (step != steps[-1])


def _bars(suite: Suite, axes, steps: pd.DataFrame, names: list[tuple[str, str]]) -> None:
    """One data set's steps, top to bottom; a bar's colour is its step's; its size stands right of the panel."""
    ink, paper = mpl.rcParams["text.color"], mpl.rcParams["figure.facecolor"]
    axes.axvline(
        0, color=ink, linewidth=1, zorder=3.5
    )  # over the paper around an interval, so that a crossing shows
    own = [name for kind, name in names if kind == "step"]
    for step in steps.itertuples():
        y = names.index((step.kind, step.step))
        colour = {"total": ink, "other": "none"}.get(step.kind) or _colour(_place(step.step, own))
        axes.barh(
            y,
            step.difference,
            height=0.6,
            color=colour,
            edgecolor=ink if step.kind == "other" else "none",
        )
        if not np.isnan(step.low):
            axes.plot([step.low, step.high], [y, y], color=ink, linewidth=1.4, marker="|", markersize=8, zorder=3,
                      solid_capstyle="butt", path_effects=[withStroke(linewidth=3.6, foreground=paper)])  # fmt: skip
            axes.plot(
                [step.low, step.high], [y, y], color=ink, linewidth=1.4, zorder=4
            )  # up to its end marks
        text = tables.difference_text(suite, step).replace("-", "\N{MINUS SIGN}")
        weight = "bold" if step.gain or step.loss else "normal"
        axes.annotate(text, (1, y), (3, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
                      va="center", fontsize=10, fontweight=weight, annotation_clip=False)  # fmt: skip
    labels = [fill(f"{name} (vs. zeroed)" if kind == "other" else name, 24) for kind, name in names]
    axes.set(yticks=range(len(names)), yticklabels=labels)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0, labelsize=10)
    axes.tick_params(axis="x", labelbottom=True, labelsize=9)
    axes.grid(axis="y", visible=False)


def crops(suite: Suite, scene: pictures.Scene) -> dict[str, np.ndarray]:
    """Name -> ``(h,w,3)`` uint8 crop: INPUT, PRIOR if the scene's shows anything, the runs, SHARP."""
    layers = scene.layers
    window = pictures.crop_window(
        layers[str(tables.reference(suite, scene.focus))], layers[scene.focus], CROP
    )
    cut = {INPUT: layers[INPUT][window]}
    prior = scene.prior_crop(window)
    if prior is not None:
        cut[PRIOR] = prior
    return cut | {name: image[window] for name, image in layers.items()}


def _looks(suite: Suite) -> dict[str, tuple[str, str]]:
    """The colour and the line style of each run; no two runs share both."""
    runs = [run for run in tables.compared(suite) if not tables.is_input(suite, run)]
    colours = len(mpl.rcParams["axes.prop_cycle"])
    return {run: (_colour(i), LINES[i // colours % len(LINES)]) for i, run in enumerate(runs)}


def _colour(i: int) -> str:
    cycle = mpl.rcParams["axes.prop_cycle"].by_key()[
        "color"
    ]  # now: a "C0" would be looked up when drawn
    return cycle[i % len(cycle)]


PLOTS: dict[str, Callable[[Suite, pd.DataFrame | None], Figure]] = {
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


def draw(
    suite: Suite,
    style: str = "light",
    names: tuple[str, ...] = tuple(PLOTS),
    rows: pd.DataFrame | None = None,
) -> dict[str, Figure]:
    """The suite's plots by name; one that has nothing to show (no losses, no masks) is left out, and says why.

    rows: ``tables.everything``; None reads them, once for all plots.
    """
    if rows is None:
        with suppress(BenchError):  # without rows each plot says for itself what it lacks
            rows = tables.everything(suite)
    figures = {}
    with theme(style):
        for name in names:
            try:
                figures[name] = PLOTS[name](suite, rows)
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


def written(suite: Suite) -> dict[str, bytes]:
    """What ``make`` has written, by name: of plots that are newer than all that they are drawn from."""
    sources = [suite.folder / "params.yaml"]
    for folder in ("rows", "loss", "records"):
        sources += (suite.results / folder).glob("*")
    newest = max(path.stat().st_mtime_ns for path in sources if path.exists())
    found = {}
    for name in PLOTS:
        path = suite.results / "plots" / f"{name}.png"
        if path.exists() and path.stat().st_mtime_ns > newest:
            found[name] = path.read_bytes()
    return found
