"""Every recipe that begins at data, by the name of the model that it makes: `python -m ebm_refine train RECIPE`.

To add a model: a row in the file of its data set or family. A recipe is a NamedTuple of data, defined beside the pipeline that
makes a checkpoint of it; a new kind of it is also a row of `training.pipelines.train.PIPELINES`.
"""

from typing import Any

from ebm_refine.training.recipes import celeba, cifar10, mnist, mnist_energy_gans, panels, toys

RECIPES: dict[str, Any] = {
    recipe.name: recipe for family in (cifar10, celeba, mnist, mnist_energy_gans, panels, toys) for recipe in family.RECIPES
}
