"""``benchlib restore --say``: a user's words in the place of what a run's prior says."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from conftest import write_params
from lmdir_suite import (
    plugin_forgotten,
    trained,
    without_download,
    word_encoder,
    words_params,
    words_suite,
)
from nbclient import NotebookClient
from test_cli import call, refused

from benchlib import assets
from benchlib.contracts import BenchError, Window
from benchlib.imageio import read_image, write_png
from benchlib.params import load_params
from benchlib.plan import open_run
from benchlib.priors import _words, written
from benchlib.priors.kinds import tokens
from benchlib.report import explore, instruction
from benchlib.restore import load_model, restore
from benchlib.tasks.image import WHOLE

pytest.importorskip("spandrel_extra_arches")
NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "own_images.ipynb"


@pytest.fixture
def suite(tmp_path, monkeypatch):
    without_download(monkeypatch)
    monkeypatch.chdir(tmp_path)
    made = words_suite(tmp_path)
    trained(made, "whole", "words", "plain")
    write_png(tmp_path / "mine" / "photo.png", noisy(made))
    return made


def noisy(suite) -> np.ndarray:
    return read_image(open_run(suite, "whole").test_pairs()[0].lq)


def test_the_words_take_the_place_of_the_degradation_and_all_else_is_computed(
    suite, tmp_path, capsys
):
    words = ["restore", "--run", "whole", "mine/photo.png"]
    code, out, _ = call(capsys, *words, "noise", "--say", " remove  the noise\n")
    assert code == 0
    assert 'said as degradation: "remove the noise" (3 tokens)' in out
    assert call(capsys, *words, "rain", "--say", "remove the rain")[0] == 0
    assert call(capsys, *words, "rain-again", "--say", "remove the rain")[0] == 0
    own = tmp_path / "noise" / "priors"
    said = tokens.load(own / "degradation" / "own" / "photo.npz")
    assert said.text == "remove the noise"
    assert np.array_equal(said.embedding, word_encoder(written.Config(), "cpu")(said.text))
    kept = tokens.load(own / "content" / "own" / "photo.npz")
    assert kept.text == "a photograph of something"
    made = [read_image(tmp_path / name / "photo.png") for name in ("noise", "rain", "rain-again")]
    assert not np.array_equal(made[0], made[1])
    assert np.array_equal(made[1], made[2])


def test_it_is_what_the_network_gives_of_those_tokens(suite, tmp_path):
    explore.restore_folder(suite, "whole", tmp_path / "mine", tmp_path / "out", say="low light")
    plan = open_run(suite, "whole")
    prior = explore._own_prior(plan, tmp_path / "out")
    image = noisy(suite)
    stored = prior.load("own", "photo", image.shape[:2])
    assert stored["degradation"].text == "low light"
    batch = prior.collate([prior.crop(stored, Window(0, 0, *image.shape[:2]))])

    def entries(window):
        return batch

    lq = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    direct = plan.task.restore(
        load_model(plan, 0), {"lq": lq}, plan.tiles, torch.device("cpu"), entries
    )
    assert np.array_equal(direct, read_image(tmp_path / "out" / "photo.png"))


def test_the_run_s_own_words_said_again_give_what_the_run_gives(suite, tmp_path):
    """A set whose name for noise is "noise", restored as ever and by saying just that."""
    plan = open_run(suite, "whole")
    pair = plan.test_pairs()[0]
    assert pair.dataset == "noise"
    device = torch.device("cpu")
    model, item = load_model(plan, 0), plan.task.read(pair)
    usual = restore(plan, model, pair, item, plan.test_prior, device, WHOLE)
    explore.restore_folder(suite, "whole", tmp_path / "mine", tmp_path / "out", say="noise")
    assert np.array_equal(usual, read_image(tmp_path / "out" / "photo.png"))


def test_another_part_may_be_said(tmp_path, monkeypatch):
    without_download(monkeypatch)
    params = words_params(tmp_path)
    params["priors"]["lm-test/degradation"]["prior"] = {"name": "written", "text": "noise"}
    suite = words_suite(tmp_path, params)
    trained(suite, "whole")
    write_png(tmp_path / "mine" / "photo.png", noisy(suite))
    for number, text in enumerate(("a cat", "a house")):
        out = tmp_path / str(number)
        explore.restore_folder(suite, "whole", tmp_path / "mine", out, say=text, part="content")
    told = tokens.load(tmp_path / "1" / "priors" / "content" / "own" / "photo.npz")
    assert told.text == "a house"
    cat, house = read_image(tmp_path / "0" / "photo.png"), read_image(tmp_path / "1" / "photo.png")
    assert not np.array_equal(cat, house)


def test_an_encoder_s_settings_are_those_of_the_run_s_prior():
    long = "one two three four"
    config = written.Config(read="pooled", longest=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_words, "encoder", word_encoder)
        pooled = _words.instruction(config, long, "cpu")
        assert pooled.embedding.shape == (1, 8)
        with pytest.raises(BenchError, match=r"has 4 tokens, of which .* keeps 3 \(longest\)"):
            _words.instruction(written.Config(longest=3), long, "cpu")
        assert len(_words.instruction(written.Config(longest=4), long, "cpu").embedding) == 4
        clip = written.Config(encoder="open_clip", longest=200)
        with pytest.raises(BenchError, match="fills the 77 tokens that CLIP reads"):
            _words.instruction(clip, "noise " * 77, "cpu")


def test_words_of_wordllama_are_those_that_a_prior_of_the_text_has(tmp_path):
    for name in ("wordllama-256", "wordllama-tokenizer"):
        try:
            assets.fetch(name)
        except BenchError as error:
            pytest.skip(str(error))
    config = written.Config(text="remove the noise")
    told = written.told(config, "set", "image")
    kept = written.open(config, "cpu")(np.zeros((8, 8, 3), np.uint8), told)
    said = _words.instruction(config, "remove the noise", "cpu")
    assert said.text == kept.text and np.array_equal(said.embedding, kept.embedding)
    assert said.embedding.shape[1] == 256


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("run", "text", "more", "said"),
    [
        ("plain", "the noise", [], "reads no words .its prior is lm-test."),
        ("whole", "", [], "the text has no words; say what to remove"),
        ("whole", " \n\u202e ", [], "the text has no words"),
        ("whole", "noise " * 78, [], "has 78 tokens, of which the run's prior keeps 77"),
        ("whole", "noise" * 1000, [], "5,000 characters; expected at most 4,000"),
        ("whole", "noise", ["--part", "contnet"], "no words there; .*did you mean content"),
        ("whole", "noise", ["--part", "reference"], "no words there; may be content, degradation"),
        ("words", "noise", ["--part", "content"], "no words there; may be degradation"),
        ("wohle", "noise", [], "did you mean whole"),
    ],
)
def test_what_cannot_be_said_is_one_line_and_nothing_is_written(
    suite, tmp_path, capsys, run, text, more, said
):
    words = ["restore", "--run", run, "mine", "out", "--say", text, *more]
    line = refused(capsys, *words)
    assert re.search(said, line), line
    assert not (tmp_path / "out").exists()


def test_words_told_by_a_set_cannot_be_had_of_a_photograph_and_the_way_out_is_named(suite, capsys):
    line = refused(capsys, "restore", "--run", "words", "mine", "out")
    assert "of none of the 1 images" in line and "what is wrong with them (--say)" in line


def test_a_part_without_words_is_refused(suite, capsys):
    line = refused(capsys, "restore", "--run", "whole", "mine", "out", "--part", "content")
    assert "add --say TEXT" in line


def test_several_parts_of_which_none_is_usual_and_a_swapped_prior(tmp_path, monkeypatch):
    without_download(monkeypatch)
    params = words_params(tmp_path)
    params["runs"]["zeroed"] = params["runs"]["whole"] | {}
    sides = params["runs"]["whole"]["prior"]
    params["runs"]["zeroed"]["prior"] = sides | {"swap": "zeroed"}
    suite = load_params(write_params(tmp_path, params))
    with pytest.raises(BenchError, match=r"runs.zeroed: its prior is zeroed \(swap\)"):
        instruction.part_of(suite, open_run(suite, "zeroed"))
    assert instruction.part_of(suite, open_run(suite, "words")) == "degradation"
    monkeypatch.setattr(instruction, "USUAL", "mood")
    with pytest.raises(BenchError, match=r"several parts \(degradation, content\); name one by"):
        instruction.part_of(suite, open_run(suite, "whole"))


def test_an_untrained_run_is_told_before_its_encoder_is_fetched(tmp_path, monkeypatch, capsys):
    without_download(monkeypatch)
    monkeypatch.chdir(tmp_path)
    suite = words_suite(tmp_path)
    write_png(Path("mine/photo.png"), noisy(suite))

    def no_encoder(config, device):
        raise AssertionError("fetched")

    monkeypatch.setattr(_words, "encoder", no_encoder)
    line = refused(capsys, "restore", "--run", "whole", "mine", "out", "--say", "noise")
    assert "not trained here; first: benchlib run . train@whole" in line


def test_the_notebook_s_cell(suite, tmp_path):
    assert "No instruction" in explore.said(suite, "plain", None, "").data
    page = explore.said(suite, "whole", tmp_path / "mine", "remove <b>noise</b>").data
    assert page.count("<figure") == 1 and "<b>noise" not in page
    assert (suite.work / "own" / "mine" / "whole-said" / "photo.png").is_file()


# --- the notebook ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "say", "then", "shown"),
    [
        ("whole", "remove the noise", "", 1),
        ("whole", "remove the rain", "low light", 2),
        ("plain", "remove the noise", "", 0),
        ("whole", "", "", 0),
    ],
)
def test_one_instruction_then_the_other_or_a_sentence(suite, tmp_path, key, say, then, shown):
    made = explore.said(suite, key, tmp_path / "mine", say, then).data
    assert made.count("<figure") == shown
    own = suite.work / "own" / "mine"
    if not shown:
        assert "No instruction: " in made and not own.exists()
        return
    told = {"said": say, "said-then": then}
    for folder, text in list(told.items())[:shown]:
        file = own / f"{key}-{folder}" / "priors" / "degradation" / "own" / "photo.npz"
        assert tokens.load(file).text == text
    if then:  # of what came out, not of the photograph
        alone = explore.restore_folder(suite, key, tmp_path / "mine", tmp_path / "x", say=then)
        second = read_image(own / f"{key}-said-then" / "photo.png")
        assert not np.array_equal(second, read_image(alone["restored"].iloc[0]))


def test_own_images_runs_with_an_instruction(tmp_path, monkeypatch):
    """In a kernel of its own; words by an encoder that has learnt nothing, without a download."""
    plugin_forgotten(monkeypatch)
    params = words_params(tmp_path)
    for entry in params["priors"].values():
        if entry["kind"] == "tokens":
            entry["prior"] = {"name": "written", "text": "noise", "weights": "random"}
    for chosen in params["runs"].values():
        chosen["method"]["size"] = 256
    suite = words_suite(tmp_path, params)
    trained(suite, "whole")
    write_png(tmp_path / "mine" / "photo.png", noisy(suite))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    given = {"folder": tmp_path / "mine", "params": tmp_path / "params.yaml"}
    lines = [f"{name} = {str(value)!r}" for name, value in given.items()]
    lines += ['key = "whole"', 'say = "remove the noise"', 'then = "rain"']
    notebook.cells[1].source = "\n".join(lines)
    NotebookClient(notebook, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    shown = notebook.cells[-1].outputs[-1]["data"]["text/html"]
    assert shown.count("<figure") == 2
