"""Masks of the Segment Anything Model (Kirillov et al. 2023), by the package's own automatic generator."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

import numpy as np
from PIL import Image
from pydantic import Field

from benchlib import assets, imageio
from benchlib.contracts import BenchError
from benchlib.files import progress, sha256
from benchlib.imageio import read_image
from benchlib.priors._meter import Meter
from benchlib.priors._store import (
    MaskSet,
    code_of,
    crop,
    from_cache,
    key_of,
    load_masks,
    mask_record,
    mask_set,
    save_masks,
    to_cache,
)

if TYPE_CHECKING:
    from segment_anything import SamAutomaticMaskGenerator

__all__ = ["ENTRIES", "Config", "build", "compute", "crop", "load", "masks_of", "record"]

ENTRIES = ("labels", "bits")
SIDE = 1024  # SAM resizes every image to this long side
ASSETS = {
    "mobilesam": ("mobilesam-encoder", "mobilesam-decoder"),
    "vit-b": ("sam-vit-b",),
    "vit-l": ("sam-vit-l",),
    "vit-h": ("sam-vit-h",),
}
load = load_masks

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


@dataclass(frozen=True)
class Config:
    """Which SAM, and how densely it is asked. Defaults are the package's, but for the grid (32 there).

    points_per_side: a grid of that many points squared prompts the model; three masks a point, then filtered.
    pred_iou_thresh, stability_score_thresh: masks that score less are dropped. box_nms_thresh: of two masks whose
    boxes overlap by a larger IoU, the one that scores less is dropped. crop_n_layers: also look at 4**i crops.
    long_side: a larger image is shrunk so that its long side, in pixels, is this; its masks are brought back to full
    size by nearest pixel. null: never (memory grows with the pixels, though SAM itself sees 1024).
    min_area: masks of fewer pixels are dropped. This is not the package's ``min_mask_region_area``, which needs
    OpenCV and removes small islands and holes within a mask.
    points_per_batch: points decoded at once; null: 64 (the package's) on a GPU, 4 on a CPU, where a small batch stays
    in the cache and is twice as fast. The masks are the same to rounding.
    """

    model: Literal["mobilesam", "vit-b", "vit-l", "vit-h"] = "mobilesam"
    points_per_side: Annotated[int, Field(ge=1, le=256)] = 8
    pred_iou_thresh: Fraction = 0.88
    stability_score_thresh: Fraction = 0.95
    box_nms_thresh: Fraction = 0.7
    crop_n_layers: Annotated[int, Field(ge=0, le=4)] = 0
    long_side: Annotated[int, Field(ge=64)] | None = 2048
    min_area: Annotated[int, Field(ge=1)] = 1
    points_per_batch: Annotated[int, Field(ge=1)] | None = None


class Generator(Protocol):
    """What :func:`compute` needs of ``SamAutomaticMaskGenerator``."""

    def generate(self, image: np.ndarray) -> list[dict[str, Any]]: ...


def build(config: Config, device: str = "auto") -> SamAutomaticMaskGenerator:
    """The package's generator, with its weights fetched; ``device`` is "auto", "cpu", "cuda" or "cuda:0"...

    Its ``generate`` takes an (H,W,3) uint8 RGB image and gives masks as uncompressed run lengths.
    Raises BenchError if the weights cannot be had or do not fit the model strictly.
    """
    from benchlib.priors._amg import MaskGenerator

    device = _device(device)
    small = 4 if device == "cpu" else 64
    return MaskGenerator(
        _model(config.model, device),
        points_per_side=config.points_per_side,
        points_per_batch=config.points_per_batch or small,
        pred_iou_thresh=config.pred_iou_thresh,
        stability_score_thresh=config.stability_score_thresh,
        box_nms_thresh=config.box_nms_thresh,
        crop_n_layers=config.crop_n_layers,
        output_mode="uncompressed_rle",
    )


def _model(name: str, device: str) -> Any:
    files = [assets.fetch(key) for key in ASSETS[name]]
    if name == "mobilesam":
        from benchlib.priors._mobilesam import mobilesam

        return mobilesam(files[0], files[1], device)
    from segment_anything import sam_model_registry

    from benchlib.assets.weights import load_weights

    sam = sam_model_registry[name.replace("-", "_")]()
    try:
        sam.load_state_dict(load_weights(files[0]), strict=True)
    except RuntimeError as error:
        raise BenchError(f"{files[0]}: not the weights of SAM {name} ({' '.join(str(error).split())})") from None
    return sam.eval().to(device)


def _device(name: str) -> str:
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name != "cpu" and not (name.startswith("cuda") and torch.cuda.is_available()):
        raise BenchError(f"device {name}: not here; may be auto, cpu" + (", cuda" if torch.cuda.is_available() else ""))
    return name


def record(config: Config, device: str = "auto") -> dict:
    """What ``prior.json`` says of the model: settings, the weights' SHA-256, device and versions."""
    from importlib.metadata import version

    return {
        "prior": "sam",
        "config": dataclasses.asdict(config),
        "weights": _weights(config.model),
        "device": _device(device),
        "memory_by": Meter(_device(device)).by,
        "versions": {name: version(name) for name in ("segment-anything", "torch", "torchvision", "onnxruntime")},
    }


def _code() -> str:
    here = Path(__file__)
    own = (here.with_name(f"_{name}.py") for name in ("store", "amg", "mobilesam"))
    return code_of(here, *own, Path(imageio.__file__))


def _weights(model: str) -> dict[str, str]:
    return {name: sha256(assets.fetch(name)) for name in ASSETS[model]}


def masks_of(image: np.ndarray, generator: Generator, config: Config) -> MaskSet:
    """The masks of an (H,W,3) uint8 RGB image, largest first, among equal areas in the generator's order."""
    import torch
    from segment_anything.utils.amg import rle_to_mask

    shape = image.shape[:2]
    small = _shrink(image, config.long_side)
    with torch.inference_mode():
        found = generator.generate(small)
    rows, columns = (_nearest_index(full, part) for full, part in zip(shape, small.shape[:2], strict=True))

    def mask(i: int) -> np.ndarray:  # decoded anew each time, so that one mask at a time is in memory
        return rle_to_mask(found[i]["segmentation"])[rows[:, None], columns]

    areas = [int(mask(i).sum()) for i in range(len(found))]
    keep = [i for i, area in enumerate(areas) if area >= config.min_area and np.isfinite(found[i]["stability_score"])]
    keep.sort(key=lambda i: -areas[i])
    scores = [np.array([found[i][name] for i in keep]) for name in ("predicted_iou", "stability_score")]
    return mask_set((mask(i) for i in keep), shape, *scores)


def _shrink(image: np.ndarray, long_side: int | None) -> np.ndarray:
    """The image, resized (antialiased) if its long side is over ``long_side``."""
    height, width = image.shape[:2]
    if long_side is None or max(height, width) <= long_side:
        return image
    scale = long_side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.array(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))


