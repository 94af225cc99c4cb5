"""The page and its HTTP interface. One file a tab; nothing is computed here: settings go to the pipeline, results to render."""

import os

# Before gradio is imported: the page asks nothing of anyone, and tells nobody anything.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

from ebm_refine.ui.page import build, launch

__all__ = ["build", "launch"]
