"""The target of own callables (`models.pair`): their own prior, scores without gradients, chunks by the size of a sample."""

from typing import Any

import torch
from torch import Tensor, nn

from ebm_refine.energies.fixed_width import POINTS_CHUNK
from ebm_refine.energies.labels import labels_of
from ebm_refine.energies.priors import of_normal
from ebm_refine.energies.targets import LatentTarget
from ebm_refine.errors import InputError
from ebm_refine.models.kinds import is_points
from ebm_refine.models.own_networks import OwnPrior
from ebm_refine.models.pair import Pair
from ebm_refine.samplers.rng import Draws, Stream
from ebm_refine.utils import cancellation


class OwnTarget(LatentTarget):
    """E(z) = -log p0(z) - beta * r(G(z)) of own callables. `prior` None: positions are standard normal a priori.

    `replayable` is false: a CUDA graph would replay once whatever a stranger's code decides anew each time.
    """

    replayable = False

    def __init__(self, *arguments: Any, prior: OwnPrior | None = None, no_gradient: str = "", **options: Any):
        super().__init__(*arguments, **options)
        self.law, self.no_gradient = prior, no_gradient
        self.gaussian = prior is None

    def start(self, draws: Draws, stream: Stream) -> Tensor:
        return self._of_prior(super().start(draws, stream))

    def prior(self, draws: Draws, block: int = 0) -> Tensor:
        return self._of_prior(super().prior(draws, block))

    def prior_energy(self, position: Tensor) -> Tensor:
        return super().prior_energy(position) if self.law is None else -self.law.log_density(position)

    def energy_and_grad(self, position: Tensor) -> tuple[Tensor, Tensor]:
        if self.no_gradient:
            raise InputError(f"{self.no_gradient}: this method follows its gradient")
        return super().energy_and_grad(position)

    def _of_prior(self, noise: Tensor) -> Tensor:
        if self.law is None:
            return noise
        with torch.no_grad():
            return self.law.sample(noise)

    def everything(self, part: Tensor) -> tuple[Tensor, ...]:
        if not self.no_gradient:
            return super().everything(part)
        with torch.no_grad():
            return self.samples_from(part), self.differentiable_energy(part)


def own_target(
    pair: Pair, networks: dict[str, nn.Module], ratio: nn.Module, beta: float, device: str, widths: dict[Any, bool]
) -> OwnTarget:
    """The target of own callables; `networks` are their adapters by role, `ratio` r of samples."""
    config = pair.config
    prior: Any = networks.get("prior")
    generator = of_normal(networks["generator"], config["prior"])
    options = {"points": is_points(config), "widths": widths, "prior": prior, "no_gradient": config.get("no_gradient", "")}
    target = OwnTarget(generator, ratio, config["prior"]["dim"], beta, device, **options)
    if not target.points:
        target.chunk = pair.chunk(device)
    return target


@torch.no_grad()
def generated(pair: Pair, count: int, seed: int, device: str = "cpu") -> Tensor:
    """Samples of the generator alone, on the CPU: images (count, C, H, W) uint8 or vectors (count, d) float32.

    They depend on the seed alone, which is no run's own: the pilot's stream is used, so that no run sees these samples.
    """
    config, networks = pair.config, pair.prepared_on(device, torch.float32).networks
    index = torch.arange(count, device=device)
    position = Draws(seed, index, 0).normal((config["prior"]["dim"],), Stream.PILOT)
    prior: Any = networks.get("prior")
    position = position if prior is None else prior.sample(position)
    labels, generator = labels_of(config, seed, index), of_normal(networks["generator"], config["prior"])
    parts = []
    width = pair.chunk(device) if not is_points(config) else POINTS_CHUNK
    for rows in index.split(width):
        cancellation.check()
        samples = generator(position[rows], *(() if labels is None else (labels[rows],))).cpu()
        parts.append(samples if is_points(config) else samples.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8))
    return torch.cat(parts)
