"""The report: one HTML file that needs nothing else, not even a network.

Layer 4. ``page.html.jinja`` is the page; what stands in it is collected here as plain dictionaries and escaped there.
Nothing is measured or trained here: figures come from rows, tables, records and the papers' own numbers. Images are
embedded; previews may be JPEG, every number was measured on the lossless files.
"""

from __future__ import annotations

import base64
import re
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from benchlib import registry
from benchlib.files import new_file
from benchlib.metrics import protocol
from benchlib.papers import bibtex
from benchlib.papers.audit import INCONSISTENT, ROUNDING, audit_findings
from benchlib.priors.kinds.masks import mask_colours
from benchlib.records import read_losses
from benchlib.report import (
    ablations,
    answer,
    controls,
    ledger,
    pictures,
    plots,
    published,
    reach,
    tables,
    words,
)
from benchlib.report.markup import read_exported
from benchlib.report.measures import first_paragraph
from benchlib.report.pictures import INPUT, PRIOR, SHARP
from benchlib.report.tables import AVERAGE, Column

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchlib.params import Run, Suite

VERSION = 1
HERE = Path(__file__).parent
SIDES = (
    720,
    560,
    448,
    360,
    280,
)  # longest side of a preview, pixels: the largest that keeps within the budget
PREVIEW_BYTES = 6_000_000  # of all previews, encoded
Cell = dict[str, Any]  # one cell of a table: see ``_cell``


def make(suite: Suite, path: Path | None = None) -> Path:
    """Write the suite's report page; returns its path (``<results>/report.html`` if none is given).

    Raises BenchError if no compared run has rows, or an image or mask file that the page shows is not there.
    """
    path = Path(path) if path else suite.results / "report.html"
    restored = tables.everything_restored(suite)
    moved = reach.reach_lines(suite, restored)
    text = render(suite, tables.of_the_prior(restored), moved, drawn=True)
    with new_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def render(
    suite: Suite, rows: pd.DataFrame, moved: pd.DataFrame | None = None, drawn: bool = False
) -> str:
    """The page as text; ``rows`` are those of all shown test collections (``tables.everything``).

    moved: ``reach.reach_lines``, worked out if not given. drawn: the rows are those on disk, so that
    plots which ``plots.make`` has written of them need not be drawn again.
    Pictures and plots are of the first collection, which has the most runs.
    """
    steps, beside = controls.all_steps(suite, rows), published.reproduction(suite, rows)
    main = tables.rows_of(suite, rows)
    scenes = pictures.choose(suite, main, by_set=True) if len(main) else []
    citations = dict.fromkeys(paper for paper, _ in published.tables_named(suite))
    if moved is None:
        moved = reach.reach_lines(suite)
    focus = pictures.focus(suite, main)
    return _environment().get_template("page.html.jinja").render(
        css=Markup((HERE / "page.css").read_text(encoding="utf-8")),
        js=Markup((HERE / "page.js").read_text(encoding="utf-8")),
        shown_of=_shown_of,
        suite=suite.suite,
        problems=sorted({suite.run(run).problem for runs in tables.collections(suite).values() for run in runs}),
        headline=answer.headline(suite, rows, steps, reach.unreached(moved)),
        answers=answer.answers(suite, rows, steps),
        controls=_controls(suite, steps),
        reach=_reach(suite, moved),
        words=_spoken(words.said(suite)),
        doubts=words.doubts(suite),
        ablations=_ablations(suite, rows),
        cards=answer.cards(suite, main) if len(main) else [],
        measured=[_collection(suite, rows, name) for name in tables.measured_collections(suite, rows)],
        measures=_meanings(suite, rows),
        protocols=_protocols(suite, rows),
        prior_meanings=_prior_meanings(suite, rows),
        reproduced=_reproduced(suite, beside),
        published=[_published(suite, rows, *at) for at in published.tables_named(suite)],
        focus=answer.run_label(suite, focus),
        reference=answer.run_label(suite, tables.reference(suite, focus) if focus else None),
        viewer=_viewer(suite, main, scenes),
        crops=_crops(suite, main) if len(main) else [],
        error_scale=f"{pictures.ERROR_SCALE:g}",
        plots=_plots(suite, rows, steps, drawn) if len(main) else [],
        cost=_cost(suite),
        audit=_audit(citations),
        ledger=_ledger(),
        provenance=_provenance(suite, rows),
        citations=[bibtex(paper) for paper in citations],
        revisions=", ".join(rows["revision"].drop_duplicates()),
        hardware="; ".join(name for name in rows["hardware"].drop_duplicates() if name),
    )  # fmt: skip


def _shown_of(entries: Sequence[Any]) -> int:
    """How many of a long list stand open; the others are behind a line to press."""
    return len(entries) if len(entries) <= pictures.ROOM else pictures.FEW


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {
        "sort_keys": False,  # layers stay in order: input, methods, sharp
        "allow_nan": False,
    }
    return environment


# ---------------------------------------------------------------- tables


def _cell(
    text: Any, number: Any = None, *, sub: Iterable[str] = (), meaning: str = "", **more: bool
) -> Cell:
    """A cell: what it shows, the number it sorts by (None: its text), smaller lines below, "strong" and "code"."""
    numeric = number is not None
    missing = numeric and pd.isna(number)
    sort = "" if missing else str(float(number)).replace("inf", "Infinity") if numeric else None
    shown = "–" if text in (None, "", "-") else str(text)
    lines = [_sub(line, meaning) for line in sub if line]
    return {"text": shown, "sort": sort, "sub": lines, "strong": False, "code": False} | more


