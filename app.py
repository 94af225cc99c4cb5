"""Serves the page: `python app.py`. Hugging Face Spaces start this file too."""

import gc

# A start makes millions of objects that stay; looking among them for what could go takes a fifth of it.
gc.disable()

from ebm_refine.ui import build, launch, options  # noqa: E402

demo = build(**(options() if __name__ == "__main__" else {}))
gc.freeze()
gc.enable()

if __name__ == "__main__":
    launch(demo)
