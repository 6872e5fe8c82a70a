"""Which images a set of ``data`` stands for, and on which side of a run: by parameters alone.

Layer 1. What a prior was made from is on no test side either. What only the pixels can tell (one
picture under two names) is ``manifests.py``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchlib import registry
from benchlib.contracts import BenchError
from benchlib.params import Choice, Run, Suite, configure
from benchlib.records import ImageSets, image_sets

Entries = dict[str, Choice]  # <collection>/<set> -> its entry of `data`


@dataclass(frozen=True)
class Sides:
    """The images of one run that must not meet.

    trained: those it is trained on; held: those it is chosen by (None: nothing is held out). seen:
    collections that its weights, or what they start from, have seen; test: those it is measured on,
    which is never one of ``seen``.
    """

    run: str
    trained: ImageSets
    held: ImageSets | None
    seen: tuple[ImageSets, ...]
    test: ImageSets


def sides_of(suite: Suite, key: str) -> Sides:
    """The sides of one run."""
    run = suite.run(key)
    whole, held = image_sets(suite, run.images.train), None
    if run.validation:
        held = whole.only([run.validation])
    return Sides(
        run=key,
        trained=whole.only([name for name in whole.sets if name != run.validation]),
        held=held,
        seen=tuple(image_sets(suite, name) for name in seen_collections(suite, key)),
        test=image_sets(suite, run.images.test),
    )


def seen_collections(suite: Suite, key: str) -> list[str]:
    """The collections that a run's weights have seen: its own, and those of what it starts from.

    As far as they are others than the one that it is tested on: a run may be asked to restore what
    it was trained on (the priors of training images are computed from such images).
    """
    run, seen, asked = suite.run(key), [], {key}
    test = run.images.test
    while run.images.train != test:
        seen.append(run.images.train)
        kind, _, start = run.init.partition("/")
        if kind != "runs" or start in asked:
            break
        asked.add(start)
        run = suite.run(start)
    return seen


def check_sources(suite: Suite, path: Path) -> None:
    """No run is tested on files that it is trained on or chosen by, under whatever entry of `data`.

    One folder under two paths, one published split, a data set once by its images and once by its
    pairs. Raises BenchError, beginning with ``path``, for the first.
    """
    for key in suite.runs:
        sides = sides_of(suite, key)
        trained, tested = _entries(suite, sides.trained), _entries(suite, sides.test)
        where = f"{path}: runs.{key}"
        if sides.held:
            _check_apart(suite, trained, _entries(suite, sides.held), f"{where}.validation")
        for seen in sides.seen:
            _check_apart(suite, _entries(suite, seen), tested, f"{where}.images.test")


def check_priors(suite: Suite, path: Path) -> None:
    """No prior of a run was made from images that the run is tested on.

    A classifier's examples, the photographs that a reference is looked up among: what a prior's
    ``drawn_from`` names. Imports the priors' files. Raises BenchError, beginning with ``path``, for
    the first; a run that restores what it is trained on is free to.
    """
    for key, run in suite.runs.items():
        if run.images.train == run.images.test:
            continue
        tested = _entries(suite, image_sets(suite, run.images.test))
        for name, choice in _priors_of(suite, run):
            where = f"{path}: priors.{name}.prior"
            for drawn in _drawn_from(choice, where):
                _check_not_tested(suite, key, drawn, tested, where)


def check_told(suite: Suite, path: Path) -> None:
    """A run whose prior was made of the references of its test images says so (``INFO.truth``).

    A prior of what another run has restored tells what that run was told. Of training images it may
    be anything. Imports the methods' files. Raises BenchError, beginning with ``path``, for the
    first run that does not say so.
    """
    for key, run in suite.runs.items():
        if _is_told(run):
            continue
        for prior in suite.bundle(run.prior.test).values():
            kind, _, source = prior.images.partition("/")
            if kind == "restored" and _is_told(suite.run(source)):
                raise BenchError(
                    f"{path}: runs.{key}.prior.test: got {run.prior.test!r}, made of what run "
                    f"{source} gives, which is told the reference of each image; method "
                    f"{run.method['name']} does not say that it is: take one that does, as "
                    "enlighten_anything_reference, or a prior of other images"
                )


def _is_told(run: Run) -> bool:
    """Whether a run's method says that it is told each test image's reference."""
    return registry.load("methods", run.method["name"]).INFO.truth


def _priors_of(suite: Suite, run: Run) -> Iterator[tuple[str, Choice]]:
    """(key in ``priors``, the prior) of all that a run is given."""
    for name, entry in suite.priors.items():
        if name.partition("/")[0] in (run.prior.train, run.prior.test):
            yield name, entry.prior


def _drawn_from(choice: Choice, where: str) -> list[Choice]:
    """The images that a prior was made from, as entries of ``data`` would name them."""
    module, config = configure("priors", choice, where)
    if not hasattr(module, "drawn_from"):
        return []
    return module.drawn_from(config)


def _check_not_tested(suite: Suite, run: str, drawn: Choice, tested: Entries, where: str) -> None:
    for name, other in tested.items():
        both = sorted(set(_listed(drawn)) & set(_listed(other)))
        what = _shared_files(suite, drawn, other)
        if both:
            what = f"of {both[0]}"
        if what:
            raise BenchError(
                f"{where}: data.{name} is {what}, which this prior is made from, and run {run} is "
                "tested on it; name other images"
            )


def _entries(suite: Suite, images: ImageSets) -> Entries:
    collection = images.folder.name
    found = {}
    for name in images.sets:
        found[f"{collection}/{name}"] = suite.image_set(f"{collection}/{name}")
    return found


def _check_apart(suite: Suite, first: Entries, second: Entries, where: str) -> None:
    for trained, one in first.items():
        for tested, other in second.items():
            what = _shared_files(suite, one, other)
            if what:
                raise BenchError(
                    f"{where}: data.{tested} is {what}, which data.{trained} is too, and that is "
                    "trained on; name other images"
                )


def _shared_files(suite: Suite, one: Choice, other: Choice) -> str:
    """What both entries stand for, in words; "" where nothing says that they share a file."""
    here, there = list(_folders(suite, one)), list(_folders(suite, other))
    if set(here) & set(there) and not _parts_differ(one, other):
        return f"the folder {one['path']}"
    for first, second in ((one, other), (other, one)):
        asset = first.get("asset")
        if asset and asset in _listed(second):
            return f"of {asset}"
    published = (one.get("asset"), one.get("split"))
    chosen = (_clips_named(one), _clips_named(other))
    if all(chosen) and not chosen[0] & chosen[1]:
        return ""
    if one.get("asset") and published == (other.get("asset"), other.get("split")):
        return f"{one['asset']}, split {one.get('split')}"
    both = _listed_pairs(one) & _listed_pairs(other)
    if both:
        return f"{len(both)} pairs of {one['asset']}, among others"
    return ""


def _listed_pairs(choice: Choice) -> set[tuple[str, str]]:
    """(asset, hq) of the pairs of a published split that the catalogue lists one by one."""
    from benchlib.assets import load_catalogue
    from benchlib.assets.entry import Table

    asset = str(choice.get("asset"))
    entry = load_catalogue().get(asset)
    if entry is None:
        return set()
    layout = entry.layout.get(str(choice.get("split")))
    if not isinstance(layout, Table):
        return set()
    return {(asset, row.hq) for row in layout.table}


def _listed(choice: Choice) -> list[str]:
    images = choice.get("images")
    if isinstance(images, list):
        return images
    return []


def _clips_named(choice: Choice) -> set[str]:
    """The clips that an entry names; none where it takes all there are."""
    clips = choice.get("clips")
    if choice.get("name") == "clips" and isinstance(clips, list):
        return {str(clip) for clip in clips}
    return set()


def _folders(suite: Suite, choice: Choice) -> Iterator[str]:
    """The real places of the folders that hold an entry's sharp images."""
    path = choice.get("path")
    if not isinstance(path, str):
        return
    folder = suite.located(path)
    if choice.get("name") == "folder":
        folder = folder / "hq"
    for clip in _clips_named(choice) or {""}:
        yield os.path.realpath(folder / clip)


def _parts_differ(one: Choice, other: Choice) -> bool:
    """Whether two entries take parts of one list of photographs that share no position."""
    here, there = _part(one), _part(other)
    if here is None or there is None or one.get("min_side") != other.get("min_side"):
        return False
    return max(here[0], there[0]) >= min(here[1], there[1])


def _part(choice: Choice) -> list[int] | None:
    """First position and that after the last; None for all, or for what is no such pair."""
    part = choice.get("part")
    if isinstance(part, list) and [type(end) for end in part] == [int, int]:
        return part
    return None
