"""LMDIR's Figures 9 to 12 of a run: what is measured, against values that are known."""

from __future__ import annotations

import ast
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from lmdir_suite import trained, without_download, words_suite
from safetensors.torch import load_file, save_file

from benchlib.contracts import BenchError
from benchlib.imageio import read_image, write_png
from benchlib.plan import open_run
from benchlib.prepare import make_metric
from benchlib.priors import efficientnet_lite0
from benchlib.records import write_json
from benchlib.report import explore, looks, mixed
from benchlib.report.looks import Embeddings, Likeness

pytest.importorskip("spandrel_extra_arches")
ROOT = Path(__file__).parent.parent
VECTOR = {"name": "efficientnet_lite0", "weights": "random"}


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    folder = tmp_path_factory.mktemp("suite")
    with pytest.MonkeyPatch.context() as patch:
        without_download(patch)
        made = words_suite(folder)
        trained(made, "whole", "words", "plain")
        yield made


# --- Figure 9 -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def measured(suite):
    return mixed.measure(suite, "whole", count=2, side=48)


def test_each_mixture_is_removed_in_both_orders_and_by_each_word(measured):
    rows = measured.rows
    assert len(rows) == 2 * 4 * 3 * 2  # mixtures, steps, what is said, photographs
    assert set(rows["said"]) == {"noise", "rain", "low light", "nothing"}
    assert np.isfinite(rows[["psnr", "before"]]).all(axis=None)
    assert rows["image"].nunique() == rows["scene"].nunique() == 2
    steps = rows[rows["mixture"] == "rain + noise"].groupby(["given", "asked", "target"]).size()
    assert set(steps.index) == {
        ("both", "noise", "rain"),
        ("both", "rain", "noise"),
        ("without noise", "rain", "sharp"),
        ("without rain", "noise", "sharp"),
    }


def test_the_target_is_the_picture_with_only_the_other_degradation(suite, measured):
    """By hand, of one photograph: what was given, what came out, what it is compared with."""
    name = measured.rows["image"].iloc[0]
    pictures = measured.shown["rain + noise", name]
    pairs = mixed.sharp_pairs(open_run(suite, "whole"), 2)
    sharp = mixed.photographs(pairs, 48)[name][:, :]
    assert np.array_equal(pictures["sharp"], sharp)
    only, both = pictures["only rain"].astype(float), pictures["rain + noise"].astype(float)
    noise = mixed._degraded(sharp, name, "noise", mixed.DEGRADATIONS).astype(float) - sharp
    inside = (both > 0) & (both < 255) & (only + noise > 1) & (only + noise < 254)
    inside &= (sharp + noise > 0) & (sharp + noise < 255)
    assert inside.mean() > 0.5
    assert np.array_equal((both - only)[inside], noise[inside])  # the same noise, on the rain
    error = ((pictures["said: noise"].astype(float) - only) ** 2).mean()
    rows = measured.rows[measured.rows["image"] == name].set_index(
        ["mixture", "given", "asked", "said"]
    )
    got = rows.loc[("rain + noise", "both", "noise", "noise")]
    assert got["psnr"] == pytest.approx(10 * np.log10(255**2 / error))
    before = ((both - only) ** 2).mean()
    assert got["before"] == pytest.approx(10 * np.log10(255**2 / before))


def test_it_is_what_the_command_restores(suite, measured, tmp_path):
    name = measured.rows["image"].iloc[0]
    pictures = measured.shown["low light + noise", name]
    write_png(tmp_path / "in" / "a.png", pictures["low light + noise"])
    explore.restore_folder(suite, "whole", tmp_path / "in", tmp_path / "one", say="noise")
    assert np.array_equal(read_image(tmp_path / "one" / "a.png"), pictures["said: noise"])
    explore.restore_folder(suite, "whole", tmp_path / "one", tmp_path / "two", say="low light")
    assert np.array_equal(read_image(tmp_path / "two" / "a.png"), pictures["then said: low light"])


def test_words_that_reach_nothing_do_not_obey(suite):
    """The network reads degradation alone; with its words' projection at zero, all sayings are one."""
    path = open_run(suite, "words").places.weights(0)
    weights = load_file(path)
    deaf = dict(weights)
    deaf["guides.prompt.w_vd.weight"] = torch.zeros_like(weights["guides.prompt.w_vd.weight"])
    try:
        save_file(deaf, path)
        table = mixed.summary(mixed.measure(suite, "words", count=2, side=32))
    finally:
        save_file(weights, path)
    assert (table["obeys"] == 0).all()
    assert np.allclose(table["psnr"], table["nothing"])
    heard = mixed.summary(mixed.measure(suite, "words", count=2, side=32))
    assert (heard["obeys"] != 0).any()


