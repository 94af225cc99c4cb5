"""Sampling algorithms, one a file. `METHODS` is the table that settings, page, API and command line read.

To add a sampler: write its file (docstring with paper and equation, PARAMETERS, a factory of a Kernel), add a row here and
a row in the contract table of `tests/test_samplers.py`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from ebm_refine.parameters import Parameter
from ebm_refine.samplers import langevin as _langevin
from ebm_refine.samplers import rejection as _rejection
from ebm_refine.samplers.base import Kernel, Target
from ebm_refine.samplers.pilot import Pilot


class Method(NamedTuple):
    """A row of the table. `build(target, values, pilot)`: `values` by parameter name, `pilot` what the population shows."""

    name: str
    title: str
    summary: str
    parameters: tuple[Parameter, ...]
    kinds: tuple[str, ...]
    build: Callable[[Target, dict[str, Any], Pilot], Kernel]

    @property
    def uses(self) -> frozenset[str]:
        """The names of the parameters that this method reads; others that are given are refused."""
        return frozenset(parameter.name for parameter in self.parameters)


def _build_langevin(target: Target, values: dict[str, Any], pilot: Pilot) -> Kernel:
    return _langevin.langevin(target, values["eps"], values["temperature"])


def _build_rejection(target: Target, values: dict[str, Any], pilot: Pilot) -> Kernel:
    log_bound, percentile, delta = values["log_bound"], values["gamma_percentile"], values["delta"]
    if log_bound is None:
        log_bound = float(pilot.ratios().max())
    if percentile is None:
        return _rejection.rejection(target, log_bound)
    gamma = _rejection.gamma_from_pilot(pilot.ratios(), log_bound, percentile, delta)
    return _rejection.rejection(target, log_bound, gamma, delta)


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            "langevin",
            "Langevin (DDLS)",
            "Noisy gradient steps on the latent energy; moves every image a little at a time.",
            _langevin.PARAMETERS,
            ("pair",),
            _build_langevin,
        ),
        Method(
            "rejection",
            "Rejection (DRS)",
            "Draws images until the discriminator is satisfied; keeps or replaces, never changes.",
            _rejection.PARAMETERS,
            ("pair",),
            _build_rejection,
        ),
    )
}
