"""Gains and losses, revisions, one's own images: against rows, git and pixels that are known."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import run, small_params, write_params
from PIL import Image
from report_suite import EVIL_IMAGE, make_suite, write_numbers, write_pictured
from skimage import data

from benchlib import records
from benchlib.contracts import BenchError
from benchlib.imageio import read_image, write_png
from benchlib.params import load_params
from benchlib.plan import open_run
from benchlib.prepare import make_data
from benchlib.priors.kinds.masks import load as load_masks
from benchlib.records import read_rows, write_rows
from benchlib.report import explore, pictures
from benchlib.restore import build_model


@pytest.fixture(scope="module")
def pictured(tmp_path_factory):
    return write_pictured(tmp_path_factory.mktemp("pictured"))


# ---------------------------------------------------------------- gains and losses


def test_gains_are_the_rows_difference_largest_first(tmp_path):
    suite = write_numbers(make_suite(tmp_path))
    table = explore.gains(suite, "cat")
    # seeds 0 and 1 against the reference's one: (26+27)/2-25, (26+26.5)/2-27, (26+29.5)/2-29
    assert table[["dataset", "image"]].agg("/".join, axis=1).tolist() == [
        "shake-blur/a",
        "shake-blur/b",
        "local-blur/c",
    ]
    assert table["difference"].tolist() == pytest.approx([1.5, -0.75, -1.25])
    assert table["value"].tolist() == pytest.approx([26.5, 26.25, 27.75])
    assert (
        set(table["reference"]) == {"no-prior"} and table[["masks", "coverage"]].isna().all().all()
    )
    assert explore.gains(suite).equals(table)  # map-dropout has no rows, so the report looks at cat
    for count, images in ((1, ["a", "c"]), (2, ["a", "b", "c"]), (9, ["a", "b", "c"])):
        assert explore.extremes(suite, "cat", count)["image"].tolist() == images


def test_run_without_reference_or_without_rows_is_refused_in_a_line(tmp_path):
    suite = write_numbers(make_suite(tmp_path))
    with pytest.raises(BenchError, match="'no-prior' has no reference"):
        explore.gains(suite, "no-prior")
    with pytest.raises(BenchError, match="'map-dropout' and its reference 'no-prior' need rows"):
        explore.gains(suite, "map-dropout")


def test_masks_and_coverage_stand_at_their_image(pictured):
    rows = read_rows(pictured, ["cat"])
    covered = rows[rows["metric"] == "masks"].assign(metric="coverage")
    covered["value"] = np.linspace(0.1, 0.9, len(covered))
    path = pictured.results / "rows" / "cat.csv"
    before = path.read_bytes()
    write_rows(path, pd.concat([rows, covered]).to_dict("records"))
    table = explore.gains(pictured, "cat").set_index(["dataset", "image"])
    figure = explore.scatter(pictured, "cat")
    path.write_bytes(before)
    for line in covered.itertuples():
        stored = load_masks(pictured.work / "priors" / "sam" / line.dataset / f"{line.image}.npz")
        assert table.loc[(line.dataset, line.image), "masks"] == len(stored)
        assert table.loc[(line.dataset, line.image), "coverage"] == pytest.approx(line.value)
    drawn = [
        np.concatenate([dots.get_offsets() for dots in axis.collections]) for axis in figure.axes
    ]
    assert len(drawn) == 2
    for points, name in zip(drawn, ("masks", "coverage"), strict=True):
        expected = table[[name, "difference"]].to_numpy()
        assert np.array(sorted(map(tuple, points))) == pytest.approx(
            np.array(sorted(map(tuple, expected)))
        )


def test_scatter_of_a_run_without_masks_is_nothing(tmp_path):
    assert explore.scatter(write_numbers(make_suite(tmp_path)), "cat") is None


def test_gain_is_drawn_over_the_psnr_of_the_input(tmp_path):
    suite = write_numbers(make_suite(tmp_path))
    figure = explore.against_input(suite, "cat")
    rows = read_rows(suite, ["blurred"])
    psnr = rows[(rows["metric"] == "PSNR") & (rows["protocol"] == suite.evaluation.protocols[0])]
    given = psnr.set_index(["dataset", "image"])["value"]
    table = explore.gains(suite, "cat").set_index(["dataset", "image"])
    expected = sorted(zip(given[table.index], table["difference"], strict=True))
    (axis,) = figure.axes
    points = np.concatenate([dots.get_offsets() for dots in axis.collections])
    assert np.array(sorted(map(tuple, points))) == pytest.approx(np.array(expected))
    assert f"{len(table)} images, rank correlation" in axis.get_title()
    (suite.results / "rows" / "blurred.csv").unlink()
    with pytest.raises(BenchError, match="add one of method identity"):
        explore.against_input(suite, "cat")


def test_crops_are_cut_from_the_files_where_the_two_runs_differ_most(pictured):
    chosen = explore.extremes(pictured, "cat", 1)
    figure = explore.crops(pictured, chosen, side=40)
    placed = [axis for axis in figure.axes if axis.get_gridspec()]
    rows: list[list] = [[] for _ in range(len(chosen))]
    for axis in placed:
        rows[axis.get_subplotspec().rowspan.start].append(axis)
    for axes, line in zip(rows, chosen.itertuples(), strict=True):
        shown = [np.asarray(axis.images[0].get_array()) for axis in axes]
        assert len(shown) == 6  # place, input, masks, reference, run, sharp
        stored = {}
        for name in ("no-prior", "cat"):
            folder = pictured.work / "restored" / name / line.dataset
            stored[name] = read_image(folder / f"{line.image}.png")
        cut = pictures.crop_window(stored["no-prior"], stored["cat"], 40)
        sharp = read_image(
            pictured.work / "data" / "test" / line.dataset / "hq" / f"{line.image}.png"
        )
        assert (shown[3] == stored["no-prior"][cut]).all() and (
            shown[4] == stored["cat"][cut]
        ).all()
        assert (shown[5] == sharp[cut]).all()
        assert (
            shown[0][cut]
            == read_image(
                pictured.work / "data" / "test" / line.dataset / "lq" / f"{line.image}.png"
            )[cut]
        ).all()
        assert f"{line.difference:+.3f} dB" in axes[4].get_title()


# ---------------------------------------------------------------- revisions


def git(folder, *words):
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    done = subprocess.run(
        ["git", *who, *words], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def two(tmp_path):
    """A checkout with two revisions: in the second CAT gains 0.5 dB on one image of one seed."""
    suite = write_numbers(make_suite(tmp_path))
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "results")
    git(tmp_path, "commit", "-qm", "first")
    rows = read_rows(suite, ["cat"])
    at = (
        (rows["image"] == "a")
        & (rows["metric"] == "PSNR")
        & (rows["protocol"] == "basicsr-rgb")
        & (rows["seed"] == "0")
    )
    rows.loc[at, "value"] += 0.5
    write_rows(suite.results / "rows" / "cat.csv", rows.to_dict("records"))
    git(tmp_path, "commit", "-qam", "second")
    return suite


def test_change_between_revisions_is_paired_by_image(two):
    table = explore.changes(two, "HEAD~1").set_index(["run", "dataset", "metric", "protocol"])
    moved = table[table["change"] != 0]
    assert moved.index.tolist() == [("cat", "shake-blur", "PSNR", "basicsr-rgb")]
    line = moved.iloc[0]  # two images, two seeds: a quarter of 0.5 dB
    assert (line["old"], line["new"], line["change"], line["images"]) == pytest.approx(
        (26.375, 26.5, 0.125, 2)
    )
    back = explore.changes(two, "HEAD", "HEAD~1").set_index(
        ["run", "dataset", "metric", "protocol"]
    )
    assert back.loc[("cat", "shake-blur", "PSNR", "basicsr-rgb"), "change"] == pytest.approx(-0.125)
    assert "1 of " in explore.show_changes(two, "HEAD~1").to_html()
    assert "the same figures" in explore.show_changes(two, "HEAD").data


def test_rows_of_an_earlier_revision_are_read_in_todays_columns(two):
    """Rows had no `swap` and `version` once, and called the problem `task`."""
    path = two.results / "rows" / "cat.csv"
    today = pd.read_csv(path, keep_default_na=False, dtype=str)
    old = today.drop(columns=["swap", "version"]).rename(columns={"problem": "task"})
    old.to_csv(path, index=False)
    git(two.folder, "commit", "-qam", "as it was")
    swapped = today.assign(swap="zeroed", value="1.0")
    pd.concat([today, swapped]).to_csv(path, index=False)
    table = explore.changes(two, "HEAD")
    assert len(table) > 3
    assert (table["change"] == 0).all(), "rows of a swap take no part"
    assert (explore.changes(two, "HEAD~1", "HEAD")["change"] == 0).all()


def test_rows_of_a_revision_are_joined_with_its_records(two):
    path = two.results / "rows" / "cat.csv"
    rows = pd.read_csv(path, keep_default_na=False, dtype=str).to_dict("records")
    shared = records.shared_cells(rows)
    records.write_rows(path, rows, in_record=shared)
    record = path.parent.parent / "records" / "cat.json"
    held = {}
    if record.exists():
        held = records.read_json(record)
    records.write_json(record, held | {"row": shared})
    git(two.folder, "add", "-A")
    git(two.folder, "commit", "-qm", "in two files")
    table = explore.changes(two, "HEAD~1", "HEAD").query("run == 'cat'")
    assert len(table) > 3 and (table["change"] == 0).all()


def test_name_of_an_experiment_is_a_revision(two):
    git(two.folder, "update-ref", "refs/exps/12/3456/brave-name", "HEAD~1")
    assert explore.changes(two, "brave-name").equals(explore.changes(two, "HEAD~1"))


@pytest.mark.parametrize(
    ("old", "said"), [("HEAD~9", "no such revision"), ("--help", "no such revision")]
)
def test_revision_that_is_not_there_is_said_in_words(two, old, said):
    with pytest.raises(BenchError, match=said):
        explore.changes(two, old)
    assert f"Nothing to compare. {old}: {said}" in explore.show_changes(two, old).data


def test_no_earlier_rows_and_no_checkout_are_said_in_words(tmp_path):
    suite = write_numbers(make_suite(tmp_path))
    assert "Nothing to compare. git rev-parse" in explore.show_changes(suite, "HEAD~1").data
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-qm", "empty", "--allow-empty")
    assert "no rows of suite" in explore.show_changes(suite, "HEAD").data


# ---------------------------------------------------------------- one's own images


def trained(suite, key):
    """Weights as training leaves them, drawn anew."""
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = build_model(open_run(suite, key))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    folder = suite.work / "runs" / key
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: t.contiguous() for name, t in model.state_dict().items()},
        folder / "seed0.safetensors",
    )
    return model.eval()


@pytest.fixture
def own(tmp_path):
    """A folder of images as people have them, two of which are none."""
    folder = tmp_path / "my photographs"
    folder.mkdir()
    photograph = data.coffee()[100:, 200:]
    clear = np.full((20, 50, 1), 128, np.uint8)
    Image.fromarray(photograph[:90:2, :74:2]).save(folder / "a.jpg")
    Image.fromarray(photograph[:66:2, :80:2, 0]).save(folder / "a.png")
    Image.fromarray(np.dstack([photograph[:40:2, :100:2], clear])).save(
        folder / "with <b> & spaces.webp"
    )
    Image.fromarray(photograph[:48:2, :60:2, 1].astype(np.uint16) * 257).save(folder / "deep.tif")
    (folder / "broken.png").write_bytes(b"no image")
    (folder / "notes.txt").write_text("no image either")
    return folder


def with_runs(tmp_path, **runs):
    """The tests' small suite with other runs and superpixels for a prior; its pairs are made."""
    raw = small_params() | {"runs": runs}
    slic = {"name": "superpixels", "segments": 6}
    raw["priors"] |= {
        "slic-test": {"kind": "masks", "images": "data/test", "prior": slic},
        "slic-train": {"kind": "masks", "images": "data/train", "prior": slic},
    }
    if "first" in runs:
        first = {"kind": "masks", "images": "restored/first", "prior": slic}
        raw["priors"] |= {"first-test": first}
    suite = load_params(write_params(tmp_path, raw))
    make_data(suite, "test/shake-blur")
    return suite


