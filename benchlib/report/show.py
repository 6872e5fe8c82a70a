"""What a notebook shows of its step: small tables and figures, read from what the step wrote. Floor 4."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from benchlib.imageio import read_image
from benchlib.records import Pair, read_json, read_pairs, read_rows, read_table
from benchlib.report import pictures, tables
from benchlib.report import plots as _plots

if TYPE_CHECKING:
    from IPython.display import HTML
    from matplotlib.figure import Figure

    from benchlib.params import Suite

TILE = 2.6  # inches a picture


def _grid(rows: list[list[tuple[str, np.ndarray]]]) -> Figure:
    """Pictures with their titles, one list a line; grey maps are drawn dark to bright."""
    wide = max(len(row) for row in rows)
    heights = [TILE * max(image.shape[0] / image.shape[1] for _, image in row) + 0.2 for row in rows]
    figure, axes = plt.subplots(
        len(rows),
        wide,
        figsize=(TILE * wide, sum(heights)),
        height_ratios=heights,
        squeeze=False,
        layout="constrained",
    )
    for row, line in zip(rows, axes, strict=True):
        for axis in line:
            axis.axis("off")
        for (title, image), axis in zip(row, line, strict=False):
            axis.imshow(image, cmap="magma", vmin=0, vmax=255)
            axis.set_title(title, fontsize=8)
    plt.close(figure)  # the notebook shows what is returned, once
    return figure


def _first(suite: Suite, collection: str) -> list[Pair]:
    return list({pair.dataset: pair for pair in reversed(read_pairs(suite, collection))}.values())[::-1]


def manifest(suite: Suite, key: str) -> pd.DataFrame:
    """Pairs and source photographs of each set of a collection."""
    table = pd.DataFrame(read_table(suite.work / "data" / key / "manifest.csv"))
    return table.groupby("dataset", sort=False).agg(
        pairs=("image", "size"), photographs=("source", lambda s: ", ".join(dict.fromkeys(s.astype(str))))
    )


def pairs(suite: Suite, key: str) -> Figure:
    """The first pair of each set: degraded, sharp, difference."""
    lines = []
    for pair in _first(suite, key):
        lq, hq = read_image(pair.lq), read_image(pair.hq)
        lines.append([(f"{pair.key}: lq", lq), ("hq", hq), ("difference x4", pictures.error_map(lq, hq))])
    return _grid(lines)


def prior_record(suite: Suite, key: str) -> pd.DataFrame:
    """Mask counts, coverage, SAM's own scores and seconds an image, a set a line (empty where there is no prior)."""
    record = read_json(suite.work / "priors" / key / "prior.json")
    table = pd.DataFrame(record["images"])
    if table.empty:
        return table
    return table.groupby("dataset", sort=False).agg(
        images=("image", "size"),
        masks=("n_masks", "mean"),
        fewest=("n_masks", "min"),
        most=("n_masks", "max"),
        coverage=("coverage", "mean"),
        predicted_iou=("predicted_iou", "mean"),
        stability=("stability", "mean"),
        seconds=("seconds", "mean"),
    )


def masks(suite: Suite, key: str) -> Figure | None:
    """The first image of each set with its masks, then those alone; None where there is no prior."""
    from benchlib.prepare import prior_images
    from benchlib.priors._store import load_masks

    lines = []
    for dataset, images in prior_images(suite, suite.prior(key).images).items():
        name, file = next(iter(images.items()))
        stored = suite.work / "priors" / key / dataset / f"{name}.npz"
        if stored.exists():
            image, found = read_image(file), load_masks(stored)
            black = np.zeros_like(image)
            lines.append(
                [
                    (f"{dataset}/{name}", image),
                    (f"{len(found)} masks", pictures.with_masks(image, found.labels)),
                    ("label map", pictures.with_masks(black, found.labels)),
                ]
            )
    return _grid(lines) if lines else None


def crops(suite: Suite, key: str, count: int = 4) -> Figure:
    """The first training crops of a run: degraded, sharp, label map (where the method reads one)."""
    from benchlib.imageio import quantise
    from benchlib.train import crops_of

    items = [crops_of(suite, key)[n] for n in range(count)]
    lines = []
    for item in items:
        lq, hq = quantise(item["lq"]), quantise(item["hq"])
        line = [("lq", lq), ("hq", hq)]
        if "labels" in item:
            line.append(("labels", pictures.with_masks(np.zeros_like(lq), item["labels"].numpy())))
        lines.append(line)
    return _grid([[cell for line in lines for cell in line[i : i + 1]] for i in range(len(lines[0]))])


