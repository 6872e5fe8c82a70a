"""Image files: 8 and 16 bits by one rule, sizes, and what is no file that can be opened."""

from __future__ import annotations

import io
import os
import socket
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from benchlib.assets.archive import extract_archive
from benchlib.assets.weights import load_weights
from benchlib.contracts import BenchError
from benchlib.files import check_file, sha256
from benchlib.imageio import (
    image_files,
    image_size,
    no_images,
    pixels_digest,
    read_image,
    read_lq,
    write_lq,
    write_png,
)
from benchlib.params import load_params
from benchlib.priors.kinds import vector

RNG = np.random.default_rng(0)
DARK = RNG.integers(0, 4096, (9, 7, 3), dtype=np.uint16)
GREY = DARK[..., 0]
ALPHA = RNG.integers(0, 65536, (9, 7, 1), dtype=np.uint16)
CLEAR = np.zeros((9, 7, 1), np.uint16)
SOLID = np.full((9, 7, 1), 65535, np.uint16)
COLOURS = {1: 0, 2: 4, 3: 2, 4: 6}  # channels -> PNG's colour type


def png16(pixels: np.ndarray, clear: bytes = b"", turn: int = 1) -> bytes:
    """A PNG of 16 bits a channel, written by hand: Pillow cannot. clear: its tRNS; turn: EXIF's."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    height, width, channels = pixels.shape
    lines = [b"\0" + line.astype(">u2").tobytes() for line in pixels]
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, COLOURS[channels], 0, 0, 0))]
    if turn != 1:
        exif = Image.Exif()
        exif[0x0112] = turn
        parts.append((b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")))
    if clear:
        parts.append((b"tRNS", clear))
    parts += [(b"IDAT", zlib.compress(b"".join(lines))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def tiff(pixels: np.ndarray, **how) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **how)
    return file.getvalue()


def lzw(pixels: np.ndarray) -> bytes:
    import cv2

    return cv2.imencode(".tif", pixels[..., ::-1])[1].tobytes()


def three(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=2)


def on_white(pixels: np.ndarray) -> np.ndarray:
    share = ALPHA / 65535
    return pixels * share + 65535 * (1 - share)


RGBA, GREY1 = np.concatenate([DARK, ALPHA], axis=2), GREY[..., None]
MULTIPLIED = np.rint(DARK * (ALPHA / 65535)).astype(np.uint16)
FORMS = {
    "rgb.png": (png16(DARK), DARK),
    "grey.png": (png16(GREY1), three(GREY)),
    "rgba.png": (png16(RGBA), on_white(DARK)),
    "solid.png": (png16(np.concatenate([DARK, SOLID], axis=2)), DARK),
    "clear.png": (png16(np.concatenate([DARK, CLEAR], axis=2)), np.full_like(DARK, 65535)),
    "la.png": (png16(np.concatenate([GREY1, ALPHA], axis=2)), on_white(three(GREY))),
    "little.tif": (tiff(DARK, photometric="rgb", byteorder="<"), DARK),
    "big.tif": (tiff(DARK, photometric="rgb", byteorder=">"), DARK),
    "deflated.tif": (tiff(DARK, photometric="rgb", compression="zlib", predictor=True), DARK),
    "lzw.tiff": (lzw(DARK), DARK),
    "grey.tif": (tiff(GREY, photometric="minisblack", byteorder="<"), three(GREY)),
    "grey-big.tif": (tiff(GREY, photometric="minisblack", byteorder=">"), three(GREY)),
    "white.tif": (tiff(65535 - GREY, photometric="miniswhite"), three(GREY)),
    "alpha.tif": (tiff(RGBA, photometric="rgb", extrasamples=["unassalpha"]), on_white(DARK)),
    "more.tif": (tiff(RGBA, photometric="rgb", extrasamples=["unspecified"]), DARK),
    "multiplied.tif": (
        tiff(
            np.concatenate([MULTIPLIED, ALPHA], axis=2),
            photometric="rgb",
            extrasamples=["assocalpha"],
        ),
        MULTIPLIED + 65535.0 - ALPHA,
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_16_bits_are_rounded_by_one_rule_whatever_their_format_and_colours(tmp_path, name):
    content, expected = FORMS[name]
    (tmp_path / name).write_bytes(content)
    got = read_image(tmp_path / name)
    assert got.dtype == np.uint8
    assert np.array_equal(got, np.rint(expected / 257).astype(np.uint8))
    assert image_size(tmp_path / name) == got.shape[:2]


@pytest.mark.parametrize("name", FORMS)
def test_a_degraded_image_of_16_bits_keeps_every_value(tmp_path, name):
    content, expected = FORMS[name]
    (tmp_path / name).write_bytes(content)
    lq = read_lq(tmp_path / name)
    assert lq.dtype == np.float32
    assert np.array_equal(lq, (expected / 65535).astype(np.float32))
    kept = write_lq(tmp_path / "kept", lq)
    assert np.array_equal(read_lq(kept), lq)
    assert np.array_equal(read_image(kept), read_image(tmp_path / name))


def test_every_16_bit_value_is_another_float32_and_the_level_that_is_nearest(tmp_path):
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    (tmp_path / "a.png").write_bytes(png16(np.repeat(values, 3, axis=2)))
    assert len(np.unique(read_lq(tmp_path / "a.png"))) == 65536
    away = np.abs(read_image(tmp_path / "a.png") * 257.0 - values)
    assert away.max() <= 128


def test_8_bits_are_the_same_bytes_as_ever(tmp_path):
    """What Pillow decodes, of every form with 8 bits: no rounding, no float."""
    image = RNG.integers(0, 256, (9, 7, 3), dtype=np.uint8)
    forms = {"a.png": image, "a.bmp": image, "a.tif": image, "grey.png": image[..., 0]}
    for name, pixels in forms.items():
        Image.fromarray(pixels).save(tmp_path / name)
    Image.fromarray(image).save(tmp_path / "a.webp", lossless=True)
    Image.fromarray(image).quantize(256).save(tmp_path / "palette.png")
    Image.fromarray(image).save(tmp_path / "a.jpg")
    for path in image_files(tmp_path):
        expected = np.array(Image.open(path).convert("RGB"))
        for got in (read_image(path), read_lq(path)):
            assert got.dtype == np.uint8 and np.array_equal(got, expected), path.name
        assert image_size(path) == (9, 7)


@pytest.mark.parametrize("turn", range(1, 9))
def test_16_bits_are_turned_upright_as_8_bits_are(tmp_path, turn):
    small = (DARK // 16).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = turn
    Image.fromarray(small).save(tmp_path / "8.png", exif=exif)
    Image.fromarray(small).save(tmp_path / "8.jpg", exif=exif)
    (tmp_path / "16.png").write_bytes(png16(small.astype(np.uint16) * 257, turn=turn))
    turned = [(274, 3, 1, turn, True)]
    deep = tiff(small.astype(np.uint16) * 257, photometric="rgb", extratags=turned)
    (tmp_path / "16.tif").write_bytes(deep)
    grey = tiff(small[..., 0].astype(np.uint16) * 257, photometric="minisblack", extratags=turned)
    (tmp_path / "grey.tif").write_bytes(grey)
    shallow = tiff(small[..., 0], photometric="minisblack", extratags=turned)
    (tmp_path / "grey8.tif").write_bytes(shallow)
    expected = read_image(tmp_path / "8.png")
    assert np.array_equal(read_image(tmp_path / "16.png"), expected)
    assert np.array_equal(read_image(tmp_path / "16.tif"), expected)
    for name in ("grey.tif", "grey8.tif"):
        assert np.array_equal(read_image(tmp_path / name)[..., 0], expected[..., 0]), name
    for path in image_files(tmp_path):
        assert image_size(path) == expected.shape[:2], path.name


def test_a_colour_that_png_calls_transparent_is_laid_on_white(tmp_path):
    clear = struct.pack(">HHH", *DARK[0, 0])
    (tmp_path / "rgb.png").write_bytes(png16(DARK, clear))
    expected = np.where((DARK[0, 0] == DARK).all(axis=2, keepdims=True), 65535, DARK)
    assert np.array_equal(read_image(tmp_path / "rgb.png"), np.rint(expected / 257))
    (tmp_path / "grey.png").write_bytes(png16(GREY1, struct.pack(">H", GREY[0, 0])))
    assert (read_image(tmp_path / "grey.png")[0, 0] == 255).all()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (tiff(GREY.astype(np.float32), photometric="minisblack"), "floating-point pixels"),
        (tiff(DARK.astype(np.float32), photometric="rgb"), "not a readable image"),
        (tiff(GREY.astype(np.int32) + 65536, photometric="minisblack"), "values 65"),
        (tiff(-GREY.astype(np.int16), photometric="minisblack"), "expected 8 or 16 bits"),
        (tiff(RGBA, photometric="separated"), "CMYK of 16 bits"),
        (
            tiff(np.moveaxis(DARK, 2, 0).copy(), photometric="rgb", planarconfig="separate"),
            "each colour in a plane of its own",
        ),
        (png16(DARK)[:90], "not a readable image"),
        (tiff(DARK, photometric="rgb")[:300], "not a readable image"),
    ],
)
def test_what_cannot_be_read_whole_is_refused_in_one_line(tmp_path, content, said):
    (tmp_path / "a.tif").write_bytes(content)
    for read in (read_image, read_lq):
        with pytest.raises(BenchError, match=said) as error:
            read(tmp_path / "a.tif")
        assert "a.tif" in str(error.value) and "\n" not in str(error.value)


def test_a_picture_has_one_digest_whatever_its_file(tmp_path):
    image = RNG.integers(0, 256, (9, 7, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    Image.fromarray(image).save(tmp_path / "b.bmp")
    digests = {pixels_digest(read_image(path)) for path in image_files(tmp_path)}
    assert len(digests) == 1
    assert pixels_digest(image.reshape(7, 9, 3)) not in digests


# --- what is no file --------------------------------------------------------------------------


def make_folder(path: Path) -> None:
    path.mkdir()


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as here:
        here.bind(str(path))


def make_dangling(path: Path) -> None:
    path.symlink_to("absent.png")


def make_loop(path: Path) -> None:
    path.symlink_to(path.name)


def make_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def make_link_to_a_pipe(path: Path) -> None:
    os.mkfifo(path.with_name("pipe"))
    path.symlink_to("pipe")


NO_FILES = {
    "a folder": make_folder,
    "a pipe": make_pipe,
    "a socket": make_socket,
    r"a link to absent\.png, where nothing is": make_dangling,
    "a link that leads back to itself": make_loop,
    "a device": make_device,
    "a pipe;": make_link_to_a_pipe,
}


def unpacked(path: Path) -> None:
    extract_archive(path, path.with_name("out"))


@pytest.mark.skipif(os.name == "nt", reason="no pipes in folders there")
@pytest.mark.parametrize("said", ["a pipe", "a device", "a folder"])
@pytest.mark.parametrize("read", [load_weights, unpacked, load_params, vector.load])
def test_no_file_of_a_user_s_is_waited_for(tmp_path, read, said):
    NO_FILES[said](tmp_path / "x.png")
    with pytest.raises(BenchError, match=rf"x\.png: {said}; expected a file"):
        read(tmp_path / "x.png")


@pytest.mark.skipif(os.name == "nt", reason="no pipes in folders there")
@pytest.mark.parametrize("said", NO_FILES)
def test_what_has_an_image_s_name_and_is_no_file_is_named_and_never_opened(
    tmp_path, monkeypatch, said
):
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save("a.png")
    NO_FILES[said](Path("x.png"))
    with pytest.raises(BenchError, match=rf"x\.png: {said}"):
        image_files(".")
    for read in (read_image, read_lq, image_size, sha256, check_file):
        with pytest.raises(BenchError, match=rf"x\.png: {said}"):
            read(Path("x.png"))


def test_an_empty_file_and_a_link_to_a_text_are_named(tmp_path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "words").write_text("no picture")
    (tmp_path / "link.png").symlink_to("words")
    for name in ("empty.jpg", "link.png"):
        for read in (read_image, image_size):
            with pytest.raises(BenchError, match=f"{name}: not a readable image"):
                read(tmp_path / name)


def test_a_link_to_an_image_is_read(tmp_path):
    write_png(tmp_path / "there" / "a.png", np.full((4, 5, 3), 9, np.uint8))
    (tmp_path / "b.png").symlink_to("there/a.png")
    assert image_files(tmp_path) == [tmp_path / "b.png"]
    assert read_image(tmp_path / "b.png").shape == (4, 5, 3)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_a_file_that_may_not_be_read_is_named(tmp_path):
    write_png(tmp_path / "a.png", np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "a.png").chmod(0)
    with pytest.raises(BenchError, match=r"a\.png: you may not read it"):
        image_files(tmp_path)


def test_a_folder_without_images_says_where_there_are_some(tmp_path):
    with pytest.raises(BenchError, match=r"none: no such folder"):
        image_files(tmp_path / "none")
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(BenchError, match=r"a\.txt: a file; expected a folder"):
        image_files(tmp_path / "a.txt")
    assert image_files(tmp_path) == []
    assert no_images(tmp_path) == "no images"
    write_png(tmp_path / "deeper" / "a.png", np.zeros((4, 4, 3), np.uint8))
    assert no_images(tmp_path) == (
        "no images, only in folders below it (deeper/): name one of these"
    )


def test_16_bits_need_no_torch(tmp_path):
    """Fetching is a stage of its own for each set: it starts fast."""
    (tmp_path / "a.png").write_bytes(png16(DARK))
    words = (
        "import sys; from benchlib.imageio import read_image; read_image(sys.argv[1]); "
        "print('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", words, str(tmp_path / "a.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
