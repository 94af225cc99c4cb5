"""Closed-form oracles D1–D11 of the design's sampler notes, each a function that gives its z-scores by name.

`test_oracles.py` asks that a correct sampler stays within LIMIT; `test_mutations.py` runs the same functions on mutants of the
program and asks that they do not. So a function takes what it checks, a factory or a module, as an argument.
"""

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import torch
import toys
from torch import Tensor
from zscores import gaussian_scores, geometric_score, histogram_score, variance_score

from ebm_refine import samplers, targets
from ebm_refine.samplers import langevin, rejection
from ebm_refine.samplers.base import Kernel
from ebm_refine.samplers.driver import run
from ebm_refine.samplers.pilot import Pilot

CHAINS = 20_000


def last_frame(kernel: Kernel, target: Any, n_steps: int, count: int = CHAINS, seed: int = 0) -> Any:
    """The driver's last frame of `count` chains from the target's own start."""
    index = torch.arange(count)
    frames: Iterator[Any] = run(kernel, target.init(seed, index), seed, index, n_steps)
    *_, frame = frames
    return frame


def posterior(build: Callable[[Any], Kernel], n_steps: int, count: int = CHAINS, seed: int = 0) -> dict[str, float]:
    """D3: an exact sampler of the quadratic ratio has the law N(Lambda^-1 A b, Lambda^-1)."""
    target = toys.quadratic(toys.A, toys.B, toys.PEAK)
    mean, precision = toys.posterior()
    return gaussian_scores(last_frame(build(target), target, n_steps, count, seed).state.position, mean, precision.inverse())


def langevin_variance(module: ModuleType = langevin, law: ModuleType = targets, temperature: float = 0.7) -> dict[str, float]:
    """D1, D2: on N(0, 1 / lambda) the stationary variance is (T / lambda) / (1 - eps * lambda / 4), not T / lambda."""
    precision, eps = 4.0, 0.2
    target = toys.gaussian(precision, module=law)
    position = last_frame(module.langevin(target, eps, temperature), target, 40).state.position[:, 0]
    unbiased = temperature / precision
    return {
        "variance": variance_score(position, unbiased / (1 - eps * precision / 4)),
        "variance, were it unbiased": variance_score(position, unbiased),
    }


def langevin_posterior(module: ModuleType = langevin, law: ModuleType = targets) -> dict[str, float]:
    """D3 for unadjusted Langevin: the mean is exact, the covariance Lambda^-1 (I - eps * Lambda / 4)^-1."""
    eps = 0.3
    target = toys.quadratic(toys.A, toys.B, toys.PEAK, module=law)
    mean, precision = toys.posterior()
    covariance = torch.linalg.inv(precision @ (torch.eye(3) - eps * precision / 4))
    return gaussian_scores(last_frame(module.langevin(target, eps), target, 80).state.position, mean, covariance)


def rejection_posterior(module: ModuleType = rejection, law: ModuleType = targets) -> dict[str, float]:
    """D3: rejection with the true bound has the posterior's law and accepts at the closed-form rate."""
    target = toys.quadratic(toys.A, toys.B, toys.PEAK, module=law)
    kernel = module.rejection(target, toys.PEAK)
    frame = last_frame(kernel, target, 400)
    summary = kernel.summary(frame.state)
    assert summary["budget_exhausted"] == 0
    mean, precision = toys.posterior()
    rate = float(torch.tensor(toys.log_evidence() - toys.PEAK).exp())
    return {
        **gaussian_scores(frame.state.position, mean, precision.inverse()),
        "acceptance rate": geometric_score(int(summary["proposals"]), CHAINS, rate),
    }


DISCRETE = toys.Discrete(
    torch.tensor([0.25, 0.2, 0.15, 0.12, 0.1, 0.08, 0.06, 0.04]), torch.tensor([-2.0, 0.3, 1.1, -0.4, 0.9, 1.6, -1.0, 0.6])
)


def rejection_discrete(table: ModuleType = samplers, module: ModuleType = rejection) -> dict[str, float]:
    """D6: over a finite space, with M the pilot's maximum, the kept samples are p_g * exp(r) normalised; the rate likewise."""
    target = DISCRETE
    pilot = Pilot(target, 0)
    pilot.positions = lambda count: target.init(1, torch.arange(count))  # type: ignore[method-assign]
    values = {"log_bound": None, "gamma_percentile": None, "delta": 1e-6}
    kernel = table.METHODS["rejection"].build(target, values, pilot)
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
    """D6: with gamma != 0 the kept samples are p_g * sigmoid(F - gamma) normalised, F of eq. 8 written out here."""
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


def _counts(position: Tensor) -> Tensor:
    return torch.bincount(position[:, 0].long(), minlength=len(DISCRETE.ratios))
