"""Pictures of results: grids, film strips, animations. Pixels stay exact: PNG or lossless WebP, and no smoothing."""

import base64
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn.functional import pad

from ebm_refine.utils.atomic_io import replacing

CAPTION_LEADING = 3
ANIMATIONS = ("webp", "gif")
# Scatter plots: side and radius of a dot in pixels; colours of ground, dots and the marked dot.
PLOT_SIDE, DOT = 360, 2.0
PAPER, INK, MARK = (250, 250, 248), (38, 84, 124), (214, 73, 51)
TEXT = (40, 40, 40)
# Heat maps and tables of pictures: a cell's size, and the space for labels left of the rows and above the columns.
CELL, LABELS, HEADING, TITLE, GAP = (92, 44), 92, 24, 40, 6


class Layout(NamedTuple):
    """Where the tiles of a grid lie: `tiles` of them, `columns` in a row, one every `pitch_x`, `pitch_y` pixels."""

    tiles: int
    columns: int
    pitch_x: int
    pitch_y: int

    def tile_at(self, x: float, y: float) -> int | None:
        """The number of the tile under a pixel, or None beside them all."""
        column, row = int(x // self.pitch_x), int(y // self.pitch_y)
        number = row * self.columns + column
        return number if 0 <= column < self.columns and 0 <= number < self.tiles else None


def columns_for(count: int) -> int:
    """How wide a nearly square grid of `count` tiles is."""
    return max(1, round(count**0.5))


def grid(images: Tensor, columns: int | None = None, scale: int = 1, limit: int = 256) -> Image.Image:
    """A grid of uint8 images (N, C, H, W), the first `limit` of them, enlarged `scale` times by repeating pixels."""
    images = images[:limit]
    picture = _tiled(images, columns or columns_for(len(images)))
    if scale > 1:
        picture = picture.repeat_interleave(scale, 1).repeat_interleave(scale, 2)
    return Image.fromarray(picture.permute(1, 2, 0).to(torch.uint8).contiguous().numpy())


def _tiled(images: Tensor, columns: int) -> Tensor:
    """What `torchvision.utils.make_grid` gives with padding 1: importing torchvision is seconds of the page's start."""
    count, channels, height, width = images.shape
    images = images.expand(-1, 3, -1, -1) if channels == 1 else images
    if count == 1:
        return images[0]
    columns = min(columns, count)
    rows = -(-count // columns)
    tiles = torch.cat([images, images.new_zeros(rows * columns - count, *images.shape[1:])])
    sheet = pad(tiles, (1, 0, 1, 0)).unflatten(0, (rows, columns)).permute(2, 0, 3, 1, 4)
    return pad(sheet.reshape(-1, rows * (height + 1), columns * (width + 1)), (0, 1, 0, 1))


def scatter(points: Tensor, bounds: Sequence[float], side: int = PLOT_SIDE, mark: int | None = None) -> Image.Image:
    """Points (N, 2) in a square from bounds[0] to bounds[1] in both coordinates, the second upwards; others are not drawn.

    `mark` is the number of a point to be drawn larger, above the others.
    """
    low, high = bounds
    picture = Image.new("RGB", (side, side), PAPER)
    draw = ImageDraw.Draw(picture)
    pixels = (points.double() - low) / (high - low) * (side - 1)
    radius = DOT if len(points) < 1000 else DOT / 2
    for x, y in pixels[pixels.isfinite().all(1)].tolist():
        draw.ellipse((x - radius, side - 1 - y - radius, x + radius, side - 1 - y + radius), fill=INK)
    if mark is not None and bool(pixels[mark].isfinite().all()):
        x, y = pixels[mark].tolist()
        draw.ellipse((x - 3 * DOT, side - 1 - y - 3 * DOT, x + 3 * DOT, side - 1 - y + 3 * DOT), fill=MARK)
    return picture


def grid_layout(images: Tensor, scale: int = 1) -> Layout:
    """Where `grid(images, scale=scale)` puts its tiles."""
    count, _, height, width = images.shape
    return Layout(count, columns_for(count), (width + 1) * scale, (height + 1) * scale)


def captioned(images: Tensor, captions: Sequence[str], scale: int = 1, columns: int | None = None) -> Image.Image:
    """The same grid with a line of text under every tile; `captioned_layout` says where the tiles lie."""
    layout = captioned_layout(images, scale)
    layout = layout._replace(columns=columns or layout.columns)
    rows = -(-layout.tiles // layout.columns)
    picture = Image.new("RGB", (layout.columns * layout.pitch_x + scale, rows * layout.pitch_y + scale))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=_caption_size(layout))
    for number, (image, caption) in enumerate(zip(images, captions, strict=True)):
        x = scale + number % layout.columns * layout.pitch_x
        y = scale + number // layout.columns * layout.pitch_y
        tile = grid(image[None], scale=scale)
        picture.paste(tile.crop((scale, scale, tile.width - scale, tile.height - scale)), (x, y))
        middle = (x + (layout.pitch_x - scale) / 2, y + layout.pitch_y - scale - (_caption_size(layout) + CAPTION_LEADING) / 2)
        draw.text(middle, caption, fill=(225, 225, 225), font=font, anchor="mm")
    return picture


def captioned_layout(images: Tensor, scale: int = 1) -> Layout:
    plain = grid_layout(images, scale)
    return plain._replace(pitch_y=plain.pitch_y + _caption_size(plain) + CAPTION_LEADING)


def _caption_size(layout: Layout) -> int:
    """Pixels of the letters under a tile: more under a large one, which may be shown reduced."""
    return max(11, layout.pitch_x // 9)


def heat_map(values: Sequence[Sequence[float | None]], rows: Sequence[str], columns: Sequence[str], title: str) -> Image.Image:
    """Numbers in a table, each on a ground the darker the larger it is; a None stays empty. `title`: two lines at most."""
    shades = shades_of(values)
    width, height = LABELS + CELL[0] * len(columns), TITLE + HEADING + CELL[1] * len(rows)
    font = ImageFont.load_default(size=12)
    wide = max(int(font.getlength(line)) for line in title.splitlines()) + 2 * GAP
    picture = Image.new("RGB", (max(width, wide), height + GAP), PAPER)
    draw = ImageDraw.Draw(picture)
    draw.multiline_text((GAP, GAP), title, fill=TEXT, font=font)
    for column, label in enumerate(columns):
        draw.text((LABELS + CELL[0] * (column + 0.5), TITLE + HEADING / 2), label, fill=TEXT, font=font, anchor="mm")
    for row, label in enumerate(rows):
        top = TITLE + HEADING + CELL[1] * row
        draw.text((LABELS - GAP, top + CELL[1] / 2), label, fill=TEXT, font=font, anchor="rm")
        for column, shade in enumerate(shades[row]):
            left, value = LABELS + CELL[0] * column, values[row][column]
            if shade is None or value is None:
                continue
            ground = tuple(round(paper + shade * (ink - paper)) for paper, ink in zip(PAPER, INK, strict=True))
            draw.rectangle((left + 1, top + 1, left + CELL[0] - 2, top + CELL[1] - 2), fill=ground)
            middle = (left + CELL[0] / 2, top + CELL[1] / 2)
            draw.text(middle, f"{value:.4g}", fill=PAPER if shade > 0.5 else TEXT, font=font, anchor="mm")
    return picture


def shades_of(values: Sequence[Sequence[float | None]]) -> list[list[float | None]]:
    """How dark each cell of a heat map is, in [0, 1]; None where there is no number. What is not finite is darkest.

    Shades follow the logarithm where every number is above 0, as distances differ by their ratio.
    """
    known = [value for row in values for value in row if value is not None and math.isfinite(value)]
    low, high = min(known, default=0.0), max(known, default=1.0)
    logarithmic = low > 0

    def transformed(value: float) -> float:
        return math.log(value) if logarithmic else value

    start, end = transformed(low), transformed(high)

    def shade(value: float | None) -> float | None:
        if value is None:
            return None
        if not math.isfinite(value):
            return 1.0
        return 0.1 + 0.9 * (transformed(value) - start) / (end - start) if end > start else 0.1

    return [[shade(value) for value in row] for row in values]


def picture_table(pictures: Sequence[Sequence[Image.Image | None]], rows: Sequence[str], columns: Sequence[str]) -> Image.Image:
    """Pictures of one size in a labelled table; cells of missing ones stay empty. At least one must be there."""
    width, height = next(one.size for row in pictures for one in row if one is not None)
    whole = Image.new("RGB", (LABELS + (width + GAP) * len(columns), HEADING + (height + GAP) * len(rows)), PAPER)
    draw, font = ImageDraw.Draw(whole), _label_font(rows, columns, width)
    for column, label in enumerate(columns):
        draw.text((LABELS + (width + GAP) * column + width / 2, HEADING / 2), label, fill=TEXT, font=font, anchor="mm")
    for row, (label, line) in enumerate(zip(rows, pictures, strict=True)):
        top = HEADING + (height + GAP) * row
        draw.text((LABELS - GAP, top + height / 2), label, fill=TEXT, font=font, anchor="rm")
        for column, picture in enumerate(line):
            if picture is not None:
                whole.paste(picture, (LABELS + (width + GAP) * column, top))
    return whole


def _label_font(rows: Sequence[str], columns: Sequence[str], width: int) -> Any:
    """Letters as large as the labels' space allows, as a phone shows the table reduced."""
    for size in range(18, 12, -1):
        font = ImageFont.load_default(size=size)
        beside, above = (max(map(font.getlength, labels)) for labels in (rows, columns))
        if beside <= LABELS - 2 * GAP and above <= width:
            return font
    return ImageFont.load_default(size=12)


def scale_for(images: Tensor, width: int) -> int:
    """By how much a grid of `images` may be enlarged to be at most `width` pixels wide, at least 1."""
    layout = grid_layout(images)
    return max(1, width // (layout.columns * layout.pitch_x))


def strip(pictures: Sequence[Image.Image]) -> Image.Image:
    """Pictures of one size, one below the other: what the page's player shows a window of."""
    width, height = pictures[0].size
    whole = Image.new("RGB", (width, height * len(pictures)))
    for number, picture in enumerate(pictures):
        whole.paste(picture, (0, number * height))
    return whole


def animation(pictures: Sequence[Image.Image], kind: str, milliseconds: int = 100) -> bytes:
    """A looping animation, "webp" (lossless) or "gif" (256 colours), that rests on its last picture."""
    times = [milliseconds] * (len(pictures) - 1) + [10 * milliseconds]
    buffer = io.BytesIO()
    details = {"lossless": True, "method": 2} if kind == "webp" else {"optimize": False, "disposal": 1}
    pictures[0].save(
        buffer, format=kind.upper(), save_all=True, append_images=list(pictures[1:]), duration=times, loop=0, **details
    )
    return buffer.getvalue()


def png(picture: Image.Image) -> bytes:
    """The picture as PNG, with no metadata, so that the same picture gives the same bytes."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def webp(picture: Image.Image, quality: int | None = None) -> bytes:
    """The picture as WebP: exact, or, where a quality is given, a fraction of that size."""
    buffer = io.BytesIO()
    details: dict[str, Any] = {"lossless": True, "method": 1} if quality is None else {"quality": quality, "method": 2}
    picture.save(buffer, format="WEBP", **details)
    return buffer.getvalue()


def data_uri(picture: Image.Image) -> str:
    return "data:image/png;base64," + base64.b64encode(png(picture)).decode()


def save_png(picture: Image.Image, path: Path) -> None:
    """Write `picture` in one step."""
    with replacing(path) as temporary:
        temporary.write_bytes(png(picture))


def energy_table(trace: Tensor, steps: Sequence[int]) -> list[tuple[int, float, str]]:
    """Rows (step, energy, series) of a plot: mean and the 10 % and 90 % quantiles over the chains of `trace` (frames, N)."""
    low, high = trace.quantile(0.1, 1), trace.quantile(0.9, 1)
    lines = {"mean": trace.mean(1), "10 % lie above": high, "10 % lie below": low}
    return [(step, float(value), name) for name, line in lines.items() for step, value in zip(steps, line, strict=True)]
