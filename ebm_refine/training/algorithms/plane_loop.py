"""What the loops that train models of points in the plane share: a recipe, blurred data, a stop on divergence."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ebm_refine.training.common.resumable import Run
from ebm_refine.training.common.updates import Updates, Watched

REPORT_EVERY, SAVE_EVERY = 200, 1000
# The regulariser of the laboratory's energies ends at 500 on either side: where they near that it alone still holds them.
MAX_NUMBER = 400.0


class PlaneRecipe(NamedTuple):
    """Adam for every network, `critic_steps` of D for each of G; rates fall linearly to zero over the last half of the steps.

    `penalty` is the weight of WGAN-GP's penalty; 0 means the vanilla losses. The generator's rate is `rate` times
    `generator_share`: below 1 D learns faster than what it judges (Heusel et al. 2017, arXiv 1706.08500).
    """

    steps: int
    batch_size: int = 256
    rate: float = 1e-3
    betas: tuple[float, float] = (0.5, 0.99)
    critic_steps: int = 1
    penalty: float = 0.0
    average_decay: float = 0.999
    generator_share: float = 1.0


class Blur(NamedTuple):
    """Noise on the data that falls in the course of a training, so that what is learned begins broad.

    Its deviation begins at `scale` and falls geometrically, over `annealed_share` of the steps, to the data's own `width`; then
    it is gone. For an energy a share `tails` of the data stays blurred, by scales up to 2: the energy then slopes towards the
    data from everywhere, at the price that exp(-E) holds that share of points around the modes.
    """

    width: float
    scale: float = 0.3
    annealed_share: float = 0.5
    tails: float = 0.02

    def at(self, step: int, steps: int) -> float:
        """The deviation in `step` of `steps`."""
        done = step / (self.annealed_share * steps)
        return self.scale * (self.width / self.scale) ** done if done < 1 else 0.0


class NoiseLevels(NamedTuple):
    """Deviations of the noise on a discriminator's input, which is conditioned on them (Wang et al. 2022, arXiv 2206.02262).

    The lowest begins at `first` and falls geometrically, over `annealed_share` of the steps, to `last`; the highest is `span`
    times the lowest, but no less than `first`. Wide noise shows which modes have too few points, little noise where they lie.
    """

    first: float = 0.3
    last: float = 0.07
    span: float = 8.0
    annealed_share: float = 0.8

    def draw(self, step: int, steps: int, count: int, source: torch.Generator) -> Tensor:
        """(count, 1): deviations of `step` of `steps`, log-uniform between the lowest and the highest."""
        lowest = self.first * (self.last / self.first) ** min(1.0, step / (self.annealed_share * steps))
        highest = max(self.span * lowest, self.first)
        return lowest * (highest / lowest) ** torch.rand((count, 1), generator=source)

    def coordinate(self, deviations: Tensor) -> Tensor:
        """The discriminator's coding of `deviations`, of any shape: -1 at `last`, 1 at the highest of all."""
        return 2 * (deviations / self.last).log() / math.log(self.span * self.first / self.last) - 1


def batch_of(data: Tensor, size: int, source: torch.Generator) -> Tensor:
    return data[torch.randint(len(data), (size,), generator=source)]


def adam_of(network: nn.Module, recipe: PlaneRecipe) -> torch.optim.Adam:
    # Networks this small spend their time in calls; the fused update is one.
    return torch.optim.Adam(network.parameters(), lr=recipe.rate, betas=recipe.betas, fused=True)


def set_rates(optimizers: Iterable[torch.optim.Optimizer], recipe: PlaneRecipe, step: int) -> None:
    for optimizer in optimizers:
        optimizer.param_groups[0]["lr"] = recipe.rate * min(1.0, 2 * (1 - step / recipe.steps))


def update_of(optimizer: torch.optim.Optimizer, loss: Tensor) -> Tensor:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return loss.detach()


def watched(
    parts: dict[str, Any], recipe: PlaneRecipe, update: Callable[[int], Mapping[str, Tensor | float]], run: Run | None
) -> Watched:
    return Watched(Updates(run, parts, recipe.steps, "points"), REPORT_EVERY, update, _diverged, save_every=SAVE_EVERY)


def _diverged(numbers: dict[str, float]) -> str:
    """Why a run must stop, or nothing."""
    # False for what is not a number, too.
    lost = [(name, value) for name, value in numbers.items() if not abs(value) <= MAX_NUMBER]
    return f"{lost[0][0].replace('_', ' ')} is {lost[0][1]:.3g}" if lost else ""
