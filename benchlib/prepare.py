"""What must exist before training: pairs, metrics' and networks' weights, priors. Layer 3."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchlib import assets, registry
from benchlib.checks import images_source, source_settings
from benchlib.contracts import BenchError
from benchlib.datasets import Maker, check_names
from benchlib.files import new_folder, sha256, spread_file
from benchlib.finished import check_share
from benchlib.imageio import read_image
from benchlib.manifests import check_apart, check_one_scale
from benchlib.params import Choice, Suite, configure, located
from benchlib.priors._loop import Provider, each_prior, fill, prior_of_image
from benchlib.priors._meter import Meter
from benchlib.records import (
    each_pair,
    image_sets,
    write_json,
    write_listing,
    write_table,
)
from benchlib.sources import sides_of

VERSION = 2
MANIFEST = (
    "dataset",
    "image",
    "lq",
    "hq",
    "asset",
    "sha256_lq",
    "sha256_hq",
    "source",
    "copy",
    "pixels",
    "height",
    "width",
    "scale",
)
NAMED = 20  # refused images that an error names
REGION_SHARE = (0.01, 0.6)  # a moving object is neither a speck nor the scene


def make_data(suite: Suite, key: str) -> list[dict[str, Any]]:
    """Fetch or make the pairs of one set; write its images and ``manifest.csv``; return its rows.

    key: ``<collection>/<set>``. Raises BenchError for what its source refuses, two images of one
    name, pairs of two scales, and a picture that a run is trained on here and tested on in another
    set that is there already.
    """
    choice, name = suite.image_set(key), key.partition("/")[2]
    with new_folder(suite.work / "data" / key) as out:
        rows = []
        first: dict[str, dict[str, Any]] = {}
        for row in _pairs(suite, name, choice, out, f"data.{key}"):
            shown = row
            if _gives_clips(choice):  # frames show what their clip's first one does
                shown = first.setdefault(row["source"], row)
            rows.append({"dataset": name} | row | {"source": _scene(choice, shown)})
        _check_rows(suite, key, rows)
        write_table(out / "manifest.csv", MANIFEST, rows)
    return rows


def _gives_clips(choice: Choice) -> bool:
    """Whether pairs of one source are frames of one clip, and no photograph's copies."""
    return getattr(registry.load("datasets", choice["name"]), "CLIPS", False)


def _scene(choice: Choice, row: dict[str, Any]) -> str:
    """What a pair shows, as no other photograph of the suite is called.

    Own images are often numbered (``1.png``), and so are published sequences: two sets of them are
    not the same photographs for that. The same file in two sets is.
    """
    source = row["source"]
    if source and row["asset"]:
        return f"{row['asset']}/{source}"
    if source and "path" in choice:
        return f"{source} {row['pixels'][:8]}".strip()
    return source


def _check_rows(suite: Suite, key: str, rows: list[dict[str, Any]]) -> None:
    if not rows:
        raise BenchError(f"data.{key}: no pair; name a source that has images")
    check_names([row["image"] for row in rows], f"data.{key}")
    written = [row["lq"] for row in rows if not row["asset"]]
    check_names(written, f"data.{key}: lq")
    told = [{name: str(value) for name, value in row.items()} for row in rows]
    check_one_scale(key, told)
    for run in suite.runs:
        check_apart(sides_of(suite, run), {key: told})


def _pairs(suite: Suite, name: str, choice: Choice, out: Path, where: str) -> list[dict[str, Any]]:
    if "path" in choice:
        choice = choice | {"path": str(suite.located(choice["path"]))}
    degradation, settings = configure("degrade", choice["degrade"], f"{where}.degrade")
    source, config = configure("datasets", source_settings(choice), where)
    region = None
    if degradation.NEEDS_REGION:
        region = partial(moving_region, _sam(suite))
    make = Maker.from_module(name, degradation, settings, region)
    return source.pairs(config, out, make)


def _sam(suite: Suite) -> Provider:
    """MobileSAM with its default settings; loaded when the first photograph needs it, once."""
    sam = registry.load("priors", "sam")
    return Provider("sam", sam.Config(), kept=suite.kept_priors)


