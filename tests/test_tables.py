"""Tables against hand-computed values: the measured ones, published beside ours, and what controls say."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from report_suite import EVIL_LABEL, make_suite, row, sr_suite, write_numbers, write_psnr

from benchlib import records, registry
from benchlib.contracts import BenchError
from benchlib.params import Prior, PriorSides, Suite, load_params, merged
from benchlib.report import (
    controls,
    export,
    markup,
    measures,
    page,
    published,
    statistics,
    tables,
    words,
)

ROOT = Path(__file__).parent.parent


@pytest.fixture
def numbers(tmp_path) -> Suite:
    return write_numbers(make_suite(tmp_path))


def cell(suite: Suite, run: str, dataset: str, metric: str, protocol: str = "basicsr-rgb"):
    table = tables.cells(suite, tables.measured(suite))
    return table.set_index(tables.GROUP).loc[(run, dataset, metric, protocol)]


def test_mean_is_over_images_of_the_mean_over_seeds(numbers):
    assert cell(numbers, "cat", "shake-blur", "PSNR")["value"] == (26.5 + 26.25) / 2
    assert cell(numbers, "cat", "shake-blur", "SSIM")["value"] == pytest.approx(
        26.375 / 40, abs=1e-12
    )
    assert cell(numbers, "cat", "shake-blur", "PSNR")[["images", "seeds"]].tolist() == [2, 2]


def test_difference_is_run_minus_no_prior_paired_by_image(numbers):
    cat = cell(numbers, "cat", "shake-blur", "PSNR")
    assert cat["difference"] == 0.375  # (1.5 - 0.75) / 2
    assert cat[["better", "worse", "paired"]].tolist() == [1, 1, 2]
    assert cell(numbers, "cat", "local-blur", "PSNR")["difference"] == -1.25
    assert cell(numbers, "cat", "shake-blur", "PSNR")["reference"] == "no-prior"
    assert np.isnan(cell(numbers, "no-prior", "shake-blur", "PSNR")["difference"]), (
        "no run is its own reference"
    )


def test_mcr_keeps_numerator_and_denominator(numbers):
    """Seed 0 of CAT restores image c to 26 dB, the blurred one has 30: one collapse of 1 image x 2 seeds."""
    cat = cell(numbers, "cat", "local-blur", "MC")
    assert cat[["value", "numerator", "denominator", "difference"]].tolist() == [50.0, 1, 2, 50.0]
    shown = tables.comparison(numbers, tables.measured(numbers))
    assert shown.loc["CAT", ("local-blur", "MCR basicsr-rgb")] == "50.00% (1/2)"
    change = tables.differences(numbers, tables.measured(numbers))
    assert change.loc["CAT", ("local-blur", "MCR basicsr-rgb")] == "+50.00 pp (0/1 better)"
    low, high = statistics.interval(np.array([[1.0, 2.0], [-1.0, -0.5]]))
    assert (
        change.loc["CAT", ("shake-blur", "PSNR basicsr-rgb")]
        == f"+0.375 [{low:+.3f}, {high:+.3f}] (1/2 better)"
    )
    assert change.loc["CAT", ("local-blur", "PSNR basicsr-rgb")] == "-1.250 (0/1 better)"


def test_best_of_a_column_is_marked_and_a_tie_of_all_is_not(numbers):
    rows = tables.measured(numbers)
    best = tables.best(numbers, rows)
    assert best.index[best[("shake-blur", "PSNR basicsr-rgb")]].tolist() == ["CAT"]
    assert best.index[best[("local-blur", "PSNR basicsr-rgb")]].tolist() == ["Blurred input"]
    assert best.index[best[("local-blur", "MCR basicsr-rgb")]].tolist() == ["No prior"]
    assert not best[("shake-blur", "MCR basicsr-rgb")].any(), (
        "no run collapses there: nothing is best"
    )


def test_every_measured_column_names_its_protocol_and_the_first_leads(numbers):
    rows = tables.measured(numbers)
    names = [
        measure
        for dataset, measure in tables.comparison(numbers, rows).columns
        if dataset == "shake-blur"
    ]
    assert names == ["PSNR basicsr-rgb", "PSNR basicsr-y", "SSIM basicsr-rgb", "MCR basicsr-rgb"]
    assert tables.main_columns(numbers, rows) == [
        ("PSNR", "basicsr-rgb"),
        ("SSIM", "basicsr-rgb"),
        ("MC", "basicsr-rgb"),
    ]


def test_only_runs_of_the_common_test_collection_are_compared(numbers):
    assert tables.compared(numbers) == ["blurred", "no-prior", "cat", "map-dropout"]
    assert tables.baseline(numbers) == "no-prior"
    assert "99.000" not in tables.comparison(numbers, tables.measured(numbers)).to_csv()


def test_a_run_without_rows_is_shown_as_not_run(numbers):
    shown = tables.comparison(numbers, tables.measured(numbers))
    assert shown.loc["MAP + mask dropout", ("run", "inference")] == "not run: evaluate@map-dropout"
    assert shown.loc["CAT", ("run", "inference")] == "global"
    assert shown.loc["CAT", ("run", "seeds")] == "2"


def test_a_cell_over_fewer_images_says_so(numbers):
    rows = tables.measured(numbers)
    rows = rows[~((rows["run"] == "cat") & (rows["image"] == "b"))]
    shown = tables.comparison(numbers, rows)
    assert shown.loc["CAT", ("shake-blur", "PSNR basicsr-rgb")] == "26.500 [1 of 2 images]"
    assert (
        tables.cells(numbers, rows)
        .set_index(tables.GROUP)
        .loc[("cat", "shake-blur", "PSNR", "basicsr-rgb"), "difference"]
        == 1.5
    ), "only the shared image counts"


def test_inference_modes_that_differ_between_sets_are_named_with_their_sets(numbers):
    rows = tables.measured(numbers)
    masks = pd.DataFrame(
        [row(numbers, "cat", "shake-blur", "a", "masks", 9, seed="", inference="")]
    )
    rows = pd.concat([rows, masks], ignore_index=True)
    assert tables.inference(rows, "cat") == "global"
    assert tables.seeds(rows, "cat") == 2, "rows of masks have no seed"
    rows.loc[(rows["run"] == "cat") & (rows["dataset"] == "shake-blur"), "inference"] = "tlc64"
    assert tables.inference(rows, "cat") == "tlc64 (shake-blur), global (local-blur)"


def test_an_image_measured_twice_is_refused(numbers):
    rows = tables.measured(numbers)
    twice = pd.concat([rows, rows.iloc[[0]].assign(inference="tlc64")])
    with pytest.raises(
        BenchError, match=r"rows of run 'blurred': shake-blur/a has two values of PSNR basicsr-rgb"
    ):
        tables.cells(numbers, twice)


def test_no_rows_at_all_is_one_line_that_names_the_command(tmp_path):
    with pytest.raises(
        BenchError, match=r"no compared run has rows; run `dvc repro evaluate@blurred`"
    ):
        export.make(make_suite(tmp_path))


def test_the_command_of_a_suite_in_a_folder_names_its_dvc_yaml(tmp_path):
    suite = make_suite(tmp_path / "suites" / "paper").model_copy(update={"root": "../../"})
    assert tables.command(suite, "cat") == "dvc repro suites/paper/dvc.yaml:evaluate@cat"


def test_metrics_json_holds_the_headline_numbers(numbers):
    paths = export.make(numbers)
    metrics = json.loads(paths["metrics.json"].read_text())
    assert paths["metrics.json"] == numbers.results / "metrics.json"
    assert set(metrics) == {"blurred", "no-prior", "cat"}
    assert metrics["cat"]["shake-blur"] == {"PSNR": 26.375, "SSIM": 0.659375, "MCR": 0.0}
    assert metrics["cat"]["local-blur"]["MCR"] == 50.0


def test_files_of_the_tables_agree_and_are_the_same_when_made_again(numbers):
    paths = export.make(numbers)
    assert {path.name for path in (numbers.results / "tables").iterdir()} == {
        f"{name}.{kind}"
        for name in ("comparison", "differences", "published", "reach")
        for kind in ("csv", "md", "tex")
    }
    tidy = pd.read_csv(paths["comparison.csv"]).set_index(tables.GROUP)
    assert tidy.loc[("cat", "shake-blur", "PSNR", "basicsr-rgb"), "value"] == 26.375
    assert tidy.loc[
        ("cat", "local-blur", "MC", "basicsr-rgb"), ["numerator", "denominator"]
    ].tolist() == [1, 2]
    assert "**26.375**" in paths["comparison.md"].read_text()
    assert r"\textbf{26.375}" in paths["comparison.tex"].read_text()
    assert (
        "On shake-blur (2 images), local-blur (1 image). 1 to 2 seeds a run."
        in paths["comparison.md"].read_text()
    )
    change = pd.read_csv(paths["differences.csv"]).set_index(tables.GROUP)
    assert change.loc[("cat", "local-blur", "PSNR", "basicsr-rgb"), "difference"] == -1.25
    assert "$-$1.250 (0/1 better)" in paths["differences.tex"].read_text()
    before = {name: path.read_bytes() for name, path in paths.items()}
    assert {name: path.read_bytes() for name, path in export.make(numbers).items()} == before


def test_published_numbers_stand_apart_and_are_labelled(numbers):
    paths = export.make(numbers)
    text = paths["published.md"].read_text()
    assert text.startswith(
        "Published (sam-deblur, Table 1), measured on other data (GoPro, RealBlurJ, REDS, "
    )
    assert "| **32.88** | **0.961** |" in text
    assert "**13.92%**" in text
    assert "measured on other data" in paths["published.tex"].read_text()
    for name in ("comparison", "differences"):
        for kind in ("csv", "md", "tex"):
            text = paths[f"{name}.{kind}"].read_text()
            assert not re.search(r"32\.8|GoPro|ReLoBlur|w/o SAM", text), (name, kind)
    assert published.table("sam-deblur", "1").loc["Ours", ("REDS", "MCR as published")] == "0.20%"


def test_numbers_have_a_minus_in_latex_and_names_a_hyphen():
    assert markup._tex("-0.012 [-0.038, +0.017]") == "$-$0.012 [$-$0.038, +0.017]"
    assert markup._tex("sam-2, tlc64+tile-8") == "sam-2, tlc64+tile-8"


def test_names_from_data_are_escaped_in_markdown_and_latex(tmp_path):
    suite = make_suite(tmp_path, ours=EVIL_LABEL)
    for run in ("no-prior", "map-dropout"):
        rows = [row(suite, run, "a|b <b>_x_", "i", "PSNR", 25.0, inference="tlc|64")]
        records.write_rows(suite.results / "rows" / f"{run}.csv", rows)
    paths = export.make(suite)
    lines = [
        line for line in paths["comparison.md"].read_text().splitlines() if line.startswith("|")
    ]
    bars = {len(re.findall(r"(?<!\\)\|", line)) for line in lines}
    assert bars == {5}, "method, inference, seeds, one measure: no bar of a name splits a cell"
    assert "<script>" not in "".join(lines)
    assert r"&lt;script&gt;alert(" in "".join(lines)
    tex = paths["comparison.tex"].read_text()
    assert r"100\%\_\$x\$ \& \{b\}" in tex
    assert r"\textbackslash{}d" in tex
    body = re.sub(r"\\[&%$#_{}]", "", tex)
    assert body.count("{") == body.count("}")
    widths = {
        line.count("&")
        for line in body.splitlines()
        if line.rstrip().endswith(r"\\") and "multicol" not in line
    }
    assert len(widths) == 1, "each row of the LaTeX table has the same number of cells"
    csv_rows = list(csv.DictReader(io.StringIO(paths["comparison.csv"].read_text())))
    assert {line["label"] for line in csv_rows} == {"No prior", EVIL_LABEL}


# ---------------------------------------------------------------- metrics of any kind


def measured_by(suite: Suite, *metrics: str) -> Suite:
    return suite.model_copy(update={"metrics": list(metrics)})


def rows_of_metric(suite: Suite, metric: str, values: dict[str, list[float]]) -> pd.DataFrame:
    """One value an image of the first set, run by run."""
    lines = []
    for run, numbers in values.items():
        for i, value in enumerate(numbers):
            lines.append(row(suite, run, "shake-blur", f"i{i}", metric, value))
    return pd.DataFrame(lines)


@pytest.fixture
def made_up(monkeypatch):
    """A file of ``metrics`` that nobody has: lower is better, one digit, a unit of its own."""
    file = SimpleNamespace(
        __doc__="Crookedness: how crooked it is.\n\nOf nobody.",
        NAME="CROOKED",
        SHOWN="Crook",
        UNIT="levels",
        FACTOR=10,
        LOWER_IS_BETTER=True,
        DIGITS=1,
        READS=("restored",),
    )
    real = registry.load

    def load(folder: str, name: str):
        return file if (folder, name) == ("metrics", "made_up") else real(folder, name)

    monkeypatch.setattr(registry, "load", load)
    measures._by_name.cache_clear()
    yield file
    measures._by_name.cache_clear()


def test_a_metric_nobody_knows_is_shown_as_its_own_file_says(tmp_path, made_up):
    suite = measured_by(make_suite(tmp_path), "psnr", "made_up")
    values = {"no-prior": [0.5, 0.6, 0.7], "cat": [0.25, 0.35, 0.45]}
    rows = rows_of_metric(suite, "CROOKED", values)
    cells = tables.cells(suite, rows).set_index("run")
    assert cells.loc["cat", "value"] == pytest.approx(3.5)
    assert cells.loc["cat", ["difference", "low", "high"]].tolist() == pytest.approx([-2.5] * 3)
    assert cells.loc["cat", ["gain", "loss", "better", "worse"]].tolist() == [True, False, 3, 0]
    assert cells["best"].to_dict() == {"no-prior": False, "cat": True}
    shown = tables.comparison(suite, rows)
    assert shown.loc["CAT", ("shake-blur", "Crook basicsr-rgb")] == "3.5"
    change = tables.differences(suite, rows)
    text = change.loc["CAT", ("shake-blur", "Crook basicsr-rgb")]
    assert text == "-2.5 [-2.5, -2.5] (3/3 better)"
    assert tables.metrics(suite, rows)["cat"] == {"shake-blur": {"Crook": 3.5}}
    [said] = page._meanings(suite, rows)
    assert said == {
        "name": "Crook",
        "text": "Crookedness: how crooked it is. Lower is better.",
    }


def test_metrics_stand_in_the_order_of_the_suite_and_others_are_left_out(tmp_path, made_up):
    suite = measured_by(make_suite(tmp_path), "made_up", "psnr")
    parts = []
    for metric in ("PSNR", "SSIM", "CROOKED", "masks"):
        parts.append(rows_of_metric(suite, metric, {"no-prior": [1.0]}))
    found = tables.main_columns(suite, pd.concat(parts))
    assert found == [("CROOKED", "basicsr-rgb"), ("PSNR", "basicsr-rgb")]


def test_several_files_of_one_word_are_one_measure():
    found = measures.measures_of(["psnr", "ssim", "ssim_3d"])
    assert list(found) == ["PSNR", "SSIM"]
    assert not found["SSIM"].lower and found["SSIM"].digits == 4


def test_lpips_is_better_where_it_is_lower(tmp_path):
    suite = measured_by(make_suite(tmp_path), "psnr", "lpips_alex")
    word = registry.load("metrics", "lpips_alex").NAME
    values = {"no-prior": [0.30, 0.32], "cat": [0.20, 0.23], "map-dropout": [0.40, 0.41]}
    cells = tables.cells(suite, rows_of_metric(suite, word, values)).set_index("run")
    assert cells["gain"].to_dict() == {"no-prior": False, "cat": True, "map-dropout": False}
    assert cells["loss"].to_dict() == {"no-prior": False, "cat": False, "map-dropout": True}
    assert cells.index[cells["best"]].tolist() == ["cat"]


def exact_rows(suite: Suite, values: dict[str, list[float]]) -> pd.DataFrame:
    """Rows of PSNR, written and read again."""
    for run, part in rows_of_metric(suite, "PSNR", values).groupby("run"):
        records.write_rows(suite.results / "rows" / f"{run}.csv", part.to_dict("records"))
    return tables.measured(suite)


INF, NAN = float("inf"), float("nan")


def test_exact_images_are_counted_beside_a_finite_mean(tmp_path):
    """Image i0 is equal to its reference in two runs, i1 in CAT alone."""
    suite = make_suite(tmp_path)
    values = {"no-prior": [INF, 30.0, 32.0], "cat": [INF] * 3, "map-dropout": [40.0, 31.0, 34.0]}
    rows = exact_rows(suite, values)
    cells = tables.cells(suite, rows).set_index("run")
    assert cells["exact"].to_dict() == {"no-prior": 1, "cat": 3, "map-dropout": 0}
    assert cells.loc["no-prior", "value"] == 31.0 and np.isnan(cells.loc["cat", "value"])
    assert cells.loc["cat", ["better", "worse", "paired"]].tolist() == [2, 0, 3]
    assert cells.loc["cat", ["difference", "apart"]].tolist() == [0.0, 2], "both exact: no change"
    assert cells.loc["map-dropout", ["difference", "apart", "worse"]].tolist() == [1.5, 1, 1]
    assert np.isfinite(cells.loc["map-dropout", ["low", "high"]].astype(float)).all()
    assert cells.index[cells["best"]].tolist() == ["cat"], "nothing is better than all exact"
    column = ("shake-blur", "PSNR basicsr-rgb")
    shown = tables.comparison(suite, rows)
    assert shown[column].to_dict() == {
        "Blurred input": "-", "No prior": "31.000 (+1 exact)", "CAT": "3 exact",
        "MAP + mask dropout": "35.000",
    }  # fmt: skip
    change = tables.differences(suite, rows)[column]
    assert change["CAT"] == "+0.000 (2/3 better; 2 left out)"
    assert change["MAP + mask dropout"].endswith("(2/3 better; 1 left out)")
    assert "inf" not in change["MAP + mask dropout"]
    assert tables.LEFT_OUT_NOTE in tables.counts_note(suite, rows)


def test_no_mean_is_the_best_where_means_leave_out_different_images(tmp_path):
    rows = exact_rows(make_suite(tmp_path), {"no-prior": [INF, 30.0], "cat": [60.0, 29.0]})
    assert not tables.cells(make_suite(tmp_path), rows)["best"].any()


@pytest.mark.parametrize(
    "values",
    [[INF, 30.0], [INF, INF], [-INF, 30.0], [NAN, 30.0], [NAN, NAN], [-INF, INF]],
    ids=str,
)
def test_files_for_others_hold_no_number_that_is_none(tmp_path, values):
    suite = make_suite(tmp_path)
    exact_rows(suite, {"no-prior": [30.0, 31.0], "cat": values, "map-dropout": values})
    paths = export.make(suite)

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    numbers = json.loads(paths["metrics.json"].read_text(), parse_constant=refuse)
    cat = numbers["cat"]["shake-blur"]
    finite = [value for value in values if np.isfinite(value)]
    assert cat["PSNR"] == (30.0 if finite else None)
    assert cat.get("PSNR exact", 0) == values.count(INF)
    assert cat.get("PSNR undefined", 0) == 2 - len(finite) - values.count(INF)
    for name in ("comparison", "differences"):
        for kind in ("csv", "md", "tex"):
            words = paths[f"{name}.{kind}"].read_text().replace("infinite", "")
            assert not re.search(r"\b(inf|nan)\b", words, re.IGNORECASE), f"{name}.{kind}"


def test_steps_add_up_without_the_images_that_a_run_restores_exactly(tmp_path):
    suite = sr_suite(tmp_path, sets=("Set5",), average=False)
    base = {run: 30.0 + i for i, run in enumerate(controls_runs(suite))}
    values = {run: {"Set5": [psnr, psnr + 1, psnr]} for run, psnr in base.items()}
    values["spt"]["Set5"][0] = INF
    write_psnr(suite, values)
    steps = controls.split(suite, tables.everything(suite), "spt")
    assert set(steps["apart"]) == {1, 0} and np.isfinite(steps["difference"]).all()
    own = steps[steps["kind"] == "step"]["difference"].sum()
    assert own == pytest.approx(steps.loc[steps["kind"] == "total", "difference"].item())
    shown, _ = controls.steps_text(suite, steps)
    assert "Set5 (2 images, 1 exact left out)" in shown.columns


def controls_runs(suite: Suite) -> list[str]:
    """The runs that a control names, from its base to those beside."""
    one = suite.controls["spt"]
    return [one.base, one.trained, one.zeroed, one.segmentation, one.prior, *one.others]


FORMULAS = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "＝1+1", "'=1"]


@pytest.mark.parametrize("text", [*FORMULAS, "-0.5", "+3", "-", "-inf", "MAP", "'quoted'", ""])
def test_no_text_of_an_exported_table_is_a_formula_and_it_comes_back(tmp_path, text):
    frame = pd.DataFrame({"label": [text, "b"], "value": [-0.5, float("nan")]})
    path = tmp_path / "a.csv"
    path.write_bytes(markup.csv(frame).encode())
    with open(path, encoding="utf-8", newline="") as file:
        cell = next(iter(csv.DictReader(file)))["label"]
    assert cell == ("'" + text if text in FORMULAS else text)
    read = markup.read_exported(path, ["label"])
    assert read["label"].tolist() == [text, "b"]
    assert read["value"][0] == -0.5 and np.isnan(read["value"][1])


def test_a_carriage_return_neither_begins_a_formula_nor_breaks_a_line(tmp_path):
    assert markup.csv(pd.DataFrame({"a": ["\r=1", "b\rc"]})) == "a\n' =1\nb c\n"


def test_labels_that_are_formulas_are_text_in_every_table(tmp_path):
    suite = make_suite(tmp_path, ours="=HYPERLINK(1)", sets=("shake-blur",))
    exact_rows(suite, {"no-prior": [30.0, 31.0], "cat": [30.5, 31.0], "map-dropout": [30.0, 32.0]})
    for name, path in export.make(suite).items():
        if name.endswith(".csv"):
            with open(path, encoding="utf-8", newline="") as file:
                cells = [cell for line in csv.reader(file) for cell in line]
            assert not [cell for cell in cells if cell.startswith(("=", "@", "\t"))], name
    assert "'=HYPERLINK(1)" in (suite.results / "tables" / "comparison.csv").read_text()


def test_rows_of_a_run_that_is_no_longer_named_are_said_in_one_line(tmp_path, capsys):
    suite = make_suite(tmp_path)
    export._say_left_over(suite)
    assert capsys.readouterr().out == ""
    records.write_rows(
        suite.results / "rows" / "gone.csv", [row(suite, "gone", "a", "i", "PSNR", 1.0)]
    )
    export._say_left_over(suite)
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and said.endswith(f"{suite.results / 'rows' / 'gone.csv'}\n")


def test_runs_whose_names_are_numbers_keep_them(tmp_path):
    """A CSV typed by its content makes 1 of "001", and then finds no such run."""
    suite = make_suite(tmp_path)
    runs = {"001": suite.runs["no-prior"], "1e5": suite.runs["cat"]}
    suite = suite.model_copy(update={"runs": runs})
    rows = exact_rows(suite, {"001": [30.0, 31.0], "1e5": [30.5, 31.0]})
    assert tables.cells(suite, rows)["run"].tolist() == ["001", "1e5"]
    assert export.make(suite)["comparison.csv"].exists()


def test_percent_that_is_no_count_has_no_counts(tmp_path, made_up):
    made_up.UNIT, made_up.FACTOR = "%", 100
    suite = measured_by(make_suite(tmp_path), "made_up")
    values = {"no-prior": [0.5, 0.75], "cat": [0.0, 1.0]}
    shown = tables.comparison(suite, rows_of_metric(suite, "CROOKED", values))
    column = shown[("shake-blur", "Crook basicsr-rgb")]
    assert column[["No prior", "CAT"]].tolist() == ["62.5%", "50.0% (1/2)"]


# ---------------------------------------------------------------- references and collections


def test_each_run_is_compared_with_its_own_reference(tmp_path):
    suite = sr_suite(tmp_path)
    values = {"imdn": 30.0, "spt": 31.0, "spt-zeroed": 30.5, "spt-shuffled": 30.75}
    write_psnr(suite, {run: {"Set5": [v, v]} for run, v in values.items()})
    table = tables.cells(suite, tables.measured(suite)).set_index(["run", "dataset"])
    assert table["reference"].xs("Set5", level=1).dropna().to_dict() == {
        "spt": "imdn", "spt-zeroed": "imdn", "spt-shuffled": "spt-zeroed"
    }  # fmt: skip
    assert table.loc[("spt", "Set5"), "difference"] == 1.0
    assert table.loc[("spt-shuffled", "Set5"), "difference"] == 0.25
    shown = tables.differences(suite, tables.measured(suite))
    assert shown[("run", "reference")]["SPT, another image's"] == "SPT, prior zeroed"
    assert "IMDN" not in shown.index, "a run without a reference has no line"


def test_a_reference_that_tests_on_other_images_is_refused(tmp_path):
    suite = sr_suite(tmp_path)
    runs = suite.runs | {"spt": suite.runs["spt"].model_copy(update={"reference": "imdn-x2"})}
    suite = suite.model_copy(update={"runs": runs})
    with pytest.raises(
        BenchError,
        match=r"runs.spt.reference: got 'imdn-x2', which tests on 'test-x2', not on 'test-x",
    ):
        tables.reference(suite, "spt")


def test_collections_are_those_that_no_run_trains_on_the_most_common_first(tmp_path, numbers):
    suite = sr_suite(tmp_path)
    assert list(tables.collections(suite)) == ["test-x4", "test-x2"]
    assert (
        tables.collections(suite)["test-x2"]
        == ["imdn-x2", "spt-x2"]
        == tables.compared(suite, "test-x2")
    )
    assert list(tables.collections(numbers)) == ["test"], (
        "predeblur is tested on a training collection"
    )
    assert tables.baseline(suite, "test-x2") == "imdn-x2"
    assert tables.run_label(suite, "spt-x2") == "SPT", "a label is shared only within a collection"


def test_every_collection_stands_in_the_tables_under_its_own_protocol(tmp_path):
    suite = sr_suite(tmp_path)
    write_psnr(suite, {"imdn": {"Set5": [30.0, 31.0]}, "spt": {"Set5": [30.5, 31.25]}})
    write_psnr(
        suite, {"imdn-x2": {"Set5": [35.0, 36.0]}, "spt-x2": {"Set5": [35.5, 37.0]}}, "basicsr-y@2"
    )
    paths = export.make(suite)
    tidy = pd.read_csv(paths["comparison.csv"]).set_index("run")
    assert tidy["collection"].to_dict() == {
        "imdn": "test-x4", "spt": "test-x4", "imdn-x2": "test-x2", "spt-x2": "test-x2"
    }  # fmt: skip
    assert tidy["difference"].dropna().to_dict() == {"spt": 0.375, "spt-x2": 0.75}
    assert tidy["best"].to_dict() == {"imdn": False, "spt": True, "imdn-x2": False, "spt-x2": True}
    parts = paths["comparison.md"].read_text().split("Measured here. ")[1:]
    assert [part.split(".")[0] for part in parts] == [
        "Test collection test-x4",
        "Test collection test-x2",
    ]
    assert "Set5: PSNR basicsr-y@2" in parts[1] and "@4" not in parts[1] and "35.500" in parts[1]
    metrics = json.loads(paths["metrics.json"].read_text())
    assert metrics["spt-x2"] == {"Set5": {"PSNR": 36.25}} and metrics["spt"] == {
        "Set5": {"PSNR": 30.875}
    }


def test_the_average_weighs_each_set_by_its_images_and_says_what_it_covers(tmp_path):
    suite = sr_suite(tmp_path)
    write_psnr(suite, {"imdn": {"Set5": [30.0], "Set14": [20.0, 21.0, 25.0]}})
    write_psnr(suite, {"spt": {"Set5": [31.0], "Set14": [20.0, 21.0, 25.0]}})
    rows = tables.measured(suite)
    table = tables.cells(suite, rows).set_index(["run", "dataset"])
    assert table.loc[("imdn", "Average"), ["value", "images"]].tolist() == [24.0, 4]
    assert table.loc[("spt", "Average"), "difference"] == 0.25
    shown = tables.comparison(suite, rows)
    assert shown.loc["IMDN", ("Average", "PSNR basicsr-y@4")] == "24.000"
    assert tables.counts_note(suite, rows).endswith(
        "Average: all images of Set5, Set14, so weighted by their counts."
    )
    without = sr_suite(tmp_path, average=False)
    assert set(tables.cells(without, rows)["dataset"]) == {"Set5", "Set14"}


def test_the_average_of_columns_counts_each_set_alike(tmp_path):
    suite = sr_suite(tmp_path, average="columns")
    write_psnr(suite, {"imdn": {"Set5": [30.0], "Set14": [20.0, 21.0, 25.0]}})
    write_psnr(suite, {"spt": {"Set5": [31.0], "Set14": [20.0, 21.0, 25.0]}})
    rows = tables.measured(suite)
    table = tables.cells(suite, rows).set_index(["run", "dataset"])
    average = table.loc[("spt", "Average")]
    assert average["value"] == pytest.approx((31 + 22) / 2)
    assert average["difference"] == pytest.approx((1 + 0) / 2) and average["images"] == 4
    assert tables.counts_note(suite, rows).endswith(
        "Average: the plain mean of the sets' means, Set5, Set14."
    )
    said = r"^here\.average: got 'column'; expected true, false or columns$"
    with pytest.raises(BenchError, match=said):
        merged(suite.evaluation, {"average": "column"}, "here")


# ---------------------------------------------------------------- chance


def test_a_gain_is_marked_only_where_its_interval_excludes_zero(tmp_path):
    """SPT gains a little on every image of Set5; on Set14 more on average, by one image of five."""
    suite = sr_suite(tmp_path, average=False)
    base = [30.0, 31.0, 29.0, 33.0, 28.0]
    sure, unsure = [0.10, 0.11, 0.09, 0.12, 0.10], [1.0, -0.1, 0.0, 0.05, -0.15]
    add = lambda gains: [b + g for b, g in zip(base, gains, strict=True)]  # noqa: E731
    write_psnr(
        suite,
        {"imdn": {"Set5": base, "Set14": base}, "spt": {"Set5": add(sure), "Set14": add(unsure)}},
    )
    write_psnr(suite, {"further": {"Set5": add([-g for g in sure]), "Set14": base}})
    rows = tables.measured(suite)
    table = tables.cells(suite, rows).set_index(["run", "dataset"])
    assert table["gain"].to_dict() == {
        ("imdn", "Set5"): False, ("imdn", "Set14"): False, ("spt", "Set5"): True, ("spt", "Set14"): False,
        ("further", "Set5"): False, ("further", "Set14"): False,
    }  # fmt: skip
    assert table.index[table["loss"]].tolist() == [("further", "Set5")]
    assert table.loc[("spt", "Set14"), "difference"] > table.loc[("spt", "Set5"), "difference"]
    flags = tables.gained(suite, rows)
    assert list(zip(*np.nonzero(flags.to_numpy()), strict=True)) == [
        (flags.index.get_loc("SPT"), flags.columns.get_loc(("Set5", "PSNR basicsr-y@4")))
    ]
    text = export.make(suite)["differences.md"].read_text()
    assert re.findall(r"\*\*(.*?)\*\*", text) == [
        tables.differences(suite, rows)
        .loc["SPT", ("Set5", "PSNR basicsr-y@4")]
        .translate(markup._MARKDOWN)
    ]


def test_a_lower_collapse_rate_is_a_gain_and_a_higher_one_a_loss(numbers):
    suite, rows = numbers, []
    for run, collapses in {
        "no-prior": [0, 1] * 10,
        "cat": [0, 0] * 10,
        "map-dropout": [1, 1] * 10,
    }.items():
        rows += [
            row(suite, run, "shake-blur", f"i{i}", "MC", value) for i, value in enumerate(collapses)
        ]
    table = tables.cells(suite, pd.DataFrame(rows)).set_index("run")
    assert table.loc["cat", ["difference", "gain", "loss"]].tolist() == [-50.0, True, False]
    assert table.loc["map-dropout", ["difference", "gain", "loss"]].tolist() == [50.0, False, True]
    assert -100 <= table.loc["cat", "low"] < -50 < table.loc["cat", "high"] < 0, (
        "in percentage points"
    )


def by_holm(p: pd.Series) -> list[float]:
    """Holm's step-down procedure, from its definition."""
    order = sorted(range(len(p)), key=lambda i: p.iloc[i])
    corrected, highest = [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - rank) * p.iloc[i]))
        corrected[i] = highest
    return corrected


