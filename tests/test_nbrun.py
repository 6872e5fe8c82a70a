"""The launcher, run as DVC runs it: a process with small notebooks."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import nbformat
import psutil
import pytest

from benchlib import nbrun, registry
from benchlib.contracts import BenchError

ENV = {**os.environ, "PYTHONPATH": str(nbrun.REPOSITORY)}
posix = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")


def notebook(path: Path, parameters: str | None, *cells: str) -> Path:
    """Write a notebook with one parameters cell (none for None) and code cells; return its path."""
    book = nbformat.v4.new_notebook()
    book.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    if parameters is not None:
        book.cells.append(nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    book.cells += [nbformat.v4.new_code_cell(cell) for cell in cells]
    nbformat.write(book, path)
    return path


def launch(folder: Path, *words: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchlib.nbrun", *map(str, words)]
    return subprocess.run(
        command, cwd=folder, env={**ENV, **env}, capture_output=True, text=True, timeout=200
    )


# ---------------------------------------------------------------- before any work

PARAMETERS = """
key: str = "map"  # a run
steps = 3
rate: float = 0.5
fast = False
limit: int | None = None
more = "a=b"
"""
ALLOWED = "may be fast, key, limit, more, rate, steps; did you mean steps?"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("stpes=4", f"a.ipynb: unknown parameter 'stpes'; {ALLOWED}"),
        ("steps=abc", "a.ipynb: parameter 'steps' expects int (default 3), got 'abc'"),
        ("steps=4.5", "a.ipynb: parameter 'steps' expects int (default 3), got '4.5'"),
        ("rate=fast", "a.ipynb: parameter 'rate' expects float (default 0.5), got 'fast'"),
        ("fast=1", "a.ipynb: parameter 'fast' expects bool (default False), got '1'"),
        ("steps", f"a.ipynb: 'steps' is not name=value; {ALLOWED}"),
        ("params=p.yaml", "a.ipynb: give the parameter 'params' as --params FILE"),
    ],
)
def test_a_bad_parameter_is_refused_in_one_line(tmp_path, word, message):
    path = notebook(tmp_path / "a.ipynb", PARAMETERS)
    with pytest.raises(BenchError) as error:
        nbrun.read_parameters(path, [word], None)
    assert str(error.value) == message


def test_a_parameter_given_twice_is_refused(tmp_path):
    path = notebook(tmp_path / "a.ipynb", PARAMETERS)
    with pytest.raises(BenchError, match="'steps' is given twice"):
        nbrun.read_parameters(path, ["steps=1", "steps=2"], None)


def test_a_value_gets_the_type_of_its_default(tmp_path):
    path = notebook(tmp_path / "a.ipynb", PARAMETERS)
    words = ["key=7", "steps=-4", "rate=1e-4", "fast=True", "limit=12", "more=x=y"]
    expected = {"key": "7", "steps": -4, "rate": 1e-4, "fast": True, "limit": 12, "more": "x=y"}
    values = nbrun.read_parameters(path, words, None)
    assert values == expected
    assert [type(v) for v in values.values()] == [type(v) for v in expected.values()]
    assert nbrun.read_parameters(path, ["limit=null"], None) == {"limit": None}
    assert nbrun.parse_value("[1, 2]", [0]) == [1, 2]


def test_exactly_one_parameters_cell_is_wanted(tmp_path):
    with pytest.raises(BenchError, match="exactly one cell tagged 'parameters', found 0"):
        nbrun.read_defaults(notebook(tmp_path / "none.ipynb", None, "x = 1"))
    book = nbformat.read(notebook(tmp_path / "two.ipynb", "x = 1"), as_version=4)
    book.cells.append(nbformat.v4.new_code_cell("y = 1", metadata={"tags": ["parameters"]}))
    nbformat.write(book, tmp_path / "two.ipynb")
    with pytest.raises(BenchError, match="found 2"):
        nbrun.read_defaults(tmp_path / "two.ipynb")


@pytest.mark.parametrize(
    "line", ["x = open('y')", "a, b = (1, 2)", "a = b = 1", "import os", "x: int", "print(1)"]
)
def test_a_parameters_cell_with_more_than_literals_is_refused(tmp_path, line):
    with pytest.raises(
        BenchError, match=f"may only hold name = literal, found: {re.escape(line)}$"
    ):
        nbrun.read_defaults(notebook(tmp_path / "a.ipynb", f"y = 1\n{line}"))


def test_an_unknown_notebook_is_refused_with_the_nearest_name(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    notebook(tmp_path / "notebooks" / "30_train.ipynb", "x = 1")
    monkeypatch.setattr(nbrun, "REPOSITORY", tmp_path)
    assert nbrun.find_notebook("30_train") == tmp_path / "notebooks" / "30_train.ipynb"
    with pytest.raises(BenchError, match=r"notebook '30_tran': .* did you mean 30_train"):
        nbrun.find_notebook("30_tran")


def test_the_params_file_is_validated_and_passed_as_an_absolute_path(tmp_path, monkeypatch):
    def load_params(path):
        if "bad" in Path(path).read_text():
            raise BenchError("params.yaml: map rate: got bad")
        return types.SimpleNamespace(root="", suite="x")

    monkeypatch.setattr(nbrun, "REPOSITORY", tmp_path)  # what has passed is noted there
    monkeypatch.setattr(nbrun, "_check_once", lambda suite, file: None)  # has a test of its own
    monkeypatch.setitem(
        sys.modules, "benchlib.params", types.SimpleNamespace(load_params=load_params)
    )
    monkeypatch.chdir(tmp_path)
    path = notebook(tmp_path / "a.ipynb", 'params = "params.yaml"\nkey = "map"')
    with pytest.raises(BenchError, match="no params file "):
        nbrun.read_parameters(path, [], None)
    Path("params.yaml").write_text("good: 1")
    assert nbrun.read_parameters(path, ["key=cat"], None) == {
        "key": "cat",
        "params": str(tmp_path / "params.yaml"),
    }
    Path("other.yaml").write_text("bad: 1")
    with pytest.raises(BenchError, match="map rate: got bad"):
        nbrun.read_parameters(path, [], "other.yaml")
    with pytest.raises(BenchError, match="has no parameter 'params'"):
        nbrun.read_parameters(notebook(tmp_path / "b.ipynb", "x = 1"), [], "params.yaml")


def test_settings_are_checked_once_for_the_same_parameters_and_code(tmp_path, monkeypatch):
    from benchlib import checks, plugins

    seen, linked = [], []
    monkeypatch.setattr(checks, "check_choices", lambda suite, file: seen.append(file))
    monkeypatch.setattr(plugins, "link", linked.append)
    suite, file = types.SimpleNamespace(work=tmp_path / "work"), tmp_path / "params.yaml"
    file.write_text("a: 1")
    nbrun._check_once(suite, file)
    nbrun._check_once(suite, file)
    assert seen == [file]
    file.write_text("a: 2")
    nbrun._check_once(suite, file)
    assert seen == [file, file]
    assert linked == [suite] * 3  # plug-ins' links, each time


def test_parameters_that_have_passed_are_not_read_again_until_they_or_the_package_change(
    tmp_path, monkeypatch
):
    from benchlib import params

    read = []

    def load_params(file):
        read.append(file)
        return types.SimpleNamespace(root="", suite="x")

    monkeypatch.setattr(nbrun, "REPOSITORY", tmp_path)
    monkeypatch.setattr(nbrun, "_check_once", lambda suite, file: None)
    monkeypatch.setattr(params, "load_params", load_params)
    monkeypatch.delenv(nbrun.PLUGINS, raising=False)
    file = tmp_path / "params.yaml"
    file.write_text("a: 1")
    for _ in range(2):
        assert nbrun._checked_params(tmp_path / "a.ipynb", str(file)) == file
    assert len(read) == 1
    file.write_text("a: 2")
    nbrun._checked_params(tmp_path / "a.ipynb", str(file))
    assert len(read) == 2
    package = tmp_path / "package"
    package.mkdir()
    monkeypatch.setattr(nbrun, "__file__", str(package / "nbrun.py"))
    for code in ("x = 1", "x = 2"):
        (package / "checks.py").write_text(code)
        nbrun._checked_params(tmp_path / "a.ipynb", str(file))
    assert len(read) == 4
    monkeypatch.setenv(nbrun.PLUGINS, '{"methods/x.py": "x.py"}')  # a plug-in may have changed
    nbrun._checked_params(tmp_path / "a.ipynb", str(file))
    assert len(read) == 5
    assert nbrun.PLUGINS == registry.INHERITED


def test_places_are_checked_of_parameters_that_have_passed_too(tmp_path, monkeypatch):
    monkeypatch.setattr(nbrun, "REPOSITORY", tmp_path)
    monkeypatch.setenv("DVC_STAGE", "x")
    monkeypatch.delenv(nbrun.PLUGINS, raising=False)
    file = tmp_path / "params.yaml"
    file.write_text("a: 1")
    nbrun._note(nbrun._mark(file), {"root": "", "suite": "x"})
    nbrun._checked_params(tmp_path / "a.ipynb", str(file))
    (tmp_path / "results").write_text("a file")
    with pytest.raises(BenchError, match="results is a file; a folder is written there"):
        nbrun._checked_params(tmp_path / "a.ipynb", str(file))


def test_a_refusal_is_one_line_exit_2_and_nothing_is_run(tmp_path):
    notebook(tmp_path / "a.ipynb", "x = 1", "open('ran', 'w')")
    done = launch(tmp_path, "a.ipynb", "y=1", "--out", "copy.ipynb")
    assert done.returncode == 2
    assert (done.stdout, done.stderr) == ("", "nbrun: a.ipynb: unknown parameter 'y'; may be x\n")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.ipynb"]


# ---------------------------------------------------------------- the run


def test_parameters_reach_the_notebook_with_their_types_and_this_python_runs_it(tmp_path):
    """A kernel called python3 among the user's own kernels is not taken."""
    kernels = tmp_path / "jupyter" / "kernels" / "python3"
    kernels.mkdir(parents=True)
    (kernels / "kernel.json").write_text(
        '{"argv": ["false"], "display_name": "mine", "language": "python"}'
    )
    write = (
        "import json, os, sys, benchlib\n"
        "seen = [key, steps, rate, fast, limit, more, sys.executable, os.getcwd()]\n"
        "json.dump(seen, open('seen.json', 'w'))"
    )
    notebook(tmp_path / "a.ipynb", PARAMETERS, write)
    words = ["key=null", "steps=7", "rate=1", "fast=true", "limit=null", 'more=it\'s "x"']
    done = launch(
        tmp_path,
        "a.ipynb",
        *words,
        "--out",
        "sub/copy.ipynb",
        JUPYTER_PATH=str(tmp_path / "jupyter"),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert seen == [
        "null",
        7,
        1.0,
        True,
        None,
        'it\'s "x"',
        sys.executable,
        str(tmp_path.resolve()),
    ]
    assert isinstance(seen[2], float)
    copy = nbformat.read(tmp_path / "sub" / "copy.ipynb", as_version=4)
    assert any("injected-parameters" in cell.metadata.get("tags", []) for cell in copy.cells)
    assert [p.name for p in (tmp_path / "sub").iterdir()] == ["copy.ipynb"]


def test_an_error_is_one_line_exit_1_and_the_copy_with_the_traceback_is_kept(tmp_path):
    notebook(
        tmp_path / "a.ipynb",
        "x = 1",
        "print('before')",
        "raise ValueError('two\\nlines')",
        "open('ran', 'w')",
    )
    done = launch(tmp_path, "a.ipynb", "--out", "copy.ipynb")
    assert done.returncode == 1
    assert done.stdout == "before\n"
    assert (
        done.stderr
        == "nbrun: ValueError: two lines (cell 3 of a.ipynb; the traceback is in copy.ipynb)\n"
    )
    assert not (tmp_path / "ran").exists()
    assert "Traceback" in (tmp_path / "copy.ipynb").read_text()


def test_a_bench_error_is_told_by_its_message_alone(tmp_path):
    notebook(
        tmp_path / "a.ipynb",
        "x = 1",
        "from benchlib.contracts import BenchError\nraise BenchError('do this')",
    )
    done = launch(tmp_path, "a.ipynb")
    assert (done.returncode, done.stderr) == (1, "nbrun: do this\n")
    assert (tmp_path / "work" / "notebooks" / "a.ipynb").is_file()


@posix
def test_a_kernel_that_dies_is_one_line_and_exit_1(tmp_path):
    notebook(
        tmp_path / "a.ipynb", "x = 1", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    done = launch(tmp_path, "a.ipynb", "--out", "copy.ipynb")
    assert done.returncode == 1
    assert done.stderr.startswith("nbrun: a.ipynb: the kernel died")
    assert done.stderr.count("\n") == 1
    assert (tmp_path / "copy.ipynb").is_file()


def test_prints_and_progress_bars_arrive_live_as_plain_lines(tmp_path):
    bar = (
        "import sys, time\nfrom tqdm import tqdm\n"
        "print('iteration 100 loss 0.5')\ntime.sleep(1)\n"
        "for i in tqdm(range(2), file=sys.stdout, ascii=True, mininterval=0): time.sleep(0.5)\n"
        "print('end')"
    )
    notebook(tmp_path / "a.ipynb", "x = 1", bar)
    command = [sys.executable, "-m", "benchlib.nbrun", "a.ipynb"]
    lines, times = [], []
    with subprocess.Popen(
        command, cwd=tmp_path, env=ENV, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        for line in process.stdout:
            lines.append(line)
            times.append(time.monotonic())
    assert lines[0] == "iteration 100 loss 0.5\n"
    assert lines[-1] == "end\n"
    bars = [i for i, line in enumerate(lines) if "/2 [" in line]
    assert [lines[i][:4] for i in (bars[0], bars[-1])] == ["0%| ", "100%"]
    assert len(bars) == len(lines) - 2 >= 3
    assert all("\r" not in line and line.count("%|") <= 1 for line in lines)
    assert times[bars[0]] - times[0] > 0.7
    assert times[bars[-1]] - times[bars[0]] > 0.7


@posix
def test_a_reader_that_goes_away_does_not_stop_the_notebook(tmp_path):
    notebook(
        tmp_path / "a.ipynb",
        "x = 1",
        "print('one')",
        "for i in range(9): print(i)",
        "open('ran', 'w')",
    )
    command = [sys.executable, "-m", "benchlib.nbrun", "a.ipynb"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=ENV, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        process.stdout.close()
        assert process.wait(timeout=20) == 0
    assert (tmp_path / "ran").exists()


# ---------------------------------------------------------------- the end

# The notebook tells its process ids: launcher, kernel, a child of the kernel.
TELL = (
    "import os, pathlib, subprocess, time\nchild = subprocess.Popen(['sleep', '300'])\n"
    "pathlib.Path('.ids').write_text(f'{os.getppid()} {os.getpid()} {child.pid}')\n"
    "os.rename('.ids', 'ids')"
)
SLEEPS = (
    "try:\n    time.sleep(300)\nexcept KeyboardInterrupt:\n    open('checkpoint', 'w')\n    raise"
)
# Never gives the interpreter back: no Python thread and no handler runs in this kernel.
C_LOOP = "sum(range(10**13))"
# A DVC: starts the stage through a shell that stays, ignores SIGINT meanwhile as DVC does, waits.
DVC = """
import signal, subprocess, sys
nbrun = f"{sys.executable} -m benchlib.nbrun a.ipynb --out copy.ipynb; exit $?"
stage = subprocess.Popen(["/bin/sh", "-c", nbrun])
signal.signal(signal.SIGINT, signal.SIG_IGN)
stage.wait()
"""


def wait_for(what, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def started(tmp_path):
    """A function that starts a command in its own process group.

    It returns the command and the ids of all processes that it started.
    """
    pids: list[int] = []

    def start(cell: str, command: list[str]) -> tuple[subprocess.Popen[str], list[int]]:
        notebook(tmp_path / "a.ipynb", "x = 1", TELL, cell)
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            env=ENV,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert wait_for((tmp_path / "ids").exists, 20)
        launcher, kernel, child = (int(word) for word in (tmp_path / "ids").read_text().split())
        pids.extend(
            {
                kernel,
                child,
                *(p.pid for p in psutil.Process(launcher).children()),
                launcher,
                process.pid,
            }
        )
        time.sleep(0.3)  # into the next cell
        assert len(pids) >= 4
        assert all(lives(pid) for pid in pids)
        return process, pids

    yield start
    for pid in pids:
        if lives(pid):
            os.kill(pid, signal.SIGKILL)


@posix
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_interrupts_the_notebook_and_nothing_stays(tmp_path, started, signum):
    process, pids = started(
        SLEEPS, [sys.executable, "-m", "benchlib.nbrun", "a.ipynb", "--out", "copy.ipynb"]
    )
    process.send_signal(signum)
    assert process.wait(timeout=15) == 128 + signum
    assert process.communicate()[1] == f"nbrun: copy.ipynb stopped by {signum.name}\n"
    assert wait_for(lambda: not any(map(lives, pids)), 15)
    assert (tmp_path / "checkpoint").exists()
    assert "KeyboardInterrupt" in (tmp_path / "copy.ipynb").read_text()


@posix
def test_a_kernel_that_does_not_hear_is_killed_after_the_grace(tmp_path, started):
    process, pids = started(
        C_LOOP, [sys.executable, "-m", "benchlib.nbrun", "a.ipynb", "--out", "copy.ipynb"]
    )
    process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=nbrun.GRACE_SIGNAL - 1)
    assert process.wait(timeout=15) == 128 + signal.SIGTERM
    assert wait_for(lambda: not any(map(lives, pids)), 15)
    assert nbformat.read(tmp_path / "copy.ipynb", as_version=4).cells


@posix
def test_a_second_signal_does_not_wait(started):
    process, pids = started(
        C_LOOP, [sys.executable, "-m", "benchlib.nbrun", "a.ipynb", "--out", "copy.ipynb"]
    )
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=15) == 128 + signal.SIGINT
    assert wait_for(lambda: not any(map(lives, pids)), 15)


@posix
def test_kernel_children_and_sockets_do_not_outlive_a_killed_launcher(started):
    process, pids = started(C_LOOP, [sys.executable, "-m", "benchlib.nbrun", "a.ipynb"])
    command_lines = [psutil.Process(pid).cmdline() for pid in pids]
    sockets = next(Path(words[-1]) for words in command_lines if "nbrun-guardian" in words)
    assert sockets.is_dir()
    process.kill()
    process.wait()
    assert wait_for(lambda: not any(map(lives, pids)), 15)
    assert not sockets.exists()


@posix
@pytest.mark.parametrize(
    ("signum", "cell"),
    [(signal.SIGKILL, SLEEPS), (signal.SIGTERM, SLEEPS), (signal.SIGKILL, C_LOOP)],
    ids=["SIGKILL", "SIGTERM", "SIGKILL_c_loop"],
)
def test_nothing_outlives_dvc(tmp_path, started, signum, cell):
    """DVC is ended without its stage being told; a shell stands between the two."""
    (tmp_path / "dvc").write_text(DVC)
    process, pids = started(cell, [sys.executable, "dvc"])
    process.send_signal(signum)
    process.wait()
    assert wait_for(lambda: not any(map(lives, pids)), 15)
    assert (tmp_path / "checkpoint").exists() == (cell == SLEEPS)


@posix
def test_ctrl_c_on_dvc_interrupts_the_notebook_and_nothing_stays(tmp_path, started):
    """A terminal sends SIGINT to the whole group.

    DVC ignores it while a stage runs, the launcher does not.
    """
    (tmp_path / "dvc").write_text(DVC)
    process, pids = started(SLEEPS, [sys.executable, "dvc"])
    os.killpg(process.pid, signal.SIGINT)
    assert wait_for(lambda: not any(map(lives, pids)), 15)
    assert process.wait(timeout=15) == 0
    assert (tmp_path / "checkpoint").exists()


def watched() -> None:
    """Tests that were started by nohup begin a process that was not: else nobody is watched."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@posix
def test_a_parent_that_dies_early_ends_the_launcher_and_what_it_began(tmp_path):
    notebook(tmp_path / "a.ipynb", "x = 1", TELL, SLEEPS)
    script = f"{sys.executable} -m benchlib.nbrun a.ipynb >/dev/null & echo $!; wait"
    with subprocess.Popen(
        ["/bin/sh", "-c", script],
        cwd=tmp_path,
        env=ENV,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=watched,
    ) as parent:
        assert parent.stdout
        launcher = psutil.Process(int(parent.stdout.readline()))
        assert wait_for(
            launcher.children, 60
        )  # its kernel starts: no cell has run, and it watches its parent
        parent.kill()
    ended = wait_for(lambda: not lives(launcher.pid), 30)
    if not ended:
        launcher.kill()
    assert ended
    began = (
        (tmp_path / "ids").read_text().split() if (tmp_path / "ids").exists() else []
    )  # on a fast machine it did
    assert wait_for(lambda: not any(lives(int(pid)) for pid in began), 15)


# ---------------------------------------------------------------- what users' machines hold


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"3",
        b"{}",
        b"\xff\xfe{",
        b'{"cells": null}',
        b'{"cells": {}}',
        b'{"cells": "text"}',
        b'{"cells": ["text", null, 3]}',
        b'{"cells": [{}]}',
        b'{"cells": [{"metadata": null, "source": "x = 1"}]}',
        b'{"cells": [{"metadata": {"tags": null}, "source": "x = 1"}]}',
        b'{"cells": [{"metadata": {"tags": ["parameters"]}}]}',
        b'{"cells": [{"metadata": {"tags": ["parameters"]}, "source": {"a": 1}}]}',
        b"[" * 100_000,
    ],
    ids=range(15),
)
def test_what_is_no_notebook_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "a.ipynb").write_bytes(content)
    with pytest.raises(BenchError, match=r"^a\.ipynb: not a notebook of format 4 \("):
        nbrun.read_defaults(tmp_path / "a.ipynb")


def test_a_parameters_cell_that_breaks_the_reader_is_refused_in_one_line(tmp_path):
    for line in ("x = " + "(" * 500, "x = 1 +" * 20_000 + " 1", "x = \0"):
        path = notebook(tmp_path / "a.ipynb", line)
        with pytest.raises(BenchError) as error:
            nbrun.read_defaults(path)
        assert "a.ipynb: the parameters cell" in str(error.value)[:40]


def test_an_error_keeps_its_beginning_and_its_end(tmp_path):
    """The cause often stands last."""
    error = types.SimpleNamespace(
        ename="BenchError", evalue=f"start {'x ' * 5000} the cause", exec_count=2
    )
    line = nbrun.one_line(error, "a.ipynb", tmp_path / "copy.ipynb")
    assert line.startswith("start x")
    assert line.endswith("x the cause")
    assert len(line) == nbrun.LONGEST_ERROR


def test_the_kernel_s_environment_is_not_the_user_s_own(monkeypatch):
    personal = dict.fromkeys(nbrun.PERSONAL, "x")
    personal |= {"MPLBACKEND": "Agg", "MATPLOTLIBRC": "/x", "IPYTHONDIR": "/x", "PYTHONUTF8": "0"}
    kept = {
        "CUDA_VISIBLE_DEVICES": "1",
        "OMP_NUM_THREADS": "3",
        "BENCHLIB_CACHE": "/x",
        "HTTPS_PROXY": "x",
        "MPLCONFIGDIR": "/x",
    }
    for name, value in (personal | kept | {"PYTHONPATH": "/theirs"}).items():
        monkeypatch.setenv(name, value)
    made = nbrun.kernel_environment("/own")
    assert not set(nbrun.PERSONAL) & set(made)
    assert {name: made[name] for name in kept} == kept
    assert made["PYTHONPATH"] == f"{nbrun.REPOSITORY}{os.pathsep}/theirs"
    assert made["IPYTHONDIR"] == made["JUPYTER_CONFIG_DIR"] == "/own"
    assert made["PYTHONUTF8"] == "1"
    assert "inline" in made["MPLBACKEND"]
    assert Path(made["MATPLOTLIBRC"]).is_file()


def test_the_user_s_own_settings_do_not_reach_the_notebook(tmp_path):
    """Startup files, warnings as errors, a matplotlibrc: pictures appear as ever, nothing stops."""
    home = tmp_path / "home"
    startup = home / ".ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00.py").write_text("mine = 1\n")
    (startup.parent / "ipython_config.py").write_text("c.InteractiveShellApp.exec_lines=['mine=1']")
    (home / "start.py").write_text("mine = 1\n")
    for place in (home / ".config" / "matplotlib", tmp_path):
        place.mkdir(parents=True, exist_ok=True)
        (place / "matplotlibrc").write_text("lines.linewidth: 77\nbackend: pdf\n")
    cell = (
        "import os, warnings\nassert 'mine' not in globals()\nwarnings.warn('a word')\n"
        "import matplotlib\nassert matplotlib.rcParams['lines.linewidth'] != 77\n"
        "assert 'inline' in matplotlib.get_backend()\n"
        f"assert os.getcwd() == {str(tmp_path)!r}\n"
        "open('ran', 'w').write('ü')\nassert open('ran', 'rb').read() == 'ü'.encode()"
    )
    notebook(tmp_path / "a.ipynb", "x = 1", cell)
    done = launch(
        tmp_path,
        "a.ipynb",
        HOME=str(home),
        IPYTHONDIR=str(home / ".ipython"),
        PYTHONSTARTUP=str(home / "start.py"),
        PYTHONWARNINGS="error",
        MPLBACKEND="pdf",
        MATPLOTLIBRC=str(home / ".config" / "matplotlib" / "matplotlibrc"),
        LC_ALL="C",
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert (tmp_path / "ran").exists()


@posix
@pytest.mark.parametrize("name", ["${x}", "{b}", "{", "a b % # $HOME 'q' \"d\" ü {0} {x!r}"])
def test_a_folder_s_name_is_no_template(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    path = notebook(folder / "a.ipynb", "x = 1", "open('ran', 'w')")
    done = launch(folder, path, "x=2", "--out", folder / "copies" / "{y}.ipynb", TMPDIR=str(folder))
    assert (done.returncode, done.stderr) == (0, "")
    assert (folder / "copies" / "{y}.ipynb").is_file()
    assert sorted(p.name for p in folder.iterdir()) == ["a.ipynb", "copies", "ran"]


def test_the_copy_does_not_replace_the_notebook(tmp_path):
    path = notebook(tmp_path / "a.ipynb", "x = 1")
    before = path.read_bytes()
    done = launch(tmp_path, "a.ipynb", "--out", "./a.ipynb")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "that is the notebook itself" in done.stderr
    assert path.read_bytes() == before


@posix
def test_a_launcher_whose_guardian_was_killed_leaves_nothing(tmp_path, started):
    process, pids = started(
        SLEEPS, [sys.executable, "-m", "benchlib.nbrun", "a.ipynb", "--out", "copy.ipynb"]
    )
    words = {pid: psutil.Process(pid).cmdline() for pid in pids}
    guardian = next(pid for pid in pids if "nbrun-guardian" in words[pid])
    sockets = Path(words[guardian][-1])
    os.kill(guardian, signal.SIGKILL)
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=30)
    assert wait_for(lambda: not any(map(lives, pids)), 15)
    assert not sockets.exists()


@posix
def test_a_link_to_another_disk_is_refused_before_any_work_under_dvc(tmp_path, monkeypatch):
    elsewhere = tmp_path / "disk"
    project = tmp_path / "project"
    elsewhere.mkdir()
    project.mkdir()
    file = project / "params.yaml"
    nbrun._check_places(file, "", "a")
    (project / "work").symlink_to(elsewhere)
    with pytest.raises(
        BenchError, match=r"work/ is a link that leads to .*disk/a, outside"
    ) as error:
        nbrun._check_places(file, "", "a")
    assert "\n" not in str(error.value)
    (project / "work").unlink()
    (project / "inside").mkdir()
    (project / "work").symlink_to("inside")
    nbrun._check_places(file, "", "a")
