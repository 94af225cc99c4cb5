"""The page of code examples: how to make a run from elsewhere. Its address holds the settings, as a link to a run does."""

import html
import os
from typing import Any

import gradio as gr

from ebm_refine.errors import InputError
from ebm_refine.ui.api.energy import QUESTIONS
from ebm_refine.ui.components.code_block import code_block, shown
from ebm_refine.ui.components.run_bar import PRIVATE
from ebm_refine.ui.tabs.code_examples import snippets
from ebm_refine.ui.tabs.energy.job import energy_models
from ebm_refine.ui.tabs.refine.job import checked, first_model
from ebm_refine.ui.tabs.refine.share_link import settings_from

TITLE = "API"


def build(demo: gr.Blocks) -> None:
    """Lay out the page; its snippets hold the settings that its address names, or else the Demo page's first ones."""
    gr.Markdown(
        "The same run from your own code. After a run on the **Demo** page, *Files and code → Repeat this run from code* opens "
        "this page with its settings; a value that is left out is chosen by the method. `/models` lists models, methods and "
        "parameters, `/status` says whether the service is ready; both answer at once."
    )
    with gr.Row():
        with gr.Column(min_width=320):
            client = code_block(elem_id="snippet-client")
            curl = code_block(elem_id="snippet-curl")
        with gr.Column(min_width=320):
            library = code_block(elem_id="snippet-library")
            line = code_block(elem_id="snippet-cli")
    how: dict[str, Any] = {**PRIVATE, "queue": False}

    def written(request: gr.Request) -> tuple[str, ...]:
        try:
            settings = settings_from(dict(request.query_params)) or checked(first_model(), {})
        except InputError as error:
            gr.Warning(f"The address's settings were not used: {html.escape(str(error), quote=False)}")
            settings = checked(first_model(), {})
        address = _address(request)
        space = os.environ.get("SPACE_ID")
        return (
            shown("Python client", snippets.for_client(settings, space or address)),
            shown("Python library", snippets.for_library(settings)),
            shown("Command line", snippets.for_command_line(settings)),
            shown("curl", snippets.for_curl(settings, address)),
        )

    demo.load(written, None, [client, library, line, curl], **how)
    if energy_models():
        _energies(demo, next(iter(energy_models())), how)


def _energies(demo: gr.Blocks, model: str, how: dict[str, Any]) -> None:
    gr.Markdown(
        "Energies have two calls of their own: `/energy_sample` draws chains, `/energy_question` asks about images: "
        f"{', '.join(f'`{name}`' for name in QUESTIONS)}, each with options of its own."
    )
    code = code_block(elem_id="snippet-energies")

    def written(request: gr.Request) -> str:
        return shown("Python client, energies", snippets.for_energies(model, os.environ.get("SPACE_ID") or _address(request)))

    demo.load(written, None, code, **how)


def _address(request: gr.Request) -> str:
    """Where the service is: the address of the Demo page."""
    if not request.request:
        return ""
    return str(request.request.base_url)
