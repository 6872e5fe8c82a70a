"""Score a folder of restored images against its references, without a suite. Layer 5.

The numbers are those that a suite's evaluation gives of the same images under the same protocol.
``benchlib.score`` is :func:`score`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from benchlib import assets, registry
from benchlib.contracts import BenchError, nearest
from benchlib.imageio import read_image
from benchlib.matching import Match, Matches, match_folders
from benchlib.metrics import Protocol, listed, load_metric, protocol
from benchlib.records import hardware, revision, write_table

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "dataset",
    "image",
    "metric",
    "protocol",
    "value",
    "version",
    "revision",
    "hardware",
)
SIDES = ("restored", "reference", "degraded")
Names = str | Sequence[str]
T = TypeVar("T")


@dataclass(frozen=True)
class Way:
    """One protocol and the files of ``metrics`` that are measured under it."""

    protocol: Protocol
    metrics: tuple[str, ...]


def score(
    restored: str | Path,
    reference: str | Path,
    protocol: Names,
    *,
    degraded: str | Path | None = None,
    metric: Names | None = None,
) -> pd.DataFrame:
    """Measure every image of a folder against the image of the same name in another.

    restored, reference: folders of 8-bit (or 16-bit) images; sub-folders are sets.
    protocol: one name or several, each with ``@border`` if wanted (``basicsr-y@4``).
    degraded: the inputs of the restoration, for metrics that read them (mode collapse).
    metric: files of ``benchlib/metrics``; None: what each protocol lists itself, and what reads the
    degraded images where they are given.

    Returns a line an image, protocol and metric, in the order of the names: ``dataset`` (the
    sub-folder, or ""), ``image``, ``metric``, ``protocol``, ``value`` (float, PSNR in dB; infinite
    for two equal images), ``version``, ``revision``, ``hardware``.

    Raises BenchError, before anything is measured, for a folder, an image, a partner, a protocol
    or a metric that is not there or does not fit. What is guessed is said on stderr.
    """
    import pandas as pd

    ways = open_ways(_listed(protocol), _listed(metric), degraded is not None)
    matches = match_folders(restored, reference, degraded)
    for note in matches.notes:
        print(f"score: {note}", file=sys.stderr)
    _check(matches, ways, metric is not None)
    common = {"revision": revision(Path(__file__).parent), "hardware": hardware()}
    rows = []
    for lines in _each(partial(_measured, ways), matches.images, "score"):
        rows += [line | common for line in lines]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def write_scores(rows: pd.DataFrame, path: str | Path) -> None:
    """Write what :func:`score` returns as CSV.

    A name that a spreadsheet would take for a formula gets an apostrophe before it.
    """
    write_table(Path(path), COLUMNS, rows.to_dict("records"), for_people=True)


def summary(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """The mean over images of each set, protocol and metric of :func:`score`'s rows, in order.

    Each with ``dataset`` (None, last, for all where there are several), ``protocol``, ``metric``,
    ``version``, ``images``; ``mean``, ``low`` and ``high`` (95 % interval, bootstrap over images;
    None for one image) of the images whose value is finite; ``exact`` (images of an infinite
    value, equal to their reference) and ``undefined`` (values that are not a number) beside it.
    """
    parts: list[tuple[Any, pd.DataFrame]] = list(rows.groupby("dataset", sort=False))
    if len(parts) > 1:
        parts.append((None, rows))
    lines = []
    for dataset, part in parts:
        keys = ["protocol", "metric", "version"]
        for place, one in part.groupby(keys, sort=False):
            line = {"dataset": dataset} | dict(zip(keys, place, strict=True))
            lines.append(line | _mean(one["value"].to_numpy(float)))
    return lines


def _mean(values: np.ndarray) -> dict[str, Any]:
    from benchlib.report.statistics import interval

    finite = values[np.isfinite(values)]
    found: dict[str, Any] = {"images": len(values), "mean": None, "low": None, "high": None}
    if len(finite):
        found["mean"] = float(finite.mean())
    if len(finite) > 1:
        found["low"], found["high"] = interval(finite[:, None])
    found["exact"] = int(np.isinf(values).sum())
    found["undefined"] = int(np.isnan(values).sum())
    return found


# ---------------------------------------------------------------- what is measured


def _listed(names: Names | None) -> list[str] | None:
    if isinstance(names, str):
        return [names]
    return None if names is None else list(names)


def open_ways(
    protocols: Sequence[str] | None, metrics: Sequence[str] | None, with_degraded: bool
) -> list[Way]:
    """The protocols by name, each with its metrics; what those need is fetched.

    Raises BenchError for an unknown or repeated name, a metric that no protocol measures or that
    lacks the degraded images, and for weights or a package that is not there.
    """
    if not protocols:
        raise BenchError("protocol: none given; expected a name, e.g. basicsr-y")
    for name in protocols:
        if list(protocols).count(name) > 1:
            raise BenchError(f"protocol: got {name} twice; each once")
    opened = [_protocol(name) for name in protocols]
    _check_metrics(opened, metrics, with_degraded)
    ways = []
    for one in opened:
        chosen = _chosen(one, metrics, with_degraded)
        if chosen:
            ways.append(Way(one, chosen))
    for way in ways:
        _check_needs(way)
    return ways


def _protocol(name: str) -> Protocol:
    try:
        return protocol(name)
    except BenchError as error:
        raise BenchError(str(error).replace("evaluation.protocols", "protocol", 1)) from None
    except ValueError:  # digits that make no number: ²
        raise BenchError(
            f"protocol: got {name!r}; the border is a whole number of pixels"
        ) from None


def _check_metrics(
    opened: list[Protocol], metrics: Sequence[str] | None, with_degraded: bool
) -> None:
    known = {name for one in opened for name in one.metrics}
    for name in metrics or []:
        if name not in known:
            said = ", ".join(one.name for one in opened)
            raise BenchError(f"metric: {said} does not measure {name!r}; {nearest(name, known)}")
        if "degraded" in load_metric(name).READS and not with_degraded:
            raise BenchError(f"metric: {name} reads the degraded images; give their folder too")


def _chosen(one: Protocol, metrics: Sequence[str] | None, with_degraded: bool) -> tuple[str, ...]:
    if metrics is not None:
        return tuple(name for name in one.metrics if name in metrics)
    chosen = list(listed(one.name))
    for name in one.metrics:
        reads_degraded = "degraded" in load_metric(name).READS
        if with_degraded and reads_degraded and name not in chosen:
            chosen.append(name)
    return tuple(chosen)


def _check_needs(way: Way) -> None:
    """What the metrics of a protocol need besides images is there."""
    for name in way.metrics:
        for asset in load_metric(name).ASSETS:
            try:
                assets.fetch(asset)
            except BenchError as error:
                others = [each for each in way.metrics if not load_metric(each).ASSETS]
                raise BenchError(
                    f"{way.protocol.name}: {name}: {error}; or measure without it: metric "
                    f"{', '.join(others)}"
                ) from None


# ---------------------------------------------------------------- before and while measuring


def _check(matches: Matches, ways: Sequence[Way], chosen: bool) -> None:
    """Every image can be read, has its partner's size, and is large enough for every protocol.

    chosen: the metrics were named; one that reads degraded images of another size is refused then.
    """
    smaller = []
    read = _each(_sizes, matches.images, "read images")
    for match, sizes in zip(matches.images, read, strict=True):
        ours, other = sizes["restored"], sizes["reference"]
        if ours != other:
            raise BenchError(
                f"{match.restored}: {_size(ours)} pixels, its reference {match.reference} "
                f"{_size(other)}; expected one size (height x width)"
            )
        for way in ways:
            try:
                way.protocol.check_size(*ours)
            except BenchError as error:
                raise BenchError(f"{match.restored}: {error}") from None
        if sizes.get("degraded", ours) != ours:
            smaller.append(match)
    reading = {name for way in ways for name in way.metrics if _reads_degraded(name)}
    if smaller and reading:
        said = (
            f"{smaller[0].degraded} and {len(smaller) - 1} others have another size than the "
            f"restored images: {', '.join(sorted(reading))} cannot be measured of them"
        )
        if chosen:
            raise BenchError(f"metric: {said}; name others")
        print(f"score: {said}", file=sys.stderr)


def _reads_degraded(metric: str) -> bool:
    return "degraded" in load_metric(metric).READS


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _images(match: Match) -> dict[str, np.ndarray]:
    images = {}
    for side in SIDES:
        file = getattr(match, side)
        if file is not None:
            images[side] = read_image(file)
    return images


def _sizes(match: Match) -> dict[str, tuple[int, int]]:
    return {side: image.shape[:2] for side, image in _images(match).items()}


def _measured(ways: Sequence[Way], match: Match) -> list[dict[str, Any]]:
    """The lines of one image."""
    images = _images(match)
    lines = []
    for way in ways:
        try:
            values = way.protocol.measure(images, way.metrics)
        except BenchError as error:
            raise BenchError(f"{match.restored}: {error}") from None
        for name, value in values.items():
            module = registry.load("metrics", name)
            line = {"dataset": match.dataset, "image": match.image, "metric": module.NAME}
            line |= {"protocol": way.protocol.name, "value": round(float(value), 6)}
            lines.append(line | {"version": f"{name} {module.VERSION}"})
    return lines


def _each(work: Callable[[Match], T], items: Sequence[Match], what: str) -> Iterator[T]:
    """``work`` of every item, in order, as many at a time as there are cores.

    The first item is alone: what is made once is made once. A line on stderr tells the progress
    where it takes over ten seconds.
    """
    from tqdm import tqdm

    first, *others = items
    with tqdm(
        desc=what, total=len(items), file=sys.stderr, ascii=True, mininterval=10, delay=10
    ) as line:
        yield work(first)
        line.update()
        with _one_thread_each(), _pool() as pool:
            for done in pool.map(work, others):
                yield done
                line.update()


@contextmanager
def _pool() -> Iterator[ThreadPoolExecutor]:
    """Threads, since metrics work outside Python's lock; an error does not wait for the rest."""
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    pool = ThreadPoolExecutor(cores)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """While images are measured side by side, torch does not divide one of them as well.

    Threads that wait for each other on a busy machine take many times as long.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
