"""The audit finds what is known, and nothing where nothing is wrong.

Its rule of rounding holds.
"""

from __future__ import annotations

from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchlib.contracts import BenchError
from benchlib.papers import papers, published
from benchlib.papers._tables import COLUMNS
from benchlib.papers.audit import (
    CLAIM_COLUMNS,
    CLAIMS,
    audit_checks,
    audit_findings,
    audit_paper,
    claims,
    judge,
)


@pytest.fixture(scope="module")
def findings() -> pd.DataFrame:
    return audit_findings()


def found(
    findings: pd.DataFrame, paper: str, table: str, row: str, what: str
) -> tuple[str, str, str]:
    """(printed, recomputed, verdict) of the one finding whose `what` contains the words."""
    chosen = findings[
        (findings["paper"] == paper) & (findings["table"] == table) & (findings["row"] == row)
    ]
    chosen = chosen[chosen["what"].str.contains(what, regex=False)]
    assert len(chosen) == 1, chosen["what"].tolist()
    return tuple(chosen.iloc[0][["printed", "recomputed", "verdict"]])  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("paper", "table", "row", "what", "printed", "recomputed"),
    [
        ("sam-deblur", "1", "w/o SAM", "mode collapse rate on REDS", "2.6", "3.6"),
        ("sam-deblur", "1", "Ours", "abstract: PSNR gain on ReLoBlur", "0.96", "7.03"),
        ("sam-deblur", "1", "Ours", "abstract: PSNR gain on REDS", "7.03", "0.96"),
        (
            "sam-deblur",
            "text",
            "",
            "masks in SAM's training set",
            "10 billion",
            "1 billion (section 2.2)",
        ),
        ("spt", "4", "alpha = 0.5", "PSNR gain", "+0.1316", "+0.1251"),
        ("spt", "4", "alpha = 1.5", "PSNR gain", "+0.0995", "+0.1572"),
        ("spt", "4", "alpha = 2", "PSNR gain", "+0.1623", "+0.0944"),
        ("spt", "5", "Full fine-tuning", "PSNR gain", "+0.2538", "+0.2559"),
        ("spt", "1", "alpha = 1", "in Table 1", "Table 1", "Table 4"),
        ("lmdir", "I", "Ours", "Tables I and III: PSNR on BSD68, sigma 25", "31.38", "31.36"),
        ("lmdir", "I", "Ours", "Tables I and III: PSNR on BSD68, sigma 50", "28.15", "28.13"),
        ("lmdir", "I", "Ours", "Tables I and III: PSNR on Urban100, sigma 15", "34.15", "34.03"),
        ("lmdir", "I", "Ours", "Tables I and III: PSNR on LOL", "23.24", "23.34"),
        (
            "ptg-rm",
            "8",
            "DRUNet+Ours-c (bottom)",
            "label",
            "DRUNet+Ours-c",
            "stands below Restormer (bottom)",
        ),
        ("ptg-rm", "5", "SPAIR+Ours-c", "Average PSNR", "33.16", "33.202"),  # 166.01 / 5
        (
            "ptg-rm",
            "5",
            "Restormer+Ours-c",
            "Average PSNR",
            "34.24",
            "34.258",
        ),  # 171.29 / 5; weighted 34.192
        (
            "ptg-rm",
            "7",
            "IFAN_S+Ours-c",
            "Combined PSNR",
            "25.72",
            "25.631",
        ),  # (37 * 28.32 + 39 * 23.08) / 76
        ("ptg-rm", "7", "Restormer_D+Ours-c", "Combined LPIPS", "0.153", "0.1433"),
    ],
)
def test_what_is_known_not_to_add_up_is_found(
    findings, paper, table, row, what, printed, recomputed
):
    assert found(findings, paper, table, row, what) == (printed, recomputed, "inconsistent")


@pytest.mark.parametrize(
    ("paper", "table", "row", "what", "printed", "recomputed"),
    [
        ("spt", "1", "ART x2 + SPT", "PSNR gain on Set5", "+0.0109", "+0.0110"),
        ("spt", "5", "Ours", "PSNR gain", "+0.2568", "+0.2567"),
        ("spt", "1", "IMDN x2 + SPT", "PSNR gain on Set5", "-0.0215", "-0.0214"),
        ("lmdir", "I", "Ours", "Tables I and III: PSNR on BSD68, sigma 15", "34.00", "33.99"),
        ("lmdir", "I", "HINet", "Average SSIM", "0.875", "0.8758"),
        ("sam-deblur", "1", "w/o SAM", "SSIM on GoPro varies", "0.001", "0.001"),
    ],
)
def test_what_the_last_printed_place_explains_is_called_rounding(
    findings, paper, table, row, what, printed, recomputed
):
    assert found(findings, paper, table, row, what) == (printed, recomputed, "rounding")