def test_a_holm_family_is_all_differences_of_one_collection_metric_and_protocol(tmp_path):
    suite, rng = sr_suite(tmp_path), np.random.default_rng(1)
    for run, gain in {"imdn": 0, "spt": 0.3, "further": 0.1, "spt-zeroed": 0.0}.items():
        write_psnr(
            suite,
            {run: {s: (30 + gain + rng.normal(0, 0.2, 9)).tolist() for s in ("Set5", "Set14")}},
        )
    for run in ("imdn-x2", "spt-x2"):
        write_psnr(suite, {run: {"Set5": rng.normal(35, 0.2, 9).tolist()}}, "basicsr-y@2")
    table = tables.cells(suite, tables.everything(suite))
    table = table[table["p"].notna()]
    assert table.groupby("collection").size().to_dict() == {"test-x2": 1, "test-x4": 9}, (
        "three sets with the Average"
    )
    for _, family in table.groupby("collection"):
        assert family["p_holm"].tolist() == pytest.approx(by_holm(family["p"]), abs=1e-12)


# ---------------------------------------------------------------- published beside ours


def test_published_cells_tell_settings_of_one_data_set_apart():
    """LMDIR's Table I prints BSD68 at sigma 15, 25 and 50 in one line: HINet has 32.35 and 26.09 at the first two."""
    shown = published.table("lmdir", "I")
    assert shown.loc["HINet", ("BSD68, sigma 15", "PSNR as published")] == "32.35"
    assert shown.loc["HINet", ("BSD68, sigma 25", "PSNR as published")] == "26.09"
    assert ("Rain100L", "PSNR as published") in shown.columns
    assert "measured on other data (BSD68, Urban100, Rain100L, LOL, Average)" in published.note(
        "lmdir", "I"
    )
    assert ("Set5", "PSNR as published") in published.table("spt", "1").columns, (
        "x2, x3, x4 are in the row's name"
    )
    cells = published.cells("lmdir", "I", "HINet")
    assert not cells.duplicated(["row", "dataset", "metric"]).any()


