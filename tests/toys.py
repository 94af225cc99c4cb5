"""Small targets with closed-form laws, for the sampler tests. Each has the calls of `ebm_refine.samplers.base.Target`."""

import math
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ebm_refine import targets
from ebm_refine.random import Draws, Stream


class QuadraticRatio(nn.Module):
    """r(x) = peak - (x - centre)' A (x - centre) / 2, A symmetric (d, d), x (B, d)."""

    def __init__(self, precision: Tensor, centre: Tensor, peak: float):
        super().__init__()
        self.precision, self.centre, self.peak = precision, centre, peak

    def forward(self, x: Tensor) -> Tensor:
        offset = x - self.centre
        # Written out instead of a matrix product: a product's bits may depend on the batch, a sum over a fixed axis may not.
        return self.peak - (offset[:, :, None] * self.precision * offset[:, None, :]).sum(dim=(1, 2)) / 2


def quadratic(precision: Tensor, centre: Tensor, peak: float = 0.0, module: ModuleType = targets, chunk: int = 20_000) -> Any:
    """D3's LatentTarget: posterior N(Lambda^-1 A b, Lambda^-1), Lambda = I + A. `module` may be a mutant."""
    target = module.LatentTarget(nn.Identity(), QuadraticRatio(precision, centre, peak), len(centre))
    target.chunk = chunk  # one pass for all chains: these toys cost nothing per image
    return target


def gaussian(precision: float, dim: int = 1, module: ModuleType = targets) -> Any:
    """N(0, 1 / precision) in every coordinate."""
    return quadratic((precision - 1.0) * torch.eye(dim), torch.zeros(dim), module=module)


# D3's example: correlated, off-centre, with one direction in which the ratio is flat.
A = torch.tensor([[2.0, 0.8, 0.0], [0.8, 1.0, 0.0], [0.0, 0.0, 0.0]])
B = torch.tensor([0.9, -0.5, 0.3])
PEAK = 0.7


def posterior() -> tuple[Tensor, Tensor]:
    """Mean (3,) and precision Lambda (3, 3) of D3's example, float64."""
    precision = torch.eye(3, dtype=torch.float64) + A.double()
    return torch.linalg.solve(precision, A.double() @ B.double()), precision


def log_evidence() -> float:
    """log E_p0[exp r] of D3's example; minus PEAK it is the log of the rate at which exact rejection accepts."""
    precision = posterior()[1]
    quadratic_form = B.double() @ A.double() @ torch.linalg.solve(precision, B.double())
    return PEAK - float(torch.logdet(precision)) / 2 - float(quadratic_form) / 2


class Discrete:
    """A finite space: position (B, 1) holds the number of a state, with prior probabilities and log ratios in tables (S,)."""

    def __init__(self, probabilities: Tensor, ratios: Tensor):
        self.probabilities, self.ratios = probabilities / probabilities.sum(), ratios
        self.shape = (1,)
        self.forwards = self.gradients = 0

    def init(self, seed: int, index: Tensor) -> Tensor:
        return self._states(Draws(seed, index, 0).uniform((), Stream.INIT))

    def prior(self, draws: Draws, block: int = 0) -> Tensor:
        return self._states(draws.uniform((), Stream.PROPOSAL, block))

    def _states(self, uniform: Tensor) -> Tensor:
        return torch.bucketize(uniform, self.probabilities.cumsum(0)[:-1]).float()[:, None]

    def prior_energy(self, position: Tensor) -> Tensor:
        return -self.probabilities[position[:, 0].long()].log()

    def log_ratio(self, position: Tensor) -> Tensor:
        self.forwards += len(position)
        return self.ratios[position[:, 0].long()]

    def energy(self, position: Tensor) -> Tensor:
        return self.prior_energy(position) - self.log_ratio(position)


class Holed:
    """`target` that gives NaN where the first coordinate exceeds `edge`, and infinities where it is below -edge."""

    def __init__(self, target: Any, edge: float):
        self.target, self.edge, self.shape = target, edge, target.shape
        self.init, self.prior, self.prior_energy = target.init, target.prior, target.prior_energy

    def _holes(self, position: Tensor, values: Tensor) -> Tensor:
        where = position[:, 0].reshape(-1, *[1] * (values.dim() - 1))
        return values.masked_fill(where > self.edge, math.nan).masked_fill(where < -self.edge, math.inf)

    def log_ratio(self, position: Tensor) -> Tensor:
        return self._holes(position, self.target.log_ratio(position))

    def energy(self, position: Tensor) -> Tensor:
        return self._holes(position, self.target.energy(position))

    def energy_and_grad(self, position: Tensor) -> tuple[Tensor, Tensor]:
        energy, grad = self.target.energy_and_grad(position)
        return self._holes(position, energy), self._holes(position, grad)


def mutant(module: ModuleType, old: str, new: str) -> ModuleType:
    """A copy of `module` whose source has `old` replaced by `new`; fails where `old` is not there exactly once."""
    source = Path(module.__file__ or "").read_text()
    times = source.count(old)
    assert times == 1, f"the mutation of {module.__name__} no longer applies: {old!r} is there {times} times"
    copy = ModuleType(f"{module.__name__}_mutant")
    copy.__dict__.update({"__file__": module.__file__, "__package__": module.__package__})
    exec(compile(source.replace(old, new), f"{module.__file__} (mutant)", "exec"), copy.__dict__)
    return copy
