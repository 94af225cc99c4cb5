"""The samplers of other packages on the same energy: extras of `speed.py` and `cost_quality.py`, not of the program.

    pip install --no-deps torchebm==0.8.9 ebmkit==0.16.0

Their step sizes eta give x - eta grad E + sqrt(2 eta) n, so eta = eps / 2 is our Langevin step. They run as they are used: the
networks as stored, frozen, all chains of a batch at once.
"""

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor

PACKAGES = ("torchebm", "ebmkit")


def versions() -> dict[str, str]:
    """The installed versions by package."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


Energy = Callable[[Tensor], Tensor]
# Positions (B, d) and a number of steps -> positions (B, d).
Chain = Callable[[Tensor, int], Tensor]


def peers(energy: Energy, z: Tensor, eps: float) -> dict[str, Callable[[], object]]:
    """One step of each peer that is installed, by name; `energy` of positions like `z` is (B,)."""
    return {name: lambda chain=chain: chain(z, 1) for name, chain in chains(energy, eps, z.device).items()}


def chains(energy: Energy, eps: float, device: torch.device) -> dict[str, Chain]:
    """Each peer's Langevin sampler that is installed, and ebmkit's MALA; they draw from PyTorch's global generator."""
    installed = versions()
    found: dict[str, Chain] = {}
    if "torchebm" in installed:
        found |= _torchebm(energy, eps, device)
    if "ebmkit" in installed:
        found |= _ebmkit(energy, eps)
    return found


def _torchebm(energy: Energy, eps: float, device: torch.device) -> dict[str, Chain]:
    from torchebm.core import BaseModel
    from torchebm.samplers import LangevinDynamics

    class Model(BaseModel):
        def forward(self, x: Tensor) -> Tensor:
            return energy(x)

    sampler = LangevinDynamics(Model(device=device), step_size=eps / 2, noise_scale=1.0, device=device)
    return {"torchebm": lambda z, steps: sampler.sample(x=z, n_steps=steps)}


def _ebmkit(energy: Energy, eps: float) -> dict[str, Chain]:
    from ebm.samplers import MALA, LangevinDynamics

    def chain(sampler: Any) -> Chain:
        return lambda z, steps: sampler.sample(energy, z, steps=steps)

    return {"ebmkit": chain(LangevinDynamics(step_size=eps / 2)), "ebmkit_mala": chain(MALA(step_size=eps / 2))}
