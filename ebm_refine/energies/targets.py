"""A checkpoint and a ratio become a target: a law to start from, to evaluate and to decode."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ebm_refine.energies.density_ratio import log_ratio
from ebm_refine.energies.fixed_width import BFLOAT16_CHUNK, NetworkTarget
from ebm_refine.energies.labels import LabelledTarget, by_label, given_label, label_count
from ebm_refine.energies.priors import of_normal
from ebm_refine.errors import InputError
from ebm_refine.models.checkpoint import Checkpoint
from ebm_refine.models.kinds import is_binary, is_points, law_of
from ebm_refine.models.networks.mixture import MixtureGenerator
from ebm_refine.models.networks.rbm import DBN, RBM
from ebm_refine.models.pair import Pair
from ebm_refine.samplers.base import Kernel
from ebm_refine.samplers.pilot import Pilot
from ebm_refine.samplers.rng import Draws, Stream

# The table in which a pair keeps r of held-out real images (R,), by name of the ratio.
REAL_RATIOS = "holdout-ratios"
# A step of bits is two matrix products.
BITS_CHUNK = {"cpu": 64, "cuda": 1024}


class LatentTarget(NetworkTarget):
    """E(z) = |z|^2 / 2 - beta * r(G(z)) for a pair with a standard normal prior (Che et al. 2020).

    Positions are (B, dim) float32 on `device`. `points`: the generator makes points, not images.
    """

    bounds = (-math.inf, math.inf)

    def __init__(
        self,
        generator: nn.Module,
        ratio: nn.Module,
        dim: int,
        beta: float = 1.0,
        device: str = "cpu",
        points: bool = False,
        widths: dict[Any, bool] | None = None,
    ):
        super().__init__(device, points, widths)
        self.generator, self.ratio, self.dim, self.beta = generator.to(device), ratio.to(device), dim, beta
        self.shape = (dim,)

    def start(self, draws: Draws, stream: Stream) -> Tensor:
        return draws.normal(self.shape, stream)

    def prior(self, draws: Draws, block: int = 0) -> Tensor:
        return draws.normal(self.shape, Stream.PROPOSAL, block)

    def prior_energy(self, position: Tensor) -> Tensor:
        return position.square().sum(dim=1) / 2

    @torch.no_grad()
    def log_ratio(self, position: Tensor) -> Tensor:
        self.forwards += len(position)
        return self.in_chunks(lambda part: (self.beta * self.ratio(self.generator(part)),), position)[0]

    def energy(self, position: Tensor) -> Tensor:
        return self.prior_energy(position) - self.log_ratio(position)

    def differentiable_energy(self, position: Tensor) -> Tensor:
        return self.prior_energy(position) - self.beta * self.ratio(self.generator(position))

    def samples_from(self, position: Tensor) -> Tensor:
        return self.generator(position)


class MixtureTarget(LatentTarget):
    """A pair whose generator is a Gaussian mixture known in closed form: E(x) = -log p_gen(x) - beta * r(x).

    Positions are the points themselves (B, 2), and the prior is the generator's own law.
    """

    def __init__(
        self,
        generator: MixtureGenerator,
        ratio: nn.Module,
        beta: float = 1.0,
        device: str = "cpu",
        widths: dict[Any, bool] | None = None,
    ):
        super().__init__(generator, ratio, generator.latent, beta, device, points=True, widths=widths)
        self.law = generator.law

    def start(self, draws: Draws, stream: Stream) -> Tensor:
        return self._drawn(draws, stream, 0)

    def prior(self, draws: Draws, block: int = 0) -> Tensor:
        return self._drawn(draws, Stream.PROPOSAL, block)

    def prior_energy(self, position: Tensor) -> Tensor:
        return -self.law.log_density(position)

    def _drawn(self, draws: Draws, stream: Stream, block: int) -> Tensor:
        # The last edge is left out: rounding of the sum must not lead beyond the last component.
        edges = self.law.weights.cumsum(0)[:-1]
        component = torch.bucketize(draws.uniform((), stream, 2 * block), edges)
        return self.law.centres[component] + self.law.width * draws.normal((2,), stream, 2 * block + 1)


class EnergyTarget(NetworkTarget):
    """E(x) of an energy network, over the samples themselves: no prior and no ratio.

    Positions are samples (B, *shape) float32 on `device`, within `bounds` (the range of the data) at the start; the energy is
    defined beyond them too. Chains begin in uniform noise, or in the generator's samples where there is one, whose latents of
    dimension `dim` are standard normal.
    """

    def __init__(
        self,
        network: nn.Module,
        shape: tuple[int, ...],
        bounds: tuple[float, float] = (-1.0, 1.0),
        generator: nn.Module | None = None,
        dim: int = 0,
        device: str = "cpu",
        points: bool = False,
        widths: dict[Any, bool] | None = None,
    ):
        super().__init__(device, points, widths)
        self.network, self.shape, self.bounds, self.dim = network.to(device), shape, bounds, dim
        self.generator = None if generator is None else generator.to(device)

    @torch.no_grad()
    def start(self, draws: Draws, stream: Stream) -> Tensor:
        if self.generator is None:
            low, high = self.bounds
            return low + (high - low) * draws.uniform(self.shape, stream)
        generator = self.generator
        # Run once, so at full width: smaller widths are only tried for the energy.
        latents = draws.normal((self.dim,), stream)
        return self.in_chunks(lambda part: (generator(part),), latents, trim=False)[0].contiguous()

    @torch.no_grad()
    def energy(self, position: Tensor) -> Tensor:
        self.forwards += len(position)
        return self.in_chunks(lambda part: (self.network(part),), position)[0]

    def differentiable_energy(self, position: Tensor) -> Tensor:
        return self.network(position)

    def samples_from(self, position: Tensor) -> Tensor:
        return position


class BinaryTarget(NetworkTarget):
    """exp(-F(v)) over the visible bits of a Boltzmann machine, the top one of a belief network: what `gibbs` samples.

    Positions are bits (B, visible), float32 zeros and ones on `device`. The chains begin in tosses of a fair coin. Samples are
    images of `shape`: the means of the pixels given the position (`networks.rbm`), of a single machine the position itself.
    """

    bounds = (0.0, 1.0)

    def __init__(self, network: RBM | DBN, shape: tuple[int, ...], device: str = "cpu", widths: dict[Any, bool] | None = None):
        super().__init__(device, False, widths)
        self.network, self.image_shape = network.to(device), shape
        self.shape, self.hidden = (network.top.visible,), network.top.hidden
        self.chunk = BITS_CHUNK.get(self.device.type, BITS_CHUNK["cpu"])

    def start(self, draws: Draws, stream: Stream) -> Tensor:
        return (draws.uniform(self.shape, stream) < 0.5).float()

    def energy(self, position: Tensor) -> Tensor:
        return self.upward(position)[0]

    @torch.no_grad()
    def upward(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """The free energy (B,) and the means of the hidden bits (B, hidden), from one pass."""
        self.forwards += len(position)
        energy, mean = self.in_chunks(self._upward, position)
        return energy, mean

    @torch.no_grad()
    def downward(self, hidden: Tensor) -> Tensor:
        """The means of the visible bits (B, visible) given hidden ones (B, hidden)."""
        return self.in_chunks(lambda part: (self.network.top.visible_mean(part),), hidden)[0]

    def differentiable_energy(self, position: Tensor) -> Tensor:
        return self.network(position)

    def samples_from(self, position: Tensor) -> Tensor:
        return (2 * self.network.down(position) - 1).unflatten(1, self.image_shape)

    def _upward(self, part: Tensor) -> tuple[Tensor, Tensor]:
        top = self.network.top
        given = top.hidden_input(part)
        return -(part * top.visible_bias).sum(dim=1) - softplus(given).sum(dim=1), torch.sigmoid(given)

    @torch.no_grad()
    def everything(self, part: Tensor) -> tuple[Tensor, ...]:
        energy, mean = self._upward(part)
        return energy, mean, self.network.top.visible_mean((mean > 0.5).float()), self.samples_from(part)


AnyTarget = LatentTarget | EnergyTarget | BinaryTarget | LabelledTarget


def has_ratio(target: Any) -> bool:
    """Whether the target is a pair's: a prior and a log ratio."""
    return isinstance(target.batches[0].target if isinstance(target, LabelledTarget) else target, LatentTarget)


