"""Serves the page: `python app.py`. Hugging Face Spaces start this file too."""

from ebm_refine.ui import build, launch

demo = build()

if __name__ == "__main__":
    launch(demo)
