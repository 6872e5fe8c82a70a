"""Plots, the pictures that they choose, and what notebooks show."""

from __future__ import annotations

import shutil

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from report_suite import make_suite, row, sr_suite, write_numbers, write_pictured, write_psnr

from benchlib import prepare, records
from benchlib.contracts import BenchError
from benchlib.imageio import write_lq, write_png
from benchlib.params import Prior, PriorSides, Suite
from benchlib.plan import open_run
from benchlib.priors.kinds import masks as mask_kind
from benchlib.priors.kinds import vector
from benchlib.report import controls, page, pictures, plots, show, tables


@pytest.fixture
def numbers(tmp_path) -> Suite:
    return write_numbers(make_suite(tmp_path))


@pytest.fixture(scope="module")
def pictured(tmp_path_factory) -> Suite:
    return write_pictured(tmp_path_factory.mktemp("pictured"))


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


def test_no_image_is_chosen_by_a_gain_over_the_degraded_input(pictured):
    """A row that stands beside a published one may have the input as its reference."""
    last = pictured.run("map-dropout").model_copy(update={"reference": "blurred"})
    suite = pictured.model_copy(update={"runs": pictured.runs | {"map-dropout": last}})
    rows = tables.measured(suite)
    scene = pictures.choose(suite, rows, by_set=False)[0]
    assert scene.focus == "cat"
    assert plots.crops(suite, scene)[pictures.INPUT].size


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
    colours = mask_kind.mask_colours(labels)
    assert (colours[3:, :, 3] == 0).all()
    assert (colours[:3, :, 3] > 0).all()
    image = np.full((6, 6, 3), 77, np.uint8)
    assert (mask_kind.with_masks(image, labels)[3:] == 77).all()


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
    masks = rows[(rows["run"] == "cat") & (rows["metric"] == "masks")].set_index(
        ["dataset", "image"]
    )["value"]
    expected = {(masks[(g.dataset, g.image)], g.difference) for g in gains.itertuples()}
    assert {(x, y) for x, y in dots} == expected


def test_a_missing_input_of_a_plot_is_one_line(numbers):
    with pytest.raises(BenchError, match="no compared run has a loss file; run the train stage"):
        plots.loss_curves(numbers)
    with pytest.raises(BenchError, match="no run has mask counts"):
        plots.gain_against_masks(numbers)


# ---------------------------------------------------------------- super-resolution and noise


RUNS = ("imdn", "further", "spt-zeroed", "spt-slic", "spt")


@pytest.fixture
def enlarging(tmp_path) -> Suite:
    """Two images of 41x50 pixels whose lq is 10x12, masks of that size, five runs at 40x48."""
    suite, rng = sr_suite(tmp_path, ("Set5",)), np.random.default_rng(0)
    data, manifest = suite.work / "data" / "test-x4", []
    for i in range(2):
        write_png(
            data / "Set5" / "hq" / f"i{i}.png", rng.integers(256, size=(41, 50, 3), dtype=np.uint8)
        )
        write_png(
            data / "Set5" / "lq" / f"i{i}.png", rng.integers(256, size=(10, 12, 3), dtype=np.uint8)
        )
        line = {"dataset": "Set5", "image": f"i{i}", "asset": "", "source": ""}
        manifest.append(line | {"lq": f"lq/i{i}.png", "hq": f"hq/i{i}.png"})
        for run in RUNS:
            restored = rng.integers(256, size=(40, 48, 3), dtype=np.uint8)
            write_png(suite.work / "restored" / run / "Set5" / f"i{i}.png", restored)
        masks = [np.arange(120).reshape(10, 12) % 4 == k for k in range(2)]
        stored = mask_kind.mask_set(masks, (10, 12), np.ones(2, np.float32), np.ones(2, np.float32))
        mask_kind.save(suite.work / "priors" / "sam" / "Set5" / f"i{i}.npz", stored)
    records.write_table(data / "Set5" / "manifest.csv", manifest[0], manifest)
    gains = rng.normal(0.1, 0.3, (5, 2))
    write_psnr(
        suite, {run: {"Set5": (30 + g).tolist()} for run, g in zip(RUNS, gains, strict=True)}
    )
    return suite


