"""Tables of many runs: what is costly is done as often for many runs as for a few, by count."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from wide_suite import wide_suite, write_wide

from benchlib import registry
from benchlib.params import Suite
from benchlib.report import (
    answer,
    controls,
    export,
    page,
    pictures,
    plots,
    reach,
    statistics,
    tables,
)

PARTS = (
    (statistics, "differences"),  # a pivot of each side
    (tables, "_kept_cells"),  # hashes all rows
    (tables, "scored"),
    (tables, "rows_by_run"),
    (tables, "main_columns"),
    (tables, "rows_of"),
)


def counted(monkeypatch, work, suite: Suite, parts=PARTS) -> Counter:
    """How often the costly parts are called in the work."""
    calls: Counter = Counter()

    def count(module, name):
        inner = getattr(module, name)

        def counting(*given, **named):
            calls[name] += 1
            return inner(*given, **named)

        monkeypatch.setattr(module, name, counting)

    with monkeypatch.context() as monkeypatch:
        for module, name in parts:
            count(module, name)
        work(suite)
    return calls


def figures(suite: Suite) -> None:
    """All figures and tables of text, and the answer's words."""
    rows = tables.everything(suite)
    export._measured(suite, rows)
    tables.metrics(suite, rows)
    steps = pd.DataFrame(columns=list(controls.COLUMNS))
    answer.headline(suite, rows, steps)
    answer.answers(suite, rows, steps)


def test_costly_parts_are_not_called_more_often_for_more_runs(tmp_path, monkeypatch):
    calls = []
    for runs in (7, 14):
        suite = write_wide(wide_suite(tmp_path / str(runs), runs, average=False), images=4)
        tables._KEPT.clear()
        calls.append(counted(monkeypatch, figures, suite))
    few, many = calls
    assert few["_kept_cells"] > 0
    assert many["differences"] == 0
    assert many == few


def everything_made(suite: Suite) -> None:
    """Tables, plots and page, as the stages make them."""
    export.make(suite)
    plots.make(suite)
    page.make(suite)


LAID_OUT = (
    (statistics, "sheets"),
    (tables, "pooled"),
    (tables, "paired"),
    (tables, "read_rows"),
    (reach, "_moved"),
    (plots, "png"),
)
OF_EACH_RUN = ((registry, "load"), (tables, "_stands_in"), (statistics, "minus"))


def test_tables_plots_and_page_of_many_runs_lay_their_rows_out_as_often_as_of_a_few(
    tmp_path, monkeypatch
):
    calls = []
    for runs in (10, 20):
        suite = write_wide(wide_suite(tmp_path / str(runs), runs), images=4)
        tables._KEPT.clear()
        parts = [*LAID_OUT, *OF_EACH_RUN]
        calls.append(counted(monkeypatch, everything_made, suite, parts))
    few, many = calls
    for _, name in LAID_OUT:
        assert few[name] > 0
        assert many[name] == few[name], name
    for _, name in OF_EACH_RUN:
        assert few[name] > 0
        assert many[name] <= 2.5 * few[name], f"{name}: twice the runs, four times the work"


def test_reach_of_all_runs_at_once_is_that_of_each_by_itself(tmp_path):
    suite = write_wide(wide_suite(tmp_path, 8), images=5)
    rows = tables.everything_restored(suite)
    lines = reach.reach_lines(suite, rows).set_index("run")
    own, swapped = rows[rows["swap"] == ""], rows[rows["swap"] == "zeroed"]
    psnr = ("PSNR", "basicsr-y@4")
    for run in ("prior", "method-0", "method-2"):
        sides = []
        for part in (swapped, own):
            part = part[(part["run"] == run) & (part["metric"] == psnr[0])]
            sides.append(part[part["protocol"] == psnr[1]])
        alone = statistics.compare(*sides)
        line = lines.loc[run]
        assert (line["difference"], line["low"], line["high"]) == (
            alone.mean,
            alone.low,
            alone.high,
        )
        assert (line["p"], line["scenes"], line["images"]) == (alone.p, alone.scenes, 5)


def ragged_rows() -> pd.DataFrame:
    """Rows of runs that differ in their seeds and images, copies of scenes and exact images."""
    rng = np.random.default_rng(3)
    seeds = {"base": "0", "one": "0", "three": "210", "other": "12", "ten": "0123456789"}
    lines = []
    for run, own in seeds.items():
        for i in range(9):
            if run == "one" and i == 4:
                continue
            for seed in own:
                value = np.inf if (run, i) == ("three", 2) else rng.normal(30, 2)
                place = {"run": run, "dataset": "d", "image": f"i{i}", "scene": f"s{i // 2}"}
                lines.append(place | {"metric": "PSNR", "seed": seed, "value": value})
    rows = pd.DataFrame(lines).assign(protocol="p")
    odd = rows["run"] == "other"
    return pd.concat([rows[~odd], rows[odd].iloc[::-1]], ignore_index=True)


REFERENCES = {"one": "base", "three": "base", "other": "three", "ten": "other"}


def test_rows_laid_out_once_give_the_figures_of_each_comparison_by_itself():
    rows = ragged_rows()
    found = statistics.compare_all(rows, REFERENCES).set_index("run")
    assert list(found.index) == ["one", "three", "ten", "other"]
    for run, reference in REFERENCES.items():
        ours, theirs = rows[rows["run"] == run], rows[rows["run"] == reference]
        alone = asdict(statistics.compare(ours, theirs))
        together = found.loc[run, list(alone)].to_dict()
        assert together == pytest.approx(alone, rel=0, abs=0, nan_ok=True)


