"""Curves of `benchmarks/curves.py` drawn as SVG: a panel's distances and the mean log ratio against gradient evaluations.

One frame a method with a line a kind of features, as shares of the base's distance; a last frame with the mean of r over each
method's chains beside its mean over held-out real images.
"""

from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

from ebm_refine.evaluation.svg import Box, document, frame, level, name_below, tick_below, tick_left, ticks

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
    return document(width, height, title, curves_in_words(results), *frames, legend)


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


def _frame(number: int, title: str, lines: Sequence[Line], mark: float | None, mark_name: str) -> str:
    """One diagram with both axes, a line a curve with bars of one standard error, and a level where there is one."""
    box = Box(LEFT + number * (WIDTH + GAP + LEFT), TOP, WIDTH, HEIGHT)
    right = max(x for line in lines for x, _ in line.points)
    values = [y for line in lines for _, y in line.points] + ([] if mark is None else [mark])
    shares = mark_name == "base"
    low, high = (0.0, min(MOST_SHOWN, max(values) * 1.05)) if shares else (min(values), max(values))
    margin = 0.0 if shares else 0.06 * max(high - low, 1e-9)
    low, high = low - margin, high + margin

    def coordinates(x: float, y: float) -> tuple[float, float]:
        return box.left + WIDTH * x / right, TOP + HEIGHT * (1 - (min(max(y, low), high) - low) / (high - low))

    parts = [f'<text x="{box.left}" y="{TOP - 12}" font-weight="bold">{escape(title)}</text>', frame(box)]
    parts += [tick_left(box, coordinates(0, tick)[1], f"{tick:.0%}" if shares else f"{tick:g}") for tick in ticks(low, high)]
    parts += [tick_below(box, coordinates(tick, low)[0], f"{tick:g}") for tick in ticks(0, right)]
    parts.append(name_below(box, "evaluations an image"))
    if mark is not None:
        parts.append(level(box, coordinates(0, mark)[1], mark_name))
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
