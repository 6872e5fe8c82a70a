"""Providers of the extra ``features``: each on a tiny, randomly drawn model of the very class.

Their weights cannot be had everywhere; what is read of the model, and how it gets there, is the
same for a tiny one. Nothing here needs the network.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from skimage import data

from benchlib.contracts import BenchError
from benchlib.params import configure
from benchlib.priors import _weights, blip2, clip, dinov2, stable_diffusion

ONE, TWO = data.astronaut()[::4, ::4], data.coffee()[::4, ::5]


def apart(first: np.ndarray, second: np.ndarray) -> float:
    """The distance of two vectors, each divided by its norm."""
    return float(np.linalg.norm(first / np.linalg.norm(first) - second / np.linalg.norm(second)))


# --- CLIP -----------------------------------------------------------------------------------------


def test_clip_gives_open_clips_own_embedding(tmp_path) -> None:
    """Of weights that were saved to a file, with open_clip's own normalisation, not its crop."""
    open_clip = pytest.importorskip("open_clip")
    from torchvision import transforms

    torch.manual_seed(1)
    model = open_clip.create_model("ViT-S-32-alt").eval()
    file = tmp_path / "open_clip_model.safetensors"
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    config = clip.Config(weights="file", model="ViT-S-32-alt", file=str(file), sha256=digest)
    vector = clip.open(config, "cpu")(ONE).values
    assert vector.shape == (clip.size(config),) == (256,)

    from PIL import Image

    square = Image.fromarray(ONE).resize((224, 224), Image.Resampling.BICUBIC)
    visual = model.visual
    normal = transforms.Normalize(visual.image_mean, visual.image_std)
    with torch.no_grad():
        expected = model.encode_image(normal(transforms.ToTensor()(square))[None])[0].numpy()
    np.testing.assert_allclose(vector, expected, atol=1e-5)
    assert clip.record(config, "cpu")["weights"] == {"file": digest}
    wrong = dataclasses.replace(config, model="ViT-S-32")
    with pytest.raises(BenchError, match="clip: model ViT-S-32: .*not the weights of this network"):
        clip.open(wrong, "cpu")


def test_clips_length_is_known_without_its_import() -> None:
    pytest.importorskip("open_clip")
    assert clip.size(clip.Config()) == 512
    assert clip.size(clip.Config(model="ViT-L-14")) == 768
    with pytest.raises(BenchError, match=r"got 'ViT-B-23'; .*near: .*ViT-B-32"):
        clip.size(clip.Config(model="ViT-B-23"))


def test_random_clip_differs_between_images() -> None:
    pytest.importorskip("open_clip")
    give = clip.open(clip.Config(model="ViT-S-32-alt", weights="random"), "cpu")
    assert apart(give(ONE).values, give(TWO).values) > 0.05


# --- DINOv2 ---------------------------------------------------------------------------------------


def official_names(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A timm network's weights as facebookresearch/dinov2 names them, with its mask token."""
    named = {"mask_token": torch.zeros(1, 384)}
    for name, value in model.state_dict().items():
        named[name] = value.clone()
    return named


@pytest.mark.parametrize("read", ["token", "mean"])
def test_dinov2_gives_timms_own_features(tmp_path, read) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(1)
    model = timm.create_model("vit_small_patch14_dinov2", num_classes=0, img_size=56).eval()
    file = tmp_path / "dinov2.safetensors"
    save_file(official_names(model), file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    settings = {"weights": "file", "file": str(file), "sha256": digest, "side": 56, "read": read}
    config = dinov2.Config(**settings)
    vector = dinov2.open(config, "cpu")(ONE).values
    pixels = dinov2._features.network_input(ONE, 56, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    with torch.no_grad():
        tokens = model.forward_features(pixels)[0]
    expected = {"token": tokens[0], "mean": tokens[1:].mean(0)}[read]
    np.testing.assert_allclose(vector, expected.numpy(), atol=1e-5)
    assert vector.shape == (dinov2.size(config),) == (384,)


@pytest.mark.parametrize("read", ["token", "mean"])
def test_random_dinov2_differs_between_images(read) -> None:
    """A fresh network's class token does not: it scales what its layers add by 0.00001."""
    pytest.importorskip("timm")
    give = dinov2.open(dinov2.Config(weights="random", side=56, read=read), "cpu")
    assert apart(give(ONE).values, give(TWO).values) > 0.1


# --- BLIP-2 ---------------------------------------------------------------------------------------


def tiny_blip2(folder: Path) -> torch.nn.Module:
    """A whole BLIP-2, its language model too, saved as transformers saves it."""
    transformers = pytest.importorskip("transformers")
    stated = transformers.Blip2Config(
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
        },
        qformer_config={
            "hidden_size": 24,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "encoder_hidden_size": 32,
            "vocab_size": 50,
        },
        text_config={
            "model_type": "opt",
            "hidden_size": 16,
            "ffn_dim": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "vocab_size": 50,
            "word_embed_proj_dim": 16,
        },
        num_query_tokens=4,
    )
    torch.manual_seed(1)
    model = transformers.Blip2ForConditionalGeneration(stated).eval()
    for value in model.parameters():
        if value.ndim > 1:  # as transformers starts them, the image hardly shows
            torch.nn.init.normal_(value, std=0.3)
    model.save_pretrained(folder)
    return model


def test_blip2_gives_transformers_own_query_features(tmp_path) -> None:
    model = tiny_blip2(tmp_path)
    right = _weights.folder_hash(tmp_path, blip2.PARTS)
    config = blip2.Config(folder=str(tmp_path), sha256=right)
    give = blip2.open(config, "cpu")
    vector = give(ONE).values
    assert vector.shape == (blip2.size(config),) == (24,)
    pixels = blip2._features.network_input(ONE, 28, blip2.MEAN, blip2.STD)
    with torch.no_grad():
        asked = model.get_image_features(pixels).qformer_outputs.last_hidden_state
    np.testing.assert_allclose(vector, asked[0].mean(0).numpy(), atol=1e-5)
    assert apart(vector, give(TWO).values) > 1e-3
    said = blip2.record(config, "cpu")
    assert said["weights"] == {"folder": right} and said["input"]["side"] == 28


def test_other_weights_in_a_folder_are_refused(tmp_path) -> None:
    tiny_blip2(tmp_path)
    right = _weights.folder_hash(tmp_path, blip2.PARTS)
    config = blip2.Config(folder=str(tmp_path), sha256="0" * 64)
    with pytest.raises(BenchError, match=f"SHA-256 expected 0+, got {right}; write that one"):
        blip2.open(config, "cpu")
    stated = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(stated | {"model_type": "blip"}))
    now = _weights.folder_hash(tmp_path, blip2.PARTS)
    with pytest.raises(BenchError, match="says 'blip'; expected 'blip-2'"):
        blip2.open(dataclasses.replace(config, sha256=now), "cpu")


# --- Stable Diffusion -----------------------------------------------------------------------------


def tiny_diffusion(folder: Path) -> stable_diffusion.Parts:
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(1)
    unet = diffusers.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=12,
        attention_head_dim=4,
        norm_num_groups=4,
    )
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
        up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
        latent_channels=4,
        norm_num_groups=4,
    )
    unet.save_pretrained(folder / "unet")
    vae.save_pretrained(folder / "vae")
    return stable_diffusion.Parts(unet.eval(), vae.eval())


