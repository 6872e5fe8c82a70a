"""The report page, in a real browser where there is one."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
from report_suite import (
    make_suite,
    sr_suite,
    write_enlarging,
    write_numbers,
    write_pictured,
    write_psnr,
)

from benchlib.papers import published
from benchlib.params import Suite
from benchlib.records import read_rows, write_json, write_rows
from benchlib.report import answer, controls, export, page, pictures, tables, words

CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture
def numbers(tmp_path) -> Suite:
    return write_numbers(make_suite(tmp_path))


@pytest.fixture(scope="module")
def pictured(tmp_path_factory) -> Suite:
    return write_pictured(tmp_path_factory.mktemp("pictured"))


@pytest.fixture(scope="module")
def report(pictured) -> Path:
    return page.make(pictured)


@pytest.fixture(scope="module")
def enlarging(tmp_path_factory) -> Suite:
    return write_enlarging(tmp_path_factory.mktemp("enlarging"))


@pytest.fixture(scope="module")
def large(enlarging) -> Path:
    """The page of a super-resolution suite with controls, a second collection, published rows and costs."""
    return page.make(enlarging)


def said(suite: Suite) -> dict:
    rows = tables.everything(suite)
    return answer.headline(suite, rows, controls.all_steps(suite, rows))


# ---------------------------------------------------------------- words


def test_the_headline_is_computed_and_claims_no_more(numbers):
    """CAT minus no prior: 1.5 and -0.75 on shake-blur (mean of two seeds each), one image on local-blur."""
    words = said(numbers)
    assert words["question"] == "Do SAM's masks help deblurring?"
    assert words["lead"] == "Not by more than chance."
    assert words["methods"] == [
        {
            "label": "CAT",
            "said": "against “No prior”: not more than chance on 1 test set (+0.375 dB); no interval on local-blur "
            "(one scene).",
        }
    ]
    assert words["setup"] == "3 images; 1 to 2 seeds a run."
    assert words["cautions"] == [
        "3 scenes can show only large effects. Where a run has one seed, an interval covers the choice of images, "
        "not a new training.",
        "Without control runs: “CAT”. Added parameters alone may explain their change.",
        "On local-blur, worse than the blurred input itself: “No prior”, “CAT”.",
    ]


def test_sets_on_which_the_same_runs_are_worse_than_the_input_are_named_together(numbers):
    rows = tables.everything(numbers)
    worse = rows["run"].isin(["no-prior", "cat"]) & (rows["metric"] == "PSNR")
    rows.loc[worse, "value"] -= 20
    words = answer.headline(numbers, rows, controls.all_steps(numbers, rows))
    said_last = "On shake-blur, local-blur, worse than the blurred input itself: “No prior”, “CAT”."
    assert words["cautions"][-1] == said_last


def test_images_of_one_scene_are_counted_and_said_to_be_one(numbers):
    rows = tables.everything(numbers).assign(
        scene=lambda rows: rows["image"].map({"a": "cat", "b": "cat", "c": "dog"})
    )
    words = answer.headline(numbers, rows, controls.all_steps(numbers, rows))
    assert words["setup"] == "3 images of 2 scenes; 1 to 2 seeds a run."
    assert words["cautions"][0].startswith("Images of one scene (copies of a photograph, frames")
    assert "no interval on shake-blur, local-blur (one scene)" in words["methods"][0]["said"]


def gains(effects: dict[str, list[float]]) -> dict[str, dict[str, list[float]]]:
    """PSNRs of the runs of a control: 30, 31, ... dB and an effect an image, the same images in two sets."""
    return {
        run: {name: [30 + i + e for i, e in enumerate(own)] for name in ("Set5", "Set14")}
        for run, own in effects.items()
    }


def test_the_answer_is_the_prior_s_own_share_where_a_control_tells_it(tmp_path):
    """The method gains 0.3 dB on each image; superpixels in SAM's place gain the same but for 0.01 dB up and down."""
    suite = sr_suite(tmp_path)
    near = {
        "spt": [0.30] * 4,
        "spt-slic": [0.31, 0.29, 0.31, 0.29],
        "spt-zeroed": [0.25] * 4,
        "further": [0.2] * 4,
    }
    write_psnr(suite, gains({"imdn": [0.0] * 4, **near}))
    words = said(suite)
    assert words["lead"] == "Of themselves, not by more than chance."
    [method] = words["methods"]
    assert method["said"].startswith(
        "against “IMDN”: +0.300 dB [+0.300, +0.300] on all 8 images: better, more than chance."
    )
    assert re.search(
        r"SAM's masks themselves, against “SPT, superpixels”: \+0\.000 dB \[−0\.0[01]\d, \+0\.0[01]\d\] "
        r"on all 8 images: not more than chance\.$",
        method["said"],
    )
    rows = tables.everything(suite)
    [card] = answer.answers(suite, rows, controls.all_steps(suite, rows))
    assert [part["title"] for part in card["parts"]] == [
        "Whole method, against “IMDN”",
        "SAM alone, against “SPT, superpixels”",
    ]
    assert card["splits"] == [
        "The +0.300 dB on all images are the sum of: further training +0.200, extra parameters +0.050, any "
        "segmentation +0.050, SAM +0.000."
    ]
    by_set = suite.evaluation.model_copy(update={"average": "columns"})
    alike = suite.model_copy(update={"evaluation": by_set})
    [card] = answer.answers(alike, rows, controls.all_steps(alike, rows))
    assert card["splits"][0].startswith("The +0.300 dB on the plain mean of the test sets are")
    assert card["parts"][0]["lines"][0]["set"] == "The plain mean of the test sets"
    assert " on the plain mean of the test sets: better" in said(alike)["methods"][0]["said"]
    write_psnr(suite, gains({"spt": [0.40] * 4}))
    assert said(suite)["lead"] == "Yes, wherever it was tested."
    write_psnr(suite, gains({"spt": [0.20] * 4}))
    assert said(suite)["lead"] == "Better in none of 1 comparison, worse in 1."


