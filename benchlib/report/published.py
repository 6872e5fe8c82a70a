"""The papers' own tables, digits as printed, and those numbers beside ours. Layer 4.

Published and measured never stand in one cell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from benchlib import papers
from benchlib.records import read_record
from benchlib.report import tables

if TYPE_CHECKING:
    from benchlib.params import Ablation, Run, Suite

VERSION = 2


def cells(paper: str, table: str, reference: str = "") -> pd.DataFrame:
    """The numbers of one of a paper's tables, with ``text`` as printed and a ``difference``.

    dataset: with its setting ("BSD68, sigma 15") where a row prints that data set under several.
    difference: to the same column of the row ``reference``; computed here, NaN without such a row.
    Raises BenchError, with the nearest name, for an unknown paper or table.
    """
    numbers = papers.printed(paper, table)
    numbers["dataset"] = numbers.pop("place")
    keys = ["dataset", "metric"]
    base = numbers.loc[numbers["row"] == reference, [*keys, "value"]].rename(
        columns={"value": "reference"}
    )
    numbers = numbers.merge(base, on=keys, how="left")
    text = numbers["printed"] + numbers["unit"].where(numbers["unit"] == "%", "")
    text = text.where(
        numbers["printed"] != "", "?"
    )  # garbled in the text conversion: its note says so
    return numbers.assign(difference=numbers["value"] - numbers["reference"], text=text)


def table(paper: str, table: str) -> pd.DataFrame:
    """A paper's table in the shape of ``comparison``, digits as printed. Measured on other data than the suite's."""
    numbers = cells(paper, table)
    return _published(numbers, numbers["text"]).fillna("-")


def best(paper: str, table: str) -> pd.DataFrame:
    """True where ``table`` is printed in bold."""
    numbers = cells(paper, table)
    return _published(numbers, numbers["bold"]).map(lambda flag: flag is True)


def _published(table: pd.DataFrame, values: pd.Series) -> pd.DataFrame:
    measures = [f"{metric} as published" for metric in table["metric"]]
    header = list(zip(table["dataset"], measures, strict=True))
    lines: dict[str, dict[tables.Column, Any]] = {}
    for row, column, value in zip(table["row"], header, values, strict=True):
        lines.setdefault(row, {})[column] = value
    frame = pd.DataFrame.from_dict(lines, orient="index", dtype=object)
    names = ["dataset", "measure"]
    return frame.reindex(
        columns=pd.MultiIndex.from_tuples(dict.fromkeys(header), names=names)
    ).rename_axis("method")


def note(paper: str, table: str) -> str:
    """The line that stands over a published table."""
    names = ", ".join(papers.printed(paper, table)["dataset"].drop_duplicates())
    other = f"measured on other data ({names})"
    return f"Published ({paper}, Table {table}), {other}; not to be read cell by cell against ours."


def tables_named(suite: Suite) -> list[tuple[str, str]]:
    """The published tables, as (paper, table), that the shown runs name, then the ablations'."""
    named: list[Run | Ablation] = []
    for keys in tables.collections(suite).values():
        named += [suite.run(key) for key in keys]
    named += suite.ablations.values()
    return list(dict.fromkeys((one.paper, one.table) for one in named if one.paper and one.table))


BESIDE = (
    "run", "label", "paper", "table", "row", "collection", "dataset", "setting", "metric", "protocol", "published",
    "ours", "difference", "reference", "published_gain", "gain", "low", "high", "images", "exact", "seeds", "iterations", "kept",
    "note",
)  # fmt: skip


def reproduction(suite: Suite, rows: pd.DataFrame) -> pd.DataFrame:
    """Published and ours, tidy: a line a (run, data set, metric, protocol) of each run that names a published row.

    published: text, the digits as printed. ours: over the run's whole results; NaN, with the note "not measured",
    where there is none. difference: ours minus published. published_gain: the printed value minus the printed value
    of the reference's row, where that is in the same table; gain, low, high: ours, and its 95 % interval.
    iterations, kept: of our training, as its record has them.
    Data sets are compared by name, under one of several printed settings only if the run names it; the published
    Average only if the run's covers just the sets that the row prints; where the row prints a data set under several
    settings, which are several runs', it stands at the first of them (``_with_averages``) unless the runs' own are
    weighted by image count. A paper is left out while its runs have measured none of its data sets.
    """
    named = [key for key, run in suite.runs.items() if run.paper and run.table and run.row]
    ours = tables.cells(suite, rows)
    words = _printed_words(suite)
    covered = tables.averages(suite, rows)
    cells_of = tables.lines_by_run(ours)
    lines: list[dict[str, Any]] = []
    for paper in dict.fromkeys(suite.run(key).paper for key in named):
        numbers = papers.published(paper)
        numbers = numbers[numbers["metric"].isin(list(words))]
        printed_rows = _by_row(numbers)
        keys = [key for key in named if suite.run(key).paper == paper]
        beside, shared = [], False
        for key in keys:
            own = cells_of.get(key, [])
            theirs = printed_rows.get(_place(suite, key), [])
            sets = {cell.dataset for cell in own} - {tables.AVERAGE}
            shared = shared or bool(sets & {number.dataset for number in theirs})
            beside.append((key, theirs, _base(suite, printed_rows, key), own))
        if shared:
            told: list[dict[str, Any]] = []
            for key, theirs, base, own in beside:
                told += _beside(suite, key, theirs, base, own, covered.get(key, []))
            by_images = any(suite.evaluation_of(key).average is True for key in keys)
            lines += told if by_images else _with_averages(told)
    return pd.DataFrame(lines, columns=list(BESIDE))


