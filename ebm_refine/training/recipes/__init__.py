"""The recipes behind the embedded checkpoints, one data set or family a file."""

from ebm_refine.utils.moved import names_of

__getattr__ = names_of("ebm_refine.training.recipes", "ebm_refine.training.pipelines.train")
