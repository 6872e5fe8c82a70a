"""What the rows' metrics are: direction, unit and digits, as the metrics' own files say. Layer 4.

Rows name a metric by a word, its file's ``NAME``. Several files may share one (SSIM has several
windows; the protocol in the next column tells them apart): the first of the suite's speaks for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from inspect import cleandoc
from types import ModuleType

from benchlib import registry

VERSION = 1
PERCENT = "%"


@dataclass(frozen=True)
class Measure:
    """One metric as the tables show it.

    name: its word in the rows. shown: in headers. unit: "dB", "%" or none. factor: a table's value
    is so many times a row's. lower: lower is better. digits: after the point. judges_input: it
    measures against the degraded input, which takes no part itself. meaning: in words.
    """

    name: str
    shown: str
    unit: str
    factor: float
    lower: bool
    digits: int
    judges_input: bool
    meaning: str

    @property
    def is_percent(self) -> bool:
        """Whether a table shows percent, and differences in percentage points.

        Where rows say yes or no (1 or 0) of an image, it shows the counts too.
        """
        return self.unit == PERCENT

    @property
    def title(self) -> str:
        """The measure in a few words: "Mode collapse (MCR)"."""
        words, colon, _ = self.meaning.partition(":")
        return f"{words} ({self.shown})" if colon else self.shown


def measures_of(files: Sequence[str]) -> dict[str, Measure]:
    """The rows' word -> what it is, for files of ``metrics``, in their order.

    Raises BenchError for an unknown file.
    """
    return dict(_by_name(tuple(files)))


@cache
def _by_name(files: tuple[str, ...]) -> dict[str, Measure]:
    found: dict[str, Measure] = {}
    for file in files:
        module = registry.load("metrics", file)
        found.setdefault(module.NAME, _measure(module))
    return found


def _measure(module: ModuleType) -> Measure:
    return Measure(
        name=module.NAME,
        shown=module.SHOWN,
        unit=module.UNIT,
        factor=module.FACTOR,
        lower=module.LOWER_IS_BETTER,
        digits=module.DIGITS,
        judges_input="degraded" in module.READS,
        meaning=first_paragraph(module),
    )


def first_paragraph(module: ModuleType) -> str:
    """The first paragraph of a file's docstring as one line: what the report says of it."""
    words, _, _ = cleandoc(module.__doc__ or "").partition("\n\n")
    return " ".join(words.split())