def test_published_and_ours_stand_in_columns_of_their_own(tmp_path):
    """The SPT paper prints 32.1867 (IMDN) and 32.2153 (with SPT) for x4 on Set5: see its Table 1."""
    suite = sr_suite(tmp_path)
    base, ours = [32.0, 32.5, 32.25], [32.5, 32.75, 32.5]
    write_psnr(suite, {"imdn": {"Set5": base}, "spt": {"Set5": ours}})
    record = {
        "training": {"iterations": 800},
        "trained_parameters": 5,
        "kept": {"seed0": {"iteration": 600}},
    }
    records.write_json(suite.results / "records" / "spt.json", record)
    table = published.reproduction(suite, tables.everything(suite)).set_index(["run", "dataset"])
    imdn, spt = table.loc[("imdn", "Set5")], table.loc[("spt", "Set5")]
    assert (imdn["published"], imdn["ours"]) == ("32.1867", 32.25)
    assert imdn["difference"] == pytest.approx(32.25 - 32.1867, abs=1e-9)
    assert np.isnan(imdn["published_gain"]), "the baseline has no reference"
    printed = published.table("spt", "1").loc["IMDN x4 + SPT", ("Set5", "PSNR as published")]
    assert spt["published"] == printed
    assert spt["published_gain"] == pytest.approx(float(printed) - 32.1867, abs=1e-9)
    assert spt[["gain", "images", "seeds", "iterations", "kept"]].tolist() == [
        pytest.approx(1 / 3),
        3,
        1,
        800,
        "600",
    ]
    assert spt["low"] < 1 / 3 < spt["high"]
    others = table.xs("spt").drop(index="Set5")
    assert set(others.index) == {"Set14", "B100", "Urban100", "Manga109", "Average"}
    assert (others["note"] == "not measured").all() and others["ours"].isna().all()
    paths = export.make(suite)
    line = next(
        line
        for line in paths["reproduction.md"].read_text().splitlines()
        if "IMDN x4 + SPT | SPT | Set5" in line
    )
    shown = [word.strip() for word in line.split("|")]
    assert shown[5:8] == [printed, "32.5833", f"{ours_minus(printed):+.4f}"]
    assert "800 (kept: 600)" in shown
    assert "| Manga109 | PSNR as published" not in paths["reproduction.md"].read_text()
    assert "not measured" in paths["reproduction.tex"].read_text()
    assert "32.1867" not in paths["comparison.md"].read_text()


