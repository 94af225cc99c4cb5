"""Networks run in chunks of one fixed width, so that no image depends on how many are asked for.

A last chunk that is not full is padded; where the device gives the same bits for a narrower batch, it is padded no further than
to that.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ebm_refine.samplers.rng import Draws, Stream
from ebm_refine.utils import cancellation
from ebm_refine.utils.devices import exact_convolutions

# Wide enough to use the device. On two cores 64 was the fastest of 16 to 256 in float32: wider batches leave the caches, and
# their memory is paged in anew each time. In bfloat16 a position takes half of both, and 128 was.
CHUNK = {"cpu": 64, "cuda": 256}
BFLOAT16_CHUNK = {**CHUNK, "cpu": 128}
# A point costs next to nothing, so here it is the calls that count.
POINTS_CHUNK = 1024
# How many batches of a smaller width are compared with a full chunk before that width is used.
COMPARED = 64


class NetworkTarget:
    """What every target shares: networks on a device, run in chunks of fixed width, and counts of what was evaluated.

    `forwards` and `gradients` count the positions evaluated so far, padding left out. `samples_from` makes samples of positions
    (B, d…): images in [-1, 1] or points; `differentiable_energy` is (B,) with its graph. `widths` keeps what was found out
    about narrower batches; targets of the same networks may share it.
    """

    # Why there is no gradient, where there is none.
    no_gradient = ""

    def __init__(self, device: str, points: bool, widths: dict[Any, bool] | None):
        self.device = torch.device(device)
        self.points = points
        self.chunk = POINTS_CHUNK if points else CHUNK.get(self.device.type, CHUNK["cpu"])
        self.widths = {} if widths is None else widths
        self.forwards = 0
        self.gradients = 0

    def init(self, seed: int, index: Tensor) -> Tensor:
        """The positions (B, d…) of chains `index` (B,) at step 0; their samples are the result "before"."""
        return self.start(Draws(seed, index, 0), Stream.INIT)

    def start(self, draws: Draws, stream: Stream) -> Tensor:
        raise NotImplementedError

    def samples_from(self, position: Tensor) -> Tensor:
        raise NotImplementedError

    def differentiable_energy(self, position: Tensor) -> Tensor:
        raise NotImplementedError

    def energy_and_grad(self, position: Tensor) -> tuple[Tensor, Tensor]:
        self.forwards += len(position)
        self.gradients += len(position)
        energy, grad = self.in_chunks(self._evaluate, position)
        return energy, grad

    @torch.no_grad()
    def decode(self, position: Tensor) -> Tensor:
        """Images (B, C, H, W) uint8, or points (B, d) float32; on the CPU."""

        def decoded(part: Tensor) -> tuple[Tensor]:
            samples = self.samples_from(part)
            return (samples if self.points else samples.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8),)

        return self.in_chunks(decoded, position)[0].contiguous().cpu()

    def _evaluate(self, part: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            part = part.detach().requires_grad_()
            energy = self.differentiable_energy(part)
            (grad,) = torch.autograd.grad(energy.sum(), part)
        return energy.detach(), grad

    def in_chunks(
        self, function: Callable[[Tensor], tuple[Tensor, ...]], position: Tensor, trim: bool = True
    ) -> tuple[Tensor, ...]:
        """`function` of positions (B, d…), chunk by chunk; a chunk too large for the memory is halved, down to one position.

        Without `trim` the last chunk is always padded to the full width.
        """
        results: list[list[Tensor]] = []
        done = 0
        while not results or done < len(position):
            cancellation.check()
            part = position[done : done + self.chunk]
            try:
                with exact_convolutions(self.device):
                    results.append(_padded(function, part, self._width(len(part)) if trim else self.chunk))
            except torch.OutOfMemoryError:
                if self.chunk == 1:
                    raise
                self.chunk //= 2
            else:
                done += len(part)
        return tuple(column[0] if len(column) == 1 else torch.cat(column) for column in zip(*results, strict=True))

    def _width(self, count: int) -> int:
        """The width at which to run `count` positions: the least power of two that changes no bit, else a full chunk."""
        width = 1 << max(count - 1, 0).bit_length()
        while width < self.chunk:
            if (self.chunk, width) not in self.widths:
                self.widths[self.chunk, width] = self._gives_the_same_bits(width)
            if self.widths[self.chunk, width]:
                return width
            width *= 2
        return self.chunk

    def _gives_the_same_bits(self, width: int) -> bool:
        """Whether a full chunk and its first positions in batches of `width` agree in all bits of samples, energy and gradient.

        Sums taken in another order differ somewhere in so many numbers, so agreement here means the same sums everywhere.
        """

        position = self.start(Draws(0, torch.arange(self.chunk, device=self.device), 0), Stream.PILOT)
        trimmed = [_padded(self.everything, part, width) for part in position.split(width)[:COMPARED]]
        seen = sum(len(parts[0]) for parts in trimmed)
        whole = [result[:seen] for result in self.everything(position)]
        return all(torch.equal(torch.cat(parts), one) for parts, one in zip(zip(*trimmed, strict=True), whole, strict=True))

    def everything(self, part: Tensor) -> tuple[Tensor, ...]:
        """All that is ever asked of the networks at positions (B, d…)."""
        with torch.no_grad():
            unrecorded = (self.samples_from(part), self.differentiable_energy(part))
        return (*unrecorded, *self._evaluate(part))


def _padded(function: Callable[[Tensor], tuple[Tensor, ...]], part: Tensor, width: int) -> list[Tensor]:
    # A copy even where nothing is added: last bits depend on strides and on where in memory the rows begin.
    padded = torch.cat([part, part.new_zeros(width - len(part), *part.shape[1:])])
    return [result[: len(part)] for result in function(padded)]
