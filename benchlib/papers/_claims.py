"""What a paper's text says of its tables: the claims, and how each kind of them is recomputed.

A claim's ``check`` and ``cells`` say how. A cell is ``table | row | dataset | metric``; what is
left out on the right stands for all of them; cells are separated by `` ; `` and the two sides of a
pair by `` vs ``.

- ``value``: the cell is the printed figure. ``below``, ``above``: each cell is below / above it.
- ``difference``: left minus right is the printed figure.
- ``range below``: largest minus smallest is below it.
- ``same``: the pair's cells, where both sides have them, are equal.
- ``better``: left is better in each of them.
- ``rising``: each cell is larger than the one before.
- ``largest``: the first cell is larger than the others.
- ``share``: each cell is a percentage of the printed number of images, so a whole number of them.
- ``present``: the cells exist.
- ``read``: nothing to compute; ``found`` is what stands elsewhere in the paper.

``verdict`` is used in the place of any other than *agrees* where a check that fails does not
contradict the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise
from pathlib import Path

from benchlib.contracts import BenchError, nearest
from benchlib.papers._cells import (
    AGREES,
    INCONSISTENT,
    ROUNDING,
    Cell,
    Cells,
    Finding,
    as_printed,
    judge,
    last_place,
    make_finding,
    matching_cells,
    printed_values,
    values_of,
)

Claim = dict[str, str]  # keys CLAIM_COLUMNS
Pairs = list[tuple[Cell, Cell]]  # left and right

CLAIM_COLUMNS = ("where", "claim", "check", "cells", "printed", "found", "verdict", "note")
CLAIMS = Path(__file__).parent / "claims"
ADDRESS_END = ("dataset", "metric")  # what an address may leave open
LOWER_IS_BETTER = {"LPIPS", "MCR", "+Params", "iterations"}


def claims(paper: str) -> list[Claim]:
    """What a paper's text says about its numbers: one dict a claim with the keys CLAIM_COLUMNS.

    Empty if the paper has no file in ``claims/``.
    """
    import pandas as pd

    path = CLAIMS / f"{paper}.csv"
    if not path.exists():
        return []
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    return table.to_dict("records")  # type: ignore[return-value]


def check_claim(cells: Cells, claim: Claim) -> list[Finding]:
    """Recompute one claim from the paper's cells.

    Raises BenchError, with the nearest name, for a check that is not known; and for cells that are
    not there or not printed.
    """
    if claim["check"] not in CHECKS:
        raise BenchError(
            f"papers: the claim '{claim['claim']}' has no check '{claim['check']}'; "
            f"{nearest(claim['check'], CHECKS)}"
        )
    return CHECKS[claim["check"]](cells, claim)


# --- the kinds of claim ---------------------------------------------------------------------------


def _check_value(cells: Cells, claim: Claim) -> list[Finding]:
    printed = Decimal(claim["printed"])
    found = []
    for cell in _picked(cells, claim["cells"], claim):
        value = Decimal(cell["printed"])
        verdict = judge(printed, value, last_place(value))
        found.append(_stated(claim, cell, cell["printed"], verdict))
    return found


def _check_difference(cells: Cells, claim: Claim) -> list[Finding]:
    printed = Decimal(claim["printed"])
    found = []
    for left, right in _pairs(cells, claim):
        a, b = Decimal(left["printed"]), Decimal(right["printed"])
        verdict = judge(printed, a - b, last_place(a) + last_place(b))
        shown = str(as_printed(a - b, printed))
        note = f"{left['printed']} - {right['printed']} ({left['row']} - {right['row']})"
        found.append(_stated(claim, left, shown, verdict, note))
    return found


def _check_below(cells: Cells, claim: Claim) -> list[Finding]:
    return _check_bound(cells, claim, 1)


def _check_above(cells: Cells, claim: Claim) -> list[Finding]:
    return _check_bound(cells, claim, -1)


def _check_bound(cells: Cells, claim: Claim, sign: int) -> list[Finding]:
    bound = Decimal(claim["printed"])
    found = []
    for cell in _picked(cells, claim["cells"], claim):
        value = Decimal(cell["printed"])
        verdict = _below_bound((value - bound) * sign, last_place(value))
        found.append(_stated(claim, cell, cell["printed"], verdict))
    return found


def _check_range(cells: Cells, claim: Claim) -> list[Finding]:
    chosen = _picked(cells, claim["cells"], claim)
    values = printed_values(chosen)
    spread = max(values) - min(values)
    slack = 2 * max(map(last_place, values))
    verdict = _below_bound(spread - Decimal(claim["printed"]), slack)
    note = f"{max(values)} - {min(values)}"
    return [_stated(claim, chosen[0], str(spread), verdict, note)]


def _below_bound(over: Decimal, slack: Decimal) -> str:
    """Of a value that has to be below a bound; ``over``: by how much it is above it."""
    if over < 0:
        return AGREES
    if over < slack:
        return ROUNDING
    return INCONSISTENT


def _check_same(cells: Cells, claim: Claim) -> list[Finding]:
    found = []
    for left, right in _pairs(cells, claim):
        value = Decimal(right["printed"])
        verdict = judge(Decimal(left["printed"]), value, last_place(value))
        note = f"Table {left['table']} {_aside(left)} and Table {right['table']} {_aside(right)}"
        finding = _stated(claim, left, right["printed"], verdict, note)
        finding["printed"] = left["printed"]
        finding["what"] += f": {left['metric']} on {_place(left)}"
        found.append(finding)
    return found


def _check_better(cells: Cells, claim: Claim) -> list[Finding]:
    pairs = _pairs(cells, claim)
    gains = [_gain(left, right) for left, right in pairs]
    better = sum(gain > 0 for gain in gains)
    equal = gains.count(Decimal(0))
    shown = f"better in {better} of {len(gains)}"
    if equal:
        shown += f", equal in {equal}"
    notes = []
    for (left, right), gain in zip(pairs, gains, strict=True):
        if gain <= 0:
            notes.append(_not_better(left, right))
    shown_at = pairs[0][0]
    if notes:
        shown_at = pairs[gains.index(min(gains))][0]
    return [_stated(claim, shown_at, shown, _ordered(gains), "; ".join(notes))]


def _gain(left: Cell, right: Cell) -> Decimal:
    gain = Decimal(left["printed"]) - Decimal(right["printed"])
    if left["metric"] in LOWER_IS_BETTER:
        return -gain
    return gain


def _not_better(left: Cell, right: Cell) -> str:
    return (
        f"Table {left['table']}, {_place(left)}, {left['metric']}: {left['printed']} "
        f"{_aside(left)}, {right['printed']} {_aside(right)}"
    )


def _check_rising(cells: Cells, claim: Claim) -> list[Finding]:
    chosen = _picked(cells, claim["cells"], claim)
    values = printed_values(chosen)
    return _order_finding(claim, chosen, [after - before for before, after in pairwise(values)])


def _check_largest(cells: Cells, claim: Claim) -> list[Finding]:
    chosen = _picked(cells, claim["cells"], claim)
    values = printed_values(chosen)
    return _order_finding(claim, chosen, [values[0] - value for value in values[1:]])


def _order_finding(claim: Claim, chosen: Cells, steps: list[Decimal]) -> list[Finding]:
    shown = ", ".join(cell["printed"] for cell in chosen)
    return [_stated(claim, chosen[0], shown, _ordered(steps))]


def _ordered(steps: list[Decimal]) -> str:
    """Of differences that have to be above zero each; one that is zero may be so by rounding."""
    least = min(steps, default=Decimal(1))
    if least > 0:
        return AGREES
    if least == 0:
        return ROUNDING
    return INCONSISTENT


def _check_share(cells: Cells, claim: Claim) -> list[Finding]:
    total = Decimal(claim["printed"])
    found = []
    for cell in _picked(cells, claim["cells"], claim):
        value = Decimal(cell["printed"])
        images = (value * total / 100).quantize(Decimal(1), ROUND_HALF_UP)
        verdict = judge(value, images / total * 100, Decimal(0))
        finding = _stated(claim, cell, f"{images} of {total}", verdict)
        finding["printed"] = f"{cell['printed']} %"
        found.append(finding)
    return found


def _check_present(cells: Cells, claim: Claim) -> list[Finding]:
    found = []
    for address in claim["cells"].split(" ; "):
        there = matching_cells(cells, address)
        if there:
            found.append(_stated(claim, there[0], claim["printed"], AGREES))
        else:
            found.append(_stated(claim, _line(cells, address), claim["found"], INCONSISTENT))
    return found


def _check_read(cells: Cells, claim: Claim) -> list[Finding]:
    return [_stated(claim, _line(cells, claim["cells"]), claim["found"], INCONSISTENT)]


CHECKS: dict[str, Callable[[Cells, Claim], list[Finding]]] = {
    "value": _check_value,
    "difference": _check_difference,
    "below": _check_below,
    "above": _check_above,
    "range below": _check_range,
    "same": _check_same,
    "better": _check_better,
    "rising": _check_rising,
    "largest": _check_largest,
    "share": _check_share,
    "present": _check_present,
    "read": _check_read,
}


# --- small pieces ---------------------------------------------------------------------------------


def _stated(claim: Claim, cell: Cell, recomputed: str, verdict: str, note: str = "") -> Finding:
    """The finding of a claim, with the verdict and the note that the claim brings itself."""
    if verdict != AGREES and claim["verdict"]:
        verdict = claim["verdict"]
    notes = "; ".join(filter(None, [note, claim["note"]]))
    what = f"{claim['where']}: {claim['claim']}"
    return make_finding(cell, what, claim["printed"], recomputed, verdict, notes)


def _line(cells: Cells, address: str) -> Cell:
    """A cell for what no table prints: only its paper, table and row."""
    table, _, row = address.partition(" | ")
    return {"paper": cells[0]["paper"], "table": table, "row": row}


def _picked(cells: Cells, addresses: str, claim: Claim) -> Cells:
    chosen: Cells = []
    for address in addresses.split(" ; "):
        found = [cell for cell in matching_cells(cells, address) if cell["printed"]]
        if not found:
            raise BenchError(
                f"papers: the claim '{claim['claim']}' names no printed cell by '{address}'"
            )
        chosen += found
    return chosen


def _pairs(cells: Cells, claim: Claim) -> Pairs:
    """The pairs of cells of all ``left vs right``."""
    pairs: Pairs = []
    for pair in claim["cells"].split(" ; "):
        left, right = pair.split(" vs ")
        joined = _joined(_picked(cells, left, claim), _picked(cells, right, claim), pair)
        if not joined:
            raise BenchError(f"papers: the two sides of '{pair}' have no cell in common")
        pairs += joined
    return pairs


def _joined(lefts: Cells, rights: Cells, pair: str) -> Pairs:
    """The cells that are equal in what the shorter address leaves open.

    Settings of two tables are worded differently, so they count only where they tell cells of one
    line apart, and then only up to the first semicolon (the noise level).
    """
    given = max(side.count(" | ") for side in pair.split(" vs "))
    open_names = ADDRESS_END[given - 1 :]
    several = len({values_of(cell, *open_names) for cell in lefts}) < len(lefts)
    others = {_name(cell, open_names, several): cell for cell in rights}
    joined = []
    for cell in lefts:
        name = _name(cell, open_names, several)
        if name in others:
            joined.append((cell, others[name]))
    return joined


def _name(cell: Cell, names: tuple[str, ...], with_setting: bool) -> tuple[str, ...]:
    name = values_of(cell, *names)
    if with_setting:
        name += (cell["setting"].split(";")[0],)
    return name


def _aside(cell: Cell) -> str:
    """Its row in brackets, once: rows of LMDIR's Table III are called (I), (II)."""
    if cell["row"].startswith("("):
        return cell["row"]
    return f"({cell['row']})"


def _place(cell: Cell) -> str:
    """The data set, with its noise level."""
    noise = re.search(r"sigma \d+", cell["setting"])
    if noise:
        return f"{cell['dataset']}, {noise[0]}"
    return cell["dataset"]
