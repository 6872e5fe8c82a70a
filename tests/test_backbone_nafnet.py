"""NAFNet against an independent copy of the official network: spandrel's."""

import pytest
import torch

from benchlib.backbones import nafnet

CONFIGS = [
    nafnet.Config(width=8, encoder=(1, 1, 2), middle=1, decoder=(1, 1, 1)),
    nafnet.Config(width=4, encoder=(1,), middle=2, decoder=(2,)),
]


def theirs(config: nafnet.Config) -> torch.nn.Module:
    from spandrel.architectures.NAFNet import NAFNet

    return NAFNet(
        img_channel=3,
        width=config.width,
        middle_blk_num=config.middle,
        enc_blk_nums=list(config.encoder),
        dec_blk_nums=list(config.decoder),
    )


def moved(network: torch.nn.Module) -> torch.nn.Module:
    """Off the start, where the blocks' weights are zero and hide what they do."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


@pytest.mark.parametrize("config", CONFIGS, ids=["deep", "flat"])
def test_one_seed_gives_the_same_start_in_the_same_order(config):
    torch.manual_seed(0)
    ours = nafnet.build(config).state_dict()
    torch.manual_seed(0)
    official = theirs(config).state_dict()
    assert list(ours) == list(official)
    assert all(torch.equal(ours[name], official[name]) for name in ours)


@pytest.mark.parametrize("config", CONFIGS, ids=["deep", "flat"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_outputs_and_gradients_are_the_same_bits(config, layout):
    ours, official = moved(nafnet.build(config)), theirs(config)
    official.load_state_dict(ours.state_dict(), strict=True)
    ours, official = ours.to(memory_format=layout), official.to(memory_format=layout)
    image = torch.rand(2, 3, 37, 50)
    first, second = ours(image), official(image)
    assert torch.equal(first, second)
    first.square().mean().backward()
    second.square().mean().backward()
    for one, other in zip(ours.parameters(), official.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)


def test_further_channels_leave_the_sum_with_the_image_alone():
    config = CONFIGS[0]
    network = moved(nafnet.build(config, in_channels=5))
    with torch.no_grad():
        network.ending.weight.zero_()
        network.ending.bias.zero_()
        image = torch.rand(1, 5, 16, 24)
        assert torch.equal(network(image), image)
