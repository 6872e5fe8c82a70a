"""Providers of feature vectors: the network of each against values of its own package, and the controls."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data
from torch import nn

from benchlib import assets, registry
from benchlib.assets.weights import save_weights
from benchlib.contracts import BenchError
from benchlib.params import configure, load_params, located
from benchlib.priors import _deepest, _efficientnet, _features, efficientnet_lite0, restorer
from benchlib.report import tables

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests" / "golden" / "efficientnet_lite0.npz"


def photographs() -> list[np.ndarray]:
    """Three of scikit-image's, ``(H,W,3)`` uint8, small."""
    return [image[::4, ::4] for image in (data.chelsea(), data.astronaut(), data.coffee())]


def apart(vectors: list[np.ndarray]) -> float:
    """The least distance between two of the vectors, each divided by its norm."""
    unit = [vector / np.linalg.norm(vector) for vector in vectors]
    distances = []
    for first in range(len(unit)):
        for second in range(first):
            distances.append(float(np.linalg.norm(unit[first] - unit[second])))
    return min(distances)


def of_catalogue(name: str) -> None:
    """Skip where an entry cannot be had here."""
    try:
        assets.fetch(name)
    except BenchError as error:
        pytest.skip(str(error))


# --- EfficientNet-Lite0 ---------------------------------------------------------------------------


def test_same_padding_is_tensorflows() -> None:
    """Of an even side, stride 2 and a kernel of 3: one pixel at the end, none at the start."""
    assert _efficientnet._filling(8, 3, 2) == (0, 1)
    assert _efficientnet._filling(7, 3, 2) == (1, 1)
    assert _efficientnet._filling(8, 5, 2) == (1, 2)
    assert _efficientnet._filling(8, 5, 1) == (2, 2)
    conv = _efficientnet.SameConv(1, 1, 3, 2)
    nn.init.ones_(conv.weight)
    assert conv(torch.ones(1, 1, 4, 4))[0, 0].tolist() == [[9.0, 6.0], [6.0, 4.0]]


def test_the_network_has_the_packages_names_and_size() -> None:
    network = _efficientnet.EfficientNetLite0()
    state = network.state_dict()
    assert len(state) == 296
    assert state["_blocks.1._expand_conv.weight"].shape == (96, 16, 1, 1)
    assert "_blocks.0._expand_conv.weight" not in state
    assert state["_blocks.15._project_conv.weight"].shape == (320, 1152, 1, 1)
    assert sum(value.numel() for value in network.parameters()) == 4_652_008


def test_features_are_those_of_the_package() -> None:
    """Golden: efficientnet-lite-pytorch 0.1.0's ``extract_features``, pooled, of a drawn input."""
    of_catalogue(efficientnet_lite0.ASSET)
    golden = np.load(GOLDEN)
    network = efficientnet_lite0.build(efficientnet_lite0.Config())
    x = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(7))
    assert x.flatten()[:4].tolist() == golden["input"].tolist()
    with torch.no_grad():
        pooled = network(x).mean((2, 3))[0].numpy()
    np.testing.assert_allclose(pooled, golden["pooled"], atol=1e-5, rtol=0)


def test_a_cat_is_a_cat() -> None:
    """With the weights, the size and the normalisation: class 285, "Egyptian cat"."""
    of_catalogue(efficientnet_lite0.ASSET)
    config = efficientnet_lite0.Config()
    network = efficientnet_lite0.build(config)
    vector = efficientnet_lite0.features(data.chelsea(), network, "cpu")
    logits = network._fc(torch.from_numpy(vector.values))
    assert int(logits.argmax()) == 285


def test_random_weights_give_vectors_of_the_same_length_that_differ() -> None:
    config = efficientnet_lite0.Config(weights="random", seed=3)
    give = efficientnet_lite0.open(config, "cpu")
    vectors = [give(image).values for image in photographs()]
    assert vectors[0].shape == (efficientnet_lite0.size(config),) == (1280,)
    assert apart(vectors) > 0.2
    again = efficientnet_lite0.open(config, "cpu")(photographs()[0]).values
    assert np.array_equal(again, vectors[0])
    other = efficientnet_lite0.open(dataclasses.replace(config, seed=4), "cpu")
    assert apart([other(photographs()[0]).values, vectors[0]]) > 0.2


