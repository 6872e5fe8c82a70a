"""SPT against its equations written out, and its promises.

A fresh network is its backbone, and only units train.
"""

import pytest
import torch
from conftest import make_inputs, small_params, write_params
from test_methods import batch, small_backbone

from benchlib.backbones import imdn
from benchlib.contracts import Backbone, BenchError
from benchlib.evaluate import evaluate
from benchlib.methods import spt
from benchlib.params import load_params
from benchlib.plan import open_run
from benchlib.restore import load_model
from benchlib.train.record import train

TWO = imdn.Config(scale=2, modules=2)


def made(config: spt.Config, backbone: Backbone | None = None) -> spt.SPT:
    torch.manual_seed(0)
    return spt.build(backbone or Backbone.from_module(imdn, TWO), config).eval()


def moved(model: spt.SPT) -> spt.SPT:
    """The units moved off their identity start."""
    torch.manual_seed(1)
    with torch.no_grad():
        for p in model.spt.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return model


# of maps and of tokens, one that enlarges, one that works in turns
BACKBONES = ("nafnet", "imdn", "swinir", "cat", "art", "prenet")


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("variant", ["spt", "spt-f", "spt-p", "spt-cat"])
def test_a_fresh_network_is_its_frozen_backbone(backbone, variant):
    model = made(spt.Config(variant=variant), small_backbone(backbone))
    data = batch(17, 23)
    with torch.no_grad():
        assert torch.allclose(model(data), model.network(data["lq"]), rtol=0, atol=1e-6)
        assert not torch.allclose(moved(model)(data), model.network(data["lq"]), rtol=0, atol=1e-3)


