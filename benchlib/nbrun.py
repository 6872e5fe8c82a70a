"""The strict notebook launcher, the only thing dvc.yaml calls:

    python -m benchlib.nbrun 30_train --params params.yaml --out work/30_train-map.ipynb key=map

Papermill runs the notebook. Around it: an unknown parameter, a wrong type or a bad params.yaml
stops before any work; what the notebook prints appears live as plain lines; an error in the
notebook is one line and exit code 1; the executed copy appears whole, after a failure too; and no
kernel outlives this process or the DVC that called it.

How the end comes: SIGTERM, SIGINT, SIGHUP and the death of DVC interrupt the kernel (what cleans up
after itself does) and kill it if it has not stopped after a few seconds. If this very process is
killed, a guardian (a sleeping ``sh`` that reads a pipe of ours) sees the pipe close and kills the
kernel's process group.

What of the user's own settings reaches the notebook: ``kernel_environment`` decides it.

With BENCHLIB_LAUNCH the command is a job of Slurm's, and this process its watcher: ``launch``.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import importlib.util
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from benchlib import hosts
from benchlib.contracts import BenchError, nearest, shortened
from benchlib.files import new_file

if TYPE_CHECKING:
    from jupyter_client.manager import AsyncKernelManager
    from papermill.exceptions import PapermillExecutionError

    from benchlib.launch import Trip
    from benchlib.params import Suite

REPOSITORY = Path(__file__).resolve().parent.parent
GRACE_SIGNAL = 5.0  # seconds an interrupted kernel has to clean up
GRACE_ORPHAN = 2.0  # the same when DVC is gone: everything ends within about three seconds
LONGEST_ERROR = 1200  # characters of a notebook's error that are printed: its ends, where longer
PLUGINS = "BENCHLIB_PLUGIN_FILES"  # registry.INHERITED: not imported, for the time that it takes
PASSED_BY = (".py", ".yaml", ".csv")  # what of the package says whether parameters are right
LONGEST_SOCKETS = 80  # characters of their folder: a socket's path is at most 103

# Papermill imports these for notebooks at addresses, files of parameters and a command of its own:
# a third of a second, for what is not used here. Each is loaded if it is.
UNUSED = ("requests", "yaml", "click")

# ipykernel_launcher without debugpy, which nobody attaches to here and which takes 0.3 s to import;
# without the settings of IPython that lie in folders of the machine. A matplotlibrc in the current
# folder wins over all others, so matplotlib reads its settings elsewhere where there is one.
KERNEL = """
import os, sys
sys.modules["debugpy"] = None
import ipykernel.debugger
del sys.modules["debugpy"]
from IPython.core import application
application.ENV_CONFIG_DIRS.clear()
application.SYSTEM_CONFIG_DIRS.clear()
if os.path.exists("matplotlibrc"):
    here = os.getcwd()
    os.chdir(os.environ["IPYTHONDIR"])
    import matplotlib
    os.chdir(here)
