"""No value of params.yaml becomes a command, or a path outside its suite's own: DVC writes names into both."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import small_params, write_params
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from benchlib import names
from benchlib.contracts import BenchError
from benchlib.names import LARGEST, LONGEST, check_names, read_yaml

ROOT = Path(__file__).parent.parent
ENVIRONMENT = os.environ | {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "PYTHONPATH": str(ROOT),
}
HOSTILE = [
    "a;touch X;echo ",
    "$(touch X)",
    "`touch X`",
    "a\ntouch X\n",
    "a\n",
    'a" ; touch X ; "',
    "a' ; touch X ; '",
    "a|b",
    "a&b",
    "a>b",
    "a*",
    "[a]",
    "{a,b}",
    "~a",
    "#a",
    "%PATH%",
    "a b",
    " a",
    "",
    "-a",
    "--out",
    "..",
    "../a",
    "/a",
    "a/../b",
    "a/b/c",
    "a\\b",
    "a.b",
    "ü",
    "а",  # Cyrillic
    "a\u202e",
    "a\0",
    "a" * (LONGEST + 1),
]
NO_TEXT = [1, 1.5, True, None, ["a"], {"a": "b"}]
PLACES = [
    "root",
    "suite",
    "task",
    "metrics.0",
    "data.test/shake-blur.name",
    "data.test/shake-blur.degrade.name",
    "priors.none.kind",
    "priors.none.images",
    "priors.none.prior.name",
    "runs.map.method.name",
    "runs.map.backbone.name",
    "runs.map.images.train",
    "runs.map.images.test",
    "runs.map.prior.train",
    "runs.map.prior.test",
    "runs.map.init",
]
SECTIONS = ["data", "weights", "priors", "runs"]


def with_value(place: str, value: object) -> dict:
    params = json.loads(json.dumps(small_params()))  # nothing shared
    *steps, last = place.split(".")
    here = params
    for step in steps:
        here = here[step]
    here[0 if last == "0" else last] = value
    return params


def refused(params: object) -> str:
    with pytest.raises(BenchError) as error:
        check_names(params, Path("params.yaml"))
    line = str(error.value)
    assert line.isprintable(), line
    assert len(line) < 400
    return line


@pytest.mark.parametrize("place", PLACES)
def test_a_value_that_is_no_name_is_refused_wherever_dvc_reads_it(place):
    prefix = {"images": "data/", "init": "weights/"}.get(place.rpartition(".")[2], "")
    for value in HOSTILE:
        if value == "" and place == "root":
            continue
        said = refused(with_value(place, value))
        assert place.removesuffix(".0") in said
        if prefix:
            refused(with_value(place, prefix + value))
    for value in NO_TEXT:
        assert "expected" in refused(with_value(place, value))


@pytest.mark.parametrize("section", SECTIONS)
def test_a_key_that_is_no_name_is_refused(section):
    params = small_params()
    entry = next(iter(params[section].values()))
    for key in [*HOSTILE, 1, 1.5, True, None, (1, 2)]:
        for wanted in (key, f"a/{key}", f"{key}/a"):
            if section == "priors" and wanted == key and key == "a/b":
                continue
            params[section] = {wanted: entry}
            if not isinstance(key, str):
                params[section] = {key: entry}
            assert section in refused(params)


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("value", ["x", 3, None, ["a"]], ids=str)
def test_a_section_or_an_entry_of_another_type_is_refused(section, value):
    assert section in refused(small_params() | {section: value})
    params = small_params()
    params[section] = dict.fromkeys(params[section], value)
    assert section in refused(params)


@pytest.mark.parametrize("value", [None, [], "x", 3, {"a": "x;touch X"}], ids=str)
def test_metrics_and_the_whole_file_have_their_type(value):
    if value != []:
        assert "metrics" in refused(small_params() | {"metrics": value})
    if not isinstance(value, dict):
        assert "expected a mapping" in refused(value)


def test_every_template_of_the_pipeline_is_looked_at():
    """A new ``${...}`` in dvc.yaml needs its line in ``names``: else its value is nobody's to check."""
    templates = set(re.findall(r"\$\{([^}]+)\}", (ROOT / "dvc.yaml").read_text(encoding="utf-8")))
    looked_at = {"key", "item", *SECTIONS, "metrics"}
    for place in PLACES:
        section, _, field = place.partition(".")
        looked_at.add(section)
        if section in SECTIONS:
            looked_at.add(f"item.{field.partition('.')[2]}")
    assert templates <= looked_at


