"""The protocols by name. Nothing under a name changes: another way of measuring gets another name.

A protocol measures the files that it lists, and those whose own ``PROTOCOLS`` names it.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cache
from types import ModuleType

import numpy as np

from benchlib import registry
from benchlib.contracts import BenchError, nearest
from benchlib.metrics._align import aligned
from benchlib.metrics._brightness import MATCHES
from benchlib.metrics._prepare import COLOURS, CUTS, Images, check_images, prepared

VERSION = 1
BORDER = r"[1-9][0-9]?"  # one way of writing each: a protocol's name stands in every row
USES = {
    "metrics/_align.py": 1,
    "metrics/_prepare.py": 1,
    "metrics/psnr_masked.py": 1,
    "metrics/psnr_single.py": 1,
}


@dataclass(frozen=True)
class Protocol:
    """How 8-bit RGB images become numbers. Of one image; a table's figure is the mean over images.

    name: with its border, e.g. ``basicsr-y@4``.
    colour: a key of ``COLOURS``: "rgb", "y" (BT.601 luma in [16,235], not rounded), "y-rounded"
        (that in whole numbers), "y-full" (luma in [0,255], whole numbers), "y-exchanged".
    metrics: files of ``metrics`` that are measured, in order.
    border: pixels cut from each side, after ``cut``.
    cut: a key of ``CUTS``: what is cut so that a multiple of pixels is left.
    align: whether the restored image is laid over the reference first.
    match: a key of ``MATCHES``: how the restored image is made as bright as the reference first.
    """

    name: str
    colour: str
    metrics: tuple[str, ...]
    border: int = 0
    cut: str = "none"
    align: bool = False
    match: str = "none"

    @property
    def meaning(self) -> str:
        """The protocol in words, for tables' notes."""
        words = [COLOURS[self.colour].words]
        if self.cut != "none":
            words.append(CUTS[self.cut].words)
        if self.match != "none":
            words.append(MATCHES[self.match].words)
        if self.align:
            words.append("brightness matched, aligned by a homography")
        if self.border:
            words.append(f"{self.border} px cut off each side")
        else:
            words.append("no border cut off")
        for name in self.metrics:
            metric = load_metric(name)
            if hasattr(metric, "VARIANT"):
                words.append(f"{metric.NAME}: {metric.VARIANT}")
        return "; ".join(words) + "."

    def measure(self, images: Images, only: Collection[str] | None = None) -> dict[str, float]:
        """The value of each metric, by its file's name, in the protocol's order.

        images: ``(H,W,3)`` uint8 RGB under "restored", "reference" and "degraded", of one size.
            A metric that reads an image that is not there, or a degraded one of another size than
            the restored one (super-resolution), is left out.
        only: the metrics wanted, of those that the protocol measures; None: all of them.
        Raises BenchError for another shape or type, an unknown name, or an image that the border
        (or SSIM's window) uses up.
        """
        check_images(self.name, images)
        wanted = [name for name in self.metrics if only is None or name in only]
        if not wanted:
            return {}
        ready, values = self._ready(images), {}
        for name in wanted:
            metric = load_metric(name)
            if set(metric.READS) <= ready.keys():
                values[name] = metric.measure(*[ready[image] for image in metric.READS])
        return values

    def psnr(self, restored: np.ndarray, reference: np.ndarray) -> float:
        """PSNR alone in dB, as :meth:`measure` gives it."""
        name = next(name for name in self.metrics if load_metric(name).NAME == "PSNR")
        return self.measure({"restored": restored, "reference": reference}, [name])[name]

    def check_size(self, height: int, width: int) -> None:
        """Raise BenchError if the border (or SSIM's window) uses up an image of that size."""
        blank = np.zeros((height, width, 3), np.uint8)
        prepared(self.name, {"restored": blank}, self.colour, self.cut, self.border)

    def _ready(self, images: Images) -> Images:
        """What metrics read, float64; an alignment adds the mask of the pixels that count."""
        ready = prepared(self.name, images, self.colour, self.cut, self.border, self.match)
        if self.align and "reference" in ready:
            moved = aligned(self.name, ready["restored"], ready["reference"])
            ready = dict(zip(("restored", "reference", "mask"), moved, strict=True))
        return ready


