"""What a notebook shows of its step: small tables and figures, read from what the step wrote. Layer 4."""

from __future__ import annotations

from collections import Counter
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from benchlib import registry
from benchlib.files import MOST, spread_file
from benchlib.imageio import quantise, read_image
from benchlib.params import COLUMNS
from benchlib.records import (
    PAIR,
    each_entry,
    image_sets,
    read_json,
    read_losses,
    read_pairs,
    read_table,
    rows_of_run,
)
from benchlib.report import ablations as _ablations
from benchlib.report import controls, pictures, tables
from benchlib.report import plots as _plots
from benchlib.report import published as printed
from benchlib.report import reach as _reach
from benchlib.report.markup import read_exported
from benchlib.report.measures import measures_of

if TYPE_CHECKING:
    from IPython.display import HTML
    from matplotlib.figure import Figure
    from pandas.io.formats.style import Styler

    from benchlib.params import Suite
    from benchlib.plan import RunPlan

TILE = 2.6  # inches a picture


@mpl.rc_context(_plots.PLAIN)
def side_by_side(rows: list[list[tuple[str, np.ndarray]]]) -> Figure:
    """Pictures with their titles, one list a line; grey maps are drawn dark to bright."""
    wide = max(len(row) for row in rows)
    heights = [
        TILE * max(image.shape[0] / image.shape[1] for _, image in row) + 0.2 for row in rows
    ]
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


def _few(sources: pd.Series) -> str:
    """The first of a column's names, and how many more."""
    names = list(dict.fromkeys(name for name in sources.astype(str) if name))
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(names[:8]) + more


def manifest(suite: Suite, key: str) -> pd.DataFrame:
    """Pairs of one set, ``<collection>/<set>``, and the photographs or sequences they were made from."""
    table = pd.DataFrame(read_table(suite.work / "data" / key / "manifest.csv", PAIR))
    return table.groupby("dataset", sort=False).agg(
        pairs=("image", "size"), scenes=("source", _few)
    )


def pairs(suite: Suite, key: str) -> Figure:
    """The first pair of one set: degraded (enlarged if it is smaller), sharp, difference."""
    collection, _, name = key.partition("/")
    pair = read_pairs(image_sets(suite, collection).only([name]))[0]
    small = read_image(pair.lq).shape[:2]
    lq, hq = pictures.shown_pair(suite, pair)
    title = f"{pair.key}: lq"
    if small != hq.shape[:2]:
        title += f", {hq.shape[0] // small[0]} times smaller"
    return side_by_side([[(title, lq), ("hq", hq), ("difference x4", pictures.error_map(lq, hq))]])


def metric(suite: Suite, key: str) -> pd.DataFrame:
    """What one metric is: unit, direction, range, what it reads, its version and its weights."""
    record = read_json(suite.work / "metrics" / key / "metric.json")
    name, shown = record["name"], registry.load("metrics", key).SHOWN
    if shown != name:
        name += f", shown as {shown}"
    low, high = record["range"]
    weights = [f"{asset} {digest}" for asset, digest in record["weights"].items()]
    said = {
        "metric": record["metric"],
        "in rows and tables": name,
        "unit": record["unit"] or "none",
        "better": "lower" if record["lower_is_better"] else "higher",
        "range": f"{low} or more" if high is None else f"{low} to {high}",
        "reads": ", ".join(record["reads"]),
        "version": record["version"],
        "weights": "; ".join(weights) or "none",
    }
    return pd.DataFrame({"": said})


def prior_record(suite: Suite, key: str) -> pd.DataFrame:
    """What one prior says of its images, means by set: its kind's facts, seconds and memory an image.

    Of the facts that stand in rows (how many masks, say) the least and the most too. Of more than
    10,000 images these are of the first, and a column says of how many. Empty where there is no
    prior.
    """
    first: list[dict[str, Any]] = []
    numbers: Counter[str] = Counter()
    for entry in each_entry(suite.work / "priors" / key / "prior.json", "images"):
        numbers[entry["dataset"]] += 1
        if len(first) < MOST:
            first.append(entry)
    table = pd.DataFrame(first)
    if table.empty:
        return table
    groups = table.groupby("dataset", sort=False)
    shown = {"images": pd.Series(numbers)}
    if numbers.total() > len(first):
        shown["of these"] = groups.size()
    kind = registry.load("priors/kinds", suite.prior(key).kind)
    for row, fact in getattr(kind, "ROWS", {}).items():
        if fact in table:
            shown[row] = groups[fact].mean()
            shown[f"{row}, least"], shown[f"{row}, most"] = groups[fact].min(), groups[fact].max()
    for name in table.select_dtypes("number").columns:
        if name not in getattr(kind, "ROWS", {}).values() and name not in SIZES:
            shown[name] = groups[name].mean()
    return pd.DataFrame(shown)


