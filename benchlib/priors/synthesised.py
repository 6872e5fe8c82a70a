"""A reference picture that a diffusion model paints of what is said of the image.

LMDIR (He et al. 2024) has Stable Diffusion XL 1.0 paint it in 30 steps, the content as the prompt
and the degradation as the negative prompt, both from a language model. Here any text-to-image
pipeline of diffusers paints, and any prior of words may say both. The paper names no size, seed or
guidance: the seed is drawn by the image's name, the rest are settings, diffusers' defaults.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from benchlib.contracts import BenchError, shortened
from benchlib.params import configure
from benchlib.priors import _features, _weights
from benchlib.priors.kinds.picture import Picture
from benchlib.seeding import name_seed

VERSION = 1
USES = {
    "priors/_features.py": 1,
    "priors/_weights.py": 1,
    "priors/degradation_words.py": 1,
    "priors/imagenet_words.py": 1,
    "priors/mllm.py": 1,
    "priors/named_degradation.py": 1,
    "priors/written.py": 1,
}
KIND = "picture"
SHOWN = "pictures that a diffusion model painted"
PATHS = ("folder",)
INDEX = "model_index.json"
SAYS = ("content", "degradation")


def _written() -> dict[str, Any]:
    return {"name": "written"}


@dataclass(frozen=True)
class Config(_weights.Folder):
    """folder, sha256: a text-to-image pipeline of diffusers (``_weights.Folder``), such as SDXL's.

    content: a prior of words with its settings, whose words are the prompt; degradation: another,
    the negative prompt; ``{}`` leaves that out. Paths in them begin with / or ~. steps, guidance:
    of the painting. side: of the square that is painted, kept_side: to which it is resized, pixels.
    seed: with the image's name, of the noise.
    """

    content: dict[str, Any] = field(default_factory=_written)
    degradation: dict[str, Any] = field(default_factory=dict)
    steps: Annotated[int, Field(ge=1, le=1000)] = 30
    guidance: Annotated[float, Field(ge=0, le=100)] = 5.0
    side: Annotated[int, Field(ge=8, le=4096, multiple_of=8)] = 1024
    kept_side: Annotated[int, Field(ge=8, le=4096)] = 256
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for part in SAYS:
            _speaker(self, part)


def _speaker(config: Config, part: str) -> tuple[Any, Any] | None:
    """(the file, its settings) of the prior that says a part; None for none.

    Raises BenchError for a prior that says nothing, and for a relative path in its settings.
    """
    choice = getattr(config, part)
    if not choice:
        return None
    module, settings = configure("priors", choice, part)
    if not hasattr(module, "words"):
        raise BenchError(f"{part}.name: {choice['name']} says no words; take written or mllm")
    for name in module.PATHS:
        path = getattr(settings, name)
        if path is not None and not Path(path).expanduser().is_absolute():
            raise BenchError(f"{part}.{name}: got {path!r}; begin it with / or ~")
    return module, settings


def told(config: Config, dataset: str, image: str) -> dict[str, Any]:
    """An image's seed, and what those who speak are told of it. Raises BenchError as they do."""
    found: dict[str, Any] = {"seed": name_seed("synthesised", config.seed, dataset, image)}
    for part in SAYS:
        speaker = _speaker(config, part)
        if speaker is not None and hasattr(speaker[0], "told"):
            found[part] = speaker[0].told(speaker[1], dataset, image)
    return found


def assets(config: Config) -> tuple[str, ...]:
    """The catalogue's entries that those who speak fetch."""
    found: list[str] = []
    for part in SAYS:
        speaker = _speaker(config, part)
        if speaker is not None:
            found += speaker[0].assets(speaker[1])
    return tuple(dict.fromkeys(found))


def drawn_from(config: Config) -> list[dict[str, Any]]:
    """The images that those who speak were made from."""
    found: list[dict[str, Any]] = []
    for part in SAYS:
        speaker = _speaker(config, part)
        if speaker is not None and hasattr(speaker[0], "drawn_from"):
            found += speaker[0].drawn_from(speaker[1])
    return found


