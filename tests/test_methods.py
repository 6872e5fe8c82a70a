"""The contract of every method on every backbone, by file name: a new file is tested unasked."""

import copy

import pytest
import torch
from safetensors.torch import load_file, save_file

from benchlib import registry
from benchlib.contracts import Backbone, BenchError, Info, reads

METHODS = registry.names("methods")
BACKBONES = registry.names("backbones")
# settings that keep tests quick; without stochastic depth, which would leave a block without a gradient by chance
SMALL = {
    "nafnet": {"width": 4, "encoder": (1, 1), "middle": 1, "decoder": (1, 1)},
    "imdn": {"modules": 2},
    "swinir": {"embed_dim": 8, "depths": (2, 2), "num_heads": (2, 2), "window_size": 4, "training_size": 8},
    "cat": {"width": 64, "heads": 2, "depth": 2, "split_0": (2, 4), "mlp_ratio": 2, "img_size": 8},
    "art": {"scale": 1, "width": 60, "depths": (2, 2), "heads": (2, 3), "interval": (4, 3), "mlp_ratio": 2.0},
}
SMALL |= {name: SMALL[name] | {"drop_path": 0.0} for name in ("swinir", "cat", "art")}


def made(method: str, backbone: str) -> torch.nn.Module:
    torch.manual_seed(0)
    network, room = registry.load("backbones", backbone), registry.load("methods", method)
    return room.build(Backbone.of(network, network.Config(**SMALL.get(backbone, {}))), room.Config())


def scale(backbone: str) -> int:
    room = registry.load("backbones", backbone)
    return Backbone.of(room, room.Config(**SMALL.get(backbone, {}))).scale


def needs(method: str) -> tuple[str, ...]:
    room = registry.load("methods", method)
    return reads(room, room.Config())


def batch(height: int, width: int, count: int = 2) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 6, (count, height, width), generator=generator)
    return {
        "lq": torch.rand(count, 3, height, width, generator=generator),
        "labels": labels,
        "bits": torch.where(labels > 0, 1 << (labels - 1).clamp(min=0), 0).unsqueeze(1),
    }


every = pytest.mark.parametrize(("method", "backbone"), [(m, b) for m in METHODS for b in BACKBONES])


@pytest.mark.parametrize("method", METHODS)
def test_a_method_says_what_it_is(method):
    info = registry.load("methods", method).INFO
    assert isinstance(info, Info)
    assert info.source
    assert info.label
    if info.paper:
        assert info.paper in registry_papers()


def registry_papers() -> set[str]:
    from pathlib import Path

    import benchlib.papers

    folder = Path(benchlib.papers.__file__).parent
    return {path.stem.replace("_", "-") for path in folder.glob("*.csv")}


@every
@pytest.mark.parametrize("size", [(16, 16), (17, 23), (33, 8)])
def test_output_has_the_size_of_the_input_even_if_odd(method, backbone, size):
    model = made(method, backbone).eval()
    with torch.no_grad():
        restored = model(batch(*size))
    assert restored.shape == (2, 3, scale(backbone) * size[0], scale(backbone) * size[1])
    assert torch.isfinite(restored).all()


@every
def test_gradients_reach_exactly_what_trains(method, backbone):
    model = made(method, backbone).train()
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert bool(trained) == registry.load("methods", method).INFO.trains
    if not trained:
        return
    with torch.no_grad():
        for p in model.parameters():  # networks that start as identity pass no gradient on; move off that point
            p.add_(0.1 * torch.randn_like(p))
    model(batch(16, 16)).square().sum().backward()
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert set(grads) == trained
    alive = [bool(grad.abs().sum() > 0) for grad in grads.values()]
    assert sum(alive) > 0.98 * len(alive)  # a unit of a small network may be dead; a softmax ignores what shifts all


@every
def test_saved_and_loaded_it_restores_the_same(method, backbone, tmp_path):
    model = made(method, backbone).eval()
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, tmp_path / "w.safetensors")
    torch.manual_seed(5)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for p in other.parameters():
            p.add_(1.0)
    other.load_state_dict(load_file(tmp_path / "w.safetensors"), strict=True)
    with torch.no_grad():
        assert torch.equal(model(batch(16, 20)), other(batch(16, 20)))


@every
def test_evaluation_is_deterministic_and_does_not_touch_its_batch(method, backbone):
    model, data = made(method, backbone).eval(), batch(16, 16)
    kept = {name: value.clone() for name, value in data.items()}
    with torch.no_grad():
        assert torch.equal(model(data), model(data))
    assert all(torch.equal(data[name], kept[name]) for name in kept)


@every
def test_each_image_of_a_batch_is_restored_by_itself(method, backbone):
    model, data = made(method, backbone).eval(), batch(16, 16)
    with torch.no_grad():
        alone = model({name: value[1:] for name, value in data.items()})
        assert torch.allclose(model(data)[1:], alone, atol=1e-6)


@every
def test_a_missing_prior_is_refused_by_name(method, backbone):
    for name in needs(method):
        data = batch(16, 16)
        del data[name]
        with pytest.raises(BenchError, match=rf"{method}.*'{name}'.*priors stage"):
            made(method, backbone)(data)


@every
def test_the_prior_that_it_asks_for_changes_the_result(method, backbone):
    model, data = made(method, backbone).eval(), batch(16, 16)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
        before = model(data)
        for name in needs(method):
            assert not torch.allclose(before, model(data | {name: torch.zeros_like(data[name])}))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_backbone_shows_its_blocks_in_order(backbone):
    room = registry.load("backbones", backbone)
    config = room.Config(**SMALL.get(backbone, {}))
    network = room.build(config)
    seen: list[int] = []
    blocks = room.blocks(network)
    for i, block in enumerate(blocks):
        block.register_forward_hook(lambda *_, i=i: seen.append(i))
    with torch.no_grad():
        network(torch.rand(1, 3, 16, 16))
    assert seen == list(range(len(blocks)))
    assert len(blocks) > 1
