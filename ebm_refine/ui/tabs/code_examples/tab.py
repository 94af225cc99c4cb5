"""The API tab: how to make the same run from elsewhere."""

import os

import gradio as gr

from ebm_refine.errors import InputError
from ebm_refine.ui.api.energy import QUESTIONS
from ebm_refine.ui.components.controls import Controls
from ebm_refine.ui.tabs.code_examples import snippets
from ebm_refine.ui.tabs.energy.job import energy_models
from ebm_refine.ui.tabs.refine.job import checked

TITLE = "API"


def build(demo: gr.Blocks, controls: Controls) -> None:
    """Lay out the tab; its snippets follow the controls of the Refine tab."""
    gr.Markdown(
        "The same run from your own code: these snippets hold the settings of the **Refine** tab as they stand now. "
        "`/models` lists models, methods and parameters, `/status` says whether the service is ready; both answer at once."
    )
    with gr.Row():
        with gr.Column(min_width=360):
            client = gr.Code(label="Python client", language="python", interactive=False, elem_id="snippet-client")
            curl = gr.Code(label="curl", language="shell", interactive=False, elem_id="snippet-curl")
        with gr.Column(min_width=360):
            library = gr.Code(label="Python library", language="python", interactive=False, elem_id="snippet-library")
            line = gr.Code(label="Command line", language="shell", interactive=False, elem_id="snippet-cli")

    def written(request: gr.Request, *values):
        try:
            settings = checked(*controls.arguments(values))
        except InputError as error:
            said = f"# {error}"
            return said, said, said, said
        address = _address(request)
        space = os.environ.get("SPACE_ID")
        return (
            snippets.for_client(settings, space or address),
            snippets.for_library(settings),
            snippets.for_command_line(settings),
            snippets.for_curl(settings, address),
        )

    outputs = [client, library, line, curl]
    triggers = [demo.load, *(control.change for control in controls.inputs)]
    gr.on(
        triggers, written, controls.inputs, outputs, preprocess=False, queue=False, show_progress="hidden",
        trigger_mode="always_last", api_visibility="private",
    )  # fmt: skip
    if energy_models():
        _energies(demo, next(iter(energy_models())))


def _energies(demo: gr.Blocks, model: str) -> None:
    gr.Markdown(
        "Energies have two calls of their own: `/energy_sample` draws chains, `/energy_question` asks about images: "
        f"{', '.join(f'`{name}`' for name in QUESTIONS)}, each with options of its own."
    )
    code = gr.Code(label="Python client, energies", language="python", interactive=False, elem_id="snippet-energies")

    def written(request: gr.Request):
        return snippets.for_energies(model, os.environ.get("SPACE_ID") or _address(request))

    demo.load(written, None, code, queue=False, show_progress="hidden", api_visibility="private")


def _address(request: gr.Request) -> str:
    return str(request.request.base_url) if request.request else ""
