"""The Energy models tab: noise slides into digits, and the questions that an energy can answer."""

import gradio as gr

from ebm_refine.ui.components.digit_input import DigitInput
from ebm_refine.ui.tabs.energy import benchmark_table as energy_measured
from ebm_refine.ui.tabs.energy import chains as energy_chains
from ebm_refine.ui.tabs.energy import panels as energy_words
from ebm_refine.ui.tabs.energy import questions as energy_questions
from ebm_refine.ui.tabs.energy import training_history as energy_story
from ebm_refine.ui.tabs.energy.job import energy_models, first_energy, labelled_models

TITLE = "Energy models"
_HEAD = f"""Such a model gives every image x a number, its energy E(x): low for what looks like a digit, high for anything else.
The probability of an image is proportional to exp(−E(x)). {energy_words.ONE_MODEL}"""
_NO_LABELS = "No model with labels is embedded: this needs an energy E(x, y), such as `mnist-jem`."


def build() -> None:
    """Lay out the tab and wire it. There must be a model to ask."""
    models = energy_models()
    gr.Markdown(_HEAD, elem_classes="note")
    model = gr.Dropdown(
        [(info.config.get("title", name), name) for name, info in models.items()], value=first_energy().name, label="Model",
        elem_id="energy-model",
    )  # fmt: skip
    gr.Markdown("## From noise to digits")
    energy_chains.from_noise(model)
    energy_story.story(model)
    if energy_measured.present():
        energy_measured.build()
    gr.Markdown("## Ask it about a digit")
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            digit = DigitInput("digit")
        with gr.Column(scale=2, min_width=320), gr.Tabs():
            with gr.Tab("Complete"):
                energy_chains.completing(model, digit)
            with gr.Tab("Denoise"):
                energy_chains.denoising(model, digit)
            with gr.Tab("Detect"):
                energy_questions.detecting(model, digit)
            with gr.Tab("Rank"):
                energy_questions.ranking(model, digit)
            with gr.Tab("Classify"):
                if labelled_models():
                    energy_questions.classifying(model, digit)
                else:
                    gr.Markdown(_NO_LABELS)
    gr.Markdown("## Read a row of digits")
    if labelled_models():
        energy_questions.reading_a_row(model)
    else:
        gr.Markdown(_NO_LABELS)
