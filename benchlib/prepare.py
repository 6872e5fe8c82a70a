"""What must exist before training: pairs, metrics' and networks' weights, priors. Layer 3."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from skimage.color import rgb2gray
from skimage.filters import sobel

from benchlib import assets, registry
from benchlib.checks import images_source, source_settings
from benchlib.contracts import BenchError
from benchlib.datasets import Maker
from benchlib.files import new_folder, sha256
from benchlib.imageio import read_image
from benchlib.params import Choice, Suite, configure
from benchlib.priors._loop import Provider, compute, prior_of_image
from benchlib.priors._meter import Meter
from benchlib.records import image_sets, read_pairs, write_json, write_table

VERSION = 1
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
)
REGION_SHARE = (0.01, 0.6)  # a moving object is neither a speck nor the scene


def make_data(suite: Suite, key: str) -> list[dict[str, Any]]:
    """Fetch or make the pairs of one set; write its images and ``manifest.csv``; return its rows.

    key: ``<collection>/<set>``.
    """
    choice, name = suite.image_set(key), key.partition("/")[2]
    with new_folder(suite.work / "data" / key) as out:
        rows = []
        for row in _pairs(suite, name, choice, out, f"data.{key}"):
            rows.append({"dataset": name} | row)
        write_table(out / "manifest.csv", MANIFEST, rows)
    return rows


def _pairs(suite: Suite, name: str, choice: Choice, out: Path, where: str) -> list[dict[str, Any]]:
    if "path" in choice:
        choice = choice | {"path": str(suite.folder / choice["path"])}
    degradation, settings = configure("degrade", choice["degrade"], f"{where}.degrade")
    source, config = configure("datasets", source_settings(choice), where)
    make = Maker.from_module(name, degradation, settings, partial(moving_region, suite))
    return source.pairs(config, out, make)


def moving_region(suite: Suite, sharp: Path) -> np.ndarray:
    """The ``(H,W)`` bool region of a sharp photograph that moves in ``local_blur``.

    Of MobileSAM's masks (its default settings) that cover 1-60 % of the image, the one with the
    most detail in it (sum of gradients over the root of its area): a sky that moves shows nothing.
    Raises BenchError, naming the photograph, if there is none.
    """
    from benchlib.priors.kinds.masks import unpack

    sam = registry.load("priors", "sam")
    provider = Provider("sam", sam.Config(), kept=suite.kept_priors)
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
    from safetensors.torch import save_file

    from benchlib.assets.weights import load_weights

    file, entry = assets.fetch(asset), assets.find(asset)
    weights = load_weights(file)
    # copies: what two names share (SCI's files) is in the file under both
    save_file({name: tensor.contiguous().clone() for name, tensor in weights.items()}, out)
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
    not computed again. Returns what the JSON says.
    """
    prior = suite.prior(key)
    _, config = configure("priors", prior.prior, f"priors.{key}.prior")
    provider = Provider(prior.prior["name"], config, kept=suite.kept_priors)
    records: list[dict[str, Any]] = []
    with new_folder(suite.work / "priors" / key) as out:
        if provider.kind.ENTRIES:
            for dataset, images in prior_images(suite, prior.images).items():
                for record in compute(provider, images, out / dataset, f"{key}, {dataset}:"):
                    records.append({"dataset": dataset} | record)
        _raise_refused(key, records)
        report = {"images": records, "source": prior.images, "memory_by": Meter(provider.device).by}
        report |= provider.about()
        write_json(out / "prior.json", report)
    return report


def _raise_refused(key: str, records: list[dict[str, Any]]) -> None:
    refused = []
    for record in records:
        if record["refused"]:
            refused.append(f"{record['dataset']}/{record['image']}: {record['refused']}")
    if refused:
        said = "; ".join(refused)
        raise BenchError(
            f"priors.{key}: {len(refused)} of {len(records)} images refused (the others are done "
            f"and kept): {said}"
        )


def prior_images(suite: Suite, source: str) -> dict[str, dict[str, Path]]:
    """set -> image name -> file, for ``data/<key>`` (degraded images) or ``restored/<run>``.

    Raises BenchError for an image that is not there yet.
    """
    kind, _, key = source.partition("/")
    images: dict[str, dict[str, Path]] = {}
    for pair in read_pairs(image_sets(suite, images_source(suite, source))):
        file = pair.lq
        if kind == "restored":
            file = suite.work / "restored" / key / pair.dataset / f"{pair.image}.png"
        if not file.exists():
            raise BenchError(f"{file}: not there; run the stage that makes it (dvc repro)")
        images.setdefault(pair.dataset, {})[pair.image] = file
    return images
