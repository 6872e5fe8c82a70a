"""Light, paths and exposures: what the blurs of this folder have in common.

A path is ``(N,2)`` float64: where the scene stands on the sensor, ``(dy, dx)`` in pixels, at N
equal moments of the exposure. Frame ``t`` shows at pixel ``x`` what the sharp image has at
``x - path[t]``. Beyond its border the scene is its own mirror image (each border pixel twice), so
no dark frame appears.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

VERSION = 1

DAMPING = 3.0  # of a random walk: its first velocity is forgotten after a third of the exposure


def to_linear(image: np.ndarray, gamma: float) -> np.ndarray:
    """8-bit values -> linear light, float64 in [0,1]: ``(image / 255) ** gamma``.

    The inverse of the camera response x^(1/gamma) that Nah et al. 2017 (section 2.1) assume, with
    gamma 2.2, to make GoPro's ``blur_gamma`` images; gamma 1 is their ``blur`` variant.
    """
    return (image / 255.0) ** gamma


def to_8bit(light: np.ndarray, gamma: float) -> np.ndarray:
    """Linear light -> uint8: clipped to [0,1] (a sensor saturates), camera response, rounded."""
    return np.rint(255.0 * np.clip(light, 0.0, 1.0) ** (1.0 / gamma)).astype(np.uint8)


def draw_length(rng: np.random.Generator, longest: float, least: float) -> float:
    """A length between ``least * longest`` and ``longest``, all equally likely; its unit stays."""
    return float(longest * rng.uniform(least, 1.0))


def centred_path(path: np.ndarray, extent: float) -> np.ndarray:
    """The path ``(N,D)`` moved to mean zero, its two remotest positions ``extent`` pixels apart.

    A path that stands still is left so.
    """
    path = path - path.mean(axis=0)
    apart = np.linalg.norm(path[:, None] - path[None], axis=-1).max()
    if apart > 0:
        path = path * (extent / apart)
    return path


def line_path(
    rng: np.random.Generator, frames: int, extent: float, bend: float = 0.0
) -> np.ndarray:
    """A path ``(frames,2)`` at constant speed in a random direction, ``extent`` pixels long.

    bend: the sagitta of its arc as a share of its length; 0: a straight line.
    """
    angle = rng.uniform(0.0, 2.0 * np.pi)
    along = np.linspace(-0.5, 0.5, frames)[:, None]
    forward = np.array([np.sin(angle), np.cos(angle)])
    sideways = np.array([np.cos(angle), -np.sin(angle)])
    return centred_path(along * forward + 4.0 * bend * along**2 * sideways, extent)


def random_walk(
    rng: np.random.Generator, frames: int, dimensions: int, tremor: float
) -> np.ndarray:
    """A smooth random walk ``(frames,dimensions)``: its velocity is pushed at random and damped.

    In the manner of Boracchi and Foi, "Modeling the performance of image restoration from motion
    blur" (IEEE TIP 2012), and of DeblurGAN (Kupyn et al. 2018, algorithm 1), without their
    impulses. Statistically independent of the number of frames.

    tremor: the push relative to the first speed; 0 is a straight line, 5 a scribble.
    """
    dt = 1.0 / frames
    velocity = rng.normal(size=dimensions)
    velocity /= np.linalg.norm(velocity)
    position = np.zeros((frames, dimensions))
    for t in range(1, frames):
        push = tremor * np.sqrt(dt) * rng.normal(size=dimensions)
        velocity = velocity * (1.0 - DAMPING * dt) + push
        position[t] = position[t - 1] + velocity * dt
    return position


def path_kernel(path: np.ndarray) -> np.ndarray:
    """The path's point spread function ``(K,K)`` float64, K odd, sum 1.

    Every position is split between the four pixels about it, as bilinear interpolation does.
    """
    radius = int(np.ceil(np.abs(path).max())) + 1
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1))
    corner = np.floor(path).astype(int)
    part = path - corner
    for dy in (0, 1):
        for dx in (0, 1):
            weight = np.abs(1 - dy - part[:, 0]) * np.abs(1 - dx - part[:, 1])
            place = (corner[:, 0] + dy + radius, corner[:, 1] + dx + radius)
            np.add.at(kernel, place, weight / len(path))
    return kernel


def average_shifts(light: np.ndarray, path: np.ndarray) -> np.ndarray:
    """The mean of all frames of ``(H,W,C)`` light, shifted along the path.

    A convolution with :func:`path_kernel`. It sums only the kernel's filled places (a path fills
    few), so that what no frame reaches stays exactly zero.
    """
    weights = path_kernel(path)
    radius = len(weights) // 2
    height, width = light.shape[:2]
    padded = np.pad(light, ((radius, radius), (radius, radius), (0, 0)), mode="symmetric")
    out = np.zeros_like(light)
    for y, x in zip(*np.nonzero(weights), strict=True):
        top, left = 2 * radius - y, 2 * radius - x
        out += weights[y, x] * padded[top : top + height, left : left + width]
    return out


def average_poses(
    light: np.ndarray, path: np.ndarray, angle: np.ndarray, zoom: np.ndarray
) -> np.ndarray:
    """The mean of all frames of ``(H,W,C)`` light, turned, magnified and shifted; bilinear.

    Frame t is turned by ``angle[t]`` (radians) and magnified by ``zoom[t]`` about the image's
    centre, then shifted by ``path[t]`` pixels.
    """
    centre = (np.array(light.shape[:2]) - 1) / 2
    out = np.zeros_like(light)
    for offset, turn, factor in zip(path, angle, zoom, strict=True):
        rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        inverse = rotation / factor
        origin = centre - inverse @ (centre + offset)
        for c in range(light.shape[2]):
            out[..., c] += ndimage.affine_transform(
                light[..., c], inverse, origin, order=1, mode="reflect"
            )
    return out / len(path)
