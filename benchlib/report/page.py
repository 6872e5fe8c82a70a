"""The report: one HTML file that needs nothing else, not even a network.

Floor 4. ``page.html.jinja`` is the page; what stands in it is collected here as plain dictionaries and escaped there.
Images are embedded; previews are JPEG, every number was measured on the lossless files.
"""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from benchlib.files import new_file
from benchlib.metrics import protocol
from benchlib.papers import bibtex
from benchlib.records import read_json
from benchlib.report import pictures, plots, tables
from benchlib.report.pictures import INPUT, MASKS, SHARP
from benchlib.report.tables import Column

if TYPE_CHECKING:
    from benchlib.params import Suite

HERE = Path(__file__).parent
SIDES = (720, 560, 448, 360, 280)  # longest side of a preview, pixels: the largest that keeps within the budget
PREVIEW_BYTES = 3_500_000  # of all previews, encoded


def make(suite: Suite, path: Path | None = None) -> Path:
    """Write the suite's report page; returns its path (``<results>/report.html`` if none is given).

    Raises BenchError if no compared run has rows, or an image or mask file that the page shows is not there.
    """
    path = Path(path) if path else suite.results / "report.html"
    text = render(suite, tables.measured(suite))
    with new_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def render(suite: Suite, rows: pd.DataFrame) -> str:
    """The page as text."""
    main = tables.main_columns(rows)
    rest = [column for column in tables.columns(rows) if column not in main]
    scenes = pictures.choose(suite, rows, by_set=True)
    template = _environment().get_template("page.html.jinja")
    return template.render(
        css=Markup((HERE / "page.css").read_text(encoding="utf-8")),
        js=Markup((HERE / "page.js").read_text(encoding="utf-8")),
        suite=suite.suite,
        tasks=sorted({suite.run(run).task for run in tables.compared(suite)}),
        headline=headline(suite, rows),
        cards=_cards(suite, rows),
        baseline=_label(suite, tables.baseline(suite)),
        focus=_label(suite, pictures.focus(suite, rows)),
        main=_measured(suite, rows, main),
        rest=_measured(suite, rows, rest) if rest else None,
        published=[_published(suite, *at) for at in tables.suite_tables(suite)],
        viewer=_viewer(suite, rows, scenes),
        crops=_crops(suite, rows),
        error_scale=pictures.ERROR_SCALE,
        plots=_plots(suite, rows),
        provenance=_provenance(suite, rows),
        protocols=_protocols(rows),
        drop=suite.evaluation.mcr_drop,
        citations=[bibtex(paper) for paper in dict.fromkeys(paper for paper, _ in tables.suite_tables(suite))],
        revisions=", ".join(rows["revision"].drop_duplicates()),
        hardware="; ".join(rows["hardware"].drop_duplicates()),
        seeds=tables.seeds_text(rows),
    )


def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def _label(suite: Suite, run: str | None) -> str:
    return tables.label(suite, run) if run else ""


def _minus(text: str) -> str:
    """A number's hyphen as a true minus sign."""
    return text.replace("-", "\N{MINUS SIGN}")


# ---------------------------------------------------------------- words


def headline(suite: Suite, rows: pd.DataFrame) -> dict[str, Any]:
    """The answer first: the last method's mean PSNR change against no-prior, set by set, and the largest of any method.

    "verdict" and "more" are sentences, "caution" says how much stands behind them, "figures" holds one change a test
    set. Only what the rows hold: means and counts of images; no word on chance.
    """
    focus, no_prior = pictures.focus(suite, rows), tables.baseline(suite)
    changes = _changes(suite, rows)
    own = changes[changes["run"] == focus]
    words = {"caution": _caution(suite, rows), "more": ""}
    if own.empty:
        nothing = "Nothing to compare yet: a run without a prior and a run with one are needed."
        return words | {"verdict": nothing, "figures": []}
    up = int((own["difference"] > 0).sum())
    where = f"{up or 'none'} of {len(own)}" if up < len(own) else f"all {up}" if up > 1 else "the one"
    words["verdict"] = (
        f"“{_label(suite, focus)}” has a higher mean PSNR than “{_label(suite, no_prior)}” on {where} test set"
        f"{'s' if len(own) > 1 else ''}."
    )
    top = next(changes.sort_values("difference", ascending=False, kind="stable").itertuples())
    if changes["run"].nunique() > 1:
        change = _minus(tables.difference_text(top))
        words["more"] = f"The highest of all methods: {change} dB, “{top.label}” on {top.dataset}."
    under = _under_input(suite, rows, str(focus))
    if under:
        words["more"] += f" “{_label(suite, focus)}” is below the degraded input itself on {', '.join(under)}."
    figures = [
        {"set": cell.dataset, "count": f"{cell.better} of {cell.paired} images better"}
        | _difference(tables.difference_text(cell), "PSNR")
        for cell in own.itertuples()
    ]
    return words | {"figures": figures}


