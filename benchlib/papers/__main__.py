"""``python -m benchlib.papers [PAPER [TABLE]]``: what the papers print, a paper's tables, or one table as printed."""

from __future__ import annotations

import argparse
import sys

from benchlib.contracts import BenchError
from benchlib.papers import papers, printed, published


def listing(paper: str) -> str:
    """A paper's tables, a line each: what it is about and how many numbers it holds."""
    numbers = published(paper)
    lines = []
    for table, part in numbers.groupby("table", sort=False):
        about = ", ".join(dict.fromkeys([*", ".join(part["task"]).split(", "), *part["metric"]]))
        lines.append(f"{paper} {table}: {len(part)} numbers, {part['row'].nunique()} rows; {about}")
    return "\n".join(lines)


def shown(paper: str, table: str) -> str:
    """One table, digits as printed: ``*`` marks bold, ``?`` a number that cannot be read; its notes below."""
    numbers = printed(paper, table)
    text = numbers["printed"].where(numbers["printed"] != "", "?") + numbers["unit"].where(numbers["unit"] == "%", "")
    numbers["text"] = text + numbers["bold"].map(lambda bold: "*" if bold else "")
    columns = list(dict.fromkeys(zip(numbers["place"], numbers["metric"], strict=True)))
    wide = numbers.pivot_table("text", "row", ["place", "metric"], aggfunc=" / ".join, sort=False)
    wide = wide.reindex(columns=columns).fillna("-").rename_axis(index=None, columns=[None, None])
    rows = numbers[numbers["note"] != ""].groupby("note", sort=False)["row"].unique()
    notes = [f"{', '.join(names[:3])}{', ...' if len(names) > 3 else ''}: {note}" for note, names in rows.items()]
    return "\n".join([wide.to_string(), *notes])


def main(words: list[str] | None = None) -> int:
    """0, or 1 with one line on stderr for a name that is not here."""
    parser = argparse.ArgumentParser(prog="python -m benchlib.papers", description=__doc__)
    parser.add_argument("paper", nargs="?", help=", ".join(papers()))
    parser.add_argument("table", nargs="?", help="as the paper numbers it: 1, IV")
    given = parser.parse_args(words)
    try:
        if given.table:
            print(shown(given.paper, given.table))
        else:
            print("\n".join(map(listing, [given.paper] if given.paper else papers())))
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
