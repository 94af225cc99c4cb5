"""The 2-D laboratory's recipes: four data sets, each with the trained families, and with generators known in closed form."""

from ebm_refine.toy2d.datasets import DATASETS, FAMILIES, law
from ebm_refine.training.pipelines.closed_form import ClosedForm
from ebm_refine.training.pipelines.toy_model import ToyModel, ToySettings

SETTINGS = {
    "gan": ToySettings(2000, widths=(80, 80, 80), ratio_steps=3000),
    "wgan": ToySettings(2000),
    "ebm": ToySettings(3000, mcmc_steps=5),
    "gan-ebm": ToySettings(3000, widths=(64, 64, 64), mcmc_steps=5),
}

# The ring's modes are sharp, and little of what its generator makes lies in some of them: with even odds the log ratio gives
# these wrong weights. Its energy is flat inside. Where many chains begin there anew, it rises to its bound but for a minimum at
# the centre, in which one chain from noise in ten stays.
RING = {
    "gan": SETTINGS["gan"]._replace(ratio_batch=1024, odds=32),
    "ebm": SETTINGS["ebm"]._replace(fresh=0.005, tails=0.04),
}


def _settings(dataset: str, family: str) -> ToySettings:
    return RING.get(family, SETTINGS[family]) if dataset == "ring8" else SETTINGS[family]


RECIPES = (
    *(ToyModel(dataset, family, _settings(dataset, family)) for dataset in DATASETS for family in FAMILIES),
    *(ClosedForm(dataset, "exact") for dataset in DATASETS),
    *(ClosedForm(dataset, "deficient") for dataset in DATASETS if law(dataset).num_modes > 1),
)
