"""The contract as a user meets it: each fault of a file outside the package is one line."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from benchlib import conformance, registry
from benchlib.contracts import BenchError

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """No plug-in is known; what a test makes known is forgotten."""
    monkeypatch.setenv(registry.INHERITED, "")
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.endswith((".mine", ".vector_channels")):
            del sys.modules[name]
    registry.version.cache_clear()
    registry.constants.cache_clear()


def on_page(page: str, number: int = 0) -> str:
    """A page's piece of Python, counted from 0."""
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)[
        number
    ]


def written(folder: Path, text: str, *changes: tuple[str, str]) -> Path:
    """``mine.py`` with that text, each change made once."""
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    path = folder / "mine.py"
    path.write_text(text, encoding="utf-8")
    return path


def failures(path: Path) -> dict[str, str]:
    """check -> why, of what is not met; every line is one line."""
    found = {}
    for result in conformance.check_file(path):
        assert "\n" not in result.line()
        if result.state == "failed":
            found[result.check] = result.why
    return found


@pytest.mark.parametrize(
    ("page", "number"),
    [("metrics.md", 0), ("data.md", 0), ("data.md", 1), ("priors.md", 0), ("methods.md", 0)],
)
def test_the_pages_examples_keep_the_contract(tmp_path, page, number):
    path = written(tmp_path, on_page(page, number))
    if page == "methods.md":
        path = path.rename(tmp_path / "vector_channels.py")  # its errors name it
    results = conformance.check_file(path)
    assert [result.line() for result in results if result.state != "ok"] == []
    assert len(results) > 4


METRIC_FAULTS = [
    (("LOWER_IS_BETTER = True", "LOWER_IS_BETTER = False"), "LOWER_IS_BETTER is False, but little"),
    (("RANGE = (0.0, 255.0)", "RANGE = (0.0, 1.0)"), "is outside RANGE, 0.0 to 1.0"),
    (("RANGE = (0.0, 255.0)", "RANGE = 255"), r"RANGE = 255; expected \(low, high\)"),
    (("DIGITS = 2", "DIGITS = 'two'"), "DIGITS = 'two'; expected"),
    (('READS = ("restored", "reference")', 'READS = "restored"'), "READS = 'restored'; expected a"),
    (('("basicsr-rgb", "basicsr-y")', '("basicsr",)'), "PROTOCOLS: basicsr: may be"),
    (("return float(", "restored += 1\n    return float("), "it changes the restored image"),
    (("return float(", "return str("), "measure gives str; expected a number"),
    (("return float(", "return 1 / 0 * float("), r"ZeroDivisionError: .*division by zero"),
    (("VERSION = 1\n", ""), r"mine\.py: no VERSION"),
    (
        ("import numpy as np", "import numpy as np\nimport no_such_x"),
        r"line 6: ModuleNotFoundError",
    ),
    (("0 for equal images.", "0 for equal images"), "ends without a stop"),
    (
        ("import numpy as np", "import numpy as np\nfrom benchlib.metrics._ssim import blur"),
        'USES does not name; add "metrics/_ssim.py": 1',
    ),
]


@pytest.mark.parametrize(("change", "said"), METRIC_FAULTS, ids=lambda one: str(one)[:30])
def test_a_fault_of_a_metric_is_found_and_said(tmp_path, change, said):
    found = failures(written(tmp_path, on_page("metrics.md"), change))
    assert any(re.search(said, why) for why in found.values()), found


DEGRADE_FAULTS = [
    (("lq = hq.copy()", "lq = hq"), "it changes the hq that it is given"),
    (("chance = rng.random(", "chance = np.random.random("), "one seed gives two images"),
    (("check_sharp(hq)", "pass"), "accepted; begin with `check_sharp"),
    (("return lq", "return lq[..., ::-1]"), "lq correlates with hq by"),
    (("return lq", "return lq[1:]"), "came .*expected one whole factor less|IndexError|ZeroDiv"),
    (("return lq", "return lq.astype('float64')"), "expected uint8, or float32 that is finite"),
    (("share: Share = 0.02", "share: float = 0.02"), "Config.share: a number without a range"),
    (("share: Share = 0.02", "share: Share"), "give it a default"),
    (("@dataclass(frozen=True)", "@dataclass"), r"put @dataclass\(frozen=True\) above"),
]


