"""One host at a time works in a checkout, and temporary folders say whose they are.

Layer 0. DVC's locks are process numbers of one machine. Where a checkout lies in a folder that
several hosts share (or several containers, each with process numbers of its own), they protect
nothing: a live process of another host looks like one that has ended. So whoever works leaves a
*sign* in the checkout's ``work`` folder, touches it again and again, and refuses to begin where
another host's sign is fresh. The age of a sign is told by the clock of the disk, not by a host's.

What several hosts may do at once is not asked about: shards, fetching, scoring, reading.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import threading
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

from benchlib.contracts import BenchError

SIGNS = ".hosts"  # a folder of ``work``; a file a host
BEAT = 10.0  # seconds between two touches of a sign
SILENCE = 60.0  # seconds after which a sign counts as left behind
DAY = 86400.0
# The host that a process works for. A job that a stage submits to another host inherits it, and
# leaves no sign of its own: the stage that waits for it does.
INHERITED = "BENCHLIB_HOST"
BOOT = Path("/proc/sys/kernel/random/boot_id")
PROCESSES = Path("/proc/self/ns/pid")


@cache
def host() -> str:
    """Twelve hexadecimal digits for where this process's number means something.

    Made from the machine's name, its boot and, in a container, the container.
    """
    known = [platform.node()]
    with suppress(OSError):
        known.append(BOOT.read_text(encoding="utf-8").strip())
    with suppress(OSError):
        known.append(os.readlink(PROCESSES))
    return hashlib.sha256("\0".join(known).encode()).hexdigest()[:12]


def claim(work: Path) -> None:
    """Say that this host works in a checkout, until this process ends and SILENCE seconds longer.

    work: the checkout's ``work`` folder. Raises BenchError, in one line, where another host does.
    """
    if os.environ.get(INHERITED, host()) != host():
        return
    folder = work / SIGNS
    sign = folder / host()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(sign)
        others = _fresh(folder, sign)
        if others:
            sign.unlink()
    except OSError as error:
        raise BenchError(f"{folder}: nothing can be written there ({error.strerror})") from None
    if others:
        raise BenchError(_said(folder, others[0]))
    os.environ[INHERITED] = host()
    threading.Thread(target=_beat, args=(sign,), daemon=True).start()


def _write(sign: Path) -> None:
    sign.write_text(json.dumps({"name": platform.node(), "process": os.getpid()}), encoding="utf-8")


def _fresh(folder: Path, own: Path) -> list[Path]:
    """Signs of other hosts that were touched lately; those of long ago go."""
    now = own.stat().st_mtime
    found = []
    for sign in sorted(folder.iterdir()):
        with suppress(FileNotFoundError):
            age = now - sign.stat().st_mtime
            if sign != own and age <= SILENCE:
                found.append(sign)
            elif age > DAY:
                sign.unlink()
    return found


def _said(folder: Path, sign: Path) -> str:
    name = "another host"
    with suppress(OSError, ValueError, KeyError, TypeError):
        told = json.loads(sign.read_text(encoding="utf-8"))
        name = f"another host ({told['name']}, process {told['process']})"
    return (
        f"{folder.parent.parent}: {name} works in this checkout; DVC's locks protect one host "
        f"alone. Stop it there and wait {SILENCE:.0f} seconds, or work in a checkout of your own "
        "and bring the results together: benchlib merge"
    )


def _beat(sign: Path) -> None:
    while True:
        time.sleep(BEAT)
        with suppress(OSError):  # a network folder that is away for a while
            _write(sign)
