"""One file over HTTP: continued where it stopped, tried again, with progress."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

from benchlib.contracts import BenchError

if TYPE_CHECKING:
    from requests import Response

CHUNK = 1 << 16
RETRIES = 4
BACKOFF_S = 1.0  # doubled after each failure in a row
TIMEOUT_S = (10, 60)  # to connect, between two reads


class Missing(BenchError):
    """The server says there is no such file."""


def public(url: str) -> str:
    """A URL as a message may show it: without user, password, query and fragment.

    A mirror's URL may hold a password or a token; a message ends in logs and notebooks.

    >>> public("https://me:secret@host:8/path/file?token=abc")
    'https://***@host:8/path/file?***'
    """
    if "://" not in url:
        return url  # a path, or a package's name
    try:
        parts = urlsplit(url)
    except ValueError:  # no URL after all: nobody knows what is secret in it
        return "***"
    place = parts.netloc
    if "@" in place:
        place = f"***@{place.rpartition('@')[2]}"
    query = ""
    if parts.query or parts.fragment:
        query = "***"
    return urlunsplit((parts.scheme, place, parts.path, query, ""))


def without_secrets(text: str, url: str) -> str:
    """``text`` with what ``public`` hides of ``url`` hidden wherever it stands, alone too."""
    try:
        parts = urlsplit(url)
    except ValueError:  # nobody knows what is secret in it
        return "this is no URL"
    hidden = [parts.query, parts.fragment]
    if "@" in parts.netloc:
        user, _, password = parts.netloc.rpartition("@")[0].partition(":")
        hidden += [f"{user}:{password}", password or user, unquote(password or user)]
    hidden += [value for _, value in parse_qsl(parts.query)]
    text = text.replace(url, public(url))
    for secret in sorted(filter(None, hidden), key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


class _Again(Exception):
    """What went wrong may go right the next time."""


def download_url(url: str, part: Path, what: str) -> None:
    """Fill ``part`` with what ``url`` serves, after the bytes already in it if the server can.

    Tries again with growing pauses; a failure counts only when it brought nothing new. what: the
    entry's name, for lines and errors. Raises ``Missing`` (404, 410) or BenchError; ``part`` then
    stays for the next call.
    """
    failures, best = 0, _size(part)
    while True:
        reason = _attempt(url, part, what)
        if not reason:
            return
        have = _size(part)
        failures += 1
        if have > best:
            failures, best = 0, have
        if failures > RETRIES:
            raise BenchError(
                f"{what}: {public(url)}: {reason} ({failures} times); {have} bytes are kept in "
                f"{part}, "
                "a retry continues; or set BENCHLIB_MIRROR"
            )
        pause = BACKOFF_S * 2**failures
        print(f"{what}: {reason}; again in {pause:g} s from byte {have}", flush=True)
        time.sleep(pause)


def _attempt(url: str, part: Path, what: str) -> str:
    """Try once; "" if ``part`` is whole now, else why another try may go better."""
    import requests
    from requests.exceptions import ChunkedEncodingError

    try:
        _continue(url, part, what)
    except _Again as error:
        return str(error)
    except (requests.ConnectionError, requests.Timeout, ChunkedEncodingError) as error:
        return without_secrets(f"{type(error).__name__}: {_cause(error)}", url)
    except (requests.RequestException, ValueError) as error:  # ValueError: no URL at all
        said = without_secrets(f"{type(error).__name__}: {error}", url)
        raise BenchError(f"{what}: {public(url)}: {said}") from None
    return ""


def _cause(error: Exception) -> str:
    """The bare reason, out of the wrappings of urllib3."""
    inner: object = error
    if error.args:
        inner = error.args[0]
    return str(getattr(inner, "reason", inner)).split("): ", 1)[-1]


def _size(path: Path) -> int:
    if not path.exists():
        return 0
    return path.stat().st_size


def _continue(url: str, part: Path, what: str) -> None:
    import requests

    have = _size(part)
    tag = part.with_name(part.name + ".tag")  # the server's name for this version of the file
    headers = _headers(have, tag)
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
        if _was_whole(response, have):
            tag.unlink(missing_ok=True)
            return
        _refuse(url, response, what)
        if response.status_code == 206:
            _check_start(response, part, have)
        else:
            have = 0
            _remember_version(response, tag)
        total = _total(response, have)
        _write(response, part, what, have, total)
    if total is not None and _size(part) != total:
        raise _Again(f"the connection ended at byte {_size(part)} of {total}")
    tag.unlink(missing_ok=True)


def _headers(have: int, tag: Path) -> dict[str, str]:
    headers = {"Accept-Encoding": "identity"}  # so that sizes are those of the file
    if have:
        headers["Range"] = f"bytes={have}-"
        if tag.exists():  # another version by now: the server sends all of it
            headers["If-Range"] = tag.read_text(encoding="utf-8")
    return headers


def _was_whole(response: Response, have: int) -> bool:
    whole = f"bytes */{have}"
    return response.status_code == 416 and response.headers.get("Content-Range") == whole


def _refuse(url: str, response: Response, what: str) -> None:
    status = response.status_code
    if status in (408, 416, 429) or status >= 500:
        raise _Again(f"HTTP {status}")
    if status in (404, 410):
        raise Missing(
            f"{what}: {public(url)}: HTTP {status}, no such file; check the catalogue or set a "
            "mirror"
        )
    if status not in (200, 206):
        raise BenchError(
            f"{what}: {public(url)}: HTTP {status} {response.reason}; set a mirror, or fetch it "
            "by hand"
        )


def _check_start(response: Response, part: Path, have: int) -> None:
    if not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
        part.unlink(missing_ok=True)
        raise _Again("the server continued elsewhere than asked")


def _remember_version(response: Response, tag: Path) -> None:
    tag.unlink(missing_ok=True)
    version = response.headers.get("ETag", "")
    if not version.startswith('"'):  # weak tags do not count
        version = response.headers.get("Last-Modified", "")
    if version:
        tag.write_text(version, encoding="utf-8")


def _total(response: Response, have: int) -> int | None:
    length = response.headers.get("Content-Length")
    if not length:
        return None
    return have + int(length)


def _write(response: Response, part: Path, what: str, have: int, total: int | None) -> None:
    from tqdm import tqdm

    bar = tqdm(
        desc=what,
        initial=have,
        total=total,
        unit="B",
        unit_scale=True,
        file=sys.stdout,
        ascii=True,
        mininterval=10,
        delay=10,
    )
    mode = "ab" if have else "wb"
    with bar, open(part, mode) as file:
        for chunk in response.iter_content(CHUNK):
            file.write(chunk)
            file.flush()
            bar.update(len(chunk))