def test_random_weights_need_no_catalogue_and_leave_torchs_generator(monkeypatch) -> None:
    monkeypatch.setattr(assets, "fetch", lambda name: pytest.fail(name))
    config = efficientnet_lite0.Config(weights="random")
    assert efficientnet_lite0.assets(config) == ()
    before = torch.get_rng_state()
    restorer.build(restorer.Config(weights="random", backbone={"name": "sci"}))
    assert torch.equal(before, torch.get_rng_state())
    said = efficientnet_lite0.record(config, "cpu")
    assert list(said["weights"]) == ["random, seed 0"]
    assert efficientnet_lite0.stands_in(config)
    assert not efficientnet_lite0.stands_in(efficientnet_lite0.Config())


# --- a restorer's deepest map ---------------------------------------------------------------------

OFFICIAL = [
    ({"name": "zero_dce"}, "zero-dce", 32),
    ({"name": "sci"}, "sci-medium", 3),
    ({"name": "prenet"}, "prenet-rain100h", 32),
    ({"name": "dncnn"}, "dncnn-25", 64),
    ({"name": "imdn", "scale": 4}, "imdn-x4", 64),
    ({"name": "uretinex"}, "uretinex", 32),
    ({"name": "ruas"}, "ruas-lol", 6),
]


@pytest.mark.parametrize(("backbone", "entry", "channels"), OFFICIAL, ids=lambda v: str(v))
def test_official_weights_give_vectors_that_differ(backbone, entry, channels) -> None:
    of_catalogue(entry)
    config = restorer.Config(backbone=backbone, weights=entry)
    assert restorer.size(config) == channels
    give = restorer.open(config, "cpu")
    vectors = [give(image[::2, ::2]).values for image in photographs()]
    assert vectors[0].shape == (channels,)
    assert apart(vectors) > 0.003
    said = restorer.record(config, "cpu")
    assert said["weights"] == {entry: assets.find(entry).sha256}


def test_it_is_the_mean_of_the_last_block_with_the_coarsest_map() -> None:
    """Zero-DCE has one size of map: its sixth convolution, before the activation."""
    config = restorer.Config(weights="random", seed=1)
    network, image = restorer.build(config), photographs()[0]
    seen = []
    network.e_conv6.register_forward_hook(lambda *args: seen.append(args[2]))
    vector = restorer.features(image, network, config.backbone, "cpu").values
    assert np.allclose(vector, seen[0].mean((0, 2, 3)).numpy(), atol=1e-6)
    assert not [hook for block in network.children() for hook in block._forward_hooks][1:]


def test_of_a_pyramid_the_coarsest_and_of_tokens_the_channels() -> None:
    pyramid = {"name": "nafnet", "width": 4, "encoder": [1, 1], "middle": 1, "decoder": [1, 1]}
    assert _deepest.place(json.dumps(pyramid)) == (2, 16)
    tokens = {"name": "swinir", "embed_dim": 12, "depths": [1, 1], "num_heads": [1, 1]}
    index, channels = _deepest.place(json.dumps(tokens))
    network = _deepest.build(tokens).eval()
    assert index == len(registry.load("backbones", "swinir").blocks(network)) - 1
    vector = _deepest.pooled(tokens, network, torch.rand(1, 3, 9, 17))
    assert vector.shape == (channels,)


def test_every_backbone_of_the_package_is_used_unasked(monkeypatch) -> None:
    """Its version passes through the vectors, and DVC does not see it."""
    own = {f"backbones/{name}.py" for name in registry.names("backbones")}
    assert own <= set(registry.uses("priors/restorer.py"))
    assert not own & set(restorer.USES)
    registry.check_uses("priors/restorer.py")
    real = registry.version
    raised = "backbones/zero_dce.py"
    monkeypatch.setattr(registry, "version", lambda file: real(file) + (file == raised))
    with pytest.raises(BenchError, match=f"restorer.py: USES {raised} version 1, but that is 2"):
        registry.check_uses("priors/restorer.py")


def test_a_new_backbone_needs_no_line_in_uses(monkeypatch) -> None:
    stated = {"VERSION": 1, "USES_EACH_OF": ("backbones",), "USES": {"backbones/imdn.py": 3}}
    monkeypatch.setattr(registry, "constants", lambda file: stated)
    monkeypatch.setattr(registry, "_own", lambda folder, pattern: {"brand_new", "imdn"})
    found = registry.uses("priors/x.py")
    assert found == {"backbones/brand_new.py": 1, "backbones/imdn.py": 3}
    stated["USES_EACH_OF"] = ("backbone",)
    with pytest.raises(BenchError, match=r"USES_EACH_OF: got \('backbone',\); expected folders"):
        registry.uses("priors/x.py")