def prior_texts(suite: Suite, key: str) -> Styler | None:
    """What a prior of words says of its first images, a set's 8; None where it says nothing."""
    first: list[dict[str, Any]] = []
    numbers: Counter[str] = Counter()
    for entry in each_entry(suite.work / "priors" / key / "prior.json", "images"):
        numbers[entry["dataset"]] += 1
        if numbers[entry["dataset"]] <= 8:
            first.append(entry)
    shown = pd.DataFrame(first)
    if "text" not in shown:
        return None
    return shown[["dataset", "image", "text"]].style.hide(axis="index").format(escape="html")


SIZES = ("height", "width")  # of the image: no fact of its prior


def prior_pictures(suite: Suite, key: str) -> Figure | None:
    """The first image of each set, its prior as its kind draws it, and that without the image.

    None where there is no prior, or nothing to draw.
    """
    from benchlib.checks import images_source
    from benchlib.prepare import each_image

    prior = suite.prior(key)
    kind = registry.load("priors/kinds", prior.kind)
    lines = []
    for dataset in suite.collection(images_source(suite, prior.images)):
        name, file, _scene = next(each_image(suite, prior.images, dataset))
        path = spread_file(suite.work / "priors" / key / dataset, f"{name}.npz")
        if not path.exists():
            continue
        image, stored = read_image(file), kind.load(path)
        drawn = kind.picture(stored, image)
        if drawn is None:
            continue
        line = [(f"{dataset}/{name}", image), (_facts_text(kind, stored), drawn)]
        alone = kind.picture(stored, np.zeros_like(image))
        if not np.array_equal(alone, drawn):
            line.append(("alone", alone))
        lines.append(line)
    return side_by_side(lines) if lines else None


def _facts_text(kind: Any, stored: Any) -> str:
    """ "masks 12, coverage 0.83": what rows say of one image's prior."""
    facts = kind.facts(stored)
    said = [f"{row} {facts[fact]:.3g}" for row, fact in getattr(kind, "ROWS", {}).items()]
    return ", ".join(said) or kind.__name__.rpartition(".")[2]


def crops(run: RunPlan, count: int = 4) -> Figure | None:
    """The first training crops of a run: degraded, sharp, and of its prior what is a label map.

    None for a run with nothing to train.
    """
    from benchlib.train.data import crops_of

    if not run.trains:
        return None
    source = crops_of(run)
    columns: dict[str, list[tuple[str, np.ndarray]]] = {}
    for n in range(count):
        for name, image in _crop_pictures(source[n]).items():
            columns.setdefault(name, []).append((name, image))
    return side_by_side(list(columns.values()))


def _crop_pictures(crop: dict[str, Any]) -> dict[str, np.ndarray]:
    from benchlib.priors.kinds.masks import with_masks

    lq, hq, prior = crop["item"]["lq"], crop["item"]["hq"], crop["prior"]
    if lq.ndim == 4:  # frames: the middle one is shown
        middle = len(lq) // 2
        lq, prior = lq[middle], prior[middle]
        if hq.ndim == 4:
            hq = hq[middle]
    lq, hq = quantise(lq), quantise(hq)
    shown = {"lq": pictures.enlarged(lq, hq.shape[:2]), "hq": hq}
    for entries in prior.values():
        if "labels" in entries:
            shown["labels"] = with_masks(np.zeros_like(lq), entries["labels"])
    return shown


def _facts(record: dict[str, Any], names: tuple[str, ...]) -> pd.DataFrame:
    return pd.DataFrame({"": {name: str(record[name]) for name in names if name in record}})


