"""The report page, in a real browser where there is one."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
from report_suite import make_suite, write_numbers, write_pictured

from benchlib.params import Suite
from benchlib.report import page, pictures, tables

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
