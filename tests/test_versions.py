"""Cheap to change: what reruns when the project's own files change, in every suite that has a lock.

A copy of the project is edited, and DVC is asked what it would run; nothing runs.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from benchlib import registry
from benchlib.contracts import BenchError

ROOT = Path(__file__).parent.parent
ENVIRONMENT = os.environ | {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
}


def committed_locks() -> list[Path]:
    """The folders of the suites whose locks git tracks; the smoke suite's comes and goes."""
    words = ["git", "ls-files", "dvc.lock", "suites/*/dvc.lock"]
    listed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    return sorted(Path(line).parent for line in listed.stdout.splitlines())


LOCKS = committed_locks()
NEW_FILES = ("priors", "degrade", "datasets", "metrics", "methods", "backbones", "tasks")
DOCSTRINGS = (
    "train/loop.py",
    "train/data.py",
    "train/record.py",
    "restore.py",
    "evaluate.py",
    "prepare.py",
    "imageio.py",
    "priors/sam.py",
    "priors/_loop.py",
    "priors/kinds/masks.py",
    "degrade/shake_blur.py",
    "datasets/photographs.py",
    "metrics/ssim.py",
    "tasks/image.py",
    "report/tables.py",
    "report/page.py",
)


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """The project's tracked files in a folder of their own, nothing made."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout: nothing to copy")
    folder = tmp_path_factory.mktemp("clone")
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    return folder


def would_run(folder: Path) -> list[str]:
    """The stages that ``dvc repro`` would run in a suite's folder, with no data at hand."""
    command = [sys.executable, "-m", "dvc", "repro", "--allow-missing", "--dry"]
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return re.findall(r"Running stage '(?:[^':]*:)?([^']+)'", done.stdout)


def outdated(folder: Path) -> set[str]:
    """The stages whose own versions, parameters or code differ from the lock.

    Not by ``dvc repro --dry``: with no data at hand that stops at the first such stage.
    """
    command = [sys.executable, "-m", "dvc", "status", "--json", "dvc.yaml"]
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = set()
    for stage, changes in json.loads(done.stdout).items():
        for change in changes:
            if not isinstance(change, dict):
                continue  # "changed command", say
            states = change.get("changed deps", {}).values()
            if any(state != "deleted" for state in states):  # data is not there
                found.add(stage)
    return found


def edit(path: Path, old: str, new: str) -> None:
    words = path.read_text()
    assert old in words, f"{path}: no {old!r}"
    path.write_text(words.replace(old, new, 1))


@pytest.fixture
def restored(clone):
    """The clone, put back as it was when the test ends."""
    kept = {path: path.read_bytes() for path in (clone / "benchlib").rglob("*") if path.is_file()}
    yield clone
    for path in list((clone / "benchlib").rglob("*")):
        if path.is_file() and path not in kept:
            path.unlink()
    for path, content in kept.items():
        if path.read_bytes() != content:
            path.write_bytes(content)


def test_every_committed_result_has_a_lock_that_says_what_made_it():
    words = ["git", "ls-files", "results/*/rows/*.csv"]
    listed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    suites = {Path(line).parts[1] for line in listed.stdout.splitlines()}
    locked = {folder.name or "demo" for folder in LOCKS}
    assert suites == locked


@pytest.mark.parametrize("suite", LOCKS, ids=str)
def test_nothing_would_run_as_the_project_stands(clone, suite):
    assert would_run(clone / suite) == [], "run the suite and commit its lock with its results"


@pytest.mark.parametrize("suite", LOCKS, ids=str)
def test_other_words_and_new_files_rerun_nothing(restored, suite):
    package = restored / "benchlib"
    for name in DOCSTRINGS:
        edit(package / name, '"""', '"""Said in other words. ')
    for folder in NEW_FILES:
        (package / folder / "brand_new.py").write_text('"""New."""\n\nVERSION = 1\n')
    with open(package / "assets" / "catalogue.yaml", "a") as file:
        file.write("\nbrand-new-entry:\n  source: [nowhere]\n")
    assert would_run(restored / suite) == []


# file -> the demo's stages that read its version, as a pattern
RAISED = {
    "datasets/photographs.py": r"fetch@.*",
    "degrade/local_blur.py": r"fetch@test/local-blur",
    "degrade/shake_blur.py": r"fetch@(train/shake-blur(-validation)?|test/shake-blur)",
    "priors/sam.py": r"priors@sam-(train|test)",
    "priors/superpixels.py": r"priors@(slic|felzenszwalb)-(train|test)",
    "priors/kinds/masks.py": r"priors@(sam|slic|felzenszwalb)-(train|test)",
    "priors/kinds/vector.py": r"nothing",
    "priors/sam_embedding.py": r"nothing",
    "metrics/ssim_3d.py": r"metrics@ssim_3d",
    "metrics/ssim_padded.py": r"nothing",
    "metrics/psnr.py": r"metrics@psnr|train@.*",
    "train/loop.py": r"train@.*",
    "evaluate.py": r"evaluate@.*",
    "restore.py": r"(train|evaluate)@.*",
    "tasks/image.py": r"(train|evaluate)@.*",
    "params.py": r"(train|evaluate)@.*",
    "methods/spt.py": r"nothing",
    "methods/cat.py": r"(train|evaluate)@cat",
    "report/statistics.py": r"tables",
    "report/page.py": r"report",
}