def weights(suite: Suite, key: str) -> pd.DataFrame:
    """What one entry of ``weights`` holds: asset, its SHA-256, source, licence, what to cite, how many parameters."""
    names = ("asset", "sha256", "source", "licence", "citation", "tensors", "parameters")
    record = read_json(suite.work / "weights" / key / "weights.json")
    if record["asset"] is None:
        record = {"asset": "none: a network's own random start"}
    return _facts(record, names)


def run_record(run: RunPlan) -> pd.DataFrame:
    """What was trained, from what, on what, for how long; which budget was chosen, which iteration was kept."""
    names = (
        "label", "init", "pairs", "parameters", "trained_parameters", "loss", "iterations", "kept", "choice",
        "train_seconds", "hardware", "threads", "torch", "revision", "weights", "own",
    )  # fmt: skip
    record = read_json(run.places.run / "record.json")
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


@mpl.rc_context(_plots.PLAIN)
def loss(run: RunPlan) -> Figure | None:
    """The run's loss and validation curves; None for a run with nothing to train.

    A PSNR loss (minus dB) shares the validation's axis; a loss of another unit has an axis of its own above.
    """
    table = read_losses(run.places.loss)
    if table.empty:
        return None
    record = read_json(run.places.run / "record.json")
    kind = record.get("training", {}).get("loss", "psnr")
    in_db, watched = kind == "psnr", table["validation_psnr"].notna().any()
    count = 1 if in_db or not watched else 2
    figure, grid = plt.subplots(
        count, 1, sharex=True, squeeze=False, figsize=(7, 3 + 2 * (count - 1)), layout="constrained"
    )
    above, below = grid[0, 0], grid[-1, 0]
    for seed, part in table.groupby("seed"):
        above.plot(
            part["iteration"],
            -part["loss"] if in_db else part["loss"],
            label=f"training batch, seed {seed}",
        )
        seen = part.dropna(subset="validation_psnr")
        if len(seen):
            below.plot(
                seen["iteration"], seen["validation_psnr"], "o", label=f"held out, seed {seed}"
            )
    above.set_ylabel("PSNR (dB)" if in_db else _plots.LOSSES.get(kind, kind))
    if count > 1:
        below.set_ylabel("PSNR (dB)")
    below.set_xlabel("iteration")
    for axis in grid[:, 0]:
        axis.legend(frameon=False)
    plt.close(figure)
    return figure


def scores(run: RunPlan) -> pd.DataFrame:
    """Means over images of one run, a test set a line, and the Average if its evaluation asks for one."""
    rows = _own_rows(run)
    rows = rows[rows["metric"].isin(list(measures_of(run.metrics)))]
    sets = rows["dataset"].unique().tolist()
    if run.how.average and len(sets) > 1:
        alike = run.how.average == COLUMNS
        rows = pd.concat([rows, tables.average_rows(rows, sets, alike)], ignore_index=True)
    return rows.pivot_table(
        index="dataset", columns=["protocol", "metric"], values="value", sort=False
    ).round(4)


def _own_rows(run: RunPlan) -> pd.DataFrame:
    """The run's rows of the prior itself, without those of ``evaluation.swap``."""
    rows = rows_of_run(run.places.rows, run.key)
    return rows[rows["swap"] == ""]


def swaps(run: RunPlan) -> pd.DataFrame:
    """Means over images of one run restored again with a control in its prior's place; its reach.

    A line a test set and control, first seed. Empty where ``evaluation.swap`` names no control, or
    the run has no prior that one could stand in for.
    """
    rows = rows_of_run(run.places.rows, run.key)
    rows = rows[rows["swap"] != ""]
    return rows.pivot_table(
        index=["dataset", "swap"], columns=["protocol", "metric"], values="value", sort=False
    ).round(4)


