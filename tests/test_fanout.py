"""Many stages at once: the graph is DVC's own, slots hold what they promise, nothing outlives the end."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from conftest import small_params, write_params
from ruamel.yaml import YAML

from benchlib import fanout
from benchlib.cli import main
from benchlib.contracts import BenchError
from benchlib.fanout import Place, Slot
from benchlib.params import load_params

ROOT = Path(__file__).parent.parent
DIAMOND = {"a": set(), "b": {"a"}, "c": {"a"}, "d": {"b", "c"}, "e": {"a"}}
# In the place of DVC. $stage is its last word; EVENTS has a line a start and an end.
FAKE = """#!/bin/bash
stage="${@: -1}"
echo "start $stage $CUDA_VISIBLE_DEVICES $OMP_NUM_THREADS" >> EVENTS
echo "Running stage '$stage':"
%s
echo "end $stage" >> EVENTS
"""
NAP = "sleep 0.3"


def place(folder: Path, script: str = NAP) -> Place:
    """A folder with a fake DVC."""
    fake = folder / "fake"
    fake.write_text(FAKE % script)
    fake.chmod(0o755)
    return Place(folder, folder / "logs", os.environ, [str(fake)])


def events(folder: Path) -> list[list[str]]:
    return [line.split() for line in (folder / "EVENTS").read_text().splitlines()]


def at_once(lines: list[list[str]]) -> int:
    """The most stages that ran at the same time."""
    running = most = 0
    for line in lines:
        running += 1 if line[0] == "start" else -1
        most = max(most, running)
    return most


# ---------------------------------------------------------------- the graph


@pytest.fixture(scope="module")
def dvc_graph():
    """Stages and what they read, of every suite, as DVC knows it."""
    from dvc.repo import Repo

    return Repo(str(ROOT)).index.graph


@pytest.mark.parametrize("folder", [".", "suites/smoke", "suites/spt", "suites/ptg-rm-small"])
def test_the_graph_is_dvcs_own(dvc_graph, folder):
    here = (ROOT / folder).resolve()
    wanted = {}
    for stage in dvc_graph:
        if Path(stage.path) == here / "dvc.yaml":
            wanted[stage.name] = {above.name for above in dvc_graph.successors(stage)}
    assert len(wanted) > 10
    found = fanout.graph(load_params(here / "params.yaml"))
    assert found == wanted


def test_targets_bring_what_they_need_and_no_more():
    assert fanout.needed(DIAMOND, []) == DIAMOND
    assert fanout.needed(DIAMOND, ["b"]) == {"a": set(), "b": {"a"}}
    whole = fanout.graph(load_params(ROOT / "suites" / "smoke" / "params.yaml"))
    trained = fanout.needed(whole, ["train@map"])
    assert {"names", "train@map", "priors@sam-train", "evaluate@predeblur"} <= set(trained)
    assert "evaluate@map" not in trained and "train@cat" not in trained
    every = fanout.needed(whole, ["train"])
    assert {stage for stage in whole if stage.startswith("train@")} <= set(every)


def test_what_is_up_to_date_is_left_out_but_for_what_reads_a_change():
    part = {"names": set()} | {stage: {"names", *needs} for stage, needs in DIAMOND.items()}
    part["tables"] = set(part)
    assert fanout.to_run(part, set()) == {}
    assert fanout.to_run(part, {"b", "tables"}) == {"b": set(), "d": {"b"}}
    # `names` reruns after every change of params.yaml, and writes what it wrote
    assert fanout.to_run(part, {"names", "e"}) == {"names": set(), "e": {"names"}}


# ---------------------------------------------------------------- the queue


def test_each_stage_waits_for_those_it_needs_and_no_more_run_than_slots(tmp_path):
    end = fanout.run_stages(DIAMOND, fanout.make_slots(2, []), place(tmp_path))
    lines = events(tmp_path)
    order = [(line[0], line[1]) for line in lines]
    for stage, needs in DIAMOND.items():
        for above in needs:
            assert order.index(("end", above)) < order.index(("start", stage))
    assert at_once(lines) == 2
    assert sorted(end.done) == sorted(DIAMOND) and not end.failed and not end.signum


def test_stages_run_side_by_side(tmp_path):
    """Each of the two waits for the other's start: one after the other they would fail."""
    script = 'for i in {1..100}; do [ "$(grep -c start EVENTS)" = 3 ] && break; sleep 0.1; done\n'
    script += '[ "$stage" = a ] || [ "$(grep -c start EVENTS)" = 3 ] || exit 1'
    script = f'if [ "$stage" != a ]; then {script}\nfi'
    todo = {"a": set(), "b": {"a"}, "c": {"a"}}
    end = fanout.run_stages(todo, fanout.make_slots(2, []), place(tmp_path, script))
    assert sorted(end.done) == ["a", "b", "c"]


