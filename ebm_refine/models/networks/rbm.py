"""Restricted Boltzmann machines of bits and the deep belief network that a stack of them is.

Smolensky 1986, "Information processing in dynamical systems: foundations of harmony theory"; Hinton, Osindero and Teh 2006,
"A fast learning algorithm for deep belief nets". With visible bits v and hidden bits h, and softplus(a) = log(1 + exp a),

    E(v, h) = -b.v - c.h - v W h          p(h_j = 1 | v) = sigmoid(c + v W)_j      p(v_i = 1 | h) = sigmoid(b + W h)_i
    F(v)    = -log sum_h exp(-E(v, h)) = -b.v - sum_j softplus(c + v W)_j

In a belief network the top machine gives the law of its visible bits, and every machine below is read downwards only: its own
visible bits given those above. Both classes have `top`, the machine in which chains run, and `down`, which makes pixels of its
visible bits.
"""

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RBM(nn.Module):
    """Visible bits (B, visible), float32 zeros and ones -> free energies F (B,)."""

    def __init__(self, visible: int, hidden: int):
        super().__init__()
        if visible < 1 or hidden < 1:
            raise ValueError(f"a machine needs visible and hidden units; got {visible} and {hidden}")
        self.visible, self.hidden = visible, hidden
        self.weight = nn.Parameter(0.01 * torch.randn(visible, hidden))
        self.visible_bias = nn.Parameter(torch.zeros(visible))
        self.hidden_bias = nn.Parameter(torch.zeros(hidden))

    @property
    def top(self) -> "RBM":
        return self

    @property
    def pixels(self) -> int:
        return self.visible

    def forward(self, visible: Tensor) -> Tensor:
        return -(visible * self.visible_bias).sum(dim=1) - F.softplus(self.hidden_input(visible)).sum(dim=1)

    def hidden_input(self, visible: Tensor) -> Tensor:
        """c + v W (B, hidden): the logits of the hidden bits."""
        return torch.addmm(self.hidden_bias, visible, self.weight)

    def visible_input(self, hidden: Tensor) -> Tensor:
        """b + W h (B, visible): the logits of the visible bits."""
        return torch.addmm(self.visible_bias, hidden, self.weight.T)

    def hidden_mean(self, visible: Tensor) -> Tensor:
        """p(h = 1 | v) (B, hidden)."""
        return torch.sigmoid(self.hidden_input(visible))

    def visible_mean(self, hidden: Tensor) -> Tensor:
        """p(v = 1 | h) (B, visible)."""
        return torch.sigmoid(self.visible_input(hidden))

    def down(self, visible: Tensor) -> Tensor:
        """The visible bits are the pixels themselves."""
        return visible


class DBN(nn.Module):
    """Visible bits of the top machine (B, sizes[-2]) -> their free energies (B,). `sizes`: of the layers, pixels first.

    With three sizes `down` is exact: the mean of the pixels given the bits above them. With more it goes down by means, each
    layer's mean in place of its bits.
    """

    def __init__(self, sizes: Sequence[int]):
        super().__init__()
        if len(sizes) < 3:
            raise ValueError(f"a deep belief network has three layers at least; got sizes {list(sizes)}")
        self.machines = nn.ModuleList(RBM(below, above) for below, above in itertools.pairwise(sizes))

    @property
    def stack(self) -> list[RBM]:
        """The machines, that of the pixels first."""
        return [machine for machine in self.machines if isinstance(machine, RBM)]

    @property
    def top(self) -> RBM:
        return self.stack[-1]

    @property
    def pixels(self) -> int:
        return self.stack[0].visible

    def forward(self, visible: Tensor) -> Tensor:
        return self.top(visible)

    def down(self, visible: Tensor) -> Tensor:
        """Means of the pixels (B, pixels), from 0 to 1."""
        for machine in reversed(self.stack[:-1]):
            visible = machine.visible_mean(visible)
        return visible


def pixels_fit(network: nn.Module, shape: Sequence[int]) -> bool:
    """Whether the network is a machine or a stack of them whose pixels are as many as samples of `shape` have."""
    return isinstance(network, RBM | DBN) and network.pixels == math.prod(shape)
