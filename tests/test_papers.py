"""The published tables, as transcribed: counts, known cells, and the arithmetic the paper's text states."""

from __future__ import annotations

import pytest

from benchlib.contracts import BenchError
from benchlib.papers import _tables, bibtex, papers, published


def value(row: str, dataset: str, metric: str) -> float:
    table = published("sam-deblur").set_index(["row", "dataset", "metric"])
    return table.loc[(row, dataset, metric), "value"]


def test_sam_deblur_table_1_has_each_of_its_44_numbers_once():
    table = published("sam-deblur")
    assert len(table) == 44
    assert not table.duplicated(["row", "dataset", "metric"]).any()
    assert table.groupby("row", sort=False).size().to_dict() == {"w/o SAM": 11, "CAT": 11, "MAP": 11, "Ours": 11}
    assert table.groupby("dataset", sort=False).size().to_dict() == {
        "GoPro": 8, "RealBlurJ": 12, "REDS": 12, "ReLoBlur": 12,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("row", "dataset", "metric", "printed"),
    [
        ("w/o SAM", "GoPro", "PSNR", 32.85),
        ("w/o SAM", "ReLoBlur", "MCR", 54.68),
        ("CAT", "REDS", "MCR", 2.57),
        ("CAT", "ReLoBlur", "MCR", 58.73),
        ("MAP", "REDS", "PSNR", 26.81),
        ("Ours", "RealBlurJ", "MCR", 0.0),
        ("Ours", "ReLoBlur", "SSIM", 0.903),
    ],
)
def test_cells_are_as_printed(row, dataset, metric, printed):
    assert value(row, dataset, metric) == printed


def test_gains_that_section_4_3_states_follow_from_the_cells():
    """ "PSNR improved by 0.05, 0.96, and 7.03, while the SSIM increased by 0.001, 0.024, and 0.216"."""
    sets = ["RealBlurJ", "REDS", "ReLoBlur"]
    for metric, stated in [("PSNR", [0.05, 0.96, 7.03]), ("SSIM", [0.001, 0.024, 0.216])]:
        gains = [value("Ours", name, metric) - value("w/o SAM", name, metric) for name in sets]
        assert gains == pytest.approx(stated, abs=1e-9)


def test_bold_marks_the_best_number_of_each_column():
    table = published("sam-deblur")
    for (_, metric), column in table.groupby(["dataset", "metric"]):
        best = column["value"].min() if metric == "MCR" else column["value"].max()
        assert column.loc[column["bold"], "value"].tolist() == [best]
    assert table.loc[table["bold"], "row"].value_counts().to_dict() == {"Ours": 9, "CAT": 2}


@pytest.mark.parametrize("paper", papers())
def test_every_paper_is_tidy(paper):
    table = published(paper)
    assert list(table.columns) == [*_tables.COLUMNS, "printed"]
    assert set(table["paper"]) == {paper}
    assert (table.loc[table["value"].isna(), "note"] != "").all(), "a value left out says why"
    assert table.loc[table["metric"] == "PSNR", "value"].dropna().between(5, 60).all()
    assert table.loc[table["metric"] == "SSIM", "value"].dropna().between(0, 1).all()
    assert table.loc[table["metric"] == "MCR", "value"].dropna().between(0, 100).all()
    assert bibtex(paper).startswith("@") and "title" in bibtex(paper)


def test_digits_stay_as_printed():
    table = published("sam-deblur").set_index(["row", "dataset", "metric"])
    assert table.loc[("w/o SAM", "GoPro", "SSIM"), "printed"] == "0.960"


def test_an_unknown_paper_is_refused_with_the_nearest_name():
    with pytest.raises(BenchError, match="did you mean sam-deblur"):
        published("sam-deblurr")