def direct(model, image, labels=None):
    """The network alone, on the whole image."""
    batch = {"lq": torch.from_numpy(image).permute(2, 0, 1)[None] / 255}
    if labels is not None:
        batch["labels"] = torch.from_numpy(labels.astype(np.int64))[None]
    with torch.inference_mode():
        out = model(batch)[0].clamp(0, 1)
    return (out * 255).round().byte().permute(1, 2, 0).numpy()


def test_folder_is_restored_with_priors_of_the_runs_test_settings(tmp_path, own, capsys):
    suite = with_runs(tmp_path, cat=run({"name": "cat"}, "slic"))
    model = trained(suite, "cat")
    table = explore.restore_folder(suite, "cat", own)
    assert table["image"].tolist() == ["a", "a_png", "deep", "with__b____spaces"]
    assert "left out" in capsys.readouterr().out  # broken.png
    folder = suite.work / "own" / "my photographs" / "cat"
    for line in table.itertuples():
        image = read_image(line.source)
        assert (line.height, line.width, line.enlarged) == (*image.shape[:2], 1)
        masks = load_masks(folder / "priors" / "own" / f"{line.image}.npz")
        assert 1 < line.masks == len(masks) <= 6
        assert line.restored == folder / f"{line.image}.png"
        assert (read_image(line.restored) == direct(model, image, masks.labels)).all()


