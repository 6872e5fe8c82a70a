"""The key of an endpoint, through DVC and the launcher: it is in nothing that is written or said."""

from __future__ import annotations

import base64
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import small_params, write_params
from test_mllm import SECRET, Server, answer, serving
from test_pipeline import ENVIRONMENT, ROOT

from benchlib import assets
from benchlib.contracts import BenchError
from benchlib.priors import mllm
from benchlib.records import read_json

TOKENIZER = "wordllama-tokenizer"


def forms(secret: str) -> list[bytes]:
    """The secret as it is, backwards, as a header's bytes, and within base64, wherever it begins."""
    found = [secret.encode(), secret[::-1].encode(), secret.encode("utf-16-le")]
    for shift in range(3):
        code = base64.b64encode(b"x" * shift + secret.encode()).strip(b"=")
        found.append(code[4 if shift else 0 : -2])  # without what its neighbours decide
    return found


def contents(path: Path) -> list[bytes]:
    """A file's bytes, and those of what is packed in it."""
    found = [path.read_bytes()]
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as packed:
            found += [packed.read(name) for name in packed.namelist()]
    return found


def holding(folder: Path, secret: str) -> list[Path]:
    """The files below a folder, hidden ones too, that hold a secret in their name or bytes."""
    found = []
    for path in folder.rglob("*"):
        if not path.is_file():
            continue
        texts = [path.name.encode(), *contents(path)]
        if any(form in text for form in forms(secret) for text in texts):
            found.append(path)
    return found


def test_the_search_finds_a_secret_however_it_is_kept(tmp_path):
    encoded = base64.b64encode(f"Bearer {SECRET}, and more".encode())
    (tmp_path / "plain.txt").write_text(f"a {SECRET}")
    (tmp_path / ".hidden").write_bytes(encoded)
    with zipfile.ZipFile(tmp_path / "packed.npz", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("text.npy", f"{'noise ' * 50}{SECRET}")
    (tmp_path / "other.txt").write_text("Sk-Very-Secret")
    names = {path.name for path in holding(tmp_path, SECRET)}
    assert names == {"plain.txt", ".hidden", "packed.npz"}


def project(folder: Path, server: Server) -> None:
    """A project whose two priors ask the endpoint: about the degradation, and about the content."""
    for name in ("benchlib", "notebooks"):
        ignored = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ("dvc.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, folder / name)
    params = small_params()
    asked = {"name": "mllm", "base_url": server.url, "asked": "seer", "key_variable": "SEER_KEY"}
    asked |= {"per_minute": 1e5, "tries": 2, "weights": "random"}
    for ask in mllm.PROMPTS:
        prior = asked | {"ask": ask}
        entry = {"kind": "tokens", "images": "data/test", "prior": prior}
        params["priors"][f"said/{ask}"] = entry
    write_params(folder, params)
    for words in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(words, cwd=folder, env=ENVIRONMENT, check=True)


def of_the_question(asked: dict) -> str:
    """Which of the two questions a body asks."""
    text = asked["messages"][0]["content"][0]["text"]
    return next(name for name, prompt in mllm.PROMPTS.items() if prompt == text)


def test_the_key_is_in_nothing_that_a_suite_writes_or_says(tmp_path):
    """One stage gets an answer that repeats the key; the other is refused, with the key in the refusal."""
    cache = tmp_path / "cache"
    try:
        file = assets.fetch(TOKENIZER)
    except BenchError as error:
        pytest.skip(str(error))
    shutil.copytree(file.parent, cache / TOKENIZER)
    folder = tmp_path / "project"
    folder.mkdir()
    environment = ENVIRONMENT | {"SEER_KEY": SECRET, "BENCHLIB_CACHE": str(cache)}
    environment.pop("BENCHLIB_OFFLINE", None)
    refusal = f'{{"error": {{"message": "wrong key {SECRET}"}}}}'.encode()
    with serving() as server:
        server.by_body = {
            "degradation": answer(f"noise <b>, Bearer {SECRET}"),
            "content": (401, {"X-Key": SECRET}, refusal),
        }
        server.kind_of = of_the_question
        project(folder, server)
        command = [sys.executable, "-m", "benchlib", "run", "-j", "2"]
        command += [f"priors@said/{ask}" for ask in mllm.PROMPTS]
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=500
        )
    assert server.asked and all(
        headers["Authorization"] == f"Bearer {SECRET}" for headers, _ in server.asked
    )
    said = done.stdout + done.stderr
    assert done.returncode != 0, said
    assert SECRET not in said
    record = read_json(folder / "work" / "small" / "priors" / "said" / "degradation" / "prior.json")
    assert record["images"][0]["text"] == "noise <b>, Bearer ***"
    log = (folder / "work" / "small" / "logs" / "priors@said" / "content.log").read_text()
    assert "wrong key ***" in log and "Traceback" not in log
    written = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    places = {path.parts[0] for path in written}
    assert {"dvc.lock", ".dvc", "results", "work"} <= places
    assert any(path.suffix == ".ipynb" and path.parts[0] == "results" for path in written)
    assert any(path.parts[:2] == (".dvc", "cache") for path in written)
    assert any(path.parts[:2] == (".dvc", "tmp") for path in written)
    assert list((cache / "answers").rglob("*.json"))
    assert holding(tmp_path, SECRET) == []
