"""Plug-ins: files outside the checkout are found, refused in a line, loaded, and linked for DVC."""

from __future__ import annotations

import importlib
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchlib import plugins, registry
from benchlib.contracts import BenchError

ROOT = Path(__file__).parent.parent
METRIC = '''"""A number."""

VERSION = 3
NAME = SHOWN = "number"
UNIT, FACTOR, DIGITS = "", 1, 2
LOWER_IS_BETTER = True
RANGE = (0.0, None)
READS = ("restored", "reference")
ASSETS = ()


def measure(restored, reference):
    return float(abs(restored - reference).max())
'''
METHOD = '''"""The network alone."""

from dataclasses import dataclass

from benchlib.contracts import Info

VERSION = 1
INFO = Info(paper="", source="a test", needs=(), label="mine")


@dataclass(frozen=True)
class Config:
    """Nothing to set."""


def build(backbone, config):
    return backbone()
'''
FUTURE = "from __future__ import annotations\n\n"
BODIES = {
    "methods": "INFO = 1\ndef build(backbone, config): ...\n",
    "backbones": "def build(config): ...\ndef blocks(network): ...\n",
    "priors": "KIND = 'none'\ndef open(config, device): ...\n",
    "priors/kinds": "ENTRIES: tuple = ()\ndef collate(items): ...\n",
    "datasets": "DEGRADES = False\nasync def pairs(config): ...\n",
    "degrade": "try:\n    NEEDS_REGION = True\nfinally:\n    from numpy import array as degrade\n",
    "metrics": "measure, other = abs, abs\n",
    "tasks": "def restore(): ...\nclass views: ...\n",
}


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """No plug-in is known; what a test makes known is forgotten."""
    monkeypatch.setenv(registry.INHERITED, "")
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("benchlib.") and "mine" in name:
            del sys.modules[name]
    registry.version.cache_clear()
    registry.constants.cache_clear()


def write(path: Path, text: str = METRIC) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def activate(folder: Path, *entries: str) -> dict[str, Path]:
    return plugins.activate(entries, folder, "params.yaml: plugins")


# --- finding --------------------------------------------------------------------------------------


def test_a_folder_laid_out_like_the_package_gives_its_files(tmp_path):
    file = write(tmp_path / "lab/metrics/mine_one.py")
    write(tmp_path / "lab/metrics/__init__.py", "")
    helper = write(tmp_path / "lab/priors/kinds/_mine_helper.py", "VERSION = 1\n")
    (tmp_path / "suite").mkdir()
    found = activate(tmp_path / "suite", "../lab")
    assert found == {"metrics/mine_one.py": file, "priors/kinds/_mine_helper.py": helper}
    assert "mine_one" in registry.names("metrics")
    assert "_mine_helper" not in registry.names("priors/kinds")
    assert registry.version("metrics/mine_one.py") == 3
    module = registry.load("metrics", "mine_one")
    assert module.__name__ == "benchlib.metrics.mine_one"
    assert module.__file__ == str(file)
    assert activate(tmp_path, "lab", "lab/metrics/mine_one.py")  # again: nothing new


