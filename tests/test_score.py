"""``benchlib.score``: what a folder's images measure, how they are paired, what is refused before."""

import json
import math
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio

import benchlib
from benchlib import scoring
from benchlib.contracts import BenchError
from benchlib.imageio import write_lq, write_png
from benchlib.matching import match_folders
from benchlib.metrics import protocol
from benchlib.records import ROW

GOLDEN = Path(__file__).parent / "golden"
PAIRS = ("noise25", "blur", "jpeg")


def picture(seed: int, height: int = 24, width: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def near(image: np.ndarray, seed: int = 9) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 6, image.shape)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


def put(folder: Path, names: str, *, change: bool = False) -> Path:
    """A folder of small pictures by name; those that are changed are no copies."""
    for place, name in enumerate(names.split()):
        image = picture(place)
        write_png(folder / name, near(image, place) if change else image)
    return folder


def two(tmp_path: Path, ours: str, theirs: str) -> tuple[Path, Path]:
    return put(tmp_path / "ours", ours, change=True), put(tmp_path / "theirs", theirs)


def refused(*words, **more) -> str:
    """The one line of the error."""
    with pytest.raises(BenchError) as caught:
        benchlib.score(*words, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------- values


@pytest.fixture(scope="module")
def golden(tmp_path_factory) -> Path:
    """Three pairs whose values official implementations gave."""
    folder = tmp_path_factory.mktemp("golden")
    for name in PAIRS:
        pair = np.load(GOLDEN / f"pair_astronaut_{name}.npz")
        degraded = next(pair[key] for key in pair if key != "reference")
        write_png(folder / "restored" / f"{name}.png", degraded)
        write_png(folder / "reference" / f"{name}.png", pair["reference"])
    return folder


def test_values_are_those_of_official_implementations(golden):
    ways = ["basicsr-rgb", "basicsr-y@4", "nafnet-ssim3d"]
    rows = benchlib.score(golden / "restored", golden / "reference", ways)
    known = {one["pair"]: one for one in json.loads((GOLDEN / "metrics.json").read_text())}
    words = {
        ("basicsr-rgb", "PSNR"): "basicsr_psnr_rgb_crop0",
        ("basicsr-rgb", "SSIM"): "basicsr_ssim_rgb_crop0",
        ("basicsr-y@4", "PSNR"): "basicsr_psnr_y_crop4",
        ("basicsr-y@4", "SSIM"): "basicsr_ssim_y_crop4",
        ("nafnet-ssim3d", "SSIM"): "nafnet_ssim3d_rgb_crop0",
    }
    compared = 0
    for row in rows.to_dict("records"):
        key = (row["protocol"], row["metric"])
        if key in words:
            expected = known[f"pair_astronaut_{row['image']}.npz"][words[key]]
            assert row["value"] == pytest.approx(expected, abs=2e-6), (row["image"], key)
            compared += 1
    assert compared == len(PAIRS) * len(words)


def test_values_are_those_that_an_evaluation_rounds(tmp_path):
    ours, theirs = two(tmp_path, "b.png a.png c.png", "b.png a.png c.png")
    rows = benchlib.score(ours, theirs, "basicsr-rgb", metric=["psnr", "ssim", "mae"])
    assert rows["image"].tolist() == ["a"] * 3 + ["b"] * 3 + ["c"] * 3
    for place, name in enumerate(["b", "a", "c"]):
        sharp = picture(place)
        images = {"restored": near(sharp, place), "reference": sharp}
        expected = protocol("basicsr-rgb").measure(images, ["psnr", "ssim", "mae"])
        got = rows[rows["image"] == name]
        assert got["value"].tolist() == [round(value, 6) for value in expected.values()]
        independent = peak_signal_noise_ratio(sharp, near(sharp, place), data_range=255)
        assert got["value"].iloc[0] == pytest.approx(independent, abs=1e-6)


def test_an_evaluation_of_the_same_images_gives_the_same(small):
    from benchlib.evaluate import evaluate
    from benchlib.plan import open_run
    from benchlib.train.record import train

    plan = open_run(small, "blurred")  # its restored images are its inputs
    train(plan)
    expected = {}
    for row in evaluate(plan):
        expected[row["image"], row["metric"], row["version"]] = row["value"]
    data = small.work / "data" / "test" / "shake-blur"
    restored = small.work / "restored" / "blurred" / "shake-blur"
    rows = benchlib.score(restored, data / "hq", "basicsr-rgb", degraded=data / "lq")
    got = {}
    for row in rows.to_dict("records"):
        got[row["image"], row["metric"], row["version"]] = row["value"]
    assert got == expected and len(got) == 3


def test_rows_are_a_suites_rows_as_far_as_they_make_sense(tmp_path):
    ours, theirs = two(tmp_path, "a.png", "a.png")
    rows = benchlib.score(ours, theirs, "basicsr-y")
    assert list(rows.columns) == list(scoring.COLUMNS)
    assert set(rows.columns) <= set(ROW)
    assert rows["version"].tolist() == ["psnr 1", "ssim 1"]
    assert (rows["hardware"] != "").all() and (rows["revision"] != "").all()


def test_degraded_images_bring_what_reads_them(tmp_path):
    ours, theirs = two(tmp_path, "a.png b.png", "a.png b.png")
    lq = tmp_path / "lq"
    write_lq(lq / "a", picture(0).astype(np.float32) / 255)
    write_lq(lq / "b", near(picture(1), 3))
    rows = benchlib.score(ours, theirs, "basicsr-rgb", degraded=lq)
    collapsed = rows[rows["metric"] == "MC"]
    assert collapsed["value"].tolist() == [1.0, 0.0]  # a's input is the reference itself


def test_degraded_images_of_another_size_are_left_out_and_said(tmp_path, capsys):
    ours, theirs = two(tmp_path, "a.png", "a.png")
    write_png(tmp_path / "lq" / "a.png", picture(0, 12, 16))
    rows = benchlib.score(ours, theirs, "basicsr-rgb", degraded=tmp_path / "lq")
    assert rows["metric"].tolist() == ["PSNR", "SSIM"]
    assert "mc cannot be measured" in capsys.readouterr().err
    said = refused(ours, theirs, "basicsr-rgb", degraded=tmp_path / "lq", metric="mc")
    assert "another size" in said


def test_threads_and_order_change_no_number(golden):
    import torch

    ways = ["basicsr-y", "nafnet-ssim3d"]
    before = torch.get_num_threads()
    first = benchlib.score(golden / "restored", golden / "reference", ways)
    again = benchlib.score(golden / "restored", golden / "reference", ways)
    assert first.equals(again)
    assert torch.get_num_threads() == before


def test_the_package_is_light_and_score_is_its_own():
    code = "import benchlib, sys; print(sorted(set(sys.modules) & {'numpy', 'torch', 'pandas'}))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
    assert benchlib.score is scoring.score
    with pytest.raises(AttributeError, match="scroe"):
        benchlib.scroe  # noqa: B018


# ---------------------------------------------------------------- means


def test_means_have_an_interval_over_images(tmp_path):
    names = " ".join(f"{i}.png" for i in range(6))
    ours, theirs = two(tmp_path, names, names)
    rows = benchlib.score(ours, theirs, "basicsr-rgb")
    for line in scoring.summary(rows):
        values = rows[rows["metric"] == line["metric"]]["value"]
        assert line["images"] == 6
        assert line["mean"] == pytest.approx(values.mean())
        assert values.min() < line["low"] < line["mean"] < line["high"] < values.max()
        assert line["exact"] == line["undefined"] == 0


def test_exact_images_are_counted_apart(tmp_path):
    ours, theirs = two(tmp_path, "a.png b.png c.png", "a.png b.png c.png")
    write_png(ours / "a.png", picture(0))
    rows = benchlib.score(ours, theirs, "basicsr-rgb")
    psnr = scoring.summary(rows)[0]
    assert math.isinf(rows["value"].iloc[0])
    assert psnr["exact"] == 1 and psnr["images"] == 3
    assert psnr["mean"] == pytest.approx(rows[rows["metric"] == "PSNR"]["value"].iloc[1:].mean())
    write_png(ours / "b.png", picture(1))
    write_png(ours / "c.png", picture(2))
    psnr = scoring.summary(benchlib.score(ours, theirs, "basicsr-rgb"))[0]
    assert psnr["exact"] == 3 and psnr["mean"] is None and psnr["low"] is None


def test_sub_folders_are_sets_and_all_is_weighted_by_images(tmp_path):
    names = "Set5/a.png Set5/b.png Set14/c.png"
    ours, theirs = two(tmp_path, names, names)
    rows = benchlib.score(ours, theirs, "basicsr-y")
    assert rows["dataset"].unique().tolist() == ["Set14", "Set5"]
    lines = [line for line in scoring.summary(rows) if line["metric"] == "PSNR"]
    assert [line["dataset"] for line in lines] == ["Set14", "Set5", None]
    assert lines[0]["low"] is None  # one image has no interval
    assert lines[2]["mean"] == pytest.approx((lines[0]["mean"] + 2 * lines[1]["mean"]) / 3)


def test_the_csv_holds_the_rows_and_no_formula(tmp_path):
    ours, theirs = two(tmp_path, "=1+1.png a.png", "=1+1.png a.png")
    rows = benchlib.score(ours, theirs, "basicsr-y")
    scoring.write_scores(rows, tmp_path / "out.csv")
    head, first, *_ = (tmp_path / "out.csv").read_text().splitlines()
    assert head == ",".join(scoring.COLUMNS)
    assert first.startswith(",'=1+1,PSNR,basicsr-y,")
    assert rows["image"].iloc[0] == "=1+1"


# ---------------------------------------------------------------- pairs


def names(ours: Path, theirs: Path) -> dict[str, str]:
    """Reference -> restored, as files' names."""
    return {one.reference.name: one.restored.name for one in match_folders(ours, theirs).images}


def test_pairs_are_of_one_name_with_any_suffix(tmp_path):
    ours, theirs = two(tmp_path, "a.png b.PNG c.png.png", "a.bmp b.png c.png.tif")
    assert names(ours, theirs) == {"a.bmp": "a.png", "b.png": "b.PNG", "c.png.tif": "c.png.png"}


def test_names_are_compared_in_one_form_of_unicode(tmp_path):
    name = "Müller.png"
    ours = put(tmp_path / "ours", unicodedata.normalize("NFD", name))
    theirs = put(tmp_path / "theirs", unicodedata.normalize("NFC", name))
    assert len(names(ours, theirs)) == 1


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("a_x4.png b_x4.png", "a.png b.png"),
        ("ax4.png bx4.png", "a.png b.png"),
        ("a_SwinIR.png b_SwinIR.png", "a.png b.png"),
        ("a.png b.png", "a_gt.png b_gt.png"),
        ("a_sr.png b_sr.png", "a_hr.png b_hr.png"),
        ("1_out.png 11_out.png", "1.png 11.png"),
        ("cat_restored.png", "cat.png"),
    ],
)
def test_an_ending_that_all_share_is_left_out_and_said(tmp_path, ours, theirs):
    ours, theirs = two(tmp_path, ours, theirs)
    for reference, restored in names(ours, theirs).items():
        assert reference[0] == restored[0]
    (note,) = match_folders(ours, theirs).notes
    assert "paired by name without" in note


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("a_1.png", "a_2.png"),
        ("night_cat.png", "night_dog.png"),
        ("cat_painting.png", "cat.png"),
        ("a_x4.png b.png", "a.png b.png"),
        ("a_x4.png b_x2.png", "a.png b.png"),
        ("a_1.png b_1.png", "a.png b.png"),
        ("a.png", "b.png"),
    ],
)
def test_no_partner_is_made_up(tmp_path, ours, theirs):
    ours, theirs = two(tmp_path, ours, theirs)
    assert "no partner" in refused(ours, theirs, "basicsr-y")


