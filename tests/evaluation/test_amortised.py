"""Moves of the amortised probe: whatever its maps have learned, the corrected moves leave the model's law invariant."""

import importlib
from pathlib import Path

import pytest
import torch
from torch import Tensor
from toy_targets import QuadraticRatio, quadratic
from zscores import LIMIT, gaussian_scores

from ebm_refine.samplers.i_sir import Proposal
from ebm_refine.samplers.rng import Draws, Stream

COUNT, DIM = 20_000, 2
PRECISION, CENTRE = torch.tensor([[3.0, 1.0], [1.0, 2.0]]), torch.tensor([1.0, -0.5])


@pytest.fixture
def maps(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    return importlib.import_module("latent_maps")


def wrong_proposal() -> Proposal:
    """N(0.3, 0.8 I): neither the prior nor the law."""
    return Proposal(
        lambda draws, block: 0.3 + 0.8**0.5 * draws.normal((DIM,), Stream.PROPOSAL, block),
        lambda position: -(position - 0.3).square().sum(dim=1) / 1.6,
    )


def law() -> tuple[Tensor, Tensor]:
    """Mean and covariance of p0 exp(r) (D3)."""
    covariance = torch.linalg.inv(torch.eye(DIM) + PRECISION)
    return covariance @ PRECISION @ CENTRE, covariance


def test_corrected_moves_keep_the_law_that_uncorrected_ones_leave(maps):
    mean, covariance = law()
    noise = torch.randn(COUNT, DIM, generator=torch.Generator().manual_seed(1))
    start = mean + noise @ torch.linalg.cholesky(covariance).T
    wrong = maps.SurrogateLaw(QuadraticRatio(torch.eye(DIM), torch.zeros(DIM), 1.0), (DIM,))
    moves = maps.methods(quadratic(PRECISION, CENTRE), wrong_proposal(), wrong)
    index = torch.arange(COUNT)
    worst = {}
    for name in ("i-SIR, prior", "i-SIR, flow", "Metropolis, surrogate", "flow alone", "surrogate alone"):
        position, taken = moves[name](start, 5, index)
        worst[name] = max(abs(score) for score in gaussian_scores(position, mean, covariance).values())
        # A move that is never made would keep any law.
        assert taken > 0.2
        assert float((position != start).any(dim=1).float().mean()) > 0.4
    for name in ("i-SIR, prior", "i-SIR, flow", "Metropolis, surrogate"):
        assert worst[name] < LIMIT, name
    assert worst["flow alone"] > LIMIT
    assert worst["surrogate alone"] > LIMIT


def test_metropolis_steps_by_a_proposal_density_reach_the_law(maps):
    mean, covariance = law()
    target, proposal, index = quadratic(PRECISION, CENTRE), wrong_proposal(), torch.arange(COUNT)
    position = torch.zeros(COUNT, DIM)
    for seed in range(12):
        position, _ = maps.metropolis(
            position,
            lambda at, number, seed=seed: proposal.draw(Draws(seed, index, number), 0),
            lambda at: -target.energy(at) - proposal.log_density(at),
            seed,
            index,
        )
    assert all(abs(score) < LIMIT for score in gaussian_scores(position, mean, covariance).values())


def test_a_flow_begins_as_the_prior_and_gives_what_its_density_says(maps):
    torch.manual_seed(0)
    network = maps.flow(4)
    states = torch.randn(50, 4)
    assert abs(maps.flow_loss(network, states, states, states, states).item()) < 1e-4
    proposal = maps.flow_proposal(network, (4,))
    drawn = proposal.draw(Draws(0, torch.arange(50), 1), 0)
    assert drawn.shape == (50, 4)
    differences = proposal.log_density(drawn) + drawn.square().sum(dim=1) / 2
    torch.testing.assert_close(differences, differences[:1].expand(50), rtol=1e-4, atol=1e-4)