def test_home_is_expanded_and_a_space_is_no_matter(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    file = write(tmp_path / "my lab #1/mine_two.py")
    assert activate(tmp_path / "elsewhere", "~/my lab #1/mine_two.py") == {
        "metrics/mine_two.py": file
    }


@pytest.mark.parametrize("folder", registry.FOLDERS)
def test_a_single_file_s_folder_is_read_from_what_it_defines(tmp_path, folder):
    file = write(tmp_path / "mine.py", BODIES[folder] + "raise RuntimeError('it was run')\n")
    assert plugins.role(file) == folder


def test_where_several_folders_fit_the_file_s_own_folder_says_which(tmp_path):
    body = BODIES["methods"] + BODIES["backbones"]
    with pytest.raises(BenchError, match=r"mine\.py: fits methods and backbones; a file is told"):
        plugins.role(write(tmp_path / "mine.py", body))
    assert plugins.role(write(tmp_path / "backbones/mine.py", body)) == "backbones"


def test_a_helper_beside_a_single_file_comes_along(tmp_path):
    file = write(tmp_path / "metrics/mine_x.py", "from ._mine_y import Y\n" + METRIC)
    write(tmp_path / "metrics/_mine_y.py", "VERSION = 1\nY = 7\n")
    write(tmp_path / "metrics/mine_z.py")
    assert set(activate(tmp_path, str(file))) == {"metrics/mine_x.py", "metrics/_mine_y.py"}
    assert registry.load("metrics", "mine_x").Y == 7


REFUSED = [
    ({}, "", "got ''; name a folder or a .py file"),
    ({}, "lab", r"lab is not there; name a folder or a \.py file"),
    ({}, "~nobody-of-that-name/lab", "got '~nobody-of-that-name/lab'"),
    ({"lab/notes.txt": ""}, "lab/notes.txt", "notes.txt is no Python file"),
    ({"lab/x.py": METRIC}, "lab", r"no plug-ins in .*lab; expected methods/\*\.py, "),
    ({"lab/metrics/mine.py": METRIC}, "lab/metrics", "name the folder above it"),
    ({"lab/metric/mine.py": METRIC}, "lab", "metric: may be metrics; did you mean metrics?"),
    ({"x.py": "VERSION = 1\n"}, "x.py", r"x\.py: fits no folder; .*methods by INFO and build"),
    ({"x.py": "def f(:\n"}, "x.py", r"x\.py, line 1: SyntaxError"),
    ({"x.py": "a\0b"}, "x.py", r"x\.py"),
    ({"lab/metrics/my-x.py": METRIC}, "lab", r"my-x\.py: the name becomes a Python module"),
    ({"lab/metrics/psnr.py": METRIC}, "lab", r"the package has benchlib/metrics/psnr\.py already"),
    ({"lab/metrics/PSNR.py": METRIC}, "lab", r"the package has benchlib/metrics/psnr\.py already"),
    ({"lab/metrics/_ssim.py": METRIC}, "lab", r"the package has benchlib/metrics/_ssim\.py"),
]


@pytest.mark.parametrize(("files", "entry", "said"), REFUSED)
def test_what_is_no_plug_in_is_refused_in_one_line(tmp_path, files, entry, said):
    for name, text in files.items():
        write(tmp_path / name, text)
    with pytest.raises(BenchError, match=said) as error:
        activate(tmp_path, entry)
    assert "\n" not in str(error.value)


def test_two_plug_ins_of_one_name_are_refused_by_both_places(tmp_path):
    first, second = write(tmp_path / "a/metrics/mine.py"), write(tmp_path / "b/metrics/mine.py")
    with pytest.raises(BenchError, match="another plug-in is called metrics/mine") as error:
        activate(tmp_path, "a", "b")
    assert str(first) in str(error.value) and str(second) in str(error.value)


def test_a_broken_link_among_plug_ins_is_named(tmp_path):
    (tmp_path / "lab/metrics").mkdir(parents=True)
    (tmp_path / "lab/metrics/mine.py").symlink_to("gone.py")
    with pytest.raises(BenchError, match=r"mine\.py is a link to gone\.py, not there"):
        activate(tmp_path, "lab")


# --- loading --------------------------------------------------------------------------------------

BROKEN = [
    ("VERSION = 1\n\ndef f(:\n", r"mine\.py, line 3: SyntaxError"),
    ("VERSION = 1\nreturn\n", r"mine\.py, line 2: SyntaxError: 'return' outside function"),
    ("VERSION = 1\nimport no_such_module_x\n", r"mine\.py, line 2: ModuleNotFoundError: .*install"),
    ("VERSION = 1\n\n\n1 / 0\n", r"mine\.py, line 4: ZeroDivisionError: division by zero"),
    ("VERSION = 1\nimport sys\nsys.exit(3)\n", r"mine\.py, line 3: SystemExit: 3"),
    ("VERSION = 1\nimport json\njson.loads('{')\n", r"mine\.py, line 3: JSONDecodeError"),
    (METRIC.replace("RANGE = (0.0, None)\n", ""), r"mine\.py: no RANGE; a file of metrics defines"),
    (METRIC.replace("VERSION = 3\n", ""), r"mine\.py: no VERSION"),
    (METRIC + "USES = {'metrics/psnr.py': 99}\n", r"mine\.py: USES metrics/psnr\.py version 99"),
    (METRIC + "USES = ['metrics/psnr.py']\n", r"mine\.py: USES: got .*expected versions by file"),
    (METRIC + "USES = {'metrics/absent.py': 1}\n", r"metrics/absent\.py: no such file"),
]


@pytest.mark.parametrize(("text", "said"), BROKEN)
def test_an_error_in_a_plug_in_is_one_line_that_names_file_and_line(tmp_path, text, said):
    write(tmp_path / "metrics/mine.py", text)
    activate(tmp_path, ".")
    with pytest.raises(BenchError, match=said) as error:
        registry.load("metrics", "mine")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("@dataclass(frozen=True)", "@dataclass", r"Config: put @dataclass\(frozen=True\)"),
        ("@dataclass(frozen=True)\n", "", r"Config: put @dataclass\(frozen=True\)"),
        (
            '"""Nothing to set."""\n\n\ndef build',
            "size: NoSuchType = 1\n\n\ndef build",
            "NoSuchType",
        ),
    ],
)
def test_settings_that_cannot_be_checked_are_refused_before_any_work(tmp_path, old, new, said):
    assert old in METHOD
    text = METHOD.replace(old, new).replace("from dataclasses", FUTURE + "from dataclasses")
    write(tmp_path / "methods/mine.py", text)
    activate(tmp_path, ".")
    with pytest.raises(BenchError, match=said) as error:
        registry.load("methods", "mine")
    assert "\n" not in str(error.value)


