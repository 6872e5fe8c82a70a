"""SAM-Deblur's network and its pooling, against the official code and the printed algorithm.

tests/golden/segnafnet_small.npz: computed once by github.com/HPLQAQ/SAM-Deblur (SegNAFNet, width 8,
two levels).
"""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchlib.backbones import nafnet
from benchlib.contracts import Backbone, load_weights_into
from benchlib.methods import cat
from benchlib.methods import map as method
from benchlib.methods.map import average_by_bits, average_by_label, drop_labels

GOLDEN = np.load(Path(__file__).parent / "golden" / "segnafnet_small.npz")


def golden(name: str) -> torch.Tensor:
    return torch.from_numpy(GOLDEN[name])


def as_bits(masks: torch.Tensor) -> torch.Tensor:
    """``(N,H,W)`` bool -> ``(1,P,H,W)`` packed."""
    planes = []
    for group in masks.split(64):
        plane = torch.zeros(masks.shape[1:], dtype=torch.long)
        for i, mask in enumerate(group):
            plane += mask.long() << i
        planes.append(plane)
    return torch.stack(planes)[None]


def as_labels(masks: torch.Tensor) -> torch.Tensor:
    """``(N,H,W)`` disjoint bool -> ``(1,H,W)`` labels."""
    return (masks.long() * torch.arange(1, len(masks) + 1)[:, None, None]).sum(0)[None]


def algorithm_1(values: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Lines 3 to 8 of SAM-Deblur's Algorithm 1, word for word, on ``(S,H,W)`` and ``(N,H,W)``."""
    uncovered = ~masks.any(0, keepdim=True)
    pooled = torch.zeros_like(values)
    for mask in torch.cat([masks, uncovered]):
        if mask.any():
            pooled += mask * values[:, mask].mean(1)[:, None, None]
    return pooled


@pytest.fixture(scope="module")
def official() -> torch.nn.Module:
    config = nafnet.Config(width=8, encoder=(1, 1), middle=1, decoder=(1, 1))
    model = method.build(Backbone.from_module(nafnet, config), method.Config())
    names = [name for name in GOLDEN.files if name.startswith("sd/")]
    weights = {name.removeprefix("sd/"): golden(name) for name in names}
    load_weights_into(model, weights, "segnafnet_small.npz")
    return model.eval()


@torch.no_grad()
def test_the_official_checkpoint_gives_the_official_output(official):
    labels = as_labels(golden("masks")[:, 0]).expand(2, -1, -1)
    restored = official({"lq": golden("x"), "labels": labels})
    torch.testing.assert_close(restored, golden("y"), atol=1e-6, rtol=0)


@torch.no_grad()
def test_encoder_and_both_poolings_give_the_official_arrays(official):
    encoded = official.encode(golden("x"))[:1]
    torch.testing.assert_close(encoded[0], golden("encoded0"), atol=1e-6, rtol=0)
    disjoint = average_by_label(encoded, as_labels(golden("masks")[:, 0]))[0]
    torch.testing.assert_close(disjoint, golden("map0"), atol=1e-6, rtol=0)
    overlapping = average_by_bits(encoded, as_bits(golden("overlapping")[:, 0]))[0]
    torch.testing.assert_close(overlapping, golden("map0_overlapping"), atol=1e-6, rtol=0)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 130), st.integers(1, 3))
def test_overlapping_pooling_is_the_printed_algorithm(seed, count, channels):
    rng = np.random.default_rng(seed)
    masks = torch.from_numpy(rng.random((count, 9, 13)) < 0.2)
    values = torch.from_numpy(rng.normal(size=(channels, 9, 13)).astype(np.float32))
    bits = as_bits(masks) if count else torch.zeros(1, 1, 9, 13, dtype=torch.long)
    torch.testing.assert_close(
        average_by_bits(values[None], bits)[0], algorithm_1(values, masks), atol=2e-5, rtol=1e-5
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 70))
def test_disjoint_pooling_is_the_printed_algorithm_and_its_gradient_too(seed, count):
    rng = np.random.default_rng(seed)
    labels = torch.from_numpy(rng.integers(0, count + 1, (2, 9, 13)))
    values = torch.from_numpy(rng.normal(size=(2, 2, 9, 13))).requires_grad_()
    weight = torch.from_numpy(rng.normal(size=(2, 2, 9, 13)))
    expected = []
    for value, image in zip(values, labels, strict=True):
        masks = image == torch.arange(1, count + 1)[:, None, None]
        expected.append(algorithm_1(value, masks))
    expected = torch.stack(expected)
    got = average_by_label(values, labels)
    torch.testing.assert_close(got, expected)
    (wanted,) = torch.autograd.grad((expected * weight).sum(), values)
    (gradient,) = torch.autograd.grad((got * weight).sum(), values)
    torch.testing.assert_close(gradient, wanted)


