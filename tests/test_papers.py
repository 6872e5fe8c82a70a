"""The published tables, as transcribed.

Counts, known cells, and the form that every paper's file keeps.
"""

from __future__ import annotations

import csv
import re
from itertools import accumulate

import pandas as pd
import pytest

from benchlib.cli import main
from benchlib.contracts import BenchError
from benchlib.papers import _tables, bibtex, papers, published
from benchlib.papers._text import table_text


def value(row: str, dataset: str, metric: str) -> float:
    table = published("sam-deblur").set_index(["row", "dataset", "metric"])
    return table.loc[(row, dataset, metric), "value"]


def printed(paper: str, table: str, row: str, dataset: str, metric: str, setting: str = "") -> str:
    """The digits of the one cell with these names, and with this text in its setting."""
    numbers = published(paper)
    names = {"table": table, "row": row, "dataset": dataset, "metric": metric}
    for column, name in names.items():
        numbers = numbers[numbers[column] == name]
    numbers = numbers[numbers["setting"].str.contains(setting, regex=False)]
    assert len(numbers) == 1
    return numbers["printed"].item()


# --- the form of every paper's files --------------------------------------------------------------


@pytest.mark.parametrize("paper", papers())
def test_every_paper_is_tidy(paper):
    table = published(paper)
    assert list(table.columns) == [*_tables.COLUMNS, "printed"]
    assert len(table) and set(table["paper"]) == {paper}
    for column in (
        "table",
        "row",
        "method",
        "backbone",
        "prior",
        "task",
        "dataset",
        "metric",
        "printed_at",
    ):
        assert (table[column] != "").all(), column
    for metric, low, high in [("PSNR", 5, 60), ("SSIM", 0, 1), ("LPIPS", 0, 1), ("MCR", 0, 100)]:
        assert table.loc[table["metric"] == metric, "value"].dropna().between(low, high).all(), (
            metric
        )
    assert (table.loc[table["metric"].isin(["PSNR", "PSNR gain"]), "unit"] == "dB").all()


def test_every_file_of_a_paper_is_called_by_its_key_letter_for_letter():
    keys = {"lmdir", "ptg-rm", "sam-deblur", "spt", "survey"}
    assert set(papers()) == keys
    for kind in ("*.csv", "*.bib"):
        assert {path.stem for path in _tables.HERE.glob(kind)} == keys
    assert {path.stem for path in (_tables.HERE / "claims").glob("*.csv")} <= keys


@pytest.mark.parametrize("paper", papers())
def test_every_number_is_there_once_under_a_name_of_its_own(paper):
    table = published(paper)
    key = ["table", "row", "dataset", "metric", "setting"]
    assert table[table.duplicated(key, keep=False)][key].to_dict("records") == []


@pytest.mark.parametrize("paper", papers())
def test_a_value_is_digits_or_left_out_with_a_reason(paper):
    table = published(paper)
    empty = table["printed"] == ""
    assert (table.loc[empty, "note"] != "").all(), "a value left out says why"
    assert table.loc[~empty, "printed"].str.fullmatch(r"[+-]?\d+(\.\d+)?").all()
    signed = table["printed"].str.match(r"[+-]")
    assert table.loc[signed, "metric"].str.endswith(" gain").all(), (
        "only differences are printed with a sign"
    )
    assert (table["value"].isna() == empty).all()


@pytest.mark.parametrize("paper", papers())
def test_files_have_no_stray_spaces_and_plain_line_ends(paper):
    path = _tables.HERE / f"{paper}.csv"
    data = path.read_bytes()
    assert b"\r" not in data and data.endswith(b"\n") and not data.endswith(b"\n\n")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert {len(row) for row in rows} == {len(_tables.COLUMNS)}
    assert [
        cell for row in rows for cell in row if cell != cell.strip() or "  " in cell or "\n" in cell
    ] == []
    assert {row[_tables.COLUMNS.index("bold")] for row in rows[1:]} <= {"0", "1", ""}


@pytest.mark.parametrize("paper", papers())
def test_every_bibtex_entry_parses(paper):
    """One entry: a key, and fields ``name = {balanced braces}`` with a comma between.

    Author and title are among them.
    """
    entry = re.fullmatch(r"@(\w+)\{([\w:-]+),\s*(.*?),?\s*\}\s*", bibtex(paper), re.DOTALL)
    assert entry
    rest, fields = entry[3], {}
    while rest:
        name = re.match(r"\s*(\w+)\s*=\s*(?=\{)", rest)
        assert name, rest
        body = rest[name.end() :]
        depths = accumulate({"{": 1, "}": -1}.get(letter, 0) for letter in body)
        end = list(depths).index(0)  # the field's own closing brace
        fields[name[1]] = body[1:end]
        rest = body[end + 1 :].lstrip(", \n")
    assert {"author", "title"} <= set(fields)
    assert all(re.fullmatch(r"[^,]+, [^,]+", author) for author in fields["author"].split(" and "))
    assert "year" not in fields or re.fullmatch(r"\d{4}", fields["year"])