def test_a_stand_in_for_a_prior_is_no_answer(enlarging):
    """Even one that no control names."""
    rows = tables.everything(enlarging)
    assert answer.answering(enlarging.model_copy(update={"controls": {}}), rows) == ["spt"]


def test_the_rounded_luma_is_told_from_the_other(enlarging):
    frame = tables.pd.DataFrame(
        {"metric": "PSNR", "protocol": ["basicsr-y@4", "matlab-y-rounded@4"]}
    )
    first, second = (note["text"] for note in page._protocols(enlarging, frame))
    assert first.startswith("BT.601 luma, not rounded; 4 px cut off each side; SSIM: 2-D")
    assert second.startswith("BT.601 luma rounded to whole numbers; 4 px")


def test_no_word_of_blur_where_nothing_was_blurred(large):
    text = large.read_text()
    before = text[: text.index('id="audit"')]  # what the papers say of themselves follows
    assert "blur" not in re.sub(r"base64,[A-Za-z0-9+/=]*", "", before)


def test_each_published_number_stands_in_its_column(enlarging):
    """SPT's Table 1 prints all PSNRs first and then all differences; the page groups them by data set."""
    wide = page._published(enlarging, tables.everything(enlarging), "spt", "1")["wide"]
    places = [
        (group["name"], column["text"]) for group in wide["sets"] for column in group["columns"]
    ]
    printed = (
        published("spt").query("table == '1'").set_index(["row", "dataset", "metric"])["printed"]
    )
    shown = {
        (line["label"], *place): cell["text"]
        for line in wide["lines"]
        for place, cell in zip(places, line["cells"], strict=True)
        if cell
    }
    assert shown == printed.to_dict()
    assert len(shown) > 150


def test_the_choice_and_the_iteration_kept_are_shown(large):
    text = large.read_text()
    how = text[text.index('id="how"') :]
    assert "800 iterations; 4 crops of 32×32; l1 loss, learning rate 0.0001, halve" in how
    assert "chosen: sets T91 (validation 30.123 dB)" in how
    assert "tried: sets BSDS500 (validation 30.012 dB)" in how
    assert "kept of seed1: iteration 90 (validation 30.123 dB)" in how
    assert "from weights/imdn" in how


def test_only_the_sign_of_a_number_becomes_a_minus():
    signs = {
        "-0.000": "−0.000",
        "+0.1 [-0.010, -.5]": "+0.1 [−0.010, −.5]",
        "(-0.02 dB)": "(−0.02 dB)",
        "-inf": "−inf",
    }
    words = (
        "content-aware",
        "section III-C, 8-bit",
        "table (3)-2",
        "1e-07",
        "2010-2024",
        "-",
        "DRUNet+Ours-c",
    )
    assert {text: answer.minus(text) for text in signs} == signs
    assert [answer.minus(text) for text in words] == list(words)


