"""Conditional networks of the DCGAN shape: an unconditional pair inside them, labels that matter, eval mode a fixed map."""

import pytest
import torch

from ebm_refine.models.networks.conditional_dcgan import ConditionalDCGANGenerator, ProjectionDCGANDiscriminator
from ebm_refine.models.networks.dcgan import DCGANDiscriminator, DCGANGenerator, initialise

LATENTS = torch.randn(6, 5, generator=torch.Generator().manual_seed(1))
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


def plain_generator() -> DCGANGenerator:
    torch.manual_seed(0)
    network = DCGANGenerator(5, (12, 8), 3)
    initialise(network, 0.3)
    for _ in range(3):
        network(torch.randn(32, 5))  # statistics of its own
    return network.eval()


def test_a_generator_that_begins_as_an_unconditional_one_draws_its_images_in_every_class():
    plain, conditional = plain_generator(), ConditionalDCGANGenerator(5, (12, 8), 3, classes=3).eval()
    conditional.begin_as(plain)
    for label in range(3):
        torch.testing.assert_close(conditional(LATENTS, torch.full((6,), label)), plain(LATENTS), rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        conditional.norms[1].gain[2] *= 2
    changed = (conditional(LATENTS, LABELS) - plain(LATENTS)).abs().amax(dim=(1, 2, 3))
    assert (changed > 1e-2).tolist() == [False, False, True] * 2


def test_a_discriminator_that_begins_as_an_unconditional_one_adds_its_projection():
    torch.manual_seed(0)
    plain, conditional = DCGANDiscriminator((8, 12), 3), ProjectionDCGANDiscriminator((8, 12), 3, classes=3)
    conditional.begin_as(plain)
    images = torch.rand(6, 3, 16, 16) * 2 - 1
    maps = plain.main[:-1](images.clone()).flatten(1)
    expected = plain(images) + (maps * conditional.projection.weight[LABELS]).sum(1)
    torch.testing.assert_close(conditional(images, LABELS), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("widths", [(12, 10), (12,)])
def test_other_widths_are_refused(widths):
    with pytest.raises((RuntimeError, ValueError)):
        ConditionalDCGANGenerator(5, widths, 3, classes=3).begin_as(plain_generator())
