"""What commands print: plain lines, columns, JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from benchlib.contracts import BenchError


class WrongUsage(BenchError):
    """The command was called wrongly: exit code 2."""


class Closed(Exception):
    """The reader of the output has gone away."""


def say(text: str) -> None:
    """Print one text. Raises Closed where nobody reads it."""
    try:
        print(text)
    except BrokenPipeError:
        raise Closed from None


def warn(text: str) -> None:
    """Print one line on stderr; what a terminal would obey (in a file's name) is spelled out."""
    line = " ".join(text.split())
    for sign in sorted(set(line)):
        if not sign.isprintable():
            line = line.replace(sign, repr(sign)[1:-1])
    print(f"benchlib: {line}", file=sys.stderr)


def say_json(data: Any) -> None:
    """Print JSON; a number that is not finite is an error of ours, not the reader's."""
    say(json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False))


def say_columns(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> None:
    """Print rows of text in columns, those of the numbers ``right`` aligned to the right."""
    if not rows:
        return
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = []
        for place, (text, width) in enumerate(zip(row, widths, strict=True)):
            cells.append(text.rjust(width) if place in right else text.ljust(width))
        say("  ".join(cells).rstrip())