def test_one_run_far_off_does_not_stretch_the_axis_of_the_others(tmp_path):
    suite = sr_suite(tmp_path)
    near = {"spt": [0.02] * 4, "spt-slic": [-0.02] * 4, "spt-zeroed": [0.01] * 4}
    write_psnr(
        suite, gains({"imdn": [0.0] * 4, **near, "further": [0.02] * 4, "bicubic": [-3.0] * 4})
    )
    cards = answer.cards(suite, tables.rows_of(suite, tables.everything(suite)))
    assert [card["reach"] for card in cards] == ["0.04", "0.04"]
    beyond = {
        strip["label"]: {dot["beyond"] for dot in strip["dots"]} for strip in cards[0]["strips"]
    }
    assert beyond.pop("SPT") == {False}
    assert beyond.pop("bicubic", {True}) == {True}
    assert set.union(*beyond.values()) == {False}


def test_a_collection_of_one_run_is_folded_away(large, report):
    text = large.read_text()
    folded = text.index('<details id="other-collections">')
    assert text.index('id="t-measured--test-x4"') < folded < text.index('id="t-measured--test-x2"')
    assert "Other test collections (1)" in text
    assert "other-collections" not in report.read_text(), "its only collection stays in sight"


# ---------------------------------------------------------------- the file


def test_exact_images_are_words_in_the_page_and_its_json_is_json(tmp_path):
    """One image is exact in the run that answers, all of a set are in another run."""
    suite = write_pictured(tmp_path)
    for run in ("cat", "map-dropout"):
        path = suite.results / "rows" / f"{run}.csv"
        rows = read_rows(suite, [run])
        exact = rows["metric"].eq("PSNR") & rows["image"].eq("chelsea")
        if run == "cat":
            exact = rows["metric"].eq("PSNR") & rows["dataset"].eq("local-blur")
        rows.loc[exact, "value"] = float("inf")
        write_rows(path, rows.to_dict("records"))
    export.make(suite)
    words = page.make(suite).read_text()
    start = words.index('id="scenes">') + len('id="scenes">')
    json.loads(words[start : words.index("</script>", start)], parse_constant=pytest.fail)
    shown = re.sub(
        r"data:image/[^\"']+|<style>.*?</style>|<script>.*?</script>", "", words, flags=re.S
    )
    assert not re.search(r"(?i)[>\s(+−-](inf|nan)[<\s)]", shown)
    assert "(+1 exact)" in shown and "3 exact" in shown


def test_the_page_is_one_small_file_without_addresses(report, large, pictured):
    assert report == pictured.results / "report.html"
    for path in (report, large):
        text = path.read_text()
        assert len(text) < 6_000_000
        assert not re.search(r"""(src|href|srcset|action)=["'](?!data:|#)""", text)
        assert not re.search(r"@import|url\(", text)
    assert page.render(pictured, tables.everything(pictured)) == report.read_text()


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
    assert 'id="cost"' not in text


# ---------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def browser():
    if not CHROMIUM.exists():
        pytest.skip(
            f"{CHROMIUM} is not there; install Debian's chromium to test the page in a browser"
        )
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    flags = "headless no-sandbox disable-gpu disable-background-networking disable-component-update no-first-run"
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=[f"--{flag}" for flag in flags.split()]
        )
        yield browser
        browser.close()


def watched(browser, report: Path, scheme: str):
    """(page, requests that left the file, console errors): desktop in light, a phone in dark."""
    size = {"width": 1280, "height": 900} if scheme == "light" else {"width": 390, "height": 844}
    context = browser.new_context(color_scheme=scheme, viewport=size)
    sheet, left, errors = context.new_page(), [], []

    def guard(route):
        if route.request.url == report.as_uri() or route.request.url.startswith("data:"):
            route.continue_()
        else:
            left.append(route.request.url)
            route.abort()

    context.route("**/*", guard)
    sheet.on(
        "console",
        lambda message: (
            errors.append(message.text) if message.type in ("error", "warning") else None
        ),
    )
    sheet.on("pageerror", lambda error: errors.append(str(error)))
    sheet.on(
        "dialog", lambda dialog: (errors.append(f"dialog: {dialog.message}"), dialog.dismiss())
    )
    sheet.goto(report.as_uri())
    yield sheet, left, errors
    context.close()


@pytest.fixture(params=["light", "dark"])
def opened(browser, report, request):
    yield from watched(browser, report, request.param)


@pytest.fixture
def sheet(browser, large):
    """The super-resolution page on a desktop."""
    for page_, _, errors in watched(browser, large, "light"):
        yield page_
        assert errors == []


