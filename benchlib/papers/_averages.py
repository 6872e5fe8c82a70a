"""Printed averages against the plain mean and the mean weighted by image count.

A table is judged by the one of the two that fits more of its averages. No paper defines its
weights, so an average is inconsistent only if the other mean does not fit either; where image
counts are not known, if it is no mean of its columns by any weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal

from benchlib.papers._cells import (
    AGREES,
    GAIN,
    INCONSISTENT,
    MEANS,
    OPEN,
    ROUNDING,
    Cell,
    Cells,
    Finding,
    cells_with,
    judge,
    last_place,
    make_finding,
    printed_values,
    values_of,
)

# Images in each set, for the weighted averages. Indoor and outdoor: the caption of PTG-RM's
# Table 7; the rain sets: by their names.
IMAGES = {
    "Set5": 5, "Set14": 14, "B100": 100, "Urban100": 100, "Manga109": 109, "BSD68": 68,
    "Kodak24": 24, "McMaster": 18, "Indoor Scenes": 37, "Outdoor Scenes": 39,
    "Test100": 100, "Rain100H": 100, "Rain100L": 100, "Test1200": 1200, "Test2800": 2800,
}  # fmt: skip
PLAIN, WEIGHTED = "plain", "weighted"
OTHER = {PLAIN: WEIGHTED, WEIGHTED: PLAIN}
WORDS = {PLAIN: "plain mean of the columns", WEIGHTED: "mean weighted by image count"}


@dataclass(frozen=True)
class Average:
    """A printed average, and what comes out when it is computed again.

    values: of its columns. means: by kind; weighted only where all image counts are known.
    unit: one in the last printed place of the columns' least exact value.
    """

    cell: Cell
    printed: Decimal
    values: list[Decimal]
    means: dict[str, Decimal]
    unit: Decimal

    def verdict(self, kind: str) -> str:
        """Of the printed figure against one mean."""
        return judge(self.printed, self.means[kind], self.unit)

    def shown(self, kind: str) -> str:
        """One mean, with a place more than is printed."""
        return str(self.means[kind].quantize(last_place(self.printed) / 10, ROUND_HALF_UP))


def check_averages(cells: Cells) -> list[Finding]:
    """Every printed average; first those whose columns are not all printed."""
    found = []
    tables: dict[str, list[Average]] = {}
    for cell in cells:
        if cell["dataset"] not in MEANS or cell["metric"].endswith(GAIN):
            continue
        parts = _columns(cells, cell)
        if parts and all(part["printed"] for part in [cell, *parts]):
            tables.setdefault(cell["table"], []).append(_average(cell, parts))
        else:
            note = "not all values of this average are printed"
            found.append(make_finding(cell, _what(cell), cell["printed"], "", OPEN, note))
    for averages in tables.values():
        found += _judge_table(averages)
    return found


def _what(cell: Cell) -> str:
    return f"{cell['dataset']} {cell['metric']}"


def _columns(cells: Cells, average: Cell) -> Cells:
    """The cells that an average is of."""
    names = ("table", "row", "metric")
    line = cells_with(cells, names, values_of(average, *names))
    return [cell for cell in line if cell["dataset"] not in MEANS]


def _average(cell: Cell, parts: Cells) -> Average:
    values = printed_values(parts)
    means = {PLAIN: _mean(values, [1] * len(values))}
    counts = [IMAGES.get(part["dataset"], 0) for part in parts]
    if all(counts):
        means[WEIGHTED] = _mean(values, counts)
    unit = max(map(last_place, values))
    return Average(cell, Decimal(cell["printed"]), values, means, unit)


def _mean(values: list[Decimal], weights: list[int]) -> Decimal:
    total = Decimal(0)
    for value, weight in zip(values, weights, strict=True):
        total += value * weight
    return total / sum(weights)


def _judge_table(averages: list[Average]) -> list[Finding]:
    fits = {PLAIN: 0, WEIGHTED: 0}
    for average in averages:
        for kind in average.means:
            if average.verdict(kind) != INCONSISTENT:
                fits[kind] += 1
    kind = PLAIN
    if fits[WEIGHTED] > fits[PLAIN]:
        kind = WEIGHTED
    fit = f"fits {fits[kind]} of the {len(averages)} averages of this table"
    return [_judge_average(average, kind, fit) for average in averages]


def _judge_average(average: Average, kind: str, fit: str) -> Finding:
    """Judge by the table's ``kind`` of mean; ``fit``: how many averages of the table it fits."""
    if kind not in average.means:
        kind = PLAIN
    verdict, said = _verdict(average, kind)
    note = f"{WORDS[kind]}, which {fit}{said}"
    cell = average.cell
    if verdict == ROUNDING and _is_cut(average, kind):
        note += "; the printed figure is this mean cut to its places, not rounded"
    if verdict != AGREES and cell["note"]:
        note += f"; {cell['note']}"
    return make_finding(cell, _what(cell), cell["printed"], average.shown(kind), verdict, note)


def _verdict(average: Average, kind: str) -> tuple[str, str]:
    """The verdict by one mean, softened by the other, and what the note says of the other."""
    verdict = average.verdict(kind)
    other = OTHER[kind]
    if other not in average.means:
        low, high = min(average.values) - average.unit, max(average.values) + average.unit
        if verdict == INCONSISTENT and low <= average.printed <= high:
            verdict = OPEN
        return verdict, "; weighted: image counts not stated"
    said = f"; {other}: {average.shown(other)}"
    if verdict == INCONSISTENT and average.verdict(other) != INCONSISTENT:
        said += ", which fits this one within rounding; the paper does not say which is meant"
        return OPEN, said
    return verdict, said


def _is_cut(average: Average, kind: str) -> bool:
    cut = average.means[kind].quantize(last_place(average.printed), ROUND_DOWN)
    return cut == average.printed