@pytest.mark.parametrize("file", RAISED)
def test_a_raised_version_reruns_exactly_what_depends_on_it(restored, file):
    if Path(".") not in LOCKS:
        pytest.skip("the demo has no lock")
    edit(restored / "benchlib" / file, "\nVERSION = ", "\nVERSION = 7")
    stages = every_stage(restored)
    expected = {stage for stage in stages if re.fullmatch(RAISED[file], stage)}
    assert bool(expected) != (RAISED[file] == "nothing")
    assert outdated(restored) == expected


def every_stage(folder: Path) -> set[str]:
    lock = YAML(typ="safe").load((folder / "dvc.lock").read_text())
    return set(lock["stages"])


def test_a_raised_version_reaches_other_suites_only_where_it_is_used(restored):
    small = Path("suites/spt-small")
    if small not in LOCKS:
        pytest.skip("spt-small has no lock")
    edit(restored / "benchlib/metrics/ssim_3d.py", "\nVERSION = ", "\nVERSION = 1")
    edit(restored / "benchlib/degrade/shake_blur.py", "\nVERSION = ", "\nVERSION = 1")
    assert outdated(restored / small) == set()
    edit(restored / "benchlib/degrade/bicubic.py", "\nVERSION = ", "\nVERSION = 1")
    assert {stage.split("/")[0] for stage in outdated(restored / small)} <= {
        "fetch@train-x4",
        "fetch@test-x4",
        "fetch@test-x4-mirrored",
        "fetch@test-x3-mirrored",
        "fetch@test-x2-mirrored",
    }


def stages() -> dict:
    return YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]


def test_no_stage_depends_on_a_folder_of_code_or_on_the_catalogue():
    for name, stage in stages().items():
        for dependency in stage.get("do", stage).get("deps", []):
            code = "benchlib" in dependency or "notebooks" in dependency
            assert not code or dependency.endswith(".py"), f"{name}: {dependency}"
            assert "catalogue" not in dependency, name


def test_every_version_that_dvc_reads_is_there():
    for name, stage in stages().items():
        for entry in stage.get("do", stage).get("params", []):
            if not isinstance(entry, dict):
                continue
            for file, keys in entry.items():
                path = file.removeprefix("${root}")
                if "${" in path:  # named by the parameters: every file of that folder
                    folder = str(Path(path).parent).removeprefix("benchlib/")
                    for key in registry.names(folder):
                        assert registry.version(f"{folder}/{key}.py") >= 1
                elif path.endswith(".ipynb"):
                    assert keys == ["metadata.version"], name
                else:
                    assert keys == ["VERSION"]
                    assert registry.version(path.removeprefix("benchlib/")) >= 1, name


def test_what_a_file_uses_unseen_is_of_the_version_it_says():
    """A helper whose version rises must raise those of the files that use it, which DVC reads."""
    seen = 0
    for path in sorted((ROOT / "benchlib").rglob("*.py")):
        file = path.relative_to(ROOT / "benchlib").as_posix()
        registry.check_uses(file)
        seen += len(registry.uses(file))
    assert seen > 10


def test_a_helper_that_rose_alone_is_named(monkeypatch):
    real = registry.constants

    def raised(file: str) -> dict:
        found = dict(real(file))
        if file == "degrade/_motion.py":
            found["VERSION"] = 99
        return found

    monkeypatch.setattr(registry, "constants", raised)
    registry.version.cache_clear()
    with pytest.raises(BenchError, match=r"shake_blur\.py: USES degrade/_motion\.py version .* 99"):
        registry.load("degrade", "shake_blur")
    registry.version.cache_clear()


def imported(path: Path) -> set[str]:
    """The package's files that a file imports, anywhere in it."""
    import ast

    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("benchlib"):
            base = "/".join((node.module or "").split(".")[1:])
            names = [f"{base}/{alias.name}.py".lstrip("/") for alias in node.names] + [f"{base}.py"]
            found |= {name for name in names if (ROOT / "benchlib" / name).is_file()}
    return found


NAMED = (
    "methods",
    "backbones",
    "priors",
    "priors/kinds",
    "datasets",
    "degrade",
    "metrics",
    "tasks",
)


@pytest.mark.parametrize("folder", NAMED)
def test_a_file_that_imports_versioned_helpers_says_so(folder):
    """What a named file imports is read by DVC for its stage, or stands in its USES."""
    listed = {  # by the stages of dvc.yaml, for every file of these folders
        file.removeprefix("${root}benchlib/")
        for stage in stages().values()
        for entry in stage.get("do", stage).get("params", [])
        if isinstance(entry, dict)
        for file in entry
    }
    for name in registry.names(folder):
        file = f"{folder}/{name}.py"
        kind = registry.constants(file).get("KIND")  # of a prior: its stage reads that file too
        for other in imported(ROOT / "benchlib" / file):
            read = other in listed or other == f"priors/kinds/{kind}.py"
            if read or "VERSION" not in registry.constants(other):
                continue
            said = set(registry.uses(file))
            assert other in said | indirect(said), f"{file} uses {other}: name it in USES"


def indirect(files: set[str]) -> set[str]:
    return {other for file in files for other in registry.uses(file)}
