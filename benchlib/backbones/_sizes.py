"""Images of any size for networks that need multiples: padded with what is there, not with black.

A backbone that uses this file states it: ``USES = {"backbones/_sizes.py": 1}``.
"""

from __future__ import annotations

import torch
from torch.nn.functional import pad

VERSION = 1


def mirror_to(image: torch.Tensor, multiple: int, least: int = 1) -> torch.Tensor:
    """``(B,C,H,W)``, mirrored on the right and bottom up to a multiple and ``least`` pixels."""
    height, width = image.shape[-2:]
    down = -height % multiple + _missing(height, multiple, least)
    right = -width % multiple + _missing(width, multiple, least)
    return mirror(image, 0, right, 0, down)


def _missing(side: int, multiple: int, least: int) -> int:
    """What a side that is a multiple already lacks up to the least one that is allowed."""
    padded = side + -side % multiple
    return max(0, least + -least % multiple - padded)


def mirror(image: torch.Tensor, left: int, right: int, top: int, bottom: int) -> torch.Tensor:
    """``(B,C,H,W)``, wider and higher by so many mirrored pixels.

    An edge is repeated where an image is too small to be mirrored so far.
    """
    image = _widen(image, (left, right, 0, 0), image.shape[-1])
    return _widen(image, (0, 0, top, bottom), image.shape[-2])


def _widen(image: torch.Tensor, edges: tuple[int, int, int, int], side: int) -> torch.Tensor:
    if not any(edges):
        return image
    if max(edges) < side:
        return pad(image, edges, mode="reflect")
    return pad(image, edges, mode="replicate")