def test_label_pooling_passes_the_gradient_check():
    labels = torch.randint(0, 4, (1, 5, 6))
    values = torch.rand(1, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: average_by_label(v, labels), (values,))


def test_dropout_drops_the_stated_share_into_the_uncovered_rest():
    labels = torch.arange(12).reshape(1, 3, 4)  # eleven masks of one pixel, one uncovered pixel
    torch.manual_seed(0)
    dropped = drop_labels(labels, 0.5)
    assert int((dropped == 0).sum()) == 1 + 5  # int(0.5 * 11) masks, as the official code
    assert torch.equal(dropped[dropped > 0], labels[dropped > 0])
    values = torch.rand(1, 2, 3, 4)
    torch.manual_seed(0)
    pooled = average_by_label(values, labels, 0.5)
    rest = dropped[0] == 0
    torch.testing.assert_close(
        pooled[0][:, rest], values[0][:, rest].mean(1, keepdim=True).expand(-1, 6)
    )


def test_dropout_acts_in_training_only(official):
    batch = {"lq": golden("x"), "labels": as_labels(golden("masks")[:, 0]).expand(2, -1, -1)}
    encoded = official.encode(batch["lq"])
    still = official.pool(encoded, batch)
    official.train()
    torch.manual_seed(0)
    moved = official.pool(encoded, batch)
    official.eval()
    torch.testing.assert_close(official.pool(encoded, batch), still)
    assert not torch.allclose(moved, still)


def test_cat_draws_ids_as_the_official_grey_levels():
    """Expected: draw_segmask of 1_calculate_masks_with_sam.py (idx is the id minus one)."""
    levels = (cat.grey_levels(torch.arange(255).reshape(1, 15, 17))[0, 0] * 255).round().flatten()
    assert levels[0] == 0
    for idx in range(127):
        assert levels[idx + 1] == 2 * (idx + 1)
    for idx in range(127, 254):
        assert levels[idx + 1] == 2 * (255 - idx) - 1
    assert len(set(levels.tolist())) == 255


def test_tlc_averages_over_the_window_and_repeats_the_border():
    x = torch.rand(1, 2, 11, 14)
    pooled = nafnet.LocalPool(6)(x)
    # (6, 9) whole windows; 2|3 rows and 2|3 columns repeat
    inner = torch.nn.functional.avg_pool2d(x, 6, stride=1)
    expected = torch.nn.functional.pad(inner, (2, 3, 2, 3), mode="replicate")
    torch.testing.assert_close(pooled, expected)
    torch.testing.assert_close(nafnet.LocalPool(20)(x), x.mean((2, 3), keepdim=True))


@torch.no_grad()
def test_tlc_leaves_images_up_to_its_window_as_they_are_and_changes_larger_ones(official):
    local = copy.deepcopy(official)
    assert nafnet.tlc(local.network, 32) is local.network
    for side, same in [(48, True), (96, False)]:
        batch = {
            "lq": torch.rand(1, 3, side, side),
            "labels": torch.zeros(1, side, side, dtype=torch.long),
        }
        assert torch.allclose(local(batch), official(batch), atol=1e-5) == same


@torch.no_grad()
def test_tlc_has_windows_of_one_and_a_half_crops_at_every_level():
    """Crops of 32: 48 pixels at full size, 24 at half and 12 at a quarter."""
    network = nafnet.build(nafnet.Config(width=8, encoder=(1, 2), middle=1, decoder=(1, 1)))
    kernels = [block.sca[0].kernel for block in nafnet.blocks(nafnet.tlc(network, 32))]
    assert kernels == [48, 24, 24, 12, 24, 48]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_both_poolings_agree_on_cpu_and_gpu():
    labels = torch.randint(0, 40, (2, 64, 64))
    values, bits = torch.rand(2, 2, 64, 64), (torch.ones_like(labels) << labels).unsqueeze(1)
    torch.testing.assert_close(
        average_by_label(values.cuda(), labels.cuda()).cpu(), average_by_label(values, labels)
    )
    torch.testing.assert_close(
        average_by_bits(values.cuda(), bits.cuda()).cpu(), average_by_bits(values, bits)
    )
