"""``benchlib run`` and ``benchlib page``: a suite's pipeline, by DVC, and what comes out of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchlib import fanout, hosts
from benchlib.cli._say import say, warn
from benchlib.cli._suites import (
    complete_suite,
    find_suite,
    name_of,
    open_suite,
    spoken,
    suites,
)
from benchlib.contracts import BenchError, nearest

if TYPE_CHECKING:
    from benchlib.params import Suite

INTERRUPTED = 130
KEYED = ("fetch", "weights", "metrics", "priors", "train", "evaluate")
ALONE = ("names", "tables", "report")
PIPELINE = "dvc.yaml"
LAUNCH = "BENCHLIB_LAUNCH"


def run(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SUITE TARGET",
            help="A suite (default: this folder's), then stages of it, none for all: train@map, "
            "evaluate, report.",
            autocompletion=complete_suite,
        ),
    ] = None,
    dry: Annotated[
        bool, typer.Option("--dry", help="Say what would run; with --force: every stage.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Run even what is up to date.")
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs", "-j", min=1, max=1024, help="Run so many stages at once (default: one)."
        ),
    ] = None,
    gpus: Annotated[
        str | None,
        typer.Option(
            "--gpus",
            help="Devices to give out, one a stage: 0,1,2,3. Default: with -j, all there are. "
            "Without -j, as many stages at once as devices.",
        ),
    ] = None,
) -> int:
    """Run a suite, from data to page: only what has changed runs (dvc repro in its folder).

    Stop it with Ctrl-C whenever you like; the next run goes on where it stood.

    With -j or --gpus, stages that do not need each other run side by side, each on its device and
    with its share of the processors; what each says goes to a file in work/SUITE/logs. With
    BENCHLIB_LAUNCH=slurm.yaml they are jobs of Slurm's.

    Example: benchlib run demo
    """
    devices = None
    if gpus is not None:
        devices = fanout.read_devices(gpus)
    path, targets = split_words(words or [])
    _check_launch(gpus)
    suite = open_suite(str(path))
    folder = suite.folder
    if not (folder / PIPELINE).is_file():
        raise BenchError(
            f"{folder}: no {PIPELINE}; a suite's folder in the checkout holds a copy of the demo's"
        )
    for target in targets:
        check_target(suite, target)
    _link_plugins(suite)
    if not dry:
        hosts.claim(suite.work.parent)
    if dry or (jobs is None and devices is None):
        options = ["--dry"] * dry + ["--force"] * force
        code = _dvc(["repro", *options, *targets], folder)
    else:
        code = _side_by_side(suite, targets, jobs, devices, force)
    if code == INTERRUPTED or dry:
        return code
    if code:
        warn(
            f"{suite.suite}: stopped (DVC's exit code is {code}); run it again to go on from there"
        )
        return code
    report = suite.results / "report.html"
    if report.is_file():
        say(f"the page: {spoken(report)}   (benchlib page {name_of(suite)} --open)")
    return 0


def split_words(words: list[str]) -> tuple[Path, list[str]]:
    """(params.yaml, targets): the first word is a suite unless it is a stage of the one here."""
    first = words[0] if words else None
    stage = (first or "").partition("@")[0]
    if first is None or (first not in suites() and stage in (*KEYED, *ALONE)):
        return find_suite(None), words
    return find_suite(first), words[1:]


def check_target(suite: Suite, target: str) -> None:
    """A stage that is there. Raises BenchError with the nearest."""
    stage, at, key = target.partition("@")
    if stage not in (*KEYED, *ALONE):
        raise BenchError(f"{target}: no stage '{stage}'; {nearest(stage, (*KEYED, *ALONE))}")
    if not at:
        return
    keys = fanout.stage_keys(suite).get(stage, [])
    if not keys:
        raise BenchError(f"{target}: {stage} is one stage; write {stage}")
    if key not in keys:
        raise BenchError(f"{suite.suite}: {target}: no '{key}'; {nearest(key, keys)}")


def _check_launch(gpus: str | None) -> None:
    """Check the settings of jobs before any work, and name them for stages, who run elsewhere."""
    if not os.environ.get(LAUNCH):
        return
    from benchlib import launch

    settings = launch.settings_file()
    launch.read_settings(settings)
    if gpus is not None:
        raise BenchError(
            f"--gpus {gpus}: those are devices of this host, and stages run as jobs "
            f"({LAUNCH}); write `gpus: 1` into {settings.name}"
        )
    os.environ[LAUNCH] = str(settings)


def _link_plugins(suite: Suite) -> None:
    """DVC sees files from outside the checkout by links, which are made before it starts."""
    from benchlib import plugins

    plugins.link(suite)


def _side_by_side(
    suite: Suite, targets: list[str], jobs: int | None, devices: list[str] | None, force: bool
) -> int:
    """Run stages side by side, then DVC in the ordinary way: it makes the tables and the page."""
    slots = _slots(jobs, devices)
    end = fanout.run_suite(suite, targets, slots, environment(), force)
    if end.signum:
        return 128 + end.signum
    logs = spoken(suite.work / "logs")
    for stage in end.failed:
        warn(f"{suite.suite}: {stage} failed; what it said: {logs}/{stage}.log")
    if end.failed:
        if end.not_run:
            needy = ", ".join(end.not_run)
            warn(f"{suite.suite}: not run, since they need what failed: {needy}")
        return _exit_code(next(iter(end.failed.values())))
    last = [stage for stage in fanout.LAST if _is_wanted(stage, targets)]
    if force and last:
        return _dvc(["repro", "--single-item", "--force", *last], suite.folder)
    return _dvc(["repro", *targets], suite.folder)


def _slots(jobs: int | None, devices: list[str] | None) -> list[fanout.Slot]:
    """The places where stages run; those that only wait for jobs share nothing of this host."""
    if os.environ.get(LAUNCH):
        return [fanout.Slot(number + 1) for number in range(jobs or 1)]
    if devices is None:
        devices = fanout.devices_at_hand()
    return fanout.make_slots(jobs, devices)


def _is_wanted(stage: str, targets: list[str]) -> bool:
    """Whether one of the last stages is asked for: tables also by the report."""
    return not targets or stage in targets or (stage == "tables" and "report" in targets)


def environment() -> dict[str, str]:
    here = str(Path(sys.executable).parent)  # DVC's stages call `python`: this one
    return os.environ | {"PATH": os.pathsep.join([here, os.environ.get("PATH", os.defpath)])}


def _exit_code(code: int) -> int:
    """As a shell has it, for a process that a signal ended."""
    return 128 - code if code < 0 else code


def _dvc(words: list[str], folder: Path) -> int:
    """Run DVC in a folder; its exit code. A signal to us reaches it, and we wait for its end."""
    interrupted = False
    command = [*fanout.dvc_command(), *words]
    child = subprocess.Popen(command, cwd=folder, env=environment())

    def pass_on(signum: int, _frame: object) -> None:
        child.send_signal(signum)

    before = {signum: signal.signal(signum, pass_on) for signum in _others()}
    try:
        while True:
            try:
                code = child.wait()
                break
            except KeyboardInterrupt:  # the terminal sent it to DVC as well
                interrupted = True
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
    if interrupted:
        return INTERRUPTED
    return _exit_code(code)


def _others() -> list[signal.Signals]:
    names = ("SIGTERM", "SIGHUP")
    found = [getattr(signal, name) for name in names if hasattr(signal, name)]
    return [each for each in found if signal.getsignal(each) != signal.SIG_IGN]


def page(
    suite: Annotated[
        str | None,
        typer.Argument(
            metavar="[SUITE]", help="Default: the folder you are in.", autocompletion=complete_suite
        ),
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Print where a suite's page is: tables, pictures, plots and how each number was made.

    Example: benchlib page demo --open
    """
    opened = open_suite(suite)
    report = opened.results / "report.html"
    if not report.is_file():
        raise BenchError(f"{report}: not there yet; benchlib run {name_of(opened)} makes it")
    say(str(report))
    if show:
        import webbrowser

        if not webbrowser.open(report.as_uri()):
            raise BenchError(f"no browser could be started; open {report} yourself")
