"""Does a run obey? Pictures of two degradations, one removed by an instruction, then the other (LMDIR, Figure 9).

Layer 4. ``notebooks/lmdir.ipynb`` calls this. Sharp photographs of the run's test are degraded twice here; so the picture
that only the other degradation is left in is known, and PSNR to it says how far the instruction was followed. Beside it
stands what the other instruction, and no words at all, give: a network that removes whatever it finds does not obey.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from benchlib import registry
from benchlib.contracts import BenchError, nearest
from benchlib.imageio import quantise, read_image, write_png
from benchlib.params import configure
from benchlib.priors.kinds import tokens
from benchlib.records import Pair
from benchlib.report import explore, instruction
from benchlib.report.instruction import Told
from benchlib.report.show import side_by_side
from benchlib.report.statistics import interval
from benchlib.restore import check_trained
from benchlib.seeding import name_rng

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from benchlib.params import Suite
    from benchlib.plan import RunPlan

# what is said of it -> a file of ``degrade`` and its settings. Darkness without noise: that is the other one's
DEGRADATIONS: dict[str, dict[str, Any]] = {
    "noise": {"name": "promptir_noise", "sigma": 25.0},
    "rain": {"name": "rain"},
    "low light": {"name": "low_light", "exposure": 0.15, "least": 1.0, "full_well": 0.0},
}
MIXTURES = (
    ("low light", "noise"),
    ("rain", "noise"),
)  # Figure 9's, in the order in which they befall a picture
PHRASE = "{}"  # what is said: the word that the networks here are told; "remove the {}" is a user's
NOTHING = "nothing"  # said: tokens of zeros
SHARP = "sharp"
Mixture = tuple[str, str]
Pictures = dict[str, np.ndarray]  # image's name -> (H,W,3) uint8


class Asked(NamedTuple):
    """One picture that is restored: of which mixture, what is left in it ("both" or "without noise"), what is said."""

    mixture: Mixture
    given: str
    said: str
    image: str


@dataclass(frozen=True)
class Measured:
    """What a run made of mixtures.

    rows: a line a picture, what it was given, what was asked for, and what was said. Columns: mixture, image, scene,
    given ("both", or what is left of it: "without noise"), asked (the degradation to remove), target (what should be left),
    said (a word or NOTHING), psnr (dB, of what came out to the target), before (of the picture given).
    shown: (mixture, image) -> pictures in the order of Figure 9, by their titles.
    """

    rows: pd.DataFrame
    shown: dict[tuple[str, str], dict[str, np.ndarray]] = field(repr=False)


def measure(
    suite: Suite,
    key: str,
    count: int = 4,
    side: int = 192,
    phrase: str = PHRASE,
    part: str = "",
    mixtures: Sequence[Mixture] = MIXTURES,
    degradations: Mapping[str, Mapping[str, Any]] = DEGRADATIONS,
) -> Measured:
    """Restore mixtures by each instruction, and what came out by each once more; a trained run's first seed.

    count: photographs, the first of different scenes, of each test set in turn. side: pixels of the square that is cut
    from the middle of each. phrase: what is said; ``{}`` is the degradation's word. part: as ``instruction.part_of``.
    Raises BenchError for a run that reads no words or is not trained, a phrase that cannot be said, or a mixture of what
    is not among the degradations.
    """
    from benchlib.plan import open_run

    for word in chain.from_iterable(mixtures):
        if word not in degradations:
            raise BenchError(f"mixtures: no degradation {word!r}; {nearest(word, degradations)}")
    plan = open_run(suite, key)
    part = instruction.part_of(suite, plan, part)
    check_trained(plan, plan.entry.seeds[0])
    words = _instructions(suite, plan, part, phrase, mixtures)
    pairs = sharp_pairs(plan, count)
    sharp = photographs(pairs, side)
    states = {mixture: _states(sharp, mixture, degradations) for mixture in mixtures}
    made = _both_steps(suite, plan, states, part, words)
    rows: list[dict[str, Any]] = []
    shown: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    for mixture in mixtures:
        rows += _rows(mixture, states[mixture], made[mixture])
        shown |= _shown(mixture, states[mixture], made[mixture])
    table = pd.DataFrame(rows)
    scenes = {name: pair.scene or pair.key for name, pair in pairs.items()}
    table.insert(2, "scene", table["image"].map(scenes))
    return Measured(table, shown)


def _instructions(
    suite: Suite, plan: RunPlan, part: str, phrase: str, mixtures: Sequence[Mixture]
) -> dict[str, tokens.Tokens]:
    """Of each degradation what is said to remove it; NOTHING: tokens of zeros, as many as the first's."""
    if "{}" not in phrase:
        raise BenchError(f"phrase: got {phrase!r}; write {{}} where the degradation's word stands")
    found = {}
    for word in dict.fromkeys(chain.from_iterable(mixtures)):
        found[word] = instruction.words_of(suite, plan, phrase.replace("{}", word), part)
    first = next(iter(found.values()))
    return found | {NOTHING: tokens.zeroed(first)}