@pytest.mark.parametrize(
    ("paper", "table", "row", "what", "printed", "recomputed"),
    [
        # Table 7: the plain mean is 0.8400
        # Table 5: weighted by image count 0.94414, so 0.943 within rounding
        ("ptg-rm", "7", "Restormer_D+Ours-c", "Combined SSIM", "0.840", "0.8384"),
        ("ptg-rm", "5", "Restormer+Ours-c", "Average SSIM", "0.943", "0.9404"),
        ("ptg-rm", "7", "", "EBDB and JNB", "EBDB and JNB", "DPDD test set (caption of Table 7)"),
        ("lmdir", "III", "Ours", "improves on Model (II)",
         "an improvement in the overall performance of the model",
         "better in 11 of 16, equal in 1"),
        ("lmdir", "III", "(III)", "across various tasks",
         "marked advancements across a various tasks", "better in 11 of 16"),
        ("sam-deblur", "1", "w/o SAM", "PSNR on GoPro varies", "0.05", "0.06"),
        ("sam-deblur", "1", "CAT", "mitigate mode collapse",
         "SAM priors improve deblurring performance and mitigate mode collapse",
         "better in 19 of 27, equal in 2"),
        ("spt", "1", "IMDN x2 + SPT", "outperform their baselines",
         "outperform the corresponding baselines by a significant margin", "better in 44 of 45"),
        ("spt", "1 to 6", "", "PSNR and SSIM", "PSNR and SSIM", "PSNR"),
    ],
)  # fmt: skip
def test_what_can_be_read_in_two_ways_is_not_called_inconsistent(
    findings, paper, table, row, what, printed, recomputed
):
    assert found(findings, paper, table, row, what) == (printed, recomputed, "cannot be checked")


def note(findings: pd.DataFrame, paper: str, row: str, what: str) -> str:
    chosen = findings[
        (findings["paper"] == paper)
        & (findings["row"] == row)
        & findings["what"].str.contains(what)
    ]
    assert len(chosen) == 1
    return chosen["note"].item()


@pytest.mark.parametrize(
    ("alpha", "value"), [("0.5", "32.4332"), ("1.5", "32.4653"), ("2", "32.4025")]
)
def test_differences_of_spts_table_4_are_to_alpha_1(findings, alpha, value):
    said = note(findings, "spt", f"alpha = {alpha}", "PSNR gain")
    assert f"equals 32.5648 (alpha = 1) - {value}, with a plus sign" in said
    assert "as a gain over ART x4 (32.3081) it does not fit" in said and "imply" not in said


def test_a_difference_to_no_line_of_the_table_says_what_baseline_it_implies(findings):
    assert "imply a baseline of 32.3102" in note(
        findings, "spt", "Full fine-tuning", "PSNR gain"
    )  # 32.5640 - 0.2538


def test_averages_that_are_cut_are_said_to_be(findings):
    """LMDIR's HINet: 7.006 / 8 = 0.87575, printed 0.875.

    SPT's ART 50: 29.66555, printed 29.6656.
    """
    cut = "cut to its places, not rounded"
    for row in ("HINet", "SwinIR", "Restormer", "PromptIR"):
        assert cut in note(findings, "lmdir", row, "^Average SSIM")
    assert cut not in note(findings, "spt", "ART 50 + SPT", "^Average PSNR")


def test_the_note_of_a_cell_stands_with_its_average(findings):
    assert "from 0.155 to 0.153 only" in note(
        findings, "ptg-rm", "Restormer_D+Ours-c", "^Combined LPIPS"
    )


def test_printed_are_the_papers_words(findings):
    ours = {"better in all", "best in all", "rising", "largest"}
    assert not ours & set(audit_checks()["printed"])


