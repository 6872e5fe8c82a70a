"""The contract of a metric: what it says of itself, its direction, its range, its inputs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from benchlib import assets
from benchlib.conformance._subject import (
    Subject,
    Unavailable,
    Unmet,
    expect,
    states_its_version_and_what_it_uses,
)
from benchlib.contracts import BenchError
from benchlib.metrics import IMAGES, names

VIEWS = {*IMAGES, "mask"}
Images = dict[str, np.ndarray]


def picture(height: int = 48, width: int = 56) -> np.ndarray:
    """A photograph's detail: ``(H,W,3)`` float64, whole numbers in [0,255]."""
    from skimage import data

    return data.astronaut()[60 : 60 + height, 200 : 200 + width].astype(np.float64)


def noisy(image: np.ndarray, sigma: float) -> np.ndarray:
    """The image with noise of ``sigma`` grey levels, rounded and clipped to [0,255]."""
    noise = np.random.default_rng(7).normal(0, sigma, image.shape)
    return np.clip(np.rint(image + noise), 0, 255)


def views(sigma: float) -> Images:
    """All that a metric may read, the restored image with noise of ``sigma``."""
    sharp = picture()
    return {
        "restored": noisy(sharp, sigma),
        "reference": sharp,
        "degraded": noisy(sharp, 8.0),
        "mask": np.ones_like(sharp),
    }


def measured(subject: Subject, images: Images) -> float:
    """A metric of images. Raises Unavailable where its weights are not at hand."""
    metric = subject.module
    for asset in metric.ASSETS:
        try:
            assets.fetch(asset)
        except BenchError as error:
            raise Unavailable(str(error)) from None
    value = metric.measure(*[images[word] for word in metric.READS])
    plain = isinstance(value, int | float | np.floating | np.integer)
    expect(plain, f"measure gives {type(value).__name__}; expected a number")
    return float(value)


def says_what_it_measures(subject: Subject) -> None:
    """Its words, unit, digits, direction, images, weights and protocols are of their types."""
    metric = subject.module
    for word in ("NAME", "SHOWN", "UNIT"):
        found = getattr(metric, word)
        expect(isinstance(found, str), f"{word} = {found!r}; expected text")
    expect(metric.NAME and metric.SHOWN, "NAME or SHOWN is empty; tables name the metric so")
    whole = type(metric.DIGITS) is int and metric.DIGITS >= 0
    expect(whole, f"DIGITS = {metric.DIGITS!r}; expected how many are shown after the point")
    above = _is_number(metric.FACTOR) and metric.FACTOR > 0
    expect(above, f"FACTOR = {metric.FACTOR!r}; expected a number above 0")
    plain = metric.LOWER_IS_BETTER in (True, False)
    expect(plain, f"LOWER_IS_BETTER = {metric.LOWER_IS_BETTER!r}; expected True or False")
    _expect_among("ASSETS", metric.ASSETS, set(assets.load_catalogue()))
    _expect_among("READS", metric.READS, VIEWS)
    expect("restored" in metric.READS, f"READS = {metric.READS}; expected 'restored' among them")
    _expect_among("PROTOCOLS", getattr(metric, "PROTOCOLS", ()), set(names()))
    first_words = (metric.__doc__ or "").partition("\n\n")[0].strip()
    full = first_words.endswith(".")
    expect(full, "the docstring's first paragraph, which the report shows, ends without a stop")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _expect_among(word: str, found: Any, known: set[str]) -> None:
    expect(isinstance(found, tuple), f'{word} = {found!r}; expected a tuple: ("...",)')
    unknown = sorted(set(found) - known)
    expect(not unknown, f"{word}: {', '.join(unknown)}: may be {', '.join(sorted(known))}")


def its_range_has_two_ends(subject: Subject) -> None:
    """RANGE is (low, high), None for an end that is open."""
    ends = subject.module.RANGE
    pair = isinstance(ends, tuple) and len(ends) == 2
    expect(pair, f"RANGE = {ends!r}; expected (low, high), None for an open end")
    for end in ends:
        expect(end is None or _is_number(end), f"RANGE = {ends!r}; {end!r} is no number")
    if None not in ends:
        expect(ends[0] < ends[1], f"RANGE = {ends!r}; expected the lower end first")


def a_worse_image_scores_worse_and_stays_in_range(subject: Subject) -> None:
    """More noise scores worse, in the direction that it states, within its range."""
    mild, strong = measured(subject, views(4.0)), measured(subject, views(40.0))
    lower = subject.module.LOWER_IS_BETTER
    said = f"LOWER_IS_BETTER is {lower}, but little noise scores {mild:g} and much {strong:g}"
    expect(mild != strong and (mild < strong) == lower, said)
    low, high = subject.module.RANGE
    for value in (mild, strong):
        inside = (low is None or value >= low) and (high is None or value <= high)
        expect(inside, f"{value:g} is outside RANGE, {low} to {high}")


def an_equal_image_scores_best(subject: Subject) -> None:
    """The reference itself scores what is best: its range's end, or beyond any noise."""
    metric = subject.module
    if "reference" not in metric.READS:
        return
    images = views(0.0)
    images["restored"] = images["reference"].copy()
    value = measured(subject, images)
    best = metric.RANGE[0] if metric.LOWER_IS_BETTER else metric.RANGE[1]
    best = getattr(metric, "BEST", best)
    if best is None:
        mild = measured(subject, views(1.0))
        better = (value < mild) == metric.LOWER_IS_BETTER and value != mild
        expect(better, f"the reference scores {value:g}, a noisy image {mild:g}")
        return
    same = value == best or abs(value - best) < 1e-6
    expect(same, f"the reference scores {value:g}; expected {best:g} (write BEST = ... otherwise)")


def images_are_left_as_they_were_and_a_second_call_agrees(subject: Subject) -> None:
    """It changes no image that it is given, and measures the same again."""
    images = views(10.0)
    before = {word: image.copy() for word, image in images.items()}
    first = measured(subject, images)
    for word, image in images.items():
        expect(np.array_equal(image, before[word]), f"it changes the {word} image; copy it")
    second = measured(subject, images)
    expect(first == second, f"two calls give {first!r} and {second!r}")


def a_grey_image_is_measured_or_refused_in_a_line(subject: Subject) -> None:
    """``(H,W)``, as a protocol of luma gives it, is measured, or refused with a BenchError."""
    images = {word: image.mean(axis=2) for word, image in views(10.0).items()}
    try:
        value = measured(subject, images)
    except (Unmet, Unavailable):
        raise
    except BenchError:
        return
    except Exception as error:
        if not set(getattr(subject.module, "PROTOCOLS", ())):
            return  # no protocol of luma need ever give it one
        said = f"{type(error).__name__}: {error}"
        raise Unmet(f"of (H,W): {said}; raise BenchError, or measure it") from None
    expect(math.isfinite(value), f"of (H,W) it gives {value}")


CHECKS = (
    states_its_version_and_what_it_uses,
    says_what_it_measures,
    its_range_has_two_ends,
    a_worse_image_scores_worse_and_stays_in_range,
    an_equal_image_scores_best,
    images_are_left_as_they_were_and_a_second_call_agrees,
    a_grey_image_is_measured_or_refused_in_a_line,
)