def _sub(text: str, meaning: str = "", said: str = "") -> dict[str, str]:
    """A smaller line of a cell; ``said`` is what its colour means, for those who do not see it."""
    return {"text": text, "meaning": meaning, "said": said}


def _table(
    key: str,
    title: str,
    columns: Sequence[str],
    lines: list[list[Cell]],
    choices: Sequence[int] = (),
) -> dict:
    """A flat table: the first cell of a line is its header; a column is numeric where a cell of it has a number."""
    return {
        "id": key,
        "title": title,
        "columns": [
            {"text": text, "number": any(line[i]["sort"] is not None for line in lines)}
            for i, text in enumerate(columns)
        ],
        "lines": lines,
        "choices": [
            {
                "label": columns[i],
                "column": i,
                "values": list(dict.fromkeys(line[i]["text"] for line in lines)),
            }
            for i in choices
        ],
    }


def _collection(suite: Suite, rows: pd.DataFrame, name: str) -> dict[str, Any]:
    """The measured tables of one test collection: the leading protocols, then the others."""
    own = tables.rows_of(suite, rows, name)
    main = tables.main_columns(suite, own)
    rest = [column for column in tables.columns(suite, own) if column not in main]
    names = tables.measured_collections(suite, rows)
    return {
        "name": name if len(names) > 1 else "",
        "aside": name != names[0]
        and own["run"].nunique() == 1,  # one run answers nothing: told beside its paper
        "note": tables.counts_note(suite, own, name),
        "main": _measured(suite, own, main, name, f"Measured, {name}"),
        "rest": _measured(suite, own, rest, name, f"Measured, {name}, other protocols")
        if rest
        else None,
    }


def _measured(
    suite: Suite, rows: pd.DataFrame, which: list[Column], collection: str, title: str
) -> dict[str, Any]:
    cells = tables.cells(suite, rows)
    by_place = {(c.run, c.dataset, c.metric, c.protocol): c for c in tables.tuples(cells)}
    images = cells.groupby("dataset")["images"].max()
    names = tables.columns_of(suite, rows, collection)
    lines = []
    counts, modes = tables.seed_counts(rows), tables.inferences(rows)
    for run in tables.compared(suite, collection):
        found = [by_place.get((run, name, *column)) for name in names for column in which]
        seeds, mode = counts.get(run, 0), modes.get(run, "")
        to = tables.reference(suite, run)
        against = f"against “{answer.run_label(suite, to)}”" if to else "reference"
        how = [f"{_mode(mode)}, {answer.count(seeds, 'seed')}", against]
        how = ["the input itself"] if tables.is_input(suite, run) else how
        lines.append(
            {
                "label": answer.run_label(suite, run),
                "missing": "" if mode else tables.command(suite, run),
                "how": how if mode else [],
                "reference": run == tables.baseline(suite, collection),
                "cells": [_figure(suite, cell, images) if cell else None for cell in found],
            }
        )
    known = tables.measures(suite)
    columns = [
        {
            "text": known[metric].shown,
            "sub": f"{name}{'; lower is better' if known[metric].lower else ''}",
        }
        for metric, name in which
    ]
    sets = [
        {"name": n, "sub": answer.count(int(images[n]), "image"), "columns": columns} for n in names
    ]
    return {"id": _id(title), "title": title, "first": "Method", "sets": sets, "lines": lines}


def _mode(inference: str) -> str:
    """An inference mode in plain words: "whole image", "pooling in windows of 256 px", "in tiles of 96 px"."""
    said = re.sub(r"(?:global)?\+tile(\d+)/\d+", r" in tiles of \1 px", inference)
    said = re.sub(r"\btlc(\d+)", r"pooling in windows of \1 px", said)
    said = said.replace("+truncated", ", truncated to 8 bits")
    return said.replace("global", "whole image").strip()


def _id(text: str) -> str:
    return "t-" + "".join(c if c.isascii() and c.isalnum() else "-" for c in text.lower())


def _figure(suite: Suite, cell: Any, images: pd.Series) -> Cell:
    """A measured figure over its difference to the run's reference with its interval."""
    rate = tables.measures(suite)[cell.metric].is_percent
    value, count = tables.value_text(suite, cell), ""
    if not pd.isna(cell.value):
        value, _, count = value.partition(" ")
    change = not pd.isna(cell.difference) and not tables.is_input(suite, cell.run)
    change = change and not (
        rate and cell.difference == 0
    )  # "+0.00 pp" in most cells hides the rest
    fewer = f"{cell.images} images" if cell.images < images[cell.dataset] else ""
    shown = _cell(value, cell.value, sub=[f"{count} {fewer}".strip()], strong=bool(cell.best))
    if change:
        number, _, interval = answer.minus(tables.interval_text(suite, cell)).partition(" [")
        unit = " pp" if interval.endswith(" pp") else ""
        meaning = answer.meaning(cell)
        sign = {"better": "▲ ", "worse": "▼ "}.get(meaning, "")
        shown["sub"] += [_sub(f"{sign}{number}{unit}", meaning, answer.CHANCE[meaning])]
        beyond = rate and max(abs(cell.low), abs(cell.high)) > 100  # of a few images: says nothing
        shown["sub"] += (
            [_sub(f"[{interval.removesuffix(' pp')}")] if interval and not beyond else []
        )
    return shown