def test_processes_started_from_here_know_the_plug_ins(tmp_path):
    """A kernel, or a loading process that is spawned: it unpickles what a plug-in defines."""
    write(tmp_path / "metrics/mine.py", METRIC + "\n\nclass Thing:\n    pass\n")
    activate(tmp_path, ".")
    thing = pickle.dumps(registry.load("metrics", "mine").Thing())
    code = (
        "import pickle, sys; from benchlib import registry; "
        "print(type(pickle.loads(sys.stdin.buffer.read())), 'mine' in registry.names('metrics'))"
    )
    done = subprocess.run([sys.executable, "-c", code], input=thing, capture_output=True)
    assert done.stdout.decode().strip() == "<class 'benchlib.metrics.mine.Thing'> True"


def test_a_list_of_plug_ins_that_is_damaged_says_what_to_do(monkeypatch):
    for text in ("[1]", "{", '{"metrics/mine.py": 1}'):
        monkeypatch.setenv(registry.INHERITED, text)
        with pytest.raises(BenchError, match=f"{registry.INHERITED}: .*unset it"):
            registry.names("metrics")


def test_versions_and_hashes_are_those_of_plug_ins_and_of_what_they_use(tmp_path):
    write(tmp_path / "metrics/mine.py", METRIC + 'USES = {"metrics/_mine.py": 2}\n')
    helper = write(tmp_path / "metrics/_mine.py", "VERSION = 2\n")
    activate(tmp_path, ".")
    found = registry.fingerprints(["metrics/mine.py", "metrics/psnr.py"])
    assert {file: one["version"] for file, one in found.items()} == {
        "metrics/_mine.py": 2,
        "metrics/mine.py": 3,
    }
    before = found["metrics/_mine.py"]["sha256"]
    helper.write_text("VERSION = 2  # edited\n")
    assert registry.fingerprints(["metrics/mine.py"])["metrics/_mine.py"]["sha256"] != before
    assert str(tmp_path) not in json.dumps(found)
    assert registry.fingerprints(["metrics/psnr.py"]) == {}


