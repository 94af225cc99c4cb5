"""The samplers of other packages on the same energy, for `speed.py`: extras of the benchmark, not of the program.

    pip install --no-deps torchebm==0.8.9 ebmkit==0.16.0

Their step sizes eta give x - eta grad E + sqrt(2 eta) n, so eta = eps / 2 is our Langevin step. They run as they are used: the
networks as stored, frozen, all chains in one batch.
"""

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

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


def peers(energy: Callable[[Tensor], Tensor], z: Tensor, eps: float) -> dict[str, Callable[[], object]]:
    """One step of each peer that is installed, by name; `energy` of positions like `z` is (B,)."""
    installed = versions()
    steps: dict[str, Callable[[], object]] = {}
    if "torchebm" in installed:
        steps |= _torchebm(energy, z, eps)
    if "ebmkit" in installed:
        steps |= _ebmkit(energy, z, eps)
    return steps


def _torchebm(energy: Callable[[Tensor], Tensor], z: Tensor, eps: float) -> dict[str, Callable[[], object]]:
    from torchebm.core import BaseModel
    from torchebm.samplers import LangevinDynamics

    class Energy(BaseModel):
        def forward(self, x: Tensor) -> Tensor:
            return energy(x)

    sampler = LangevinDynamics(Energy(device=z.device), step_size=eps / 2, noise_scale=1.0, device=z.device)
    return {"torchebm": lambda: sampler.sample(x=z, n_steps=1)}


def _ebmkit(energy: Callable[[Tensor], Tensor], z: Tensor, eps: float) -> dict[str, Callable[[], object]]:
    from ebm.samplers import MALA, LangevinDynamics

    samplers = {"ebmkit": LangevinDynamics(step_size=eps / 2), "ebmkit_mala": MALA(step_size=eps / 2)}
    return {name: lambda sampler=sampler: sampler.sample(energy, z, steps=1) for name, sampler in samplers.items()}
