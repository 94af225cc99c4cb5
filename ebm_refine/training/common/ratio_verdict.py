"""Whether a fitted ratio can be believed: what its report says, in words."""

from typing import Any

import torch
from torch import Tensor

from ebm_refine.energies.density_ratio import fit_calibration, ratio_report

CHANCE = 0.6931
# Below this many effective samples among the generated ones the weights hang on a handful.
LEAST_EFFECTIVE = 20


def full_report(on_real: Tensor, on_fake: Tensor, weighed: Tensor) -> dict[str, Any]:
    """`ratio_report` of r on held-out real (N,) and on fresh generated samples (N,), and some numbers more.

    What concerns the weights exp(r) is of `weighed` (M,), r on further generated samples, which are to be had in any number.

    - `calibration_slope`: of a logistic regression on r, 1 where r is right, below 1 where it is overconfident;
      `calibration_slope_error` its standard error.
    - `mean_weighted`: the mean of r over generated samples weighted by exp(r), that is over the law that will be sampled. Where
      r is right it equals `mean_on_real`.
    - `mean_error`: the standard error of the difference of these two means.
    """
    weights = torch.softmax(weighed.double(), 0)
    weighted = float((weights * weighed).sum())
    spread = (weights.square() * (weighed - weighted).square()).sum() + on_real.double().var() / len(on_real)
    r = torch.cat([on_real, on_fake]).double()
    known = torch.sigmoid(r) * torch.sigmoid(-r)
    information = (known * (r - (known * r).sum() / known.sum()).square()).sum()
    of_weights = ratio_report(on_real, weighed)
    return {
        **ratio_report(on_real, on_fake),
        **{name: of_weights[name] for name in ("mean_weight", "log_mean_weight", "effective_sample_share")},
        "n_weighed": len(weighed),
        "calibration_slope": fit_calibration(on_real, on_fake)["slope"],
        "calibration_slope_error": float(1 / information.clamp(min=1e-12).sqrt()),
        "mean_weighted": weighted,
        "mean_error": float(spread.sqrt()),
    }


def in_words(report: dict[str, Any]) -> str:
    """One or two sentences with the numbers that they rest on."""
    entropy, slope = report["cross_entropy"], report["calibration_slope"]
    effective = report["effective_sample_share"] * report["n_weighed"]
    apart = report["mean_weighted"] - report["mean_on_real"]
    figures = (
        f"holdout cross-entropy {entropy:.3f} (chance 0.693), calibration slope {slope:.2f} ± "
        f"{report['calibration_slope_error']:.2f}, effective sample share {report['effective_sample_share']:.3f}, mean r "
        f"{report['mean_on_real']:.2f} over real and {report['mean_weighted']:.2f} over weighted samples, "
        f"{report['n_real']} + {report['n_fake']} held out"
    )
    doubts = []
    if entropy > CHANCE - 0.01:
        return f"Nothing to gain: the ratio hardly tells real from generated samples ({figures})."
    if slope + 2 * report["calibration_slope_error"] < 0.8:
        doubts.append("it is overconfident (use a beta below 1, or more real samples)")
    if effective < LEAST_EFFECTIVE:
        doubts.append(
            f"its weights rest on about {effective:.0f} of {report['n_weighed']} samples, because the generator is far from "
            "the data: use gradient methods or a beta below 1 rather than rejection"
        )
    if abs(apart) > max(3 * report["mean_error"], 0.1 * abs(report["mean_on_real"]) + 0.1):
        doubts.append("its means over weighted and over real samples differ")
    if doubts:
        return f"Use with care: {'; '.join(doubts)} ({figures})."
    return f"To be believed: it is calibrated, and its weights are spread ({figures})."