def _under_input(suite: Suite, rows: pd.DataFrame, run: str) -> list[str]:
    """The test sets on which a run's mean PSNR is below the degraded input's."""
    cells = tables.cells(suite, rows)
    main = dict(tables.main_columns(rows))["PSNR"]
    cells = cells[(cells["metric"] == "PSNR") & (cells["protocol"] == main)]
    means = {(cell.run, cell.dataset): cell.value for cell in cells.itertuples()}
    inputs = [key for key in tables.compared(suite) if tables.is_input(suite, key)]
    return [
        name
        for name in tables.datasets(suite, rows)
        if any(means.get((run, name), np.inf) < means.get((key, name), -np.inf) for key in inputs)
    ]


def _caution(suite: Suite, rows: pd.DataFrame) -> str:
    images = rows[["dataset", "image"]].drop_duplicates().shape[0]
    sets = suite.collection(suite.run(tables.compared(suite)[0]).test).values()
    sources = len({name for choice in sets for name in choice.get("images", [])})
    made = f" made from {sources} photograph{'s' if sources > 1 else ''}" if 0 < sources < images else ""
    return f"{images} test images{made}, {tables.seeds_text(rows).lower()}: no significance claimed."


def _changes(suite: Suite, rows: pd.DataFrame) -> pd.DataFrame:
    """The cells of mean PSNR change of the runs that have a reference, main protocol."""
    cells = tables.cells(suite, rows)
    runs = set(pictures.gains(suite, rows)["run"])
    main = dict(tables.main_columns(rows))["PSNR"]
    cells = cells[cells["dataset"] != tables.AVERAGE]
    return cells[(cells["metric"] == "PSNR") & (cells["protocol"] == main) & cells["run"].isin(runs)]


def _protocols(rows: pd.DataFrame) -> list[dict[str, str]]:
    """What each protocol of PSNR and SSIM means, from its definition."""
    said = {
        "ssim_2d": "2-D Gaussian window per channel, windows inside the image only",
        "ssim_2d_padded": "2-D Gaussian window, borders replicated",
        "ssim_3d": "3-D Gaussian window across colour",
    }
    notes = []
    for name in dict.fromkeys(p for metric, p in tables.columns(rows) if metric in ("PSNR", "SSIM")):
        one = protocol(name)
        colour = "RGB" if one.colour == "rgb" else "BT.601 luma"
        kind = said.get(getattr(one.ssim, "__name__", ""), "")
        notes.append(
            {"name": name, "text": f"{colour}, border {one.border} px; SSIM: {kind or 'see benchlib/metrics'}."}
        )
    return notes


# ---------------------------------------------------------------- tables


def _measured(suite: Suite, rows: pd.DataFrame, which: list[Column]) -> dict[str, Any]:
    cells = tables.cells(suite, rows)
    by_place = {(c.run, c.dataset, c.metric, c.protocol): c for c in cells.itertuples()}
    images = cells.groupby("dataset")["images"].max()
    names = tables.datasets(suite, rows)
    lines = []
    for run in tables.compared(suite):
        found = [by_place.get((run, name, *column)) for name in names for column in which]
        seeds, mode = tables.seeds(rows, run), tables.inference(rows, run)
        lines.append(
            {
                "label": _label(suite, run),
                "missing": "" if mode else tables.command(suite, run),
                "inference": mode,
                "seeds": f"{seeds} seed{'s' if seeds > 1 else ''}",
                "reference": run == tables.baseline(suite),
                "cells": [_cell(suite, cell, images) if cell else None for cell in found],
            }
        )
    return {"sets": [{"name": n, "images": int(images[n])} for n in names], "columns": _columns(which), "lines": lines}


def _columns(which: list[Column]) -> list[dict[str, Any]]:
    return [
        {"metric": tables.SHOWN.get(metric, metric), "protocol": name, "lower": metric in tables.LOWER}
        for metric, name in which
    ]


