"""A data set that its authors publish as many single files: several at a time, each verified, into one folder.

When all are verified, the file ``.verified`` says so in the folder: the digest of their list. A later fetch believes it
while every file has its size and none is newer than the stamp, and hashes all of them again otherwise; deleting the
stamp asks for that too.
"""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import lru_cache
from pathlib import Path
from threading import Event
from urllib.parse import quote

from benchlib.assets import store
from benchlib.assets.catalogue import Entry, File
from benchlib.contracts import BenchError
from benchlib.files import new_file, progress, sha256

AT_ONCE = 8
STAMP = ".verified"


def fetch(entry: Entry, root: Path, mirror: str) -> Path:
    """``root/<name>`` with all files of ``entry``, downloading what is absent or wrong.

    Raises BenchError that names the first file (in the list's order) that failed; what was fetched stays.
    """
    folder = root / entry.name
    if _whole(entry, folder):
        return folder  # nothing to write: works in a read-only cache
    with store.alone(folder / ".lock", entry.name):
        wanted = [file for file in entry.files if not _right(folder, file)]
        if wanted:
            _fetch(entry, wanted, root, mirror)
        with new_file(folder / STAMP) as temporary:
            temporary.write_text(_digest(entry.files), encoding="utf-8")
    return folder


def stamped(entry: Entry, folder: Path) -> bool:
    """Whether all files were verified in ``folder`` once; none is looked at."""
    try:
        return (folder / STAMP).read_text(encoding="utf-8") == _digest(entry.files)
    except (OSError, UnicodeDecodeError):
        return False


@lru_cache(maxsize=64)  # asked for once a pair
def _digest(files: tuple[File, ...]) -> str:
    return hashlib.sha256("\n".join(f"{file.sha256} {file.path}" for file in files).encode()).hexdigest()


def _whole(entry: Entry, folder: Path) -> bool:
    try:
        since = os.stat(folder / STAMP).st_mtime_ns
        stats = [os.stat(f"{folder}/{file.path}") for file in entry.files]
    except OSError:
        return False
    as_listed = all(s.st_size == f.bytes and s.st_mtime_ns <= since for s, f in zip(stats, entry.files, strict=True))
    return as_listed and stamped(entry, folder)


def _right(folder: Path, file: File) -> bool:
    path = folder / file.path
    return path.is_file() and path.stat().st_size == file.bytes and sha256(path) == file.sha256


def _fetch(entry: Entry, wanted: list[File], root: Path, mirror: str) -> None:
    stop = Event()
    pool = ThreadPoolExecutor(AT_ONCE)
    jobs = [pool.submit(_fetch_one, entry, file, root, mirror, stop) for file in wanted]
    try:
        for job in progress(as_completed(jobs), f"fetch {entry.name}, {len(jobs)} files", len(jobs)):
            if job.exception():
                break
    finally:  # on ctrl-C too, which would else wait for all of them
        stop.set()
        pool.shutdown(cancel_futures=True)
    begun = [job for job in jobs if not job.cancelled()]  # in the list's order
    errors = [error for job in begun if (error := job.exception())]
    done = len(entry.files) - len(wanted) + sum(not job.exception() and job.result() for job in begun)
    if errors and not isinstance(errors[0], BenchError):
        raise errors[0]
    if errors:
        raise BenchError(
            f"{errors[0]}; {done} of {len(entry.files)} files are done and kept in {root / entry.name}, "
            "a retry fetches the rest"
        )


def _fetch_one(entry: Entry, file: File, root: Path, mirror: str, stop: Event) -> bool:
    """Whether the file was fetched: nothing new is begun once ``stop`` is set, which a failure does."""
    if stop.is_set():
        return False
    try:
        _download(entry, file, root, mirror)
    except BaseException:
        stop.set()
        raise
    return True


def _download(entry: Entry, file: File, root: Path, mirror: str) -> None:
    """One file as if it were an entry of its own: verified before it gets its name."""
    urls = tuple(source + quote(file.path) for source in entry.source)
    own = {"name": f"{entry.name}/{file.path}", "source": urls, "sha256": file.sha256, "bytes": file.bytes, "files": ()}
    path = root / entry.name / file.path
    store.download(entry.model_copy(update=own), path, root, mirror, file.sha256)
    if path.stat().st_size != file.bytes:
        raise BenchError(
            f"{entry.name}/{file.path}: the list says {file.bytes} bytes, the file with its SHA-256 has "
            f"{path.stat().st_size}; correct the list"
        )
