"""Many stages of a suite at once: what ``benchlib run -j`` does.

Layer 5. A ready queue over the pipeline's graph keeps N slots busy. A slot runs one stage as
``dvc --wait-for-lock repro --single-item STAGE@KEY``, with its own device and its share of the
threads: DVC goes on deciding what a stage's result is. A stage that fails stops those that need it,
no others. A signal ends every stage, and all that it started.

Two plain ``dvc repro`` would stop each other: each locks the outputs of all upstream stages.
``--single-item`` locks the stage's own alone (treeverse/dvc#11054).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchlib.contracts import BenchError
from benchlib.files import new_file

if TYPE_CHECKING:
    from benchlib.params import Suite

Graph = dict[str, set[str]]  # stage -> the stages whose results it reads

READ_BY_TABLES = ("fetch", "priors", "train", "evaluate")
LAST = ("tables", "report")  # they need all others: a plain `dvc repro` makes them at the end
POLL = 0.1  # seconds between two looks at what runs
GRACE = 15.0  # seconds that stages have to end by themselves; a notebook takes up to five
QUICK = 4.0  # seconds of a stage that computes nothing
# Seconds of the others where nothing is known of them: what the demo's take on one core. They only
# decide what is begun first, and what is said of the time that is left.
USUAL = {"fetch": 8.0, "priors": 60.0, "train": 60.0, "evaluate": 25.0}
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
DEVICE = r"\d+|(GPU|MIG)-[A-Za-z0-9/-]+"
LONGEST_LINE = 300  # characters of a failed stage's last line that are shown
RAN = b"Running stage"  # DVC says it where a stage was not up to date
# What DVC says besides: which command it runs, that this failed, where to ask for help.
NOT_A_REASON = r"> |Running stage|ERROR: failed to reproduce .* exited with |Having any troubles"


# ---------------------------------------------------------------- the graph


def stage_keys(suite: Suite) -> dict[str, list[str]]:
    """The keys of each stage that has some, in the order of params.yaml."""
    return {
        "fetch": [*suite.data],
        "weights": [*suite.weights],
        "metrics": [*suite.metrics],
        "priors": [*suite.priors],
        "train": [*suite.runs],
        "evaluate": [*suite.runs],
    }


def graph(suite: Suite) -> Graph:
    """Every stage of a suite, and those whose results it reads: what dvc.yaml says by paths."""
    from benchlib import pipeline

    found: Graph = {"names": set()}
    for kind, keys in stage_keys(suite).items():
        for key in keys:
            needs = {"@".join(step) for step in pipeline.inputs(suite, kind, key)}
            found[f"{kind}@{key}"] = needs | {"names"}
    read = [stage for stage in found if kind_of(stage) in READ_BY_TABLES]
    found["tables"] = {"names", *read}
    found["report"] = {"names", "tables", *read}
    return found


def kind_of(stage: str) -> str:
    """What stands before the key: train of train@map."""
    return stage.partition("@")[0]


def needed(whole: Graph, targets: Sequence[str]) -> Graph:
    """The part of a graph that targets need, themselves included; without targets, all of it.

    targets: stages, or stages without their key for all of that kind, as DVC takes them.
    """
    if not targets:
        return whole
    wanted = [stage for stage in whole if stage in targets or kind_of(stage) in targets]
    found: set[str] = set()
    while wanted:
        stage = wanted.pop()
        if stage not in found:
            found.add(stage)
            wanted += whole[stage]
    return {stage: whole[stage] for stage in whole if stage in found}


def to_run(part: Graph, changed: Collection[str]) -> Graph:
    """The stages that DVC has to look at, without those of the end.

    changed: what ``dvc status`` names. What reads the result of a stage that runs may have to run
    too, and DVC decides it then. Only `names` writes the same every time.
    """
    found: Graph = {}
    for stage in TopologicalSorter(part).static_order():
        above = (part[stage] & found.keys()) - {"names"}
        if stage not in LAST and (above or stage in changed):
            found[stage] = part[stage] & found.keys()
    return found


# ---------------------------------------------------------------- what each slot gets


@dataclass(frozen=True)
class Slot:
    """A place where one stage at a time runs.

    device: what its stages see as their one GPU; None leaves it to them. threads: what they may
    use; None leaves it to them.
    """

    number: int
    device: str | None = None
    threads: int | None = None

    def __str__(self) -> str:
        if self.device is None:
            return f"slot {self.number}"
        return f"slot {self.number}, GPU {self.device}"

    def environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """``base`` with this slot's device and share of threads."""
        made = dict(base)
        if self.device is not None:
            made["CUDA_VISIBLE_DEVICES"] = self.device
            made.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # numbers as nvidia-smi shows them
        if self.threads is not None:
            made |= dict.fromkeys(THREADS, str(self.threads))
        return made