def test_a_failure_stops_what_needs_it_alone(tmp_path, capsys):
    script = 'if [ "$stage" = b ]; then echo "the disk is full"; '
    script += "echo \"ERROR: failed to reproduce 'b': failed to run: x, exited with 3\"; exit 3; fi"
    end = fanout.run_stages(DIAMOND, fanout.make_slots(2, []), place(tmp_path, script))
    assert end.failed == {"b": 3}
    assert sorted(end.done) == ["a", "c", "e"] and end.not_run == ["d"]
    out = capsys.readouterr().out
    assert "b: FAILED" in out and "\n    the disk is full\n" in out
    assert "the disk is full" in (tmp_path / "logs" / "b.log").read_text()


def test_the_longest_way_starts_first(tmp_path):
    todo = {"short": set(), "long": set(), "after": {"long"}}
    fanout.run_stages(todo, fanout.make_slots(1, []), place(tmp_path, ""))
    assert events(tmp_path)[0][1] == "long"


def test_a_stage_with_a_slash_in_its_key_has_a_log(tmp_path):
    todo = {"fetch@a-b/c": set(), "fetch@a/b-c": set()}
    fanout.run_stages(todo, fanout.make_slots(2, []), place(tmp_path, "echo $stage"))
    for stage in todo:
        assert stage in (tmp_path / "logs" / f"{stage}.log").read_text()


# ---------------------------------------------------------------- devices and threads