from ipykernel import kernelapp
kernelapp.launch_new_instance()
"""
# What the user's own Python does at its start, how it warns, and what it prints.
# glibc's malloc keeps blocks of up to 32 MiB, and 1 GiB of what is free, for the next time. Without
# it a network's every layer asks the system for its memory anew: a tenth of SAM's time on a CPU.
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**25), "MALLOC_TRIM_THRESHOLD_": str(2**30)}
PERSONAL = (
    "PYTHONASYNCIODEBUG",
    "PYTHONBREAKPOINT",
    "PYTHONDEBUG",
    "PYTHONDEVMODE",
    "PYTHONINSPECT",
    "PYTHONIOENCODING",
    "PYTHONOPTIMIZE",
    "PYTHONPROFILEIMPORTTIME",
    "PYTHONSTARTUP",
    "PYTHONVERBOSE",
    "PYTHONWARNINGS",
)
# $1 is the kernel's process group, $2 its folder of sockets.
GUARDIAN = 'read _; kill -9 "-$1"; rm -rf "$2"'


# ---------------------------------------------------------------- before any work


def find_notebook(name: str) -> Path:
    """The notebook called ``name``: a path, or a stem in the repository's ``notebooks`` folder.

    Raises BenchError, for a stem with the nearest, if there is none.
    """
    if name.endswith(".ipynb"):
        if Path(name).is_file():
            return Path(name)
        raise BenchError(f"notebook {name}: no such file")
    folder = REPOSITORY / "notebooks"
    path = folder / f"{name}.ipynb"
    if not path.is_file():
        stems = [file.stem for file in folder.glob("*.ipynb")]
        raise BenchError(f"notebook '{name}': {nearest(name, stems)}")
    return path


def read_defaults(path: Path) -> dict[str, Any]:
    """Name and default of each parameter of a notebook, from its one cell tagged ``parameters``.

    The cell is read as Python, not with papermill's line patterns: those do not see
    ``a: int | None = None`` nor ``a = "x=y"``. Raises BenchError without exactly one such cell, or
    for a default that is not a literal.
    """
    tagged = _parameters_cells(path)
    if len(tagged) != 1:
        raise BenchError(
            f"{path.name}: expected exactly one cell tagged 'parameters', found {len(tagged)}"
        )
    try:
        statements = ast.parse("".join(tagged[0]["source"])).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise BenchError(f"{path.name}: the parameters cell is not Python ({error})") from None
    return dict(_literal(statement, path) for statement in statements)


def _parameters_cells(path: Path) -> list[dict[str, Any]]:
    try:
        book = json.loads(path.read_text(encoding="utf-8"))
        cells = book["cells"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BenchError(
            f"{path.name}: not a notebook of format 4 ({type(error).__name__}: {error})"
        ) from None
    if not isinstance(cells, list) or not all(map(_is_cell, cells)):
        raise BenchError(
            f"{path.name}: not a notebook of format 4 (`cells` is no list of cells); open it in "
            "Jupyter and save it"
        )
    return [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]


def _is_cell(cell: Any) -> bool:
    """Whether what is read of a cell here is there, and of its type."""
    if not isinstance(cell, dict) or not isinstance(cell.get("metadata"), dict):
        return False
    source = cell.get("source")
    if isinstance(source, list):
        source = "".join(map(str, source))
    return isinstance(source, str) and isinstance(cell["metadata"].get("tags", []), list)


def _literal(statement: ast.stmt, path: Path) -> tuple[str, Any]:
    """Name and value of a statement ``name = literal`` or ``name: type = literal``."""
    targets: list[ast.expr] = []
    value: ast.expr | None = None
    if isinstance(statement, ast.Assign):
        targets, value = statement.targets, statement.value
    elif isinstance(statement, ast.AnnAssign):
        targets, value = [statement.target], statement.value
    if len(targets) == 1 and isinstance(targets[0], ast.Name) and value is not None:
        with suppress(ValueError, TypeError, SyntaxError, RecursionError):  # not a literal
            return targets[0].id, ast.literal_eval(value)
    found = ast.unparse(statement)
    raise BenchError(
        f"{path.name}: the parameters cell may only hold name = literal, found: {found}"
    )


def parse_value(text: str, default: Any) -> Any:
    """``text`` as a value of the type of ``default``; raises ValueError.

    A str is taken as it stands; a bool is true or false; a list or a dict is JSON; where the
    default is None, anything that is JSON is that, and the rest a str.

    >>> parse_value("1e-4", 0.5), parse_value("true", False), parse_value("1", "x")
    (0.0001, True, '1')
    >>> parse_value("null", None), parse_value("map", None)
    (None, 'map')
    """
    if isinstance(default, str):
        return text
    if isinstance(default, bool):
        text = text.lower()
    elif isinstance(default, int | float):
        return type(default)(text)
    try:
        value = json.loads(text)
    except ValueError:
        if default is None:
            return text
        raise
    if default is not None and type(value) is not type(default):
        raise ValueError(text)
    return value


def read_parameters(path: Path, given: list[str], params: str | None) -> dict[str, Any]:
    """What to hand to the notebook: ``name=value`` words, and its validated ``params`` file.

    params: the file named by ``--params``; None stands for params.yaml here, if the notebook has a
    ``params``. Raises BenchError for a word that is not name=value, an unknown name, a value of
    another type than the default, a bad params file.
    """
    defaults = read_defaults(path)
    values: dict[str, Any] = {}
    for word in given:
        name, value = _read_word(path, word, defaults)
        if name in values:
            raise BenchError(f"{path.name}: parameter '{name}' is given twice")
        values[name] = value
    if "params" in defaults:
        values["params"] = str(_checked_params(path, params or "params.yaml"))
    elif params:
        raise BenchError(
            f"{path.name}: --params {params} is given but the notebook has no parameter 'params'"
        )
    return values


def _read_word(path: Path, word: str, defaults: dict[str, Any]) -> tuple[str, Any]:
    """Name and value of a ``name=value``."""
    name, equals, text = word.partition("=")
    names = [known for known in defaults if known != "params"]
    hint = nearest(name, names or ["nothing"])
    if not equals:
        raise BenchError(f"{path.name}: '{word}' is not name=value; {hint}")
    if name == "params":
        raise BenchError(f"{path.name}: give the parameter 'params' as --params FILE")
    if name not in names:
        raise BenchError(f"{path.name}: unknown parameter '{name}'; {hint}")
    default = defaults[name]
    try:
        return name, parse_value(text, default)
    except ValueError:
        raise BenchError(
            f"{path.name}: parameter '{name}' expects {type(default).__name__} "
            f"(default {default!r}), got '{text}'"
        ) from None


def _checked_params(path: Path, params: str) -> Path:
    """The params file's absolute path, once it has been read and checked without an error.

    To read it takes longer than all else here (pydantic), and the notebook reads it again. So what
    this package has let through once is not read here a second time, while not a letter of either
    has changed; but for plug-ins, which change by themselves.
    """
    file = Path(params).resolve()
    if not file.is_file():
        raise BenchError(f"{path.name}: no params file {file}; name it with --params")
    passed, suite = _mark(file), None
    known = _noted(passed)
    if known is None:
        from benchlib.params import load_params

        suite = load_params(file)
        known = {"root": suite.root, "suite": suite.suite}
    if "DVC_STAGE" in os.environ:
        _check_places(file, known["root"], known["suite"])
        hosts.claim((file.parent / known["root"] / "work").resolve())
    if suite is not None:
        _check_once(suite, file)
        _note(passed, known)
    return file


def _mark(file: Path) -> Path:
    """The file that says that these parameters have passed: of every file of the package too."""
    digest = hashlib.sha256(f"{file}\0".encode() + file.read_bytes())
    package = Path(__file__).parent
    for part in sorted(package.rglob("*")):
        if part.suffix in PASSED_BY and part.is_file():
            digest.update(part.read_bytes())
    return REPOSITORY / "work" / ".passed" / f"{digest.hexdigest()[:32]}.json"


def _noted(mark: Path) -> dict[str, str] | None:
    """``root`` and ``suite`` of parameters that have passed, or None."""
    if os.environ.get(PLUGINS):
        return None
    try:
        known = json.loads(mark.read_text(encoding="utf-8"))
        return {name: known[name] for name in ("root", "suite")}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _note(mark: Path, known: dict[str, str]) -> None:
    """Note that parameters have passed, if nothing outside the package had a say.

    Where that cannot be written they are read again next time.
    """
    if os.environ.get(PLUGINS):
        return
    with suppress(BenchError), new_file(mark) as temporary:
        temporary.write_text(json.dumps(known), encoding="utf-8")


def _check_places(file: Path, root: str, suite: str) -> None:
    """Raise BenchError if outputs lie outside of the project, where DVC refuses them at the end."""
    project = (file.parent / root).resolve()
    for name in ("work", "results"):
        place = (project / name / suite).resolve()
        if not place.is_relative_to(project):
            raise BenchError(
                f"{file}: {name}/ is a link that leads to {place}, outside of the project, where "
                "DVC takes no outputs; remove the link; docs/data.md, 'A small disk', says how else"
            )
        for part in (place, place.parent):
            if part.exists() and not part.is_dir():
                raise BenchError(f"{file}: {part} is a file; a folder is written there: move it")


def _check_once(suite: Suite, file: Path) -> None:
    """Check every setting, unless these parameters and this package have passed before.

    That imports torch, which is slow to load. A mark of the check lies in the suite's work folder.
    Plug-ins get their links first: DVC looks for them when the notebook has run.
    """
    from benchlib.checks import check_choices
    from benchlib.plugins import link
    from benchlib.registry import files

    link(suite)
    digest = hashlib.sha256(file.read_bytes())
    for code in files():
        digest.update(code.read_bytes())
    passed = suite.work / ".checked" / digest.hexdigest()[:16]
    if passed.exists():
        return
    check_choices(suite, file)
    try:
        passed.parent.mkdir(parents=True, exist_ok=True)
        passed.touch()
    except OSError as error:
        raise BenchError(f"{file}: nothing can be written in {suite.work} ({error})") from None


# ---------------------------------------------------------------- output


class PlainLines:
    """Passes a notebook's stream on as it comes; a progress bar's carriage return becomes a line.

    A reader that has gone away (``| head``, a killed DVC) does not stop the notebook; what it
    misses is dropped.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.after_bar = False  # the newline that a closing bar prints has been written already

    def write(self, text: str) -> None:
        text = text.replace("\r\n", "\n")
        if self.after_bar:
            text = text.removeprefix("\n")
            self.after_bar = not text
        if "\r" in text:
            self.after_bar = not text.endswith("\n")
            text = re.sub(r" *\r+ *", "\n", text).strip("\n") + "\n"
            if text.isspace():
                text = ""
        self._reach(partial(self.stream.write, text))

    def flush(self) -> None:
        self._reach(self.stream.flush)

    def _reach(self, action: Callable[[], object]) -> None:
        try:
            action()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())


