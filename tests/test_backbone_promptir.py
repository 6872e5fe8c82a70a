"""PromptIR against the official network (35.6 M parameters, random)."""

import goldens
import pytest
import torch

from benchlib.backbones import promptir
from benchlib.contracts import BenchError

SMALL = promptir.Config(
    dim=4, blocks=(1, 1, 1, 1), heads=(1, 2, 2, 4), refinement=1, prompts=(4, 4, 8), sides=(4, 3, 2)
)
DEAD = ("chnl_reduce", "reduce_noise_channel_")


def test_names_and_outputs_are_the_official_ones():
    golden = goldens.read("promptir")
    network = goldens.load(promptir.build(promptir.Config()), golden)
    assert sum(p.numel() for p in network.parameters()) == 35_592_263
    seen = {}
    for level in (1, 2, 3):
        prompt = network.get_submodule(f"prompt{level}")
        prompt.register_forward_pre_hook(
            lambda module, inputs, level=level: seen.update({level: module.weights(inputs[0])})
        )
    x, y = goldens.tensors(golden, "x", "y")
    with torch.no_grad():
        torch.testing.assert_close(network(x), y, atol=5e-5, rtol=1e-5)
    for level, weights in seen.items():
        (expected,) = goldens.tensors(golden, f"prompt_weights{level}")
        torch.testing.assert_close(weights, expected, atol=1e-5, rtol=0)


def test_what_reaches_nothing_is_frozen_and_nothing_else():
    for name, parameter in promptir.build(SMALL).named_parameters():
        assert parameter.requires_grad == (not name.startswith(DEAD))


@pytest.mark.parametrize("size", [(1, 2), (17, 33)])
def test_any_size(size):
    network = promptir.build(SMALL).eval()
    with torch.no_grad():
        restored = network(torch.rand(1, 3, *size))
    assert restored.shape[2:] == size
    assert torch.isfinite(restored).all()


def test_the_prompts_reach_the_image():
    torch.manual_seed(0)
    network, image = promptir.build(SMALL).eval(), torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        before = network(image)
        for level in (1, 2, 3):
            network.get_parameter(f"prompt{level}.prompt_param").zero_()
            after = network(image)
            assert not torch.equal(before, after)
            before = after


def test_it_is_moved_to_channels_last_as_training_does():
    torch.manual_seed(0)
    network, image = promptir.build(SMALL).eval(), torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        before = network(image)
        network.to(torch.float64, memory_format=torch.channels_last)
        assert network.prompt1.prompt_param.shape == (1, 5, 4, 4, 4)
        assert network.prompt1.prompt_param.dtype == torch.float64
        torch.testing.assert_close(network(image.double()).float(), before, atol=1e-5, rtol=0)


def test_heads_that_do_not_divide_are_refused():
    with pytest.raises(BenchError, match=r"promptir: heads: got 5 for 48 channels"):
        promptir.Config(heads=(5, 2, 4, 8))
    with pytest.raises(BenchError, match=r"promptir: prompts: level 1: heads\[2\]: got 4 for 97"):
        promptir.Config(prompts=(1, 128, 320))
