"""File names are keys; a file's VERSION and USES are read, not imported."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchlib import registry
from benchlib.contracts import BenchError, nearest

NAMED = [(folder, name) for folder in registry.FOLDERS for name in registry.names(folder)]


@pytest.fixture
def package(tmp_path: Path, monkeypatch) -> Path:
    """A package of its own in the registry's place; what was read of the real one is forgotten."""
    monkeypatch.setattr(registry, "PACKAGE", tmp_path)
    forget()
    yield tmp_path
    forget()


def forget() -> None:
    registry.version.cache_clear()
    registry.constants.cache_clear()


def write(folder: Path, file: str, text: str) -> None:
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(text)


@pytest.mark.parametrize(("folder", "name"), NAMED, ids=[f"{f}/{n}" for f, n in NAMED])
def test_every_key_is_a_file_that_states_its_version_as_a_number(folder, name) -> None:
    file = f"{folder}/{name}.py"
    text = (registry.PACKAGE / file).read_text()
    stated = re.findall(r"^VERSION = (\d+)\b", text, re.MULTILINE)
    assert stated == [str(registry.version(file))]
    assert registry.version(file) == registry.load(folder, name).VERSION
    assert registry.load(folder, name).__doc__
    registry.check_uses(file)


def test_files_that_begin_with_a_stroke_are_no_keys(package) -> None:
    for name in ("map", "cat", "_pooling", "__init__"):
        write(package, f"methods/{name}.py", "VERSION = 1\n")
    assert registry.names("methods") == ["cat", "map"]
    with pytest.raises(BenchError, match="methods: no '_pooling'; may be cat, map"):
        registry.load("methods", "_pooling")


def test_an_unknown_key_is_answered_with_the_nearest() -> None:
    with pytest.raises(BenchError, match=r"methods: no 'mpa'; .*did you mean map\?"):
        registry.load("methods", "mpa")
    with pytest.raises(BenchError, match=r"priors/kinds: no 'mask'; .*did you mean masks\?"):
        registry.load("priors/kinds", "mask")


def test_a_version_is_read_without_the_file_being_run(package) -> None:
    write(package, "methods/bad.py", 'VERSION = 3\nUSES = {"a.py": 2}\nraise RuntimeError\n')
    assert registry.version("methods/bad.py") == 3
    assert registry.uses("methods/bad.py") == {"a.py": 2}


@pytest.mark.parametrize("text", ["", "VERSION = '1'\n", "VERSION = one()\n", "version = 1\n"])
def test_a_file_without_a_version_says_what_to_write(package, text) -> None:
    write(package, "methods/new.py", text)
    with pytest.raises(BenchError, match=r"methods/new\.py: no VERSION; write `VERSION = 1`"):
        registry.version("methods/new.py")
    with pytest.raises(BenchError, match=r"methods/absent\.py: no such file"):
        registry.version("methods/absent.py")


def test_what_is_used_of_another_version_is_named_however_far_down(package) -> None:
    write(package, "priors/a.py", 'VERSION = 1\nUSES = {"priors/_b.py": 1}\n')
    write(package, "priors/_b.py", 'VERSION = 1\nUSES = {"priors/_c.py": 2}\n')
    write(package, "priors/_c.py", "VERSION = 2\n")
    registry.check_uses("priors/a.py")
    write(package, "priors/_c.py", "VERSION = 3\n")
    forget()
    said = r"priors/_b\.py: USES priors/_c\.py version 2, but that is 3 now; raise VERSION"
    with pytest.raises(BenchError, match=said):
        registry.check_uses("priors/a.py")
    with pytest.raises(BenchError, match=said):
        registry.load("priors", "a")


def test_names_are_found_without_importing_what_they_name() -> None:
    code = (
        "import sys; from benchlib import registry; "
        "[registry.names(folder) for folder in registry.FOLDERS]; "
        "registry.version('train/loop.py'); print('torch' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@given(st.text(max_size=8), st.sets(st.text(st.characters(codec="ascii"), min_size=1), min_size=1))
def test_the_end_of_an_error_names_what_is_allowed_and_only_that(got, allowed) -> None:
    said = nearest(got, allowed)
    listed, _, meant = said.partition("; did you mean ")
    assert listed == f"may be {', '.join(sorted(allowed))}" or "; did you mean" in ", ".join(
        allowed
    )
    if meant:
        assert any(name in meant for name in allowed)
