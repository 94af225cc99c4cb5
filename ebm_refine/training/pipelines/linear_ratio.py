"""Refit the log ratio of a finished pair as one linear in a classifier's features and the pixels averaged to 8x8.

A network with hidden layers, given pixels, tells every generated image from every real one by the generator's own traits, which
no choice among its images can mend. A linear one, fitted by the means that the refined law shall have
(`training.algorithms.moment_matching`), weighs brightness, colour and layout beside content.
"""

from typing import Any

from ebm_refine.catalogue import load
from ebm_refine.models.checkpoint import Part
from ebm_refine.models.ratio_file import weights_hash
from ebm_refine.models.refits import REFITS, refits_table
from ebm_refine.training.algorithms.feature_ratio import features_of, on_frozen_body
from ebm_refine.training.algorithms.moment_matching import match_moments, refits
from ebm_refine.training.algorithms.ratio_learning import finish, pair_of, sides_of
from ebm_refine.training.common.job import Job

# The models whose ratio lends its body, one's own included. It was trained on real images alone, and knows no generator.
BODY_OF = {"cifar10": "cifar10-dcgan", "mnist": "mnist-gan", "celeba": "celeba-dcgan"}
SIDE = 8
# The effective share of the generated images under the ratio. Chosen on holdout by the panel: smaller shares lost in the
# contrastive kind, larger ones gained less.
SHARE = 0.2
# How often the head is fitted again, to resampled images, so that a run can show how far r is decided by them.
REFITTED = 8


def linear_ratio(job: Job) -> None:
    """A linear head on an embedded body's features and SIDE x SIDE pixels. The fit is exact; `steps` has no meaning here."""
    dataset = pair_of(job).config["data"]["dataset"]
    sides, source = sides_of(job), load(BODY_OF[dataset])
    seen = source.config["parts"]["ratio"]["arguments"]
    arguments = {"body": seen["body"], "arguments": seen["arguments"], "hidden": 0, "dropout": 0.0, "pixels": SIDE}
    seeing: Any = source.networks["ratio"]
    network = on_frozen_body(arguments, seeing.body)

    # No mirror images: a generator that was trained on mirrored ones may turn things either way, and this shows in the pixels.
    real, fake = (features_of(network, pixels, job.device) for pixels in (sides.train.pixels, sides.pool))
    measured: dict[str, Any] = match_moments(network, real.cpu(), fake.cpu(), SHARE)
    again = refits(network, real.cpu(), fake.cpu(), measured["ridge"], REFITTED, job.seed)
    learned = source.config.get("training", {}).get("ratio", {}).get("body", {})
    measured |= {"step": 1, "body": {**learned, "model": source.name, "sha256": weights_hash(network.body)}}
    part = Part("feature-ratio", arguments, network)
    finish(job, "linear-ratio", "ratio", part, None, sides, measured, "exact solution", {REFITS: refits_table(network, again)})
