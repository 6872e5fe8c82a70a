"""Reference pictures as priors: looked up among photographs, and painted by a tiny random pipeline."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from skimage import data

from benchlib import assets
from benchlib.contracts import BenchError
from benchlib.imageio import read_image
from benchlib.params import configure
from benchlib.priors import _seen, _weights, retrieved, synthesised

IMAGE = data.astronaut()[::4, ::4]
COLOUR = {"name": "efficientnet_lite0", "weights": "random"}


# --- looked up ------------------------------------------------------------------------------------


@pytest.fixture
def shelf(monkeypatch, tmp_path) -> list[Path]:
    """Photographs of the catalogue, and a provider of mean colours in the network's place.

    What it sees goes to a cache of its own: the network's is the user's.
    """
    monkeypatch.setattr(_seen, "cache_folder", lambda: tmp_path)
    try:
        files = assets.images("t91")[:12]
    except BenchError as error:
        pytest.skip(str(error))

    def mean_colour(image: np.ndarray) -> SimpleNamespace:
        return SimpleNamespace(values=image.mean((0, 1)) - 110)

    provider, _ = configure("priors", COLOUR)
    monkeypatch.setattr(provider, "open", lambda config, device: mean_colour)
    return files


def config(**more) -> retrieved.Config:
    return retrieved.Config(asset="t91", most=12, provider=COLOUR, **more)


def test_square_references_of_one_size(shelf) -> None:
    whole = retrieved.open(config(side=64), "cpu")(IMAGE).pixels
    square = retrieved.open(config(side=64, square=True), "cpu")(IMAGE).pixels
    assert whole.shape[0] != whole.shape[1] and square.shape == (64, 64, 3)
    broad = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    assert np.array_equal(retrieved.middle(broad), broad[:, :4])
    assert np.array_equal(retrieved.middle(broad.swapaxes(0, 1)), broad[:, :4].swapaxes(0, 1))


def test_the_nearest_photograph_by_the_providers_vector(shelf) -> None:
    give = retrieved.open(config(side=64), "cpu")
    means = [retrieved.unit(read_image(file).mean((0, 1)) - 110) for file in shelf]
    cosines = np.stack(means) @ retrieved.unit(IMAGE.mean((0, 1)) - 110)
    picture = give(IMAGE)
    notes = give.notes()
    assert notes["photograph"] == shelf[int(cosines.argmax())].name
    assert notes["cosine"] == pytest.approx(cosines.max(), abs=1e-4)
    assert not picture.aligned and max(picture.pixels.shape) == 64
    expected = retrieved.smaller(read_image(shelf[int(cosines.argmax())]), 64)
    assert np.array_equal(picture.pixels, expected)


def test_the_images_own_scene_is_never_taken_however_dark_or_noisy(shelf) -> None:
    give = retrieved.open(config(), "cpu")
    drawn = np.random.default_rng(0)
    for file in shelf:
        own = read_image(file)
        noisy = np.clip(own + drawn.normal(0, 25, own.shape), 0, 255).astype(np.uint8)
        for image in (own, own // 10, noisy):
            give(image)
            assert give.notes()["photograph"] != file.name
    assert retrieved.thumbnail(IMAGE) @ retrieved.thumbnail(IMAGE // 8) > 0.95


def test_the_photographs_are_looked_at_once_for_every_setting_but_the_providers(
    shelf, tmp_path, monkeypatch
) -> None:
    first = retrieved.open(config(), "cpu")
    monkeypatch.setattr(_seen, "read_image", lambda file: pytest.fail(f"{file} is looked at again"))
    for other in (config(), config(pick="another", side=64, square=True, same=0.5)):
        again = retrieved.open(other, "cpu").shelf
        assert again.files == first.shelf.files
        for name in ("vectors", "thumbnails"):
            mine, was = getattr(again, name), getattr(first.shelf, name)
            assert mine.dtype == was.dtype and np.array_equal(mine, was)
    drawn_otherwise = dataclasses.replace(config(), provider=COLOUR | {"seed": 7})
    with pytest.raises(pytest.fail.Exception, match="is looked at again"):
        retrieved.open(drawn_otherwise, "cpu")


def test_a_set_that_shows_only_the_image_is_one_line(shelf) -> None:
    give = retrieved.open(config(same=0.0), "cpu")
    give.shelf.thumbnails[:] = retrieved.thumbnail(IMAGE)
    with pytest.raises(BenchError, match="every photograph of t91 looks like this image"):
        give(IMAGE)


def test_another_photograph_is_a_control_and_the_same_each_time(shelf) -> None:
    other = config(pick="another")
    taken = []
    for _ in range(2):
        give = retrieved.open(other, "cpu")
        for image in (IMAGE, IMAGE[::-1], data.coffee()[::4, ::4], data.chelsea()[::2, ::2]):
            give(image)
            taken.append(give.notes()["photograph"])
    assert taken[:4] == taken[4:] and len(set(taken)) > 1
    assert retrieved.stands_in(other) and retrieved.stands_in(config())
    learnt = retrieved.Config(asset="t91")
    assert not retrieved.stands_in(learnt)


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("retrieved", {"asset": "t19"}, "did you mean t91"),
        ("retrieved", {"asset": "rain100l", "split": "test"}, "a reference is no test image"),
        ("retrieved", {"provider": {"name": "sam"}}, "sam is of kind masks; expected vector"),
        ("retrieved", {"provider": {"name": "clipp"}}, "provider.name: got 'clipp'"),
        ("synthesised", {"folder": "a"}, "folder and sha256 belong together"),
        ("synthesised", {"content": {"name": "clip"}}, "clip says no words"),
        ("synthesised", {"content": {"name": "written", "txt": "a"}}, "content.txt: unknown key"),
        ("synthesised", {"content": {"name": "written", "folder": "a"}}, "begin it with / or ~"),
        ("synthesised", {"side": 100}, "side"),
    ],
)
def test_settings_that_cannot_work_are_one_line_before_the_work(name, settings, said) -> None:
    with pytest.raises(BenchError, match=said) as error:
        configure("priors", {"name": name, **settings}, "priors.x.prior")
    assert str(error.value).startswith("priors.x.prior")
    assert "\n" not in str(error.value)


def test_without_a_data_set_or_a_folder_it_is_one_line() -> None:
    with pytest.raises(BenchError, match="retrieved: no data set named; set asset"):
        retrieved.record(retrieved.Config(), "cpu")
    with pytest.raises(BenchError, match="synthesised: no folder named; .*`hf download`"):
        synthesised.record(synthesised.Config(), "cpu")


# --- painted --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A Stable Diffusion of some thousand random weights, in diffusers' own layout."""
    diffusers = pytest.importorskip("diffusers")
    transformers = pytest.importorskip("transformers")
    place = tmp_path_factory.mktemp("models")
    letters = [chr(97 + i) for i in range(26)]
    names = [
        "<|startoftext|>",
        "<|endoftext|>",
        *letters,
        *(f"{one}</w>" for one in letters),
        ",</w>",
    ]
    vocabulary = {name: number for number, name in enumerate(names)}
    (place / "vocab.json").write_text(json.dumps(vocabulary))
    (place / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizer.from_pretrained(place, model_max_length=77)
    torch.manual_seed(5)
    text = transformers.CLIPTextConfig(
        vocab_size=len(names),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    unet = diffusers.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=16,
        attention_head_dim=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 8),
        norm_num_groups=4,
        latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    )
    pipeline = diffusers.StableDiffusionPipeline(
        vae=vae,
        text_encoder=transformers.CLIPTextModel(text),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=diffusers.DDIMScheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(place / "tiny-sd", safe_serialization=True)
    return place / "tiny-sd"


def painting(folder: Path, **more) -> synthesised.Config:
    parts = ("text_encoder", "unet", "vae")
    digest = _weights.folder_hash(folder, parts)
    content = {"name": "written", "text": "a red car", "weights": "random"}
    degradation = {"name": "named_degradation", "sets": {"s": "noise"}, "weights": "random"}
    chosen = {"content": content, "degradation": degradation, "steps": 2, "side": 16}
    return synthesised.Config(folder=str(folder), sha256=digest, kept_side=16, **(chosen | more))


def test_it_paints_by_the_prompt_the_negative_prompt_and_the_images_name(folder) -> None:
    config = painting(folder)
    give = synthesised.open(config, "cpu")
    seen = []
    paint = give.pipeline

    def look(**given):
        seen.append(given)
        return paint(**given)

    give.pipeline = look
    told = synthesised.told(config, "s", "a")
    first, again = give(IMAGE, told).pixels, give(IMAGE, told).pixels
    assert first.shape == (16, 16, 3) and np.array_equal(first, again)
    assert seen[0]["prompt"] == "a red car" and seen[0]["negative_prompt"] == "noise"
    assert seen[0]["num_inference_steps"] == 2
    assert give.notes() == {"seed": told["seed"], "content": "a red car", "degradation": "noise"}
    other = synthesised.told(config, "s", "b")
    assert other["seed"] != told["seed"]
    assert not np.array_equal(give(IMAGE, other).pixels, first)
    about = synthesised.record(config, "cpu")
    assert about["model"] == "tiny-sd, StableDiffusionPipeline"
    assert about["content"]["config"]["text"] == "a red car"


def test_no_negative_prompt_and_other_weights(folder) -> None:
    config = painting(folder, degradation={})
    give = synthesised.open(config, "cpu")
    give(IMAGE, synthesised.told(config, "s", "a"))
    assert "degradation" not in give.notes()
    wrong = dataclasses.replace(config, sha256="0" * 64)
    with pytest.raises(BenchError, match="SHA-256 expected 0+, got"):
        synthesised.open(wrong, "cpu")
    (folder / "model_index.json").rename(folder / "gone.json")
    with pytest.raises(BenchError, match="no model_index.json of diffusers"):
        synthesised.open(config, "cpu")
    (folder / "gone.json").rename(folder / "model_index.json")
