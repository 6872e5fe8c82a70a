"""What must exist before training: pairs of images and their priors. Floor 3: introduces photographs, degradations
and priors to each other.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from skimage.color import rgb2gray
from skimage.filters import sobel

from benchlib import assets
from benchlib.contracts import BenchError
from benchlib.files import new_folder, sha256
from benchlib.imageio import read_image
from benchlib.params import Choice, Suite, configure
from benchlib.records import read_pairs, write_json, write_table

MANIFEST = ("dataset", "image", "lq", "hq", "asset", "sha256_lq", "sha256_hq", "source", "copy")
REGION_SHARE = (0.01, 0.6)  # a moving object is neither a speck nor the scene


def make_data(suite: Suite, key: str) -> list[dict[str, Any]]:
    """Fetch or make the pairs of one collection; write its images and ``manifest.csv``; return the manifest's rows."""
    rows: list[dict[str, Any]] = []
    with new_folder(suite.work / "data" / key) as out:
        for name, choice in suite.collection(key).items():
            rows += [{"dataset": name} | row for row in _pairs(suite, name, choice, out / name, f"data.{key}.{name}")]
        write_table(out / "manifest.csv", MANIFEST, rows)
    return rows


def _pairs(suite: Suite, name: str, choice: Choice, out: Path, where: str) -> list[dict[str, Any]]:
    if "path" in choice:
        choice = choice | {"path": str(suite.folder / choice["path"])}
    source, config = configure("datasets", choice, where)
    if "degrade" not in choice:
        return source.pairs(config, out)
    kind, settings = configure("degrade", choice["degrade"], f"{where}.degrade")

    def degrade(hq: np.ndarray, rng: np.random.Generator, region: np.ndarray | None) -> np.ndarray:
        return kind.degrade(hq, settings, rng, region)

    region = partial(moving_region, suite) if kind.NEEDS_REGION else None
    return source.pairs(config, out, name, degrade, region, kind.multiple(settings) if hasattr(kind, "multiple") else 1)


def moving_region(suite: Suite, sharp: Path) -> np.ndarray:
    """The ``(H,W)`` bool region of a sharp photograph that moves in ``local-blur``.

    Of MobileSAM's masks (its default settings) that cover 1-60 % of the image, the one with the most detail in it (sum
    of gradients over the root of its area): a sky that moves shows nothing.
    Raises BenchError, naming the photograph, if there is none.
    """
    from benchlib.priors import sam
    from benchlib.priors._store import unpack

    masks = _region_masks(suite, sharp, sam)
    share = masks.area / masks.labels.size
    good = np.flatnonzero((share >= REGION_SHARE[0]) & (share <= REGION_SHARE[1]))
    if not len(good):
        raise BenchError(f"{sharp.name}: SAM finds no region of 1-60 % of it to move; take another photograph")
    detail = sobel(rgb2gray(read_image(sharp)))
    regions = unpack(masks.bits, len(masks.area))[good]
    return regions[np.argmax([detail[region].sum() / np.sqrt(region.sum()) for region in regions])]


def _region_masks(suite: Suite, sharp: Path, sam: Any) -> Any:
    with new_folder(suite.work / ".regions" / sharp.stem) as out:
        sam.compute({sharp.stem: sharp}, out, sam.Config(), resume=suite.masks)
        return sam.load(out / f"{sharp.stem}.npz")


def make_weights(suite: Suite, key: str) -> dict[str, Any]:
    """Fetch one entry of ``weights``; write it as ``weights.safetensors`` (none for a random start) and
    ``weights.json``; return that: asset, its SHA-256, source, licence, citation, tensors, parameters.
    """
    asset = suite.start(key).asset
    report: dict[str, Any] = {"asset": asset}
    with new_folder(suite.work / "weights" / key) as out:
        if asset:
            from safetensors.torch import save_file

            from benchlib.assets.weights import load_weights

            file, entry = assets.fetch(asset), assets.find(asset)
            weights = load_weights(file)
            save_file({name: tensor.contiguous() for name, tensor in weights.items()}, out / "weights.safetensors")
            report |= {"sha256": sha256(file), "source": list(entry.source), "licence": entry.licence}
            report |= {"citation": entry.citation, "tensors": len(weights)}
            report["parameters"] = sum(tensor.numel() for tensor in weights.values())
        write_json(out / "weights.json", report)
    return report


def make_priors(suite: Suite, key: str) -> dict[str, Any]:
    """Compute one prior for every image of its collection; write one file an image and ``prior.json``; return that.

    The images are the degraded ones (``data/<key>``) or those restored by a run (``restored/<run>``), under the same
    names. What was finished before a kill, or is unchanged, is not computed again.
    """
    prior = suite.prior(key)
    module, config = configure("priors", prior.prior, f"priors.{key}.prior")
    records: list[dict[str, Any]] = []
    with new_folder(suite.work / "priors" / key) as out:
        if module.ENTRIES:
            for dataset, images in prior_images(suite, prior.images).items():
                made = module.compute(images, out / dataset, config, resume=suite.masks)
                records += [{"dataset": dataset} | record for record in made]
        refused = [f"{r['dataset']}/{r['image']}: {r['refused']}" for r in records if r.get("refused")]
        if refused:
            raise BenchError(
                f"priors.{key}: {len(refused)} of {len(records)} images refused (the others are done and kept): "
                + "; ".join(refused)
            )
        report = {"images": records, "source": prior.images} | module.record(config)
        write_json(out / "prior.json", report)
    return report


def prior_images(suite: Suite, source: str) -> dict[str, dict[str, Path]]:
    """set -> image name -> file, for ``data/<key>`` (degraded images) or ``restored/<run>``."""
    kind, _, key = source.partition("/")
    collection = key if kind == "data" else suite.run(key).test
    images: dict[str, dict[str, Path]] = {}
    for pair in read_pairs(suite, collection):
        file = pair.lq if kind == "data" else suite.work / "restored" / key / pair.dataset / f"{pair.image}.png"
        if not file.exists():
            raise BenchError(f"{file}: not there; run the stage that makes it (dvc repro)")
        images.setdefault(pair.dataset, {})[pair.image] = file
    return images
