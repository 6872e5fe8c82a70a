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

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


def image_files(folder: str | Path) -> list[Path]:
    """Image files of a folder (not below it), by name. Raises BenchError if the folder is absent."""
    folder = Path(folder)
    if not folder.is_dir():
        raise BenchError(f"{folder}: no such folder; expected one with image files ({', '.join(SUFFIXES)})")
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))


def read_image(path: str | Path) -> np.ndarray:
    """Read a file as ``(H,W,3)`` uint8 RGB.

    Upright by its EXIF rotation; grey and palette images become RGB; 16-bit images become 8-bit;
    a transparent image is laid on white; of an ``.npy`` file (see :func:`write_lq`) what 8 bits can show, clipped and
    rounded. Raises BenchError, naming the file, for one that is empty, truncated, no image, or not 8 or 16 bits.
    """
    if Path(path).suffix == ".npy":
        levels = _read_npy(path)
        levels *= 255
        return np.clip(np.rint(levels, out=levels), 0, 255, out=levels).astype(np.uint8)
    try:
        with Image.open(path) as file:
            file.load()
            image = ImageOps.exif_transpose(file)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BenchError(
            f"{path}: not a readable image ({type(error).__name__}: {error}); replace or remove it"
        ) from None
    if image.mode.startswith("I"):  # PIL's modes for 16-bit grey
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise BenchError(f"{path}: values {values.min()}..{values.max()}; expected 8 or 16 bits a channel")
        return np.repeat(np.rint(values / 257).astype(np.uint8)[..., None], 3, axis=2)
    if image.mode == "F":
        raise BenchError(f"{path}: floating-point pixels; expected 8 or 16 bits a channel")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return np.array(image.convert("RGB"))


def write_png(path: str | Path, image: np.ndarray) -> None:
    """Write ``(H,W,3)`` or ``(H,W)`` uint8 as PNG, whole or not at all."""
    if image.dtype != np.uint8:
        raise BenchError(f"{path}: expected uint8 pixels, got {image.dtype}; quantise first")
    with new_file(path) as temporary:
        Image.fromarray(image).save(temporary, format="PNG")


def write_lq(path: str | Path, image: np.ndarray) -> Path:
    """Write a degraded image, whole or not at all; return its path: ``path`` with ``.png`` or ``.npy`` at its end.

    uint8 ``(H,W,3)`` becomes a PNG. float32 ``(H,W,3)``, in units of [0,1] and not clipped to it (noise), becomes an
    ``.npy`` file, bit for bit. path: with or without such a suffix. Raises BenchError for any other array.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype not in (np.uint8, np.float32):
        raise BenchError(f"{path}: expected (H,W,3) uint8 or float32, got {image.shape} {image.dtype}")
    path = Path(path)
    name = path.stem if path.suffix in (".png", ".npy") else path.name
    if image.dtype == np.uint8:
        write_png(path := path.with_name(f"{name}.png"), image)
        return path
    if not np.isfinite(image).all():
        raise BenchError(f"{path}: values that are not finite; expected (H,W,3) float32 in about [0,1]")
    with new_file(path := path.with_name(f"{name}.npy")) as temporary:
        np.save(temporary, image, allow_pickle=False)
    return path


def read_lq(path: str | Path) -> np.ndarray:
    """A degraded image as it was written: ``(H,W,3)`` float32 in about [0,1] of an ``.npy`` file, else uint8 RGB.

    Raises BenchError, naming the file, for one that is empty, truncated or holds something else.
    """
    return _read_npy(path) if Path(path).suffix == ".npy" else read_image(path)


def _read_npy(path: str | Path) -> np.ndarray:
    try:
        image = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BenchError(f"{path}: not a readable array ({type(error).__name__}: {error}); make it anew") from None
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.float32:
        got = f"{image.shape} {image.dtype}" if isinstance(image, np.ndarray) else "an archive"
        raise BenchError(f"{path}: expected (H,W,3) float32, got {got}; make it anew")
    if not np.isfinite(image).all():
        raise BenchError(f"{path}: values that are not finite; make it anew")
    return image


def to_tensor(image: np.ndarray) -> torch.Tensor:
    """``(H,W,3)`` uint8 -> ``(3,H,W)`` float32 in [0,1]; float32 (noise) keeps its values. A copy in either case.

    Raises BenchError for another type.
    """
    import torch

    if image.dtype not in (np.uint8, np.float32):
        raise BenchError(f"image: expected uint8 or float32, got {image.dtype}")
    tensor = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).to(torch.float32, copy=True)
    return tensor.div_(255) if image.dtype == np.uint8 else tensor


def quantise(image: torch.Tensor) -> np.ndarray:
    """``(3,H,W)`` float in about [0,1] -> ``(H,W,3)`` uint8: clip, times 255, round half to even (as BasicSR does)."""
    return image.detach().clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).cpu().numpy()
