"""What the papers state about themselves, recomputed from their own tables: differences, averages, claims, labels.

Floor 2. Everything here follows from ``<paper>.csv`` and ``claims/<paper>.csv`` (what the text says, in our words). The
arithmetic is decimal and exact: digits count as printed. A recomputed figure *agrees* when it rounds to the printed
one; it is *rounding* when one unit in the last printed place of each operand can explain the gap; else *inconsistent*.
*cannot be checked* says that the paper does not print what the check needs, or leaves its meaning open.

A claim's ``check`` and ``cells`` say how it is recomputed. A cell is ``table | row | dataset | metric``; what is left
out on the right stands for all of them; cells are separated by `` ; `` and the two sides of a pair by `` vs ``.

- ``value``: the cell is the printed figure. ``below``, ``above``: each cell is below / above it.
- ``difference``: left minus right is the printed figure. ``range below``: largest minus smallest is below it.
- ``same``: the pair's cells, where both sides have them, are equal. ``better``: left is better in each of them.
- ``rising``: each cell is larger than the one before. ``largest``: the first cell is larger than the others.
- ``share``: each cell is a percentage of the printed number of images, so a whole number of them.
- ``present``: the cells exist. ``read``: nothing to compute; ``found`` is what stands elsewhere in the paper.

``verdict`` is used in the place of any other than *agrees* where a check that fails does not contradict the text.
"""

from __future__ import annotations

import re
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchlib.contracts import BenchError, nearest
from benchlib.papers._tables import papers, published

if TYPE_CHECKING:
    import pandas as pd

Cell = dict[str, Any]  # one row of published(): one printed number
Cells = list[Cell]

COLUMNS = ("paper", "table", "row", "what", "printed", "recomputed", "verdict", "note")
CLAIM_COLUMNS = ("where", "claim", "check", "cells", "printed", "found", "verdict", "note")
AGREES, ROUNDING, INCONSISTENT, OPEN = "agrees", "rounding", "inconsistent", "cannot be checked"
CLAIMS = Path(__file__).parent / "claims"

LOWER_IS_BETTER = {"LPIPS", "MCR", "+Params", "iterations"}
MEANS = {"Average", "Combined"}
# Images in each set, for the weighted averages. Indoor and outdoor: the caption of PTG-RM's Table 7; the rain sets: by
# their names.
IMAGES = {
    "Set5": 5, "Set14": 14, "B100": 100, "Urban100": 100, "Manga109": 109, "BSD68": 68, "Kodak24": 24, "McMaster": 18,
    "Indoor Scenes": 37, "Outdoor Scenes": 39,
    "Test100": 100, "Rain100H": 100, "Rain100L": 100, "Test1200": 1200, "Test2800": 2800,
}  # fmt: skip
# A tuned line is called like its baseline plus this; SPT's ablations are all ART x4 (section 5.3).
TUNED = re.compile(r"\s*\+\s*(SPT|Ours-\w)(?= \(|$)")
BASELINE = {("spt", table): ("1", "ART x4") for table in "3456"}
# Where a tuned line prints its baseline's name or "+Ours-c" alone: the names here are ours, by its place in the table.
UNNAMED = {("spt", "1"), ("spt", "2"), ("ptg-rm", "1"), ("ptg-rm", "2"), ("ptg-rm", "4"), ("ptg-rm", "9")}


def audit(*, all: bool = False) -> pd.DataFrame:
    """Every check of every paper that does not agree; with ``all=True`` every check.

    Columns, all text: paper; table and row (of the first number concerned); what (the number or the claim); printed;
    recomputed; verdict ("rounding", "inconsistent", "cannot be checked", and "agrees" with ``all=True``); note.
    Sorted by paper, and in a paper: differences, averages, labels, claims. Raises BenchError for a claim that names no
    cell or no known check.
    """
    import pandas as pd

    rows = [row for paper in papers() for row in audit_paper(published(paper), claims(paper))]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table if all else table[table["verdict"] != AGREES].reset_index(drop=True)


def audit_paper(table: pd.DataFrame, stated: list[dict[str, str]]) -> list[dict[str, str]]:
    """All checks of one paper, those that agree included: rows with the keys COLUMNS.

    ``table`` is ``published(paper)`` or a part of it; ``stated`` is ``claims(paper)``.
    """
    cells: Cells = table.to_dict("records")  # type: ignore[assignment]
    found = [*_differences(cells), *_averages(cells), *_labels(cells)]
    for claim in stated:
        check = CHECKS.get(claim["check"])
        if check is None:
            hint = nearest(claim["check"], list(CHECKS))
            raise BenchError(f"papers: the claim '{claim['claim']}' has no check '{claim['check']}'; {hint}")
        found += check(cells, claim)
    return found


