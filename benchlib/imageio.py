"""The only place that knows image files, 8- and 16-bit values, colour order and rounding."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from benchlib.contracts import BenchError
from benchlib.files import check_file, new_file

if TYPE_CHECKING:
    import torch

VERSION = 2

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
UNREADABLE = (
    UnidentifiedImageError,
    OSError,
    SyntaxError,
    ValueError,
    Image.DecompressionBombError,
)
DEEP = 65535  # the largest value of 16 bits
ORIENTATION = 0x0112  # EXIF's and TIFF's tag: how a picture is turned
TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: np.fliplr,
    3: lambda image: np.rot90(image, 2),
    4: np.flipud,
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image, 3),
    7: lambda image: np.rot90(image, 2).swapaxes(0, 1),
    8: np.rot90,
}
# TIFF's tags, and the values of theirs that are told apart here
BITS, PHOTOMETRIC, PLANES = 258, 262, 284
WHITE_IS_ZERO, SEPARATED, ONE_BY_ONE = 0, 5, 2


def image_files(folder: str | Path) -> list[Path]:
    """Image files of a folder (not below it), by name.

    Raises BenchError if the folder is absent or no folder, or if what has an image's name in it is
    none that can be opened: a folder, a pipe, a link that leads nowhere.
    """
    folder = Path(folder)
    found = []
    for path in _listed(folder):
        if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
            check_file(path)
            found.append(path)
    return sorted(found)


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        what = "no such folder"
    except NotADirectoryError:
        what = "a file"
    except OSError as error:
        what = f"cannot be listed ({error.strerror})"
    raise BenchError(f"{folder}: {what}; expected a folder with image files ({_suffixes()})")


def _looks_full(folder: Path) -> bool:
    return any(path.suffix.lower() in SUFFIXES for path in folder.iterdir())


def _suffixes() -> str:
    return ", ".join(SUFFIXES)


def no_images(folder: str | Path) -> str:
    """What to say of a folder in which :func:`image_files` finds none."""
    below = []
    for path in sorted(Path(folder).iterdir()):
        if path.is_dir() and not path.name.startswith(".") and _looks_full(path):
            below.append(f"{path.name}/")
    if below:
        some = ", ".join(below[:3])
        return f"no images, only in folders below it ({some}): name one of these"
    return "no images"


def read_image(path: str | Path) -> np.ndarray:
    """Read a file as ``(H,W,3)`` uint8 RGB.

    Upright by its EXIF rotation; grey and palette images become RGB; of 16-bit images the nearest
    8-bit level (``v / 257``), whatever their colours and format; a transparent image is laid on
    white; of an ``.npy`` file (see :func:`write_lq`) what 8 bits can show, clipped and rounded.
    Raises BenchError, naming the file, for one that is empty, truncated, no image, no file (a
    folder, a pipe), or not 8 or 16 bits.
    """
    if Path(path).suffix == ".npy":
        levels = _read_npy(path)
        levels *= 255
        return np.clip(np.rint(levels, out=levels), 0, 255, out=levels).astype(np.uint8)
    image = _read(path)
    if image.dtype == np.uint8:
        return image
    return np.rint(image / 257).astype(np.uint8)


def read_lq(path: str | Path) -> np.ndarray:
    """A degraded image ``(H,W,3)`` with all that its file says.

    float32 in about [0,1] of an ``.npy`` file; float32 in [0,1] of one of 16 bits (``v / 65535``,
    each value another number); else uint8 RGB. Raises BenchError, naming the file, for one that is
    empty, truncated or holds something else.
    """
    if Path(path).suffix == ".npy":
        return _read_npy(path)
    image = _read(path)
    if image.dtype == np.uint8:
        return image
    return (image / DEEP).astype(np.float32)


def image_size(path: str | Path) -> tuple[int, int]:
    """(H,W) of an image file, upright, or of an ``.npy``; its pixels are not decoded.

    Raises BenchError, naming the file, for one that is no image.
    """
    if Path(path).suffix == ".npy":
        height, width = _read_npy(path).shape[:2]
        return height, width
    check_file(path)
    try:
        with open(path, "rb") as opened, Image.open(opened) as file:
            width, height = file.size
            turned = file.getexif().get(ORIENTATION, 1) > 4
    except UNREADABLE as error:
        raise _unreadable(path, error) from None
    # Pillow gives a TIFF's size upright, that of other formats as it is stored
    if turned and file.format != "TIFF":
        return width, height
    return height, width


def pixels_digest(image: np.ndarray) -> str:
    """SHA-256 of an image's pixels and size: the same picture has the same, whatever its file.

    "" of a picture of one colour: black frames of two films are no sign of a shared photograph.
    """
    if (image == image[:1, :1]).all():
        return ""
    words = f"{image.shape} {image.dtype}".encode()
    return hashlib.sha256(words + np.ascontiguousarray(image).tobytes()).hexdigest()


def _unreadable(path: str | Path, error: BaseException | str) -> BenchError:
    said = error
    if not isinstance(error, str):
        said = f"{type(error).__name__}: {error}"
    return BenchError(f"{path}: not a readable image ({said}); replace or remove it")


class _Form(NamedTuple):
    """How a file holds its pixels; Pillow forgets it once it has read them.

    coding: Pillow's words for it ("RGBA;16B"). turn: EXIF's orientation, 1 to 8.
    """

    coding: str
    turn: int
    tiff: bool
    white_is_zero: bool


def _read(path: str | Path) -> np.ndarray:
    """``(H,W,3)``: uint8 levels, or float64 in [0,65535] of a file of 16 bits."""
    check_file(path)
    try:
        # by an open file: given a path, Pillow maps a turned grey TIFF to memory, and scrambles it
        with open(path, "rb") as opened, Image.open(opened) as file:
            form = _form(path, file)
            file.load()
            image = ImageOps.exif_transpose(file)
    except UNREADABLE as error:
        raise _unreadable(path, error) from None
    if image.mode.startswith("I"):  # Pillow's modes for 16-bit grey: it keeps every value
        return _deep_grey(path, image, form)
    if ";16" in form.coding:  # Pillow has cut off the lower 8 bits of each value
        return _deep_colour(path, form)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return np.array(image.convert("RGB"))


def _form(path: str | Path, file: ImageFile) -> _Form:
    """Raises BenchError for what is neither 8 nor 16 bits, or 16 in a form not decoded here."""
    if file.mode == "F":
        raise BenchError(f"{path}: floating-point pixels; expected 8 or 16 bits a channel")
    coding, tags = str(file.tile), getattr(file, "tag_v2", {})
    bits = tags.get(BITS, (8,))
    if 8 < max(bits) < 16:
        raise BenchError(f"{path}: {max(bits)} bits a channel; expected 8 or 16")
    photometric = tags.get(PHOTOMETRIC)
    if max(bits) == 16 and photometric == SEPARATED:
        raise BenchError(f"{path}: CMYK of 16 bits; expected grey or RGB: convert it")
    if max(bits) == 16 and len(bits) > 1 and tags.get(PLANES) == ONE_BY_ONE:
        raise BenchError(
            f"{path}: 16 bits, each colour in a plane of its own; expected the colours of a pixel "
            "side by side (PLANARCONFIG_CONTIG): save it so, or as PNG"
        )
    turn = file.getexif().get(ORIENTATION, 1)
    return _Form(coding, turn, file.format == "TIFF", photometric == WHITE_IS_ZERO)


def _deep_grey(path: str | Path, image: Image.Image, form: _Form) -> np.ndarray:
    values = np.asarray(image).astype(np.int64)
    low, high = values.min(), values.max()
    if low < 0 or high > DEEP:
        raise BenchError(f"{path}: values {low}..{high}; expected 8 or 16 bits a channel")
    if form.white_is_zero:
        values = DEEP - values
    clear = image.info.get("transparency")
    if isinstance(clear, int):  # PNG's one grey level that is transparent
        values = np.where(values == clear, DEEP, values)
    return np.repeat(values[..., None], 3, axis=2).astype(np.float64)


def _deep_colour(path: str | Path, form: _Form) -> np.ndarray:
    """What Pillow reads with 8 bits a channel, with all 16, by OpenCV."""
    import cv2

    data = np.frombuffer(Path(path).read_bytes(), np.uint8)
    values = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16 or values.ndim != 3:
        raise _unreadable(path, "16 bits a channel in a form that OpenCV does not know")
    if not form.tiff:  # OpenCV turns a TIFF upright by itself
        values = TURNS.get(form.turn, np.asarray)(values)
    colours = values[..., 2::-1].astype(np.float64)  # OpenCV's order is blue, green, red
    if values.shape[2] == 3 or "RGBX" in form.coding:
        return colours
    share = values[..., 3:] / DEEP
    if "RGBa" not in form.coding:  # there colours are multiplied by their share already
        colours = colours * share
    return colours + DEEP * (1 - share)


def write_png(path: str | Path, image: np.ndarray) -> None:
    """Write ``(H,W,3)`` or ``(H,W)`` uint8 as PNG, whole or not at all."""
    if image.dtype != np.uint8:
        raise BenchError(f"{path}: expected uint8 pixels, got {image.dtype}; quantise first")
    with new_file(path) as temporary:
        Image.fromarray(image).save(temporary, format="PNG")


def write_lq(path: str | Path, image: np.ndarray) -> Path:
    """Write a degraded image, whole or not at all; return ``path`` and ``.png`` or ``.npy``.

    uint8 ``(H,W,3)`` becomes a PNG. float32 ``(H,W,3)``, in units of [0,1] and not clipped to it
    (noise; 16 bits), becomes an ``.npy`` file, bit for bit. path: without a suffix: what looks like
    one (``a.png`` of a file ``a.png.png``) is part of the name. Raises BenchError for any other
    array.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype not in (np.uint8, np.float32):
        raise BenchError(
            f"{path}: expected (H,W,3) uint8 or float32, got {image.shape} {image.dtype}"
        )
    path = Path(path)
    if image.dtype == np.uint8:
        png = path.with_name(f"{path.name}.png")
        write_png(png, image)
        return png
    if not np.isfinite(image).all():
        raise BenchError(
            f"{path}: values that are not finite; expected (H,W,3) float32 in about [0,1]"
        )
    npy = path.with_name(f"{path.name}.npy")
    with new_file(npy) as temporary:
        np.save(temporary, image, allow_pickle=False)
    return npy