def test_each_slot_has_a_device_of_its_own(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(fanout, "cores", lambda: 9)
    todo = {name: set() for name in "abcd"}
    fanout.run_stages(todo, fanout.make_slots(4, ["0", "1", "5", "7"]), place(tmp_path))
    starts = [line for line in events(tmp_path) if line[0] == "start"]
    assert sorted(line[2] for line in starts) == ["0", "1", "5", "7"]
    assert {line[3] for line in starts} == {"2"}


def test_slots_take_devices_in_turn_and_equal_shares_of_the_threads(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(fanout, "cores", lambda: 8)
    assert fanout.make_slots(None, ["3", "4"]) == [Slot(1, "3", 4), Slot(2, "4", 4)]
    assert [slot.device for slot in fanout.make_slots(3, ["0", "1"])] == ["0", "1", "0"]
    assert fanout.make_slots(20, [])[19] == Slot(20, None, 1)
    assert fanout.make_slots(None, []) == [Slot(1, None, None)]
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert {slot.threads for slot in fanout.make_slots(4, [])} == {None}
    assert Slot(1).environment({"A": "b"}) == {"A": "b"}


def test_torch_takes_the_share_and_a_number_in_params_comes_first():
    code = (
        "import torch; from benchlib.restore import threads\n"
        "with threads(None) as share, threads(2) as own: print(share, own)"
    )
    env = Slot(1, None, 1).environment(os.environ)
    run = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )
    assert run.stdout == "1 2\n"


def test_devices_are_read_strictly(monkeypatch):
    assert fanout.read_devices("0, 1") == ["0", "1"]
    assert fanout.read_devices("GPU-8a7f,MIG-3") == ["GPU-8a7f", "MIG-3"]
    for words, said in (("0,x", "'x' is no device"), ("", "no device"), ("1,1", "twice")):
        with pytest.raises(BenchError, match=said):
            fanout.read_devices(words)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert fanout.devices_at_hand() == ["2", "3"]
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert fanout.devices_at_hand() == []


def test_devices_that_nvidia_smi_knows_are_found(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    fake = tmp_path / "nvidia-smi"
    fake.write_text("#!/bin/sh\nprintf '0\\n1\\n'\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert fanout.devices_at_hand() == ["0", "1"]
    fake.write_text("#!/bin/sh\necho no driver; exit 9\n")
    assert fanout.devices_at_hand() == []


# ---------------------------------------------------------------- how long it takes


def test_the_time_left_comes_from_earlier_runs():
    todo = {"train@a": set(), "train@b": set(), "evaluate@a": {"train@a"}}
    watch = fanout.clock(todo, {})
    assert watch.left(todo, {}, 2) == ""
    watch = fanout.clock(todo, {"train@a": 100.0, "evaluate@a": 20.0, "train@gone": 9000.0})
    pace = 120.0 / (fanout.USUAL["train"] + fanout.USUAL["evaluate"])
    there = {"train@a": 100.0, "train@b": pace * fanout.USUAL["train"], "evaluate@a": 20.0}
    assert watch.expected() == there
    watch = fanout.clock(
        todo,
        {"train@a": 100.0, "evaluate@a": 20.0},
        {"train@a": 10.0, "evaluate@a": 2.0, "train@b": 10.0},
    )
    assert watch.expected() == {"train@a": 100.0, "train@b": 100.0, "evaluate@a": 20.0}
    assert watch.left(todo, {}, 1) == ", about 3 min 40 s left"
    assert watch.left(todo, {}, 8) == ", about 2 min 0 s left"  # the longest chain
    running = {"train@a": 90.0, "train@b": 500.0}  # b takes longer than was thought
    assert watch.left(["evaluate@a"], running, 2) == ", about 30 s left"


def test_what_takes_long_begins_first_in_a_fresh_checkout(tmp_path):
    """A prior that all evaluations wait for does not begin after quick stages."""
    suite = load_params(ROOT / "params.yaml")
    usual = fanout.usual_seconds(suite)
    record = json.loads((suite.results / "records" / "map.json").read_text())
    assert usual["train@map"] == fanout.QUICK + record["train_seconds"]
    assert usual["evaluate@map"] == fanout.QUICK + record["evaluate_seconds"]
    assert usual["priors@none"] == fanout.QUICK
    assert "priors@sam-test" not in usual  # its kind decides
    part = fanout.to_run(fanout.graph(suite), fanout.graph(suite))
    watch = fanout.clock(part, {}, usual)
    ways = watch.ways(watch.expected())
    assert ways["priors@sam-test"] > max(ways["train@map-slic"], ways["evaluate@map"])
    assert ways["train@predeblur"] > ways["priors@sam-test"]
    empty = suite.model_copy(update={"folder": tmp_path})
    assert set(fanout.usual_seconds(empty)) == {"priors@none"}


def test_durations_of_stages_that_ran_are_kept(tmp_path, capsys):
    here = place(tmp_path)
    fanout.run_stages({"a": set(), "b": {"a"}}, fanout.make_slots(1, []), here)
    kept = json.loads((here.logs / "seconds.json").read_text())
    assert set(kept) == {"a", "b"} and min(kept.values()) >= 0.3
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "a: started (slot 1); 0 of 2 done, 1 running"
    assert "; 1 of 2 done, 0 running, about " in out[1]
    assert out[-1].endswith("; 2 of 2 done, 0 running")
    (tmp_path / "fake").write_text("#!/bin/sh\necho \"Stage 'a' didn't change, skipping\"\n")
    fanout.run_stages({"a": set()}, fanout.make_slots(1, []), here)
    assert "a: was up to date" in capsys.readouterr().out
    assert json.loads((here.logs / "seconds.json").read_text()) == kept
    (here.logs / "seconds.json").write_text("[not json")
    assert fanout.read_seconds(here.logs / "seconds.json") == {}


# ---------------------------------------------------------------- the end

TWO_AT_ONCE = """
import os, sys
from pathlib import Path
from benchlib import fanout
fanout.GRACE = 2.0
here = Path(sys.argv[1])
place = fanout.Place(here, here / "logs", os.environ, [str(here / "fake")])
end = fanout.run_stages({"a": set(), "b": set(), "c": {"a"}}, fanout.make_slots(2, []), place)
print(end.signum, sorted(end.not_run), end.failed)
"""
# DVC's child, and one of its own that Ctrl-C does not reach, as a shell's `&` has it
SLEEPERS = "trap 'exit 130' INT; sleep 1000 & echo $! >> PIDS; echo $$ >> PIDS; wait"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_every_stage_and_what_it_started(tmp_path, how):
    place(tmp_path, SLEEPERS)
    process = subprocess.Popen(
        [sys.executable, "-c", TWO_AT_ONCE, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    pids = tmp_path / "PIDS"
    wait_for(lambda: pids.exists() and len(pids.read_text().split()) == 4)
    process.send_signal(how)
    out, _ = process.communicate(timeout=60)
    assert out.splitlines()[-1] == f"{int(how)} ['a', 'b', 'c'] {{}}"
    wait_for(lambda: not any(map(alive, pids.read_text().split())))


def test_an_error_of_our_own_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(fanout, "GRACE", 0.5)
    here = place(tmp_path, SLEEPERS)
    pids = tmp_path / "PIDS"

    def gone(*_words: object) -> None:
        wait_for(lambda: pids.exists() and len(pids.read_text().split()) == 2)
        raise BrokenPipeError

    monkeypatch.setattr(fanout._Queue, "say", gone)
    with pytest.raises(BrokenPipeError):
        fanout.run_stages({"a": set()}, fanout.make_slots(1, []), here)
    wait_for(lambda: not any(map(alive, pids.read_text().split())))


def alive(pid: str) -> bool:
    try:
        return psutil.Process(int(pid)).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_for(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


# ---------------------------------------------------------------- the command


@pytest.fixture
def suite(tmp_path, monkeypatch) -> Path:
    """The small suite in the current folder, a fake ``python -m dvc``, which notes its words."""
    write_params(tmp_path, small_params())
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    fake = tmp_path / "python"
    fake.write_text(
        "#!/bin/bash\nshift 2\n"
        'echo "$@" >> WORDS\n'
        '[ "$2" = status ] && { cat STATUS; exit $(cat CODE 2>/dev/null || echo 0); }\n'
        'if [ "${@: -1}" = "$(cat FAIL 2>/dev/null)" ]; then exit 255; fi\nexit 0\n'
    )
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def words(folder: Path) -> list[str]:
    return (folder / "WORDS").read_text().splitlines()


def test_run_j_looks_at_what_changed_then_runs_dvc_in_the_ordinary_way(suite, capfd):
    (suite / "STATUS").write_text(json.dumps({"names": [], "evaluate@map": [], "tables": []}))
    assert main(["run", "-j", "2", "evaluate"]) == 0
    assert words(suite) == [
        "--wait-for-lock status --json dvc.yaml",
        "--wait-for-lock repro --single-item names",
        "--wait-for-lock repro --single-item evaluate@map",
        "repro evaluate",
    ]
    assert "small: 2 of " in capfd.readouterr().out


def test_run_j_names_what_failed_and_makes_no_page(suite, capfd):
    (suite / "STATUS").write_text(json.dumps({"train@map": [], "train@cat": []}))
    (suite / "FAIL").write_text("train@map")
    assert main(["run", "-j", "2"]) == 255
    single = "--wait-for-lock repro --single-item"
    assert sorted(words(suite)) == [
        f"{single} evaluate@cat",
        f"{single} train@cat",
        f"{single} train@map",
        "--wait-for-lock status --json dvc.yaml",
    ]
    err = capfd.readouterr().err.splitlines()
    assert err[0] == (
        "benchlib: small: train@map failed; what it said: work/small/logs/train@map.log"
    )
    assert err[1] == "benchlib: small: not run, since they need what failed: evaluate@map"
    assert "run it again to go on" in err[2] and len(err) == 3


def test_run_j_force_runs_all_and_the_page_too(suite):
    assert main(["run", "-j", "3", "--force"]) == 0
    said = words(suite)
    whole = fanout.graph(load_params(suite / "params.yaml"))
    assert said[0] == "--wait-for-lock repro --single-item --force names"
    assert said[-1] == "repro --single-item --force tables report"
    assert len(said) == len(whole) - 1  # the two last are one


def test_run_says_in_one_line_what_dvc_cannot_read(suite, capfd):
    (suite / "STATUS").write_text("")
    (suite / "CODE").write_text("255")
    assert main(["run", "-j", "2"]) == 1
    err = capfd.readouterr().err
    assert err.count("\n") == 1 and "dvc status: " in err


def test_run_gpus_is_read_before_any_work_and_dry_stays_dvcs(suite, capfd):
    assert main(["run", "--gpus", "0,zero"]) == 1
    assert "'zero' is no device" in capfd.readouterr().err
    assert main(["run", "-j", "0"]) == 2
    assert not (suite / "WORDS").exists()
    assert main(["run", "-j", "2", "--dry"]) == 0
    assert words(suite) == ["repro --dry"]


# ---------------------------------------------------------------- with DVC itself

CHEAP = 'mkdir -p "$(dirname {out})"; echo {stage} ${{key}} > {out}'


def toy(folder: Path) -> None:
    """The project's pipeline with a shell's echo in the place of each notebook."""
    for name in ("benchlib", "notebooks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    made = small_params()
    plain = made["runs"]["blurred"]
    made["runs"] = {"one": plain, "two": plain | {"seeds": [1]}}
    made["priors"] = {"none": made["priors"]["none"]}
    made["metrics"] = ["psnr"]
    write_params(folder, made)
    yaml = YAML()
    pipeline = yaml.load((ROOT / "dvc.yaml").read_text())
    for name, whole in pipeline["stages"].items():
        stage = whole.get("do", whole)
        commands = []
        for out in [*stage.get("outs", []), *stage.get("plots", []), *stage.get("metrics", [])]:
            path = out if isinstance(out, str) else next(iter(out))
            if not path.endswith((".csv", ".json", ".html", ".names")):
                path += "/file"
            commands.append(CHEAP.format(out=path, stage=name))
        if name == "train":
            commands.insert(0, 'test "${key}" != "$(cat FAIL)"')
        if "foreach" not in whole:
            commands = [command.replace(" ${key}", "") for command in commands]
        if name == "metrics":
            commands = [command.replace("${key}", "${item}") for command in commands]
        stage["cmd"] = commands
    with open(folder / "dvc.yaml", "w") as file:
        yaml.dump(pipeline, file)
    (folder / "FAIL").write_text("nothing")
    (folder / ".gitignore").write_text("work/\n")
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, cwd=folder, check=True)
    shutil.copy(ROOT / ".dvc" / "config", folder / ".dvc" / "config")


def run(folder: Path, *words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.mark.skipif("BENCHLIB_TEST_DVC" not in os.environ, reason="BENCHLIB_TEST_DVC: a minute")
def test_the_result_is_the_serial_one(tmp_path):
    toy(tmp_path)
    done = run(tmp_path, "benchlib", "run", "-j", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Running stage 'tables'" in done.stdout and "Running stage 'train" not in done.stdout
    lock = YAML(typ="safe").load((tmp_path / "dvc.lock").read_text())
    again = run(tmp_path, "benchlib", "run", "-j", "3")
    assert "small: 0 of " in again.stdout and "up to date" in again.stdout
    shutil.rmtree(tmp_path / ".dvc" / "cache")
    (tmp_path / "dvc.lock").unlink()
    assert run(tmp_path, "dvc", "repro", "--force").returncode == 0
    assert YAML(typ="safe").load((tmp_path / "dvc.lock").read_text()) == lock


@pytest.mark.skipif("BENCHLIB_TEST_DVC" not in os.environ, reason="BENCHLIB_TEST_DVC: a minute")
def test_dvc_goes_on_from_a_failure(tmp_path):
    toy(tmp_path)
    (tmp_path / "FAIL").write_text("one")
    failed = run(tmp_path, "benchlib", "run", "-j", "3")
    assert failed.returncode == 255
    assert "not run, since they need what failed: evaluate@one" in failed.stderr
    assert (tmp_path / "results" / "small" / "rows" / "two.csv").exists()
    (tmp_path / "FAIL").write_text("nothing")
    done = run(tmp_path, "benchlib", "run", "-j", "3")
    assert done.returncode == 0 and "small: 2 of " in done.stdout
    assert (tmp_path / "results" / "small" / "report.html").exists()
