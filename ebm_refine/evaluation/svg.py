"""What the pictures of results have in common: an SVG document described in words, a frame, its axes and their numbers.

No library is needed, and a picture is a few kilobytes of text.
"""

import math
from html import escape
from typing import NamedTuple


class Box(NamedTuple):
    """The inside of a diagram, in pixels of the picture; rows of pixels count from above."""

    left: float
    top: float
    width: float
    height: float


def document(width: float, height: float, title: str, words: str, *parts: str) -> str:
    """A white picture of `parts`. Screen readers say its `title` and the sentences `words`."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" font-family="sans-serif" '
        f'font-size="11">'
        f"<title>{escape(title)}</title><desc>{escape(words)}</desc>"
        f'<rect width="{width}" height="{height}" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


def frame(box: Box) -> str:
    return f'<rect x="{box.left}" y="{box.top}" width="{box.width}" height="{box.height}" fill="none" stroke="#999"/>'


def tick_left(box: Box, y: float, text: str) -> str:
    """A number of the vertical axis, and a pale line across the frame at its height."""
    return (
        f'<path d="M{box.left} {y:.1f}h{box.width}" stroke="#eee"/>'
        f'<text x="{box.left - 4}" y="{y + 4:.1f}" text-anchor="end">{escape(text)}</text>'
    )


def tick_below(box: Box, x: float, text: str) -> str:
    """A number of the horizontal axis."""
    return f'<text x="{x:.1f}" y="{box.top + box.height + 14}" text-anchor="middle">{escape(text)}</text>'


def name_below(box: Box, text: str) -> str:
    """What the horizontal axis measures."""
    middle, y = box.left + box.width / 2, box.top + box.height + 30
    return f'<text x="{middle}" y="{y}" text-anchor="middle">{escape(text)}</text>'


def level(box: Box, y: float, text: str) -> str:
    """A dotted line across the frame, with its name at the right end."""
    return (
        f'<path d="M{box.left} {y:.1f}h{box.width}" stroke="#333" stroke-dasharray="2 3"/>'
        f'<text x="{box.left + box.width - 3}" y="{y - 4:.1f}" text-anchor="end">{escape(text)}</text>'
    )


def ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers from low to high."""
    raw = (high - low) / 5
    unit = 10 ** math.floor(math.log10(raw))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= raw)
    first = math.ceil(low / step - 1e-9)
    return [round(step * number, 10) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten from low to high, both positive."""
    powers = range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 1)
    numbers = (factor * 10.0**power for power in powers for factor in (1, 2, 5))
    return [float(f"{number:.0e}") for number in numbers if low <= number <= high]