def _cell(suite: Suite, cell: Any, images: pd.Series) -> dict[str, Any]:
    value, _, count = tables.value_text(cell).partition(" ")
    change = cell.run != tables.baseline(suite) and not tables.is_input(suite, cell.run)
    change = change and not (cell.metric == "MC" and cell.difference == 0)  # "+0.00 pp" in most cells hides the rest
    fewer = cell.images < images[cell.dataset]
    return {
        "value": value,
        "count": f"{count} {cell.images} images".strip() if fewer else count,
        "best": cell.best,
        **_difference(tables.difference_text(cell) if change else "-", cell.metric),
    }


def _difference(text: str, metric: str) -> dict[str, str]:
    """A signed difference with what it means: better, worse or the same."""
    if text == "-":
        return {"difference": "", "meaning": ""}
    number = float(text.removesuffix(" pp"))
    better = number < 0 if metric in tables.LOWER else number > 0
    return {"difference": _minus(text), "meaning": "same" if number == 0 else "better" if better else "worse"}


def _published(suite: Suite, paper: str, table: str) -> dict[str, Any]:
    no_prior = tables.baseline(suite)
    reference = suite.run(no_prior).row if no_prior else ""
    numbers = tables.published_cells(paper, table, reference)
    places = list(dict.fromkeys(zip(numbers["dataset"], numbers["metric"], strict=True)))
    by_place = {(c.row, c.dataset, c.metric): c for c in numbers.itertuples()}
    lines = []
    for row in numbers["row"].drop_duplicates():
        ours = [run for run in tables.compared(suite) if (suite.run(run).paper, suite.run(run).row) == (paper, row)]
        found = [by_place.get((row, *place)) for place in places]
        lines.append(
            {
                "label": row,
                "ours": ", ".join(_label(suite, run) for run in ours),
                "cells": [_printed(cell, reference) if cell else None for cell in found],
            }
        )
    sets = [{"name": n, "columns": [m for d, m in places if d == n]} for n in dict.fromkeys(d for d, _ in places)]
    return {
        "paper": paper,
        "table": table,
        "reference": reference if reference in set(numbers["row"]) else "",
        "note": tables.published_note(paper, table),
        "notes": [note for note in numbers["note"].drop_duplicates() if note],
        "sets": sets,
        "lines": lines,
    }


def _printed(cell: Any, reference: str) -> dict[str, Any]:
    if cell.row == reference or pd.isna(cell.difference):
        return {"value": cell.text, "count": "", "best": cell.bold, "difference": "", "meaning": ""}
    digits = len(cell.printed.partition(".")[2])
    text = f"{cell.difference:+.{digits}f}"
    text = text.replace("-", "+") if float(text) == 0 else text
    text += " pp" if cell.unit == "%" else ""
    return {"value": cell.text, "count": "", "best": cell.bold, **_difference(text, cell.metric)}


def _provenance(suite: Suite, rows: pd.DataFrame) -> list[dict[str, Any]]:
    lines = []
    for key in tables.compared(suite):
        run, own = suite.run(key), rows[rows["run"] == key]
        path = suite.results / "records" / f"{key}.json"
        record = read_json(path) if path.exists() else {}
        lines.append(
            {
                "run": key,
                "label": _label(suite, key),
                "method": f"{run.method['name']} on {run.backbone['name']}",
                "prior": f"{run.prior.train} / {run.prior.test}",
                "beside": f"{run.paper}, Table {run.table}: {run.row}" if run.row else "",
                "inference": tables.inference(rows, key),
                "protocol": ", ".join(dict.fromkeys(name for _, name in tables.columns(own))),
                **(_training(record) if record.get("parameters") else _training({})),
                "hardware": record.get("hardware") or ", ".join(own["hardware"].drop_duplicates()),
                "revision": record.get("revision") or ", ".join(own["revision"].drop_duplicates()),
                "command": tables.command(suite, key),
            }
        )
    return lines


def _training(record: dict[str, Any]) -> dict[str, str]:
    """What a run record says of the training; a key that it lacks is empty."""
    iterations = record.get("iterations", record.get("training", {}).get("iterations"))
    numbers = {"iterations": iterations, "parameters": record.get("parameters"), "seconds": record.get("train_seconds")}
    return {name: "" if value is None else f"{value:,.0f}" for name, value in numbers.items()}