def test_a_run_s_record_names_its_plug_ins_and_its_rows_their_digest(tmp_path):
    from conftest import run, small_params, write_params

    from benchlib import evaluate, plan
    from benchlib.params import load_params

    method = write(tmp_path / "lab/methods/mine_method.py", METHOD)
    write(tmp_path / "lab/metrics/mine_unused.py")
    params = small_params() | {"plugins": ["lab"]}
    params["runs"] = {"mine": run({"name": "mine_method"}), "other": run({"name": "none"})}
    suite = load_params(write_params(tmp_path, params))
    opened = plan.open_run(suite, "mine")
    assert set(opened.record_of_plugins()["plugins"]) == {"methods/mine_method.py"}
    first = evaluate._revision(opened)
    assert re.fullmatch(r"\S+ plugins-[0-9a-f]{12}", first)
    method.write_text(METHOD + "# edited\n")
    assert evaluate._revision(plan.open_run(suite, "mine")) != first
    other = plan.open_run(suite, "other")
    assert other.record_of_plugins() == {}
    assert " " not in evaluate._revision(other)


# --- installed packages ---------------------------------------------------------------------------


def install(folder: Path, value: str, monkeypatch) -> None:
    """A package as pip leaves it, its entry point leading to ``value``."""
    about = folder / "minelab-1.0.dist-info"
    write(about / "METADATA", "Metadata-Version: 2.1\nName: minelab\nVersion: 1.0\n")
    write(about / "entry_points.txt", f"[benchlib.plugins]\nlab = {value}\n")
    monkeypatch.syspath_prepend(folder)
    importlib.invalidate_caches()


def test_an_installed_package_names_its_plug_ins(tmp_path, monkeypatch):
    write(tmp_path / "minelab/__init__.py", "")
    write(tmp_path / "minelab/bench/__init__.py", "")
    file = write(tmp_path / "minelab/bench/metrics/mine.py")
    install(tmp_path, "minelab.bench", monkeypatch)
    assert activate(tmp_path) == {"metrics/mine.py": file}
    write(tmp_path / "minelab/single.py", METRIC)
    install(tmp_path, "minelab.single", monkeypatch)
    assert set(activate(tmp_path)) == {"metrics/single.py"}


def test_an_entry_point_that_leads_nowhere_names_its_package(tmp_path, monkeypatch):
    install(tmp_path, "minelab_absent", monkeypatch)
    with pytest.raises(BenchError, match="'lab' of package minelab: no module 'minelab_absent'"):
        activate(tmp_path)
    write(tmp_path / "minelab_bad/__init__.py", "1 / 0\n")
    install(tmp_path, "minelab_bad.bench", monkeypatch)
    with pytest.raises(BenchError, match="package minelab: ZeroDivisionError"):
        activate(tmp_path)


# --- links for DVC --------------------------------------------------------------------------------


@pytest.fixture
def checkout(tmp_path) -> Path:
    """What a link needs of a checkout: the package's folders, and git."""
    package = tmp_path / "checkout/benchlib"
    write(package / "registry.py", "")
    for folder in registry.FOLDERS:
        (package / folder).mkdir(parents=True, exist_ok=True)
        write(package / folder / "own.py", "")
    subprocess.run(["git", "init", "-q"], cwd=package.parent, check=True)
    subprocess.run(["git", "add", "-A"], cwd=package.parent, check=True)
    return package.parent


def suite(checkout: Path, name: str, *entries: str) -> SimpleNamespace:
    folder = checkout / "suites" / name
    folder.mkdir(parents=True, exist_ok=True)
    return SimpleNamespace(suite=name, folder=folder, root="../../", plugins=list(entries))


def links_in(checkout: Path) -> dict[str, str]:
    found = {}
    for path in (checkout / "benchlib").rglob("*"):
        if path.is_symlink():
            found[path.relative_to(checkout / "benchlib").as_posix()] = os.readlink(path)
    return found


