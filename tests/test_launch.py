"""A stage's command as a job: what it asks for, what it says, how it ends, what is lost. A fake Slurm, then submitit's
own executors; ``test_slurm.py`` has a real Slurm."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import psutil
import pytest
from conftest import make_inputs, small_params, write_params
from safetensors.torch import load_file

from benchlib import launch, nbrun
from benchlib.cli import main, running
from benchlib.contracts import BenchError
from benchlib.fanout import Slot
from benchlib.launch import Stage, Trip
from benchlib.params import load_params

cloudpickle = pytest.importorskip("cloudpickle")
pytest.importorskip("submitit")

ROOT = Path(__file__).parent.parent
REFUSED = "sbatch: error: Batch job submission failed: Invalid partition name specified"
# Each notes its words; squeue's first word is a file's content, until somebody changes that.
FAKES = {
    "sbatch": f"""
env | sort > FOLDER/environment
cp "$1" FOLDER/script
[ -e FOLDER/refuse ] && {{ echo "{REFUSED}" >&2; exit 1; }}
echo Submitted batch job 7""",
    "srun": "",
    "scancel": "echo 'CANCELLED|None|' > FOLDER/state",
    "squeue": """
[ -e FOLDER/down ] && { echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1; }
[ -e FOLDER/state ] || { echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1; }
cat FOLDER/state""",
    "sacct": """
[ -e FOLDER/account ] || { echo "Slurm accounting storage is disabled" >&2; exit 1; }
cat FOLDER/account""",
}


@pytest.fixture
def slurm(tmp_path, monkeypatch) -> Path:
    """A folder of fake commands of Slurm, first on PATH; waits are short."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, script in FAKES.items():
        file = folder / name
        file.write_text(
            f'#!/bin/bash\necho "$@" >> FOLDER/said-{name}\n{script}\n'.replace(
                "FOLDER", str(folder)
            )
        )
        file.chmod(0o755)
    (folder / "state").write_text("PENDING|Priority|\n")
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for name in ("POLL", "FIRST_WAIT", "LONGEST_WAIT"):
        monkeypatch.setattr(launch, name, 0.01)
    for name in ("GRACE_RESULT", "GRACE_CANCEL"):
        monkeypatch.setattr(launch, name, 0.5)
    return folder


@pytest.fixture
def suite(tmp_path, monkeypatch) -> Path:
    """The small suite's params.yaml in the current folder."""
    write_params(tmp_path, small_params())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(slurm: Path, name: str) -> list[str]:
    file = slurm / f"said-{name}"
    if not file.exists():
        return []
    return file.read_text().splitlines()


def settings(folder: Path, text: str = "executor: slurm") -> Path:
    path = folder / "slurm.yaml"
    path.write_text(text)
    return path


def trip(folder: Path, monkeypatch, text: str = "executor: slurm", kind: str = "30_train") -> Trip:
    monkeypatch.setenv("BENCHLIB_LAUNCH", str(settings(folder, text)))
    values = {"params": str(folder / "params.yaml"), "key": "map"}
    made = launch.plan(kind, values, [kind, "key=map"])
    assert made is not None
    return made


class Play:
    """In the place of the cluster: what happens at each look whether we are told to end."""

    def __init__(self, trip: Trip, slurm: Path, *acts: Callable[[Play], None]) -> None:
        self.trip = trip
        self.slurm = slurm
        self.acts = [nothing, *acts]  # a look comes before the job is out
        self.stop = False

    def __call__(self) -> bool:
        if self.acts:
            self.acts.pop(0)(self)
        return self.stop

    def result(self, outcome: str, value: object) -> None:
        file = self.trip.folder / "new"
        file.write_bytes(cloudpickle.dumps((outcome, value)))
        file.rename(self.trip.folder / "7_0_result.pkl")

    def log(self, text: str, end: str = "out") -> None:
        with open(self.trip.folder / f"7_0_log.{end}", "a") as file:
            file.write(text)

    def state(self, line: str | None) -> None:
        file = self.slurm / "state"
        file.unlink(missing_ok=True)
        if line is not None:
            file.write_text(line + "\n")


def nothing(_play: Play) -> None:
    pass


def looks(number: int) -> list[Callable[[Play], None]]:
    return [nothing] * number