def ours_minus(printed: str) -> float:
    return (32.5 + 32.75 + 32.5) / 3 - float(printed)


def test_the_published_average_is_compared_only_if_all_its_sets_are_measured(tmp_path):
    five = ("Set5", "Set14", "B100", "Urban100", "Manga109")
    for sets in (five, five[:4], (*five, "Kodak24")):
        suite = sr_suite(tmp_path / str(len(sets)), sets)
        write_psnr(suite, {"imdn": {name: [30.0 + i, 31.0] for i, name in enumerate(sets)}})
        table = published.reproduction(suite, tables.everything(suite)).set_index(
            ["run", "dataset"]
        )
        average = table.loc[("imdn", "Average")]
        assert (average["note"] == "") == (sets == five), sets
    assert np.isnan(average["ours"]), "ours covers a set that the paper's does not"


def test_an_average_over_several_runs_is_the_plain_mean_of_the_printed_columns(tmp_path):
    """LMDIR prints 30.37 dB for Restormer over eight columns, which suites/lmdir measures in four runs."""
    text = (
        (ROOT / "suites" / "lmdir" / "params.yaml").read_text().replace("root: ../../", "root: ''")
    )
    (tmp_path / "params.yaml").write_text(text)
    suite = load_params(tmp_path / "params.yaml")
    values = {"t1-restormer": {"Rain100L": [36.0, 37.0], "LOL": [21.0]}}
    for sigma, value in ((15, 33.0), (25, 31.0)):
        values[f"t1-restormer-{sigma}"] = {"BSD68": [value], "Urban100": [value + 1]}
    write_psnr(suite, values, "airnet-promptir")
    lines = published.reproduction(suite, tables.everything(suite))
    averages = lines[lines["run"].isin(list(values)) & lines["dataset"].eq("Average")]
    assert averages["note"].eq("not measured").all()  # of seven columns of eight
    assert set(averages["run"]) == set(values)
    values["t1-restormer-50"] = {"BSD68": [27.0], "Urban100": [28.0]}
    write_psnr(suite, values, "airnet-promptir")
    lines = published.reproduction(suite, tables.everything(suite))
    averages = lines[(lines["dataset"] == "Average") & lines["note"].eq("")]
    [average] = averages.to_dict("records")
    assert (average["run"], average["published"]) == ("t1-restormer", "30.37")
    expected = (36.5 + 21 + 33 + 34 + 31 + 32 + 27 + 28) / 8
    assert average["ours"] == pytest.approx(expected)
    assert average["difference"] == pytest.approx(expected - 30.37)
    assert np.isnan(average["gain"]) and np.isnan(average["low"]) and average["images"] == 9
    others = lines[lines["run"].str.startswith("t1-restormer-") & lines["metric"].eq("PSNR")]
    assert "Average" not in set(others["dataset"])
    assert "30.37" in published.reproduction_text(suite, lines).to_string()


