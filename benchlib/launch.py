"""A stage's command that sends itself to Slurm: what BENCHLIB_LAUNCH=slurm.yaml does.

Layer 5. DVC stays on this host; the launcher (``nbrun``) submits its own command as a job through
submitit, shows what the job says, ends it when it is told to end, and returns its exit code. So
dvc.yaml and the locks are the same with and without Slurm.

A job that is preempted or meets its time limit stops its stage and is queued again under the same
number: trainings and priors go on from what they have kept. A job that is lost (scancel by
somebody else, a dead node) is one line. If this process is killed, a guardian (a sleeping ``sh``
that reads a pipe of ours) sees the pipe close and cancels the job.

The settings file is ``Settings``; docs/scale.md explains it. What of the environment a job gets:
``job_environment``.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO

from pydantic import Field

from benchlib.contracts import BenchError, nearest, shortened
from benchlib.fanout import THREADS
from benchlib.files import check_file, check_writable
from benchlib.names import read_yaml, shown
from benchlib.params import LINE, Model, load_params, merged

if TYPE_CHECKING:
    from submitit import Executor, Job
    from submitit.helpers import DelayedSubmission

LAUNCH = "BENCHLIB_LAUNCH"  # names the settings file; a job does not get it
TOOLS = ("sbatch", "srun", "scancel", "squeue")
POLL = 0.5  # seconds between two looks at a job's log
FIRST_WAIT = 1.0  # seconds until Slurm is asked how the job is; then longer each time
LONGEST_WAIT = 30.0
GRACE = 15.0  # seconds that a stage has to end in; its notebook takes up to five
GRACE_CANCEL = 10.0  # seconds that we wait for the end of a job that we have cancelled
GRACE_RESULT = 15.0  # seconds until a network folder shows what another host has written
GRACE_PREEMPTION = 600.0  # seconds: SIGTERM comes first, the signal that requeues later
TIMED_OUT = -1  # in the place of an exit code: the time limit was met too often
LONGEST_ERROR = 600  # characters of what Slurm says that are printed
# Slurm signals all processes of a job. The stage is stopped in order; it ignores what means that.
COMMAND = 'trap "" USR1 USR2; exec "$0" -m benchlib.nbrun "$@"'
GUARDIAN = 'read _ || { : > "$0"; "$@"; }'
SUBMITITS_OWN = re.compile(rb"submitit (DEBUG|INFO|WARNING|ERROR) \(")
SUBMITITS_LAST = b"Exiting after successful completion"
ENDED = (
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "GONE",  # ours: Slurm does not know the job any more
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "REVOKED",
    "TIMEOUT",
)
ADVICE = {
    "OUT_OF_MEMORY": "ask for more `memory`",
    "TIMEOUT": "ask for more `time`, or for a longer `notice`",
    "DEADLINE": "ask for less `time`",
}

# ---------------------------------------------------------------- the settings

KINDS = ("fetch", "weights", "metrics", "priors", "train", "evaluate", "tables", "report")
Word = Annotated[str, Field(min_length=1, max_length=200, pattern=LINE)]
Variable = Annotated[str, Field(pattern="^[A-Za-z_][A-Za-z0-9_]*$")]
# Set by us from the settings named; null: by us or submitit alone, and a job fails with another.
OURS = {
    "partition": "partition",
    "account": "account",
    "qos": "qos",
    "constraint": "constraint",
    "gpus-per-node": "gpus",
    "cpus-per-task": "cpus",
    "mem": "memory",
    "time": "time",
    "signal": "notice",
    "export": "environment",
    "array": "at_once",
    "job-name": None,
    "output": None,
    "error": None,
    "open-mode": None,
    "requeue": None,
    "no-requeue": None,
    "nodes": None,
    "ntasks": None,
    "ntasks-per-node": None,
    "chdir": None,
    "wait": None,
    "wrap": None,
    "parsable": None,
    "test-only": None,
}


class Need(Model):
    """What the job of a stage asks for."""

    partition: Word | None = None
    account: Word | None = None
    qos: Word | None = None
    constraint: Word | None = Field(None, description="features that the node must have")
    gpus: int = Field(0, ge=0, le=64)
    cpus: int = Field(4, ge=1, le=1024, description="also the stage's threads")
    memory: int | None = Field(None, ge=1, le=2**16, description="GB; null: the cluster's default")
    time: int = Field(240, ge=1, le=60 * 24 * 366, description="minutes")
    notice: int = Field(
        90, ge=20, le=3600, description="seconds before the time limit: the stage stops, and waits"
    )
    directives: dict[str, Any] = Field(
        {}, description="any other option of sbatch: {reservation: night, nice: 100}"
    )
    setup: list[Word] = Field([], description="shell commands before the stage: module load cuda")


class Settings(Need):
    """The file that BENCHLIB_LAUNCH names."""

    executor: Literal["slurm", "local", "debug"] = Field(
        "slurm", description="local: jobs of this host; debug: within the launcher"
    )
    travel: list[str] = Field(
        ["priors", "train", "evaluate"], description="the stages that run as jobs; others run here"
    )
    at_once: int | None = Field(None, ge=1, le=10_000, description="jobs of a suite at most")
    timeouts: int = Field(
        20, ge=0, le=10_000, description="times that a stage may meet its time limit and go on"
    )
    environment: list[Variable] = Field([], description="more variables that jobs get")
    stages: dict[str, dict[str, Any]] = Field({}, description="what differs for a stage")

    def need(self, kind: str, path: Path) -> Need:
        """What a stage asks for. Raises BenchError, beginning with ``path``."""
        names = Need.model_fields
        base = Need(**{name: getattr(self, name) for name in names})
        return merged(base, self.stages.get(kind, {}), f"{path}: stages.{kind}")  # type: ignore[call-overload]


def settings_file() -> Path:
    """The file that BENCHLIB_LAUNCH names.

    A relative path begins at the current folder, or where that has none, at DVC's project.
    """
    path = Path(os.environ[LAUNCH]).expanduser()
    root = os.environ.get("DVC_ROOT")
    if not path.exists() and root:
        path = Path(root) / path
    return path.resolve()


def read_settings(path: Path) -> Settings:
    """Read and check a settings file, and that what it needs is here.

    Raises BenchError in one line that says where, what was expected and what to do.
    """
    if not path.exists():
        raise BenchError(f"{LAUNCH}: {path}: no such file; docs/scale.md shows what stands in it")
    check_file(path)
    raw = read_yaml(path)
    if not isinstance(raw, dict):
        raise BenchError(
            f"{path}: got {shown(raw)}; expected a mapping: {{executor: slurm, partition: gpu}}"
        )
    settings = merged(Settings(), raw, str(path))
    for place, kinds in (("travel", settings.travel), ("stages", settings.stages)):
        for kind in kinds:
            if kind not in KINDS:
                raise BenchError(f"{path}: {place}: no stage '{kind}'; {nearest(kind, KINDS)}")
    for kind in settings.stages:
        if kind not in settings.travel:
            raise BenchError(
                f"{path}: stages.{kind}: {kind} does not travel, so nothing of this is asked for; "
                "name it in `travel` or remove it"
            )
    for name in settings.environment:
        if name not in os.environ:
            raise BenchError(f"{path}: environment: {name} is not set here; export or remove it")
    _check_need(settings, str(path))
    for kind in settings.travel:
        _check_need(settings.need(kind, path), f"{path}: stages.{kind}")
    _check_tools(settings, path)
    return settings


def _check_need(need: Need, where: str) -> None:
    colon = ": "
    if "stages." in where:
        colon = "."
    if need.notice >= 60 * need.time:
        raise BenchError(
            f"{where}{colon}notice: got {need.notice} (seconds); expected less than `time`, "
            f"{need.time} minutes"
        )
    for name, value in need.directives.items():
        place = f"{where}{colon}directives.{name}"
        if not re.fullmatch("[a-z][a-z-]*", name):
            raise BenchError(f"{place}: no option of sbatch; write its long name without dashes")
        if OURS.get(name, ""):
            raise BenchError(f"{place}: write that as `{OURS[name]}`, not as a directive")
        if name in OURS:
            raise BenchError(f"{place}: benchlib sets that itself; remove it")
        whole = isinstance(value, int) and value is not False
        if not whole and not (isinstance(value, str) and re.fullmatch(LINE, value)):
            raise BenchError(
                f"{place}: got {shown(value)}; expected text in one line, a whole number, or true "
                "for an option without a value"
            )


def _check_tools(settings: Settings, path: Path) -> None:
    if not hasattr(os, "killpg"):
        raise BenchError(f"{LAUNCH}: needs Linux or macOS; on Windows, run in WSL")
    try:
        import submitit  # noqa: F401
    except ImportError:
        raise BenchError(
            f"{LAUNCH}: submitit is not installed; pip install -r requirements-slurm.txt"
        ) from None
    if settings.executor != "slurm":
        return
    for name in TOOLS:
        if shutil.which(name) is None:
            raise BenchError(
                f"{path}: executor: slurm, but there is no `{name}` on this host; run it where "
                "Slurm's commands are, or set `executor: local`"
            )


# ---------------------------------------------------------------- what a job gets

KEPT = (
    "BENCHLIB_CACHE",
    "BENCHLIB_DATA",
    "BENCHLIB_HOST",
    "BENCHLIB_MIRROR",
    "BENCHLIB_OFFLINE",
    "CONDA_PREFIX",
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_DEVICE_ORDER",
    "CUDA_HOME",
    "DVC_ROOT",
    "DVC_STAGE",
    "HF_HOME",
    "HF_HUB_OFFLINE",
    "HOME",
    "LANG",
    "LANGUAGE",
    "LD_LIBRARY_PATH",
    "LOGNAME",
    "MPLCONFIGDIR",
    "PATH",
    "PYTHONPATH",
    "SHELL",
    "SLURM_CONF",
    "SUBMITIT_PREEMPT_SIGNAL",
    "TORCH_HOME",
    "TZ",
    "USER",
    "VIRTUAL_ENV",
    "XDG_CACHE_HOME",
)
KEPT_BEGINNINGS = ("GOMP_", "KMP_", "LC_", "MKL_", "NUMEXPR_", "OMP_", "OPENBLAS_")
# sbatch takes these from the environment before what a job's file says.
DEFAULTS = ("partition", "account", "qos", "constraint")


def job_environment(settings: Settings, need: Need) -> dict[str, str]:
    """The variables of this process that a job gets: Slurm writes them into files of its own.

    What says where things are and how many threads there are; no tokens, no proxies, and no
    address with a password, unless ``environment`` names it. No device: Slurm gives those.
    """
    names = [*KEPT, *settings.environment]
    for name in DEFAULTS:
        if getattr(need, name) is None:
            names.append(f"SBATCH_{name.upper()}")
    found = {}
    for name, value in os.environ.items():
        if name in names or name.startswith(KEPT_BEGINNINGS):
            found[name] = value
    mirror = found.get("BENCHLIB_MIRROR", "")
    if "://" in mirror and "@" in mirror and "BENCHLIB_MIRROR" not in settings.environment:
        del found["BENCHLIB_MIRROR"]
    return found


@contextmanager
def _only(environment: dict[str, str]) -> Iterator[None]:
    """In the block, this process has no other variables."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@dataclass