# ---------------------------------------------------------------- the settings


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("partion: x", "slurm.yaml: partion: unknown key; may be .*; did you mean partition\\?"),
        ("gpus: two", "slurm.yaml: gpus: got 'two'; input should be a valid integer"),
        ("time: 0", "slurm.yaml: time: got 0; .* greater than or equal to 1"),
        ("- a", "slurm.yaml: got \\['a'\\]; expected a mapping"),
        ("a: [", "slurm.yaml: line .* not YAML"),
        ("executor: slrm", "slurm.yaml: executor: got 'slrm'; .*'slurm', 'local' or 'debug'"),
        ("travel: [trian]", "slurm.yaml: travel: no stage 'trian'; .* did you mean train\\?"),
        ("stages: {trian: {}}", "slurm.yaml: stages: no stage 'trian'; .* did you mean train\\?"),
        ("stages: {train: {gpsu: 1}}", "slurm.yaml: stages.train.gpsu: unknown key; .* gpus\\?"),
        ("stages: {tables: {cpus: 1}}", "slurm.yaml: stages.tables: tables does not travel"),
        ("stages: {train: {time: 1}}", "slurm.yaml: stages.train.notice: got 90 .* less than"),
        ("directives: {mem: 3}", "slurm.yaml: directives.mem: write that as `memory`"),
        ("directives: {output: x}", "slurm.yaml: directives.output: benchlib sets that itself"),
        ("directives: {--nice: 1}", "slurm.yaml: directives.--nice: no option of sbatch"),
        ("directives: {nice: 1.5}", "slurm.yaml: directives.nice: got 1.5; expected text"),
        ("directives: {exclusive: false}", "directives.exclusive: got False; expected text"),
        ('directives: {nice: "1\\nrm"}', "directives.nice: got .*; expected text in one line"),
        ('setup: ["a\\nb"]', "slurm.yaml: setup.0: got 'a.nb'; expected text in one line"),
        ("environment: [NOPE_1]", "slurm.yaml: environment: NOPE_1 is not set here"),
    ],
)
def test_a_mistake_in_the_settings_is_one_line(slurm, tmp_path, text, message):
    with pytest.raises(BenchError, match=message) as error:
        launch.read_settings(settings(tmp_path, text))
    assert "\n" not in str(error.value)


def test_settings_that_are_not_there_or_cannot_run_here(tmp_path, monkeypatch):
    with pytest.raises(BenchError, match="BENCHLIB_LAUNCH: .*none.yaml: no such file"):
        launch.read_settings(tmp_path / "none.yaml")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BenchError, match="no `sbatch` on this host"):
        launch.read_settings(settings(tmp_path))
    launch.read_settings(settings(tmp_path, "executor: local"))
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(BenchError, match="submitit is not installed; pip install -r requirements-"):
        launch.read_settings(settings(tmp_path, "executor: local"))


def test_a_relative_path_begins_here_or_at_dvcs_project(tmp_path, monkeypatch):
    (tmp_path / "suites").mkdir()
    monkeypatch.chdir(tmp_path / "suites")
    monkeypatch.setenv("BENCHLIB_LAUNCH", "slurm.yaml")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert launch.settings_file() == tmp_path / "slurm.yaml"
    settings(tmp_path / "suites")
    assert launch.settings_file() == tmp_path / "suites" / "slurm.yaml"


def test_only_stages_that_are_named_travel(slurm, suite, monkeypatch):
    monkeypatch.setenv("BENCHLIB_LAUNCH", str(settings(suite, "travel: [train, fetch]")))
    values = {"params": str(suite / "params.yaml"), "key": "test/shake-blur"}
    assert launch.plan("50_tables", values, []) is None
    assert launch.plan("20_priors", values, []) is None
    assert launch.plan("30_train", {}, []) is None  # a notebook of somebody's own
    found = launch.plan("10_fetch", values, [])
    assert found is not None and found.name == "benchlib:small:fetch@test.shake-blur"
    assert found.folder == suite / "work" / "small" / ".jobs" / "fetch@test.shake-blur"


# ---------------------------------------------------------------- what Slurm is asked for

ASKED = """
partition: gpu
cpus: 8
memory: 32
time: 600
timeouts: 3
setup: [module load cuda]
environment: [WANTED]
stages:
  train: {gpus: 2, constraint: "a100|h100", notice: 120, directives: {nice: 100, exclusive: true}}
"""