def test_nothing_is_reproduced_on_other_data(numbers):
    """SAM-Deblur prints GoPro and others; the hand-made suite measures shake-blur."""
    assert published.reproduction(numbers, tables.everything(numbers)).empty


# ---------------------------------------------------------------- controls


PSNRS = {
    "imdn": 30.0,
    "further": 30.25,
    "spt-zeroed": 30.125,
    "spt-slic": 30.25,
    "spt": 31.0,
    "spt-shuffled": 30.0,
}


def test_a_control_splits_the_gain_into_its_named_steps(tmp_path):
    suite = sr_suite(tmp_path, average=False)
    write_psnr(suite, {run: {"Set5": [v, v + 2.0]} for run, v in PSNRS.items()})
    table = controls.split(suite, tables.measured(suite), "spt")
    assert list(zip(table["kind"], table["step"], table["difference"], strict=True)) == [
        ("step", "further training", 0.25), ("step", "extra parameters", -0.125), ("step", "any segmentation", 0.125),
        ("step", "SAM", 0.75), ("total", "total", 1.0), ("other", "SPT, another image's", -0.125),
    ]  # fmt: skip
    assert table.loc[
        table["step"] == "extra parameters", ["reference", "run"]
    ].to_numpy().tolist() == [["further", "spt-zeroed"]]
    one = suite.controls["spt"].model_copy(update={"trained": None})
    untrained = suite.model_copy(update={"controls": {"spt": one}})
    steps = controls.split(untrained, tables.measured(suite), "spt").query("kind == 'step'")
    assert steps["step"].tolist() == ["extra parameters", "any segmentation", "SAM"]
    assert steps["difference"].tolist() == [0.125, 0.125, 0.75]


