"""The committed tables are what today's code makes of the committed rows, byte for byte.

A change that only makes the tables faster must not move a digit of them, nor its last place.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchlib.params import load_params
from benchlib.report import export

ROOT = Path(__file__).parents[1]
READ = ("rows", "records", "loss")  # of a suite's results, by its tables
PARAMS = {
    "demo": "params.yaml",
    "spt-small": "suites/spt-small/params.yaml",
    "spt-ablations-small": "suites/spt-ablations-small/params.yaml",
    "ptg-rm-small": "suites/ptg-rm-small/params.yaml",
    "lmdir-small": "suites/lmdir-small/params.yaml",
    "dehazing-small": "suites/dehazing-small/params.yaml",
}


@pytest.mark.parametrize("name", PARAMS)
def test_the_committed_tables_are_remade_byte_for_byte(name, tmp_path):
    committed = ROOT / "results" / name
    suite = load_params(ROOT / PARAMS[name])
    suite = suite.model_copy(update={"folder": tmp_path, "root": ""})
    for folder in READ:
        shutil.copytree(committed / folder, suite.results / folder)
    made = export.make(suite)
    assert {"comparison.csv", "differences.tex", "reach.md", "metrics.json"} <= set(made)
    for path in made.values():
        kept = committed / path.relative_to(suite.results)
        assert path.read_bytes() == kept.read_bytes(), path.name
