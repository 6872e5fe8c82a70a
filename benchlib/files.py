"""Files appear under their final name only when they are whole."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import psutil

from benchlib.contracts import BenchError

T = TypeVar("T")
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def check_file(path: str | Path) -> None:
    """Raise BenchError if ``path``, or what it links to, is there and no file that can be read.

    Opening a pipe waits for a writer, and a device may never end: ask here before a file of a
    user's is opened. Nothing is said of a path where nothing is: who opens it says that better.
    """
    what = _why_no_file(path)
    if what:
        raise BenchError(f"{path}: {what}; expected a file; replace or remove it")


def _why_no_file(path: str | Path) -> str:
    try:
        kind = stat.S_IFMT(os.stat(path).st_mode)
    except FileNotFoundError:
        if os.path.islink(path):
            return f"a link to {os.readlink(path)}, where nothing is"
        return ""
    except OSError as error:
        if error.errno == errno.ELOOP:
            return "a link that leads back to itself"
        return f"cannot be looked at ({error.strerror})"
    if kind != stat.S_IFREG:
        return KINDS.get(kind, "no plain file")
    if not os.access(path, os.R_OK):
        return "you may not read it (its permissions)"
    return ""


@contextmanager
def new_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``, of its suffix.

    It replaces ``path`` if the block ends well; else it goes.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".new-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``.

    It replaces ``path`` if the block ends well; else it goes. What a killed process left of the
    same folder goes first: its name holds that process's number.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".new-{path.name}-*-*"):
        if not psutil.pid_exists(int(left.name.split("-")[-2])):
            shutil.rmtree(left, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp("", f".new-{path.name}-{os.getpid()}-", path.parent))
    try:
        yield temporary
        os.chmod(temporary, 0o755)
        if path.exists():  # cannot be replaced in one step; the old one is moved away whole
            old = Path(tempfile.mkdtemp("", f".new-{path.name}-{os.getpid()}-", path.parent))
            os.replace(path, old / path.name)
        os.replace(temporary, path)
    finally:
        for left in path.parent.glob(f".new-{path.name}-{os.getpid()}-*"):
            shutil.rmtree(left, ignore_errors=True)


def sha256(path: str | Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits. Raises BenchError for a pipe or a device."""
    check_file(path)
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def progress(
    items: Iterable[T], what: str, total: int | None = None, seconds: float = 10.0
) -> Iterable[T]:
    """``items`` with a plain progress line and an ETA on stdout, at most one in ``seconds``."""
    from tqdm import tqdm

    return tqdm(
        items, desc=what, total=total, file=sys.stdout, ascii=True, mininterval=seconds, position=0
    )
