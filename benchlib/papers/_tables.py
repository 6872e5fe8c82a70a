"""The published tables as data: ``<paper>.csv`` holds one row a number, ``<paper>.bib`` its entry.

Layer 2. To add a paper, put the two files here, called by the paper's key; no code changes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchlib.contracts import BenchError, nearest

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "paper", "table", "row", "method", "backbone", "prior", "task", "setting", "dataset", "metric",
    "value", "unit", "bold", "printed_at", "note",
)  # fmt: skip
BOLD = {"1": True, "0": False, "": None}
HERE = Path(__file__).parent


def papers() -> list[str]:
    """The keys of the papers whose tables are here: their files' stems, in order."""
    return sorted(path.stem for path in HERE.glob("*.csv"))


def published(paper: str) -> pd.DataFrame:
    """Every number the paper's tables print, one row a number, in printed order.

    Columns as COLUMNS, with ``value`` float in ``unit``, ``bold`` True, False or None (not known:
    the text conversion shows no bold), and ``printed``: the value's digits as printed ("0.960"),
    empty (and ``value`` NaN) where the text conversion garbled a cell. Raises BenchError, with the
    nearest name, for a paper that is not here.
    """
    import pandas as pd

    table = pd.read_csv(_file(paper, ".csv"), dtype=str, keep_default_na=False)
    table["printed"] = table["value"]
    table["value"] = pd.to_numeric(table["value"])
    table["bold"] = pd.Series([BOLD[bold] for bold in table["bold"]], dtype=object)
    return table


def printed(paper: str, table: str) -> pd.DataFrame:
    """The numbers of one table, as ``published`` has them, with ``place``.

    That is the data set, and with it those words of the setting by which a row's columns differ
    ("BSD68, sigma 15"). Raises BenchError, with the nearest name, for a paper or table that is not
    here.
    """
    numbers = published(paper)
    if table not in set(numbers["table"]):
        hint = nearest(table, set(numbers["table"]))
        raise BenchError(f"papers: {paper} has no table '{table}'; {hint}")
    numbers = numbers[numbers["table"] == table].reset_index(drop=True)
    return numbers.assign(place=_places(numbers))


def bibtex(paper: str) -> str:
    """The paper's BibTeX entry. Raises BenchError for a paper that is not here."""
    return _file(paper, ".bib").read_text(encoding="utf-8")


def _places(numbers: pd.DataFrame) -> list[str]:
    """Each number's data set, and the words of its setting that tell it from the row's others."""
    shared = _shared_words(numbers)
    places = []
    for name, setting in zip(numbers["dataset"], numbers["setting"], strict=True):
        place = name
        for words in setting.split("; "):
            if name in shared and words not in shared[name]:
                place += f", {words}"
        places.append(place)
    return places


def _shared_words(numbers: pd.DataFrame) -> dict[str, set[str]]:
    """By data set that a row has under several settings: what all of its settings say."""
    settings = numbers.groupby(["row", "dataset", "metric"])["setting"].transform("nunique")
    names = numbers.loc[settings > 1, "dataset"]
    several = numbers[numbers["dataset"].isin(names)]
    shared = {}
    for name, part in several.groupby("dataset"):
        words = [set(text.split("; ")) for text in part["setting"].unique()]
        shared[str(name)] = set.intersection(*words)
    return shared


def _file(paper: str, suffix: str) -> Path:
    if paper not in papers():
        raise BenchError(f"papers: no '{paper}'; {nearest(paper, papers())}")
    return HERE / f"{paper}{suffix}"
