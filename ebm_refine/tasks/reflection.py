"""A law on a box, for samplers that know of no box: reflection at the walls.

The energy is unfolded to the whole space by mirror images, E(fold(u)), which repeats itself with period 2 (high - low). Folded
back, a Langevin chain there is one that is reflected at the walls, and a Metropolis chain has exactly exp(-E) on the box for
its law: each of the mirror images of a point leads on with the same probabilities. Clamping would heap chains up on the walls.
"""

import torch
from torch import Tensor

from ebm_refine.samplers.rng import Draws, Stream
from ebm_refine.tasks.derived import Derived


class Reflected(Derived):
    """`energy` restricted to its bounds, which must be finite. Positions (B, d…) may lie anywhere; `fold` brings them home."""

    def start(self, draws: Draws, stream: Stream) -> Tensor:
        return self.inner.start(draws, stream)

    def fold(self, position: Tensor) -> Tensor:
        """The points of the box (B, d…) that these positions are mirror images of; within the box, themselves."""
        low, high = self.bounds
        within = (position >= low) & (position <= high)
        return torch.where(within, position, high - (self._along(position) - (high - low)).abs()).clamp(low, high)

    def energy(self, position: Tensor) -> Tensor:
        return self.inner.energy(self.fold(position))

    def energy_and_grad(self, position: Tensor) -> tuple[Tensor, Tensor]:
        energy, grad = self.inner.energy_and_grad(self.fold(position))
        low, high = self.bounds
        return energy, torch.where(self._along(position) > high - low, -grad, grad)

    def _along(self, position: Tensor) -> Tensor:
        """How far along the period of length 2 (high - low): the second half is the mirror image of the first."""
        low, high = self.bounds
        return (position - low).remainder(2 * (high - low))
