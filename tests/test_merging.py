"""Another checkout's results: taken where they are what would be made here, refused in a line else."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import small_params, write_params
from ruamel.yaml import YAML
from test_fanout import run, toy

from benchlib import fanout, merging
from benchlib.cli import main
from benchlib.contracts import BenchError
from benchlib.merging import Asked, Sides
from benchlib.params import load_params

GRAPH = {
    "names": set(),
    "priors@sam": {"names"},
    "train@map": {"names", "priors@sam"},
    "evaluate@map": {"names", "train@map"},
    "tables": {"names", "evaluate@map"},
}
OUTS = {
    "priors@sam": ("work/priors/sam",),
    "train@map": ("work/runs/map",),
    "evaluate@map": ("rows/map.csv", "records/map.json"),
}
DEPS = {
    "priors@sam": (".names",),
    "train@map": (".names", "code.py", "work/priors/sam"),
    "evaluate@map": (".names", "work/runs/map"),
}
ASKED = {
    stage: Asked([f"make {stage}"], {"loop.py": {"VERSION": 1}}, DEPS[stage], outs)
    for stage, outs in OUTS.items()
}


def checkout(folder: Path, seconds: float, hardware: str = "A", psnr: float = 30.5) -> Path:
    """A checkout in which everything of GRAPH but the tables is done."""
    files = {
        ".names": "names\n",
        "code.py": "VERSION = 1\n",
        "work/priors/sam/set/a.npz": "masks",
        "work/priors/sam/prior.json": json.dumps({"images": [{"image": "a", "seconds": seconds}]}),
        "work/runs/map/seed0.safetensors": "weights",
        "work/runs/map/record.json": json.dumps({"train_seconds": seconds, "hardware": hardware}),
        "rows/map.csv": f"run,value,hardware,revision\nmap,{psnr},{hardware},{hardware}1\n",
        "records/map.json": json.dumps({"evaluate_seconds": seconds, "seeds": [0]}),
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    write_lock(folder, *OUTS)
    return folder


def write_lock(folder: Path, *stages: str) -> None:
    """A dvc.lock as DVC writes it after these stages."""
    made = {}
    for stage in stages:
        entry = {"cmd": [f"make {stage}"], "params": {"loop.py": {"VERSION": 1}}}
        for kind, paths in {"deps": DEPS[stage], "outs": OUTS[stage]}.items():
            entry[kind] = []
            for path in paths:
                known = merging.digest(dict(merging.files_in(folder / path)))
                entry[kind].append({"path": path, "hash": "md5", "md5": known})
        made[stage] = entry
    with open(folder / "dvc.lock", "w") as file:
        YAML().dump({"schema": "2.0", "stages": made}, file)


@pytest.fixture
def two(tmp_path) -> tuple[Path, Path]:
    """Two checkouts; in the first nothing but the priors is done."""
    here, there = checkout(tmp_path / "here", 1.0), checkout(tmp_path / "there", 2.0, "B")
    for stage in ("train@map", "evaluate@map"):
        for out in OUTS[stage]:
            shutil.rmtree(here / out, ignore_errors=True)
            (here / out).unlink(missing_ok=True)
    write_lock(here, "priors@sam")
    return here, there


def sides(two: tuple[Path, Path]) -> Sides:
    here, there = two
    return Sides(here, there, ASKED, merging.read_lock(here), merging.read_lock(there))


def test_what_is_finished_there_alone_comes_though_its_inputs_took_other_times(two):
    plan = merging.plan_merge(sides(two), GRAPH)
    assert plan.misfits == []
    assert plan.brought == ["train@map", "evaluate@map"]
    assert plan.kept == ["priors@sam"]


def test_what_is_done_on_both_sides_stays_if_its_numbers_are_the_same(two):
    here, there = two
    checkout(here, 1.0)
    plan = merging.plan_merge(sides(two), GRAPH)
    assert (plan.brought, plan.misfits) == ([], [])
    assert sorted(plan.kept) == sorted(OUTS)
    checkout(there, 2.0, "B", psnr=30.6)
    plan = merging.plan_merge(sides(two), GRAPH)
    assert len(plan.misfits) == 1 and plan.brought == []
    assert plan.misfits[0].startswith("evaluate@map: done on both sides, with other numbers: ")
    assert "rows/map.csv" in plan.misfits[0] and "--run" in plan.misfits[0]


def test_a_run_in_a_checkout_that_has_nothing_brings_all_it_needs(two):
    here, _ = two
    shutil.rmtree(here / "work")
    (here / "dvc.lock").unlink()
    plan = merging.plan_merge(sides(two), GRAPH, ["map"])
    assert plan.brought == ["priors@sam", "train@map", "evaluate@map"]


MISFITS = {
    "command": (lambda entry: entry.update(cmd=["make tea"]), "train@map: its command is another"),
    "version": (
        lambda entry: entry["params"]["loop.py"].update(VERSION=2),
        "train@map: loop.py: VERSION was 2 there, is 1 here",
    ),
    "parameter": (
        lambda entry: entry["params"].clear(),
        'loop.py: VERSION was "nothing" there, is 1 here',
    ),
    "code": (
        lambda entry: entry["deps"][1].update(md5="0" * 32),
        "train@map: code.py is another file there",
    ),
    "input": (
        lambda entry: entry["deps"][2].update(md5="0" * 32 + ".dir"),
        "not what its dvc.lock says",
    ),
    "output": (
        lambda entry: entry["outs"][0].update(md5="0" * 32 + ".dir"),
        "not what its dvc.lock says",
    ),
}


@pytest.mark.parametrize("what", MISFITS)
def test_what_was_made_otherwise_is_refused_in_one_line(two, what):
    change, said = MISFITS[what]
    both = sides(two)
    change(both.lock_there["train@map"])
    plan = merging.plan_merge(both, GRAPH)
    assert len(plan.misfits) == 1 and said in plan.misfits[0], plan.misfits
    assert "\n" not in plan.misfits[0]


def test_masks_that_differ_are_named(two):
    _, there = two
    (there / "work/priors/sam/set/a.npz").write_text("other masks")
    write_lock(there, *OUTS)
    plan = merging.plan_merge(sides(two), GRAPH)
    assert len(plan.misfits) == 1 and plan.brought == []
    assert "priors@sam: done on both sides" in plan.misfits[0] and "a.npz" in plan.misfits[0]


def test_what_is_being_computed_there_is_left_out(two):
    _, there = two
    (there / "rows/map.csv").unlink()
    plan = merging.plan_merge(sides(two), GRAPH)
    assert plan.brought == ["train@map"] and plan.absent == ["evaluate@map"]
    shutil.rmtree(there / "work/priors")
    plan = merging.plan_merge(sides(two), GRAPH)
    assert plan.brought == [] and plan.misfits == []
    assert plan.absent == ["priors@sam", "train@map", "evaluate@map"]


def test_what_was_made_from_a_version_that_is_gone_here_is_refused(two):
    """Here the priors are of today's version, there of an older one, and so the training."""
    both = sides(two)
    both.lock_there["priors@sam"]["params"]["loop.py"]["VERSION"] = 0
    plan = merging.plan_merge(both, GRAPH)
    assert plan.kept == ["priors@sam"] and plan.brought == []
    assert plan.misfits[0].startswith("train@map: was made from priors@sam, which does not fit: ")