def test_all_papers_call_a_task_by_the_same_words():
    """An average over several tasks names each; the kind of noise or blur stands in `setting`."""
    words = {
        "denoising",
        "deblurring",
        "defocus deblurring",
        "deraining",
        "low-light enhancement",
        "super-resolution",
    }
    seen = {
        word for paper in papers() for task in published(paper)["task"] for word in task.split(", ")
    }
    assert seen == words | {"segmentation"}
    kinds = (
        published("ptg-rm")
        .groupby("table")["setting"]
        .apply(lambda texts: {text.split("; ")[-1] for text in texts})
    )
    assert kinds[["6", "8", "9", "10"]].tolist() == [
        {"motion"},
        {"grayscale"},
        {"colour"},
        {"real"},
    ]


def test_bold_is_unknown_where_the_text_shows_none():
    known = {paper: set(published(paper)["bold"]) for paper in papers()}
    assert known == {
        "sam-deblur": {True, False},
        "survey": {False},
        "spt": {None},
        "lmdir": {None},
        "ptg-rm": {None},
    }


def test_no_two_papers_share_a_citation_key():
    keys = [re.match(r"@\w+\{([^,]+),", bibtex(paper))[1] for paper in papers()]  # type: ignore[index]
    assert len(set(keys)) == len(keys)


def test_an_unknown_paper_is_refused_with_the_nearest_name():
    with pytest.raises(BenchError, match="did you mean sam-deblur"):
        published("sam-deblurr")


# --- SAM-Deblur -----------------------------------------------------------------------------------


def test_sam_deblur_table_1_has_each_of_its_44_numbers_once():
    table = published("sam-deblur")
    assert len(table) == 44
    assert not table.duplicated(["row", "dataset", "metric"]).any()
    assert table.groupby("row", sort=False).size().to_dict() == {
        "w/o SAM": 11,
        "CAT": 11,
        "MAP": 11,
        "Ours": 11,
    }
    assert table.groupby("dataset", sort=False).size().to_dict() == {
        "GoPro": 8, "RealBlurJ": 12, "REDS": 12, "ReLoBlur": 12,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("row", "dataset", "metric", "number"),
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
def test_sam_deblur_cells_are_as_printed(row, dataset, metric, number):
    assert value(row, dataset, metric) == number


def test_gains_that_section_4_3_states_follow_from_the_cells():
    """ "PSNR improved by 0.05, 0.96, and 7.03".

    "While the SSIM increased by 0.001, 0.024, and 0.216".
    """
    sets = ["RealBlurJ", "REDS", "ReLoBlur"]
    for metric, stated in [("PSNR", [0.05, 0.96, 7.03]), ("SSIM", [0.001, 0.024, 0.216])]:
        gains = [value("Ours", name, metric) - value("w/o SAM", name, metric) for name in sets]
        assert gains == pytest.approx(stated, abs=1e-9)


def test_bold_marks_the_best_number_of_each_column():
    table = published("sam-deblur")
    for (_, metric), column in table.groupby(["dataset", "metric"]):
        best = column["value"].min() if metric == "MCR" else column["value"].max()
        assert column.loc[column["bold"].eq(True), "value"].tolist() == [best]
    assert table.loc[table["bold"].eq(True), "row"].value_counts().to_dict() == {
        "Ours": 9,
        "CAT": 2,
    }


def test_digits_stay_as_printed():
    table = published("sam-deblur").set_index(["row", "dataset", "metric"])
    assert table.loc[("w/o SAM", "GoPro", "SSIM"), "printed"] == "0.960"


# --- the other papers -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("paper", "counts"),
    [
        # Table 1: 18 lines of 6 sets and their differences; 2: 6 lines of 5 sets and theirs;
        # 3: 9 pairs; ...
        ("spt", {"1": 9 * 6 * 3, "2": 3 * 5 * 3, "3": 18, "4": 8, "5": 6, "6": 6}),
        (
            "ptg-rm",
            {
                "1": 132,
                "2": 25,
                "3": 72,
                "4": 24,
                "5": 48,
                "6": 32,
                "7": 108,
                "8": 72,
                "9": 96,
                "10": 12,
            },
        ),
        ("lmdir", {"I": 8 * 18, "II": 4 * 14, "III": 4 * 16}),
    ],
)
def test_every_table_has_all_its_numbers(paper, counts):
    assert published(paper).groupby("table").size().to_dict() == counts


