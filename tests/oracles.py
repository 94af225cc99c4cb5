"""Closed-form oracles D1–D11 of docs/design.md, each a function that gives its z-scores by name.

`test_oracles.py` asks that a correct sampler stays within LIMIT; `test_mutations.py` runs the same functions on mutants of the
program and asks that they do not. So a function takes what it checks, a factory or a module, as an argument.
"""

import math
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import torch
import toy_targets
from torch import Tensor
from zscores import gaussian_scores, geometric_score, histogram_score, mean_score, rate_score, variance_score

from ebm_refine.energies import targets
from ebm_refine.samplers import dg_flow, hmc, langevin, rejection, smc, underdamped
from ebm_refine.samplers.base import Kernel, evaluated
from ebm_refine.samplers.loop import run
from ebm_refine.samplers.pilot import Pilot
from ebm_refine.samplers.rng import Draws

CHAINS = 10_000


def last_frame(kernel: Kernel, target: Any, n_steps: int, count: int = CHAINS, seed: int = 0) -> Any:
    """The driver's last frame of `count` chains from the target's own start."""
    index = torch.arange(count)
    frames: Iterator[Any] = run(kernel, target.init(seed, index), seed, index, n_steps)
    *_, frame = frames
    return frame


def posterior(build: Callable[[Any], Kernel], n_steps: int, temperature: float = 1.0, count: int = CHAINS) -> dict[str, float]:
    """D3: an exact sampler of the quadratic ratio has the law N(Lambda^-1 A b, T Lambda^-1)."""
    target = toy_targets.quadratic(toy_targets.A, toy_targets.B, toy_targets.PEAK)
    mean, precision = toy_targets.posterior()
    position = last_frame(build(target), target, n_steps, count).state.position
    return gaussian_scores(position, mean, temperature * precision.inverse())


WIDTHS = torch.tensor([0.25, 1.0, 4.0])


def unequal_widths(build: Callable[[Any], Kernel], n_steps: int, count: int = CHAINS) -> dict[str, float]:
    """C3's example, on which others' faults were measured: N(0, diag(0.25, 1, 4)), the chains started from it.

    A correct kernel leaves its law as it is, after any number of steps.
    """
    target = toy_targets.quadratic(torch.diag(1 / WIDTHS - 1), torch.zeros(3))
    index = torch.arange(count)
    *_, frame = run(build(target), target.init(0, index) * WIDTHS.sqrt(), 0, index, n_steps)
    return gaussian_scores(frame.state.position, torch.zeros(3), torch.diag(WIDTHS).double())


def langevin_variance(module: ModuleType = langevin, law: ModuleType = targets, temperature: float = 0.7) -> dict[str, float]:
    """D1, D2: on N(0, 1 / lambda) the stationary variance is (T / lambda) / (1 - eps * lambda / 4), not T / lambda."""
    precision, eps = 4.0, 0.2
    target = toy_targets.gaussian(precision, module=law)
    position = last_frame(module.langevin(target, eps, temperature), target, 40).state.position[:, 0]
    unbiased = temperature / precision
    return {
        "variance": variance_score(position, unbiased / (1 - eps * precision / 4)),
        "variance, were it unbiased": variance_score(position, unbiased),
    }


def langevin_posterior(module: ModuleType = langevin, law: ModuleType = targets) -> dict[str, float]:
    """D3 for unadjusted Langevin: the mean is exact, the covariance Lambda^-1 (I - eps * Lambda / 4)^-1."""
    eps = 0.3
    target = toy_targets.quadratic(toy_targets.A, toy_targets.B, toy_targets.PEAK, module=law)
    mean, precision = toy_targets.posterior()
    covariance = torch.linalg.inv(precision @ (torch.eye(3) - eps * precision / 4))
    return gaussian_scores(last_frame(module.langevin(target, eps), target, 80).state.position, mean, covariance)


def underdamped_law(module: ModuleType = underdamped, n_steps: int = 15) -> dict[str, float]:
    """D3 for underdamped Langevin: linear and Gaussian, so the law after any number of steps is known exactly."""
    eps, friction, temperature = 0.2, 1.5, 0.6
    target = toy_targets.quadratic(toy_targets.A, toy_targets.B, toy_targets.PEAK)
    centre, precision = toy_targets.posterior()
    h, c, one = math.sqrt(eps), math.exp(-friction * math.sqrt(eps)), torch.eye(3, dtype=torch.float64)
    kick = -(h / 2) * (1 + c) * precision
    step = torch.cat([torch.cat([one + h * kick, h * c * one], dim=1), torch.cat([kick, c * one], dim=1)])
    noise = math.sqrt(temperature * (1 - c * c)) * torch.cat([h * one, one])
    mean = torch.cat([-centre, torch.zeros(3)])
    covariance = torch.block_diag(one, temperature * one)
    for _ in range(n_steps):
        mean, covariance = step @ mean, step @ covariance @ step.T + noise @ noise.T
    kernel = module.underdamped(target, eps, friction, temperature)
    position = last_frame(kernel, target, n_steps).state.position
    return gaussian_scores(position, centre + mean[:3], covariance[:3, :3])