def _read_npy(path: str | Path) -> np.ndarray:
    check_file(path)
    try:
        image = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BenchError(
            f"{path}: not a readable array ({type(error).__name__}: {error}); make it anew"
        ) from None
    if not isinstance(image, np.ndarray):
        raise BenchError(f"{path}: expected (H,W,3) float32, got an archive; make it anew")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.float32:
        raise BenchError(
            f"{path}: expected (H,W,3) float32, got {image.shape} {image.dtype}; make it anew"
        )
    if not np.isfinite(image).all():
        raise BenchError(f"{path}: values that are not finite; make it anew")
    return image


def to_tensor(image: np.ndarray) -> torch.Tensor:
    """``(H,W,3)`` uint8 -> ``(3,H,W)`` float32 in [0,1]; float32 (noise) keeps its values.

    A copy in either case. Raises BenchError for another type.
    """
    import torch

    if image.dtype not in (np.uint8, np.float32):
        raise BenchError(f"image: expected uint8 or float32, got {image.dtype}")
    return to_unit(torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1))


def to_unit(levels: torch.Tensor) -> torch.Tensor:
    """A copy of a uint8 tensor as float32 in [0,1]; float32 keeps its values."""
    import torch

    tensor = levels.to(torch.float32, copy=True)
    if levels.dtype == torch.uint8:
        # a tensor of the device: CUDA would multiply by the reciprocal of a number, which rounds
        tensor.div_(torch.tensor(255.0, device=tensor.device))
    return tensor


def quantise(image: torch.Tensor) -> np.ndarray:
    """``(3,H,W)`` float in about [0,1] -> ``(H,W,3)`` uint8, as BasicSR's ``tensor2img`` does.

    Clip, times 255, round half to even.
    """
    levels = image.detach().clamp(0, 1).mul(255).round().byte()
    return levels.permute(1, 2, 0).cpu().numpy()