def _check_size(image: np.ndarray, config: Config) -> None:
    """Refuse an image whose short side SAM's own resizing would round to nothing."""
    short, long = sorted(_shrink(image, config.long_side).shape[:2])
    if int(short * SIDE / long + 0.5) < 1:
        raise BenchError(
            f"{image.shape[0]}x{image.shape[1]} pixels: too narrow for SAM, which resizes the long side to {SIDE}; "
            f"crop the image, or set long_side to at most {2 * SIDE}"
        )


def _nearest_index(full: int, part: int) -> np.ndarray:
    """For every pixel centre of ``full`` the pixel of ``part`` it falls in."""
    return (2 * np.arange(full) + 1) * part // (2 * full)


def compute(
    images: dict[str, Path],
    out: Path,
    config: Config,
    *,
    device: str = "auto",
    resume: Path | None = None,
    generator: Generator | None = None,
) -> list[dict]:
    """Write ``out/<name>.npz`` for every image (name -> file), and return one record an image, in order.

    resume: a folder that keeps finished images by what they were made from (pixels, settings, weights, device), so
    that a killed run, or one with unchanged images, does only what is left. generator: in place of ``build(config)``.
    A record: image (its name), height, width, n_masks, regions, area_min, area_median, area_max (pixels),
    coverage (fraction of pixels in any mask), predicted_iou, stability (means, None without masks), seconds and
    peak_mib (when it was computed; memory over the loaded model's), sha256 (of the pixels), refused (None, or why there
    is no file: the other images still get done, and a last line names the refused).
    """
    made_from: dict[str, Any] = {"config": dataclasses.asdict(config)}
    if generator is None:
        made_from |= record(config, device) | {"code": _code()}
    out.mkdir(parents=True, exist_ok=True)
    records: list[dict[str, Any]] = []
    meter: Meter | None = None
    for name, path in progress(images.items(), f"{config.model} masks", total=len(images)):
        file = out / f"{name}.npz"
        try:
            image = read_image(path)
            _check_size(image, config)
        except BenchError as error:
            file.unlink(missing_ok=True)  # of an earlier, readable image of that name
            records.append({"image": name, "refused": str(error)})
            continue
        key, pixels = key_of(made_from, image)
        facts = from_cache(resume, key, file)
        if facts is None:
            generator = generator or build(config, device)
            meter = meter or Meter(_device(device))
            facts = {**_make(image, generator, config, file, meter), "sha256": pixels}
            to_cache(resume, key, file, facts)
        records.append({"image": name, **facts, "refused": None})
    refused = [r["image"] for r in records if r["refused"]]
    if refused:
        print(f"{config.model} masks: refused {len(refused)} of {len(images)} images: {', '.join(refused)}")
    return records


def _make(image: np.ndarray, generator: Generator, config: Config, file: Path, meter: Meter) -> dict:
    with meter.image() as taken:
        masks = masks_of(image, generator, config)
        save_masks(file, masks)
    return mask_record(masks) | {
        "predicted_iou": float(masks.predicted_iou.mean()) if len(masks) else None,
        "stability": float(masks.stability.mean()) if len(masks) else None,
        **taken,
    }
