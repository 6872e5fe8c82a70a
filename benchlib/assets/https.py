"""One file over HTTP: continued where it stopped, tried again, with progress."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchlib.contracts import BenchError

if TYPE_CHECKING:
    from requests import Response

CHUNK = 1 << 16
RETRIES = 4
BACKOFF_S = 1.0  # doubled after each failure in a row
TIMEOUT_S = (10, 60)  # to connect, between two reads


class Missing(BenchError):
    """The server says there is no such file."""


class _Again(Exception):
    """What went wrong may go right the next time."""


def download(url: str, part: Path, what: str) -> None:
    """Fill ``part`` with what ``url`` serves; bytes already in it are kept, if the server can continue there.

    Tries again with growing pauses; a failure counts only when it brought nothing new. Raises ``Missing`` (404, 410)
    or BenchError; ``part`` then stays for the next call.
    """
    import requests

    failures, best = 0, _size(part)
    while True:
        try:
            return _continue(url, part, what)
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError, _Again) as error:
            reason = str(error) if isinstance(error, _Again) else f"{type(error).__name__}: {_cause(error)}"
        except requests.RequestException as error:
            raise BenchError(f"{what}: {url}: {type(error).__name__}: {error}") from None
        failures = failures + 1 if _size(part) <= best else 0
        best = max(best, _size(part))
        if failures > RETRIES:
            raise BenchError(
                f"{what}: {url}: {reason} ({failures} times); {_size(part)} bytes are kept in {part}, "
                "a retry continues; or set BENCHLIB_MIRROR"
            )
        pause = BACKOFF_S * 2**failures
        print(f"{what}: {reason}; again in {pause:g} s from byte {_size(part)}", flush=True)
        time.sleep(pause)


def _cause(error: Exception) -> str:
    """The bare reason, out of the wrappings of urllib3."""
    inner = error.args[0] if error.args else error
    return str(getattr(inner, "reason", inner)).split("): ", 1)[-1]


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _continue(url: str, part: Path, what: str) -> None:
    import requests

    have = _size(part)
    tag = part.with_name(part.name + ".tag")  # the server's name for this version of the file
    headers = {"Accept-Encoding": "identity"}  # so that sizes are those of the file
    if have:
        headers["Range"] = f"bytes={have}-"
        if tag.exists():
            headers["If-Range"] = tag.read_text()  # another version by now: the server sends all of it
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
        if response.status_code == 416 and response.headers.get("Content-Range") == f"bytes */{have}":
            return tag.unlink(missing_ok=True)  # it was whole already
        _refuse(url, response, what)
        resumed = response.status_code == 206
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            part.unlink(missing_ok=True)
            raise _Again("the server continued elsewhere than asked")
        if not resumed:
            have = 0
            tag.unlink(missing_ok=True)
            if _version(response):
                tag.write_text(_version(response))
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        _write(response, part, what, have, total)
    if total is not None and _size(part) != total:
        raise _Again(f"the connection ended at byte {_size(part)} of {total}")
    tag.unlink(missing_ok=True)


def _refuse(url: str, response: Response, what: str) -> None:
    status = response.status_code
    if status in (408, 416, 429) or status >= 500:
        raise _Again(f"HTTP {status}")
    if status in (404, 410):
        raise Missing(f"{what}: {url}: HTTP {status}, no such file; check the catalogue or set a mirror")
    if status not in (200, 206):
        raise BenchError(f"{what}: {url}: HTTP {status} {response.reason}; set a mirror, or fetch it by hand")


def _version(response: Response) -> str:
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")  # weak tags do not count


def _write(response: Response, part: Path, what: str, have: int, total: int | None) -> None:
    from tqdm import tqdm

    line = {"unit": "B", "unit_scale": True, "file": sys.stdout, "ascii": True, "mininterval": 10, "delay": 10}
    with tqdm(desc=what, initial=have, total=total, **line) as bar, open(part, "ab" if have else "wb") as file:
        for chunk in response.iter_content(CHUNK):
            file.write(chunk)
            file.flush()
            bar.update(len(chunk))
