"""Code to copy. Plain text in a frame: Gradio's editor is a megabyte of scripts, and its colours are too pale to be read."""

import html

import gradio as gr

_COPY = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (!button || !navigator.clipboard) return;
  navigator.clipboard.writeText(element.querySelector('code').textContent).then(() => {
    button.textContent = 'Copied';
    setTimeout(() => { button.textContent = 'Copy'; }, 1500);
  }).catch(() => {});
});
"""


def code_block(value: str = "", **options: object) -> gr.HTML:
    """A component that shows what `shown` makes."""
    return gr.HTML(value, js_on_load=_COPY, apply_default_css=False, elem_classes="code-block", **options)  # type: ignore[arg-type]


def shown(title: str, text: str) -> str:
    """The value of a code block."""
    title = html.escape(title)
    return (
        f'<div class="head"><h2>{title}</h2><button type="button">Copy</button></div>'
        f'<pre tabindex="0" role="region" aria-label="{title}"><code>{html.escape(text)}</code></pre>'
    )