class Copy:
    """Papermill's output handler: only a finished copy of the notebook reaches the disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = ""

    def write(self, text: str, _path: str) -> None:
        self.text = text

    def pretty_path(self, path: str) -> str:
        return path

    def save(self) -> None:
        if self.text:
            with new_file(self.path) as temporary:
                temporary.write_text(self.text, encoding="utf-8")


def one_line(error: PapermillExecutionError, notebook: str, out: Path) -> str:
    """A notebook's error as one line; a BenchError says it all itself."""
    text = shortened(error.evalue, LONGEST_ERROR)
    if error.ename == "BenchError":
        return text
    return (
        f"{error.ename}: {text} (cell {error.exec_count} of {notebook}; the traceback is in {out})"
    )


# ---------------------------------------------------------------- the end


@dataclass
class Running:
    """What has to end when this process is told to end."""

    copy: Copy
    folder: Path | None = None  # of the kernel's sockets
    starting: bool = False
    kernel: int = 0
    in_cells: bool = False  # the kernel is up and has been given its first cell
    guardian: subprocess.Popen[bytes] | None = None
    mark: Path | None = None  # where the notebook runs elsewhere: a file that tells it to end
    signum: int = 0
    finished: threading.Event = field(default_factory=threading.Event)


def kill_kernel(running: Running) -> None:
    """Kill the kernel and all it started, now; the folder of its sockets goes too."""
    if running.guardian and running.guardian.stdin:
        with suppress(OSError):  # somebody has killed the guardian
            running.guardian.stdin.close()
        running.guardian.wait()
    if running.kernel and (running.guardian is None or running.guardian.returncode):
        import psutil

        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(running.kernel)
            for each in [*process.children(recursive=True), process]:
                each.kill()
    if running.folder:
        shutil.rmtree(running.folder, ignore_errors=True)


