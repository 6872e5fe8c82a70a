"""The word for what is wrong with an image, as a small classifier says it that was trained here on
examples of each degradation.

It stands where LMDIR has a language model's description of the degradation, and knows no words but
those that it was given: logistic regression on 68 numbers of an image, which are the energy of each
frequency of its 8x8 blocks and its mean colour and contrast. Its examples are named in the
settings: pairs of a data set's training split, or photographs degraded here. How often it is right
about photographs that it was not trained on stands in the record.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import Field

from benchlib import assets as catalogue
from benchlib import registry
from benchlib.assets.entry import Table
from benchlib.assets.pinned import entry_hash
from benchlib.contracts import BenchError, nearest
from benchlib.imageio import read_image
from benchlib.params import configure
from benchlib.priors import _words
from benchlib.priors._words import Said, Speaker, Words
from benchlib.priors.kinds.tokens import Tokens
from benchlib.seeding import name_rng

VERSION = 1
USES = {"priors/_words.py": 1}
KIND = "tokens"
SHOWN = "the words of a classifier of degradations"
PATHS = ("file",)
KEYS = ("asset", "split", "degrade")
BLOCK = 8  # pixels
FLOOR = 1e-3  # grey levels squared: below that a frequency is empty
FOLDS = 4
EXAMPLE = {
    "examples": {
        "noise": {"asset": "astronaut", "degrade": {"name": "gaussian_noise", "sigma": 50.0}},
        "no degradation": {"asset": "astronaut"},
    },
    "weights": "random",
}


@dataclass(frozen=True)
class Config(_words.Encoded):
    """examples: a word -> where images are that it is right about: ``{asset: NAME, split: train}``,
    the degraded side of a data set's pairs; ``{asset: NAME, degrade: {name: ...}}``, photographs of
    the catalogue degraded here; without ``degrade`` as they are. most: images a word, the first.
    The rest says how the word becomes tokens.
    """

    examples: dict[str, dict[str, Any]] = field(default_factory=dict)
    most: Annotated[int, Field(ge=1, le=10000)] = 60

    def __post_init__(self) -> None:
        super().__post_init__()
        for word, where in self.examples.items():
            _check(f"examples.{word}", where)


def _check(at: str, where: dict[str, Any]) -> None:
    """Raise BenchError for examples that cannot be, or that come from a test."""
    for key in where:
        if key not in KEYS:
            raise BenchError(f"{at}.{key}: unknown key; {nearest(key, KEYS)}")
    if not isinstance(where.get("asset"), str):
        raise BenchError(f"{at}.asset: missing; name an entry of the catalogue")
    catalogue.find(where["asset"])
    if "split" in where and "degrade" in where:
        raise BenchError(f"{at}: got split and degrade; pairs are degraded already, give one")
    if where.get("split") == "test":
        raise BenchError(f"{at}.split: got 'test'; nothing is trained on a test's images")
    if "degrade" in where:
        if not isinstance(where["degrade"], dict):
            raise BenchError(f"{at}.degrade: expected a mapping with a name")
        configure("degrade", where["degrade"], f"{at}.degrade")


def stands_in(config: Config) -> bool:
    """Whether it is a control in another prior's place: an encoder that has learnt nothing."""
    return _words.stands_in(config)


def assets(config: Config) -> tuple[str, ...]:
    """The catalogue's entries that it fetches."""
    named = [where["asset"] for where in config.examples.values()]
    return (*_words.entries(config), *dict.fromkeys(named))


def drawn_from(config: Config) -> list[dict[str, Any]]:
    """The images that it learns from, as entries of ``data`` would name them."""
    found: list[dict[str, Any]] = []
    for where in config.examples.values():
        if "split" in where:
            found.append({"asset": where["asset"], "split": where["split"]})
        else:
            found.append({"images": [where["asset"]]})
    return found


def open(config: Config, device: str) -> Callable[[np.ndarray], Tokens]:
    """From an ``(H,W,3)`` uint8 RGB image to the tokens of the likeliest word.

    Raises BenchError for fewer than two words, or if examples or encoder cannot be had.
    """
    return Speaker(words(config, device), config, device)


def words(config: Config, device: str) -> Words:
    """From an ``(H,W,3)`` uint8 RGB image to the likeliest word; its probability in the notes."""
    classifier = _trained(json.dumps(config.examples), config.most).classifier

    def say(image: np.ndarray) -> Said:
        shares = classifier.predict_proba(numbers(image)[None])[0]
        best = int(shares.argmax())
        return Said(str(classifier.classes_[best]), {"likeliest": round(float(shares[best]), 4)})

    return say


