"""The cache: where it is, one process at a time in its folders, and the hashes it pins itself."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchlib.contracts import BenchError
from benchlib.files import new_file

PINS = "assets.lock.json"  # of entries that have no hash in the catalogue


def cache_folder(cache: str | Path | None = None) -> Path:
    """``cache``, else ``$BENCHLIB_CACHE``, else the platform's folder for user caches."""
    import pooch

    chosen = cache or os.environ.get("BENCHLIB_CACHE") or pooch.os_cache("benchlib")
    return Path(chosen).expanduser().absolute()


@contextmanager
def one_process(lock: Path, what: str, does: str = "fetches it") -> Iterator[None]:
    """Hold ``lock`` for the block; a lock goes with its process, however that ends.

    what: what is being fetched, told to whom must wait; does: what the other one does. Raises
    BenchError if the lock's folder cannot be written.
    """
    from filelock import FileLock, Timeout

    held = FileLock(lock)
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        held.acquire(timeout=0)
    except Timeout:
        print(f"{what}: waiting for another process that {does}", flush=True)
        held.acquire()
    except OSError as error:
        raise BenchError(
            f"{what}: cannot write in {lock.parent} ({error}); set BENCHLIB_CACHE"
        ) from None
    try:
        yield
    finally:
        held.release()


def pinned_hash(root: Path, name: str) -> str | None:
    """The SHA-256 that the cache ``root`` pinned for an entry on its first fetch, or None."""
    return _pins(root).get(name, {}).get("sha256")


def pin(root: Path, name: str, sha256: str, size: int) -> None:
    """Pin the bytes of an entry that has no hash in the catalogue. size: in bytes."""
    with one_process(root / f".{PINS}.lock", PINS):
        pins = _pins(root)
        pins[name] = {"sha256": sha256, "bytes": size}
        text = json.dumps(pins, indent=2, sort_keys=True)
        with new_file(root / PINS) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
    said = f"pinned {sha256} ({size} bytes) in {root / PINS}"
    print(f"{name}: no hash in the catalogue; {said}", flush=True)


def _pins(root: Path) -> dict[str, dict]:
    path = root / PINS
    if not path.exists():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BenchError(
            f"{path}: not readable ({error}); restore it, or delete it to pin anew"
        ) from None
