"""A suite of many pairs with masks, for timing what training reads.

``python tests/many_pairs.py <pairs> <workers> [<height> <width>]`` says how many crops a second
each way of keeping pairs gives; 720p where no size is said.
"""

from __future__ import annotations

import shutil
import struct
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from benchlib.files import sha256
from benchlib.params import Suite
from benchlib.plan import open_run
from benchlib.priors.kinds import masks
from benchlib.records import write_json, write_table

DISTINCT = 4  # pictures and mask sets; each pair is a copy of one, and another file nevertheless
MASKS = 60
CELLS = 8  # of the grid that masks begin as, in each direction
END = 12  # bytes of a PNG's last chunk


def many_pairs(folder: Path, count: int, shape: tuple[int, int], crop: int = 256) -> Suite:
    """A suite whose run ``map`` trains on ``count`` pairs, as its stages before would leave it."""
    network = {"name": "nafnet", "width": 4, "encoder": [1], "middle": 1, "decoder": [1]}
    raw = {
        "suite": "many",
        "task": "image",
        "metrics": ["psnr"],
        "training": {"iterations": count, "batch": 8, "crop": crop},
        "evaluation": {},
        "data": {"train/pairs": {"name": "folder"}, "test/pairs": {"name": "folder"}},
        "weights": {"random": {"asset": None}},
        "priors": {
            "sam": {"kind": "masks", "images": "data/train", "prior": {"name": "sam"}},
        },
        "runs": {
            "map": {
                "backbone": network,
                "method": {"name": "map"},
                "images": {"train": "train", "test": "test"},
                "prior": {"train": "sam", "test": "sam"},
                "init": "weights/random",
            }
        },
    }
    suite = Suite.model_validate(raw).model_copy(update={"folder": folder.resolve()})
    _write_pairs(suite.work / "data" / "train" / "pairs", count, shape)
    _write_masks(suite.work / "priors" / "sam", count, shape)
    return suite


def picture(shape: tuple[int, int], seed: int) -> np.ndarray:
    """Soft shapes and a little noise: a PNG of it is about as large as a photograph's."""
    rng = np.random.default_rng(seed)
    soft = gaussian_filter(rng.normal(size=(*shape, 3)), (12, 12, 0)) * 900 + 128
    return np.clip(soft + rng.normal(0, 3, soft.shape), 0, 255).astype(np.uint8)


def _write_pairs(folder: Path, count: int, shape: tuple[int, int]) -> None:
    height, width = shape
    pngs = []
    for seed in range(2 * DISTINCT):
        file = folder / f"{seed}.png"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(shape, seed)).save(file)
        pngs.append(file.read_bytes())
        file.unlink()
    rows = []
    for i in range(count):
        row = {"image": f"i{i}", "asset": "", "source": f"i{i}", "pixels": "", "scale": 1}
        for side, png in (("lq", pngs[i % DISTINCT]), ("hq", pngs[DISTINCT + i % DISTINCT])):
            file = folder / side / f"i{i}.png"
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(_other_file(png, i))
            row |= {side: f"{side}/i{i}.png", f"sha256_{side}": sha256(file)}
        rows.append(row | {"height": height, "width": width})
    write_table(folder / "manifest.csv", list(rows[0]), rows)


def _other_file(png: bytes, number: int) -> bytes:
    """The same picture with a comment in the file."""
    comment = b"tEXt" + f"number\0{number}".encode()
    chunk = struct.pack(">I", len(comment) - 4) + comment + struct.pack(">I", zlib.crc32(comment))
    return png[:-END] + chunk + png[-END:]


def _write_masks(folder: Path, count: int, shape: tuple[int, int]) -> None:
    files = []
    for seed in range(DISTINCT):
        files.append(folder / f"{seed}.npz")
        masks.save(files[-1], _some_masks(shape, seed))
    records = []
    for i in range(count):
        file = folder / "pairs" / f"i{i}.npz"
        file.parent.mkdir(exist_ok=True)
        shutil.copyfile(files[i % DISTINCT], file)
        with zipfile.ZipFile(file, "a") as archive:
            archive.comment = str(i).encode()
        records.append({"dataset": "pairs", "image": f"i{i}", "refused": None, "scene": f"i{i}"})
    for file in files:
        file.unlink()
    write_json(folder / "prior.json", {"images": records})


def _some_masks(shape: tuple[int, int], seed: int) -> masks.MaskSet:
    """Fields of a grid whose lines are bent."""
    rng = np.random.default_rng(seed)
    bent = gaussian_filter(rng.normal(size=(2, *shape)), (0, 20, 20)) * 2000
    rows, columns = (np.indices(shape) + bent).clip(0)
    cells = (CELLS * rows / shape[0]).astype(int).clip(0, CELLS - 1) * CELLS
    cells += (CELLS * columns / shape[1]).astype(int).clip(0, CELLS - 1)
    found = [cells == i for i in range(MASKS) if (cells == i).any()]
    scores = rng.random(len(found))
    return masks.mask_set(found, shape, scores, scores)


if __name__ == "__main__":
    from benchlib.report import speed

    pairs, workers = int(sys.argv[1]), int(sys.argv[2])
    size = (720, 1280)
    if len(sys.argv) == 5:
        size = (int(sys.argv[3]), int(sys.argv[4]))
    with tempfile.TemporaryDirectory() as name:
        suite = many_pairs(Path(name), pairs, size)
        print(speed.loader(open_run(suite, "map"), workers, count=4 * pairs).round(1).to_string())