def dg_flow_law(module: ModuleType = dg_flow, n_steps: int = 6) -> dict[str, float]:
    """DG-flow with KL and the quadratic ratio is linear and Gaussian, without a prior term: known after any number of steps."""
    eps, gamma = 0.3, 0.4
    target = toy_targets.quadratic(toy_targets.A, toy_targets.B, toy_targets.PEAK)
    contraction = torch.eye(3, dtype=torch.float64) - (eps / 2) * toy_targets.A.double()
    mean, covariance = -toy_targets.B.double(), torch.eye(3, dtype=torch.float64)
    for _ in range(n_steps):
        mean = contraction @ mean
        covariance = contraction @ covariance @ contraction.T + eps * gamma * torch.eye(3)
    position = last_frame(module.dg_flow(target, eps, "KL", gamma), target, n_steps).state.position
    return gaussian_scores(position, toy_targets.B + mean, covariance)


def unadjusted_leapfrog_variance(h: float = 0.8) -> dict[str, float]:
    """D7: one leapfrog step with fresh momentum and no acceptance has variance 1 / (1 - h^2 / 4) on the unit Gaussian."""
    target, index = toy_targets.gaussian(1.0), torch.arange(CHAINS)
    state = evaluated(target, target.init(0, index))
    for step in range(1, 40):
        state, _ = hmc.trajectory(target, state, Draws(0, index, step).normal((1,)), h, 1)
    return {"variance": variance_score(state.position[:, 0], 1 / (1 - h**2 / 4))}


def rejection_posterior(module: ModuleType = rejection, law: ModuleType = targets) -> dict[str, float]:
    """D3: rejection with the true bound has the posterior's law and accepts at the closed-form rate."""
    target = toy_targets.quadratic(toy_targets.A, toy_targets.B, toy_targets.PEAK, module=law)
    kernel = module.rejection(target, toy_targets.PEAK)
    frame = last_frame(kernel, target, 400)
    summary = kernel.summary(frame.state)
    assert summary["budget_exhausted"] == 0
    mean, precision = toy_targets.posterior()
    rate = float(torch.tensor(toy_targets.log_evidence() - toy_targets.PEAK).exp())
    return {
        **gaussian_scores(frame.state.position, mean, precision.inverse()),
        "acceptance rate": geometric_score(int(summary["proposals"]), CHAINS, rate),
    }


DISCRETE = toy_targets.Discrete(
    torch.tensor([0.25, 0.2, 0.15, 0.12, 0.1, 0.08, 0.06, 0.04]), torch.tensor([-2.0, 0.3, 1.1, -0.4, 0.9, 1.6, -1.0, 0.6])
)


def rejection_discrete(module: ModuleType = rejection) -> dict[str, float]:
    """D6: over a finite space, with M the pilot's maximum, accepted samples are p_g * exp(r) normalised; the rate too."""
    target = DISCRETE
    pilot = Pilot(target, 0)
    pilot.positions = lambda count: target.init(1, torch.arange(count))  # type: ignore[method-assign]
    values = {"log_bound": None, "gamma_percentile": None, "delta": 1e-6}
    kernel = module.METHOD.build(target, values, pilot)
    frame = last_frame(kernel, target, 400)
    weights = target.probabilities * target.ratios.exp()
    rate = float((weights / target.ratios.max().exp()).sum())
    summary = kernel.summary(frame.state)
    assert summary["budget_exhausted"] == 0
    return {
        "histogram": histogram_score(_counts(frame.state.position), weights),
        "acceptance rate": geometric_score(int(summary["proposals"]), CHAINS, rate),
    }


def drs_discrete(gamma: float, module: ModuleType = rejection) -> dict[str, float]:
    """D6: with gamma != 0 the accepted samples are p_g * sigmoid(F - gamma) normalised, F written out here."""
    target, delta, log_bound = DISCRETE, 1e-3, 1.6
    frame = last_frame(module.rejection(target, log_bound, gamma, delta), target, 2000)
    assert bool(frame.state.done.all())
    excess = target.ratios.double() - log_bound
    score = excess - torch.log(1 - torch.exp(excess - delta))
    chance = 1 / (1 + torch.exp(gamma - score))
    rate = float((target.probabilities * chance).sum())
    return {
        "histogram": histogram_score(_counts(frame.state.position), target.probabilities * chance),
        "acceptance rate": geometric_score(int(frame.state.proposals.sum()), CHAINS, rate),
    }


def discrete_law(kernel: Kernel, transition: Tensor, start: Tensor, n_steps: int) -> dict[str, float]:
    """D5: over a finite space the law after n_steps is start @ transition^n_steps, long before it is stationary."""
    law = start.double() @ torch.matrix_power(transition.double(), n_steps)
    law = law.reshape(-1, len(DISCRETE.ratios)).sum(dim=0)
    return {"histogram": histogram_score(_counts(last_frame(kernel, DISCRETE, n_steps).state.position), law)}