def test_controls_are_written_with_intervals_and_a_run_that_is_missing_is_named(tmp_path, capsys):
    suite = sr_suite(tmp_path)
    gains = np.random.default_rng(0).normal(0, 0.01, (6, 8))
    for values, (run, v) in zip(gains, PSNRS.items(), strict=True):
        write_psnr(
            suite, {run: {"Set5": (v + values).tolist(), "Set14": (v + values[:4]).tolist()}}
        )
    paths = export.make(suite)
    tidy = pd.read_csv(paths["controls.csv"]).set_index(["dataset", "step"])
    assert list(tidy.index.unique(0)) == ["Set5", "Set14", "Average"]
    sam = tidy.loc[("Set5", "SAM")]
    low, high = statistics.interval((gains[4] - gains[3])[:, None] + 0.75)
    assert sam[["low", "high"]].tolist() == pytest.approx([low, high], abs=1e-9) and sam["gain"]
    text = paths["controls.md"].read_text()
    assert text.startswith("SPT on IMDN x4: what the prior itself adds.")
    header = next(line for line in text.splitlines() if line.startswith("|"))
    assert header == "| step | seeds | Set5 (8 images) | Set14 (4 images) | Average (12 images) |"
    assert "| beside: SPT, another image's against zeroed | 1 |" in text
    (suite.results / "rows" / "spt-slic.csv").unlink()
    assert "controls.csv" not in export.make(suite)
    assert (
        "controls spt: skipped: controls.spt: no rows of 'spt-slic'; run `dvc repro"
        in capsys.readouterr().out
    )


