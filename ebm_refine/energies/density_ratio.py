"""From a discriminator to a log density ratio that can be trusted: raw score, two calibrations, and a report on all.

An optimal discriminator's logit is d = log p_data / p_gen. A real one is off; on held-out images its error can be measured and
mended: as far as it is a matter of scale and offset, by logistic calibration (Platt 1999), r = slope * d + intercept; as far as
the order of images is right, by isotonic calibration (Zadrozny and Elkan 2002). The score of a critic or of an autoencoder is
no logit at all until one of the two has made it one.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ebm_refine.errors import InputError

RATIOS = ("raw", "calibrated", "isotonic", "refitted")
# Sign and scale of the raw ratio by what the discriminator gives, "inverted" being a logit of "generated"; a critic's own scale
# is `critic_slope`, 1 if not stated.
RAW_SLOPES = {"logit": 1.0, "critic": 1.0, "energy": -1.0, "inverted": -1.0}
MIN_BLOCK = 50
MIN_SLOPE = 1e-3
TOP_SHARE = 0.1


class LogRatio(nn.Module):
    """Images (B, C, H, W) in [-1, 1] -> r (B,) = slope * D(x) + intercept; slope 1 and intercept 0 give the raw logit."""

    def __init__(self, network: nn.Module, slope: float = 1.0, intercept: float = 0.0):
        super().__init__()
        self.network, self.slope, self.intercept = network, slope, intercept

    def forward(self, images: Tensor) -> Tensor:
        return self.slope * self.network(images) + self.intercept


class Increasing(nn.Module):
    """Raw ratios (B,) -> r (B,), along straight lines between `knots`, (raw, r) strictly increasing in both.

    Beyond the first and the last knot the outermost lines go on, so that r is finite and its gradient positive everywhere.
    """

    starts: Tensor
    values: Tensor
    slopes: Tensor

    def __init__(self, knots: Sequence[Sequence[float]]):
        super().__init__()
        table = torch.tensor(knots, dtype=torch.float64)
        steps = table.diff(dim=0)
        self.register_buffer("starts", table[:-1, 0].float())
        self.register_buffer("values", table[:-1, 1].float())
        self.register_buffer("slopes", (steps[:, 1] / steps[:, 0]).float())

    def forward(self, raw: Tensor) -> Tensor:
        line = torch.searchsorted(self.starts[1:].contiguous(), raw.detach().contiguous())
        return self.values[line] + self.slopes[line] * (raw - self.starts[line])


def log_ratio(networks: dict[str, nn.Module], config: dict[str, Any], which: str) -> nn.Module:
    """The ratio named `which` of a pair: images -> r (B,). Raises InputError where the model does not carry it."""
    present = available_ratios(config)
    if which not in present:
        raise InputError(f"ratio must be one of auto, {', '.join(present)} for this model; got {which!r}")
    if which == "refitted":
        return LogRatio(networks["ratio"])
    discriminator, scale = networks["discriminator"], raw_slope(config)
    if which == "isotonic":
        return nn.Sequential(LogRatio(discriminator, scale), Increasing(config["isotonic"]))
    if which == "calibrated":
        calibration = config["calibration"]
        return LogRatio(discriminator, scale * calibration["slope"], calibration["intercept"])
    return LogRatio(discriminator, scale)


def of_scores(config: dict[str, Any], which: str) -> tuple[str, nn.Module]:
    """The role of the network that the ratio `which` reads, and what makes r (N,) of that network's scores (N,)."""
    role = "ratio" if which == "refitted" else "discriminator"
    return role, log_ratio({role: nn.Identity()}, config, which)


def raw_slope(config: dict[str, Any]) -> float:
    """What D(x) is multiplied by for the raw ratio: 1 for a logit, -1 for an energy, `critic_slope` for a critic.

    A critic's score has no scale of its own (Che et al. 2020 take it as it is, slope 1); beta is a temperature on top of it.
    """
    output = config.get("discriminator_output", "logit")
    return float(config.get("critic_slope", 1.0)) if output == "critic" else RAW_SLOPES[output]


