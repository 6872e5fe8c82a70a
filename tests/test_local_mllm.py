"""A language model on this machine: a tiny, randomly drawn LLaVA in transformers' own layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data

from benchlib.contracts import BenchError
from benchlib.priors import _answers, _local_mllm, _weights, mllm

transformers = pytest.importorskip("transformers")

IMAGE = data.astronaut()[::8, ::8]
WORDS = [
    "heavy",
    "noise",
    "rain",
    "dark",
    "street",
    "with",
    "a",
    "red",
    "car",
    "and",
    "people",
    "in",
    "the",
    "of",
]
TEMPLATE = (
    "{% for message in messages %}{% for part in message.content %}"
    "{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endfor %}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A model of some thousand weights, with its tokenizer, as ``hf download`` would bring it."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    names = ["[UNK]", "[PAD]", "</s>", "<image>", *WORDS]
    tokenizer = Tokenizer(models.WordLevel(dict(zip(names, range(99), strict=False)), "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        eos_token="</s>",
        additional_special_tokens=["<image>"],
    )
    side = {"height": 28, "width": 28}
    processor = transformers.LlavaProcessor(
        image_processor=transformers.CLIPImageProcessor(size=side, crop_size=side),
        tokenizer=fast,
        patch_size=14,
        vision_feature_select_strategy="default",
        image_token="<image>",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2}
    small |= {"num_attention_heads": 2}
    torch.manual_seed(3)
    model = transformers.LlavaForConditionalGeneration(
        transformers.LlavaConfig(
            vision_config=transformers.CLIPVisionConfig(image_size=28, patch_size=14, **small),
            text_config=transformers.LlamaConfig(vocab_size=len(names), **small),
            image_token_index=3,
        )
    )
    # a word must come, whichever it is: the special ones never win
    with torch.no_grad():
        model.lm_head.weight[:4] = 0
    place = tmp_path_factory.mktemp("models") / "tiny-llava"
    model.save_pretrained(place, safe_serialization=True)
    processor.save_pretrained(place)
    return place


def test_it_answers_with_its_own_words_the_same_again(folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("BENCHLIB_CACHE", str(tmp_path))
    digest = _weights.folder_hash(folder, ("",))
    config = mllm.Config(
        provider="local", folder=str(folder), folder_sha256=digest, answer_tokens=6
    )
    said = mllm.words(config, "cpu")(IMAGE)
    words = said.text.split()
    assert words and set(words) <= set(WORDS)
    assert said.notes["answered_by"] == "tiny-llava"
    assert said.notes["tokens_out"] == len(words) == 6
    assert "is cut off" in said.notes["doubt"]
    again = _local_mllm.Local(folder, "cpu").ask(IMAGE, mllm.PROMPTS["degradation"], 6)
    assert again.text == said.text
    assert mllm.record(config, "cpu")["provider"] == {"model": "tiny-llava", "sha256": digest}
    monkeypatch.setattr(_local_mllm, "Local", lambda *asked: pytest.fail("asked twice"))
    assert mllm.words(config, "cpu")(IMAGE).text == said.text


def test_the_image_reaches_the_model(folder) -> None:
    """The scores of the first word differ between two images."""
    local = _local_mllm.Local(folder, "cpu")
    seen = []
    forward = local.model.generate

    def look(**given):
        seen.append(given["pixel_values"])
        return forward(**given)

    local.model.generate = look
    answers = [local.ask(image, "a red car", 3) for image in (IMAGE, IMAGE[::-1])]
    assert all(isinstance(answer, _answers.Answer) for answer in answers)
    assert not np.allclose(seen[0].numpy(), seen[1].numpy())


def test_a_folder_of_something_else_is_one_line(folder, tmp_path) -> None:
    with pytest.raises(BenchError, match="no config.json; expected mllm's folder"):
        _local_mllm.folder_of(str(tmp_path), "0" * 64)
    with pytest.raises(BenchError, match=r"SHA-256 expected 0+, got [0-9a-f]{64}"):
        _local_mllm.folder_of(str(folder), "0" * 64)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(BenchError, match="no image-text-to-text model") as error:
        _local_mllm.Local(tmp_path, "cpu")
    assert "\n" not in str(error.value)
