"""The page as a whole: its tabs, its endpoints, and how it is served."""

import argparse
import html
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
from fastapi import Request
from fastapi.responses import JSONResponse
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware

from ebm_refine import catalogue
from ebm_refine.tasks import digit_preprocessing as digits
from ebm_refine.ui import theme as look
from ebm_refine.ui.api import energy as energy_api
from ebm_refine.ui.api import energy_gans as energy_gans_api
from ebm_refine.ui.api import refine as api
from ebm_refine.ui.api import sweep as sweep_api
from ebm_refine.ui.api import toy2d as laboratory_api
from ebm_refine.ui.components import opening_results
from ebm_refine.ui.runtime import freed_memory, limits
from ebm_refine.ui.runtime.gradio_patches import Page
from ebm_refine.ui.runtime.index_page import IndexPage, preview
from ebm_refine.ui.runtime.pictures import ASSETS, asset, routes, script
from ebm_refine.ui.tabs.code_examples import tab as calls
from ebm_refine.ui.tabs.compare import tab as compare
from ebm_refine.ui.tabs.energy import job as asking
from ebm_refine.ui.tabs.energy import tab as energy
from ebm_refine.ui.tabs.energy_gans import tab as energy_gans
from ebm_refine.ui.tabs.own_gan import tab as own_gan
from ebm_refine.ui.tabs.refine import tab as refine
from ebm_refine.ui.tabs.refine.job import refinable_models
from ebm_refine.ui.tabs.sweep import tab as sweep
from ebm_refine.ui.tabs.toy2d import tab as laboratory
from ebm_refine.ui.tabs.toy2d.job import toy_models

NAME = "EBM Refine"
TITLE = "Better samples from GANs that are already trained"
LEAD = (
    "A GAN's discriminator is thrown away after training, although it can tell good samples from bad ones. Here it, or another "
    "network trained for that task, guides a Markov chain that improves the generator's samples, and independent measurements "
    "say by how much."
)
HEADER = f"""# {TITLE}
{LEAD}"""
PREVIEW = "preview.png"
SESSIONS = 64
LATEX: list[dict[str, str | bool]] = [
    {"left": "$$", "right": "$$", "display": True},
    {"left": "$", "right": "$", "display": False},
]


def build(data: str | None = None) -> gr.Blocks:
    """The pages, ready to be launched. No network, no weights: models are read when they are used.

    `data` is a folder of training images, whose nearest one is shown beside a generated one; None shows no training image.
    """
    present = {page.path: page for page in _pages() if page.present()}
    with Page(title=NAME, analytics_enabled=False, fill_width=True, delete_cache=(600, 1800)) as demo:
        api.add(demo)  # first: a private event of the same name must not push a pinned name aside
        energy_api.add(demo)
        laboratory_api.add(demo)
        energy_gans_api.add(demo)
        sweep_api.add(demo)
        gr.Markdown(HEADER, elem_id="title")
        if refinable_models():
            refine.build(demo, data)
        else:
            gr.Markdown("No model is embedded: put a checkpoint folder into `checkpoints/` and start again.")
        with gr.Accordion("How it works, and how to read the numbers", open=False, elem_id="article"):
            gr.Markdown((ASSETS / "article.md").read_text(), latex_delimiters=LATEX)
        # Last, so that Run is the first thing that the keyboard reaches; the style shows it first.
        gr.HTML(_links(present.values(), ""), elem_id="pages", apply_default_css=False, js_on_load=None)
    for path, page in present.items():
        if path:
            with demo.route(page.title, path):
                gr.Markdown(f"# {page.title}", elem_id="title")
                page.build(demo)
                gr.HTML(_links(present.values(), path), elem_id="pages", apply_default_css=False, js_on_load=None)
    opening_results.show(demo)
    # Direct calls must not pass by the queue: two runs would share the device. On a Space this is Gradio's own default.
    demo.queue(max_size=limits.MAX_WAITING, api_open=False)
    return demo


