"""The class-conditional residual networks compute what the papers say, and labels tell."""

import pytest
import torch
from torch import nn

from ebm_refine.models.fuse import prepare
from ebm_refine.models.networks.conditional_resnet import (
    ConditionalBatchNorm,
    ConditionalResNetGenerator,
    ProjectionResNetDiscriminator,
)

LABELS = torch.tensor([0, 1, 2, 1])


def small_pair() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    generator = ConditionalResNetGenerator(latent=5, widths=(16, 12, 8), channels=2, classes=3)
    discriminator = ProjectionResNetDiscriminator(widths=(8, 16), channels=2, classes=3)
    for module in generator.modules():
        if isinstance(module, ConditionalBatchNorm):
            nn.init.normal_(module.gain, 1.0, 0.5)
            nn.init.normal_(module.bias, 0.0, 0.5)
    # Statistics other than those of the beginning.
    generator(torch.randn(64, 5), torch.randint(3, (64,)))
    return generator.eval(), discriminator.eval()


@pytest.mark.parametrize("training", [True, False])
def test_of_one_class_the_conditional_norm_is_batch_norm(training):
    torch.manual_seed(1)
    ours, theirs = ConditionalBatchNorm(6, 4), nn.BatchNorm2d(6)
    nn.init.normal_(ours.gain)
    nn.init.normal_(ours.bias)
    theirs.weight.data, theirs.bias.data = ours.gain.data[2].clone(), ours.bias.data[2].clone()
    both = nn.ModuleList([ours, theirs])
    ours(torch.randn(8, 6, 3, 3) + 2, torch.full((8,), 2))
    theirs.running_mean, theirs.running_var = ours.mean.clone(), ours.variance.clone()
    both.train(training)
    maps = torch.randn(8, 6, 3, 3)
    assert torch.allclose(ours(maps, torch.full((8,), 2)), theirs(maps), atol=1e-5)
    assert torch.allclose(ours.mean, theirs.running_mean, atol=1e-6)
    assert torch.allclose(ours.variance, theirs.running_var, atol=1e-6)


def test_each_image_depends_on_its_own_label_alone():
    generator, _ = small_pair()
    latents = torch.randn(1, 5).repeat(4, 1)
    images = generator(latents, LABELS)
    assert images.shape == (4, 2, 16, 16)
    assert torch.allclose(images[1], images[3], atol=1e-6)
    assert all((images[a] - images[b]).abs().max() > 1e-2 for a, b in ((0, 1), (1, 2), (0, 2)))


def test_the_logit_is_that_of_equation_3():
    _, discriminator = small_pair()
    images = torch.randn(4, 2, 16, 16)
    seen = []
    discriminator.head.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    logits = discriminator(images, LABELS)
    phi = seen[0]
    expected = [discriminator.head(phi[i])[0] + discriminator.projection.weight[LABELS[i]] @ phi[i] for i in range(4)]
    assert torch.allclose(logits, torch.stack(expected), atol=1e-5)
    assert logits.shape == (4,)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05)])
def test_what_sampling_runs_computes_the_same(dtype, tolerance):
    generator, discriminator = small_pair()
    latents = torch.randn(4, 5)
    images = generator(latents, LABELS)
    faster = prepare(generator, dtype)(latents, LABELS)
    assert faster.dtype == torch.float32
    assert torch.allclose(faster, images, atol=tolerance)
    logits, fast_logits = discriminator(images, LABELS), prepare(discriminator, dtype)(images, LABELS)
    assert torch.allclose(fast_logits, logits, atol=tolerance * float(1 + logits.detach().abs().max()))