def test_the_job_asks_for_what_the_settings_say(slurm, suite, monkeypatch):
    for name in ("WANTED", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "https_proxy"):
        monkeypatch.setenv(name, f"value-of-{name}")
    monkeypatch.setenv("BENCHLIB_MIRROR", "https://me:password@host/mirror")
    monkeypatch.setenv("BENCHLIB_CACHE", "/cache")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setenv("SLURM_JOB_ID", "99")  # within a job of somebody's
    for name in ("SBATCH_PARTITION", "SBATCH_TIMELIMIT", "SBATCH_EXPORT", "SBATCH_ACCOUNT"):
        monkeypatch.setenv(name, "x")
    made = trip(suite, monkeypatch, ASKED)
    assert launch.run(made, Play(made, slurm, lambda play: play.result("success", 0))) == 0

    script = (slurm / "script").read_text().splitlines()
    for line in (
        "#SBATCH --job-name=benchlib:small:train@map",
        "#SBATCH --partition=gpu",
        "#SBATCH --constraint='a100|h100'",
        "#SBATCH --cpus-per-task=8",
        "#SBATCH --gpus-per-node=2",
        "#SBATCH --mem=32GB",
        "#SBATCH --time=600",
        "#SBATCH --signal=USR2@120",
        "#SBATCH --requeue",
        "#SBATCH --nice=100",
        "#SBATCH --exclusive",
        "#SBATCH --open-mode=append",
    ):
        assert line in script
    assert not [line for line in script if re_any(line, "wckey", "account", "qos", "password")]
    command = script[-1]
    assert command.startswith("srun ") and " --cpus-per-task=8 " in command
    assert script.index("module load cuda") < script.index(command)

    lines = (slurm / "environment").read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines if "=" in line)
    assert given["WANTED"] == "value-of-WANTED" and given["BENCHLIB_CACHE"] == "/cache"
    assert given["PATH"] == os.environ["PATH"] and given["SBATCH_ACCOUNT"] == "x"
    assert not {"HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "https_proxy", "BENCHLIB_MIRROR"} & set(given)
    assert not {"BENCHLIB_LAUNCH", "CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID"} & set(given)
    assert not {"SBATCH_PARTITION", "SBATCH_TIMELIMIT", "SBATCH_EXPORT"} & set(given)
    assert os.environ["HF_TOKEN"] == "value-of-HF_TOKEN"  # our own are as they were


def re_any(line: str, *words: str) -> bool:
    return any(word in line for word in words)


def test_no_secret_reaches_a_file(slurm, suite, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_123456789")
    made = trip(suite, monkeypatch)
    play = Play(made, slurm, lambda play: play.result("success", 3))
    launch.run(made, play)  # a failure: what it wrote stays
    launch._submit(made)  # and the pickle
    for file in suite.rglob("*"):
        assert not file.is_file() or b"hf_123456789" not in file.read_bytes(), file


def test_threads_are_the_processors_that_were_asked_for(slurm, suite, monkeypatch):
    assert trip(suite, monkeypatch, "cpus: 6").stage.threads == 6
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert trip(suite, monkeypatch, "cpus: 6").stage.threads is None


def test_what_sbatch_refuses_is_one_line(slurm, suite, monkeypatch, capfd):
    (slurm / "refuse").touch()
    made = trip(suite, monkeypatch)
    with pytest.raises(BenchError) as error:
        launch.run(made, Play(made, slurm))
    assert str(error.value) == (
        f"{suite}/slurm.yaml: benchlib:small:train@map was not submitted: Batch job submission "
        "failed: Invalid partition name specified"
    )
    assert capfd.readouterr().err == ""


# ---------------------------------------------------------------- what it says, and how it ends


def test_the_log_is_shown_and_the_exit_code_is_the_jobs(slurm, suite, monkeypatch, capfd):
    made = trip(suite, monkeypatch)
    play = Play(
        made,
        slurm,
        lambda play: play.state("RUNNING|None|node7"),
        *looks(30),
        lambda play: play.log("submitit INFO (2026) - Starting\niteration 1/4\nitera"),
        lambda play: play.log(
            "tion 2/4\nsubmitit INFO (2026) - Exiting after successful completion\n"
        ),
        lambda play: play.log("nbrun: the disk is full", "err"),
        lambda play: play.result("success", 3),
    )
    assert launch.run(made, play) == 3
    out, err = capfd.readouterr()
    log = "work/small/.jobs/train@map/7_0_log.out"
    assert out.splitlines() == [
        f"nbrun: job 7 (benchlib:small:train@map) is submitted; its log: {log}",
        "nbrun: job 7: running on node7",
        "iteration 1/4",
        "iteration 2/4",
    ]
    assert err == "nbrun: the disk is full"
    left = sorted(file.name for file in made.folder.iterdir() if file.suffix in (".out", ".pkl"))
    assert left == ["7_0_log.out"]  # logs stay, pickles go

    play = Play(made, slurm, lambda play: play.result("success", 0))
    assert launch.run(made, play) == 0
    assert not made.folder.exists()


@pytest.mark.parametrize(
    ("state", "account", "what"),
    [
        ("CANCELLED by 1000|None|n1", None, "ended without a result: cancelled on n1; run it"),
        (
            "OUT_OF_MEMORY|OutOfMemory|",
            None,
            ".*: out of memory .*ask for more `memory` in slurm.yaml",
        ),
        (
            "TIMEOUT|TimeLimit|n1",
            None,
            ".*: timeout on n1; ask for more `time`, or .* in slurm.yaml",
        ),
        (None, "NODE_FAIL|None|n2\nx|y|z", "ended without a result: node fail on n2"),
        (None, None, "is lost: Slurm no longer knows it"),
    ],
)
def test_a_lost_job_is_one_line(slurm, suite, monkeypatch, state, account, what):
    if account:
        (slurm / "account").write_text(account)
    made = trip(suite, monkeypatch)
    with pytest.raises(BenchError, match=f"^job 7 .benchlib:small:train@map. {what}") as error:
        launch.run(made, Play(made, slurm, lambda play: play.state(state)))
    assert str(error.value).endswith("; its log: work/small/.jobs/train@map/7_0_log.out")
    assert "\n" not in str(error.value)
    assert said(slurm, "scancel") == []


def test_a_job_that_is_queued_again_is_followed(slurm, suite, monkeypatch, capfd):
    made = trip(suite, monkeypatch)
    monkeypatch.setattr(launch, "GRACE_RESULT", 3.0)

    def lose(play: Play) -> None:
        """The node fails; while its result is waited for, Slurm queues the job again."""
        play.state("NODE_FAIL|None|n1")
        threading.Timer(0.4, play.state, ["PENDING|BeginTime|"]).start()

    pending = [lambda play: play.state("RUNNING|None|n1"), *looks(25), lose]
    play = Play(made, slurm, *pending, *looks(60), lambda play: play.result("success", 0))
    assert launch.run(made, play) == 0
    lines = capfd.readouterr().out
    assert "job 7: running on n1" in lines and "job 7: pending (BeginTime)" in lines


def test_a_slurm_that_does_not_answer_has_lost_nothing(slurm, suite, monkeypatch):
    made = trip(suite, monkeypatch)
    (slurm / "down").touch()
    play = Play(made, slurm, *looks(60), lambda play: play.result("success", 0))
    assert launch.run(made, play) == 0
    assert len(said(slurm, "squeue")) > 1


def test_an_error_within_the_job_is_one_line(slurm, suite, monkeypatch):
    made = trip(suite, monkeypatch)
    trace = (
        "Traceback (most recent call last):\n  File x\nModuleNotFoundError: No module named 'b'\n"
    )
    with pytest.raises(BenchError, match=r"^job 7 \(.*\): ModuleNotFoundError: No module") as error:
        launch.run(made, Play(made, slurm, lambda play: play.result("error", trace)))
    assert "\n" not in str(error.value)


def test_a_job_that_met_its_time_limit_too_often_is_one_line(slurm, suite, monkeypatch):
    made = trip(suite, monkeypatch, "timeouts: 2")
    play = Play(made, slurm, lambda play: play.result("success", launch.TIMED_OUT))
    with pytest.raises(BenchError, match="has met its time limit 3 times; ask for more `time`"):
        launch.run(made, play)


def test_who_is_told_to_end_cancels_the_job_and_waits(slurm, suite, monkeypatch, capfd):
    made = trip(suite, monkeypatch)

    def tell(play: Play) -> None:
        play.stop = True

    launch.run(made, Play(made, slurm, *looks(3), tell))
    assert said(slurm, "scancel") == ["7"]
    assert made.mark.exists()
    assert "job 7 is cancelled\n" in capfd.readouterr().out


def test_a_job_of_an_earlier_time_is_cancelled_first(slurm, suite, monkeypatch, capfd):
    made = trip(suite, monkeypatch)
    made.folder.mkdir(parents=True)
    (made.folder / "job").write_text("6")
    play = Play(made, slurm, lambda play: play.result("success", 0))
    assert launch.run(made, play) == 0
    assert said(slurm, "scancel") == ["6"]
    assert "job 6 of an earlier time is still there" in capfd.readouterr().out


def test_no_more_jobs_are_out_than_at_once(slurm, suite, monkeypatch):
    made = trip(suite, monkeypatch, "at_once: 1")
    play = Play(made, slurm)
    waiting = threading.Thread(target=launch.run, args=(made, play))
    with launch._turn(made, lambda: False):
        waiting.start()
        time.sleep(0.3)
        assert said(slurm, "sbatch") == []
    wait_for(lambda: said(slurm, "squeue"))  # the job is out
    play.result("success", 0)
    waiting.join(20)
    assert not waiting.is_alive() and said(slurm, "sbatch")


KILLED = """
import sys
from benchlib import launch
made = launch.plan("30_train", {"params": "params.yaml", "key": "map"}, [])
launch.run(made, lambda: False)
"""


def test_a_launcher_that_is_killed_leaves_no_job(slurm, suite, monkeypatch):
    trip(suite, monkeypatch)
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED], env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    wait_for(lambda: len(said(slurm, "squeue")) > 0)
    process.kill()
    process.wait()
    wait_for(lambda: said(slurm, "scancel"))
    assert said(slurm, "scancel") == ["7"]


# ---------------------------------------------------------------- in the job


def test_a_stage_that_sigterm_ends_waits_for_what_slurm_does_next(tmp_path, monkeypatch):
    monkeypatch.setattr(launch, "COMMAND", "kill -TERM $$")
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    mark = tmp_path / "stop"
    stage = Stage([], str(tmp_path), str(mark), None)
    threading.Timer(1.0, mark.touch).start()
    began = time.monotonic()
    assert stage() == 143
    assert time.monotonic() - began >= 0.9
    monkeypatch.delenv("SUBMITIT_EXECUTOR")
    assert Stage([], str(tmp_path), str(tmp_path / "none"), None)() == 143


def test_a_stage_gets_its_threads_and_not_the_settings(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("BENCHLIB_LAUNCH", "x")
    monkeypatch.setattr(launch, "COMMAND", 'echo "$OMP_NUM_THREADS-$BENCHLIB_LAUNCH-"; exit 5')
    assert Stage([], str(tmp_path), str(tmp_path / "stop"), 3)() == 5
    assert capfd.readouterr().out == "3--\n"


def test_a_mark_ends_the_stage(tmp_path, monkeypatch):
    monkeypatch.setattr(launch, "COMMAND", "trap 'exit 9' TERM; sleep 100 & wait")
    mark = tmp_path / "stop"
    threading.Timer(0.5, mark.touch).start()
    assert Stage([], str(tmp_path), str(mark), None)() == 9


# ---------------------------------------------------------------- submitit's own executors


def project(folder: Path, *cells: str) -> dict[str, str]:
    """The small suite, and a notebook of these cells that is a stage by its name."""
    write_params(folder, small_params())
    book = nbformat.v4.new_notebook()
    book.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    first = 'params = "params.yaml"\nkey = "map"'
    book.cells.append(nbformat.v4.new_code_cell(first, metadata={"tags": ["parameters"]}))
    book.cells += [nbformat.v4.new_code_cell(cell) for cell in cells]
    nbformat.write(book, folder / "30_train.ipynb")
    settings(folder, "executor: local\ncpus: 1")
    return os.environ | {"PYTHONPATH": str(ROOT), "BENCHLIB_LAUNCH": "slurm.yaml"}


COMMAND = [sys.executable, "-m", "benchlib.nbrun", "30_train.ipynb", "--out", "out.ipynb"]


@pytest.mark.parametrize("executor", ["local", "debug"])
def test_a_notebook_runs_as_a_job(tmp_path, executor):
    env = project(tmp_path, "print('from the job', key)", "1 / 0")
    settings(tmp_path, f"executor: {executor}\ncpus: 1")
    done = subprocess.run(
        [*COMMAND, "key=cat"], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 1
    assert "from the job cat\n" in done.stdout
    assert done.stderr == (
        "nbrun: ZeroDivisionError: division by zero (cell 4 of 30_train.ipynb; the traceback is in "
        "out.ipynb)\n"
    )
    assert (tmp_path / "out.ipynb").is_file()


def family(folder: Path) -> list[psutil.Process]:
    """Processes that work in a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            pass
    return [process for process in found if process.pid != os.getpid()]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_the_command(tmp_path, how):
    env = project(tmp_path, "import time, pathlib\npathlib.Path('begun').touch()\ntime.sleep(1000)")
    process = subprocess.Popen(
        COMMAND, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for((tmp_path / "begun").exists)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    wait_for(lambda: not family(tmp_path), 30)
    if how != signal.SIGKILL:
        assert process.returncode == 128 + how
        assert err.splitlines()[-1] == f"nbrun: out.ipynb stopped by {how.name}"
        assert "Traceback" not in err


# ---------------------------------------------------------------- preemption and time-out


def straight(folder: Path) -> dict:
    """The weights of one run of the small suite, trained without a stop."""
    return load_file(folder / "work" / "small" / "runs" / "no-prior" / "seed0.safetensors")


def training(folder: Path, iterations: int = 60) -> dict[str, str]:
    made = small_params()
    made["training"] |= {"iterations": iterations, "threads": 1}
    made["runs"] = {"no-prior": made["runs"]["no-prior"]}
    folder.mkdir()
    make_inputs(load_params(write_params(folder, made)))
    return os.environ | {"PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("straight") / "here"
    env = training(folder)
    command = [sys.executable, "-m", "benchlib.nbrun", "30_train", "key=no-prior"]
    subprocess.run(command, cwd=folder, env=env, check=True, capture_output=True)
    return straight(folder)


def task_of(folder: Path) -> psutil.Process | None:
    """The job's own process, which Slurm would signal."""
    for process in family(folder):
        if "submitit.core._submit" in process.cmdline():
            return process
    return None


def test_a_training_that_is_preempted_is_the_straight_one(tmp_path, trained):
    """As ``SlurmJob._interrupt`` does: the signal that requeues, once the training has a checkpoint."""
    folder = tmp_path / "here"
    env = training(folder) | {"BENCHLIB_LAUNCH": "slurm.yaml"}
    settings(folder, "executor: local\ncpus: 1")
    command = [sys.executable, "-m", "benchlib.nbrun", "30_train", "key=no-prior"]
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log)
        wait_for(lambda: list((folder / "work/small/.resume").glob("*/*seed0.pt")))
        task = task_of(folder)
        assert task is not None
        task.send_signal(signal.SIGUSR2)
        assert process.wait(200) == 0
    said = (folder / "log").read_text()
    assert "resumed seed 0 at iteration" in said and "submitit" not in said
    weights = straight(folder)
    assert weights.keys() == trained.keys()
    for name, value in weights.items():
        assert value.equal(trained[name]), name


def test_a_stage_that_submitit_gives_up_returns(monkeypatch):
    from submitit.core.utils import UncompletedJobError

    def too_often(_stage: Stage) -> int:
        raise UncompletedJobError("Job not requeued because: timed-out too many times.")

    monkeypatch.setattr(Stage, "run", too_often)
    assert Stage([], "", "", None)() == launch.TIMED_OUT


def wait_for(condition: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


# ---------------------------------------------------------------- the command


def test_run_reads_the_settings_before_any_work(suite, monkeypatch, capfd):
    (suite / "dvc.yaml").write_text("stages: {}\n")
    monkeypatch.setenv("BENCHLIB_LAUNCH", "slurm.yaml")
    settings(suite, "partion: x")
    assert main(["run", "-j", "2"]) == 1
    assert "partion: unknown key" in capfd.readouterr().err
    settings(suite, "executor: local")
    assert main(["run", "--gpus", "0"]) == 1
    assert "those are devices of this host, and stages run as jobs" in capfd.readouterr().err


def test_stages_that_wait_for_jobs_share_no_threads_of_this_host(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("BENCHLIB_LAUNCH", "slurm.yaml")
    assert running._slots(3, None) == [Slot(1), Slot(2), Slot(3)]
    assert running._slots(None, None) == [Slot(1)]


def test_a_bad_settings_file_stops_the_launcher_too(suite, monkeypatch, capfd):
    monkeypatch.setenv("BENCHLIB_LAUNCH", "none.yaml")
    notebook = ROOT / "notebooks" / "30_train.ipynb"
    with pytest.raises(BenchError, match="no such file"):
        nbrun.plan_trip(notebook, {"params": "params.yaml", "key": "map"}, [])
