"""The contract of every method and backbone, by file name: a new file is tested unasked."""

import copy
import importlib
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import benchlib.papers
from benchlib import registry
from benchlib.contracts import Backbone, BenchError, Info, entries_read, load_weights_into

METHODS = registry.names("methods")
BACKBONES = registry.names("backbones")
# settings that keep tests quick; without stochastic depth, which would leave a block without a
# gradient by chance
SMALL = {
    "nafnet": {"width": 4, "encoder": (1, 1), "middle": 1, "decoder": (1, 1)},
    "imdn": {"modules": 2},
    "swinir": {
        "embed_dim": 8,
        "depths": (2, 2),
        "num_heads": (2, 2),
        "window_size": 4,
        "training_size": 8,
        "drop_path": 0.0,
    },
    "cat": {
        "width": 64,
        "heads": 2,
        "depth": 2,
        "split_0": (2, 4),
        "mlp_ratio": 2,
        "img_size": 8,
        "drop_path": 0.0,
    },
    "art": {
        "scale": 1,
        "width": 60,
        "depths": (2, 2),
        "heads": (2, 3),
        "interval": (4, 3),
        "mlp_ratio": 2.0,
        "drop_path": 0.0,
    },
    "zero_dce": {"width": 4, "curves": 2},
    "enlighten_gan": {"width": 2},
    "prenet": {"turns": 2, "width": 4},
    "dncnn": {"width": 4, "depth": 4},
    "snr": {"width": 4, "light": 1},
    "uretinex": {"rounds": 1},
    "llformer": {"width": 2, "blocks": (1, 1, 1, 1), "heads": (1, 2, 2, 4), "refinement": 1},
    "hinet": {"width": 4, "depth": 3},
    "ifan": {"width": 2, "filters": 2},
}


# the query and key of SNR-Aware: to it the images of these tests are one token, which is noise
ONE_TOKEN = ("slf_attn.w_qs.weight", "slf_attn.w_ks.weight")


def small_backbone(name: str) -> Backbone:
    """A backbone of few parameters: the settings above, or a new file's defaults."""
    module = registry.load("backbones", name)
    return Backbone.from_module(module, module.Config(**SMALL.get(name, {})))


def made(method: str, backbone: str) -> nn.Module:
    torch.manual_seed(0)
    module = registry.load("methods", method)
    return module.build(small_backbone(backbone), module.Config())


def needs(method: str) -> tuple[str, ...]:
    module = registry.load("methods", method)
    return entries_read(module, module.Config())


# --- a batch: one function a kind of prior -------------------------------------------------------


def masks(count: int, height: int, width: int, generator: torch.Generator) -> dict:
    labels = torch.randint(0, 6, (count, height, width), generator=generator)
    bits = torch.where(labels > 0, 1 << (labels - 1).clamp(min=0), 0).unsqueeze(1)
    return {"labels": labels, "bits": bits}


def vector(count: int, height: int, width: int, generator: torch.Generator) -> dict:
    return {"vector": torch.randn(count, 256, generator=generator)}


KINDS = (masks, vector)


def batch(height: int, width: int, count: int = 2) -> dict[str, torch.Tensor]:
    """Images, and what every kind of prior gives of them."""
    generator = torch.Generator().manual_seed(1)
    made = {"lq": torch.rand(count, 3, height, width, generator=generator)}
    for kind in KINDS:
        made |= kind(count, height, width, generator)
    return made


# --- does a prior reach the restored image? ------------------------------------------------------

REACHES = 1e-4  # of the restored images' spread; rounding stays below a hundredth of it


def moved(model: nn.Module) -> nn.Module:
    """A copy whose parameters have left their start: a start at the identity hides every prior."""
    model = copy.deepcopy(model).eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


@torch.no_grad()
def reaches(
    model: nn.Module, batch: dict[str, torch.Tensor], entries: tuple[str, ...]
) -> dict[str, float]:
    """How far each entry of a batch reaches into the restored images.

    The largest change of a pixel when that entry is zero or another image's, in standard
    deviations of the restored images; an entry reaches them where that is more than ``REACHES``.
    """
    model, largest = moved(model), {}
    restored = model(batch)
    for name in entries:
        changes = []
        for other in (torch.zeros_like(batch[name]), batch[name].roll(1, 0)):
            changes.append((model(batch | {name: other}) - restored).abs().max() / restored.std())
        largest[name] = float(torch.stack(changes).max())
    return largest


def without_gradient(model: nn.Module, batch: dict[str, torch.Tensor]) -> set[str]:
    """The method's own parameters, outside its network, that do not move the restored images."""
    model = moved(model)
    model(batch).square().mean().backward()
    largest, own = 0.0, {}
    for name, parameter in model.named_parameters():
        size = 0.0
        if parameter.grad is not None:
            size = float(parameter.grad.abs().max())
        largest = max(largest, size)
        if not name.startswith("network."):
            own[name] = size
    return {name for name, size in own.items() if not size > 1e-8 * largest}