def test_labels_are_checked_where_the_paper_prints_them():
    """SPT prints the baseline's name on both lines.

    PTG-RM's Tables 1, 2, 4 and 9 print "+Ours-c" alone.
    """
    everything = audit_checks()
    labels = everything[everything["what"] == "label of a tuned line"]
    assert set(zip(labels["paper"], labels["table"], strict=True)) == {
        ("ptg-rm", t) for t in ("5", "6", "7", "8", "10")
    }
    assert not labels["printed"].str.contains("top|bottom").any()
    assert labels["verdict"].value_counts().to_dict() == {"agrees": 16, "inconsistent": 1}


def test_every_difference_average_and_claim_is_checked():
    everything = audit_checks()
    gains = sum(published(paper)["metric"].str.endswith(" gain").sum() for paper in papers())
    assert gains == 60 + 87  # PTG-RM's Table 1; SPT's six tables
    assert everything["what"].str.match(r"\S+ gain on \S+$").sum() == gains
    tables = pd.concat([published(paper) for paper in papers()])
    means = tables["dataset"].isin(["Average", "Combined"]) & ~tables["metric"].str.endswith(
        " gain"
    )
    assert everything["what"].str.match(r"(Average|Combined) \S+$").sum() == means.sum()
    stated = [f"{c['where']}: {c['claim']}" for paper in papers() for c in claims(paper)]
    assert all(everything["what"].str.startswith(text).any() for text in stated)


def test_spt_weights_every_average_by_image_count_and_lmdir_none():
    everything = audit_checks()
    average = everything[everything["what"].str.startswith("Average")]
    notes = average.groupby("paper")["note"].apply(
        lambda notes: {note.split(",")[0] for note in notes}
    )
    assert notes["spt"] == {"mean weighted by image count"}
    assert notes["lmdir"] == {"plain mean of the columns"}
    assert "inconsistent" not in set(average[average["paper"].isin(["spt", "lmdir"])]["verdict"])


def test_agreeing_checks_are_listed_only_when_asked_for(findings):
    everything = audit_checks()
    assert set(findings["verdict"]) == {"rounding", "inconsistent", "cannot be checked"}
    pd.testing.assert_frame_equal(
        everything[everything["verdict"] != "agrees"].reset_index(drop=True), findings
    )
    text = everything[everything["what"].str.contains("decrease of the mode collapse rate")]
    assert text["verdict"].tolist() == ["agrees", "inconsistent", "agrees"]


@pytest.mark.parametrize(
    ("paper", "claim", "counted"),
    [
        (
            "ptg-rm",
            "in Table 7, gains in all scene categories",
            "better in 54 of 54",
        ),  # LPIPS is better when lower
        ("ptg-rm", "in Table 5, gains on all five data sets", "better in 24 of 24"),
        ("spt", "tuning SPT units is better and faster than full fine-tuning", "better in 2 of 2"),
        (
            "sam-deblur",
            "the proposed method is best on the three other test sets",
            "better in 27 of 27",
        ),
        ("lmdir", "in Table I, the method improves on the existing ones", "better in 126 of 126"),
    ],
)
def test_claims_that_the_tables_support_agree(paper, claim, counted):
    everything = audit_checks()
    row = everything[(everything["paper"] == paper) & everything["what"].str.endswith(claim)]
    assert row[["recomputed", "verdict"]].to_numpy().tolist() == [[counted, "agrees"]]


# --- a table that is right, and the same table with one thing wrong -------------------------------


def table(*numbers: tuple[str, str, str, str]) -> pd.DataFrame:
    """A published table of (row, dataset, metric, printed)."""
    rows = pd.DataFrame(numbers, columns=["row", "dataset", "metric", "printed"])
    return rows.assign(paper="made-up", table="1").reindex(
        columns=[*COLUMNS, "printed"], fill_value=""
    )


RIGHT = (
    ("Net", "Set5", "PSNR", "30.00"), ("Net", "Set14", "PSNR", "28.00"),
    ("Net", "Average", "PSNR", "28.53"),
    ("Net + SPT", "Set5", "PSNR", "30.50"), ("Net + SPT", "Set5", "PSNR gain", "+0.50"),
    ("Net + SPT", "Set14", "PSNR", "27.90"), ("Net + SPT", "Set14", "PSNR gain", "-0.10"),
    ("Net + SPT", "Average", "PSNR", "28.58"), ("Net + SPT", "Average", "PSNR gain", "+0.05"),
)  # fmt: skip


def claim(check: str, cells: str, printed: str = "", **more: str) -> dict[str, str]:
    given = {"claim": "a claim", "check": check, "cells": cells, "printed": printed}
    return dict.fromkeys(CLAIM_COLUMNS, "") | given | more