def leave(running: Running) -> None:
    """End this process from any thread: no kernel, the copy so far, the signal's exit code."""
    kill_kernel(running)
    try:
        running.copy.save()
        print(f"nbrun: {stopped_by(running)}; it was killed", file=sys.stderr, flush=True)
    finally:
        os._exit(128 + running.signum)


def stopped_by(running: Running) -> str:
    return f"{running.copy.path.name} stopped by {signal.Signals(running.signum).name}"


def stop(running: Running, signum: int, grace: float) -> None:
    """Interrupt the notebook, and kill it if it has not ended after ``grace`` seconds.

    A second call kills at once.
    """
    again, running.signum = running.signum, signum
    if running.mark and not again:
        with suppress(OSError):
            running.mark.touch()
        return  # the main thread sees the signal, and cancels the job
    while running.starting and not running.kernel:
        time.sleep(0.01)
    if running.in_cells and not again and os.name != "nt":
        with suppress(ProcessLookupError):
            os.kill(running.kernel, signal.SIGINT)
        if running.finished.wait(grace):
            return  # the main thread is on its way out
    leave(running)


def handle_signals(running: Running) -> None:
    """SIGTERM, SIGINT and SIGHUP stop the notebook.

    One that was ignored when we started (nohup) stays ignored.
    """

    def handler(signum: int, _frame: object) -> None:
        threading.Thread(target=stop, args=(running, signum, GRACE_SIGNAL), daemon=True).start()

    for name in ("SIGTERM", "SIGINT", "SIGHUP"):
        signum = getattr(signal, name, None)
        if signum and (signum == signal.SIGINT or signal.getsignal(signum) != signal.SIG_IGN):
            signal.signal(signum, handler)


