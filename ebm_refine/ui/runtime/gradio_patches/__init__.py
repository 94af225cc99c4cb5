"""What this page needs otherwise than Gradio does it, all in one place: overrides of its classes, each with its reason.

Written for Gradio 6.31.0, which `pyproject.toml` pins; whoever raises the pin reads these files against the new source.
"""

from ebm_refine.ui.runtime.gradio_patches.page import Page

__all__ = ["Page"]
