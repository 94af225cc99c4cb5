"""Train an energy of points in the plane by contrastive divergence, with chains that cross between far modes.

Persistent chains (Tieleman 2008) in which a part also jumps, by i-SIR (`samplers.i_sir`), to points near the data or anywhere:
so that the negatives follow exp(-E) although its modes are sharp and far apart. The other part never jumps and starts anew
from time to time: it finds the spurious minima in which a chain from noise would be caught, and raises them.

Data begin blurred (`plane_loop.Blur`), and the step of the chains goes with their width.
"""

import math

import torch
from torch import Tensor, nn

from ebm_refine.samplers.i_sir import select, shares
from ebm_refine.training.algorithms.contrastive_divergence import (
    EnergyRecipe,
    ReplayBuffer,
    contrastive_loss,
    run_chains,
    source_of,
    uniform,
)
from ebm_refine.training.algorithms.plane_loop import Blur, PlaneRecipe, adam_of, batch_of, set_rates, update_of, watched
from ebm_refine.training.common.averages import follow
from ebm_refine.training.common.resumable import Run
from ebm_refine.training.common.updates import Watched

# Points that a jump chooses among, and the data points around which half of them lie.
JUMPS, CENTRES = 8, 256
# They lie around those at one scale a step, between the data's width and so many times it.
WIDEST = 16.0
# The largest blur of the tails.
TAIL_SCALE = 2.0


class PlaneChains(ReplayBuffer):
    """Positions (B, 2) of chains that persist; the first `JUMPING` of them jump."""

    JUMPING = 0.6

    def advance(
        self, energy: nn.Module, chains: EnergyRecipe, centres: Tensor, scale: float, source: torch.Generator
    ) -> Tensor:
        """Restart some anywhere, jump, and take the Langevin steps that `chains` describes; gives the new positions."""
        positions = self.positions.clone()
        anew = torch.rand(len(positions), generator=source) < chains.fresh
        positions[anew] = uniform((int(anew.sum()), 2), chains.bounds, source)
        jumping = round(self.JUMPING * len(positions))
        positions[:jumping] = jumped(energy, positions[:jumping], centres, scale, chains.bounds, source)
        self.positions = run_chains(energy, positions, chains, source)
        return self.positions


def plane_chains(recipe: PlaneRecipe, chains: EnergyRecipe, seed: int) -> PlaneChains:
    """As many chains as a batch, anywhere."""
    return PlaneChains(recipe.batch_size, (2,), chains.bounds, source_of(seed, 0, "cpu"))


def train_energy(
    networks: dict[str, nn.Module],
    recipe: PlaneRecipe,
    chains: EnergyRecipe,
    blur: Blur,
    data: Tensor,
    seed: int,
    run: Run | None = None,
) -> Watched:
    """Train "energy" in place on `data` (N, 2); "average_energy" follows its weights.

    As many chains as a batch. `chains.eps` is the step at the end; the blur adds half of its square.
    """
    energy = networks["energy"]
    adam = adam_of(energy, recipe)
    buffer = plane_chains(recipe, chains, seed)
    parts = {**networks, "adam": adam, "chains": buffer}

    def update(step: int) -> dict[str, Tensor]:
        source = source_of(seed, step + 1, "cpu")
        set_rates((adam,), recipe, step)
        numbers = energy_update(energy, adam, buffer, chains, blur, data, recipe, step, source)
        follow(networks["average_energy"], energy, recipe.average_decay, step)
        return numbers

    return watched(parts, recipe, update, run)


def energy_update(
    energy: nn.Module,
    adam: torch.optim.Optimizer,
    buffer: PlaneChains,
    chains: EnergyRecipe,
    blur: Blur,
    data: Tensor,
    recipe: PlaneRecipe,
    step: int,
    source: torch.Generator,
    others: Tensor | None = None,
) -> dict[str, Tensor]:
    """One update of the energy; gives scalars to log. `others` (K, 2) are negatives beside the chains: revised points."""
    blurred = blur.at(step, recipe.steps)
    real = batch_of(data, recipe.batch_size, source)
    real = real + _scales(blur, blurred, len(real), source) * torch.randn(real.shape, generator=source)
    width = math.hypot(blur.width, blurred)
    spread = width * WIDEST ** float(torch.rand((), generator=source))
    # The step of a chain goes with the width of what it samples.
    moving = chains._replace(eps=chains.eps + blurred**2 / 2)
    fake = buffer.advance(energy, moving, batch_of(data, CENTRES, source), spread, source)
    if others is not None:
        fake = torch.cat([fake, others])
    loss, numbers = contrastive_loss(energy, real, fake, chains.alpha)
    update_of(adam, loss)
    return numbers


@torch.no_grad()
def jumped(
    energy: nn.Module,
    positions: Tensor,
    centres: Tensor,
    scale: float,
    bounds: tuple[float, float],
    source: torch.Generator,
) -> Tensor:
    """One i-SIR move of each of `positions` (B, 2), which keeps the law exp(-E) on the square of `bounds`.

    It chooses among the position and `JUMPS` points of the law q, with weights exp(-E)/q. Half of q is uniform on the square,
    half a mixture of Gaussians of deviation `scale` around `centres` (K, 2).
    """
    low, high = bounds
    shape = (len(positions), JUMPS)
    anywhere = uniform((*shape, 2), bounds, source)
    chosen = centres[torch.randint(len(centres), shape, generator=source)]
    near = chosen + scale * torch.randn((*shape, 2), generator=source)
    proposals = torch.where(torch.rand((*shape, 1), generator=source) < 0.5, anywhere, near)
    everyone = torch.cat([positions[:, None], proposals], dim=1)
    points = everyone.flatten(0, 1)
    squares = torch.cdist(points, centres, compute_mode="donot_use_mm_for_euclid_dist").square()
    log_near = (-squares / (2 * scale**2)).logsumexp(1) - math.log(len(centres) * 2 * math.pi * scale**2)
    log_q = torch.logaddexp(log_near, torch.full_like(log_near, -2 * math.log(high - low))) - math.log(2)
    outside = (points < low).logical_or_(points > high).any(dim=1)
    weights = (-energy(points) - log_q).masked_fill(outside, -torch.inf)
    share = shares(weights.view(len(positions), -1))
    return everyone[torch.arange(len(positions)), select(share, torch.rand(len(positions), generator=source))]


def _scales(blur: Blur, blurred: float, count: int, source: torch.Generator) -> Tensor:
    """(count, 1): the blur of each data point. That of a share `tails` is log-uniform from the data's width to 2."""
    scales = torch.full((count, 1), blurred)
    in_tail = torch.rand((count, 1), generator=source) < blur.tails
    drawn = blur.width * (TAIL_SCALE / blur.width) ** torch.rand((count, 1), generator=source)
    return torch.where(in_tail, drawn, scales)
