"""A suite of frames in a temporary folder, small enough to run in seconds."""

from __future__ import annotations

from pathlib import Path

from conftest import run, small_params, write_params
from skimage import data

from benchlib.imageio import write_png
from benchlib.params import Suite, load_params

EDVR = {"name": "edvr", "width": 8, "frames": 3, "groups": 2, "extract": 1, "reconstruct": 1}
BASICVSR = {"name": "basicvsr", "width": 4, "blocks": 1, "trained": 3}
LENGTH = 4  # frames of each clip


def write_clips(folder: Path, width: int) -> None:
    """Three clips of a photograph that moves by two pixels a frame, 48 high."""
    for number, clip in enumerate(("a", "b", "c")):
        for frame in range(LENGTH):
            top, left = 40 + 90 * number, 60 + 2 * frame
            image = data.coffee()[top : top + 48, left : left + width]
            write_png(folder / clip / f"{frame:08}.png", image)


def clips_suite(
    folder: Path, backbones: dict, method: str = "none", prior: str = "none", width: int = 64
) -> Suite:
    """Frames enlarged by 4, a run a backbone: trained on one clip, watched by one, tested on one."""
    write_clips(folder / "frames", width)
    params = small_params() | {"suite": "clips", "task": "video", "metrics": ["psnr"]}
    params["training"] |= {"iterations": 2, "batch": 2, "crop": 8}
    bicubic = {"name": "bicubic", "scale": 4}
    source = {"name": "clips", "path": "frames", "degrade": bicubic}
    params["data"] = {
        "train/moving": source | {"clips": ["a"]},
        "train/held": source | {"clips": ["b"]},
        "test/moving": source | {"clips": ["c"]},
    }
    params["runs"] = {}
    for name, backbone in backbones.items():
        params["runs"][name] = run({"name": method}, prior, backbone=backbone, validation="held")
    return load_params(write_params(folder, params))
