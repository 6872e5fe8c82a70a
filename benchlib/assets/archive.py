"""Unpack zip and tar files that somebody else made.

Only plain files and folders come out, and none outside the target.
"""

from __future__ import annotations

import gzip
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

from benchlib.contracts import BenchError
from benchlib.files import check_file, new_file, new_folder, progress

VERSION = 1

DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    gzip.BadGzipFile,
    ValueError,
    RuntimeError,  # an encrypted zip
    NotImplementedError,  # a compression that this Python lacks
)


class Member(NamedTuple):
    """One thing in an archive. kind: "file", "folder", or what it is instead. size: in bytes."""

    name: str
    kind: str
    size: int
    open: Callable[[], IO[bytes]]


def extract_archive(archive: Path, folder: Path, limit: int | None = None) -> None:
    """Unpack ``archive`` into a new ``folder``, all of it or nothing.

    limit: bytes it may unpack to (default: a hundred times the archive, at least 1 GiB).
    Raises BenchError for a member with an absolute path, ``..``, a drive or a backslash, for links
    and devices, for a name that stands twice, for too much data, and for a damaged archive.
    """
    check_file(archive)
    if limit is None:
        limit = max(1 << 30, 100 * archive.stat().st_size)
    left = limit
    with new_folder(folder) as temporary, _members(archive) as members:
        for member in progress(members, f"unpacking {archive.name}"):
            target = temporary / _checked(archive, member)
            left -= member.size
            if left < 0:
                raise BenchError(
                    f"{archive}: unpacks to more than it may (at '{member.name}'); is it the right "
                    "file?"
                )
            _write(archive, member, target)


def extract_member(archive: Path, name: str, target: Path) -> None:
    """Write one file of the archive to ``target``, whole or not at all.

    Raises BenchError if it is absent or no plain file.
    """
    with _members(archive) as members:
        for member in members:
            if member.name == name:
                _checked(archive, member)
                _copy(member, target)
                return
    raise BenchError(f"{archive}: no file '{name}' in it")


def _copy(member: Member, target: Path) -> None:
    with new_file(target) as temporary, member.open() as source, open(temporary, "wb") as file:
        shutil.copyfileobj(source, file)


def _checked(archive: Path, member: Member) -> Path:
    name = member.name
    if member.kind not in ("file", "folder"):
        raise BenchError(
            f"{archive}: '{name}' is a {member.kind}, neither file nor folder; nothing was kept"
        )
    parts = name.split("/")
    outside = name.startswith("/") or ".." in parts or "\\" in name or ":" in name
    if outside or not name or not name.isprintable():
        raise BenchError(
            f"{archive}: {name!r} could land outside the target folder; nothing was kept"
        )
    return Path(*[part for part in parts if part not in ("", ".")])


def _write(archive: Path, member: Member, target: Path) -> None:
    try:
        if member.kind == "folder":
            target.mkdir(parents=True, exist_ok=True)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        with member.open() as source, open(target, "xb") as file:
            shutil.copyfileobj(source, file)
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise BenchError(
            f"{archive}: '{member.name}' stands there twice; nothing was kept"
        ) from None


@contextmanager
def _members(archive: Path) -> Iterator[Iterator[Member]]:
    """The members of a zip or tar file; damage met while they are read becomes a BenchError."""
    check_file(archive)
    try:
        if tarfile.is_tarfile(archive):  # asked first: a tar that ends with a zip passes for a zip
            with tarfile.open(archive) as tar:
                yield _tar_members(tar)
        else:
            with zipfile.ZipFile(archive) as file:
                yield _zip_members(file)
    except DAMAGED as error:
        raise BenchError(
            f"{archive}: not a whole zip or tar file ({type(error).__name__}: {error}); delete it "
            "and fetch it again"
        ) from None
    except OSError as error:  # a full disk, or offsets that point nowhere
        raise BenchError(
            f"{archive}: cannot be unpacked ({error}); make room, or delete it and fetch it again"
        ) from None


def _zip_members(file: zipfile.ZipFile) -> Iterator[Member]:
    for info in file.infolist():
        yield Member(info.filename, _zip_kind(info), info.file_size, partial(file.open, info))


def _zip_kind(info: zipfile.ZipInfo) -> str:
    mode = stat.S_IFMT(info.external_attr >> 16)  # zero where the maker was no Unix
    if mode == stat.S_IFLNK:
        return "link"
    if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "device"
    if info.filename.endswith("/"):
        return "folder"
    return "file"


def _tar_members(tar: tarfile.TarFile) -> Iterator[Member]:
    for info in tar:
        yield Member(info.name, _tar_kind(info), info.size, partial(_open_tar, tar, info))


def _tar_kind(info: tarfile.TarInfo) -> str:
    if info.issym() or info.islnk():
        return "link"
    if info.isreg():
        return "file"
    if info.isdir():
        return "folder"
    return "device"


def _open_tar(tar: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    file = tar.extractfile(info)
    if file is None:
        raise tarfile.ReadError(f"{info.name} has no contents")
    return file