def test_prior_from_restored_images_is_computed_from_what_that_run_restores(tmp_path, own):
    runs = {"first": run({"name": "none"}), "cat": run({"name": "cat"}, "slic")}
    runs["cat"]["prior"] = {"train": "slic-train", "test": "first-test"}
    suite = with_runs(tmp_path, **runs)
    first, model = trained(suite, "first"), trained(suite, "cat")
    line = next(explore.restore_folder(suite, "cat", own).itertuples())
    folder, image = suite.work / "own" / "my photographs" / "cat", read_image(line.source)
    seen = read_image(folder / "first" / "a.png")
    assert (seen == direct(first, image)).all()
    labels = load_masks(folder / "priors" / "own" / "a.npz").labels
    from benchlib.priors.superpixels import Config, segment

    assert (labels == segment(seen, Config(segments=6)).labels).all()
    assert (read_image(line.restored) == direct(model, image, labels)).all()


def test_run_with_a_control_in_its_priors_place_restores_with_that(tmp_path, own):
    zeroed = run({"name": "cat"}, "slic")
    zeroed["prior"] = zeroed["prior"] | {"swap": "zeroed"}
    suite = with_runs(tmp_path, cat=zeroed)
    model = trained(suite, "cat")
    line = next(explore.restore_folder(suite, "cat", own).itertuples())
    image = read_image(line.source)
    assert line.masks == 0
    nothing = np.zeros(image.shape[:2], np.int64)
    assert (read_image(line.restored) == direct(model, image, nothing)).all()