@settings(
    max_examples=20, deadline=None, phases=[Phase.generate]
)  # smaller examples would say no more
@given(data=st.data())
def test_the_steps_of_a_control_add_up_to_the_total(tmp_path_factory, data):
    """Whatever the scores are, whichever images and seeds a run lacks, unrounded."""
    suite = sr_suite(tmp_path_factory.mktemp("steps"))
    psnr = st.floats(5, 60, allow_nan=False)
    rows = []
    for run in ("imdn", "further", "spt-zeroed", "spt-slic", "spt"):
        seeds = data.draw(st.sampled_from([[1], [0, 1], [0, 1, 2]]))
        for name, images in (("Set5", 3), ("Set14", 4)):
            there = [0, *data.draw(st.lists(st.integers(1, images - 1), unique=True))]
            rows += [
                row(suite, run, name, f"i{i}", "PSNR", data.draw(psnr), seed, protocol="y")
                for i in there
                for seed in seeds
            ]
    table = controls.split(suite, pd.DataFrame(rows), "spt")
    for dataset, lines in table.groupby("dataset"):
        steps, total = lines[lines["kind"] == "step"], lines[lines["kind"] == "total"].iloc[0]
        assert len(steps) == 4
        assert steps["difference"].sum() == pytest.approx(total["difference"], abs=1e-9), dataset
        assert (steps["images"] == total["images"]).all(), dataset


