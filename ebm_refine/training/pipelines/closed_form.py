"""Models of points that need no training: a generator known in closed form, with the discriminator that is optimal for it.

Two generators for each data set. `exact`: one broad Gaussian, which knows nothing of the data. `deficient`: the data's own law
but for the weights of its modes. In both the logit log p_data - log p_gen is exactly right, so whatever a sampler gets wrong is
its own.
"""

from typing import Any, NamedTuple

import torch

from ebm_refine.models.checkpoint import Part, save_checkpoint
from ebm_refine.models.model_card import model_card
from ebm_refine.models.networks.mixture import MixtureGenerator, MixtureLogRatio
from ebm_refine.toy2d.datasets import BOX, TITLES, Mixture, deficient, law
from ebm_refine.training.common.job import Job

BROAD = 1.4
RESOLUTION = 500
# The bound is found on a grid and at the components; this much more lies above what may be between them.
MARGIN = 0.02
GENERATORS = {"exact": "one broad Gaussian", "deficient": "the data's modes with weights 1, 2, 3 and 4 in turn"}


class ClosedForm(NamedTuple):
    """A model of the plane's data set `dataset` with the generator "exact" or "deficient"."""

    dataset: str
    generator: str

    @property
    def name(self) -> str:
        return f"toy-{self.dataset}-{self.generator}"


def closed_form(job: Job, recipe: ClosedForm) -> None:
    """Write down the model in `job.folder`."""
    data, own = law(recipe.dataset), deficient(recipe.dataset) if recipe.generator == "deficient" else broad()
    components = (len(data.centres), len(own.centres))
    network, ratio = MixtureGenerator(components[1]), MixtureLogRatio(*components)
    network.law.filled(own.centres, own.weights, own.width)
    ratio.data.filled(data.centres, data.weights, data.width)
    ratio.generator.filled(own.centres, own.weights, own.width)
    parts = {
        "generator": Part("mixture-generator", {"components": components[1]}, network),
        "discriminator": Part(
            "mixture-log-ratio", {"data_components": components[0], "generator_components": components[1]}, ratio
        ),
    }
    config: dict[str, Any] = {
        "kind": "points",
        "title": f"closed-form discriminator of {TITLES[recipe.dataset]}; generator: {GENERATORS[recipe.generator]}",
        "prior": {"name": "mixture", "dim": 2},
        "data": {"shape": [2], "range": [-BOX, BOX], "dataset": recipe.dataset},
        "discriminator_output": "logit",
        "defaults": {
            "method": "rejection",
            "rejection": {"n_steps": 10_000, "log_bound": round(log_bound(ratio, data), 4)},
            "langevin": {"eps": round((data.width / 4) ** 2, 8), "n_steps": 200},
            "i-sir": {"n_steps": 100, "particles": 100},
        },
        "training": {"recipe": recipe.name, "steps": 0, "unit": "none: known in closed form"},
    }
    save_checkpoint(job.folder, config, parts, model_card({**config, "name": recipe.name}), dtype=torch.float32)


def broad() -> Mixture:
    """One Gaussian about the origin that covers every data set."""
    return Mixture(torch.zeros(1, 2), BROAD, torch.ones(1), torch.zeros(1, dtype=torch.int64))


@torch.no_grad()
def log_bound(ratio: MixtureLogRatio, data: Mixture) -> float:
    """A number above every value of the log ratio: its maximum on a fine grid and at the components, and a margin."""
    side = torch.linspace(-BOX, BOX, RESOLUTION)
    # Where one component meets a broad generator, the maximum lies a little outside the component's centre.
    outside = data.centres / (1 - (data.width / BROAD) ** 2)
    points = torch.cat([torch.cartesian_prod(side, side), data.centres, outside])
    return max(float(ratio(part).max()) for part in points.split(4096)) + MARGIN
