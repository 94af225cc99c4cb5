"""Tables, verdicts, small print and numbers as HTML: everything that a page says in figures looks alike."""

import html
from collections.abc import Sequence


def number(value: float | None, digits: int = 4) -> str:
    """A number with so many significant digits and a true minus; a dash where there is none."""
    if value is None:
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.{digits}g}".replace("-", "−")


def interval(low: float, high: float, digits: int = 4) -> str:
    """Both ends."""
    return f"{number(low, digits)} … {number(high, digits)}"


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], kinds: Sequence[str] = (), wide: bool = False, caption: str = ""
) -> str:
    """Plain texts as a table, the first of each row its heading. `kinds` are the rows' CSS classes; `wide` may be scrolled."""
    body = []
    for number_, (first, *others) in enumerate(rows):
        kind = f" class='{kinds[number_]}'" if number_ < len(kinds) and kinds[number_] else ""
        cells = "".join(f"<td>{html.escape(cell)}</td>" for cell in others)
        body.append(f"<tr{kind}><th scope='row'>{html.escape(first)}</th>{cells}</tr>")
    named = f"<caption class='small'>{html.escape(caption)}</caption>" if caption else ""
    made = f"<table>{named}{f'<thead><tr>{headings(head)}</tr></thead>' if head else ''}<tbody>{''.join(body)}</tbody></table>"
    return f"<div class='wide' tabindex='0' role='region' aria-label='Table'>{made}</div>" if wide else made


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
