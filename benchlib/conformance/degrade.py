"""The contract of a degradation: settings, chance, sizes, and that lq lies on hq."""

from __future__ import annotations

import numpy as np

from benchlib.conformance._subject import (
    Subject,
    Unmet,
    every_setting_has_a_default_in_range,
    expect,
    settings_are_frozen_and_typed,
    states_its_version_and_what_it_uses,
)
from benchlib.contracts import BenchError
from benchlib.seeding import name_rng

SIZES = ((1, 1), (1, 7), (40, 3), (16, 16), (23, 40))


def photograph() -> np.ndarray:
    """``(160,200,3)`` uint8 RGB."""
    from skimage import data

    return data.coffee()[100:260, 200:400]


def region_of(hq: np.ndarray) -> np.ndarray:
    """A disc about the centre, a quarter of the short side in radius."""
    height, width = hq.shape[:2]
    y, x = np.ogrid[:height, :width]
    return (y - height // 2) ** 2 + (x - width // 2) ** 2 <= (min(height, width) / 4) ** 2


def multiple_of(subject: Subject) -> int:
    """What hq's sides are a multiple of."""
    if hasattr(subject.module, "multiple"):
        return subject.module.multiple(subject.config())
    return 1


def degraded(subject: Subject, hq: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The lq that it makes of an hq."""
    region = None
    if subject.module.NEEDS_REGION:
        region = region_of(hq)
    return subject.module.degrade(hq, subject.config(), rng, region)


def run(subject: Subject, hq: np.ndarray, *seed: str | int) -> np.ndarray:
    """The same with a generator of a name."""
    return degraded(subject, hq.copy(), name_rng(subject.name, *(seed or (0,))))


def says_what_it_does_and_whether_it_needs_a_region(subject: Subject) -> None:
    """``degrade`` has a docstring, NEEDS_REGION is True or False."""
    module = subject.module
    expect(module.degrade.__doc__, "degrade has no docstring; give shapes, types and errors")
    plain = isinstance(module.NEEDS_REGION, bool)
    expect(plain, f"NEEDS_REGION = {module.NEEDS_REGION!r}; expected True or False")


def one_seed_is_one_image_and_what_draws_from_it_differs_by_name(subject: Subject) -> None:
    """All chance comes from the generator that it is given."""
    hq = photograph()
    first = run(subject, hq, "coffee", 0)
    same = np.array_equal(first, run(subject, hq, "coffee", 0))
    expect(same, "one seed gives two images; draw from `rng` alone")
    rng = name_rng("drawn")
    before = rng.bit_generator.state
    degraded(subject, hq, rng)
    draws = rng.bit_generator.state != before
    for other in (("chelsea", 0), ("coffee", 1)):
        same = np.array_equal(first, run(subject, hq, *other))
        expect(same != draws, "two seeds give one image, though it draws from `rng`")


def keeps_the_size(subject: Subject, shape: tuple[int, int], seed: int) -> None:
    """Noise of a shape, made up to its multiple, becomes lq of that size or a whole factor less."""
    step = multiple_of(subject)
    height, width = -(-shape[0] // step) * step, -(-shape[1] // step) * step
    hq = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    before = hq.copy()
    lq = degraded(subject, hq, name_rng(subject.name, seed))
    said = f"of {hq.shape} uint8 came {lq.shape} {lq.dtype}"
    factor = max(1, height // max(1, lq.shape[0]))
    fits = lq.shape == (height // factor, width // factor, 3)
    expect(fits and height % factor == 0, f"{said}; expected one whole factor less, on both sides")
    expect(step % factor == 0, f"{said}, but multiple(config) is {step}: no multiple of {factor}")
    floats = lq.dtype == np.float32 and bool(np.isfinite(lq).all())
    expect(lq.dtype == np.uint8 or floats, f"{said}; expected uint8, or float32 that is finite")
    same = np.array_equal(hq, before) and not np.shares_memory(hq, lq)
    expect(same, "it changes the hq that it is given, or gives it back; copy it")


def any_size_becomes_an_image_of_that_size_or_a_whole_factor_less(subject: Subject) -> None:
    """Any size, down to one pixel, becomes lq of that size or a whole factor less."""
    for seed, shape in enumerate(SIZES):
        keeps_the_size(subject, shape, seed)


def compared(subject: Subject) -> tuple[np.ndarray, np.ndarray]:
    """lq, and hq of its size, in units of [0,1]."""
    step = multiple_of(subject)
    hq = photograph()
    hq = hq[: hq.shape[0] // step * step, : hq.shape[1] // step * step]
    lq = run(subject, hq)
    if lq.dtype == np.uint8:
        lq = lq / 255.0
    height, width = lq.shape[:2]
    factor = hq.shape[0] // height
    hq = hq.reshape(height, factor, width, factor, 3).mean(axis=(1, 3)) / 255.0
    return lq, hq


def lq_lies_on_hq_upright_and_in_its_colours(subject: Subject) -> None:
    """However dark or noisy it is: lq looks more like hq than like hq turned or recoloured."""
    lq, hq = compared(subject)

    def alike(image: np.ndarray) -> float:
        return float(np.corrcoef(lq.ravel(), image.ravel())[0, 1])

    wrongs = {"in BGR": hq[..., ::-1], "upside down": hq[::-1], "mirrored": hq[:, ::-1]}
    for word, wrong in wrongs.items():
        right, other = alike(hq), alike(wrong)
        said = f"lq correlates with hq by {right:.2f}, with hq {word} by {other:.2f}"
        expect(right > other + 0.05, said)


def what_is_no_image_is_refused(subject: Subject) -> None:
    """Another shape or type than (H,W,3) uint8 raises BenchError that says so."""
    for shape, dtype in (((4, 4), "uint8"), ((4, 4, 3), "float32"), ((0, 4, 3), "uint8")):
        bad = np.zeros(shape, dtype)
        said = f"of {shape} {dtype}"
        try:
            subject.module.degrade(bad, subject.config(), name_rng(0), np.ones(shape[:2], bool))
        except BenchError as error:
            right = "hq: expected (H,W,3) uint8" in str(error)
            expect(right, f"{said}: {error}; expected `hq: expected (H,W,3) uint8...`")
        except Exception as error:
            said += f": {type(error).__name__}; begin with `check_sharp(hq)` of degrade/_checks.py"
            raise Unmet(said) from None
        else:
            raise Unmet(f"{said}: accepted; begin with `check_sharp(hq)` of degrade/_checks.py")


CHECKS = (
    states_its_version_and_what_it_uses,
    settings_are_frozen_and_typed,
    every_setting_has_a_default_in_range,
    says_what_it_does_and_whether_it_needs_a_region,
    one_seed_is_one_image_and_what_draws_from_it_differs_by_name,
    any_size_becomes_an_image_of_that_size_or_a_whole_factor_less,
    lq_lies_on_hq_upright_and_in_its_colours,
    what_is_no_image_is_refused,
)