def _printed_words(suite: Suite) -> dict[str, str]:
    """How papers print the suite's metrics -> the rows' word: "MCR" -> "MC"."""
    return {one.shown: name for name, one in tables.measures(suite).items()}


def _by_row(numbers: pd.DataFrame) -> dict[tuple[str, str], list[Any]]:
    """(table, row) -> its printed numbers: looked up for each run, not searched for."""
    found: dict[tuple[str, str], list[Any]] = {}
    for number in tables.tuples(numbers):
        found.setdefault((number.table, number.row), []).append(number)
    return found


def _place(suite: Suite, key: str) -> tuple[str, str]:
    """The table and row of the paper that a run stands beside."""
    return suite.run(key).table, suite.run(key).row


def _base(suite: Suite, rows: dict[tuple[str, str], list[Any]], key: str) -> list[Any]:
    """The printed numbers of the run's reference, where they stand in the same table."""
    to = tables.reference(suite, key)
    if not to:
        return []
    ours, theirs = suite.run(key), suite.run(to)
    if (ours.paper, ours.table) != (theirs.paper, theirs.table):
        return []
    return rows.get(_place(suite, to), [])


def _beside(
    suite: Suite,
    key: str,
    theirs: list[Any],
    base: list[Any],
    own: list[Any],
    covered: list[str],
) -> list[dict[str, Any]]:
    """A run's lines: a printed number each, and ours beside it where it was measured."""
    run, lines = suite.run(key), []
    words = _printed_words(suite)
    about = {
        "run": key,
        "label": tables.run_label(suite, key),
        "paper": run.paper,
        "table": run.table,
        "row": run.row,
        "collection": run.images.test,
        "reference": tables.reference(suite, key),
    }
    about |= _budget(suite, key)
    for number in theirs:
        found = []
        if _fits(run, number, theirs, covered):
            found = [
                cell for cell in _at(number.dataset, own) if cell.metric == words[number.metric]
            ]
        line = about | {
            "dataset": number.dataset,
            "setting": number.setting,
            "metric": number.metric,
            "published": number.printed or "?",
            "published_gain": _gain(number, base),
            "note": "",
        }
        for cell in found:
            change = {"difference": cell.value - number.value, "gain": cell.difference}
            ours = {
                "protocol": cell.protocol,
                "ours": cell.value,
                "low": cell.low,
                "high": cell.high,
            }
            counts = {"images": cell.images, "exact": cell.exact, "seeds": cell.seeds}
            lines.append(line | ours | change | counts)
        if not found:
            lines.append(line | {"note": "not measured"})
    return lines


