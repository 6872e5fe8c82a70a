"""Files appear under their final name only when they are whole.

What a disk refuses (full, read-only, no permission, too many open files) is one line that says
where and what to do.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import stat
import sys
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import psutil

from benchlib.contracts import BenchError
from benchlib.hosts import host

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


MOST = 10_000  # entries of a folder; of more, many file systems are slow and listings useless


def spread(folder: Path, name: str, number: int) -> Path:
    """Where a file goes that is one of ``number`` of a folder: apart, where those are too many.

    Apart is one of 4,096 folders within. What two names begin with before their first dot decides,
    so that files of one image stay together.
    """
    if number <= MOST:
        return folder / name
    return _apart(folder, name)


def spread_file(folder: Path, name: str) -> Path:
    """Where :func:`spread` has put a file; in the folder itself, where it is not there at all."""
    plain = folder / name
    if plain.exists():
        return plain
    apart = _apart(folder, name)
    if apart.exists():
        return apart
    return plain


def _apart(folder: Path, name: str) -> Path:
    stem = name.partition(".")[0]
    return folder / hashlib.sha256(stem.encode()).hexdigest()[:3] / name


AGAIN = "then run the same command again"
REFUSED = {
    errno.ENOSPC: f"the disk is full; make room on it, {AGAIN}",
    errno.EDQUOT: f"your quota on this disk is used up; make room in it, {AGAIN}",
    errno.EROFS: f"the disk is read-only; make it writable or work in another folder, {AGAIN}",
    errno.EACCES: f"no permission; change its owner or its mode (ls -ld shows both), {AGAIN}",
    errno.EPERM: f"not permitted; change its owner or its mode (ls -ld shows both), {AGAIN}",
    errno.EMFILE: f"too many files are open at once; allow more (ulimit -n 4096), {AGAIN}",
    errno.ENFILE: f"too many files are open on this machine; close other programs, {AGAIN}",
    errno.EFBIG: f"the file is larger than may be here (ulimit -f, or the disk's kind), {AGAIN}",
    errno.EIO: "the disk reports an input/output error; look after the disk or its connection",
    errno.ESTALE: f"the network folder has changed underneath; mount it anew, {AGAIN}",
    errno.ENAMETOOLONG: "the name is too long for this disk; shorten it",
}
# only of the written place itself: elsewhere they may mean anything
IN_THE_WAY = {
    errno.ENOTDIR: f"a file stands where a folder is expected; move it away, {AGAIN}",
    errno.EEXIST: f"a file stands where a folder is expected; move it away, {AGAIN}",
    errno.EISDIR: f"a folder stands where a file is expected; move it away, {AGAIN}",
}
# how libraries without an error number of Python's own (safetensors) say theirs
NUMBER = re.compile(r"os error (\d+)|\bcode: (\d+)")
# what libraries without a number (PyTorch's loading processes) say in the system's words
IN_WORDS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.EFBIG)
# PyTorch's writer says no more than this of a disk that refused it
HALF_WRITTEN = ("PytorchStreamWriter failed", "inline_container.cc", "file write failed")


def refusal(error: BaseException, path: str | Path) -> str | None:
    """What the disk or the system refused, as one line, if that is what an error is about.

    path: the place that was written, where the error names none. None for any other error.
    """
    seen: BaseException | None = error
    while seen is not None:
        number, place = _number(seen), _place(seen, path)
        if number in REFUSED:
            return f"{place}: {REFUSED[number]}"
        if number in IN_THE_WAY and Path(place) in (Path(path), *Path(path).parents):
            return f"{_standing(place)}: {IN_THE_WAY[number]}"
        seen = seen.__cause__ or seen.__context__
    said = str(error)
    if any(words in said for words in HALF_WRITTEN):
        return f"{path}: could not be written whole; is the disk full? Make room on it, {AGAIN}"
    return None


def _number(error: BaseException) -> int | None:
    """The system's error number that an exception holds, or tells in words."""
    if isinstance(error, OSError):
        return error.errno
    said = str(error)
    found = NUMBER.search(said)
    if found:
        return int(found.group(1) or found.group(2))
    for number in IN_WORDS:
        if os.strerror(number) in said:
            return number
    return None


def _place(error: BaseException, path: str | Path) -> str:
    """The file that an exception names, or ``path``; of a move, where it goes."""
    for name in ("filename2", "filename"):
        named = getattr(error, name, None)
        if isinstance(named, str | bytes | os.PathLike):
            return os.fsdecode(named)
    return str(path)


def _standing(place: str) -> Path:
    """What is there of a path: itself, or the nearest above it."""
    for path in (Path(place), *Path(place).parents):
        if path.exists():
            return path
    return Path(place)


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Raise BenchError in place of what the disk refuses in the block; ``path`` is what it writes.

    Errors of another sort pass as they are.
    """
    try:
        yield
    except BenchError:
        raise
    except Exception as error:
        said = refusal(error, path)
        if said is None:
            raise
        raise BenchError(said) from error


@contextmanager
def new_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``, of its suffix.

    It replaces ``path`` if the block ends well; else it goes. Raises BenchError for what the disk
    refuses.
    """
    path = Path(path)
    with writing(path):
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
    same folder goes first: its name holds that process's number and its host, and what another host
    left stays (that process may live). Raises BenchError for what the disk refuses.
    """
    path = Path(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        own = f".new-{path.name}-{host()}-{os.getpid()}-"
        for left in path.parent.glob(f".new-{path.name}-{host()}-*-*"):
            if not psutil.pid_exists(int(left.name.split("-")[-2])):
                shutil.rmtree(left, ignore_errors=True)
        temporary = Path(tempfile.mkdtemp("", own, path.parent))
        try:
            yield temporary
            os.chmod(temporary, 0o755)
            if path.exists():  # cannot be replaced in one step; the old one is moved away whole
                old = Path(tempfile.mkdtemp("", own, path.parent))
                os.replace(path, old / path.name)
            os.replace(temporary, path)
        finally:
            for left in path.parent.glob(f"{own}*"):
                shutil.rmtree(left, ignore_errors=True)


def check_writable(*folders: Path) -> None:
    """Make the folders and raise BenchError if one cannot be written: asked before long work."""
    for folder in folders:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=".new-", dir=folder)
            os.close(handle)
            os.unlink(name)


def composed(name: str) -> str:
    """A name with each accent in one character with its letter (NFC).

    macOS writes file names taken apart: ``u`` and two dots where others write one letter.
    """
    return unicodedata.normalize("NFC", name)


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