class ChannelAttention(nn.Module):
    """A prior's channels ask, an image's answer, head by head: as Enlighten Anything does.

    With as many heads as channels each softmax has one entry, which is 1 whatever was asked.
    """

    def __init__(self, heads: int):
        super().__init__()
        self.heads = heads
        self.network = nn.Conv2d(3, 3, 3, padding=1)
        self.query, self.key = nn.Conv2d(1, 3, 1), nn.Conv2d(3, 3, 1)

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        restored = self.network(batch["lq"])
        asked = self.query(batch["labels"][:, None] / 5.0)
        query, key, value = map(self.split, (asked, self.key(restored), restored))
        weights = (query @ key.transpose(2, 3) / query.shape[3]).softmax(3)
        return (weights @ value).reshape(restored.shape)

    def split(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(len(x), self.heads, 3 // self.heads, -1)


class NormalisedAway(nn.Module):
    """A prior's number is added to a whole channel, and a normalisation takes it off again."""

    def __init__(self):
        super().__init__()
        self.network = nn.Conv2d(3, 3, 3, padding=1)
        self.shift = nn.Linear(256, 3)

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        shifted = self.network(batch["lq"]) + self.shift(batch["vector"])[:, :, None, None]
        return nn.functional.instance_norm(shifted)


def test_a_prior_behind_a_softmax_of_one_entry_does_not_reach_the_image():
    torch.manual_seed(0)
    data, trap = batch(16, 16), ChannelAttention(heads=3)
    assert reaches(trap, data, ("labels",)) == {"labels": 0.0}
    branch = {"query.weight", "query.bias", "key.weight", "key.bias"}
    assert without_gradient(trap, data) == branch
    sound = ChannelAttention(heads=1)
    assert reaches(sound, data, ("labels",))["labels"] > REACHES
    assert without_gradient(sound, data) == set()


def test_a_prior_that_a_normalisation_takes_off_again_does_not_reach_the_image():
    """Rounding lets something through here, so that a bare comparison would see a difference."""
    torch.manual_seed(0)
    change = reaches(NormalisedAway(), batch(16, 16), ("vector",))["vector"]
    assert 0 < change < REACHES


# --- every method --------------------------------------------------------------------------------


# its image is a product of two branches: with SPT's random units in both, single precision loses
# the gradient of the last biases beside the others
PLUG_IN = {"uretinex": "film"}


def pairs() -> list[tuple[str, str]]:
    """Every method on a U-Net and on a network that enlarges; every backbone with two methods.

    The two: without a prior, and one that changes its blocks. One more does on networks whose
    blocks give tokens, or are called in several turns.
    """
    found = []
    for method in METHODS:
        found += [(method, "nafnet"), (method, "imdn")]
    for backbone in BACKBONES:
        found += [("none", backbone), (PLUG_IN.get(backbone, "spt"), backbone)]
    for backbone in ("art", "cat", "swinir", "prenet"):
        found.append(("film", backbone))
    return list(dict.fromkeys(found))


each_pair = pytest.mark.parametrize(("method", "backbone"), pairs())


@pytest.mark.parametrize("method", METHODS)
def test_a_method_says_what_it_is(method):
    info = registry.load("methods", method).INFO
    assert isinstance(info, Info)
    assert info.source
    assert info.label
    if info.paper:
        folder = Path(benchlib.papers.__file__).parent
        assert info.paper in {path.stem for path in folder.glob("*.csv")}


@pytest.mark.parametrize("method", METHODS)
def test_a_method_states_its_version_and_those_of_what_it_imports(method):
    file, folder = f"methods/{method}.py", registry.PACKAGE / "methods"
    assert registry.version(file) >= 1
    code = (registry.PACKAGE / file).read_text()
    for shared in folder.glob("_[!_]*.py"):
        if f"benchlib.methods.{shared.stem}" in code:
            assert f"methods/{shared.name}" in registry.uses(file)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_backbone_states_its_version(backbone):
    assert registry.version(f"backbones/{backbone}.py") >= 1


@each_pair
@pytest.mark.parametrize("size", [(16, 16), (17, 23), (33, 8)])
def test_output_has_the_size_of_the_input_even_if_odd(method, backbone, size):
    scale = small_backbone(backbone).scale
    model = made(method, backbone).eval()
    with torch.no_grad():
        restored = model(batch(*size))
    assert restored.shape == (2, 3, scale * size[0], scale * size[1])
    assert torch.isfinite(restored).all()


@each_pair
def test_gradients_reach_exactly_what_trains(method, backbone):
    model = made(method, backbone).train()
    trained = [p.requires_grad for p in model.parameters()]
    assert any(trained) == registry.load("methods", method).INFO.trains
    if not any(trained):
        return
    model, living = moved(model).train(), []
    model(batch(16, 16)).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad
        if parameter.requires_grad and not name.endswith(ONE_TOKEN):
            living.append(bool(parameter.grad.abs().sum() > 0))
    # a unit of a small network may be dead; a softmax ignores what shifts all
    assert sum(living) > 0.98 * len(living)


@each_pair
def test_saved_and_loaded_it_restores_the_same(method, backbone, tmp_path):
    model = made(method, backbone).eval()
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(weights, tmp_path / "w.safetensors")
    other = moved(model)
    other.load_state_dict(load_file(tmp_path / "w.safetensors"), strict=True)
    with torch.no_grad():
        assert torch.equal(model(batch(16, 20)), other(batch(16, 20)))


@each_pair
def test_weights_load_by_official_names_and_those_of_the_backbone_alone(method, backbone):
    """Where a method keeps its network by another name than ``network``, they would not."""
    if not registry.load("methods", method).INFO.trains:
        return
    model = made(method, backbone)
    own, official = moved(model).state_dict(), {}
    for name, value in own.items():
        official[name.removeprefix("network.")] = value
    load_weights_into(model, official, "here")
    assert_equal(model.state_dict(), own)
    alone = {name: value + 1 for name, value in model.network.state_dict().items()}
    load_weights_into(model, alone, "here")
    assert_equal(model.network.state_dict(), alone)
    of_a_run = {f"network.{name}": value + 1 for name, value in alone.items()}
    load_weights_into(model, of_a_run, "here")  # trained by the method ``none``
    assert torch.equal(next(iter(model.network.parameters())), next(iter(of_a_run.values())))


def assert_equal(got: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(got[name], value), name


@each_pair
def test_evaluation_is_deterministic_and_does_not_touch_its_batch(method, backbone):
    model, data = made(method, backbone).eval(), batch(16, 16)
    kept = copy.deepcopy(data)
    with torch.no_grad():
        assert torch.equal(model(data), model(data))
    assert_equal(data, kept)


@each_pair
def test_each_image_of_a_batch_is_restored_by_itself(method, backbone):
    model, data = moved(made(method, backbone)), batch(16, 16)
    with torch.no_grad():
        together = model(data)
        alone = model({name: value[1:] for name, value in data.items()})
    assert (together[1:] - alone).abs().max() < REACHES * together.std()


@each_pair
def test_a_call_leaves_nothing_behind(method, backbone):
    """Of another size, of a copy, or one that fails in the network."""
    model, first, second = moved(made(method, backbone)), batch(16, 16), batch(20, 12)
    with torch.no_grad():
        before = model(first)
        model(second)
        copy.deepcopy(model)(second)
        with suppress(RuntimeError):
            model(second | {"lq": second["lq"].repeat(1, 2, 1, 1)})  # six channels
        assert torch.equal(model(first), before)


@each_pair
def test_a_missing_prior_is_refused_by_name(method, backbone):
    for name in needs(method):
        data = batch(16, 16)
        del data[name]
        with pytest.raises(BenchError, match=rf"{method}.*'{name}'.*priors stage"):
            made(method, backbone)(data)


@each_pair
def test_the_prior_that_it_asks_for_changes_the_result(method, backbone):
    for name, change in reaches(made(method, backbone), batch(16, 16), needs(method)).items():
        assert change > REACHES, f"{name} does not reach the restored image"


@each_pair
def test_gradients_reach_the_whole_branch_of_the_prior(method, backbone):
    model, data = made(method, backbone), batch(16, 16)
    if not needs(method):
        return
    assert without_gradient(model, data) == set()
    for name in needs(method):
        if data[name].is_floating_point():
            entry = data[name].clone().requires_grad_()
            moved(model)(data | {name: entry}).square().mean().backward()
            assert (entry.grad.abs().amax(1) > 0).all()


@pytest.fixture
def example(tmp_path, monkeypatch):
    """The first block of code in ``docs/methods.md``, imported as the file that it describes."""
    page = (Path(__file__).parent.parent / "docs" / "methods.md").read_text(encoding="utf-8")
    file = tmp_path / "vector_channels.py"
    file.write_text(page.split("```python\n")[1].split("```")[0], encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("vector_channels")
    del sys.modules["vector_channels"]


@pytest.mark.parametrize("backbone", ["nafnet", "imdn"])
def test_the_example_in_the_docs_is_a_method(example, backbone):
    model, data = example.build(small_backbone(backbone), example.Config()), batch(17, 23)
    scale = small_backbone(backbone).scale
    assert model(data).shape == (2, 3, 17 * scale, 23 * scale)
    assert reaches(model, data, example.INFO.needs)["vector"] > REACHES
    assert without_gradient(model, data) == set()


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_backbone_shows_its_blocks_in_order(backbone):
    made_of = small_backbone(backbone)
    network, seen = made_of().eval(), []
    blocks = made_of.blocks(network)
    for i, block in enumerate(blocks):
        block.register_forward_hook(lambda *_, i=i: seen.append(i))
    with torch.no_grad():
        network(torch.rand(1, 3, 16, 16))
    turns = len(seen) // len(blocks)  # more than one in a recurrent network
    assert seen == turns * list(range(len(blocks)))
    assert turns
    assert len(blocks) > 1
