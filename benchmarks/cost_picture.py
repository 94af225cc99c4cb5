"""The picture of `benchmarks/cost_quality.py`: a labelled point a method, processor time to the right, median change upwards.

Colours are verdicts, and each has a word in the legend; squares are other libraries, hollow circles baselines without a chain.
A label that would cover another one or a point moves away from its point, and a line leads back to it.
"""

import math
from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

from ebm_refine.evaluation.svg import Box, document, frame, level, log_ticks, name_below, tick_below, tick_left

BOX = Box(52, 42, 700, 460)
WIDTH, HEIGHT = 776, 580
# Okabe and Ito's colours, which stay apart for colour-blind readers.
COLOURS = {"confirmed": "#009e73", "open": "#8c6d00", "contradicted": "#d55e00"}
BASELINES = ("best of", "truncation")
# Changes above this are drawn at the upper edge, their number in the label.
MOST_SHOWN = 0.5
RADIUS, LETTER, LINE = 4.5, 5.8, 12.0


class Rectangle(NamedTuple):
    left: float
    top: float
    right: float
    bottom: float

    def covers(self, other: "Rectangle") -> bool:
        return self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom


def drawn(results: dict[str, Any]) -> str:
    """The text of an SVG picture of the results, described in words for screen readers."""
    rows = [row for row in results["rows"] if row["verdict"]["median_gain"] is not None]
    changes = [-row["verdict"]["median_gain"] for row in rows]
    low, high = min(changes) - 0.06, min(max([*changes, 0.0]) + 0.08, MOST_SHOWN)
    times = [row["milliseconds"] for row in rows]
    first, last = min(times) / 1.25, max(times) * 1.7

    def spot(time: float, change: float) -> tuple[float, float]:
        across = math.log(time / first) / math.log(last / first)
        up = (min(change, high) - low) / (high - low)
        return BOX.left + BOX.width * across, BOX.top + BOX.height * (1 - up)

    tenths = [number / 10 for number in range(math.ceil(10 * low), math.floor(10 * high) + 1)]
    parts = [frame(BOX)]
    parts += [tick_left(BOX, spot(first, tick)[1], f"{tick:+.0%}" if tick else "0%") for tick in tenths]
    parts += [tick_below(BOX, spot(tick, 0.0)[0], f"{tick:g}") for tick in log_ticks(first, last)]
    parts.append(name_below(BOX, "milliseconds of processor time an image (logarithmic)"))
    parts.append(
        f'<text x="{BOX.left - 44}" y="{BOX.top - 14}">median change of the kernel distance from {results["split"]} images, '
        "less is better</text>"
    )
    parts.append(level(BOX, spot(first, 0.0)[1], "base"))
    spots = [spot(time, change) for time, change in zip(times, changes, strict=True)]
    labels = [f"{name} ({change:+.0%})" if change > high else name for name, change in zip(names(rows), changes, strict=True)]
    parts += [_mark(row, *where) for row, where in zip(rows, spots, strict=True)]
    for row, where, text, rectangle in zip(rows, spots, labels, _placed(spots, labels), strict=True):
        parts.append(_label(text, COLOURS[row["verdict"]["word"]], where, rectangle))
    title = f"{results['model']}: median change of the kernel distance against processor time an image, by method"
    return document(WIDTH, HEIGHT, title, in_words(results), *parts, _legend())


def in_words(results: dict[str, Any]) -> str:
    """One sentence a method: its time, its change, its verdict; the greatest gain first."""
    said = [
        f"{name}: {row['milliseconds']:.1f} ms, {-row['verdict']['median_gain']:+.0%}, {row['verdict']['word']}."
        for name, row in zip(names(results["rows"]), results["rows"], strict=True)
        if row["verdict"]["median_gain"] is not None
    ]
    return " ".join(said)