def claims(paper: str) -> list[dict[str, str]]:
    """What a paper's text says about its numbers, one dict a claim with the keys CLAIM_COLUMNS; empty if nothing."""
    import pandas as pd

    path = CLAIMS / f"{paper.replace('-', '_')}.csv"
    if not path.exists():
        return []
    return pd.read_csv(path, dtype=str, keep_default_na=False).to_dict("records")  # type: ignore[return-value]


def judge(printed: Decimal, recomputed: Decimal, slack: Decimal) -> str:
    """Compare a printed figure with the one recomputed from printed operands.

    ``slack`` is the sum of one unit in the last printed place of each operand, times its weight. The printed figure
    itself may be off by half a unit in its own last place.
    """
    gap, half = abs(printed - recomputed), _unit(printed) / 2
    if gap <= half:
        return AGREES
    return ROUNDING if gap <= slack + half else INCONSISTENT


# --- printed differences ---------------------------------------------------------------------------------------------


def _differences(cells: Cells) -> list[dict[str, str]]:
    """Every "<metric> gain" against the tuned value and its baseline."""
    out = []
    for cell in cells:
        metric = cell["metric"].removesuffix(" gain")
        if metric == cell["metric"]:
            continue
        here, own = (cell["table"], cell["row"]), (cell["table"], TUNED.sub("", cell["row"]))
        table, row = BASELINE.get((cell["paper"], cell["table"]), own)
        value = _one(cells, *here, cell["dataset"], metric)
        base = _one(cells, table, row, cell["dataset"], metric) if (table, row) != here else None
        what = f"{cell['metric']} on {cell['dataset']}"
        if not (value and base and value["printed"] and base["printed"] and cell["printed"]):
            out.append(_finding(cell, what, cell["printed"], "", OPEN, "the value or its baseline is not printed"))
            continue
        scale = 100 if cell["unit"] == "x100" else 1
        tuned, before, printed = (Decimal(c["printed"]) for c in (value, base, cell))
        recomputed = (tuned - before) * scale
        verdict = judge(printed, recomputed, (_unit(tuned) + _unit(before)) * scale)
        note = f"{value['printed']} - {base['printed']}" + (" (x100)" if scale == 100 else "")
        if (table, row) != own:
            note += f"; baseline: {row} in Table {table}"
        if verdict == INCONSISTENT:
            note += "; " + _explained(cells, cell, value, base, scale)
        out.append(_finding(cell, what, cell["printed"], f"{_show(recomputed, printed):+}", verdict, note))
    return out


def _explained(cells: Cells, cell: Cell, value: Cell, base: Cell, scale: int) -> str:
    """What a printed difference that is not value minus baseline is: to another line of its table, or to nothing."""
    tuned, printed = Decimal(value["printed"]), Decimal(cell["printed"])
    for other in cells:
        same = _key(other, "table", "dataset", "metric") == _key(value, "table", "dataset", "metric")
        if same and other["printed"] and (Decimal(other["printed"]) - tuned) * scale == abs(printed) > 0:
            sign = "plus" if printed > 0 else "minus"
            return (
                f"the printed figure equals {other['printed']} ({other['row']}) - {value['printed']}, with a {sign} "
                f"sign; as a gain over {base['row']} ({base['printed']}) it does not fit"
            )
    return f"value and difference as printed imply a baseline of {tuned - printed / scale}"


# --- printed averages ------------------------------------------------------------------------------------------------


