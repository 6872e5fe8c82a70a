"""Fetch an entry into the cache: mirror first, whole or not at all, and the right bytes or none."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit

from benchlib.assets import archive, https, manual, npm
from benchlib.assets.catalogue import Entry, find
from benchlib.contracts import BenchError
from benchlib.files import new_file, sha256

PINS = "assets.lock.json"
Way = tuple[str, Callable[[Path], None]]  # from where, and what writes it to a path


def cache_folder(cache: str | Path | None = None) -> Path:
    """``cache``, else ``$BENCHLIB_CACHE``, else the platform's folder for user caches."""
    import pooch

    return Path(cache or os.environ.get("BENCHLIB_CACHE") or pooch.os_cache("benchlib")).expanduser().absolute()


def fetch(
    name: str,
    *,
    cache: str | Path | None = None,
    mirror: str | Path | None = None,
    catalogue: str | Path | None = None,
) -> Path:
    """Where the entry ``name`` lies, after fetching it if need be and verifying it every time.

    Returns the file; for an archive, an entry of many files (see many.py) or a manual data set its folder. An archive
    is verified before it is unpacked, and may go once it is. A ``python:`` entry is not copied: the path is
    the one inside the package. mirror (default ``$BENCHLIB_MIRROR``): a folder or URL prefix laid out as host/path,
    tried before the original. An entry without a hash is pinned on its first fetch in ``<cache>/assets.lock.json``.
    Raises BenchError, in one line, for an unknown name, when no source gives the file, when its SHA-256 is not the
    expected one (the file is then deleted), when BENCHLIB_OFFLINE forbids the network, or when manual data is absent.
    """
    from benchlib.assets import many

    entry, root = find(name, catalogue), cache_folder(cache)
    mirror = str(mirror or os.environ.get("BENCHLIB_MIRROR") or "")
    if entry.files:
        return many.fetch(entry, root, mirror)
    if entry.manual and entry.inner:
        folder = manual.folder_of(name, root)
        for split in entry.layout:
            manual.check(entry, folder, split)
        if entry.images:
            manual.check_images(entry, folder)
        return folder
    if entry.manual:
        return _verified(entry, manual.folder_of(name, root) / entry.filename, root)
    problems = []
    for source in (s for s in entry.source if s.startswith("python:")):
        try:
            return _in_package(entry, source)
        except BenchError as error:
            problems.append(str(error))
    if all(source.startswith("python:") for source in entry.source):
        raise BenchError("; ".join(problems))
    return _in_cache(entry, root, mirror)


def _in_package(entry: Entry, source: str) -> Path:
    package, _, inner = source.removeprefix("python:").partition("#")
    try:
        distribution = metadata.distribution(package)
    except metadata.PackageNotFoundError:
        raise BenchError(f"{entry.name}: no Python package {package} installed; install requirements.txt") from None
    path = Path(str(distribution.locate_file(inner)))
    if not path.is_file():
        raise BenchError(f"{entry.name}: {package} {distribution.version} has no {inner}; install requirements.txt")
    if entry.sha256 and sha256(path) != entry.sha256:
        raise BenchError(
            f"{entry.name}: {inner} of {package} {distribution.version}: SHA-256 expected {entry.sha256}, "
            f"got {sha256(path)}; install the version in requirements.txt"
        )
    return path


def _in_cache(entry: Entry, root: Path, mirror: str) -> Path:
    folder = root / entry.name
    path = folder / entry.filename
    expected = entry.sha256 or _pins(root).get(entry.name, {}).get("sha256")
    if entry.archive and expected and (unpacked := _unpacked(folder, expected)).is_dir():
        return unpacked
    if path.is_file() and sha256(path) == expected and not entry.archive:
        return path  # nothing to write: works in a read-only cache
    with alone(folder / ".lock", entry.name):
        if not path.exists() or expected not in (None, sha256(path)):
            download(entry, path, root, mirror, expected)
        _verified(entry, path, root)
        if not entry.archive:
            return path
        unpacked = _unpacked(folder, entry.sha256 or _pins(root)[entry.name]["sha256"])
        if not unpacked.exists():
            archive.extract(path, unpacked)
        return unpacked


def _unpacked(folder: Path, archive_sha256: str) -> Path:
    return folder / f"unpacked-{archive_sha256[:12]}"


def download(entry: Entry, path: Path, root: Path, mirror: str, expected: str | None) -> None:
    """Try the ways in order; the first that gives the right bytes puts them at ``path``."""
    problems: list[str] = []
    ways = list(_ways(entry, path, root, mirror))
    for where, write in ways:
        try:
            return _take(entry, where, write, path, expected)
        except BenchError as error:
            problems.append(str(error))
            if len(problems) < len(ways) and not isinstance(error, https.Missing):  # a mirror need not have everything
                print(f"{error}; trying the next source", flush=True)
    if problems:
        raise BenchError("; then ".join(problems))
    raise BenchError(
        f"{entry.name}: BENCHLIB_OFFLINE is set and {path} is {'damaged' if path.exists() else 'absent'}; put the file "
        f"there (SHA-256 {expected or 'unknown'}, from {', '.join(entry.source)}), or unset BENCHLIB_OFFLINE"
    )