def kernel_for(
    target: Any, build: Callable[[Any, dict[str, Any], Pilot], Kernel], values: dict[str, Any], seed: int,
    real: Tensor | None = None,
) -> Kernel:  # fmt: skip
    """The kernel that a method's `build` makes for the target, with a pilot of its own; of each label where it has any.

    `real` are beta * r of held-out real images (`real_ratios`).
    """
    device = target.device
    if isinstance(target, LabelledTarget):
        return by_label(target, lambda one: build(one, values, Pilot(one, seed, device, real)))
    return build(target, values, Pilot(target, seed, device, real))


def real_ratios(checkpoint: Checkpoint, ratio: str, beta: float = 1.0) -> Tensor | None:
    """beta * r of held-out real images (R,) float32, where the model stores them: a Metropolis chain may begin at one."""
    stored = checkpoint.tables.get(REAL_RATIOS, {}).get(ratio)
    return None if stored is None or not stored.numel() else beta * stored.float().flatten()


def target_of(
    checkpoint: Checkpoint,
    ratio: str = "auto",
    beta: float = 1.0,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    labels: Tensor | None = None,
) -> AnyTarget:
    """The target of a loaded model by its law.

    Of a pair with its `ratio`, one of `density_ratio.RATIOS`, and its weight `beta`; of a model with an energy of its own
    neither is read. `dtype` is that of the networks' inner convolutions (`models.fuse.prepare`). `labels` (B,) int64, on
    `device`, are those of the chains, of a model that has classes (`energies.labels`). Raises InputError where a pair does not
    carry the ratio, or a model with classes is asked without labels.
    """
    if label_count(checkpoint.config):
        if labels is None or not len(labels):
            raise InputError(f"model {checkpoint.name!r} is sampled class by class: a label is needed")
        return LabelledTarget(lambda label: _of_dtype(_target_of(checkpoint, ratio, beta, device, dtype, label), dtype), labels)
    return _of_dtype(_target_of(checkpoint, ratio, beta, device, dtype), dtype)


