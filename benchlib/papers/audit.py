"""What the papers state about themselves, recomputed from their own tables.

Layer 2. Everything here follows from ``<paper>.csv`` and ``claims/<paper>.csv`` (what the text
says, in our words). The arithmetic is decimal and exact: digits count as printed. A recomputed
figure *agrees* when it rounds to the printed one; it is *rounding* when one unit in the last
printed place of each operand can explain the gap; else *inconsistent*. *cannot be checked* says
that the paper does not print what the check needs, or leaves its meaning open.

Differences and labels stand in ``_differences.py``, averages in ``_averages.py``, claims in
``_claims.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchlib.papers._averages import check_averages
from benchlib.papers._cells import (
    AGREES,
    COLUMNS,
    INCONSISTENT,
    OPEN,
    ROUNDING,
    Cells,
    Finding,
    judge,
)
from benchlib.papers._claims import CLAIM_COLUMNS, CLAIMS, Claim, check_claim, claims
from benchlib.papers._differences import check_differences, check_labels
from benchlib.papers._tables import papers, published

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "AGREES",
    "CLAIMS",
    "CLAIM_COLUMNS",
    "COLUMNS",
    "INCONSISTENT",
    "OPEN",
    "ROUNDING",
    "audit_checks",
    "audit_findings",
    "audit_paper",
    "claims",
    "judge",
]


def audit_checks() -> pd.DataFrame:
    """Every check of every paper.

    Columns, all text: paper; table and row (of the first number concerned); what (the number or the
    claim); printed; recomputed; verdict ("agrees", "rounding", "inconsistent", "cannot be
    checked"); note. Sorted by paper, and in a paper: differences, averages, labels, claims. Raises
    BenchError for a claim that names no cell or no known check.
    """
    import pandas as pd

    rows = []
    for paper in papers():
        rows += audit_paper(published(paper), claims(paper))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def audit_findings() -> pd.DataFrame:
    """Every check of every paper that does not agree, as ``audit_checks`` has them."""
    table = audit_checks()
    return table[table["verdict"] != AGREES].reset_index(drop=True)


def audit_paper(table: pd.DataFrame, stated: list[Claim]) -> list[Finding]:
    """All checks of one paper, those that agree included: rows with the keys COLUMNS.

    ``table`` is ``published(paper)`` or a part of it; ``stated`` is ``claims(paper)``.
    """
    cells: Cells = table.to_dict("records")  # type: ignore[assignment]
    found = [*check_differences(cells), *check_averages(cells), *check_labels(cells)]
    for claim in stated:
        found += check_claim(cells, claim)
    return found
