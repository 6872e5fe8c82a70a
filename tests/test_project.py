"""What keeps the project itself in order: layers, copies, locks, notebooks, words that must not be there."""

import ast
import re
import subprocess
from pathlib import Path
from typing import Any

import nbformat
import pytest
from ruamel.yaml import YAML

from benchlib import registry
from benchlib.params import Suite, load_params
from benchlib.pipeline import inputs

ROOT = Path(__file__).parent.parent
LAYERS = {
    0: ["contracts", "names", "registry", "hosts", "files", "imageio", "seeding", "assets"],
    1: ["params", "checks", "records", "sources", "plugins", "matching", "schema"],
    2: ["tasks", "methods", "backbones", "priors", "datasets", "degrade", "metrics", "papers"],
    3: [
        *("plan", "own", "manifests", "prepare", "restore", "finished", "train", "evaluate"),
        "conformance",
    ],
    4: ["report"],
    5: [
        *("pipeline", "fanout", "launch", "merging", "shards", "nbrun", "scoring", "cli"),
        "__main__",
    ],
}
LAYER = {folder: layer for layer, folders in LAYERS.items() for folder in folders}
# names of protocols are checked before work; imported when called
EXCEPTIONS = {("checks", "metrics")}
SOURCES = [
    path
    for path in sorted((ROOT / "benchlib").rglob("*.py"))
    if not path.is_symlink()  # a plug-in
]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def folder_of(path: Path) -> str:
    return path.relative_to(ROOT / "benchlib").parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_to_lower_layers_only(path):
    here = folder_of(path)
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
            if there in (here, "__version__") or (here, there) in EXCEPTIONS:
                continue
            below = LAYER[there] < LAYER[here]
            beside = LAYER[there] == LAYER[here] and LAYER[here] in (0, 1, 3, 5)
            assert below or beside, (
                f"{here} (layer {LAYER[here]}) imports {there} (layer {LAYER[there]})"
            )


def test_a_key_is_its_files_stem_letter_for_letter():
    """dvc.yaml reads methods/<name>.py, degrade/<name>.py...; another spelling would miss the file."""
    for folder in registry.FOLDERS:
        for name in registry.names(folder):
            assert (ROOT / "benchlib" / folder / f"{name}.py").is_file()
            assert name.isidentifier(), f"{folder}/{name}.py: a module's name has no dash"


def test_links_of_the_readme_lead_somewhere():
    for link in re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text()):
        assert "://" in link or (ROOT / link).exists(), link


@pytest.mark.parametrize(
    "path", sorted((ROOT / "benchlib" / "report").glob("*")), ids=lambda p: p.name
)
def test_the_report_knows_no_prior_by_name(path):
    if path.suffix == ".jinja":
        assert "SAM" not in path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return
    words = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            words.add(node.value)
    assert not words & (set(registry.names("priors")) - {"none"})


def test_every_folder_has_a_layer():
    assert {folder_of(path) for path in SOURCES} - {"__init__"} == set(LAYER)


@pytest.mark.parametrize(
    "copy", sorted((ROOT / "suites").glob("*/dvc.yaml")), ids=lambda p: p.parent.name
)
def test_every_suite_has_the_same_pipeline(copy):
    assert copy.read_bytes() == (ROOT / "dvc.yaml").read_bytes()
    assert load_params(copy.parent / "params.yaml").suite == copy.parent.name


def test_notebooks_know_the_same_dependencies_as_dvc():
    """pipeline.inputs against the work/ paths that dvc.yaml names for the smoke suite's stages."""
    suite = load_params(ROOT / "suites/smoke/params.yaml")
    stages = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]
    items = {"fetch": suite.data, "weights": suite.weights, "priors": suite.priors}
    items |= {"train": suite.runs, "evaluate": suite.runs}
    for stage, entries in items.items():
        for key, item in entries.items():
            wanted = set()
            for dep in stages[stage]["do"].get("deps", []):
                if dep.startswith("${root}work/"):
                    wanted |= made_by(suite, filled(dep, key, item))
            assert set(inputs(suite, stage, key)) == wanted, (stage, key)


