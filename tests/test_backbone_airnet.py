"""AirNet against the official network (random weights): what it restores, and a step of contrast."""

import goldens
import pytest
import torch
from torch.nn.functional import cross_entropy

from benchlib.backbones import airnet, promptir
from benchlib.conformance._network import small_backbone
from benchlib.contracts import Backbone, BenchError
from benchlib.methods import airnet as by_contrast


def small(**settings):
    torch.manual_seed(0)
    return by_contrast.build(small_backbone("airnet"), by_contrast.Config(**settings))


def small_batch(side: int = 16) -> dict[str, torch.Tensor]:
    return {"lq": torch.rand(2, 3, side, side), "hq": torch.rand(2, 3, side, side)}


def l1(restored, hq):
    return (restored - hq).abs().mean()


def test_names_and_outputs_are_the_official_ones():
    golden = goldens.read("airnet")
    network = goldens.load(airnet.build(airnet.Config()), golden)
    assert sum(p.numel() for p in network.parameters()) == 8_930_313
    x, y, embedding, projected = goldens.tensors(golden, "x", "y", "fea", "embedding_mlp")
    with torch.no_grad():
        torch.testing.assert_close(network(x), y, atol=1e-5, rtol=0)
        found = network.E.E.encoder_q(x)
    torch.testing.assert_close(found[0], embedding, atol=1e-5, rtol=0)
    torch.testing.assert_close(found[1], projected, atol=1e-5, rtol=0)


def test_a_step_of_contrast_is_the_official_one():
    golden = goldens.read("airnet_contrast")
    encoders = goldens.load(airnet.CBDE(64, 1024), golden).train()
    query, key = goldens.tensors(golden, "x_query", "x_key")
    embedding, logits, _ = encoders.E.contrast(query, key)
    loss = cross_entropy(logits, torch.zeros(4, dtype=torch.long))
    found = {
        "fea": embedding,
        "logits": logits,
        "loss": loss,
        "queue_new": encoders.E.queue[:, :4],
        "queue_ptr": encoders.E.queue_ptr,
        "key_conv0": encoders.E.encoder_k.E_pre.backbone[0].weight,
        "running_mean0": encoders.E.encoder_q.E_pre.backbone[1].running_mean,
    }
    for name, value in found.items():
        expected = torch.from_numpy(golden[name])
        torch.testing.assert_close(value.detach(), expected, atol=1e-4, rtol=1e-5, msg=name)


def test_the_queue_is_a_ring():
    encoders = airnet.MoCo(1, 5)
    for first in (0, 3):
        keys = torch.full((3, 4), float(first)) + torch.arange(3.0)[:, None]
        encoders._remember(keys)
    assert encoders.queue[0].tolist() == [5.0, 1.0, 2.0, 3.0, 4.0]
    assert encoders.queue_ptr.tolist() == [1]


def test_each_stage_trains_what_it_says():
    trained = {}
    for stage in ("encoder", "joint"):
        model, batch = small(stage=stage).train(), small_batch()
        value, restored = by_contrast.objective(model, batch, l1)
        value.backward()
        assert torch.equal(restored, batch["lq"]) == (stage == "encoder")
        trained[stage] = {n for n, p in model.named_parameters() if p.grad is not None}
        assert trained[stage] == {n for n, p in model.named_parameters() if p.requires_grad}
    encoder = "network.E.E.encoder_q."
    assert all(name.startswith(encoder) for name in trained["encoder"])
    restorer = trained["joint"] - trained["encoder"]
    assert restorer and all(name.startswith("network.R.") for name in restorer)


def test_the_joint_loss_is_the_runs_own_plus_a_tenth_of_the_contrast():
    model, batch = small().train(), small_batch()
    other = small().train()
    torch.manual_seed(5)
    value, restored = by_contrast.objective(model, batch, l1)
    torch.manual_seed(5)
    contrast, _ = other(batch, learns=True)
    torch.testing.assert_close(value, l1(restored, batch["hq"]) + 0.1 * contrast)


def test_a_view_is_a_turned_part_of_its_own_image():
    torch.manual_seed(0)
    images = torch.stack([torch.zeros(3, 10, 12), torch.ones(3, 10, 12)])
    views = by_contrast.view_of(images, 0.5)
    assert views.shape == (2, 3, 5, 5)
    assert views[0].max() == 0 and views[1].min() == 1
    torch.manual_seed(0)
    again = by_contrast.view_of(images, 0.5)
    assert torch.equal(views, again)


def test_another_network_is_refused():
    config = promptir.Config(dim=4, heads=(1, 2, 2, 4), prompts=(4, 4, 8))
    other = Backbone.from_module(promptir, config)
    with pytest.raises(BenchError, match="airnet: the network has no encoder"):
        by_contrast.check_network(by_contrast.Config(), other)
