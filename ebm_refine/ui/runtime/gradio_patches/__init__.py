"""All overrides of Gradio's classes, each with its reason.

Written for Gradio 6.31.0, which `pyproject.toml` pins; compare these files with the new source before raising the pin.
"""

from ebm_refine.ui.runtime.gradio_patches.page import Page

__all__ = ["Page"]
