"""Train an energy by contrastive divergence with persistent chains in a replay buffer.

Hinton 2002, "Training products of experts by minimizing contrastive divergence"; Tieleman 2008, "Training restricted Boltzmann
machines using approximations to the likelihood gradient" (persistent chains); Du and Mordatch 2019, arXiv 1903.08689 (replay
buffer, short-run Langevin, squared energies as regulariser):

    L = mean E(data) - mean E(chains) + alpha * mean (E(data)^2 + E(chains)^2)

Generic over the network and the shape of a position: images and points in the plane train alike. Every random number of step s
is a function of (seed, s), so that a run goes on from any saved state to the same bits.
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ebm_refine.data.images import to_unit
from ebm_refine.samplers.short_run import move
from ebm_refine.training.common.averages import follow
from ebm_refine.training.common.resumable import Run, epoch_order, to_device
from ebm_refine.training.common.updates import Updates, Watched

# Chains that move together while they are measured; more do not fit into a core's cache.
CHAINS = 100
# Chains of so many times K steps are compared after training; the nearest to held-out data give the default.
LENGTHS = (1, 2, 4, 8)


class EnergyRecipe(NamedTuple):
    """How long, how the chains move (`samplers.short_run`), and how the weights follow.

    `rate` falls by the factor `decay` an epoch; `max_norm` clips the gradient of all weights together. `fresh` is the share of
    chains that restart from uniform noise in `bounds`; `input_noise` the deviation of what is added to the data. `report_every`
    counts steps. A run whose mean |E| passes `max_energy` is stopped. `average_decay`: the weights' exponential average is part
    of the state too, as "average". `bf16_chains`: chains follow gradients of a copy of the network in bfloat16, which errs by
    less than one per cent and takes two thirds of the time; positions stay float32.
    """

    epochs: int
    batch_size: int = 128
    rate: float = 1e-4
    beta1: float = 0.0
    decay: float = 0.97
    max_norm: float = 0.1
    alpha: float = 0.1
    input_noise: float = 0.005
    chain_steps: int = 60
    eps: float = 20.0
    temperature: float = 1.25e-6
    clip: float = 0.03
    buffer: int = 8192
    fresh: float = 0.05
    bounds: tuple[float, float] = (-1.0, 1.0)
    report_every: int = 100
    max_energy: float = 100.0
    average_decay: float | None = None
    bf16_chains: bool = False


class ReplayBuffer:
    """Chains that go on where they were left: `positions` (slots, *shape) float32, at first where chains begin.

    `begin(count, source)` gives where, (count, *shape); None: uniform noise in `bounds`.
    """

    def __init__(
        self,
        slots: int,
        shape: tuple[int, ...],
        bounds: tuple[float, float],
        source: torch.Generator,
        begin: Callable[[int, torch.Generator], Tensor] | None = None,
    ):
        self.begin = begin or (lambda count, source: uniform((count, *shape), bounds, source))
        self.positions = self.begin(slots, source)

    def draw(self, count: int, fresh: float, source: torch.Generator) -> tuple[Tensor, Tensor]:
        """`count` different slots (count,) and where their chains start: where they are, or a share `fresh` anew."""
        device = self.positions.device
        slots = torch.randperm(len(self.positions), generator=source, device=device)[:count]
        restarted = torch.rand(len(slots), generator=source, device=device) < fresh
        start = self.positions[slots]
        start[restarted] = self.begin(int(restarted.sum()), source)
        return slots, start

    def write(self, slots: Tensor, positions: Tensor) -> None:
        """Leave each chain in its own slot."""
        self.positions[slots] = positions

    def state_dict(self) -> dict[str, Tensor]:
        return {"positions": self.positions}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.positions = state["positions"].to(self.positions.device, copy=True)


def train_energy(
    network: nn.Module,
    recipe: EnergyRecipe,
    data: Tensor,
    unseen: Tensor,
    seed: int,
    device: str = "cpu",
    labels: Tensor | None = None,
    run: Run | None = None,
    **extra: Any,
) -> Watched:
    """Train `network`, which gives energies (B,), in place; a Progress every `report_every` steps, all of them saved.

    data, unseen: (N, *shape), uint8 images or float32 in `recipe.bounds`; `unseen` is only measured. labels (N,) int64: a
    network with `logits` also learns them by cross-entropy, and so p(x, y) (Grathwohl et al. 2020, arXiv 1912.03263).
    run, extra: see `Updates`. A run that diverges is stopped: its last Progress says so, and the last good state is restored.
    """
    to_device(network, device)
    adam = torch.optim.Adam(network.parameters(), lr=recipe.rate, betas=(recipe.beta1, 0.999))
    buffer = ReplayBuffer(recipe.buffer, tuple(data.shape[1:]), recipe.bounds, source_of(seed, 0, device))
    parts: dict[str, Any] = {"network": network, "adam": adam, "buffer": buffer}
    if recipe.average_decay is not None:
        parts["average"] = copy.deepcopy(network).requires_grad_(False)
    updates = Updates(run, parts, recipe.epochs * (len(data) // recipe.batch_size), "energy", **extra)
    means, source = Means(), source_of(seed, 0, device)

    def update(step: int) -> dict[str, Tensor]:
        source.manual_seed(seed_of(seed, step + 1))
        chosen = batch_of(len(data), recipe.batch_size, seed, step)
        adam.param_groups[0]["lr"] = recipe.rate * recipe.decay ** (step * recipe.batch_size // len(data))
        numbers = energy_step(network, adam, buffer, recipe, samples(data[chosen], device), source,
                              None if labels is None else labels[chosen].to(device))  # fmt: skip
        if recipe.average_decay is not None:
            follow(parts["average"], network, recipe.average_decay, step)
        means.add(numbers)
        return numbers

    def report(step: int) -> dict[str, float]:
        return {**means.taken(), **contrast(network, samples(unseen, device), recipe.bounds, source)}

    return Watched(updates, recipe.report_every, update, lambda numbers: diverged(numbers, recipe), report)


def energy_step(
    network: nn.Module,
    adam: torch.optim.Optimizer,
    buffer: ReplayBuffer,
    recipe: EnergyRecipe,
    real: Tensor,
    source: torch.Generator,
    labels: Tensor | None = None,
) -> dict[str, Tensor]:
    """One update of the weights from `real` (B, *shape) and as many chains of the buffer; gives scalars to log."""
    slots, start = buffer.draw(len(real), recipe.fresh, source)
    fake = run_chains(network, start, recipe, source)
    buffer.write(slots, fake)
    noisy = real + recipe.input_noise * torch.randn(real.shape, generator=source, device=real.device)
    loss, numbers = contrastive_loss(network, noisy.clamp_(*recipe.bounds), fake, recipe.alpha)
    if labels is not None:
        entropy = F.cross_entropy(network.logits(noisy), labels)  # type: ignore[operator]
        loss = loss + entropy
        numbers["cross_entropy"] = entropy.detach()
    adam.zero_grad(set_to_none=True)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(network.parameters(), recipe.max_norm)
    # A step along infinite gradients would spoil the weights before the monitor has its say.
    if norm.isfinite():
        adam.step()
    return {**numbers, "gradient_norm": norm.detach()}


def run_chains(network: nn.Module, start: Tensor, recipe: EnergyRecipe, source: torch.Generator) -> Tensor:
    """The positions after `recipe.chain_steps` short-run steps from `start` (B, *shape); one pass and one gradient each."""
    position = start
    followed = copy.deepcopy(network).bfloat16() if recipe.bf16_chains else network
    followed.requires_grad_(False)
    dtype = torch.bfloat16 if recipe.bf16_chains else start.dtype
    for _ in range(recipe.chain_steps):
        position = position.detach().requires_grad_()
        (grad,) = torch.autograd.grad(followed(position.to(dtype)).sum(), position)
        noise = torch.randn(position.shape, generator=source, device=position.device)
        position = move(position.detach(), grad, noise, recipe.eps, recipe.temperature, recipe.clip, recipe.bounds)
    network.requires_grad_(True)
    return position.detach()


def ends_by_length(
    network: nn.Module, start: Tensor, recipe: EnergyRecipe, source: torch.Generator, lengths: Sequence[int] = LENGTHS
) -> Iterator[tuple[int, Tensor]]:
    """The number of steps and the positions of the same chains after each of `lengths`, increasing multiples of K steps.

    start (B, *shape). Gradients are those of the network itself, whatever precision chains have in training.
    """
    parts, done = start.split(CHAINS), 0
    for times in lengths:
        more = recipe._replace(chain_steps=(times - done) * recipe.chain_steps, bf16_chains=False)
        parts, done = tuple(run_chains(network, part, more, source) for part in parts), times
        yield times * recipe.chain_steps, torch.cat(parts)


def short_run_of(recipe: EnergyRecipe, n_steps: int) -> dict[str, Any]:
    """The settings of method "short-run" by which chains move as they were taught, for `n_steps`."""
    return {"eps": recipe.eps, "temperature": recipe.temperature, "clip": recipe.clip, "n_steps": n_steps}


def contrastive_loss(network: nn.Module, real: Tensor, fake: Tensor, alpha: float) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of the module's head, and its parts as scalars to log."""
    on_real, on_fake = network(torch.cat([real, fake])).split([len(real), len(fake)])
    divergence = on_real.mean() - on_fake.mean()
    squares = on_real.square().mean() + on_fake.square().mean()
    numbers = {
        "contrastive_divergence": divergence.detach(),
        "regulariser": alpha * squares.detach(),
        "energy_data": on_real.detach().mean(),
        "energy_chains": on_fake.detach().mean(),
    }
    return divergence + alpha * squares, numbers