def record(config: Config, device: str) -> dict[str, Any]:
    """Settings, the examples' hashes, how often it is right, the encoder, versions."""
    trained = _trained(json.dumps(config.examples), config.most)
    hashes: dict[str, str] = {}
    versions: dict[str, str | int] = {
        "scikit-learn": _version("scikit-learn"),
        "scipy": _version("scipy"),
    }
    for where in config.examples.values():
        hashes[where["asset"]] = entry_hash(catalogue.find(where["asset"]))
        if "degrade" in where:
            file = f"degrade/{where['degrade']['name']}.py"
            versions[file] = registry.version(file)
    return {
        "config": dataclasses.asdict(config),
        "classifier": {
            "model": "logistic regression on 68 statistics of an image",
            "examples": trained.counts,
            "right": trained.right,
            "assets": hashes,
            "versions": versions,
        },
    } | _words.record(config)


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package)


def numbers(image: np.ndarray) -> np.ndarray:
    """The 68 numbers that the classifier reads of an ``(H,W,3)`` uint8 RGB image.

    Logarithms of the mean energy of each frequency of the 8x8 blocks of its luma, mean R, G and B,
    and the luma's standard deviation. Raises BenchError for an image smaller than a block.
    """
    from scipy.fft import dctn

    height, width = (side - side % BLOCK for side in image.shape[:2])
    if not height or not width:
        raise BenchError(f"an image of {image.shape[1]}x{image.shape[0]}; expected 8x8 or more")
    luma = image.astype(np.float64) @ (0.299, 0.587, 0.114)
    cut = luma[:height, :width].reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    energy = (dctn(cut.swapaxes(1, 2), axes=(2, 3), norm="ortho") ** 2).mean((0, 1))
    colour = [*image.mean((0, 1)) / 64, luma.std() / 32]
    return np.concatenate([np.log(energy + FLOOR).ravel(), colour])


# --- training -------------------------------------------------------------------------------------


class Trained(NamedTuple):
    """classifier: of scikit-learn. counts: word -> images. right: share of images that it is right
    about when their photographs were left out of training; None where there are too few.
    """

    classifier: Any
    counts: dict[str, int]
    right: float | None


@lru_cache(maxsize=4)  # the record asks for it too
def _trained(examples: str, most: int) -> Trained:
    """Raises BenchError for fewer than two words, or examples that cannot be had."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    named: dict[str, dict[str, Any]] = json.loads(examples)
    if len(named) < 2:
        raise BenchError("degradation_words: needs examples of two words at least (docs/words.md)")
    read, answers, photographs = [], [], []
    for word, where in named.items():
        for photograph, image in _images(word, where, most):
            read.append(numbers(image))
            answers.append(word)
            photographs.append(photograph)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    given, wanted = np.stack(read), np.array(answers)
    right = None
    if len(set(photographs)) >= 2 * FOLDS:
        folds = GroupKFold(FOLDS)
        guessed = cross_val_predict(classifier, given, wanted, groups=photographs, cv=folds)
        right = round(float((guessed == wanted).mean()), 4)
    counts = {word: answers.count(word) for word in named}
    return Trained(classifier.fit(given, wanted), counts, right)


def _images(word: str, where: dict[str, Any], most: int) -> list[tuple[str, np.ndarray]]:
    """(what it shows, an image as a restorer would get it) of one word's examples."""
    asset = where["asset"]
    found = []
    if "split" in where:
        files = catalogue.pairs(asset, where["split"])[:most]
        shown = _rows(asset, where["split"], files)
        for (lq, _), (scene, turned) in zip(files, shown, strict=True):
            found.append((f"{asset}/{scene}", np.rot90(read_image(lq), -turned)))
        return found
    for file in catalogue.images(asset)[:most]:
        image = read_image(file)
        if "degrade" in where:
            image = _degraded(image, where["degrade"], word, file)
        found.append((f"{asset}/{file.name}", image))
    return found


def _rows(asset: str, split: str, files: list[tuple[Path, Path]]) -> list[tuple[str, int]]:
    """Of each pair what it shows, and by how many quarters of a turn it is stored."""
    layout = catalogue.find(asset).layout[split]
    if not isinstance(layout, Table):
        return [(hq.name, 0) for _, hq in files]
    rows = layout.table[: len(files)]
    return [(row.source or row.image, row.turned) for row in rows]


def _degraded(image: np.ndarray, choice: dict[str, Any], word: str, file: Path) -> np.ndarray:
    """As 8 bits hold it, since that is what a prior is given."""
    module, config = configure("degrade", choice, f"examples.{word}.degrade")
    if module.NEEDS_REGION:
        raise BenchError(f"examples.{word}.degrade: {choice['name']} needs a region; take another")
    given = module.degrade(image, config, name_rng("degradation_words", word, file.name))
    if given.dtype == np.uint8:
        return given
    return np.rint(np.clip(given, 0, 1) * 255).astype(np.uint8)
