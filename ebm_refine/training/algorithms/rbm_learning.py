"""Train a restricted Boltzmann machine by contrastive divergence, from fresh chains (CD-k) or persistent ones (PCD-k).

Hinton 2002, "Training products of experts by minimizing contrastive divergence"; Tieleman 2008, "Training restricted Boltzmann
machines using approximations to the likelihood gradient". The gradient of the mean log likelihood,

    <v h>_data - <v h>_model for W,      <v>_data - <v>_model for b,      <h>_data - <h>_model for c,

with <.>_model from chains that made k steps of block Gibbs sampling: from the data of the batch, or from where the same chains
were left at the batch before. The weights follow this gradient as the centred machine sees it, whose units are counted from
their mean over the data (Montavon and Müller 2012, "Deep Boltzmann machines and the centering trick"): the same machine, but
bits that are nearly always on or off no longer drag weights and biases along together. Every random number of step s is a
function of (seed, s), so that a run resumes to the same bits.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ebm_refine.models.networks.rbm import RBM
from ebm_refine.training.algorithms.contrastive_divergence import Means, batch_of, source_of
from ebm_refine.training.common.resumable import Run
from ebm_refine.training.common.updates import Updates, Watched, no_trouble
from ebm_refine.utils import cancellation

# How slowly the means by which units are centred follow the batches.
MEAN_DECAY = 0.99

Statistics = dict[str, Tensor]
# Bits of the layer that a machine learns, from examples (B, …) of the data set and a source of random numbers.
Bits = Callable[[Tensor, torch.Generator], Tensor]
WATCHED = 5000


class RBMRecipe(NamedTuple):
    """How long, by which chains, and how the weights follow.

    `gibbs` counts the chains' steps an update; `chains` is the number of persistent ones, 0 for chains that begin in the batch.
    `life` is how many updates each persistent chain lives, 0 for ever: then it restarts from random bits and makes `warm`
    steps before it counts. Where chains mix too slowly to reach the stationary law, the law of chains of about that length is
    learned instead (Decelle, Furtlehner and Seoane 2021, "Equilibrium and non-equilibrium regimes in the learning of
    restricted Boltzmann machines"). The rate stays for the share `steady` of the run and then falls to 0 along a line. `decay`
    pulls W towards 0 (L2).
    """

    epochs: int
    batch_size: int = 100
    rate: float = 0.05
    steady: float = 0.5
    momentum: float = 0.5
    decay: float = 1e-4
    gibbs: int = 1
    chains: int = 0
    life: int = 0
    warm: int = 0


class _Ascent:
    """What moves beside the weights: their velocity by name, the persistent chains (C, visible), and the units' mean values."""

    def __init__(self, velocity: Statistics, chains: Tensor, centre: list[Tensor]):
        self.velocity, self.chains, self.centre = velocity, chains, centre

    def state_dict(self) -> dict[str, Any]:
        return {"velocity": self.velocity, "chains": self.chains, "centre": self.centre}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        device = self.chains.device
        self.velocity = {name: value.to(device, copy=True) for name, value in state["velocity"].items()}
        self.chains = state["chains"].to(device, copy=True)
        self.centre = [value.to(device, copy=True) for value in state["centre"]]


@torch.no_grad()
def train_rbm(
    rbm: RBM,
    recipe: RBMRecipe,
    data: Tensor,
    unseen: Tensor,
    bits: Bits,
    seed: int,
    run: Run | None = None,
    **extra: Any,
) -> Watched:
    """Train `rbm` in place on bits of `data` (N, …); a Progress after every epoch, all of them saved.

    unseen (M, …) is only measured. A fresh run begins with weights N(0, 0.01), the visible bias at the logit of the mean bit,
    and chains in bits of that mean. run, extra: see `Updates`, whose updates are epochs here.
    """
    device = rbm.weight.device
    weights = {name: parameter.data for name, parameter in rbm.named_parameters()}
    per_epoch = len(data) // recipe.batch_size
    source = source_of(seed, 0, str(device))
    mean = bits(data[:WATCHED], source).mean(dim=0)
    rbm.weight.copy_(0.01 * torch.randn(rbm.weight.shape, generator=source, device=device))
    rbm.visible_bias.copy_(mean.clamp(0.01, 0.99).logit())
    rbm.hidden_bias.zero_()
    chains = drawn(mean.expand(recipe.chains, -1), source)
    velocity = {name: torch.zeros_like(value) for name, value in weights.items()}
    ascent = _Ascent(velocity, chains, [mean, rbm.hidden_mean(mean[None])[0]])
    updates = Updates(run, {"rbm": rbm, "ascent": ascent}, recipe.epochs, "machine", **extra)

    @torch.no_grad()
    def epoch(number: int) -> dict[str, float]:
        means = Means()
        for step in range(number * per_epoch, (number + 1) * per_epoch):
            cancellation.check()
            source = source_of(seed, step + 1, str(device))
            visible = bits(data[batch_of(len(data), recipe.batch_size, seed, step)], source)
            hidden = rbm.hidden_mean(visible)
            if recipe.life:
                _begin_anew(rbm, ascent.chains, recipe, step, source)
            ascent.chains = block_gibbs(rbm, ascent.chains if recipe.chains else visible, recipe.gibbs, source)
            of_data = statistics(rbm, visible, hidden)
            for value, batch in zip(ascent.centre, (of_data["visible_bias"], of_data["hidden_bias"]), strict=True):
                value.lerp_(batch, 1 - MEAN_DECAY)
            uphill = centred(contrast(of_data, statistics(rbm, ascent.chains)), *ascent.centre)
            uphill["weight"] -= recipe.decay * rbm.weight
            rate = recipe.rate * min((recipe.epochs * per_epoch - step) / (recipe.epochs * per_epoch * (1 - recipe.steady)), 1)
            for name, value in weights.items():
                ascent.velocity[name].mul_(recipe.momentum).add_(uphill[name], alpha=rate)
                value.add_(ascent.velocity[name])
            means.add({"reconstruction_error": (visible - rbm.visible_mean(hidden)).square().mean()})
        return {**means.taken(), **free_energies(rbm, data[:WATCHED], unseen[:WATCHED], bits, seed)}

    return Watched(updates, 1, epoch, no_trouble)


def _begin_anew(rbm: RBM, chains: Tensor, recipe: RBMRecipe, step: int, source: torch.Generator) -> None:
    """Write new chains, already warm, over those whose life ends at this step: as many at any step as at any other."""
    edges = [recipe.chains * turn // recipe.life for turn in (step % recipe.life, step % recipe.life + 1)]
    old = slice(*edges)
    coins = drawn(torch.full_like(chains[old], 0.5), source)
    chains[old] = block_gibbs(rbm, coins, recipe.warm, source)


def block_gibbs(rbm: RBM, visible: Tensor, steps: int, source: torch.Generator) -> Tensor:
    """Visible bits (B, visible) after `steps` of all hidden bits at once, then all visible ones."""
    for _ in range(steps):
        hidden = drawn(rbm.hidden_mean(visible), source)
        visible = drawn(rbm.visible_mean(hidden), source)
    return visible


def drawn(mean: Tensor, source: torch.Generator) -> Tensor:
    """Independent bits of these means, float32."""
    return (torch.rand(mean.shape, generator=source, device=mean.device) < mean).float()


def statistics(rbm: RBM, visible: Tensor, hidden: Tensor | None = None) -> Statistics:
    """Means over the batch of v h, v and h with the mean of h given v in place of h, by name of the parameter."""
    hidden = rbm.hidden_mean(visible) if hidden is None else hidden
    return {
        "weight": visible.T @ hidden / len(visible),
        "visible_bias": visible.mean(dim=0),
        "hidden_bias": hidden.mean(dim=0),
    }


def contrast(of_data: Statistics, of_chains: Statistics) -> Statistics:
    """The direction in which the likelihood rises."""
    return {name: of_data[name] - of_chains[name] for name in of_data}


def centred(ascent: Statistics, visible: Tensor, hidden: Tensor) -> Statistics:
    """The ascent of the machine whose units are counted from `visible` (V,) and `hidden` (H,), in terms of this one's weights.

    E(v, h) = -b'.(v - visible) - c'.(h - hidden) - (v - visible) W (h - hidden) has W as its weights, b = b' - W hidden and
    c = c' - visible W as its biases.
    """
    weight = ascent["weight"] - torch.outer(ascent["visible_bias"], hidden) - torch.outer(visible, ascent["hidden_bias"])
    return {
        "weight": weight,
        "visible_bias": ascent["visible_bias"] - weight @ hidden,
        "hidden_bias": ascent["hidden_bias"] - visible @ weight,
    }


def free_energies(rbm: RBM, data: Tensor, unseen: Tensor, bits: Bits, seed: int) -> dict[str, float]:
    """Mean free energies of data that is learned and of unseen data; a gap that grows tells of overfitting (Hinton 2010)."""
    source = source_of(seed, 0, str(rbm.weight.device))
    of_data, of_unseen = (float(rbm(bits(one, source)).mean()) for one in (data, unseen))
    return {"free_energy_data": of_data, "free_energy_unseen": of_unseen, "free_energy_gap": of_unseen - of_data}
