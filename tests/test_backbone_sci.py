"""SCI against the official network, with random weights and with the official ones."""

import goldens
import pytest
import torch
from goldens import needs_mirror

from benchlib.backbones import sci
from benchlib.contracts import BenchError


def official_state() -> dict[str, torch.Tensor]:
    """As the official code saves a network: what is shared stands there once more, twice."""
    state = sci.build(sci.Config(stages=3)).state_dict()
    copies = {}
    for name, value in state.items():
        if name.startswith("enhance.conv."):
            copies[name.replace("conv", "blocks.0", 1)] = value
        if name.startswith("calibrate.convs."):
            for layer in range(3):
                copies[name.replace("convs", f"blocks.{layer}", 1)] = value
    return state | copies


def test_names_and_outputs_of_all_stages_are_the_official_ones():
    golden = goldens.read("sci")
    network = goldens.load(sci.build(sci.Config(stages=3)), golden)
    x, inputs, illuminations, y = goldens.tensors(golden, "x", "inputs", "illuminations", "y")
    with torch.no_grad():
        stages = network.stages(x)
        torch.testing.assert_close(network(x), y[0], atol=1e-6, rtol=0)
    for index, (stage_input, illumination) in enumerate(stages):
        torch.testing.assert_close(stage_input, inputs[index], atol=1e-5, rtol=0)
        torch.testing.assert_close(illumination, illuminations[index], atol=1e-5, rtol=0)
        restored = sci.reflectance(x, illumination)
        torch.testing.assert_close(restored, y[index], atol=1e-4, rtol=0)  # divided by 0.0001


def test_official_files_load_strictly_with_and_without_what_only_training_reads():
    torch.manual_seed(0)
    state = official_state()
    assert len(state) == 83  # as many as in medium.pt
    for stages in (1, 3):
        network = sci.build(sci.Config(stages=stages))
        network.load_state_dict(state, strict=True)
        for name, value in network.state_dict().items():
            assert torch.equal(value, state[name])
        torch.nn.Sequential(network).load_state_dict(
            {f"0.{name}": value for name, value in state.items()}, strict=True
        )


@pytest.mark.parametrize("name", ["enhance.blocks.0.0.weight", "calibrate.blocks.2.4.bias"])
def test_a_file_whose_copies_differ_is_refused(name):
    state = official_state()
    state[name] = state[name] + 1
    network = sci.build(sci.Config(stages=3))
    with pytest.raises(BenchError, match=rf"sci: {name} differs from .*: take an official"):
        network.load_state_dict(state, strict=True)


def test_a_name_that_is_not_theirs_is_refused():
    with pytest.raises(RuntimeError, match="enhance.other.weight"):
        state = official_state() | {"enhance.other.weight": torch.zeros(1)}
        sci.build(sci.Config()).load_state_dict(state, strict=True)


@needs_mirror
@pytest.mark.parametrize("variant", ["easy", "medium", "difficult"])
def test_official_weights_give_the_official_image(variant):
    network = sci.build(sci.Config()).eval()
    weights = goldens.official("vis-opt-group/SCI", f"weights/{variant}.pt")
    network.load_state_dict(weights, strict=True)
    expected = goldens.tensors(goldens.read("lowlight_real"), f"sci/{variant}")[0]
    with torch.no_grad():
        restored = network(goldens.dark_photograph())[0]
    torch.testing.assert_close(restored, expected, atol=1e-5, rtol=0)