def _published(suite: Suite, rows: pd.DataFrame, paper: str, table: str) -> dict[str, Any]:
    """A paper's own table, digits as printed, with the differences to the row of the baseline computed here."""
    no_prior = tables.baseline(suite)
    reference = suite.run(no_prior).row if no_prior else ""
    numbers = published.cells(paper, table, reference)
    if (
        numbers["metric"].str.endswith(" gain").any()
    ):  # it prints its own differences, to each row's own baseline
        reference, numbers = "", published.cells(paper, table)
    pairs = list(dict.fromkeys(zip(numbers["dataset"], numbers["metric"], strict=True)))
    columns = {name: [metric for other, metric in pairs if other == name] for name, _ in pairs}
    places = [(name, metric) for name, metrics in columns.items() for metric in metrics]
    by_place = {(c.row, c.dataset, c.metric): c for c in numbers.itertuples()}
    beside: dict[str, list[str]] = {}
    for run in [run for runs in tables.collections(suite).values() for run in runs]:
        if suite.run(run).paper == paper:
            beside.setdefault(suite.run(run).row, []).append(run)
    lines = []
    for row in numbers["row"].drop_duplicates():
        ours = beside.get(row, [])
        found = [by_place.get((row, *place)) for place in places]
        names = ", ".join(dict.fromkeys(answer.run_label(suite, run) for run in ours))
        lines.append(
            {
                "label": row,
                "missing": "",
                "how": [f"ours: {names}"] if names else [],
                "reference": False,
                "cells": [_printed(cell, reference) if cell else None for cell in found],
            }
        )
    title = f"{paper}, Table {table}, as printed"
    measured = set(rows["dataset"].unique())
    both = [name for name in numbers["dataset"].drop_duplicates() if name in measured]
    return {
        "paper": paper,
        "table": table,
        "reference": reference if reference in set(numbers["row"]) else "",
        "note": "" if both else published.note(paper, table),
        "both": both,
        "notes": [note for note in numbers["note"].drop_duplicates() if note],
        "wide": {
            "id": _id(title),
            "title": title,
            "first": "Row",
            "sets": [
                {
                    "name": name,
                    "sub": "",
                    "columns": [{"text": metric, "sub": ""} for metric in metrics],
                }
                for name, metrics in columns.items()
            ],
            "lines": lines,
        },
    }


def _printed(cell: Any, reference: str) -> Cell:
    """A published number; the difference under it, to the row ``reference``, has no interval."""
    shown = _cell(cell.text, cell.value, strong=bool(cell.bold))
    if cell.row == reference or pd.isna(cell.difference):
        return shown
    text = f"{cell.difference:+.{len(cell.printed.partition('.')[2])}f}"
    text = text.replace("-", "+") if float(text) == 0 else text
    return shown | {"sub": [_sub(answer.minus(text) + (" pp" if cell.unit == "%" else ""))]}


def _reproduced(suite: Suite, beside: pd.DataFrame) -> list[dict[str, Any]]:
    """Published and ours, a flat table a paper's table."""
    sorts = {"published": "published", "ours": "ours", "difference": "difference", "published gain": "published_gain",
             "our gain": "gain", "images": "images", "seeds": "seeds", "iterations": "iterations"}  # fmt: skip
    found = []
    for (paper, table), lines in beside.groupby(["paper", "table"], sort=False):
        text = published.reproduction_text(suite, lines)
        numbers = {
            shown: pd.to_numeric(lines[name], errors="coerce").to_numpy()
            for shown, name in sorts.items()
        }
        twice = lines.duplicated(
            ["run", "dataset", "metric", "protocol"], keep=False
        )  # under several settings
        cells = []
        tuned = (
            lines.assign(tuned=lines["reference"].isna()).sort_values("tuned", kind="stable").index
        )
        for i, line in (
            (lines.index.get_loc(at), lines.loc[at]) for at in tuned
        ):  # what the paper is about first
            if line.note:
                continue
            own = {
                name: _cell(answer.minus(value), numbers[name][i])
                if name in sorts
                else _cell(value)
                for name, value in text.iloc[i].items()
            }
            own["data set"] = _cell(line.dataset, sub=[line.setting if twice.iloc[i] else ""])
            own["measure"] = _cell(line.metric, sub=[line.protocol])
            own["row"]["sub"] = [_sub(f"ours: {own.pop('run')['text']}")]
            number, _, interval = own["our gain"]["text"].partition(" ")
            mark = "better" if line.low > 0 else "worse" if line.high < 0 else "open"
            marked = [_sub(interval), _sub(answer.CHANCE[mark], mark)] if interval else []
            own["our gain"] |= {"text": number, "sub": marked}
            cells.append(list(own.values()))
        missing = lines[lines["note"] != ""].groupby("row", sort=False)["dataset"].unique()
        title = f"{paper}, Table {table}: published and ours"
        heads = [name.capitalize() for name in text.columns if name != "run"]
        found.append(
            {
                "title": title,
                "note": published.reproduction_note(paper, table),
                "missing": "; ".join(
                    f"{row}: {', '.join(names)}" for row, names in missing.items()
                ),
                "table": _table(_id(title), f"{title}, numbers", heads, cells),
            }
        )
    return found