def use(sheet) -> None:
    """Touch every control once."""
    sheet.locator("#masks").check()
    for control in ("#scene", "#left", "#right"):
        for value in sheet.locator(f"{control} option").evaluate_all(
            "options => options.map(o => o.value)"
        ):
            sheet.locator(control).select_option(value)
    for summary in sheet.locator("summary").all():
        summary.click()
    sheet.evaluate("document.querySelectorAll('button').forEach(button => button.click())")
    sheet.locator("#audit select").first.select_option("spt")


def test_nothing_is_requested_and_nothing_errs(opened):
    sheet, left, errors = opened
    use(sheet)
    sheet.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    assert sheet.evaluate(
        "[...document.images].every(image => image.complete && image.naturalWidth > 0)"
    )
    assert left == []
    assert errors == []


def test_the_slider_moves_the_clip_by_keyboard_and_pointer(opened):
    sheet, _, _ = opened
    edge = (
        "parseFloat(getComputedStyle(document.getElementById('right-half')).clipPath.split(' ')[3])"
    )
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
    views = sheet.locator("#views .mask")
    assert not overlay.is_visible()
    sheet.locator("#masks").check()
    assert overlay.is_visible()
    assert views.count() == sheet.locator("#views figure").count() == 5
    assert all(view.is_visible() for view in views.all())
    assert re.fullmatch(r"\d+ masks in colours", overlay.get_attribute("alt"))
    sheet.locator("#masks").uncheck()
    assert not overlay.is_visible()
    assert not any(view.is_visible() for view in views.all())


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
    rows = tables.measured(pictured).query(
        "run == 'no-prior' and metric == 'PSNR' and protocol == 'basicsr-rgb'"
    )
    psnr = rows[(rows["dataset"] == scene.pair.dataset) & (rows["image"] == scene.pair.image)][
        "value"
    ].item()
    assert sheet.locator("#read-right").inner_text() == f"No prior, {psnr:.3f} dB"


def test_the_page_does_not_scroll_sideways(opened):
    sheet, _, _ = opened
    use(sheet)
    assert sheet.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def serious(sheet) -> list:
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed"
    )
    use(sheet)
    return [
        (violation["id"], [node["html"][:120] for node in violation["nodes"]])
        for violation in axe.Axe().run(sheet).response["violations"]
        if violation["impact"] in ("serious", "critical")
    ]


def test_axe_finds_no_serious_violation(opened):
    assert serious(opened[0]) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_violation_where_every_section_is_there(browser, large, scheme):
    for sheet, left, errors in watched(browser, large, scheme):
        assert serious(sheet) == []
        assert (left, errors) == ([], [])
        assert sheet.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        ids = sheet.locator("[id]").evaluate_all("nodes => nodes.map(node => node.id)")
        assert len(ids) == len(set(ids))


def test_headings_follow_each_other_without_a_gap(opened):
    sheet, _, _ = opened
    levels = sheet.locator("h1, h2, h3").evaluate_all(
        "nodes => nodes.map(node => Number(node.tagName[1]))"
    )
    assert levels[0] == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))


def column(sheet, table: str, number: int) -> list[str]:
    rows = sheet.locator(f"#{table} tbody tr")
    return rows.evaluate_all(f"rows => rows.map(row => row.cells[{number}].firstChild.textContent)")


def test_a_table_sorts_by_numbers_and_leaves_what_is_missing_last(sheet):
    """Seconds 9.5, 10.25 and 100 would sort otherwise as text; IMDN has no trained parameters."""
    head = sheet.locator("#t-cost thead th").nth(4)
    button = head.get_by_role("button", name="Network, s per megapixel")
    assert head.get_attribute("aria-sort") is None
    button.click()
    assert head.get_attribute("aria-sort") == "descending"
    assert column(sheet, "t-cost", 4) == ["100", "10.2", "9.5"]
    button.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert column(sheet, "t-cost", 4) == ["9.5", "10.2", "100"]
    trained = sheet.locator("#t-cost thead th").nth(2).get_by_role("button")
    for way in ("descending", "ascending"):
        trained.press("Space")
        assert sheet.locator("#t-cost thead th").nth(2).get_attribute("aria-sort") == way
        assert column(sheet, "t-cost", 2)[-1] == "–"
    assert sheet.locator("#t-cost [aria-sort]").count() == 1
    sheet.locator("#t-cost thead th").first.get_by_role("button").click()
    assert column(sheet, "t-cost", 0) == ["IMDN", "IMDN, trained on", "SPT"]