@torch.no_grad()
def contrast(network: nn.Module, unseen: Tensor, bounds: tuple[float, float], source: torch.Generator) -> dict[str, float]:
    """Mean energies of unseen data and of fresh uniform noise, and how far the noise lies above the data."""
    noise = uniform(tuple(unseen.shape), bounds, source)
    on_unseen, on_noise = (torch.cat([network(part) for part in one.split(500)]).mean() for one in (unseen, noise))
    return {
        "energy_unseen": float(on_unseen),
        "energy_noise": float(on_noise),
        "validation_contrast": float(on_noise - on_unseen),
    }


def diverged(numbers: dict[str, float], recipe: EnergyRecipe) -> str:
    """Why a run must stop, or nothing: numbers that are not finite, or energies that have run away."""
    if lost := [name for name, value in numbers.items() if not math.isfinite(value)]:
        return f"{lost[0].replace('_', ' ')} is not a finite number"
    far = max(abs(numbers["energy_data"]), abs(numbers["energy_chains"]))
    return f"the mean energy has run away to {far:.3g}" if far > recipe.max_energy else ""


def samples(data: Tensor, device: str) -> Tensor:
    """Images uint8 as float32 in [-1, 1]; anything else as it is."""
    return (to_unit(data) if data.dtype == torch.uint8 else data).to(device)


