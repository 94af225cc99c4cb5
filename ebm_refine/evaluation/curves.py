"""Curves of `benchmarks/curves.py` drawn as SVG: a panel's distances and the mean log ratio against gradient evaluations.

One frame a method with a line a kind of features, as shares of the base's distance; a last frame with the mean of r over each
method's chains beside its mean over held-out real images. No library is needed, and the text is a few kilobytes.
"""

import math
from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

WIDTH, HEIGHT, LEFT, TOP, GAP = 250, 190, 44, 34, 22
# Okabe and Ito's colours, which stay apart for colour-blind readers.
KIND_COLOURS = {
    "classifier": "#0072b2",
    "contrastive": "#009e73",
    "autoencoder": "#d55e00",
    "filter bank": "#cc79a7",
    "pixels": "#8c6d00",
}
METHOD_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8c6d00")
MOST_SHOWN = 2.0


class Line(NamedTuple):
    """`points` (x, y) with an error each; `dashed` where the kind has no vote."""

    name: str
    colour: str
    points: Sequence[tuple[float, float]]
    errors: Sequence[float]
    dashed: bool = False


def drawn_curves(results: dict[str, Any]) -> str:
    """The results of `benchmarks/curves.py` as the text of an SVG picture, described in words for screen readers."""
    curves = results["curves"]
    frames = [_frame(number, curve["method"], _kind_lines(curve), 1.0, "base") for number, curve in enumerate(curves)]
    real = results["real_ratio"]
    lines = [
        Line(curve["method"], METHOD_COLOURS[number % len(METHOD_COLOURS)],
             [(point["evaluations"], point["mean_ratio"]) for point in curve["points"]],
             [point["mean_ratio_error"] for point in curve["points"]])
        for number, curve in enumerate(curves)
    ]  # fmt: skip
    frames.append(_frame(len(curves), "mean of r", lines, None if real is None else real["mean"], "real images"))
    columns = len(frames)
    width = LEFT + columns * (WIDTH + GAP + LEFT) - GAP
    height = TOP + HEIGHT + 70
    shown = dict.fromkeys((line.name, line.colour, line.dashed) for curve in curves for line in _kind_lines(curve))
    legend = _legend(list(shown), LEFT, TOP + HEIGHT + 54)
    legend += _legend(
        [(line.name, line.colour, False) for line in lines], LEFT + len(curves) * (WIDTH + GAP + LEFT), TOP + HEIGHT + 54
    )
    title = f"{results['model']}: distances from real images and mean log ratio against gradient evaluations an image"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" font-family="sans-serif" '
        f'font-size="11">'
        f"<title>{escape(title)}</title><desc>{escape(curves_in_words(results))}</desc>"
        f'<rect width="{width}" height="{height}" fill="#fff"/>{"".join(frames)}{legend}</svg>\n'
    )


def curves_in_words(results: dict[str, Any]) -> str:
    """One sentence a method: how the voting kinds' distances stand at its ends, and where their median is lowest."""
    said = []
    for curve in results["curves"]:
        medians = [(point["evaluations"], _median_share(point)) for point in curve["points"]]
        best, last = min(medians, key=lambda one: one[1]), medians[-1]
        said.append(
            f"{curve['method']}: the voting kinds' median distance is lowest at {best[0]:.0f} evaluations ({best[1] - 1:+.0%}) "
            f"and stands at {last[1] - 1:+.0%} after {last[0]:.0f}."
        )
    return " ".join(said)


def curve_table(results: dict[str, Any]) -> str:
    """The same as a Markdown table: a row a mark, per method the median change of the voting kinds and the mean of r."""
    curves = results["curves"]
    head = ["evaluations", *(f"{curve['method']}: {what}" for curve in curves for what in ("median change", "mean r"))]
    lines = [head, ["---"] * len(head)]
    for points in zip(*(curve["points"] for curve in curves), strict=True):
        changes = [f"{_median_share(point) - 1:+.0%}" if point["evaluations"] else "–" for point in points]
        pairs = [
            cell
            for point, change in zip(points, changes, strict=True)
            for cell in (change, f"{point['mean_ratio']:.2f} ± {point['mean_ratio_error']:.2f}")
        ]
        lines.append(["–".join(dict.fromkeys(f"{x:.0f}" for x in _ends([point["evaluations"] for point in points]))), *pairs])
    real = results["real_ratio"]
    beside = "" if real is None else f" Mean of r over {real['images']} {real['split']} images: {real['mean']:.2f}."
    caption = (
        f"`{results['model']}`, panel `{results['panel']}` ({results['fingerprint'][:12]}), N = {results['num_images']}, "
        f"seeds {', '.join(map(str, results['seeds']))}, {results['real_images']} test images. Change of the unbiased kernel "
        f"distance against base, median of the voting kinds.{beside}"
    )
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + f"\n\n{caption}\n"


