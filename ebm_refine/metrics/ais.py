"""How probable a Boltzmann machine or a belief network makes held-out bits: the partition function, and a bound.

Salakhutdinov and Murray 2008, "On the quantitative analysis of deep belief networks"; Neal 2001, "Annealed importance
sampling".
"""

import itertools
import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ebm_refine.models.networks.rbm import DBN, RBM

# Machines with no more hidden units than this are summed exactly.
MAX_HIDDEN = 20
# Pixels are seen as bits at most this surely by the base of the annealing, so that it covers everything.
LEAST_MEAN = 0.01


class LogPartition(NamedTuple):
    """log Z in nats, its standard error (delta method), and the effective share of the weights it is the mean of."""

    value: float
    error: float
    effective_share: float


@torch.no_grad()
def enumerated_log_partition(rbm: RBM) -> float:
    """log Z by summing over all hidden states. Raises ValueError beyond 20 hidden units."""
    if rbm.hidden > MAX_HIDDEN:
        raise ValueError(f"only machines of up to {MAX_HIDDEN} hidden units are summed exactly; got {rbm.hidden}")
    states = torch.arange(2**rbm.hidden)
    total = torch.tensor(-math.inf, dtype=torch.float64)
    for part in states.split(2**14):
        hidden = (part[:, None] >> torch.arange(rbm.hidden) & 1).double()
        below = F.softplus(rbm.visible_bias.double() + hidden @ rbm.weight.double().T).sum(dim=1)
        total = torch.logaddexp(total, (hidden @ rbm.hidden_bias.double() + below).logsumexp(dim=0))
    return float(total)


@torch.no_grad()
def annealed_log_partition(rbm: RBM, mean: Tensor, temperatures: int, runs: int, source: torch.Generator) -> LogPartition:
    """log Z by annealed importance sampling from independent bits of the given `mean` (visible,), those of the data.

    With base biases b0 = logit(mean) and beta from 0 to 1 in equal steps, of which there are `temperatures`,

        p_beta(v) ~ exp((1 - beta) b0.v + beta b.v) prod_j (1 + exp(beta (c + v W)_j)),

    so that Z_0 = 2^hidden prod_i (1 + exp b0_i). Each run starts in p_0, adds log p_beta' / p_beta at its point before each
    step of block Gibbs that leaves p_beta' alone, and has a weight whose mean over the runs is Z / Z_0, without bias.
    """
    base = mean.clamp(LEAST_MEAN, 1 - LEAST_MEAN).logit()
    visible = (torch.rand(runs, rbm.visible, generator=source) < torch.sigmoid(base)).float()
    log_weight = torch.zeros(runs, dtype=torch.float64)
    given = rbm.hidden_input(visible)
    # The part of log p_beta in which beta is a factor; the rest lies in the softplus.
    linear = (visible @ (rbm.visible_bias - base)).double()
    betas = torch.linspace(0, 1, temperatures + 1, dtype=torch.float64).tolist()
    for beta, after in itertools.pairwise(betas):
        log_weight += (after - beta) * linear
        log_weight += (F.softplus(after * given) - F.softplus(beta * given)).sum(dim=1).double()
        hidden = (torch.rand(given.shape, generator=source) < torch.sigmoid(after * given)).float()
        visible_given = (1 - after) * base + after * rbm.visible_bias + after * (hidden @ rbm.weight.T)
        visible = (torch.rand(visible.shape, generator=source) < torch.sigmoid(visible_given)).float()
        given = rbm.hidden_input(visible)
        linear = (visible @ (rbm.visible_bias - base)).double()
    log_base = rbm.hidden * math.log(2) + float(F.softplus(base.double()).sum())
    mean_weight = float(log_weight.logsumexp(dim=0)) - math.log(runs)
    relative = (log_weight - mean_weight).exp()
    error = float(relative.std() / math.sqrt(runs))
    share = float(relative.sum().square() / relative.square().sum() / runs)
    return LogPartition(log_base + mean_weight, error, share)


@torch.no_grad()
def lower_bounds(network: DBN, bits: Tensor, log_partition: float, draws: int, source: torch.Generator) -> Tensor:
    """Estimates (N,) float64, without bias, of the variational lower bound of log p(v) in nats, for bits (N, pixels).

    With h1, h2, … drawn upwards from q, the product of the machines' own conditionals, and F the top machine's free energy,

        log p(v) >= E_q [log p(v | h1) + log p(h1 | h2) + … - F(h_last)] - log Z + the entropies of q

    `draws` are the samples of q for each example. Where the stack is one machine high, use its free energy instead.
    """
    total = torch.zeros(len(bits), dtype=torch.float64)
    for _ in range(draws):
        below = bits
        for machine in network.stack[:-1]:
            logits = machine.hidden_input(below)
            above = (torch.rand(logits.shape, generator=source) < torch.sigmoid(logits)).float()
            total += log_likelihood(machine.visible_input(above), below) + entropy(logits)
            below = above
        total -= network(below).double()
    return total / draws - log_partition


def log_likelihood(logits: Tensor, bits: Tensor) -> Tensor:
    """log p of independent bits (B, d) with these logits: (B,) float64."""
    return -F.binary_cross_entropy_with_logits(logits, bits, reduction="none").double().sum(dim=1)


def entropy(logits: Tensor) -> Tensor:
    """Of independent bits (B, d) with these logits, in nats: (B,) float64."""
    return (F.softplus(logits) - logits * torch.sigmoid(logits)).double().sum(dim=1)
