"""PSNR and the SSIM variants in use, on float64 images in [0,255]. One image at a time, never pooled."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import correlate1d
from skimage.metrics import structural_similarity

C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def to_y(image: np.ndarray) -> np.ndarray:
    """BT.601 luma of ``(H,W,3)`` RGB in [0,255]: ``(H,W)`` in [16,235], not rounded (MATLAB's rgb2ycbcr, BasicSR)."""
    return image @ np.array([65.481, 128.553, 24.966]) / 255 + 16


def to_y_rounded(image: np.ndarray) -> np.ndarray:
    """:func:`to_y` in whole numbers, half upwards: what MATLAB's rgb2ycbcr gives for a uint8 image, as float64.

    ``image`` holds whole numbers. Computed exactly: the luma is a whole number of 1/255000. MATLAB adds products of
    doubles, so on the about 12 of a million colours whose luma is exactly a half it may round the other way.
    """
    thousandths = image.astype(np.int64) @ np.array([65481, 128553, 24966])
    return (thousandths + 127500) // 255000 + 16.0


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB, peak 255; infinite for equal images."""
    error = float(np.mean((first - second) ** 2))
    return float("inf") if error == 0 else 10 * np.log10(255**2 / error)


def ssim_2d(first: np.ndarray, second: np.ndarray) -> float:
    """BasicSR's SSIM: 11x11 Gaussian (sigma 1.5) per channel, windows wholly inside only, channels averaged."""
    return float(
        structural_similarity(
            first,
            second,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=255,
            channel_axis=-1 if first.ndim == 3 else None,
        )
    )


def _window() -> np.ndarray:
    weights = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    return weights / weights.sum()


def ssim_2d_padded(first: np.ndarray, second: np.ndarray) -> float:
    """NAFNet's SSIM of one channel: the same window, borders replicated, every pixel counted (``_ssim_cly``)."""

    def blur(image: np.ndarray) -> np.ndarray:
        return correlate1d(correlate1d(image, _window(), 0, mode="nearest"), _window(), 1, mode="nearest")

    mean1, mean2 = blur(first), blur(second)
    return float(_similarity(mean1, mean2, blur(first**2), blur(second**2), blur(first * second)).mean())


def ssim_3d(first: np.ndarray, second: np.ndarray) -> float:
    """NAFNet's and SAM-Deblur's SSIM of colour: an 11x11x11 Gaussian over height, width *and colour* (``_ssim_3d``).

    The colour axis is replicated outwards, so channels mix; it reads far higher than :func:`ssim_2d` on noise. Single
    precision and one 3-D convolution as there: in double precision the same formula reads up to 4e-5 lower.
    """
    import torch
    from torch.nn.functional import conv3d, pad

    g = _window()
    kernel = torch.from_numpy(g[:, None, None] * g[None, :, None] * g[None, None, :]).float()[None, None]
    images = [torch.from_numpy(image).float()[None, None] for image in (first, second)]

    def blur(image: torch.Tensor) -> torch.Tensor:
        return conv3d(pad(image, (5,) * 6, mode="replicate"), kernel)

    a, b = images
    return float(_similarity(blur(a), blur(b), blur(a * a), blur(b * b), blur(a * b)).mean())


def _similarity(mean1, mean2, square1, square2, product):  # type: ignore[no-untyped-def]
    """SSIM's map from local moments (NumPy or torch): Wang et al. 2004, equation 13."""
    contrast = (2 * (product - mean1 * mean2) + C2) / ((square1 - mean1**2) + (square2 - mean2**2) + C2)
    return (2 * mean1 * mean2 + C1) / (mean1**2 + mean2**2 + C1) * contrast