class Route(NamedTuple):
    """One page: its path, its title, whether its models are embedded, and what lays it out."""

    path: str
    title: str
    present: Callable[[], bool]
    build: Callable[[gr.Blocks], object]


def _pages() -> list[Route]:
    """All pages in the order of the links; the first is laid out by `build`."""

    def any_model() -> bool:
        return bool(refinable_models())

    return [
        Route("", refine.TITLE, lambda: True, lambda demo: None),
        Route("play", laboratory.TITLE, lambda: bool(toy_models()), lambda demo: laboratory.build()),
        Route("compare", compare.TITLE, any_model, lambda demo: compare.build()),
        Route("sweep", sweep.TITLE, lambda: any(map(sweep.sweepable, refinable_models())), lambda demo: sweep.build()),
        Route("energies", energy.TITLE, lambda: bool(asking.energy_models()), lambda demo: energy.build()),
        Route("energy-gans", energy_gans.TITLE, energy_gans.present, lambda demo: energy_gans.build()),
        Route("own", own_gan.TITLE, lambda: True, lambda demo: own_gan.build()),
        Route("code", calls.TITLE, any_model, calls.build),
    ]


def _links(pages: Iterable[Route], here: str) -> str:
    links = "".join(
        f'<a href="{html.escape("./" + page.path)}"{" aria-current=page" if page.path == here else ""}>'
        f"{html.escape(page.title)}</a>"
        for page in pages
    )
    return f'<nav aria-label="Pages"><strong>{NAME}</strong>{links}</nav>'


def options(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """The options of `python app.py …`, as arguments of `build`. Bad input ends it with one line and status 2."""
    parser = argparse.ArgumentParser(prog="app.py", description="Serve the page.")
    parser.add_argument("--data", help="folder of CelebA's parquet files: shows the training face nearest to a generated one")
    parser.add_argument("--models", help="folder of checkpoint folders of your own, shown beside the embedded ones")
    chosen = parser.parse_args(arguments)
    if chosen.models is not None:
        if not any(Path(chosen.models).glob("*/config.json")):
            parser.error(f"--models must be a folder that holds checkpoint folders; got {chosen.models!r}")
        os.environ[catalogue.OWN_MODELS] = str(Path(chosen.models).resolve())
    if chosen.data is not None and not any(Path(chosen.data).glob("train-*.parquet")):
        parser.error(f"--data must be a folder that holds train-*.parquet; got {chosen.data!r}")
    return {"data": chosen.data}


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
        "app_kwargs": {
            "exception_handlers": {TypeError: _named_call, KeyError: _named_call},
            "routes": routes(),
            # The outermost first: pages and scripts travel compressed, pictures and streams as they are.
            "middleware": [Middleware(GZipMiddleware, minimum_size=1000, compresslevel=6), Middleware(IndexPage, head=_head)],
        },
        "theme": look.theme(),
        "css": (ASSETS / "page.css").read_text(),
    }
    freed_memory.share_arenas()
    return demo.launch(**{**ours, **options})


def _head(path: str) -> str:
    """What belongs into the head of the page at `path`."""
    title = next((page.title for page in _pages() if page.path == path), NAME)
    return preview(f"{NAME}: {TITLE if not path else title}", LEAD, asset(PREVIEW)) + script("page.js")


async def _named_call(request: Request, error: Exception) -> JSONResponse:
    """Gradio's endpoint for calls by name raises on unknown and missing names; the caller gets an error message, not a 500."""
    path = request.url.path
    if "/call/v2/" not in path:
        raise error
    if isinstance(error, KeyError):
        return JSONResponse({"detail": "there is no such endpoint; see /gradio_api/info"}, status_code=404)
    known = next((start for start in ("Parameter `", "No value provided") if str(error).startswith(start)), None)
    if known is None:
        raise error
    return JSONResponse({"detail": html.escape(str(error).partition(" Please click")[0][:200], quote=False)}, status_code=422)