def _averages(cells: Cells) -> list[dict[str, str]]:
    """Every printed average against the plain mean and, where all image counts are known, the weighted mean.

    A table is judged by the one of the two that fits more of its averages. No paper defines its weights, so an average
    is inconsistent only if the other mean does not fit either; where image counts are not known, if it is no mean of
    its columns by any weights.
    """
    tables: dict[str, list[tuple[Cell, dict[str, Decimal], Decimal]]] = {}
    out = []
    for cell in cells:
        if cell["dataset"] not in MEANS or cell["metric"].endswith(" gain"):
            continue
        parts = [c for c in cells if _key(c, "table", "row", "metric") == _key(cell, "table", "row", "metric")]
        parts = [c for c in parts if c["dataset"] not in MEANS]
        if not parts or not cell["printed"] or not all(c["printed"] for c in parts):
            what = f"{cell['dataset']} {cell['metric']}"
            out.append(_finding(cell, what, cell["printed"], "", OPEN, "not all values of this average are printed"))
            continue
        values = [Decimal(c["printed"]) for c in parts]
        means = {"plain": _mean(values, [1] * len(values)), "least": min(values), "most": max(values)}
        if all(c["dataset"] in IMAGES for c in parts):
            means["weighted"] = _mean(values, [IMAGES[c["dataset"]] for c in parts])
        tables.setdefault(cell["table"], []).append((cell, means, max(_unit(v) for v in values)))
    for rows in tables.values():
        fits = {
            kind: sum(judge(Decimal(cell["printed"]), m[kind], u) != INCONSISTENT for cell, m, u in rows if kind in m)
            for kind in ("plain", "weighted")
        }
        kind = "weighted" if fits["weighted"] > fits["plain"] else "plain"
        fit = f"fits {fits[kind]} of the {len(rows)} averages of this table"
        out += [_average(cell, means, unit, kind if kind in means else "plain", fit) for cell, means, unit in rows]
    return out


def _average(cell: Cell, means: dict[str, Decimal], unit: Decimal, kind: str, fit: str) -> dict[str, str]:
    printed = Decimal(cell["printed"])
    kinds = [k for k in means if k in ("plain", "weighted")]
    verdicts = {k: judge(printed, means[k], unit) for k in kinds}
    verdict, places = verdicts[kind], _unit(printed) / 10
    shown = {k: str(means[k].quantize(places, ROUND_HALF_UP)) for k in kinds}
    note = {"plain": "plain mean of the columns", "weighted": "mean weighted by image count"}[kind] + f", which {fit}"
    other = [k for k in kinds if k != kind]
    note += f"; {other[0]}: {shown[other[0]]}" if other else "; weighted: image counts not stated"
    if verdict == INCONSISTENT and other and verdicts[other[0]] != INCONSISTENT:
        verdict, note = OPEN, f"{note}, which fits this one within rounding; the paper does not say which is meant"
    if verdict == INCONSISTENT and not other and means["least"] - unit <= printed <= means["most"] + unit:
        verdict = OPEN
    if verdict == ROUNDING and means[kind].quantize(_unit(printed), ROUND_DOWN) == printed:
        note += "; the printed figure is this mean cut to its places, not rounded"
    if verdict != AGREES and cell["note"]:
        note += f"; {cell['note']}"
    return _finding(cell, f"{cell['dataset']} {cell['metric']}", cell["printed"], shown[kind], verdict, note)


# --- labels ----------------------------------------------------------------------------------------------------------


def _labels(cells: Cells) -> list[dict[str, str]]:
    """Every tuned line whose own name is printed needs a baseline line of that name in its table."""
    rows: dict[str, dict[str, Cell]] = {}
    for cell in cells:
        if (cell["paper"], cell["table"]) not in UNNAMED:
            rows.setdefault(cell["table"], {}).setdefault(cell["row"], cell)
    out = []
    for table in rows.values():
        names = list(table)
        for place, name in enumerate(names):
            base = TUNED.sub("", name)
            if base in ("", name):
                continue
            what, label = "label of a tuned line", name.partition(" (")[0]  # which block, in brackets, is not printed
            if base in names:
                out.append(_finding(table[name], what, label, f"a line {base} in the table", AGREES))
                continue
            above = names[place - 1] if place else "nothing"
            note = f"the table has no line {base}; the line above, {above}"
            note += ", has no tuned line" if not any(TUNED.sub("", n) == above != n for n in names) else ", has one"
            out.append(_finding(table[name], what, label, f"stands below {above}", INCONSISTENT, note))
    return out


# --- claims of the text ----------------------------------------------------------------------------------------------


def _check_value(cells: Cells, claim: dict[str, str]) -> list[dict[str, str]]:
    printed, out = Decimal(claim["printed"]), []
    for cell in _pick(cells, claim["cells"], claim):
        value = Decimal(cell["printed"])
        out.append(_stated(claim, cell, cell["printed"], judge(printed, value, _unit(value))))
    return out


def _check_difference(cells: Cells, claim: dict[str, str]) -> list[dict[str, str]]:
    printed, out = Decimal(claim["printed"]), []
    for left, right in _pairs(cells, claim):
        a, b = Decimal(left["printed"]), Decimal(right["printed"])
        verdict = judge(printed, a - b, _unit(a) + _unit(b))
        note = f"{left['printed']} - {right['printed']} ({left['row']} - {right['row']})"
        out.append(_stated(claim, left, str(_show(a - b, printed)), verdict, note))
    return out