def _controls(suite: Suite, steps: pd.DataFrame) -> list[dict[str, Any]]:
    """What the prior itself adds: a table a control, a line a step, a column a data set."""
    found = []
    for key, lines in steps.groupby("control", sort=False):
        names = list(lines["dataset"].drop_duplicates())
        most = lines.groupby("dataset")[["images", "scenes"]].max()
        body = []
        for (kind, step), part in lines.groupby(["kind", "step"], sort=False):
            by_set = {line.dataset: line for line in part.itertuples()}
            to = " → ".join(
                answer.run_label(suite, run)
                for run in (part["reference"].iloc[0], part["run"].iloc[0])
            )
            about = {
                "other": f"beside the steps: {to}",
                "total": f"the sum of the steps: {to}",
            }.get(str(kind), to)
            cells = [
                _cell(step, sub=[about], strong=kind == "total"),
                _cell(part["seeds"].max(), part["seeds"].max()),
            ]
            for name in names:
                line = by_set.get(name)
                cells.append(_step(suite, line) if line else _cell(None, float("nan")))
            body.append(cells)
        columns = [
            "Step",
            "Seeds",
            *(f"{name} ({tables.images_text(*most.loc[name])})" for name in names),
        ]
        table = _table(
            _id(f"control {key}"),
            f"What the prior adds: {suite.controls[str(key)].label}",
            columns,
            body,
        )
        protocol_ = lines["protocol"].iloc[0]
        note = f"Change of mean PSNR in dB (protocol {protocol_}) from the first run of a line to the second."
        found.append({"label": suite.controls[str(key)].label, "note": note, "table": table})
    return found


def _step(suite: Suite, line: Any) -> Cell:
    meaning = answer.meaning(line)
    return _cell(
        answer.interval(suite, line), line.difference, sub=[answer.CHANCE[meaning]], meaning=meaning
    )


def _reach(suite: Suite, lines: pd.DataFrame) -> dict[str, Any] | None:
    """A line a run with a prior: how far its output moves under each control; None without one."""
    if lines.empty:
        return None
    names = [name for name in reach.CONTROLS if name in set(lines["swap"])]
    columns = ["Run"]
    for name in names:
        said = reach.CONTROLS[name]
        columns += [f"Reach, {said}", f"Largest change, {said}", f"PSNR change, {said}"]
    body = []
    for run, own in tables.lines_by_run(lines).items():
        by_control = {line.swap: line for line in own}
        about = f"reads {answer.prior_words(suite, run)}"
        cells = [_cell(own[0].label, sub=[about])]
        said = own[0].note
        if said:
            cells[0]["sub"].append(_sub(said, "worse" if said == reach.UNREACHED else ""))
        for name in names:
            cells += _moved(suite, by_control.get(name))
        body.append(cells)
    notes = []
    for name, own in lines.groupby("collection", sort=False):
        notes.append(reach.note(str(name), own))
    title = "How far the output moves when the prior does"
    return {"notes": notes, "table": _table("t-reach", title, columns, body)}


def _spoken(lines: pd.DataFrame) -> dict[str, Any] | None:
    """A line an image: what each prior of words says of it; None where there is none."""
    if lines.empty:
        return None
    body = []
    for line in lines.itertuples():
        where = _cell(f"{line.dataset}/{line.image}", sub=[line.prior])
        body.append([where, _cell(line.text, sub=[line.note])])
    return _table("t-words", "What was said of the images", ["Image", "Words"], body)


def _moved(suite: Suite, line: Any) -> list[Cell]:
    """Reach, largest change and PSNR change of one control; dashes where it was not measured."""
    if line is None:
        return [_cell(None, float("nan"))] * 3
    texts = reach.cell_texts(suite, line)
    return [
        _cell(texts["reach"], line.reach),
        _cell(texts["largest"], line.most),
        _step(suite, line),
    ]


