"""EDVR, BasicVSR, SPyNet and warping against the official code, by random weights."""

import json
import weakref

import goldens
import numpy as np
import pytest
import torch

from benchlib.backbones import _clips, basicvsr, edvr
from benchlib.contracts import BenchError

OFFICIAL = {
    "tsa/": edvr.Config(width=16, extract=2, reconstruct=2),
    "predeblur/": edvr.Config(
        width=8,
        frames=3,
        extract=1,
        reconstruct=1,
        full_size=True,
        predeblur=True,
        tsa=False,
    ),
    "blurred/": edvr.Config(width=8, frames=3, groups=4, extract=1, reconstruct=1, predeblur=True),
}
SMALL = basicvsr.Config(width=4, blocks=1)


@pytest.mark.parametrize("part", OFFICIAL)
def test_edvrs_names_and_outputs_are_the_official_ones(part):
    golden = goldens.read("edvr")
    network = goldens.load(edvr.build(OFFICIAL[part]), golden, part)
    x, y = goldens.tensors(golden, f"{part}x", f"{part}y")
    with torch.no_grad():
        torch.testing.assert_close(network(x), y, atol=1e-5, rtol=0)


def official_basicvsr(**settings) -> tuple[torch.nn.Module, dict[str, np.ndarray]]:
    """By rule; the mean and deviation of SPyNet's images are constants, not in the golden."""
    golden = goldens.read("basicvsr")
    about = json.loads(str(golden["about"]))
    network = basicvsr.build(basicvsr.Config(width=16, blocks=2, **settings)).eval()
    constants = {"spynet.mean": network.spynet.mean, "spynet.std": network.spynet.std}
    state = goldens.weights(golden, about["seed"], about["gain"])
    network.load_state_dict(state | constants, strict=True)
    return network, golden


def test_basicvsrs_names_flows_and_outputs_are_the_official_ones():
    network, golden = official_basicvsr()
    x, y = goldens.tensors(golden, "x", "y")
    forward, backward = goldens.tensors(golden, "flows_forward", "flows_backward")
    with torch.no_grad():
        restored = network(x)[..., ::5, ::5]
        there = network.spynet(x[0, :-1], x[0, 1:])[None, ..., ::3, ::3]
        back = network.spynet(x[0, 1:], x[0, :-1])[None, ..., ::3, ::3]
    torch.testing.assert_close(restored, y, atol=1e-5, rtol=0)
    torch.testing.assert_close(there, backward, atol=1e-5, rtol=0)
    torch.testing.assert_close(back, forward, atol=1e-5, rtol=0)


def test_warping_is_the_official_one():
    x, flow = goldens.tensors(goldens.read("basicvsr"), "warp/x", "warp/flow")
    zeros, border = goldens.tensors(goldens.read("basicvsr"), "warp/zeros", "warp/border")
    flow = flow.permute(0, 3, 1, 2)
    torch.testing.assert_close(_clips.warp(x, flow), zeros, atol=1e-6, rtol=0)
    torch.testing.assert_close(_clips.warp(x, flow, "border"), border, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("network", "parameters"),
    [
        (edvr.build(edvr.Config()), 3_300_131),
        (edvr.build(edvr.Config(width=128, reconstruct=40)), 20_633_827),
        (basicvsr.build(basicvsr.Config()), 6_291_311),
    ],
    ids=["edvr-m", "edvr-l", "basicvsr"],
)
def test_the_published_networks_have_so_many_parameters(network, parameters):
    """What the official settings give here, to hold them still; no published figures."""
    assert sum(p.numel() for p in network.parameters()) == parameters


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 7, 10])
def test_what_is_computed_again_is_what_was_not_kept(length):
    """Without a gradient few backward features are kept; not a bit of the images moves."""
    torch.manual_seed(length)
    network, clip = basicvsr.build(SMALL).eval(), torch.rand(1, length, 3, 6, 5)
    kept = network(clip)
    assert kept.requires_grad
    with torch.no_grad():
        assert torch.equal(network(clip), kept)


