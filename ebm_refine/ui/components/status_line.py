"""The line that says what a run is doing: words, and a bar where it is known how far it is."""

import html

from ebm_refine.result import Frame
from ebm_refine.ui.components.html_table import percent


def idle(text: str) -> str:
    """Words alone."""
    return f'<div aria-live="polite">{html.escape(text)}</div>'


def progress(text: str, share: float) -> str:
    """Words, and the share from 0 to 1 that is done."""
    return f'<div>{html.escape(text)}<div class="bar"><span style="width:{100 * share:.0f}%"></span></div></div>'


def progress_line(frame: Frame, seconds: float) -> str:
    """Where a running chain is."""
    where = f"step {frame.step} of {frame.n_steps} · mean energy {frame.mean_energy:.2f}"
    text = f"{where.replace('-', '−')} · {percent(frame.accepted)} accepted · {seconds:.1f} s"
    return progress(text, frame.step / frame.n_steps)