def test_equations_6_to_8_written_out():
    """IMDN's own steps with equation 7 and 8 after each block.

    No hooks; masks are unpacked by a plain loop.
    """
    model = moved(made(spt.Config(alpha=0.5)))
    data = batch(12, 10)
    bits = data["bits"]
    masks = torch.stack([((bits[:, i // 64] >> (i % 64)) & 1).float() for i in range(64)], 1)
    net, units = model.network, model.spt["units"]
    with torch.no_grad():
        prior = model.spt["prior"]["64"](torch.cat([data["lq"], masks], 1))
        feature = first = net.fea_conv(data["lq"])
        outs = []
        for i, block in enumerate((net.IMDB1, net.IMDB2)):
            feature = block(feature)
            merged = units[str(i)].merge(torch.cat([feature, masks], 1))
            branch = units[str(i)].prior(prior)
            feature = feature + 0.5 * (units[str(i)].feature(merged) * branch + merged)
            prior = branch + prior
            outs.append(feature)
        expected = net.upsampler(net.LR_conv(net.c(torch.cat(outs, 1))) + first)
        assert torch.allclose(model(data), expected, rtol=0, atol=1e-5)


def test_masks_come_unpacked_cut_and_padded():
    bits = torch.zeros(1, 2, 2, 2, dtype=torch.int64)
    bits[0, 0, 0, 0], bits[0, 0, 1, 1], bits[0, 1, 0, 1] = 1, -(2**63), 1 << 5  # masks 0, 63 and 69
    dense = spt.unpack_masks(bits, 128, torch.float32)
    assert dense.shape == (1, 128, 2, 2)
    assert sorted(map(tuple, dense.nonzero()[:, 1:].tolist())) == [
        (0, 0, 0),
        (63, 1, 1),
        (69, 0, 1),
    ]
    assert spt.unpack_masks(bits, 64, torch.float32).sum() == 2
    assert spt.unpack_masks(bits, 200, torch.float32).shape == (1, 200, 2, 2)
    assert spt.unpack_masks(bits[:, :0], 64, torch.float32).sum() == 0  # an image without a mask


def test_units_stand_after_the_first_blocks_only():
    model = moved(made(spt.Config(units=1)))
    assert list(model.spt["units"]) == ["0"]
    with pytest.raises(BenchError, match=r"spt: units: got 3; the network has 2 building blocks"):
        made(spt.Config(units=3))


@pytest.mark.parametrize(("tune", "expected"), [("units", {"spt"}), ("all", {"spt", "network"})])
def test_what_trains(tune, expected):
    model = made(spt.Config(tune=tune)).train()
    trained = {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert trained == expected
    assert model.network.IMDB1.training == (tune == "all")


def test_other_readings_share_what_they_say():
    count = {}
    for share in ("branch", "none", "units"):
        units = made(spt.Config(share=share)).spt
        count[share] = sum(p.numel() for p in units.parameters())
    pair = 2 * (64 * 64 * 9 + 64)  # f of 64 channels
    unit = (128 * 64 * 9 + 64) + (64 * 64 * 9 + 64) + 2 * pair
    stem = (67 * 64 * 9 + 64) + (64 * 64 * 9 + 64)
    assert count == {
        "branch": stem + 2 * unit,
        "none": stem + 2 * unit + pair,
        "units": stem + unit,
    }
    data = batch(8, 8)
    with torch.no_grad():
        outputs = [moved(made(spt.Config(chain=chain)))(data) for chain in (True, False)]
    assert not torch.allclose(*outputs)


@pytest.mark.parametrize("variant", ["spt", "spt-f", "spt-p", "spt-cat"])
@pytest.mark.parametrize("share", ["branch", "none", "units"])
def test_every_variant_trains_all_it_has(variant, share):
    model = moved(made(spt.Config(variant=variant, share=share))).train()
    model(batch(8, 8)).square().sum().backward()
    for parameter in model.spt.parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0


def tuning_params() -> dict:
    """A network of two modules trained from nothing, and SPT on it, on pictures of 96 pixels."""
    photo = {"name": "photographs", "long_side": 96, "degrade": {"name": "bicubic", "scale": 2}}
    superpixels = {"name": "superpixels", "segments": 9}
    base = {
        "backbone": {"name": "imdn", "scale": 2, "modules": 2},
        "method": {"name": "none"},
        "images": {"train": "train", "test": "test"},
        "prior": {"train": "none", "test": "none"},
        "validation": "held",
        "init": "weights/random",
    }
    tuned = base | {
        "method": {"name": "spt"},
        "prior": {"train": "of-train", "test": "of-test"},
        "init": "runs/base",
        "seeds": [0, 1],
        "training": {
            "keep": "best",
            "loss": "l1",
            "candidates": [{"lr": 0.5}, {"lr": 1e-4, "sets": ["a"]}],
        },
    }
    return small_params() | {
        "data": {
            "train/a": photo | {"images": ["coffee"]},
            "train/held": photo | {"images": ["flower"]},
            "test/a": photo | {"images": ["chelsea"]},
        },
        "priors": {
            "none": {"kind": "none", "images": "data/train", "prior": {"name": "none"}},
            "of-train": {"kind": "masks", "images": "data/train", "prior": superpixels},
            "of-test": {"kind": "masks", "images": "data/test", "prior": superpixels},
        },
        "runs": {"base": base, "tuned": tuned},
    }


def test_tuning_moves_units_only_and_keeps_the_best(tmp_path):
    """From params to rows: pairs by MATLAB's bicubic, a network trained here, SPT on it."""
    suite = load_params(write_params(tmp_path, tuning_params()))
    make_inputs(suite, priors=("none", "of-train", "of-test"))
    base, tuned = open_run(suite, "base"), open_run(suite, "tuned")
    train(base)
    record = train(tuned)
    start, end = load_model(base, 0), load_model(tuned, 1)
    for name, value in start.network.state_dict().items():
        assert torch.equal(end.network.state_dict()[name], value)
    bad, good = record["choice"]
    assert good["validation"] >= bad["validation"] and good["chosen"] != bad["chosen"]
    units = sum(p.numel() for p in end.spt.parameters())
    assert record["trained_parameters"] == units < record["parameters"]
    assert set(record["kept"]) == {"seed0", "seed1"}
    before = [row["image"] for row in evaluate(base) if row["metric"] == "PSNR"]
    after = [row["image"] for row in evaluate(tuned) if row["metric"] == "PSNR"]
    assert sorted(after) == sorted(2 * before)