class Stage:
    """What runs in the job; submitit pickles it, so it holds no more than words.

    words: of the launcher's command. folder: where it runs. mark: a file that says, when it is
    there, that the job is to end. threads: None where the user's environment says it.
    """

    words: list[str]
    folder: str
    mark: str
    threads: int | None
    child: Any = field(default=None, repr=False)  # the launcher's process, within the job

    def __call__(self) -> int:
        """Run the stage; its exit code, or TIMED_OUT."""
        from submitit.core.utils import UncompletedJobError

        try:
            return self.run()
        except UncompletedJobError:  # of submitit's, where it would requeue once more
            return TIMED_OUT

    def run(self) -> int:
        """Run the launcher in this job; its exit code."""
        env = {name: value for name, value in os.environ.items() if name != LAUNCH}
        if self.threads is not None:
            env |= dict.fromkeys(THREADS, str(self.threads))
        command = ["/bin/sh", "-c", COMMAND, sys.executable, *self.words]
        self.child = subprocess.Popen(command, cwd=self.folder, env=env, stdin=subprocess.DEVNULL)
        while self.child.poll() is None:
            if os.path.exists(self.mark):
                self.stop()
            time.sleep(0.2)
        code: int = self.child.returncode
        if code in (-signal.SIGTERM, 128 + signal.SIGTERM):
            self.await_preemption()
        if code < 0:
            return 128 - code
        return code

    def await_preemption(self) -> None:
        """Slurm has ended the stage: for a preemption, a second signal comes, and requeues us.

        It does not come when the job is cancelled: then Slurm kills us, or the mark is there.
        """
        latest = time.monotonic() + GRACE_PREEMPTION
        in_slurm = os.environ.get("SUBMITIT_EXECUTOR") == "slurm"
        while in_slurm and time.monotonic() < latest and not os.path.exists(self.mark):
            time.sleep(0.2)

    def stop(self) -> None:
        """End the stage: its notebook is interrupted, and killed if that does not do."""
        if self.child is None:
            return
        with suppress(ProcessLookupError):
            self.child.terminate()
        try:
            self.child.wait(GRACE)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()

    def checkpoint(self) -> DelayedSubmission:
        """Called by submitit at a preemption or a time-out, in the job: what to queue again."""
        from submitit.helpers import DelayedSubmission

        self.stop()
        return DelayedSubmission(replace(self, child=None))