def test_enlarging_run_without_a_prior_makes_larger_images(tmp_path, own):
    suite = with_runs(
        tmp_path, sr=run({"name": "none"}) | {"backbone": {"name": "imdn", "scale": 2, "width": 16}}
    )
    trained(suite, "sr")
    table = explore.restore_folder(suite, "sr", own)
    assert table["enlarged"].tolist() == [2] * 4 and table["masks"].isna().all()
    assert read_image(table["restored"].iloc[0]).shape == (90, 74, 3)
    page = explore.sliders(table).data
    assert page.count("restored 2 times larger") == 4


def test_without_a_folder_the_first_test_image_of_each_set_is_restored(tmp_path):
    suite = with_runs(tmp_path, plain=run({"name": "none"}))
    trained(suite, "plain")
    table = explore.restore_folder(suite, "plain")
    assert table["image"].tolist() == ["shake-blur-chelsea"]
    assert (
        table["restored"].iloc[0]
        == suite.work / "own" / "test-images" / "plain" / "shake-blur-chelsea.png"
    )


def test_large_image_is_cut_into_tiles_and_a_run_that_says_how_keeps_its_own(tmp_path):
    tiled = run({"name": "none"}, evaluation={"tile": 128})
    suite = with_runs(tmp_path, plain=run({"name": "none"}), tiled=tiled)
    plain = open_run(suite, "plain")
    assert explore._tiles(plain, explore.WHOLE).side is None
    larger = explore._tiles(plain, explore.WHOLE + 1)
    assert (larger.side, larger.overlap) == (1024, 64)
    own_way = explore._tiles(open_run(suite, "tiled"), 9999)
    assert (own_way.side, own_way.overlap) == (128, 32)