def test_layers_of_super_resolution_are_enlarged_to_the_cut_reference(enlarging):
    rows = tables.measured(enlarging)
    scene = pictures.choose(enlarging, rows, by_set=True)[0]
    assert scene.focus == "spt", "the runs of its controls come before it and after it"
    assert {image.shape for image in scene.layers.values()} == {(40, 48, 3)}
    whole = np.asarray(Image.open(scene.pair.hq))
    assert np.array_equal(scene.layers[pictures.SHARP], whole[:40, :48])
    lq = Image.open(scene.pair.lq)
    assert np.array_equal(
        scene.layers[pictures.INPUT], lq.resize((48, 40), Image.Resampling.BICUBIC)
    )
    small = np.arange(120).reshape(10, 12) % 4
    expected = np.kron(np.where(small < 2, small + 1, 0), np.ones((4, 4), int))
    assert np.array_equal(scene.labels > 0, expected > 0)
    assert all(len(np.unique(scene.labels[expected == k])) == 1 for k in (0, 1, 2))
    cut = plots.crops(enlarging, scene)
    assert cut[pictures.PRIOR].shape == cut[pictures.INPUT].shape == (40, 48, 3)


def test_the_input_is_labelled_by_what_was_done_to_it(enlarging, numbers):
    assert pictures.layer_label(enlarging, pictures.INPUT) == "input (bicubic)"
    assert pictures.layer_label(numbers, pictures.INPUT) == "blurred"
    runs = {
        key: run.model_copy(update={"problem": f"problem {key}"})
        for key, run in numbers.runs.items()
    }
    assert (
        pictures.layer_label(numbers.model_copy(update={"runs": runs}), pictures.INPUT) == "input"
    )


def test_noise_that_is_not_rounded_is_shown_in_8_bits(tmp_path, numbers):
    noisy = np.full((8, 8, 3), [-0.2, 0.5, 1.3], np.float32)
    write_png(tmp_path / "hq.png", np.full((8, 8, 3), 9, np.uint8))
    pair = records.Pair("a", "b", write_lq(tmp_path / "lq", noisy), tmp_path / "hq.png")
    lq, hq = pictures.shown_pair(numbers, pair)
    assert (
        lq.dtype == np.uint8
        and lq[0, 0].tolist() == [0, 128, 255]
        and hq[0, 0].tolist() == [9, 9, 9]
    )


def test_a_figure_has_room_for_seven_methods_the_focus_among_them(enlarging):
    rows = tables.measured(enlarging)
    runs = {f"more{i}": enlarging.runs["further"] for i in range(9)} | enlarging.runs
    suite = enlarging.model_copy(update={"runs": runs})
    many = [rows.query("run == 'imdn'").assign(run=f"more{i}") for i in range(9)]
    shown = pictures.side_by_side(suite, tables.pd.concat([rows, *many]))
    assert len(shown) == pictures.MOST == 7
    assert shown[-1] == "spt" and not set(shown) & {"spt-zeroed", "spt-slic"}
    assert pictures.side_by_side(enlarging, rows) == [
        "imdn",
        "further",
        "spt",
        "spt-zeroed",
        "spt-slic",
    ]


def test_the_bars_of_a_control_start_at_zero_with_their_own_intervals(enlarging):
    rows = tables.measured(enlarging)
    axes = plots.control_steps(enlarging, rows).axes[0]
    steps = controls.split(enlarging, rows, "spt")
    assert [bar.get_width() for bar in axes.patches] == pytest.approx(steps["difference"].tolist())
    assert [bar.get_x() for bar in axes.patches] == [0] * 5
    assert mpl.colors.same_color(axes.patches[-1].get_facecolor(), mpl.rcParams["text.color"]), (
        "the total is in ink"
    )
    names = [label.get_text().replace("\n", " ") for label in axes.get_yticklabels()]
    assert names == steps["step"].tolist() and names[-2:] == ["SAM", "total"]
    drawn = [line.get_xdata() for line in axes.lines if line.get_marker() == "|"]
    assert np.allclose(drawn, steps[["low", "high"]], atol=1e-12)
    low, high = axes.get_xlim()
    assert low < min(0, steps["low"].min()) and max(0, steps["high"].max()) < high
    bold = [text.get_fontweight() == "bold" for text in axes.texts]
    assert bold == [low > 0 or high < 0 for low, high in drawn]
    assert all(text.xyann[0] > 0 and text.xy[0] == 1 for text in axes.texts), (
        "sizes stand right of the panel"
    )
    assert set(plots.draw(enlarging)) == {"controls", "qualitative"}