def names(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The methods' names; where one occurs several times, with the first setting in which those rows differ."""
    found = []
    for row in rows:
        same = [_numbers(one) for one in rows if one["method"] == row["method"]]
        differing = [name for name in _numbers(row) if len({str(one.get(name)) for one in same}) > 1]
        shown = differing[0] if differing else None
        found.append(f"{row['method']}, {shown} {_numbers(row)[shown]:g}" if shown else row["method"])
    return found


def _numbers(row: dict[str, Any]) -> dict[str, float]:
    settings = row["settings"]
    given = {"eps": settings.get("eps"), **(settings.get("options") or {}), "n_steps": settings.get("n_steps")}
    return {name: value for name, value in given.items() if isinstance(value, int | float)}


def _placed(spots: Sequence[tuple[float, float]], labels: Sequence[str]) -> list[Rectangle]:
    """A rectangle for each label, in the frame and clear of all points, labels and lines: the nearest such to its point."""
    points = [_about(x, y, RADIUS + 1) for x, y in spots]
    taken: list[Rectangle] = []
    by_row: dict[int, Rectangle] = {}
    # From above to below, so that of a crowd's labels none jumps over another.
    for row in sorted(range(len(spots)), key=lambda row: (spots[row][1], spots[row][0])):
        others = [*points[:row], *points[row + 1 :], *taken]
        candidates = sorted(_around(*spots[row], LETTER * len(labels[row])), key=lambda pair: pair[0])
        clear = (
            rectangle
            for _, rectangle in candidates
            if _inside(rectangle)
            and not any(rectangle.covers(other) for other in (points[row], *others))
            and not any(piece.covers(other) for piece in _line(spots[row], rectangle) for other in others)
        )
        chosen = next(clear, candidates[0][1])
        taken += [chosen, *_line(spots[row], chosen)]
        by_row[row] = chosen
    return [by_row[row] for row in range(len(spots))]


def _about(x: float, y: float, radius: float) -> Rectangle:
    return Rectangle(x - radius, y - radius, x + radius, y + radius)


def _end(spot: tuple[float, float], rectangle: Rectangle) -> tuple[float, float]:
    """The nearest place of a label's rectangle to its point, a little inside where letters leave it empty."""
    x, y = spot
    return min(max(x, rectangle.left), rectangle.right), min(max(y, rectangle.top + 2), rectangle.bottom - 1)


def _line(spot: tuple[float, float], rectangle: Rectangle) -> list[Rectangle]:
    """The line from a point to its label as small rectangles from the point's edge on; none for a label beside it."""
    x, y = spot
    to_x, to_y = _end(spot, rectangle)
    if math.hypot(to_x - x, to_y - y) <= 2 * RADIUS:
        return []
    pieces = [_about(x + (to_x - x) * part / 20, y + (to_y - y) * part / 20, 1.0) for part in range(21)]
    return [piece for piece in pieces if not piece.covers(_about(x, y, RADIUS + 1))]


def _around(x: float, y: float, width: float) -> list[tuple[float, Rectangle]]:
    """Rectangles of a label about its point, each with its distance: right and left of it first, then farther up and down."""
    found = []
    for shift in range(-30, 31):
        for gap in (RADIUS + 3, 26, 52, 90, 130):
            for left in (x + gap, x - gap - width):
                rectangle = Rectangle(left, y + shift * 7 - LINE / 2, left + width, y + shift * 7 + LINE / 2)
                found.append((math.hypot(gap, shift * 7) + (left < x), rectangle))
        above = Rectangle(x - width / 2, y + shift * 7 - LINE / 2, x + width / 2, y + shift * 7 + LINE / 2)
        found.append((abs(shift * 7) + 2.0, above))
    return found


def _inside(rectangle: Rectangle) -> bool:
    right, bottom = BOX.left + BOX.width, BOX.top + BOX.height
    return (
        rectangle.left > BOX.left + 2 and rectangle.right < right - 2 and rectangle.top > BOX.top and rectangle.bottom < bottom
    )


def _mark(row: dict[str, Any], x: float, y: float) -> str:
    colour = COLOURS[row["verdict"]["word"]]
    if row["peer"]:
        return f'<path d="M{x - 4:.1f} {y - 4:.1f}h8v8h-8z" fill="{colour}" stroke="#000"/>'
    fill = "#fff" if row["method"].startswith(BASELINES) else colour
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{RADIUS - 0.5}" fill="{fill}" stroke="{colour}" stroke-width="1.5"/>'


def _label(text: str, colour: str, where: tuple[float, float], rectangle: Rectangle) -> str:
    x, y = where
    near_x, near_y = _end(where, rectangle)
    far = bool(_line(where, rectangle))
    line = f'<path d="M{x:.1f} {y:.1f}L{near_x:.1f} {near_y:.1f}" stroke="{colour}" stroke-width="0.7"/>' if far else ""
    # Widths of letters are estimates, so a text begins or ends at its point's side of the rectangle.
    at, anchor = (rectangle.right, ' text-anchor="end"') if rectangle.right < x else (rectangle.left, "")
    return f'{line}<text x="{at:.1f}" y="{rectangle.bottom - 2:.1f}"{anchor}>{escape(text)}</text>'


def _legend() -> str:
    y, x = BOX.top + BOX.height + 58, BOX.left
    parts = []
    entries = [(word, f'<circle cx="{{x}}" cy="{y - 4}" r="4" fill="{colour}"/>') for word, colour in COLOURS.items()]
    entries.append(
        ("baseline without a chain", f'<circle cx="{{x}}" cy="{y - 4}" r="4" fill="#fff" stroke="#333" stroke-width="1.5"/>')
    )
    entries.append(("another library", f'<rect x="{{left}}" y="{y - 8}" width="8" height="8" fill="#999" stroke="#000"/>'))
    for text, mark in entries:
        parts.append(mark.format(x=x + 5, left=x + 1) + f'<text x="{x + 14}" y="{y}">{text}</text>')
        x += 36 + LETTER * len(text)
    return "".join(parts)