def verdicts(numbers, *stated) -> list[str]:
    return [row["verdict"] for row in audit_paper(table(*numbers), list(stated))]


def test_a_table_that_adds_up_yields_no_finding():
    """The averages are weighted: (5 * 30 + 14 * 28) / 19 = 28.526.

    3 differences, 2 averages, 1 label, 5 claims.
    """
    got = verdicts(
        RIGHT,
        claim("value", "1 | Net | Set5 | PSNR", "30.0"),
        claim("difference", "1 | Net + SPT | Set5 | PSNR vs 1 | Net | Set5 | PSNR", "0.5"),
        claim("better", "1 | Net + SPT | Set5 | PSNR vs 1 | Net | Set5 | PSNR"),
        claim("range below", "1 | Net | Set5 | PSNR ; 1 | Net + SPT | Set5 | PSNR", "0.6"),
        claim("rising", "1 | Net | Set5 | PSNR ; 1 | Net + SPT | Set5 | PSNR"),
    )
    assert got == ["agrees"] * 11


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({("Net + SPT", "Set5", "PSNR gain"): "+0.51"}, "rounding"),
        ({("Net + SPT", "Set5", "PSNR gain"): "+0.60"}, "inconsistent"),
        ({("Net", "Average", "PSNR"): "28.54"}, "rounding"),
        ({("Net", "Average", "PSNR"): "28.40"}, "inconsistent"),
        ({("Net + SPT", "Set5", "PSNR gain"): ""}, "cannot be checked"),
        ({("Net", "Set14", "PSNR"): ""}, "cannot be checked"),
    ],
)
def test_one_wrong_number_is_found(change, expected):
    numbers = [(r, d, m, change.get((r, d, m), v)) for r, d, m, v in RIGHT]
    assert expected in verdicts(numbers)


@pytest.mark.parametrize(
    ("average", "expected"),
    [
        ("28.53", "agrees"),  # weighted, which fits both averages
        ("29.00", "cannot be checked"),  # the plain mean
        ("29.40", "inconsistent"),  # neither
    ],
)
def test_an_average_is_inconsistent_only_if_neither_mean_fits(average, expected):
    numbers = [
        (r, d, m, average if (r, d) == ("Net", "Average") else v)
        for r, d, m, v in RIGHT
        if not m.endswith("gain")
    ]
    assert (
        verdicts([*numbers, *(("Other", d, m, v) for r, d, m, v in numbers if r == "Net + SPT")])[0]
        == expected
    )


@pytest.mark.parametrize(
    ("average", "expected"),
    [("29.0", "agrees"), ("29.9", "cannot be checked"), ("31.0", "inconsistent")],
)
def test_without_image_counts_an_average_is_inconsistent_only_outside_its_columns(
    average, expected
):
    numbers = [
        ("Net", "One", "PSNR", "30.0"),
        ("Net", "Two", "PSNR", "28.0"),
        ("Net", "Average", "PSNR", average),
    ]
    assert verdicts(numbers) == [expected]


def test_a_verdict_stands_for_rounding_too():
    stated = claim("range below", "1 | Net | Set5 | PSNR ; 1 | Net + SPT | Set5 | PSNR", "0.49")
    assert verdicts(RIGHT, stated)[-1] == "rounding"
    assert verdicts(RIGHT, stated | {"verdict": "cannot be checked"})[-1] == "cannot be checked"


