"""DVC runs the notebooks: what reruns, what does not, and what a kill leaves behind. No prior, so no download."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from conftest import SMALL, small_params, write_params
from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent
ENVIRONMENT = os.environ | {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
}


def params(iterations: int = 4) -> dict:
    made = small_params()
    made["priors"] = {"none": made["priors"]["none"]}
    plain = {
        "images": {"train": "train", "test": "test"},
        "prior": {"train": "none", "test": "none"},
        "backbone": SMALL,
    }
    plain["init"] = "weights/random"
    made["runs"] = {
        "blurred": plain | {"method": {"name": "identity"}},
        "no-prior": plain | {"method": {"name": "none"}, "training": {"lr": 0.001}},
        "other": plain | {"method": {"name": "none"}, "training": {"lr": 0.001}, "seeds": [1]},
    }
    made["training"] |= {"iterations": iterations}
    return made


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the project with parameters of its own, run once."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("benchlib", "notebooks", "dvc.yaml", ".dvcignore"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(
                source,
                folder / name,
                ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"),
            )
        else:
            shutil.copy(source, folder / name)
    write_params(folder, params())
    for words in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(words, cwd=folder, env=ENVIRONMENT, check=True)
    (folder / ".gitignore").write_text("work/\n")
    done = repro(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def repro(folder: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "dvc", "repro"]
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)


def ran(done: subprocess.CompletedProcess) -> list[str]:
    return re.findall(r"Running stage '([^']+)'", done.stdout)


def with_lr(folder: Path, run: str, lr: float) -> None:
    path = folder / "params.yaml"
    yaml = YAML()
    made = yaml.load(path.read_text())
    made["runs"][run]["training"]["lr"] = lr
    with open(path, "w") as file:
        yaml.dump(made, file)


def test_a_second_repro_has_nothing_to_do(project):
    assert ran(repro(project)) == []


def test_the_learning_rate_of_one_run_reruns_that_run_alone(project):
    with_lr(project, "other", 0.002)
    expected = ["evaluate@other", "names", "report", "tables", "train@other"]
    assert sorted(ran(repro(project))) == expected


def test_everything_has_its_final_name_and_nothing_a_temporary_one(project):
    assert (project / "results" / "small" / "report.html").stat().st_size > 10_000
    assert (project / "work" / "small" / "runs" / "other" / "seed1.safetensors").exists()
    assert not list(project.rglob(".new-*"))


def test_a_mistake_in_the_parameters_stops_before_any_work_in_one_line(project):
    path = project / "params.yaml"
    good = path.read_text()
    path.write_text(good.replace("lr: 0.001", "lrr: 0.001", 1))
    failed = repro(project)
    path.write_text(good)
    assert failed.returncode != 0
    lines = [
        line
        for line in (failed.stdout + failed.stderr).splitlines()
        if "lrr" in line and "unknown key" in line
    ]
    assert len(lines) == 1
    assert re.search(
        r"runs\.[a-z-]+\.training\.lrr: unknown key; may be .*did you mean lr\?", lines[0]
    )
    assert "iteration" not in failed.stdout


def family(folder: Path) -> list[psutil.Process]:
    """Processes that work in the project's folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if (
                process.pid != os.getpid()
                and process.cwd() == str(folder)
                and process.status() != "zombie"
            ):
                found.append(process)
        except psutil.Error:
            pass
    return found


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_killed_repro_leaves_nothing_behind_and_resumes(project, how):
    path = project / "params.yaml"
    good = path.read_text()
    write_params(project, params(iterations=100_000))
    log = project / "killed.log"
    with open(log, "w") as file:
        words = [sys.executable, "-m", "dvc", "repro", "train@no-prior"]
        dvc = subprocess.Popen(
            words, cwd=project, env=ENVIRONMENT, stdout=file, stderr=file, start_new_session=True
        )
        wait_for(lambda: list((project / "work" / "small" / ".resume").glob("*/*seed0.pt")), 60)
        if how == signal.SIGINT:
            os.killpg(dvc.pid, how)  # as a terminal does for Ctrl-C
        else:
            dvc.send_signal(how)
        wait_for(lambda: not family(project), 20)
        dvc.wait()
    assert not (project / "work" / "small" / "runs" / "no-prior").exists()
    done = int(re.findall(r"iteration (\d+)/100000", log.read_text())[-1])
    write_params(project, params(iterations=100_000))
    with open(log, "w") as file:
        again = subprocess.Popen(
            words, cwd=project, env=ENVIRONMENT, stdout=file, stderr=file, start_new_session=True
        )
        wait_for(lambda: "resumed seed 0 at iteration" in log.read_text(), 60)
        os.killpg(again.pid, signal.SIGKILL)
        wait_for(lambda: not family(project), 20)
    resumed = int(re.findall(r"resumed seed 0 at iteration (\d+)", log.read_text())[0])
    assert 0 < resumed <= done + 2  # lines are logged every second iteration
    path.write_text(good)
    shutil.rmtree(project / "work" / "small" / ".resume", ignore_errors=True)


def wait_for(condition, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.1)
