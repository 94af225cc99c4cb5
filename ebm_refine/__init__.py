"""Better samples from trained GANs: generator and discriminator define an energy, which is sampled; the gain is measured."""

from importlib import import_module
from typing import Any

from ebm_refine.catalogue import list_models, load
from ebm_refine.errors import CheckpointError, InputError
from ebm_refine.models.pair import pair
from ebm_refine.pipeline import refine, stream
from ebm_refine.result import Frame, RefineResult
from ebm_refine.utils.moved import install

install()

# What needs more than sampling does is loaded when it is first used.
_LATER = {
    "evaluate": "ebm_refine.evaluation.own_evaluation",
    "fit_ratio": "ebm_refine.training.pipelines.ratio_fitting",
    "panel": "ebm_refine.metrics.panel",
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module 'ebm_refine' has no attribute {name!r}")


__version__ = "0.1.0"
__all__ = [
    "CheckpointError",
    "Frame",
    "InputError",
    "RefineResult",
    "evaluate",
    "fit_ratio",
    "list_models",
    "load",
    "pair",
    "panel",
    "refine",
    "stream",
]
