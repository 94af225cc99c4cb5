"""A picture under its title, fetched by address: light, sharp where it is enlarged, and nothing where there is none yet."""

import html
from typing import Any

import gradio as gr
from PIL import Image

from ebm_refine import render
from ebm_refine.ui.runtime.pictures import SHELF

WIDEST = 480


def picture_view(value: str = "", **options: Any) -> gr.HTML:
    """A component that shows what `shown` makes; empty, it takes no space."""
    return gr.HTML(value, apply_default_css=False, elem_classes="picture", **options)


def shown(picture: Image.Image | None, title: str, alt: str = "", quality: int | None = None, widest: int = WIDEST) -> str:
    """The value of a view; "" for no picture. Exact, or a smaller file where a quality is given.

    Small pictures are enlarged to at most `widest` pixels, large ones reduced to the available width.
    """
    if picture is None:
        return ""
    caption = f"<figcaption>{html.escape(title)}</figcaption>" if title else ""
    source = SHELF.put(render.webp(picture, quality))
    return (
        f"<figure>{caption}<img src='{source}' width='{picture.width}' height='{picture.height}' "
        f"style='max-width:{max(picture.width, widest)}px' alt='{html.escape(alt or title, quote=True)}'></figure>"
    )
