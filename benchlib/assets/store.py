"""Fetch an entry of the catalogue, and say where it lies: verified every time."""

from __future__ import annotations

import os
from importlib import metadata
from pathlib import Path

from benchlib.assets import contents
from benchlib.assets.archive import extract_archive
from benchlib.assets.cache import PINS, cache_folder, one_process, pin, pinned_hash
from benchlib.assets.catalogue import find
from benchlib.assets.download import download_entry
from benchlib.assets.entry import Entry
from benchlib.assets.many import fetch_many
from benchlib.contracts import BenchError
from benchlib.files import sha256

PYTHON = "python:"


def fetch(
    name: str,
    *,
    cache: str | Path | None = None,
    mirror: str | Path | None = None,
    catalogue: str | Path | None = None,
) -> Path:
    """Where the entry ``name`` lies, after fetching it if need be and verifying it every time.

    Returns the file; for an archive, an entry of many files (see many.py) or a manual data set its
    folder. An archive is verified before it is unpacked, and may go once it is. A ``python:`` entry
    is not copied: the path is the one inside the package. An entry without a hash is pinned on its
    first fetch in ``<cache>/assets.lock.json``.

    mirror (default ``$BENCHLIB_MIRROR``): a folder or URL prefix laid out as host/path, tried
    before the original.

    Raises BenchError, in one line, for an unknown name, when no source gives the file, when its
    SHA-256 is not the expected one (the file is then deleted), when BENCHLIB_OFFLINE forbids the
    network, or when manual data is absent.
    """
    entry, root = find(name, catalogue), cache_folder(cache)
    mirror = str(mirror or os.environ.get("BENCHLIB_MIRROR") or "")
    if entry.files:
        return fetch_many(entry, root, mirror)
    if entry.manual:
        return _put_there(entry, root)
    packaged = [source for source in entry.source if source.startswith(PYTHON)]
    problems = []
    for source in packaged:
        try:
            return _in_package(entry, source)
        except BenchError as error:
            problems.append(str(error))
    if len(packaged) == len(entry.source):
        raise BenchError("; ".join(problems))
    return _in_cache(entry, root, mirror)


def _put_there(entry: Entry, root: Path) -> Path:
    """What a person has put there, looked through."""
    folder = contents.manual_folder(entry.name, root)
    if not entry.inner:
        path = folder / entry.filename
        _verify(entry, path, root)
        return path
    for split in entry.layout:
        contents.find_pairs(entry, folder, split)
    if entry.images:
        contents.find_images(entry, folder)
    return folder


def _in_package(entry: Entry, source: str) -> Path:
    package, _, inner = source.removeprefix(PYTHON).partition("#")
    try:
        distribution = metadata.distribution(package)
    except metadata.PackageNotFoundError:
        raise BenchError(
            f"{entry.name}: no Python package {package} installed; install requirements.txt"
        ) from None
    release = f"{package} {distribution.version}"
    path = Path(str(distribution.locate_file(inner)))
    if not path.is_file():
        raise BenchError(f"{entry.name}: {release} has no {inner}; install requirements.txt")
    if entry.sha256 and sha256(path) != entry.sha256:
        raise BenchError(
            f"{entry.name}: {inner} of {release}: SHA-256 expected {entry.sha256}, got "
            f"{sha256(path)}; install the version in requirements.txt"
        )
    return path


def _in_cache(entry: Entry, root: Path, mirror: str) -> Path:
    path = root / entry.name / entry.filename
    expected = entry.sha256 or pinned_hash(root, entry.name)
    kept = _kept(entry, path, expected)
    if kept:
        return kept  # nothing to write: works in a read-only cache
    with one_process(path.parent / ".lock", entry.name):
        if not path.exists() or expected not in (None, sha256(path)):
            download_entry(entry, path, root, mirror, expected)
        got = _verify(entry, path, root)
        if not entry.archive:
            return path
        unpacked = _unpacked(path, got)
        if not unpacked.exists():
            extract_archive(path, unpacked)
        return unpacked


def _kept(entry: Entry, path: Path, expected: str | None) -> Path | None:
    """What an earlier fetch left, if it is all there and the expected bytes."""
    if expected is None:
        return None
    if entry.archive:
        unpacked = _unpacked(path, expected)
        if unpacked.is_dir():
            return unpacked
    elif path.is_file() and sha256(path) == expected:
        return path
    return None


def _unpacked(path: Path, archive_sha256: str) -> Path:
    return path.with_name(f"unpacked-{archive_sha256[:12]}")


def _verify(entry: Entry, path: Path, root: Path) -> str:
    """The SHA-256 of the file that the catalogue, or an earlier fetch, knows; else pins it."""
    if not path.is_file():
        raise contents.not_found(entry, path.parent)
    got = sha256(path)
    known, said = entry.sha256, "the catalogue"
    if known is None:
        known, said = pinned_hash(root, entry.name), f"{root / PINS}, pinned on the first fetch"
    if known is None:
        pin(root, entry.name, got, path.stat().st_size)
    elif got != known:
        raise BenchError(
            f"{entry.name}: {path}: SHA-256 expected {known} ({said}), got {got}; replace the file"
        )
    return got
