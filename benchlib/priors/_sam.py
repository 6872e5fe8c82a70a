"""SAM by name: what masks and embeddings are both computed by."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Literal

import numpy as np

from benchlib import assets
from benchlib.contracts import BenchError
from benchlib.files import sha256
from benchlib.priors import _features, _weights

VERSION = 1
USES = {"priors/_features.py": 1, "priors/_mobilesam.py": 1, "priors/_weights.py": 1}
SIDE = 1024  # SAM resizes every image to this long side
ASSETS = {
    "mobilesam": ("mobilesam-encoder", "mobilesam-decoder"),
    "vit-b": ("sam-vit-b",),
    "vit-l": ("sam-vit-l",),
    "vit-h": ("sam-vit-h",),
}
Model = Literal["mobilesam", "vit-b", "vit-l", "vit-h"]
PACKAGES = ("segment-anything", "torch", "torchvision", "onnxruntime")


def load_sam(name: str, device: str) -> Any:
    """``segment_anything``'s network in evaluation mode, with its weights fetched.

    Raises BenchError if the weights cannot be had or do not fit the model strictly.
    """
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
        said = " ".join(str(error).split())
        raise BenchError(f"{files[0]}: not the weights of SAM {name} ({said})") from None
    return sam.eval().to(device)


def random_sam(name: str, seed: int, device: str) -> tuple[Any, str]:
    """The network whose image encoder has learnt nothing, and the SHA-256 of what was drawn.

    It gives embeddings; the rest of MobileSAM is left as it is made. MobileSAM's own file says what
    its encoder is made of, and is fetched.
    Raises BenchError if it cannot be had.
    """
    from segment_anything import sam_model_registry

    if name == "mobilesam":
        from segment_anything.modeling import Sam

        from benchlib.priors._mobilesam import random_encoder

        encoder, drawn = random_encoder(assets.fetch(ASSETS[name][0]), seed, device)
        return Sam(encoder, None, None).eval().to(device), drawn
    sam = sam_model_registry[name.replace("-", "_")]()
    _features.randomise(sam.image_encoder, seed, None)
    return sam.eval().to(device), _weights.digest(sam.image_encoder)


def check_size(image: np.ndarray, advice: str) -> None:
    """Refuse an image whose short side SAM's own resizing would round to nothing."""
    short, long = sorted(image.shape[:2])
    if int(short * SIDE / long + 0.5) < 1:
        raise BenchError(
            f"{image.shape[0]}x{image.shape[1]} pixels: too narrow for SAM, which resizes the long "
            f"side to {SIDE}; {advice}"
        )


def sam_record(model: str) -> dict[str, Any]:
    """The weights' SHA-256 and the packages' versions."""
    hashes = {name: sha256(assets.fetch(name)) for name in ASSETS[model]}
    return {"weights": hashes, "versions": versions()}


def versions() -> dict[str, str]:
    """The versions of the packages that run it."""
    return {name: version(name) for name in PACKAGES}