# ---------------------------------------------------------------- a trip


@dataclass(frozen=True)
class Trip:
    """A stage's command that will run as a job. folder: of the job's files and logs."""

    name: str
    folder: Path
    stage: Stage
    settings: Settings
    need: Need
    path: Path  # of the settings

    @property
    def mark(self) -> Path:
        return Path(self.stage.mark)


def plan(stem: str, values: dict[str, Any], words: list[str]) -> Trip | None:
    """The trip of a notebook, None for one that runs here; asked before any work.

    Reads BENCHLIB_LAUNCH. stem: of the notebook, 30_train. values: its parameters. words: the
    launcher's own. Raises BenchError for settings that are wrong.
    """
    path = settings_file()
    settings = read_settings(path)
    kind = stem.partition("_")[2]
    if kind not in settings.travel or "params" not in values:
        return None
    suite = load_params(values["params"])
    key = str(values.get("key", "")).replace("/", ".")  # no name has a dot
    label = kind
    if key:
        label = f"{kind}@{key}"
    folder = suite.work / ".jobs" / label
    need = settings.need(kind, path)
    threads = None
    if "OMP_NUM_THREADS" not in os.environ:
        threads = need.cpus
    mark = folder / "stop"
    stage = Stage(words, os.getcwd(), str(mark), threads)
    return Trip(f"benchlib:{suite.suite}:{label}", folder, stage, settings, need, path)