def test_no_command_with_data_comes_first_and_every_stage_waits_for_the_check():
    stages = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert "${" not in str(stages.pop("names"))
    for name, stage in stages.items():
        stage = stage.get("do", stage)
        assert stage["cmd"][0] == "python -m benchlib.names", name
        assert ".names" in stage["deps"], name
        for command in stage["cmd"][1:]:
            bare = re.sub(r'"[^"]*"', "", command)
            assert "$" not in bare, f"{name}: {command}: put data in quotes"


@pytest.mark.parametrize("path", sorted([ROOT / "params.yaml", *ROOT.glob("suites/*/params.yaml")]))
def test_the_suites_of_the_project_pass(path):
    check_names(read_yaml(path), path)


def dvc(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dvc", *words]
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)


def test_dvc_runs_nothing_and_deletes_nothing(tmp_path):
    """Through the real DVC: it deletes a stage's outputs before the stage's own command runs."""
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    assert dvc(tmp_path, "init", "-q").returncode == 0
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    for folder in ("benchlib", "notebooks"):
        ignored = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    params = small_params() | {"suite": 'small";touch X;echo "'}
    params["weights"]["../../../precious"] = {"asset": None}
    write_params(tmp_path, params)
    done = dvc(tmp_path, "repro", "weights")
    assert done.returncode != 0
    assert "names: params.yaml: suite: got" in done.stderr
    (tmp_path / ".names").touch()  # even where a person leaves the stages before out
    done = dvc(tmp_path, "repro", "--single-item", "weights@random")
    assert done.returncode != 0
    assert "names: params.yaml: suite: got" in done.stderr
    params["suite"] = "small"
    write_params(tmp_path, params)
    done = dvc(tmp_path, "repro", "weights@../../../precious")
    assert "names: params.yaml: weights.../../../precious" in done.stderr
    assert (tmp_path / "precious" / "file").exists()
    assert not (tmp_path / "X").exists()


def test_the_command_is_light():
    """It runs before every stage; neither torch nor pydantic nor the package's files are read."""
    code = "import sys, benchlib.names; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=ENVIRONMENT
    )
    loaded = set(done.stdout.split())
    assert not loaded & {"torch", "numpy", "pydantic", "psutil", "benchlib.params", "yaml"}
    assert {name for name in loaded if name.startswith("benchlib")} == {
        "benchlib",
        "benchlib.contracts",
        "benchlib.names",
    }


# ---------------------------------------------------------------- the file itself