def git_sees(checkout: Path) -> str:
    words = ["git", "status", "--porcelain", "--untracked-files=all"]
    return subprocess.run(words, cwd=checkout, capture_output=True, text=True).stdout.replace(
        "A  ", ""
    )


def test_a_suite_s_links_are_made_renewed_and_removed_and_git_sees_none(tmp_path, checkout):
    clean = git_sees(checkout)
    one, two = write(tmp_path / "lab/metrics/mine.py"), write(tmp_path / "lab/degrade/mine_d.py")
    write(tmp_path / "lab/metrics/_mine_helper.py")
    plugins.link(suite(checkout, "a", "../../../lab"))
    assert links_in(checkout) == {"metrics/mine.py": str(one), "degrade/mine_d.py": str(two)}
    assert git_sees(checkout) == clean
    plugins.link(suite(checkout, "b", "../../../lab/metrics/mine.py"))
    plugins.link(suite(checkout, "a"))  # it names none any more; the other suite does
    assert links_in(checkout) == {"metrics/mine.py": str(one)}
    plugins.link(suite(checkout, "b"))
    assert links_in(checkout) == {}
    assert not (checkout / "benchlib" / registry.LINKS).exists()
    assert git_sees(checkout) == clean


def test_a_plug_in_that_moved_gets_its_link_anew(tmp_path, checkout, monkeypatch):
    write(tmp_path / "lab/metrics/mine.py")
    plugins.link(suite(checkout, "a", "../../../lab"))
    shutil.move(tmp_path / "lab", tmp_path / "moved")
    monkeypatch.setenv(registry.INHERITED, "")  # another process
    plugins.link(suite(checkout, "a", "../../../moved"))
    assert links_in(checkout) == {"metrics/mine.py": str(tmp_path / "moved/metrics/mine.py")}


def test_what_another_hand_put_there_is_named_and_left(tmp_path, checkout):
    write(tmp_path / "lab/metrics/mine.py")
    place = checkout / "benchlib/metrics/mine.py"
    place.symlink_to("/elsewhere/mine.py")
    with pytest.raises(BenchError, match=r"a link to /elsewhere/mine\.py that benchlib did not"):
        plugins.link(suite(checkout, "a", "../../../lab"))
    assert os.readlink(place) == "/elsewhere/mine.py"
    place.unlink()
    place.write_text("")
    with pytest.raises(BenchError, match=r"mine\.py: a file that benchlib did not make"):
        plugins.link(suite(checkout, "a", "../../../lab"))
    assert not place.is_symlink()


def test_a_link_of_another_suite_is_no_key_of_the_package(tmp_path, checkout, monkeypatch):
    write(tmp_path / "lab/metrics/mine.py")
    plugins.link(suite(checkout, "a", "../../../lab"))
    monkeypatch.setattr(registry, "PACKAGE", checkout / "benchlib")
    monkeypatch.setenv(registry.INHERITED, "")
    assert registry.names("metrics") == ["own"]
    plugins.activate(["../../../lab"], checkout / "suites/a")
    assert registry.names("metrics") == ["mine", "own"]


def test_links_whose_list_was_lost_are_taken_over_or_named(tmp_path, checkout, monkeypatch):
    write(tmp_path / "lab/metrics/mine.py")
    asked = suite(checkout, "a", "../../../lab")
    plugins.link(asked)
    (checkout / "benchlib" / registry.LINKS).unlink()
    monkeypatch.setattr(registry, "PACKAGE", checkout / "benchlib")
    monkeypatch.setenv(registry.INHERITED, "")
    plugins.link(asked)
    assert registry.links(checkout / "benchlib") == {"metrics/mine.py"}
    (checkout / "benchlib" / registry.LINKS).unlink()
    monkeypatch.setenv(registry.INHERITED, "")
    shutil.move(tmp_path / "lab", tmp_path / "moved")
    with pytest.raises(BenchError, match=r"mine\.py: not there, a link to .*lab/metrics/mine\.py"):
        registry.files()
    with pytest.raises(BenchError, match=r"already, a link to .*lab/metrics/mine\.py"):
        plugins.link(suite(checkout, "a", "../../../moved"))


