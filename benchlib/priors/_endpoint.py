"""A language model behind an OpenAI-compatible endpoint (``POST <base URL>/chat/completions``).

The key is read from an environment variable when it is needed, goes into one header, and is taken
out of whatever comes back. What comes back is limited in size and time. Redirects are not followed:
the key, and the image, go nowhere but to the address that the user wrote.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from benchlib.contracts import BenchError, shortened
from benchlib.priors._answers import Answer, readable

if TYPE_CHECKING:
    from requests import PreparedRequest, Response

VERSION = 1
USES = {"priors/_answers.py": 1}
PATH = "/chat/completions"
MOST_BYTES = 1 << 20  # of an answer with all that is around it
CONNECT_S = 10
PAUSE_S = 1.0  # after the first failure, doubled after each
LONGEST_PAUSE_S = 60.0
AGAIN = (408, 409, 425, 429)  # and all from 500: may go right the next time
OF_THE_IMAGE = (400, 413, 415, 422)  # another image may be answered
GIVE_UP = 3  # images in a row for which the endpoint was down: the others are not asked
SHORTEST_KEY = 8  # characters: what is shorter is a placeholder, and a part of many words
LOOPBACK = r"localhost|127(\.\d+){3}|::1"


@dataclass(frozen=True)
class Endpoint:
    """Where a model is asked, and how patiently.

    base_url: up to ``/v1``. asked: the model's name there. key_variable: the NAME of the
    environment variable that holds the key; "" sends none. timeout_s: for one answer, all of it.
    tries: of one question. per_minute: questions at the most.
    """

    base_url: str
    asked: str
    key_variable: str
    timeout_s: float
    tries: int
    per_minute: float


def check_settings(base_url: str, key_variable: str) -> None:
    """Raise BenchError for an address or a name that would leak a secret; it is not repeated."""
    if key_variable and not re.fullmatch("[A-Z_][A-Z0-9_]*", key_variable):
        raise BenchError(
            "key_variable: expected the NAME of an environment variable in capitals, such as "
            "OPENAI_API_KEY; if the key itself stands there, take it out, and have it renewed"
        )
    if not base_url:
        return
    try:
        parts = urlsplit(base_url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise BenchError("base_url: no URL; expected https://host/v1") from None
    if parts.username is not None or parts.query or parts.fragment:
        raise BenchError(
            "base_url: a user, a password, a query or a fragment stands in it; the key belongs in "
            "the environment variable that key_variable names"
        )
    if parts.scheme not in ("http", "https") or not host or port == 0:
        raise BenchError("base_url: expected https://host/v1")
    if parts.scheme == "http" and key_variable and not re.fullmatch(LOOPBACK, host):
        raise BenchError("base_url: http would send the key unencrypted; expected https")


class Down(BenchError):
    """The endpoint does not work: no fault of the image that was asked about."""


class NotAsked(BenchError):
    """The endpoint was down for the images before, so that it was not asked about this one."""


class _Again(Exception):
    """What went wrong may go right the next time.

    pause: as the endpoint asks for, seconds. error: what it is when it never goes right.
    """

    def __init__(self, why: str, pause: float = 0.0, error: type[BenchError] = Down) -> None:
        super().__init__(why)
        self.pause = pause
        self.error = error


class Asker:
    """Asks one endpoint, one question after the other."""

    def __init__(self, endpoint: Endpoint) -> None:
        import requests

        self.endpoint = endpoint
        self.session = requests.Session()
        self.next = 0.0  # not before that time, by ``time.monotonic``
        self.failed = 0  # images in a row for which it was down
        self.last = ""

    def ask(self, image: np.ndarray, prompt: str, answer_tokens: int) -> Answer:
        """The answer about an ``(H,W,3)`` uint8 RGB image.

        Raises BenchError when every try has failed, saying why; at once where trying again is no
        use; NotAsked after three images in a row for which the endpoint was down.
        """
        if self.failed >= GIVE_UP:
            raise NotAsked(f"not asked: {GIVE_UP} images in a row failed ({self.last})")
        try:
            answer = self._tried(self._body(image, prompt, answer_tokens))
        except Down as error:
            self.failed += 1
            self.last = str(error)
            raise
        except BenchError:
            self.failed = 0
            raise
        self.failed = 0
        return answer

    def _body(self, image: np.ndarray, prompt: str, answer_tokens: int) -> dict[str, Any]:
        shown = {"type": "image_url", "image_url": {"url": data_url(image)}}
        content = [{"type": "text", "text": prompt}, shown]
        return {
            "model": self.endpoint.asked,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": answer_tokens,
            "temperature": 0,
        }

    def _tried(self, body: dict[str, Any]) -> Answer:
        where = f"{self.endpoint.base_url}, model {self.endpoint.asked}"
        pause, why, kind = PAUSE_S, "", BenchError
        for attempt in range(self.endpoint.tries):
            self._wait()
            try:
                return self._once(body)
            except _Again as error:
                why, kind = str(error), error.error
                if attempt + 1 < self.endpoint.tries:
                    time.sleep(min(max(pause, error.pause), LONGEST_PAUSE_S))
                pause *= 2
            except BenchError as error:
                raise type(error)(f"{where}: {error}") from None
        raise kind(f"{where}: {why}; tried {self.endpoint.tries} times")

    def _wait(self) -> None:
        """Keep to so many questions a minute."""
        now = time.monotonic()
        time.sleep(max(0.0, self.next - now))
        self.next = max(now, self.next) + 60 / self.endpoint.per_minute

    def _once(self, body: dict[str, Any]) -> Answer:
        import requests

        key = self._key()
        until = time.monotonic() + self.endpoint.timeout_s
        try:
            response = self.session.post(
                self.endpoint.base_url.rstrip("/") + PATH,
                json=body,
                auth=_Bearer(key),
                timeout=(CONNECT_S, self.endpoint.timeout_s),
                allow_redirects=False,
                stream=True,
            )
            with response:
                text = _text(response, until)
        except requests.Timeout:
            raise _Again(f"no answer within {self.endpoint.timeout_s:g} s") from None
        except requests.RequestException as error:
            raise _Again(f"no connection, or it broke off ({type(error).__name__})") from None
        if len(key) >= SHORTEST_KEY:
            text = text.replace(key, "***")
        _check_status(response, text)
        return parsed(text)

    def _key(self) -> str:
        name = self.endpoint.key_variable
        if not name:
            return ""
        key = os.environ.get(name, "").strip()
        if not key:
            raise Down(f"the environment variable {name} is not set; put the key into it")
        if not (key.isascii() and key.isprintable() and " " not in key):
            raise Down(f"the environment variable {name} holds no key: letters no header has")
        return key


class _Bearer:
    """Puts the key into its header. As ``auth``: else requests would take a key of ~/.netrc."""

    def __init__(self, key: str) -> None:
        self.key = key

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        if self.key:
            request.headers["Authorization"] = f"Bearer {self.key}"
        return request


def data_url(image: np.ndarray) -> str:
    """A PNG of the image as a URL that holds it."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _text(response: Response, until: float) -> str:
    """What the endpoint sends, read until a time: one that sends a byte a minute is a time-out."""
    import requests

    found = bytearray()
    for chunk in response.iter_content(1 << 13):
        found += chunk
        if len(found) > MOST_BYTES:
            raise BenchError(f"the answer is larger than {MOST_BYTES:,} bytes; it is not read")
        if time.monotonic() > until:
            raise requests.Timeout
    return found.decode("utf-8", errors="replace")


