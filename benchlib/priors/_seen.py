"""What was seen of photographs that are looked through again and again, kept by their bytes.

It lies in ``seen`` of the cache (BENCHLIB_CACHE), a file a photograph, and outlives every suite.
Whoever is stopped goes on where they stood; who asks at the same time waits.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchlib import registry
from benchlib.assets import cache_folder
from benchlib.assets.cache import one_process
from benchlib.contracts import BenchError
from benchlib.files import check_writable, progress, sha256
from benchlib.imageio import read_image
from benchlib.priors.kinds import _arrays

VERSION = 1
USES = {"priors/kinds/_arrays.py": 1}
Seen = Mapping[str, np.ndarray]


def look(
    files: list[Path],
    see: Callable[[np.ndarray], Seen],
    names: tuple[str, ...],
    made_from: dict[str, Any],
    what: str,
) -> list[Seen]:
    """What ``see`` gives of each photograph, an ``(H,W,3)`` uint8 RGB image: arrays by ``names``.

    What was seen before is read: of the same bytes, by the same ``made_from`` (all that the arrays
    depend on besides the photograph), the same reader of images. what: the line of progress begins
    with it. A cache that cannot be written is said in a line; then nothing new is kept.
    """
    made_from = made_from | {
        "reader": registry.version("imageio.py"),
        "versions": {"numpy": version("numpy"), "pillow": version("pillow")},
    }
    folder = cache_folder() / "seen"
    keeps = _writable(folder, what)
    found = []
    lock = folder / f".{_digest([what, made_from])[:16]}.lock"
    with _alone(lock, what, keeps):
        for file in progress(files, what, total=len(files)):
            place = folder / _key(file, made_from)
            found.append(_kept(place, names) or _see(file, see, place, keeps))
    return found


def _writable(folder: Path, what: str) -> bool:
    try:
        check_writable(folder)
    except BenchError as error:
        print(f"{what}: what is seen is not kept for the next time ({error})", flush=True)
        return False
    return True


def _alone(lock: Path, what: str, keeps: bool) -> AbstractContextManager[None]:
    """Two that look at the same at once would both do the whole work."""
    if not keeps:
        return nullcontext()
    return one_process(lock, what, "does it")


def _key(file: Path, made_from: dict[str, Any]) -> str:
    """Where what was seen of a photograph lies: in one of 256 folders, so that none is huge."""
    key = _digest([file.suffix.lower(), sha256(file), made_from])
    return f"{key[:2]}/{key}.npz"


def _digest(words: list[Any]) -> str:
    return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()


def _kept(place: Path, names: tuple[str, ...]) -> Seen | None:
    """What was kept; None if nothing was, or if it is damaged."""
    try:
        return _arrays.load_arrays(place, names, "what was seen")
    except BenchError:
        return None


def _see(file: Path, see: Callable[[np.ndarray], Seen], place: Path, keeps: bool) -> Seen:
    seen = see(read_image(file))
    if keeps:
        _arrays.save_arrays(place, seen)
    return seen