# ---------------------------------------------------------------- bundles that share parts


def sharing(folder: Path) -> Suite:
    """CAT reads words and a photograph, map-dropout the same words and grey."""
    said = {"name": "named_degradation", "sets": {"shake-blur": "blur", "local-blur": "blur too"}}
    parts = {
        "full/words": ("tokens", said),
        "full/picture": ("picture", {"name": "retrieved", "asset": "t91"}),
        "grey/words": ("tokens", said),
        "grey/picture": ("picture", {"name": "grey_picture"}),
    }
    suite = make_suite(folder)
    priors = dict(suite.priors)
    for key, (kind, choice) in parts.items():
        priors[key] = Prior(kind=kind, images="data/test", prior=choice)
    runs = dict(suite.runs)
    for key, bundle in {"cat": "full", "map-dropout": "grey"}.items():
        sides = PriorSides(train=bundle, test=bundle)
        runs[key] = suite.run(key).model_copy(update={"prior": sides})
    return suite.model_copy(update={"priors": priors, "runs": runs})


def test_a_step_is_called_by_the_parts_that_it_changes(tmp_path):
    suite = sharing(tmp_path)
    assert tables.own_priors(suite, "cat", "map-dropout") == ["retrieved"]
    assert tables.prior_words(suite, "cat", "map-dropout") == "photographs looked up in a data set"
    both = ["named_degradation", "retrieved"]
    assert tables.own_priors(suite, "cat", "no-prior") == both
    zeroed = PriorSides(train="full", test="full", swap="zeroed")
    nothing = suite.run("cat").model_copy(update={"prior": zeroed})
    suite = suite.model_copy(update={"runs": suite.runs | {"map-dropout": nothing}})
    assert tables.own_priors(suite, "cat", "map-dropout") == both


def test_words_that_stand_in_two_bundles_are_shown_once(tmp_path):
    suite = sharing(tmp_path)
    one = {"dataset": "shake-blur", "image": "a", "text": "blur"}
    for key in ("full/words", "grey/words"):
        records.write_json(suite.work / "priors" / key / "prior.json", {"images": [one]})
    assert words.said(suite)["prior"].tolist() == ["full/words"]