BAD_FILES = {
    "latin-1": ("suite: für\n".encode("latin-1"), "no UTF-8 text"),
    "utf-16": ("suite: a\n".encode("utf-16"), "no UTF-8 text"),
    "utf-32": ("suite: a\n".encode("utf-32"), "no UTF-8 text"),
    "binary": (bytes(range(256)), "no UTF-8 text"),
    "null": (b"suite: \0\n", "not YAML"),
    "twice": (b"suite: a\nsuite: b\n", "line 2: not YAML: found duplicate key"),
    "tab": (b"suite:\n\t- a\n", "not YAML"),
    "open": (b"suite: [a\n", "not YAML"),
    "own alias": (b"a: &a [*a]\n", "within its own anchor"),
    "own alias in a mapping": (b"a: &a {b: *a}\n", "within its own anchor"),
    "no anchor": (b"a: *b\n", "not YAML"),
    "date": (b"a: 2024-13-45\n", "not YAML"),
    "object": (b"a: !!python/object/apply:os.system [id]\n", "not YAML"),
    "integer": (b"a: !!int abc\n", "not YAML"),
    "key": (b"? {a: 1}\n: 2\n", "not YAML"),
    "two documents": (b"a: 1\n---\nb: 1\n", "not YAML"),
    "deep": (b"[" * 20_000, "not YAML"),
    "deep and closed": (b"[" * 60 + b"]" * 60, "over 50 deep"),
    "bomb": (
        b"a: &a [x, x, x, x, x, x, x, x, x, x]\n"
        + b"".join(
            b"%c: &%c [%s]\n" % (97 + i, 97 + i, b", ".join([b"*%c" % (96 + i)] * 10))
            for i in range(1, 9)
        ),
        f"over {LARGEST} values",
    ),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_that_cannot_be_read_is_one_line(tmp_path, name):
    content, said = BAD_FILES[name]
    (tmp_path / "params.yaml").write_bytes(content)
    with pytest.raises(BenchError) as error:
        read_yaml(tmp_path / "params.yaml")
    line = str(error.value)
    assert line.startswith(f"{tmp_path / 'params.yaml'}: ")
    assert said in line
    assert "\n" not in line
    assert len(line) < 400 + len(str(tmp_path))


def test_what_is_no_file_is_one_line(tmp_path):
    for path, said in ((tmp_path, "cannot be read"), (tmp_path / "a\0b", "cannot be read")):
        with pytest.raises(BenchError, match=said):
            read_yaml(path)
    with pytest.raises(BenchError, match=r"absent\.yaml: no such file"):
        read_yaml(tmp_path / "absent.yaml")


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    (tmp_path / "params.yaml").write_bytes(b"\xef\xbb\xbfsuite: a\n")
    assert read_yaml(tmp_path / "params.yaml") == {"suite": "a"}


@pytest.mark.parametrize("text", ["", "# nothing\n", "null\n", "- a\n", "text\n", "3\n"])
def test_a_file_without_a_mapping_is_one_line(tmp_path, text):
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    assert "expected a mapping" in refused(read_yaml(tmp_path / "params.yaml"))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(PLACES), st.one_of(st.text(), st.integers(), st.floats(), st.none()))
def test_what_passes_means_nothing_to_a_shell_and_leads_nowhere(place, value):
    try:
        check_names(with_value(place, value), Path("params.yaml"))
    except BenchError:
        return
    assert re.fullmatch(r"[A-Za-z0-9/_.-]*", value)
    assert not value.startswith(("-", "/"))
    assert ".." not in value or place == "root"


def test_names_has_no_import_of_the_package_but_its_errors():
    tree = ast.parse((ROOT / "benchlib" / "names.py").read_text(encoding="utf-8"))
    own = {
        node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("benchlib")
    }
    assert own == {"benchlib.contracts"}


def test_a_file_that_has_passed_is_not_read_again_until_a_letter_changes(tmp_path, monkeypatch):
    read = []

    def noted(path: Path) -> object:
        read.append(path)
        return read_yaml(path)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(names, "PASSED", tmp_path / "passed")
    monkeypatch.setattr(names, "read_yaml", noted)
    write_params(tmp_path, small_params())
    assert [names.main([]), names.main([]), len(read)] == [0, 0, 1]
    assert [names.main(["--out", "out"]), len(read)] == [0, 2]  # the stage of its own reads it
    write_params(tmp_path, small_params() | {"suite": "a;b"})
    assert [names.main([]), names.main([]), len(read)] == [2, 2, 4]
    (tmp_path / "params.yaml").unlink()
    assert names.main([]) == 2
    (tmp_path / "passed").rename(tmp_path / "elsewhere")
    (tmp_path / "passed").write_text("a file: nothing can be noted")
    write_params(tmp_path, small_params())
    assert [names.main([]), names.main([]), len(read)] == [0, 0, 7]