def sharp_pairs(plan: RunPlan, count: int) -> dict[str, Pair]:
    """name -> test pair: the first of different scenes, of each test set in turn."""
    by_set: dict[str, list[Pair]] = {}
    for pair in plan.test_pairs():
        by_set.setdefault(pair.dataset, []).append(pair)
    in_turn = chain.from_iterable(zip_longest(*by_set.values()))  # None where a set has no more
    found: dict[str, Pair] = {}
    scenes: set[str] = set()
    for pair in filter(None, in_turn):
        scene = pair.scene or pair.key
        if scene not in scenes and len(found) < count:
            found[f"{pair.dataset}-{pair.image}"] = pair
        scenes.add(scene)
    return found


def photographs(pairs: Mapping[str, Pair], side: int) -> Pictures:
    """name -> a square of a pair's sharp photograph, ``(side,side,3)`` uint8; less where there is less of it."""
    return {name: middle(read_image(pair.hq), side) for name, pair in pairs.items()}


def middle(image: np.ndarray, side: int) -> np.ndarray:
    """The square of so many pixels in the middle of ``(H,W,3)``; of a smaller image all there is."""
    top, left = (max(0, (length - side) // 2) for length in image.shape[:2])
    return image[top : top + side, left : left + side].copy()


def _states(
    sharp: Pictures, mixture: Mixture, degradations: Mapping[str, Mapping[str, Any]]
) -> dict[str, Pictures]:
    """The pictures with both degradations ("both"), with each alone (its word), and with neither (SHARP).

    Noise and rain are the same each time. Of low light and noise, noise alone is noise on the bright picture: who
    brightens the noise too gets less PSNR for it.
    """
    first, second = mixture
    states: dict[str, Pictures] = {"both": {}, first: {}, second: {}, SHARP: sharp}
    for name, image in sharp.items():
        states[first][name] = _degraded(image, name, first, degradations)
        states[second][name] = _degraded(image, name, second, degradations)
        states["both"][name] = _degraded(states[first][name], name, second, degradations)
    return states


def _degraded(
    image: np.ndarray, name: str, word: str, degradations: Mapping[str, Mapping[str, Any]]
) -> np.ndarray:
    """A picture as a file can hold it: 8 bits."""
    module, config = configure("degrade", dict(degradations[word]), f"degradations.{word}")
    made = module.degrade(image, config, name_rng("mixed", name, word), None)
    if made.dtype == np.uint8:
        return made
    return quantise(torch.from_numpy(np.moveaxis(made, 2, 0)))


def _both_steps(
    suite: Suite,
    plan: RunPlan,
    states: Mapping[Mixture, Mapping[str, Pictures]],
    part: str,
    words: Mapping[str, tokens.Tokens],
) -> dict[Mixture, dict[str, dict[str, Pictures]]]:
    """mixture -> given -> said -> what came out; given: "both", then what came out after each word was said.

    All of a step is restored in one go: what a prior has to load is loaded once.
    """
    first: dict[Asked, np.ndarray] = {}
    for mixture, pictures in states.items():
        first |= _askings(mixture, "both", pictures["both"])
    came = _restored(suite, plan, first, part, words)
    second: dict[Asked, np.ndarray] = {}
    for mixture in states:
        for removed in mixture:
            out = {
                one.image: image
                for one, image in came.items()
                if one[:3] == (mixture, "both", removed)
            }
            second |= _askings(mixture, f"without {removed}", out)
    found: dict[Mixture, dict[str, dict[str, Pictures]]] = {}
    for one, image in (came | _restored(suite, plan, second, part, words)).items():
        given = found.setdefault(one.mixture, {}).setdefault(one.given, {})
        given.setdefault(one.said, {})[one.image] = image
    return found


def _askings(mixture: Mixture, given: str, pictures: Pictures) -> dict[Asked, np.ndarray]:
    """Each picture once for every word of its mixture, and once for NOTHING."""
    found = {}
    for said in (*mixture, NOTHING):
        for name, image in pictures.items():
            found[Asked(mixture, given, said, name)] = image
    return found


def _restored(
    suite: Suite,
    plan: RunPlan,
    given: Mapping[Asked, np.ndarray],
    part: str,
    words: Mapping[str, tokens.Tokens],
) -> dict[Asked, np.ndarray]:
    """What comes out, as ``benchlib restore --say`` makes it; without pictures that a prior of the run refuses."""
    with TemporaryDirectory() as folder:
        files, said = {}, {}
        for number, (asked, image) in enumerate(given.items()):
            name = f"{number:04d}"
            files[name], said[name] = Path(folder) / "given" / f"{name}.png", words[asked.said]
            write_png(files[name], image)
        out = Path(folder) / "out"
        made = explore.restore_images(suite, plan, files, out, Told(part, said))
        found = {}
        for name, asked in zip(files, given, strict=True):
            if name in made:
                found[asked] = read_image(out / f"{name}.png")
        return found


# ---------------------------------------------------------------- what is told of it


def _steps(mixture: Mixture) -> list[tuple[str, str, str]]:
    """(given, asked, target): one degradation is asked for and the other should be left, then that is asked for."""
    first, second = mixture
    return [
        ("both", second, first),
        (f"without {second}", first, SHARP),
        ("both", first, second),
        (f"without {first}", second, SHARP),
    ]


def _rows(
    mixture: Mixture,
    states: Mapping[str, Pictures],
    made: Mapping[str, Mapping[str, Pictures]],
) -> list[dict[str, Any]]:
    rows = []
    for given, asked, target in _steps(mixture):
        for said, restored in made[given].items():
            for name, image in restored.items():
                before = _given(states, made, given)[name]
                row: dict[str, Any] = {"mixture": _title(mixture), "image": name, "given": given}
                row |= {"asked": asked, "target": target, "said": said}
                row |= {"psnr": _psnr(image, states[target][name])}
                rows.append(row | {"before": _psnr(before, states[target][name])})
    return rows


def _title(mixture: Mixture) -> str:
    return " + ".join(mixture)


def _given(
    states: Mapping[str, Pictures], made: Mapping[str, Mapping[str, Pictures]], given: str
) -> Pictures:
    if given == "both":
        return states["both"]
    return made["both"][given.removeprefix("without ")]


def _psnr(image: np.ndarray, target: np.ndarray) -> float:
    """In dB, of all three colours."""
    return registry.load("metrics", "psnr").measure(image.astype(float), target.astype(float))


def _shown(
    mixture: Mixture,
    states: Mapping[str, Pictures],
    made: Mapping[str, Mapping[str, Pictures]],
) -> dict[tuple[str, str], dict[str, np.ndarray]]:
    """Figure 9's order: the mixture, the second degradation removed, then the first; what should have come out."""
    first, second = mixture
    found = {}
    for name in made[f"without {second}"][first]:  # without those that a prior of the run refuses
        found[_title(mixture), name] = {
            _title(mixture): states["both"][name],
            f"said: {second}": made["both"][second][name],
            f"only {first}": states[first][name],
            f"then said: {first}": made[f"without {second}"][first][name],
            SHARP: states[SHARP][name],
        }
    return found


def summary(measured: Measured) -> pd.DataFrame:
    """A line a mixture and step, means over pictures in dB.

    Columns: mixture, given, said, left (what should be), before (PSNR of the picture given, to that), psnr, other (after
    the other word of the mixture was said), nothing (after none was), obeys (psnr minus other, paired by picture), low and
    high (its 95 % interval, pictures of one scene together), images. A picture that equals its target is left out.
    """
    lines = []
    names = ["mixture", "given", "asked", "target"]
    for (mixture, given, asked, target), part in measured.rows.groupby(names, sort=False):
        by_said = part.pivot(index="image", columns="said", values="psnr")
        (other,) = set(mixture.split(" + ")) - {asked}
        table = by_said.assign(before=part.groupby("image")["before"].first())
        table = table[np.isfinite(table).all(axis=1)]
        scene = part.groupby("image")["scene"].first().reindex(table.index)
        change = (table[asked] - table[other]).to_numpy()
        low, high = interval(change[:, None], scene.to_numpy())
        line = {"mixture": mixture, "given": given, "said": asked, "left": target}
        line |= {"before": table["before"].mean(), "psnr": table[asked].mean()}
        line |= {"other": table[other].mean(), "nothing": table[NOTHING].mean()}
        line |= {"obeys": change.mean() if len(change) else np.nan, "low": low, "high": high}
        lines.append(line | {"images": len(table)})
    return pd.DataFrame(lines)


def shown(measured: Measured) -> Any:
    """``summary`` as a table for a notebook, two decimals."""
    table = summary(measured)
    numbers = table.select_dtypes("float").columns
    return table.style.format(escape="html").format(precision=2, subset=list(numbers)).hide(axis=0)


def figure(measured: Measured) -> Figure:
    """The first photograph of each mixture, as Figure 9 shows it, with what should have come out beside each step."""
    lines: dict[str, list[tuple[str, np.ndarray]]] = {}
    for (mixture, _), pictures in measured.shown.items():
        lines.setdefault(mixture, list(pictures.items()))
    return side_by_side(list(lines.values()))
