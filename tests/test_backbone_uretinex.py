"""URetinex-Net against the official scripts, with random weights and with the official ones."""

import goldens
import numpy as np
import torch
from goldens import needs_mirror

from benchlib.backbones import uretinex


def test_names_and_outputs_are_the_official_ones():
    golden = goldens.read("uretinex")
    network = goldens.load(uretinex.build(uretinex.Config()), golden)
    x, r, light, y = goldens.tensors(golden, "x", "r", "l", "y")
    with torch.no_grad():
        found = network.unfold(x)
        torch.testing.assert_close(found[0], r, atol=1e-5, rtol=0)
        torch.testing.assert_close(found[1], light, atol=1e-5, rtol=0)
        torch.testing.assert_close(network(x), y, atol=2e-5, rtol=0)


def test_the_ratio_of_the_reference_is_that_of_the_official_evaluation():
    golden = goldens.read("uretinex")
    network = goldens.load(uretinex.build(uretinex.Config()), golden)
    r, light, of_reference = goldens.tensors(golden, "r", "l", "high_l")
    ratio = uretinex.reference_ratio(light, of_reference)
    np.testing.assert_allclose(ratio.numpy(), [golden["ratio"]], rtol=1e-5)
    with torch.no_grad():
        restored = network.brighten(r, light, ratio)
    expected = torch.from_numpy(golden["y_reference"])
    torch.testing.assert_close(restored, expected, atol=1e-5, rtol=0)


def test_each_image_has_a_ratio_of_its_own():
    light = torch.tensor([0.1, 0.2]).view(2, 1, 1, 1).expand(-1, -1, 4, 4)
    ratio = uretinex.reference_ratio(light, torch.full((2, 1, 4, 4), 0.5))
    torch.testing.assert_close(ratio, torch.tensor([5.0, 2.5]), atol=0.01, rtol=0)
    network = uretinex.build(uretinex.Config())
    both = network.brighten(torch.ones(2, 3, 4, 4), light, ratio)
    second = network.brighten(torch.ones(1, 3, 4, 4), light[1:], float(ratio[1]))
    torch.testing.assert_close(both[1:], second, atol=1e-6, rtol=0)


def test_the_ratio_is_a_setting():
    torch.manual_seed(0)
    one = uretinex.build(uretinex.Config(ratio=3))
    other = uretinex.build(uretinex.Config(ratio=5))
    other.load_state_dict(one.state_dict())
    image = torch.rand(1, 3, 9, 8)
    assert not torch.equal(one(image), other(image))


@needs_mirror
def test_official_weights_give_the_official_images():
    network, reference = uretinex.build(uretinex.Config()), uretinex.ReferenceLight()
    repository = "AndersonYong/URetinex-Net"
    network.load_state_dict(goldens.official(repository, "ckpt/L_adjust.pth"), strict=True)
    reference.load_state_dict(goldens.official(repository, "ckpt/init_high.pth"), strict=True)
    golden, image = goldens.read("lowlight_real"), goldens.dark_photograph()
    plain, by_reference = goldens.tensors(golden, "uretinex/5", "uretinex/reference")
    with torch.no_grad():
        torch.testing.assert_close(network(image)[0], plain, atol=1e-5, rtol=0)
        r, light = network.unfold(image)
        ratio = uretinex.reference_ratio(light, reference(goldens.dark_photograph("high")))
        restored = network.brighten(r, light, ratio)[0]
    torch.testing.assert_close(restored, by_reference, atol=1e-5, rtol=0)