@pytest.mark.parametrize(("change", "said"), DEGRADE_FAULTS, ids=lambda one: str(one)[:30])
def test_a_fault_of_a_degradation_is_found_and_said(tmp_path, change, said):
    found = failures(written(tmp_path, on_page("data.md"), change))
    assert any(re.search(said, why) for why in found.values()), found


SOURCE_FAULTS = [
    (("DEGRADES = False", "DEGRADES = True"), "DEGRADES is True, but make.degrade was called 0"),
    (
        ("file.stem, lq, hq, source", "'a b', lq, hq, source"),
        "two pairs have one name|no safe name",
    ),
    (("return records", "return []"), "no pairs of the example"),
    (("path: str ", "name: str = ''\n    path: str "), "Config has a setting `name`|non-default"),
]


@pytest.mark.parametrize(("change", "said"), SOURCE_FAULTS, ids=lambda one: str(one)[:30])
def test_a_fault_of_a_source_is_found_and_said(tmp_path, change, said):
    found = failures(written(tmp_path, on_page("data.md", 1), change))
    assert any(re.search(said, why) for why in found.values()), found


def test_a_source_without_an_example_says_what_to_write(tmp_path):
    text = on_page("data.md", 1)
    path = written(tmp_path, text[: text.index("def example(")])
    skipped = [one for one in conformance.check_file(path) if one.state == "skipped"]
    assert skipped and "write a function `example` into the file" in skipped[0].why


PRIOR_FAULTS = [
    (('KIND = "vector"', 'KIND = "vektor"'), "KIND = 'vektor'; may be .*vector"),
    (("return 3 * config.side**2", "return 5"), r"it gives \(192,\); size\(config\) says 5"),
    (
        ('"config": dataclasses.asdict(config), ', ""),
        r"record's config is {}; expected {'side': 8}",
    ),
    (("height, width = image", "image += 1\n    height, width = image"), "it changes the image"),
    (
        ("/ 127.5 - 1)", "/ 127.5 - np.float32(np.random.random()))"),
        "the same image gives other bytes the second time",
    ),
]


@pytest.mark.parametrize(("change", "said"), PRIOR_FAULTS, ids=lambda one: str(one)[:30])
def test_a_fault_of_a_prior_is_found_and_said(tmp_path, change, said):
    found = failures(written(tmp_path, on_page("priors.md"), change))
    assert any(re.search(said, why) for why in found.values()), found


def test_faults_of_a_method_are_found_and_said(tmp_path):
    """A prior that is read but not used; a network under another name."""
    path = written(
        tmp_path,
        on_page("methods.md"),
        ("channels = self.encode(vector)", "channels = 0 * self.encode(vector)"),
        ("        self.network = network", "        self.net = network"),
        ("return self.network(", "return self.net("),
    )
    found = "\n".join(failures(path).values())
    assert "on nafnet: vector does not reach the restored image" in found
    assert "on nafnet: these do not move the restored image: encode.bias, encode.weight" in found
    assert "on nafnet: no self.network; keep the network under that name" in found


def test_what_cannot_be_checked_is_refused_in_a_line(tmp_path):
    with pytest.raises(BenchError, match=r"check: .*absent\.py is not there"):
        conformance.check_file(tmp_path / "absent.py")
    with pytest.raises(BenchError, match=r"params\.py: no file of methods, .*: no contract"):
        conformance.check_file(registry.PACKAGE / "params.py")
    (tmp_path / "mine.py").write_text("VERSION = 1\n")
    with pytest.raises(BenchError, match=r"mine\.py: fits no folder"):
        conformance.check_file(tmp_path / "mine.py")


def test_a_file_of_the_package_is_checked_where_it_is():
    results = conformance.check_file(registry.PACKAGE / "metrics/psnr.py")
    assert {result.state for result in results} == {"ok"}
    assert results[0].file == "metrics/psnr"
