"""Suites for the report's tests: of rows written by hand, of small photographs, masks and losses.

The second has names that would break a page or a table that does not escape.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchlib import records
from benchlib.imageio import write_png
from benchlib.params import Ablation, Suite
from benchlib.priors.kinds import masks as kind
from benchlib.report import tables

EVIL_LABEL = '<script>alert("label")</script> | 100%_$x$ & {b} **c** \\d'
EVIL_IMAGE = "<img src=x onerror=alert(2)>"
SETS = ("shake-blur", "local-blur")
TEST = {"name": "photographs", "images": ["chelsea", "coffee"]}


def make_suite(
    folder: Path, sets: tuple[str, ...] = SETS, ours: str = "MAP + mask dropout"
) -> Suite:
    """The demo's runs in short; the folder is where params.yaml would stand."""

    def run(
        method: str,
        row: str = "",
        label: str | None = None,
        test: str = "test",
        prior: str = "none",
    ) -> dict:
        return {
            "label": label, "row": row,
            "paper": "sam-deblur" if row else "", "table": "1" if row else "",
            "method": {"name": method}, "backbone": {"name": "nafnet"},
            "images": {"train": "train", "test": test},
            "prior": {"train": "none", "test": prior}, "init": "weights/random",
        }  # fmt: skip

    raw = {
        "suite": "small",
        "task": "image",
        "metrics": ["psnr", "ssim", "mc"],
        "training": {"iterations": 10},
        "evaluation": {},
        "data": {f"train/{sets[0]}": {"name": "photographs"}}
        | {f"test/{name}": TEST for name in sets},
        "weights": {"random": {"asset": None}},
        "priors": {
            "none": {"kind": "none", "images": "data/test", "prior": {"name": "none"}},
            "sam": {"kind": "masks", "images": "data/test", "prior": {"name": "sam"}},
        },
        "runs": {
            "predeblur": run("none", test="train"),
            "blurred": run("identity", label="Blurred input"),
            "no-prior": run("none", "w/o SAM", "No prior"),
            "cat": run("cat", "CAT", "CAT", prior="sam"),
            "map-dropout": run("map", "Ours", ours, prior="sam"),
        },
    }
    suite = Suite.model_validate(raw)
    return suite.model_copy(update={"folder": folder.resolve()})


def row(
    suite: Suite,
    run: str,
    dataset: str,
    image: str,
    metric: str,
    value: float,
    seed: int | str = 0,
    **more,
) -> dict:
    base = dict.fromkeys(records.ROW, "")
    protocol = {"masks": "sam", "coverage": "sam"}.get(metric, "basicsr-rgb")
    base |= {
        "suite": suite.suite,
        "run": run,
        "dataset": dataset,
        "image": image,
        "metric": metric,
        "seed": seed,
    }
    return base | {
        "value": value,
        "protocol": protocol,
        "inference": "global",
        "revision": "abc123",
        **more,
    }


def write_numbers(suite: Suite) -> Suite:
    """Two sets, three runs with rows; CAT has two seeds; nothing of map-dropout."""
    shake, local = SETS
    values = {  # run: [(dataset, image, metric, seed, value)]
        "blurred": [
            (shake, "a", "PSNR", 0, 20.0),
            (shake, "b", "PSNR", 0, 24.0),
            (local, "c", "PSNR", 0, 30.0),
        ],
        "no-prior": [
            (shake, "a", "PSNR", 0, 25.0),
            (shake, "b", "PSNR", 0, 27.0),
            (local, "c", "PSNR", 0, 29.0),
        ],
        "cat": [
            (shake, "a", "PSNR", 0, 26.0),
            (shake, "a", "PSNR", 1, 27.0),
            (shake, "b", "PSNR", 0, 26.0),
            (shake, "b", "PSNR", 1, 26.5),
            (local, "c", "PSNR", 0, 26.0),
            (local, "c", "PSNR", 1, 29.5),
        ],
    }
    for run, entries in values.items():
        rows = [row(suite, run, d, i, m, v, s) for d, i, m, s, v in entries]
        rows += [row(suite, run, d, i, "SSIM", v / 40, s) for d, i, _, s, v in entries]
        blurred = {i: v for _, i, _, _, v in values["blurred"]}
        rows += [
            row(suite, run, d, i, "MC", int(blurred[i] - v > 3), s) for d, i, _, s, v in entries
        ]
        rows += [
            row(suite, run, d, i, "PSNR", v + 1, s, protocol="basicsr-y")
            for d, i, _, s, v in entries
        ]
        records.write_rows(suite.results / "rows" / f"{run}.csv", rows)
    records.write_rows(
        suite.results / "rows" / "predeblur.csv",
        [row(suite, "predeblur", shake, "t", "PSNR", 99.0)],
    )
    return suite


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(image.astype(np.float32), (sigma, sigma, 0))


