"""A table of text as Markdown and as LaTeX, and a tidy one as CSV, escaped. Layer 4.

A spreadsheet runs a cell that begins like a formula. In the CSV files that people open, such text
has an apostrophe before it, which spreadsheets take for "this is text"; ``read_exported`` takes it
off. Rows and manifests, which programs read, hold names letter for letter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from benchlib.records import as_text, read_frame, read_table

if TYPE_CHECKING:
    import pandas as pd

_MARKDOWN = str.maketrans(
    {c: "\\" + c for c in "\\`*_[]|~$"} | {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\n": " "}
)
_LATEX = str.maketrans(
    {c: "\\" + c for c in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\n": " "}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}"}
)


def _plain(text: str) -> str:
    return text.translate(_MARKDOWN)


def _tex(text: str) -> str:
    return re.sub(r"(?<![\w}])-(?=\d)", "$-$", text.translate(_LATEX))


def markdown(table: pd.DataFrame, bold: pd.DataFrame, note: str) -> str:
    """A table of text as GitHub Markdown under its note; what comes from data is escaped, ``bold`` cells are bold.

    A header of two lines (data set, measure) has the index as its first column; one of one line has no index.
    """
    flat = table.columns.nlevels == 1
    header = (
        list(table.columns)
        if flat
        else ["method", *(b if a == "run" else f"{a}: {b}" for a, b in table.columns)]
    )
    lines = [[_plain(cell) for cell in header], ["---"] * len(header)]
    for name, values, flags in zip(table.index, table.to_numpy(), bold.to_numpy(), strict=True):
        shown = [
            f"**{_plain(value)}**" if flag else _plain(value)
            for value, flag in zip(values, flags, strict=True)
        ]
        lines.append(shown if flat else [_plain(name), *shown])
    return "\n".join([_plain(note), "", *("| " + " | ".join(line) + " |" for line in lines), ""])


def latex(table: pd.DataFrame, bold: pd.DataFrame, note: str) -> str:
    """A table of text as a LaTeX ``table*`` (package booktabs); escaped, ``bold`` cells are bold."""
    flat = table.columns.nlevels == 1
    head = [[_tex(name) for name in table.columns]] if flat else _headers(table.columns)
    body = []
    for name, values, flags in zip(table.index, table.to_numpy(), bold.to_numpy(), strict=True):
        line = [] if flat else [_tex(name)]
        for value, flag in zip(values, flags, strict=True):
            line.append(rf"\textbf{{{_tex(value)}}}" if flag else _tex(value))
        body.append(line)
    layout = "l" * (table.shape[1] + (not flat))
    return "\n".join(
        [
            r"\begin{table*}",
            rf"\caption{{{_tex(note)}}}",
            rf"\begin{{tabular}}{{{layout}}}",
            r"\toprule",
            *(" & ".join(line) + r" \\" for line in head),
            r"\midrule",
            *(" & ".join(line) + r" \\" for line in body),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table*}",
            "",
        ]
    )


def _headers(columns: pd.MultiIndex) -> list[list[str]]:
    """LaTeX's two lines of headers over the columns (data set, measure): a set stands once over its own."""
    above, below = [""], [""]
    for name, own in groupby(columns, key=lambda column: column[0]):
        measures = [_tex(measure) for _, measure in own]
        wide = len(measures)
        above.append(rf"\multicolumn{{{wide}}}{{c}}{{{_tex(name)}}}" if wide > 1 else _tex(name))
        below += measures
    return [above, below]


def csv(table: pd.DataFrame) -> str:
    """A tidy table as CSV at full precision, without its index.

    No text of it is a spreadsheet's formula.
    """
    shown = table.copy()
    for name in shown.select_dtypes(exclude=["number", "bool"]):
        cells = [as_text(cell) for cell in shown[name]]
        if any(new is not old for new, old in zip(cells, shown[name], strict=True)):
            shown[name] = cells
    shown = shown.rename(columns=as_text)
    return shown.to_csv(index=False, lineterminator="\n")


def read_exported(path: Path, words: Iterable[str]) -> pd.DataFrame:
    """What ``csv`` wrote: the columns ``words`` are text (empty where the file has none), all others
    numbers.

    Raises BenchError if the file is not there or damaged, or for a cell that is no number.
    """
    words, lines = list(words), read_table(path)
    names = list(lines[0]) if lines else []
    table = read_frame(path, [name for name in names if name not in words])
    for name in words:
        if name not in table:
            table[name] = ""
        table[name] = [cell[1:] if as_text(cell[1:]) == cell else cell for cell in table[name]]
    return table