@pytest.mark.parametrize(
    ("cell", "digits"),
    [
        (("1", "UHD", "LOL", "PSNR"), "19.87"),
        (("1", "SNR+Ours-f", "SID", "SSIM gain"), "+1.1"),
        (("1", "UHD+Ours-s", "SID", "PSNR gain"), "+1.88"),
        (("2", "URetinex+SMG(dep)", "LOL-real", "SSIM"), "0.849"),
        (("2", "+SKF", "LOL-real", "+Params"), "2.15"),
        (("3", "Use 2D Priors via Con. (SNR)", "SID", "SSIM"), "0.625"),
        (("3", "with SP and CA, w/o SA (URetinex)", "LOL-real", "PSNR"), "23.76"),
        (("4", "SCI+Ours-c", "SID", "PSNR"), "19.61"),
        (("5", "Restormer+Ours-c", "Average", "SSIM"), "0.943"),
        (("6", "MPRNet", "RealBlur-J", "SSIM"), "0.873"),
        (("7", "GRL_D-B+Ours-c", "Combined", "LPIPS"), "0.128"),
        (("7", "IFAN_S", "Outdoor Scenes", "SSIM"), "0.720"),
        (("8", "Restormer (top)", "Urban100", "PSNR", "sigma 50"), "28.33"),
        (("8", "Restormer (bottom)", "Urban100", "PSNR", "sigma 50"), "28.29"),
        (("8", "DRUNet+Ours-c (bottom)", "Set12", "PSNR", "sigma 15"), "33.70"),
        (("9", "Restormer+Ours-c (bottom)", "McMaster", "PSNR", "sigma 25"), "33.63"),
        (("10", "Uformer + Ours-c", "SIDD", "SSIM"), "0.962"),
    ],
)
def test_ptg_rm_cells_are_as_printed(cell, digits):
    assert printed("ptg-rm", *cell) == digits


@pytest.mark.parametrize(
    ("cell", "digits"),
    [
        (("1", "IMDN x4", "Set5", "PSNR"), "32.1867"),
        (("1", "IMDN x2 + SPT", "Set5", "PSNR gain"), "-0.0215"),
        (("1", "CAT x3 + SPT", "Manga109", "PSNR"), "35.4002"),
        (("2", "ART 25 + SPT", "Average", "PSNR gain"), "+0.0642"),
        (("3", "B_2", "Manga109", "PSNR"), "32.3188"),
        (("4", "alpha = 2", "Manga109", "PSNR gain"), "+0.1623"),
        (("5", "Full fine-tuning", "Manga109", "PSNR"), "32.5640"),
        (("6", "Fine", "Manga109", "PSNR"), "32.5737"),
    ],
)
def test_spt_cells_are_as_printed(cell, digits):
    assert printed("spt", *cell) == digits


@pytest.mark.parametrize(
    ("cell", "digits"),
    [
        (("I", "HINet", "BSD68", "PSNR", "sigma 25"), "26.09"),
        (("I", "Ours", "LOL", "PSNR"), "23.24"),
        (("I", "AirNet", "Average", "SSIM"), "0.863"),
        (("II", "PromptIR", "Rain100H", "PSNR"), "13.60"),
        (("III", "Ours", "LOL", "PSNR"), "23.34"),
        (("III", "(II)", "Rain100L", "SSIM"), "0.986"),
    ],
)
def test_lmdir_cells_are_as_printed(cell, digits):
    assert printed("lmdir", *cell) == digits


def test_in_ptg_rm_every_pair_of_table_8_and_9_has_the_same_columns():
    table = published("ptg-rm")
    for number, width in (("8", 9), ("9", 12)):
        lines = table[table["table"] == number].groupby("row", sort=False)
        assert lines.size().tolist() == [width] * 8
        columns = {
            tuple(zip(line["dataset"], line["setting"].str.split(";").str[0], strict=True))
            for _, line in lines
        }
        assert len(columns) == 1


def test_spt_states_the_training_data_of_its_tuning_and_of_art_but_not_of_table_1s_baselines():
    """Section 5.1: DIV2K and Flickr2K for the tuning; for denoising the same data as ART."""
    table = published("spt")
    silent = table[table["setting"].str.contains("not stated")]
    assert (
        len(silent) == 9 * 6 and set(silent["table"]) == {"1"} and set(silent["method"]) == {"none"}
    )
    assert (
        table.loc[table["table"] == "1", "setting"]
        .str.split("; ")
        .str[0]
        .isin(["x2", "x3", "x4"])
        .all()
    )
    assert table.drop(silent.index)["setting"].str.contains(r"trained on DIV2K \+ Flickr2K").all()


def test_published_values_are_numbers():
    table = published("ptg-rm")
    assert table["value"].dtype == float
    assert pd.to_numeric(table["printed"]).equals(table["value"])


def test_a_table_can_be_asked_for_by_name(capsys):
    assert main(["papers"]) == 0
    assert "spt 4: 8 numbers, 4 rows; super-resolution, PSNR, PSNR gain" in capsys.readouterr().out
    assert main(["papers", "sam-deblur", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["GoPro", "RealBlurJ", "REDS", "ReLoBlur"]
    assert lines[-2].split()[:6] == ["Ours", "32.83", "0.960", "26.62*", "0.867*", "0.00%*"]
    assert main(["papers", "spt", "9"]) == 1
    assert (
        capsys.readouterr().err
        == "benchlib: papers: spt has no table '9'; may be 1, 2, 3, 4, 5, 6\n"
    )


@pytest.mark.parametrize("paper", papers())
def test_every_number_of_a_table_is_in_what_is_printed_of_it(paper):
    for table, part in published(paper).groupby("table", sort=False):
        text = table_text(paper, str(table))
        assert all(number in text for number in part["printed"])
        assert (
            "..., " not in text.split("\n")[0]
            and len(text.splitlines()) >= part["row"].nunique() + 2
        )
