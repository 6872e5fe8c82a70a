"""Tables and records on disk: text stays text, JSON is JSON, and damage is one line that names the file."""

import csv
import json
import math
import os
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from benchlib import records
from benchlib.contracts import BenchError
from benchlib.params import Suite

ODD = [
    "001",
    "1e5",
    "True",
    "NA",
    "nan",
    "",
    "None",
    "-1",
    "1_000",
    " a",
    "für",
    'a"b',
    "a,b",
    "x\ny",
]


def suite(folder: Path, runs: tuple[str, ...] = ("001", "b")) -> Suite:
    """A suite of a few runs; nothing of it is made."""
    one = {
        "method": {"name": "none"}, "backbone": {"name": "nafnet"},
        "images": {"train": "train", "test": "test"}, "prior": {"train": "none", "test": "none"},
        "init": "weights/random",
    }  # fmt: skip
    raw = {
        "suite": "small", "task": "image", "metrics": ["psnr"], "training": {"iterations": 1},
        "evaluation": {}, "data": {"train/a": {"name": "photographs"}, "test/a": {"name": "photographs"}},
        "weights": {"random": {"asset": None}},
        "priors": {"none": {"kind": "none", "images": "data/test", "prior": {"name": "none"}}},
        "runs": dict.fromkeys(runs, one),
    }  # fmt: skip
    return Suite.model_validate(raw).model_copy(update={"folder": folder.resolve()})


def row(run: str, **more) -> dict:
    line = dict.fromkeys(records.ROW, "") | {"run": run, "dataset": "a", "image": "i"}
    return line | {"metric": "PSNR", "protocol": "basicsr-rgb", "seed": 0, "value": 20.5} | more


def write_rows(one: Suite, run: str = "001", rows: list[dict] | None = None) -> Path:
    path = one.results / "rows" / f"{run}.csv"
    records.write_rows(path, [row(run)] if rows is None else rows)
    return path


# --- text stays text ------------------------------------------------------------------------------


def test_names_that_look_like_numbers_come_back_letter_for_letter(tmp_path):
    one = suite(tmp_path)
    for name in (
        "dataset",
        "image",
        "scene",
        "setting",
        "method",
        "prior",
        "inference",
        "revision",
    ):
        write_rows(one, rows=[row("001", **{name: text}) for text in ODD])
        read = records.read_rows(one, ["001"])
        assert read[name].tolist() == ODD, name
        assert set(read["run"]) == {"001"} and read["value"].tolist() == [20.5] * len(ODD)


def test_values_that_are_not_finite_are_numbers(tmp_path):
    one = suite(tmp_path)
    values = [math.inf, -math.inf, math.nan, 1.5]
    write_rows(one, rows=[row("001", value=value) for value in values])
    read = records.read_rows(one, ["001"])["value"]
    assert read.dtype == float and read[:2].tolist() == values[:2] and math.isnan(read[2])


def test_what_all_rows_of_a_run_share_stands_once_in_its_record(tmp_path):
    one = suite(tmp_path)
    rows = [row("001", image=name, hardware=f"CPU {name}", table="007") for name in "ab"]
    path = write_rows(one, rows=rows)
    whole = records.read_rows(one, ["001"])
    shared = records.shared_cells(rows)
    assert shared["table"] == "007" and "hardware" not in shared, "workers may differ in it"

    records.write_rows(path, rows, in_record=shared)
    with pytest.raises(BenchError, match=r"001\.json: not there"):
        records.read_rows(one, ["001"])
    records.write_json(one.results / "records" / "001.json", {"row": shared})
    pd.testing.assert_frame_equal(records.read_rows(one, ["001"]), whole)
    names = set(path.read_text().splitlines()[0].split(","))
    assert names == set(records.ROW) - set(shared)

    records.write_json(one.results / "records" / "001.json", {"row": {"run": "001"}})
    with pytest.raises(BenchError, match=r"001\.csv: has no column suite, paper"):
        records.read_rows(one, ["001"])
    records.write_json(one.results / "records" / "001.json", {"row": shared | {"run": "b"}})
    with pytest.raises(BenchError, match="holds rows of run 'b', not of '001'"):
        records.read_rows(one, ["001"])


def test_losses_are_numbers_whatever_is_missing(tmp_path):
    lines = [{"seed": 0, "iteration": 1, "loss": -10.5, "lr": 0.001, "validation_psnr": None}]
    for more in ([], lines):
        records.write_table(tmp_path / "a.csv", records.LOG, more)
        read = records.read_losses(tmp_path / "a.csv")
        assert tuple(read.columns) == records.LOG and len(read) == len(more)
    assert read["seed"].dtype == int and read["validation_psnr"].isna().all()


def test_files_are_utf8_whatever_the_locale(tmp_path, monkeypatch):
    monkeypatch.setattr("locale.getpreferredencoding", lambda *_: "ISO-8859-1")
    records.write_table(tmp_path / "a.csv", ["a"], [{"a": "für"}])
    assert (tmp_path / "a.csv").read_bytes() == "a\nfür\n".encode()
    assert records.read_table(tmp_path / "a.csv") == [{"a": "für"}]