def fill(suite: Suite, photographs: dict[str, np.ndarray], segments: int = 12) -> Suite:
    """Write what the stages before write: pairs, SLIC masks, restorations, rows, losses, record."""
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity
    from skimage.segmentation import slic

    rows = {run: [] for run in tables.compared(suite)}
    data, sets = suite.work / "data" / "test", list(suite.collection("test"))
    for s, name in enumerate(sets):
        manifest = []
        for i, (image, sharp) in enumerate(photographs.items()):
            lq = blur(sharp, 1.2 + 0.5 * s)
            detail = sharp - lq
            share = {
                "no-prior": 0.35,
                "cat": 0.35 + 0.05 * (i - s),
                "map-dropout": 0.38 + 0.06 * (i - 1.2 * s),
            }
            restored = {run: lq + part * detail for run, part in share.items()}
            if s == len(sets) - 1 and i == 0:
                restored["cat"][20:60, 10:50] = 255  # a mode collapse
            images = {"blurred": lq, **restored}
            images = {
                key: np.clip(np.rint(value), 0, 255).astype(np.uint8)
                for key, value in images.items()
            }
            write_png(data / name / "lq" / f"{image}.png", images["blurred"])
            write_png(data / name / "hq" / f"{image}.png", sharp)
            line = {"dataset": name, "image": image, "asset": "", "source": image}
            manifest.append(line | {"lq": f"lq/{image}.png", "hq": f"hq/{image}.png"})
            labels = slic(images["blurred"], segments + 7 * i, start_label=0)
            masks = [labels == k for k in range(1, labels.max() + 1)]
            scores = np.ones(len(masks), np.float32)
            stored = kind.mask_set(masks, labels.shape, scores, scores)
            kind.save(suite.work / "priors" / "sam" / name / f"{image}.npz", stored)
            floor = peak_signal_noise_ratio(sharp, images["blurred"])
            for run, picture in images.items():
                if run != "blurred":
                    write_png(suite.work / "restored" / run / name / f"{image}.png", picture)
                psnr = peak_signal_noise_ratio(sharp, picture)
                ssim = structural_similarity(sharp, picture, channel_axis=2)
                measured = {"PSNR": psnr, "SSIM": ssim, "MC": int(floor - psnr > 3)}
                if tables.has_prior(suite, run):
                    rows[run].append(
                        row(suite, run, name, image, "masks", len(masks), seed="", inference="")
                    )
                hardware = "Some processor, 2 threads"
                rows[run] += [
                    row(suite, run, name, image, m, v, hardware=hardware)
                    for m, v in measured.items()
                ]
                for m in ("PSNR", "SSIM"):
                    rows[run].append(
                        row(
                            suite,
                            run,
                            name,
                            image,
                            m,
                            measured[m] * 1.01,
                            protocol="basicsr-y",
                            hardware=hardware,
                        )
                    )
        records.write_table(data / name / "manifest.csv", manifest[0], manifest)
    generator = np.random.default_rng(0)
    for number, (run, entries) in enumerate(rows.items()):
        records.write_rows(suite.results / "rows" / f"{run}.csv", entries)
        columns = ["seed", "iteration", "loss", "lr", "validation_psnr"]
        if run == "blurred":
            records.write_table(suite.results / "loss" / f"{run}.csv", columns, [])
            continue
        steps = np.arange(10, 610, 10)
        loss = (
            -18
            - (5 + 0.3 * number) * (1 - np.exp(-steps / 150))
            + generator.normal(0, 0.8, len(steps))
        )
        curve = [
            {"seed": 0, "iteration": i, "loss": v, "lr": 1e-3}
            for i, v in zip(steps, loss, strict=True)
        ]
        curve[-1]["validation_psnr"] = 30.0 + number
        records.write_table(suite.results / "loss" / f"{run}.csv", columns, curve)
        record = {
            "run": run,
            "training": {"iterations": 600},
            "train_seconds": 93.2,
            "parameters": 291_000,
            "revision": "abc123",
        }
        records.write_json(suite.results / "records" / f"{run}.json", record)
    return suite


