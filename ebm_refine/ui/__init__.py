"""The page and its HTTP interface. One file a tab; nothing is computed here: settings go to the pipeline, results to render."""

import os

# Before gradio is imported: the page asks nothing of anyone, and tells nobody anything.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
# Nor does it count its calls for a dashboard that is switched off: Gradio would make a table of the last 10,000 after each.
os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", "1000000000")
os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "1")

from ebm_refine.ui.runtime.gradio_import import import_gradio

import_gradio()

from ebm_refine.ui.app import build, launch, options  # noqa: E402

__all__ = ["build", "launch", "options"]
