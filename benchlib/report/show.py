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
from benchlib.report import controls, pictures, tables
from benchlib.report import plots as _plots
from benchlib.report import published as printed

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


def _few(sources: pd.Series) -> str:
    """The first of a column's names, and how many more."""
    names = list(dict.fromkeys(name for name in sources.astype(str) if name))
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(names[:8]) + more


def manifest(suite: Suite, key: str) -> pd.DataFrame:
    """Pairs of each set of a collection, and the photographs or sequences they were made from."""
    table = pd.DataFrame(read_table(suite.work / "data" / key / "manifest.csv"))
    return table.groupby("dataset", sort=False).agg(pairs=("image", "size"), scenes=("source", _few))


def pairs(suite: Suite, key: str) -> Figure:
    """The first pair of each set: degraded (enlarged if it is smaller), sharp, difference."""
    lines = []
    for pair in _first(suite, key):
        small = read_image(pair.lq).shape[:2]
        lq, hq = pictures.shown_pair(pair)
        name = f"{pair.key}: lq" + (f", {hq.shape[0] // small[0]} times smaller" if small != hq.shape[:2] else "")
        lines.append([(name, lq), ("hq", hq), ("difference x4", pictures.error_map(lq, hq))])
    return _grid(lines)


def prior_record(suite: Suite, key: str) -> pd.DataFrame:
    """Mask counts, coverage, SAM's own scores and seconds an image, a set a line (empty where there is no prior)."""
    record = read_json(suite.work / "priors" / key / "prior.json")
    table = pd.DataFrame(record["images"])
    if table.empty:
        return table
    columns = {
        "images": ("image", "size"),
        "masks": ("n_masks", "mean"),
        "fewest": ("n_masks", "min"),
        "most": ("n_masks", "max"),
        "coverage": ("coverage", "mean"),
        "predicted_iou": ("predicted_iou", "mean"),  # SAM's alone
        "stability": ("stability", "mean"),
        "seconds": ("seconds", "mean"),
    }
    return table.groupby("dataset", sort=False).agg(**{k: v for k, v in columns.items() if v[0] in table})


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
        line = [("lq", pictures.enlarged(lq, hq.shape[:2])), ("hq", hq)]
        if "labels" in item:
            line.append(("labels", pictures.with_masks(np.zeros_like(lq), item["labels"].numpy())))
        lines.append(line)
    return _grid([[cell for line in lines for cell in line[i : i + 1]] for i in range(len(lines[0]))])


def _facts(record: dict[str, Any], names: tuple[str, ...]) -> pd.DataFrame:
    return pd.DataFrame({"": {name: str(record[name]) for name in names if name in record}})


def weights(suite: Suite, key: str) -> pd.DataFrame:
    """What one entry of ``weights`` holds: asset, its SHA-256, source, licence, what to cite, how many parameters."""
    names = ("asset", "sha256", "source", "licence", "citation", "tensors", "parameters")
    record = read_json(suite.work / "weights" / key / "weights.json")
    if record["asset"] is None:
        record = {"asset": "none: a network's own random start"}
    return _facts(record, names)


def run_record(suite: Suite, key: str) -> pd.DataFrame:
    """What was trained, from what, on what, for how long; which budget was chosen, which iteration was kept."""
    names = (
        "label", "init", "pairs", "parameters", "trained_parameters", "loss", "iterations", "kept", "choice",
        "train_seconds", "hardware", "threads", "torch", "revision", "weights",
    )  # fmt: skip
    record = read_json(suite.work / "runs" / key / "record.json")
    training = record.get("training", {})
    said = {"loss": training.get("loss", "psnr"), "iterations": training.get("iterations", "")}
    said["kept"] = "; ".join(
        f"{seed}: iteration {one['iteration']}"
        + (f", validation {one['validation']} dB" if one["validation"] else "")
        + (f" (at the start {one['start']} dB)" if one.get("start") else "")
        for seed, one in record.get("kept", {}).items()
    )
    said["choice"] = "; ".join(
        f"{_changes(one['changes'])}: {one['validation']} dB at iteration {one['iteration']}"
        + (" (chosen)" if one["chosen"] else "")
        for one in record.get("choice", [])
    )
    return _facts({name: value for name, value in (record | said).items() if value != ""}, names)


def _changes(changes: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in changes.items()) or "as set"


def loss(suite: Suite, key: str) -> Figure | None:
    """The run's loss and validation curves; None for a run with nothing to train.

    A PSNR loss (minus dB) shares the validation's axis; a loss of another unit has an axis of its own above.
    """
    table = pd.read_csv(suite.results / "loss" / f"{key}.csv")
    if table.empty:
        return None
    record = read_json(suite.work / "runs" / key / "record.json")
    kind = record.get("training", {}).get("loss", "psnr")
    in_db, watched = kind == "psnr", table["validation_psnr"].notna().any()
    count = 1 if in_db or not watched else 2
    figure, grid = plt.subplots(
        count, 1, sharex=True, squeeze=False, figsize=(7, 3 + 2 * (count - 1)), layout="constrained"
    )
    above, below = grid[0, 0], grid[-1, 0]
    for seed, part in table.groupby("seed"):
        above.plot(part["iteration"], -part["loss"] if in_db else part["loss"], label=f"training batch, seed {seed}")
        seen = part.dropna(subset="validation_psnr")
        if len(seen):
            below.plot(seen["iteration"], seen["validation_psnr"], "o", label=f"held out, seed {seed}")
    above.set_ylabel("PSNR (dB)" if in_db else _plots.LOSSES.get(kind, kind))
    if count > 1:
        below.set_ylabel("PSNR (dB)")
    below.set_xlabel("iteration")
    for axis in grid[:, 0]:
        axis.legend(frameon=False)
    plt.close(figure)
    return figure