def write_pictured(folder: Path) -> Suite:
    """Three crops of photographs an image set, one's file and the last run's label hostile."""
    from skimage import data

    photographs = {
        "chelsea": data.chelsea(),
        EVIL_IMAGE: data.coffee(),
        "astronaut": data.astronaut(),
    }
    small = {
        name: np.ascontiguousarray(image[:200:2, 60:300:2]) for name, image in photographs.items()
    }
    return fill(make_suite(folder, ours=EVIL_LABEL), small)


def sr_suite(
    folder: Path, sets: tuple[str, ...] = ("Set5", "Set14"), average: bool = True
) -> Suite:
    """IMDN x4 with all runs of a control, and x2 in a collection of its own.

    folder: where params.yaml would stand.
    """

    def run(
        scale: int, method: str, prior: str = "none", row: str = "", swap: str | None = None, **more
    ) -> dict:
        return {
            "problem": "super-resolution",
            "paper": "spt" if row else "", "table": "1" if row else "", "row": row,
            "method": {"name": method}, "backbone": {"name": "imdn", "scale": scale},
            "images": {"train": "train", "test": f"test-x{scale}"},
            "prior": {"train": "none", "test": prior, "swap": swap}, "init": "weights/imdn",
        } | more  # fmt: skip

    priors = {"none": {"kind": "none", "images": "data/train", "prior": {"name": "none"}}}
    for key, name in {"sam": "sam", "slic": "superpixels"}.items():
        priors[key] = {"kind": "masks", "images": "data/test-x4", "prior": {"name": name}}
    raw = {
        "suite": "sr",
        "task": "image",
        "metrics": ["psnr", "ssim"],
        "training": {"iterations": 800},
        "evaluation": {"average": average},
        "data": {"train/T91": {"name": "folder"}, "test-x2/Set5": {"name": "paired"}}
        | {f"test-x4/{name}": {"name": "paired"} for name in sets},
        "weights": {"imdn": {"asset": None}},
        "priors": priors,
        "runs": {
            "bicubic": run(4, "identity", label="bicubic"),
            "imdn": run(4, "none", label="IMDN", row="IMDN x4"),
            "imdn-x2": run(2, "none", label="IMDN", row="IMDN x2"),
            "further": run(4, "none", label="IMDN, trained on"),
            "spt": run(4, "spt", "sam", label="SPT", row="IMDN x4 + SPT"),
            "spt-zeroed": run(4, "spt", "sam", swap="zeroed", label="SPT, prior zeroed"),
            "spt-slic": run(4, "spt", "slic", label="SPT, superpixels"),
            "spt-shuffled": run(
                4, "spt", "sam", swap="shuffled",
                label="SPT, another image's", reference="spt-zeroed",
            ),
            "spt-x2": run(2, "spt", label="SPT", row="IMDN x2 + SPT"),
        },
        "controls": {
            "spt": {
                "label": "SPT on IMDN x4", "base": "imdn", "trained": "further",
                "zeroed": "spt-zeroed", "segmentation": "spt-slic", "prior": "spt",
                "others": ["spt-shuffled"],
            }
        },
    }  # fmt: skip
    return Suite.model_validate(raw).model_copy(update={"folder": folder.resolve()})