def test_the_measured_table_sorts_under_its_two_lines_of_heads(sheet):
    table = sheet.locator("#measured table").first
    table.locator("button.sort").nth(3).click()  # method, Set5, Set14, Average
    values = table.locator("tbody tr").evaluate_all(
        "rows => rows.map(row => Number(row.cells[3].dataset.v))"
    )
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == 7
    assert table.locator("tbody tr").last.locator("th").inner_text().startswith("bicubic")


def test_a_table_filters_by_words_and_choices_and_counts(sheet):
    tools = sheet.locator('.tools[data-table="t-audit"]')
    rows = sheet.locator("#t-audit tbody tr")
    most, count = rows.count(), tools.locator("output")
    assert count.inner_text() == f"{most} of {most} lines"
    tools.get_by_role("searchbox").fill("ours bsd68")
    shown = [row.inner_text().lower() for row in rows.all() if row.is_visible()]
    assert 0 < len(shown) < most
    assert all("ours" in text and "bsd68" in text for text in shown)
    assert count.inner_text() == f"{len(shown)} of {most} lines"
    tools.get_by_role("searchbox").fill("")
    tools.get_by_label("Paper").select_option("spt")
    tools.get_by_label("Verdict").select_option("inconsistent")
    shown = [row for row in rows.all() if row.is_visible()]
    assert {row.locator("th").inner_text() for row in shown} == {"spt"}
    assert {row.locator("td").nth(4).inner_text() for row in shown} == {"inconsistent"}
    assert count.inner_text() == f"{len(shown)} of {most} lines"
    assert not sheet.locator("#t-rounding").is_visible()


def test_only_long_tables_have_filters_and_all_can_be_sorted(sheet):
    tables_ = sheet.locator("table:has(button.sort)")
    lines = dict(
        tables_.evaluate_all(
            "tables => tables.map(table => [table.id, table.tBodies[0].rows.length])"
        )
    )
    filtered = sheet.locator(".tools").evaluate_all("tools => tools.map(one => one.dataset.table)")
    assert sorted(filtered) == sorted(name for name, count in lines.items() if count > 8)
    assert {"t-audit", "t-stated", "t-effects"} <= set(filtered)
    assert min(lines.values()) < 8


def test_prose_tables_fit_a_desktop_and_stand_in_blocks_on_a_phone(browser, large):
    wider = "tables => tables.filter(t => t.parentNode.scrollWidth > t.parentNode.clientWidth).map(t => t.id)"
    for scheme in ("light", "dark"):
        for sheet, _, _ in watched(browser, large, scheme):
            sheet.locator("summary").evaluate_all("all => all.forEach(summary => summary.click())")
            assert sheet.locator("table.flat").evaluate_all(wider) == []
    for sheet, _, _ in watched(browser, large, "dark"):
        rows = sheet.locator("#t-stated tbody tr")
        first = rows.first.locator("td").nth(1)
        assert first.get_attribute("data-label") == "The paper states"
        assert "The paper states" in first.evaluate(
            "cell => getComputedStyle(cell, '::before').content"
        )
        assert (
            sheet.get_by_role("table", name="Protocols: stated, official code, here").count() == 1
        )
        sheet.locator("#t-stated button.sort").first.click()
        papers = rows.locator("th").all_inner_texts()
        assert papers == sorted(papers)
        sheet.locator('.tools[data-table="t-stated"]').get_by_role("searchbox").fill("manga109")
        assert 0 < sum(row.is_visible() for row in rows.all()) < rows.count()


PLACES = """nodes => nodes.map(image => {
  const view = image.closest(".view").getBoundingClientRect(), box = image.getBoundingClientRect();
  return [box.width / view.width, (view.left - box.left) / box.width, (view.top - box.top) / box.height];
})"""


def places(sheet) -> list[float]:
    """Zoom, left and top edge of every picture of the scene; one answer, since all agree."""
    found = sheet.locator("#stage img, #views img").evaluate_all(PLACES)
    shown = [place for place in found if place[0]]
    assert len(shown) >= 10
    for place in shown:
        assert place == pytest.approx(shown[0], abs=2e-3)
    return shown[0]