def moving_region(provider: Provider, sharp: Path) -> np.ndarray:
    """The ``(H,W)`` bool region of a sharp photograph that moves in ``local_blur``.

    provider: of masks. Of those that cover 1-60 % of the image, the one with the
    most detail in it (sum of gradients over the root of its area): a sky that moves shows nothing.
    Raises BenchError, naming the photograph, if there is none.
    """
    from skimage.color import rgb2gray
    from skimage.filters import sobel

    from benchlib.priors.kinds.masks import unpack

    with TemporaryDirectory() as folder:
        masks = prior_of_image(provider, sharp, Path(folder))
    share = masks.area / masks.labels.size
    good = np.flatnonzero((share >= REGION_SHARE[0]) & (share <= REGION_SHARE[1]))
    if not len(good):
        raise BenchError(
            f"{sharp.name}: SAM finds no region of 1-60 % of it to move; take another photograph"
        )
    detail = sobel(rgb2gray(read_image(sharp)))
    regions = unpack(masks.bits, len(masks.area))[good]
    shown = [detail[region].sum() / np.sqrt(region.sum()) for region in regions]
    return regions[np.argmax(shown)]


def make_metric(suite: Suite, name: str) -> dict[str, Any]:
    """Fetch what one metric needs; write ``metric.json``: version, unit, direction, its weights."""
    metric = registry.load("metrics", name)
    report: dict[str, Any] = {
        "metric": name,
        "name": metric.NAME,
        "version": metric.VERSION,
        "unit": metric.UNIT,
        "lower_is_better": metric.LOWER_IS_BETTER,
        "range": metric.RANGE,
        "reads": metric.READS,
        "weights": {asset: sha256(assets.fetch(asset)) for asset in metric.ASSETS},
    }
    with new_folder(suite.work / "metrics" / name) as out:
        write_json(out / "metric.json", report)
    return report


def make_weights(suite: Suite, key: str) -> dict[str, Any]:
    """Fetch one entry of ``weights``; write it as ``weights.safetensors`` and ``weights.json``.

    There is no ``weights.safetensors`` for a random start. Returns what the JSON says: asset, its
    SHA-256, source, licence, citation, tensors, parameters.
    """
    asset = suite.start(key).asset
    report: dict[str, Any] = {"asset": asset}
    with new_folder(suite.work / "weights" / key) as out:
        if asset:
            report |= _fetch_weights(asset, out / "weights.safetensors")
        write_json(out / "weights.json", report)
    return report


def _fetch_weights(asset: str, out: Path) -> dict[str, Any]:
    from benchlib.assets.weights import load_weights, save_weights

    file, entry = assets.fetch(asset), assets.find(asset)
    weights = load_weights(file)
    save_weights(weights, out)
    return {
        "sha256": sha256(file),
        "source": list(entry.source),
        "licence": entry.licence,
        "citation": entry.citation,
        "tensors": len(weights),
        "parameters": sum(tensor.numel() for tensor in weights.values()),
    }


def make_priors(suite: Suite, key: str) -> dict[str, Any]:
    """Compute one prior for every image of its collection; write a file an image and
    ``prior.json``.

    The images are the degraded ones (``data/<key>``) or those restored by a run
    (``restored/<run>``), under the same names. What was finished before a kill, or is unchanged, is
    not computed again. Nothing grows with the number of images but the files: what the JSON says of
    an image is a line of it. Returns what it says of all.
    """
    prior = suite.prior(key)
    provider = _provider(suite, key)
    numbers = {}
    if provider.kind.ENTRIES:
        numbers = count_images(suite, prior.images)
    report: dict[str, Any] = {"source": prior.images, "memory_by": Meter(provider.device).by}
    report |= provider.about()
    outside = registry.fingerprints(provider.files())
    if outside:
        report |= {"plugins": outside}
    with new_folder(suite.work / "priors" / key) as out:
        records = _each_record(suite, key, provider, numbers, out)
        write_listing(out / "prior.json", report, "images", records)
    return report