def _with_averages(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines of a paper, a row's Average over several runs filled in at the first of them, and left out at the others.

    Ours is the plain mean of the printed columns', as LMDIR's Tables I and II are averaged; it has no interval. It is
    filled in where each column is measured by just one of the row's runs.
    """
    rows: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for line in lines:
        rows.setdefault((line["table"], line["row"], line["metric"]), []).append(line)
    found: dict[int, list[dict[str, Any]]] = {}  # what stands in a line's place
    for row in rows.values():
        averages = [line for line in row if line["dataset"] == tables.AVERAGE and line["note"]]
        filled = [_average(averages[0], cells) for cells in _whole_rows(row)] if averages else []
        if filled:
            found |= {id(line): [] for line in averages}
            found[id(averages[0])] = filled
    return [one for line in lines for one in found.get(id(line), [line])]


def _whole_rows(row: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """A row's measured columns, a list a protocol under which each was measured once; none where one run may do."""
    columns = [line for line in row if line["dataset"] != tables.AVERAGE]
    printed = {(line["dataset"], line["setting"]) for line in columns}
    if len({dataset for dataset, _ in printed}) == len(printed):
        return []
    measured: dict[str, list[dict[str, Any]]] = {}
    for line in columns:
        if not line["note"]:
            measured.setdefault(line["protocol"], []).append(line)
    whole = []
    for cells in measured.values():
        places = [(line["dataset"], line["setting"]) for line in cells]
        if len(places) == len(printed) and set(places) == printed:
            whole.append(cells)
    return whole


def _average(line: dict[str, Any], cells: list[dict[str, Any]]) -> dict[str, Any]:
    """The line of a printed Average, with ours of its columns' lines."""
    ours = pd.Series([cell["ours"] for cell in cells]).mean()
    gain = pd.Series([cell["gain"] for cell in cells], dtype=float).mean(skipna=False)
    published = pd.to_numeric(line["published"], errors="coerce")
    return line | {
        "note": "",
        "protocol": cells[0]["protocol"],
        "ours": ours,
        "difference": ours - published,
        "gain": gain,
        "low": float("nan"),
        "high": float("nan"),
        "images": sum(cell["images"] for cell in cells),
        "exact": sum(cell["exact"] for cell in cells),
        "seeds": min(cell["seeds"] for cell in cells),
    }


def _at(dataset: str, cells: list[Any]) -> list[Any]:
    return [cell for cell in cells if cell.dataset == dataset]


def _fits(run: Run, number: Any, theirs: list[Any], covered: list[str]) -> bool:
    """Whether what a row prints is of what the run measures: its setting, or its Average's sets."""
    alike = [other for other in theirs if other.metric == number.metric]
    if number.dataset == tables.AVERAGE:
        printed = [other.dataset for other in alike]
        unique = len(set(printed)) == len(printed)
        return unique and set(covered) == set(printed) - {tables.AVERAGE}
    settings = {other.setting for other in _at(number.dataset, alike)}
    return len(settings) == 1 or run.setting in number.setting.split("; ")


def _gain(number: Any, base: list[Any]) -> float:
    """The printed value minus that of the reference's row; NaN where it is not printed once."""
    same = [other for other in _at(number.dataset, base) if other.metric == number.metric]
    if len(same) != 1:
        same = [other for other in same if other.setting == number.setting]
    if len(same) != 1:
        return float("nan")
    return number.value - same[0].value


def _budget(suite: Suite, key: str) -> dict[str, Any]:
    """Iterations of a run's training and those whose weights were kept, a seed each; nothing without a record."""
    record = read_record(suite, key)
    iterations = record.get("training", {}).get("iterations")
    if record and not record.get("trained_parameters", record.get("parameters")):
        iterations = 0  # the budget of a run with nothing to train is not spent
    kept = [str(one["iteration"]) for one in record.get("kept", {}).values()]
    return {"iterations": iterations, "kept": ", ".join(kept)}


def reproduction_text(suite: Suite, frame: pd.DataFrame) -> pd.DataFrame:
    """``reproduction`` (of one table) as text: published and ours apart, digits as printed."""
    known, words = tables.measures(suite), _printed_words(suite)
    lines = []
    for line in tables.tuples(frame):
        digits = len(line.published.partition(".")[2]) or known[words[line.metric]].digits

        def signed(number: float, digits: int = digits) -> str:
            return (
                "-" if pd.isna(number) else f"{round(number, digits) + 0:+.{digits}f}"
            )  # + 0: no minus zero

        gain = signed(line.gain) + (
            "" if pd.isna(line.low) else f" [{signed(line.low)}, {signed(line.high)}]"
        )
        images = "-" if line.note else f"{line.images:.0f}"
        if not line.note and line.exact:
            images += f" ({line.exact:.0f} exact left out)"
        kept = f" (kept: {line.kept})" if line.kept and line.kept != str(line.iterations) else ""
        lines.append(
            {
                "row": line.row,
                "run": line.label,
                "data set": line.dataset,
                "measure": f"{line.metric} {'' if line.note else line.protocol}".strip(),
                "published": line.published,
                "ours": line.note or ("-" if pd.isna(line.ours) else f"{line.ours:.{digits}f}"),
                "difference": signed(line.difference),
                "published gain": signed(line.published_gain),
                "our gain": gain,
                "images": images,
                "seeds": "-" if line.note else f"{line.seeds:.0f}",
                "iterations": "-" if pd.isna(line.iterations) else f"{line.iterations:.0f}{kept}",
            }
        )
    return pd.DataFrame(lines, dtype=object)


def reproduction_note(paper: str, table: str) -> str:
    """The line that stands over published and ours."""
    numbers = papers.published(paper)
    budgets = numbers[numbers["metric"] == "iterations"]
    said = ", ".join(
        f"{cell.row} {float(cell.printed):,.0f}" for cell in budgets.itertuples() if cell.printed
    )
    return (
        f"{paper}, Table {table}: published, and measured here on the data sets of the same name. Difference: ours "
        "minus published. Gain: over the run that it is compared with, as published, and as measured here with its "
        "95 % interval."
    ) + (
        f" Iterations are ours; the paper's (its Table {budgets['table'].iloc[0]}): {said}."
        if said
        else ""
    )