def watch_ancestors(running: Running) -> None:
    """Stop when a process between us and DVC (DVC included) is gone; without DVC, our parent.

    DVC does not pass SIGTERM on, and nobody can pass SIGKILL on. Started by nohup and not by DVC,
    nobody is watched.
    """
    chain = _ancestors()

    def watch() -> None:
        while all(map(_lives, chain)):
            time.sleep(0.25)
        if not running.signum:  # else we are stopping already
            stop(running, getattr(signal, "SIGHUP", signal.SIGTERM), GRACE_ORPHAN)

    if chain:
        threading.Thread(target=watch, daemon=True).start()


def _ancestors() -> list[Any]:
    """The processes to watch: from our parent up to DVC, else our parent alone."""
    import psutil

    chain = psutil.Process().parents()
    for place, process in enumerate(chain):
        if _is_dvc(process):
            return chain[: place + 1]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        return []  # nohup
    return chain[:1]


def _is_dvc(process: Any) -> bool:
    import psutil

    try:
        return any(" " not in word and Path(word).stem == "dvc" for word in process.cmdline())
    except psutil.Error:
        return False


def _lives(process: Any) -> bool:
    import psutil

    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


# ---------------------------------------------------------------- the run


def kernel_environment(folder: str) -> dict[str, str]:
    """The environment of the notebook's kernel. folder: an empty one of its own.

    What a user has set up for their own sessions does not reach it: startup files and settings of
    IPython and Jupyter, of matplotlib, of Python itself. It writes and reads UTF-8 in any locale.
    What says where things are and what the machine may do stays: PYTHONPATH (after this project),
    CUDA_VISIBLE_DEVICES, OMP_NUM_THREADS and the like, proxies, BENCHLIB_*, the fonts' cache.
    """
    kept = KEEP_MEMORY.copy()
    kept |= {name: value for name, value in os.environ.items() if name not in PERSONAL}
    path = os.pathsep.join(filter(None, [str(REPOSITORY), kept.get("PYTHONPATH")]))
    kept |= {
        "PYTHONPATH": path,
        "PYTHONUTF8": "1",
        "IPYTHONDIR": folder,
        "JUPYTER_CONFIG_DIR": folder,
        "JUPYTER_RUNTIME_DIR": folder,
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    }
    found = importlib.util.find_spec("matplotlib")
    if found is not None and found.origin:
        kept["MATPLOTLIBRC"] = str(Path(found.origin).parent / "mpl-data" / "matplotlibrc")
    return kept


