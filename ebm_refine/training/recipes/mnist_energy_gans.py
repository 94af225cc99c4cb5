"""The MNIST recipes whose discriminator is an autoencoder: EBGAN without and with the pulling-away term, BEGAN, MAGAN.

`steps` counts batches. The generators are those of `mnist-gan`, so that the pairs can be set beside it and one another.

On a GPU they begin at N(0, 0.02), as published. On a CPU they begin as the generator of `mnist-gan` and play a short game: from
random weights an EBGAN had made no digits after 4,000 batches of 64, but one shape (squared cosine of codes 0.8).
"""

from typing import Any

from ebm_refine.training.algorithms.autoencoder_game import AutoencoderRecipe
from ebm_refine.training.common.job import Job
from ebm_refine.training.pipelines.energy_gan import energy_gan
from ebm_refine.training.recipes.mnist import DATA, generator

MARGIN = 10.0
PULLING_WEIGHT = 20.0
# Short games from a finished generator. MAGAN's margin moves at the end of the second epoch at the earliest. Against a D at
# 1e-3, EBGAN's digits get worse from batch 2,000 on. Where BEGAN begins, L(G(z)) is 0.93 L(x): at a gamma below that, k
# is 0 until the digits have become blots that are easy to reconstruct.
_EVEN = {"rate_g": 1e-3, "rate_d": 2e-4, "pretraining_steps": 300, "measure_every": 250}
ON_CPU: dict[str, dict[str, Any]] = {
    "ebgan": {"steps": 5000, **_EVEN},
    "ebgan-pt": {"steps": 5000, **_EVEN},
    "began": {"steps": 8000, "rate_g": 1e-4, "rate_d": 5e-4, "pretraining_steps": 1000, "measure_every": 250, "gamma": 0.95},
    "magan": {"steps": 3400, "rate_g": 2e-4, "rate_d": 1e-3, "pretraining_steps": 300, "measure_every": 500},
}
DEFAULTS: dict[str, Any] = {"method": "langevin", "ratio": "calibrated", "langevin": {"eps": 0.1, "n_steps": 20}}


def mnist_ebgan(job: Job) -> None:
    """Margin loss at a fixed margin; D is a norm."""
    _pair(job, "mnist-ebgan", "EBGAN on MNIST", "norm", _recipe(job, family="ebgan", margin=MARGIN))


def mnist_ebgan_pt(job: Job) -> None:
    """The same with the pulling-away term. The published weight is 0.1 beside a mean square.

    The norm N of d pixels and their mean square S go as N = sqrt(d S), so that dN / dS = d / (2 N): at the margin N = m that
    makes 0.1 d / (2 m) = 3.92 in this norm's unit. Tried here, 3.92 kept codes apart only once EBGAN's own had begun to gather,
    after the state that ships; 20 keeps them apart from the start and makes better digits.
    """
    recipe = _recipe(job, family="ebgan-pt", pulling_weight=PULLING_WEIGHT)
    _pair(job, "mnist-ebgan-pt", "EBGAN-PT on MNIST", "norm", recipe)


def mnist_began(job: Job) -> None:
    """Boundary equilibrium: k steered towards the balance gamma; D is a mean absolute error."""
    _pair(job, "mnist-began", "BEGAN on MNIST", "mean-absolute", _recipe(job, family="began", gamma=0.5))


def mnist_magan(job: Job) -> None:
    """A margin that begins at the pretrained autoencoder's mean D(real) and falls; D is a norm."""
    _pair(job, "mnist-magan", "MAGAN on MNIST", "norm", _recipe(job, family="magan"))


def _recipe(job: Job, **settings: Any) -> AutoencoderRecipe:
    if job.device == "cpu":
        settings |= ON_CPU[settings["family"]]
        return AutoencoderRecipe(**{**settings, "steps": job.steps or settings["steps"], "batch_size": 32})
    pretraining = 1000 if settings["family"] == "magan" else 0
    return AutoencoderRecipe(job.steps or 60_000, measure_every=2000, pretraining_steps=pretraining, **settings)


def _pair(job: Job, name: str, title: str, error: str, recipe: AutoencoderRecipe) -> None:
    widths = [16, 32] if job.device == "cpu" else [32, 64]
    energy_gan(
        job,
        name=name,
        title=title,
        **DATA,
        generator=generator(job),
        autoencoder={"widths": widths, "channels": 1, "side": 28, "code": 32, "error": error},
        recipe=recipe,
        defaults=DEFAULTS,
        begins_at="mnist-gan" if job.device == "cpu" else None,
    )
