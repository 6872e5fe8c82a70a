"""Light, paths and exposures: what the blurs of this room have in common.

A path is ``(N,2)`` float64: where the scene stands on the sensor, ``(dy, dx)`` in pixels, at N equal moments of the
exposure. Frame ``t`` shows at pixel ``x`` what the sharp image has at ``x - path[t]``. Beyond its border the scene is
its own mirror image (each border pixel twice), so no dark frame appears.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field
from scipy import ndimage

from benchlib.contracts import BenchError

Gamma = Annotated[float, Field(ge=1, le=4)]
Share = Annotated[float, Field(ge=0, le=1)]
Frames = Annotated[int, Field(ge=2, le=512)]
Pixels = Annotated[float, Field(gt=0, le=200)]


def check(hq: np.ndarray, region: np.ndarray | None = None) -> None:
    """Refuse what is no ``(H,W,3)`` uint8 image, or a region that is not ``(H,W)`` bool with a pixel in it."""
    if hq.ndim != 3 or hq.shape[2] != 3 or hq.dtype != np.uint8 or 0 in hq.shape:
        raise BenchError(f"hq: expected (H,W,3) uint8 with a pixel in it, got {hq.shape} {hq.dtype}")
    if region is not None and (region.shape != hq.shape[:2] or region.dtype != bool):
        raise BenchError(f"region: expected {hq.shape[:2]} bool like the image, got {region.shape} {region.dtype}")
    if region is not None and not region.any():
        raise BenchError("region: has no pixel; give one that covers something")


def to_linear(image: np.ndarray, gamma: float) -> np.ndarray:
    """8-bit values to linear light in [0,1]: the inverse of the camera response x^(1/gamma) that Nah et al. 2017
    (section 2.1) assume, with gamma 2.2, to make GoPro's ``blur_gamma`` images; gamma 1 is their ``blur`` variant."""
    return (image / 255.0) ** gamma


def to_8bit(light: np.ndarray, gamma: float) -> np.ndarray:
    """Linear light to uint8: clip to [0,1] (the sensor saturates), camera response, round."""
    return np.rint(255.0 * np.clip(light, 0.0, 1.0) ** (1.0 / gamma)).astype(np.uint8)


def draw(rng: np.random.Generator, longest: float, least: float) -> float:
    """A length between ``least * longest`` and ``longest``, all equally likely."""
    return float(longest * rng.uniform(least, 1.0))


def centred(path: np.ndarray, extent: float) -> np.ndarray:
    """The path moved to mean zero and scaled so that its two remotest positions are ``extent`` pixels apart."""
    path = path - path.mean(axis=0)
    apart = np.linalg.norm(path[:, None] - path[None], axis=-1).max()
    return path * (extent / apart) if apart > 0 else path


def line(rng: np.random.Generator, frames: int, extent: float, bend: float = 0.0) -> np.ndarray:
    """Motion at constant speed in a random direction; ``bend`` is the sagitta of its arc as a share of its length."""
    angle = rng.uniform(0.0, 2.0 * np.pi)
    along = np.linspace(-0.5, 0.5, frames)
    forward, sideways = np.array([np.sin(angle), np.cos(angle)]), np.array([np.cos(angle), -np.sin(angle)])
    return centred(along[:, None] * forward + 4.0 * bend * along[:, None] ** 2 * sideways, extent)


def walk(rng: np.random.Generator, frames: int, dimensions: int, tremor: float) -> np.ndarray:
    """A smooth random walk ``(frames, dimensions)``: a particle whose velocity is pushed at random and damped.

    In the manner of Boracchi and Foi, "Modeling the performance of image restoration from motion blur" (IEEE TIP
    2012), and of DeblurGAN (Kupyn et al. 2018, algorithm 1), without their impulses. ``tremor`` is the push relative
    to the initial speed: 0 is a straight line, 5 a scribble. Statistically independent of the number of frames.
    """
    damping = 3.0  # an initial velocity is forgotten after a third of the exposure
    dt = 1.0 / frames
    velocity = rng.normal(size=dimensions)
    velocity /= np.linalg.norm(velocity)
    position = np.zeros((frames, dimensions))
    for t in range(1, frames):
        velocity = velocity * (1.0 - damping * dt) + tremor * np.sqrt(dt) * rng.normal(size=dimensions)
        position[t] = position[t - 1] + velocity * dt
    return position


def kernel(path: np.ndarray) -> np.ndarray:
    """The path's point spread function ``(K,K)``, K odd, sum 1: every position split between its four pixels."""
    radius = int(np.ceil(np.abs(path).max())) + 1
    out = np.zeros((2 * radius + 1, 2 * radius + 1))
    corner = np.floor(path).astype(int)
    part = path - corner
    for dy in (0, 1):
        for dx in (0, 1):
            weight = np.abs(1 - dy - part[:, 0]) * np.abs(1 - dx - part[:, 1])
            np.add.at(out, (corner[:, 0] + dy + radius, corner[:, 1] + dx + radius), weight / len(path))
    return out


def average(light: np.ndarray, path: np.ndarray) -> np.ndarray:
    """The mean of all frames of ``(H,W,C)`` light shifted along the path: a convolution with :func:`kernel`.

    Sums only the kernel's filled places (a path fills few), so that what no frame reaches stays exactly zero.
    """
    weights = kernel(path)
    radius = len(weights) // 2
    height, width = light.shape[:2]
    padded = np.pad(light, ((radius, radius), (radius, radius), (0, 0)), mode="symmetric")
    out = np.zeros_like(light)
    for y, x in zip(*np.nonzero(weights), strict=True):
        top, left = 2 * radius - y, 2 * radius - x
        out += weights[y, x] * padded[top : top + height, left : left + width]
    return out


def average_poses(light: np.ndarray, path: np.ndarray, angle: np.ndarray, zoom: np.ndarray) -> np.ndarray:
    """The mean of all frames of ``(H,W,C)`` light, each turned by ``angle[t]`` (radians) and magnified by ``zoom[t]``
    about the image's centre, then shifted by ``path[t]``; bilinear."""
    centre = (np.array(light.shape[:2]) - 1) / 2
    out = np.zeros_like(light)
    for offset, a, z in zip(path, angle, zoom, strict=True):
        inverse = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) / z
        origin = centre - inverse @ (centre + offset)
        for c in range(light.shape[2]):
            out[..., c] += ndimage.affine_transform(light[..., c], inverse, origin, order=1, mode="reflect")
    return out / len(path)