def _facts(record: dict[str, Any], names: tuple[str, ...]) -> pd.DataFrame:
    return pd.DataFrame({"": {name: str(record[name]) for name in names if name in record}})


def run_record(suite: Suite, key: str) -> pd.DataFrame:
    """What was trained, on what, for how long."""
    names = ("label", "pairs", "parameters", "train_seconds", "hardware", "threads", "torch", "revision", "weights")
    return _facts(read_json(suite.work / "runs" / key / "record.json"), names)


def loss(suite: Suite, key: str) -> Figure | None:
    """The run's loss and validation curves; None for a run with nothing to train."""
    table = pd.read_csv(suite.results / "loss" / f"{key}.csv")
    if table.empty:
        return None
    figure, axis = plt.subplots(figsize=(7, 3), layout="constrained")
    for seed, part in table.groupby("seed"):
        axis.plot(part["iteration"], -part["loss"], label=f"training batch, seed {seed}")
        seen = part.dropna(subset="validation_psnr")
        axis.plot(seen["iteration"], seen["validation_psnr"], "o", label=f"held out, seed {seed}")
    axis.set(xlabel="iteration", ylabel="PSNR (dB)")
    axis.legend(frameon=False)
    plt.close(figure)
    return figure


def scores(suite: Suite, key: str) -> pd.DataFrame:
    """Means over images of one run, a test set a line."""
    rows = read_rows(suite, [key])
    rows = rows[rows["metric"].isin(["PSNR", "SSIM", "MC"])]
    return rows.pivot_table(index="dataset", columns=["protocol", "metric"], values="value", sort=False).round(4)


def restored(suite: Suite, key: str) -> Figure:
    """Of each test set the image with the middling PSNR: degraded, restored, sharp, error."""
    rows = read_rows(suite, [key])
    rows = rows[(rows["metric"] == "PSNR") & (rows["protocol"] == rows["protocol"].iloc[0])]
    known = {pair.key: pair for pair in read_pairs(suite, suite.run(key).test)}
    lines = []
    for dataset, part in rows.groupby("dataset", sort=False):
        middle = part.sort_values("value").iloc[len(part) // 2]
        pair = known[f"{dataset}/{middle['image']}"]
        lq, hq = read_image(pair.lq), read_image(pair.hq)
        out = read_image(suite.work / "restored" / key / pair.dataset / f"{pair.image}.png")
        error = pictures.error_map(out, hq)
        lines.append([(f"{pair.key}", lq), (f"{middle['value']:.2f} dB", out), ("sharp", hq), ("error x4", error)])
    return _grid(lines)


def comparison(suite: Suite) -> Any:
    """The measured table under the leading protocols, best in bold."""
    rows = tables.measured(suite)
    main = tables.main_columns(rows)
    return _bold(tables.comparison(suite, rows, main), tables.best(suite, rows, main))


def differences(suite: Suite) -> Any:
    """Differences to the run without a prior, and on how many images each run is better."""
    rows = tables.measured(suite)
    return tables.differences(suite, rows, tables.main_columns(rows))


def published(suite: Suite) -> Any:
    """The papers' own tables that the suite's runs stand beside: measured by them, on other data."""
    from IPython.display import HTML, display

    for paper, name in tables.suite_tables(suite):
        display(HTML(f"<p>{escape(tables.published_note(paper, name))}</p>"))
        display(_bold(tables.published_table(paper, name), tables.published_best(paper, name)))


def _bold(table: pd.DataFrame, best: pd.DataFrame) -> Any:
    style = (
        best.reindex(index=table.index, columns=table.columns)
        .eq(True)
        .map(lambda it: "font-weight: bold" if it else "")
    )
    return table.style.format(escape="html").apply(lambda _: style, axis=None)


def plots(suite: Suite) -> Any:
    """Every plot that was written, under its name."""
    from IPython.display import HTML, Image, display

    for name in _plots.PLOTS:
        file = suite.results / "plots" / f"{name}.png"
        if file.exists():
            display(HTML(f"<h3>{escape(name)}</h3>"), Image(str(file)))


def report(suite: Suite) -> HTML:
    """Where the page is, as a link."""
    from IPython.display import HTML

    path = suite.results / "report.html"
    size = Path(path).stat().st_size / 1e6
    return HTML(f'<a href="file://{escape(str(path))}">{escape(path.name)}</a>, {size:.1f} MB')