def filled(dependency: str, key: str, item: Any) -> str:
    """A path of dvc.yaml below work/<suite>/, its templates filled."""
    for name in re.findall(r"\$\{item\.([a-z.]+)\}", dependency):
        value = item
        for step in name.split("."):
            value = getattr(value, step)
        dependency = dependency.replace("${item." + name + "}", value)
    return dependency.replace("${key}", key).removeprefix("${root}work/${suite}/")


def made_by(suite: Suite, path: str) -> set[tuple[str, str]]:
    """The steps whose results lie at a path, or below it."""
    kind, _, key = path.partition("/")
    stage = {"data": "fetch", "runs": "train", "restored": "evaluate"}.get(kind, kind)
    keys = {
        "fetch": [name for name in suite.data if name.startswith(f"{key}/")],
        "priors": [name for name in suite.priors if name == key or name.startswith(f"{key}/")],
        "metrics": suite.metrics,
    }
    return {(stage, name) for name in keys.get(stage, [key])}


def pinned(path: Path) -> set[str]:
    lines = [
        line for line in path.read_text().splitlines() if line and not line.startswith(("#", " "))
    ]
    return {line.split(" ;")[0].lower() for line in lines}


def test_conda_and_uv_install_the_same_lock():
    conda = YAML(typ="safe").load((ROOT / "environment.yml").read_text())["dependencies"]
    files = [word.removeprefix("-r ") for word in conda[-1]["pip"] if word.startswith("-r ")]
    assert files == ["requirements.txt", "requirements-lab.txt"]
    lock = pinned(ROOT / "requirements.txt")
    for name in ("lab", "features", "extra-arches", "slurm", "dev"):
        extra = f"requirements-{name}.txt"
        assert lock <= pinned(ROOT / extra), extra
    for line in (ROOT / "requirements.in").read_text().splitlines():
        if line and not line.startswith("#"):
            assert re.split("[=; ]", line)[0].lower() in {pin.split("==")[0] for pin in lock}, line


def test_locks_pin_every_package_and_name_no_place():
    for path in sorted(ROOT.glob("requirements*.txt")):
        for line in path.read_text().splitlines():
            assert re.match(r"[A-Za-z0-9._-]+(\[[a-z,]+\])?==[^ ]+( ; .*)?$", line), (
                f"{path.name}: {line}"
            )


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
        calls = [
            line
            for line in cell.source.splitlines()
            if line and not line.startswith(("from ", "import ", "#"))
        ]
        assert len(calls) <= 8, "logic lives in benchlib, a notebook's cell is a call or two"


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout: nothing to list")
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


def test_no_file_names_a_machine_or_a_package_registry():
    words = re.compile(
        r"(?<![\w.])/(?:work|root|farm|home|Users)/\w|pypi\.org|pythonhosted|registry\.npmjs"
    )
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
                assert any(w in words for w in ("assert", "raises", "check_", "expect")), (
                    f"{path.name}: {node.name}"
                )


def density(path: Path) -> tuple[int, int]:
    """(comprehensions, ternaries, walruses and lambdas; lines that are not blank) of a file."""
    dense = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
    dense += (ast.IfExp, ast.NamedExpr, ast.Lambda)
    words = path.read_text()
    count = sum(isinstance(node, dense) for node in ast.walk(ast.parse(words)))
    return count, sum(bool(line.strip()) for line in words.splitlines())


def test_lines_do_one_thing_each():
    """Outside report/, whose turn comes: under 5 dense expressions on 100 lines, none nested."""
    counts = [density(path) for path in SOURCES if folder_of(path) != "report"]
    dense, lines = (sum(column) for column in zip(*counts, strict=True))
    assert 100 * dense / lines < 5


def test_docs_pages_name_files_that_are_there():
    for page in sorted((ROOT / "docs").glob("*.md")):
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert "://" in link or (page.parent / link).exists(), f"{page.name}: {link}"