def test_the_summary_pairs_pictures_and_leaves_exact_ones_out():
    lines = []
    said = {
        "noise": [30.0, 32.0, np.inf],
        "rain": [28.0, 31.0, 20.0],
        "nothing": [29.0, 29.0, 29.0],
    }
    for word, values in said.items():
        for image, value in enumerate(values):
            line = {"mixture": "rain + noise", "image": f"i{image}", "scene": f"s{image}"}
            line |= {"given": "both", "asked": "noise", "target": "rain", "said": word}
            lines.append(line | {"psnr": value, "before": 25.0})
    line = mixed.summary(mixed.Measured(pd.DataFrame(lines), {})).iloc[0]
    assert line[["said", "left", "images"]].tolist() == ["noise", "rain", 2]
    assert line[["before", "psnr", "other", "nothing", "obeys"]].tolist() == [25, 31, 29.5, 29, 1.5]
    assert line["low"] < 1.5 < line["high"]


def test_a_phrase_is_what_is_said(suite, capsys):
    with pytest.raises(BenchError, match="phrase: got 'noise'; write {} where"):
        mixed.measure(suite, "whole", phrase="noise")
    with pytest.raises(BenchError, match="reads no words"):
        mixed.measure(suite, "plain")
    with pytest.raises(BenchError, match="no degradation 'ran'; may be .*did you mean rain"):
        mixed.measure(suite, "whole", mixtures=[("ran", "noise")])
    one = mixed.measure(suite, "words", 1, 24, "remove the {}", mixtures=[("rain", "noise")])
    assert len(one.rows) == 12
    page = mixed.shown(one).to_html()
    assert "rain + noise" in page
    assert len(mixed.figure(one).axes) == 5


# --- Figure 10 ------------------------------------------------------------------------------------


def test_embeddings_are_those_of_the_network_one_picture_at_a_time(suite):
    plan = open_run(suite, "whole")
    found = looks.embeddings(plan, {"dark": "low light"})
    assert found.names.tolist() == ["noise"] * 2 + ["rain"] * 2 + ["low light"] * 2
    assert {name: values.shape for name, values in found.vectors.items()} == {
        "text": (6, 8),
        "image": (6, 8),
        "refined": (6, 8),
    }
    text = found.vectors["text"]
    assert np.array_equal(text[0], text[1]) and not np.array_equal(text[0], text[2])
    table = looks.separation(found)
    assert table.loc["text", "nearest"] == 1 and table.loc["text", "silhouette"] == 1
    assert len(looks.tsne(found).axes) == 3


def test_separation_against_values_by_hand():
    """Two degradations on a line, far from each other; a picture's own scene does not count."""
    names = np.array(["a", "a", "b", "b"])
    apart = np.array([[0.0], [1.0], [10.0], [11.0]])
    mixed_up = np.array([[0.0], [10.0], [1.0], [11.0]])
    equal = np.zeros((4, 1))
    vectors = {"text": apart, "image": mixed_up, "refined": equal}
    scenes = np.array(["1", "2", "3", "4"])
    table = looks.separation(Embeddings(vectors, names, scenes))
    assert table["nearest"].tolist() == pytest.approx([1.0, 0.0, 1 / 3])
    assert table["chance"].tolist() == pytest.approx([1 / 3] * 3)
    # a: (1, the mean distance to b is 10.5), (1, 9.5); b likewise
    by_hand = np.mean([1 - 1 / 10.5, 1 - 1 / 9.5, 1 - 1 / 9.5, 1 - 1 / 10.5])
    assert table["silhouette"].tolist()[0] == pytest.approx(by_hand)
    same_scene = Embeddings(vectors, names, np.array(["1", "1", "2", "2"]))
    assert looks.separation(same_scene)["nearest"].tolist()[0] == 0
    one = Embeddings({"text": apart}, np.array(["a"] * 4), scenes)
    assert np.isnan(looks.separation(one)["silhouette"].iloc[0])


def test_places_are_the_same_each_time_and_equal_rows_need_no_tsne():
    vectors = np.random.default_rng(0).normal(size=(12, 5))
    vectors[6:] += 20
    points = looks.placed(vectors, 30.0)
    assert np.array_equal(points, looks.placed(vectors, 30.0))
    centres = np.stack([points[:6].mean(0), points[6:].mean(0)])
    spread = max(np.linalg.norm(points[:6] - centres[0], axis=1).max(), 0)
    assert np.linalg.norm(centres[0] - centres[1]) > spread
    assert not looks.placed(np.ones((6, 3)), 30.0).any()
    line = np.arange(8.0)[:, None]  # one dimension alone
    assert np.isfinite(looks.placed(line, 30.0)).all()


# --- Figure 11 ------------------------------------------------------------------------------------


def test_maps_before_and_after_are_the_network_s_own(suite):
    plan = open_run(suite, "whole")
    maps = looks.feature_maps(plan)
    assert list(maps) == ["degradation", "content", "reference"]
    model = looks.load_model(plan, 0)
    batch = looks.batch_of(plan, plan.test_pairs()[0], torch.device("cpu"))
    with torch.inference_mode():
        image = looks_mirrored(batch["lq"])
        entered = model.network.patch_embed(image)
        left, _, _ = model._encoded(image, batch)
    assert np.array_equal(maps["degradation"].before, entered[0].numpy())
    assert np.array_equal(maps["degradation"].after, left[0].numpy())
    for part in ("content", "reference"):
        assert maps[part].before.shape == maps[part].after.shape
        assert maps[part].change > 0
    table = looks.feature_table(maps)
    moved = maps["content"].after - maps["content"].before
    by_hand = np.linalg.norm(moved) / np.linalg.norm(maps["content"].before)
    assert table.loc["content", "change"] == pytest.approx(by_hand)
    figure = looks.feature_figure(maps, plan)
    titles = [axis.get_title() for axis in figure.axes]
    assert any(title.startswith("bottleneck, last block: before content") for title in titles)