LAYERS = {"down_blocks.0": 8, "down_blocks.1": 16, "mid_block": 16, "up_blocks.0": 16}


@pytest.mark.parametrize(("layer", "channels"), [*LAYERS.items(), ("up_blocks.1", 8)])
def test_stable_diffusion_gives_the_layer_that_is_named(tmp_path, layer, channels) -> None:
    tiny_diffusion(tmp_path)
    right = _weights.folder_hash(tmp_path, stable_diffusion.PARTS)
    settings = {"folder": str(tmp_path), "sha256": right, "layer": layer, "side": 64}
    config = stable_diffusion.Config(**settings)
    give = stable_diffusion.open(config, "cpu")
    vector = give(ONE).values
    assert vector.shape == (stable_diffusion.size(config),) == (channels,)
    assert np.array_equal(vector, give(ONE).values)
    assert apart(vector, give(TWO).values) > 1e-4
    noisier = stable_diffusion.open(dataclasses.replace(config, timestep=900), "cpu")
    assert apart(vector, noisier(ONE).values) > 1e-4


def test_noise_is_added_as_diffusers_adds_it() -> None:
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"
    )
    latent, noise = torch.rand(1, 4, 8, 8), torch.randn(1, 4, 8, 8)
    for step in (0, 261, 999):
        expected = scheduler.add_noise(latent, noise, torch.tensor([step]))
        given = stable_diffusion.noised(latent, noise, step)
        np.testing.assert_allclose(given.numpy(), expected.numpy(), atol=1e-5)


def test_the_mid_block_is_the_unets_own(tmp_path) -> None:
    """The map that a hook sees, of the unet itself fed by hand."""
    parts = tiny_diffusion(tmp_path)
    config = stable_diffusion.Config(layer="mid_block", timestep=10)
    latent = torch.rand(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    seen = []
    parts.unet.mid_block.register_forward_hook(lambda *args: seen.append(args[2]))
    with torch.no_grad():
        given = stable_diffusion._inside(parts.unet, latent, config)
    np.testing.assert_allclose(given.numpy(), seen[0].mean((0, 2, 3)).numpy(), atol=1e-6)


# --- what is missing ------------------------------------------------------------------------------


@pytest.mark.parametrize("module", [blip2, stable_diffusion], ids=lambda m: m.__name__[16:])
def test_without_a_folder_the_provider_says_what_to_do(module) -> None:
    name = module.__name__.rpartition(".")[2]
    with pytest.raises(BenchError, match=f"{name}: no folder named; .*`hf download`") as error:
        module.record(module.Config(), "cpu")
    assert "\n" not in str(error.value)
    with pytest.raises(BenchError, match="priors.x.prior: folder and sha256 belong together"):
        configure("priors", {"name": name, "folder": "a"}, "priors.x.prior")


def test_a_missing_package_is_one_line(monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(BenchError, match=r"dinov2: no Python package timm .*benchlib\[features\]"):
        dinov2.open(dinov2.Config(weights="random"), "cpu")
    monkeypatch.setattr(clip, "find_spec", lambda name: None)
    with pytest.raises(BenchError, match=r"clip: no Python package open_clip .*uv sync --extra"):
        clip.size(clip.Config())
