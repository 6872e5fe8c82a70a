"""``python -m benchlib.papers [PAPER [TABLE]]``: what the papers print.

A line for each table of the papers or of one paper, or one table as printed.
"""

from __future__ import annotations

import argparse
import sys

from benchlib.contracts import BenchError
from benchlib.papers import papers, printed, published


def tables_text(paper: str) -> str:
    """A paper's tables, a line each: what it is about and how many numbers it holds."""
    numbers = published(paper)
    lines = []
    for table, part in numbers.groupby("table", sort=False):
        tasks = ", ".join(part["task"]).split(", ")
        about = ", ".join(dict.fromkeys([*tasks, *part["metric"]]))
        lines.append(f"{paper} {table}: {len(part)} numbers, {part['row'].nunique()} rows; {about}")
    return "\n".join(lines)


def table_text(paper: str, table: str) -> str:
    """One table, digits as printed, and its notes below.

    ``*`` marks bold, ``?`` a number that cannot be read.
    """
    numbers = printed(paper, table)
    digits = numbers["printed"].replace("", "?")
    percent = numbers["unit"].where(numbers["unit"] == "%", "")
    stars = numbers["bold"].map({True: "*", False: ""}).fillna("")
    numbers["text"] = digits + percent + stars
    columns = list(dict.fromkeys(zip(numbers["place"], numbers["metric"], strict=True)))
    wide = numbers.pivot_table("text", "row", ["place", "metric"], aggfunc=" / ".join, sort=False)
    wide = wide.reindex(columns=columns).fillna("-").rename_axis(index=None, columns=[None, None])
    lines = [wide.to_string()]
    noted = numbers[numbers["note"] != ""]
    for note, rows in noted.groupby("note", sort=False)["row"]:
        names = list(rows.unique())
        if len(names) > 3:
            names[3:] = ["..."]
        lines.append(f"{', '.join(names)}: {note}")
    return "\n".join(lines)


def main(words: list[str] | None = None) -> int:
    """0, or 1 with one line on stderr for a name that is not here."""
    parser = argparse.ArgumentParser(prog="python -m benchlib.papers", description=__doc__)
    parser.add_argument("paper", nargs="?", help=", ".join(papers()))
    parser.add_argument("table", nargs="?", help="as the paper numbers it: 1, IV")
    given = parser.parse_args(words)
    try:
        if given.table:
            print(table_text(given.paper, given.table))
        elif given.paper:
            print(tables_text(given.paper))
        else:
            for paper in papers():
                print(tables_text(paper))
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
