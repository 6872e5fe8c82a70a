"""Every notebook runs alone from a fresh copy, with its own parameters, and shows what it should."""

import shutil
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from golden_smoke import smoke_rows
from nbclient import NotebookClient

from benchlib.assets import fetch
from benchlib.contracts import BenchError

ROOT = Path(__file__).parent.parent
ELSEWHERE = {"lmdir"}  # its run takes minutes to train; tests/test_looks.py has a small one
NOTEBOOKS = sorted(
    path.stem for path in (ROOT / "notebooks").glob("*.ipynb") if path.stem not in ELSEWHERE
)
PICTURES = {
    "10_fetch": 1,
    "20_priors": 1,
    "30_train": 2,
    "40_evaluate": 1,
    "50_tables": 4,
    "explore": 2,
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """The project as cloned, nothing made yet. Skips where MobileSAM cannot be fetched."""
    try:
        fetch("mobilesam-encoder")
    except BenchError as error:
        pytest.skip(f"no MobileSAM: {error}")
    folder = tmp_path_factory.mktemp("clone")
    for name in ("benchlib", "notebooks", "suites"):
        shutil.copytree(
            ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "dvc.lock")
        )
    return folder


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_runs_with_its_own_parameters_and_shows_its_step(copy, name, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(copy))
    notebook = nbformat.read(copy / "notebooks" / f"{name}.ipynb", as_version=4)
    NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": str(copy / "notebooks")}}
    ).execute()
    assert (copy / "work" / "smoke").is_dir()  # the copy's own package ran
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    shown = sum("image/png" in o.get("data", {}) for o in outputs)
    assert shown >= PICTURES.get(name, 0)
    assert any("text/html" in o.get("data", {}) for o in outputs)  # a table, or the report's link


GOLDEN = ROOT / "tests" / "golden" / "smoke.csv"
KEYS = ["run", "dataset", "image", "metric", "protocol", "swap", "seed"]
# what trained networks may differ by between machines; what is only computed agrees to the digit
TRAINED = {"PSNR": 0.01, "SSIM": 5e-4, "MC": 0.0, "reach": 0.01, "reach-most": 2.0}


def test_the_smoke_suites_numbers_are_those_of_their_versions(copy):
    """The golden rows keep VERSIONs honest: numbers move only where a version says so.

    Made by the smoke suite (`cd suites/smoke && dvc repro`) with `python tests/golden_smoke.py`.
    """
    rows = smoke_rows(copy / "results" / "smoke" / "rows")
    golden = pd.read_csv(GOLDEN, keep_default_na=False, dtype=str)
    both = golden.merge(rows, on=KEYS, how="outer", suffixes=("_golden", ""), indicator=True)
    assert (both["_merge"] == "both").all(), both.loc[both["_merge"] != "both", KEYS].to_string()
    moved = both[both["version_golden"] == both["version"]]
    change = (moved["value"].astype(float) - moved["value_golden"].astype(float)).abs()
    allowed = moved["metric"].map(TRAINED).where(moved["run"] != "blurred", 1e-6)
    allowed = allowed.fillna(0.02 * moved["value_golden"].astype(float).abs() + 1e-6)
    wrong = moved[change > allowed]
    assert wrong.empty, (
        "numbers moved under an unchanged version; raise VERSION in the file whose numbers changed "
        f"(metrics, methods, tasks, train, restore, priors...):\n{wrong.head(12).to_string()}"
    )
