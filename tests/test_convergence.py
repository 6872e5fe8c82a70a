"""Iterations and time to one validation PSNR, from curves written by hand."""

import pytest
from conftest import run, small_params, write_params

from benchlib.params import load_params
from benchlib.records import write_json, write_table
from benchlib.report import convergence
from benchlib.train.loop import LOG

CURVES = {  # run -> (iterations, seconds of the seed, {iteration: PSNR})
    "no-prior": (30, 60.0, {10: 20.0, 20: 24.0, 30: 23.0}),
    "map": (30, 120.0, {10: 25.0, 20: 26.0, 30: 27.0}),
}


@pytest.fixture
def suite(tmp_path):
    params = small_params()
    params["runs"]["alone"] = run({"name": "none"}, validation="held", init="runs/no-prior")
    suite = load_params(write_params(tmp_path, params))
    for key, (iterations, seconds, curve) in (CURVES | {"alone": (10, 1.0, {10: 99.0})}).items():
        rows = [dict(zip(LOG, (0, i, 1.0, 1e-3, psnr), strict=True)) for i, psnr in curve.items()]
        rows.insert(0, dict(zip(LOG, (0, 5, 1.0, 1e-3, ""), strict=True)))
        write_table(suite.results / "loss" / f"{key}.csv", LOG, rows)
        record = {
            "label": key,
            "training": {"iterations": iterations, "validate_every": 10, "watch": "basicsr-y@4"},
        }
        record |= {
            "seed_seconds": {"seed0": seconds},
            "trained_parameters": 7,
            "hardware": "a machine",
        }
        write_json(suite.results / "records" / f"{key}.json", record)
    return suite


def test_all_reach_the_best_of_the_worst_and_it_is_said_when(suite):
    table = convergence.table(suite).set_index("run")
    assert set(table.index) == {"no-prior", "map"}  # `alone` starts from other weights
    assert set(table["target"]) == {24.0}
    assert table.loc["no-prior", ["iterations", "seconds", "best", "best_iteration"]].tolist() == [
        20,
        40.0,
        24.0,
        20,
    ]
    assert table.loc["map", ["iterations", "seconds", "best", "best_iteration"]].tolist() == [
        10,
        40.0,
        27.0,
        30,
    ]


def test_the_text_names_target_protocol_and_machine(suite):
    lines = convergence.table(suite)
    group = lines["group"].iloc[0]
    shown = convergence.table_text(lines)
    assert shown.loc["map", ("to the target", "iterations")] == "10"
    note = convergence.note(suite, group, lines)
    assert "basicsr-y@4" in note and "weights/random" in note and "a machine" in note