def start_kernel(running: Running) -> AsyncKernelManager:
    """Start this Python as the kernel, in the current folder, see ``kernel_environment``."""
    running.starting = True  # from here on the end waits for the guardian, which clears up
    folder = tempfile.mkdtemp(prefix="nbrun-", dir=_short_folder())
    running.folder = Path(folder)
    manager = _kernel_manager(folder)
    from jupyter_core.utils import run_sync

    run_sync(manager.start_kernel)(
        extra_arguments=["--HistoryManager.hist_file=:memory:"], env=kernel_environment(folder)
    )
    kernel: int = manager.provisioner.pid  # type: ignore[union-attr]  # LocalProvisioner has one
    if os.name != "nt":
        running.guardian = subprocess.Popen(
            ["/bin/sh", "-c", GUARDIAN, "nbrun-guardian", str(kernel), folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    running.kernel = kernel
    return manager


def _short_folder() -> str:
    """Where temporary folders go; not where a socket's path would be too long."""
    usual = tempfile.gettempdir()
    if len(usual) > LONGEST_SOCKETS - 20 and os.access("/tmp", os.W_OK):
        return "/tmp"
    return usual


def _kernel_manager(folder: str) -> AsyncKernelManager:
    os.environ["JUPYTER_RUNTIME_DIR"] = os.environ["IPYTHONDIR"] = folder
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager

    transport = "tcp"
    if os.name != "nt" and len(folder) < LONGEST_SOCKETS:
        transport = "ipc"
    manager = AsyncKernelManager(
        kernel_name="python3",
        kernel_spec_manager=KernelSpecManager(kernel_dirs=[]),  # ipykernel's own entry alone
        connection_file=os.path.join(folder, "kernel.json"),
        transport=transport,
    )
    assert manager.kernel_spec
    manager.kernel_spec.argv = [sys.executable, "-c", KERNEL, "-f", "{connection_file}"]
    return manager


def _no_template(path: Path) -> str:
    """A path as papermill takes it: it fills in parameters between braces."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _load_later(name: str) -> None:
    """Let an import of a module cost nothing until something of it is asked for."""
    found = importlib.util.find_spec(name)
    if name in sys.modules or found is None or found.loader is None:
        return
    found.loader = importlib.util.LazyLoader(found.loader)
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module
    found.loader.exec_module(module)


def execute(notebook: Path, values: dict[str, Any], running: Running) -> str:
    """Run the notebook. Returns its error as one line, or "" when all went well."""
    out = running.copy.path
    manager = start_kernel(running)  # first: it starts up while papermill is imported
    for name in UNUSED:
        _load_later(name)
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError
    from papermill.iorw import papermill_io

    def before_cell(**_hook: object) -> None:
        if running.signum:
            raise InterruptedError
        running.in_cells = True

    # It would tell our errors a second time.
    logging.getLogger("papermill").setLevel(logging.CRITICAL)
    papermill_io.register(str(out), running.copy)
    try:
        papermill.execute_notebook(
            _no_template(notebook),
            _no_template(out),
            values,
            language="python",
            kernel_name="python3",
            progress_bar=False,
            stdout_file=PlainLines(sys.stdout),
            stderr_file=PlainLines(sys.stderr),
            km=manager,
            on_cell_start=before_cell,
        )
    except PapermillExecutionError as error:
        return one_line(error, notebook.name, out)
    except DeadKernelError:
        return (
            f"{notebook.name}: the kernel died (killed, or out of memory); what it did so far is "
            f"in {out}"
        )
    finally:
        running.finished.set()
        kill_kernel(running)
        running.copy.save()
    return ""


def parse_arguments(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchlib.nbrun", description="Run a notebook, strictly."
    )
    parser.add_argument(
        "notebook", help="stem in the notebooks folder (30_train), or a path that ends in .ipynb"
    )
    parser.add_argument("parameters", nargs="*", metavar="name=value", help="notebook parameters")
    parser.add_argument(
        "--params", help="the suite's params file, for a notebook that has 'params' (params.yaml)"
    )
    parser.add_argument(
        "--out", type=Path, help="the executed copy (work/notebooks/STEM[-VALUES].ipynb)"
    )
    return parser.parse_intermixed_args(words)


def main(words: list[str] | None = None) -> int:
    """Run a notebook.

    Returns the exit code: 0, 1 for an error in the notebook, 2 for one before it, 128 + a signal's
    number.
    """
    options = parse_arguments(words)
    warnings.resetwarnings()  # PYTHONWARNINGS=error would end us at a library's first advice
    warnings.simplefilter("ignore")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # what the terminal's locale cannot write is escaped
            stream.reconfigure(errors="backslashreplace")
    running = Running(Copy(options.out or _default_copy(options)))
    handle_signals(running)
    watch_ancestors(running)
    try:
        notebook = find_notebook(options.notebook)
        if running.copy.path.resolve() == notebook.resolve():
            raise BenchError(f"--out {options.out}: that is the notebook itself; name another file")
        values = read_parameters(notebook, options.parameters, options.params)
        trip = plan_trip(notebook, values, words)
    except BenchError as error:
        print(f"nbrun: {error}", file=sys.stderr)
        return 2
    if trip is not None:
        return travel(trip, running)
    try:
        failure = execute(notebook, values, running)
    except Exception as error:
        failure = f"{notebook.name}: not run: {type(error).__name__}: "
        failure += shortened(str(error), LONGEST_ERROR)
    finally:
        if running.folder:
            shutil.rmtree(running.folder, ignore_errors=True)
    if running.signum:
        print(f"nbrun: {stopped_by(running)}", file=sys.stderr)
        return 128 + running.signum
    if failure:
        print(f"nbrun: {failure}", file=sys.stderr)
        return 1
    return 0


def plan_trip(notebook: Path, values: dict[str, Any], words: list[str] | None) -> Trip | None:
    """The job that this command is to become, None where it runs here. Raises BenchError."""
    if not os.environ.get("BENCHLIB_LAUNCH"):
        return None
    from benchlib import launch

    if words is None:
        words = sys.argv[1:]
    return launch.plan(notebook.stem, values, words)


def travel(trip: Trip, running: Running) -> int:
    """Run the notebook as a job; its exit code, 1 for a job that is refused or lost."""
    from benchlib import launch

    running.mark = trip.mark
    try:
        code = launch.run(trip, lambda: running.signum)
    except BenchError as error:
        print(f"nbrun: {error}", file=sys.stderr)
        code = 1
    if running.signum:
        print(f"nbrun: {stopped_by(running)}", file=sys.stderr)
        return 128 + running.signum
    return code


def _default_copy(options: argparse.Namespace) -> Path:
    """Where the executed copy goes: the notebook's stem and the parameters' values say."""
    words = [Path(options.notebook).stem]
    words += [word.partition("=")[2] for word in options.parameters]
    name = re.sub(r"[^\w.=-]+", "_", "-".join(words))
    return Path("work") / "notebooks" / f"{name}.ipynb"


if __name__ == "__main__":
    sys.exit(main())