def _check_status(response: Response, text: str) -> None:
    status = response.status_code
    if status == 200:
        return
    said = f"HTTP {status}: {shortened(_message(text), 160)}"
    if status in AGAIN or status >= 500:
        raise _Again(said, _asked_pause(response.headers.get("Retry-After", "")))
    if status in OF_THE_IMAGE:
        raise BenchError(said)
    if 300 <= status < 400:
        raise Down(f"HTTP {status}: a redirect, which is not followed; write its address")
    raise Down(said)


def _asked_pause(text: str) -> float:
    if re.fullmatch(r"\d{1,5}(\.\d+)?", text):
        return float(text)
    return 0.0


def _message(text: str) -> str:
    """What an error's body says, without control characters."""
    with suppress(ValueError, KeyError, TypeError, RecursionError):
        text = str(json.loads(text)["error"]["message"])
    return _printable(text)


def _printable(text: str) -> str:
    """The beginning of a text, without what a terminal would obey."""
    return "".join(letter for letter in text[:2000] if letter.isprintable())


def parsed(text: str) -> Answer:
    """The answer in an endpoint's JSON. Raises ``_Again`` for what is none, or has no words."""
    try:
        found = json.loads(text)
        choice = found["choices"][0]
        said = _joined(choice["message"]["content"])
        finished = str(choice.get("finish_reason") or "")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        begin = shortened(_message(text), 80)
        raise _Again(f"not an answer in OpenAI's form, begins {begin!r}") from None
    usage = found.get("usage")
    if not isinstance(usage, dict):
        usage = {}
    try:
        line = readable(said)
    except BenchError as error:
        why = f"{error} (finish_reason {finished[:40]!r})"
        raise _Again(why, error=BenchError) from None
    return Answer(
        line,
        shortened(_printable(str(found.get("model", ""))), 100),
        _count(usage.get("prompt_tokens")),
        _count(usage.get("completion_tokens")),
        finished[:40],
    )


def _joined(content: Any) -> str:
    """A message's text: one, or several parts."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    return " ".join(part["text"] for part in content if part.get("type") == "text")


def _count(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9:
        return value
    return 0
