"""From a discriminator to a log density ratio that can be trusted: raw logit, calibration, and a report on both.

An optimal discriminator's logit is d = log p_data / p_gen. A real one is off; on held-out images its error can be measured and,
as far as it is a matter of scale and offset, mended by logistic calibration (Platt 1999): r = slope * d + intercept.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from ebm_refine.errors import InputError

RATIOS = ("raw", "calibrated", "refitted")


class LogRatio(nn.Module):
    """Images (B, C, H, W) in [-1, 1] -> r (B,) = slope * D(x) + intercept; slope 1 and intercept 0 give the raw logit."""

    def __init__(self, network: nn.Module, slope: float = 1.0, intercept: float = 0.0):
        super().__init__()
        self.network, self.slope, self.intercept = network, slope, intercept

    def forward(self, images: Tensor) -> Tensor:
        return self.slope * self.network(images) + self.intercept


def log_ratio(networks: dict[str, nn.Module], config: dict[str, Any], which: str) -> LogRatio:
    """The ratio named `which` of a pair. Raises InputError where the model does not carry it."""
    present = available_ratios(config)
    if which not in present:
        raise InputError(f"ratio must be one of auto, {', '.join(present)} for this model; got {which!r}")
    if which == "refitted":
        return LogRatio(networks["ratio"])
    if which == "calibrated":
        return LogRatio(networks["discriminator"], **config["calibration"])
    return LogRatio(networks["discriminator"])


def available_ratios(config: dict[str, Any]) -> tuple[str, ...]:
    """The ratios that a checkpoint's config offers, in the order raw, calibrated, refitted."""
    roles = config["parts"]
    offered = {"raw": "discriminator" in roles, "calibrated": bool(config.get("calibration")), "refitted": "ratio" in roles}
    return tuple(name for name in RATIOS if offered[name])


def fit_calibration(on_real: Tensor, on_fake: Tensor) -> dict[str, float]:
    """Logistic regression of real (1) against fake (0) on the logit, equal weights: {"slope", "intercept"}.

    on_real, on_fake (N,) logits of held-out images and fresh fakes, equal in number. Raises ValueError where they are not.
    """
    from sklearn.linear_model import LogisticRegression

    if len(on_real) != len(on_fake):
        raise ValueError(f"as many real as fake logits are needed, got {len(on_real)} and {len(on_fake)}")
    logits = torch.cat([on_real, on_fake]).double().numpy()[:, None]
    labels = [1] * len(on_real) + [0] * len(on_fake)
    fit = LogisticRegression(C=math.inf, tol=1e-8, max_iter=1000).fit(logits, labels)
    return {"slope": float(fit.coef_[0, 0]), "intercept": float(fit.intercept_[0])}


def ratio_report(on_real: Tensor, on_fake: Tensor, bins: int = 10) -> dict[str, Any]:
    """How far r can be believed, from r on held-out real images (N,) and on fresh fakes (M,).

    - `cross_entropy`: mean of -log sigmoid(r) over real and -log sigmoid(-r) over fake; chance is log 2 = 0.693.
    - `z_statistic`: sum(y - D) / sqrt(sum D(1 - D)), standard normal where D = sigmoid(r) is calibrated (Turner et al. 2019).
    - `mean_weight`: E over fakes of exp(r), which is 1 for a perfect ratio; `log_mean_weight` its logarithm.
    - `effective_sample_share`: (sum w)^2 / (M * sum w^2) of the weights w = exp(r), 1 at best, 1/M where one fake has all.
    - `reliability`: by bins of D of equal width [count, mean D, share of real].
    """
    on_real, on_fake = on_real.double(), on_fake.double()
    r = torch.cat([on_real, on_fake])
    label = torch.cat([torch.ones_like(on_real), torch.zeros_like(on_fake)])
    probability = torch.sigmoid(r)
    softplus = torch.nn.functional.softplus
    log_mean_weight = torch.logsumexp(on_fake, 0) - math.log(len(on_fake))
    log_share = 2 * torch.logsumexp(on_fake, 0) - torch.logsumexp(2 * on_fake, 0) - math.log(len(on_fake))
    which = (probability * bins).long().clamp(max=bins - 1)
    reliability = [
        [int(mine.sum()), float(probability[mine].mean()), float(label[mine].mean())]
        for mine in (which == k for k in range(bins))
        if mine.any()
    ]
    return {
        "cross_entropy": float((softplus(-on_real).mean() + softplus(on_fake).mean()) / 2),
        "z_statistic": float((label - probability).sum() / (probability * (1 - probability)).sum().sqrt()),
        "log_mean_weight": float(log_mean_weight),
        "mean_weight": float(log_mean_weight.exp()),
        "effective_sample_share": float(log_share.exp()),
        "mean_on_real": float(on_real.mean()),
        "mean_on_fake": float(on_fake.mean()),
        "reliability": reliability,
        "n_real": len(on_real),
        "n_fake": len(on_fake),
    }