def available_ratios(config: dict[str, Any]) -> tuple[str, ...]:
    """The ratios that a checkpoint's config offers, in the order of RATIOS; none where it has an energy."""
    roles = config["parts"]
    if "energy" in roles:
        return ()
    offered = {
        "raw": "discriminator" in roles,
        "calibrated": bool(config.get("calibration")),
        "isotonic": bool(config.get("isotonic")),
        "refitted": "ratio" in roles,
    }
    return tuple(name for name in RATIOS if offered[name])


def fit_calibration(on_real: Tensor, on_fake: Tensor) -> dict[str, float]:
    """Logistic regression of real (1) against fake (0) on the raw ratio, equal weights: {"slope", "intercept"}.

    on_real, on_fake (N,) raw ratios of held-out and of newly generated images, equal in number. Raises ValueError else.
    """
    from sklearn.linear_model import LogisticRegression

    logits, labels = _labelled(on_real, on_fake)
    fit = LogisticRegression(C=math.inf, tol=1e-8, max_iter=1000).fit(logits[:, None].numpy(), labels.numpy())
    return {"slope": float(fit.coef_[0, 0]), "intercept": float(fit.intercept_[0])}


def fit_isotonic(on_real: Tensor, on_fake: Tensor) -> list[list[float]]:
    """Isotonic regression of real (1) against fake (0) on the raw ratio, as knots of `Increasing`, [[raw, r], …].

    on_real, on_fake as for `fit_calibration`. A step function has no gradient, so each of its blocks becomes one knot: the
    block's mean raw ratio and the logit of its share of real. Shares increase strictly from block to block, and so does the
    line through the knots. One further observation of the other class at either end keeps the outermost shares off 0 and 1;
    blocks of fewer than 50 observations are joined, since lines between them would follow noise. Below the first knot r
    goes on with the logistic calibration's slope, so that gradients still point upwards among the worst images; above the last
    one with a tenth of it, so that no sample weighs much more than anything seen on held-out images.
    """
    from sklearn.isotonic import IsotonicRegression

    raw, labels = _labelled(on_real, on_fake)
    slope = max(fit_calibration(on_real, on_fake)["slope"], MIN_SLOPE)
    raw = torch.cat([raw, torch.stack([raw.min(), raw.max()])])
    labels = torch.cat([labels, labels.new_tensor([1.0, 0.0])])
    shares = torch.from_numpy(IsotonicRegression().fit_transform(raw.numpy(), labels.numpy()))
    # Interpolation inside a block leaves rounding errors, which must not split it.
    _, block = shares.mul(1e9).round().unique(return_inverse=True)
    knots = []
    for members in _joined(block):
        share = float(labels[members].mean())
        knots.append([float(raw[members].mean()), math.log(share / (1 - share))])
    (first, low), (last, high) = knots[0], knots[-1]
    return [[first - 1.0, low - slope], *knots, [last + 1.0, high + TOP_SHARE * slope]]


def ratio_report(on_real: Tensor, on_fake: Tensor, bins: int = 10) -> dict[str, Any]:
    """How good r is, from r on held-out real images (N,) and on newly generated ones (M,).

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


def _labelled(on_real: Tensor, on_fake: Tensor) -> tuple[Tensor, Tensor]:
    if len(on_real) != len(on_fake):
        raise ValueError(f"as many real as fake logits are needed, got {len(on_real)} and {len(on_fake)}")
    labels = torch.cat([torch.ones(len(on_real)), torch.zeros(len(on_fake))]).double()
    return torch.cat([on_real, on_fake]).double(), labels


def _joined(block: Tensor) -> list[Tensor]:
    """Masks (N,) bool of the blocks numbered in `block` (N,), neighbours joined until each has MIN_BLOCK members.

    What is left over at the top joins the last one, or is all there is.
    """
    members = []
    first, count = 0, 0
    sizes = torch.bincount(block).tolist()
    for number, size in enumerate(sizes):
        count += size
        if (count >= MIN_BLOCK and sum(sizes[number + 1 :]) >= MIN_BLOCK) or number == len(sizes) - 1:
            members.append((block >= first) & (block <= number))
            first, count = number + 1, 0
    return members