# The general ones: BasicSR's metrics, MATLAB's (luma of 8-bit images), NAFNet's.
_GENERAL = (
    Protocol("basicsr-rgb", "rgb", ("psnr", "ssim")),
    Protocol("basicsr-y", "y", ("psnr", "ssim")),
    Protocol("matlab-y-rounded", "y-rounded", ("psnr", "ssim")),
    Protocol("nafnet-ssim3d", "rgb", ("psnr", "ssim_3d")),
    Protocol("nafnet-ssim3d-separable", "rgb", ("psnr", "ssim_3d_separable")),
    Protocol("nafnet-y", "y", ("psnr", "ssim_padded")),
)
# Official scripts; which file of which repository, and what is particular to it, stands in
# benchlib/papers/ledger/protocols.csv.
_SCRIPTS = (
    Protocol("airnet-promptir", "rgb", ("psnr", "ssim_uniform")),
    Protocol("airnet-promptir-crop16", "rgb", ("psnr", "ssim_uniform"), cut="around-16"),
    Protocol("enlighten-anything", "y-full", ("psnr", "ssim_uniform"), cut="end-4"),
    Protocol("hinet-rgb", "rgb", ("psnr", "ssim_3d")),
    Protocol("hinet-y", "y-exchanged", ("psnr_single", "ssim_padded")),
    Protocol("hvi-cidnet-gt-mean", "rgb", ("psnr", "ssim", "lpips_alex"), match="grey"),
    Protocol("ifan", "rgb", ("psnr", "ssim_uniform", "mae", "lpips_alex"), cut="end-8"),
    Protocol("llformer", "rgb", ("psnr", "ssim_uniform", "lpips_alex")),
    Protocol(
        "llflow-gt-mean", "rgb", ("psnr", "ssim_columns", "lpips_alex"), match="grey-over-colours"
    ),
    Protocol("mprnet-sidd", "rgb", ("psnr", "ssim_3d")),
    Protocol("prenet", "y", ("psnr", "ssim")),
    Protocol("ptgrm", "rgb", ("psnr", "ssim")),
    Protocol("pydiff-gt-mean", "rgb", ("psnr", "lpips_alex"), match="colours"),
    Protocol("restormer-defocus", "rgb", ("psnr", "ssim_uniform", "mae", "lpips_alex")),
    Protocol("restormer-derain", "y-rounded", ("psnr", "ssim")),
    Protocol("restormer-gaussian", "rgb", ("psnr", "ssim")),
    Protocol("restormer-gopro", "rgb", ("psnr", "ssim_3d_separable")),
    Protocol("restormer-realblur", "rgb", ("psnr_masked", "ssim_masked"), align=True),
    Protocol("snr", "rgb", ("psnr", "ssim")),
    Protocol("uformer-gopro", "rgb", ("psnr", "ssim_range2")),
)
PROTOCOLS = {one.name: one for one in (*_GENERAL, *_SCRIPTS)}


def protocol(name: str) -> Protocol:
    """The protocol ``name`` or ``name@border`` (border in pixels, 0 without).

    Raises BenchError for an unknown one.

    >>> protocol("basicsr-y@4").border
    4
    """
    kind, _, border = name.partition("@")
    if kind not in PROTOCOLS:
        said = nearest(kind, PROTOCOLS)
        raise BenchError(f"evaluation.protocols: got {name!r}; {said}, each with @border if wanted")
    if name != kind and not re.fullmatch(BORDER, border):
        raise BenchError(
            f"evaluation.protocols: got {name!r}; the border is a whole number of pixels, 1 to 99"
        )
    registry.check_uses("metrics/__init__.py")
    return replace(PROTOCOLS[kind], name=name, border=int(border or 0), metrics=metrics_of(kind))


def names() -> list[str]:
    """The protocols' names, without borders."""
    return sorted(PROTOCOLS)


def listed(name: str) -> tuple[str, ...]:
    """The files of ``metrics`` that a protocol lists itself, those of its official script.

    name: with or without a border. Raises BenchError for an unknown protocol.
    """
    return PROTOCOLS[protocol(name).name.partition("@")[0]].metrics


def metrics_of(name: str) -> tuple[str, ...]:
    """The files of ``metrics`` that a protocol measures: those it lists, then those that name it.

    Raises BenchError for an unknown protocol.
    """
    kind = name.partition("@")[0]
    if kind not in PROTOCOLS:
        raise BenchError(f"protocols: got {name!r}; {nearest(kind, PROTOCOLS)}")
    listed = PROTOCOLS[kind].metrics
    added = [file for file in _added(tuple(registry.names("metrics")))[kind] if file not in listed]
    return (*listed, *added)


@cache
def _added(files: tuple[str, ...]) -> dict[str, list[str]]:
    """Protocol -> the metrics' files whose ``PROTOCOLS`` names it."""
    found: dict[str, list[str]] = {name: [] for name in PROTOCOLS}
    for file in files:
        for name in getattr(load_metric(file), "PROTOCOLS", ()):
            if name not in found:
                raise BenchError(
                    f"benchlib/metrics/{file}.py: PROTOCOLS: got {name!r}; "
                    f"{nearest(name, PROTOCOLS)}"
                )
            found[name].append(file)
    return found


def load_metric(name: str) -> ModuleType:
    """The file ``metrics/<name>.py``. Raises BenchError for an unknown one, naming the nearest."""
    return registry.load("metrics", name)
