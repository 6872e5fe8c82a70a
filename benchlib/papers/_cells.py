"""What every check of a paper shares: printed cells, findings, and the rule of rounding."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Any

Cell = dict[str, Any]  # one row of published(): one printed number
Cells = list[Cell]
Finding = dict[str, str]  # one row of the audit: keys COLUMNS

COLUMNS = ("paper", "table", "row", "what", "printed", "recomputed", "verdict", "note")
AGREES, ROUNDING, INCONSISTENT, OPEN = "agrees", "rounding", "inconsistent", "cannot be checked"

ADDRESS = ("table", "row", "dataset", "metric")
MEANS = {"Average", "Combined"}  # columns that are no data set
GAIN = " gain"  # ends the metric of a printed difference


def make_finding(
    cell: Cell, what: str, printed: str, recomputed: str, verdict: str, note: str = ""
) -> Finding:
    """One row of the audit, at the place of ``cell``."""
    values = (cell["paper"], cell["table"], cell["row"], what, printed, recomputed, verdict, note)
    return dict(zip(COLUMNS, values, strict=True))


def matching_cells(cells: Cells, address: str) -> Cells:
    """The cells of ``table | row | dataset | metric``, parts on the right left out or not."""
    wanted = tuple(address.split(" | "))[: len(ADDRESS)]
    names = ADDRESS[: len(wanted)]
    return cells_with(cells, names, wanted)


def cells_with(cells: Cells, names: tuple[str, ...], wanted: tuple[str, ...]) -> Cells:
    """The cells whose entries of these names are the wanted ones."""
    return [cell for cell in cells if values_of(cell, *names) == wanted]


def values_of(cell: Cell, *names: str) -> tuple[str, ...]:
    """The cell's entries of these names."""
    return tuple(map(cell.__getitem__, names))


def printed_values(cells: Cells) -> list[Decimal]:
    """The cells' numbers, with their digits as printed."""
    return [Decimal(cell["printed"]) for cell in cells]


def judge(printed: Decimal, recomputed: Decimal, slack: Decimal) -> str:
    """Compare a printed figure with the one recomputed from printed operands.

    ``slack`` is the sum of one unit in the last printed place of each operand, times its weight.
    The printed figure itself may be off by half a unit in its own last place.
    """
    gap, half = abs(printed - recomputed), last_place(printed) / 2
    if gap <= half:
        return AGREES
    if gap <= slack + half:
        return ROUNDING
    return INCONSISTENT


def last_place(value: Decimal) -> Decimal:
    """One in the last printed place: 0.01 for 32.10."""
    return Decimal(1).scaleb(int(value.as_tuple().exponent))


def as_printed(value: Decimal, like: Decimal) -> Decimal:
    """``value`` with the places of the printed figure ``like``, unless that would lose digits."""
    rounded = value.quantize(last_place(like), ROUND_HALF_UP)
    if rounded == value:
        return rounded
    return value.normalize()
