"""Small targets with closed-form laws, for the sampler tests. Each has the calls of `ebm_refine.samplers.base.Target`."""

import math
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ebm_refine.energies import targets
from ebm_refine.models.networks.rbm import RBM
from ebm_refine.samplers.rng import Draws, Stream


class QuadraticRatio(nn.Module):
    """r(x) = peak - (x - centre)' A (x - centre) / 2, A symmetric (d, d), x (B, d)."""

    def __init__(self, precision: Tensor, centre: Tensor, peak: float):
        super().__init__()
        self.precision, self.centre, self.peak = precision, centre, peak

    def forward(self, x: Tensor) -> Tensor:
        offset = x - self.centre
        # Written out instead of a matrix product: a product's bits may depend on the batch, a sum over a fixed axis may not.
        return self.peak - (offset[:, :, None] * self.precision * offset[:, None, :]).sum(dim=(1, 2)) / 2


def quadratic(precision: Tensor, centre: Tensor, peak: float = 0.0, module: ModuleType = targets, chunk: int = 10_000) -> Any:
    """D3's LatentTarget: posterior N(Lambda^-1 A b, Lambda^-1), Lambda = I + A. `module` may be a mutant."""
    target = module.LatentTarget(nn.Identity(), QuadraticRatio(precision, centre, peak), len(centre))
    target.chunk = chunk  # one pass for all chains: these toys cost nothing per image
    return target


def bits(device: str = "cpu") -> targets.BinaryTarget:
    """Three visible and four hidden bits of a Boltzmann machine with sizeable weights."""
    source = torch.Generator().manual_seed(0)
    machine = RBM(3, 4).requires_grad_(False)
    for parameter in machine.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=source))
    return targets.BinaryTarget(machine, (3,), device)


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


class BimodalRatio(nn.Module):
    """log of the density of two Gaussians of unequal weight in the plane over that of the standard normal."""

    WEIGHTS, CENTRES, WIDTH = torch.tensor([0.7, 0.3]), torch.tensor([[-1.2, 0.4], [1.2, -0.6]]), 0.5

    def forward(self, x: Tensor) -> Tensor:
        squares = (x[:, None] - self.CENTRES).square().sum(dim=2)
        data = (self.WEIGHTS.log() - squares / (2 * self.WIDTH**2)).logsumexp(dim=1) - 2 * math.log(self.WIDTH)
        return data + x.square().sum(dim=1) / 2


def bimodal(beta: float = 1.0) -> Any:
    """A pair with a standard normal prior in the plane whose law at beta = 1 is that of BimodalRatio's two Gaussians."""
    target = targets.LatentTarget(nn.Identity(), BimodalRatio(), 2, beta)
    target.chunk = 10_000
    return target


def bimodal_draws(count: int, seed: int = 0) -> Tensor:
    """Exact draws (count, 2) of the two Gaussians."""
    source, ratio = torch.Generator().manual_seed(seed), BimodalRatio
    which = (torch.rand(count, generator=source) >= ratio.WEIGHTS[0]).long()
    return ratio.CENTRES[which] + ratio.WIDTH * torch.randn(count, 2, generator=source)


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


class Mixture:
    """A prior that is a mixture of Gaussians in the plane, and a ratio that leads from it to another: D4.

    The centres (K, 2) are common; `weights` (K,) and `width` are the generator's. The data have equal weights and `data_width`.
    """

    def __init__(self, centres: Tensor, weights: Tensor, width: float, data_width: float):
        self.centres, self.weights, self.width, self.data_width = centres, weights / weights.sum(), width, data_width
        self.shape = (2,)
        self.forwards = self.gradients = 0

    def init(self, seed: int, index: Tensor) -> Tensor:
        return self._sample(Draws(seed, index, 0), Stream.INIT, 0)

    def prior(self, draws: Draws, block: int = 0) -> Tensor:
        return self._sample(draws, Stream.PROPOSAL, block)

    def _sample(self, draws: Draws, stream: Stream, block: int) -> Tensor:
        which = torch.bucketize(draws.uniform((), stream, 2 * block), self.weights.cumsum(0)[:-1])
        return self.centres[which] + self.width * draws.normal((2,), stream, 2 * block + 1)

    def _log_density(self, position: Tensor, log_weights: Tensor, width: float) -> Tensor:
        squares = (position[:, None] - self.centres).square().sum(dim=2)
        return (log_weights - squares / (2 * width**2)).logsumexp(dim=1) - 2 * math.log(width)

    def prior_energy(self, position: Tensor) -> Tensor:
        return -self._log_density(position, self.weights.log(), self.width)

    def energy(self, position: Tensor) -> Tensor:
        self.forwards += len(position)
        equal = torch.full((len(self.centres),), -math.log(len(self.centres)))
        return -self._log_density(position, equal, self.data_width)

    def log_ratio(self, position: Tensor) -> Tensor:
        return self.prior_energy(position) - self.energy(position)

    def energy_and_grad(self, position: Tensor) -> tuple[Tensor, Tensor]:
        self.gradients += len(position)
        with torch.enable_grad():
            position = position.detach().requires_grad_()
            energy = self.energy(position)
            (grad,) = torch.autograd.grad(energy.sum(), position)
        return energy.detach(), grad


GRID = torch.cartesian_prod(*[torch.linspace(-4, 4, 5) / math.sqrt(8)] * 2)  # the 25 Gaussians, scaled by 1 / 2.828


class GridRatio(nn.Module):
    """log p_data - log p_gen for data of 25 Gaussians of `width` and a generator of the law N(0, scale^2 I)."""

    def __init__(self, width: float, scale: float):
        super().__init__()
        self.width, self.scale = width, scale

    def forward(self, x: Tensor) -> Tensor:
        squares = (x[:, None] - GRID).square().sum(dim=2)
        data = (-squares / (2 * self.width**2)).logsumexp(dim=1) - math.log(25 * self.width**2)
        return data + x.square().sum(dim=1) / (2 * self.scale**2) + 2 * math.log(self.scale)


class Scaled(nn.Module):
    """The generator G(z) = scale * z."""

    def __init__(self, scale: float):
        super().__init__()
        self.scale = scale

    def forward(self, z: Tensor) -> Tensor:
        return self.scale * z


def exact_discriminator(width: float, scale: float) -> Any:
    """D4: a pair whose ratio is exactly right, so that G(z) under the target has the law of the 25 Gaussians."""
    target = targets.LatentTarget(Scaled(scale), GridRatio(width, scale), 2)
    target.chunk = 1000
    return target


class Holed:
    """`target` that gives NaN where the first coordinate exceeds `edge`, and infinities where it is below -edge."""

    def __init__(self, target: Any, edge: float):
        self.target, self.edge, self.shape = target, edge, target.shape

    def __getattr__(self, name: str) -> Any:
        """Whatever has no holes: starts, priors, means."""
        return getattr(self.target, name)

    def _holes(self, position: Tensor, values: Tensor) -> Tensor:
        where = position[:, 0].reshape(-1, *[1] * (values.dim() - 1))
        return values.masked_fill(where > self.edge, math.nan).masked_fill(where < -self.edge, math.inf)

    def log_ratio(self, position: Tensor) -> Tensor:
        return self._holes(position, self.target.log_ratio(position))

    def energy(self, position: Tensor) -> Tensor:
        return self._holes(position, self.target.energy(position))

    def upward(self, position: Tensor) -> tuple[Tensor, Tensor]:
        energy, mean = self.target.upward(position)
        return self._holes(position, energy), self._holes(position, mean)

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
