"""Protocols: frozen, named ways of measuring. The name stands in every row and every column header."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchlib.contracts import BenchError, nearest
from benchlib.metrics.measures import psnr, ssim_2d, ssim_2d_padded, ssim_3d, to_y, to_y_rounded

Measure = Callable[[np.ndarray, np.ndarray], float]


@dataclass(frozen=True)
class Protocol:
    """How one pair of 8-bit RGB images becomes numbers. Per image; a table's figure is the mean over images.

    name: with its border, e.g. ``basicsr-y@4``.
    colour: "rgb", "y" (BT.601 luma in [16,235], not rounded) or "y-rounded" (that luma in whole numbers).
    border: pixels cut from each side first.
    ssim: the SSIM variant; PSNR is one and the same, data range 255.
    """

    name: str
    colour: str
    border: int
    ssim: Measure

    def measure(self, restored: np.ndarray, reference: np.ndarray) -> dict[str, float]:
        """PSNR (dB) and SSIM of ``restored`` against ``reference``, both ``(H,W,3)`` uint8 RGB of one size.

        Raises BenchError for another shape or type, or an image that the border (or SSIM's window) uses up.
        """
        first, second = self._prepare(restored, reference)
        return {"PSNR": psnr(first, second), "SSIM": self.ssim(first, second)}

    def psnr(self, restored: np.ndarray, reference: np.ndarray) -> float:
        """PSNR alone, as :meth:`measure` gives it."""
        return psnr(*self._prepare(restored, reference))

    def _prepare(self, restored: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if restored.shape != reference.shape or restored.dtype != np.uint8 or reference.dtype != np.uint8:
            raise BenchError(
                f"{self.name}: expected two (H,W,3) uint8 images of one size, got {restored.shape} {restored.dtype} "
                f"and {reference.shape} {reference.dtype}"
            )
        cut, height, width = self.border, *restored.shape[:2]
        if min(height, width) - 2 * cut < 11:
            raise BenchError(f"{self.name}: an image of {height}x{width} leaves under 11 pixels, SSIM's window")
        pair = [image[cut : height - cut, cut : width - cut].astype(np.float64) for image in (restored, reference)]
        first, second = [_COLOURS[self.colour](image) for image in pair]
        return first, second


_COLOURS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "rgb": np.asarray,
    "y": to_y,
    "y-rounded": to_y_rounded,
}

_KINDS: dict[str, tuple[str, Measure]] = {
    "basicsr-rgb": ("rgb", ssim_2d),
    "basicsr-y": ("y", ssim_2d),
    "matlab-y-rounded": ("y-rounded", ssim_2d),
    "nafnet-ssim3d": ("rgb", ssim_3d),
    "nafnet-y": ("y", ssim_2d_padded),
}


def protocol(name: str) -> Protocol:
    """The protocol ``name`` or ``name@border`` (border in pixels, 0 without). Raises BenchError for an unknown one.

    >>> protocol("basicsr-y@4").border
    4
    """
    kind, _, border = name.partition("@")
    if kind not in _KINDS:
        raise BenchError(f"evaluation.protocols: got {name!r}; {nearest(kind, _KINDS)}, each with @border if wanted")
    if border and not border.isdigit():
        raise BenchError(f"evaluation.protocols: got {name!r}; the border is a whole number of pixels")
    colour, ssim = _KINDS[kind]
    return Protocol(name, colour, int(border or 0), ssim)


def collapsed(blurred_psnr: float, restored_psnr: float, drop: float = 3.0) -> bool:
    """Mode collapse of one image: restored is worse than blurred by more than ``drop`` dB (SAM-Deblur, section 4.2)."""
    return blurred_psnr - restored_psnr > drop
