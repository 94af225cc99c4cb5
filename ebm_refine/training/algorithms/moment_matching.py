"""A log ratio that is linear in features, fitted so that the refined law has the features' means over real samples.

Among all laws p_gen(x) exp(r(x)) with r(x) = w·f(x) - log E_gen[exp(w·f)] the one of greatest likelihood on real samples solves

    max_w  E_real[w·f] - log E_gen[exp(w·f)] - ridge |w|² / 2,

a convex problem: KLIEP (Sugiyama et al. 2008, "Direct importance estimation for covariate shift adaptation") in its log-linear
form (Tsuboi et al. 2009), also known as exponential tilting. At its solution E_real[f] - E_law[f] = ridge w. So without a ridge
the means of all features agree, and with them the mean of r itself: r is as large over the law that samplers draw from as it is
over real samples. A classifier's logit that is linear in f has no such property where the true log ratio is not linear.
"""

from typing import Any

import torch
from torch import Tensor

from ebm_refine.errors import InputError
from ebm_refine.models.networks.ratio import FeatureRatio
from ebm_refine.samplers.flow import effective_share

ITERATIONS, TOLERANCE = 200, 1e-7
# Between which the ridge is sought, and how often the interval is halved, on a logarithmic scale.
RIDGES, HALVINGS = (1e-4, 1e2), 12


@torch.no_grad()
def match_moments(network: FeatureRatio, real: Tensor, fake: Tensor, share: float) -> dict[str, float]:
    """Fit the linear head of `network`, in place, to features (N, d) and (M, d) of real and generated samples.

    Features are standardised by the real ones' mean and deviation and cut off, as the head does it. The ridge, in these units,
    is the least of RIDGES under which the weights exp(r) of the generated samples have an effective share of at least `share`
    in (0, 1): (sum w)² / (M sum w²). So the ratio asks for no more than a chain or a selection can give. The solution is
    unique, and depends on no seed. Returns {"ridge", "effective_share", "mean_gap"}, the last E_real[r] - E_law[r], which is
    ridge |w|².

    Raises InputError where the network's head is not linear.
    """
    norm: Any = network.head[0]
    if len(network.head) != 2:
        raise InputError("moments are matched by a linear head; give the network hidden=0")
    norm.reset_running_stats()
    norm.running_mean.copy_(real.mean(0))
    norm.running_var.copy_(real.var(0))
    network.head.eval()
    wanted = network.head(real).double().mean(0)
    seen = network.head(fake).double()
    weights = torch.zeros_like(wanted)
    low, high = RIDGES
    for _ in range(HALVINGS):
        ridge = (low * high) ** 0.5
        weights = tilt(wanted, seen, ridge, weights)
        low, high = (low, ridge) if effective_share(seen @ weights) >= share else (ridge, high)
    ridge = high
    weights = tilt(wanted, seen, ridge, weights)
    log_weights = seen @ weights
    network.last.weight.copy_(weights[None])
    network.last.bias.fill_(_bias(log_weights))
    law = torch.softmax(log_weights, 0) @ seen
    return {"ridge": ridge, "effective_share": effective_share(log_weights), "mean_gap": float((wanted - law) @ weights)}


@torch.no_grad()
def refits(network: FeatureRatio, real: Tensor, fake: Tensor, ridge: float, count: int, seed: int) -> list[dict[str, Tensor]]:
    """The fitted head of `network`, fitted `count` times more to features drawn with replacement (bootstrap; Efron 1979).

    `real` (N, d), `fake` (M, d) and `ridge` are those of `match_moments`; each refit takes N and M rows of them, and is
    normalised over its own. Returns of each "last.weight" (1, d) and "last.bias" (1,) float32.
    """
    source = torch.Generator().manual_seed(seed)
    on_real, on_fake = network.head(real).double(), network.head(fake).double()
    start, found = network.last.weight[0].double(), []
    for _ in range(count):
        drawn, seen = (rows[torch.randint(len(rows), (len(rows),), generator=source)] for rows in (on_real, on_fake))
        weight = tilt(drawn.mean(0), seen, ridge, start)
        found.append({"last.weight": weight[None].float(), "last.bias": torch.tensor([_bias(seen @ weight)])})
    return found


def _bias(log_weights: Tensor) -> float:
    """What makes the mean of exp(r) over generated samples one."""
    return -float(torch.logsumexp(log_weights, 0) - torch.tensor(float(len(log_weights))).log())


def tilt(wanted: Tensor, seen: Tensor, ridge: float, start: Tensor) -> Tensor:
    """The weights (d,) that solve this for the mean `wanted` (d,) of real and the generated features `seen` (M, d), float64.

    The search begins at `start` (d,), which changes the time that it takes, not what it finds.
    """
    weights = start.clone().requires_grad_()
    solver = torch.optim.LBFGS(
        [weights], max_iter=ITERATIONS, tolerance_grad=TOLERANCE, tolerance_change=0.0, history_size=20,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def loss() -> Any:
        solver.zero_grad()
        with torch.enable_grad():
            value = torch.logsumexp(seen @ weights, 0) - weights @ wanted + ridge / 2 * weights @ weights
            value.backward()
        return value

    solver.step(loss)
    return weights.detach()