def _check_bound(cells: Cells, claim: dict[str, str]) -> list[dict[str, str]]:
    bound, sign, out = Decimal(claim["printed"]), 1 if claim["check"] == "below" else -1, []
    for cell in _pick(cells, claim["cells"], claim):
        value = Decimal(cell["printed"])
        over = (value - bound) * sign
        verdict = AGREES if over < 0 else ROUNDING if over < _unit(value) else INCONSISTENT
        out.append(_stated(claim, cell, cell["printed"], verdict))
    return out


def _check_range(cells: Cells, claim: dict[str, str]) -> list[dict[str, str]]:
    chosen = _pick(cells, claim["cells"], claim)
    values = [Decimal(cell["printed"]) for cell in chosen]
    spread, bound = max(values) - min(values), Decimal(claim["printed"])
    slack = 2 * max(_unit(value) for value in values)
    verdict = AGREES if spread < bound else ROUNDING if spread < bound + slack else INCONSISTENT
    return [_stated(claim, chosen[0], str(spread), verdict, f"{max(values)} - {min(values)}")]


def _check_same(cells: Cells, claim: dict[str, str]) -> list[dict[str, str]]:
    out = []
    for left, right in _pairs(cells, claim):
        value = Decimal(right["printed"])
        verdict = judge(Decimal(left["printed"]), value, _unit(value))
        place = f"{left['metric']} on {_place(left)}"
        note = f"Table {left['table']} {_aside(left)} and Table {right['table']} {_aside(right)}"
        row = _stated(claim, left, right["printed"], verdict, note)
        out.append({**row, "printed": left["printed"], "what": f"{row['what']}: {place}"})
    return out


def _check_better(cells: Cells, claim: dict[str, str]) -> list[dict[str, str]]:
    pairs = _pairs(cells, claim)
    gains = []
    for left, right in pairs:
        sign = -1 if left["metric"] in LOWER_IS_BETTER else 1
        gains.append((Decimal(left["printed"]) - Decimal(right["printed"])) * sign)
    better, equal = sum(g > 0 for g in gains), sum(g == 0 for g in gains)
    verdict = INCONSISTENT if better + equal < len(gains) else ROUNDING if equal else AGREES
    note = "; ".join(
        f"Table {a['table']}, {_place(a)}, {a['metric']}: {a['printed']} {_aside(a)}, {b['printed']} {_aside(b)}"
        for (a, b), gain in zip(pairs, gains, strict=True)
        if gain <= 0
    )
    shown = f"better in {better} of {len(gains)}" + (f", equal in {equal}" if equal else "")
    return [_stated(claim, pairs[gains.index(min(gains))][0] if note else pairs[0][0], shown, verdict, note)]


def _check_order(cells: Cells, claim: dict[str, str]) -> list[dict[str, str]]:
    chosen = _pick(cells, claim["cells"], claim)
    values = [Decimal(cell["printed"]) for cell in chosen]
    steps = list(pairwise(values)) if claim["check"] == "rising" else [(v, values[0]) for v in values[1:]]
    verdict = AGREES if all(a < b for a, b in steps) else ROUNDING if all(a <= b for a, b in steps) else INCONSISTENT
    return [_stated(claim, chosen[0], ", ".join(cell["printed"] for cell in chosen), verdict)]


def _check_share(cells: Cells, claim: dict[str, str]) -> list[dict[str, str]]:
    total, out = Decimal(claim["printed"]), []
    for cell in _pick(cells, claim["cells"], claim):
        value = Decimal(cell["printed"])
        images = (value * total / 100).quantize(Decimal(1), ROUND_HALF_UP)
        verdict = judge(value, images / total * 100, Decimal(0))
        row = _stated(claim, cell, f"{images} of {total}", verdict)
        out.append({**row, "printed": f"{cell['printed']} %"})
    return out


def _check_present(cells: Cells, claim: dict[str, str]) -> list[dict[str, str]]:
    out = []
    for address in claim["cells"].split(" ; "):
        found = _match(cells, address)
        table, _, row = address.partition(" | ")
        cell = found[0] if found else {"paper": cells[0]["paper"], "table": table, "row": row}
        shown, verdict = (claim["printed"], AGREES) if found else (claim["found"], INCONSISTENT)
        out.append(_stated(claim, cell, shown, verdict))
    return out


