"""What ``benchlib papers`` prints: a line for each table of a paper, or one table as printed."""

from __future__ import annotations

from benchlib.papers._tables import printed, published


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
