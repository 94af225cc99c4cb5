"""What real samples say against a pair of one's own before anything is sampled: that its score's sign is turned, or that its
prior is not the one of the training. Neither shows in a small call.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ebm_refine.data.images import Images, to_unit
from ebm_refine.energies.density_ratio import raw_slope
from ebm_refine.energies.own_target import generated
from ebm_refine.errors import InputError
from ebm_refine.metrics.distances import frechet_distance
from ebm_refine.metrics.own_evaluator import coarse, reference_of
from ebm_refine.models.checkpoint import Checkpoint
from ebm_refine.models.pair import Pair

SAMPLES, BATCH, SEED = 1000, 100, 1_000_007
# Fewer real samples say nothing.
LEAST = 100
# Another prior is named where it brings the samples so much nearer; the lesser spread of uniform latents alone can do 0.8.
NEARER = 0.7
OTHER = {"normal": "uniform", "uniform": "normal"}
TURNED = {"logit": "inverted", "inverted": "logit", "critic": "energy", "energy": "critic"}


def other_prior(pair: Pair, real: Images, device: str = "cpu") -> str:
    """A sentence where samples under the other usual prior are much nearer to the real ones; "" where they are not."""
    prior = pair.config["prior"]
    if prior["name"] not in OTHER or len(real.pixels) < LEAST:
        return ""
    found = {}
    for name in (prior["name"], OTHER[prior["name"]]):
        config = {**pair.config, "prior": {**prior, "name": name}}
        found[name] = _distance(generated(replace(pair, config=config, _prepared={}), SAMPLES, SEED, device), real.pixels)
    taken, other = found.values()
    if not other < NEARER * taken:
        return ""
    name = OTHER[prior["name"]]
    return (
        f"generated samples are at {taken:.3g} from the real ones, and with prior={name!r} they would be at {other:.3g}: if "
        "the generator was trained with that prior, give it"
    )


def see_that_real_is_preferred(pair: Pair, real: Images, device: str = "cpu") -> None:
    """Raises InputError where the pair's own score ranks generated samples above real ones, beyond three standard errors."""
    score: Any = pair.prepared_on(device, torch.float32).networks.get("discriminator")
    labelled = getattr(score, "takes_labels", False)
    if score is None or len(real.pixels) < LEAST or labelled:
        return
    some = real.pixels[:SAMPLES]
    on_real, on_fake = (_scores(score, side, device) for side in (some, generated(pair, len(some), SEED, device)))
    above = raw_slope(pair.config) * (on_real[:, None] - on_fake[None])
    ranked = float((above > 0).double().mean() + 0.5 * (above == 0).double().mean())
    # The variance of the Mann-Whitney statistic of two samples of one law.
    error = ((2 * len(some) + 1) / (12 * len(some) ** 2)) ** 0.5
    if ranked < 0.5 - 3 * error:
        output = pair.config["discriminator_output"]
        raise InputError(
            f"the discriminator, read as {output}, ranks a real sample above a generated one in {ranked:.0%} of pairs only: "
            f"its sign is turned, give output={TURNED[output]!r}; or it is not this generator's, fit a ratio with fit_ratio"
        )


def see_that_real_tells(pair: Checkpoint, real: Images) -> None:
    """Raises InputError for real samples that are all the same one, and for classes that the model lacks."""
    first = real.pixels[0]
    if all(torch.equal(one, first) for one in real.pixels):  # ends at the first that differs
        raise InputError(f"all {len(real.pixels)} real samples are the same one: give samples of the data")
    classes = (pair.config.get("labels") or {}).get("count")
    if classes and real.labels is not None and (most := int(real.labels.max())) >= classes:
        raise InputError(f"real has labels up to {most}, but {pair.name!r} has classes 0 to {classes - 1}: give both the same")


@torch.no_grad()
def _scores(score: Any, samples: Tensor, device: str) -> Tensor:
    as_given = samples.ndim == 2
    return torch.cat([score((part if as_given else to_unit(part)).to(device)).double().cpu() for part in samples.split(BATCH)])


def _distance(generated: Tensor, real: Tensor) -> float:
    if real.ndim == 4:
        return frechet_distance(coarse(generated), reference_of(coarse(real[:SAMPLES])))
    mean, deviation = real.mean(0), real.std(0)
    scale = torch.where(deviation > 0, deviation, 1.0)
    return frechet_distance((generated - mean) / scale, reference_of((real[:SAMPLES] - mean) / scale))