# ---------------------------------------------------------------- pictures


def _cards(suite: Suite, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """A card a test set: each method's per-image PSNR changes as dots on one axis that all cards share."""
    changes, images = _changes(suite, rows), pictures.gains(suite, rows)
    if images.empty:
        return []
    sizes = images["difference"].abs()
    reach = max(0.05, 1.08 * float(min(sizes.max(), 2 * sizes.quantile(0.9))))  # one outlier does not flatten all
    cards = []
    for name in tables.datasets(suite, rows):
        strips = []
        for cell in changes[changes["dataset"] == name].itertuples():
            own = images[(images["run"] == cell.run) & (images["dataset"] == name)]["difference"]
            dots = [
                {"x": _along(gain, reach), "beyond": abs(gain) > reach, "meaning": "better" if gain > 0 else "worse"}
                for gain in own
            ]
            strip = {"label": cell.label, "dots": dots, "better": cell.better, "of": cell.paired}
            strip["mean"] = _along(cell.difference, reach)
            strips.append(strip | _difference(tables.difference_text(cell), "PSNR"))
        cards.append({"name": name, "strips": strips, "reach": f"{reach:.2g}"})
    return cards


def _along(gain: float, reach: float) -> float:
    """Where a gain stands on a strip of 200 units whose middle is 0 dB."""
    return round(100 + 94 * min(max(gain / reach, -1), 1), 1)


def _viewer(suite: Suite, rows: pd.DataFrame, scenes: list[pictures.Scene]) -> dict[str, Any] | None:
    """What the before/after viewer holds: each scene's layers as data URIs, its masks, its PSNRs."""
    if not scenes:
        return None
    side, encoded = _previews(scenes)
    scores = _scores(rows)
    shown: list[dict[str, Any]] = []
    for number, (scene, layers) in enumerate(zip(scenes, encoded, strict=True)):
        height, width = scene.layers[SHARP].shape[:2]
        score = {name: _score(suite, scores, scene, name) for name in layers}
        shown.append(
            {
                "id": number,
                "set": scene.pair.dataset,
                "name": f"{scene.why}: {scene.pair.image} ({_minus(f'{scene.gain:+.2f}')} dB)",
                "size": [width, height],
                "layers": layers,
                "psnr": {name: f"{value:.2f} dB" for name, value in score.items() if value is not None},
                "masks": _overlay(scene.labels, side) if scene.labels is not None else None,
                "count": None if scene.labels is None else int(np.count_nonzero(np.unique(scene.labels))),
            }
        )
    names = list(dict.fromkeys(name for scene in shown for name in scene["layers"]))
    return {
        "scenes": shown,
        "sets": list(dict.fromkeys(scene["set"] for scene in shown)),
        "layers": [{"key": name, "label": pictures.label(suite, name)} for name in names],
        "left": INPUT,
        "right": scenes[0].focus,
        "masks": any(scene["masks"] for scene in shown),
    }


def _scores(rows: pd.DataFrame) -> dict[tuple[str, str, str], float]:
    main = dict(tables.main_columns(rows))["PSNR"]
    values = tables.per_image(rows[(rows["metric"] == "PSNR") & (rows["protocol"] == main)])
    return {(v.run, v.dataset, v.image): v.value for v in values.itertuples()}


def _score(suite: Suite, scores: dict[tuple[str, str, str], float], scene: pictures.Scene, layer: str) -> float | None:
    """The PSNR of a scene's layer; the blurred layer's is that of the run that is the input."""
    runs = [run for run in tables.compared(suite) if tables.is_input(suite, run)] if layer == INPUT else [layer]
    return next((scores.get((run, scene.pair.dataset, scene.pair.image)) for run in runs), None)


def _previews(scenes: list[pictures.Scene]) -> tuple[int, list[dict[str, str]]]:
    """Every layer as a JPEG data URI, all at the largest of SIDES that keeps the sum within PREVIEW_BYTES."""
    for side in SIDES:
        encoded = [{name: _jpeg(image, side) for name, image in scene.layers.items()} for scene in scenes]
        if side == SIDES[-1] or sum(len(uri) for layers in encoded for uri in layers.values()) <= PREVIEW_BYTES:
            break
    return side, encoded


def _fit(size: tuple[int, int], side: int) -> tuple[int, int]:
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _jpeg(image: np.ndarray, side: int) -> str:
    picture = Image.fromarray(image)
    picture = picture.resize(_fit(picture.size, side), Image.Resampling.LANCZOS)
    return _uri(picture, "jpeg", quality=90, subsampling=0)


def _overlay(labels: np.ndarray, side: int) -> str:
    width, height = _fit((labels.shape[1], labels.shape[0]), side)
    small = labels[np.arange(height) * labels.shape[0] // height][:, np.arange(width) * labels.shape[1] // width]
    return _uri(Image.fromarray(pictures.mask_colours(small)).quantize(256, Image.Quantize.FASTOCTREE), "png")


def _png(image: np.ndarray) -> str:
    return _uri(Image.fromarray(image), "png")


def _uri(picture: Image.Image, kind: str, **settings: Any) -> str:
    buffer = BytesIO()
    picture.save(buffer, format=kind, optimize=True, **settings)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _crops(suite: Suite, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Three scenes of all test images, each a list of crops with their error maps."""
    scores, shown = _scores(rows), []
    for scene in pictures.choose(suite, rows, by_set=False):
        cut = plots.crops(suite, scene)
        tiles = []
        for name, image in cut.items():
            score = _score(suite, scores, scene, name)
            error = None if name in (MASKS, SHARP) else _heat(pictures.error_map(image, cut[SHARP]))
            label, psnr = pictures.label(suite, name), "" if score is None else f"{score:.2f} dB"
            tiles.append({"label": label, "image": _png(image), "error": error, "psnr": psnr})
        where = f"{scene.pair.dataset} / {scene.pair.image}"
        shown.append({"why": scene.why, "where": where, "gain": _minus(f"{scene.gain:+.2f}"), "tiles": tiles})
    return shown


def _heat(error: np.ndarray) -> str:
    from matplotlib import colormaps

    return _png((colormaps["magma"](error)[..., :3] * 255).round().astype(np.uint8))


def _plots(suite: Suite, rows: pd.DataFrame) -> list[dict[str, str]]:
    """The plots for a light and a dark page, with words for those who cannot see them."""
    names = ("gain_against_masks", "mcr", "loss")
    light, dark = (plots.draw(suite, style, names) for style in ("light", "dark"))
    captions = {
        "gain_against_masks": "Each dot is one test image: PSNR change against the run without a prior, over the "
        "number of masks the method read. Dots above the line were restored better with the prior.",
        "mcr": "Mode collapse: images whose restoration is worse than the blurred input by more than "
        f"{suite.evaluation.mcr_drop:g} dB. Numerator and denominator stand at the bars.",
        "loss": "Training loss as logged (faint) and its running median (strong), one line a run and seed; where "
        "training was validated, the validation PSNR below.",
    }
    titles = {"gain_against_masks": "Gain against mask count", "mcr": "Mode collapse rate", "loss": "Training loss"}
    return [
        {
            "title": titles[name],
            "caption": captions[name],
            "alt": _words(suite, rows, name),
            "light": _plot(light[name]),
            "dark": _plot(dark[name]),
        }
        for name in names
        if name in light
    ]


def _plot(figure: Any) -> str:
    return "data:image/png;base64," + base64.b64encode(plots.png(figure, dpi=144)).decode()


def _words(suite: Suite, rows: pd.DataFrame, name: str) -> str:
    """What a plot shows, as numbers in words."""
    if name == "gain_against_masks":
        said = [
            f"{c.label} on {c.dataset}: better on {c.better} of {c.paired}" for c in _changes(suite, rows).itertuples()
        ]
        return "Scatter plot of PSNR change over mask count. " + "; ".join(said) + "."
    if name == "mcr":
        cells = tables.cells(suite, rows)
        main = dict(tables.main_columns(rows))["MC"]
        cells = cells[(cells["metric"] == "MC") & (cells["protocol"] == main)]
        said = [f"{c.label} on {c.dataset}: {c.numerator} of {c.denominator}" for c in cells.itertuples()]
        return "Bars of mode collapse. " + "; ".join(said) + "."
    said = []
    for run in tables.compared(suite):
        path = suite.results / "loss" / f"{run}.csv"
        loss = pd.read_csv(path)["loss"] if path.exists() else pd.Series(dtype=float)
        if len(loss):
            said.append(f"{_label(suite, run)} from {loss.iloc[0]:.1f} to {loss.iloc[-1]:.1f} dB")
    return "Lines of training loss over iterations. " + "; ".join(said) + "."