def independence_transition() -> Tensor:
    """(S, S): independence Metropolis-Hastings, from row to column."""
    weight = DISCRETE.ratios.double().exp()
    return _with_diagonal(DISCRETE.probabilities * (weight[None, :] / weight[:, None]).clamp(max=1))


def real_start_transition(start_ratio: float) -> Tensor:
    """(2 S, 2 S): the same begun at a real image. State S + b: nothing accepted from it yet; b shows."""
    weight, start = DISCRETE.ratios.double().exp(), math.exp(start_ratio)
    size = len(weight)
    leaves = (weight / start).clamp(max=1)
    both = torch.zeros(2 * size, 2 * size, dtype=torch.float64)
    both[:size, :size] = independence_transition()
    both[size:, :size] = DISCRETE.probabilities * leaves
    both[size:, size:] = DISCRETE.probabilities * ((weight[None, :] / weight[:, None]).clamp(max=1) - leaves).clamp(min=0)
    return both + torch.diag(1 - both.sum(dim=1))


def barker_transition() -> Tensor:
    """(S, S): i-SIR with N = 2, which accepts w' / (w + w') (D10)."""
    weight = DISCRETE.ratios.double().exp()
    return _with_diagonal(DISCRETE.probabilities * (weight[None, :] / (weight[None, :] + weight[:, None])))


def _with_diagonal(moves: Tensor) -> Tensor:
    moves = moves - torch.diag(moves.diagonal())
    return moves + torch.diag(1 - moves.sum(dim=1))


def smc_evidence(module: ModuleType = smc, runs: int = 80, particles: int = 200) -> dict[str, float]:
    """D3: over independent runs E_p0[exp r] is estimated without bias, and so is it times any mean over the final particles."""
    target = toy_targets.quadratic(toy_targets.A, toy_targets.B, toy_targets.PEAK, chunk=particles)
    mean, precision = toy_targets.posterior()
    evidence, offsets, squares = torch.zeros(3, runs, dtype=torch.float64)
    for seed in range(runs):
        kernel = module.smc(target, 0.5, 3)
        state = last_frame(kernel, target, 3, particles, seed).state
        evidence[seed] = math.exp(kernel.summary(state)["log_mean_exp_ratio"] - toy_targets.log_evidence())
        deviation = state.position.double() - mean
        offsets[seed] = evidence[seed] * deviation.mean(dim=0).sum()
        squares[seed] = evidence[seed] * (deviation @ precision * deviation).sum(dim=1).mean()
    return {"E[exp r]": mean_score(evidence, 1), "mean": mean_score(offsets, 0), "covariance": mean_score(squares, 3)}


def exact_discriminator_grid(module: ModuleType = rejection, count: int = 5000) -> dict[str, float]:
    """D4: with an exact discriminator G(z) has the law of the data, here 25 Gaussians, and E[exp r] = 1."""
    width, scale = 0.1, 1.2
    target = toy_targets.exact_discriminator(width, scale)
    corner = torch.tensor([[4 / math.sqrt(8)] * 2]) / scale
    # Near a corner r is concave: its maximum there solves (x - c) / width^2 = x / scale^2, other modes being far away.
    bound = float(target.log_ratio(corner / (1 - width**2 / scale**2))) + 1e-4
    frame = last_frame(module.rejection(target, bound), target, 1000, count)
    assert bool(frame.state.done.all())
    assert int(frame.state.exceeded.sum()) == 0
    prior = target.init(1, torch.arange(count))
    return {**grid_scores(scale * frame.state.position, width), "E[exp r]": mean_score(target.log_ratio(prior).exp(), 1)}


def grid_scores(x: Tensor, width: float) -> dict[str, float]:
    """Samples (N, 2) against 25 equal Gaussians: counts of modes, radii within them, share within 4 widths (99.966 %)."""
    distance, mode = torch.cdist(x, toy_targets.GRID).min(dim=1)
    near = distance <= 4 * width
    uniform = (1 - (-(distance[near] / width).square() / 2).exp()) / (1 - math.exp(-8))
    return {
        "modes": histogram_score(torch.bincount(mode[near], minlength=25), torch.ones(25)),
        "radii": histogram_score(torch.histc(uniform, 20, 0, 1), torch.ones(20)),
        "high quality": rate_score(int(near.sum()), len(x), 1 - math.exp(-8)),
    }


UNEQUAL = toy_targets.Mixture(toy_targets.GRID, torch.arange(3.0, 28.0), 0.026, 0.05 / math.sqrt(8))


def unequal_grid(build: Callable[[Any], Kernel], n_steps: int, count: int = 3000) -> tuple[Tensor, dict[str, float]]:
    """D4: the generator has the modes at unequal weights (3 : 27) and too wide. The final samples (N, 2) and their scores."""
    position = last_frame(build(UNEQUAL), UNEQUAL, n_steps, count).state.position
    return position, grid_scores(position, UNEQUAL.data_width)


def _counts(position: Tensor) -> Tensor:
    return torch.bincount(position[:, 0].long(), minlength=len(DISCRETE.ratios))