def test_few_backward_features_are_kept_of_a_long_clip():
    """At most twice the root of its length, whenever a frame comes out."""
    network, alive = basicvsr.build(SMALL).eval(), []
    steps, held = network._step, set()

    def counted(*arguments):
        feature = steps(*arguments)
        if arguments[-1] is network.backward_trunk:
            key = id(feature.untyped_storage())
            held.add(key)
            weakref.finalize(feature, held.discard, key)
            alive.append(len(held))
        return feature

    network._step = counted
    with torch.no_grad():
        for _ in network._frames(torch.rand(1, 25, 3, 4, 4)):
            pass
    assert len(alive) > 25
    assert max(alive) <= 2 * 5 + 2


def test_flipped_in_time_each_frame_is_a_mean_of_both_ways():
    network, golden = official_basicvsr(flip=True)
    plain, _ = official_basicvsr()
    clip = goldens.tensors(golden, "x")[0][..., :8, :9]
    with torch.no_grad():
        long = plain(torch.cat([clip, clip.flip(1)], 1))
        expected = (long[:, :3] + long[:, 3:].flip(1)) / 2
        torch.testing.assert_close(network(clip), expected)
        assert not torch.equal(network(clip), plain(clip))
    assert torch.equal(network.train()(clip), plain.train()(clip))


@pytest.mark.parametrize("size", [(1, 2), (17, 6), (32, 33)])
def test_clips_of_any_size(size):
    """Officially a side of 32 pixels or fewer leaves SPyNet without a coarsest level."""
    clip = torch.rand(1, 3, 3, *size)
    config = edvr.Config(width=8, frames=3, extract=1, reconstruct=1)
    enlarged = (4 * size[0], 4 * size[1])
    with torch.no_grad():
        restored = basicvsr.build(SMALL).eval()(clip)
        middle = edvr.build(config).eval()(clip)
    assert restored.shape == (1, 3, 3, *enlarged)
    assert middle.shape == (1, 3, *enlarged)
    assert torch.isfinite(restored).all() and torch.isfinite(middle).all()


@pytest.mark.parametrize("height", [96 // 2, 96 // 2 + 1, 96, 97])
def test_in_strips_a_frame_is_what_it_is_whole(height):
    network = basicvsr.build(SMALL).eval()
    x = torch.rand(1, 4, height, 3)
    whole = _clips.enlarged(network, x)
    with torch.no_grad():
        torch.testing.assert_close(_clips.enlarged(network, x), whole, atol=1e-6, rtol=0)


def test_a_seam_gets_each_frame_with_its_place():
    seen: list[int] = []
    network = basicvsr.build(SMALL).eval()
    network.seam.register_forward_hook(lambda module, given, out: seen.append(given[1]))
    network(torch.rand(1, 3, 3, 4, 4))
    assert seen == [2, 1, 0, 0, 1, 2]
    seen.clear()
    network = edvr.build(edvr.Config(width=8, frames=3, extract=1, reconstruct=1))
    network.seam.register_forward_hook(lambda module, given, out: seen.append(given[1]))
    network(torch.rand(1, 3, 3, 4, 4))
    assert seen == [0, 1, 2]


def test_what_does_not_go_together_is_refused():
    with pytest.raises(BenchError, match="edvr: frames: got 4; expected an odd number"):
        edvr.Config(frames=4)
    with pytest.raises(BenchError, match="edvr: groups: got 8 for a width of 12"):
        edvr.Config(width=12)
    with pytest.raises(BenchError, match="edvr: full_size: got true without predeblur"):
        edvr.Config(full_size=True)
    with pytest.raises(BenchError, match=r"edvr: expected a window \(B,5,C,H,W\), got \(1, 3, 8"):
        edvr.build(edvr.Config())(torch.rand(1, 3, 8, 8))
    with pytest.raises(BenchError, match=r"basicvsr: expected a clip \(B,T,C,H,W\), got \(1, 3"):
        basicvsr.build(SMALL)(torch.rand(1, 3, 8, 8))