def write_psnr(
    suite: Suite, values: dict[str, dict[str, list]], protocol: str = "basicsr-y@4"
) -> None:
    """Rows of PSNR: run -> data set -> one value an image, or a list of them, one a seed.

    Images are called i0, i1.
    """
    for run, sets in values.items():
        rows = [
            row(suite, run, name, f"i{i}", "PSNR", value, seed, protocol=protocol)
            for name, images in sets.items()
            for i, seeds in enumerate(images)
            for seed, value in enumerate(seeds if isinstance(seeds, list) else [seeds])
        ]
        records.write_rows(suite.results / "rows" / f"{run}.csv", rows)


def swapped_rows(suite: Suite, dataset: str, image: str, psnr: float) -> list[dict]:
    """What an evaluation with swaps adds of one image of SPT; psnr: with the prior itself."""
    rows = []
    for control, lost in {"zeroed": 0.012, "shuffled": 0.003}.items():
        place = {"swap": control, "inference": "whole"}
        measured = place | {"protocol": "basicsr-y@4"}
        rows.append(row(suite, "spt", dataset, image, "PSNR", psnr - lost, **measured))
        for metric, value in {"reach": 20 * lost, "reach-most": 7}.items():
            rows.append(row(suite, "spt", dataset, image, metric, value, **place, protocol=""))
    return rows