def test_a_tuned_line_without_its_baseline_is_a_finding():
    numbers = [("Other", "Set5", "PSNR", "30.00"), ("Net + SPT", "Set5", "PSNR", "30.50")]
    assert verdicts(numbers) == ["inconsistent"]


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        (claim("value", "1 | Net | Set5 | PSNR", "31.0"), "inconsistent"),
        (
            claim("difference", "1 | Net + SPT | Set5 | PSNR vs 1 | Net | Set5 | PSNR", "1.5"),
            "inconsistent",
        ),
        (
            claim("range below", "1 | Net | Set5 | PSNR ; 1 | Net + SPT | Set5 | PSNR", "0.2"),
            "inconsistent",
        ),
        (claim("below", "1 | Net | Set5 | PSNR", "29"), "inconsistent"),
        (claim("above", "1 | Net | Set5 | PSNR", "29"), "agrees"),
        (claim("same", "1 | Net | Set5 vs 1 | Net + SPT | Set5"), "inconsistent"),
        (claim("same", "1 | Net | Set5 vs 1 | Net | Set5"), "agrees"),
        (claim("better", "1 | Net + SPT vs 1 | Net"), "inconsistent"),  # Set14 is lower
        (
            claim("better", "1 | Net + SPT vs 1 | Net", verdict="cannot be checked"),
            "cannot be checked",
        ),
        (claim("better", "1 | Net vs 1 | Net"), "rounding"),
        (claim("rising", "1 | Net | Set5 | PSNR ; 1 | Net | Set14 | PSNR"), "inconsistent"),
        (claim("largest", "1 | Net | Set5 | PSNR ; 1 | Net | Set14 | PSNR"), "agrees"),
        (claim("largest", "1 | Net | Set14 | PSNR ; 1 | Net | Set5 | PSNR"), "inconsistent"),
        (claim("present", "1 | Net"), "agrees"),
        (claim("present", "1 | Nut"), "inconsistent"),
        (claim("share", "1 | Net | Set5 | PSNR", "10"), "agrees"),  # 30.00 % of 10
        (claim("share", "1 | Net + SPT | Set5 | PSNR", "10"), "inconsistent"),  # 30.50 % of 10
        (claim("read", "1 | Net", found="otherwise"), "inconsistent"),
    ],
)
def test_each_kind_of_claim_can_hold_and_fail(stated, expected):
    assert verdicts(RIGHT, stated)[-1] == expected


def test_a_claim_about_nothing_or_of_no_kind_is_refused():
    with pytest.raises(BenchError, match=r"names no printed cell by '1 \| Nut \| Set5 \| PSNR'"):
        verdicts(RIGHT, claim("value", "1 | Nut | Set5 | PSNR", "3"))
    with pytest.raises(BenchError, match="did you mean value"):
        verdicts(RIGHT, claim("valeu", "1 | Net", "3"))
    with pytest.raises(BenchError, match="have no cell in common"):
        verdicts(
            (*RIGHT, ("Other", "B100", "PSNR", "30.00")), claim("same", "1 | Net vs 1 | Other")
        )


# --- the rule of rounding -------------------------------------------------------------------------

PLACES = st.sampled_from([Decimal("0.01"), Decimal("0.001"), Decimal("0.0001")])
TRUE = st.decimals("0", "60", places=8)
HOW = st.sampled_from([ROUND_HALF_UP, ROUND_DOWN])


@settings(deadline=None)
@given(TRUE, TRUE, PLACES, HOW, HOW)
def test_a_difference_of_rounded_or_cut_numbers_is_never_inconsistent(a, b, unit, operands, result):
    left, right = (x.quantize(unit, operands) for x in (a, b))
    assert judge((a - b).quantize(unit, result), left - right, 2 * unit) != "inconsistent"


@settings(deadline=None)
@given(st.lists(st.tuples(TRUE, st.integers(1, 200)), min_size=1, max_size=8), PLACES, HOW, HOW)
def test_a_weighted_mean_of_rounded_or_cut_numbers_is_never_inconsistent(
    parts, unit, operands, result
):
    weight = sum(w for _, w in parts)
    true = sum(x * w for x, w in parts) / weight
    shown = sum(x.quantize(unit, operands) * w for x, w in parts) / weight
    assert judge(true.quantize(unit, result), shown, unit) != "inconsistent"


@settings(deadline=None)
@given(TRUE, PLACES, st.integers(4, 10_000))
def test_a_difference_four_units_off_is_inconsistent_and_none_off_agrees(value, unit, units):
    printed = value.quantize(unit)
    assert judge(printed, printed + units * unit, 2 * unit) == "inconsistent"
    assert judge(printed, printed, 2 * unit) == "agrees"


# --- the claims' files ----------------------------------------------------------------------------


def test_the_claims_belong_to_papers_and_are_tidy():
    names = sorted(path.stem for path in CLAIMS.glob("*.csv"))
    assert set(names) <= set(papers()) and {"sam-deblur", "spt", "ptg-rm", "lmdir"} <= set(names)
    for paper in names:
        rows = claims(paper)
        assert all(tuple(row) == CLAIM_COLUMNS for row in rows)
        assert all(value == value.strip() for row in rows for value in row.values())
        assert len({tuple(row.values()) for row in rows}) == len(rows)
        assert all(row["where"] and row["claim"] and row["cells"] for row in rows)
