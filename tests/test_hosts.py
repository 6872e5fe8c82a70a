"""One host at a time works in a checkout; what several may share they do not take from each other."""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest

from benchlib import hosts
from benchlib.cli import main
from benchlib.contracts import BenchError

# A host of its own as far as Linux can make one here: name, network and process numbers.
UNSHARE = ["unshare", "--uts", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
AS_HOST = "import socket, sys, time; socket.sethostname(sys.argv[1]); from pathlib import Path\n"


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """No sign of an earlier test's, and no thread that goes on touching one."""
    monkeypatch.delenv(hosts.INHERITED, raising=False)
    monkeypatch.setattr(hosts, "_beat", lambda sign: None)
    yield
    os.environ.pop(hosts.INHERITED, None)


def other_host(work, age: float = 0.0) -> None:
    """A sign of another host, so many seconds old."""
    sign = work / hosts.SIGNS / ("0" * 12)
    sign.parent.mkdir(parents=True, exist_ok=True)
    sign.write_text(json.dumps({"name": "node7", "process": 41}))
    then = time.time() - age
    os.utime(sign, (then, then))


def test_another_hosts_fresh_sign_is_refused_in_one_line(tmp_path):
    work = tmp_path / "checkout" / "work"
    other_host(work)
    with pytest.raises(BenchError) as caught:
        hosts.claim(work)
    said = str(caught.value)
    assert said.startswith(f"{tmp_path / 'checkout'}: another host (node7, process 41) works in")
    assert "benchlib merge" in said and "\n" not in said
    assert [sign.name for sign in (work / hosts.SIGNS).iterdir()] == ["0" * 12]


@pytest.mark.parametrize("text", ["", "[]", '{"name": 3'])
def test_a_sign_that_is_being_written_counts(tmp_path, text):
    other_host(tmp_path)
    (tmp_path / hosts.SIGNS / ("0" * 12)).write_text(text)
    with pytest.raises(BenchError, match="another host works in"):
        hosts.claim(tmp_path)


def test_a_silent_hosts_sign_does_not_count_and_one_of_long_ago_goes(tmp_path):
    other_host(tmp_path, hosts.SILENCE + 5)
    hosts.claim(tmp_path)
    hosts.claim(tmp_path)  # this host again
    assert len(list((tmp_path / hosts.SIGNS).iterdir())) == 2
    other_host(tmp_path, hosts.DAY + 5)
    hosts.claim(tmp_path)
    assert [sign.name for sign in (tmp_path / hosts.SIGNS).iterdir()] == [hosts.host()]


def test_a_job_that_works_for_a_stage_of_another_host_leaves_no_sign(tmp_path, monkeypatch):
    monkeypatch.setenv(hosts.INHERITED, "0" * 12)
    other_host(tmp_path)
    hosts.claim(tmp_path)
    assert len(list((tmp_path / hosts.SIGNS).iterdir())) == 1


def test_what_is_started_inherits_the_host(tmp_path):
    hosts.claim(tmp_path)
    assert os.environ[hosts.INHERITED] == hosts.host()
    code = "from benchlib import hosts; print(hosts.host())"
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert made.stdout.strip() == hosts.host()


def test_run_refuses_before_dvc_starts(small, capsys):
    shutil.copy(small.folder / "params.yaml", small.folder / "dvc.yaml")
    other_host(small.work.parent)
    assert main(["run", str(small.folder)]) == 1
    err = capsys.readouterr().err
    assert "another host (node7" in err and err.count("\n") == 1


# ---------------------------------------------------------------- two hosts, one folder


def can_unshare() -> bool:
    if not shutil.which("unshare"):
        return False
    return subprocess.run([*UNSHARE, "true"], capture_output=True).returncode == 0


@pytest.fixture
def two_hosts():
    """Start Python as a host of its own: ``start(name, code, *words)``."""
    if not can_unshare():
        pytest.skip("namespaces need root and unshare")
    started = []

    def start(name, code, *words):
        command = [*UNSHARE, sys.executable, "-c", AS_HOST + code, name, *map(str, words)]
        env = {key: value for key, value in os.environ.items() if key != hosts.INHERITED}
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def wait_for(path, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} was not made"
        time.sleep(0.1)


CLAIM = """
from benchlib import hosts
from benchlib.contracts import BenchError
work, begun = Path(sys.argv[2]), Path(sys.argv[3])
try:
    hosts.claim(work)
except BenchError as error:
    print(error)
    sys.exit(1)
begun.touch()
time.sleep(float(sys.argv[4]))
"""


def test_two_hosts_do_not_work_in_one_checkout(tmp_path, two_hosts):
    work = tmp_path / "work"
    first = two_hosts("host-a", CLAIM, work, tmp_path / "a", 1000)
    wait_for(tmp_path / "a")
    second = two_hosts("host-b", CLAIM, work, tmp_path / "b", 0)
    said, _ = second.communicate(timeout=300)
    assert second.returncode == 1 and "another host (host-a, process 1)" in said
    assert not (tmp_path / "b").exists()
    own = two_hosts("host-b", CLAIM, tmp_path / "work-b", tmp_path / "b", 0)
    assert own.wait(timeout=300) == 0  # a checkout of its own
    first.kill()


FOLDER = """
from benchlib.files import new_folder
target, mine, others = map(Path, sys.argv[2:5])
with new_folder(target) as folder:
    (folder / sys.argv[1]).touch()
    mine.touch()
    while not others.exists():
        time.sleep(0.1)
    assert (folder / sys.argv[1]).exists(), "another host took it away"
    time.sleep(float(sys.argv[5]))
    assert (folder / sys.argv[1]).exists(), "another host took it away"
"""


def test_a_host_does_not_take_away_what_another_is_writing(tmp_path, two_hosts):
    """Both are process 1 of their host, and neither knows the other's process."""
    marks = tmp_path / "a", tmp_path / "b"
    target = tmp_path / "out"
    first = two_hosts("host-a", FOLDER, target, *marks, 3)
    wait_for(marks[0])
    second = two_hosts("host-b", FOLDER, target, *marks[::-1], 0)
    for process in (second, first):
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said
    assert [path.name for path in target.iterdir()] == ["host-a"]  # the last to end
    assert not list(tmp_path.glob(".new-*"))


CACHE = """
from benchlib.assets.cache import one_process
lock, mine, end = map(Path, sys.argv[2:5])
with one_process(lock, "a picture"):
    mine.touch()
    while not end.exists():
        time.sleep(0.1)
"""


def test_two_hosts_fetch_into_a_shared_cache_one_after_the_other(tmp_path, two_hosts):
    lock, end = tmp_path / "cache" / ".lock", tmp_path / "end"
    first = two_hosts("host-a", CACHE, lock, tmp_path / "a", end)
    wait_for(tmp_path / "a")
    second = two_hosts("host-b", CACHE, lock, tmp_path / "b", end)
    assert "waiting for another process" in second.stdout.readline()
    assert not (tmp_path / "b").exists()
    end.touch()
    for process in (first, second):
        process.communicate(timeout=300)
        assert process.returncode == 0
    assert (tmp_path / "b").exists()
