"""The random law: sample i depends on (seed, i) alone.

Counter-based generation with Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), in integer
tensor operations: the key is the seed, the counter is (i, stream, step, lane). The same words come out on every device and
for every batch, in any order. Normals are made by Box and Muller's transform in double precision, then rounded to float32.
"""

import math
from enum import IntEnum
from typing import NamedTuple

import torch
from torch import Tensor

_LOW = 0xFFFFFFFF
_MULTIPLY = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)


class Stream(IntEnum):
    """Separate random streams, so that one use never shifts another."""

    INIT = 0
    NOISE = 1
    ACCEPT = 2
    PROPOSAL = 3
    PILOT = 4


class Draws(NamedTuple):
    """The randomness of one transition: `index` (B,) int64 are the sample numbers i, `step` the transition's number."""

    seed: int
    index: Tensor  # type: ignore[assignment]  # the field's word; nobody looks for an item's place here
    step: int

    def normal(self, shape: tuple[int, ...], stream: Stream = Stream.NOISE, block: int = 0) -> Tensor:
        """(B, *shape) float32, standard normal. `block` numbers several draws of one stream within one step."""
        size = math.prod(shape)
        first, second = _uniform64(philox(self.seed, self.index, stream, self.step, _lanes(size), block)).chunk(2, dim=1)
        radius, angle = (-2 * first.log()).sqrt(), (2 * math.pi) * second
        values = torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)
        return values[:, :size].float().reshape(-1, *shape)

    def uniform(self, shape: tuple[int, ...] = (), stream: Stream = Stream.ACCEPT, block: int = 0) -> Tensor:
        """(B, *shape) float32, uniform on the open interval (0, 1)."""
        size = math.prod(shape)
        words = philox(self.seed, self.index, stream, self.step, _lanes(size), block)[:, :size]
        # 24 bits fit a float32 exactly, so rounding never gives 0 or 1.
        return (((words >> 8).double() + 0.5) * 2.0**-24).clamp(max=1 - 2.0**-24).float().reshape(-1, *shape)


def philox(seed: int, index: Tensor, stream: int, step: int, lanes: int, block: int = 0) -> Tensor:
    """(B, 4 * lanes) int64 holding 32-bit words of Philox4x32-10; word w of lane l is in column w * lanes + l.

    seed in [0, 2**64), index (B,) int64 in [0, 2**32); block b uses lanes b * lanes … (b + 1) * lanes - 1.
    """
    lane = torch.arange(block * lanes, (block + 1) * lanes, device=index.device, dtype=torch.int64)
    shape = (len(index), lanes)
    counter = [
        index[:, None].expand(shape),
        torch.full(shape, int(stream), device=index.device, dtype=torch.int64),
        torch.full(shape, step, device=index.device, dtype=torch.int64),
        lane[None, :].expand(shape),
    ]
    key = [seed & _LOW, (seed >> 32) & _LOW]
    for _ in range(10):
        # An int64 product wraps, but its 64 bits are those of the unsigned product: the shift and mask recover both halves.
        product0, product1 = counter[0] * _MULTIPLY[0], counter[2] * _MULTIPLY[1]
        counter = [
            ((product1 >> 32) & _LOW) ^ counter[1] ^ key[0],
            product1 & _LOW,
            ((product0 >> 32) & _LOW) ^ counter[3] ^ key[1],
            product0 & _LOW,
        ]
        key = [(key[0] + _WEYL[0]) & _LOW, (key[1] + _WEYL[1]) & _LOW]
    return torch.cat(counter, dim=1)


def _lanes(size: int) -> int:
    return -(-size // 4)


def _uniform64(words: Tensor) -> Tensor:
    return (words.double() + 0.5) * 2.0**-32
