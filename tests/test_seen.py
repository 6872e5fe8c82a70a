"""What was seen of photographs is kept: found again, never stale, never half."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from skimage import data

from benchlib import registry
from benchlib.contracts import BenchError
from benchlib.imageio import write_png
from benchlib.priors import _seen

NAMES = ("mean", "corner")
MADE_FROM = {"version": 1, "device": "cpu"}


class Eye:
    """Sees a photograph's mean and a corner, and counts how often it looks."""

    def __init__(self) -> None:
        self.looked = 0

    def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]:
        self.looked += 1
        return {"mean": image.mean((0, 1)), "corner": image[0, 0].astype(np.float32)}


@pytest.fixture
def files(tmp_path, monkeypatch) -> list[Path]:
    monkeypatch.setenv("BENCHLIB_CACHE", str(tmp_path / "cache"))
    found = []
    for name, image in (("a", data.astronaut()), ("b", data.coffee()), ("c", data.chelsea())):
        found.append(tmp_path / f"{name}.png")
        write_png(found[-1], image[::8, ::8])
    return found


def look(files: list[Path], eye: Eye, **more) -> list:
    return _seen.look(files, eye, NAMES, MADE_FROM | more, "look")


def same(one: list, other: list) -> bool:
    for a, b in zip(one, other, strict=True):
        for name in NAMES:
            if a[name].dtype != b[name].dtype or not np.array_equal(a[name], b[name]):
                return False
    return True


def kept(tmp_path) -> list[Path]:
    return sorted((tmp_path / "cache" / "seen").rglob("*.npz"))


def test_what_was_seen_is_read_bit_by_bit_and_nothing_is_looked_at_again(files, tmp_path) -> None:
    first, again = Eye(), Eye()
    seen = look(files, first)
    assert first.looked == 3 and len(kept(tmp_path)) == 3
    assert same(look(files, again), seen) and again.looked == 0
    assert same(look(files[::-1], again), seen[::-1]) and again.looked == 0


def test_other_bytes_settings_or_versions_are_looked_at_anew(files, monkeypatch) -> None:
    look(files, Eye())
    write_png(files[1], data.coffee()[::8, ::8] + np.uint8(1))
    changed = Eye()
    assert np.array_equal(look(files, changed)[1]["corner"], data.coffee()[0, 0] + 1)
    assert changed.looked == 1
    for more in ({"version": 2}, {"device": "cuda"}, {"provider": {"seed": 1}}):
        other = Eye()
        look(files, other, **more)
        assert other.looked == 3
    version = registry.version
    monkeypatch.setattr(registry, "version", lambda file: version(file) + 1)
    reader = Eye()
    look(files, reader)
    assert reader.looked == 3


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "other"])
def test_a_damaged_file_is_made_anew(files, tmp_path, damage) -> None:
    seen = look(files, Eye())
    for file in kept(tmp_path):
        written = bytearray(file.read_bytes())
        if damage == "cut":
            file.write_bytes(written[: len(written) // 2])
        elif damage == "empty":
            file.write_bytes(b"")
        elif damage == "flipped":
            written[70] ^= 0xFF  # within the first array's bytes
            file.write_bytes(written)
        else:
            np.savez(file, mean=np.zeros(3))
    eye = Eye()
    assert same(look(files, eye), seen) and eye.looked == 3
    assert same(look(files, eye), seen) and eye.looked == 3


def test_who_is_stopped_goes_on_where_they_stood(files) -> None:
    def stopped(image: np.ndarray) -> dict[str, np.ndarray]:
        if image.shape[0] == data.chelsea()[::8].shape[0]:
            raise KeyboardInterrupt
        return Eye()(image)

    with pytest.raises(KeyboardInterrupt):
        _seen.look(files, stopped, NAMES, MADE_FROM, "look")
    eye = Eye()
    look(files, eye)
    assert eye.looked == 1


def test_a_cache_that_cannot_be_written_is_said_and_read_all_the_same(
    files, monkeypatch, capsys
) -> None:
    seen = look(files[:2], Eye())

    def refused(*folders: Path) -> None:
        raise BenchError(f"{folders[0]}: the disk is read-only")

    monkeypatch.setattr(_seen, "check_writable", refused)
    eye = Eye()
    assert same(look(files, eye)[:2], seen) and eye.looked == 1
    assert "look: what is seen is not kept for the next time" in capsys.readouterr().out
    look(files, eye)
    assert eye.looked == 2
