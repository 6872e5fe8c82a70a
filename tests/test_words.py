"""Priors of words: where texts come from, how they become tokens, and what is told by a set's name."""

from __future__ import annotations

import json

import numpy as np
import pytest
from conftest import make_inputs, small_params, write_params
from skimage import data

from benchlib import assets
from benchlib.contracts import BenchError
from benchlib.imageio import read_image, write_png
from benchlib.params import configure, load_params, located
from benchlib.prepare import make_priors
from benchlib.priors import (
    _encode_open_clip,
    _words,
    degradation_words,
    efficientnet_lite0,
    imagenet_words,
    named_degradation,
    written,
)
from benchlib.priors._loop import Provider, compute
from benchlib.priors.kinds.tokens import load

IMAGE = data.astronaut()[::8, ::8]
SCRIPT = "<script>alert('x')</script> & \"rain\""


def of_catalogue(*names: str) -> None:
    """Skip where the entries cannot be had."""
    for name in names:
        try:
            assets.fetch(name)
        except BenchError as error:
            pytest.skip(str(error))


@pytest.fixture
def wordllama() -> None:
    of_catalogue("wordllama-256", "wordllama-tokenizer")


def texts_of(config, dataset: str, *images: str) -> list[str]:
    return [written.told(config, dataset, image)["text"] for image in images]


# --- where texts come from ------------------------------------------------------------------------


def test_a_folder_holds_a_file_an_image_for_one_set_or_for_all(tmp_path) -> None:
    (tmp_path / "rain").mkdir()
    (tmp_path / "rain" / "a.txt").write_bytes(b"\xef\xbb\xbfheavy rain\r\n of the left ")
    (tmp_path / "a.txt").write_text("a street\n")
    config = written.Config(folder=str(tmp_path))
    assert texts_of(config, "rain", "a") == ["heavy rain of the left"]
    assert texts_of(config, "noise", "a") == ["a street"]
    with pytest.raises(BenchError, match=r"noise/b.txt: no such file, nor .*b.txt; write"):
        texts_of(config, "noise", "b")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BenchError, match="b.txt: not a readable text .*save it as UTF-8"):
        texts_of(config, "noise", "b")


def test_a_table_holds_a_line_an_image(tmp_path) -> None:
    file = tmp_path / "texts.csv"
    file.write_text('set,image,text\nrain,a,"heavy, ""bad"" rain"\n,a,all\n,b,every set\n')
    config = written.Config(table=str(file))
    assert texts_of(config, "rain", "a", "b") == ['heavy, "bad" rain', "every set"]
    assert texts_of(config, "noise", "a") == ["all"]
    with pytest.raises(BenchError, match="no line for the image c of the set rain"):
        texts_of(config, "rain", "c")
    for lines, said in (
        ("image,text\n", "expected the columns set,image,text"),
        ("set,image,text\nrain,a,x,y\n", "row 2: 4 columns"),
        ("set,image,text\nr,a,x\nr,a,y\n", "row 3: r/a stands there twice"),
    ):
        file.write_text(lines)
        written._lines.cache_clear()
        with pytest.raises(BenchError, match=said):
            texts_of(config, "rain", "a")
    with pytest.raises(BenchError, match="no such file; expected a CSV"):
        texts_of(written.Config(table=str(tmp_path / "no.csv")), "rain", "a")


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("written", {"text": "a", "folder": "b"}, "got folder and text; give one of"),
        ("written", {"model": "ViT-B-32"}, "beside encoder: wordllama"),
        ("written", {"weights": "wordlama-256"}, "did you mean wordllama-256"),
        ("written", {"read": "mean"}, "read"),
        ("written", {"sets": {"rain": 3}}, "sets"),
        ("named_degradation", {"wrong": True, "sets": {"a": "x", "b": "x"}}, "two names"),
    ],
)
def test_settings_that_cannot_work_are_one_line_before_the_work(name, settings, said) -> None:
    with pytest.raises(BenchError, match=said) as error:
        configure("priors", {"name": name, **settings}, "priors.x.prior")
    assert str(error.value).startswith("priors.x.prior")
    assert "\n" not in str(error.value)


def test_no_source_of_texts_is_one_line() -> None:
    with pytest.raises(BenchError, match="no texts named; give one of folder, table, sets, text"):
        written.open(written.Config(), "cpu")


def test_relative_paths_begin_at_params_yaml(tmp_path) -> None:
    module, config = configure("priors", {"name": "written", "folder": "texts"})
    assert located(module, config, tmp_path).folder == str(tmp_path / "texts")


def test_what_a_terminal_or_a_reader_would_obey_is_taken_out_of_a_text() -> None:
    assert _words.one_line("a\x1b[31m\u202eb\x00\n\tc\u2028d ") == "a[31mb c d"
    assert _words.one_line("雨 und Schnee, 100 % <b>") == "雨 und Schnee, 100 % <b>"
    with pytest.raises(BenchError, match="4,001 characters; expected at most 4,000"):
        _words.one_line("x" * 4001)