def run(trip: Trip, told: Callable[[], object]) -> int:
    """Run a stage as a job; the stage's exit code.

    told: whether this process is told to end; then the job is cancelled, and the code is of no
    meaning. Raises BenchError for a job that Slurm refuses, or that is lost.
    """
    check_writable(trip.folder.parent)
    with _turn(trip, told):
        if told():
            return 1
        _clear(trip)
        job = _submit(trip)
        if trip.settings.executor == "debug":
            return _finish(trip, job.result())
        guardian = _guard(trip, job)
        try:
            code = _follow(trip, job, told)
        except BenchError:  # after any other error the guardian cancels the job
            _dismiss(guardian)
            raise
        _dismiss(guardian)
    return _finish(trip, code)


@contextmanager
def _turn(trip: Trip, told: Callable[[], object]) -> Iterator[None]:
    """Wait until fewer than ``at_once`` jobs of the suite are out."""
    most = trip.settings.at_once
    if most is None:
        yield
        return
    from filelock import FileLock, Timeout

    folder = trip.folder.parent / "at-once"
    folder.mkdir(parents=True, exist_ok=True)
    locks = [FileLock(folder / str(number)) for number in range(most)]
    said = False
    while not told():
        for lock in locks:
            with suppress(Timeout), lock.acquire(timeout=0):
                yield
                return
        if not said:
            _say(f"{trip.name}: waits, {most} jobs of this suite are out (at_once)")
            said = True
        time.sleep(POLL)
    yield