def _take(entry: Entry, where: str, write: Callable[[Path], None], path: Path, expected: str | None) -> None:
    """pooch makes the temporary file, checks the hash and renames; ``write`` is its downloader."""
    import pooch

    pooch.get_logger().setLevel("WARNING")  # its notes would double ours
    known = f"sha256:{expected}" if expected else None
    try:
        pooch.retrieve(
            where, known, fname=path.name, path=path.parent, downloader=lambda _url, output, _pooch: write(Path(output))
        )
    except ValueError as error:  # pooch: the hash is another
        got = re.search(r"got ([0-9a-f]{64})", str(error))
        if got is None:
            raise
        if where.startswith("npm:"):
            npm.tarball(where, path.parent.parent).unlink(missing_ok=True)
        raise BenchError(
            f"{entry.name}: {path.name} from {where}: SHA-256 expected {expected}, got {got[1]}; file deleted; "
            "retry, or point the mirror (BENCHLIB_MIRROR) at a good copy"
        ) from None
    except OSError as error:
        raise BenchError(f"{entry.name}: cannot write {path}: {error}; make room, or set BENCHLIB_CACHE") from None
    path.chmod(0o644)


def _ways(entry: Entry, path: Path, root: Path, mirror: str) -> Iterator[Way]:
    """From where the entry can come just now: the mirror before the original, no network when offline."""
    offline = os.environ.get("BENCHLIB_OFFLINE", "0") not in ("", "0")
    for source in entry.source:
        if source.startswith("npm:"):
            if not offline or npm.tarball(source, root).exists():
                yield source, lambda output, source=source: npm.download(source, output, root)  # type: ignore[misc]
        elif source.startswith("http"):
            if mirror and "://" not in mirror:
                copy = Path(mirror).expanduser() / unquote(_host_path(source))
                if copy.is_file():
                    yield str(copy), lambda output, copy=copy: shutil.copyfile(copy, output)  # type: ignore[misc]
            urls = [f"{mirror.rstrip('/')}/{_host_path(source)}"] if "://" in mirror else []
            for url in [] if offline else [*urls, source]:
                yield url, lambda output, url=url: _over_http(url, output, path, entry.name)  # type: ignore[misc]


def _host_path(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.netloc}{parts.path}"


def _over_http(url: str, output: Path, path: Path, name: str) -> None:
    """Download beside ``path`` under a name of the URL's own, so that another run can continue it."""
    import hashlib

    part = path.with_name(f"{path.name}.{hashlib.sha256(url.encode()).hexdigest()[:8]}.part")
    https.download(url, part, name)
    os.replace(part, output)


def _verified(entry: Entry, path: Path, root: Path) -> Path:
    """``path`` if it is the file that the catalogue, or an earlier fetch, knows; pins a file never seen before."""
    if not path.is_file():
        raise manual.absent(entry, path.parent)
    pin = {"sha256": entry.sha256} if entry.sha256 else _pins(root).get(entry.name)
    got = sha256(path)
    if pin is None:
        _pin(root, entry.name, {"sha256": got, "bytes": path.stat().st_size})
    elif got != pin["sha256"]:
        said = "the catalogue" if entry.sha256 else f"{root / PINS}, pinned on the first fetch"
        want = pin["sha256"]
        raise BenchError(f"{entry.name}: {path}: SHA-256 expected {want} ({said}), got {got}; replace the file")
    return path


def _pins(root: Path) -> dict[str, dict]:
    path = root / PINS
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except ValueError as error:
        raise BenchError(f"{path}: not readable ({error}); restore it, or delete it to pin anew") from None


def _pin(root: Path, name: str, pin: dict) -> None:
    with alone(root / f".{PINS}.lock", PINS):
        pins = _pins(root) | {name: pin}
        with new_file(root / PINS) as temporary:
            temporary.write_text(json.dumps(pins, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    said = f"pinned {pin['sha256']} ({pin['bytes']} bytes) in {root / PINS}"
    print(f"{name}: no hash in the catalogue; {said}", flush=True)


@contextmanager
def alone(lock: Path, what: str) -> Iterator[None]:
    """One process at a time; the lock goes with its process, however that ends."""
    from filelock import FileLock, Timeout

    held = FileLock(lock)
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        held.acquire(timeout=0)
    except Timeout:
        print(f"{what}: waiting for another process that fetches it", flush=True)
        held.acquire()
    except OSError as error:
        raise BenchError(f"{what}: cannot write in {lock.parent} ({error}); set BENCHLIB_CACHE") from None
    try:
        yield
    finally:
        held.release()
