"""What keeps the project itself in order: floors, copies, locks, notebooks, words that must not be there."""

import ast
import re
import subprocess
from pathlib import Path

import nbformat
import pytest
from ruamel.yaml import YAML

from benchlib.params import load_params
from benchlib.pipeline import inputs

ROOT = Path(__file__).parent.parent
FLOORS = {
    0: ["contracts", "registry", "files", "imageio", "seeding", "assets"],
    1: ["params", "records"],
    2: ["methods", "backbones", "priors", "datasets", "degrade", "metrics", "papers"],
    3: ["prepare", "restore", "train", "evaluate"],
    4: ["report"],
    5: ["pipeline", "nbrun"],
}
FLOOR = {room: floor for floor, rooms in FLOORS.items() for room in rooms}
EXCEPTIONS = {("params", "metrics")}  # names of protocols are checked before work; imported when called
SOURCES = sorted((ROOT / "benchlib").rglob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def room(path: Path) -> str:
    return path.relative_to(ROOT / "benchlib").parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_to_lower_floors_only(path):
    here = room(path)
    if here == "__init__":
        return
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("benchlib"):
            parts = (node.module or "").split(".")[1:]
            names = parts[:1] or [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [a.name.split(".")[1] for a in node.names if a.name.startswith("benchlib.")]
        for there in names:
            if there == here or (here, there) in EXCEPTIONS:
                continue
            below = FLOOR[there] < FLOOR[here]
            beside = FLOOR[there] == FLOOR[here] and FLOOR[here] in (0, 1, 3, 5)
            assert below or beside, f"{here} (floor {FLOOR[here]}) imports {there} (floor {FLOOR[there]})"


def test_files_that_dvc_names_by_key_are_called_by_their_key():
    """dvc.yaml depends on methods/<name>.py and backbones/<name>.py; a dash in the name would miss the file."""
    for folder in ("methods", "backbones"):
        for path in (ROOT / "benchlib" / folder).glob("[!_]*.py"):
            assert "_" not in path.stem, f"{path.name}: call it without an underscore"


def test_links_of_the_readme_lead_somewhere():
    for link in re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text()):
        assert "://" in link or (ROOT / link).exists(), link


def test_every_room_stands_on_a_floor():
    assert {room(path) for path in SOURCES} - {"__init__"} == set(FLOOR)


@pytest.mark.parametrize("copy", sorted((ROOT / "suites").glob("*/dvc.yaml")), ids=lambda p: p.parent.name)
def test_every_suite_has_the_same_pipeline(copy):
    assert copy.read_bytes() == (ROOT / "dvc.yaml").read_bytes()
    assert load_params(copy.parent / "params.yaml").suite == copy.parent.name


def test_notebooks_know_the_same_dependencies_as_dvc():
    """pipeline.inputs against the work/ and results/ paths that dvc.yaml names for the demo's stages."""
    suite = load_params(ROOT / "params.yaml")
    stages = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]
    kinds = {"data": "fetch", "weights": "weights", "priors": "priors", "runs": "train", "restored": "evaluate"}
    items = {"fetch": suite.data, "weights": suite.weights, "priors": suite.priors}
    items |= {"train": suite.runs, "evaluate": suite.runs}
    for stage, entries in items.items():
        for key, item in entries.items():
            wanted = set()
            for dep in stages[stage]["do"]["deps"]:
                if "/work/" not in dep:
                    continue
                for name in re.findall(r"\$\{item\.([a-z.]+)\}", dep):
                    value = item
                    for step in name.split("."):
                        value = getattr(value, step)
                    dep = dep.replace("${item." + name + "}", value)
                kind, name = dep.replace("${key}", key).split("/")[-2:]
                wanted.add((kinds[kind], name))
            assert set(inputs(suite, stage, key)) == wanted, (stage, key)


def pinned(path: Path) -> set[str]:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith(("#", " "))]
    return {line.split(" ;")[0].lower() for line in lines}


def test_conda_and_uv_install_the_same_lock():
    conda = YAML(typ="safe").load((ROOT / "environment.yml").read_text())["dependencies"]
    files = [word.removeprefix("-r ") for word in conda[-1]["pip"] if word.startswith("-r ")]
    assert files == ["requirements.txt", "requirements-lab.txt"]
    lock = pinned(ROOT / "requirements.txt")
    for extra in ("requirements-lab.txt", "requirements-dev.txt"):
        assert lock <= pinned(ROOT / extra), extra
    for line in (ROOT / "requirements.in").read_text().splitlines():
        if line and not line.startswith("#"):
            assert re.split("[=; ]", line)[0].lower() in {pin.split("==")[0] for pin in lock}, line


def test_locks_pin_every_package_and_name_no_place():
    for path in sorted(ROOT.glob("requirements*.txt")):
        for line in path.read_text().splitlines():
            assert re.match(r"[A-Za-z0-9._-]+(\[[a-z,]+\])?==[^ ]+( ; .*)?$", line), f"{path.name}: {line}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_are_clean_and_take_parameters(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in code) == 1
    assert notebook.cells[0].cell_type == "markdown" and notebook.cells[0].source.startswith("# ")
    for cell in code:
        calls = [line for line in cell.source.splitlines() if line and not line.startswith(("from ", "import ", "#"))]
        assert len(calls) <= 8, "logic lives in benchlib, a notebook's cell is a call or two"


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout: nothing to list")
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


def test_no_file_names_a_machine_or_a_package_registry():
    words = re.compile(r"(?<![\w.])/(?:work|root|farm|home|Users)/\w|pypi\.org|pythonhosted|registry\.npmjs")
    for path in tracked():
        if path.suffix in (".npz", ".png", ".jpg") or path == Path(__file__):
            continue
        found = words.search(path.read_text(errors="replace"))
        assert not found, f"{path.relative_to(ROOT)}: {found.group()}"


def test_every_test_asserts_something():
    for path in sorted((ROOT / "tests").glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                words = ast.unparse(node)
                assert any(w in words for w in ("assert", "raises", "check_", "expect")), f"{path.name}: {node.name}"
