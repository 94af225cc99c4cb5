"""The battery that holds a method to the law that it claims (`samplers.method.Claim`): z-scores by name.

It reads the method's declaration alone, so a method is tested because it is in the registry. Every z-score is of independent
chains' last draws against closed forms, or against a plane's integral by quadrature; see `zscores.LIMIT` for false alarms:
there are some 15 scores a method, so a correct method fails on fresh seeds with probability 1e-4.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import toy_targets
from torch import Tensor
from zscores import gaussian_scores, histogram_score, mean_score

from ebm_refine.samplers.base import Kernel
from ebm_refine.samplers.loop import run
from ebm_refine.samplers.method import Claim, Method
from ebm_refine.samplers.pilot import Pilot

CHAINS, SEED = 10_000, 2
# Of methods that evaluate one position a step, and of those that evaluate several.
STEPS, LARGE_STEPS = 60, 25
# A step of this size is accepted often and rejected often in 2 or 3 dimensions, so that both are tested.
EPS, TEMPERATURE = 0.5, 0.5
EDGES = torch.linspace(-2.4, 2.4, 13, dtype=torch.float64)


def scores(method: Method, chains: int = CHAINS, **values: Any) -> dict[str, float]:
    """The whole battery for a method that claims a law, with `values` over its defaults."""
    settings = {row.name: row.default for row in method.parameters} | values
    settings |= {"eps": EPS} if "eps" in method.uses else {}
    steps = STEPS if method.cost is None or method.cost(settings).step.forwards <= 2 else LARGE_STEPS
    settings["n_steps"] = values.get("n_steps", steps)

    def end(target: Any, start: Tensor, **changed: Any) -> tuple[Tensor, dict[str, Any]]:
        """The chains' last positions, and what the method says of them."""
        kernel: Kernel = method.build(target, settings | changed, Pilot(target, SEED))
        *_, last = run(kernel, start, SEED, torch.arange(chains), steps)
        return last.state.position, dict(kernel.summary(last.state))

    if "pair" not in method.kinds:
        return _of_bits(end, chains)
    if method.law.claim is Claim.INDEPENDENT:
        return _independent(end, chains)
    found = {}
    temperatures = (1.0, TEMPERATURE) if "temperature" in method.uses else (1.0,)
    for temperature in temperatures:
        changed = {"temperature": temperature} if "temperature" in method.uses else {}
        target = toy_targets.quadratic(toy_targets.A, toy_targets.B, toy_targets.PEAK)
        mean, precision = toy_targets.posterior()
        covariance = _covariance(method, settings | changed, precision, temperature)
        position, _ = end(target, target.init(SEED, torch.arange(chains)), **changed)
        found |= _named(f"posterior, T = {temperature:g}", gaussian_scores(position, mean, covariance))
    target = toy_targets.bimodal(beta=0.0)
    flat = _covariance(method, settings, torch.eye(2, dtype=torch.float64), 1.0)
    position, _ = end(target, target.init(SEED, torch.arange(chains)))
    found |= _named("beta = 0", gaussian_scores(position, torch.zeros(2), flat))
    if method.law.claim is Claim.EXACT:
        position, _ = end(toy_targets.bimodal(), toy_targets.bimodal_draws(chains, SEED))
        found |= _named("two modes", plane_scores(position))
    return found


def plane_scores(position: Tensor, log_bound: float = math.inf) -> dict[str, float]:
    """Positions (N, 2) against p0 * min(exp r, M), r of the two Gaussians: both marginals, the modes' weights, the moments."""
    axis = torch.linspace(-6, 6, 1201, dtype=torch.float64)[:-1] + 0.005
    grid = torch.cartesian_prod(axis, axis)
    ratio = toy_targets.BimodalRatio()(grid).clamp(max=log_bound)
    weight = (ratio - grid.square().sum(dim=1) / 2).softmax(dim=0).reshape(len(axis), len(axis))
    found = {}
    for side in (0, 1):
        marginal, sample = weight.sum(dim=1 - side), position[:, side].double()
        share = torch.zeros(len(EDGES) + 1, dtype=torch.float64).index_add_(0, torch.bucketize(axis, EDGES), marginal)
        counts = torch.bincount(torch.bucketize(sample, EDGES), minlength=len(share))
        found[f"histogram {side}"] = histogram_score(counts, share)
        found[f"mean {side}"] = mean_score(sample, float((marginal * axis).sum()))
        found[f"square {side}"] = mean_score(sample.square(), float((marginal * axis.square()).sum()))
    product = float((weight * axis[:, None] * axis[None, :]).sum())
    return found | {"product": mean_score(position.double().prod(dim=1), product)}


def _independent(end: Callable[..., tuple[Tensor, dict[str, Any]]], chains: int) -> dict[str, float]:
    found = {}
    for beta in (1.0, 0.0):
        target = toy_targets.bimodal(beta)
        position, said = end(target, target.init(SEED, torch.arange(chains)))
        if beta:
            found |= _named("two modes", plane_scores(position, said["log_bound"]))
        else:
            prior = torch.eye(2, dtype=torch.float64)
            found |= _named("beta = 0", gaussian_scores(position, torch.zeros(2), prior))
    return found


def _of_bits(end: Callable[..., tuple[Tensor, dict[str, Any]]], chains: int) -> dict[str, float]:
    target = toy_targets.bits()
    target.chunk = chains
    states = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)
    law = (-target.energy(states)).double().softmax(dim=0)
    drawn = states[torch.multinomial(law, chains, replacement=True, generator=torch.Generator().manual_seed(SEED))]
    found = {}
    for name, start in (("from the law", drawn), ("from tosses", target.init(SEED, torch.arange(chains)))):
        position, _ = end(target, start)
        number = (position @ torch.tensor([4.0, 2.0, 1.0])).long()
        found[name] = histogram_score(torch.bincount(number, minlength=8), law)
    return found


def _covariance(method: Method, values: dict[str, Any], precision: Tensor, temperature: float) -> Tensor:
    """Of the claimed law on a Gaussian of this precision (d, d): T / precision, or what the method says that it is instead."""
    eigenvalues, axes = torch.linalg.eigh(precision)
    if method.law.variance is None:
        return axes @ torch.diag(temperature / eigenvalues) @ axes.T
    return axes @ torch.diag(torch.tensor([method.law.variance(values, float(one)) for one in eigenvalues]).double()) @ axes.T


def _named(title: str, found: dict[str, float]) -> dict[str, float]:
    return {f"{title}, {name}": z for name, z in found.items()}