def scores(suite: Suite, key: str) -> pd.DataFrame:
    """Means over images of one run, a test set a line, and the Average if its evaluation asks for one."""
    rows = read_rows(suite, [key])
    rows = tables.pooled(suite, rows[rows["metric"].isin(tables.METRICS)])
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
        lq, hq = pictures.shown_pair(pair)
        out = read_image(suite.work / "restored" / key / pair.dataset / f"{pair.image}.png")
        error = pictures.error_map(out, hq)
        lines.append([(f"{pair.key}", lq), (f"{middle['value']:.2f} dB", out), ("sharp", hq), ("error x4", error)])
    return _grid(lines)


def comparison(suite: Suite) -> Any:
    """The measured table of each test collection under its leading protocols, best in bold."""
    return _by_collection(suite, tables.comparison, tables.best)


def differences(suite: Suite) -> Any:
    """Differences to each run's reference with 95 % intervals, of each test collection; gains beyond chance in bold."""
    return _by_collection(suite, tables.differences, tables.gained)


def _by_collection(suite: Suite, table: Any, flags: Any) -> Any:
    """One table as it is; several are displayed, each under its collection's name."""
    from IPython.display import HTML, display

    rows = tables.everything(suite)
    shown = {}
    for name in tables.measured_collections(suite, rows):
        at = (suite, rows, tables.main_columns(tables.of(suite, rows, name)), name)
        shown[name] = _bold(table(*at), flags(*at))
    if len(shown) == 1:
        return shown.popitem()[1]
    for name, style in shown.items():
        display(HTML(f"<h3>{escape(name)}</h3>"), style)
    return None


def reproduction(suite: Suite) -> Any:
    """Published beside ours, paper's table by paper's table; nothing where no printed data set was measured."""
    from IPython.display import HTML, display

    frame = printed.reproduction(suite, tables.everything(suite))
    for at, lines in frame.groupby(["paper", "table"], sort=False):
        display(HTML(f"<p>{escape(printed.reproduction_note(*at))}</p>"))
        display(printed.reproduction_text(lines).style.format(escape="html").hide(axis=0))


def control_steps(suite: Suite) -> Any:
    """What the prior itself adds, control by control."""
    from IPython.display import HTML, display

    steps = controls.every(suite, tables.everything(suite))
    for key, lines in steps.groupby("control", sort=False):
        text, flags = controls.text(lines)
        display(HTML(f"<p>{escape(controls.note(suite, key))}</p>"), _bold(text, flags).hide(axis=0))


def published(suite: Suite) -> Any:
    """The papers' own tables that the suite's runs stand beside: measured by them, on other data."""
    from IPython.display import HTML, display

    for paper, name in printed.of_suite(suite):
        display(HTML(f"<p>{escape(printed.note(paper, name))}</p>"))
        display(_bold(printed.table(paper, name), printed.best(paper, name)))


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


def audit(paper: str = "", verdict: str = "") -> Any:
    """What the papers state about themselves and what comes out when it is computed again; of one paper or verdict.

    Raises BenchError, with the nearest name, for an unknown paper or verdict.
    """
    from benchlib.contracts import BenchError, nearest
    from benchlib.papers import papers
    from benchlib.papers.audit import INCONSISTENT, OPEN, ROUNDING
    from benchlib.papers.audit import audit as every

    verdicts = (ROUNDING, INCONSISTENT, OPEN)
    for got, allowed in ((paper, papers()), (verdict, verdicts)):
        if got and got not in allowed:
            raise BenchError(f"audit: got {got!r}; {nearest(got, allowed)}")
    found = every()
    found = found[found["paper"].eq(paper) | (paper == "")]
    found = found[found["verdict"].eq(verdict) | (verdict == "")]
    return found.style.hide(axis="index").set_properties(**{"white-space": "normal", "text-align": "left"})


def audit_counts() -> pd.DataFrame:
    """How many statements were checked, by paper and verdict."""
    from benchlib.papers.audit import audit as every

    checks = every(all=True)
    return pd.crosstab(checks["paper"], checks["verdict"])


def costs(suite: Suite) -> pd.DataFrame:
    """The cost table that ``cost.make`` wrote, its main columns."""
    from benchlib.report import cost

    frame = pd.read_csv(suite.results / "tables" / "cost.csv", keep_default_na=True).fillna({"note": ""})
    print(cost.note(frame))
    return cost.text(frame)


def protocols(paper: str = "") -> Any:
    """The protocol of each published table: as stated, as official code has it, as used here; of one paper, or all."""
    from benchlib.report import ledger

    table = ledger.stated()
    table = table[table["paper"].eq(paper) | (paper == "")]
    return table.style.hide(axis="index").set_properties(**{"white-space": "normal", "text-align": "left"})


def protocol_effects() -> pd.DataFrame:
    """What each ambiguity of a protocol is worth on the same images."""
    from benchlib.report import ledger

    return ledger.effects_text(ledger.effects())
