"""What a method learns about the whole population before it runs, from a pilot of fixed size with its own random numbers.

It depends on the target and the seed, never on how many samples are asked for, and is frozen once the run begins.
"""

import math
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from ebm_refine.errors import InputError
from ebm_refine.samplers.base import Kernel, Target
from ebm_refine.samplers.rng import Draws, Stream

PILOT_SIZE = 2048
PAIRS = 100
CHAINS, STEPS, LEAST_STEPS, FIRST_EPS = 16, 40, 20, 0.1
# Pilot chains are numbered from here: no run asks for so many samples, so the two never share a random number.
FIRST_CHAIN = 2**31


def tuning_steps(gradients: int) -> int:
    """Transitions of the pilot that tunes a step size, for a kernel of so many gradients a transition."""
    return max(STEPS // gradients, LEAST_STEPS)


class Pilot:
    """The pilot of one run. Each result is computed on first use, so an unused one costs nothing.

    `real_ratios` (R,) are beta * r of held-out real images, or None where the model stores none.
    """

    def __init__(self, target: Target, seed: int, device: torch.device | str = "cpu", real_ratios: Tensor | None = None):
        self.target, self.seed, self.device, self.real_ratios = target, seed, device, real_ratios
        self.ratios: Callable[[], Tensor] = cache(self._ratios)  # finite log ratios (up to 2048,) of fresh samples

    def positions(self, count: int) -> Tensor:
        """Positions (count, *shape) at which chains begin, of the pilot stream alone."""
        return self.target.start(Draws(self.seed, torch.arange(count, device=self.device), 0), Stream.PILOT)

    def _ratios(self) -> Tensor:
        ratios = self.target.log_ratio(self.positions(PILOT_SIZE))
        finite = ratios[ratios.isfinite()]
        if len(finite) == 0:
            raise InputError(f"the log ratio is not a finite number at any of {PILOT_SIZE} samples: choose another ratio")
        return finite

    def slope(self) -> float:
        """Largest |r1 - r2| / |z1 - z2| of 100 random pairs: the effective Lipschitz constant k_eff of Tanaka 2019."""
        position = self.positions(2 * PAIRS)
        first, second = self.target.log_ratio(position).chunk(2)
        distance = (position[:PAIRS] - position[PAIRS:]).flatten(1).norm(dim=1)
        slopes = ((first - second).abs() / distance).nan_to_num(0.0, 0.0, 0.0)
        return float(slopes.max())

    def tuned_eps(self, kernel_of: Callable[[float], Kernel], acceptance: float, gradients: int = 1) -> float:
        """A step size at which the kernel accepts a share `acceptance` of its proposals, in [1e-9, 10].

        16 chains run 40 transitions from their start while log eps follows the share accepted (Andrieu and Thoms 2008, "A
        tutorial on adaptive MCMC"); the answer is the mean of log eps over the second half. A kernel of many
        `gradients` a transition gets fewer of them, 20 at least.
        """
        steps = tuning_steps(gradients)
        index = torch.arange(FIRST_CHAIN, FIRST_CHAIN + CHAINS, device=self.device)
        log_eps, history = math.log(FIRST_EPS), []
        state = kernel_of(FIRST_EPS).init(self.positions(CHAINS))
        for step in range(1, steps + 1):
            state, info = kernel_of(math.exp(log_eps)).step(state, Draws(self.seed, index, step))
            log_eps += 3.0 / math.sqrt(step) * (float(info.accepted.float().mean()) - acceptance)
            log_eps = min(max(log_eps, math.log(1e-9)), math.log(10.0))
            history.append(log_eps)
        return math.exp(sum(history[steps // 2 :]) / (steps - steps // 2))