def batch_of(size: int, batch_size: int, seed: int, step: int) -> Tensor:
    """The numbers of the examples of step `step`: every epoch in an order of its own, the last odd ones left out."""
    epoch, turn = divmod(step, size // batch_size)
    return epoch_order(size, seed, epoch)[turn * batch_size : (turn + 1) * batch_size]


def source_of(seed: int, step: int, device: str) -> torch.Generator:
    """The random numbers of one step."""
    return torch.Generator(device).manual_seed(seed_of(seed, step))


def seed_of(seed: int, step: int) -> int:
    """The seed of one step's random numbers."""
    return seed * 1_000_003 + step


def uniform(shape: tuple[int, ...], bounds: tuple[float, float], source: torch.Generator) -> Tensor:
    low, high = bounds
    return low + (high - low) * torch.rand(shape, generator=source, device=source.device)


class Means:
    """Running means of scalars by name."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.count = 0

    def add(self, numbers: dict[str, Tensor]) -> None:
        self.sums = {name: value + self.sums.get(name, 0.0) for name, value in numbers.items()}
        self.count += 1

    def taken(self) -> dict[str, float]:
        """The means since they were last taken."""
        means = {name: float(value) / self.count for name, value in self.sums.items()}
        self.sums, self.count = {}, 0
        return means
