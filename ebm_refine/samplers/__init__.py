"""Sampling algorithms, one a file. `METHODS` is the table that settings, page, API and command line read.

To add a sampler: write its file (docstring with paper and equation, PARAMETERS, a factory of a Kernel), add a row here and
a row in the contract table of `tests/samplers/test_samplers.py`.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ebm_refine.parameters import Parameter
from ebm_refine.samplers import dg_flow as _dg_flow
from ebm_refine.samplers import dot as _dot
from ebm_refine.samplers import ex2mcmc as _ex2mcmc
from ebm_refine.samplers import flex2mcmc as _flex2mcmc
from ebm_refine.samplers import flow as _flow
from ebm_refine.samplers import gibbs as _gibbs
from ebm_refine.samplers import hmc as _hmc
from ebm_refine.samplers import i_sir as _i_sir
from ebm_refine.samplers import langevin as _langevin
from ebm_refine.samplers import mala as _mala
from ebm_refine.samplers import mh_gan as _mh_gan
from ebm_refine.samplers import rejection as _rejection
from ebm_refine.samplers import short_run as _short_run
from ebm_refine.samplers import smc as _smc
from ebm_refine.samplers import tempering as _tempering
from ebm_refine.samplers import underdamped as _underdamped
from ebm_refine.samplers.base import Energy, Kernel, Target
from ebm_refine.samplers.pilot import Pilot


class Method(NamedTuple):
    """A row of the table. `build(target, values, pilot)`: `values` by parameter name, `pilot` what the population shows.

    `laws` are those that it samples (`ebm_refine.models.kinds`): methods that need a prior or a log ratio sample pairs alone.
    `published` are the values that the method's paper or its code used, as far as it used any. `stationary`: its steps come to
    rest in a law, so that convergence diagnostics mean something.
    """

    name: str
    title: str
    summary: str
    parameters: tuple[Parameter, ...]
    laws: tuple[str, ...]
    build: Callable[[Any, dict[str, Any], Pilot], Kernel]
    published: Mapping[str, Any]
    stationary: bool

    @property
    def uses(self) -> frozenset[str]:
        """The names of the parameters that this method reads; others that are given are refused."""
        return frozenset(parameter.name for parameter in self.parameters)


def _build_langevin(target: Energy, values: dict[str, Any], pilot: Pilot) -> Kernel:
    return _langevin.langevin(target, values["eps"], values["temperature"])


def _build_rejection(target: Target, values: dict[str, Any], pilot: Pilot) -> Kernel:
    log_bound, percentile, delta = values["log_bound"], values["gamma_percentile"], values["delta"]
    if log_bound is None:
        log_bound = float(pilot.ratios().max())
    if percentile is None:
        return _rejection.rejection(target, log_bound)
    gamma = _rejection.gamma_from_pilot(pilot.ratios(), log_bound, percentile, delta)
    return _rejection.rejection(target, log_bound, gamma, delta)


def _build_mala(target: Energy, values: dict[str, Any], pilot: Pilot) -> Kernel:
    eps = _mala_eps(target, values, pilot, _mala.ACCEPTANCE)
    return _mala.mala(target, eps, values["temperature"])


def _build_hmc(target: Energy, values: dict[str, Any], pilot: Pilot) -> Kernel:
    def kernel(eps: float) -> Kernel:
        return _hmc.hmc(target, eps, values["leapfrog"], values["temperature"])

    eps = values["eps"]
    return kernel(pilot.tuned_eps(kernel, _hmc.ACCEPTANCE, values["leapfrog"]) if eps is None else eps)


def _build_underdamped(target: Energy, values: dict[str, Any], pilot: Pilot) -> Kernel:
    return _underdamped.underdamped(target, values["eps"], values["friction"], values["temperature"])


def _build_short_run(target: Energy, values: dict[str, Any], pilot: Pilot) -> Kernel:
    return _short_run.short_run(target, values["eps"], values["temperature"], values["clip"])


def _build_mh_gan(target: Target, values: dict[str, Any], pilot: Pilot) -> Kernel:
    start = values["start_ratio"]
    return _mh_gan.mh_gan(target, pilot.real_ratios if start is None else start)


def _build_i_sir(target: Target, values: dict[str, Any], pilot: Pilot) -> Kernel:
    return _i_sir.i_sir(target, values["particles"])


def _build_ex2mcmc(target: Target, values: dict[str, Any], pilot: Pilot) -> Kernel:
    eps = _mala_eps(target, values, pilot, _ex2mcmc.ACCEPTANCE)
    return _ex2mcmc.ex2mcmc(target, eps, values["particles"], values["local_moves"])


def _build_flex2mcmc(target: Target, values: dict[str, Any], pilot: Pilot) -> Kernel:
    eps = _mala_eps(target, values, pilot, _ex2mcmc.ACCEPTANCE)
    return _flex2mcmc.flex2mcmc(target, eps, _flow.learn(target, pilot), values["particles"], values["local_moves"])


def _build_tempering(target: Target, values: dict[str, Any], pilot: Pilot) -> Kernel:
    rungs = values["rungs"]
    ladder = [1 - rung / (rungs - 1) for rung in range(rungs)]
    return _tempering.tempering(target, _mala_eps(target, values, pilot, _mala.ACCEPTANCE), ladder)


def _build_smc(target: Target, values: dict[str, Any], pilot: Pilot) -> Kernel:
    return _smc.smc(target, _mala_eps(target, values, pilot, _mala.ACCEPTANCE), values["n_steps"])


def _build_dot(target: Target, values: dict[str, Any], pilot: Pilot) -> Kernel:
    return _dot.dot(target, values["eps"], pilot.slope(), values["constraint"], values["delta"])


def _build_dg_flow(target: Target, values: dict[str, Any], pilot: Pilot) -> Kernel:
    return _dg_flow.dg_flow(target, values["eps"], values["divergence"], values["gamma"])


def _build_gibbs(target: _gibbs.Machine, values: dict[str, Any], pilot: Pilot) -> Kernel:
    return _gibbs.gibbs(target)


def _mala_eps(target: Energy, values: dict[str, Any], pilot: Pilot, acceptance: float) -> float:
    """The given step, or the one at which MALA accepts a share `acceptance` of its proposals in the pilot."""
    if values["eps"] is not None:
        return values["eps"]
    return pilot.tuned_eps(lambda eps: _mala.mala(target, eps, values.get("temperature", 1.0)), acceptance)


# The gradient of an energy is all that these need; all others need a prior to draw from, or a ratio to weigh by.
GRADIENT_LAWS = ("pair", "energy", "joint")


def _row(name: str, title: str, summary: str, module: Any, build: Callable[..., Kernel], laws: tuple[str, ...] = ("pair",),
         stationary: bool = True) -> Method:  # fmt: skip
    return Method(name, title, summary, module.PARAMETERS, laws, build, module.PUBLISHED, stationary)


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        _row(
            "langevin",
            "Langevin (DDLS)",
            "Noisy gradient steps on the latent energy; moves every image a little at a time.",
            _langevin,
            _build_langevin,
            GRADIENT_LAWS,
        ),
        _row(
            "short-run",
            "Short run (the recipe's own)",
            "A few large clipped steps down the energy with hardly any noise, as when it was trained; far colder than exp(-E).",
            _short_run,
            _build_short_run,
            ("energy", "joint"),
            stationary=False,
        ),
        _row(
            "rejection",
            "Rejection (DRS)",
            "Draws images until the discriminator is satisfied; keeps or replaces, never changes.",
            _rejection,
            _build_rejection,
            stationary=False,
        ),
        _row(
            "mala",
            "Adjusted Langevin (MALA)",
            "Langevin steps, each accepted or rejected so that no step size biases the result.",
            _mala,
            _build_mala,
            GRADIENT_LAWS,
        ),
        _row(
            "hmc",
            "Hamiltonian Monte Carlo",
            "Several gradient steps with momentum, accepted together; goes further than Langevin for each decision.",
            _hmc,
            _build_hmc,
            GRADIENT_LAWS,
        ),
        _row(
            "underdamped",
            "Underdamped Langevin",
            "Langevin with a velocity and friction, so that a chain keeps its direction for a while.",
            _underdamped,
            _build_underdamped,
            GRADIENT_LAWS,
        ),
        _row(
            "mh-gan",
            "Metropolis-Hastings GAN",
            "Offers each image one fresh sample after another; a better one is taken, a worse one sometimes.",
            _mh_gan,
            _build_mh_gan,
        ),
        _row(
            "i-sir",
            "Iterated resampling (i-SIR)",
            "At every step chooses by weight among the current image and several fresh ones.",
            _i_sir,
            _build_i_sir,
        ),
        _row(
            "ex2mcmc",
            "Explore-exploit (Ex2MCMC)",
            "Resamples among fresh images to find modes, then refines by adjusted Langevin within them.",
            _ex2mcmc,
            _build_ex2mcmc,
        ),
        _row(
            "flex2mcmc",
            "Flow explore-exploit (FlEx2MCMC)",
            "Ex2MCMC with a learned flow that proposes where the discriminator is satisfied.",
            _flex2mcmc,
            _build_flex2mcmc,
        ),
        _row(
            "tempering",
            "Parallel tempering",
            "A ladder of chains from the generator to the refined law that swap their images.",
            _tempering,
            _build_tempering,
        ),
        _row(
            "smc",
            "Sequential Monte Carlo",
            "Carries all images together to the refined law, copying good ones over bad; also estimates log E[exp r].",
            _smc,
            _build_smc,
            stationary=False,
        ),
        _row(
            "dot",
            "Optimal transport (DOT)",
            "Descends to a better score while staying near the start; keeps each image's identity, samples no law.",
            _dot,
            _build_dot,
            stationary=False,
        ),
        _row(
            "dg-flow",
            "Gradient flow (DG-flow)",
            "A few gradient steps of the log ratio with little noise and no pull towards the prior.",
            _dg_flow,
            _build_dg_flow,
            stationary=False,
        ),
        _row(
            "gibbs",
            "Block Gibbs",
            "Tosses all hidden bits given the visible ones, then all visible ones given the hidden.",
            _gibbs,
            _build_gibbs,
            ("rbm", "dbn"),
        ),
    )
}