def test_a_file_that_changes_while_it_is_copied_is_not_taken(two):
    here, there = two
    both = sides(two)
    merging.plan_merge(both, GRAPH)
    (there / "work/runs/map/seed0.safetensors").write_text("newer weights")
    with pytest.raises(BenchError, match="changed while it was copied"):
        merging._copy(both, "work/runs/map")
    assert not (here / "work/runs/map").exists()


def test_copies_are_whole_and_without_unfinished_files(two):
    here, there = two
    (there / "work/runs/map/.new-x").write_text("half")
    both = sides(two)
    assert merging.plan_merge(both, GRAPH).brought == ["train@map", "evaluate@map"]
    for out in OUTS["train@map"] + OUTS["evaluate@map"]:
        merging._copy(both, out)
        assert both.listing(there / out) == dict(merging.files_in(here / out))
    assert not (here / "work/runs/map/.new-x").exists()


def test_no_other_checkout_is_one_line(tmp_path, capsys):
    write_params(tmp_path, small_params())
    folder = str(tmp_path)
    assert main(["merge", folder, folder]) == 1
    assert "is this checkout" in capsys.readouterr().err
    assert main(["merge", str(tmp_path / "nowhere"), folder]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "expected the folder of another checkout" in err
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "dvc.lock").write_text("stages: [")
    assert main(["merge", str(tmp_path / "other"), folder]) == 1
    assert "cannot be read" in capsys.readouterr().err
    assert main(["merge", folder, folder, "--run", "mpa"]) == 1
    assert "did you mean map?" in capsys.readouterr().err


# ---------------------------------------------------------------- with DVC itself

RESULTS = ("dvc.lock", "results")


@pytest.mark.skipif("BENCHLIB_TEST_DVC" not in os.environ, reason="BENCHLIB_TEST_DVC: a minute")
def test_two_halves_are_the_whole(tmp_path):
    """Two checkouts compute a run each; merged, DVC has nothing to do but tables and page."""
    whole, first, second = (tmp_path / name for name in ("whole", "first", "second"))
    whole.mkdir()
    toy(whole)
    for half in (first, second):
        shutil.copytree(whole, half)
    assert run(whole, "dvc", "repro").returncode == 0
    assert run(first, "dvc", "repro", "evaluate@one").returncode == 0
    assert run(second, "dvc", "repro", "evaluate@two").returncode == 0
    done = run(first, "benchlib", "merge", str(second))
    assert done.returncode == 0, done.stderr
    assert "evaluate@two" in done.stdout and "evaluate@one" not in done.stdout
    status = json.loads(run(first, "dvc", "status", "--json").stdout)
    assert sorted(status) == ["report", "tables"]
    made = run(first, "dvc", "repro")
    assert made.returncode == 0, made.stderr
    assert made.stdout.count("Running stage") == 2
    lock = YAML(typ="safe").load((first / "dvc.lock").read_text())
    assert lock == YAML(typ="safe").load((whole / "dvc.lock").read_text())
    words = ["diff", "-r", str(first / "results"), str(whole / "results")]
    assert subprocess.run(words).returncode == 0
    again = run(first, "benchlib", "merge", str(second), "--dry")
    assert again.returncode == 0 and "would come: nothing" in again.stdout


@pytest.mark.skipif("BENCHLIB_TEST_DVC" not in os.environ, reason="BENCHLIB_TEST_DVC: a minute")
def test_stages_and_digests_are_dvcs_own(tmp_path):
    toy(tmp_path)
    assert run(tmp_path, "dvc", "repro", "evaluate@one").returncode == 0
    suite = load_params(tmp_path / "params.yaml")
    asked = merging.asked_stages(suite)
    assert set(fanout.graph(suite)) <= set(asked)
    for stage, entry in merging.read_lock(tmp_path).items():
        assert merging._unlike(entry, asked[stage], tmp_path) == ""
        for one in entry["outs"]:
            assert merging.digest(dict(merging.files_in(tmp_path / one["path"]))) == one["md5"]