def test_names_that_fit_in_two_ways_are_refused(tmp_path):
    ours, theirs = two(tmp_path, "a_x2.png a_x2_x2.png", "a.png a_x4.png")
    said = refused(ours, theirs, "basicsr-y")
    assert "no partner" in said or "ways" in said


def test_missing_ones_are_counted_and_the_first_named(tmp_path):
    ours, theirs = two(tmp_path, "a.png", "a.png b.png c.png d.png e.png f.png")
    said = refused(ours, theirs, "basicsr-y")
    assert f"{theirs}: no partner in {ours} for b, c, d and 2 more" in said
    said = refused(theirs, ours, "basicsr-y")
    assert f"{theirs}: no partner in {ours} for b, c, d and 2 more" in said


def test_a_set_without_a_partner_is_named(tmp_path):
    ours, theirs = two(tmp_path, "Set5/a.png", "Set14/a.png")
    assert "did you mean Set14" in refused(ours, theirs, "basicsr-y")
    ours, theirs = put(tmp_path / "flat", "a.png"), theirs
    assert "no partner folder" in refused(ours, theirs, "basicsr-y")


# ---------------------------------------------------------------- refused before measuring


@pytest.fixture
def no_measuring(monkeypatch):
    def fail(*_words):
        raise AssertionError("measured before everything was checked")

    monkeypatch.setattr(scoring, "_measured", fail)