def test_a_file_of_weights_is_known_by_its_hash(tmp_path) -> None:
    """A run's own weights, whose names begin with ``network.``."""
    network = restorer.build(restorer.Config(weights="random", seed=5))
    named = {f"network.{name}": value for name, value in network.state_dict().items()}
    file = tmp_path / "seed0.safetensors"
    save_weights(named, file)
    right = hashlib.sha256(file.read_bytes()).hexdigest()
    config = restorer.Config(weights="file", file=str(file), sha256=right)
    image = photographs()[0]
    given = restorer.open(config, "cpu")(image).values
    expected = restorer.features(image, network, config.backbone, "cpu").values
    assert np.array_equal(given, expected)
    assert restorer.record(config, "cpu")["weights"] == {"file": right}
    other = dataclasses.replace(config, sha256="0" * 64)
    with pytest.raises(BenchError, match=f"SHA-256 expected 0+, got {right}"):
        restorer.open(other, "cpu")
    wrong = dataclasses.replace(config, backbone={"name": "dncnn"})
    with pytest.raises(BenchError, match="backbone dncnn: .*not the weights of this network"):
        restorer.open(wrong, "cpu")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"weights": "runs/x"}, "does not wait for a run. Train x first"),
        ({"weights": "weights/x"}, "name the catalogue's entry that weights.x has"),
        ({"weights": "zero-dec"}, "did you mean zero-dce"),
        ({"weights": "astronaut"}, "astronaut is a photograph"),
        ({"weights": "file", "file": "a.pth"}, "name the file and its sha256"),
        ({"file": "a.pth"}, "set weights: file"),
    ],
)
def test_settings_that_cannot_work_are_one_line_before_the_work(settings, said) -> None:
    with pytest.raises(BenchError, match=said) as error:
        configure("priors", {"name": "restorer", **settings}, "priors.x.prior")
    assert str(error.value).startswith("priors.x.prior: ")
    assert "\n" not in str(error.value)


# --- random weights -------------------------------------------------------------------------------


def test_batch_normalisation_is_set_on_drawn_pictures() -> None:
    """Each channel then has mean 0 and variance 1 on them, and keeps its momentum."""
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, momentum=0.3))
    inputs = _features.pictures(32, 0)
    _features.randomise(network, 0, inputs)
    with torch.no_grad():
        given = network(inputs)
    assert not network.training and network[1].momentum == 0.3
    assert given.mean((0, 2, 3)).abs().max() < 1e-4
    assert (given.var((0, 2, 3)) - 1).abs().max() < 0.01


def test_drawn_pictures_have_detail_of_every_size() -> None:
    pictures = _features.pictures(64, 0)
    assert pictures.shape == (16, 3, 64, 64)
    assert 0.4 < float(pictures.var()) < 1.5
    coarse = nn.functional.avg_pool2d(pictures, 16)
    assert float(coarse.var()) > 0.2


@pytest.mark.parametrize(
    ("prior", "expected"),
    [
        ({"name": "efficientnet_lite0", "weights": "random"}, True),
        ({"name": "efficientnet_lite0"}, False),
        ({"name": "restorer", "weights": "random"}, True),
        ({"name": "superpixels"}, True),
        ({"name": "sam_embedding"}, False),
        ({"name": "sam_embedding", "weights": "random"}, True),
    ],
)
def test_a_run_with_random_weights_is_a_control(prior, expected) -> None:
    suite = load_params(ROOT / "suites" / "smoke" / "params.yaml")
    test = suite.priors["embedding-test"].model_copy(update={"prior": prior})
    changed = suite.model_copy(update={"priors": suite.priors | {"embedding-test": test}})
    assert tables.is_control(changed, "film") is expected


def test_a_relative_file_begins_at_params_yaml(tmp_path) -> None:
    settings = {"weights": "file", "file": "own/a.pth", "sha256": "0" * 64}
    module, config = configure("priors", {"name": "restorer", **settings})
    assert located(module, config, tmp_path).file == str(tmp_path / "own" / "a.pth")
    module, config = configure("priors", {"name": "restorer"})
    assert located(module, config, tmp_path).file is None
