"""How to bring a GAN of one's own: five lines of Python. The served page runs no code and unpickles no file of a visitor."""

import gradio as gr

from ebm_refine.ui.components.code_block import code_block, shown

TITLE = "Your own GAN"

INTRODUCTION = """Any generator will do, whatever its architecture: a callable that turns latents into images or vectors. A
discriminator, critic or any other score may come with it; without one, a log ratio is fitted to your own real samples. This
page runs no code of its visitors, so it happens on your machine, with the Python library or the command line."""

PYTHON = """import ebm_refine

pair = ebm_refine.pair(generator, discriminator, latent=128)      # your own modules, or any two functions
pair = ebm_refine.fit_ratio(pair, "my-pictures/")                 # reports how far to trust the ratio
result = ebm_refine.refine(pair, "langevin", num_images=64)
result.save("refined")
ebm_refine.evaluate(pair, methods=["langevin"], real="held-out-pictures/")
"""

SHELL = """python -m ebm_refine fit-ratio --model my_gan:make_pair --real my-pictures/ --out ratio.safetensors
python -m ebm_refine evaluate --model my_gan:make_pair --methods langevin --real held-out-pictures/ --out report
"""

IMPORT = """python -m ebm_refine import netG.pth netD.pth --dataset mine --data my-pictures/ --out models/mine
python app.py --models models
"""

WORDS = """- `latent` is a dimension or a shape, such as `(128, 1, 1)`; `prior` is `"normal"`, `"uniform"` (on [−1, 1]) or your
  own.
- `output` says what the score means: `"logit"`, `"critic"`, `"energy"` (low is real) or `"inverted"`; `value_range` how images
  are coded, `(-1, 1)` or `(0, 1)`.
- A small test call checks shapes, types, batch norm, and that the generator draws no noise of its own. An error names in one
  sentence what is wrong.
- Real pictures must be cropped and resized exactly as for the training of the generator."""


def build() -> None:
    """Lay out the tab."""
    gr.Markdown(INTRODUCTION)
    code_block(shown("Python", PYTHON), elem_id="own-python")
    gr.Markdown(WORDS)
    gr.Markdown("`my_gan:make_pair` is a function in `my_gan.py` that returns `ebm_refine.pair(…)`:")
    code_block(shown("Command line", SHELL), elem_id="own-shell")
    gr.Markdown(
        "Files of weights in the layouts of the DCGAN family and of perceptrons become a checkpoint folder, which holds no "
        "code; a page of your own shows it beside the others:"
    )
    code_block(shown("Files of weights", IMPORT), elem_id="own-import")