def _ablations(suite: Suite, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """The suite's ablations, a table each: the reference first, then what changes one thing."""
    found = []
    every_line = ablations.all_ablations(suite, rows)
    for key, lines in every_line.groupby("ablation", sort=False):
        table, _ = ablations.table_text(suite, lines)
        by_place = {(line.label, line.dataset): line for line in lines.itertuples()}
        sets = list(lines["dataset"].drop_duplicates())
        first = lines.iloc[0]
        head = tables.heading(suite, first.metric, first.protocol)
        body = []
        for label in table.index:
            own = lines[lines["label"] == label]
            said = table.loc[label, ("run", "seeds")]
            if len(own):
                said = answer.count(own["seeds"].iloc[0], "seed")
            cells = [_cell(label, sub=[said])]
            for name in sets:
                cells.append(_ablated(suite, by_place.get((label, name))))
            body.append(cells)
        one = suite.ablations[str(key)]
        title = f"Ablation: {one.label}"
        columns = ["Run", *(f"{name}, {head}" for name in sets)]
        note = ablations.note(suite, str(key), lines)
        flat = _table(_id(f"ablation {key}"), title, columns, body)
        found.append({"label": one.label, "note": note, "table": flat})
    return found


def _ablated(suite: Suite, line: Any) -> Cell:
    """One value of an ablation over its difference to the reference."""
    if line is None:
        return _cell(None, float("nan"))
    shown = _cell(tables.value_text(suite, line), line.value, strong=bool(line.best))
    if not pd.isna(line.difference):
        meaning = answer.meaning(line)
        change = answer.minus(tables.interval_text(suite, line))
        shown["sub"].append(_sub(change, meaning, answer.CHANCE[meaning]))
    return shown


def _meanings(suite: Suite, rows: pd.DataFrame) -> list[dict[str, str]]:
    """Each measure of the tables in words, from its metric's file."""
    shown = []
    for name in dict.fromkeys(metric for metric, _ in tables.columns(suite, rows)):
        one = tables.measures(suite)[name]
        better = "lower" if one.lower else "higher"
        text = f"{one.meaning} {better.capitalize()} is better."
        if one.is_percent:
            text += " Differences in percentage points (pp)."
        shown.append({"name": one.shown, "text": text})
    return shown


def _prior_meanings(suite: Suite, rows: pd.DataFrame) -> list[str]:
    """What each prior of the answering runs is, a sentence from its own file each."""
    names: list[str] = []
    for run in answer.answering(suite, rows):
        names += tables.prior_names(suite, run)
    found = []
    for name in dict.fromkeys(names):
        found.append(first_paragraph(registry.load("priors", name)))
    return found


def _protocols(suite: Suite, rows: pd.DataFrame) -> list[dict[str, str]]:
    """What each protocol means, from its definition."""
    names = dict.fromkeys(name for _, name in tables.columns(suite, rows))
    return [{"name": name, "text": protocol(name).meaning} for name in names]


def _cost(suite: Suite) -> dict[str, Any] | None:
    """The cost table that the tables stage measured; None where it wrote none."""
    path = suite.results / "tables" / "cost.csv"
    if not path.exists():
        return None
    from benchlib.report.cost import WORDS

    frame = read_exported(path, WORDS)
    columns = {  # header: (column, divided by)
        "Parameters, thousands": ("parameters", 1e3),
        "Trained, thousands": ("trained_parameters", 1e3),
        "Multiply-adds, G per megapixel": ("multiply_adds_per_megapixel", 1e9),
        "Network, s per megapixel": ("seconds_per_megapixel", 1),
        "Memory, MiB per megapixel": ("peak_mib_per_megapixel", 1),
        "Prior, s per image": ("prior_seconds_per_image", 1),
        "Prior, s per megapixel": ("prior_seconds_per_megapixel", 1),
        "Prior, MiB per image": ("prior_peak_mib", 1),
        "Prior, MiB per megapixel": ("prior_peak_mib_per_megapixel", 1),
        "Training, s a seed": ("train_seconds", 1),
        "Training, s in all": ("train_total_seconds", 1),
    }
    columns = {text: at for text, at in columns.items() if at[0] in frame}
    lines = []
    for line in frame.to_dict("records"):
        numbers = [
            _cell(_quantity(line[name] / unit), line[name] / unit)
            for name, unit in columns.values()
        ]
        about = [
            line["run"] if line["run"] != line["label"] else "",
            line["hardware"],
            line["note"],
        ]
        lines.append([_cell(line["label"], sub=about), *numbers])
    return _table("t-cost", "Cost of each method", ["Method", *columns], lines)


def _quantity(number: float) -> str:
    """Three figures, and no more than a reader needs: "291", "0.042", "12,300"."""
    if pd.isna(number):
        return "–"
    return f"{number:,.0f}" if abs(number) >= 100 or number == 0 else f"{number:.3g}"


def _audit(first: Iterable[str]) -> dict[str, Any]:
    """What the papers' own numbers say about each other: findings, and apart from them those that rounding explains.

    The papers named ``first`` come first, and of each what is inconsistent.
    """
    found, order = audit_findings(), list(first)
    found["place"] = [
        order.index(paper) if paper in order else len(order) for paper in found["paper"]
    ]
    found["open"] = found["verdict"] != INCONSISTENT
    found = found.sort_values(["place", "paper", "open"], kind="stable")
    columns = ["Paper", "Where", "What", "Printed", "Recomputed", "Verdict", "Note"]

    def lines(part: pd.DataFrame) -> list[list[Cell]]:
        return [
            [_cell(one.paper), _cell(_place(one.table), sub=[one.row]), _cell(one.what),
             _cell(answer.minus(one.printed)), _cell(answer.minus(one.recomputed)), _cell(one.verdict), _cell(one.note)]
            for one in part.itertuples()
        ]  # fmt: skip

    rounding = found["verdict"] == ROUNDING
    return {
        "findings": _table(
            "t-audit", "Audit: findings", columns, lines(found[~rounding]), choices=(0, 5)
        ),
        "rounding": _table(
            "t-rounding",
            "Audit: explained by rounding",
            columns,
            lines(found[rounding]),
            choices=(0,),
        ),
    }


def _place(table: str) -> str:
    """Where a finding is: "Table 4", "Tables 1 to 6", "text"."""
    return table if table == "text" else f"Table{'s' if ' ' in table else ''} {table}"


def _ledger() -> dict[str, Any]:
    """Protocols as stated, as the official code has them and as used here; and what each reading changes."""
    stated = [
        [
            _cell(line.paper),
            _cell(f"Table {line.table}", sub=[f"stated in {line.section}" if line.section else ""]),
            _cell(line.stated),
            _cell(line.official_code, sub=[line.source]),
            _cell(line.here),
        ]
        for line in ledger.stated().itertuples()
    ]
    frame = ledger.effects()
    text = ledger.effects_text(frame)
    effects = [
        [_cell(answer.minus(value) if name == "effect" else value, line.effect if name == "effect" else None)
         for name, value in shown.items()]
        for line, shown in zip(frame.itertuples(), text.to_dict("records"), strict=True)
    ]  # fmt: skip
    heads = ["Paper", "Table", "The paper states", "Official code", "Used here"]
    return {
        "stated": _table(
            "t-stated", "Protocols: stated, official code, here", heads, stated, choices=(0,)
        ),
        "effects": _table(
            "t-effects",
            "What each reading changes",
            [n.capitalize() for n in text.columns],
            effects,
        ),
    }


# ---------------------------------------------------------------- how each number was made


def _provenance(suite: Suite, rows: pd.DataFrame) -> dict[str, Any]:
    lines = []
    by_run = tables.rows_by_run(rows[["run", "revision", "hardware"]].drop_duplicates())
    protocols, modes = tables.protocols(suite, rows), tables.inferences(rows)
    for key in [run for runs in tables.collections(suite).values() for run in runs]:
        run, record = suite.run(key), answer.record(suite, key)
        own = by_run.get(key, rows.iloc[:0])
        prior = run.prior.train
        if run.prior.train != run.prior.test:
            prior += f" / {run.prior.test}"
        if run.prior.swap:
            prior += f", {run.prior.swap}"
        revisions = record.get("revision") or ", ".join(own["revision"].drop_duplicates())
        hardware = record.get("hardware") or ", ".join(own["hardware"].drop_duplicates())
        trained = (
            record.get("trained_parameters") if record.get("training", {}).get("iterations") else 0
        )
        seconds = record.get("train_seconds")
        printed = f"printed: {run.paper}, Table {run.table}, {run.row}" if run.row else ""
        lines.append(
            [
                _cell(answer.run_label(suite, key), sub=[key, printed]),
                _cell(tables.command(suite, key), code=True),
                _start(run, record),
                _cell(prior, sub=[f"tested on {run.images.test}"]),
                _cell(", ".join(protocols.get(key, [])), sub=[_mode(modes.get(key, ""))]),
                _training(record),
                _cell(_counted(record.get("parameters")), record.get("parameters", float("nan")),
                      sub=[f"{trained:,} trained" if trained else ""]),
                _cell("–" if seconds is None else f"{seconds:,.0f} s", float("nan") if seconds is None else seconds),
                _cell(revisions, sub=[hardware], code=True),
            ]
        )  # fmt: skip
    columns = ["Run", "Command", "Method, start", "Prior, train / test", "Protocols; inference", "Training",
               "Parameters", "Time to train", "Revision, hardware"]  # fmt: skip
    return _table("t-how", "Runs and how they were made", columns, lines)


def _start(run: Run, record: dict[str, Any]) -> Cell:
    """The method, and what it starts from or brings along."""
    own = record.get("own", {})
    if "architecture" in own:
        said = f"{run.method['name']}: {own['architecture']}, {own['scale']} times"
        return _cell(said, sub=[f"{own['file']}, SHA-256 {own['file_sha256'][:12]}"])
    if "pictures" in own:
        said = f"{run.method['name']}: {answer.count(own['pictures'], 'picture')}"
        return _cell(said, sub=[f"SHA-256 {own['sha256'][:12]}"])
    start = f"from {record.get('init', run.init)}"
    return _cell(f"{run.method['name']} on {run.backbone['name']}", sub=[start])


def _counted(number: int | None) -> str:
    return "–" if number is None else f"{number:,}"


def _training(record: dict[str, Any]) -> Cell:
    """The budget, the candidate chosen and the iteration kept, as the record has them."""
    budget = record.get("training", {})
    if not budget.get("iterations") or not record.get(
        "trained_parameters", record.get("parameters")
    ):
        return _cell("nothing trained" if record else None)
    said = [f"{answer.count(budget['iterations'], 'iteration')}"]
    if "batch" in budget:
        said.append(f"{budget['batch']} crops of {budget['crop']}×{budget['crop']}")
        said.append(
            f"{budget.get('loss', 'psnr')} loss, learning rate {budget['lr']:g}, {_schedule(budget)}"
        )
    below = [
        f"seeds {', '.join(map(str, record['seeds']))}" if len(record.get("seeds", [])) > 1 else ""
    ]
    for one in record.get("choice", []):
        change = (
            ", ".join(f"{name} {_plain(value)}" for name, value in one["changes"].items())
            or "as set"
        )
        below.append(f"{'chosen' if one['chosen'] else 'tried'}: {change}{_validated(one)}")
    below += [
        f"kept of {seed}: iteration {one['iteration']}{_validated(one)}"
        for seed, one in record.get("kept", {}).items()
    ]
    return _cell("; ".join(said), sub=below)


def _schedule(budget: dict[str, Any]) -> str:
    halved = budget.get("schedule") == "halve" and budget.get("halve_every")
    return (
        f"halved every {halved:,} iterations" if halved else str(budget.get("schedule", "cosine"))
    )


def _plain(value: Any) -> str:
    return (
        " + ".join(map(str, value))
        if isinstance(value, list)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


def _validated(one: dict[str, Any]) -> str:
    """ " (validation 27.169 dB, at the start 27.162)", as far as a record says so."""
    if one.get("validation") in ("", None):
        return ""
    start = ""
    if one.get("start") not in ("", None):
        start = f", at the start {_psnr(one['start']).removesuffix(' dB')}"
    return f" (validation {_psnr(one['validation'])}{start})"


def _psnr(recorded: float | str) -> str:
    """A PSNR of a record, where an infinite one is text."""
    return pictures.psnr_text(float(recorded))


# ---------------------------------------------------------------- pictures


def _viewer(
    suite: Suite, rows: pd.DataFrame, scenes: list[pictures.Scene]
) -> dict[str, Any] | None:
    """What the before/after viewer holds: each scene's layers as data URIs, its masks, its PSNRs."""
    if not scenes:
        return None
    side, encoded = _previews(scenes)
    scores = _scores(suite, rows)
    shown: list[dict[str, Any]] = []
    for number, (scene, layers) in enumerate(zip(scenes, encoded, strict=True)):
        height, width = scene.layers[SHARP].shape[:2]
        score = {name: _score(suite, scores, scene, name) for name in layers}
        labels = scene.labels
        gain = answer.minus(pictures.gain_text(scene.gain))
        shown.append(
            {
                "id": number,
                "set": scene.pair.dataset,
                "name": f"{scene.why}: {scene.pair.image} ({gain})",
                "size": [width, height],
                "layers": layers,
                "psnr": {
                    name: pictures.psnr_text(value)
                    for name, value in score.items()
                    if value is not None
                },
                "masks": None if labels is None else _overlay(labels, side),
                "count": None if labels is None else int(np.count_nonzero(np.unique(labels))),
                "crop": _crop_place(suite, scene),
            }
        )
    names = list(dict.fromkeys(name for scene in shown for name in scene["layers"]))
    return {
        "scenes": shown,
        "sets": list(dict.fromkeys(scene["set"] for scene in shown)),
        "layers": [{"key": name, "label": pictures.layer_label(suite, name)} for name in names],
        "left": INPUT,
        "right": scenes[0].focus,
        "masks": any(scene["masks"] for scene in shown),
        "lossless": side > SIDES[0],
        "side": side,
    }


def _crop_place(suite: Suite, scene: pictures.Scene) -> list[float]:
    """Left, top and zoom, as parts of the image, of the crop where the focus run differs most from its reference."""
    window = pictures.crop_window(
        scene.layers[str(tables.reference(suite, scene.focus))],
        scene.layers[scene.focus],
        plots.CROP,
    )
    height, width = scene.layers[SHARP].shape[:2]
    zoom = min(
        width / (window[1].stop - window[1].start), height / (window[0].stop - window[0].start)
    )
    return [round(window[1].start / width, 4), round(window[0].start / height, 4), round(zoom, 3)]


def _scores(suite: Suite, rows: pd.DataFrame) -> dict[tuple[str, str, str], float]:
    main = dict(tables.main_columns(suite, rows))["PSNR"]
    values = tables.per_image(rows[(rows["metric"] == "PSNR") & (rows["protocol"] == main)])
    return {(v.run, v.dataset, v.image): v.value for v in values.itertuples()}


def _score(
    suite: Suite, scores: dict[tuple[str, str, str], float], scene: pictures.Scene, layer: str
) -> float | None:
    """The PSNR of a scene's layer; the input layer's is that of the run that is the input."""
    runs = (
        [run for run in tables.compared(suite) if tables.is_input(suite, run)]
        if layer == INPUT
        else [layer]
    )
    return next((scores.get((run, scene.pair.dataset, scene.pair.image)) for run in runs), None)


LOSSLESS = 10_000  # a side that no image reaches: previews are the images, pixel by pixel


def _previews(scenes: list[pictures.Scene]) -> tuple[int, list[dict[str, str]]]:
    """Every layer as a data URI: lossless if that keeps within PREVIEW_BYTES, else JPEG at the largest of SIDES."""
    for side in (LOSSLESS, *SIDES):
        encoded, size = [], 0
        for scene in scenes:
            encoded.append({name: _preview(image, side) for name, image in scene.layers.items()})
            size += sum(map(len, encoded[-1].values()))
            if size > PREVIEW_BYTES and side != SIDES[-1]:
                break
        else:
            return side, encoded
    raise AssertionError("the last side is taken whatever its size")


def _fit(size: tuple[int, int], side: int) -> tuple[int, int]:
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _preview(image: np.ndarray, side: int) -> str:
    picture = Image.fromarray(image)
    if side == LOSSLESS:
        return _uri(picture, "webp", lossless=True, method=2)
    picture = picture.resize(_fit(picture.size, side), Image.Resampling.LANCZOS)
    return _uri(
        picture, "jpeg", quality=90, subsampling=0
    )  # optimised, Pillow's buffer can be too small


def _overlay(labels: np.ndarray, side: int) -> str:
    width, height = _fit((labels.shape[1], labels.shape[0]), side)
    small = labels[np.arange(height) * labels.shape[0] // height][
        :, np.arange(width) * labels.shape[1] // width
    ]
    picture = Image.fromarray(mask_colours(small)).quantize(256, Image.Quantize.FASTOCTREE)
    return _uri(picture, "png", optimize=True)


def _png(image: np.ndarray) -> str:
    return _uri(Image.fromarray(image), "png", optimize=True)


def _uri(picture: Image.Image, kind: str, **settings: Any) -> str:
    buffer = BytesIO()
    picture.save(buffer, format=kind, **settings)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _crops(suite: Suite, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Three scenes of all test images, each a list of crops with their error maps."""
    scores, shown = _scores(suite, rows), []
    for scene in pictures.choose(suite, rows, by_set=False):
        cut = plots.crops(suite, scene)
        tiles = []
        for name, image in cut.items():
            score = _score(suite, scores, scene, name)
            error = None if name in (PRIOR, SHARP) else _heat(pictures.error_map(image, cut[SHARP]))
            label = pictures.layer_label(suite, name)
            psnr = "" if score is None else pictures.psnr_text(score)
            tiles.append({"label": label, "image": _png(image), "error": error, "psnr": psnr})
        where = f"{scene.pair.dataset} / {scene.pair.image}"
        shown.append(
            {
                "why": scene.why,
                "where": where,
                "gain": answer.minus(pictures.gain_text(scene.gain)),
                "tiles": tiles,
            }
        )
    return shown


def _heat(error: np.ndarray) -> str:
    from matplotlib import colormaps

    return _png((colormaps["magma"](error)[..., :3] * 255).round().astype(np.uint8))


def _plots(
    suite: Suite, rows: pd.DataFrame, steps: pd.DataFrame, drawn: bool
) -> dict[str, dict[str, str]]:
    """The plots by name, for a light and a dark page, with words for those who cannot see them.

    drawn: those that the tables stage has drawn of these rows are shown, not drawn again.
    """
    rate = plots.rate_column(suite, rows)
    title, meaning = "", ""
    if rate:
        one = tables.measures(suite)[rate[0]]
        title, meaning = one.title, one.meaning
    said = {
        "controls": ("The same steps as bars", "A bar is one step's change, its line the 95 % interval; the steps add "
                     "up to the total. Bold: the interval leaves zero out. Outlined: beside, not in the sum."),
        "gain_against_masks": ("Gain against mask count", "Each dot is one test image: its PSNR change over the number "
                               "of masks that the method read. Dots above the line were restored better."),
        "mcr": (title, f"{meaning} Numerator and denominator stand at the bars."),
        "loss": ("Training loss", "Training loss as logged (faint) and its running median (strong), one line a run and "
                 "seed; where training was validated, the validation PSNR below."),
    }  # fmt: skip
    names = tuple(said)
    if not len(steps):
        names = names[1:]
    dark = plots.draw(suite, "dark", names, rows)
    light = {}
    if drawn:
        light = plots.written(suite)
    missing = tuple(name for name in dark if name not in light)
    for name, figure in plots.draw(suite, "light", missing, rows).items():
        light[name] = plots.png(figure)
    found = {}
    for name in dark:
        found[name] = {
            "title": said[name][0],
            "caption": said[name][1],
            "alt": _words(suite, rows, name),
            "light": _plot(light[name]),
            "dark": _plot(plots.png(dark[name])),
        }
    return found


def _plot(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _words(suite: Suite, rows: pd.DataFrame, name: str) -> str:
    """What a plot shows, as numbers in words."""
    main = tables.rows_of(suite, rows)
    if name == "controls":
        return "Bars of the steps whose numbers stand in the table above."
    if name == "gain_against_masks":
        cells = answer.psnr_cells(suite, main)
        counted = list(pictures.gains(suite, main)["run"].unique())
        runs = plots.fitting(suite, main, counted, pictures.ROOM)
        cells = cells[cells["run"].isin(runs) & (cells["dataset"] != AVERAGE)]
        said = [
            f"{c.label} on {c.dataset}: better on {c.better} of {c.paired}"
            for c in cells.itertuples()
        ]
        return "Scatter plot of PSNR change over mask count. " + "; ".join(said) + "."
    if name == "mcr":
        metric, protocol_ = plots.rate_column(suite, main) or ("", "")
        cells = tables.cells(suite, main)
        cells = cells[(cells["metric"] == metric) & (cells["protocol"] == protocol_)]
        if cells["run"].nunique() > pictures.ROOM:
            runs = plots.fitting(suite, main, pictures.restoring(suite, main), pictures.ROOM)
            cells = cells[cells["run"].isin(runs)]
        said = [
            f"{c.label} on {c.dataset}: {c.numerator} of {c.denominator}"
            for c in cells.itertuples()
        ]
        return f"Bars of {tables.measures(suite)[metric].title}. " + "; ".join(said) + "."
    said = []
    for run in plots.fitting(suite, main, tables.compared(suite), pictures.ROOM):
        path = suite.results / "loss" / f"{run}.csv"
        loss = read_losses(path)["loss"] if path.exists() else pd.Series(dtype=float)
        unit = (
            " dB"
            if answer.record(suite, run).get("training", {}).get("loss", "psnr") == "psnr"
            else ""
        )
        if len(loss):
            said.append(
                f"{answer.run_label(suite, run)} from {loss.iloc[0]:.3g} to {loss.iloc[-1]:.3g}{unit}"
            )
    return "Lines of training loss over iterations. " + "; ".join(said) + "."