def test_a_set_is_told_its_own_or_a_wrong_name() -> None:
    sets = {"noise-15": "noise", "noise-50": "noise", "rain": "rain", "lol": "low light"}
    right = named_degradation.Config(sets=sets)
    wrong = named_degradation.Config(sets=sets, wrong=True)
    told = [named_degradation.told(right, name, "a")["text"] for name in sets]
    assert told == ["noise", "noise", "rain", "low light"]
    told = [named_degradation.told(wrong, name, "a")["text"] for name in sets]
    assert told == ["rain", "rain", "low light", "noise"]
    with pytest.raises(BenchError, match="no name for the set haze .there: noise-15, "):
        named_degradation.told(right, "haze", "a")


# --- how they become tokens -----------------------------------------------------------------------


def test_wordllama_gives_a_row_a_token_and_their_mean_tells_what_texts_are_about(wordllama) -> None:
    config = written.Config(text="heavy rain streaks", read="pooled")
    encode = _words.encoder(config, "cpu")
    texts = ["heavy rain streaks", "a wet, rainy day", "a chair in a dark kitchen"]
    rain, wet, chair = (encode(text)[0] for text in texts)

    def alike(one: np.ndarray, other: np.ndarray) -> float:
        return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))

    assert alike(rain, wet) > alike(rain, chair) + 0.2
    rows = _words.encoder(written.Config(text="heavy rain streaks"), "cpu")("heavy rain streaks")
    assert rows.shape == (4, 256) and rows.dtype == np.float32
    assert np.allclose(rows.mean(0), rain)
    assert written.record(config, "cpu")["weights"] == {
        "wordllama-256": assets.find("wordllama-256").sha256,
        "wordllama-tokenizer": assets.find("wordllama-tokenizer").sha256,
    }


def test_no_words_are_one_row_of_zeros(wordllama) -> None:
    stored = written.open(written.Config(text=""), "cpu")(IMAGE, {"text": ""})
    assert stored.text == "" and not stored.embedding.any() and stored.embedding.shape == (1, 256)


def test_long_texts_are_cut_off_and_the_record_says_so(wordllama, tmp_path) -> None:
    write_png(tmp_path / "a.png", IMAGE)
    config = written.Config(text="rain " * 30, longest=8)
    (record,) = compute(
        Provider("written", config, "cpu"), {"a": tmp_path / "a.png"}, tmp_path / "s"
    )
    assert (record["tokens"], record["tokens_said"]) == (8, 30)


def test_clips_text_encoder_is_open_clips_own() -> None:
    """Of a tiny model with random weights: the pooled row, and the row that it is made of."""
    open_clip = pytest.importorskip("open_clip")
    import torch

    config = written.Config(
        text="x", encoder="open_clip", model="ViT-S-32-alt", weights="random", read="pooled"
    )
    network = _encode_open_clip.clip.build(_encode_open_clip.of_clip(config))
    ids = open_clip.get_tokenizer("ViT-S-32-alt")(["heavy rain"])
    with torch.no_grad():
        expected = network.encode_text(ids).numpy()
    assert np.allclose(_words.encoder(config, "cpu")("heavy rain"), expected, atol=1e-6)
    tokens, whole = _encode_open_clip.open(config, "cpu")("heavy rain")
    assert len(tokens) == 4  # start, two words, end
    last = torch.from_numpy(tokens[-1:]) @ network.text_projection
    assert np.allclose(last.detach().numpy(), whole, atol=1e-5)
    assert written.stands_in(config)


def test_clips_that_need_the_hub_and_unknown_ones_are_refused_by_name() -> None:
    pytest.importorskip("open_clip")
    config = written.Config(text="x", encoder="open_clip", weights="random", model="ViT-B-23")
    with pytest.raises(BenchError, match="open_clip has none of that name; near: .*ViT-B-32"):
        written.open(config, "cpu")
    with pytest.raises(BenchError, match="its tokenizer is on the Hugging Face Hub"):
        _encode_open_clip._tokenizer("ViT-B-16-SigLIP")


# --- through the loop -----------------------------------------------------------------------------


def test_a_changed_text_is_made_again_and_an_image_without_one_is_refused(
    wordllama, tmp_path
) -> None:
    for name in ("a", "b"):
        write_png(tmp_path / f"{name}.png", IMAGE)
    (tmp_path / "a.txt").write_text("one")
    config = written.Config(folder=str(tmp_path))
    images = {name: tmp_path / f"{name}.png" for name in ("a", "b")}

    def made() -> list[dict]:
        provider = Provider("written", config, "cpu", kept=tmp_path / "kept")
        return compute(provider, images, tmp_path / "rain")

    first, refused = made()
    assert first["text"] == "one" and refused["refused"].startswith(f"{tmp_path}/rain/b.txt: ")
    (tmp_path / "a.txt").write_text("two")
    assert made()[0]["text"] == "two"
    assert len(list((tmp_path / "kept").rglob("*.npz"))) == 2
    assert load(tmp_path / "rain" / "a.npz").text == "two"


