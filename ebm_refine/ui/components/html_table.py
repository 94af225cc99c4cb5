"""Tables, verdicts, small print and numbers as HTML: everything that a page says in figures looks alike."""

import html
from collections.abc import Sequence
from typing import NamedTuple


def number(value: float | None, digits: int = 4) -> str:
    """A number with so many significant digits and a true minus; a dash where there is none."""
    if value is None:
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.{digits}g}".replace("-", "−")


def percent(share: float, digits: int = 0, sign: str = "") -> str:
    """A share from 0 to 1 in percent, with so many decimals, a true minus, and a plus where `sign` is "+"; never broken."""
    return f"{share:{sign}.{digits}%}".replace("%", "\u00a0%").replace("-", "−")


def interval(low: float, high: float, digits: int = 4) -> str:
    """Both ends."""
    return f"{number(low, digits)} … {number(high, digits)}"


class Cell(NamedTuple):
    """A cell that is more than plain text: HTML, a CSS class, and a style."""

    content: str
    kind: str = ""
    style: str = ""


def bar(share: float, beside: str = "") -> Cell:
    """A bar across so much of its cell, and HTML beside it."""
    return Cell(f"<span class='length' style='width:{100 * share:.1f}%'></span>{beside}", "share")


def dotted(colour: str, text: str) -> Cell:
    """A plain text after a dot of the colour that a chart's line has."""
    return Cell(f"<span class='dot' style='background:{colour}'></span>{html.escape(text)}")


def table(
    head: Sequence[str], rows: Sequence[Sequence[str | Cell]], kinds: Sequence[str] = (), wide: bool = False,
    caption: str = "", css: str = "", name: str = "Table",
) -> str:  # fmt: skip
    """Texts and cells as a table, the first of each row its heading. `kinds` are the rows' CSS classes, `css` that of
    the whole; `wide` may be scrolled sideways, and has a `name` for screen readers."""
    body = []
    for number_, (first, *others) in enumerate(rows):
        kind = kinds[number_] if number_ < len(kinds) else ""
        cells = "".join(map(_cell, others))
        heading = first.content if isinstance(first, Cell) else html.escape(str(first))
        body.append(f"<tr{_classed(kind)}><th scope='row'>{heading}</th>{cells}</tr>")
    named = f"<caption class='small'>{html.escape(caption)}</caption>" if caption else ""
    above = f"<thead><tr>{headings(head)}</tr></thead>" if head else ""
    made = f"<table{_classed(css)}>{named}{above}<tbody>{''.join(body)}</tbody></table>"
    return f"<div class='wide' tabindex='0' role='region' aria-label='{html.escape(name)}'>{made}</div>" if wide else made


def _cell(cell: str | Cell) -> str:
    if isinstance(cell, str):
        return f"<td>{html.escape(cell)}</td>"
    style = f" style='{cell.style}'" if cell.style else ""
    return f"<td{_classed(cell.kind)}{style}>{cell.content}</td>"


def _classed(kind: str) -> str:
    return f" class='{kind}'" if kind else ""


def headings(titles: Sequence[str]) -> str:
    """Plain texts as headings of columns. Above a column without one is an empty cell: a heading of nothing is read aloud."""
    return "".join(f"<th scope='col'>{html.escape(title)}</th>" if title else "<td></td>" for title in titles)


def small(*sentences: str) -> str:
    """Small print, each argument a plain text."""
    return f"<p class='small'>{html.escape(' '.join(sentences))}</p>"


def verdict(kind: str, sentence: str) -> str:
    """What decides, marked as "better", "worse", "same" or "unknown"."""
    return f'<p class="verdict {kind}" role="status">{html.escape(sentence)}</p>'


def panel(*parts: str) -> str:
    """HTML parts that belong together."""
    return f"<div class='panel'>{''.join(parts)}</div>"