def write_enlarging(folder: Path) -> Suite:
    """IMDN x4 with every control and an ablation: three photographs a set, two seeds, masks,
    records with a choice, a cost table; SPT restored again with its prior zeroed and another's.

    SPT's change over the base is about 0.3 dB on all images, most of it from further training, next
    to none from SAM.
    """
    from PIL import Image
    from skimage import data
    from skimage.metrics import peak_signal_noise_ratio
    from skimage.segmentation import slic

    plain = sr_suite(folder)
    swapping = plain.evaluation.model_copy(update={"swap": ["zeroed", "shuffled"]})
    ablation = Ablation(label="which masks", paper="spt", table="6", runs=["spt-slic", "spt"])
    more = {"evaluation": swapping, "ablations": {"masks": ablation}}
    suite = plain.model_copy(update=more)
    names = {
        "Set5": ("astronaut", "chelsea", "coffee"),
        "Set14": ("cat", "rocket", "immunohistochemistry"),
    }
    shares = {
        "imdn": 0.30,
        "further": 0.33,
        "spt-zeroed": 0.335,
        "spt-slic": 0.335,
        "spt": 0.337,
        "spt-shuffled": 0.334,
    }
    rows: dict[str, list[dict]] = {run: [] for run in ("bicubic", *shares)}
    where, rng = suite.work / "data" / "test-x4", np.random.default_rng(0)
    for dataset, images in names.items():
        manifest = []
        for image in images:
            photograph = {"cat": data.chelsea()[100:, 150:]}.get(image)
            whole = photograph if photograph is not None else getattr(data, image)()
            sharp = np.ascontiguousarray(
                whole[:200, :240] if image != "coffee" else whole[100:300, 100:340]
            )
            small = np.asarray(Image.fromarray(sharp).resize((60, 50), Image.Resampling.BICUBIC))
            up = np.asarray(
                Image.fromarray(small).resize((240, 200), Image.Resampling.BICUBIC)
            ).astype(float)
            write_png(where / dataset / "hq" / f"{image}.png", sharp)
            write_png(where / dataset / "lq" / f"{image}.png", small)
            line = {"dataset": dataset, "image": image, "asset": "", "source": image}
            manifest.append(line | {"lq": f"lq/{image}.png", "hq": f"hq/{image}.png"})
            labels = slic(small, 9, start_label=0)
            masks = [labels == k for k in range(1, labels.max() + 1)]
            scores = np.ones(len(masks), np.float32)
            stored = kind.mask_set(masks, labels.shape, scores, scores)
            kind.save(suite.work / "priors" / "sam" / dataset / f"{image}.npz", stored)
            more = {
                "protocol": "basicsr-y@4",
                "hardware": "Some processor, 2 threads",
                "inference": "whole",
            }
            at = (suite, dataset, image)
            for run, share in {"bicubic": 0.0, **shares}.items():
                for seed in (0,) if run in ("bicubic", "imdn") else (0, 1):
                    part = share + rng.normal(0, 0.002) * (run not in ("bicubic", "imdn"))
                    restored = np.clip(np.rint(up + part * (sharp - up)), 0, 255).astype(np.uint8)
                    psnr = peak_signal_noise_ratio(sharp, restored)
                    rows[run].append(row(at[0], run, *at[1:], "PSNR", psnr, seed, **more))
                    rounded = more | {"protocol": "matlab-y-rounded@4"}
                    rows[run].append(row(at[0], run, *at[1:], "PSNR", psnr - 0.01, seed, **rounded))
                    if seed == 0 and run == "spt":
                        rows[run] += swapped_rows(suite, dataset, image, psnr)
                    if seed == 0 and run != "bicubic":
                        write_png(
                            suite.work / "restored" / run / dataset / f"{image}.png", restored
                        )
                if tables.has_prior(suite, run):
                    count = len(masks) if run != "spt-zeroed" else 0
                    rows[run].append(
                        row(*at[:1], run, *at[1:], "masks", count, seed="", inference="")
                    )
        records.write_table(where / dataset / "manifest.csv", manifest[0], manifest)
    for run, entries in rows.items():
        records.write_rows(suite.results / "rows" / f"{run}.csv", entries)
        trained = run not in ("bicubic", "imdn")
        candidates = [("T91", 30.1234, True), ("BSDS500", 30.0123, False)] if trained else []
        budget = {
            "iterations": 800,
            "batch": 4,
            "crop": 32,
            "lr": 1e-4,
            "loss": "l1",
            "schedule": "halve",
        }
        kept = {f"seed{seed}": {"iteration": 90, "validation": 30.1234} for seed in (0, 1)}
        record = {
            "run": run, "init": suite.run(run).init, "training": budget,
            "seeds": [0, 1] if trained else [0], "parameters": 715_176,
            "trained_parameters": 69_000 if trained else 0, "train_seconds": 812.0 * trained,
            "revision": "abc123", "hardware": "Some processor, 2 threads",
            "choice": [
                {"changes": {"sets": [name]}, "validation": psnr, "iteration": 90, "chosen": chosen}
                for name, psnr, chosen in candidates
            ],
            "kept": kept if trained else {},
        }  # fmt: skip
        records.write_json(suite.results / "records" / f"{run}.json", record)
    imdn_x2 = [
        row(suite, "imdn-x2", "Set5", name, "PSNR", 37.9, protocol="basicsr-y@2")
        for name in names["Set5"]
    ]
    records.write_rows(suite.results / "rows" / "imdn-x2.csv", imdn_x2)
    cost = []
    for run, seconds, prior in (("imdn", 9.5, 0.0), ("spt", 10.25, 7.3), ("further", 100.0, 0.0)):
        line = {"run": run, "label": tables.run_label(suite, run), "note": ""}
        line |= {"hardware": "Some processor, 2 threads", "parameters": 715_176}
        line |= {"trained_parameters": "" if run == "imdn" else 69_000}
        line |= {"multiply_adds_per_megapixel": 7.1e11, "seconds_per_megapixel": seconds}
        line |= {"peak_mib_per_megapixel": 1234.5, "prior_seconds_per_image": prior}
        cost.append(line | {"train_seconds": 406.0})
    records.write_table(suite.results / "tables" / "cost.csv", cost[0], cost)
    return suite