def looks_mirrored(image):
    from benchlib.methods._lmdir import mirrored

    return mirrored(image, 8)


def test_a_run_shows_the_parts_that_it_reads(suite):
    assert list(looks.feature_maps(open_run(suite, "words"))) == ["degradation"]
    with pytest.raises(BenchError, match="runs.plain: reads nothing, not degradation"):
        looks.feature_maps(open_run(suite, "plain"))
    with pytest.raises(BenchError, match="runs.words: reads degradation, not reference"):
        looks.likeness(open_run(suite, "words"), VECTOR)
    with pytest.raises(BenchError, match="reads nothing, not degradation"):
        looks.embeddings(open_run(suite, "plain"))


# --- Figure 12 ------------------------------------------------------------------------------------


@pytest.fixture
def by_colour(monkeypatch):
    """A provider whose vector is the mean colour, turned into three numbers that differ in sign."""
    from benchlib.priors.kinds.vector import Vector

    def colour(config, device):
        def give(image):
            return Vector((image.reshape(-1, 3).mean(0) - 100).astype(np.float32))

        return give

    monkeypatch.setattr(efficientnet_lite0, "open", colour)


def test_references_and_truths_are_compared_picture_by_picture(suite, by_colour):
    plan = open_run(suite, "whole")
    found = looks.likeness(plan, VECTOR, "rain")
    pairs = [pair for pair in plan.test_pairs() if pair.dataset == "rain"]
    degraded = [read_image(pair.lq).reshape(-1, 3).mean(0) - 100 for pair in pairs]
    truths = [read_image(pair.hq).reshape(-1, 3).mean(0) - 100 for pair in pairs]
    for i, own in enumerate(degraded):  # the reference is the degraded picture upside down
        for j, truth in enumerate(truths):
            cosine = own @ truth / np.linalg.norm(own) / np.linalg.norm(truth)
            assert found.cosines[i, j] == pytest.approx(cosine, abs=1e-5)
    assert np.allclose(found.inputs, np.diag(found.cosines), atol=1e-5)
    figure = looks.likeness_figure(found)
    assert figure.axes[0].get_ylabel() == "reference of picture"
    for settings, dataset, said in (
        (VECTOR, "rian", "no test set rian; may be noise, rain, dark"),
        ({"name": "sam"}, "", "is of kind masks; expected vector"),
    ):
        with pytest.raises(BenchError, match=said):
            looks.likeness(plan, settings, dataset)


def test_the_diagonal_is_set_against_chance():
    cosines = np.array([[0.9, 0.1, 0.3], [0.2, 0.8, 0.2], [0.6, 0.3, 0.4]])
    names = np.array(["a", "b", "c"])
    table = looks.likeness_table(Likeness(cosines, np.array([0.5, 0.6, 0.7]), names, names))
    means = table["mean"]
    assert means["own"] == pytest.approx(0.7)
    assert means["another"] == pytest.approx((0.1 + 0.3 + 0.2 + 0.2 + 0.6 + 0.3) / 6)
    assert means["more"] == pytest.approx(means["own"] - means["another"])
    assert means["degraded"] == pytest.approx(0.6)
    assert means["first"] == pytest.approx(2 / 3)
    assert means["first, by chance"] == pytest.approx(1 / 3)
    assert table.loc["more", "low"] < means["more"] < table.loc["more", "high"]


# --- the notebook ---------------------------------------------------------------------------------


def shown_by(source: str, names: dict) -> object:
    """What a notebook's cell shows: it is run here, and its last expression is its value."""
    *lines, last = ast.parse(source).body
    exec(compile(ast.Module(lines, []), "cell", "exec"), names)
    if isinstance(last, ast.Expr):
        return eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    exec(compile(ast.Module([last], []), "cell", "exec"), names)
    return None


def test_the_notebook_shows_every_figure_of_a_small_run(suite, by_colour):
    """In this process, whose words need no download; its own suite takes minutes to train."""
    notebook = nbformat.read(ROOT / "notebooks" / "lmdir.ipynb", as_version=4)
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    for name in suite.metrics:
        make_metric(suite, name)
    write_json(open_run(suite, "whole").places.run / "record.json", {})  # it is trained
    names: dict = {}
    shown_by(cells[0], names)
    assert names["names"]["noise75"] == "noise"
    names |= {"params": str(suite.folder / "params.yaml"), "key": "whole", "count": 1}
    shown = [shown_by(cell, names) for cell in cells[1:]]
    kinds = [type(one).__name__ for one in shown if one is not None]
    assert kinds == ["Styler", "Figure", *["Figure", "DataFrame"] * 3]
