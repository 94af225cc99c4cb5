"""A checkpoint and a ratio become a target: a law to start from, to evaluate and to decode.

Networks always run in chunks of one fixed width, the last one padded, so that no image depends on how many are asked for.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ebm_refine import cancellation
from ebm_refine.checkpoints import Checkpoint
from ebm_refine.density_ratio import log_ratio
from ebm_refine.random import Draws, Stream

# Wide enough to use the device, narrow enough that a few images do not wait for padding.
CHUNK = {"cpu": 16, "cuda": 256}


class LatentTarget:
    """E(z) = |z|^2 / 2 - beta * r(G(z)) for a pair with a standard normal prior (Che et al. 2020).

    Positions are (B, dim) float32 on `device`. `forwards` and `gradients` count the images evaluated so far, padding left out.
    """

    def __init__(self, generator: nn.Module, ratio: nn.Module, dim: int, beta: float = 1.0, device: str = "cpu"):
        self.generator, self.ratio, self.dim, self.beta = generator.to(device), ratio.to(device), dim, beta
        self.device = torch.device(device)
        self.shape = (dim,)
        self.chunk = CHUNK.get(self.device.type, CHUNK["cpu"])
        self.forwards = 0
        self.gradients = 0

    @classmethod
    def of(cls, checkpoint: Checkpoint, ratio: str, beta: float = 1.0, device: str = "cpu") -> "LatentTarget":
        """The target of a pair with its ratio "raw", "calibrated" or "refitted"."""
        which = log_ratio(checkpoint.prepared, checkpoint.config, ratio)
        return cls(checkpoint.prepared["generator"], which, checkpoint.config["prior"]["dim"], beta, device)

    def init(self, seed: int, index: Tensor) -> Tensor:
        """Starting positions (B, dim) from the prior; G of them is the result "before"."""
        return Draws(seed, index, 0).normal(self.shape, Stream.INIT)

    def prior(self, draws: Draws, block: int = 0) -> Tensor:
        return draws.normal(self.shape, Stream.PROPOSAL, block)

    def prior_energy(self, position: Tensor) -> Tensor:
        return position.square().sum(dim=1) / 2

    @torch.no_grad()
    def log_ratio(self, position: Tensor) -> Tensor:
        self.forwards += len(position)
        return self._in_chunks(lambda part: (self.beta * self.ratio(self.generator(part)),), position)[0]

    def energy(self, position: Tensor) -> Tensor:
        return self.prior_energy(position) - self.log_ratio(position)

    def energy_and_grad(self, position: Tensor) -> tuple[Tensor, Tensor]:
        self.forwards += len(position)
        self.gradients += len(position)

        def evaluate(part: Tensor) -> tuple[Tensor, Tensor]:
            with torch.enable_grad():
                part = part.detach().requires_grad_()
                energy = self.prior_energy(part) - self.beta * self.ratio(self.generator(part))
                (grad,) = torch.autograd.grad(energy.sum(), part)
            return energy.detach(), grad

        energy, grad = self._in_chunks(evaluate, position)
        return energy, grad

    @torch.no_grad()
    def decode(self, position: Tensor) -> Tensor:
        """Images (B, C, H, W) uint8, on the CPU."""

        def pixels(part: Tensor) -> tuple[Tensor]:
            return (self.generator(part).add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8),)

        return self._in_chunks(pixels, position)[0].contiguous().cpu()

    def _in_chunks(self, function: Callable[[Tensor], tuple[Tensor, ...]], position: Tensor) -> tuple[Tensor, ...]:
        results = []
        for part in position.split(self.chunk):
            cancellation.check()
            padded = torch.cat([part, part.new_zeros(self.chunk - len(part), *part.shape[1:])])
            results.append([result[: len(part)] for result in function(padded)])
        return tuple(torch.cat(column) for column in zip(*results, strict=True))
