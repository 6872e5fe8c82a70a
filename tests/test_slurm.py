"""With a real Slurm of one node. It takes minutes, root, and Debian's packages: it runs where BENCHLIB_TEST_SLURM=1.

apt-get install -y --no-install-recommends slurm-wlm munge
BENCHLIB_TEST_SLURM=1 pytest tests/test_slurm.py
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pandas as pd
import psutil
import pytest
import slurm_node
from conftest import make_inputs, small_params, write_params
from golden_smoke import smoke_rows
from safetensors.torch import load_file

from benchlib.params import load_params

pytestmark = pytest.mark.skipif(
    os.environ.get("BENCHLIB_TEST_SLURM") != "1",
    reason="BENCHLIB_TEST_SLURM is not 1: a real Slurm takes minutes and Debian's packages",
)
ROOT = Path(__file__).parent.parent
TRAIN = [sys.executable, "-m", "benchlib.nbrun", "30_train", "key=no-prior"]
SETTINGS = "cpus: 1\ntime: 50\n"


@pytest.fixture(scope="module")
def slurm() -> Iterator[dict[str, str]]:
    """The environment of a Slurm of one node with four processors, by its own word."""
    lacking = slurm_node.missing()
    if lacking or os.getuid():
        pytest.fail(f"needs root and {', '.join(lacking) or 'nothing else'}")
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    made = slurm_node.start(folder)
    yield os.environ | made | {"PYTHONPATH": str(ROOT)}
    slurm_node.stop(folder)
    shutil.rmtree(folder, ignore_errors=True)


def training(folder: Path, iterations: int = 60) -> None:
    """The small suite with one run and its inputs."""
    made = small_params()
    made["training"] |= {"iterations": iterations, "threads": 1}
    made["runs"] = {"no-prior": made["runs"]["no-prior"]}
    folder.mkdir()
    make_inputs(load_params(write_params(folder, made)))
    (folder / "slurm.yaml").write_text(SETTINGS)


def weights(folder: Path) -> dict:
    return load_file(folder / "work" / "small" / "runs" / "no-prior" / "seed0.safetensors")


def jobs(env: dict[str, str]) -> list[str]:
    """Numbers of the jobs that Slurm has not ended."""
    asked = subprocess.run(["squeue", "-h", "-o", "%i"], env=env, capture_output=True, text=True)
    return asked.stdout.split()


def wait_for(condition: Callable[[], object], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.2)


def begin(folder: Path, env: dict[str, str]) -> subprocess.Popen:
    """The training as a job, once it has a checkpoint; its lines go to the file ``log``."""
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(
            TRAIN, cwd=folder, env=env | {"BENCHLIB_LAUNCH": "slurm.yaml"}, stdout=log, stderr=log
        )
    wait_for(lambda: list((folder / "work/small/.resume").glob("*/*seed0.pt")))
    return process


def test_a_preempted_training_is_the_straight_one(slurm, tmp_path):
    from submitit import SlurmJob

    here, there = tmp_path / "here", tmp_path / "there"
    training(there)
    subprocess.run(TRAIN, cwd=there, env=slurm, check=True, capture_output=True)
    training(here)
    process = begin(here, slurm)
    number = (here / "work/small/.jobs/train@no-prior/job").read_text()
    os.environ["SLURM_CONF"] = slurm["SLURM_CONF"]
    SlurmJob(here / "work/small/.jobs/train@no-prior", number)._interrupt()
    assert process.wait(300) == 0
    said = (here / "log").read_text()
    assert "resumed seed 0 at iteration" in said and "submitit" not in said
    assert not (here / "work/small/.jobs/train@no-prior").exists()
    expected = weights(there)
    for name, value in weights(here).items():
        assert value.equal(expected[name]), name


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_who_ends_the_stage_ends_its_job(slurm, tmp_path, how):
    folder = tmp_path / "here"
    training(folder, iterations=100_000)
    process = begin(folder, slurm)
    process.send_signal(how)
    code = process.wait(60)
    wait_for(lambda: not jobs(slurm), 60)
    if how == signal.SIGTERM:
        assert code == 143
        assert "is cancelled" in (folder / "log").read_text()


def test_a_job_that_somebody_cancels_is_one_line(slurm, tmp_path):
    folder = tmp_path / "here"
    training(folder, iterations=100_000)
    process = begin(folder, slurm)
    number = jobs(slurm)[0]
    subprocess.run(["scancel", number], env=slurm, check=True)
    assert process.wait(120) == 1
    last = (folder / "log").read_text().splitlines()[-1]
    assert last.startswith(f"nbrun: job {number} (benchlib:small:train@no-prior) ended without")
    assert "cancelled on one" in last and last.endswith("_0_log.out")


def copy_of_the_project(folder: Path, env: dict[str, str]) -> Path:
    """A clone with the smoke suite alone: DVC reads every dvc.yaml that is there. Its folder."""
    for name in ("benchlib", "notebooks", "suites/smoke", ".dvcignore"):
        source = ROOT / name
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            left_out = shutil.ignore_patterns("__pycache__", "dvc.lock")
            shutil.copytree(source, folder / name, ignore=left_out)
        else:
            shutil.copy(source, folder / name)
    (folder / ".gitignore").write_text("work/\n")
    for words in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(words, cwd=folder, env=env, check=True)
    shutil.copy(ROOT / ".dvc" / "config", folder / ".dvc" / "config")
    return folder / "suites" / "smoke"


def test_the_smoke_suite_four_at_once_killed_once(slurm, tmp_path):
    project = tmp_path / "clone"
    env = slurm | {"PYTHONPATH": str(project), "BENCHLIB_LAUNCH": str(tmp_path / "slurm.yaml")}
    (tmp_path / "slurm.yaml").write_text(SETTINGS)
    folder = copy_of_the_project(project, env)
    command = [sys.executable, "-m", "benchlib", "run", "-j", "4"]
    most = 0
    with open(tmp_path / "log", "w") as log:
        first = subprocess.Popen(
            command, cwd=folder, env=env, stdout=log, stderr=log, start_new_session=True
        )
        while not list((project / "results/smoke/rows").glob("*.csv")) or most < 4:
            most = max(most, len(jobs(env)))
            assert first.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.3)
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    for process in psutil.process_iter(["cmdline"]):  # stages are in groups of their own
        words = process.info["cmdline"] or []
        if "dvc" in words and str(folder) == _cwd(process):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    wait_for(lambda: not jobs(env), 120)
    again = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert again.returncode == 0, again.stdout + again.stderr
    assert (project / "results/smoke/report.html").is_file()
    assert not list((project / "work/smoke/.jobs").glob("*@*"))
    keys = ["run", "dataset", "image", "metric", "protocol", "swap", "seed"]
    golden = pd.read_csv(ROOT / "tests/golden/smoke.csv", keep_default_na=False, dtype=str)
    rows = smoke_rows(project / "results/smoke/rows")
    both = golden.merge(rows, on=keys, how="outer", suffixes=("_golden", ""), indicator=True)
    assert (both["_merge"] == "both").all()
    psnr = both[both["metric"] == "PSNR"]
    apart = (psnr["value"].astype(float) - psnr["value_golden"].astype(float)).abs()
    assert apart.max() < 0.01


def _cwd(process: psutil.Process) -> str:
    try:
        return process.cwd()
    except psutil.Error:
        return ""