def test_one_zoom_moves_all_views_of_a_scene(sheet):
    zoom = lambda name: sheet.get_by_role("button", name=name, exact=True)  # noqa: E731
    assert places(sheet) == pytest.approx([1, 0, 0])
    zoom("Zoom in").click()
    assert places(sheet) == pytest.approx([1.5, 1 / 6, 1 / 6], abs=1e-3), "about the middle"
    zoom("Move right").click()
    assert places(sheet) == pytest.approx([1.5, 1 / 6 + 0.2 / 1.5, 1 / 6], abs=1e-3)
    zoom("Move right").click()
    assert places(sheet) == pytest.approx([1.5, 1 / 3, 1 / 6], abs=1e-3), "no further than the edge"
    stage = sheet.locator("#stage")
    stage.press("ArrowDown")
    assert places(sheet) == pytest.approx([1.5, 1 / 3, 1 / 6 + 0.2 / 1.5], abs=1e-3)
    stage.press("+")
    assert places(sheet)[0] == pytest.approx(2.25, abs=1e-3)
    stage.press("0")
    assert places(sheet) == pytest.approx([1, 0, 0])
    view = sheet.locator("#views .view").first
    box = view.bounding_box()
    view.scroll_into_view_if_needed()
    box = view.bounding_box()
    sheet.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 0.5 * box["height"])
    sheet.keyboard.down("Control")
    sheet.mouse.wheel(0, -200)
    sheet.keyboard.up("Control")
    sheet.wait_for_function("document.getElementById('viewer').classList.contains('zoomed')")
    size, left, _ = places(sheet)
    assert left == pytest.approx(0.25 * (1 - 1 / size), abs=5e-3), (
        "the point under the pointer stays"
    )
    sheet.mouse.down()
    sheet.mouse.move(box["x"] + 0.15 * box["width"], box["y"] + 0.5 * box["height"], steps=3)
    sheet.mouse.up()
    assert places(sheet)[1] == pytest.approx(left + 0.1 / size, abs=5e-3)
    edge = sheet.evaluate(
        "getComputedStyle(document.getElementById('right-half')).clipPath.split(' ')[3]"
    )
    assert edge == "50%)", "the divider stays"
    zoom("Whole image").click()
    assert places(sheet) == pytest.approx([1, 0, 0])


def test_the_crop_of_the_figures_is_found_in_the_viewer(sheet, enlarging):
    sheet.get_by_role("button", name="Where they differ most").click()
    scene = pictures.choose(enlarging, tables.measured(enlarging), by_set=True)[0]
    window = pictures.crop_window(scene.layers["imdn"], scene.layers["spt"], 80)
    expected = [200 / 80, window[1].start / 240, window[0].start / 200]
    assert places(sheet) == pytest.approx(expected, abs=2e-3)


def test_the_views_stand_in_order_input_methods_sharp(sheet):
    captions = [
        text.split("\n")[0] for text in sheet.locator("#views figcaption").all_inner_texts()
    ]
    assert captions[0] == "input (bicubic)"
    assert captions[1:-1] == [
        "IMDN",
        "IMDN, trained on",
        "SPT",
        "SPT, prior zeroed",
        "SPT, superpixels",
        "SPT, another image's",
    ]
    assert captions[-1] == "sharp"


def test_what_was_said_of_the_images_is_escaped(tmp_path):
    """Words of a prior that a run reads at test time; another's, read by none, are not shown."""
    suite = write_numbers(make_suite(tmp_path))
    (suite.results / "rows" / "no-prior.csv").unlink()  # no pictures are chosen then
    images = [
        {"dataset": "realblur-j", "image": f"i{n}", "text": "<script>alert('said')</script> rain"}
        for n in range(9)
    ]
    images[1] |= {"doubt": "the answer may not be English: '<b>'"}
    images[7] |= {"doubt": "no answer: <u>", "missing": "<u>", "text": ""}
    images[2] = {"dataset": "realblur-j", "image": "i2", "content": "a car", "degradation": "<i>"}
    for key in ("sam", "unread"):
        write_json(suite.work / "priors" / key / "prior.json", {"images": images})
    lines = words.said(suite)
    assert list(lines["image"]) == ["i0", "i1", "i2", "i3", "i7"]
    assert set(lines["prior"]) == {"sam"}
    text = page.render(suite, tables.everything(suite))
    assert 'id="t-words"' in text
    assert "&lt;script&gt;alert(&#39;said&#39;)&lt;/script&gt; rain" in text
    assert "alert('said')" not in text
    assert "the answer may not be English: &#39;&lt;b&gt;&#39;" in text
    assert "no answer: &lt;u&gt;" in text
    assert (
        "sam: of 9 images, 1 got no answer (the network read an empty text) and 1 an answer that is in doubt."
        in text
    )
    assert "to be avoided: &lt;i&gt;" in text
