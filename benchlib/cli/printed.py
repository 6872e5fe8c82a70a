"""``benchlib papers`` and ``benchlib audit``: what papers print, and whether it adds up."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from benchlib.cli._say import WrongUsage, say, say_columns, say_json
from benchlib.contracts import BenchError, nearest


def _complete_paper(incomplete: str) -> list[str]:
    from benchlib.papers import papers

    return [name for name in papers() if name.startswith(incomplete)]


def papers(
    paper: Annotated[
        str | None,
        typer.Argument(
            metavar="[PAPER]", help="A key of benchlib ls papers.", autocompletion=_complete_paper
        ),
    ] = None,
    table: Annotated[
        str | None, typer.Argument(metavar="[TABLE]", help="As the paper numbers it: 1, IV.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON: a record a number.")] = False,
) -> None:
    """Print the tables of the papers, every number as printed; without TABLE, what there is.

    Example: benchlib papers spt 4
    """
    from benchlib.papers import papers as known
    from benchlib.papers import printed, published
    from benchlib.papers._text import table_text, tables_text

    names = [paper] if paper else known()
    if as_json:
        frames = [printed(paper, table)] if paper and table else [published(name) for name in names]
        say_json([record for frame in frames for record in _records(frame)])
        return
    if paper and table:
        say(table_text(paper, table))
        return
    for name in names:
        say(tables_text(name))


def audit(
    paper: Annotated[
        str | None,
        typer.Argument(
            metavar="[PAPER]",
            help="A key of benchlib ls papers; none: all.",
            autocompletion=_complete_paper,
        ),
    ] = None,
    verdict: Annotated[
        str,
        typer.Option(
            "--verdict",
            help="Which checks are shown: inconsistent, rounding, cannot be checked, agrees, all.",
        ),
    ] = "inconsistent",
    as_json: Annotated[bool, typer.Option("--json", help="JSON: a record a check.")] = False,
) -> None:
    """Check the papers' own arithmetic: differences, averages, claims of the text, rows twice.

    Misprints happen to everyone; a finding says nothing about a method. `audit.ipynb` says more.

    Example: benchlib audit sam-deblur --verdict all
    """
    from benchlib.papers import papers as known
    from benchlib.papers.audit import AGREES, INCONSISTENT, OPEN, ROUNDING, audit_checks

    verdicts = (INCONSISTENT, ROUNDING, OPEN, AGREES)
    if paper and paper not in known():
        raise BenchError(f"papers: no '{paper}'; {nearest(paper, known())}")
    if verdict not in (*verdicts, "all"):
        raise WrongUsage(f"--verdict: got '{verdict}'; {nearest(verdict, (*verdicts, 'all'))}")
    checks = audit_checks()
    if paper:
        checks = checks[checks["paper"] == paper]
    shown = checks if verdict == "all" else checks[checks["verdict"] == verdict]
    if as_json:
        say_json(_records(shown))
        return
    for line in shown.to_dict("records"):
        say(_finding(line))
    counts = checks.groupby("paper", sort=False)["verdict"].value_counts().unstack(fill_value=0)
    lines = [["paper", *verdicts]]
    for name, row in counts.iterrows():
        lines.append([str(name), *[str(row.get(each, 0)) for each in verdicts]])
    say("")
    say_columns(lines, right=(1, 2, 3, 4))


def _finding(line: dict[str, Any]) -> str:
    said = f"{line['paper']} table {line['table']}, {line['row']}: {line['what']}: "
    said += f"printed {line['printed']}, recomputed {line['recomputed']}: {line['verdict']}"
    if line["note"]:
        said += f" ({line['note']})"
    return said


def _records(frame: Any) -> list[dict[str, Any]]:
    """A frame's lines as JSON can hold them: null where a number was garbled."""
    records = frame.astype(object).to_dict("records")
    for record in records:
        for key, value in record.items():
            if value != value:  # NaN
                record[key] = None
    return records
