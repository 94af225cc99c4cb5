"""Random numbers: sample i depends on (seed, i) alone.

Counter-based generation with Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), in integer
tensor operations: the key is the seed, the counter is (i, stream, step, lane). The same words come out on every device and
for every batch, in any order. Normals are made by Box and Muller's transform in double precision, then rounded to float32.
"""

import math
from enum import IntEnum
from functools import lru_cache
from typing import Any, NamedTuple, TypeGuard

import numpy as np
import torch
from torch import Tensor

_LOW = 0xFFFFFFFF
_MULTIPLY = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_MULTIPLIERS, _HALF, _WORD = np.array(_MULTIPLY, dtype=np.uint64)[:, None, None], np.uint64(32), np.uint64(_LOW)


class Stream(IntEnum):
    """Separate random streams, so that one use never shifts another."""

    INIT = 0
    NOISE = 1
    ACCEPT = 2
    PROPOSAL = 3
    PILOT = 4
    LABEL = 5


class Draws(NamedTuple):
    """The randomness of one transition: `index` (B,) int64 are the sample numbers i, `step` the transition's number.

    In a step that is recorded once and replayed (`samplers.cuda_graphs`), `step` is an int64 scalar on the device instead.
    """

    seed: int
    index: Tensor  # type: ignore[assignment]  # shadows tuple.index, which nobody calls here
    step: int

    @property
    def first(self) -> bool:
        """Whether this is transition 1; that is never a replayed one."""
        return isinstance(self.step, int) and self.step == 1

    def normal(self, shape: tuple[int, ...], stream: Stream = Stream.NOISE, block: int = 0) -> Tensor:
        """(B, *shape) float32, standard normal. `block` numbers several draws of one stream within one step."""
        size = math.prod(shape)
        words = philox(self.seed, self.index, stream, self.step, _lanes(size), block)
        if _by_numpy(self.step, self.index):
            values = torch.from_numpy(np.concatenate(_box_muller(words.numpy().astype(np.float64), np), axis=1))
        else:
            values = torch.cat(_box_muller(words.double(), torch), dim=1)
        return values[:, :size].float().reshape(-1, *shape)

    def uniform(self, shape: tuple[int, ...] = (), stream: Stream = Stream.ACCEPT, block: int = 0) -> Tensor:
        """(B, *shape) float32, uniform on the open interval (0, 1)."""
        size = math.prod(shape)
        words = philox(self.seed, self.index, stream, self.step, _lanes(size), block)[:, :size]
        # 24 bits fit a float32 exactly, so rounding never gives 0 or 1.
        return (((words >> 8).double() + 0.5) * 2.0**-24).clamp(max=1 - 2.0**-24).float().reshape(-1, *shape)


def philox(seed: int, index: Tensor, stream: int, step: int | Tensor, lanes: int, block: int = 0) -> Tensor:
    """(B, 4 * lanes) int64 holding 32-bit words of Philox4x32-10; word w of lane l is in column w * lanes + l.

    seed in [0, 2**64), index (B,) int64 in [0, 2**32), step a number or an int64 scalar on the same device; block b uses lanes
    b * lanes … (b + 1) * lanes - 1.
    """
    if _by_numpy(step, index):
        return _philox_on_cpu(seed, index, stream, step, lanes, block)
    device = index.device
    lane = torch.arange(block * lanes, (block + 1) * lanes, device=device).expand(len(index), lanes)
    # Words 0 and 2 of the counter, which are multiplied, and words 1 and 3, which are not: half as many operations so.
    turned = torch.stack([index[:, None].expand_as(lane), _filled(step, lane)])
    still = torch.stack([_filled(int(stream), lane), lane])
    rows, rounds = torch.arange(2, device=device)[:, None, None], torch.arange(10, device=device)
    multiply = _MULTIPLY[0] + rows * (_MULTIPLY[1] - _MULTIPLY[0])
    start = (seed & _LOW) + rows * ((seed >> 32) - (seed & _LOW))
    keys = (start + rounds[:, None, None, None] * (_WEYL[0] + rows * (_WEYL[1] - _WEYL[0]))) & _LOW
    for key in keys.unbind():
        # An int64 product wraps, but its 64 bits are those of the unsigned product: the shift and mask recover both halves.
        product = (turned * multiply).flip(0)
        turned, still = ((product >> 32) & _LOW) ^ still ^ key, product & _LOW
    return torch.stack([turned, still], dim=1).movedim(2, 0).flatten(1)


def _by_numpy(step: int | Tensor, index: Tensor) -> TypeGuard[int]:
    """On the CPU, but not in a step that is recorded to be replayed: that knows of tensor operations only."""
    return index.device.type == "cpu" and not isinstance(step, Tensor)


def _philox_on_cpu(seed: int, index: Tensor, stream: int, step: int, lanes: int, block: int) -> Tensor:
    """The same words by NumPy: of a few chains all the time is spent in calls, and its calls cost a third of PyTorch's."""
    turned, still = (np.empty((2, len(index), lanes), dtype=np.uint64) for _ in range(2))
    turned[0], turned[1] = index.numpy()[:, None], step
    still[0], still[1] = int(stream), np.arange(block * lanes, (block + 1) * lanes)
    for key in _keys(seed):
        product = (turned * _MULTIPLIERS)[::-1]
        turned, still = (product >> _HALF) ^ still ^ key, product & _WORD
    return torch.from_numpy(np.stack([turned, still], axis=1).transpose(2, 0, 1, 3).reshape(len(index), -1).astype(np.int64))


@lru_cache(maxsize=8)
def _keys(seed: int) -> Any:
    """(10, 2, 1, 1) uint64: the rounds' keys."""
    halves = (seed & _LOW, seed >> 32)
    keys = [[(half + number * weyl) & _LOW for half, weyl in zip(halves, _WEYL, strict=True)] for number in range(10)]
    return np.array(keys, dtype=np.uint64)[:, :, None, None]


def _filled(value: int | Tensor, like: Tensor) -> Tensor:
    return value.expand_as(like) if isinstance(value, Tensor) else torch.full_like(like, value)


def _lanes(size: int) -> int:
    return -(-size // 4)


def _box_muller(words: Any, maths: Any) -> tuple[Any, Any]:
    """Words (B, 2 * n) float64 -> two halves (B, n) of standard normals, in the operations of `maths`, NumPy or PyTorch."""
    uniform = (words + 0.5) * 2.0**-32
    half = words.shape[1] // 2
    radius, angle = maths.sqrt(-2 * maths.log(uniform[:, :half])), (2 * math.pi) * uniform[:, half:]
    return radius * maths.cos(angle), radius * maths.sin(angle)