def _ends(values: Sequence[float]) -> tuple[float, float]:
    return min(values), max(values)


def _median_share(point: dict[str, Any]) -> float:
    shares = sorted(1 + one["relative"] for one in point["kinds"].values() if one["votes"])
    middle = len(shares) // 2
    return shares[middle] if len(shares) % 2 else (shares[middle - 1] + shares[middle]) / 2


def _kind_lines(curve: dict[str, Any]) -> list[Line]:
    return [
        Line(kind, KIND_COLOURS.get(kind, "#555"),
             [(point["evaluations"], 1 + point["kinds"][kind]["relative"]) for point in curve["points"]],
             [point["kinds"][kind]["relative_error"] for point in curve["points"]],
             not curve["points"][-1]["kinds"][kind]["votes"])
        for kind in curve["points"][0]["kinds"]
    ]  # fmt: skip


def _frame(number: int, title: str, lines: Sequence[Line], level: float | None, level_name: str) -> str:
    """One diagram with both axes, a line a curve with bars of one standard error, and a level where there is one."""
    left = LEFT + number * (WIDTH + GAP + LEFT)
    right = max(x for line in lines for x, _ in line.points)
    values = [y for line in lines for _, y in line.points] + ([] if level is None else [level])
    shares = level_name == "base"
    low, high = (0.0, min(MOST_SHOWN, max(values) * 1.05)) if shares else (min(values), max(values))
    margin = 0.0 if shares else 0.06 * max(high - low, 1e-9)
    low, high = low - margin, high + margin

    def coordinates(x: float, y: float) -> tuple[float, float]:
        return left + WIDTH * x / right, TOP + HEIGHT * (1 - (min(max(y, low), high) - low) / (high - low))

    parts = [
        f'<text x="{left}" y="{TOP - 12}" font-weight="bold">{escape(title)}</text>',
        f'<rect x="{left}" y="{TOP}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#999"/>',
    ]
    for tick in _ticks(low, high):
        _, y = coordinates(0, tick)
        text = f"{tick:.0%}" if shares else f"{tick:g}"
        parts.append(
            f'<path d="M{left} {y:.1f}h{WIDTH}" stroke="#eee"/>'
            f'<text x="{left - 4}" y="{y + 4:.1f}" text-anchor="end">{text}</text>'
        )
    for tick in _ticks(0, right):
        x, _ = coordinates(tick, low)
        parts.append(f'<text x="{x:.1f}" y="{TOP + HEIGHT + 14}" text-anchor="middle">{tick:g}</text>')
    parts.append(f'<text x="{left + WIDTH / 2}" y="{TOP + HEIGHT + 30}" text-anchor="middle">evaluations an image</text>')
    if level is not None:
        _, y = coordinates(0, level)
        parts.append(
            f'<path d="M{left} {y:.1f}h{WIDTH}" stroke="#333" stroke-dasharray="2 3"/>'
            f'<text x="{left + WIDTH - 3}" y="{y - 4:.1f}" text-anchor="end">{escape(level_name)}</text>'
        )
    for line in lines:
        spots = [coordinates(x, y) for x, y in line.points]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in spots)
        dash = ' stroke-dasharray="5 3"' if line.dashed else ""
        parts.append(f'<path d="M{path}" fill="none" stroke="{line.colour}" stroke-width="1.8"{dash}/>')
        bars = "".join(
            f"M{coordinates(x, y - error)[0]:.1f} {coordinates(x, y - error)[1]:.1f}V{coordinates(x, y + error)[1]:.1f}"
            for (x, y), error in zip(line.points, line.errors, strict=True)
        )
        parts.append(f'<path d="{bars}" stroke="{line.colour}" stroke-width="0.8"/>')
    return "".join(parts)


def _legend(entries: Sequence[tuple[str, str, bool]], left: float, top: float) -> str:
    parts, x = [], left
    for name, colour, dashed in entries:
        dash = ' stroke-dasharray="5 3"' if dashed else ""
        text = f"{name} (no vote)" if dashed else name
        parts.append(
            f'<path d="M{x:.0f} {top - 4}h18" stroke="{colour}" stroke-width="2"{dash}/>'
            f'<text x="{x + 22:.0f}" y="{top}">{escape(text)}</text>'
        )
        x += 34 + 6.2 * len(text)
    return "".join(parts)


def _ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers from low to high."""
    raw = (high - low) / 5
    unit = 10 ** math.floor(math.log10(raw))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= raw)
    first = math.ceil(low / step - 1e-9)
    return [round(step * number, 10) for number in range(first, math.floor(high / step + 1e-9) + 1)]
