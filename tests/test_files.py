"""Files and folders appear whole or not at all.

Images are read upright, in RGB and 8 bits, or refused by name.
"""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from benchlib.contracts import BenchError, check_image
from benchlib.files import new_file, new_folder
from benchlib.hosts import host
from benchlib.imageio import image_files, quantise, read_image, to_tensor, write_png
from benchlib.registry import load, names, version
from benchlib.seeding import name_seed


def test_a_file_that_fails_leaves_the_old_one_and_no_other(tmp_path):
    target = tmp_path / "a.txt"
    with new_file(target) as file:
        file.write_text("old")
    with pytest.raises(KeyboardInterrupt), new_file(target) as file:
        file.write_text("half")
        raise KeyboardInterrupt
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_replaces_the_old_one_whole_and_what_a_killed_process_left_goes(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = tmp_path / f".new-a-{host()}-{gone.pid}-xy"
    other = tmp_path / f".new-b-{host()}-{gone.pid}-xy"
    for folder in (tmp_path / "a", left, other):
        folder.mkdir()
        (folder / "old").touch()
    with new_folder(tmp_path / "a") as folder:
        assert (tmp_path / "a" / "old").exists()
        (folder / "new").touch()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["new"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [other.name, "a"]


def test_images_of_every_kind_are_read_as_upright_rgb(tmp_path):
    rgb = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    Image.fromarray(rgb).save(tmp_path / "rgb.png")
    Image.fromarray(rgb[..., 0]).save(tmp_path / "grey.png")
    Image.fromarray(rgb[..., 0].astype(np.uint16) * 257).save(tmp_path / "deep.png")
    Image.fromarray(np.dstack([rgb, np.full((2, 3), 255, np.uint8)])).save(tmp_path / "opaque.png")
    Image.fromarray(np.dstack([rgb, np.zeros((2, 3), np.uint8)])).save(tmp_path / "clear.png")
    turned = Image.Exif()
    turned[0x0112] = 6  # rotate by 90 degrees to see it upright
    Image.fromarray(rgb).save(tmp_path / "turned.png", exif=turned)
    grey = np.repeat(rgb[..., :1], 3, axis=2)
    expected = {
        "rgb": rgb,
        "grey": grey,
        "deep": grey,
        "opaque": rgb,
        "clear": np.full_like(rgb, 255),
    }
    expected["turned"] = np.rot90(rgb, -1)
    for name, image in expected.items():
        assert np.array_equal(read_image(tmp_path / f"{name}.png"), image), name
    assert len(image_files(tmp_path)) == len(expected)


@pytest.mark.parametrize(
    "content", [b"", b"not an image", None], ids=["empty", "text", "truncated"]
)
def test_a_file_that_is_no_image_is_refused_by_name(tmp_path, content):
    write_png(
        tmp_path / "whole.png",
        np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8),
    )
    bad = tmp_path / "bad.png"
    bad.write_bytes((tmp_path / "whole.png").read_bytes()[:2000] if content is None else content)
    with pytest.raises(BenchError, match=r"bad\.png: not a readable image"):
        read_image(bad)


def test_every_8_bit_value_survives_the_way_to_a_tensor_and_back():
    image = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    assert np.array_equal(quantise(to_tensor(image)), image)


@settings(deadline=None)
@given(st.floats(-2, 3, allow_nan=False, width=32))
def test_quantising_clips_and_rounds_as_numpy(value):
    out = quantise(torch.full((3, 1, 1), value))
    assert out[0, 0, 0] == np.uint8(np.round(np.clip(np.float32(value), 0, 1) * np.float32(255)))


def test_check_image_quotes_what_is_wrong():
    with pytest.raises(BenchError, match=r"lq: expected values in \[0,1\], got \[0, 255\]"):
        check_image("lq", torch.tensor([0.0, 255.0, 1.0]).reshape(1, 3, 1, 1))
    with pytest.raises(BenchError, match=r"lq: expected \(B,3,H,W\), got \(3, 4, 4\)"):
        check_image("lq", torch.zeros(3, 4, 4))
    with pytest.raises(BenchError, match="lq: expected float32, got float64"):
        check_image("lq", torch.zeros(1, 3, 4, 4, dtype=torch.float64))


def test_registry_knows_files_and_suggests_the_nearest():
    assert "shake_blur" in names("degrade")
    with pytest.raises(BenchError, match="did you mean shake_blur"):
        load("degrade", "shakeblur")


@pytest.mark.parametrize(
    "file",
    [
        "imageio.py",
        "seeding.py",
        "papers/__init__.py",
        "assets/archive.py",
        "assets/contents.py",
        "assets/weights.py",
    ],
)
def test_a_file_that_numbers_pass_through_states_its_version(file):
    assert version(file) >= 1


def test_seeds_differ_by_name_and_stay():
    assert name_seed("a", 1) != name_seed("a", 2) != name_seed("a1", "")
    assert (
        name_seed("crop", 0, 7) == 1147809032067714915
    )  # every crop and blur would change with it