def _clear(trip: Trip) -> None:
    """Make an empty folder for the job. One of an earlier time that still runs is cancelled.

    Nobody follows it, and two jobs of one stage would write the same files.
    """
    known = trip.folder / "job"
    if trip.settings.executor == "slurm" and known.is_file():
        number = known.read_text(encoding="utf-8").strip()
        state = State("GONE")
        if number.isdigit():
            state = ask_slurm(number)
        if not state.ended:
            _say(f"{trip.name}: job {number} of an earlier time is still there; it is cancelled")
            subprocess.run(["scancel", number], capture_output=True)
            _await_end(number, 60.0)
    shutil.rmtree(trip.folder, ignore_errors=True)
    trip.folder.mkdir(parents=True)


def _submit(trip: Trip) -> Job[int]:
    """Hand the job over. Raises BenchError with what Slurm says if it refuses."""
    with _only(job_environment(trip.settings, trip.need)):
        try:
            with redirect_stderr(io.StringIO()):  # submitit prints what it then raises
                job = _executor(trip).submit(trip.stage)
        except Exception as error:  # submitit's own, and whatever its checks raise
            said = shortened(str(error).removeprefix("sbatch: error: "), LONGEST_ERROR)
            raise BenchError(
                f"{trip.path}: {trip.name} was not submitted: {said or type(error).__name__}"
            ) from None
    if trip.settings.executor == "debug":
        return job  # it runs when it is asked for its result, and says all here
    if trip.settings.executor == "slurm":
        (trip.folder / "job").write_text(job.job_id, encoding="utf-8")
    log = _shorter(job.paths.stdout)
    _say(f"job {job.job_id} ({trip.name}) is submitted; its log: {log}")
    return job


def _executor(trip: Trip) -> Executor:
    """Submitit's executor with what the stage asks for."""
    import submitit
    from submitit.local.debug import DebugExecutor

    need = trip.need
    most = trip.settings.timeouts
    if trip.settings.executor == "debug":
        return DebugExecutor(trip.folder)
    made: Executor
    if trip.settings.executor == "local":
        # Ctrl-C of a terminal reaches the whole group, and a job ends by its mark
        quiet = f"exec >> {shlex.quote(str(trip.folder / 'controller.log'))} 2>&1"
        made = submitit.LocalExecutor(trip.folder, max_num_timeout=most)
        made.update_parameters(
            timeout_min=need.time,
            signal_delay_s=need.notice,
            gpus_per_node=need.gpus,
            setup=["trap '' INT", quiet, *need.setup],
        )
        return made
    asked: dict[str, Any] = {}
    for name in DEFAULTS:
        asked[name] = getattr(need, name)
    if need.gpus:
        asked["gpus_per_node"] = need.gpus
    if need.memory:
        asked["mem"] = f"{need.memory}GB"
    made = submitit.SlurmExecutor(trip.folder, max_num_timeout=most)
    made.update_parameters(
        **asked,
        job_name=trip.name,
        time=need.time,
        cpus_per_task=need.cpus,
        signal_delay_s=need.notice,
        setup=need.setup or None,
        srun_args=[f"--cpus-per-task={need.cpus}"],  # srun does not take it over from sbatch
        wckey=None,  # submitit's own would be refused where keys are checked
        additional_parameters={"requeue": True, **need.directives},
    )
    return made


