"""Better samples from GANs that are already trained: their discriminator read as an energy, sampled, and honestly measured."""

from ebm_refine.catalogue import list_models, load
from ebm_refine.errors import CheckpointError, InputError
from ebm_refine.models.pair import pair
from ebm_refine.pipeline import refine, stream
from ebm_refine.result import Frame, RefineResult

__version__ = "0.1.0"
__all__ = ["CheckpointError", "Frame", "InputError", "RefineResult", "list_models", "load", "pair", "refine", "stream"]
