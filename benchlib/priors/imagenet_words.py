"""The names of the classes of ImageNet that EfficientNet-Lite0 finds an image most like: what the
photograph shows, in the words of a small classifier.

It stands where LMDIR has a language model's description of the content, and is none: it knows a
thousand nouns, most of them animals and things, and no sentence. The names are torchvision's.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from benchlib.priors import _features, _weights, _words, efficientnet_lite0
from benchlib.priors._words import Said, Speaker, Words
from benchlib.priors.kinds.tokens import Tokens

VERSION = 1
USES = {
    "priors/_features.py": 1,
    "priors/_weights.py": 1,
    "priors/_words.py": 1,
    "priors/efficientnet_lite0.py": 1,
}
KIND = "tokens"
SHOWN = "the words of an ImageNet classifier"
PATHS = ("file",)


@dataclass(frozen=True)
class Config(_words.Encoded):
    """count: how many names, the likeliest first. classifier: its weights, an entry of the
    catalogue, or "random": the control, which says names by chance. The rest is the encoder's.
    """

    count: Annotated[int, Field(ge=1, le=20)] = 3
    classifier: str = efficientnet_lite0.ASSET

    def __post_init__(self) -> None:
        super().__post_init__()
        _weights.Weights(self.classifier)


def stands_in(config: Config) -> bool:
    """Whether it is a control in another prior's place: classifier or encoder learnt nothing."""
    return config.classifier == _weights.RANDOM or _words.stands_in(config)


def _classifier(config: Config) -> efficientnet_lite0.Config:
    return efficientnet_lite0.Config(config.classifier, config.seed)


def assets(config: Config) -> tuple[str, ...]:
    """The catalogue's entries that it fetches."""
    return (*_words.entries(config), *efficientnet_lite0.assets(_classifier(config)))


def open(config: Config, device: str) -> Callable[[np.ndarray], Tokens]:
    """From an ``(H,W,3)`` uint8 RGB image to the tokens of its likeliest classes' names.

    Raises BenchError if classifier or encoder cannot be had.
    """
    return Speaker(words(config, device), config, device)


def words(config: Config, device: str) -> Words:
    """From an ``(H,W,3)`` uint8 RGB image to its likeliest classes' names, joined by commas."""
    import torch

    network: Any = efficientnet_lite0.build(_classifier(config)).to(device)
    known = names()

    def say(image: np.ndarray) -> Said:
        features = efficientnet_lite0.features(image, network, device).values
        with torch.inference_mode():
            scores = network._fc(torch.from_numpy(features).to(device)).softmax(0).cpu()
        likeliest = scores.topk(config.count)
        said = ", ".join(known[place] for place in likeliest.indices.tolist())
        return Said(said, {"likeliest": round(float(likeliest.values[0]), 4)})

    return say


@lru_cache(maxsize=1)
def names() -> tuple[str, ...]:
    """The thousand classes' names in ImageNet's order, as torchvision's weights carry them."""
    from torchvision.models import MobileNet_V2_Weights

    return tuple(MobileNet_V2_Weights.IMAGENET1K_V1.meta["categories"])


def record(config: Config, device: str) -> dict[str, Any]:
    """Settings, the classifier's weights, the names' SHA-256, the encoder, versions."""
    classifier = _classifier(config)
    listed = hashlib.sha256("\n".join(names()).encode()).hexdigest()
    return {
        "config": dataclasses.asdict(config),
        "classifier": {
            "model": "EfficientNet-Lite0",
            "weights": _weights.hashes(classifier, efficientnet_lite0.build),
            "input": efficientnet_lite0.SIDE,
            "names": f"torchvision's, SHA-256 {listed}",
            "versions": _features.packages("torchvision"),
        },
    } | _words.record(config)
