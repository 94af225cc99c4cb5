"""The random law: the published words, independence of batch and order, and the moments of what is made of them."""

import math

import pytest
import torch
from scipy import stats
from zscores import LIMIT, histogram_score

from ebm_refine.samplers.rng import Draws, Stream, philox

ONES = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("seed", "counter", "words"),
    [
        (0, (0, 0, 0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        (2**64 - 1, (ONES, ONES, ONES, ONES), "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (0x299F31D0A4093822, (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_known_answers_of_random123(seed: int, counter: tuple[int, int, int, int], words: str) -> None:
    """The kat_vectors of Salmon et al.'s Random123, philox4x32 with 10 rounds: counter = (index, stream, step, lane)."""
    index, stream, step, lane = counter
    for number in (step, torch.tensor(step)):  # by NumPy, and in tensor operations as on a GPU
        result = philox(seed, torch.tensor([index]), stream, number, lanes=1, block=lane)
        assert result.dtype == torch.int64
        assert " ".join(f"{word:08x}" for word in result[0].tolist()) == words


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1, 2**63 + 12345, 2**64 - 1])
def test_both_ways_of_computing_it_give_the_same_words(seed: int) -> None:
    index = torch.tensor([0, 1, 77, ONES])
    for lanes, block in ((1, 0), (25, 3)):
        assert torch.equal(
            philox(seed, index, 4, 10_000, lanes, block), philox(seed, index, 4, torch.tensor(10_000), lanes, block)
        )


def test_a_sample_does_not_depend_on_the_others() -> None:
    everything = Draws(7, torch.arange(100), 3)
    some = Draws(7, torch.tensor([41, 3, 99]), 3)
    for stream in Stream:
        assert torch.equal(everything.normal((5, 2), stream)[some.index], some.normal((5, 2), stream))
        assert torch.equal(everything.uniform((3,), stream)[some.index], some.uniform((3,), stream))


def test_every_coordinate_of_the_law_matters() -> None:
    index = torch.arange(4)
    base = Draws(1, index, 2).normal((8,))
    others = [
        Draws(2, index, 2).normal((8,)),
        Draws(1 + 2**32, index, 2).normal((8,)),
        Draws(1, index + 4, 2).normal((8,)),
        Draws(1, index, 3).normal((8,)),
        Draws(1, index, 2).normal((8,), Stream.PILOT),
        Draws(1, index, 2).normal((8,), block=1),
    ]
    for other in others:
        assert not (base == other).any()


def test_blocks_do_not_overlap() -> None:
    """Blocks of one stream are disjoint words, so many draws within one step are independent."""
    draws = Draws(5, torch.arange(50), 1)
    words = torch.cat([draws.normal((6,), block=block).flatten() for block in range(20)])
    assert len(words.unique()) > 0.999 * len(words)


@pytest.mark.parametrize("stream", list(Stream))
def test_normals_are_standard(stream: Stream) -> None:
    values = Draws(11, torch.arange(50_000), 1).normal((4,), stream).double()
    count = values.numel()
    scores = {
        "mean": float(values.mean()) * math.sqrt(count),
        "variance": float(values.square().mean() - 1) * math.sqrt(count / 2),
        "third moment": float(values.pow(3).mean()) * math.sqrt(count / 15),
        "fourth moment": float(values.pow(4).mean() - 3) * math.sqrt(count / 96),
        "correlation of columns": float((values[:, 0] * values[:, 1]).mean()) * math.sqrt(len(values)),
        "correlation of Box-Muller's pair": float((values[:, 0] * values[:, 2]).mean()) * math.sqrt(len(values)),
        "correlation of its squares": (float((values[:, 0] * values[:, 2]).square().mean()) - 1) * math.sqrt(len(values) / 8),
        "Kolmogorov-Smirnov": float(stats.norm.isf(stats.kstest(values.flatten().numpy(), "norm").pvalue)),
    }
    assert all(abs(z) <= LIMIT for z in scores.values()), scores


def test_uniforms_are_uniform_and_open() -> None:
    values = Draws(3, torch.arange(50_000), 1).uniform((4,))
    assert values.dtype == torch.float32
    assert float(values.min()) > 0
    assert float(values.max()) < 1
    counts = torch.histc(values, bins=64, min=0, max=1)
    assert abs(histogram_score(counts, torch.ones(64))) <= LIMIT


def test_shapes_and_dtypes() -> None:
    draws = Draws(0, torch.arange(3), 1)
    assert draws.normal((2, 3, 4)).shape == (3, 2, 3, 4)
    assert draws.normal((5,)).dtype == torch.float32
    assert draws.uniform().shape == (3,)
    assert draws.uniform((2, 2)).shape == (3, 2, 2)
