"""The command ``benchlib``: one way to everything that the package does. Layer 5.

It starts fast: a command's own function imports what it needs. Exit codes: 0 all is well; 1 an
error of the user's data or parameters, one line on stderr; 2 wrong usage; 130 Ctrl-C.
``benchlib run`` passes DVC's exit code on.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

import benchlib
from benchlib.cli import (
    checking,
    fetching,
    listing,
    merges,
    printed,
    restoring,
    running,
    scores,
    sharding,
)
from benchlib.cli._say import Closed, WrongUsage, warn
from benchlib.contracts import BenchError

INTERRUPTED = 130  # 128 + SIGINT, as shells have it

HELP = """Do priors from large pre-trained models help image restoration: which, how much, at what
cost?

\b
Run the demo         benchlib run demo               under 20 minutes, two CPU cores
Rerun a paper        benchlib ls suites              then: benchlib run spt-small
See the results      benchlib page demo --open
Score a folder       benchlib score --restored out --reference sharp --protocol basicsr-y
Restore a picture    benchlib restore --suite demo --run map photo.jpg restored
Change something     edit params.yaml                then: benchlib check, benchlib run
Find a name          benchlib ls                     methods, priors, protocols, papers...
"""
EPILOG = """\b
Each command tells more:  benchlib score --help
Exit codes: 0 fine; 1 an error in data or parameters, in one line; 2 wrong usage; 130 Ctrl-C.
"""

app = typer.Typer(
    name="benchlib",
    help=HELP,
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
COMMANDS: dict[str, tuple[Callable[..., Any], str]] = {
    "run": (running.run, "Run a suite, from data to page (dvc repro); or some stages of it."),
    "shard": (sharding.shard, "One prior, or one evaluation, by several workers."),
    "merge": (merges.merge, "Bring in what another machine's checkout has computed."),
    "page": (running.page, "Where a suite's page is; --open shows it."),
    "check": (checking.check, "Check a params.yaml, or a method (prior, metric) of your own."),
    "schema": (checking.schema, "The JSON schema of params.yaml, for editors."),
    "ls": (listing.ls, "List suites, runs, methods, priors, metrics, protocols and more."),
    "fetch": (fetching.fetch, "Fetch data and weights, verified."),
    "score": (scores.score, "Score a folder of restored images: PSNR, SSIM and more."),
    "restore": (restoring.restore, "Restore your own pictures by a trained run."),
    "papers": (printed.papers, "Print the papers' tables, every number as printed."),
    "audit": (printed.audit, "Check the papers' own arithmetic."),
}
for _name, (_command, _short) in COMMANDS.items():
    app.command(_name, short_help=_short)(_command)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"benchlib {benchlib.__version__}")
        raise typer.Exit


@app.callback()
def _all_commands(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version and leave."
        ),
    ] = False,
) -> None:
    pass


def main(words: list[str] | None = None) -> int:
    """Run one command; words: its arguments (default: the process's own). Returns the exit code."""
    _speak_any_name()
    try:
        code = app(args=words, prog_name="benchlib", standalone_mode=False)
        sys.stdout.flush()
        return code or 0
    except WrongUsage as error:
        return _refused(str(error), 2)
    except BenchError as error:
        return _refused(str(error), 1)
    except typer.TyperException as error:
        return _wrong_usage(error)
    except (Closed, BrokenPipeError):  # the reader has gone: `benchlib ls | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a disk that is full, a folder that cannot be written
        return _refused(f"{error.filename or 'system'}: {error.strerror or error}", 1)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except SystemExit as end:  # typer's own, of a closed pipe
        return int(end.code or 0)


def _refused(said: str, code: int) -> int:
    warn(said)
    return code


def _speak_any_name() -> None:
    """A name that the terminal's encoding lacks is spelled out, not an error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _wrong_usage(error: typer.TyperException) -> int:
    """One line, and where to read on."""
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.format_message())
        return 2
    context = getattr(error, "ctx", None)
    command = "benchlib"
    if context is not None:
        command = context.command_path
    said = error.format_message().strip().rstrip(".")
    return _refused(f"{said}; see {command} --help", error.exit_code)