def test_a_side_without_a_gap_is_subtracted_as_differences_says():
    rows = ragged_rows()
    parts = statistics.sheets(rows)
    place = ("d", "PSNR", "p")
    for run, reference in REFERENCES.items():
        change = statistics.minus(parts[(run, *place)], parts[(reference, *place)])
        ours, theirs = rows[rows["run"] == run], rows[rows["run"] == reference]
        expected = statistics.differences(ours, theirs)
        assert list(change.images) == list(expected.index.get_level_values("image"))
        np.testing.assert_array_equal(change.values, expected.to_numpy())


def test_draws_do_not_depend_on_how_many_are_made_at_a_time(monkeypatch):
    values = np.random.default_rng(0).normal(size=(40, 3))
    kept = statistics.interval(values)
    monkeypatch.setattr(statistics, "KEPT", 0)
    monkeypatch.setattr(statistics, "CHUNK", 997)
    assert statistics.interval(values) == kept


def test_a_plot_of_more_runs_than_it_has_room_for_says_so(tmp_path, monkeypatch):
    suite = write_wide(wide_suite(tmp_path, 9), images=2)
    assert plots.mcr_bars(suite).get_suptitle() == ""
    monkeypatch.setattr(plots, "ROOM", 4)
    monkeypatch.setattr(plots, "PANELS", 3)
    rows = tables.everything(suite)
    said = "runs; the tables hold all"
    assert plots.mcr_bars(suite, rows).get_suptitle() == f"4 of 8 {said}"
    assert plots.gain_against_masks(suite, rows).get_suptitle() == f"3 of 5 {said}"
    assert plots.loss_curves(suite).get_suptitle() == f"4 of 9 {said}"


def test_the_pages_slider_has_room_for_so_many_runs(tmp_path, monkeypatch):
    suite = write_wide(wide_suite(tmp_path, 9), images=2)
    monkeypatch.setattr(pictures, "ROOM", 4)
    for scene in pictures.choose(suite, tables.everything(suite), by_set=True):
        assert len(scene.runs) == 4
        assert scene.focus in scene.runs
        assert tables.reference(suite, scene.focus) in scene.runs


def test_of_many_runs_those_of_the_controls_and_of_papers_are_shown(tmp_path, monkeypatch):
    suite = write_wide(wide_suite(tmp_path, 16), images=2)
    rows = tables.everything(suite)
    runs = pictures.restoring(suite, rows)
    focus = pictures.focus(suite, rows)
    shown = pictures.leading(suite, rows, runs, 7)
    assert len(shown) == 7
    assert {"plain", "further", "zeroed", "prior", focus} <= set(shown)
    assert shown == [run for run in runs if run in shown], "in params' order"
    assert plots.fitting(suite, rows, runs, plots.ROOM) == runs, "all, where there is room"
    monkeypatch.setattr(plots, "ROOM", 10)
    monkeypatch.setattr(plots, "FEW", 5)
    assert plots.loss_curves(suite, rows).get_suptitle().startswith("5 of 16 runs")


def test_a_long_page_shows_a_few_methods_and_has_the_others_behind_a_line(tmp_path, monkeypatch):
    suite = write_wide(wide_suite(tmp_path, 12), images=2)
    rows = tables.everything(suite)
    methods = len(answer.answering(suite, rows))
    assert "The other" not in page.render(suite, rows)
    monkeypatch.setattr(pictures, "ROOM", 4)
    monkeypatch.setattr(pictures, "FEW", 3)
    text = page.render(suite, rows)
    assert f"<summary>The other {methods - 3} methods</summary>" in text
    assert text.count('<article class="card" style="--parts') == methods, "none is left out"


def test_the_page_shows_the_plots_that_were_drawn_of_its_rows_and_draws_others(
    tmp_path, monkeypatch
):
    suite = write_wide(wide_suite(tmp_path, 7), images=2)
    rows = tables.everything(suite)
    steps = controls.all_steps(suite, rows)
    shown = []

    def drawn(suite: Suite) -> int:
        """How many plots the page draws."""

        def work(suite: Suite) -> None:
            shown.append(page._plots(suite, rows, steps, drawn=True))

        return counted(monkeypatch, work, suite, ((plots, "png"),))["png"]

    assert drawn(suite) == 8, "light and dark"
    plots.make(suite)
    assert drawn(suite) == 4, "dark"
    assert shown[0] == shown[1]
    file = suite.results / "rows" / "plain.csv"
    file.write_bytes(file.read_bytes())  # newer than the plots
    assert drawn(suite) == 8


def test_rows_are_read_again_where_a_file_has_changed(tmp_path, monkeypatch):
    suite = write_wide(wide_suite(tmp_path, 7), images=2)
    before = tables.everything_restored(suite)
    before["value"] = 0.0  # not in what is kept
    parts = ((tables, "read_rows"),)
    assert not counted(monkeypatch, tables.everything, suite, parts)
    assert (tables.everything(suite)["value"] != 0).any()
    path = suite.results / "rows" / "plain.csv"
    kept = path.read_text().splitlines(keepends=True)
    path.write_text("".join(kept[:-1]))
    assert len(tables.everything_restored(suite)) == len(before) - 1
