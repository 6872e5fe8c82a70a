"""A mirror's address may hold a password or a token, and neither is ever told; a word says offline or not."""

from __future__ import annotations

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from benchlib.assets import fetch, https
from benchlib.assets.download import is_offline
from benchlib.contracts import BenchError

SECRETS = ("s3cret", "t0ken", "p%40ss", "p@ss")
DATA = b"data" * 100


class Answers(BaseHTTPRequestHandler):
    """Answers every request with the server's ``status`` and ``body``; notes what was asked."""

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        if self.server.status == 302:
            self.send_response(302)
            self.send_header("Location", f"{self.path}&again=1")
        else:
            self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.asked, server.status, server.body = [], 200, b""
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(https, "BACKOFF_S", 0.0)
    monkeypatch.setattr(https, "RETRIES", 1)
    monkeypatch.delenv("BENCHLIB_OFFLINE", raising=False)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def where(tmp_path) -> dict[str, Path]:
    """A catalogue of one entry ``x``, whose own source answers nobody."""
    entry = {
        "kind": "weights",
        "source": "http://127.0.0.1:1/d/x.bin",
        "sha256": hashlib.sha256(DATA).hexdigest(),
        "bytes": len(DATA),
        "licence": "CC0",
        "citation": "nobody",
        "purpose": "test",
    }
    with open(tmp_path / "catalogue.yaml", "w", encoding="utf-8") as file:
        YAML().dump({"x": entry}, file)
    return {"cache": tmp_path / "cache", "catalogue": tmp_path / "catalogue.yaml"}


def mirrors(place: str) -> list[str]:
    return [
        f"http://me:s3cret@{place}/m",
        f"http://s3cret@{place}/m",
        f"http://me:p%40ss@{place}/m/",
        f"http://{place}/m?token=t0ken",
        f"http://me:s3cret@{place}/m?token=t0ken&x=1#t0ken",
    ]


@pytest.mark.parametrize("status", [200, 302, 403, 404, 500])
def test_nothing_secret_is_told_when_a_mirror_fails(server, where, monkeypatch, capfd, status):
    server.status, server.body = status, b"other"
    for mirror in mirrors(f"127.0.0.1:{server.server_address[1]}"):
        monkeypatch.setenv("BENCHLIB_MIRROR", mirror)
        with pytest.raises(BenchError) as error:
            fetch("x", **where)
        chain = [error.value, error.value.__cause__]
        if not error.value.__suppress_context__:
            chain.append(error.value.__context__)
        check_silent(" ".join(map(str, chain)) + "".join(capfd.readouterr()))
    assert server.asked


@pytest.mark.parametrize("place", ["127.0.0.1:1", "[bad", "127.0.0.1:port", ""])
def test_nothing_secret_is_told_of_a_mirror_that_is_not_there(
    server, where, monkeypatch, capfd, place
):
    for mirror in mirrors(place):
        monkeypatch.setenv("BENCHLIB_MIRROR", mirror)
        with pytest.raises(BenchError) as error:
            fetch("x", **where)
        assert "\n" not in str(error.value)
        check_silent(str(error.value) + "".join(capfd.readouterr()))


def check_silent(said: str) -> None:
    for secret in SECRETS:
        assert secret not in said, said


def test_a_token_and_a_password_reach_the_mirror(server, where, monkeypatch, capfd):
    server.body = DATA
    place = f"127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("BENCHLIB_MIRROR", f"http://me:s3cret@{place}/m/?token=t0ken")
    assert fetch("x", **where).read_bytes() == DATA
    ((path, login),) = server.asked
    assert path == "/m/127.0.0.1:1/d/x.bin?token=t0ken"
    assert login is not None and login.startswith("Basic ")
    check_silent("".join(capfd.readouterr()))


def test_a_public_address_is_told_whole():
    for url in ("https://host.example/a/b.bin", "http://h:8/x", "/a folder/#1?", "npm:p@1.0#x"):
        assert https.public(url) == url


@pytest.mark.parametrize(
    ("word", "offline"),
    [
        ("", False),
        ("0", False),
        ("false", False),
        ("False", False),
        ("no", False),
        ("off", False),
        (" ", False),
        ("1", True),
        ("true", True),
        ("YES", True),
        ("on", True),
    ],
)
def test_a_word_means_what_it_says(monkeypatch, word, offline):
    monkeypatch.setenv("BENCHLIB_OFFLINE", word)
    assert is_offline() == offline


@pytest.mark.parametrize("word", ["maybe", "2", "-1", "null"])
def test_another_word_is_refused_by_name(where, monkeypatch, word):
    monkeypatch.setenv("BENCHLIB_OFFLINE", word)
    with pytest.raises(BenchError, match=f"^BENCHLIB_OFFLINE: got '{word}'; expected 1, true"):
        fetch("x", **where)