def test_what_cannot_be_done_is_one_line(tmp_path, own):
    suite = with_runs(tmp_path, plain=run({"name": "none"}))
    with pytest.raises(BenchError, match="has no weights of seed 0; run its train stage"):
        explore.restore_folder(suite, "plain", own)
    trained(suite, "plain")
    for folder, said in (
        (tmp_path / "nowhere", "no such folder"),
        (tmp_path / "empty", "no readable image in it"),
    ):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(BenchError, match=said) as error:
            explore.restore_folder(suite, "plain", folder)
        assert "\n" not in str(error.value)
    with pytest.raises(BenchError, match="did you mean plain"):
        explore.restore_folder(suite, "plian", own)


def test_images_without_a_prior_are_named_and_left_out(tmp_path, own, capsys, monkeypatch):
    from benchlib.priors import superpixels

    suite = with_runs(tmp_path, cat=run({"name": "cat"}, "slic"))
    trained(suite, "cat")
    real = superpixels.segment

    def refusing(image, config):
        if image.shape[1] == 30:  # deep.tif
            raise BenchError("too narrow")
        return real(image, config)

    monkeypatch.setattr(superpixels, "segment", refusing)
    assert "deep" not in set(explore.restore_folder(suite, "cat", own)["image"])
    assert "deep.tif: too narrow" in capsys.readouterr().out

    def refusing_all(image, config):
        raise BenchError("too narrow")

    monkeypatch.setattr(superpixels, "segment", refusing_all)
    shutil.rmtree(suite.kept_priors)
    with pytest.raises(BenchError, match="none of the 4 images"):
        explore.restore_folder(suite, "cat", own)
    assert (suite.work / "own" / "my photographs" / "cat" / "a.png").exists()  # of the run before


class Elements(HTMLParser):
    def __init__(self, page: str):
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def test_slider_is_labelled_needs_no_network_and_escapes_names(tmp_path):
    write_png(tmp_path / "one.png", np.full((40, 1200, 3), 200, np.uint8))
    line = {"image": EVIL_IMAGE, "source": tmp_path / "one.png", "restored": tmp_path / "one.png"}
    line |= {"height": 40, "width": 1200, "masks": np.nan, "enlarged": 1, "seconds": 0.1}
    page = explore.sliders(pd.DataFrame([line])).data
    found = Elements(page).found
    images = [a for tag, a in found if tag == "img"]
    assert [a["alt"] for a in images] == [f"{EVIL_IMAGE}, before", f"{EVIL_IMAGE}, after"]
    assert all(a["src"].startswith("data:image/jpeg;base64,") for a in images)
    (slider,) = [a for tag, a in found if tag == "input"]
    assert (
        slider["type"] == "range"
        and EVIL_IMAGE in slider["aria-label"]
        and "--cut" in slider["oninput"]
    )
    assert "<script" not in page and not re.search(r"https?://", page)
    assert len(page) < 200_000  # shown reduced


def test_slider_moves_in_a_browser(tmp_path):
    sync = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium")
    if not chromium:
        pytest.skip("no Chromium here")
    write_png(tmp_path / "one.png", np.full((40, 60, 3), 200, np.uint8))
    line = {"image": "one", "source": tmp_path / "one.png", "restored": tmp_path / "one.png"}
    line |= {"height": 40, "width": 60, "masks": 3.0, "enlarged": 1, "seconds": 0.1}
    (tmp_path / "page.html").write_text(
        f"<!doctype html><body>{explore.sliders(pd.DataFrame([line])).data}"
    )
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    with sync.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_page()
        page.goto((tmp_path / "page.html").as_uri())
        clip = "getComputedStyle(document.querySelector('.after')).clipPath"
        assert page.evaluate(clip) == "inset(0px 0px 0px 50%)"
        page.focus("input")
        page.keyboard.press("ArrowLeft")
        assert page.evaluate(clip) == "inset(0px 0px 0px 49%)"
        boxes = page.evaluate(
            "[...document.querySelectorAll('.pair img')]"
            ".map(i => [i.offsetLeft, i.offsetWidth, i.offsetHeight])"
        )
        assert boxes[0] == boxes[1] and boxes[0][1] > 0
        browser.close()
