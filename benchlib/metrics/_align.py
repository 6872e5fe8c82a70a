"""Restored image and reference laid over each other, as the RealBlur benchmark compares them.

Restormer's ``Motion_Deblurring/evaluate_realblur.py`` (df766d5): brightness first, then a
homography by ECC (Evangelidis and Psarakis 2008), both through OpenCV. OpenCV 4.8 and 5.0 differ by
up to 0.005 dB and 0.0002 SSIM.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np

from benchlib.contracts import BenchError

VERSION = 1
ITERATIONS = 100


def aligned(
    protocol: str, restored: np.ndarray, reference: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Restored, reference and mask, ``(H,W,3)`` float64, from two images ``(H,W,3)`` in [0,255].

    The restored image is scaled and warped onto the reference. The mask is 1 where it has pixels
    after that; elsewhere all three are 0. Raises BenchError where ECC finds no
    homography or nothing overlaps.
    """
    import cv2

    sharp = reference.astype(np.float32) / np.float32(255)
    ours = restored.astype(np.float32) / np.float32(255)
    ours = (np.sum(sharp * ours) / np.sum(ours * ours)) * ours
    warp = _homography(protocol, cv2, sharp, ours)
    size = (sharp.shape[1], sharp.shape[0])
    moved = cv2.warpPerspective(
        ours,
        warp,
        size,
        flags=cv2.INTER_CUBIC + cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT,
    )
    mask = cv2.warpPerspective(
        np.ones_like(ours),
        warp,
        size,
        flags=cv2.INTER_NEAREST + cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=0,
    )
    if not mask.any():
        raise BenchError(f"{protocol}: nothing overlaps after alignment; look at the two images")
    return _levels(moved * mask), _levels(sharp * mask), mask.astype(np.float64)


def _levels(image: np.ndarray) -> np.ndarray:
    return image.astype(np.float64) * 255


def _homography(protocol: str, cv2: ModuleType, sharp: np.ndarray, ours: np.ndarray) -> np.ndarray:
    """From the reference's pixels to the restored image's, ``(3,3)`` float32."""
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, ITERATIONS, 0)
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (sharp, ours)]
    start = np.eye(3, 3, dtype=np.float32)
    try:
        _, warp = cv2.findTransformECC(
            *grey, start, cv2.MOTION_HOMOGRAPHY, criteria, inputMask=None, gaussFiltSize=5
        )
    except cv2.error as error:
        said = str(getattr(error, "err", error)).split("\n")[0]
        raise BenchError(
            f"{protocol}: no homography between restored image and reference ({said}); look at the "
            "two images: flat ones cannot be aligned"
        ) from None
    return warp