def _each_record(
    suite: Suite, key: str, provider: Provider, numbers: dict[str, int], out: Path
) -> Iterator[dict[str, Any]]:
    """Compute the prior of one image after the other; what the JSON says of it.

    Raises BenchError in the end for those that were refused.
    """
    refused = {}
    source = suite.prior(key).images
    for dataset, number in numbers.items():
        files = ((name, file) for name, file, _scene in each_image(suite, source, dataset))
        made = each_prior(provider, files, number, out / dataset, f"{key}, {dataset}:")
        again = each_image(suite, source, dataset)
        for record, (_name, _file, scene) in zip(made, again, strict=True):
            if record["refused"]:
                refused[f"{dataset}/{record['image']}"] = record["refused"]
            yield {"dataset": dataset, "scene": scene} | record
    _check_refused(key, refused, sum(numbers.values()))


def _provider(suite: Suite, key: str) -> Provider:
    """What gives one prior of the parameters; finished ones are kept for all suites."""
    prior = suite.prior(key)
    module, config = configure("priors", prior.prior, f"priors.{key}.prior")
    config = located(module, config, suite.folder)
    return Provider(prior.prior["name"], config, kept=suite.kept_priors)


def make_priors_shard(suite: Suite, key: str, index: int, number: int) -> int:
    """Compute one prior for every ``number``-th image from ``index``; ``make_priors`` finds them.

    They lie among the finished priors, by what they were made from; no output of a stage is
    touched. Returns how many images the share has. Raises BenchError as ``make_priors``.
    """
    check_share(index, number)
    provider = _provider(suite, key)
    if not provider.kind.ENTRIES:
        return 0
    source = suite.prior(key).images
    total = sum(count_images(suite, source).values())
    mine = islice(_all_images(suite, source), index, None, number)
    share = len(range(index, total, number))
    refused = fill(provider, mine, share, f"{key}, shard {index} of {number}:")
    _check_refused(key, refused, share)
    return share


def _check_refused(key: str, refused: dict[str, str], number: int) -> None:
    """Raise BenchError if an image was refused: its name -> why. The first are named."""
    if not refused:
        return
    said = [f"{name}: {why}" for name, why in islice(refused.items(), NAMED)]
    if len(refused) > NAMED:
        said.append(f"and {len(refused) - NAMED} others")
    raise BenchError(
        f"priors.{key}: {len(refused)} of {number} images refused (the others are done "
        f"and kept): {'; '.join(said)}"
    )


def count_images(suite: Suite, source: str) -> dict[str, int]:
    """How many images each set of ``data/<key>`` or ``restored/<run>`` has.

    Raises BenchError for an image that is not there yet.
    """
    numbers = {}
    for dataset in image_sets(suite, images_source(suite, source)).sets:
        numbers[dataset] = 0
        for _name, file, _scene in each_image(suite, source, dataset):
            if not file.exists():
                raise BenchError(f"{file}: not there; run the stage that makes it (dvc repro)")
            numbers[dataset] += 1
    return numbers


def prior_images(suite: Suite, source: str) -> dict[str, dict[str, Path]]:
    """set -> image name -> file, of a source as ``count_images`` takes it, which raises as that."""
    images: dict[str, dict[str, Path]] = {name: {} for name in count_images(suite, source)}
    for dataset, name, file in _all_images(suite, source):
        images[dataset][name] = file
    return images


def each_image(suite: Suite, source: str, dataset: str) -> Iterator[tuple[str, Path, str]]:
    """Name, file and scene of the images of one set, one at a time.

    source: ``data/<key>`` (the degraded ones) or ``restored/<run>``.
    """
    kind, _, key = source.partition("/")
    restored = suite.work / "restored" / key / dataset
    for pair in each_pair(image_sets(suite, images_source(suite, source)), dataset):
        file = pair.lq
        if kind == "restored":
            file = spread_file(restored, f"{pair.image}.png")
        yield pair.image, file, pair.scene


def _all_images(suite: Suite, source: str) -> Iterator[tuple[str, str, Path]]:
    """Set, name and file of the images of all sets."""
    for dataset in image_sets(suite, images_source(suite, source)).sets:
        for name, file, _scene in each_image(suite, source, dataset):
            yield dataset, name, file