def make_slots(jobs: int | None, devices: Sequence[str]) -> list[Slot]:
    """So many slots; None: one a device. Devices are given out in turn, threads in equal shares.

    Who has set OMP_NUM_THREADS has chosen the number of threads, and a single slot has all.
    """
    number = jobs or max(len(devices), 1)
    threads = None
    if number > 1 and "OMP_NUM_THREADS" not in os.environ:
        threads = max(1, cores() // number)
    made = []
    for place in range(number):
        device = None
        if devices:
            device = devices[place % len(devices)]
        made.append(Slot(place + 1, device, threads))
    return made


def cores() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def read_devices(words: str) -> list[str]:
    """The devices of ``--gpus``: ``0,1`` or names as ``nvidia-smi -L`` shows them.

    Raises BenchError for anything else, and for a device twice.
    """
    found: list[str] = []
    for word in words.split(","):
        device = word.strip()
        if not re.fullmatch(DEVICE, device):
            raise BenchError(
                f"--gpus {words}: '{device}' is no device; give numbers, as nvidia-smi shows them, "
                "with commas between: 0,1"
            )
        if device in found:
            raise BenchError(f"--gpus {words}: {device} stands there twice; name each device once")
        found.append(device)
    return found


def devices_at_hand() -> list[str]:
    """The GPUs of CUDA_VISIBLE_DEVICES where that is set, else those that nvidia-smi knows."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        words = [word.strip() for word in given.split(",")]
        if all(re.fullmatch(DEVICE, word) for word in words):
            return words
        return []  # "" and "-1" hide all
    query = shutil.which("nvidia-smi")
    if query is None:
        return []
    command = [query, "--query-gpu=index", "--format=csv,noheader"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return re.findall(r"^\d+$", asked.stdout, re.MULTILINE)


# ---------------------------------------------------------------- how long it takes


@dataclass
class Clock:
    """What is known of the time that stages take.

    usual: a guess at the seconds of each stage, whatever the machine. seconds: of stages that ran
    to their end, here or in an earlier run.
    """

    after: dict[str, list[str]]  # stage -> those that wait for it
    usual: dict[str, float]
    seconds: dict[str, float] = field(default_factory=dict)

    def expected(self) -> dict[str, float]:
        """Seconds of each stage: its own before, else the guess, by how right guesses were here."""
        guessed = sum(self.usual[stage] for stage in self.seconds)
        pace = 1.0
        if guessed:
            pace = sum(self.seconds.values()) / guessed
        found = {}
        for stage, guess in self.usual.items():
            found[stage] = self.seconds.get(stage, pace * guess)
        return found

    def ways(self, expected: Mapping[str, float]) -> dict[str, float]:
        """Seconds from a stage's start to the end of the last that waits for it."""
        found: dict[str, float] = {}
        for stage in TopologicalSorter(self.after).static_order():  # those that wait come first
            below = [found[later] for later in self.after[stage]]
            found[stage] = expected[stage] + max(below, default=0.0)
        return found

    def left(self, waiting: Collection[str], elapsed: Mapping[str, float], slots: int) -> str:
        """How long it goes on, in words; "" where nothing is known.

        waiting: stages that have not begun. elapsed: seconds since those that run began.
        """
        if not self.seconds:
            return ""
        expected = self.expected()
        ways = self.ways(expected)
        work = 0.0
        longest = 0.0
        for stage in (*waiting, *elapsed):
            spent = min(elapsed.get(stage, 0.0), expected[stage])
            work += expected[stage] - spent
            longest = max(longest, ways[stage] - spent)
        return f", about {spoken(max(work / slots, longest))} left"


def clock(todo: Graph, seconds: Mapping[str, float], usual: Mapping[str, float] = {}) -> Clock:
    """A clock for the stages that will run, which knows earlier durations.

    usual: a guess at the seconds of stages; of one that is not named its kind decides.
    """
    after: dict[str, list[str]] = {stage: [] for stage in todo}
    for stage, needs in todo.items():
        for above in needs:
            after[above].append(stage)
    known = {stage: taken for stage, taken in seconds.items() if stage in todo}
    guesses = {}
    for stage in todo:
        guesses[stage] = usual.get(stage, USUAL.get(kind_of(stage), QUICK))
    return Clock(after, guesses, known)


def usual_seconds(suite: Suite) -> dict[str, float]:
    """What stages can be thought to take before any has run here.

    Of trainings and evaluations the records tell it that came with the checkout.
    """
    found = {}
    for key, choice in suite.priors.items():
        if choice.prior["name"] == "none":
            found[f"priors@{key}"] = QUICK
    for key in suite.runs:
        record = read_guess(suite.results / "records" / f"{key}.json")
        for kind in ("train", "evaluate"):
            taken = record.get(f"{kind}_seconds")
            if isinstance(taken, int | float):
                found[f"{kind}@{key}"] = QUICK + taken
    return found


def spoken(seconds: float) -> str:
    """A time as people say it.

    >>> spoken(42), spoken(150), spoken(9000)
    ('42 s', '2 min 30 s', '2 h 30 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def read_seconds(path: Path) -> dict[str, float]:
    """Durations of an earlier run, none where they cannot be read."""
    found = {}
    for stage, taken in read_guess(path).items():
        if isinstance(taken, int | float):
            found[stage] = float(taken)
    return found


def read_guess(path: Path) -> dict[str, Any]:
    """An object of JSON. It only serves a guess: a file that is damaged holds nothing."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return found


def write_seconds(path: Path, seconds: Mapping[str, float]) -> None:
    """Keep durations for the next run's guess."""
    rounded = {stage: round(taken, 1) for stage, taken in seconds.items()}
    with new_file(path) as temporary:
        temporary.write_text(json.dumps(rounded, indent=1) + "\n", encoding="utf-8")


# ---------------------------------------------------------------- the run


@dataclass(frozen=True)
class Place:
    """Where DVC runs, how, and where what stages say goes.

    shards: what runs in DVC's place -> its command.
    """

    folder: Path  # of dvc.yaml
    logs: Path
    env: Mapping[str, str]
    dvc: Sequence[str]  # the command
    force: bool = False
    shards: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def log(self, stage: str) -> Path:
        """The file of what a stage says: a key with a slash is a folder and a file."""
        return self.logs / f"{stage}.log"


@dataclass(frozen=True)
class Running:
    """A stage that runs: DVC, the leader of a process group of its own."""

    stage: str
    slot: Slot
    process: subprocess.Popen[bytes]
    began: float


@dataclass(frozen=True)
class Outcome:
    """How it ended. signum: the signal that ended all, or 0."""

    done: list[str]
    failed: dict[str, int]  # stage -> DVC's exit code
    not_run: list[str]
    signum: int


def changed_stages(place: Place) -> set[str]:
    """The stages that DVC calls changed, in one call. Raises BenchError where it cannot say."""
    command = [*place.dvc, "--wait-for-lock", "status", "--json", "dvc.yaml"]
    asked = subprocess.run(
        command, cwd=place.folder, env=dict(place.env), capture_output=True, text=True
    )
    try:
        if asked.returncode == 0:
            return set(json.loads(asked.stdout))
    except ValueError:
        pass
    said = (asked.stderr.strip() or asked.stdout.strip()).splitlines() or ["nothing was said"]
    raise BenchError(f"{place.folder}: dvc status: {said[0].removeprefix('ERROR: ')}")


def run_stages(
    todo: Graph, slots: Sequence[Slot], place: Place, usual: Mapping[str, float] = {}
) -> Outcome:
    """Run stages, each when those it needs are done, as many at once as there are slots.

    todo: stages, and which of them each needs. What has the longest way to the end starts first.
    usual: seconds that they can be thought to take. Prints a line whenever a slot changes. Nothing
    that was started lives on when this returns or raises.
    """
    kept = place.logs / "seconds.json"
    seconds = read_seconds(kept)
    queue = _Queue(todo, list(slots), clock(todo, seconds, usual))
    with _signals() as received:
        try:
            while not received and (queue.ready() or queue.running):
                while queue.ready() and queue.free:
                    queue.begin(place)
                for ended in queue.ended(place):
                    _say_end(queue, ended, place)
                time.sleep(POLL)
            if received and queue.running:
                print("stopping what runs; a second Ctrl-C kills it at once", flush=True)
        finally:
            end_all(queue.running, received)
            write_seconds(kept, seconds | queue.clock.seconds)
    return queue.outcome(received)


class _Queue:
    """What is ready, what runs, what is done. It starts processes and prints."""

    def __init__(self, todo: Graph, slots: list[Slot], watch: Clock) -> None:
        self.clock = watch
        self.free = slots
        self.slots = len(slots)
        self.total = len(todo)
        self.waiting = dict.fromkeys(todo)  # in the order of the graph
        self.running: list[Running] = []
        self.done: list[str] = []
        self.failed: dict[str, int] = {}
        self.blocked: list[str] = []  # wait for what has failed
        self._ready: list[str] = []
        self._sorter = TopologicalSorter(todo)
        self._sorter.prepare()

    def ready(self) -> list[str]:
        """Stages that may start."""
        self._ready += self._sorter.get_ready()
        return self._ready

    def begin(self, place: Place) -> None:
        """Start the stage with the longest way to the end in the first free slot."""
        ways = self.clock.ways(self.clock.expected())
        stage = max(self._ready, key=ways.__getitem__)
        slot = min(self.free, key=_number)
        process = _start(stage, slot, place)
        self.running.append(Running(stage, slot, process, time.monotonic()))
        self._ready.remove(stage)
        self.free.remove(slot)
        del self.waiting[stage]
        self.say(f"{stage}: started ({slot})")

    def ended(self, place: Place) -> list[Running]:
        """Those that have ended since the last call; their slots are free again."""
        found = [one for one in self.running if one.process.poll() is not None]
        for one in found:
            self.running.remove(one)
            self.free.append(one.slot)
            code = one.process.returncode
            if code:
                self.failed[one.stage] = code
                self._block(one.stage)
                continue
            if ran(place.log(one.stage)) and one.stage != "names":  # tells nothing of others
                self.clock.seconds[one.stage] = time.monotonic() - one.began
            self.done.append(one.stage)
            self._sorter.done(one.stage)
        return found

    def _block(self, stage: str) -> None:
        """What needs a stage that failed waits no longer."""
        for later in self.clock.after[stage]:
            if later in self.waiting:
                del self.waiting[later]
                self.blocked.append(later)
                self._block(later)

    def say(self, what: str) -> None:
        """Print a line that ends with where all stands."""
        now = time.monotonic()
        elapsed = {one.stage: now - one.began for one in self.running}
        left = ""
        if self.waiting or self.running:
            left = self.clock.left(self.waiting, elapsed, self.slots)
        stands = f"{len(self.done)} of {self.total} done, {len(self.running)} running{left}"
        print(f"{what}; {stands}", flush=True)

    def outcome(self, received: Sequence[int]) -> Outcome:
        """How it ended; what a signal ended counts as not run."""
        ended = [one.stage for one in self.running]
        signum = 0
        if received:
            signum = received[0]
        return Outcome(self.done, self.failed, [*ended, *self.waiting, *self.blocked], signum)


def _number(slot: Slot) -> int:
    return slot.number


def _start(stage: str, slot: Slot, place: Place) -> subprocess.Popen[bytes]:
    """DVC for one stage, in a process group of its own; all that it says goes to its log."""
    force = ["--force"] * place.force
    command = [*place.dvc, "--wait-for-lock", "repro", "--single-item", *force, stage]
    command = [*place.shards.get(stage, command)]
    log = place.log(stage)
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "wb") as out:
        return subprocess.Popen(
            command,
            cwd=place.folder,
            env=slot.environment(place.env),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _say_end(queue: _Queue, one: Running, place: Place) -> None:
    took = spoken(time.monotonic() - one.began)
    if one.stage in queue.failed:
        queue.say(f"{one.stage}: FAILED after {took} ({one.slot})")
        print(f"    {reason(place.log(one.stage))}", flush=True)
    elif one.stage in place.shards or ran(place.log(one.stage)):
        queue.say(f"{one.stage}: done in {took} ({one.slot})")
    else:
        queue.say(f"{one.stage}: was up to date ({one.slot})")


def ran(log: Path) -> bool:
    """Whether DVC ran the stage: else it found it up to date, or in its cache."""
    with open(log, "rb") as file:
        return RAN in file.read(2**16)


def reason(log: Path) -> str:
    """The last line of a log that tells why; DVC's own last ones only say that it failed."""
    return last_reason(log.read_text(encoding="utf-8", errors="replace"))


def last_reason(words: str) -> str:
    """The same of what was said."""
    found = "it said nothing"
    for line in words.splitlines():
        text = "".join(filter(str.isprintable, line)).strip()
        if text and not re.match(NOT_A_REASON, text):
            found = text
    if len(found) > LONGEST_LINE:
        found = f"{found[:LONGEST_LINE]}..."
    return found


# ---------------------------------------------------------------- the end


@contextmanager
def _signals() -> Iterator[list[int]]:
    """The signals that tell this process to end: in the block they are noted, and end nothing.

    One that was ignored before (nohup) stays ignored.
    """
    received: list[int] = []

    def note(signum: int, _frame: object) -> None:
        received.append(signum)

    before = {}
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        signum = getattr(signal, name)
        if signal.getsignal(signum) != signal.SIG_IGN:
            before[signum] = signal.signal(signum, note)
    try:
        yield received
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def end_all(running: Sequence[Running], received: Sequence[int]) -> None:
    """End stages and all that they started; returns when nothing of them lives.

    They are interrupted, as a terminal does for Ctrl-C: trainings keep their checkpoint, DVC gives
    its locks back. What has not ended after a grace, or when a second signal comes, is killed.
    """
    for one in running:
        _to_group(one.process, signal.SIGINT)
    latest = time.monotonic() + GRACE
    while any(_lives(one.process) for one in running):
        if time.monotonic() > latest or len(received) > 1:
            break
        time.sleep(POLL)
    for one in running:
        _to_group(one.process, signal.SIGKILL)
        one.process.wait()


def _to_group(process: subprocess.Popen[bytes], signum: int) -> bool:
    """Send a signal to a process group. Returns whether there is one."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signum)
        return True
    return False


def _lives(process: subprocess.Popen[bytes]) -> bool:
    """Whether anything of a process group lives, its leader or what that started."""
    process.poll()
    return _to_group(process, 0)


# ---------------------------------------------------------------- a suite


def dvc_command() -> list[str]:
    """DVC of this Python."""
    return [sys.executable, "-m", "dvc"]


def run_suite(
    suite: Suite,
    targets: Sequence[str],
    slots: Sequence[Slot],
    env: Mapping[str, str],
    force: bool = False,
) -> Outcome:
    """Run what targets need (all stages, without any), but for tables and report.

    env: of DVC; each slot adds its own. force: run even what is up to date. Raises BenchError where
    DVC cannot say what has changed, or the system has no process groups.
    """
    if not hasattr(os, "killpg"):
        raise BenchError(
            "-j and --gpus need Linux or macOS; on Windows, run without them or in WSL"
        )
    place = Place(suite.folder, suite.work / "logs", env, dvc_command(), force)
    part = needed(graph(suite), targets)
    changed: Collection[str] = part
    if not force:
        changed = changed_stages(place)
    todo = to_run(part, changed)
    number = len([stage for stage in part if stage not in LAST])
    print(
        f"{suite.suite}: {len(todo)} of {number} stages to look at, {len(slots)} at once"
        f"{share(slots)}; what each says: {place.logs}",
        flush=True,
    )
    return run_stages(todo, slots, place, usual_seconds(suite))


def share(slots: Sequence[Slot]) -> str:
    """What each slot may use, in words."""
    threads = slots[0].threads
    if threads is None:
        return ""
    unit = "thread" if threads == 1 else "threads"
    return f", {threads} {unit} each (`threads` in params.yaml and OMP_NUM_THREADS come first)"
