"""Serves the page: `python app.py`. Hugging Face Spaces start this file too."""

from ebm_refine.ui import build, launch, options

demo = build(**(options() if __name__ == "__main__" else {}))

if __name__ == "__main__":
    launch(demo)