# --- JSON is JSON ---------------------------------------------------------------------------------


def refuse(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


def test_numbers_that_json_has_not_are_text_at_any_depth(tmp_path):
    path = tmp_path / "a.json"
    records.write_json(path, {"a": math.inf, "b": [-math.inf, (math.nan, 1)], "c": {"d": 1.5}})
    read = json.loads(path.read_text(), parse_constant=refuse)
    assert read == {"a": "inf", "b": ["-inf", ["nan", 1]], "c": {"d": 1.5}}


# --- damage ---------------------------------------------------------------------------------------

WHOLE = ",".join(records.ROW) + "\n"
LINE = ",".join(str(value) for value in row("001").values()) + "\n"
DAMAGED = {
    "empty": ("", "is cut off"),
    "no rows": (WHOLE, "holds no rows"),
    "no column": (WHOLE.replace("image,", "") + LINE.replace("i,", "", 1), "has no column image"),
    "few cells": (WHOLE + LINE[:9] + "\n", "line 2 has not the 21 cells"),
    "more cells": (WHOLE + "x," + LINE, "line 2 has not the 21 cells"),
    "cut off": (WHOLE + LINE + LINE[:-20], "is cut off"),
    "no number": (
        WHOLE + LINE.replace("20.5", "twenty"),
        "line 2, column value: 'twenty' is no number",
    ),
    "no value": (WHOLE + LINE.replace("20.5", ""), "line 2 has no value"),
    "another's": (WHOLE + LINE.replace("001", "gone"), "holds rows of run 'gone', not of '001'"),
    "open quote": (WHOLE + LINE.replace("basicsr-rgb", '"basicsr'), "is damaged"),
    "bytes": (WHOLE + "\x00" + LINE, None),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_rows_file_is_one_line_that_says_what_makes_it(tmp_path, kind):
    one = suite(tmp_path)
    path = write_rows(one)
    text, said = DAMAGED[kind]
    path.write_text(text)
    with pytest.raises(BenchError) as caught:
        records.read_rows(one, ["001"])
    line = str(caught.value)
    assert line.startswith(f"{path}: ") and "\n" not in line
    assert line.endswith("make it again: dvc repro -f evaluate@001")
    assert said is None or said in line


def test_bytes_that_are_no_text_are_damage(tmp_path):
    path = write_rows(suite(tmp_path))
    path.write_bytes(path.read_bytes() + b"\xff\xfe")
    with pytest.raises(BenchError, match="is damaged .no UTF-8 text.; make it again"):
        records.read_rows(suite(tmp_path), ["001"])


@pytest.mark.parametrize(
    ("place", "command"),
    [
        ("work/s/data/train/x/manifest.csv", "fetch@train/x"),
        ("work/s/data/train/data/manifest.csv", "fetch@train/data"),
        ("work/s/priors/both/masks/prior.json", "priors@both/masks"),
        ("work/s/weights/art/weights.json", "weights@art"),
        ("work/s/metrics/psnr/metric.json", "metrics@psnr"),
        ("work/s/runs/map/record.json", "train@map"),
        ("results/s/loss/map.csv", "train@map"),
        ("results/s/records/map.json", "evaluate@map"),
        ("results/s/tables/cost.csv", "tables"),
    ],
)
def test_the_command_that_makes_a_file_again(tmp_path, place, command):
    path = tmp_path / "work" / place  # a folder that is called so, above
    path.parent.mkdir(parents=True)
    path.write_text("[")
    read = records.read_json if path.suffix == ".json" else records.read_frame
    arguments = (path,) if path.suffix == ".json" else (path, ["a"])
    with pytest.raises(BenchError, match=f"make it again: dvc repro -f {command}$"):
        read(*arguments)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no whole JSON"),
        ('{"training": {"iter', "is no whole JSON"),
        ("[1]", "holds a list, not an object"),
        ("null", "holds a NoneType, not an object"),
        ("{}", "has no 'training'"),
        ('{"training": [1]}', "'training' is of another type (list)"),
        ('{"training": {}, "seed_seconds": 3}', "'seed_seconds' is of another type (int)"),
        ('{"training": {"lr": "0.1"}}', "'training.lr' is of another type (str)"),
        ('{"training": {}, "seed_seconds": {"seed0": "3"}}', "'seed_seconds.seed0' is of another"),
        ('{"training": {}, "choice": [{}, 3]}', "'choice.1' is of another type (int)"),
        ('{"training": {}, "kept": {"seed0": 3}}', "'kept.seed0' is of another type (int)"),
    ],
)
def test_a_damaged_record_is_one_line(tmp_path, text, said):
    one = suite(tmp_path)
    path = one.results / "records" / "b.json"
    assert records.read_record(one, "b") == {}
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(BenchError) as caught:
        records.read_record(one, "b", ["training"])
    line = str(caught.value)
    assert said in line and "\n" not in line
    assert line.endswith("make it again: dvc repro -f evaluate@b")


