"""Fit the log ratio of vectors: logistic regression of real ones against generated ones by a perceptron."""

import copy
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ebm_refine.models.networks.own_ratio import VectorRatio
from ebm_refine.training.common.averages import follow
from ebm_refine.training.common.resumable import Run
from ebm_refine.training.common.stopping import Stopping, train_to_lowest


class VectorRecipe(NamedTuple):
    """AdamW with a rate that falls linearly to zero; the average of the weights is the result. `batch_size` a side."""

    steps: int
    batch_size: int = 256
    rate: float = 1e-3
    weight_decay: float = 1e-2
    average_decay: float = 0.99
    measure_every: int = 100
    patience: int = 8


def train_vector_ratio(
    network: VectorRatio, recipe: VectorRecipe, train: Tensor, pool: Tensor, judges: tuple[Tensor, Tensor], run: Run, seed: int
) -> dict[str, Any]:
    """Fit `network`, in place, to log p_data - p_gen from `train` and `pool` (N, d), and leave it at its best averaged state.

    `judges`, real and generated vectors, tell when to stop. Returns as `ratio_learning.train_ratio`; resumed likewise.
    """
    torch.manual_seed(seed)
    network.standardise(train)
    average = copy.deepcopy(network).eval().requires_grad_(False)
    adam = torch.optim.AdamW(network.parameters(), lr=recipe.rate, weight_decay=recipe.weight_decay)

    def update(step: int) -> None:
        network.train()
        adam.param_groups[0]["lr"] = recipe.rate * (1 - step / recipe.steps)
        real, fake = (rows[torch.randint(len(rows), (recipe.batch_size,))] for rows in (train, pool))
        loss = (F.softplus(-network(real)).mean() + F.softplus(network(fake)).mean()) / 2
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
        follow(average, network, recipe.average_decay, step)

    @torch.no_grad()
    def cross_entropy(real: Tensor, fake: Tensor) -> float:
        return float((F.softplus(-average(real)).mean() + F.softplus(average(fake)).mean()) / 2)

    def measure() -> dict[str, float]:
        count = len(judges[0])
        return {
            "holdout_cross_entropy": cross_entropy(*judges),
            "train_cross_entropy": cross_entropy(train[:count], pool[:count]),
        }

    stopping = Stopping(recipe.steps, recipe.measure_every, recipe.patience)
    parts = {"network": network, "average": average, "adam": adam}
    best = train_to_lowest(parts, "average", update, measure, stopping, run, "ratio")
    network.load_state_dict(best["weights"])
    network.eval().requires_grad_(False)
    return {"step": best["step"], "steps_run": best["steps_run"], **best["measured"]}
