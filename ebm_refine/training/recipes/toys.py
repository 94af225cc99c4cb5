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

RECIPES = (
    *(ToyModel(dataset, family, SETTINGS[family]) for dataset in DATASETS for family in FAMILIES),
    *(ClosedForm(dataset, "exact") for dataset in DATASETS),
    *(ClosedForm(dataset, "deficient") for dataset in DATASETS if law(dataset).num_modes > 1),
)
