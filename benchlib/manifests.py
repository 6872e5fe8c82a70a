"""What the manifests of images say against a run, before it is trained or measured. Layer 3.

A picture on two sides is known by its pixels, whatever its file, name or data set. A manifest that
is not there yet says nothing; whoever makes it asks again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from benchlib.contracts import Backbone, BenchError
from benchlib.metrics import load_metric, protocol
from benchlib.metrics._prepare import prepared
from benchlib.records import ImageSets, read_table
from benchlib.sources import Sides

if TYPE_CHECKING:
    from benchlib.plan import RunPlan

Row = dict[str, str]
Made = dict[str, list[Row]]  # <collection>/<set> -> its rows, where they are not on disk yet
TINY = 32  # pixels; whether a network takes an image of shorter sides is tried before training
SMALL = 128  # pixels; whether a protocol leaves enough of an image of shorter sides, too


class Image(NamedTuple):
    """One line of a manifest. place: ``<collection>/<set>/<image>``. height, width: of lq.

    pixels: the digest of its picture; "" where that is of one colour, or unknown. scale: hq's to
    lq's.
    """

    place: str
    pixels: str
    height: int
    width: int
    scale: int

    def __str__(self) -> str:
        return f"data.{self.place} ({self.height}x{self.width} pixels)"


def images_of(sets: ImageSets, made: Made | None = None) -> Iterator[Image]:
    """The lines of the manifests that are there; ``made``: of such as are being made."""
    for name in sets.sets:
        key, file = f"{sets.folder.name}/{name}", sets.folder / name / "manifest.csv"
        rows = (made or {}).get(key)
        if rows is None and file.exists():
            rows = read_table(file)
        for row in rows or []:
            if "pixels" in row:  # an earlier version's manifest has none
                sizes = [int(row[column]) for column in ("height", "width", "scale")]
                yield Image(f"{key}/{row['image']}", row["pixels"], *sizes)


def check_apart(sides: Sides, made: Made | None = None) -> None:
    """Raise BenchError if a run is chosen by, or tested on, a picture that it is trained on."""
    where = f"runs.{sides.run}"
    if sides.held:
        _check_apart(sides.trained, sides.held, f"{where}.validation", made)
    for seen in sides.seen:
        _check_apart(seen, sides.test, f"{where}.images.test", made)


def _check_apart(first: ImageSets, second: ImageSets, where: str, made: Made | None) -> None:
    trained: dict[str, str] = {}
    for image in images_of(first, made):
        if image.pixels:
            trained.setdefault(image.pixels, image.place)
    both = [image for image in images_of(second, made) if image.pixels in trained]
    if both:
        more = ""
        if len(both) > 1:
            more = f" (and {len(both) - 1} more)"
        raise BenchError(
            f"{where}: data.{both[0].place} is the same picture as data.{trained[both[0].pixels]}, "
            f"which is trained on{more}; take it out of one of the two sets"
        )


def check_one_scale(key: str, rows: list[Row]) -> None:
    """Raise BenchError if the pairs of one set differ in how much smaller lq is."""
    first = rows[0]
    for row in rows:
        if row["scale"] != first["scale"]:
            raise BenchError(
                f"data.{key}: hq of {first['image']} is {first['scale']} times lq's size, that of "
                f"{row['image']} {row['scale']} times; expected one number in a set: make two sets"
            )


def check_run(plan: RunPlan) -> None:
    """Whether every image of a run that is there can be trained on, restored and measured.

    Raises BenchError, naming the run, set and image, for a picture on two sides, pairs of another
    scale than the network's, an image smaller than training's crops or than what a protocol
    measures, or one that the network does not take.
    """
    check_apart(plan.sides)
    held = []
    if plan.trains:
        _check_crops(plan)
        if plan.sides.held and plan.budget.iterations:
            held = list(images_of(plan.sides.held))
    tested = list(images_of(plan.test_images))
    _check_scale(plan, [*tested, *held])
    for name in plan.how.protocols:
        _check_measured(plan, name, tested)
    for budget in plan.budgets:
        _check_measured(plan, budget.watch, held)
    if plan.trains:
        _check_taken(plan, [*tested, *held])


def _check_crops(plan: RunPlan) -> None:
    for budget in plan.budgets:
        if not budget.iterations:
            continue
        trained = list(images_of(plan.sides.trained.only(budget.sets or plan.sides.trained.sets)))
        _check_scale(plan, trained)
        for image in trained:
            if min(image.height, image.width) < budget.crop:
                raise BenchError(
                    f"runs.{plan.key}: {image} is too small for training crops of {budget.crop} "
                    "pixels (training.crop); leave it out, or make crops smaller"
                )


def _check_scale(plan: RunPlan, images: list[Image]) -> None:
    if plan.method.INFO.own:  # it has no backbone: ``own`` asks its file
        return
    scale = Backbone.from_module(plan.backbone, plan.backbone_config).scale
    for image in images:
        if image.scale != scale:
            raise BenchError(
                f"runs.{plan.key}: hq of {image} is {image.scale} times lq's size, but its network "
                f"({plan.entry.backbone['name']}) enlarges {scale} times; expected the same: give "
                "the backbone that scale, or name other images"
            )


def _check_measured(plan: RunPlan, name: str, images: list[Image]) -> None:
    """Every image leaves enough for the protocol's metrics, once its border is cut off."""
    known, smallest = protocol(name), 1
    for metric in known.metrics:
        if metric in plan.metrics:
            smallest = max(smallest, getattr(load_metric(metric), "SMALLEST", 1))
    for height, width, image in _sizes(images, SMALL):
        blank = np.zeros((height * image.scale, width * image.scale, 3), np.uint8)
        try:
            ready = prepared(name, {"restored": blank}, known.colour, known.cut, known.border)
        except BenchError as error:
            raise BenchError(f"runs.{plan.key}: {image}: {error}") from None
        if min(ready["restored"].shape[:2]) < smallest:
            raise BenchError(
                f"runs.{plan.key}: {image}: a metric of {name} needs {smallest} pixels on each "
                "side; leave the image out, or the metric"
            )


def _check_taken(plan: RunPlan, images: list[Image]) -> None:
    """The network takes the small images: tried with black ones, by a network of random weights."""
    import torch

    sizes = list(_sizes(images, TINY))
    if not sizes:
        return
    made_of = Backbone.from_module(plan.backbone, plan.backbone_config)
    shape: tuple[int, ...] = (1, 3)
    if made_of.frames is not None:
        shape = (1, made_of.frames.window or 2, 3)
    try:
        network = made_of().eval()
    except BenchError:  # it reads more than an image (two views), and cannot be tried by itself
        return
    for height, width, image in sizes:
        try:
            with torch.inference_mode():
                network(torch.zeros(*shape, height, width))
        except (RuntimeError, ValueError, BenchError) as error:
            said = " ".join(str(error).split())[:200]
            raise BenchError(
                f"runs.{plan.key}: {image} is too small for {plan.entry.backbone['name']} "
                f"({said}); leave it out"
            ) from None


def _sizes(images: list[Image], side: int) -> Iterator[tuple[int, int, Image]]:
    """Each size of an lq with a side under so many pixels, once, and an image of it."""
    seen = set()
    for image in images:
        size = (image.height, image.width)
        if min(size) < side and size not in seen:
            seen.add(size)
            yield *size, image
