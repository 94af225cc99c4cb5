"""A classifier that begins in the weights of a deep belief network, trained on labels (Hinton and Salakhutdinov 2006).

The hidden layers are the means that the network's machines give going upwards; a linear layer on top gives the classes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ebm_refine.models.networks.rbm import DBN
from ebm_refine.training.common.resumable import epoch_order

BATCH = 100
CLASSES = 10


def classifier_of(network: DBN, seed: int, pretrained: bool) -> nn.Sequential:
    """Pixels (B, P) from 0 to 1 -> logits (B, 10), in layers of the sizes of `network`.

    Its hidden weights are the machines' own, or, not `pretrained`, those of Glorot and Bengio 2010 for sigmoids; the last
    layer begins alike in both.
    """
    torch.manual_seed(seed)
    last = nn.Linear(network.top.hidden, CLASSES)
    layers: list[nn.Module] = []
    for machine in network.stack:
        layer = nn.Linear(machine.visible, machine.hidden)
        with torch.no_grad():
            if pretrained:
                layer.weight.copy_(machine.weight.T)
                layer.bias.copy_(machine.hidden_bias)
            else:
                nn.init.xavier_uniform_(layer.weight, gain=4.0)
                layer.bias.zero_()
        layers += [layer, nn.Sigmoid()]
    return nn.Sequential(*layers, last)


def fine_tune(classifier: nn.Module, pixels: Tensor, labels: Tensor, rate: float, steps: int, seed: int) -> None:
    """Train all layers in place for `steps` batches of up to 100 by Adam, whose `rate` falls to 0 along a line.

    pixels (N, P) uint8, labels (N,) int64.
    """
    adam = torch.optim.Adam(classifier.parameters(), lr=rate)
    width = min(BATCH, len(pixels))
    per_epoch = len(pixels) // width
    for step in range(steps):
        adam.param_groups[0]["lr"] = rate * (1 - step / steps)
        epoch, turn = divmod(step, per_epoch)
        chosen = epoch_order(len(pixels), seed, epoch)[turn * width : (turn + 1) * width]
        loss = F.cross_entropy(classifier(pixels[chosen].float() / 255), labels[chosen])
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()


@torch.no_grad()
def error_rate(classifier: nn.Module, pixels: Tensor, labels: Tensor) -> float:
    """The share of pixels (N, P) uint8 whose most probable class is not their label."""
    wrong = sum(
        int((classifier(part.float() / 255).argmax(1) != truth).sum())
        for part, truth in zip(pixels.split(1000), labels.split(1000), strict=True)
    )
    return wrong / len(pixels)
