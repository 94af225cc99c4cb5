"""The page as a whole: its tabs, its endpoints, and how it is served."""

import argparse
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import Request
from fastapi.responses import JSONResponse

from ebm_refine.tasks import digit_preprocessing as digits
from ebm_refine.ui import theme as look
from ebm_refine.ui.api import energy as energy_api
from ebm_refine.ui.api import energy_gans as energy_gans_api
from ebm_refine.ui.api import refine as api
from ebm_refine.ui.api import sweep as sweep_api
from ebm_refine.ui.api import toy2d as laboratory_api
from ebm_refine.ui.runtime import limits
from ebm_refine.ui.runtime.gradio_patches import Page
from ebm_refine.ui.tabs.code_examples import tab as calls
from ebm_refine.ui.tabs.compare import tab as compare
from ebm_refine.ui.tabs.energy import job as asking
from ebm_refine.ui.tabs.energy import tab as energy
from ebm_refine.ui.tabs.energy_gans import tab as energy_gans
from ebm_refine.ui.tabs.refine import tab as refine
from ebm_refine.ui.tabs.refine.job import refinable_models
from ebm_refine.ui.tabs.sweep import tab as sweep
from ebm_refine.ui.tabs.toy2d import tab as laboratory
from ebm_refine.ui.tabs.toy2d.job import toy_models

HEADER = """# Better samples from GANs that are already trained
A generator and its discriminator are together an energy-based model. Sample it properly, watch the images change, and see from
honest numbers whether they got better."""
SESSIONS = 64
LATEX: list[dict[str, str | bool]] = [
    {"left": "$$", "right": "$$", "display": True},
    {"left": "$", "right": "$", "display": False},
]


def build(data: str | None = None) -> gr.Blocks:
    """The page, ready to be launched. No network, no weights: models are read when they are used.

    `data` is a folder of training images, whose nearest one is shown beside a generated one; None shows no training image.
    """
    with Page(title="ebm_refine", analytics_enabled=False, fill_width=True, delete_cache=(600, 1800)) as demo:
        api.add(demo)  # first: a private event of the same name must not push a pinned name aside
        energy_api.add(demo)
        laboratory_api.add(demo)
        energy_gans_api.add(demo)
        sweep_api.add(demo)
        gr.Markdown(HEADER, elem_id="title")
        if refinable_models():
            with gr.Tabs():
                with gr.Tab(refine.TITLE):
                    controls = refine.build(demo, data)
                with gr.Tab(compare.TITLE):
                    compare.build()
                if any(sweep.sweepable(name) for name in refinable_models()):
                    with gr.Tab(sweep.TITLE):
                        sweep.build()
                if asking.energy_models():
                    with gr.Tab(energy.TITLE):
                        energy.build()
                if energy_gans.present():
                    with gr.Tab(energy_gans.TITLE):
                        energy_gans.build()
                if toy_models():
                    with gr.Tab(laboratory.TITLE):
                        laboratory.build()
                with gr.Tab(calls.TITLE):
                    calls.build(demo, controls)
        else:
            gr.Markdown("No model is embedded: put a checkpoint folder into `checkpoints/` and start again.")
        gr.Markdown((Path(__file__).parent / "assets" / "article.md").read_text(), latex_delimiters=LATEX, elem_id="article")
    # Direct calls must not pass by the queue: two runs would share the device. On a Space this is Gradio's own default.
    demo.queue(max_size=limits.MAX_WAITING, api_open=False)
    return demo


def options(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """What `python app.py …` may be told, as arguments of `build`. Bad input ends it with one line and status 2."""
    parser = argparse.ArgumentParser(prog="app.py", description="Serve the page.")
    parser.add_argument("--data", help="folder of CelebA's parquet files: shows the training face nearest to a generated one")
    chosen = parser.parse_args(arguments)
    if chosen.data is not None and not any(Path(chosen.data).glob("train-*.parquet")):
        parser.error(f"--data must be a folder that holds train-*.parquet; got {chosen.data!r}")
    return vars(chosen)


def launch(demo: gr.Blocks, **options: Any) -> Any:
    """Serve the page; `options` are those of `gr.Blocks.launch` and win over ours."""
    ours: dict[str, Any] = {
        "show_error": False,
        # Only a visitor's picture of a digit is ever uploaded: a telephone's photograph fits, a film does not.
        "max_file_size": digits.MAX_BYTES,
        "enable_monitoring": False,
        "strict_cors": True,
        "footer_links": [],
        "ssr_mode": False,
        "run_history": False,
        # Every visitor and every call leaves a session with what it showed; Gradio would keep ten thousand of them.
        "state_session_capacity": SESSIONS,
        "app_kwargs": {"exception_handlers": {TypeError: _named_call, KeyError: _named_call}},
        "theme": look.theme(),
        "css": look.CSS,
    }
    return demo.launch(**{**ours, **options})


async def _named_call(request: Request, error: Exception) -> JSONResponse:
    """Gradio's endpoint for calls by name raises on unknown and missing names; the caller is told, not shown a 500."""
    path = request.url.path
    if "/call/v2/" not in path:
        raise error
    if isinstance(error, KeyError):
        return JSONResponse({"detail": "there is no such endpoint; see /gradio_api/info"}, status_code=404)
    known = next((start for start in ("Parameter `", "No value provided") if str(error).startswith(start)), None)
    if known is None:
        raise error
    return JSONResponse({"detail": html.escape(str(error).partition(" Please click")[0][:200], quote=False)}, status_code=422)