def test_where_there_is_no_checkout_there_are_no_links(tmp_path):
    write(tmp_path / "lab/metrics/mine.py")
    assert plugins.link(suite(tmp_path / "nowhere", "a", "../../../lab")) == []


# --- DVC ------------------------------------------------------------------------------------------

PARAMS = """suite: mine
root: ../../
plugins: [../../../lab]
task: image
metrics: [psnr, mine]
training: {iterations: 1}
evaluation: {}
data:
  train/a: {name: folder, path: x, degrade: {name: none}}
  test/a: {name: folder, path: y, degrade: {name: none}}
weights: {random: {asset: null}}
priors: {none: {kind: none, images: data/train, prior: {name: none}}}
runs:
  theirs: &run
    backbone: {name: nafnet}
    method: {name: none}
    images: {train: train, test: test}
    prior: {train: none, test: none}
    init: weights/random
  ours:
    <<: *run
    method: {name: mine_method}
"""
MADE = (
    "work/mine/data/train/a",
    "work/mine/data/test/a",
    "work/mine/weights/random",
    "work/mine/metrics/psnr",
    "work/mine/metrics/mine",
    "work/mine/priors/none",
    "work/mine/runs/theirs",
    "work/mine/runs/ours",
    "work/mine/restored/theirs",
    "work/mine/restored/ours",
    "results/mine/tables",
    "results/mine/plots",
)
WRITTEN = ("loss", "rows", "records")


def dvc(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dvc", *words]
    env = os.environ | {"DVC_NO_ANALYTICS": "1"}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)


@pytest.fixture
def project(tmp_path) -> Path:
    """The checkout's pipeline with a suite ``mine`` of a plug-in, as if every stage had run."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout: nothing to copy")
    project = tmp_path / "project"
    for name in listed.stdout.splitlines():
        wanted = name.startswith(("benchlib/", "notebooks/", ".dvc"))
        if wanted and (ROOT / name).is_file():
            (project / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, project / name)
    subprocess.run(["git", "init", "-q"], cwd=project, check=True)
    write(project / "suites/mine/params.yaml", PARAMS)
    shutil.copy(ROOT / "dvc.yaml", project / "suites/mine/dvc.yaml")
    write(tmp_path / "lab/metrics/mine.py")
    write(tmp_path / "lab/methods/mine_method.py", '"""A method."""\n\nVERSION = 1\n')
    for name in MADE:
        write(project / name / "made", name)
    for name in WRITTEN:
        for run in ("theirs", "ours"):
            suffix = "json" if name == "records" else "csv"
            write(project / f"results/mine/{name}/{run}.{suffix}", "{}")
    write(project / "results/mine/metrics.json", "{}")
    write(project / "results/mine/report.html", "")
    return project


def test_dvc_sees_a_plug_in_through_its_link(tmp_path, project):
    """Without links it names the file; with them an edit or a version reruns what it must."""
    folder = project / "suites/mine"
    write(folder / ".names", "")
    missing = dvc(folder, "repro", "--single-item", "--dry", "metrics@mine")
    assert missing.returncode != 0
    assert "benchlib/metrics/mine.py" in missing.stderr
    plugins.link(suite(project, "mine", "../../../lab"))
    done = dvc(folder, "commit", "--force")
    assert done.returncode == 0, done.stderr
    assert outdated(folder) == set()
    with open(tmp_path / "lab/methods/mine_method.py", "a") as file:
        file.write("# edited\n")
    text = (tmp_path / "lab/metrics/mine.py").read_text()
    (tmp_path / "lab/metrics/mine.py").write_text(text.replace("VERSION = 3", "VERSION = 4"))
    assert outdated(folder) == {"train@ours", "evaluate@ours", "metrics@mine"}


def outdated(folder: Path) -> set[str]:
    """The stages whose own code, versions or parameters differ from the lock."""
    done = dvc(folder, "status", "--json", "dvc.yaml")
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))
