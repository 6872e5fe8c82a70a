"""A tuned line against its baseline: the differences that are printed, and the line's own name."""

from __future__ import annotations

import re
from decimal import Decimal

from benchlib.papers._cells import (
    AGREES,
    GAIN,
    INCONSISTENT,
    OPEN,
    Cell,
    Cells,
    Finding,
    as_printed,
    cells_with,
    judge,
    last_place,
    make_finding,
    matching_cells,
    values_of,
)

# A tuned line is called like its baseline plus this.
TUNED = re.compile(r"\s*\+\s*(SPT|Ours-\w)(?= \(|$)")
# SPT's ablations are all of ART x4 (section 5.3), which stands in another table.
BASELINE = {("spt", table): ("1", "ART x4") for table in "3456"}
# Where a tuned line prints its baseline's name or "+Ours-c" alone: the names here are ours, by its
# place in the table.
UNNAMED = {
    ("spt", "1"),
    ("spt", "2"),
    ("ptg-rm", "1"),
    ("ptg-rm", "2"),
    ("ptg-rm", "4"),
    ("ptg-rm", "9"),
}


def check_differences(cells: Cells) -> list[Finding]:
    """Every "<metric> gain" against the tuned value and its baseline."""
    return [_difference(cells, cell) for cell in cells if cell["metric"].endswith(GAIN)]


def _difference(cells: Cells, cell: Cell) -> Finding:
    what = f"{cell['metric']} on {cell['dataset']}"
    value = _printed_cell(cells, cell, (cell["table"], cell["row"]))
    base = _printed_cell(cells, cell, _baseline_line(cell))
    if value is None or base is None or base is value or not cell["printed"]:
        note = "the value or its baseline is not printed"
        return make_finding(cell, what, cell["printed"], "", OPEN, note)
    scale = _scale(cell)
    printed = Decimal(cell["printed"])
    tuned, before = Decimal(value["printed"]), Decimal(base["printed"])
    recomputed = (tuned - before) * scale
    verdict = judge(printed, recomputed, (last_place(tuned) + last_place(before)) * scale)
    note = _operands_note(cell, value, base)
    if verdict == INCONSISTENT:
        note += "; " + _explanation(cells, cell, value, base)
    shown = f"{as_printed(recomputed, printed):+}"
    return make_finding(cell, what, cell["printed"], shown, verdict, note)


def _baseline_line(cell: Cell) -> tuple[str, str]:
    """Table and row of what a tuned line is compared with."""
    own = (cell["table"], TUNED.sub("", cell["row"]))
    return BASELINE.get((cell["paper"], cell["table"]), own)


def _printed_cell(cells: Cells, gain: Cell, line: tuple[str, str]) -> Cell | None:
    """The cell of a line that a difference is made of; None if it is not one, or not printed."""
    metric = gain["metric"].removesuffix(GAIN)
    found = matching_cells(cells, " | ".join([*line, gain["dataset"], metric]))
    if len(found) == 1 and found[0]["printed"]:
        return found[0]
    return None


def _scale(cell: Cell) -> int:
    if cell["unit"] == "x100":
        return 100
    return 1


def _operands_note(cell: Cell, value: Cell, base: Cell) -> str:
    note = f"{value['printed']} - {base['printed']}"
    if _scale(cell) == 100:
        note += " (x100)"
    table, row = _baseline_line(cell)
    if (table, row) != (cell["table"], TUNED.sub("", cell["row"])):
        note += f"; baseline: {row} in Table {table}"
    return note


def _explanation(cells: Cells, cell: Cell, value: Cell, base: Cell) -> str:
    """What a printed difference that is not value minus baseline is.

    It is a difference to another line of its table, or to nothing there.
    """
    tuned, printed, scale = Decimal(value["printed"]), Decimal(cell["printed"]), _scale(cell)
    sign = "plus"
    if printed < 0:
        sign = "minus"
    for other in _same_column(cells, value):
        gap = (Decimal(other["printed"]) - tuned) * scale
        if gap == abs(printed) > 0:
            return (
                f"the printed figure equals {other['printed']} ({other['row']}) - "
                f"{value['printed']}, with a {sign} sign; as a gain over {base['row']} "
                f"({base['printed']}) it does not fit"
            )
    return f"value and difference as printed imply a baseline of {tuned - printed / scale}"


def _same_column(cells: Cells, value: Cell) -> Cells:
    """The printed cells of the table's column in which ``value`` stands."""
    names = ("table", "dataset", "metric")
    column = cells_with(cells, names, values_of(value, *names))
    return [cell for cell in column if cell["printed"]]


def check_labels(cells: Cells) -> list[Finding]:
    """Every tuned line whose own name is printed needs a baseline line of that name there."""
    tables: dict[str, dict[str, Cell]] = {}
    for cell in cells:
        if (cell["paper"], cell["table"]) not in UNNAMED:
            tables.setdefault(cell["table"], {}).setdefault(cell["row"], cell)
    found = []
    for lines in tables.values():
        above = "nothing"
        for name in lines:
            if TUNED.sub("", name) not in ("", name):
                found.append(_label(lines, name, above))
            above = name
    return found


def _label(lines: dict[str, Cell], name: str, above: str) -> Finding:
    """Whether the line ``name`` has a baseline; ``lines``: the first cell of each of its table."""
    what = "label of a tuned line"
    printed = name.partition(" (")[0]  # which block, in brackets, is not printed
    base = TUNED.sub("", name)
    if base in lines:
        return make_finding(lines[name], what, printed, f"a line {base} in the table", AGREES)
    said = "has no tuned line"
    for other in lines:
        if TUNED.sub("", other) == above != other:
            said = "has one"
    note = f"the table has no line {base}; the line above, {above}, {said}"
    return make_finding(lines[name], what, printed, f"stands below {above}", INCONSISTENT, note)