def _guard(trip: Trip, job: Job[int]) -> subprocess.Popen[bytes]:
    """Start what cancels the job if this process is killed."""
    cancel = ["true"]
    if trip.settings.executor == "slurm":
        cancel = ["scancel", job.job_id]
    return subprocess.Popen(
        ["/bin/sh", "-c", GUARDIAN, str(trip.mark), *cancel],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _dismiss(guardian: subprocess.Popen[bytes]) -> None:
    with suppress(OSError):
        guardian.communicate(b"done\n", timeout=5)


def _finish(trip: Trip, code: int) -> int:
    """Clear up: of a stage that failed, the logs stay."""
    if not code:
        shutil.rmtree(trip.folder, ignore_errors=True)
        with suppress(OSError):  # others are out
            trip.folder.parent.rmdir()
        return 0
    for file in trip.folder.glob("*.pkl"):
        file.unlink(missing_ok=True)
    return code


# ---------------------------------------------------------------- what the job says


@dataclass
class Tail:
    """A log that grows, and the stream that shows it. Lines of submitit's own are left out."""

    path: Path
    stream: TextIO
    place: int = 0
    rest: bytes = b""
    last: bool = False  # submitit has said that it is done

    def pass_on(self, whole: bool = False) -> None:
        """Show what has come; whole: also a line that has no end yet."""
        with suppress(OSError), open(self.path, "rb") as file:
            file.seek(self.place)
            new = file.read()
            self.place += len(new)
            self.rest += new
        lines = self.rest.split(b"\n")
        self.rest = lines.pop()
        for line in lines:
            self._show(line + b"\n")
        if whole and self.rest:
            self._show(self.rest)
            self.rest = b""

    def _show(self, line: bytes) -> None:
        if SUBMITITS_OWN.match(line):
            self.last = self.last or SUBMITITS_LAST in line
            return
        with suppress(OSError):  # nobody reads any more
            self.stream.write(line.decode("utf-8", errors="replace"))
            self.stream.flush()


@dataclass(frozen=True)
class State:
    """What is known of a job: Slurm's word for its state, why, and where."""

    name: str
    reason: str = ""
    node: str = ""

    @property
    def ended(self) -> bool:
        return self.name in ENDED

    def __str__(self) -> str:
        words = self.name.lower().replace("_", " ")
        if self.node:
            return f"{words} on {self.node}"
        if self.reason not in ("", "None"):
            return f"{words} ({self.reason})"
        return words


UNKNOWN = State("UNKNOWN")  # Slurm does not answer: the job may well be there


def ask_slurm(number: str) -> State:
    """The state of a job, by squeue; by sacct of one that squeue has forgotten."""
    query = ["squeue", "--noheader", "--states=all", f"--jobs={number}", "--format=%T|%r|%N"]
    asked = _ask(query)
    if asked is None:
        return UNKNOWN
    if asked.returncode and "Invalid job id" not in asked.stderr:
        return UNKNOWN
    found = _state(asked.stdout)
    if found is not None:
        return found
    query = ["sacct", "--noheader", "--allocations", "--parsable2", f"--jobs={number}"]
    asked = _ask([*query, "--format=State,Reason,NodeList"])
    if asked is None or asked.returncode:
        return State("GONE")  # a cluster without accounting
    return _state(asked.stdout) or State("GONE")


def _ask(command: list[str]) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None


def _state(said: str) -> State | None:
    """Of a line ``CANCELLED by 1000|None|node7``."""
    line = said.strip().partition("\n")[0]
    words = [*line.split("|"), "", ""]
    name = words[0].partition(" ")[0].rstrip("+")
    if not name:
        return None
    return State(name, words[1], words[2])


def ask(trip: Trip, job: Job[int]) -> State:
    """The state of a job, of either executor."""
    if trip.settings.executor == "slurm":
        return ask_slurm(job.job_id)
    if job.get_info()["jobState"] == "RUNNING":
        return State("RUNNING")
    return State("FAILED", "its process has ended")


def _follow(trip: Trip, job: Job[int], told: Callable[[], object]) -> int:
    """Show what the job says until it ends; its stage's exit code. Raises BenchError if it is lost.

    The end is seen by the result's file. Slurm is asked seldom: what it knows has to be said, and
    a job that ended without a result is lost.
    """
    tails = [Tail(job.paths.stdout, sys.stdout), Tail(job.paths.stderr, sys.stderr)]
    shown_state = State("PENDING")
    wait = FIRST_WAIT
    ask_next = time.monotonic() + wait
    while not job.paths.result_pickle.exists():
        if told():
            _cancel(trip, job, tails)
            return 1
        _pass_on(tails)
        time.sleep(POLL)
        if time.monotonic() < ask_next:
            continue
        state = ask(trip, job)
        if state.ended:
            state = _await_result(trip, job)
        if state.ended:
            _pass_on(tails, whole=True)
            raise BenchError(_lost(trip, job, state))
        if state != shown_state and state.name != "COMPLETING":
            _say(f"job {job.job_id}: {state}")
            shown_state = state
            wait = FIRST_WAIT
        wait = min(1.5 * wait, LONGEST_WAIT)
        ask_next = time.monotonic() + wait
    return _result(trip, job, tails)


def _pass_on(tails: list[Tail], whole: bool = False) -> None:
    for tail in tails:
        tail.pass_on(whole)


def _await_result(trip: Trip, job: Job[int]) -> State:
    """A job that has ended: wait for its result, which another host may have written.

    Returns its state then: a job may also have been queued again meanwhile.
    """
    latest = time.monotonic() + GRACE_RESULT
    while time.monotonic() < latest:
        if job.paths.result_pickle.exists():
            return State("COMPLETING")
        os.listdir(job.paths.folder)  # makes a network folder look again
        time.sleep(POLL)
    return ask(trip, job)


def _result(trip: Trip, job: Job[int], tails: list[Tail]) -> int:
    """The stage's exit code, when all that the job said has been shown."""
    latest = time.monotonic() + GRACE_RESULT
    while not tails[0].last and time.monotonic() < latest:
        _pass_on(tails)
        if not tails[0].last:
            time.sleep(0.1)
    _pass_on(tails, whole=True)
    log = _shorter(job.paths.stderr)
    try:
        code = job.result()
    except Exception as error:  # of the job, told by submitit as text
        trace = [line for line in str(error).splitlines() if re.match(r"\w[\w.]*: ", line)]
        said = shortened([type(error).__name__, *trace][-1], LONGEST_ERROR)
        raise BenchError(f"job {job.job_id} ({trip.name}): {said}; its log: {log}") from None
    if code == TIMED_OUT:
        raise BenchError(
            f"job {job.job_id} ({trip.name}) has met its time limit {trip.settings.timeouts + 1} "
            f"times; ask for more `time` or `timeouts` in {trip.path.name}, and run it again to go "
            f"on from there; its log: {log}"
        )
    return code


def _lost(trip: Trip, job: Job[int], state: State) -> str:
    """What happened to a job that ended without a result."""
    words = f"job {job.job_id} ({trip.name}) ended without a result: {state}"
    if state.name == "GONE":
        words = f"job {job.job_id} ({trip.name}) is lost: Slurm no longer knows it"
    if state.name in ADVICE:
        words += f"; {ADVICE[state.name]} in {trip.path.name}"
    return f"{words}; run it again to go on from there; its log: {_shorter(job.paths.stdout)}"


def _cancel(trip: Trip, job: Job[int], tails: list[Tail]) -> None:
    """End the job, and wait for its end."""
    trip.mark.touch()
    if trip.settings.executor == "slurm":
        subprocess.run(["scancel", job.job_id], capture_output=True)
    latest = time.monotonic() + GRACE_CANCEL
    while time.monotonic() < latest:
        _pass_on(tails)
        state = ask(trip, job)
        if state.ended:
            _pass_on(tails, whole=True)
            _say(f"job {job.job_id} is cancelled")
            return
        time.sleep(POLL)
    if trip.settings.executor == "local":
        _kill_family(int(job.job_id))
    _say(f"job {job.job_id} is cancelled; it has not ended after {GRACE_CANCEL:.0f} s: {state}")


def _kill_family(number: int) -> None:
    """Kill a process of ours and all that it started."""
    import psutil

    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(number)
        for each in [*process.children(recursive=True), process]:
            with suppress(psutil.NoSuchProcess):
                each.kill()


def _await_end(number: str, seconds: float) -> None:
    latest = time.monotonic() + seconds
    while time.monotonic() < latest and not ask_slurm(number).ended:
        time.sleep(1.0)


def _shorter(path: Path) -> str:
    """A path from the current folder, where it lies in it."""
    with suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)


def _say(what: str) -> None:
    with suppress(OSError):
        print(f"nbrun: {what}", flush=True)
