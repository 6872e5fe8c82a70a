"""``benchlib score``: a folder of restored images against its references."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from benchlib.cli._say import say, say_columns, say_json
from benchlib.contracts import BenchError


def _complete_protocol(incomplete: str) -> list[str]:
    from benchlib.metrics import names

    return [name for name in names() if name.startswith(incomplete)]


def score(
    restored: Annotated[Path, typer.Option("--restored", help="Folder of restored images.")],
    reference: Annotated[
        Path,
        typer.Option("--reference", help="Folder of true images, of the same names and sizes."),
    ],
    protocol: Annotated[
        list[str],
        typer.Option(
            "--protocol",
            help="How it is measured: a name of benchlib ls protocols; @4 cuts a border of four "
            "pixels: basicsr-y@4. May be given several times.",
            autocompletion=_complete_protocol,
        ),
    ],
    degraded: Annotated[
        Path | None,
        typer.Option("--degraded", help="Folder of the inputs, for metrics that read them (mc)."),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            help="Measure this, not what the protocol itself lists. May be given several times.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write every image's values to this CSV.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="JSON: the means, and every image.")
    ] = False,
) -> None:
    """Score a folder of restored images: PSNR, SSIM and more, the mean with its 95 % interval.

    Images are paired by name, whatever their suffix; sub-folders are sets. Everything is checked
    before anything is measured. Images equal to their reference (an infinite PSNR) are counted
    apart and left out of the mean.

    Example: benchlib score --restored out --reference sharp --protocol basicsr-y@4
    """
    # images are measured side by side, each by one thread: read when torch is first imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from benchlib import scoring

    if out is not None:
        _check_out(out)
    rows = scoring.score(restored, reference, protocol, degraded=degraded, metric=metric or None)
    means = scoring.summary(rows)
    if out is not None:
        scoring.write_scores(rows, out)
    if as_json:
        say_json({"means": means, "images": [_finite(row) for row in rows.to_dict("records")]})
        return
    say_columns([_HEAD, *[_cells(line) for line in means]], right=(3, 4))
    if any(line["exact"] or line["undefined"] for line in means):
        say("exact: images equal to their reference, left out of the mean")
    if out is not None:
        say(f"every image: {out}")


def _check_out(path: Path) -> None:
    """It can be written, which is better known before measuring."""
    if path.is_dir():
        raise BenchError(f"--out: {path} is a folder; name a file, {path / 'scores.csv'} say")
    there = path.absolute().parent
    while not there.exists():
        there = there.parent
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise BenchError(f"--out: {path}: nothing can be written in {there}; name another place")


_HEAD = ["set", "protocol", "metric", "images", "mean", "95 % interval", ""]


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinite number: null, and ``exact`` says why."""
    row = row | {"exact": math.isinf(row["value"])}
    if not math.isfinite(row["value"]):
        row["value"] = None
    return row


def _cells(line: dict[str, Any]) -> list[str]:
    from benchlib.metrics import load_metric

    metric = load_metric(line["version"].split()[0])
    dataset = "all sets" if line["dataset"] is None else line["dataset"] or "."
    mean, between = "-", ""
    if line["mean"] is not None:
        mean = f"{_number(metric, line['mean'])} {metric.UNIT}".rstrip()
    if line["low"] is not None:
        between = f"{_number(metric, line['low'])} to {_number(metric, line['high'])}"
    notes = []
    for word in ("exact", "undefined"):
        if line[word]:
            notes.append(f"{line[word]} {word}")
    cells: Sequence[str] = (dataset, line["protocol"], metric.SHOWN, str(line["images"]), mean)
    return [*cells, between, ", ".join(notes)]


def _number(metric: Any, value: float) -> str:
    return f"{metric.FACTOR * value:.{metric.DIGITS}f}"
