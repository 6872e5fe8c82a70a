"""How far outputs move when priors do: against hand-computed rows, in tables and on the page."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from report_suite import make_suite, row, sr_suite, write_psnr

from benchlib import records
from benchlib.params import Suite
from benchlib.report import answer, controls, export, page, reach, statistics, tables

OWN = {"a": 26.0, "b": 26.5, "c": 28.0}  # PSNR with the prior itself, first seed
ZEROED = {"a": 25.5, "b": 26.25, "c": 28.25}  # with nothing in its place
SCENES = {"a": "cat", "b": "dog", "c": "dog"}
MOVED = {"a": (0.5, 9), "b": (0.25, 30), "c": (0.75, 4)}  # mean and largest change, levels


def write_swapped(suite: Suite, run: str, moved: dict[str, tuple[float, int]] = MOVED) -> None:
    """Rows of a run as evaluation leaves them: two seeds, the first again with its prior zeroed."""
    rows = []
    for image, scene in SCENES.items():
        place = (suite, run, "shake-blur", image)
        for seed in (0, 1):
            rows.append(row(*place, "PSNR", OWN[image] + seed, seed, scene=scene))
        swapped = {"scene": scene, "swap": "zeroed"}
        psnr = ZEROED[image] if moved[image][1] else OWN[image]
        rows.append(row(*place, "PSNR", psnr, 0, **swapped))
        for metric, value in zip(("reach", "reach-most"), moved[image], strict=True):
            rows.append(row(*place, metric, value, 0, **swapped | {"protocol": ""}))
        rows.append(row(*place, "masks", 7, "", inference="", protocol="sam"))
    records.write_rows(suite.results / "rows" / f"{run}.csv", rows)


@pytest.fixture
def suite(tmp_path) -> Suite:
    """The small suite, swaps asked for; CAT and the run without a prior have rows."""
    small = make_suite(tmp_path)
    swapping = small.evaluation.model_copy(update={"swap": ["zeroed"]})
    small = small.model_copy(update={"evaluation": swapping})
    plain = [row(small, "no-prior", "shake-blur", image, "PSNR", 25.0) for image in SCENES]
    records.write_rows(small.results / "rows" / "no-prior.csv", plain)
    write_swapped(small, "cat")
    return small


def only(lines: pd.DataFrame, run: str) -> pd.Series:
    own = lines[lines["run"] == run]
    assert len(own) == 1
    return own.iloc[0]


def test_reach_is_the_mean_and_the_largest_change_of_the_restored_images(suite):
    line = only(reach.reach_lines(suite), "cat")
    assert line["swap"] == "zeroed"
    assert line["reach"] == pytest.approx((0.5 + 0.25 + 0.75) / 3)
    assert (line["most"], line["images"], line["scenes"], line["note"]) == (30, 3, 2, "")


def test_psnr_without_the_prior_is_paired_with_the_first_seed_and_resamples_scenes(suite):
    """-0.5, -0.25 and +0.25 dB; the second seed, 1 dB higher, takes no part."""
    line = only(reach.reach_lines(suite), "cat")
    change = np.array([ZEROED[image] - OWN[image] for image in SCENES])[:, None]
    assert line["difference"] == pytest.approx(change.mean()) == pytest.approx(-1 / 6)
    low, high = statistics.interval(change, np.array(list(SCENES.values())))
    assert (line["low"], line["high"]) == pytest.approx((low, high))
    assert (line["protocol"], line["seed"]) == ("basicsr-rgb", "0")


def test_rows_of_a_swap_take_no_part_in_the_tables(suite):
    cells = tables.cells(suite, tables.measured(suite)).set_index("run")
    assert set(tables.measured(suite)["swap"]) == {""}
    assert cells.loc["cat", "value"] == pytest.approx(np.mean(list(OWN.values())) + 0.5)
    assert set(cells["metric"]) == {"PSNR"}


def test_a_prior_that_moves_nothing_does_not_reach_the_output(suite):
    write_swapped(suite, "cat", dict.fromkeys(SCENES, (0.0, 0)))
    lines = reach.reach_lines(suite)
    line = only(lines, "cat")
    assert (line["reach"], line["most"], line["difference"]) == (0, 0, 0)
    assert line["note"] == "the prior does not reach the output"
    assert reach.unreached(lines) == ["cat"]
    rows = tables.everything(suite)
    steps = controls.all_steps(suite, rows)
    cautions = answer.headline(suite, rows, steps, reach.unreached(lines))["cautions"]
    assert any(text.startswith("The prior does not reach the output: “CAT”") for text in cautions)
    assert "the prior does not reach the output" in export.make(suite)["reach.md"].read_text()


def test_one_level_in_one_image_is_a_reach(suite):
    write_swapped(suite, "cat", dict.fromkeys(SCENES, (0.0, 0)) | {"b": (0.000001, 1)})
    assert only(reach.reach_lines(suite), "cat")["note"] == ""


def test_a_run_that_was_not_asked_is_said_to_be_unmeasured(suite):
    silent = suite.model_copy(update={"evaluation": make_suite(suite.folder).evaluation})
    rows = records.read_rows(suite, ["cat"])
    records.write_rows(suite.results / "rows" / "cat.csv", rows.to_dict("records"))
    line = only(reach.reach_lines(silent), "cat")
    assert line["note"] == "not measured: evaluation.swap is empty"
    assert np.isnan(line["reach"])
    asked = only(reach.reach_lines(suite), "cat")
    assert asked["note"].startswith("not measured: no rows of evaluation.swap; run `dvc repro")


def test_every_run_with_a_prior_has_a_line_and_a_control_says_what_it_is(tmp_path):
    suite = sr_suite(tmp_path)
    write_psnr(suite, {run: {"Set5": [30.0, 31.0]} for run in ("imdn", "spt", "spt-zeroed")})
    notes = reach.reach_lines(suite).set_index("run")["note"]
    assert list(notes.index) == ["spt", "spt-zeroed", "spt-slic", "spt-shuffled"]
    trained = "not measured: trained with a control in the prior's place"
    assert notes["spt-zeroed"] == f"{trained} (zeroed)"
    assert notes["spt-shuffled"] == f"{trained} (shuffled)"
    assert notes["spt"] == "not measured: evaluation.swap is empty"
    assert notes["spt-slic"].startswith("not run: dvc repro")


def test_the_text_has_three_columns_a_control_and_a_note_where_there_is_one(suite):
    lines = reach.reach_lines(suite)
    shown = reach.table_text(suite, lines).set_index("run")
    assert list(shown.columns) == [
        "prior zeroed: reach",
        "prior zeroed: largest",
        "prior zeroed: PSNR",
        "note",
    ]
    cat = shown.loc["CAT"]
    assert cat["prior zeroed: reach"] == "0.500"
    assert cat["prior zeroed: largest"] == "30"
    assert cat["prior zeroed: PSNR"].startswith("-0.167 [")
    assert shown.loc["MAP + mask dropout", "prior zeroed: reach"] == "-"
    note = reach.note("test", lines)
    assert "On test (3 images of 2 scenes), first seed" in note
    assert "(basicsr-rgb)" in note


def test_the_page_has_a_line_for_every_run_with_a_prior(suite):
    (suite.results / "rows" / "no-prior.csv").unlink()  # no pictures are wanted then
    text = page.make(suite).read_text()
    section = text[text.index('id="reach"') : text.index('id="measured"')]
    assert "CAT" in section and "MAP + mask dropout" in section
    assert "0.500" in section and "−0.167 dB" in section
    assert "not run: dvc repro" in section
    assert "No prior" not in section


def test_a_suite_without_priors_has_no_reach(tmp_path):
    suite = sr_suite(tmp_path)
    plain = {key: suite.runs[key] for key in ("imdn", "imdn-x2")}
    suite = suite.model_copy(update={"runs": plain, "controls": {}})
    write_psnr(suite, {"imdn": {"Set5": [30.0]}})
    assert reach.reach_lines(suite).empty
    assert "reach.csv" not in export.make(suite)