def restored(run: RunPlan) -> Figure:
    """Of each test set the image with the middling PSNR: degraded, restored, sharp, error."""
    rows = _own_rows(run)
    rows = rows[(rows["metric"] == "PSNR") & (rows["protocol"] == rows["protocol"].iloc[0])]
    known = {pair.key: pair for pair in run.test_pairs()}
    lines = []
    for dataset, part in rows.groupby("dataset", sort=False):
        middle = part.sort_values("value").iloc[len(part) // 2]
        pair = known[f"{dataset}/{middle['image']}"]
        shown = run.task.picture(run.task.read(pair))
        place = run.places.restored / pair.dataset
        out = read_image(spread_file(place, f"{pair.image}.png"))
        error = pictures.error_map(out, shown["hq"])
        line = [(f"{pair.key}", shown["lq"]), (f"{middle['value']:.2f} dB", out)]
        lines.append([*line, ("sharp", shown["hq"]), ("error x4", error)])
    return side_by_side(lines)


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
        at = (suite, rows, tables.main_columns(suite, tables.rows_of(suite, rows, name)), name)
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
        display(printed.reproduction_text(suite, lines).style.format(escape="html").hide(axis=0))


def control_steps(suite: Suite) -> Any:
    """What the prior itself adds, control by control."""
    from IPython.display import HTML, display

    steps = controls.all_steps(suite, tables.everything(suite))
    for key, lines in steps.groupby("control", sort=False):
        text, flags = controls.steps_text(suite, lines)
        display(
            HTML(f"<p>{escape(controls.note(suite, key))}</p>"), _bold(text, flags).hide(axis=0)
        )


def reach(suite: Suite) -> Any:
    """How far each run's output moves when its prior does, collection by collection."""
    from IPython.display import HTML, display

    lines = _reach.reach_lines(suite)
    for name, part in lines.groupby("collection", sort=False):
        text = _reach.table_text(suite, part)
        display(HTML(f"<p>{escape(_reach.note(str(name), part))}</p>"))
        display(text.style.format(escape="html").hide(axis=0))


def ablations(suite: Suite) -> Any:
    """The suite's ablations, each a table of its own; nothing where it names none."""
    from IPython.display import HTML, display

    rows = tables.everything(suite)
    lines = _ablations.all_ablations(suite, rows)
    for key, part in lines.groupby("ablation", sort=False):
        table, best = _ablations.table_text(suite, part)
        display(HTML(f"<p>{escape(_ablations.note(suite, str(key), part))}</p>"))
        display(_bold(table, best))


def published(suite: Suite) -> Any:
    """The papers' own tables that the suite's runs stand beside: measured by them, on other data."""
    from IPython.display import HTML, display

    for paper, name in printed.tables_named(suite):
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
    from benchlib.papers.audit import INCONSISTENT, OPEN, ROUNDING, audit_findings

    verdicts = (ROUNDING, INCONSISTENT, OPEN)
    for got, allowed in ((paper, papers()), (verdict, verdicts)):
        if got and got not in allowed:
            raise BenchError(f"audit: got {got!r}; {nearest(got, allowed)}")
    found = audit_findings()
    found = found[found["paper"].eq(paper) | (paper == "")]
    found = found[found["verdict"].eq(verdict) | (verdict == "")]
    return found.style.hide(axis="index").set_properties(
        **{"white-space": "normal", "text-align": "left"}
    )


def audit_counts() -> pd.DataFrame:
    """How many statements were checked, by paper and verdict."""
    from benchlib.papers.audit import audit_checks

    checks = audit_checks()
    return pd.crosstab(checks["paper"], checks["verdict"])


def costs(suite: Suite) -> pd.DataFrame:
    """The cost table that ``cost.make`` wrote, its main columns."""
    from benchlib.report import cost

    frame = read_exported(suite.results / "tables" / "cost.csv", cost.WORDS)
    print(cost.note(frame))
    return cost.table_text(frame)


def protocols(paper: str = "") -> Any:
    """The protocol of each published table: as stated, as official code has it, as used here; of one paper, or all."""
    from benchlib.report import ledger

    table = ledger.stated()
    table = table[table["paper"].eq(paper) | (paper == "")]
    return table.style.hide(axis="index").set_properties(
        **{"white-space": "normal", "text-align": "left"}
    )


def protocol_effects() -> pd.DataFrame:
    """What each ambiguity of a protocol is worth on the same images."""
    from benchlib.report import ledger

    return ledger.effects_text(ledger.effects())
