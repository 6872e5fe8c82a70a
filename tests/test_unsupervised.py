"""Losses without references, against what the official code gives: values and gradients."""

import goldens
import numpy as np
import pytest
import torch

from benchlib.methods import _unsupervised as losses

GOLDEN = goldens.read("unsupervised")


@pytest.fixture
def draw():
    """A function: the next numbers of the stream that the golden's inputs come from."""
    random = np.random.RandomState(31)

    def draw(*shape: int, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
        drawn = torch.from_numpy(random.uniform(low, high, shape).astype(np.float32))
        return drawn.requires_grad_()

    return draw


def assert_same(got: torch.Tensor, name: str) -> None:
    torch.testing.assert_close(got, torch.from_numpy(GOLDEN[name]), rtol=1e-4, atol=1e-7)


def test_zero_dce(draw):
    image = draw(2, 3, 32, 48) * 0.4
    enhanced, curves = draw(2, 3, 32, 48), draw(2, 24, 32, 48, low=-0.2, high=0.2)
    terms = losses.zerodce_terms(image, enhanced, curves)
    assert list(terms) == ["tv", "spa", "color", "exposure"]
    assert_same(torch.stack(list(terms.values())), "zd_terms")
    loss = losses.zerodce_loss(image, enhanced, curves)
    assert loss.item() == pytest.approx(GOLDEN["zd_terms"].sum(), rel=1e-5)
    loss.backward()
    assert_same(enhanced.grad[0, :, ::4, ::4], "zd_grad_enhanced")
    assert_same(curves.grad[0, ::6, ::4, ::4], "zd_grad_curves")


def test_sci_and_ruas(draw):
    draw(2, 3, 32, 48), draw(2, 3, 32, 48), draw(2, 24, 32, 48)  # Zero-DCE's
    for name, loss in (("sci", losses.sci_loss), ("ruas", losses.ruas_loss)):
        image, illumination = draw(1, 3, 13, 18), draw(1, 3, 13, 18)
        value = loss(image, illumination)
        assert_same(value, f"{name}_loss")
        value.backward()
        assert_same(illumination.grad, f"{name}_grad")
    denoised, brighter = draw(1, 3, 13, 18), draw(1, 3, 13, 18)
    value = losses.ruas_denoise_loss(denoised, brighter)
    assert_same(value, "ruas_denoise_loss")
    value.backward()
    assert_same(denoised.grad, "ruas_denoise_grad")


def test_a_batch_costs_what_its_images_cost_on_average():
    torch.manual_seed(0)
    images, others = torch.rand(2, 3, 16, 20), torch.rand(2, 3, 16, 20)
    curves = torch.rand(2, 24, 16, 20)
    for loss in (losses.sci_loss, losses.ruas_denoise_loss):
        alone = [loss(images[i : i + 1], others[i : i + 1]) for i in range(2)]
        torch.testing.assert_close(loss(images, others), torch.stack(alone).mean())
    alone = []
    for i in range(2):
        part = slice(i, i + 1)
        alone.append(losses.zerodce_loss(images[part], others[part], curves[part]))
    whole = losses.zerodce_loss(images, others, curves)
    torch.testing.assert_close(whole, torch.stack(alone).mean())


def test_the_relativistic_losses_by_hand():
    real, fake = torch.tensor([0.5, 1.5]), torch.tensor([0.0, 1.0])
    # real - mean(fake): 0, 1; fake - mean(real): -1, 0
    assert float(losses.ragan_generator_loss(real, fake)) == pytest.approx((0.5 + 2.5) / 2)
    assert float(losses.ragan_discriminator_loss(real, fake)) == pytest.approx((0.5 + 0.5) / 2)
    assert float(losses.lsgan_loss(real, real=True)) == pytest.approx(0.25)
    assert float(losses.lsgan_loss(fake, real=False)) == pytest.approx(0.5)
