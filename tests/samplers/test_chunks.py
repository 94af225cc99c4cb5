"""Networks in chunks: no image depends on how many are asked for, no memory that runs out ends a run, little is padded."""

import pytest
import torch
from torch import Tensor, nn

from ebm_refine.energies import fixed_width
from ebm_refine.energies.targets import LatentTarget, target_of
from ebm_refine.models.checkpoint import load_checkpoint
from ebm_refine.models.fuse import prepare
from ebm_refine.models.networks.dcgan import DCGANDiscriminator, DCGANGenerator


class Watched(nn.Module):
    """`network`, with a list of the batch sizes it saw; out of memory above `limit`."""

    def __init__(self, network: nn.Module, limit: int = 10**9):
        super().__init__()
        self.network, self.limit = network, limit
        self.seen: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(len(x))
        if len(x) > self.limit:
            raise torch.OutOfMemoryError("no memory left")
        return self.network(x)


class WidthDependent(nn.Module):
    """What some kernels do: the last bits depend on the width of the batch."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(dim=1) * (1 + 1e-6 * len(x))


def pair(limit: int = 10**9, chunk: int = 8) -> tuple[LatentTarget, Watched]:
    torch.manual_seed(0)
    generator = Watched(prepare(DCGANGenerator(6, (8, 8))), limit)
    target = LatentTarget(generator, prepare(DCGANDiscriminator((8, 8))), 6)
    target.chunk = chunk
    return target, generator


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 9, 15, 17])
def test_rows_do_not_depend_on_how_many_there_are(count):
    target, _ = pair()
    z = target.init(0, torch.arange(24))
    whole = [*target.energy_and_grad(z), target.energy(z), target.decode(z)]
    part = [*target.energy_and_grad(z[:count]), target.energy(z[:count]), target.decode(z[:count])]
    assert all(torch.equal(one, other[:count]) for one, other in zip(part, whole, strict=True))
    assert target.forwards == 2 * 24 + 2 * count
    assert target.gradients == 24 + count


def test_a_small_batch_runs_at_its_width_after_one_trial():
    """Where the bits do not depend on the width, as with oneDNN and MKL; elsewhere the width is the chunk's."""
    target, generator = pair()
    z = target.init(0, torch.arange(3))
    target.energy_and_grad(z)
    assert len(generator.seen) > 2  # the trial
    width = 4 if target.widths[8, 4] else 8
    generator.seen.clear()
    target.energy_and_grad(z)
    target.energy_and_grad(target.init(0, torch.arange(11)))
    assert generator.seen == [width, 8, width]


def test_a_width_that_changes_bits_is_never_used():
    ratio = Watched(WidthDependent())
    target = LatentTarget(nn.Identity(), ratio, 2)
    target.chunk = 8
    for count in (1, 3, 8, 11):
        position = target.init(0, torch.arange(count))
        target.energy_and_grad(position)
        ratio.seen.clear()
        energy, _ = target.energy_and_grad(position)
        assert set(ratio.seen) == {8}
        expected = position[0].square().sum() / 2 - position[0].sum() * (1 + 1e-6 * 8)
        assert torch.allclose(energy[0], expected, rtol=1e-6, atol=0)


def test_targets_of_one_model_share_what_was_tried(tiny_pair):
    checkpoint = load_checkpoint(tiny_pair)
    first = target_of(checkpoint, "raw")
    first.energy(first.init(0, torch.arange(3)))
    assert list(first.widths) == [(first.chunk, 4)]
    assert target_of(checkpoint, "raw").widths is first.widths
    assert target_of(checkpoint, "calibrated").widths is not first.widths
    assert target_of(checkpoint, "raw", dtype=torch.bfloat16).widths is not first.widths


def test_memory_that_runs_out_halves_the_chunk_and_the_run_goes_on():
    roomy, _ = pair()
    z = roomy.init(0, torch.arange(20))
    target, generator = pair(limit=3)
    energy, grad = target.energy_and_grad(z)
    assert target.chunk == 2
    assert torch.allclose(energy, roomy.energy_and_grad(z)[0], atol=1e-5)
    assert torch.allclose(grad, roomy.energy_and_grad(z)[1], atol=1e-5)
    assert generator.seen[:3] == [8, 4, 2]
    assert (target.forwards, target.gradients) == (20, 20)
    generator.seen.clear()
    target.energy(z)
    assert set(generator.seen) == {2}  # it stays so


def test_memory_for_not_even_one_image_is_an_error():
    target, generator = pair(limit=0)
    with pytest.raises(torch.OutOfMemoryError):
        target.energy(target.init(0, torch.arange(8)))
    assert generator.seen == [8, 4, 2, 1]


def test_no_positions_give_no_energies():
    target, _ = pair()
    energy, grad = target.energy_and_grad(torch.empty(0, 6))
    assert (energy.shape, grad.shape) == ((0,), (0, 6))


def test_the_widths_of_chunks_are_powers_of_two():
    assert all(width & (width - 1) == 0 for width in (*fixed_width.CHUNK.values(), fixed_width.POINTS_CHUNK))