def test_another_size_names_the_image_and_both_sizes(tmp_path, no_measuring):
    ours, theirs = two(tmp_path, "a.png b.png", "a.png b.png")
    write_png(ours / "b.png", picture(1, 24, 30))
    said = refused(ours, theirs, "basicsr-y")
    assert str(ours / "b.png") in said and "24x30" in said and "24x32" in said


def test_an_unreadable_image_is_named(tmp_path, no_measuring):
    ours, theirs = two(tmp_path, "a.png b.png", "a.png b.png")
    whole = (theirs / "b.png").read_bytes()
    (theirs / "b.png").write_bytes(whole[: len(whole) // 2])
    assert str(theirs / "b.png") in refused(ours, theirs, "basicsr-y")
    (theirs / "b.png").write_bytes(b"")
    assert str(theirs / "b.png") in refused(ours, theirs, "basicsr-y")


def test_one_folder_on_two_sides_is_refused(tmp_path, no_measuring):
    ours, theirs = two(tmp_path, "a.png", "a.png")
    (tmp_path / "link").symlink_to(ours)
    assert "the same folder" in refused(ours, ours, "basicsr-y")
    assert "the same folder" in refused(ours, tmp_path / "link", "basicsr-y")
    assert "the same folder" in refused(ours, ours / ".." / "ours", "basicsr-y")
    assert "the same folder" in refused(ours, theirs, "basicsr-y", degraded=ours)
    assert "lie inside" in refused(tmp_path, ours, "basicsr-y")
    assert "lie inside" in refused(ours, tmp_path, "basicsr-y")


def test_folders_that_hold_nothing_are_refused(tmp_path, no_measuring):
    ours, theirs = two(tmp_path, "a.png", "a.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no image")
    assert "no image in it" in refused(tmp_path / "empty", theirs, "basicsr-y")
    assert "no such folder" in refused(ours, tmp_path / "nowhere", "basicsr-y")
    assert "a file" in refused(ours / "a.png", theirs, "basicsr-y")


def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path, no_measuring):
    ours, theirs = two(tmp_path, "a.png", "a.png")
    os.mkfifo(ours / "b.png")
    assert "no regular file" in refused(ours, theirs, "basicsr-y")
    (ours / "b.png").unlink()
    (ours / "b.png").symlink_to("nowhere.png")
    assert "no regular file" in refused(ours, theirs, "basicsr-y")


def test_two_images_of_one_name_are_refused(tmp_path, no_measuring):
    ours, theirs = two(tmp_path, "a.png a.bmp", "a.png")
    assert "have one name" in refused(ours, theirs, "basicsr-y")


def test_a_border_that_uses_up_an_image_names_it(tmp_path, no_measuring):
    ours, theirs = two(tmp_path, "a.png", "a.png")
    said = refused(ours, theirs, ["basicsr-y", "basicsr-y@10"])
    assert str(ours / "a.png") in said and "basicsr-y@10" in said


@pytest.mark.parametrize(
    ("protocol", "metric", "said"),
    [
        ("basicsr-z", None, "did you mean basicsr-y"),
        ("basicsr-y@", None, "whole number"),
        ("basicsr-y@²", None, "whole number"),
        (["basicsr-y", "basicsr-y"], None, "twice"),
        ([], None, "none given"),
        ("basicsr-y", "psrn", "did you mean psnr"),
        ("basicsr-y", "mc", "degraded"),
    ],
)
def test_names_that_do_not_fit_are_refused(tmp_path, no_measuring, protocol, metric, said):
    ours, theirs = two(tmp_path, "a.png", "a.png")
    assert said in refused(ours, theirs, protocol, metric=metric)


def test_weights_that_are_not_there_are_said_before(tmp_path, no_measuring, monkeypatch):
    monkeypatch.setenv("BENCHLIB_OFFLINE", "1")
    monkeypatch.setenv("BENCHLIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("BENCHLIB_MIRROR", raising=False)
    ours, theirs = two(tmp_path, "a.png", "a.png")
    said = refused(ours, theirs, "basicsr-rgb", metric=["psnr", "lpips_vgg"])
    assert "lpips_vgg" in said and "or measure without it: metric psnr" in said


def test_links_to_folders_are_followed_once(tmp_path):
    ours, theirs = two(tmp_path, "s/a.png", "s/a.png")
    (ours / "s" / "again").symlink_to(ours)
    assert len(match_folders(ours, theirs).images) == 1