def test_an_axis_holds_zero_and_all_that_is_drawn():
    steps = tables.pd.DataFrame(
        {"difference": [1.0, 2.0], "low": [0.5, np.nan], "high": [3.0, np.nan]}
    )
    assert plots._limits(steps) == pytest.approx((-0.18, 3.18))
    assert plots._limits(steps * 0) == (-0.01, 0.01)


@pytest.mark.parametrize("style", ["light", "dark"])
def test_more_runs_than_colours_have_line_styles_of_their_own(numbers, style):
    runs = {f"run{i:02}": numbers.runs["cat"] for i in range(30)}
    with plots.theme(style):
        looks = plots._looks(numbers.model_copy(update={"runs": runs}))
    assert len(looks) == len(set(looks.values())) == 30
    assert len({colour for colour, _ in list(looks.values())[:12]}) == 12
    assert [looks[f"run{i:02}"][1] for i in (11, 12, 24)] == ["-", "--", ":"]


def test_a_legend_names_each_run_with_the_look_of_its_line(pictured):
    figure = plots.loss_curves(pictured)
    (legend,) = figure.legends
    looks = plots._looks(pictured)
    named = dict(zip([t.get_text() for t in legend.get_texts()], legend.get_lines(), strict=True))
    for run in ("cat", "map-dropout"):
        handle = named[tables.run_label(pictured, run)]
        assert (handle.get_color(), handle.get_linestyle()) == looks[run]
        assert looks[run] in {
            (line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines
        }
    assert not any(axes.texts for axes in figure.axes), "no labels among the lines"


def test_titles_of_the_gain_plot_are_wrapped(pictured):
    run = pictured.runs["cat"].model_copy(
        update={"label": "a network trained here, with a prior of SAM masks"}
    )
    suite = pictured.model_copy(update={"runs": pictured.runs | {"cat": run}})
    title = plots.gain_against_masks(suite).axes[0].get_title()
    assert title.replace("\n", " ") == run.label and max(map(len, title.splitlines())) <= 24


def test_only_sets_with_a_collapse_have_a_panel_and_the_others_are_named(pictured):
    rows = tables.measured(pictured)
    first, second = tables.datasets(pictured, rows)
    rows = rows[rows["metric"] == "MC"].assign(value=0.0)
    figure = plots.mcr_bars(pictured, rows)
    assert [axes.get_title() for axes in figure.axes] == [first]
    assert figure.get_supxlabel() == (
        f"Mode collapse (MCR), % (lower is better)\n0 % on {first}, {second}, with every run."
    )
    one = (rows["dataset"] == second) & (rows["run"] == "cat")
    figure = plots.mcr_bars(pictured, rows.assign(value=rows["value"].mask(one, 1.0)))
    assert [axes.get_title() for axes in figure.axes] == [second]
    assert figure.get_supxlabel().endswith(f"\n0 % on {first}, with every run.")


def test_losses_of_two_kinds_have_panels_of_their_own(enlarging):
    columns = ["seed", "iteration", "loss", "lr", "validation_psnr"]
    for run, loss, name in (("imdn", -30.0, None), ("spt", 0.02, "l1")):
        lines = [
            {"seed": 0, "iteration": i, "loss": loss, "lr": 1e-4, "validation_psnr": 31.0}
            for i in (1, 2, 3)
        ]
        records.write_table(enlarging.results / "loss" / f"{run}.csv", columns, lines)
        if name:
            records.write_json(
                enlarging.results / "records" / f"{run}.json", {"training": {"loss": name}}
            )
    figure = plots.loss_curves(enlarging)
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert labels == [
        "training loss, dB (minus PSNR)",
        "training loss, mean abs. difference",
        "validation PSNR, dB",
    ]
    assert [set(figure.axes[i].lines[0].get_ydata()) for i in range(3)] == [{-30.0}, {0.02}, {31.0}]


# ---------------------------------------------------------------- what notebooks show


def test_pairs_of_super_resolution_are_shown_at_one_size(enlarging):
    figure = show.pairs(enlarging, "test-x4/Set5")
    assert figure.axes[0].get_title() == "Set5/i0: lq, 4 times smaller"
    assert [axes.images[0].get_array().shape[:2] for axes in figure.axes] == [(40, 48)] * 3
    figure = show.restored(open_run(enlarging, "spt"))
    assert [axes.images[0].get_array().shape[:2] for axes in figure.axes] == [(40, 48)] * 4


def test_an_l1_loss_is_not_shown_as_psnr(enlarging):
    columns = ["seed", "iteration", "loss", "lr", "validation_psnr"]
    lines = [
        {"seed": 0, "iteration": i, "loss": 0.02, "lr": 1e-4, "validation_psnr": 31.0}
        for i in (1, 2)
    ]
    records.write_table(enlarging.results / "loss" / "spt.csv", columns, lines)
    records.write_json(
        enlarging.work / "runs" / "spt" / "record.json", {"training": {"loss": "l1"}}
    )
    above, below = show.loss(open_run(enlarging, "spt")).axes
    assert above.get_ylabel() == "training loss, mean abs. difference" and set(
        above.lines[0].get_ydata()
    ) == {0.02}
    assert below.get_ylabel() == "PSNR (dB)" and set(below.lines[0].get_ydata()) == {31.0}
    records.write_json(
        enlarging.work / "runs" / "spt" / "record.json", {"training": {"loss": "psnr"}}
    )
    (both,) = show.loss(open_run(enlarging, "spt")).axes
    assert both.get_ylabel() == "PSNR (dB)" and set(both.lines[0].get_ydata()) == {-0.02}


def test_a_run_record_says_what_was_chosen_and_kept(enlarging):
    record = {
        "label": "SPT", "init": "weights/imdn", "parameters": 700000, "trained_parameters": 50000,
        "training": {"loss": "l1", "iterations": 800},
        "kept": {"seed0": {"iteration": 600, "validation": 31.25}, "seed1": {"iteration": 800, "validation": ""}},
        "choice": [
            {"changes": {"lr": 0.0001}, "validation": 31.25, "iteration": 600, "chosen": True},
            {"changes": {}, "validation": 31.0, "iteration": 0, "chosen": False},
        ],
    }  # fmt: skip
    records.write_json(enlarging.work / "runs" / "spt" / "record.json", record)
    facts = show.run_record(open_run(enlarging, "spt"))[""].to_dict()
    assert facts["kept"] == "seed0: iteration 600, validation 31.25 dB; seed1: iteration 800"
    assert (
        facts["choice"]
        == "lr 0.0001: 31.25 dB at iteration 600 (chosen); as set: 31.0 dB at iteration 0"
    )
    assert (
        facts["trained_parameters"] == "50000"
        and facts["loss"] == "l1"
        and facts["init"] == "weights/imdn"
    )


def test_weights_show_their_facts_and_a_random_start_says_so(enlarging):
    record = {
        "asset": "imdn-x4",
        "sha256": "ab",
        "licence": "MIT",
        "citation": "Hui 2019",
        "parameters": 715176,
    }
    records.write_json(enlarging.work / "weights" / "imdn" / "weights.json", record)
    assert show.weights(enlarging, "imdn")[""].to_dict() == {
        name: str(value) for name, value in record.items()
    }
    records.write_json(enlarging.work / "weights" / "none" / "weights.json", {"asset": None})
    assert show.weights(enlarging, "none")[""].to_dict() == {
        "asset": "none: a network's own random start"
    }


def test_notebooks_show_every_collection_under_its_name(enlarging, capsys):
    one = show.comparison(enlarging)
    assert "SPT" in one.to_html() and "PSNR basicsr-y@4" in one.to_html()
    write_psnr(enlarging, {"imdn-x2": {"Set5": [35.0]}}, "basicsr-y@2")
    assert show.comparison(enlarging) is None
    show.differences(enlarging)
    show.reproduction(enlarging)
    show.control_steps(enlarging)
    assert "Styler" in capsys.readouterr().out
    assert show.scores(open_run(enlarging, "spt")).index.tolist() == ["Set5"]


def test_scores_have_the_average_where_the_evaluation_asks_for_it(tmp_path):
    suite = sr_suite(tmp_path)
    lines = [
        row(suite, "spt", name, "i", "PSNR", value)
        for name, value in (("Set5", 30.0), ("Set14", 31.0))
    ]
    records.write_rows(suite.results / "rows" / "spt.csv", lines)
    assert show.scores(open_run(suite, "spt"))[("basicsr-rgb", "PSNR")].to_dict() == {
        "Set5": 30.0, "Set14": 31.0, "Average": 30.5
    }  # fmt: skip


def test_crops_of_super_resolution_are_shown_at_one_size_with_their_masks(enlarging, monkeypatch):
    import torch

    crop = {"lq": torch.full((3, 8, 8), 1.25), "hq": torch.zeros(3, 32, 32)}
    item = {"item": crop, "prior": {"": {"labels": np.ones((8, 8), np.int64)}}}
    monkeypatch.setattr("benchlib.train.data.crops_of", lambda run: [item] * 2)
    axes = show.crops(open_run(enlarging, "spt"), count=2).axes
    shown = {axis.get_title(): axis.images[0].get_array() for axis in axes}
    assert {name: image.shape[:2] for name, image in shown.items()} == {
        "lq": (32, 32),
        "hq": (32, 32),
        "labels": (8, 8),
    }
    assert (shown["lq"] == 255).all(), "noise beyond white is shown as white"


def test_crops_of_a_run_with_masks_are_shown_with_their_labels(small):
    axes = show.crops(open_run(small, "map"), count=2).axes
    assert [axis.get_title() for axis in axes] == ["lq", "lq", "hq", "hq", "labels", "labels"]
    assert {axis.images[0].get_array().shape for axis in axes} == {(16, 16, 3)}


# ---------------------------------------------------------------- priors of other kinds


def with_vectors(suite: Suite) -> Suite:
    """CAT's run with a vector for a prior: 1, -1, 1, ... of eight numbers, of every test image."""
    entry = Prior(kind="vector", images="data/test", prior={"name": "sam_embedding"})
    cat = suite.runs["cat"].model_copy(update={"prior": PriorSides(train="none", test="embedding")})
    runs = suite.runs | {"cat": cat}
    suite = suite.model_copy(update={"priors": suite.priors | {"embedding": entry}, "runs": runs})
    values = np.tile(np.float32([1, -1]), 4)
    facts = []
    for pair in records.read_pairs(records.image_sets(suite, "test")):
        file = suite.work / "priors" / "embedding" / f"{pair.key}.npz"
        vector.save(file, vector.Vector(values))
        place = {"dataset": pair.dataset, "image": pair.image, "seconds": 2.0, "refused": None}
        facts.append(place | vector.facts(vector.Vector(values)))
    file = suite.work / "priors" / "embedding" / "prior.json"
    records.write_json(file, {"images": facts, "source": "data/test"})
    return suite


def test_a_vector_is_shown_whole_beside_a_crop_and_has_no_labels(pictured):
    suite = with_vectors(pictured)
    rows = tables.measured(suite)
    rows = rows[rows["run"] != "map-dropout"]
    scene = pictures.choose(suite, rows, by_set=False)[0]
    assert scene.focus == "cat" and scene.labels is None
    cut = plots.crops(suite, scene)
    shape = cut[pictures.INPUT].shape
    assert cut[pictures.PRIOR].shape == shape
    whole = vector.picture(scene.priors[0].stored, scene.layers[pictures.INPUT])
    assert np.array_equal(cut[pictures.PRIOR], pictures.enlarged(whole, shape[:2]))
    assert page._viewer(suite, rows, [scene])["scenes"][0]["masks"] is None


def test_a_prior_is_labelled_by_its_kind_where_all_are_of_one(pictured):
    assert pictures.layer_label(pictured, pictures.PRIOR) == "masks"
    assert pictures.layer_label(with_vectors(pictured), pictures.PRIOR) == "prior"


def test_masks_are_cut_with_the_image(pictured):
    scene = pictures.choose(pictured, tables.measured(pictured), by_set=False)[0]
    window = (slice(10, 60), slice(20, 80))
    whole = mask_kind.with_masks(scene.layers[pictures.INPUT], scene.labels)
    assert np.array_equal(scene.prior_crop(window), whole[window])


def test_a_prior_shows_what_its_kind_draws_and_says(pictured):
    suite = with_vectors(pictured)
    figure = show.prior_pictures(suite, "embedding")
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[1] == "norm 2.83"
    assert [axes.get_title() for axes in show.prior_pictures(suite, "sam").axes[:3]][2] == "alone"
    assert show.prior_pictures(suite, "none") is None
    record = show.prior_record(suite, "embedding")
    assert record.index.tolist() == ["shake-blur", "local-blur"]
    line = record.loc["shake-blur"]
    assert line[["images", "norm", "norm, least", "norm, most"]].tolist() == [3, *[8**0.5] * 3]
    assert line[["size", "seconds"]].tolist() == [8, 2.0]


def test_a_bundle_shows_its_first_part_that_has_something_to_show(pictured):
    priors = dict(with_vectors(pictured).priors)
    both = {"both/masks": priors["sam"], "both/vector": priors["embedding"]}
    for part, name in (("masks", "sam"), ("vector", "embedding")):
        source = pictured.work / "priors" / name
        shutil.copytree(source, pictured.work / "priors" / "both" / part, dirs_exist_ok=True)
    prior = PriorSides(train="none", test="both")
    cat = pictured.runs["cat"].model_copy(update={"prior": prior})
    runs = pictured.runs | {"cat": cat}
    suite = pictured.model_copy(update={"priors": priors | both, "runs": runs})
    assert tables.prior_names(suite, "cat") == ["sam", "sam_embedding"]
    rows = tables.measured(suite)
    scene = pictures.choose(suite, rows[rows["run"] != "map-dropout"], by_set=False)[0]
    alone = pictures.choose(pictured, rows[rows["run"] != "map-dropout"], by_set=False)[0]
    assert [prior.kind for prior in scene.priors] == ["masks", "vector"]
    window = (slice(0, 50), slice(0, 50))
    assert np.array_equal(scene.prior_crop(window), alone.prior_crop(window))


def test_a_metric_shows_what_its_file_says(pictured):
    prepare.make_metric(pictured, "mc")
    shown = show.metric(pictured, "mc")[""]
    assert shown["in rows and tables"] == "MC, shown as MCR"
    assert (shown["unit"], shown["better"], shown["range"]) == ("%", "lower", "0.0 to 1.0")
    assert shown["reads"] == "restored, reference, degraded" and shown["weights"] == "none"
    prepare.make_metric(pictured, "psnr")
    assert show.metric(pictured, "psnr")[""]["range"] == "0.0 or more"


def test_a_run_restored_with_a_control_in_its_priors_place_shows_its_reach(tmp_path):
    suite = sr_suite(tmp_path)
    place = {"swap": "zeroed", "protocol": ""}
    rows = [row(suite, "spt", "Set5", "i0", "PSNR", 30.0, protocol="y")]
    rows.append(row(suite, "spt", "Set5", "i0", "PSNR", 29.5, protocol="y", swap="zeroed"))
    rows.append(row(suite, "spt", "Set5", "i0", "reach", 0.25, **place))
    records.write_rows(suite.results / "rows" / "spt.csv", rows)
    plan = open_run(suite, "spt")
    shown = show.swaps(plan)
    assert shown.loc[("Set5", "zeroed"), ("y", "PSNR")] == 29.5
    assert shown.loc[("Set5", "zeroed"), ("", "reach")] == 0.25
    assert show.scores(plan).loc["Set5", ("y", "PSNR")] == 30.0
