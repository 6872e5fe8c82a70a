"""Ablations: tables of their own, against hand-computed values."""

from __future__ import annotations

import pandas as pd
import pytest
from report_suite import sr_suite, write_psnr

from benchlib.params import Ablation, Suite
from benchlib.report import ablations, export, page, published, tables

BASE = [30.0, 31.0, 29.0]


@pytest.fixture
def suite(tmp_path) -> Suite:
    """Two ablations over the runs of a control; ``spt`` is a line of both."""
    named = {
        "masks": Ablation(
            label="which masks", paper="spt", table="6", runs=["spt-slic", "spt", "spt-shuffled"]
        ),
        "training": Ablation(label="what is trained", runs=["further", "spt"]),
    }
    suite = sr_suite(tmp_path).model_copy(update={"ablations": named})
    gains = {"imdn": 0.0, "further": -0.25, "spt": 0.5, "spt-slic": 0.25, "spt-zeroed": 0.125}
    for run, gain in gains.items():
        values = [value + gain for value in BASE]
        write_psnr(suite, {run: {"Set5": values, "Set14": values[:2]}})
    return suite


def lines(suite: Suite, key: str) -> pd.DataFrame:
    return ablations.lines_of(suite, tables.everything(suite), key)


def test_the_references_come_first_then_the_runs_in_their_order(suite):
    table = lines(suite, "masks")
    assert list(table["run"].drop_duplicates()) == ["imdn", "spt-zeroed", "spt-slic", "spt"]
    assert table.loc[table["is_reference"], "run"].unique().tolist() == ["imdn", "spt-zeroed"]


def test_values_and_differences_are_those_of_the_leading_protocol(suite):
    table = lines(suite, "training").set_index(["run", "dataset"])
    assert set(table["protocol"]) == {"basicsr-y@4"}
    assert set(table["metric"]) == {"PSNR"}
    assert table.loc[("spt", "Set5"), "value"] == pytest.approx(30.5)
    assert table.loc[("spt", "Average"), "value"] == pytest.approx((90 + 61) / 5 + 0.5)
    assert table.loc[("further", "Set5"), ["reference", "difference"]].tolist() == ["imdn", -0.25]
    assert pd.isna(table.loc[("imdn", "Set5"), "difference"])
    assert table.loc[("spt", "Set5"), "gain"]
    assert table.loc[("further", "Set5"), "loss"]


def test_best_is_of_the_ablations_own_lines_and_a_tie_of_all_is_none(suite):
    first = lines(suite, "training")
    assert set(first.loc[first["best"], "run"]) == {"spt"}
    for run in ("imdn", "further", "spt"):
        write_psnr(suite, {run: {"Set5": BASE, "Set14": [30.0, 30.0 + (run == "further")]}})
    tied = lines(suite, "training")
    assert not tied.loc[tied["dataset"] == "Set5", "best"].any()
    assert tied.loc[tied["best"] & (tied["dataset"] == "Set14"), "run"].tolist() == ["further"]


def test_each_is_a_part_of_the_files_with_its_best_in_bold(suite):
    paths = export.make(suite)
    tidy = pd.read_csv(paths["ablations.csv"])
    assert tidy["ablation"].drop_duplicates().tolist() == ["masks", "training"]
    text = paths["ablations.md"].read_text()
    parts = text.split("Ablation: ")[1:]
    assert parts[0].startswith("which masks. Beside spt, Table 6. On Set5 (3 images)")
    assert "Differences to “IMDN”, “SPT, prior zeroed”, paired" in parts[0]
    header = next(line for line in parts[1].splitlines() if line.startswith("|"))
    assert header.startswith("| method | seeds | Set5: PSNR basicsr-y@4 | Set5: difference | Set14")
    spt = next(line for line in parts[1].splitlines() if line.startswith("| SPT |"))
    assert spt.startswith("| SPT | 1 | **30.500** | +0.500 ")
    assert "not run: evaluate@spt-shuffled" in parts[0]
    assert r"\textbf{30.500}" in paths["ablations.tex"].read_text()


def test_the_published_tables_named_there_are_printed(suite):
    assert published.tables_named(suite) == [("spt", "1"), ("spt", "6")]
    assert "Published (spt, Table 6)" in export.make(suite)["published.md"].read_text()


def test_the_page_has_a_table_for_each(suite, tmp_path):
    (suite.results / "rows" / "imdn.csv").unlink()  # no pictures are wanted then
    text = page.make(suite, tmp_path / "page.html").read_text()
    section = text[text.index('<section id="ablations"') : text.index('<section id="reproduced"')]
    assert section.count("<table") == 2
    assert "<h3>Which masks</h3>" in section and "<h3>What is trained</h3>" in section
    assert "not run: evaluate@spt-shuffled" in section
    assert "<strong>30.500</strong>" in section


def test_a_suite_without_ablations_has_no_table_of_them(suite):
    suite = suite.model_copy(update={"ablations": {}})
    assert not any(name.startswith("ablations") for name in export.make(suite))
    assert ablations.all_ablations(suite, tables.everything(suite)).empty


def test_one_that_was_not_run_is_left_out_and_says_why(suite, capsys):
    for run in ("further", "spt"):
        (suite.results / "rows" / f"{run}.csv").unlink()
    found = ablations.all_ablations(suite, tables.everything(suite))
    assert set(found["ablation"]) == {"masks"}
    assert "ablations training: skipped: ablations.training: no rows" in capsys.readouterr().out
