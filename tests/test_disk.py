"""What a disk or the system refuses is one line: where, what, what to do. Nothing half lies there."""

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from benchlib.contracts import BenchError
from benchlib.files import REFUSED, check_writable, new_file, new_folder, refusal, writing

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("number", sorted(REFUSED), ids=errno.errorcode.get)
def test_what_the_system_refuses_is_one_line_that_names_the_place(tmp_path, number):
    for make in (new_file, new_folder):
        with pytest.raises(BenchError) as caught, make(tmp_path / "a") as path:
            raise OSError(number, os.strerror(number), str(path))
        said = str(caught.value)
        assert said.startswith(str(tmp_path)) and "\n" not in said
        assert REFUSED[number] in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        "Error while serializing: I/O error: No space left on device (os error 28)",
        'Error while serializing: IoError(Os { code: 28, kind: StorageFull, message: "..." })',
        "unable to write to file </torch_1_2>: No space left on device (28)",
    ],
)
def test_what_safetensors_and_torch_say_of_a_full_disk_is_understood(tmp_path, words):
    with pytest.raises(BenchError, match=r"a\.bin: the disk is full"), writing(tmp_path / "a.bin"):
        raise RuntimeError(words)


def test_what_torch_says_of_a_full_disk_is_understood(tmp_path):
    said = "[enforce fail at inline_container.cc:858] . PytorchStreamWriter failed writing file"
    wanted = pytest.raises(BenchError, match=r"a\.pt: could not be written whole")
    with wanted, writing(tmp_path / "a.pt"):
        raise RuntimeError(said)


def test_an_error_behind_another_is_found(tmp_path):
    with pytest.raises(BenchError, match="the disk is full"), writing(tmp_path / "a"):
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError:
            raise RuntimeError("unexpected pos 64 vs 0") from None


def test_other_errors_pass_as_they_are(tmp_path):
    for error in (ValueError("code"), KeyError("a"), FileNotFoundError(errno.ENOENT, "no", "b")):
        with pytest.raises(type(error)) as caught, new_file(tmp_path / "a"):
            raise error
        assert caught.value is error
    exists = FileExistsError(errno.EEXIST, "exists", "elsewhere")
    assert refusal(exists, tmp_path / "a") is None, "of another place it may mean anything"


def test_a_file_in_a_folder_s_place_is_named(tmp_path):
    (tmp_path / "work").write_text("")
    for make in (new_file, new_folder):
        wanted = pytest.raises(BenchError, match="work: a file stands where a folder is expected")
        with wanted, make(tmp_path / "work" / "runs" / "a"):
            pass


def test_a_folder_in_a_file_s_place_is_named(tmp_path):
    (tmp_path / "rows.csv" / "kept").mkdir(parents=True)
    wanted = pytest.raises(BenchError, match=r"rows\.csv: a folder stands where a file is expected")
    with wanted, new_file(tmp_path / "rows.csv") as path:
        path.write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


def test_a_folder_that_cannot_be_written_is_told_before_the_work(tmp_path):
    (tmp_path / "results").write_text("")
    with pytest.raises(BenchError, match="results: a file stands where a folder is expected"):
        check_writable(tmp_path / "work", tmp_path / "results" / "loss")
    check_writable(tmp_path / "work" / "runs")
    assert list((tmp_path / "work" / "runs").iterdir()) == []


def child(code: str, *words: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True
    )


LIMITED = """
import resource, signal, sys
from pathlib import Path
from benchlib.contracts import BenchError
from benchlib.files import new_file
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with new_file(sys.argv[1]) as path:
        path.write_bytes(bytes(5000))
except BenchError as error:
    print(error)
"""


@pytest.mark.skipif(os.name == "nt", reason="no such limits there")
def test_a_real_limit_of_a_file_s_size(tmp_path):
    done = child(LIMITED, str(tmp_path / "a.bin"))
    assert "the file is larger than may be here" in done.stdout, done.stderr
    assert list(tmp_path.iterdir()) == []


HANDLES = """
import resource, sys
from benchlib.contracts import BenchError
from benchlib.files import new_file
resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
held = []
try:
    while True:
        held.append(open(sys.executable))
except OSError:
    pass
try:
    with new_file(sys.argv[1]) as path:
        pass
except BenchError as error:
    held.clear()
    print(error)
"""


@pytest.mark.skipif(os.name == "nt", reason="no such limits there")
def test_a_real_limit_of_open_files(tmp_path):
    done = child(HANDLES, str(tmp_path / "a.bin"))
    assert "too many files are open at once; allow more (ulimit -n" in done.stdout, done.stderr
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 32


def test_a_really_full_disk_keeps_the_old_file(small_disk):
    with new_file(small_disk / "a.bin") as path:
        path.write_bytes(b"old")
    said = "the disk is full; make room on it"
    with pytest.raises(BenchError, match=said), new_file(small_disk / "a.bin") as path:
        path.write_bytes(bytes(200_000))
    with pytest.raises(BenchError, match=said), new_folder(small_disk / "run") as path:
        (path / "b").write_bytes(bytes(200_000))
    with pytest.raises(BenchError, match=f"run: {said}"), new_folder(small_disk / "run") as path:
        save_file({"a": np.zeros(200_000, np.uint8)}, path / "seed0.safetensors")
    assert [path.name for path in small_disk.iterdir()] == ["a.bin"]
    assert (small_disk / "a.bin").read_bytes() == b"old"