def _check_read(cells: Cells, claim: dict[str, str]) -> list[dict[str, str]]:
    table, _, row = claim["cells"].partition(" | ")
    cell = {"paper": cells[0]["paper"], "table": table, "row": row}
    return [_stated(claim, cell, claim["found"], INCONSISTENT)]


CHECKS = {
    "value": _check_value,
    "difference": _check_difference,
    "below": _check_bound,
    "above": _check_bound,
    "range below": _check_range,
    "same": _check_same,
    "better": _check_better,
    "rising": _check_order,
    "largest": _check_order,
    "share": _check_share,
    "present": _check_present,
    "read": _check_read,
}


# --- small pieces ----------------------------------------------------------------------------------------------------


def _finding(cell: Cell, what: str, printed: str, recomputed: str, verdict: str, note: str = "") -> dict[str, str]:
    values = (cell["paper"], cell["table"], cell["row"], what, printed, recomputed, verdict, note)
    return dict(zip(COLUMNS, values, strict=True))


def _stated(claim: dict[str, str], cell: Cell, recomputed: str, verdict: str, note: str = "") -> dict[str, str]:
    if verdict != AGREES and claim["verdict"]:
        verdict = claim["verdict"]
    notes = "; ".join(part for part in (note, claim["note"]) if part)
    return _finding(cell, f"{claim['where']}: {claim['claim']}", claim["printed"], recomputed, verdict, notes)


def _match(cells: Cells, address: str) -> Cells:
    """The cells of ``table | row | dataset | metric``, parts on the right left out or not."""
    wanted = dict(zip(("table", "row", "dataset", "metric"), address.split(" | "), strict=False))
    return [cell for cell in cells if all(cell[key] == value for key, value in wanted.items())]


def _pick(cells: Cells, addresses: str, claim: dict[str, str]) -> Cells:
    chosen: Cells = []
    for address in addresses.split(" ; "):
        found = [cell for cell in _match(cells, address) if cell["printed"]]
        if not found:
            raise BenchError(f"papers: the claim '{claim['claim']}' names no printed cell by '{address}'")
        chosen += found
    return chosen


def _pairs(cells: Cells, claim: dict[str, str]) -> list[tuple[Cell, Cell]]:
    """The pairs of cells of ``left vs right``: equal in what the shorter address leaves open.

    Settings of two tables are worded differently, so they count only where they tell cells of one line apart, and then
    only up to the first semicolon (the noise level).
    """
    out: list[tuple[Cell, Cell]] = []
    for pair in claim["cells"].split(" ; "):
        left, right = (_pick(cells, side, claim) for side in pair.split(" vs "))
        keys = ("dataset", "metric")[max(side.count(" | ") for side in pair.split(" vs ")) - 1 :]
        several = len({_key(cell, *keys) for cell in left}) < len(left)

        def name(cell: Cell, keys: tuple[str, ...] = keys, several: bool = several) -> tuple[str, ...]:
            return (*_key(cell, *keys), *([cell["setting"].split(";")[0]] if several else []))

        others = {name(cell): cell for cell in right}
        joined = [(cell, others[name(cell)]) for cell in left if name(cell) in others]
        if not joined:
            raise BenchError(f"papers: the two sides of '{pair}' have no cell in common")
        out += joined
    return out


def _one(cells: Cells, table: str, row: str, dataset: str, metric: str) -> Cell | None:
    found = _match(cells, f"{table} | {row} | {dataset} | {metric}")
    return found[0] if len(found) == 1 else None


def _key(cell: Cell, *names: str) -> tuple[str, ...]:
    return tuple(cell[name] for name in names)


def _aside(cell: Cell) -> str:
    """Its row in brackets, once: rows of LMDIR's Table III are called (I), (II)."""
    return cell["row"] if cell["row"].startswith("(") else f"({cell['row']})"


def _place(cell: Cell) -> str:
    """The data set, with its noise level."""
    noise = re.search(r"sigma \d+", cell["setting"])
    return cell["dataset"] + (f", {noise[0]}" if noise else "")


def _unit(value: Decimal) -> Decimal:
    """One in the last printed place: 0.01 for 32.10."""
    return Decimal(1).scaleb(int(value.as_tuple().exponent))


def _mean(values: list[Decimal], weights: list[int]) -> Decimal:
    return sum((v * w for v, w in zip(values, weights, strict=True)), Decimal(0)) / sum(weights)


def _show(value: Decimal, like: Decimal) -> Decimal:
    """With the printed figure's places, unless that would lose digits."""
    rounded = value.quantize(_unit(like), ROUND_HALF_UP)
    return rounded if rounded == value else value.normalize()
