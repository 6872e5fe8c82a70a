"""Noise as PromptIR is tested with: AirNet's, whose test code it took over.

Both scripts give the same arrays (``tests/test_light_rain_noise.py``); see ``airnet_noise``.
"""

from __future__ import annotations

from benchlib.degrade.airnet_noise import Config, degrade, multiple

__all__ = ["Config", "degrade", "multiple"]

VERSION = 1
USES = {"degrade/airnet_noise.py": 1}
NEEDS_REGION = False
