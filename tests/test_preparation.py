"""A prepared network computes what the original does: values and gradients to rounding, for every family that is folded."""

import pytest
import torch
from torch import nn

from ebm_refine.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from ebm_refine.preparation import prepare


def with_statistics(network: nn.Module) -> nn.Module:
    """Batch norms that have seen something, so that folding has something to fold."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
            nn.init.normal_(module.weight, 1.0, 0.3)
            nn.init.normal_(module.bias, 0.0, 0.3)
    return network.eval()


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (DCGANGenerator(8, (16, 8, 8)), (8,)),
        (DCGANGenerator(8, (16, 8, 8), stem="linear"), (8,)),
        (DCGANDiscriminator((8, 8, 16), norm="batch"), (3, 32, 32)),
        (DCGANDiscriminator((8, 8, 16)), (3, 32, 32)),
    ],
)
def test_values_and_gradients_stay(network, shape):
    network = with_statistics(network)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    prepared = prepare(network)
    inputs = torch.randn(5, *shape, generator=torch.Generator().manual_seed(1))
    results = []
    for one in (network, prepared):
        x = inputs.clone().requires_grad_()
        output = one(x)
        (gradient,) = torch.autograd.grad(output.square().sum(), x)
        results.append((output.detach(), gradient))
    for original, new in zip(*results, strict=True):
        assert torch.allclose(original, new, rtol=1e-4, atol=1e-5 * float(original.abs().max()))
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in state.items())
    assert not any(parameter.requires_grad for parameter in prepared.parameters())


def test_norms_behind_convolutions_are_gone_and_others_stay():
    prepared = prepare(with_statistics(DCGANGenerator(8, (16, 8, 8))))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in prepared.modules())
    linear = prepare(with_statistics(DCGANGenerator(8, (16, 8, 8), stem="linear")))
    assert sum(isinstance(module, nn.BatchNorm2d) for module in linear.modules()) == 1