def test_a_manifest_that_lacks_a_column_names_it(tmp_path):
    one = suite(tmp_path)
    path = one.work / "data" / "test" / "a" / "manifest.csv"
    records.write_table(path, ["image", "lq", "hq", "asset"], [])
    with pytest.raises(BenchError, match=r"manifest\.csv: has no column source; .*fetch@test/a"):
        records.read_pairs(records.image_sets(one, "test"))


def test_what_is_left_over_is_named_and_read_nowhere(tmp_path):
    one = suite(tmp_path)
    write_rows(one, "001"), write_rows(one, "b")
    kept = {one.work / "data" / "train" / "a", one.work / "runs" / "b", one.work / ".resume"}
    left = {
        one.work / "data" / "train" / "old",
        one.work / "priors" / "old",
        one.work / "data" / "gone",
    }
    for folder in kept | left:
        folder.mkdir(parents=True)
    left.add(write_rows(one, "old"))
    (one.results / "records").mkdir()
    left.add(one.results / "records" / "old.json")
    (one.results / "records" / "old.json").write_text("damaged")
    for run, folders in (("b", kept), ("old", left)):
        folder = one.work / ".resume" / run
        folder.mkdir()
        (folder / "run").write_text(run)
        folders.add(folder)
    assert set(records.left_over(one)) == left
    assert set(records.read_rows(one)["run"]) == {"001", "b"}


# --- the revision ---------------------------------------------------------------------------------


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    done = subprocess.run(
        ["git", *who, *words], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A repository with a package in it, one commit."""
    records._say_once.cache_clear()
    folder = tmp_path / "checkout"
    (folder / "benchlib").mkdir(parents=True)
    (folder / "benchlib" / "a.py").write_text("a = 1\n")
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "one")
    return folder


def test_a_revision_is_the_commit_and_a_plus_where_code_differs(checkout):
    head = git(checkout, "rev-parse", "--short=12", "HEAD")
    assert records.revision(checkout / "benchlib") == head
    (checkout / "benchlib" / "a.py").write_text("a = 2\n")
    assert records.revision(checkout / "benchlib") == head + "+"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root gives files away")
def test_a_checkout_of_another_user_has_its_commit(checkout):
    head = git(checkout, "rev-parse", "--short=12", "HEAD")
    for path in (checkout, *checkout.rglob("*")):
        os.chown(path, 12345, 12345)
    refused = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=checkout, capture_output=True, text=True
    )
    if refused.returncode == 0:
        pytest.skip("this git asks no owner")
    assert records.revision(checkout / "benchlib") == head


def test_a_worktree_and_a_shallow_clone_have_their_commits(checkout, tmp_path):
    git(checkout, "worktree", "add", "-q", str(tmp_path / "tree"))
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{checkout}", "shallow")
    head = git(checkout, "rev-parse", "--short=12", "HEAD")
    assert records.revision(tmp_path / "tree" / "benchlib") == head
    assert records.revision(tmp_path / "shallow" / "benchlib") == head


def test_a_hook_s_variables_do_not_lead_to_another_repository(checkout, monkeypatch):
    head = git(checkout, "rev-parse", "--short=12", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(checkout / "nowhere"))
    assert records.revision(checkout / "benchlib") == head


def no_git(folder: Path, capsys) -> str:
    """The line that says why there is no revision; said once."""
    capsys.readouterr()
    assert records.revision(folder) == records.revision(folder) == "no-git"
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


def test_no_revision_is_said_with_its_cause(checkout, tmp_path, capsys, monkeypatch):
    plain = tmp_path / "zip" / "benchlib"
    plain.mkdir(parents=True)
    assert "git ls-files: fatal: not a git repository" in no_git(plain, capsys)
    inside = checkout / "untracked" / "benchlib"
    inside.mkdir(parents=True)
    assert "no repository tracks it" in no_git(inside, capsys)
    unborn = tmp_path / "unborn"
    unborn.mkdir()
    (unborn / "a.py").write_text("")
    git(unborn, "init", "-q")
    git(unborn, "add", "-A")
    assert "git rev-parse: fatal:" in no_git(unborn, capsys)
    monkeypatch.setenv("PATH", str(plain))
    assert "git cannot be run" in no_git(checkout, capsys)


def test_rows_are_written_as_any_reader_of_csv_reads_them(tmp_path):
    path = write_rows(suite(tmp_path), rows=[row("001", image="=1+1", dataset="-a")])
    with open(path, newline="") as file:
        (read,) = csv.DictReader(file)
    assert read["image"] == "=1+1" and read["dataset"] == "-a", (
        "rows are for programs: no apostrophe"
    )
    more = {"for_people": True}
    records.write_table(path, ["image", "value"], [{"image": "=1+1", "value": -1.5}], **more)
    assert path.read_text() == "image,value\n'=1+1,-1.5\n"
