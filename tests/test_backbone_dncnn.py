"""DnCNN against an independent copy of the official network: spandrel's."""

import goldens
import pytest
import torch
from goldens import needs_mirror

from benchlib.backbones import dncnn


@pytest.mark.parametrize("norm", [False, True])
def test_one_state_dict_gives_the_same_image(norm):
    from spandrel.architectures.DnCNN import DnCNN

    torch.manual_seed(0)
    mode = "BR" if norm else "R"
    official = DnCNN(in_nc=3, out_nc=3, nc=8, nb=5, act_mode=mode, mode="DnCNN").eval()
    ours = dncnn.build(dncnn.Config(channels=3, width=8, depth=5, norm=norm)).eval()
    ours.load_state_dict(official.state_dict(), strict=True)
    image = torch.rand(2, 3, 17, 23)
    with torch.no_grad():
        torch.testing.assert_close(ours(image), official(image), atol=1e-6, rtol=0)


def test_a_grey_network_restores_each_colour_by_itself():
    from spandrel.architectures.DnCNN import DnCNN

    torch.manual_seed(0)
    official = DnCNN(in_nc=1, out_nc=1, nc=8, nb=5, act_mode="R", mode="DnCNN").eval()
    ours = dncnn.build(dncnn.Config(width=8, depth=5)).eval()
    ours.load_state_dict(official.state_dict(), strict=True)
    image = torch.rand(2, 3, 17, 23)
    with torch.no_grad():
        restored = ours(image)
        for colour in range(3):
            expected = official(image[:, colour : colour + 1])
            torch.testing.assert_close(restored[:, colour : colour + 1], expected)


@needs_mirror
def test_official_weights_load_strictly():
    weights = goldens.official("cszn/KAIR", "model_zoo/dncnn_25.pth")
    dncnn.build(dncnn.Config()).load_state_dict(weights, strict=True)
    assert len(weights) == 2 * 17
