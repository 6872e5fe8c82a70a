"""Where suites are: by name in the checkout, by path anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchlib.contracts import BenchError, nearest

if TYPE_CHECKING:
    from benchlib.params import Suite

CHECKOUT = Path(__file__).resolve().parent.parent.parent
DEMO = "demo"
PARAMS = "params.yaml"
SUITE_HELP = f"A suite's name (benchlib ls suites), its folder, or its {PARAMS}."


def suites() -> dict[str, Path]:
    """The checkout's suites: name -> params.yaml. The demo, at its root, is the first."""
    found = {}
    if (CHECKOUT / PARAMS).is_file():
        found[DEMO] = CHECKOUT / PARAMS
    for path in sorted((CHECKOUT / "suites").glob(f"*/{PARAMS}")):
        found[path.parent.name] = path
    return found


def find_suite(given: str | None) -> Path:
    """The params.yaml of a suite; None: the one in the current folder.

    Raises BenchError, with the nearest name, where there is none.
    """
    known = suites()
    if given is None:
        if Path(PARAMS).is_file():
            return Path(PARAMS)
        raise BenchError(
            f"no {PARAMS} in this folder; name a suite ({', '.join(known)}) or its folder"
        )
    if given in known:
        return known[given]
    path = Path(given).expanduser()
    if path.is_dir():
        path = path / PARAMS
    if path.is_file():
        return path
    if "/" in given or path.suffix in (".yaml", ".yml"):
        raise BenchError(f"{path}: no such file; give a suite's {PARAMS}, or the folder it is in")
    raise BenchError(
        f"no suite '{given}', and no folder that holds a {PARAMS}; {nearest(given, known)}"
    )


def open_suite(given: str | None) -> Suite:
    """The suite, read and checked. Raises BenchError for a mistake in it."""
    import os

    from benchlib.params import load_params

    suite = load_params(find_suite(given))
    if suite.mirror:
        mirror = suite.mirror
        if "://" not in mirror:
            mirror = str(suite.folder / mirror)
        os.environ.setdefault("BENCHLIB_MIRROR", mirror)
    return suite


def name_of(suite: Suite) -> str:
    """How a suite is named on the command line: its name in the checkout, else its folder."""
    for name, path in suites().items():
        if path.parent == suite.folder:
            return name
    return spoken(suite.folder)


def spoken(path: Path) -> str:
    """A path as a person would type it here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def complete_suite(incomplete: str) -> list[str]:
    """Names of suites, for the shell."""
    return [name for name in suites() if name.startswith(incomplete)]


def complete_run(incomplete: str) -> list[str]:
    """Runs of the suite in this folder, or of the demo, for the shell."""
    path = CHECKOUT / PARAMS
    if Path(PARAMS).is_file():
        path = Path(PARAMS)
    try:
        return [key for key in open_suite(str(path)).runs if key.startswith(incomplete)]
    except BenchError:
        return []
