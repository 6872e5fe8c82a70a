"""Tables against hand-computed values, plots, and the report page in a real browser.

Two suites: ``numbers`` has rows written by hand and no image; ``pictured`` has small photographs, masks and losses, and
names that would break a page or a table that does not escape.
"""

from __future__ import annotations

import csv
import io
import json
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from benchlib import records
from benchlib.contracts import BenchError
from benchlib.imageio import write_png
from benchlib.params import Suite
from benchlib.priors._store import mask_set, save_masks
from benchlib.report import page, pictures, plots, tables

CHROMIUM = Path("/usr/bin/chromium")
EVIL_LABEL = '<script>alert("label")</script> | 100%_$x$ & {b} **c** \\d'
EVIL_IMAGE = "<img src=x onerror=alert(2)>"
SETS = ("shake-blur", "local-blur")
TEST = {"name": "photographs", "images": ["chelsea", "coffee"]}


def make_suite(folder: Path, sets: tuple[str, ...] = SETS, ours: str = "MAP + mask dropout") -> Suite:
    """The demo's runs in short; the folder is where params.yaml would stand."""

    def run(method: str, row: str = "", label: str | None = None, test: str = "test", prior: str = "none") -> dict:
        return {
            "label": label, "row": row, "paper": "sam-deblur" if row else "", "table": "1" if row else "",
            "method": {"name": method}, "backbone": {"name": "nafnet"}, "train": "train", "test": test,
            "prior": {"train": "none", "test": prior},
        }  # fmt: skip

    raw = {
        "suite": "small",
        "training": {"iterations": 10},
        "evaluation": {},
        "data": {"train": {sets[0]: {"name": "photographs"}}, "test": dict.fromkeys(sets, TEST)},
        "priors": {
            "none": {"images": "data/test", "prior": {"name": "none"}},
            "sam": {"images": "data/test", "prior": {"name": "sam"}},
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
    suite: Suite, run: str, dataset: str, image: str, metric: str, value: float, seed: int | str = 0, **more
) -> dict:
    base = dict.fromkeys(records.ROW, "")
    protocol = {"masks": "sam", "coverage": "sam"}.get(metric, "basicsr-rgb")
    base |= {"suite": suite.suite, "run": run, "dataset": dataset, "image": image, "metric": metric, "seed": seed}
    return base | {"value": value, "protocol": protocol, "inference": "global", "revision": "abc123", **more}


# ---------------------------------------------------------------- numbers


@pytest.fixture
def numbers(tmp_path) -> Suite:
    """Two sets, three runs with rows; CAT has two seeds; nothing of map-dropout."""
    suite = make_suite(tmp_path)
    shake, local = SETS
    values = {  # run: [(dataset, image, metric, seed, value)]
        "blurred": [(shake, "a", "PSNR", 0, 20.0), (shake, "b", "PSNR", 0, 24.0), (local, "c", "PSNR", 0, 30.0)],
        "no-prior": [(shake, "a", "PSNR", 0, 25.0), (shake, "b", "PSNR", 0, 27.0), (local, "c", "PSNR", 0, 29.0)],
        "cat": [
            (shake, "a", "PSNR", 0, 26.0), (shake, "a", "PSNR", 1, 27.0), (shake, "b", "PSNR", 0, 26.0),
            (shake, "b", "PSNR", 1, 26.5), (local, "c", "PSNR", 0, 26.0), (local, "c", "PSNR", 1, 29.5),
        ],
    }  # fmt: skip
    for run, entries in values.items():
        rows = [row(suite, run, d, i, m, v, s) for d, i, m, s, v in entries]
        rows += [row(suite, run, d, i, "SSIM", v / 40, s) for d, i, _, s, v in entries]
        blurred = {i: v for _, i, _, _, v in values["blurred"]}
        rows += [row(suite, run, d, i, "MC", int(blurred[i] - v > 3), s) for d, i, _, s, v in entries]
        rows += [row(suite, run, d, i, "PSNR", v + 1, s, protocol="basicsr-y") for d, i, _, s, v in entries]
        records.write_rows(suite.results / "rows" / f"{run}.csv", rows)
    records.write_rows(suite.results / "rows" / "predeblur.csv", [row(suite, "predeblur", shake, "t", "PSNR", 99.0)])
    return suite


def cell(suite: Suite, run: str, dataset: str, metric: str, protocol: str = "basicsr-rgb"):
    table = tables.cells(suite, tables.measured(suite))
    return table.set_index(tables.GROUP).loc[(run, dataset, metric, protocol)]


def test_mean_is_over_images_of_the_mean_over_seeds(numbers):
    assert cell(numbers, "cat", "shake-blur", "PSNR")["value"] == (26.5 + 26.25) / 2
    assert cell(numbers, "cat", "shake-blur", "SSIM")["value"] == pytest.approx(26.375 / 40, abs=1e-12)
    assert cell(numbers, "cat", "shake-blur", "PSNR")[["images", "seeds"]].tolist() == [2, 2]


def test_difference_is_run_minus_no_prior_paired_by_image(numbers):
    cat = cell(numbers, "cat", "shake-blur", "PSNR")
    assert cat["difference"] == 0.375  # (1.5 - 0.75) / 2
    assert cat[["better", "worse", "paired"]].tolist() == [1, 1, 2]
    assert cell(numbers, "cat", "local-blur", "PSNR")["difference"] == -1.25
    assert cell(numbers, "no-prior", "shake-blur", "PSNR")["difference"] == 0


def test_mcr_keeps_numerator_and_denominator(numbers):
    """Seed 0 of CAT restores image c to 26 dB, the blurred one has 30: one collapse of 1 image x 2 seeds."""
    cat = cell(numbers, "cat", "local-blur", "MC")
    assert cat[["value", "numerator", "denominator", "difference"]].tolist() == [50.0, 1, 2, 50.0]
    shown = tables.comparison(numbers, tables.measured(numbers))
    assert shown.loc["CAT", ("local-blur", "MCR basicsr-rgb")] == "50.00% (1/2)"
    change = tables.differences(numbers, tables.measured(numbers))
    assert change.loc["CAT", ("local-blur", "MCR basicsr-rgb")] == "+50.00 pp (0/1 better)"
    assert change.loc["CAT", ("shake-blur", "PSNR basicsr-rgb")] == "+0.375 (1/2 better)"
    assert change.loc["CAT", ("local-blur", "PSNR basicsr-rgb")] == "-1.250 (0/1 better)"


def test_best_of_a_column_is_marked_and_a_tie_of_all_is_not(numbers):
    rows = tables.measured(numbers)
    best = tables.best(numbers, rows)
    assert best.index[best[("shake-blur", "PSNR basicsr-rgb")]].tolist() == ["CAT"]
    assert best.index[best[("local-blur", "PSNR basicsr-rgb")]].tolist() == ["Blurred input"]
    assert best.index[best[("local-blur", "MCR basicsr-rgb")]].tolist() == ["No prior"]
    assert not best[("shake-blur", "MCR basicsr-rgb")].any(), "no run collapses there: nothing is best"


def test_every_measured_column_names_its_protocol_and_the_first_leads(numbers):
    rows = tables.measured(numbers)
    names = [measure for dataset, measure in tables.comparison(numbers, rows).columns if dataset == "shake-blur"]
    assert names == ["PSNR basicsr-rgb", "PSNR basicsr-y", "SSIM basicsr-rgb", "MCR basicsr-rgb"]
    assert tables.main_columns(rows) == [("PSNR", "basicsr-rgb"), ("SSIM", "basicsr-rgb"), ("MC", "basicsr-rgb")]


def test_only_runs_of_the_common_test_collection_are_compared(numbers):
    assert tables.compared(numbers) == ["blurred", "no-prior", "cat", "map-dropout"]
    assert tables.baseline(numbers) == "no-prior"
    assert "99.000" not in tables.comparison(numbers, tables.measured(numbers)).to_csv()


def test_a_run_without_rows_is_shown_as_not_run(numbers):
    shown = tables.comparison(numbers, tables.measured(numbers))
    assert shown.loc["MAP + mask dropout", ("run", "inference")] == "not run: evaluate@map-dropout"
    assert shown.loc["CAT", ("run", "inference")] == "global"
    assert shown.loc["CAT", ("run", "seeds")] == "2"


def test_a_cell_over_fewer_images_says_so(numbers):
    rows = tables.measured(numbers)
    rows = rows[~((rows["run"] == "cat") & (rows["image"] == "b"))]
    shown = tables.comparison(numbers, rows)
    assert shown.loc["CAT", ("shake-blur", "PSNR basicsr-rgb")] == "26.500 [1 of 2 images]"
    assert (
        tables.cells(numbers, rows)
        .set_index(tables.GROUP)
        .loc[("cat", "shake-blur", "PSNR", "basicsr-rgb"), "difference"]
        == 1.5
    ), "only the shared image counts"


def test_inference_modes_that_differ_between_sets_are_named_with_their_sets(numbers):
    rows = tables.measured(numbers)
    masks = pd.DataFrame([row(numbers, "cat", "shake-blur", "a", "masks", 9, seed="", inference="")])
    rows = pd.concat([rows, masks], ignore_index=True)
    assert tables.inference(rows, "cat") == "global"
    assert tables.seeds(rows, "cat") == 2, "rows of masks have no seed"
    rows.loc[(rows["run"] == "cat") & (rows["dataset"] == "shake-blur"), "inference"] = "tlc64"
    assert tables.inference(rows, "cat") == "tlc64 (shake-blur), global (local-blur)"


def test_an_image_measured_twice_is_refused(numbers):
    rows = tables.measured(numbers)
    twice = pd.concat([rows, rows.iloc[[0]].assign(inference="tlc64")])
    with pytest.raises(BenchError, match=r"rows of run 'blurred': shake-blur/a has two values of PSNR basicsr-rgb"):
        tables.cells(numbers, twice)


def test_no_rows_at_all_is_one_line_that_names_the_command(tmp_path):
    with pytest.raises(BenchError, match=r"no compared run has rows; run `dvc repro evaluate@blurred`"):
        tables.make(make_suite(tmp_path))


def test_the_command_of_a_suite_in_a_folder_names_its_dvc_yaml(tmp_path):
    suite = make_suite(tmp_path / "suites" / "paper").model_copy(update={"root": "../.."})
    assert tables.command(suite, "cat") == "dvc repro suites/paper/dvc.yaml:evaluate@cat"


def test_metrics_json_holds_the_headline_numbers(numbers):
    paths = tables.make(numbers)
    metrics = json.loads(paths["metrics.json"].read_text())
    assert paths["metrics.json"] == numbers.results / "metrics.json"
    assert set(metrics) == {"blurred", "no-prior", "cat"}
    assert metrics["cat"]["shake-blur"] == {"PSNR": 26.375, "SSIM": 0.659375, "MCR": 0.0}
    assert metrics["cat"]["local-blur"]["MCR"] == 50.0


def test_files_of_the_tables_agree_and_are_the_same_when_made_again(numbers):
    paths = tables.make(numbers)
    assert {path.name for path in (numbers.results / "tables").iterdir()} == {
        f"{name}.{kind}" for name in ("comparison", "differences", "published") for kind in ("csv", "md", "tex")
    }
    tidy = pd.read_csv(paths["comparison.csv"]).set_index(tables.GROUP)
    assert tidy.loc[("cat", "shake-blur", "PSNR", "basicsr-rgb"), "value"] == 26.375
    assert tidy.loc[("cat", "local-blur", "MC", "basicsr-rgb"), ["numerator", "denominator"]].tolist() == [1, 2]
    assert "**26.375**" in paths["comparison.md"].read_text()
    assert r"\textbf{26.375}" in paths["comparison.tex"].read_text()
    assert "Images: shake-blur 2, local-blur 1. 1 to 2 seeds a run." in paths["comparison.md"].read_text()
    change = pd.read_csv(paths["differences.csv"]).set_index(tables.GROUP)
    assert change.loc[("cat", "local-blur", "PSNR", "basicsr-rgb"), "difference"] == -1.25
    assert "$-$1.250 (0/1 better)" in paths["differences.tex"].read_text()
    before = {name: path.read_bytes() for name, path in paths.items()}
    assert {name: path.read_bytes() for name, path in tables.make(numbers).items()} == before


def test_published_numbers_stand_apart_and_are_labelled(numbers):
    paths = tables.make(numbers)
    published = paths["published.md"].read_text()
    assert published.startswith("Published (sam-deblur, Table 1), measured on other data (GoPro, RealBlurJ, REDS, ")
    assert "| **32.88** | **0.961** |" in published
    assert "**13.92%**" in published
    assert "measured on other data" in paths["published.tex"].read_text()
    for name in ("comparison", "differences"):
        for kind in ("csv", "md", "tex"):
            text = paths[f"{name}.{kind}"].read_text()
            assert not re.search(r"32\.8|GoPro|ReLoBlur|w/o SAM", text), (name, kind)
    assert tables.published_table("sam-deblur", "1").loc["Ours", ("REDS", "MCR as published")] == "0.20%"


def test_names_from_data_are_escaped_in_markdown_and_latex(tmp_path):
    suite = make_suite(tmp_path, ours=EVIL_LABEL)
    for run in ("no-prior", "map-dropout"):
        rows = [row(suite, run, "a|b <b>_x_", "i", "PSNR", 25.0, inference="tlc|64")]
        records.write_rows(suite.results / "rows" / f"{run}.csv", rows)
    paths = tables.make(suite)
    lines = [line for line in paths["comparison.md"].read_text().splitlines() if line.startswith("|")]
    bars = {len(re.findall(r"(?<!\\)\|", line)) for line in lines}
    assert bars == {5}, "method, inference, seeds, one measure: no bar of a name splits a cell"
    assert "<script>" not in "".join(lines)
    assert r"&lt;script&gt;alert(" in "".join(lines)
    tex = paths["comparison.tex"].read_text()
    assert r"100\%\_\$x\$ \& \{b\}" in tex
    assert r"\textbackslash{}d" in tex
    body = re.sub(r"\\[&%$#_{}]", "", tex)
    assert body.count("{") == body.count("}")
    widths = {line.count("&") for line in body.splitlines() if line.rstrip().endswith(r"\\") and "multicol" not in line}
    assert len(widths) == 1, "each row of the LaTeX table has the same number of cells"
    csv_rows = list(csv.DictReader(io.StringIO(paths["comparison.csv"].read_text())))
    assert {line["label"] for line in csv_rows} == {"No prior", EVIL_LABEL}


# ---------------------------------------------------------------- pictures


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(image.astype(np.float32), (sigma, sigma, 0))


def fill(suite: Suite, photographs: dict[str, np.ndarray], segments: int = 12) -> Suite:
    """Write all that the stages before write: pairs, masks (SLIC), restorations, rows, losses and records."""
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity
    from skimage.segmentation import slic

    manifest, rows = [], {run: [] for run in tables.compared(suite)}
    data, sets = suite.work / "data" / "test", list(suite.collection("test"))
    for s, name in enumerate(sets):
        for i, (image, sharp) in enumerate(photographs.items()):
            lq = blur(sharp, 1.2 + 0.5 * s)
            detail = sharp - lq
            share = {"no-prior": 0.35, "cat": 0.35 + 0.05 * (i - s), "map-dropout": 0.38 + 0.06 * (i - 1.2 * s)}
            restored = {run: lq + part * detail for run, part in share.items()}
            if s == len(sets) - 1 and i == 0:
                restored["cat"][20:60, 10:50] = 255  # a mode collapse
            images = {"blurred": lq, **restored}
            images = {key: np.clip(np.rint(value), 0, 255).astype(np.uint8) for key, value in images.items()}
            write_png(data / name / "lq" / f"{image}.png", images["blurred"])
            write_png(data / name / "hq" / f"{image}.png", sharp)
            manifest.append({"dataset": name, "image": image, "lq": f"lq/{image}.png", "hq": f"hq/{image}.png"})
            labels = slic(images["blurred"], segments + 7 * i, start_label=0)
            masks = [labels == k for k in range(1, labels.max() + 1)]
            scores = np.ones(len(masks), np.float32)
            stored = mask_set(masks, labels.shape, scores, scores)
            save_masks(suite.work / "priors" / "sam" / name / f"{image}.npz", stored)
            floor = peak_signal_noise_ratio(sharp, images["blurred"])
            for run, picture in images.items():
                if run != "blurred":
                    write_png(suite.work / "restored" / run / name / f"{image}.png", picture)
                psnr = peak_signal_noise_ratio(sharp, picture)
                ssim = structural_similarity(sharp, picture, channel_axis=2)
                measured = {"PSNR": psnr, "SSIM": ssim, "MC": int(floor - psnr > 3)}
                if tables.has_prior(suite, run):
                    rows[run].append(row(suite, run, name, image, "masks", len(masks), seed="", inference=""))
                hardware = "Some processor, 2 threads"
                rows[run] += [row(suite, run, name, image, m, v, hardware=hardware) for m, v in measured.items()]
                for m in ("PSNR", "SSIM"):
                    rows[run].append(
                        row(suite, run, name, image, m, measured[m] * 1.01, protocol="basicsr-y", hardware=hardware)
                    )
    records.write_table(
        data / "manifest.csv", ["dataset", "image", "asset", "lq", "hq"], [{"asset": "", **line} for line in manifest]
    )
    generator = np.random.default_rng(0)
    for number, (run, entries) in enumerate(rows.items()):
        records.write_rows(suite.results / "rows" / f"{run}.csv", entries)
        columns = ["seed", "iteration", "loss", "lr", "validation_psnr"]
        if run == "blurred":
            records.write_table(suite.results / "loss" / f"{run}.csv", columns, [])
            continue
        steps = np.arange(10, 610, 10)
        loss = -18 - (5 + 0.3 * number) * (1 - np.exp(-steps / 150)) + generator.normal(0, 0.8, len(steps))
        curve = [{"seed": 0, "iteration": i, "loss": v, "lr": 1e-3} for i, v in zip(steps, loss, strict=True)]
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


@pytest.fixture(scope="module")
def pictured(tmp_path_factory) -> Suite:
    """Three crops of photographs an image set, one with a hostile file name; the last run has a hostile label."""
    from skimage import data

    photographs = {"chelsea": data.chelsea(), EVIL_IMAGE: data.coffee(), "astronaut": data.astronaut()}
    small = {name: np.ascontiguousarray(image[:200:2, 60:300:2]) for name, image in photographs.items()}
    return fill(make_suite(tmp_path_factory.mktemp("pictured"), ours=EVIL_LABEL), small)


def test_images_are_chosen_by_median_best_and_worst_gain(pictured):
    rows = tables.measured(pictured)
    gains = pictures.gains(pictured, rows).query("run == 'map-dropout'").sort_values("difference")
    scenes = {scene.why: scene for scene in pictures.choose(pictured, rows, by_set=False)}
    assert set(scenes) == {"median", "best", "worst"}
    assert scenes["best"].gain == gains["difference"].iloc[-1]
    assert scenes["worst"].gain == gains["difference"].iloc[0]
    assert scenes["median"].gain == gains["difference"].iloc[(len(gains) - 1) // 2]
    by_set = pictures.choose(pictured, rows, by_set=True)
    assert [scene.pair.dataset for scene in by_set] == ["shake-blur"] * 3 + ["local-blur"] * 3


def test_crop_is_where_two_images_differ_most():
    first = np.zeros((60, 80, 3), np.uint8)
    second = first.copy()
    second[30:40, 50:60] = 200
    rows, columns = pictures.crop_window(first, second, 16)
    assert (rows.stop - rows.start, columns.stop - columns.start) == (16, 16)
    assert rows.start <= 30
    assert rows.stop >= 40
    assert columns.start <= 50
    assert columns.stop >= 60
    assert pictures.crop_window(first, second, 100) == (slice(0, 60), slice(0, 80))


def test_error_map_is_the_mean_absolute_error_times_its_scale():
    sharp = np.full((2, 2, 3), 100, np.uint8)
    image = sharp.copy()
    image[0, 0] = (103, 97, 100)
    assert pictures.error_map(image, sharp).tolist() == [[8, 0], [0, 0]]


def test_uncovered_pixels_show_no_mask_colour():
    labels = np.zeros((6, 6), np.uint16)
    labels[:3] = 1
    colours = pictures.mask_colours(labels)
    assert (colours[3:, :, 3] == 0).all()
    assert (colours[:3, :, 3] > 0).all()
    image = np.full((6, 6, 3), 77, np.uint8)
    assert (pictures.with_masks(image, labels)[3:] == 77).all()


def test_plots_are_written_small_and_the_same_each_time(pictured):
    paths = plots.make(pictured)
    assert set(paths) == {"loss", "gain_against_masks", "mcr", "qualitative"}
    for name, path in paths.items():
        assert path == pictured.results / "plots" / f"{name}.png"
        assert path.stat().st_size < plots.MOST_BYTES
        with Image.open(path) as image:
            assert min(image.size) > 200
    again = plots.draw(pictured, names=("mcr", "loss"))
    assert {name: plots.png(figure) for name, figure in again.items()} == {
        name: paths[name].read_bytes() for name in again
    }


def test_gain_plot_shows_each_image_at_its_mask_count(pictured):
    rows = tables.measured(pictured)
    figure = plots.gain_against_masks(pictured, rows)
    assert isinstance(figure, Figure)
    panel = figure.axes[0]
    dots = np.concatenate([collection.get_offsets() for collection in panel.collections])
    gains = pictures.gains(pictured, rows).query("run == 'cat'")
    masks = rows[(rows["run"] == "cat") & (rows["metric"] == "masks")].set_index(["dataset", "image"])["value"]
    expected = {(masks[(g.dataset, g.image)], g.difference) for g in gains.itertuples()}
    assert {(x, y) for x, y in dots} == expected


def test_a_missing_input_of_a_plot_is_one_line(numbers):
    with pytest.raises(BenchError, match="no compared run has a loss file; run the train stage"):
        plots.loss_curves(numbers)
    with pytest.raises(BenchError, match="no run has mask counts"):
        plots.gain_against_masks(numbers)


# ---------------------------------------------------------------- the page


@pytest.fixture(scope="module")
def report(pictured) -> Path:
    return page.make(pictured)


def test_the_headline_is_computed_and_claims_no_more(numbers):
    said = page.headline(numbers, tables.measured(numbers))
    assert said["verdict"] == "“CAT” has a higher mean PSNR than “No prior” on 1 of 2 test sets."
    assert said["more"].strip() == "“CAT” is below the degraded input itself on local-blur."
    assert said["caution"] == "3 test images made from 2 photographs, 1 to 2 seeds a run: no significance claimed."
    assert said["figures"] == [
        {"set": "shake-blur", "count": "1 of 2 images better", "difference": "+0.375", "meaning": "better"},
        {"set": "local-blur", "count": "0 of 1 images better", "difference": "−1.250", "meaning": "worse"},
    ]


def test_the_page_is_one_small_file_without_addresses(report, pictured):
    text = report.read_text()
    assert report == pictured.results / "report.html"
    assert len(text) < 6_000_000
    assert not re.search(r"""(src|href|srcset|action)=["'](?!data:|#)""", text)
    assert not re.search(r"@import|url\(", text)
    assert page.render(pictured, tables.measured(pictured)) == text


def test_names_from_data_are_escaped_in_the_page(report):
    text = report.read_text()
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert "&lt;img src=x onerror=alert(2)&gt;" in text
    assert "&lt;script&gt;alert(&#34;label&#34;)&lt;/script&gt;" in text


def test_published_numbers_are_not_in_the_measured_table(report):
    text = report.read_text()
    ours = text[text.index('id="measured"') : text.index('id="published"')]
    theirs = text[text.index('id="published"') : text.index('id="compare"')]
    assert "32.85" not in ours
    assert "54.68%" not in ours
    assert "32.85" in theirs
    assert "measured on other data (GoPro, RealBlurJ, REDS, ReLoBlur)" in theirs


def test_a_page_without_pictures_is_made_from_rows_alone(numbers, tmp_path):
    """No restored image is needed while no run has a reference to choose images by."""
    (numbers.results / "rows" / "no-prior.csv").unlink()
    text = page.make(numbers, tmp_path / "bare.html").read_text()
    assert "not run: <code>dvc repro evaluate@no-prior</code>" in text
    assert "Nothing to compare yet" in text
    assert 'id="compare"' not in text


@pytest.fixture(scope="module")
def browser():
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not there; install Debian's chromium to test the page in a browser")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    flags = "headless no-sandbox disable-gpu disable-background-networking disable-component-update no-first-run"
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=[f"--{flag}" for flag in flags.split()]
        )
        yield browser
        browser.close()


@pytest.fixture(params=["light", "dark"])
def opened(browser, report, request):
    """(page, requests that left the file, console errors): desktop in light, a phone in dark."""
    size = {"width": 1280, "height": 900} if request.param == "light" else {"width": 390, "height": 844}
    context = browser.new_context(color_scheme=request.param, viewport=size)
    sheet, left, errors = context.new_page(), [], []

    def guard(route):
        if route.request.url == report.as_uri() or route.request.url.startswith("data:"):
            route.continue_()
        else:
            left.append(route.request.url)
            route.abort()

    context.route("**/*", guard)
    sheet.on("console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None)
    sheet.on("pageerror", lambda error: errors.append(str(error)))
    sheet.on("dialog", lambda dialog: (errors.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    sheet.goto(report.as_uri())
    yield sheet, left, errors
    context.close()


def use(sheet) -> None:
    """Touch every control once."""
    sheet.locator("#masks").check()
    for control in ("#scene", "#left", "#right"):
        for value in sheet.locator(f"{control} option").evaluate_all("options => options.map(o => o.value)"):
            sheet.locator(control).select_option(value)
    sheet.locator("summary").first.click()


def test_nothing_is_requested_and_nothing_errs(opened):
    sheet, left, errors = opened
    use(sheet)
    sheet.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    assert sheet.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert left == []
    assert errors == []


def test_the_slider_moves_the_clip_by_keyboard_and_pointer(opened):
    sheet, _, _ = opened
    edge = "parseFloat(getComputedStyle(document.getElementById('image-right')).clipPath.split(' ')[3])"
    assert sheet.evaluate(edge) == 50
    slider = sheet.locator("#slider")
    slider.focus()
    for _ in range(10):
        slider.press("ArrowRight")
    assert sheet.evaluate(edge) == 60
    slider.press("Home")
    assert sheet.evaluate(edge) == 0
    assert slider.get_attribute("aria-valuetext") == "0% left image, 100% right image"
    box = sheet.locator("#stage").bounding_box()
    sheet.locator("#stage").click(position={"x": box["width"] * 0.25, "y": 20})
    assert sheet.evaluate(edge) == pytest.approx(25, abs=1)


def test_masks_are_toggled(opened):
    sheet, _, _ = opened
    overlay = sheet.locator("#overlay")
    assert not overlay.is_visible()
    sheet.locator("#masks").check()
    assert overlay.is_visible()
    assert re.fullmatch(r"\d+ masks in colours", overlay.get_attribute("alt"))
    sheet.locator("#masks").uncheck()
    assert not overlay.is_visible()


def test_image_and_method_can_be_chosen(opened, pictured):
    sheet, _, _ = opened
    assert sheet.locator("#scene option").count() == 6
    before = [sheet.locator(f"#image-{side}").get_attribute("src") for side in ("left", "right")]
    sheet.locator("#scene").select_option("4")
    after = [sheet.locator(f"#image-{side}").get_attribute("src") for side in ("left", "right")]
    assert before[0] != after[0]
    assert before[1] != after[1]
    sheet.locator("#right").select_option("no-prior")
    scene = pictures.choose(pictured, tables.measured(pictured), by_set=True)[4]
    rows = tables.measured(pictured).query("run == 'no-prior' and metric == 'PSNR' and protocol == 'basicsr-rgb'")
    psnr = rows[(rows["dataset"] == scene.pair.dataset) & (rows["image"] == scene.pair.image)]["value"].item()
    assert sheet.locator("#read-right").inner_text() == f"No prior, {psnr:.2f} dB"


def test_the_page_does_not_scroll_sideways(opened):
    sheet, _, _ = opened
    use(sheet)
    assert sheet.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_axe_finds_no_serious_violation(opened):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    sheet, _, _ = opened
    use(sheet)
    found = axe.Axe().run(sheet).response["violations"]
    serious = [
        (violation["id"], [node["html"][:120] for node in violation["nodes"]])
        for violation in found
        if violation["impact"] in ("serious", "critical")
    ]
    assert serious == []


def test_headings_follow_each_other_without_a_gap(opened):
    sheet, _, _ = opened
    levels = sheet.locator("h1, h2, h3").evaluate_all("nodes => nodes.map(node => Number(node.tagName[1]))")
    assert levels[0] == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))
