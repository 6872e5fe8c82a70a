"""What computing a prior takes: seconds and peak memory of each image."""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

import psutil

EVERY = 0.005  # seconds between two looks at the resident memory


class Meter:
    """Reads images one by one; memory is counted over what was held when the meter was made (a
    model's weights).

    On CUDA it is torch's ``max_memory_allocated``; elsewhere the process's resident memory, looked
    at every 5 ms, which knows of every library's buffers and, unlike a count of allocations,
    differs by a few MiB from run to run. What an earlier image has left free is given back before
    an image, where the C library can.
    """

    def __init__(self, device: str = "cpu"):
        self.cuda = device.startswith("cuda") and _cuda()
        self.by = "torch.cuda.max_memory_allocated" if self.cuda else "resident memory"
        self.held = _allocated() if self.cuda else _resident()

    @contextmanager
    def image(self) -> Iterator[dict[str, float]]:
        """A dictionary that holds ``seconds`` and ``peak_mib`` once the block has ended."""
        facts: dict[str, float] = {}
        with _cuda_peak() if self.cuda else _resident_peak() as peak:
            start = time.perf_counter()
            yield facts
            facts["seconds"] = round(time.perf_counter() - start, 3)
        facts["peak_mib"] = round(max(0, peak[0] - self.held) / 2**20, 1)


def _give_back() -> None:
    """Give free memory back to the system: glibc can, others do it by themselves or never."""
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _resident() -> int:
    return psutil.Process().memory_info().rss


def _cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def _allocated() -> int:
    import torch

    return torch.cuda.memory_allocated()


@contextmanager
def _cuda_peak() -> Iterator[list[int]]:
    import torch

    torch.cuda.reset_peak_memory_stats()
    peak = [0]
    yield peak
    torch.cuda.synchronize()
    peak[0] = torch.cuda.max_memory_allocated()


@contextmanager
def _resident_peak() -> Iterator[list[int]]:
    _give_back()
    peak, done = [_resident()], Event()

    def watch() -> None:
        while not done.wait(EVERY):
            peak[0] = max(peak[0], _resident())

    thread = Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()
        peak[0] = max(peak[0], _resident())
