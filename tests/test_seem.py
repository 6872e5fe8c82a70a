"""SEEM on networks of clips: its readings, its start, each frame's own masks."""

from __future__ import annotations

import pytest
import torch
from conftest import fake_masks, make_inputs
from video_suite import BASICVSR, EDVR, LENGTH, clips_suite

from benchlib.conformance._network import Pair, moved, small_backbone
from benchlib.conformance._subject import Subject
from benchlib.contracts import BenchError
from benchlib.evaluate import evaluate
from benchlib.methods import none, seem
from benchlib.params import load_params
from benchlib.plan import open_run
from benchlib.records import read_rows
from benchlib.train.record import train

BACKBONES = ("edvr", "basicvsr")
each_backbone = pytest.mark.parametrize("backbone", BACKBONES)


def built(backbone: str, **settings) -> torch.nn.Module:
    torch.manual_seed(0)
    return seem.build(small_backbone(backbone), seem.Config(**settings)).eval()


def batch(backbone: str, height: int = 8, width: int = 6) -> dict[str, torch.Tensor]:
    return Pair(Subject("methods", "seem"), backbone).batch(height, width)


@each_backbone
def test_a_fresh_network_is_its_backbone_unless_it_starts_at_random(backbone):
    data = batch(backbone)
    model = built(backbone, where="both")
    plain = none.build(small_backbone(backbone), none.Config()).eval()
    plain.network.load_state_dict(model.network.state_dict())
    with torch.no_grad():
        assert torch.equal(model(data), plain(data))
        assert not torch.equal(built(backbone, start="random")(data), plain(data))


@each_backbone
def test_every_reading_is_another_network(backbone):
    """Of a size that no stride divides, too."""
    data, seen = batch(backbone, 5, 7), []
    others = ({"where": "fused"}, {"where": "both"}, {"merge": "add"}, {"attention": "block"})
    for reading in ({}, *others):
        with torch.no_grad():
            restored = moved(built(backbone, **reading))(data)
        assert torch.isfinite(restored).all()
        for other in seen:
            assert not torch.equal(restored, other)
        seen.append(restored)


def test_a_frame_is_refined_by_its_own_masks():
    """Of BasicVSR, where no frame's feature goes elsewhere: what a mask moves is that frame."""
    model, data = moved(built("basicvsr", where="fused")), batch("basicvsr")
    other = data["bits"].clone()
    other[:, 1] = 0
    with torch.no_grad():
        change = (model(data) - model(data | {"bits": other})).abs().amax((0, 2, 3, 4))
    assert change[1] > 0
    assert change[0] == change[2] == 0


def test_efficient_tuning_leaves_the_network_alone():
    model = built("edvr").train()
    assert not model.network.training
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert trained and all(name.startswith("seem.") for name in trained)
    full = built("edvr", tune="all").train()
    assert full.network.training
    assert all(weight.requires_grad for weight in full.parameters())


def test_networks_of_images_and_masks_of_one_image_are_refused():
    with pytest.raises(BenchError, match="seem: the network reads single images; take one of cl"):
        seem.build(small_backbone("nafnet"), seem.Config())
    data = batch("edvr")
    with pytest.raises(BenchError, match=r"seem: bits: got \(2, 1, 8, 6\) for frames"):
        built("edvr")(data | {"bits": data["bits"][:, 0]})


def test_it_is_trained_and_measured_frame_by_frame_with_controls(tmp_path):
    networks = {"edvr": EDVR, "basicvsr": BASICVSR}
    suite = clips_suite(tmp_path, networks, "seem", "sam", width=128)
    how = suite.evaluation.model_copy(update={"swap": ["zeroed", "shuffled"]})
    suite = suite.model_copy(update={"evaluation": how})
    make_inputs(suite)
    for side in ("train", "test"):
        fake_masks(suite, f"sam-{side}")
    for key in networks:
        plan = open_run(suite, key)
        train(plan)
        evaluate(plan)
    rows = read_rows(suite, swap=None)
    for swap in ("", "zeroed", "shuffled"):
        psnr = rows[(rows["swap"] == swap) & (rows["metric"] == "PSNR")]
        assert len(psnr) == 2 * LENGTH
    assert set(rows[rows["metric"] == "reach"]["swap"]) == {"zeroed", "shuffled"}
    assert load_params(tmp_path / "params.yaml").task == "video"
