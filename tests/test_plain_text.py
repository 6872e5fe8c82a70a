"""Names of images, sets and runs are shown as they are: no mathematics, no markup."""

from __future__ import annotations

import ast
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from benchlib.report import explore, plots, show
from benchlib.report.markup import latex, markdown

PACKAGE = Path(show.__file__).parent.parent
NAMES = ["Ba$$in", "$x_1$", "a$\\alpha", r"50 % \\frac$ of_it", "<b>bold</b>", "a|b`c`"]


def drawers(path: Path) -> list[ast.FunctionDef]:
    """The functions of a file that make a figure by pyplot."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            words = ast.unparse(ast.Module(node.body, []))
            if "plt.subplots(" in words or "plt.figure(" in words:
                found.append(node)
    return found


def test_every_function_that_makes_a_figure_takes_its_words_as_they_are():
    count = 0
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in drawers(path):
            said = [ast.unparse(one) for one in node.decorator_list]
            assert any("rc_context" in one and "PLAIN" in one for one in said), (
                f"{path.name}: {node.name}: decorate it with @mpl.rc_context(PLAIN)"
            )
            count += 1
    assert count >= 4
    with plots.theme():
        assert not mpl.rcParams["text.parse_math"] and not mpl.rcParams["text.usetex"]


def texts(figure: Figure) -> set[str]:
    """Draw a figure; every word in it."""
    figure.canvas.draw()
    return {text.get_text() for text in figure.findobj(Text)}


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_s_title_is_drawn_as_it_is_whatever_the_reader_has_set(name):
    image = np.zeros((8, 8, 3), np.uint8)
    with mpl.rc_context({"text.parse_math": True, "text.usetex": False}):
        assert name in texts(show.side_by_side([[(name, image)]]))


def test_a_legend_and_a_label_are_drawn_as_they_are(monkeypatch):
    table = pd.DataFrame(
        {"run": "$a$", "reference": "b$$", "dataset": NAMES, "image": "i", "difference": 1.0}
    ).assign(masks=[1.0, 2, 3, 4, 5, 6], coverage=np.nan)
    monkeypatch.setattr(explore, "gains", lambda suite, run: table)
    with mpl.rc_context({"text.parse_math": True}):
        shown = texts(explore.scatter(None))
    assert set(NAMES) <= shown
    assert any("$a$ minus b$$" in text for text in shown)


@pytest.mark.parametrize("name", NAMES)
def test_a_table_in_a_notebook_is_no_mathematics(name):
    table = pd.DataFrame({"image": [name]})
    assert "tex2jax_ignore" in table.to_html()
    assert "tex2jax_ignore" in table.style.format(escape="html").to_html()


@pytest.mark.parametrize("name", NAMES)
def test_a_table_s_markdown_is_escaped(name):
    table = pd.DataFrame({"image": [name]})
    bold = pd.DataFrame({"image": [False]})
    (cell,) = markdown(table, bold, name).splitlines()[-1:]
    inside = cell.removeprefix("| ").removesuffix(" |")
    for mark in "$|`_<":
        bare = inside.replace(f"\\{mark}", "")
        assert mark not in bare, cell
    assert latex(table, bold, name)
