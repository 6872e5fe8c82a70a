"""A data set that its authors publish as many single files: several at a time, into one folder.

Each is verified. When all are, the file ``.verified`` says so in the folder: the digest of their
list. A later fetch believes it while every file has its size and none is newer than the stamp, and
hashes all of them again otherwise; deleting the stamp asks for that too.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from threading import Event
from urllib.parse import quote

from benchlib.assets.cache import one_process
from benchlib.assets.download import download_entry
from benchlib.assets.entry import Entry, File, list_digest
from benchlib.contracts import BenchError
from benchlib.files import new_file, progress, sha256

AT_ONCE = 8
STAMP = ".verified"


def fetch_many(entry: Entry, root: Path, mirror: str) -> Path:
    """``root/<name>`` with all files of ``entry``, downloading what is absent or wrong.

    Raises BenchError that names the first file (in the list's order) that failed; what was fetched
    stays.
    """
    folder = root / entry.name
    if _whole(entry, folder):
        return folder  # nothing to write: works in a read-only cache
    with one_process(folder / ".lock", entry.name):
        wanted = [file for file in entry.files if not _right(folder, file)]
        if wanted:
            _fetch_files(entry, wanted, root, mirror)
        with new_file(folder / STAMP) as temporary:
            temporary.write_text(list_digest(entry.files), encoding="utf-8")
    return folder


def was_verified(entry: Entry, folder: Path) -> bool:
    """Whether all files were verified in ``folder`` once; none is looked at."""
    try:
        return (folder / STAMP).read_text(encoding="utf-8") == list_digest(entry.files)
    except (OSError, UnicodeDecodeError):
        return False


def _whole(entry: Entry, folder: Path) -> bool:
    try:
        since = os.stat(folder / STAMP).st_mtime_ns
        for file in entry.files:
            stat = os.stat(f"{folder}/{file.path}")
            if stat.st_size != file.bytes or stat.st_mtime_ns > since:
                return False
    except OSError:
        return False
    return was_verified(entry, folder)


def _right(folder: Path, file: File) -> bool:
    path = folder / file.path
    return path.is_file() and path.stat().st_size == file.bytes and sha256(path) == file.sha256


def _fetch_files(entry: Entry, wanted: list[File], root: Path, mirror: str) -> None:
    stop = Event()
    pool = ThreadPoolExecutor(AT_ONCE)
    jobs = [pool.submit(_fetch_one, entry, file, root, mirror, stop) for file in wanted]
    line = f"fetch {entry.name}, {len(jobs)} files"
    try:
        for job in progress(as_completed(jobs), line, len(jobs)):
            if job.exception():
                break
    finally:  # on ctrl-C too, which would else wait for all of them
        stop.set()
        pool.shutdown(cancel_futures=True)
    _raise_first(entry, jobs, root)


def _raise_first(entry: Entry, jobs: Sequence[Future[bool]], root: Path) -> None:
    """Raise the first error of the jobs, in the list's order, and say how many files are there."""
    done = len(entry.files) - len(jobs)
    errors = []
    for job in jobs:
        if job.cancelled():
            continue
        error = job.exception()
        if error:
            errors.append(error)
        else:
            done += job.result()
    if errors and not isinstance(errors[0], BenchError):
        raise errors[0]
    if errors:
        raise BenchError(
            f"{errors[0]}; {done} of {len(entry.files)} files are done and kept in "
            f"{root / entry.name}, a retry fetches the rest"
        )


def _fetch_one(entry: Entry, file: File, root: Path, mirror: str, stop: Event) -> bool:
    """Whether the file was fetched: nothing new is begun once ``stop`` is set by a failure."""
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
    own = {
        "name": f"{entry.name}/{file.path}",
        "source": tuple(source + quote(file.path) for source in entry.source),
        "sha256": file.sha256,
        "bytes": file.bytes,
        "files": (),
    }
    path = root / entry.name / file.path
    download_entry(entry.model_copy(update=own), path, root, mirror, file.sha256)
    size = path.stat().st_size
    if size != file.bytes:
        raise BenchError(
            f"{entry.name}/{file.path}: the list says {file.bytes} bytes, the file with its "
            f"SHA-256 has {size}; correct the list"
        )