def test_a_suites_prior_of_words_keeps_every_text_in_its_record(wordllama, tmp_path) -> None:
    params = small_params()
    prior = {"name": "written", "sets": {"shake-blur": SCRIPT}}
    params["priors"]["words"] = {"kind": "tokens", "images": "data/test", "prior": prior}
    suite = load_params(write_params(tmp_path, params))
    make_inputs(suite, priors=())
    make_priors(suite, "words")
    kept = json.loads((suite.work / "priors" / "words" / "prior.json").read_text())
    assert kept["encoder"] == "wordllama" and kept["config"]["sets"] == {"shake-blur": SCRIPT}
    assert [one["text"] for one in kept["images"]] == [SCRIPT]


# --- words of classifiers -------------------------------------------------------------------------


def test_a_classifier_says_what_a_photograph_shows(wordllama) -> None:
    of_catalogue(efficientnet_lite0.ASSET)
    config = imagenet_words.Config(count=2)
    speaker = imagenet_words.open(config, "cpu")
    stored = speaker(data.chelsea())
    assert stored.text.split(", ")[0] == "Egyptian cat" and stored.text.count(",") == 1
    assert 0.1 < speaker.notes()["likeliest"] < 1
    assert len(imagenet_words.names()) == len(set(imagenet_words.names())) == 1000
    assert imagenet_words.stands_in(imagenet_words.Config(classifier="random"))
    assert not imagenet_words.stands_in(config)


EXAMPLES = {
    "noise": {"asset": "t91", "degrade": {"name": "gaussian_noise", "sigma": 25.0}},
    "low light": {"asset": "t91", "degrade": {"name": "low_light"}},
    "no degradation": {"asset": "t91"},
}


def test_a_classifier_says_what_is_wrong_with_a_photograph(wordllama) -> None:
    of_catalogue("t91")
    config = degradation_words.Config(examples=EXAMPLES, most=24)
    say = degradation_words.words(config, "cpu")
    sharp = data.astronaut()[::2, ::2]
    noise = np.random.default_rng(0).normal(0, 25, sharp.shape)
    noisy = np.clip(sharp + noise, 0, 255).astype(np.uint8)
    said = [say(image).text for image in (sharp, noisy, sharp // 12)]
    assert said == ["no degradation", "noise", "low light"]
    about = degradation_words.record(config, "cpu")["classifier"]
    assert about["examples"] == {"noise": 24, "low light": 24, "no degradation": 24}
    assert about["right"] > 0.9
    assert about["versions"]["degrade/low_light.py"] == 1
    assert about["assets"]["t91"] != "unpinned"
    degradation_words._trained.cache_clear()
    assert degradation_words.words(config, "cpu")(noisy).notes == say(noisy).notes


def test_pairs_that_are_stored_turned_are_turned_back() -> None:
    of_catalogue("rain100l-part")
    where = {"asset": "rain100l-part", "split": "train"}
    shapes = [image.shape for _, image in degradation_words._images("rain", where, 20)]
    turned = [row.turned for row in assets.find("rain100l-part").layout["train"].table]
    stored = [read_image(lq).shape for lq, _ in assets.pairs("rain100l-part", "train")]
    for one, other, quarters in zip(shapes, stored, turned, strict=True):
        assert one == (other if quarters % 2 == 0 else (other[1], other[0], 3))


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ({"asset": "rain100l", "split": "test"}, "nothing is trained on a test's images"),
        ({"asset": "t91", "degrad": {}}, "examples.rain.degrad: unknown key; .*mean degrade"),
        ({"asset": "t19"}, "did you mean t91"),
        ({"split": "train"}, "examples.rain.asset: missing"),
        ({"asset": "t91", "degrade": {"name": "rein"}}, "rain.degrade.name: got 'rein'.*mean rain"),
        ({"asset": "t91", "degrade": {"name": "rain"}, "split": "a"}, "got split and degrade"),
    ],
)
def test_examples_that_cannot_be_are_one_line_before_the_work(where, said) -> None:
    settings = {"name": "degradation_words", "examples": {"rain": where}}
    with pytest.raises(BenchError, match=said) as error:
        configure("priors", settings, "priors.x.prior")
    assert "\n" not in str(error.value)


def test_one_word_is_no_choice() -> None:
    config = degradation_words.Config(examples={"rain": {"asset": "t91"}})
    with pytest.raises(BenchError, match="needs examples of two words at least"):
        degradation_words.words(config, "cpu")
