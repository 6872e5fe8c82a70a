"""Every notebook runs alone from a fresh copy, with the parameters it comes with, and shows what it should."""

import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from benchlib.assets import fetch
from benchlib.contracts import BenchError

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
PICTURES = {"10_fetch": 1, "20_priors": 1, "30_train": 2, "40_evaluate": 1, "50_tables": 4, "explore": 2}


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """The project as cloned, nothing made yet. Skips where MobileSAM cannot be fetched."""
    try:
        fetch("mobilesam-encoder")
    except BenchError as error:
        pytest.skip(f"no MobileSAM: {error}")
    folder = tmp_path_factory.mktemp("clone")
    for name in ("benchlib", "notebooks", "suites"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "dvc.lock"))
    return folder


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_runs_with_its_own_parameters_and_shows_its_step(copy, name, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(copy))
    notebook = nbformat.read(copy / "notebooks" / f"{name}.ipynb", as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(copy / "notebooks")}}).execute()
    assert (copy / "work" / "smoke").is_dir()  # the copy's own package ran
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    shown = sum("image/png" in o.get("data", {}) for o in outputs)
    assert shown >= PICTURES.get(name, 0)
    assert any("text/html" in o.get("data", {}) for o in outputs)  # a table, or the report's link
