"""No prior: nothing is computed, stored or put in the batch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ENTRIES: tuple[str, ...] = ()


@dataclass(frozen=True)
class Config:
    """Nothing to set."""


def compute(
    images: dict[str, Path], out: Path, config: Config, *, device: str = "auto", resume: Path | None = None
) -> list[dict]:
    """No files, no records."""
    return []


def record(config: Config, device: str = "auto") -> dict:
    """What ``prior.json`` says."""
    return {"prior": "none"}