def _of_dtype(target: Any, dtype: torch.dtype) -> Any:
    if dtype == torch.bfloat16 and not target.points:
        target.chunk = BFLOAT16_CHUNK.get(target.device.type, target.chunk)
    return target


def _target_of(
    checkpoint: Checkpoint, ratio: str, beta: float, device: str, dtype: torch.dtype, label: int | None = None
) -> LatentTarget | EnergyTarget | BinaryTarget:
    config, prepared = checkpoint.config, checkpoint.prepared_on(device, dtype)
    networks, widths = prepared.networks, prepared.widths.setdefault(ratio, {})
    if label is not None:
        networks = given_label(networks, label)
    points = is_points(config)
    if law_of(config) == "pair":
        which, generator = log_ratio(networks, config, ratio), networks["generator"]
        if isinstance(checkpoint, Pair):
            from ebm_refine.energies.own_target import own_target

            return own_target(checkpoint, networks, which, beta, device, widths)
        if isinstance(generator, MixtureGenerator):
            return MixtureTarget(generator, which, beta, device, widths)
        generator = of_normal(generator, config["prior"])
        return LatentTarget(generator, which, config["prior"]["dim"], beta, device, points, widths)
    if is_binary(config):
        machine: Any = networks["energy"]
        return BinaryTarget(machine, tuple(config["data"]["shape"]), device, widths)
    low, high = config["data"]["range"]
    joint: dict[str, Any] = {}
    if law_of(config) == "joint":
        joint = {"generator": of_normal(networks["generator"], config["prior"]), "dim": config["prior"]["dim"]}
    shape, bounds = tuple(config["data"]["shape"]), (float(low), float(high))
    return EnergyTarget(networks["energy"], shape, bounds, device=device, points=points, widths=widths, **joint)
