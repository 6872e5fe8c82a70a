"""The only place that knows image files, 8-bit values, colour order and rounding."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from benchlib.contracts import BenchError
from benchlib.files import new_file

if TYPE_CHECKING:
    import torch

VERSION = 1

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
UNREADABLE = (
    UnidentifiedImageError,
    OSError,
    SyntaxError,
    ValueError,
    Image.DecompressionBombError,
)


def image_files(folder: str | Path) -> list[Path]:
    """Image files of a folder (not below it), by name.

    Raises BenchError if the folder is absent.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BenchError(
            f"{folder}: no such folder; expected one with image files ({', '.join(SUFFIXES)})"
        )
    found = []
    for path in folder.iterdir():
        if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
            found.append(path)
    return sorted(found)


def read_image(path: str | Path) -> np.ndarray:
    """Read a file as ``(H,W,3)`` uint8 RGB.

    Upright by its EXIF rotation; grey and palette images become RGB; 16-bit images become 8-bit;
    a transparent image is laid on white; of an ``.npy`` file (see :func:`write_lq`) what 8 bits can
    show, clipped and rounded. Raises BenchError, naming the file, for one that is empty, truncated,
    no image, or not 8 or 16 bits.
    """
    if Path(path).suffix == ".npy":
        levels = _read_npy(path)
        levels *= 255
        return np.clip(np.rint(levels, out=levels), 0, 255, out=levels).astype(np.uint8)
    image = _opened(path)
    if image.mode.startswith("I"):  # PIL's modes for 16-bit grey
        return _from_16_bits(path, np.asarray(image).astype(np.int64))
    if image.mode == "F":
        raise BenchError(f"{path}: floating-point pixels; expected 8 or 16 bits a channel")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return np.array(image.convert("RGB"))


def _opened(path: str | Path) -> Image.Image:
    """The image, upright, in the mode of its file."""
    try:
        with Image.open(path) as file:
            file.load()
            return ImageOps.exif_transpose(file)
    except UNREADABLE as error:
        raise BenchError(
            f"{path}: not a readable image ({type(error).__name__}: {error}); replace or remove it"
        ) from None


def _from_16_bits(path: str | Path, values: np.ndarray) -> np.ndarray:
    """``(H,W)`` int64 grey levels in [0,65535] -> ``(H,W,3)`` uint8."""
    low, high = values.min(), values.max()
    if low < 0 or high > 65535:
        raise BenchError(f"{path}: values {low}..{high}; expected 8 or 16 bits a channel")
    grey = np.rint(values / 257).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def write_png(path: str | Path, image: np.ndarray) -> None:
    """Write ``(H,W,3)`` or ``(H,W)`` uint8 as PNG, whole or not at all."""
    if image.dtype != np.uint8:
        raise BenchError(f"{path}: expected uint8 pixels, got {image.dtype}; quantise first")
    with new_file(path) as temporary:
        Image.fromarray(image).save(temporary, format="PNG")


def write_lq(path: str | Path, image: np.ndarray) -> Path:
    """Write a degraded image, whole or not at all; return ``path`` with ``.png`` or ``.npy``.

    uint8 ``(H,W,3)`` becomes a PNG. float32 ``(H,W,3)``, in units of [0,1] and not clipped to it
    (noise), becomes an ``.npy`` file, bit for bit. path: with or without such a suffix. Raises
    BenchError for any other array.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype not in (np.uint8, np.float32):
        raise BenchError(
            f"{path}: expected (H,W,3) uint8 or float32, got {image.shape} {image.dtype}"
        )
    path = Path(path)
    name = path.name
    if path.suffix in (".png", ".npy"):
        name = path.stem
    if image.dtype == np.uint8:
        png = path.with_name(f"{name}.png")
        write_png(png, image)
        return png
    if not np.isfinite(image).all():
        raise BenchError(
            f"{path}: values that are not finite; expected (H,W,3) float32 in about [0,1]"
        )
    npy = path.with_name(f"{name}.npy")
    with new_file(npy) as temporary:
        np.save(temporary, image, allow_pickle=False)
    return npy


def read_lq(path: str | Path) -> np.ndarray:
    """A degraded image ``(H,W,3)`` as it was written.

    float32 in about [0,1] of an ``.npy`` file, else uint8 RGB. Raises BenchError, naming the file,
    for one that is empty, truncated or holds something else.
    """
    if Path(path).suffix == ".npy":
        return _read_npy(path)
    return read_image(path)


def _read_npy(path: str | Path) -> np.ndarray:
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
    rows = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
    tensor = rows.to(torch.float32, copy=True)
    if image.dtype == np.uint8:
        tensor.div_(255)
    return tensor


def quantise(image: torch.Tensor) -> np.ndarray:
    """``(3,H,W)`` float in about [0,1] -> ``(H,W,3)`` uint8, as BasicSR's ``tensor2img`` does.

    Clip, times 255, round half to even.
    """
    levels = image.detach().clamp(0, 1).mul(255).round().byte()
    return levels.permute(1, 2, 0).cpu().numpy()