def open(config: Config, device: str) -> Callable[..., Picture]:
    """From an ``(H,W,3)`` uint8 RGB image, and what is told of it, to a painted picture.

    Raises BenchError without diffusers or the folder, or if it holds other weights.
    """
    return Painter(config, device)


class Painter:
    """Paints picture after picture; ``notes``: of the last one."""

    def __init__(self, config: Config, device: str) -> None:
        self.config = config
        self.words: dict[str, Any] = {}
        for part in SAYS:
            speaker = _speaker(config, part)
            if speaker is not None:
                self.words[part] = speaker[0].words(speaker[1], device)
        self.pipeline = pipeline(config).to(device)
        taken = inspect.signature(self.pipeline.__call__).parameters
        if "degradation" in self.words and "negative_prompt" not in taken:
            kind = type(self.pipeline).__name__
            raise BenchError(f"synthesised: {kind} takes no negative prompt; set degradation: {{}}")
        self.said: dict[str, Any] = {}

    def __call__(self, image: np.ndarray, told: dict[str, Any]) -> Picture:
        import torch
        from PIL import Image

        self.said = {"seed": told["seed"]}
        for part, say in self.words.items():
            more = [told[part]] if part in told else []
            self.said[part] = say(image, *more).text
        given: dict[str, Any] = {}
        if "degradation" in self.said:
            given["negative_prompt"] = self.said["degradation"]
        painted = self.pipeline(
            prompt=self.said.get("content", ""),
            num_inference_steps=self.config.steps,
            guidance_scale=self.config.guidance,
            height=self.config.side,
            width=self.config.side,
            generator=torch.Generator().manual_seed(told["seed"]),
            output_type="pil",
            **given,
        ).images[0]
        size = (self.config.kept_side, self.config.kept_side)
        small = painted.convert("RGB").resize(size, Image.Resampling.BICUBIC)
        return Picture(np.array(small), aligned=False)

    def notes(self) -> dict[str, Any]:
        """The seed, the prompt ("content") and the negative prompt ("degradation")."""
        return self.said


def parts_of(config: Config) -> tuple[str, ...]:
    """The parts of the pipeline's folder that hold weights.

    Raises BenchError if the folder is not named, or is no pipeline's.
    """
    if config.folder is None:
        _weights.folder_of(config, "synthesised", ())
    folder = Path(str(config.folder)).expanduser()
    try:
        names = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        said = shortened(str(error), 200)
        raise BenchError(f"synthesised: {folder}: no {INDEX} of diffusers ({said})") from None
    return tuple(name for name in sorted(names) if list((folder / name).glob(_weights.WEIGHTS)))


def pipeline(config: Config) -> Any:
    """The pipeline of the folder, on the CPU. Raises BenchError if it cannot be had."""
    folder = _weights.folder_of(config, "synthesised", parts_of(config))
    diffusers = _weights.extra("diffusers", "synthesised")
    try:
        found = diffusers.AutoPipelineForText2Image.from_pretrained(
            folder, use_safetensors=True, local_files_only=True
        )
    except (OSError, ValueError, KeyError, ImportError, AttributeError) as error:
        said = shortened(str(error), 300)
        raise BenchError(f"synthesised: {folder}: no text-to-image pipeline ({said})") from None
    found.set_progress_bar_config(disable=True)
    return found


def record(config: Config, device: str) -> dict[str, Any]:
    """Settings, the weights' SHA-256, who speaks, versions. Prompts stand with their images."""
    parts = parts_of(config)
    folder = _weights.folder_of(config, "synthesised", parts)
    index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    about: dict[str, Any] = {
        "config": dataclasses.asdict(config),
        "model": f"{folder.name}, {index.get('_class_name')}",
        "weights": {" and ".join(parts): str(config.sha256)},
        "versions": _features.packages("diffusers", "transformers"),
    }
    for part in SAYS:
        speaker = _speaker(config, part)
        if speaker is not None:
            about[part] = speaker[0].record(speaker[1], device)
    return about
